-- What an evaluation costs.
BEGIN;

SELECT plan(6);

SELECT has_function('rules', 'evaluation_cost', ARRAY['uuid', 'jsonb']);
SELECT isnt_definer('rules', 'evaluation_cost', ARRAY['uuid', 'jsonb']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour');
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'all positive', 'L.all(x, x > 0)'
);
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

SELECT cmp_ok(
    rules.evaluation_cost(
        '11111111-0000-4000-8000-000000000001',
        jsonb_build_object('L', array_fill(1, ARRAY[1000]))
    ),
    '>',
    100 * rules.evaluation_cost('11111111-0000-4000-8000-000000000001', '{"L": [1]}'),
    'The cost grows with the facts'
);
SELECT cmp_ok(
    rules.evaluation_cost('11111111-0000-4000-8000-000000000001', '{}'),
    '>', 0::bigint, 'An evaluation that fails costs too'
);
SELECT throws_ok(
    $$SELECT rules.evaluation_cost(gen_random_uuid(), '{}')$$,
    'RE010', NULL, 'EVAL-6: an unknown rule is not found'
);
SELECT throws_ok(
    $$SELECT rules.evaluation_cost('11111111-0000-4000-8000-000000000001', NULL)$$,
    '22004', NULL, 'NULL is no facts'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
