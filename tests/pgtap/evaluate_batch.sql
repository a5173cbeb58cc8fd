-- One rule over many facts: EVAL-1, EVAL-4.
BEGIN;

SELECT plan(20);

SELECT has_function('rules', 'evaluate_batch', ARRAY['uuid', 'jsonb[]']);
SELECT isnt_definer('rules', 'evaluate_batch', ARRAY['uuid', 'jsonb[]']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.rules (tenant_id, id, name, expression, active) VALUES
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'per head', '100 / User.Heads > 10', false
),
(
    'bbbbbbbb-0000-4000-8000-000000000002', '11111111-0000-4000-8000-000000000009',
    'theirs', 'true', true
);
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
CREATE FUNCTION pg_temp.batch(facts jsonb[]) RETURNS SETOF rules.evaluation_result
LANGUAGE sql AS $$
    SELECT *
    FROM rules.evaluate_batch('11111111-0000-4000-8000-000000000001', facts);
$$;
GRANT EXECUTE ON FUNCTION pg_temp.batch(jsonb[]) TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch('{}')$$, 'RE001', NULL,
    'Without a tenant nothing is evaluated'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$
        SELECT rule_id, rule_name, matched, error, trace
        FROM pg_temp.batch(
            ARRAY[
                '{"User": {"Heads": 5}}',
                '{"User": {"Heads": 0}}',
                '{"User": {"Heads": 50}}'
            ]::jsonb[]
        )
    $$,
    $$
        SELECT
            '11111111-0000-4000-8000-000000000001'::uuid,
            'per head'::text, said.matched, said.error, NULL::jsonb
        FROM (
            VALUES
            (true, NULL),
            (false, 'line 1, column 5: divide by zero'),
            (false, NULL)
        ) AS said (matched, error)
    $$,
    'EVAL-1, EVAL-4: one result for each element, in order, of a rule active or not'
);
SELECT is_empty(
    $$SELECT * FROM pg_temp.batch('{}')$$, 'Without facts there is no result'
);
SELECT results_eq(
    $$
        SELECT matched
        FROM pg_temp.batch('[3:4]={"{\"User\": {\"Heads\": 5}}","{}"}')
    $$,
    ARRAY[true, false],
    'An array may begin anywhere'
);
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch('{{"{}","{}"},{"{}","{}"}}')$$,
    '2202E',
    'cannot evaluate rule ''per head'': the array of facts has 2 dimensions',
    'Facts in several dimensions have no number'
);
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch(NULL)$$, '22004', NULL, 'NULL is no facts'
);
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch('[0:2]={"{}","{}",NULL}')$$,
    '22004',
    'cannot evaluate rule ''per head'': element 3 of facts is NULL',
    'NULL among the elements is named by its number'
);
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch('{"{}",null}')$$,
    '22004', 'cannot evaluate rule ''per head'': element 2 of facts is NULL',
    'NULL is NULL, in either spelling'
);
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch('{"{}","null"}')$$,
    'RE030',
    'cannot evaluate rule ''per head'': element 2: invalid facts: '
    || 'a JSON object is expected, not null',
    'null of JSON is no facts'
);
SELECT throws_ok(
    $$SELECT * FROM pg_temp.batch(ARRAY['{}', '{"a": 1e400}']::jsonb[])$$,
    'RE030',
    'cannot evaluate rule ''per head'': element 2: invalid facts: a: the number '
    || left('1' || repeat('0', 400), 20)
    || '... (401 characters) does not fit a 64-bit integer',
    'Facts that are refused are named by their number'
);
SELECT throws_ok(
    $$
        SELECT *
        FROM pg_temp.batch(
            array_fill('{"User": {"Heads": 5}}'::jsonb, ARRAY[2500]) || '[]'::jsonb
        )
    $$,
    'RE030',
    'cannot evaluate rule ''per head'': element 2501: invalid facts: '
    || 'a JSON object is expected, not an array',
    'Nor does a number start again in a batch that is taken in slices'
);
SELECT results_eq(
    $$
        SELECT result.number, result.matched
        FROM pg_temp.batch(
            ARRAY(
                SELECT jsonb_build_object('User', jsonb_build_object('Heads', n))
                FROM generate_series(1, 2500) AS n
            )
        ) WITH ORDINALITY AS result (a, b, matched, c, d, number)
    $$,
    $$SELECT n, 100 / n > 10 FROM generate_series(1, 2500::bigint) AS n$$,
    'Results keep the order of the elements across slices'
);
SELECT results_eq(
    $$
        SELECT first, cardinality(facts)
        FROM rules_internal.slices(array_fill('{}'::jsonb, ARRAY[250]), 100)
    $$,
    $$VALUES (1, 100), (101, 100), (201, 50)$$,
    'A slice has no more elements than it may'
);
SELECT results_eq(
    $$
        SELECT first, cardinality(facts)
        FROM rules_internal.slices(
            array_fill(to_jsonb(repeat('x', 400000)), ARRAY[5]), 100
        )
    $$,
    $$VALUES (1, 2), (3, 3)$$,
    'Nor many more bytes'
);
SELECT throws_ok(
    $$
        SELECT *
        FROM rules.evaluate_batch('11111111-0000-4000-8000-000000000009', '{}')
    $$,
    'RE010', NULL, 'REQ-TENANT-003: another tenant''s rule is not found'
);
SELECT throws_ok(
    $$SELECT * FROM rules.evaluate_batch(NULL, '{}')$$,
    'RE010', NULL, 'Nor is no rule'
);
SELECT results_eq(
    $$
        SELECT matched, errors, failure
        FROM rules_internal.cel_evaluate_batch(
            rules_internal.cel_runtime(), 'a > 1', '{}',
            ARRAY['{"a": 2}', '[]', '{"a": 1}']::jsonb[]
        )
    $$,
    $$
        VALUES (
            ARRAY[true, NULL, false],
            ARRAY[
                NULL, 'invalid facts: a JSON object is expected, not an array', NULL
            ],
            NULL::jsonb
        )
    $$,
    'The core leaves refused facts to the caller'
);
SELECT results_eq(
    $$
        SELECT matched, errors
        FROM rules_internal.cel_evaluate_batch(
            rules_internal.cel_runtime(), 'a >', '{}', ARRAY['{"a": 2}']::jsonb[]
        )
    $$,
    $$
        VALUES (
            ARRAY[false],
            ARRAY['line 1, column 4: expression ends where an expression must stand']
        )
    $$,
    'A rule that no longer compiles is an error of each element'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
