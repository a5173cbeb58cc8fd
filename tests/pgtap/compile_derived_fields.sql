-- Derived fields are compiled when they are written: DER-1, DER-2, DER-3.
BEGIN;

SELECT plan(12);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

SELECT throws_ok(
    $$INSERT INTO rules.derived_fields (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'bad', '1 +')$$,
    'RE020', NULL, 'A field that does not compile is refused'
);
SELECT throws_ok(
    $$INSERT INTO rules.derived_fields (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'own', 'own + 1')$$,
    'RE061', NULL, 'DER-2: a field that uses itself is refused'
);
SELECT lives_ok(
    $$INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
    (rules.current_tenant_id(), 'net', 'Order.Gross - tax'),
    (rules.current_tenant_id(), 'tax', 'Order.Gross / 5')$$,
    'Fields may be written in any order in one statement'
);
SELECT results_eq(
    'SELECT name::text, dependencies FROM rules.derived_fields ORDER BY name',
    $$
        VALUES
        ('net', '["Order", "tax"]'::jsonb),
        ('tax', '["Order"]'::jsonb)
    $$,
    'DER-2: dependencies are found'
);
SELECT throws_ok(
    $$UPDATE rules.derived_fields SET expression = 'net + 1' WHERE name = 'tax'$$,
    'RE061', NULL, 'DER-2: a cycle is refused when it is written'
);
SELECT is(
    rules.evaluate_expression('net', '{"Order": {"Gross": 100}}'), '80',
    'DER-1, DER-2: an expression uses them like facts, in the order they need'
);
SELECT is(
    rules.evaluate_expression('net', '{"Order": {"Gross": 100}, "tax": 7}'), '93',
    'DER-3: a field that the caller supplies is taken as given'
);
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'large order', 'net > 50');
SELECT results_eq(
    $$SELECT matched FROM rules.evaluate_all('{"Order": {"Gross": 100}}')$$,
    ARRAY[true],
    'DER-1: a rule uses them like facts'
);
SELECT throws_ok(
    $$DELETE FROM rules.derived_fields WHERE name = 'net'$$,
    'RE062', NULL, 'A field that a rule uses is not deleted'
);
SELECT throws_ok(
    $$UPDATE rules.derived_fields SET name = 'netto' WHERE name = 'net'$$,
    'RE062', NULL, 'Nor renamed'
);
DELETE FROM rules.rules;
SELECT lives_ok(
    'DELETE FROM rules.derived_fields', 'What nobody uses may go'
);

-- What another tenant's rules are made of is not looked at.
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'shared', '1');
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'secret', 'shared > 0');
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), 'shared', '1');
SELECT lives_ok(
    'DELETE FROM rules.derived_fields',
    'REQ-TENANT-005: rules of another tenant are neither compiled nor named'
);

RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
