-- One rule over one set of facts: EVAL-1 to EVAL-6.
BEGIN;

SELECT plan(26);

SELECT has_function('rules', 'evaluate', ARRAY['uuid', 'jsonb', 'boolean']);
SELECT isnt_definer('rules', 'evaluate', ARRAY['uuid', 'jsonb', 'boolean']);
SELECT volatility_is('rules', 'evaluate', ARRAY['uuid', 'jsonb', 'boolean'], 'stable');
SELECT columns_are(
    'rules', 'evaluation_result',
    ARRAY['rule_id', 'rule_name', 'matched', 'error', 'trace'],
    'EVAL-2: what a result has'
);

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
    $$SELECT rules.evaluate('11111111-0000-4000-8000-000000000001', '{}')$$,
    'RE001', NULL, 'Without a tenant nothing is evaluated'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

SELECT results_eq(
    $$
        SELECT rule_id, rule_name, matched, error, trace
        FROM rules.evaluate(
            '11111111-0000-4000-8000-000000000001', '{"User": {"Age": 18}}'
        )
    $$,
    $$
        VALUES (
            '11111111-0000-4000-8000-000000000001'::uuid, 'adults', true, NULL::text,
            NULL::jsonb
        )
    $$,
    'EVAL-1, EVAL-2: a rule that matches'
);
SELECT results_eq(
    $$
        SELECT matched, error FROM rules.evaluate(
            facts => '{"User": {"Age": 17}}',
            rule_id => '11111111-0000-4000-8000-000000000001'
        )
    $$,
    $$VALUES (false, NULL::text)$$,
    'EVAL-1: a rule that does not; arguments have names'
);
SELECT results_eq(
    $$
        SELECT matched, error
        FROM evaluate('11111111-0000-4000-8000-000000000003', '{}')
    $$,
    $$VALUES (false, NULL::text)$$,
    'EVAL-3: a value that is no boolean does not match; the name needs no schema'
);
SELECT results_eq(
    $$
        SELECT matched, error FROM rules.evaluate(
            '11111111-0000-4000-8000-000000000002', '{"User": {"Heads": 0}}'
        )
    $$,
    $$VALUES (false, 'line 1, column 5: divide by zero')$$,
    'EVAL-4: an evaluation that fails gives the error'
);
SELECT results_eq(
    $$
        SELECT matched, error IS NOT NULL
        FROM rules.evaluate('11111111-0000-4000-8000-000000000001', '{"User": {}}')
    $$,
    $$VALUES (false, true)$$,
    'EVAL-5: a missing field is an error'
);
SELECT results_eq(
    $$
        SELECT matched, jsonb_typeof(trace), jsonb_array_length(trace) > 0
        FROM rules.evaluate(
            '11111111-0000-4000-8000-000000000001', '{"User": {"Age": 18}}',
            trace => true
        )
    $$,
    $$VALUES (true, 'array', true)$$,
    'EVAL-2: the trace has the steps'
);
SELECT results_eq(
    $$SELECT matched FROM evaluate('11111111-0000-4000-8000-000000000004', '{}')$$,
    ARRAY[true],
    'A rule that is not active is evaluated when it is asked for'
);

SELECT throws_ok(
    format('SELECT rules.evaluate(%L, %L)', id, '{}'),
    'RE010', format('cannot evaluate rule: rule %s not found', id),
    'EVAL-6, REQ-TENANT-005: not found: ' || reason
)
FROM (
    VALUES
    ('11111111-0000-4000-8000-000000000099', 'an unknown rule'),
    ('11111111-0000-4000-8000-000000000009', 'another tenant''s rule')
) AS missing (id, reason);
SELECT throws_ok(
    $$SELECT rules.evaluate(NULL, '{}')$$, 'RE010', NULL, 'NULL is no rule'
);
SELECT throws_ok(
    $$SELECT rules.evaluate('11111111-0000-4000-8000-000000000001', NULL)$$,
    '22004', NULL, 'NULL is no facts'
);
SELECT throws_ok(
    format(
        'SELECT rules.evaluate(%L, %L)', '11111111-0000-4000-8000-000000000001', facts
    ),
    'RE030', NULL, 'No facts: ' || left(facts, 40)
)
FROM
    unnest(
        ARRAY['[]', '"x"', '1', 'null', '{"a": 9223372036854775808}', '{"a": 1e400}']
    ) AS facts;

SET SESSION AUTHORIZATION tap_tenant;
SET LOCAL "app.tenant_id" = '';
SELECT results_eq(
    $$
        SELECT matched FROM rules.evaluate(
            '11111111-0000-4000-8000-000000000001', '{"User": {"Age": 18}}'
        )
    $$,
    ARRAY[true],
    'A bound login evaluates the rules of its tenant'
);
SELECT throws_ok(
    $$SELECT rules.evaluate('11111111-0000-4000-8000-000000000009', '{}')$$,
    'RE010', NULL, 'REQ-TENANT-005: and those of no other'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    $$SELECT rules.evaluate('11111111-0000-4000-8000-000000000001', '{}')$$,
    '42501', NULL, 'An administrator evaluates nothing'
);
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    $$SELECT rules.evaluate('11111111-0000-4000-8000-000000000001', '{}')$$,
    '42501', NULL, 'Nor does a stranger'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
