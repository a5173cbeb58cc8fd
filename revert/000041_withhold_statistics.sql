-- Revert pgrules:000041_withhold_statistics from pg

BEGIN;

SET LOCAL ROLE rules_owner;

DO $columns$
DECLARE
    v_column record;
BEGIN
    FOR v_column IN
        SELECT attribute.attrelid::regclass AS relation, attribute.attname AS name
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN pg_catalog.pg_class AS class ON attribute.attrelid = class.oid
        WHERE
            class.relnamespace
            IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND class.relkind = 'r'
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
    LOOP
        EXECUTE format(
            'ALTER TABLE %s ALTER COLUMN %I SET STATISTICS -1',
            v_column.relation,
            v_column.name
        );
    END LOOP;
END;
$columns$;

COMMIT;
