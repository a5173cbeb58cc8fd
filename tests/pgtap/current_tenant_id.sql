-- The resolver: who acts for which tenant.
BEGIN;

SELECT plan(34);

SELECT function_lang_is('rules', 'current_tenant_id', ARRAY[]::name[], 'sql');
SELECT volatility_is(
    'rules', 'current_tenant_id', ARRAY[]::name[], 'stable',
    'An IMMUTABLE resolver would leave one tenant''s rows in another''s plan'
);
SELECT isnt_definer('rules', 'current_tenant_id', ARRAY[]::name[]);
SELECT is_definer('rules_internal', 'bound_tenant', ARRAY[]::name[]);
SELECT is(
    proconfig, ARRAY['search_path=pg_catalog, pg_temp'],
    'Its SECURITY DEFINER half cannot be led to other tables'
)
FROM pg_catalog.pg_proc WHERE oid = 'rules_internal.bound_tenant()'::regprocedure;
SELECT is(
    proparallel::text, 's', oid::regprocedure || ' may run in parallel workers'
)
FROM pg_catalog.pg_proc
WHERE
    proname IN ('current_tenant_id', 'resolve_tenant', 'bound_tenant')
    AND pronamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
ORDER BY proname;
SELECT is_empty(
    $$
        SELECT oid::regprocedure FROM pg_catalog.pg_proc
        WHERE
            proname IN ('current_tenant_id', 'resolve_tenant', 'bound_tenant')
            AND prosrc ILIKE '%EXCEPTION WHEN%'
    $$,
    'No EXCEPTION block, which a parallel worker could not run'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_unbound LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'tap_tenant');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

-- An application chooses by the setting.
SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', 'RE001', NULL, 'Unset: an error'
);
SELECT throws_ok(
    'SELECT * FROM rules.rules', 'RE001', NULL,
    'Unset: a query of a table is an error, never all rows and never none'
);
SET LOCAL "app.tenant_id" = '';
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', 'RE001', NULL,
    'Empty, as a finished SET LOCAL leaves it: an error'
);
SELECT throws_ok(
    format(
        'SELECT rules.current_tenant_id() FROM set_config(%L, %L, true)',
        'app.tenant_id', setting
    ),
    'RE002', NULL, 'No uuid: ' || setting
)
FROM unnest(
    ARRAY[
        'x',
        ' ',
        'aaaaaaaa-0000-4000-8000-00000000000',
        'aaaaaaaa-0000-4000-8000-0000000000011',
        'aaaaaaaa-0000-4000-8000-00000000000g',
        'aaaaaaaa-0000-4000-8000-00000000000é',
        '------------------------------------',
        'aaaaaaaa-0000-4000-8000--00000000001',
        'aaaaaaaa00000400080000000000000000a1',
        '{aaaaaaaa-0000-4000-8000-00000000001',
        ''' OR true --'
    ]
) AS setting;
SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT is(
    rules.current_tenant_id(), 'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    'An application acts for the tenant of the setting'
);
SET LOCAL "app.tenant_id" = 'BBBBBBBB-0000-4000-8000-000000000002';
SELECT is(
    rules.current_tenant_id(), 'bbbbbbbb-0000-4000-8000-000000000002'::uuid,
    'And for another one after it is changed; upper case is a uuid too'
);

-- Everyone else is bound by the login.
SET SESSION AUTHORIZATION tap_tenant;
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', '42501', NULL,
    'A bound login cannot choose another tenant'
);
SET LOCAL "app.tenant_id" = 'AAAAAAAA-0000-4000-8000-000000000001';
SELECT is(
    rules.current_tenant_id(), 'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    'A bound login may name its own tenant'
);
SET LOCAL "app.tenant_id" = '';
SELECT is(
    rules.current_tenant_id(), 'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    'A bound login needs no setting'
);
SET LOCAL "app.tenant_id" = 'x';
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', 'RE002', NULL,
    'A setting that is no uuid is an error for a bound login too'
);

SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';
SET SESSION AUTHORIZATION tap_unbound;
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', '42501', NULL, 'A login of no tenant has none'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', '42501', NULL,
    'An administrator acts for no tenant'
);
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    'SELECT rules.current_tenant_id()', '42501', NULL, 'A stranger may not even ask'
);

-- The login decides, not the role that it has taken.
RESET SESSION AUTHORIZATION;
GRANT rules_app TO tap_admin;
GRANT rules_tenant TO tap_app;
SET SESSION AUTHORIZATION tap_app;
SET LOCAL ROLE rules_tenant;
SELECT is(
    rules.current_tenant_id(), 'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    'SET ROLE does not change who chooses'
);

-- Nor do rights that are borrowed.
RESET SESSION AUTHORIZATION;
CREATE FUNCTION public.tap_borrowed() RETURNS uuid
LANGUAGE sql SECURITY DEFINER AS 'SELECT rules.current_tenant_id()';
ALTER FUNCTION public.tap_borrowed() OWNER TO tap_app;
SET LOCAL "app.tenant_id" = 'bbbbbbbb-0000-4000-8000-000000000002';
SET SESSION AUTHORIZATION tap_tenant;
SELECT throws_ok(
    'SELECT public.tap_borrowed()', '42501', NULL,
    'Whoever borrows an application''s rights is still bound by the login'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
