-- Bad input, as far as SQL alone can show it: an error with its own SQLSTATE, and the
-- session goes on.
BEGIN;

SELECT plan(105);

INSERT INTO rules.tenants (id, name) VALUES
(md5('harbour')::uuid, 'Harbour Insurance'),
(md5('mountain')::uuid, 'Mountain Rescue');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
-- pgTAP counts in temporary tables, whoever asks.
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES
(md5('harbour')::uuid, md5('mine')::uuid, 'mine', 'true'),
(md5('mountain')::uuid, md5('theirs')::uuid, 'theirs', 'true');

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    format('%s FROM set_config(%L, %L, true)', call, 'app.tenant_id', setting),
    state, NULL, format('%s for tenant %L', call, left(setting, 20))
)
FROM unnest(
    ARRAY[
        'SELECT rules.evaluate(md5(''mine'')::uuid, ''{}'')',
        'SELECT rules.evaluate_all(''{}'')',
        'SELECT rules.matches(md5(''mine'')::uuid, ''{}'')',
        'SELECT rules.matches(md5(''mine'')::uuid, NULL)',
        'SELECT rules.evaluate_expression(''1'')',
        'SELECT rules.check_expression(''1'')',
        'SELECT rules.explain_rule(md5(''mine'')::uuid, ''{}'')',
        'SELECT rules.evaluation_cost(md5(''mine'')::uuid, ''{}'')',
        'SELECT rules.set_schema(''{"User": {"Age": "int"}}'')',
        'SELECT rules.activate_schema(1)'
    ]
) AS call
CROSS JOIN (
    VALUES ('', 'RE001'), ('x', 'RE002'), (repeat('a', 100000), 'RE002')
) AS given (setting, state);

-- What a statement raises: SQLSTATE, message, detail, hint.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION pg_temp.error_of(p_statement text) RETURNS text[]
LANGUAGE plpgsql AS $function$
DECLARE
    v_message text;
    v_detail text;
    v_hint text;
BEGIN
    EXECUTE p_statement;
    RETURN NULL;
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
            v_message = MESSAGE_TEXT,
            v_detail = PG_EXCEPTION_DETAIL,
            v_hint = PG_EXCEPTION_HINT;
        RETURN ARRAY[SQLSTATE, v_message, v_detail, v_hint];
END;
$function$;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant(md5('harbour')::uuid);
SELECT is(
    replace(
        pg_temp.error_of(format(call, md5('theirs')::uuid))::text,
        md5('theirs')::uuid::text, 'id'
    ),
    replace(
        pg_temp.error_of(format(call, md5('nobody''s')::uuid))::text,
        md5('nobody''s')::uuid::text, 'id'
    ),
    'EVAL-6, REQ-TENANT-005: another tenant''s rule and an unknown one look the same: '
    || call
)
FROM unnest(
    ARRAY[
        'SELECT rules.evaluate(%L, ''{}'')',
        'SELECT rules.matches(%L, ''{}'')',
        'SELECT rules.explain_rule(%L, ''{}'')',
        'SELECT rules.evaluation_cost(%L, ''{}'')'
    ]
) AS call;

SELECT throws_ok(
    format(call, facts), state, NULL,
    format('%s with %L', call, left(facts, 24))
)
FROM unnest(
    ARRAY[
        'SELECT rules.evaluate(md5(''mine'')::uuid, %L::jsonb)',
        'SELECT rules.evaluate_all(%L::jsonb)',
        'SELECT rules.evaluate_expression(''1'', %L::jsonb)'
    ]
) AS call
CROSS JOIN (
    VALUES
    (NULL, '22004'),
    ('[]', 'RE030'),
    ('1', 'RE030'),
    ('"x"', 'RE030'),
    ('null', 'RE030'),
    ('{"a": 9223372036854775808}', 'RE030'),
    ('{"a": -9223372036854775809}', 'RE030'),
    ('{"a": 1e400}', 'RE030'),
    ('{"a": ' || repeat('9', 100000) || '}', 'RE030'),
    ('{"a": ' || repeat('[', 5000) || repeat(']', 5000) || '}', 'RE030'),
    ('{"a": "\u0000"}', '22P05'),
    ('{"a": NaN}', '22P02'),
    ('{', '22P02')
) AS refused (facts, state);
-- PostgreSQL's own parser has a limit as well, which its configuration decides.
SELECT ok(
    (
        pg_temp.error_of(
            'SELECT rules.evaluate_all(''{"a": '
            || repeat('[', 10000) || repeat(']', 10000) || '}'')'
        )
    )[1] IN ('RE030', '54001'),
    'Facts that are nested 10,000 times'
);

