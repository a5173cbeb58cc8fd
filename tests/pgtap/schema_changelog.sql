-- Who changed the schema, when, and what broke: REQ-SCHEMA-005.
BEGIN;

SELECT plan(13);

SELECT has_table('rules'::name, 'schema_changelog'::name);
SELECT col_type_is('rules', 'schema_changelog', name, type, 'REQ-SCHEMA-005: ' || name)
FROM (
    VALUES
    ('changed_by'::name, 'name'),
    ('changed_at', 'timestamp with time zone'),
    ('old_version', 'integer'),
    ('new_version', 'integer'),
    ('failures', 'jsonb')
) AS expected (name, type);
SELECT col_is_pk(
    'rules', 'schema_changelog', ARRAY['tenant_id', 'id'],
    'The key starts with the tenant'
);
SELECT fk_ok(
    'rules', 'schema_changelog', ARRAY['tenant_id', 'schema_id'],
    'rules', 'schemas', ARRAY['tenant_id', 'id'],
    'A change is of a schema of the same tenant'
);
SELECT index_is_type(
    'rules', 'schema_changelog', 'schema_changelog_failures_idx', 'gin',
    'REQ-SCHEMA-008: failures has a GIN index'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.schemas (tenant_id, id, version, definition) VALUES (
    'aaaaaaaa-0000-4000-8000-000000000001', '22222222-0000-4000-8000-000000000001',
    1, '{"User": {"Age": "int"}}'
);
SELECT throws_ok(
    $$INSERT INTO rules.schema_changelog (
        tenant_id, schema_id, new_version, compiled, failed
    ) VALUES (
        'bbbbbbbb-0000-4000-8000-000000000002', '22222222-0000-4000-8000-000000000001',
        1, 0, 0
    )$$,
    '23503', NULL, 'A foreign key does not reach across tenants (REQ-TENANT-001)'
);

CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT throws_ok(
    'DELETE FROM rules.schema_changelog', '42501', NULL, 'Nobody forgets a change'
);
SELECT throws_ok(
    $$UPDATE rules.schema_changelog SET changed_by = 'somebody else'$$,
    '42501', NULL, 'Nobody rewrites a change'
);
SELECT throws_ok(
    $$INSERT INTO rules.schema_changelog (
        tenant_id, schema_id, new_version, compiled, failed
    ) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', '22222222-0000-4000-8000-000000000001',
        1, 0, 0
    )$$,
    '42501', NULL, 'Nobody invents a change'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
