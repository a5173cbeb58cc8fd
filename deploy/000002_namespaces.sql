-- Deploy pgrules:000002_namespaces to pg
-- requires: 000001_roles
--
-- Schema rules is the interface, rules_internal the rest. The database's search_path
-- gets rules at its end, so that evaluate(...) works unqualified. Only the owner of
-- the database creates schemas or temporary objects in it, and only the owner of
-- schema public creates there: a table or function of theirs could shadow ours. What
-- was there before is noted, for the revert to restore.

BEGIN;

CREATE SCHEMA rules AUTHORIZATION rules_owner;
CREATE SCHEMA rules_internal AUTHORIZATION rules_owner;

COMMENT ON SCHEMA rules IS 'pgrules: the tables, types and functions for users';
COMMENT ON SCHEMA rules_internal IS 'pgrules: no interface; may change at any time';

GRANT USAGE ON SCHEMA rules TO rules_app, rules_tenant, rules_admin;
GRANT USAGE ON SCHEMA rules_internal TO rules_app, rules_tenant, rules_admin;

CREATE TABLE rules_internal.before_deploy (
    subject text NOT NULL,
    state text,
    CONSTRAINT before_deploy_pkey PRIMARY KEY (subject)
);
ALTER TABLE rules_internal.before_deploy OWNER TO rules_owner;
ALTER TABLE rules_internal.before_deploy ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.before_deploy FORCE ROW LEVEL SECURITY;

COMMENT ON TABLE rules_internal.before_deploy IS
'What the deploy changed outside its schemas, as it was: the search_path that was set
for the database (NULL: none was), and each privilege that PUBLIC had.';

DO $database$
DECLARE
    v_database constant name := current_database();
    v_path text;
BEGIN
    SELECT substr(config.setting, length('search_path=') + 1) INTO v_path
    FROM pg_catalog.pg_db_role_setting AS stored
    INNER JOIN pg_catalog.pg_database AS db ON stored.setdatabase = db.oid
    CROSS JOIN LATERAL unnest(stored.setconfig) AS config (setting)
    WHERE
        db.datname = v_database
        AND stored.setrole = 0
        AND config.setting LIKE 'search\_path=%';
    INSERT INTO rules_internal.before_deploy (subject, state)
    VALUES ('search_path', v_path);

    -- Not what this session has, which its role or its client may have set.
    v_path := coalesce(
        v_path,
        (
            SELECT file.setting
            FROM pg_catalog.pg_file_settings AS file
            WHERE file.name = 'search_path' AND file.applied
        ),
        (
            SELECT setting.boot_val
            FROM pg_catalog.pg_settings AS setting
            WHERE setting.name = 'search_path'
        )
    );
    IF v_path !~ '(^|[ ,])rules($|[ ,])' THEN
        EXECUTE format(
            'ALTER DATABASE %I SET search_path TO %s',
            v_database,
            -- An empty path is stored as one empty name.
            concat_ws(', ', nullif(nullif(v_path, ''), '""'), 'rules')
        );
    END IF;

    INSERT INTO rules_internal.before_deploy (subject)
    SELECT 'CREATE ON DATABASE'
    WHERE has_database_privilege('public', v_database, 'CREATE')
    UNION ALL
    SELECT 'TEMPORARY ON DATABASE'
    WHERE has_database_privilege('public', v_database, 'TEMPORARY')
    UNION ALL
    SELECT 'CREATE ON SCHEMA public'
    FROM pg_catalog.pg_namespace AS namespace
    WHERE
        namespace.nspname = 'public'
        AND has_schema_privilege('public', namespace.oid, 'CREATE');
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', v_database);
    IF EXISTS (
        SELECT FROM pg_catalog.pg_namespace AS namespace
        WHERE namespace.nspname = 'public'
    ) THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;
END;
$database$;

COMMIT;
