-- Deploy pgrules:000002_namespaces to pg
-- requires: 000001_roles
--
-- Schema rules is the interface, rules_internal the rest. The database's search_path
-- gets rules at its end, so that evaluate(...) works unqualified. Nobody but the
-- owner of the database creates schemas or temporary objects in it: a temporary
-- table or function could otherwise shadow ours.

BEGIN;

CREATE SCHEMA rules AUTHORIZATION rules_owner;
CREATE SCHEMA rules_internal AUTHORIZATION rules_owner;

COMMENT ON SCHEMA rules IS 'pgrules: the tables, types and functions for users';
COMMENT ON SCHEMA rules_internal IS 'pgrules: no interface; may change at any time';

GRANT USAGE ON SCHEMA rules TO rules_app, rules_tenant, rules_admin;
GRANT USAGE ON SCHEMA rules_internal TO rules_app, rules_tenant, rules_admin;

DO $database$
DECLARE
    v_path text;
BEGIN
    EXECUTE pg_catalog.format(
        'REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC',
        pg_catalog.current_database()
    );
    SELECT substr(config.setting, length('search_path=') + 1) INTO v_path
    FROM pg_catalog.pg_db_role_setting AS stored
    INNER JOIN pg_catalog.pg_database AS db ON stored.setdatabase = db.oid
    CROSS JOIN LATERAL unnest(stored.setconfig) AS config (setting)
    WHERE
        db.datname = pg_catalog.current_database()
        AND stored.setrole = 0
        AND config.setting LIKE 'search\_path=%';
    IF v_path IS NULL THEN
        SELECT setting.boot_val INTO v_path
        FROM pg_catalog.pg_settings AS setting
        WHERE setting.name = 'search_path';
    END IF;
    IF v_path !~ '(^|[ ,])rules($|[ ,])' THEN
        EXECUTE pg_catalog.format(
            'ALTER DATABASE %I SET search_path TO %s',
            pg_catalog.current_database(),
            pg_catalog.concat_ws(', ', nullif(v_path, ''), 'rules')
        );
    END IF;
END;
$database$;

COMMIT;
