-- Which tenant a login belongs to.
BEGIN;

SELECT plan(11);

SELECT has_table('rules'::name, 'tenant_logins'::name);
SELECT table_owner_is(
    'rules', 'tenant_logins', 'rules_owner', 'tenant_logins belongs to rules_owner'
);
SELECT columns_are(
    'rules', 'tenant_logins', ARRAY['tenant_id', 'login', 'created_at']
);
SELECT col_is_pk(
    'rules',
    'tenant_logins',
    ARRAY['tenant_id', 'login'],
    'The key starts with the tenant'
);
SELECT col_is_unique(
    'rules', 'tenant_logins', ARRAY['login'], 'A login has one tenant at the most'
);
SELECT fk_ok(
    'rules', 'tenant_logins', 'tenant_id', 'rules', 'tenants', 'id',
    'A login is bound to a tenant that there is'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_admin;
SELECT lives_ok(
    $$INSERT INTO rules.tenant_logins (tenant_id, login)
    VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'tap_tenant')$$,
    'An administrator binds a login'
);
SELECT throws_ok(
    $$INSERT INTO rules.tenant_logins (tenant_id, login)
    VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'tap_tenant')$$,
    '23505', NULL, 'A login cannot have two tenants'
);
SELECT lives_ok(
    $$UPDATE rules.tenant_logins SET login = 'tap_tenant'$$,
    'An administrator changes a binding'
);

SET SESSION AUTHORIZATION tap_tenant;
SELECT throws_ok(
    'SELECT * FROM rules.tenant_logins', '42501', NULL,
    'A bound login does not read the bindings'
);
SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    'SELECT * FROM rules.tenant_logins', '42501', NULL,
    'An application does not read the bindings'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
