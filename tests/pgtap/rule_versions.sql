-- The versions of a rule: listed, compared, restored.
BEGIN;

SELECT plan(29);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_other LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'tap_other');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(statement, 'RE001', NULL, 'Without a tenant there is no ' || what)
FROM (
    VALUES
    ('list', 'SELECT * FROM rules.rule_versions(NULL)'),
    ('comparison', 'SELECT * FROM rules.compare_rule_versions(NULL, 1, 2)'),
    ('restoring', 'SELECT rules.restore_rule(NULL, 1)')
) AS call (what, statement);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT throws_ok(statement, 'RE010', NULL, 'An unknown rule has no ' || what)
FROM (
    VALUES
    ('list', 'SELECT * FROM rules.rule_versions(md5(''a'')::uuid)'),
    ('comparison', 'SELECT * FROM rules.compare_rule_versions(md5(''a'')::uuid, 1, 2)'),
    ('version', 'SELECT rules.restore_rule(md5(''a'')::uuid, 1)'),
    ('list without an id', 'SELECT * FROM rules.rule_versions(NULL)')
) AS call (what, statement);

INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), md5('a')::uuid, 'adult', 'Age >= 18');
SELECT results_eq(
    $$SELECT version, valid_from, valid_to FROM rules.rule_versions(md5('a')::uuid)$$,
    $$VALUES (1, NULL::timestamptz, NULL::timestamptz)$$,
    'What is not committed is in force from no time on'
);
-- As if each statement were committed by itself.
SET CONSTRAINTS ALL IMMEDIATE;
UPDATE rules.rules SET expression = 'Age >= 21' WHERE name = 'adult';
UPDATE rules.rules SET name = 'grown up', active = false WHERE name = 'adult';
SELECT results_eq(
    $$
        SELECT version, operation, name, expression, active, changed_by
        FROM rules.rule_versions(md5('a')::uuid)
    $$,
    $$VALUES
    (1, 'insert', 'adult', 'Age >= 18', true, 'tap_app'),
    (2, 'update', 'adult', 'Age >= 21', true, 'tap_app'),
    (3, 'update', 'grown up', 'Age >= 21', false, 'tap_app')$$,
    'Versions are counted from 1, oldest first'
);
SELECT results_eq(
    $$
        SELECT
            bool_and(valid_from >= changed_at),
            count(*) FILTER (WHERE valid_to IS NULL),
            count(*) FILTER (WHERE valid_to > valid_from)
        FROM rules.rule_versions(md5('a')::uuid)
    $$,
    $$VALUES (true, 1::bigint, 2::bigint)$$,
    'Each is valid until the next, the last one still'
);
SELECT results_eq(
    $$SELECT * FROM rules.compare_rule_versions(md5('a')::uuid, 1, 3)$$,
    $$VALUES
    ('name', 'adult', 'grown up'),
    ('expression', 'Age >= 18', 'Age >= 21'),
    ('active', 'true', 'false')$$,
    'A comparison has what differs'
);
SELECT results_eq(
    $$SELECT * FROM rules.compare_rule_versions(md5('a')::uuid, 2, 1)$$,
    $$VALUES ('expression', 'Age >= 21', 'Age >= 18')$$,
    'And nothing else'
);
SELECT is_empty(
    $$SELECT * FROM rules.compare_rule_versions(md5('a')::uuid, 2, 2)$$,
    'A version does not differ from itself'
);
SELECT throws_ok(
    format('SELECT rules.compare_rule_versions(md5(''a'')::uuid, 1, %s)', version),
    'RE013', NULL, 'There is no version ' || version
)
FROM unnest(ARRAY['0', '4', '-1', 'NULL']) AS unknown (version);

SELECT results_eq(
    $$
        SELECT name, expression, active, id
        FROM rules.restore_rule(md5('a')::uuid, 1)
    $$,
    $$VALUES ('adult'::varchar, 'Age >= 18', true, md5('a')::uuid)$$,
    'Restoring gives the rule as it is now'
);
SELECT results_eq(
    $$
        SELECT version, operation, name, expression
        FROM rules.rule_versions(md5('a')::uuid)
        ORDER BY version DESC LIMIT 1
    $$,
    $$VALUES (4, 'update', 'adult', 'Age >= 18')$$,
    'What is restored is the newest version; none is lost'
);
DELETE FROM rules.rules;
SELECT results_eq(
    $$
        SELECT version, operation, name FROM rules.rule_versions(md5('a')::uuid)
        ORDER BY version DESC LIMIT 1
    $$,
    $$VALUES (5, 'delete', NULL::text)$$,
    'A deletion is listed'
);
SELECT results_eq(
    $$SELECT * FROM rules.compare_rule_versions(md5('a')::uuid, 4, 5)$$,
    $$VALUES
    ('name', 'adult', NULL::text), ('expression', 'Age >= 18', NULL),
    ('active', 'true', NULL)$$,
    'And compared'
);
SELECT throws_ok(
    $$SELECT rules.restore_rule(md5('a')::uuid, 5)$$, 'RE013', NULL,
    'But not restored'
);
SELECT results_eq(
    $$SELECT id, name, active FROM rules.restore_rule(md5('a')::uuid, 3)$$,
    $$VALUES (md5('a')::uuid, 'grown up'::varchar, false)$$,
    'A deleted rule is restored under its id'
);
SELECT lives_ok(
    $$SELECT rules.set_schema('{"User": {"Age": "int"}}')$$,
    'The schema changes'
);
SELECT throws_ok(
    $$SELECT rules.restore_rule(md5('a')::uuid, 1)$$, 'RE020', NULL,
    'A version that does not compile today is refused'
);
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), md5('b')::uuid, 'b', 'User.Age >= 18');
UPDATE rules.rules SET name = 'c' WHERE name = 'b';
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'b', 'true');
SELECT throws_ok(
    $$SELECT rules.restore_rule(md5('b')::uuid, 1)$$, '23505', NULL,
    'So is a name that another rule has today'
);

SET SESSION AUTHORIZATION tap_other;
SET LOCAL "app.tenant_id" = '';
SELECT throws_ok(statement, 'RE010', NULL, 'REQ-TENANT-001: another tenant: ' || what)
FROM (
    VALUES
    ('list', 'SELECT * FROM rules.rule_versions(md5(''a'')::uuid)'),
    ('restoring', 'SELECT rules.restore_rule(md5(''a'')::uuid, 1)')
) AS call (what, statement);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    'SELECT rules.restore_rule(md5(''a'')::uuid, 1)', '42501', NULL,
    'An administrator restores no rule'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
