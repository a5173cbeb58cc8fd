-- The rules: REQ-SCHEMA-002, 006, 007, 009, 010, and isolation of their rows.
BEGIN;

SELECT plan(47);

SELECT has_table('rules'::name, 'rules'::name);
SELECT table_owner_is(
    'rules', 'rules', 'rules_owner', 'rules belongs to rules_owner'
);
SELECT columns_are(
    'rules', 'rules',
    ARRAY[
        'tenant_id', 'id', 'name', 'expression', 'active', 'estimated_cost',
        'created_at', 'updated_at'
    ],
    'REQ-SCHEMA-002, STORE-2: the columns of rules'
);
SELECT col_type_is('rules', 'rules', name, type, 'REQ-SCHEMA-002: ' || name)
FROM (
    VALUES
    ('tenant_id'::name, 'uuid'),
    ('id', 'uuid'),
    ('name', 'character varying(255)'),
    ('expression', 'text'),
    ('active', 'boolean'),
    ('estimated_cost', 'bigint'),
    ('created_at', 'timestamp with time zone'),
    ('updated_at', 'timestamp with time zone')
) AS expected (name, type);
SELECT is_empty(
    $$
        SELECT attname FROM pg_catalog.pg_attribute
        WHERE
            attrelid = 'rules.rules'::regclass AND attnum > 0 AND NOT attnotnull
            AND attname <> 'estimated_cost'
    $$,
    'No column of a rule may be NULL, but for what its compilation finds'
);
SELECT col_is_pk(
    'rules', 'rules', ARRAY['tenant_id', 'id'],
    'REQ-PERSIST-007: an id is unique for its tenant'
);
SELECT col_is_unique(
    'rules', 'rules', ARRAY['tenant_id', 'name'],
    'REQ-SCHEMA-009: rules(tenant_id, name)'
);
SELECT fk_ok(
    'rules', 'rules', 'tenant_id', 'rules', 'tenants', 'id',
    'REQ-SCHEMA-002: a rule belongs to a tenant'
);
SELECT matches(
    pg_get_indexdef('rules.rules_tenant_id_active_created_at_id_idx'::regclass),
    '\(tenant_id, active, created_at, id\) WHERE active$',
    'REQ-SCHEMA-007: rules(tenant_id, active) where active, in the order of evaluation'
);
SELECT has_index(
    'rules', 'rules', 'rules_created_at_tenant_id_idx',
    ARRAY['created_at', 'tenant_id'],
    'REQ-SCHEMA-007: rules(created_at)'
);
SELECT has_trigger(
    'rules', 'rules', 'rules_stamp', 'REQ-SCHEMA-010: updated_at is kept'
);

-- Two tenants, each with a rule of the same id and name.
INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'tap_tenant');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT lives_ok(
    $$INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001',
        '11111111-0000-4000-8000-000000000001', 'adults', 'User.Age >= 18'
    )$$,
    'STORE-1: an application adds a rule'
);
SELECT ok(
    created_at BETWEEN transaction_timestamp() AND clock_timestamp()
    AND updated_at BETWEEN created_at AND clock_timestamp(),
    'STORE-5: the database sets the times'
)
FROM rules.rules;
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression, created_at) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'early', 'true', '2001-01-01'
    )$$,
    '42501', NULL, 'STORE-5: an application cannot set created_at'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET created_at = '2001-01-01'$$,
    '42501', NULL, 'STORE-5: nor change it'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET updated_at = '2001-01-01'$$,
    '42501', NULL, 'STORE-5: nor updated_at'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET id = gen_random_uuid()$$,
    '42501', NULL, 'A rule keeps its id'
);
UPDATE rules.rules SET active = active;
SELECT ok(
    updated_at > created_at, 'REQ-SCHEMA-010, STORE-5: updating a rule sets updated_at'
)
FROM rules.rules;
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001',
        '11111111-0000-4000-8000-000000000001', 'others', 'true'
    )$$,
    '23505',
    'duplicate key value violates unique constraint "rules_pkey"',
    'REQ-PERSIST-007, STORE-4: an id is used once'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'adults', 'true'
    )$$,
    '23505',
    'duplicate key value violates unique constraint "rules_tenant_id_name_key"',
    'REQ-SCHEMA-009: a name is used once'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', ' ', 'true'
    )$$,
    '23514', NULL, 'A rule has a name that is not blank'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', repeat('x', 256), 'true'
    )$$,
    '22001', NULL, 'A name has 255 characters at the most'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression, active) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'unknown', 'true', NULL
    )$$,
    '23502', NULL, 'A rule is active or it is not'
);

