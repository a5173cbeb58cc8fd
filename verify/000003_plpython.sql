-- Verify pgrules:000003_plpython on pg

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    ASSERT (
        SELECT NOT language.lanpltrusted
        FROM pg_language AS language
        WHERE language.lanname = 'plpython3u'
    ), 'PL/Python is missing, or everybody may write functions in it';
END;
$verify$;

ROLLBACK;
