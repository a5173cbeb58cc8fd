-- The group roles: what they may not be.
BEGIN;

SELECT plan(18);

SELECT has_role(role::name, 'There is a role ' || role)
FROM unnest(ARRAY['rules_owner', 'rules_app', 'rules_tenant', 'rules_admin']) AS role;

SELECT isnt_superuser(role::name, role || ' is no superuser')
FROM unnest(ARRAY['rules_owner', 'rules_app', 'rules_tenant', 'rules_admin']) AS role;

SELECT
    ok(
        NOT (
            rolbypassrls
            OR rolcanlogin
            OR rolcreaterole
            OR rolcreatedb
            OR rolreplication
        ),
        rolname
        || ' neither logs in nor passes by row-level security (REQ-SECURITY-002)'
    )
FROM pg_catalog.pg_roles
WHERE rolname IN ('rules_owner', 'rules_app', 'rules_tenant', 'rules_admin')
ORDER BY rolname;

SELECT
    ok(
        shobj_description(oid, 'pg_authid') LIKE 'pgrules: %',
        rolname || ' says what it is for'
    )
FROM pg_catalog.pg_roles
WHERE rolname IN ('rules_owner', 'rules_app', 'rules_tenant', 'rules_admin')
ORDER BY rolname;

SELECT is_empty(
    $$
        SELECT member::regrole, roleid::regrole
        FROM pg_catalog.pg_auth_members
        WHERE
            member::regrole::text LIKE 'rules\_%'
            AND roleid::regrole::text LIKE 'rules\_%'
    $$,
    'No group role has the rights of another'
);

SELECT is_empty(
    $$SELECT FROM pg_catalog.pg_auth_members WHERE roleid = 'rules_owner'::regrole$$,
    'Nobody acts as the owner of the tables'
);

SELECT * FROM finish();
ROLLBACK;
