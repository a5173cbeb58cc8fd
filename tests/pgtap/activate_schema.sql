-- Going back to an earlier version of the schema, and what the changelog keeps of it.
BEGIN;

SELECT plan(13);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    'SELECT rules.activate_schema(1)', 'RE001', NULL, 'Without a tenant there is none'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT throws_ok(
    'SELECT rules.activate_schema(1)', 'RE011', NULL, 'There is no version yet'
);

SELECT rules.set_schema('{"User": {"Age": "int"}}');
SELECT rules.set_schema('{"User": {"Age": "int", "Name": "string"}}');
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
    rules.current_tenant_id(), 'cccccccc-0000-4000-8000-000000000003', 'named',
    E'User.Age > 17 &&\n  User.Name == "Ada"'
);
SELECT throws_ok(
    'SELECT rules.activate_schema(1)', 'RE062', NULL,
    'A version against which a rule no longer compiles is refused'
);
SELECT results_eq(
    'SELECT version FROM rules.schemas WHERE active', ARRAY[2],
    'And the version in force stays'
);
SELECT is(
    count(*), 2::bigint, 'REQ-SCHEMA-005: what was refused is not in the changelog'
)
FROM rules.schema_changelog;

SELECT results_eq(
    $$
        SELECT old_version, new_version, compiled, failed
        FROM rules.activate_schema(1, allow_broken => true)
    $$,
    'VALUES (2, 1, 1, 1)',
    'With the option it is made active'
);
SELECT is(
    failures,
    jsonb_build_array(
        jsonb_build_object(
            'kind', 'rule',
            'id', 'cccccccc-0000-4000-8000-000000000003',
            'name', 'named',
            'message', 'line 2, column 8: User has no field Name',
            'problems', jsonb_build_array(
                jsonb_build_object(
                    'line', 2,
                    'column', 8,
                    'message', 'User has no field Name',
                    'hint',
                    E'  User.Name == "Ada"\n       ^\nits fields are Age'
                )
            )
        )
    ),
    'REQ-SCHEMA-005: each failure is kept with its place and a hint'
)
FROM rules.schema_changelog
WHERE new_version = 1 AND old_version = 2;
SELECT results_eq(
    'SELECT old_version, new_version, failed FROM rules.activate_schema(2)',
    'VALUES (1, 2, 0)',
    'And forth again'
);
SELECT results_eq(
    'SELECT old_version, new_version, compiled FROM rules.activate_schema(2)',
    'VALUES (2, 2, 1)',
    'The version in force may be compiled against once more'
);
SELECT results_eq(
    'SELECT version, active FROM rules.schemas ORDER BY version',
    'VALUES (1, false), (2, true)',
    'Going back and forth makes no versions'
);
SELECT is(
    count(*), 5::bigint, 'REQ-SCHEMA-005: each change is in the changelog'
)
FROM rules.schema_changelog;

DELETE FROM rules.rules;
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'Initial', 'User.Name.charAt(0)');
SELECT throws_ok(
    'SELECT rules.activate_schema(1, allow_broken => true)', 'RE061', NULL,
    'A version that breaks a derived field is refused, whatever the option says'
);
SELECT results_eq(
    'SELECT version FROM rules.schemas WHERE active', ARRAY[2],
    'And nothing is changed'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
