-- The rules that match each of many facts: EVAL-1, EVAL-4.
BEGIN;

SELECT plan(18);

SELECT has_function('rules', 'match_rules_batch', ARRAY['jsonb[]']);
SELECT isnt_definer('rules', 'match_rules_batch', ARRAY['jsonb[]']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.rules (tenant_id, id, name, expression, active, created_at) VALUES
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000003',
    'late', 'Flight.Delay >= 180', true, '2001-01-03'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'storm', 'Weather.Gust > 45.0', true, '2001-01-01'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000002',
    'per seat', '100 / Flight.Seats > 10', true, '2001-01-02'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000004',
    'not a boolean', '"yes"', true, '2001-01-04'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000005',
    'retired', 'true', false, '2001-01-05'
),
(
    'bbbbbbbb-0000-4000-8000-000000000002', '11111111-0000-4000-8000-000000000009',
    'theirs', 'true', true, '2001-01-01'
);
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'tap_tenant');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules_batch(ARRAY['{}']::jsonb[])$$, 'RE001', NULL,
    'Without a tenant nothing is matched'
);
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules_batch('{}')$$, 'RE001', NULL,
    'Without a tenant not even nothing is'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
PREPARE flights AS SELECT element, rule_name FROM rules.match_rules_batch(
    ARRAY[
        '{"Flight": {"Delay": 201, "Seats": 0}, "Weather": {"Gust": 51.5}}',
        '{"Flight": {"Delay": 5, "Seats": 500}, "Weather": {}}',
        '{"Flight": {"Delay": 300, "Seats": 4}}',
        '{}'
    ]::jsonb[]
);
SELECT results_eq(
    'flights',
    $$VALUES (1, 'storm'), (1, 'late'), (3, 'per seat'), (3, 'late')$$,
    'A row for each match, by element and then oldest rule first; errors do not match'
);
SELECT results_eq(
    $$
        SELECT element, rule_id, rule_name
        FROM rules.match_rules_batch(ARRAY['{"Flight": {"Delay": 180}}']::jsonb[])
    $$,
    $$VALUES (1, '11111111-0000-4000-8000-000000000003'::uuid, 'late')$$,
    'A match names the rule by id and name'
);
SELECT results_eq(
    $$
        SELECT matching.element, matching.rule_id
        FROM rules.match_rules_batch(
            '[7:8]={"{\"Flight\": {}}","{\"Flight\": {\"Delay\": 200}}"}'::jsonb[]
        ) AS matching
    $$,
    $$VALUES (2, '11111111-0000-4000-8000-000000000003'::uuid)$$,
    'Elements count from 1, whatever the bounds of the array'
);
SELECT is_empty(
    $$SELECT * FROM rules.match_rules_batch('{}')$$, 'No facts, no matches'
);
PREPARE refused AS SELECT * FROM rules.match_rules_batch(
    array_fill('{}'::jsonb, ARRAY[250]) || ARRAY['[]', '"x"']::jsonb[]
);
SELECT throws_ok('refused', 'RE030', NULL, 'A list is no facts');
DO $$
DECLARE
    v_detail text;
BEGIN
    EXECUTE 'EXECUTE refused';
EXCEPTION
    WHEN SQLSTATE 'RE030' THEN
        GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
        PERFORM set_config('tap.detail', v_detail, true);
END;
$$;
SELECT is(
    current_setting('tap.detail'), 'Element 251.',
    'Facts that are refused are named by their element, the first of them'
);
SELECT throws_ok(
    'SELECT * FROM rules.match_rules_batch(NULL)', '22004', NULL, 'NULL is no facts'
);
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules_batch(ARRAY['{}', NULL]::jsonb[])$$,
    '22004',
    'cannot match the rules: element 2 of facts is NULL',
    'An element that is NULL is no facts'
);
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules_batch(ARRAY[ARRAY['{}']]::jsonb[])$$,
    '2202E',
    'cannot match the rules: the array of facts has 2 dimensions',
    'Facts in several dimensions have no number'
);
SELECT results_eq(
    $$
        SELECT matching.element, array_agg(matching.rule_name)
        FROM (
            SELECT array_agg(jsonb_build_object(
                'Flight', jsonb_build_object('Delay', number)
            ) ORDER BY number) AS facts
            FROM generate_series(1, 1000) AS number
        ) AS batch
        CROSS JOIN LATERAL rules.match_rules_batch(batch.facts) AS matching
        WHERE matching.element IN (179, 180, 1000)
        GROUP BY matching.element
        ORDER BY matching.element
    $$,
    $$VALUES (180, ARRAY['late']), (1000, ARRAY['late'])$$,
    'A thousand facts each have their own answer'
);
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT results_eq(
    $$SELECT rule_name FROM rules.match_rules_batch(ARRAY['{}']::jsonb[])$$,
    ARRAY['theirs'],
    'REQ-TENANT-003: the other tenant has its own'
);
DELETE FROM rules.rules;
SELECT throws_ok('refused', 'RE030', NULL, 'Without rules a list is no facts either');

SET SESSION AUTHORIZATION tap_tenant;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$
        SELECT rule_name
        FROM rules.match_rules_batch(ARRAY['{"Flight": {"Delay": 201}}']::jsonb[])
    $$,
    ARRAY['late'],
    'A login of the tenant has the tenant''s rules'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules_batch(ARRAY['{}']::jsonb[])$$, '42501', NULL,
    'An administrator matches nothing'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
