-- Deploy pgrules:000003_plpython to pg
--
-- The language that evaluates. The comment marks an extension that this project
-- created, so that a revert leaves one alone that was there before.

BEGIN;

DO $extension$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_catalog.pg_extension AS extension
        WHERE extension.extname = 'plpython3u'
    ) THEN
        CREATE EXTENSION IF NOT EXISTS plpython3u;
        COMMENT ON EXTENSION plpython3u IS 'PL/Python3U; created by pgrules';
    END IF;
END;
$extension$;

COMMIT;
