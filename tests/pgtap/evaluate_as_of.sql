-- A rule judges as it did at a time: by its text, the schema and the derived fields
-- that were in force then.
BEGIN;

SELECT plan(30);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_other LOGIN IN ROLE rules_tenant;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'tap_other');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

-- The times between the statements, by name.
CREATE TEMPORARY TABLE times (name text, at timestamptz DEFAULT clock_timestamp());
GRANT ALL ON times TO public;
CREATE FUNCTION pg_temp.judged(p_facts jsonb) RETURNS TABLE (
    at text, rule_name text, matched boolean, failed boolean
) LANGUAGE sql AS $$
    SELECT times.name, result.rule_name, result.matched, result.error IS NOT NULL
    FROM times
    CROSS JOIN LATERAL rules.evaluate_as_of(md5('a')::uuid, p_facts, times.at) AS result
    WHERE times.name NOT IN ('before', 'deleted')
    ORDER BY times.at
$$;
GRANT EXECUTE ON FUNCTION pg_temp.judged(jsonb) TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', now())$$, 'RE001', NULL,
    'Without a tenant there is no verdict'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', clock_timestamp())$$,
    'RE010', NULL, 'An unknown rule has none'
);
INSERT INTO times VALUES ('before');
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), md5('a')::uuid, 'first', 'N > 1');
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{"N": 2}', clock_timestamp())$$,
    'RE012', NULL, 'What is not committed is not in force'
);

-- As if each statement were committed by itself.
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO times VALUES ('first');
UPDATE rules.rules SET name = 'second', expression = 'N > 2';
INSERT INTO times VALUES ('second');
UPDATE rules.rules SET active = false;
INSERT INTO times VALUES ('inactive');
SELECT results_eq(
    $$SELECT * FROM pg_temp.judged('{"N": 2}')$$,
    $$VALUES
    ('first', 'first', true, false),
    ('second', 'second', false, false),
    ('inactive', 'second', false, false)$$,
    'The rule that was in force then decides, under its name of then'
);
SELECT results_eq(
    $$SELECT * FROM pg_temp.judged('{"N": 3}')$$,
    $$VALUES
    ('first', 'first', true, false),
    ('second', 'second', true, false),
    ('inactive', 'second', true, false)$$,
    'Active or not'
);
SELECT throws_ok(
    $$
        SELECT rules.evaluate_as_of(md5('a')::uuid, '{"N": 2}', times.at)
        FROM times WHERE name = 'before'
    $$,
    'RE012', NULL, 'Before it was stored it was not in force'
);

-- Derived fields and schemas of then.
DELETE FROM times;
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'Twice', 'N * 2');
UPDATE rules.rules SET expression = 'Twice > 10';
INSERT INTO times VALUES ('twice');
UPDATE rules.derived_fields SET expression = 'N * 2 + 100';
INSERT INTO times VALUES ('plus');
UPDATE rules.rules SET expression = 'true';
DELETE FROM rules.derived_fields;
INSERT INTO times VALUES ('gone');
SELECT results_eq(
    $$SELECT at, matched, failed FROM pg_temp.judged('{"N": 3}')$$,
    $$VALUES ('twice', false, false), ('plus', true, false), ('gone', true, false)$$,
    'The derived fields of then count'
);
DELETE FROM times;
UPDATE rules.rules SET expression = 'Item.Price / 2 > 1';
INSERT INTO times VALUES ('none');
SELECT isnt(rules.set_schema('{"Item": {"Price": "int"}}'), NULL, 'A price is an int');
INSERT INTO times VALUES ('int');
SELECT
    isnt(rules.set_schema('{"Item": {"Price": "float64"}}'), NULL, 'It is a double');
