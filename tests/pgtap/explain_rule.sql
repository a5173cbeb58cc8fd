-- Why a rule says what it says.
BEGIN;

SELECT plan(7);

SELECT has_function('rules', 'explain_rule', ARRAY['uuid', 'jsonb']);
SELECT isnt_definer('rules', 'explain_rule', ARRAY['uuid', 'jsonb']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour');
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'adults', 'User.Age >= 18 && User.Member'
);
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

SELECT results_eq(
    $$
        SELECT expression, depth, outcome, value
        FROM rules.explain_rule(
            '11111111-0000-4000-8000-000000000001', '{"User": {"Age": 17}}'
        )
        ORDER BY step
    $$,
    $$
        VALUES
        ('User.Age >= 18 && User.Member', 0, 'value', 'false'::jsonb),
        ('User.Age >= 18', 1, 'value', 'false'),
        ('User.Age', 2, 'value', '17'),
        ('User.Member', 1, 'not evaluated', NULL)
    $$,
    'EVAL-2: a row for each sub-expression, also for what was skipped'
);
SELECT results_eq(
    $$
        SELECT expression, outcome, error IS NOT NULL
        FROM rules.explain_rule('11111111-0000-4000-8000-000000000001', '{}')
        WHERE expression = 'User.Age'
    $$,
    $$VALUES ('User.Age', 'error', true)$$,
    'EVAL-5: an error stands where it arose'
);
SELECT results_eq(
    $$
        SELECT step, access_keys
        FROM rules.explain_rule('11111111-0000-4000-8000-000000000001', '{}')
        WHERE access_keys IS NOT NULL
    $$,
    $$VALUES (1, 'User.Member == true and User.Age >= 18')$$,
    'The first row says by what facts the rule is found'
);
UPDATE rules.rules SET expression = 'User.Age >= 18 || size("x") == 1'
WHERE id = '11111111-0000-4000-8000-000000000001';
SELECT results_eq(
    $$
        SELECT access_keys
        FROM rules.explain_rule('11111111-0000-4000-8000-000000000001', '{}')
        WHERE step = 1
    $$,
    $$VALUES ('always: nothing in it compares a field with a constant')$$,
    'Or why it has to be evaluated for any'
);
SELECT throws_ok(
    $$SELECT * FROM rules.explain_rule(gen_random_uuid(), '{}')$$,
    'RE010', NULL, 'EVAL-6: an unknown rule is not found'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
