-- Row-level security of tenants and their logins: each role sees what is its own.
BEGIN;

SELECT plan(14);

SELECT policies_are(
    'rules', 'tenants',
    ARRAY[
        'tenants_rules_app',
        'tenants_rules_tenant',
        'tenants_rules_admin',
        'tenants_rules_owner'
    ]
);
SELECT policies_are(
    'rules', 'tenant_logins',
    ARRAY['tenant_logins_rules_admin', 'tenant_logins_rules_owner']
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'tap_tenant'),
('bbbbbbbb-0000-4000-8000-000000000002', 'somebody_else');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    'SELECT * FROM rules.tenants', 'RE001', NULL,
    'An application that acts for nobody gets an error, not all tenants'
);
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT results_eq(
    'SELECT name::text FROM rules.tenants', ARRAY['Mountain'],
    'An application sees the tenant that it acts for'
);
SELECT throws_ok(
    $$UPDATE rules.tenants SET name = 'Mine'$$, '42501', NULL,
    'An application does not change tenants'
);
SELECT throws_ok(
    'DELETE FROM rules.tenants', '42501', NULL, 'An application does not delete tenants'
);

SET SESSION AUTHORIZATION tap_tenant;
SET LOCAL "app.tenant_id" = '';
SELECT results_eq(
    'SELECT name::text FROM rules.tenants', ARRAY['Harbour'],
    'A bound login sees its own tenant'
);
SELECT throws_ok(
    $$INSERT INTO rules.tenants (name) VALUES ('Mine')$$, '42501', NULL,
    'A bound login does not make tenants'
);

SET SESSION AUTHORIZATION tap_admin;
SELECT results_eq(
    'SELECT name::text FROM rules.tenants ORDER BY name', ARRAY['Harbour', 'Mountain'],
    'An administrator sees all tenants, without a setting'
);
SELECT results_eq(
    'SELECT login FROM rules.tenant_logins ORDER BY login',
    ARRAY['somebody_else', 'tap_tenant']::name[],
    'An administrator sees all bindings'
);

SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    'SELECT * FROM rules.tenants', '42501', NULL, 'A stranger sees no tenant'
);

-- Even the owner of the tables is held to the policies.
RESET SESSION AUTHORIZATION;
SET LOCAL ROLE rules_owner;
SELECT is_empty(
    'SELECT * FROM rules.tenant_logins', 'The owner sees the binding of the login only'
);
RESET ROLE;
SELECT ok(
    relrowsecurity AND relforcerowsecurity,
    'tenant_logins is under forced row-level security'
)
FROM pg_catalog.pg_class WHERE oid = 'rules.tenant_logins'::regclass;
SELECT is_empty(
    $$
        SELECT policyname FROM pg_catalog.pg_policies
        WHERE
            schemaname = 'rules'
            AND tablename = 'tenants'
            AND policyname IN ('tenants_rules_app', 'tenants_rules_tenant')
            AND (
                qual !~ '^\(id = (rules\.)?current_tenant_id\(\)\)$'
                OR with_check IS DISTINCT FROM qual
            )
    $$,
    'Applications and tenants see and write their own tenant alone'
);

SELECT * FROM finish();
ROLLBACK;