SELECT throws_ok(
    format(
        'INSERT INTO rules.rules (tenant_id, name, expression) VALUES (%L, %L, %L)',
        md5('harbour')::uuid, 'bad', expression
    ),
    state, NULL, 'COMP-2: a rule is refused: ' || description
)
FROM (
    VALUES
    ('', 'RE020', 'empty'),
    (' ', 'RE020', 'blank'),
    ('1 + "a"', 'RE020', 'an operator for other types'),
    ('foo(1)', 'RE020', 'an unknown function'),
    ('"a', 'RE020', 'a string without an end'),
    (U&'"a" == \0001', 'RE020', 'a control character'),
    (repeat('(', 10000) || '1' || repeat(')', 10000), 'RE021', 'nested 10,000 times'),
    (repeat('[', 30000), 'RE021', 'brackets that never close'),
    (repeat('a.', 10000) || 'a', 'RE021', 'a path of 10,000'),
    (repeat('x', 1000000), 'RE021', 'a megabyte of a name'),
    ('"' || repeat('x', 1000000) || '"', 'RE021', 'a megabyte of text'),
    (repeat('1+', 500000) || '1', 'RE021', 'a megabyte of sums')
) AS refused (expression, state, description);
SELECT is(count(*), 1::bigint, 'COMP-2: nothing of it is stored') FROM rules.rules;

SELECT throws_ok(
    format('SELECT rules.evaluate_expression(%L)', expression), state, NULL, description
)
FROM (
    VALUES
    ('1 / 0', 'RE040', 'Division by zero'),
    ('9223372036854775807 + 1', 'RE040', 'Overflow'),
    ('[1][1]', 'RE040', 'An index beyond the end'),
    ('{}.a', 'RE040', 'EVAL-5: a missing key'),
    (
        '[1, 2, 3, 4, 5, 6, 7, 8, 9].map(a, [1, 2, 3, 4, 5, 6, 7, 8, 9].map(b, '
        || '[1, 2, 3, 4, 5, 6, 7, 8, 9].map(c, [1, 2, 3, 4, 5, 6, 7, 8, 9].map(d, '
        || '[1, 2, 3, 4, 5, 6, 7, 8, 9].map(e, [1, 2, 3, 4, 5, 6, 7, 8, 9].map(f, '
        || '[1, 2, 3, 4, 5, 6, 7, 8, 9].map(g, a)))))))',
        'RE021', 'Macros that would take for ever'
    )
) AS failing (expression, state, description);

SELECT throws_ok(
    format('SELECT rules.set_schema(%L::jsonb)', definition), state, NULL,
    format('No schema definition: %L', definition)
)
FROM (
    VALUES
    (NULL, '22004'),
    ('{}', 'RE060'),
    ('[]', 'RE060'),
    ('null', 'RE060'),
    ('{"User": {}}', 'RE060'),
    ('{"User": "int"}', 'RE060'),
    ('{"User": {"Age": "Int"}}', 'RE060'),
    ('{"User": {"Age": null}}', 'RE060'),
    ('{"1User": {"Age": "int"}}', 'RE060'),
    ('{"User": {"a-b": "int"}}', 'RE060'),
    ('{"true": {"Age": "int"}}', 'RE060')
) AS refused (definition, state);
SELECT is_empty('SELECT id FROM rules.schemas', 'Nothing of it is stored');

SELECT ok(
    matched, 'After all of this the session evaluates'
)
FROM rules.evaluate(md5('mine')::uuid, '{}');
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
