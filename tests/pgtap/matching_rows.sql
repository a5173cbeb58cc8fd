-- The rows of a table that match a rule, and what is no such table.
BEGIN;

SELECT plan(47);

SELECT has_function(
    'rules', 'matching_rows', ARRAY['uuid', 'anyelement', 'name', 'name']
);
SELECT isnt_definer(
    'rules', 'matching_rows', ARRAY['uuid', 'anyelement', 'name', 'name']
);
SELECT volatility_is(
    'rules', 'matching_rows', ARRAY['uuid', 'anyelement', 'name', 'name'], 'stable'
);
SELECT has_function(
    'rules', 'count_matches', ARRAY['uuid', 'regclass', 'name', 'name']
);
SELECT isnt_definer(
    'rules', 'count_matches', ARRAY['uuid', 'regclass', 'name', 'name']
);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.rules (tenant_id, id, name, expression)
SELECT
    'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
    md5(rule.name)::uuid,
    rule.name,
    rule.expression
FROM (
    VALUES
    ('late', 'delay > 60'),
    ('by language', 'delay > 60 && carrier.reverse() != "X"'),
    ('in flight', 'Flight.delay > 60'),
    ('in facts', 'Flight.Delay > 60'),
    ('all', 'true'),
    ('none', 'false'),
    ('fails', '1 / 0 > 0'),
    ('no boolean', 'delay'),
    ('unread', 'carrier == "UA"'),
    ('catalogued', 'relname == "pg_class" && relkind == "r"'),
    ('derived', 'VeryLate'),
    ('unfit', 'Other')
) AS rule (name, expression);
INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'VeryLate', 'delay > 120'),
('aaaaaaaa-0000-4000-8000-000000000001', 'Other', 'User.Age > 18');
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', md5('theirs')::uuid, 'theirs', 'true');

CREATE TYPE public.tap_pair AS (delay integer, carrier text);
CREATE DOMAIN public.tap_pair_domain AS public.tap_pair;
CREATE TABLE public.tap_flights (
    delay integer,
    gone integer,
    carrier text,
    spot point,
    facts jsonb,
    plain json,
    doubled integer GENERATED ALWAYS AS (delay * 2) STORED
);
ALTER TABLE public.tap_flights DROP COLUMN gone;
INSERT INTO public.tap_flights (delay, carrier, spot, facts) VALUES
(10, 'UA', '(1,2)', '{"Flight": {"Delay": 10}}'),
(100, 'AA', NULL, '{"Flight": {"Delay": 100}}'),
(200, 'UA', NULL, '[]'),
(NULL, NULL, NULL, NULL);
CREATE VIEW public.tap_view AS
SELECT delay, carrier FROM public.tap_flights WHERE carrier = 'UA';
CREATE MATERIALIZED VIEW public.tap_snapshot AS SELECT delay FROM public.tap_flights;
CREATE TABLE public.tap_parts (delay integer, carrier text) PARTITION BY LIST (carrier);
CREATE TABLE public.tap_part_ua PARTITION OF public.tap_parts FOR VALUES IN ('UA');
CREATE TABLE public.tap_part_aa PARTITION OF public.tap_parts FOR VALUES IN ('AA');
INSERT INTO public.tap_parts VALUES (70, 'UA'), (80, 'AA'), (5, 'AA');
CREATE TABLE public.tap_parent (delay integer);
CREATE TABLE public.tap_child (carrier text) INHERITS (public.tap_parent);
INSERT INTO public.tap_parent VALUES (90);
INSERT INTO public.tap_child VALUES (95, 'UA');
CREATE SEQUENCE public.tap_sequence;
CREATE TABLE public.tap_empty ();
INSERT INTO public.tap_empty DEFAULT VALUES;
CREATE TABLE public.tap_secret (delay integer);
CREATE SCHEMA tap_closed;
CREATE TABLE tap_closed.tap_hidden (delay integer);
CREATE TABLE public.tap_halves (delay integer, carrier text);
INSERT INTO public.tap_halves VALUES (61, 'UA');

CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_stranger LOGIN;
GRANT SELECT ON
public.tap_flights,
public.tap_view,
public.tap_snapshot,
public.tap_parts,
public.tap_parent,
public.tap_sequence,
public.tap_empty,
tap_closed.tap_hidden
TO public;
GRANT SELECT (delay) ON public.tap_halves TO public;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');

-- What the facts are.
SELECT results_eq(
    $$
        SELECT delay, carrier, doubled
        FROM rules.matching_rows(md5('late')::uuid, NULL::public.tap_flights)
        ORDER BY delay
    $$,
    $$VALUES (100, 'AA', 200), (200, 'UA', 400)$$,
    'The rows of a table, around a dropped column and with a generated one'
);
SELECT results_eq(
    $$
        SELECT delay, carrier, doubled
        FROM rules.matching_rows(md5('by language')::uuid, NULL::public.tap_flights)
        ORDER BY delay
    $$,
    $$VALUES (100, 'AA', 200), (200, 'UA', 400)$$,
    'The same by the language'
);
SELECT is(
    rules.count_matches(md5('late')::uuid, 'public.tap_flights'), 2::bigint,
    'They are counted'
);
SELECT is(
    rules.count_matches(md5('by language')::uuid, 'public.tap_flights'), 2::bigint,
    'By the language too'
);
SELECT results_eq(
    $$
        SELECT delay FROM rules.matching_rows(
            md5('in flight')::uuid, NULL::public.tap_flights, object => 'Flight'
        ) ORDER BY delay
    $$,
    'VALUES (100), (200)', 'The columns are fields of an object'
);
SELECT results_eq(
    $$
        SELECT delay FROM rules.matching_rows(
            md5('in facts')::uuid, NULL::public.tap_flights, facts_column => 'facts'
        ) ORDER BY delay
    $$,
    'VALUES (100)', 'The facts are a column'
);
SELECT is(
    rules.count_matches(md5('in facts')::uuid, 'public.tap_flights', 'facts'),
    1::bigint, 'They are counted too'
);
SELECT is(
    rules.count_matches(md5('all')::uuid, 'public.tap_flights'), 4::bigint,
    'A rule that reads nothing matches every row'
);
SELECT is(
    rules.count_matches(md5('all')::uuid, 'public.tap_flights', 'facts'), 2::bigint,
    'A row whose facts are NULL or no object is none'
);
SELECT is(
    rules.count_matches(md5('none')::uuid, 'public.tap_flights'), 0::bigint,
    'Or no row'
);
SELECT is(
    rules.count_matches(md5('fails')::uuid, 'public.tap_flights'), 0::bigint,
    'A rule that fails matches no row'
);
SELECT is(
    rules.count_matches(md5('no boolean')::uuid, 'public.tap_flights'), 0::bigint,
    'EVAL-3: nor does one that is no boolean'
);
SELECT is(
    rules.count_matches(md5('derived')::uuid, 'public.tap_flights'), 1::bigint,
    'Derived fields are computed of columns'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('unfit')::uuid, 'public.tap_flights')$$,
    'RE070', NULL, 'One that does not fit the table is an error where it is used'
);

