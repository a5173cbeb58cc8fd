-- The tenant's schema: its versions, and what a change does to the rules.
BEGIN;

SELECT plan(30);

SELECT is_definer('rules', 'set_schema', ARRAY['jsonb', 'boolean']);
SELECT is_definer('rules', 'activate_schema', ARRAY['integer', 'boolean']);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'tap_tenant');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    $$SELECT rules.set_schema('{"User": {"Age": "int"}}')$$, 'RE001', NULL,
    'Without a tenant there is no schema'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'adults', 'User.Age >= 18');

SELECT throws_ok(
    format('SELECT rules.set_schema(%L)', definition),
    'RE060', NULL, 'Refused: ' || reason
)
FROM (
    VALUES
    ('no object', '[]'),
    ('no objects', '{}'),
    ('an object without fields', '{"User": {}}'),
    ('an unknown type', '{"User": {"Age": "INT"}}'),
    ('no name', '{"User": {"1st": "int"}}'),
    ('a reserved word', '{"User": {"in": "int"}}')
) AS bad (reason, definition);
SELECT throws_ok(
    'SELECT rules.set_schema(NULL)', '22004', NULL, 'NULL is no definition'
);
SELECT is_empty('SELECT * FROM rules.schemas', 'An invalid definition is never stored');

SELECT results_eq(
    $$
        SELECT old_version, new_version, changed_by, compiled, failed
        FROM rules.set_schema('{"User": {"Age": "int"}}')
    $$,
    $$VALUES (NULL::integer, 1, 'tap_app'::name, 1, 0)$$,
    'REQ-SCHEMA-005: the changelog tells who, what and how many'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'text', 'User.Age == "x"')$$,
    'RE020', NULL, 'COMP-3: types are checked against the active schema'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'name', 'User.Name == "x"')$$,
    'RE020', NULL, 'COMP-3: a field that the schema lacks is a compile error'
);
SELECT throws_ok(
    $$SELECT rules.set_schema('{"User": {"Name": "string"}}')$$,
    'RE062', NULL, 'A schema that breaks rules is refused'
);
SELECT results_eq(
    'SELECT version, active FROM rules.schemas', $$VALUES (1, true)$$,
    'A refused schema leaves nothing behind'
);
SELECT results_eq(
    $$
        SELECT
            old_version, new_version, compiled, failed, failures -> 0 ->> 'name'
        FROM rules.set_schema('{"User": {"Name": "string"}}', allow_broken => true)
    $$,
    $$VALUES (1, 2, 1, 1, 'adults')$$,
    'REQ-SCHEMA-005: with the option it is accepted, and each failure is recorded'
);
SELECT results_eq(
    'SELECT version FROM rules.schemas WHERE active', ARRAY[2],
    'Exactly one version is active'
);
SELECT results_eq(
    $$
        SELECT matched, error IS NOT NULL
        FROM rules.evaluate_all('{"User": {"Age": 20}}')
    $$,
    $$VALUES (false, true)$$,
    'A rule that no longer compiles is an error in its result'
);
SELECT results_eq(
    'SELECT old_version, new_version, failed FROM rules.activate_schema(1)',
    $$VALUES (2, 1, 0)$$,
    'An earlier version is active again by one call'
);
SELECT results_eq(
    $$SELECT matched FROM rules.evaluate_all('{"User": {"Age": 20}}')$$,
    ARRAY[true],
    'And the rule is in force again'
);
SELECT throws_ok(
    'SELECT rules.activate_schema(99)', 'RE011', NULL, 'An unknown version is not found'
);
SELECT throws_ok(
    'SELECT rules.activate_schema(NULL)', 'RE011', NULL, 'NULL is no version'
);

SET SESSION AUTHORIZATION tap_tenant;
SET LOCAL "app.tenant_id" = '';
SELECT is_empty(
    'SELECT * FROM rules.schemas UNION ALL SELECT * FROM rules.schemas',
    'REQ-TENANT-001: another tenant sees no version'
);
SELECT is_empty(
    'SELECT * FROM rules.schema_changelog',
    'REQ-TENANT-001: and no change of another'
);
SELECT throws_ok(
    'SELECT rules.activate_schema(1)', 'RE011', NULL,
    'REQ-TENANT-001: nor makes one active'
);
SELECT results_eq(
    $$SELECT new_version FROM rules.set_schema('{"Item": {"Price": "float64"}}')$$,
    ARRAY[1],
    'Each tenant counts from 1'
);
SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT throws_ok(
    $$SELECT rules.set_schema('{"Item": {"Price": "float64"}}')$$, '42501', NULL,
    'REQ-TENANT-001: a bound login sets no schema of the tenant that it names'
);
RESET SESSION AUTHORIZATION;
SELECT results_eq(
    $$
        SELECT version FROM rules.schemas
        WHERE active AND tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
    $$,
    ARRAY[1],
    'REQ-TENANT-004: a change of one tenant leaves the schema of another in force'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    $$SELECT rules.set_schema('{"User": {"Age": "int"}}')$$, '42501', NULL,
    'An administrator sets no schema'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
