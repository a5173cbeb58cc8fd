-- The value of an expression that is no rule.
BEGIN;

SELECT plan(18);

SELECT has_function('rules', 'evaluate_expression', ARRAY['text', 'jsonb']);
SELECT isnt_definer('rules', 'evaluate_expression', ARRAY['text', 'jsonb']);

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
-- throws_ok() lets a cancelled statement through.
CREATE FUNCTION public.tap_cancelled(p_expression text, p_facts jsonb) RETURNS text
LANGUAGE plpgsql
AS $function$
BEGIN
    RETURN rules.evaluate_expression(p_expression, p_facts)::text;
EXCEPTION
    WHEN query_canceled THEN
        RETURN SQLERRM;
END;
$function$;
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
    $$SELECT rules.evaluate_expression('1', '{}')$$, 'RE001', NULL,
    'It takes a tenant, whose schema decides'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT is(
    rules.evaluate_expression(expression, '{"a": [1, 2.5], "b": {"c": "x"}}'),
    value::jsonb, 'COMP-1: ' || expression
)
FROM (
    VALUES
    ('a[0] + 1', '2'),
    ('a[1] * 2.0', '5.0'),
    ('a.map(x, x > 1.5)', '[false, true]'),
    ('b.c + "y"', '"xy"'),
    ('{"k": a}', '{"k": [1, 2.5]}'),
    ('has(b.d)', 'false'),
    ('null', 'null')
) AS tried (expression, value);
SELECT throws_ok(
    format('SELECT rules.evaluate_expression(%L, %L)', expression, facts),
    sqlstate, NULL, format('%s: %s', sqlstate, reason)
)
FROM (
    VALUES
    ('RE020', 'does not compile', '1 +', '{}'),
    ('RE021', 'too large', repeat('1 + ', 20000) || '1', '{}'),
    ('RE030', 'no facts', '1', '[]'),
    ('RE040', 'fails', '1 / 0', '{}'),
    (
        'RE021', 'can cost too much', '[1].map(a, lists.range(1000000))', '{}'
    ),
    (
        'RE041', 'costs too much', 'L.all(a, L.all(b, a + b > 0))',
        jsonb_build_object('L', array_fill(1, ARRAY[1000]))::text
    )
) AS bad (sqlstate, reason, expression, facts);
SELECT throws_ok(
    'SELECT rules.evaluate_expression(NULL, NULL)', '22004', NULL,
    'NULL is no expression'
);
SET LOCAL statement_timeout = '50ms';
SELECT is(
    public.tap_cancelled(
        'L.all(a, L.all(b, a + b > 0))',
        jsonb_build_object('L', array_fill(1, ARRAY[1000]))
    ),
    'canceling statement due to statement timeout',
    'statement_timeout ends it, in the server''s own words'
);
SET LOCAL statement_timeout = 0;

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