-- What has rows.
SELECT is(
    rules.count_matches(md5('late')::uuid, 'public.tap_view'), 1::bigint, 'A view'
);
SELECT is(
    rules.count_matches(md5('late')::uuid, 'public.tap_snapshot'), 2::bigint,
    'A materialized view'
);
SELECT is(
    rules.count_matches(md5('late')::uuid, 'public.tap_parts'), 2::bigint,
    'A partitioned table with its partitions'
);
SELECT results_eq(
    $$
        SELECT delay FROM rules.matching_rows(
            md5('late')::uuid, NULL::public.tap_parent
        ) ORDER BY delay
    $$,
    'VALUES (90), (95)', 'A table with those that inherit from it'
);
SELECT is(
    rules.count_matches(md5('all')::uuid, 'public.tap_empty'), 1::bigint,
    'A table without columns'
);
SELECT is(
    (
        SELECT string_agg(relname::text, ', ')
        FROM rules.matching_rows(md5('catalogued')::uuid, NULL::pg_catalog.pg_class)
    ),
    'pg_class', 'A catalog'
);

-- What has none.
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('all')::uuid, NULL::integer)$$,
    'RE071', NULL, 'A scalar type'
);
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('all')::uuid, NULL::public.tap_pair)$$,
    'RE071', NULL, 'A composite type'
);
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('all')::uuid, NULL::public.tap_pair_domain)$$,
    'RE071', NULL, 'A domain over one'
);
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('all')::uuid, NULL::public.tap_flights[])$$,
    'RE071', NULL, 'An array'
);
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('all')::uuid, NULL)$$,
    '42804', NULL, 'NULL of no type is the server''s to refuse'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('all')::uuid, NULL)$$,
    'RE071', NULL, 'No table'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('all')::uuid, 'public.tap_sequence')$$,
    'RE071', NULL, 'A sequence'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('all')::uuid, 1::regclass)$$,
    'RE071', NULL, 'The number of no table'
);

-- What the facts cannot be.
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('all')::uuid, 'public.tap_flights', 'nowhere')$$,
    'RE072', NULL, 'A column that is not there'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('all')::uuid, 'public.tap_flights', 'gone')$$,
    'RE072', NULL, 'Or no more'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('all')::uuid, 'public.tap_flights', 'plain')$$,
    'RE072', NULL, 'One of json'
);
SELECT throws_ok(
    $$
        SELECT rules.count_matches(
            md5('all')::uuid, 'public.tap_flights', 'facts', 'Flight'
        )
    $$,
    'RE072', NULL, 'A column and an object'
);

-- What the caller may not read.
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('late')::uuid, NULL::public.tap_secret)$$,
    '42501', 'permission denied for table tap_secret', 'A table'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('unread')::uuid, 'public.tap_secret')$$,
    '42501', 'permission denied for table tap_secret',
    'Nothing is said about its columns'
);
SELECT throws_ok(
    format(
        'SELECT rules.count_matches(md5(%L)::uuid, %s::regclass)',
        'late',
        (
            SELECT class.oid FROM pg_class AS class WHERE class.relname = 'tap_hidden'
        )
    ),
    '42501', 'permission denied for schema tap_closed', 'A schema'
);
SELECT is(
    rules.count_matches(md5('late')::uuid, 'public.tap_halves'), 1::bigint,
    'A rule may read the columns that its caller may'
);
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('unread')::uuid, 'public.tap_halves')$$,
    '42501', NULL, 'And no other'
);
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('late')::uuid, NULL::public.tap_halves)$$,
    '42501', NULL, 'Rows are all of their columns'
);

-- Which rule.
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('theirs')::uuid, NULL::public.tap_flights)$$,
    'RE010', NULL, 'REQ-TENANT-005: another tenant''s rule is not found'
);
SELECT throws_ok(
    'SELECT rules.matching_rows(NULL, NULL::public.tap_flights)',
    'RE010', NULL, 'Nor is none'
);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION tap_app;
SET LOCAL "app.tenant_id" = '';
SELECT throws_ok(
    $$SELECT rules.matching_rows(md5('late')::uuid, NULL::integer)$$,
    'RE001', NULL, 'REQ-TENANT-001: without a tenant there is an error'
);
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    $$SELECT rules.count_matches(md5('late')::uuid, 'public.tap_flights')$$,
    '42501', NULL, 'Others may not call it'
);
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
