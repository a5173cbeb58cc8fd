-- All active rules over one set of facts: EVAL-1, EVAL-4.
BEGIN;

SELECT plan(14);

SELECT has_function('rules', 'evaluate_all', ARRAY['jsonb', 'boolean']);
SELECT is_definer('rules', 'evaluate_all', ARRAY['jsonb', 'boolean']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.rules (tenant_id, id, name, expression, active, created_at) VALUES
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000003',
    'not a boolean', '"yes"', true, '2001-01-03'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'adults', 'User.Age >= 18', true, '2001-01-01'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000002',
    'per head', '100 / User.Heads > 10', true, '2001-01-02'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000004',
    'retired', 'true', false, '2001-01-04'
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
    $$SELECT * FROM rules.evaluate_all('{}')$$, 'RE001', NULL,
    'Without a tenant nothing is evaluated'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$
        SELECT rule_name, matched, error, trace
        FROM rules.evaluate_all('{"User": {"Age": 18, "Heads": 0}}')
    $$,
    $$
        VALUES
        ('adults', true, NULL, NULL::jsonb),
        ('per head', false, 'line 1, column 5: divide by zero', NULL),
        ('not a boolean', false, NULL, NULL)
    $$,
    'EVAL-1, EVAL-3, EVAL-4, STORE-5: one result for each active rule, oldest first'
);
SELECT results_eq(
    $$
        SELECT rule_id, rule_name, matched, error, trace
        FROM rules.evaluate_all(
            '{"User": {"Age": 18, "Heads": 0}}', matched_only => true
        )
    $$,
    $$
        VALUES (
            '11111111-0000-4000-8000-000000000001'::uuid, 'adults', true,
            NULL::text, NULL::jsonb
        )
    $$,
    'EVAL-1: with matched_only, the rules that match, and no others'
);
SELECT is_empty(
    $$SELECT * FROM rules.evaluate_all('{}', true)$$, 'Where none matches, no row'
);
SELECT throws_ok(
    $$SELECT * FROM rules.evaluate_all('[]', true)$$, 'RE030', NULL,
    'Whatever is asked for, a list is no facts'
);
SELECT results_eq(
    $$SELECT count(*) FROM rules.evaluate_all('{}', NULL)$$,
    ARRAY[3::bigint],
    'NULL asks for nothing in particular'
);
SELECT throws_ok(
    $$SELECT * FROM rules.evaluate_all('[]')$$, 'RE030', NULL, 'A list is no facts'
);
SELECT throws_ok(
    'SELECT * FROM rules.evaluate_all(NULL)', '22004', NULL, 'NULL is no facts'
);
DELETE FROM rules.rules;
SELECT is_empty(
    $$SELECT * FROM rules.evaluate_all('{}')$$, 'Without rules there is no result'
);
SELECT throws_ok(
    $$SELECT * FROM rules.evaluate_all('[]')$$, 'RE030', NULL,
    'Without rules a list is no facts either'
);
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT results_eq(
    $$SELECT rule_name FROM rules.evaluate_all('{}')$$,
    ARRAY['theirs'],
    'REQ-TENANT-003: the other tenant has its own'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    $$SELECT * FROM rules.evaluate_all('{}')$$, '42501', NULL,
    'An administrator evaluates nothing'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
