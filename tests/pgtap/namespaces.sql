-- The schemas, and what the database itself gives to whom.
BEGIN;

SELECT plan(26);

SELECT has_schema('rules'::name);
SELECT has_schema('rules_internal'::name);
SELECT schema_owner_is('rules', 'rules_owner');
SELECT schema_owner_is('rules_internal', 'rules_owner');

SELECT
    schema_privs_are(
        namespace,
        role,
        ARRAY['USAGE'],
        format('%s may use %s, no more', role, namespace)
    )
FROM
    unnest(ARRAY['rules', 'rules_internal']::name[]) AS namespace,
    unnest(ARRAY['rules_app', 'rules_tenant', 'rules_admin']::name[]) AS role;

SELECT
    ok(
        NOT has_schema_privilege('public', namespace, privilege),
        format('PUBLIC has no %s on %s', privilege, namespace)
    )
FROM
    unnest(ARRAY['rules', 'rules_internal']) AS namespace,
    unnest(ARRAY['USAGE', 'CREATE']) AS privilege;

SELECT
    ok(
        NOT has_database_privilege(role, current_database(), privilege),
        format('%s has no %s on the database', role, privilege)
    )
FROM
    unnest(ARRAY['public', 'rules_app', 'rules_tenant', 'rules_admin']) AS role,
    unnest(ARRAY['CREATE', 'TEMPORARY']) AS privilege;

SELECT
    ok(
        NOT has_schema_privilege(role, 'public', 'CREATE'),
        format('%s creates nothing in schema public', role)
    )
FROM unnest(ARRAY['rules_app', 'rules_tenant']) AS role;

SELECT is_empty(
    $$
        SELECT
        FROM pg_catalog.pg_database AS db
        WHERE
            db.datname = current_database()
            AND NOT EXISTS (
                SELECT
                FROM
                    pg_catalog.pg_db_role_setting AS stored,
                    unnest(stored.setconfig) AS setting
                WHERE
                    stored.setdatabase = db.oid
                    AND stored.setrole = 0
                    AND setting LIKE 'search\_path=%, rules'
            )
    $$,
    'The search_path of the database ends with rules'
);

SELECT is_empty(
    $$
        SELECT oid::regprocedure::text FROM pg_catalog.pg_proc
        WHERE
            pronamespace = 'public'::regnamespace
            AND proowner = 'rules_owner'::regrole
        UNION ALL
        SELECT oid::regclass::text FROM pg_catalog.pg_class
        WHERE
            relnamespace = 'public'::regnamespace
            AND relowner = 'rules_owner'::regrole
    $$,
    'Nothing of pgrules is in schema public'
);

SELECT * FROM finish();
ROLLBACK;
