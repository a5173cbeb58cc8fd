-- What is deployed: REQ-MIGRATION-002, REQ-MIGRATION-005.
BEGIN;

SELECT plan(9);

SELECT has_view('rules'::name, 'schema_migrations'::name);
SELECT view_owner_is(
    'rules', 'schema_migrations', 'rules_owner',
    'schema_migrations belongs to rules_owner'
);
SELECT columns_are(
    'rules', 'schema_migrations', ARRAY['version', 'name', 'applied_at'],
    'REQ-MIGRATION-005: version, name and time'
);
SELECT is_empty(
    $$
        SELECT name FROM rules.schema_migrations
        WHERE
            name !~ '^\d{6}_[a-z_]+$'
            OR version <> left(name, 6)
            OR applied_at IS NULL
    $$,
    'REQ-MIGRATION-002: every name has a number of six digits'
);
SELECT set_has(
    'SELECT name FROM rules.schema_migrations',
    $$VALUES ('000001_roles'), ('000011_rules'), ('000024_schema_migrations')$$,
    'REQ-MIGRATION-005: what is applied is listed'
);
SELECT table_privs_are(
    'rules', 'schema_migrations', role, ARRAY['SELECT'], role || ' may look'
)
FROM unnest(ARRAY['rules_app', 'rules_tenant', 'rules_admin']::name[]) AS role;

CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT isnt_empty(
    'SELECT * FROM rules.schema_migrations', 'An application sees it without a tenant'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
