-- What each role sees and changes of two tenants' rows.
BEGIN;

SELECT plan(98);

INSERT INTO rules.tenants (id, name) VALUES
(md5('harbour')::uuid, 'Harbour Insurance'),
(md5('mountain')::uuid, 'Mountain Rescue');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_admin LOGIN IN ROLE rules_admin;
CREATE ROLE tap_unbound LOGIN IN ROLE rules_tenant;
CREATE ROLE tap_stranger LOGIN;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES (md5('harbour')::uuid, 'tap_tenant');
-- pgTAP counts in temporary tables, whoever asks.
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO PUBLIC;
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES
(md5('harbour')::uuid, md5('adult')::uuid, 'mine', 'true'),
(md5('mountain')::uuid, md5('theirs')::uuid, 'theirs', 'true');
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
(md5('harbour')::uuid, 'mine', '1'),
(md5('mountain')::uuid, 'theirs', '1');
INSERT INTO rules.schemas (tenant_id, version, definition) VALUES
(md5('harbour')::uuid, 1, '{"Mine": {"a": "int"}}'),
(md5('mountain')::uuid, 1, '{"Theirs": {"a": "int"}}');
INSERT INTO rules.schema_changelog (tenant_id, schema_id, new_version, compiled, failed)
SELECT tenant_id, id, 1, 0, 0 FROM rules.schemas;

CREATE TEMPORARY TABLE visible (relation, tenant) AS
VALUES
('rules.tenants', 'id'),
('rules.rules', 'tenant_id'),
('rules.derived_fields', 'tenant_id'),
('rules.schemas', 'tenant_id'),
('rules.schema_changelog', 'tenant_id'),
('rules.audit_log', 'tenant_id'),
('rules_internal.audit_commits', 'tenant_id'),
('rules_internal.environments', 'tenant_id'),
('rules_internal.rule_set_tokens', 'tenant_id');
GRANT SELECT ON visible TO PUBLIC;

-- An application, for the tenant that it has chosen.
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant(md5('harbour')::uuid);
SELECT results_eq(
    format('SELECT DISTINCT %I FROM %s', tenant, relation::regclass),
    ARRAY[md5('harbour')::uuid],
    'REQ-TENANT-001, REQ-TENANT-003: an application sees one tenant of ' || relation
)
FROM visible;
SELECT rules.set_tenant(md5('mountain')::uuid);
SELECT results_eq(
    format('SELECT DISTINCT %I FROM %s', tenant, relation::regclass),
    ARRAY[md5('mountain')::uuid],
    'REQ-TENANT-002: and the other one after it has chosen that, of ' || relation
)
FROM visible;
SELECT rules.set_tenant(md5('nobody')::uuid);
SELECT is_empty(
    format('SELECT DISTINCT %I FROM %s', tenant, relation::regclass),
    'A tenant that there is none of has nothing of ' || relation
)
FROM visible;

