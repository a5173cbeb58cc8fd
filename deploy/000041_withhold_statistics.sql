-- Deploy pgrules:000041_withhold_statistics to pg
-- requires: 000036_audit_log
--
-- The planner keeps samples of a column's values, those of all tenants. Policies hide
-- them from who reads pg_stats, but not from estimates: EXPLAIN of a comparison with
-- constants tells, in a few dozen steps each, what text stands in the sample, and how
-- many rows a tenant has. So there are none. Every index that the engine uses begins
-- with the tenant, and is used without.

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
            'ALTER TABLE %s ALTER COLUMN %I SET STATISTICS 0',
            v_column.relation,
            v_column.name
        );
    END LOOP;
END;
$columns$;

COMMIT;
