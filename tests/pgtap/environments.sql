-- What a tenant's expressions are compiled against, as one document.
BEGIN;

SELECT plan(13);

SELECT has_table('rules_internal'::name, 'environments'::name);
SELECT col_is_pk(
    'rules_internal', 'environments', 'tenant_id', 'A tenant has one environment'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;

SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT is(
    rules_internal.environment('aaaaaaaa-0000-4000-8000-000000000001'), '{}',
    'Without schema and derived fields it is empty'
);
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'limit_', '18');
SELECT is(
    rules_internal.environment('aaaaaaaa-0000-4000-8000-000000000001')::jsonb,
    '{"derived": {"limit_": "18"}}',
    'A derived field is in it at once'
);
UPDATE rules.derived_fields SET expression = '21';
SELECT is(
    rules_internal.environment('aaaaaaaa-0000-4000-8000-000000000001')::jsonb,
    '{"derived": {"limit_": "21"}}',
    'And so is its new expression'
);
SELECT results_eq(
    $$SELECT new_version FROM rules.set_schema('{"User": {"Age": "int"}}')$$,
    ARRAY[1],
    'A schema is set'
);
SELECT is(
    rules_internal.environment('aaaaaaaa-0000-4000-8000-000000000001')::jsonb,
    '{"schema": {"User": {"Age": "int"}}, "derived": {"limit_": "21"}}',
    'The active schema is in it'
);
DELETE FROM rules.derived_fields;
SELECT is(
    rules_internal.environment('aaaaaaaa-0000-4000-8000-000000000001')::jsonb,
    '{"schema": {"User": {"Age": "int"}}}',
    'A deleted field is in it no more'
);
SELECT throws_ok(
    $$UPDATE rules_internal.environments SET document = '{}'$$,
    '42501', NULL, 'Nobody writes it but the engine'
);
SELECT throws_ok(
    $$SELECT rules_internal.store_environment('aaaaaaaa-0000-4000-8000-000000000001')$$,
    '42501', NULL, 'Nor has it written'
);

SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT is(
    rules_internal.environment('aaaaaaaa-0000-4000-8000-000000000001'), '{}',
    'REQ-TENANT-001: a tenant does not see the environment of another'
);
SELECT is_empty(
    'SELECT * FROM rules_internal.environments', 'REQ-TENANT-001: in no way'
);
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
('bbbbbbbb-0000-4000-8000-000000000002', 'theirs', '1');
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'ours', '2');
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
UPDATE rules.derived_fields SET expression = '3';
SELECT is(
    rules_internal.environment('bbbbbbbb-0000-4000-8000-000000000002')::jsonb,
    '{"derived": {"theirs": "3"}}',
    'REQ-TENANT-003: nothing in it is of another tenant'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
