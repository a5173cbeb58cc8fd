-- The access keys of rules: kept by triggers, for each tenant, and found by facts.
BEGIN;

SELECT plan(28);

SELECT has_table('rules_internal'::name, 'rule_keys'::name);
SELECT has_table('rules_internal'::name, 'rule_key_shapes'::name);
SELECT
    trigger_is(
        'rules', 'rules', 'rules_keys_insert', 'rules_internal', 'insert_rule_keys'
    );
SELECT
    trigger_is(
        'rules', 'rules', 'rules_keys_update', 'rules_internal', 'update_rule_keys'
    );
SELECT
    trigger_is(
        'rules', 'rules', 'rules_keys_delete', 'rules_internal', 'remove_rule_keys'
    );

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

-- The names of the rules that may match facts.
CREATE FUNCTION pg_temp.found(p_facts jsonb) RETURNS text
LANGUAGE sql
AS $function$
    SELECT string_agg(rule.name, ' ' ORDER BY rule.name)
    FROM rules_internal.candidate_rules(
        rules.current_tenant_id(), 'cannot match', ARRAY[p_facts], '{}'
    ) AS candidate
    INNER JOIN rules.rules AS rule
        ON candidate.rule_id = rule.id
        AND rule.tenant_id = rules.current_tenant_id()
$function$;

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
INSERT INTO rules.rules (tenant_id, name, expression, active) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'equal', 'User.Id == 7', true),
('aaaaaaaa-0000-4000-8000-000000000001', 'range', 'Age >= 18 && Age < 30', true),
('aaaaaaaa-0000-4000-8000-000000000001', 'above', 'Age > 60', true),
('aaaaaaaa-0000-4000-8000-000000000001', 'either', 'A == 1 || B == "x"', true),
('aaaaaaaa-0000-4000-8000-000000000001', 'prefix', 'Url.startsWith("/a/")', true),
('aaaaaaaa-0000-4000-8000-000000000001', 'always', 'size(Xs) == 0 || true', true),
('aaaaaaaa-0000-4000-8000-000000000001', 'asleep', 'User.Id == 7', false);

SELECT is(pg_temp.found('{}'), 'always', 'A rule without keys may match any facts');
SELECT is(
    pg_temp.found('{"User": {"Id": 7}}'), 'always equal',
    'An equal value is found; of an inactive rule there are no keys'
);
SELECT is(pg_temp.found('{"User": {"Id": 7.0}}'), 'always equal', 'As CEL compares it');
SELECT is(pg_temp.found('{"User": {"Id": 8}}'), 'always', 'Another is not');
SELECT is(pg_temp.found('{"Age": 18}'), 'always range', 'A range includes its end');
SELECT is(pg_temp.found('{"Age": 29.5}'), 'always range', 'It includes what is within');
SELECT is(pg_temp.found('{"Age": 17}'), 'always', 'It does not what is before');
SELECT is(pg_temp.found('{"Age": 61}'), 'above always', 'A range may have one end');
SELECT is(pg_temp.found('{"A": 1}'), 'always either', 'A disjunction is found by one');
SELECT is(pg_temp.found('{"B": "x"}'), 'always either', 'It is by the other');
SELECT is(pg_temp.found('{"Url": "/a/b"}'), 'always prefix', 'A prefix is found');
SELECT results_eq(
    $$
        SELECT element, count(*)
        FROM rules_internal.candidate_rules(
            rules.current_tenant_id(), 'cannot match',
            ARRAY['{"A": 1}', '{}', '{"A": 1, "Age": 20}']::jsonb[], '{}'
        )
        GROUP BY element
        ORDER BY element
    $$,
    $$VALUES (1, 1::bigint), (3, 2), (NULL, 1)$$,
    'Many facts are looked up at once'
);

-- Changes.
UPDATE rules.rules SET active = name = 'asleep' WHERE name IN ('equal', 'asleep');
SELECT is(
    pg_temp.found('{"User": {"Id": 7}}'), 'always asleep',
    'Keys come and go with activity'
);
UPDATE rules.rules SET name = 'awake' WHERE name = 'asleep';
SELECT is(pg_temp.found('{"User": {"Id": 7}}'), 'always awake', 'A name is no matter');
UPDATE rules.rules SET expression = 'User.Id == 8' WHERE name = 'awake';
SELECT is(
    concat_ws(
        ', ', pg_temp.found('{"User": {"Id": 7}}'), pg_temp.found('{"User": {"Id": 8}}')
    ),
    'always, always awake', 'Keys follow the expression'
);
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 'A', 'C + 1');
SELECT is(
    concat_ws(', ', pg_temp.found('{"C": 0}'), pg_temp.found('{"A": 1}')),
    'always either, always either',
    'A derived field is looked through, unless the facts supply it'
);
UPDATE rules.derived_fields SET expression = 'D + 1';
SELECT is(pg_temp.found('{"C": 0}'), 'always', 'Keys follow the environment');
DELETE FROM rules.rules WHERE name = 'awake';

-- Tenants.
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 'theirs', 'A == 1');
SELECT is(pg_temp.found('{"A": 1}'), 'theirs', 'Keys are of the own tenant');
SELECT is_empty(
    $$
        SELECT FROM rules_internal.candidate_rules(
            'aaaaaaaa-0000-4000-8000-000000000001', 'cannot match',
            ARRAY['{"A": 1}']::jsonb[], '{}'
        )
    $$,
    'REQ-TENANT-001: another tenant''s are not found, whatever is asked'
);
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (
    'bbbbbbbb-0000-4000-8000-000000000002', md5('twin')::uuid, 'their twin', 'E == 1'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES ('aaaaaaaa-0000-4000-8000-000000000001', md5('twin')::uuid, 'twin', 'E == 1');
UPDATE rules.rules SET active = false WHERE name = 'twin';
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT is(
    pg_temp.found('{"E": 1}'), 'their twin',
    'REQ-TENANT-004: keys of a rule of the same id stay with the other tenant'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
UPDATE rules.derived_fields SET expression = 'F + 1';
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
SELECT is(
    pg_temp.found('{"A": 1}'), 'theirs',
    'REQ-TENANT-004: a change of the environment leaves the keys of others'
);
DELETE FROM rules.rules WHERE name = 'their twin';
RESET SESSION AUTHORIZATION;

DELETE FROM rules.tenants WHERE id = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT results_eq(
    $$
        SELECT rule.name
        FROM rules_internal.rule_keys AS key
        INNER JOIN rules.rules AS rule ON key.rule_id = rule.id
        WHERE key.tenant_id IN (
            'aaaaaaaa-0000-4000-8000-000000000001',
            'bbbbbbbb-0000-4000-8000-000000000002'
        )
    $$,
    ARRAY['theirs'::varchar],
    'Keys go with their tenant'
);
TRUNCATE rules.rules CASCADE;
SELECT
    is_empty('SELECT FROM rules_internal.rule_keys', 'Keys are truncated with rules');

SELECT * FROM finish();
ROLLBACK;
