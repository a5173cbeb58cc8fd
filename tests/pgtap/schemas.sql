-- The versions of each tenant's schema: REQ-SCHEMA-003, 007, 008, 009.
BEGIN;

SELECT plan(22);

SELECT has_table('rules'::name, 'schemas'::name);
SELECT columns_are(
    'rules', 'schemas',
    ARRAY[
        'tenant_id', 'id', 'version', 'definition', 'active', 'created_at', 'updated_at'
    ],
    'REQ-SCHEMA-003: the columns of schemas'
);
SELECT col_type_is(
    'rules', 'schemas', 'definition', 'jsonb', 'REQ-SCHEMA-003: definition is jsonb'
);
SELECT col_is_pk(
    'rules', 'schemas', ARRAY['tenant_id', 'id'], 'The key starts with the tenant'
);
SELECT col_is_unique(
    'rules', 'schemas', ARRAY['tenant_id', 'version'],
    'REQ-SCHEMA-009: schemas(tenant_id, version)'
);
SELECT fk_ok(
    'rules', 'schemas', 'tenant_id', 'rules', 'tenants', 'id',
    'REQ-SCHEMA-006: a schema belongs to a tenant'
);
SELECT index_is_type('rules', 'schemas', 'schemas_definition_idx', 'gin');
SELECT has_index(
    'rules', 'schemas', 'schemas_definition_idx', 'definition',
    'REQ-SCHEMA-008: schemas.definition has a GIN index'
);
SELECT index_is_unique('rules', 'schemas', 'schemas_tenant_id_active_key');
SELECT matches(
    pg_get_indexdef('rules.schemas_tenant_id_active_key'::regclass),
    '\(tenant_id, active\) WHERE active$',
    'REQ-SCHEMA-007: schemas(tenant_id, active) where active'
);
SELECT has_trigger(
    'rules', 'schemas', 'schemas_stamp', 'REQ-SCHEMA-010: updated_at is kept'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.schemas (tenant_id, version, definition, active) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 1, '{"User": {"Age": "int"}}', true),
('aaaaaaaa-0000-4000-8000-000000000001', 2, '{"User": {"Age": "string"}}', false);

SELECT throws_ok(
    $$UPDATE rules.schemas SET active = true WHERE version = 2$$,
    '23505', NULL, 'Two versions of a tenant are never active at once'
);
SELECT lives_ok(
    $$INSERT INTO rules.schemas (tenant_id, version, definition, active)
    VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 1, '{"User": {}}', true)$$,
    'Version 1 of another tenant is another version'
);
SELECT throws_ok(
    $$INSERT INTO rules.schemas (tenant_id, version, definition)
    VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 2, '{}')$$,
    '23505', NULL, 'REQ-SCHEMA-009: a version is stored once'
);
SELECT throws_ok(
    $$UPDATE rules.schemas SET definition = '{}' WHERE version = 2$$,
    '55000', NULL, 'The definition of a stored version never changes'
);
SELECT throws_ok(
    $$UPDATE rules.schemas SET version = 7 WHERE version = 2$$,
    '55000', NULL, 'Nor does its number'
);
SELECT throws_ok(
    $$UPDATE rules.schemas SET created_at = now() WHERE version = 2$$,
    '55000', NULL, 'Nor does its time'
);
SELECT lives_ok(
    $$UPDATE rules.schemas SET definition = definition, active = false$$,
    'It can be switched off'
);
SELECT throws_ok(
    $$INSERT INTO rules.schemas (tenant_id, version, definition)
    VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 0, '{}')$$,
    '23514', NULL, 'Versions count from 1'
);
SELECT throws_ok(
    $$INSERT INTO rules.schemas (tenant_id, version, definition)
    VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 3, '[]')$$,
    '23514', NULL, 'A definition is a JSON object'
);

-- Applications go through rules.set_schema.
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT results_eq(
    'SELECT tenant_id, version FROM rules.schemas',
    $$VALUES ('bbbbbbbb-0000-4000-8000-000000000002'::uuid, 1)$$,
    'An application sees the versions of its tenant'
);
SELECT throws_ok(
    $$INSERT INTO rules.schemas (tenant_id, version, definition)
    VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 2, '{}')$$,
    '42501', NULL, 'An application does not write versions itself'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
