-- The trigger function for updated_at.
BEGIN;

SELECT plan(5);

SELECT has_function('rules_internal', 'stamp_row', ARRAY[]::name[]);
SELECT function_returns('rules_internal', 'stamp_row', ARRAY[]::name[], 'trigger');

INSERT INTO rules.tenants (id, name, updated_at)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour', '2001-01-01');

UPDATE rules.tenants SET name = 'Harbour Insurance'
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT
    cmp_ok(
        updated_at, '>=', statement_timestamp() - interval '1 minute',
        'An update leaves its time (REQ-SCHEMA-010)'
    )
FROM rules.tenants
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';

UPDATE rules.tenants SET updated_at = '2001-01-01'
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT
    cmp_ok(
        updated_at, '>', '2001-01-01'::timestamptz,
        'Nobody sets the time by hand (REQ-SCHEMA-010)'
    )
FROM rules.tenants
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';

CREATE TEMPORARY TABLE seen AS
SELECT updated_at FROM rules.tenants
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
UPDATE rules.tenants SET name = 'Harbour'
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT
    cmp_ok(
        tenant.updated_at, '>', seen.updated_at,
        'Two updates of one transaction have different times'
    )
FROM rules.tenants AS tenant, seen
WHERE tenant.id = 'aaaaaaaa-0000-4000-8000-000000000001';

SELECT * FROM finish();
ROLLBACK;
