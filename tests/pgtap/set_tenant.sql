-- The tenant of a transaction.
BEGIN;

SELECT plan(13);

SELECT has_function('rules', 'set_tenant', ARRAY['uuid']);
SELECT isnt_definer('rules', 'set_tenant', ARRAY['uuid']);
SELECT volatility_is('rules', 'set_tenant', ARRAY['uuid'], 'volatile');

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'tap_tenant');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT lives_ok(
    $$SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001')$$,
    'An application chooses'
);
SELECT is(
    rules.current_tenant_id(), 'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    'What was chosen is in force'
);
SELECT lives_ok(
    $$SELECT rules.set_tenant(tenant_id => 'bbbbbbbb-0000-4000-8000-000000000002')$$,
    'An application chooses again, by the name of the argument'
);
SELECT throws_ok(
    'SELECT rules.set_tenant(NULL)', '22004', NULL, 'NULL is no tenant'
);
SELECT is(
    rules.current_tenant_id(), 'bbbbbbbb-0000-4000-8000-000000000002'::uuid,
    'A choice that is refused changes nothing'
);
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION tap_tenant;
SELECT lives_ok(
    $$SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001')$$,
    'A bound login names its own tenant'
);
SELECT throws_ok(
    $$SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002')$$,
    '42501', NULL, 'A bound login cannot choose another one (REQ-TENANT-001)'
);
SELECT is(
    rules.current_tenant_id(), 'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    'And acts for its own as before'
);

SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    $$SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001')$$,
    '42501', NULL, 'An administrator acts for no tenant'
);
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    $$SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001')$$,
    '42501', NULL, 'Nor does a stranger'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
