-- Verify pgrules:000041_withhold_statistics on pg
--
-- No column has statistics, now or after the next ANALYZE.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_columns text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    SELECT
        string_agg(
            format('%s.%I', attribute.attrelid::regclass, attribute.attname), ', '
        )
    INTO v_columns
    FROM pg_attribute AS attribute
    INNER JOIN pg_class AS class ON attribute.attrelid = class.oid
    WHERE
        class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
        AND class.relkind = 'r'
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped
        AND attribute.attstattarget IS DISTINCT FROM 0;
    ASSERT v_columns IS NULL, format('there will be statistics of %s', v_columns);
END;
$verify$;

ROLLBACK;
