-- Derived fields: REQ-SCHEMA-004, 007, 008, 009, 010, and isolation of their rows.
BEGIN;

SELECT plan(23);

SELECT has_table('rules'::name, 'derived_fields'::name);
SELECT columns_are(
    'rules', 'derived_fields',
    ARRAY[
        'tenant_id',
        'id',
        'name',
        'expression',
        'dependencies',
        'created_at',
        'updated_at'
    ],
    'REQ-SCHEMA-004: the columns of derived_fields'
);
SELECT col_type_is(
    'rules', 'derived_fields', 'dependencies', 'jsonb',
    'REQ-SCHEMA-008: dependencies is jsonb'
);
SELECT col_is_pk(
    'rules',
    'derived_fields',
    ARRAY['tenant_id', 'id'],
    'The key starts with the tenant'
);
SELECT col_is_unique(
    'rules', 'derived_fields', ARRAY['tenant_id', 'name'],
    'REQ-SCHEMA-009: derived_fields(tenant_id, name)'
);
SELECT fk_ok(
    'rules', 'derived_fields', 'tenant_id', 'rules', 'tenants', 'id',
    'REQ-SCHEMA-004: a derived field belongs to a tenant'
);
SELECT has_index(
    'rules', 'derived_fields', 'derived_fields_tenant_id_idx', 'tenant_id',
    'REQ-SCHEMA-007: derived_fields(tenant_id)'
);
SELECT has_index(
    'rules', 'derived_fields', 'derived_fields_dependencies_idx', 'dependencies',
    'REQ-SCHEMA-008: derived_fields.dependencies has an index'
);
SELECT index_is_type(
    'rules', 'derived_fields', 'derived_fields_dependencies_idx', 'gin',
    'REQ-SCHEMA-008: of type GIN'
);
SELECT has_trigger(
    'rules', 'derived_fields', 'derived_fields_stamp',
    'REQ-SCHEMA-010: updated_at is kept'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT lives_ok(
    $$INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'adult', 'User.Age >= 18'
    )$$,
    'DER-1: an application adds a derived field'
);
SELECT throws_ok(
    $$INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'adult', 'true'
    )$$,
    '23505', NULL, 'REQ-SCHEMA-009: a name is used once'
);
SELECT
    throws_ok(
        format(
            'INSERT INTO rules.derived_fields (tenant_id, name, expression) '
            'VALUES (rules.current_tenant_id(), %L, %L)', name, 'true'
        ),
        '23514', NULL, 'No name for a field: ' || name
    )
FROM unnest(ARRAY['', '1st', 'a-b', 'a b', 'é']) AS name;
SELECT throws_ok(
    $$UPDATE rules.derived_fields SET dependencies = '["x"]'$$,
    '42501', NULL, 'DER-2: dependencies are found by the engine, not given'
);
UPDATE rules.derived_fields SET name = 'grown_up';
SELECT
    ok(
        updated_at > created_at, 'REQ-SCHEMA-010: updating a field sets updated_at'
    )
FROM rules.derived_fields;

SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT is_empty(
    'SELECT * FROM rules.derived_fields',
    'REQ-TENANT-001: a tenant sees no field of another'
);
SELECT throws_ok(
    $$INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'planted', 'true'
    )$$,
    '42501', NULL, 'REQ-TENANT-001: and writes none for it'
);
SELECT is_empty(
    $$DELETE FROM rules.derived_fields RETURNING id$$, 'REQ-TENANT-001: nor deletes any'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    'SELECT * FROM rules.derived_fields', '42501', NULL,
    'An administrator reads no derived fields'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
