-- Every change of a rule, a schema, a derived field, a tenant or a login is recorded,
-- whoever makes it and however, and nobody changes the record.
BEGIN;

SELECT plan(66);

SELECT has_table('rules'::name, 'audit_log'::name);
SELECT has_table('rules'::name, 'tenant_audit_log'::name);
SELECT col_is_pk(
    'rules', 'audit_log', ARRAY['tenant_id', 'changed_at', 'id'],
    'Entries are ordered by time and id, the tenant first'
);
SELECT is_empty(
    $$
        SELECT conname FROM pg_catalog.pg_constraint
        WHERE
            contype = 'f'
            AND conrelid IN (
                'rules.audit_log'::regclass,
                'rules.tenant_audit_log'::regclass,
                'rules_internal.audit_commits'::regclass
            )
    $$,
    'No cascade reaches what is recorded'
);
SELECT
    is_definer('rules_internal', name, '{}'::name[])
FROM unnest(
    ARRAY['audit_insert', 'audit_update', 'audit_delete', 'audit_tenant', 'note_commit']
) AS definer (name);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_other LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'tap_other');
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

-- What the last statement left, of the subject that is not the schema's own business.
CREATE TEMPORARY TABLE seen (id uuid);
GRANT ALL ON seen TO public;
CREATE FUNCTION pg_temp.news() RETURNS TABLE (
    subject text, operation text, before jsonb, after jsonb
) LANGUAGE sql AS $$
    WITH noted AS (
        INSERT INTO seen
        SELECT entry.id FROM rules.audit_log AS entry
        WHERE entry.id NOT IN (SELECT id FROM seen)
        RETURNING id
    )
    SELECT entry.subject, entry.operation, entry.before, entry.after
    FROM rules.audit_log AS entry
    WHERE entry.id IN (SELECT id FROM noted)
    ORDER BY
        entry.changed_at,
        coalesce(entry.after ->> 'name', entry.before ->> 'name'),
        coalesce(entry.after ->> 'version', entry.before ->> 'version')
$$;
GRANT EXECUTE ON FUNCTION pg_temp.news() TO public;

SET SESSION AUTHORIZATION tap_app;
SET LOCAL application_name = 'claims service';
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

-- Rules.
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES
(rules.current_tenant_id(), '11111111-0000-4000-8000-000000000001', 'a', '1 < 2'),
(rules.current_tenant_id(), '22222222-0000-4000-8000-000000000002', 'b', 'true');
SELECT results_eq(
    'SELECT * FROM pg_temp.news()',
    $$VALUES
    (
        'rule', 'insert', NULL::jsonb,
        '{"name": "a", "active": true, "expression": "1 < 2"}'::jsonb
    ),
    ('rule', 'insert', NULL, '{"name": "b", "active": true, "expression": "true"}')$$,
    'Each row of an INSERT is recorded, as it is after it'
);
SELECT results_eq(
    $$
        SELECT changed_by, role, application, subject_id, xid, started_at,
            changed_at BETWEEN transaction_timestamp() AND clock_timestamp()
        FROM rules.audit_log WHERE after ->> 'name' = 'a'
    $$,
    $$VALUES (
        'tap_app', 'tap_app', 'claims service',
        '11111111-0000-4000-8000-000000000001'::uuid,
        pg_current_xact_id(), transaction_timestamp(), true
    )$$,
    'An entry says who, as what, from where, what, and when'
);
UPDATE rules.rules SET expression = '2 < 3' WHERE name = 'a';
SELECT results_eq(
    'SELECT * FROM pg_temp.news()',
    $$VALUES (
        'rule', 'update', '{"name": "a", "active": true, "expression": "1 < 2"}'::jsonb,
        '{"name": "a", "active": true, "expression": "2 < 3"}'::jsonb
    )$$,
    'An UPDATE is recorded, from what to what'
);
UPDATE rules.rules SET name = name, active = true;
SELECT is_empty(
    'SELECT * FROM pg_temp.news()', 'An UPDATE that changes nothing is no change'
);
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES
(rules.current_tenant_id(), '22222222-0000-4000-8000-000000000002', 'b2', 'true'),
(rules.current_tenant_id(), '33333333-0000-4000-8000-000000000003', 'c', 'true')
ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name;
SELECT results_eq(
    $$
        SELECT operation, before ->> 'name', after ->> 'name' FROM pg_temp.news()
        ORDER BY after ->> 'name'
    $$,
    $$VALUES ('update', 'b', 'b2'), ('insert', NULL, 'c')$$,
    'ON CONFLICT is recorded as what it did to each row'
);
MERGE INTO rules.rules AS rule
USING (VALUES ('b2', 'delete'), ('c', 'update'), ('d', 'insert')) AS wanted (name, verb)
ON rule.name = wanted.name
WHEN MATCHED AND wanted.verb = 'delete' THEN DELETE
WHEN MATCHED THEN UPDATE SET active = false
WHEN NOT MATCHED THEN
    INSERT (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), wanted.name, 'true');
