-- Revert pgrules:000002_namespaces from pg
--
-- Takes rules out of the database's search_path, and leaves what else was put there
-- since the deploy. PUBLIC gets back the privileges that it had.

BEGIN;

DO $database$
DECLARE
    v_database constant name := current_database();
    v_former text;
    v_path text;
    v_privilege text;
BEGIN
    SELECT before.state INTO v_former
    FROM rules_internal.before_deploy AS before
    WHERE before.subject = 'search_path';
    SELECT substr(config.setting, length('search_path=') + 1) INTO v_path
    FROM pg_catalog.pg_db_role_setting AS stored
    INNER JOIN pg_catalog.pg_database AS db ON stored.setdatabase = db.oid
    CROSS JOIN LATERAL unnest(stored.setconfig) AS config (setting)
    WHERE
        db.datname = v_database
        AND stored.setrole = 0
        AND config.setting LIKE 'search\_path=%';
    -- Where it named rules before the deploy, the deploy did not change it.
    IF v_path <> '' AND coalesce(v_former, '') !~ '(^|[ ,])rules($|[ ,])' THEN
        v_path := regexp_replace(v_path, '^rules(, *|$)|, *rules(?=,|$)', '');
        IF v_former IS NULL AND v_path IN (
            SELECT setting.boot_val
            FROM pg_catalog.pg_settings AS setting
            WHERE setting.name = 'search_path'
            UNION ALL
            SELECT file.setting
            FROM pg_catalog.pg_file_settings AS file
            WHERE file.name = 'search_path' AND file.applied
        ) THEN
            EXECUTE format('ALTER DATABASE %I RESET search_path', v_database);
        ELSE
            EXECUTE format(
                'ALTER DATABASE %I SET search_path TO %s',
                v_database,
                CASE WHEN v_path IN ('', '""') THEN '''''' ELSE v_path END
            );
        END IF;
    END IF;

    FOR v_privilege IN
        SELECT replace(before.subject, 'DATABASE', format('DATABASE %I', v_database))
        FROM rules_internal.before_deploy AS before
        WHERE before.subject <> 'search_path'
    LOOP
        EXECUTE format('GRANT %s TO PUBLIC', v_privilege);
    END LOOP;
END;
$database$;

DROP TABLE IF EXISTS rules_internal.before_deploy;
DROP SCHEMA IF EXISTS rules_internal;
DROP SCHEMA IF EXISTS rules;

COMMIT;
