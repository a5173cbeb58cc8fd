-- Verify pgrules:000002_namespaces on pg

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_database constant text := current_database();
    v_schema text;
    v_privileges text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOREACH v_schema IN ARRAY ARRAY['rules', 'rules_internal'] LOOP
        ASSERT (
            SELECT
                namespace.nspowner = 'rules_owner'::regrole
                AND obj_description(namespace.oid, 'pg_namespace') IS NOT NULL
            FROM pg_namespace AS namespace
            WHERE namespace.nspname = v_schema
        ), format('schema %s is missing, or has another owner or no comment', v_schema);
        SELECT string_agg(
            acl.grantee::regrole || ' ' || acl.privilege_type, ', '
            ORDER BY acl.grantee::regrole::text
        )
        INTO v_privileges
        FROM pg_namespace AS namespace
        CROSS JOIN LATERAL aclexplode(namespace.nspacl) AS acl
        WHERE namespace.nspname = v_schema AND acl.grantee <> namespace.nspowner;
        ASSERT v_privileges = 'rules_admin USAGE, rules_app USAGE, rules_tenant USAGE',
            format('schema %s is granted otherwise: %s', v_schema, v_privileges);
    END LOOP;

    ASSERT (
        SELECT
            class.relowner = 'rules_owner'::regrole
            AND class.relrowsecurity
            AND class.relforcerowsecurity
            AND obj_description(class.oid, 'pg_class') IS NOT NULL
            AND NOT EXISTS (
                SELECT FROM aclexplode(class.relacl) AS acl
                WHERE acl.grantee <> class.relowner
            )
        FROM pg_class AS class
        WHERE class.oid = 'rules_internal.before_deploy'::regclass
    ), 'rules_internal.before_deploy is open to others';
    ASSERT (
        SELECT count(*) = 1
        FROM rules_internal.before_deploy
        WHERE subject = 'search_path'
    ), 'the former search_path of the database was not noted';

    ASSERT NOT has_database_privilege('public', v_database, 'CREATE'),
        'everybody may create schemas';
    ASSERT NOT has_database_privilege('public', v_database, 'TEMPORARY'),
        'everybody may create temporary objects';
    ASSERT NOT EXISTS (
        SELECT FROM pg_namespace AS namespace
        WHERE
            namespace.nspname = 'public'
            AND has_schema_privilege('public', namespace.oid, 'CREATE')
    ), 'everybody may create in schema public';
    ASSERT EXISTS (
        SELECT FROM pg_db_role_setting AS stored
        INNER JOIN pg_database AS db ON stored.setdatabase = db.oid
        CROSS JOIN LATERAL unnest(stored.setconfig) AS config (setting)
        WHERE
            db.datname = v_database
            AND stored.setrole = 0
            AND config.setting ~ '^search_path=(.*[ ,])?rules($|[ ,])'
    ), 'the search_path of the database lacks rules';
END;
$verify$;

ROLLBACK;