SELECT results_eq(
    $$
        SELECT
            operation, coalesce(before ->> 'name', after ->> 'name'), after -> 'active'
        FROM pg_temp.news()
        ORDER BY 2
    $$,
    $$VALUES
    ('delete', 'b2', NULL::jsonb), ('update', 'c', 'false'), ('insert', 'd', 'true')$$,
    'MERGE is recorded as what it did to each row'
);
WITH gone AS (DELETE FROM rules.rules WHERE name = 'c' RETURNING *)

INSERT INTO rules.rules (tenant_id, id, name, expression)
SELECT tenant_id, id, 'c again', expression FROM gone;
SELECT results_eq(
    $$
        SELECT operation, coalesce(before ->> 'name', after ->> 'name')
        FROM pg_temp.news()
    $$,
    $$VALUES ('delete', 'c'), ('insert', 'c again')$$,
    'A rule that goes and comes in one statement does so in this order'
);
DELETE FROM rules.rules WHERE name IN ('c again', 'd');
SELECT results_eq(
    $$SELECT operation, before ->> 'name', after FROM pg_temp.news()$$,
    $$VALUES ('delete', 'c again', NULL::jsonb), ('delete', 'd', NULL)$$,
    'Each row of a DELETE is recorded'
);
DO $$
BEGIN
    DELETE FROM rules.rules;
    RAISE 'undone';
EXCEPTION
    WHEN raise_exception THEN NULL;
END
$$;
SELECT is_empty(
    'SELECT * FROM pg_temp.news()', 'What is rolled back has not been done'
);
SELECT throws_ok(
    $$UPDATE rules.rules SET expression = '1 +' WHERE name = 'a'$$, 'RE020', NULL,
    'A rule that does not compile is refused as before'
);
SELECT is_empty(
    'SELECT * FROM pg_temp.news()', 'What is refused has not been done'
);

-- Derived fields and schemas.
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'Half', 'Whole / 2');
UPDATE rules.derived_fields SET expression = 'Whole / 2.0';
DELETE FROM rules.derived_fields;
SELECT results_eq(
    'SELECT * FROM pg_temp.news()',
    $$VALUES
    (
        'derived field', 'insert', NULL::jsonb,
        '{"name": "Half", "expression": "Whole / 2"}'::jsonb
    ),
    (
        'derived field', 'update', '{"name": "Half", "expression": "Whole / 2"}',
        '{"name": "Half", "expression": "Whole / 2.0"}'
    ),
    ('derived field', 'delete', '{"name": "Half", "expression": "Whole / 2.0"}', NULL)$$,
    'Every change of a derived field is recorded'
);
DO $$
BEGIN
    PERFORM rules.set_schema('{"User": {"Age": "int"}}');
    PERFORM rules.set_schema('{"User": {"Age": "float64"}}');
    PERFORM rules.activate_schema(1);
END
$$;
SELECT results_eq(
    $$
        SELECT
            operation, coalesce(after, before) -> 'version', before -> 'active',
            after -> 'active', after -> 'definition' #>> '{User,Age}'
        FROM pg_temp.news()
        WHERE subject = 'schema'
    $$,
    $$VALUES
    ('insert', '1'::jsonb, NULL::jsonb, 'false'::jsonb, 'int'),
    ('update', '1', 'false', 'true', 'int'),
    ('insert', '2', NULL, 'false', 'float64'),
    ('update', '1', 'true', 'false', 'int'),
    ('update', '2', 'false', 'true', 'float64'),
    ('update', '2', 'true', 'false', 'float64'),
    ('update', '1', 'false', 'true', 'int')$$,
    'set_schema and activate_schema are recorded as what they did'
);
SELECT results_eq(
    $$
        SELECT DISTINCT changed_by FROM rules.audit_log WHERE subject = 'schema'
    $$,
    ARRAY['tap_app'],
    'Who calls a function that is SECURITY DEFINER is recorded, not its owner'
);

