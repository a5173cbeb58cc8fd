-- A rule that does not compile is refused: COMP-2.
BEGIN;

SELECT plan(18);

SELECT has_trigger(
    'rules', 'rules', 'rules_compile', 'Rules are compiled when they are written'
);

INSERT INTO rules.tenants (id, name)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

SELECT
    throws_ok(
        format(
            'INSERT INTO rules.rules (tenant_id, name, expression) '
            'VALUES (rules.current_tenant_id(), %L, %L)', 'bad', expression
        ),
        sqlstate, NULL, format('COMP-2: refused with %s: %s', sqlstate, reason)
    )
FROM (
    VALUES
    ('RE020', 'nothing', ''),
    ('RE020', 'half an expression', 'User.Age >= '),
    ('RE020', 'no CEL', 'SELECT 1'),
    ('RE020', 'an unknown function', 'nosuch(1)'),
    ('RE021', 'too long', 'true' || repeat(' ', 40000)),
    ('RE021', 'too deep', repeat('(', 5000) || '1' || repeat(')', 5000))
) AS bad (sqlstate, reason, expression);
SELECT is_empty('SELECT * FROM rules.rules', 'COMP-2: nothing was stored');

INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
    rules.current_tenant_id(), '11111111-0000-4000-8000-000000000001', 'adults',
    'User.Age >= 18'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET expression = 'User.Age >= '$$,
    'RE020', NULL, 'COMP-2: an update that does not compile is refused'
);
SELECT results_eq(
    'SELECT expression FROM rules.rules', ARRAY['User.Age >= 18'],
    'COMP-2: the old rule stays in force'
);

-- Where and why, for a reader.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION pg_temp.refusal(p_expression text) RETURNS text[]
LANGUAGE plpgsql
AS $function$
DECLARE
    v_message text;
    v_detail text;
BEGIN
    INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'bad', p_expression);
    RETURN NULL;
EXCEPTION
    WHEN sqlstate 'RE020' THEN
        GET STACKED DIAGNOSTICS
            v_message := MESSAGE_TEXT, v_detail := PG_EXCEPTION_DETAIL;
        RETURN ARRAY[v_message, v_detail];
END;
$function$;
SELECT alike(
    (pg_temp.refusal(E'a == 1 &&\nb = 2'))[1],
    'cannot store rule ''bad'': line 2, column 3: %',
    'COMP-2: the message names operation, rule, line and column'
);
SELECT alike(
    (pg_temp.refusal(E'a == 1 &&\nb = 2'))[2],
    E'%\nb = 2\n  ^%',
    'COMP-2: the detail shows the line with a caret'
);

-- Compiling is for what changes.
RESET SESSION AUTHORIZATION;
SET LOCAL session_replication_role = replica;
UPDATE rules.rules SET expression = 'User.Age >= '
WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001';
SET LOCAL session_replication_role = origin;
SET SESSION AUTHORIZATION tap_app;
SELECT lives_ok(
    $$UPDATE rules.rules SET name = 'grown-ups'$$,
    'A rule that stopped compiling can be renamed'
);
SELECT lives_ok(
    $$UPDATE rules.rules SET active = false$$, 'Or switched off'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET active = true$$,
    'RE020', NULL, 'But not on again as it is'
);
SELECT lives_ok(
    $$UPDATE rules.rules SET active = true, expression = 'User.Age >= 18'$$,
    'Only when it compiles again'
);

SELECT results_eq(
    $$SELECT estimated_cost FROM rules.rules WHERE expression = 'User.Age >= 18'$$,
    ARRAY[4::bigint], 'What a rule can cost at most is stored with it'
);
SELECT throws_ok(
    $$
        UPDATE rules.rules
        SET expression = 'a.all(x, b.all(y, c.all(z, d.all(w, w != x))))'
    $$,
    'RE021', NULL, 'A rule that can cost more than the limit is refused'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