INSERT INTO times VALUES ('float64');
SELECT isnt(rules.activate_schema(1), NULL, 'It is an int again');
INSERT INTO times VALUES ('int again');
SELECT results_eq(
    $$SELECT at, matched, failed FROM pg_temp.judged('{"Item": {"Price": 4}}')$$,
    $$VALUES
    ('none', true, false), ('int', true, false),
    ('float64', false, true), ('int again', true, false)$$,
    'The schema of then counts; what did not compile then is an error of the result'
);
SELECT is(
    rules_internal.environment_as_of(rules.current_tenant_id(), clock_timestamp()),
    rules_internal.environment(rules.current_tenant_id()),
    'Now, it is the environment of now: with a schema'
);
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
(rules.current_tenant_id(), 'A', 'Item.Price'), (rules.current_tenant_id(), 'B', 'A');
SELECT is(
    rules_internal.environment_as_of(rules.current_tenant_id(), clock_timestamp()),
    rules_internal.environment(rules.current_tenant_id()),
    'With a schema and derived fields'
);
UPDATE rules.derived_fields SET name = 'C' WHERE name = 'B';
SELECT is(
    rules_internal.environment_as_of(rules.current_tenant_id(), clock_timestamp()),
    rules_internal.environment(rules.current_tenant_id()),
    'With one renamed'
);
DELETE FROM rules.derived_fields;
SELECT is(
    rules_internal.environment_as_of(rules.current_tenant_id(), clock_timestamp()),
    rules_internal.environment(rules.current_tenant_id()),
    'With all deleted'
);
SELECT is(
    rules_internal.environment_as_of(rules.current_tenant_id(), '2000-01-01'), '{}',
    'Before everything it is empty'
);

-- A rule that is deleted, and restored.
DELETE FROM rules.rules;
INSERT INTO times VALUES ('deleted');
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', clock_timestamp())$$,
    'RE012', NULL, 'A deleted rule is not in force'
);
SELECT isnt(
    rules.evaluate_as_of(md5('a')::uuid, '{"Item": {"Price": 9}}', times.at), NULL,
    'But it still was'
)
FROM times WHERE times.name = 'int';
SELECT isnt(rules.restore_rule(md5('a')::uuid, max(version)), NULL, 'It is restored')
FROM rules.rule_versions(md5('a')::uuid)
WHERE expression = 'Item.Price / 2 > 1';
SELECT throws_ok(
    $$
        SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', times.at)
        FROM times WHERE name = 'deleted'
    $$,
    'RE012', NULL, 'And was still not in force in between'
);

-- Arguments.
SELECT throws_ok(
    format('SELECT rules.evaluate_as_of(md5(''a'')::uuid, %s)', arguments),
    state, NULL, reason
)
FROM (
    VALUES
    ('NULL, now()', '22004', 'NULL is no facts'),
    ('''{}'', NULL', '22004', 'NULL is no time'),
    ('''[]'', clock_timestamp()', 'RE030', 'Facts are an object'),
    ('''{}'', clock_timestamp() + interval ''1 second''', '22023', 'Not yet'),
    ('''{}'', ''infinity''', '22023', 'Never'),
    ('''{}'', ''-infinity''', 'RE012', 'Before all times there was no rule')
) AS bad (arguments, state, reason);
SELECT throws_ok(
    'SELECT rules.evaluate_as_of(NULL, ''{}'', clock_timestamp())',
    'RE010', NULL, 'NULL is no rule'
);
SET SESSION AUTHORIZATION tap_other;
SET LOCAL "app.tenant_id" = '';
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', clock_timestamp())$$,
    'RE010', NULL, 'REQ-TENANT-001: another tenant''s rule never was'
);

-- A tenant that is older than the audit.
RESET SESSION AUTHORIZATION;
INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, after)
VALUES (
    'bbbbbbbb-0000-4000-8000-000000000002', 'audit',
    'bbbbbbbb-0000-4000-8000-000000000002', 'baseline', '{}'
);
SET SESSION AUTHORIZATION tap_other;
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', '2000-01-01')$$,
    'RE014', NULL, 'What was before the audit began is not known'
);
SELECT throws_ok(
    $$SELECT rules.evaluate_as_of(md5('a')::uuid, '{}', clock_timestamp())$$,
    'RE010', NULL, 'What came later is'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
