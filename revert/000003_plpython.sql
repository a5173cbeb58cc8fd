-- Revert pgrules:000003_plpython from pg

BEGIN;

DO $extension$
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_extension AS extension
        WHERE
            extension.extname = 'plpython3u'
            AND obj_description(extension.oid, 'pg_extension') LIKE '%created by pgrules'
    ) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc AS routine
        INNER JOIN pg_catalog.pg_language AS language ON routine.prolang = language.oid
        WHERE language.lanname = 'plpython3u'
    ) THEN
        DROP EXTENSION IF EXISTS plpython3u;
    END IF;
END;
$extension$;

COMMIT;