-- A login that is bound.
SET LOCAL "app.tenant_id" = '';
SET SESSION AUTHORIZATION tap_tenant;
SELECT results_eq(
    format('SELECT DISTINCT %I FROM %s', tenant, relation::regclass),
    ARRAY[md5('harbour')::uuid],
    'REQ-TENANT-001: a bound login sees its tenant of ' || relation
)
FROM visible;
SELECT is_empty(statement, 'REQ-TENANT-001: finds nothing of others: ' || statement)
FROM unnest(
    ARRAY[
        'SELECT id FROM rules.rules WHERE id = ' || quote_literal(md5('theirs')::uuid),
        'SELECT id FROM rules.rules WHERE name LIKE ''%theirs%''',
        'SELECT id FROM rules.rules WHERE name = ''theirs'' FOR UPDATE',
        format(
            'UPDATE rules.rules SET name = ''x'' WHERE id = %L RETURNING id',
            md5('theirs')::uuid
        ),
        'DELETE FROM rules.rules WHERE id = ' || quote_literal(md5('theirs')::uuid)
        || ' RETURNING id',
        'DELETE FROM rules.derived_fields WHERE name = ''theirs'' RETURNING id'
    ]
) AS statement;
SELECT throws_ok(statement, '42501', NULL, 'REQ-TENANT-001: cannot: ' || statement)
FROM unnest(
    ARRAY[
        format(
            'INSERT INTO rules.rules (tenant_id, name, expression)'
            ' VALUES (%L, ''x'', ''true'')', md5('mountain')::uuid
        ),
        format(
            'INSERT INTO rules.rules (tenant_id, id, name, expression)'
            ' VALUES (%L, %L, ''x'', ''true'') ON CONFLICT DO NOTHING',
            md5('mountain')::uuid, md5('theirs')::uuid
        ),
        format(
            'INSERT INTO rules.derived_fields (tenant_id, name, expression)'
            ' VALUES (%L, ''x'', ''true'')', md5('mountain')::uuid
        ),
        format('SELECT rules.set_tenant(%L)', md5('mountain')::uuid)
    ]
) AS statement;
SELECT lives_ok(
    format(
        'INSERT INTO rules.rules (tenant_id, id, name, expression)'
        ' VALUES (%L, %L, ''theirs'', ''true'')', md5('harbour')::uuid,
        md5('theirs')::uuid
    ),
    'REQ-PERSIST-007: id and name of another tenant''s rule are free, and tell nothing'
);
-- Functions in a condition are not run on rows that the policy hides.
RESET SESSION AUTHORIZATION;
CREATE SCHEMA mine AUTHORIZATION tap_tenant;
SET SESSION AUTHORIZATION tap_tenant;
CREATE FUNCTION mine.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
AS $$BEGIN RAISE EXCEPTION 'seen: %', $1 USING ERRCODE = 'XX000'; END$$;
DELETE FROM rules.rules;
SELECT is_empty(
    'SELECT FROM rules.rules WHERE mine.leak(name)',
    'REQ-SECURITY-002: a function of one''s own does not get at hidden rows'
);

-- The others.
SET SESSION AUTHORIZATION tap_unbound;
SELECT throws_ok(
    'SELECT FROM ' || relation, '42501', NULL,
    'A login of no tenant sees nothing of ' || relation
)
FROM visible;
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    'SELECT FROM ' || relation, '42501', NULL, 'A stranger sees nothing of ' || relation
)
FROM visible;
SET SESSION AUTHORIZATION tap_admin;
SELECT results_eq(
    'SELECT id FROM rules.tenants ORDER BY id',
    ARRAY[md5('harbour')::uuid, md5('mountain')::uuid]::uuid[],
    'An administrator sees all tenants'
);
SELECT throws_ok(
    'SELECT FROM ' || relation, '42501', NULL,
    'An administrator sees nothing of ' || relation
)
FROM visible
WHERE relation <> 'rules.tenants';

-- Not even the owner of the tables passes by the policies.
RESET SESSION AUTHORIZATION;
SET LOCAL ROLE rules_owner;
SELECT is_empty(
    'SELECT login FROM rules.tenant_logins',
    'The owner reads no login but the session''s own'
);
RESET ROLE;

-- What a role may not do at all.
SET SESSION AUTHORIZATION tap_tenant;
SELECT throws_ok(statement, '42501', NULL, 'A bound login: ' || statement)
FROM unnest(
    ARRAY[
        'TRUNCATE rules.rules',
        'CREATE TABLE rules.mine (id int)',
        'CREATE TABLE public.mine (id int)',
        'CREATE TEMPORARY TABLE mine (id int)',
        'CREATE SCHEMA mine',
        'ALTER TABLE rules.rules DISABLE ROW LEVEL SECURITY',
        'CREATE POLICY mine ON rules.rules USING (true)',
        'CREATE TRIGGER mine BEFORE INSERT ON rules.rules FOR EACH ROW'
        || ' EXECUTE FUNCTION rules_internal.stamp_row()',
        'ALTER FUNCTION rules.evaluate SECURITY DEFINER',
        'SET ROLE rules_app',
        'SET ROLE rules_owner',
        'SET ROLE rules_admin',
        'SELECT rules_internal.store_environment(rules.current_tenant_id())',
        'INSERT INTO rules.tenants (name) VALUES (''mine'')',
        'UPDATE rules.tenants SET name = ''mine''',
        'DELETE FROM rules.tenants'
    ]
) AS statement;
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(statement, '42501', NULL, 'A stranger: ' || statement)
FROM unnest(
    ARRAY[
        'SELECT FROM rules.rules',
        'SELECT FROM rules.tenants',
        'SELECT rules.current_tenant_id()',
        'SELECT rules_internal.cel_runtime()',
        'CREATE TEMPORARY TABLE mine (id int)',
        'CREATE TABLE public.mine (id int)'
    ]
) AS statement;
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