-- Nobody changes it.
SELECT throws_ok(statement, '42501', NULL, 'An application cannot: ' || statement)
FROM unnest(ARRAY[
    'DELETE FROM rules.audit_log',
    'UPDATE rules.audit_log SET changed_by = ''somebody else''',
    'TRUNCATE rules.audit_log',
    'INSERT INTO rules.audit_log SELECT * FROM rules.audit_log',
    'ALTER TABLE rules.audit_log DISABLE TRIGGER audit_log_keep',
    'ALTER TABLE rules.rules DISABLE TRIGGER rules_audit_update',
    'DROP TRIGGER rules_audit_update ON rules.rules',
    'ALTER TABLE rules.audit_log NO FORCE ROW LEVEL SECURITY',
    'SET session_replication_role = replica',
    'INSERT INTO rules_internal.audit_commits (tenant_id, committed_at) '
    'VALUES (rules.current_tenant_id(), ''2000-01-01'')',
    'DELETE FROM rules_internal.audit_commits',
    'SELECT rules_internal.expect_commit(ARRAY[rules.current_tenant_id()])',
    'SELECT * FROM rules.tenant_audit_log'
]) AS attempt (statement);
SELECT throws_ok(
    'SELECT rules_internal.audit_insert()', '42501', NULL,
    'A trigger function is called by nobody'
);
SET SESSION AUTHORIZATION tap_other;
SET LOCAL "app.tenant_id" = '';
SELECT is_empty(
    'SELECT * FROM rules.audit_log', 'REQ-TENANT-001: another tenant sees nothing of it'
);
SELECT is_empty(
    'SELECT * FROM rules_internal.audit_commits',
    'REQ-TENANT-001: nor when anything was committed'
);
SELECT throws_ok(
    'SELECT * FROM rules.tenant_audit_log', '42501', NULL,
    'A bound login does not see the bindings'
);
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    'SELECT * FROM rules.audit_log', '42501', NULL, 'A stranger sees nothing'
);
SET SESSION AUTHORIZATION tap_admin;
SELECT throws_ok(
    'SELECT * FROM rules.audit_log', '42501', NULL, 'Nor does an administrator'
);

-- Tenants and logins.
INSERT INTO rules.tenants (id, name)
VALUES ('cccccccc-0000-4000-8000-000000000003', 'Coast');
UPDATE rules.tenants SET name = 'Coast Guard' WHERE name = 'Coast';
UPDATE rules.tenants SET name = name;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES ('cccccccc-0000-4000-8000-000000000003', 'sailor');
UPDATE rules.tenant_logins SET login = 'captain' WHERE login = 'sailor';
UPDATE rules.tenant_logins SET tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002'
WHERE login = 'captain';
DELETE FROM rules.tenant_logins WHERE login = 'captain';
SELECT results_eq(
    $$
        SELECT left(tenant_id::text, 1), subject, operation, before, after
        FROM rules.tenant_audit_log
        WHERE changed_by = 'tap_admin'
        ORDER BY changed_at, id
    $$,
    $$VALUES
    ('c', 'tenant', 'insert', NULL::jsonb, '{"name": "Coast"}'::jsonb),
    ('c', 'tenant', 'update', '{"name": "Coast"}', '{"name": "Coast Guard"}'),
    ('c', 'tenant login', 'insert', NULL, '{"login": "sailor"}'),
    ('c', 'tenant login', 'update', '{"login": "sailor"}', '{"login": "captain"}'),
    ('c', 'tenant login', 'delete', '{"login": "captain"}', NULL),
    ('b', 'tenant login', 'insert', NULL, '{"login": "captain"}'),
    ('b', 'tenant login', 'delete', '{"login": "captain"}', NULL)$$,
    'Every change of tenants and logins is recorded, for administrators'
);
SELECT throws_ok(statement, '42501', NULL, 'An administrator cannot: ' || statement)
FROM unnest(ARRAY[
    'DELETE FROM rules.tenant_audit_log',
    'UPDATE rules.tenant_audit_log SET changed_by = ''somebody else''',
    'TRUNCATE rules.tenant_audit_log',
    'INSERT INTO rules.tenant_audit_log SELECT * FROM rules.tenant_audit_log',
    'ALTER TABLE rules.tenants DISABLE TRIGGER tenants_audit'
]) AS attempt (statement);

