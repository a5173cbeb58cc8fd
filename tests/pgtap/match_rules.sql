-- The rules that match facts, found by their access keys.
BEGIN;

SELECT plan(12);

SELECT has_function('rules', 'match_rules', ARRAY['jsonb']);
SELECT isnt_definer('rules', 'match_rules', ARRAY['jsonb']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.rules (tenant_id, name, expression, active, created_at) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'third', 'A == 1', true, '2020-01-03Z'),
('aaaaaaaa-0000-4000-8000-000000000001', 'first', 'A >= 1', true, '2020-01-01Z'),
('aaaaaaaa-0000-4000-8000-000000000001', 'second', 'has(M.a)', true, '2020-01-02Z'),
('aaaaaaaa-0000-4000-8000-000000000001', 'fails', 'A / 0 == 1', true, '2020-01-01Z'),
(
    'aaaaaaaa-0000-4000-8000-000000000001', 'absorbs', 'M.b == 1 || A == 2', true,
    '2020-01-04Z'
),
('aaaaaaaa-0000-4000-8000-000000000001', 'asleep', 'A == 1', false, '2020-01-01Z'),
('bbbbbbbb-0000-4000-8000-000000000002', 'theirs', 'A == 1', true, '2020-01-01Z');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;

SELECT throws_ok(
    $$SELECT * FROM rules.match_rules('{}')$$,
    'RE001', NULL, 'TENANT-3: without a tenant there is no answer'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$
        SELECT rule_name, matched, error, trace
        FROM rules.match_rules('{"A": 1, "M": {"a": null}}')
    $$,
    $$
        VALUES
        ('first', true, NULL::text, NULL::jsonb),
        ('second', true, NULL, NULL),
        ('third', true, NULL, NULL)
    $$,
    'The active rules that match, oldest first'
);
SELECT results_eq(
    $$SELECT rule_id FROM rules.match_rules('{"A": 2}')$$,
    $$SELECT rule_id FROM rules.evaluate_all('{"A": 2}') WHERE matched$$,
    'They are those that match in evaluate_all'
);
SELECT is_empty(
    $$SELECT FROM rules.match_rules('{"Z": 1}')$$, 'There may be none'
);
SELECT is_empty($$SELECT FROM rules.match_rules('{}')$$, 'Facts may be empty');
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules(NULL)$$, '22004', NULL, 'NULL is refused'
);
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules('[]')$$, 'RE030', NULL, 'Facts are an object'
);
SELECT throws_ok(
    $$SELECT * FROM rules.match_rules('{"A": 1e400}')$$,
    'RE030', NULL, 'Numbers of facts fit their types'
);

-- A rule that no longer compiles.
SELECT rules.set_schema('{"M": {"a": "int"}}', true);
SELECT results_eq(
    $$SELECT rule_name FROM rules.match_rules('{"A": 1, "M": {"a": 1}}')$$,
    ARRAY['second'],
    'Keys are of the active schema, and a rule that no longer compiles has none'
);
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT results_eq(
    $$SELECT rule_name FROM rules.match_rules('{"A": 1, "M": {"a": 1}}')$$,
    ARRAY['theirs'],
    'REQ-TENANT-001: another tenant''s rules are its own'
);
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
