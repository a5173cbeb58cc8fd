-- The tenants: REQ-SCHEMA-001, REQ-TENANT-006, REQ-TENANT-007.
BEGIN;

SELECT plan(27);

SELECT has_table('rules'::name, 'tenants'::name);
SELECT table_owner_is(
    'rules', 'tenants', 'rules_owner', 'tenants belongs to rules_owner'
);
SELECT columns_are(
    'rules', 'tenants', ARRAY['id', 'name', 'created_at', 'updated_at'],
    'REQ-SCHEMA-001: the columns of tenants'
);
SELECT col_type_is('rules', 'tenants', 'id', 'uuid', 'REQ-SCHEMA-001: id');
SELECT col_type_is(
    'rules', 'tenants', 'name', 'character varying(255)', 'REQ-SCHEMA-001: name'
);
SELECT
    col_type_is(
        'rules', 'tenants', time, 'timestamp with time zone', 'REQ-SCHEMA-001: ' || time
    )
FROM unnest(ARRAY['created_at', 'updated_at']::name[]) AS time;
SELECT col_not_null('rules', 'tenants', name, name || ' has a value always')
FROM unnest(ARRAY['id', 'name', 'created_at', 'updated_at']::name[]) AS name;
SELECT col_is_pk('rules', 'tenants', 'id', 'A tenant is known by its id');
SELECT has_index(
    'rules', 'tenants', 'tenants_name_id_idx', ARRAY['name', 'id'],
    'REQ-SCHEMA-007: tenants(name)'
);
SELECT has_trigger(
    'rules', 'tenants', 'tenants_stamp', 'REQ-SCHEMA-010: updated_at is kept'
);

-- As an administrator works.
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_admin;

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour Insurance'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain Rescue');
SELECT
    is(
        name, 'Harbour Insurance', 'REQ-TENANT-006: the name is stored'
    )
FROM rules.tenants
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT
    ok(
        created_at BETWEEN transaction_timestamp() AND clock_timestamp()
        AND updated_at BETWEEN created_at AND clock_timestamp(),
        'REQ-TENANT-006: the times are set by the database'
    )
FROM rules.tenants
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT throws_ok(
    $$INSERT INTO rules.tenants (name, created_at) VALUES ('x', now())$$,
    '42501', NULL, 'An administrator cannot set created_at'
);
SELECT throws_ok(
    $$UPDATE rules.tenants SET id = gen_random_uuid()$$,
    '42501', NULL, 'An administrator cannot change the id of a tenant'
);
SELECT throws_ok(
    $$INSERT INTO rules.tenants (name) VALUES ('  ')$$,
    '23514', NULL, 'A tenant has a name that is not blank'
);
SELECT throws_ok(
    $$INSERT INTO rules.tenants (name) VALUES (NULL)$$,
    '23502', NULL, 'A tenant has a name'
);
SELECT throws_ok(
    $$INSERT INTO rules.tenants (name) VALUES (repeat('x', 256))$$,
    '22001', NULL, 'A name has 255 characters at the most'
);
SELECT throws_ok(
    $$INSERT INTO rules.tenants (id, name)
    VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'again')$$,
    '23505', NULL, 'An id belongs to one tenant'
);
UPDATE rules.tenants SET name = 'Harbour'
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT
    ok(
        updated_at > created_at, 'REQ-SCHEMA-010: updating a tenant sets updated_at'
    )
FROM rules.tenants
WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';

-- What belongs to a tenant goes with it.
RESET SESSION AUTHORIZATION;
INSERT INTO rules.rules (tenant_id, name, expression) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'a rule', 'true'),
('bbbbbbbb-0000-4000-8000-000000000002', 'a rule', 'true');
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'total', '1 + 1');
INSERT INTO rules.schemas (tenant_id, version, definition, active) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 1, '{"User": {"Age": "int"}}', true);
INSERT INTO rules.schema_changelog (tenant_id, schema_id, new_version, compiled, failed)
SELECT
    tenant_id,
    id,
    1,
    0,
    0
FROM rules.schemas
WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001';
INSERT INTO rules.tenant_logins (tenant_id, login) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'somebody');
SET SESSION AUTHORIZATION tap_admin;
SELECT lives_ok(
    $$DELETE FROM rules.tenants WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001'$$,
    'REQ-TENANT-007: an administrator deletes a tenant'
);
RESET SESSION AUTHORIZATION;
SELECT is_empty(
    $$
        SELECT tenant_id FROM rules.rules
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        UNION ALL
        SELECT tenant_id FROM rules.derived_fields
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        UNION ALL
        SELECT tenant_id FROM rules.schemas
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        UNION ALL
        SELECT tenant_id FROM rules.schema_changelog
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        UNION ALL
        SELECT tenant_id FROM rules.tenant_logins
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        UNION ALL
        SELECT tenant_id FROM rules_internal.environments
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
    $$,
    'REQ-TENANT-007, REQ-SCHEMA-006: with the tenant goes all that belongs to it'
);
SELECT
    is(
        count(*), 1::bigint, 'REQ-SCHEMA-006: what belongs to another tenant stays'
    )
FROM rules.rules
WHERE tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002';

SELECT is_empty(
    $$
        SELECT conname FROM pg_catalog.pg_constraint
        WHERE
            contype = 'f'
            AND connamespace IN (
                'rules'::regnamespace, 'rules_internal'::regnamespace
            )
            AND confdeltype <> 'c'
    $$,
    'REQ-SCHEMA-006: every foreign key is ON DELETE CASCADE'
);

SELECT * FROM finish();
ROLLBACK;
