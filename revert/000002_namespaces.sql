-- Revert pgrules:000002_namespaces from pg

BEGIN;

DO $database$
DECLARE
    v_path text;
BEGIN
    SELECT substr(config.setting, length('search_path=') + 1) INTO v_path
    FROM pg_catalog.pg_db_role_setting AS stored
    INNER JOIN pg_catalog.pg_database AS db ON stored.setdatabase = db.oid
    CROSS JOIN LATERAL unnest(stored.setconfig) AS config (setting)
    WHERE
        db.datname = pg_catalog.current_database()
        AND stored.setrole = 0
        AND config.setting LIKE 'search\_path=%';
    v_path := regexp_replace(v_path, '(, *)?\mrules$', '');
    IF v_path = (
        SELECT setting.boot_val
        FROM pg_catalog.pg_settings AS setting
        WHERE setting.name = 'search_path'
    ) THEN
        EXECUTE pg_catalog.format(
            'ALTER DATABASE %I RESET search_path', pg_catalog.current_database()
        );
    ELSIF v_path IS NOT NULL THEN
        EXECUTE pg_catalog.format(
            'ALTER DATABASE %I SET search_path TO %s',
            pg_catalog.current_database(),
            coalesce(nullif(v_path, ''), '''''')
        );
    END IF;
    EXECUTE pg_catalog.format(
        'GRANT TEMPORARY ON DATABASE %I TO PUBLIC', pg_catalog.current_database()
    );
END;
$database$;

DROP SCHEMA rules_internal;
DROP SCHEMA rules;

COMMIT;
