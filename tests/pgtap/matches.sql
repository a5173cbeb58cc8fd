-- One rule in a WHERE clause.
BEGIN;

SELECT plan(12);

SELECT has_function('rules', 'matches', ARRAY['uuid', 'jsonb']);
SELECT isnt_definer('rules', 'matches', ARRAY['uuid', 'jsonb']);
SELECT volatility_is('rules', 'matches', ARRAY['uuid', 'jsonb'], 'stable');

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
CREATE TABLE public.tap_people AS
SELECT
    number,
    jsonb_build_object('User', jsonb_build_object('Age', number % 100)) AS facts
FROM generate_series(1, 1000) AS number;
GRANT SELECT ON public.tap_people TO rules_app;
CREATE FUNCTION public.plan_of(p_query text) RETURNS SETOF text
LANGUAGE plpgsql
AS $function$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN ' || p_query;
END;
$function$;
ANALYZE public.tap_people;

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT is(
    rules.matches('11111111-0000-4000-8000-000000000001', '{"User": {"Age": 18}}'),
    true, 'True for a rule that matches'
);
SELECT is(
    rules.matches('11111111-0000-4000-8000-000000000001', '{"User": {"Age": 17}}'),
    false, 'False for one that does not'
);
SELECT is(
    rules.matches('11111111-0000-4000-8000-000000000001', '{}'),
    NULL, 'NULL for an evaluation that fails'
);
SELECT is(
    rules.matches('11111111-0000-4000-8000-000000000003', '{}'),
    false, 'EVAL-3: false for a value that is no boolean'
);
SELECT is(
    count(*), 820::bigint, 'It selects rows'
)
FROM public.tap_people
WHERE rules.matches('11111111-0000-4000-8000-000000000001', facts);
SELECT throws_ok(
    $$SELECT rules.matches('11111111-0000-4000-8000-000000000009', '{}')$$,
    'RE010', NULL, 'REQ-TENANT-005: another tenant''s rule is not found'
);
SELECT throws_ok(
    $$SELECT rules.matches('11111111-0000-4000-8000-000000000001', '[]')$$,
    'RE030', NULL, 'A list is no facts'
);

-- In parallel workers, which know the login and the tenant too.
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
SELECT matches(
    (
        SELECT string_agg(line, E'\n')
        FROM
            public.plan_of(
                'SELECT count(*) FROM public.tap_people WHERE rules.matches('
                '''11111111-0000-4000-8000-000000000001'', facts)'
            ) AS line
    ),
    'Parallel Seq Scan', 'The planner may use parallel workers'
);
SET LOCAL force_parallel_mode = on;
SELECT is(
    count(*), 820::bigint, 'Parallel workers say the same'
)
FROM public.tap_people
WHERE rules.matches('11111111-0000-4000-8000-000000000001', facts);
SET LOCAL force_parallel_mode = off;

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