-- A tenant that is deleted.
SELECT lives_ok(
    $$DELETE FROM rules.tenants WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001'$$,
    'A tenant is deleted as before'
);
SELECT results_eq(
    $$
        SELECT subject, operation, before FROM rules.tenant_audit_log
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        ORDER BY changed_at DESC LIMIT 1
    $$,
    $$VALUES ('tenant', 'delete', '{"name": "Harbour"}'::jsonb)$$,
    'The deletion of a tenant stays recorded'
);
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$
        SELECT subject, operation, coalesce(before -> 'name', before -> 'version')
        FROM pg_temp.news()
        ORDER BY 1, 3
    $$,
    $$VALUES
    ('rule', 'delete', '"a"'::jsonb),
    ('schema', 'delete', '1'),
    ('schema', 'delete', '2')$$,
    'What a cascade takes is recorded'
);
SELECT results_eq(
    'SELECT DISTINCT changed_by FROM rules.audit_log WHERE operation = ''delete'' '
    'AND subject = ''schema''',
    ARRAY['tap_admin'],
    'As done by who deleted the tenant'
);

-- What a superuser does.
RESET SESSION AUTHORIZATION;
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
COPY rules.rules (tenant_id, name, expression)
FROM PROGRAM
'printf "bbbbbbbb-0000-4000-8000-000000000002,copied,true\n"'
WITH (FORMAT csv);
SELECT results_eq(
    'SELECT operation, after ->> ''name'' FROM pg_temp.news()',
    $$VALUES ('insert', 'copied')$$,
    'COPY is recorded'
);
INSERT INTO rules.tenants (id, name)
VALUES ('dddddddd-0000-4000-8000-000000000004', 'Desert');
UPDATE rules.rules SET tenant_id = 'dddddddd-0000-4000-8000-000000000004'
WHERE name = 'copied';
SELECT set_eq(
    $$
        SELECT left(tenant_id::text, 1), operation FROM rules.audit_log
        WHERE id NOT IN (SELECT id FROM seen)
    $$,
    $$VALUES ('b', 'delete'), ('d', 'insert')$$,
    'A rule that gets another tenant goes from the one and comes to the other'
);
UPDATE rules.rules SET id = '55555555-0000-4000-8000-000000000005'
WHERE name = 'copied';
SELECT results_eq(
    $$
        SELECT
            operation, subject_id = '55555555-0000-4000-8000-000000000005'
        FROM rules.audit_log
        WHERE left(tenant_id::text, 1) = 'd' ORDER BY changed_at DESC, 1 LIMIT 2
    $$,
    $$VALUES ('delete', false), ('insert', true)$$,
    'And one that gets another id too'
);
SET LOCAL ROLE rules_owner;
UPDATE rules.rules SET active = false WHERE name = 'copied';
RESET ROLE;
SELECT results_eq(
    $$
        SELECT changed_by = session_user, role FROM rules.audit_log
        WHERE role <> changed_by
    $$,
    $$VALUES (true, 'rules_owner')$$,
    'SET ROLE is recorded beside the login'
);
TRUNCATE rules.rules;
SELECT results_eq(
    $$
        SELECT operation, before ->> 'name' FROM rules.audit_log
        WHERE left(tenant_id::text, 1) = 'd' ORDER BY changed_at DESC LIMIT 1
    $$,
    $$VALUES ('delete', 'copied')$$,
    'TRUNCATE is recorded'
);
TRUNCATE rules.tenant_logins;
SELECT results_eq(
    $$
        SELECT operation, before ->> 'login' FROM rules.tenant_audit_log
        ORDER BY changed_at DESC LIMIT 1
    $$,
    $$VALUES ('delete', 'tap_other')$$,
    'Also of logins'
);
SELECT throws_ok(statement, '55000', NULL, 'Not even a superuser: ' || statement)
FROM unnest(ARRAY[
    'DELETE FROM rules.audit_log',
    'UPDATE rules.audit_log SET changed_by = changed_by',
    'TRUNCATE rules.audit_log',
    'DELETE FROM rules.tenant_audit_log',
    'TRUNCATE rules.tenant_audit_log',
    'DELETE FROM rules_internal.audit_commits'
]) AS attempt (statement);

-- When it counts from.
SELECT results_eq(
    $$
        SELECT DISTINCT committed_at FROM rules_internal.audit_commits
        WHERE xid = pg_current_xact_id()
    $$,
    ARRAY['infinity'::timestamptz],
    'Before the commit there is no time of it'
);
SET CONSTRAINTS ALL IMMEDIATE;
SELECT set_eq(
    $$
        SELECT committed_at = 'infinity', count(*) FROM rules_internal.audit_commits
        WHERE tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002'
        GROUP BY 1
    $$,
    $$VALUES (true, 1::bigint), (false, 1)$$,
    'It is noted at the end of the transaction, once for each tenant'
);

SELECT * FROM finish();
ROLLBACK;
