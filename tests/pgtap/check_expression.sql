-- Why an expression does not compile, as rows.
BEGIN;

SELECT plan(8);

SELECT has_function('rules', 'check_expression', ARRAY['text']);
SELECT isnt_definer('rules', 'check_expression', ARRAY['text']);

INSERT INTO rules.tenants (id, name)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    $$SELECT * FROM rules.check_expression('true')$$, 'RE001', NULL,
    'It takes a tenant, whose schema decides'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

SELECT is_empty(
    $$SELECT * FROM rules.check_expression('User.Age >= 18')$$,
    'No row for an expression that compiles'
);
SELECT results_eq(
    $$SELECT line, "column", message FROM rules.check_expression(E'1 +\n  ')$$,
    $$VALUES (2, 3, 'expression ends where an expression must stand'::text)$$,
    'COMP-2: a row for what is wrong, with line and column'
);
SELECT
    is(
        count(*), 2::bigint, 'All unknown functions are reported, not only the first'
    )
FROM rules.check_expression('nosuch(1) && nosuch2(2)');
SELECT results_eq(
    $$SELECT line, "column" FROM rules.check_expression(repeat('(', 5000))$$,
    $$SELECT line, "column" FROM rules.check_expression(repeat('(', 5000))
    WHERE message LIKE '%nest%'$$,
    'An expression that is too deep is a row too'
);
SELECT throws_ok(
    'SELECT * FROM rules.check_expression(NULL)', '22004', NULL, 'NULL is no expression'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
