-- The language in PL/Python: owned by a superuser, safe in parallel plans, and never
-- raising.
BEGIN;

SELECT plan(44);

SELECT
    ok(
        owner.rolsuper AND NOT routine.prosecdef
        AND routine.provolatile = 's' AND routine.proparallel = 's',
        routine.proname
        || ' belongs to a superuser, runs as the caller, is STABLE and PARALLEL SAFE'
    )
FROM pg_catalog.pg_proc AS routine
INNER JOIN pg_catalog.pg_roles AS owner ON routine.proowner = owner.oid
WHERE
    routine.pronamespace = 'rules_internal'::regnamespace
    AND routine.proname LIKE 'cel\_%'
ORDER BY routine.proname;
SELECT
    is(
        prosrc ~ 'plpy|SPI', false, proname || ' never calls the server back'
    )
FROM pg_catalog.pg_proc
WHERE
    pronamespace = 'rules_internal'::regnamespace
    AND proname LIKE 'cel\_%' AND proname <> 'cel_runtime'
ORDER BY proname;
SELECT is_empty(
    $$
        SELECT routine.oid::regprocedure
        FROM pg_catalog.pg_proc AS routine
        INNER JOIN pg_catalog.pg_language AS language ON routine.prolang = language.oid
        WHERE
            language.lanname = 'plpython3u'
            AND routine.pronamespace
            IN ('rules'::regnamespace, 'public'::regnamespace)
    $$,
    'Users call PL/pgSQL; PL/Python is internal'
);
SELECT
    ok(
        NOT has_function_privilege(role.name, routine.oid, 'EXECUTE'),
        role.name || ' gives no session a rule set to keep'
    )
FROM unnest(ARRAY['rules_app', 'rules_tenant', 'rules_admin']) AS role (name)
CROSS JOIN pg_catalog.pg_proc AS routine
WHERE
    routine.pronamespace = 'rules_internal'::regnamespace
    AND routine.proname = 'cel_evaluate_set';

SELECT is(
    rules_internal.cel_runtime(), rules_internal.cel_runtime(),
    'The language is loaded once a session'
);
SELECT results_eq(
    $$
        SELECT matched, error, trace, failure
        FROM rules_internal.cel_evaluate(
            rules_internal.cel_runtime(), 'a > 1', '{}', '{"a": 2}', false
        )
    $$,
    $$VALUES (true, NULL::text, NULL::jsonb, NULL::jsonb)$$,
    'cel_evaluate says whether a rule matches'
);
SELECT results_eq(
    $$
        SELECT matched, error
        FROM rules_internal.cel_evaluate(
            rules_internal.cel_runtime(), '1 / a > 1', '{}', '{"a": 0}', false
        )
    $$,
    $$VALUES (false, 'line 1, column 3: divide by zero'::text)$$,
    'EVAL-4: an error of the evaluation is a result'
);
SELECT
    is(
        failure ->> 'sqlstate',
        'RE030',
        'What cannot be answered is a failure, not raised'
    )
FROM rules_internal.cel_evaluate(
    rules_internal.cel_runtime(), 'a > 1', '{}', '[]', false
);
SELECT results_eq(
    $$
        SELECT matched, errors
        FROM rules_internal.cel_evaluate_set(
            rules_internal.cel_runtime(), NULL, '{}', '{}',
            ARRAY['a > 1', '"x"', '1 / 0 > 1', 'a >'], '{}', '{"a": 2}', false
        )
    $$,
    $$
        VALUES (
            ARRAY[true, false, false, false],
            ARRAY[
                NULL,
                NULL,
                'line 1, column 3: divide by zero',
                'line 1, column 4: expression ends where an expression must stand'
            ]
        )
    $$,
    'EVAL-1, EVAL-3, EVAL-4: cel_evaluate_set gives one result for each rule'
);
SELECT results_eq(
    $$
        SELECT value, failure
        FROM rules_internal.cel_evaluate_expression(
            rules_internal.cel_runtime(), '[a, a * 2]', '{}', '{"a": 2}'
        )
    $$,
    $$VALUES ('[2, 4]'::jsonb, NULL::jsonb)$$,
    'cel_evaluate_expression gives the value'
);
SELECT results_eq(
    $$
        SELECT problems, failure
        FROM rules_internal.cel_check(rules_internal.cel_runtime(), 'a > 1', '{}')
    $$,
    $$VALUES ('[]'::jsonb, NULL::jsonb)$$,
    'cel_check finds nothing wrong with what compiles'
);
SELECT
    is(
        failure ->> 'sqlstate', 'RE020', 'COMP-2: cel_check says what to raise'
    )
FROM rules_internal.cel_check(rules_internal.cel_runtime(), 'a >', '{}');

SELECT results_eq(
    $$
        SELECT format(template, VARIADIC arguments), reasons, failure
        FROM rules_internal.cel_sql(
            rules_internal.cel_runtime(), 'a == "it''s"', '{}', '{"facts": "facts"}'
        )
    $$,
    $$VALUES ('(facts ->> ''a'') = ''it''''s''', '[]'::jsonb, NULL::jsonb)$$,
    'cel_sql gives a template and what the server quotes in it'
);

SELECT * FROM finish();
ROLLBACK;
