-- Under which key a tenant's rules may be cached.
BEGIN;

SELECT plan(14);

SELECT has_table('rules_internal'::name, 'rule_set_tokens'::name);
SELECT col_is_pk(
    'rules_internal', 'rule_set_tokens',
    ARRAY['tenant_id', 'tenant_updated_at', 'xid', 'started_at'],
    'A transaction leaves one token of a tenant'
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE TEMPORARY VIEW tokens AS
SELECT token.token, token.xid = pg_current_xact_id() AS is_own
FROM rules_internal.rule_set_tokens AS token
WHERE token.tenant_id = 'aaaaaaaa-0000-4000-8000-000000000001';
CREATE TEMPORARY VIEW own AS SELECT * FROM tokens WHERE is_own;
-- As earlier transactions left them.
CREATE FUNCTION pg_temp.leave_tokens() RETURNS void LANGUAGE sql AS $$
    DELETE FROM rules_internal.rule_set_tokens;
    INSERT INTO rules_internal.rule_set_tokens (
        tenant_id, tenant_updated_at, xid, started_at
    )
    SELECT tenant.id, tenant.updated_at, number::text::xid8, '2001-01-01'
    FROM rules.tenants AS tenant, generate_series(1, 3) AS number;
$$;

SELECT is(
    rules_internal.rule_set_key('aaaaaaaa-0000-4000-8000-000000000001'), NULL,
    'Where nobody has written rules nothing is cached'
);
INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'one', 'true'
);
SELECT results_eq(
    'SELECT count(*) FROM own', ARRAY[1::bigint], 'Whoever writes rules leaves a token'
);
UPDATE rules.rules SET name = 'another';
UPDATE rules.rules SET active = false;
SELECT results_eq(
    'SELECT count(*) FROM tokens', ARRAY[1::bigint], 'One, however often it writes'
);
SELECT is(
    rules_internal.rule_set_key('aaaaaaaa-0000-4000-8000-000000000001'), NULL,
    'What the own transaction wrote is not cached'
);

SELECT pg_temp.leave_tokens();
SELECT is(
    rules_internal.rule_set_key('aaaaaaaa-0000-4000-8000-000000000001'),
    (SELECT string_agg(token::text, ' ' ORDER BY token) FROM tokens),
    'All tokens together are the key'
);
SELECT is_empty(
    'SELECT * FROM own', 'A transaction is told from an earlier one of its number'
);

DO $$
BEGIN
    DELETE FROM rules.rules;
    RAISE EXCEPTION 'undone';
EXCEPTION
    WHEN raise_exception THEN NULL;
END;
$$;
SELECT results_eq(
    'SELECT is_own FROM tokens', ARRAY[false, false, false],
    'What is rolled back to a savepoint leaves no token, and deletes none'
);
DELETE FROM rules.rules;
SELECT results_eq(
    'SELECT is_own FROM tokens', ARRAY[true], 'A writer deletes the older tokens'
);
SELECT results_eq(
    'SELECT count(*) FROM rules_internal.rule_set_tokens', ARRAY[4::bigint],
    'REQ-TENANT-004: another tenant''s tokens stay'
);

SELECT pg_temp.leave_tokens();
TRUNCATE rules.rules;
SELECT results_eq(
    $$
        SELECT count(*) FROM rules_internal.rule_set_tokens
        WHERE xid = pg_current_xact_id()
    $$,
    ARRAY[2::bigint], 'TRUNCATE changes the rules of all tenants'
);

DELETE FROM rules.tenants WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT is_empty('SELECT * FROM tokens', 'REQ-TENANT-007: a tenant takes its tokens');

CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT throws_ok(
    $$
        INSERT INTO rules_internal.rule_set_tokens (tenant_id)
        VALUES ('bbbbbbbb-0000-4000-8000-000000000002')
    $$,
    '42501', NULL, 'Nobody leaves a token by hand'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
