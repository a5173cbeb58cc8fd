-- How long the audit is kept.
BEGIN;

SELECT plan(19);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
CREATE TEMPORARY TABLE times (name text, at timestamptz DEFAULT clock_timestamp());
GRANT ALL ON times TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    'SELECT rules_internal.shorten_audit(now())', '42501', NULL,
    'No application shortens the audit'
);
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), md5('a')::uuid, 'theirs', 'true');
UPDATE rules.rules SET expression = 'false';
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
-- As if each statement were committed by itself.
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES
(rules.current_tenant_id(), md5('a')::uuid, 'a', 'N > 1'),
(rules.current_tenant_id(), md5('b')::uuid, 'b', 'N > 1'),
(rules.current_tenant_id(), md5('c')::uuid, 'c', 'N > 1');
INSERT INTO times VALUES ('early');
UPDATE rules.rules SET expression = 'N > 2' WHERE name = 'a';
DELETE FROM rules.rules WHERE name = 'b';
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'Twice', 'N * 2');
INSERT INTO times VALUES ('then');
UPDATE rules.rules SET expression = 'Twice > 6' WHERE name = 'a';
DELETE FROM rules.rules WHERE name = 'c';

RESET SESSION AUTHORIZATION;
SELECT throws_ok(
    format('SELECT rules_internal.shorten_audit(%s)', at), '22023', NULL,
    'It is not shortened before ' || at
)
FROM unnest(ARRAY['NULL', 'now() + interval ''1 day''']) AS future (at);
SELECT is(
    rules_internal.shorten_audit(at, 'aaaaaaaa-0000-4000-8000-000000000001'),
    4::bigint,
    'What was replaced or deleted before then is removed, and old entries of the tenant'
)
FROM times WHERE name = 'then';
SELECT results_eq(
    $$
        SELECT subject, operation, coalesce(after, before) ->> 'name'
        FROM rules.audit_log
        WHERE tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001'
        ORDER BY changed_at, 3
    $$,
    $$VALUES
    ('rule', 'insert', 'c'), ('rule', 'update', 'a'),
    ('derived field', 'insert', 'Twice'), ('rule', 'update', 'a'), ('rule', 'delete', 'c'), ('audit', 'baseline', NULL)$$,
    'What was in force then stays, and what came later'
);
SELECT is(count(*), 2::bigint, 'Another tenant keeps all')
FROM rules.audit_log
WHERE tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002' AND subject = 'rule';
SELECT is(count(*), 1::bigint, 'Another tenant keeps its own history of logins')
FROM rules.tenant_audit_log
WHERE tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002';
SELECT is(
    count(*), 0::bigint, 'Of every transaction that is left there is the time'
)
FROM rules.audit_log AS entry
WHERE NOT EXISTS (
    SELECT FROM rules_internal.audit_commits AS noted
    WHERE
        noted.tenant_id = entry.tenant_id
        AND noted.xid = entry.xid
        AND noted.started_at = entry.started_at
        AND noted.committed_at < 'infinity'
);
SELECT throws_ok(
    'DELETE FROM rules.audit_log', '55000', NULL,
    'Nothing is changed by mistake after it'
);
SELECT throws_ok(
    'DELETE FROM rules.tenant_audit_log', '55000', NULL, 'Also of tenants'
);
SELECT throws_ok(
    'DELETE FROM rules_internal.audit_commits', '55000', NULL, 'And of times'
);

SET SESSION AUTHORIZATION tap_app;
SELECT results_eq(
    $$
        SELECT result.matched
        FROM times, rules.evaluate_as_of(md5('a')::uuid, '{"N": 3}', times.at) AS result
        WHERE times.name = 'then'
    $$,
    ARRAY[true], 'As of then there is an answer'
);
SELECT results_eq(
    $$
        SELECT result.matched
        FROM rules.evaluate_as_of(md5('a')::uuid, '{"N": 4}', clock_timestamp()) AS result
    $$,
    ARRAY[true], 'And of later'
);
SELECT throws_ok(
    $$
        SELECT rules.evaluate_as_of(md5('a')::uuid, '{"N": 3}', times.at)
        FROM times WHERE times.name = 'early'
    $$,
    'RE014', NULL, 'Not of earlier'
);
SELECT results_eq(
    $$SELECT version, expression FROM rules.rule_versions(md5('a')::uuid)$$,
    $$VALUES (1, 'N > 2'), (2, 'Twice > 6')$$,
    'Versions are counted from the oldest that is kept'
);
SELECT throws_ok(
    $$SELECT rules.rule_versions(md5('b')::uuid)$$, 'RE010', NULL,
    'A rule that was deleted before then is forgotten'
);

RESET SESSION AUTHORIZATION;
DELETE FROM rules.tenants WHERE id = 'bbbbbbbb-0000-4000-8000-000000000002';
SELECT cmp_ok(
    rules_internal.shorten_audit(
        clock_timestamp(), 'bbbbbbbb-0000-4000-8000-000000000002'
    ),
    '>', 0::bigint, 'A tenant that is deleted'
);
SELECT results_eq(
    $$
        SELECT subject FROM rules.audit_log
        WHERE tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002'
        UNION ALL
        SELECT subject FROM rules.tenant_audit_log
        WHERE tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002'
    $$,
    ARRAY['audit'], 'Is erased from it'
);
SELECT is(
    count(*), 1::bigint, 'With the times of its transactions'
)
FROM (
    SELECT DISTINCT noted.xid, noted.started_at
    FROM rules_internal.audit_commits AS noted
    WHERE noted.tenant_id = 'bbbbbbbb-0000-4000-8000-000000000002'
) AS kept;

SELECT * FROM finish();
ROLLBACK;