-- The other tenant has the same id and name, and learns nothing from that.
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT is_empty(
    'SELECT * FROM rules.rules', 'REQ-TENANT-001: a tenant sees no rule of another'
);
SELECT lives_ok(
    $$INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
        'bbbbbbbb-0000-4000-8000-000000000002',
        '11111111-0000-4000-8000-000000000001', 'adults', 'User.Age >= 21'
    )$$,
    'REQ-TENANT-001: ids and names of another tenant are free'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'planted', 'true'
    )$$,
    '42501', NULL, 'REQ-TENANT-001: a tenant writes no rule for another'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'$$,
    '42501', NULL, 'REQ-TENANT-001: a tenant gives no rule away'
);
SELECT results_eq(
    $$UPDATE rules.rules SET active = false RETURNING expression$$,
    ARRAY['User.Age >= 21'],
    'REQ-TENANT-001: an update of everything is an update of the own'
);
SELECT is_empty(
    $$DELETE FROM rules.rules
    WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001' RETURNING id$$,
    'REQ-TENANT-001: naming another tenant deletes nothing'
);
SELECT is_empty(
    $$SELECT * FROM rules.rules
    WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001' FOR UPDATE$$,
    'REQ-TENANT-001: nor does it lock anything'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001',
        '11111111-0000-4000-8000-000000000001', 'adults', 'true'
    ) ON CONFLICT (tenant_id, id) DO UPDATE SET expression = excluded.expression$$,
    '42501', NULL, 'REQ-TENANT-001: an upsert is no way around'
);
SELECT throws_ok(
    'TRUNCATE rules.rules', '42501', NULL, 'Nobody passes by the policies with TRUNCATE'
);

-- A bound login needs no setting, and has the same walls.
SET SESSION AUTHORIZATION tap_tenant;
SET LOCAL "app.tenant_id" = '';
SELECT results_eq(
    'SELECT tenant_id, expression FROM rules.rules',
    $$VALUES ('bbbbbbbb-0000-4000-8000-000000000002'::uuid, 'User.Age >= 21')$$,
    'REQ-TENANT-001: a bound login sees the rules of its tenant'
);
SELECT lives_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'second', 'true')$$,
    'A bound login adds rules'
);
SELECT throws_ok(
    $$INSERT INTO rules.rules (tenant_id, name, expression) VALUES (
        'aaaaaaaa-0000-4000-8000-000000000001', 'planted', 'true'
    )$$,
    '42501', NULL, 'REQ-TENANT-001: but not for another tenant'
);
SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT throws_ok(
    'SELECT * FROM rules.rules', '42501', NULL,
    'REQ-TENANT-001: and cannot become another by the setting'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET active = true$$, '42501', NULL,
    'REQ-TENANT-001: neither to read nor to write'
);

SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    'SELECT * FROM rules.rules', '42501', NULL, 'An administrator reads no rules'
);
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    'SELECT * FROM rules.rules', '42501', NULL, 'A stranger reads no rules'
);

RESET SESSION AUTHORIZATION;
SELECT is(
    count(*), 3::bigint, 'All rules that were added are there, and no others'
)
FROM rules.rules
WHERE tenant_id IN (
    'aaaaaaaa-0000-4000-8000-000000000001', 'bbbbbbbb-0000-4000-8000-000000000002'
);

SELECT * FROM finish();
ROLLBACK;
