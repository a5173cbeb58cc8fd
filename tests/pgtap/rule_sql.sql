-- What columns are to a rule, and the SQL that a rule becomes.
BEGIN;

SELECT plan(25);

SELECT has_function('rules', 'rule_sql', ARRAY['uuid', 'regclass', 'name', 'name']);
SELECT isnt_definer('rules', 'rule_sql', ARRAY['uuid', 'regclass', 'name', 'name']);
SELECT volatility_is(
    'rules', 'rule_sql', ARRAY['uuid', 'regclass', 'name', 'name'], 'stable'
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
    ('late', 'delay > 60 && carrier == "UA"'),
    ('in flight', 'Flight.delay > 60'),
    ('partly', 'delay > 60 && carrier.reverse() == "AU"'),
    ('not at all', 'carrier.reverse() == "AU"'),
    ('lacking', 'delai > 60'),
    ('unreadable', 'spot == null'),
    ('mistyped', 'carrier > 60'),
    ('hostile', 'carrier == "''; DROP TABLE tap_flights; --" || carrier == "%1$L\\"')
) AS rule (name, expression);
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES ('bbbbbbbb-0000-4000-8000-000000000002', md5('theirs')::uuid, 'theirs', 'true');

CREATE TYPE public.tap_mood AS ENUM ('sad', 'ok');
CREATE DOMAIN public.tap_port AS integer;
CREATE DOMAIN public.tap_ports AS public.tap_port[];
CREATE TABLE public.tap_flights (
    delay integer,
    gone integer,
    carrier text,
    gust double precision,
    fee numeric(10, 2),
    left_at timestamptz,
    mood public.tap_mood,
    moods public.tap_mood[],
    port public.tap_port,
    ports public.tap_ports,
    spot point,
    facts jsonb
);
ALTER TABLE public.tap_flights DROP COLUMN gone;
CREATE TABLE public.tap_wide (a1 integer);
DO $wide$
BEGIN
    EXECUTE format('ALTER TABLE public.tap_flights ADD %I text', 'a"b');
    FOR v_number IN 2 .. 220 LOOP
        EXECUTE format('ALTER TABLE public.tap_wide ADD a%s integer', v_number);
    END LOOP;
END;
$wide$;
INSERT INTO public.tap_wide (a1, a220) VALUES (1, 220);
GRANT SELECT ON public.tap_flights TO public;
CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_stranger LOGIN;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SELECT results_eq(
    $$
        SELECT name, base, declared
        FROM rules_internal.relation_columns('public.tap_flights'::regclass)
        ORDER BY number
    $$,
    $$
        VALUES
        ('delay', 'integer', 'int'),
        ('carrier', 'text', 'string'),
        ('gust', 'double precision', 'double'),
        ('fee', 'numeric', 'double'),
        ('left_at', 'timestamp with time zone', 'timestamp'),
        ('mood', 'anyenum', 'string'),
        ('moods', 'anyarray', 'list(string)'),
        ('port', 'integer', 'int'),
        ('ports', 'integer[]', 'list(int)'),
        ('spot', 'point', NULL),
        ('facts', 'jsonb', 'dyn'),
        ('a"b', 'text', 'string')
    $$,
    'Columns have types of the language; domains those of what is under them'
);
SELECT is(
    rules_internal.row_facts('public.tap_flights'::regclass, 'x', ARRAY['delay'], NULL),
    'jsonb_build_object(''delay'', x.delay)',
    'Facts are made of the columns that a rule reads'
);
SELECT is(
    rules_internal.row_facts(
        'public.tap_flights'::regclass, 'x', ARRAY['a"b'], 'It''s'
    ),
    'jsonb_build_object(''It''''s'', jsonb_build_object(''a"b'', x."a""b"))',
    'Names are quoted by the server'
);
SELECT is(
    rules_internal.row_facts('public.tap_flights'::regclass, 'x', '{}', NULL),
    '''{}''::jsonb', 'A rule may read none'
);
CREATE FUNCTION public.tap_keys() RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
    v_keys bigint;
BEGIN
    EXECUTE format(
        'SELECT count(*) FROM public.tap_wide AS x, jsonb_object_keys(%s)',
        rules_internal.row_facts(
            'public.tap_wide'::regclass, 'x',
            (
                SELECT array_agg(attname::text) FROM pg_attribute
                WHERE attrelid = 'public.tap_wide'::regclass
            ),
            NULL
        )
    ) INTO v_keys;
    RETURN v_keys;
END;
$function$;
SELECT is(public.tap_keys(), 220::bigint, 'More columns than a function has arguments');

CREATE FUNCTION public.tap_is_condition(p_sql text) RETURNS boolean
LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE 'SELECT FROM public.tap_flights AS r WHERE ' || p_sql;
    RETURN to_regclass('public.tap_flights') IS NOT NULL;
END;
$function$;

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$
        SELECT sql, exact, line, "column", expression, reason
        FROM rules.rule_sql(md5('late')::uuid, 'public.tap_flights')
    $$,
    $$
        VALUES (
            '(r.delay > 60) AND (r.carrier = ''UA'')', true,
            NULL::integer, NULL::integer, NULL::text, NULL::text
        )
    $$,
    'A rule about columns is SQL about them'
);
SELECT is(
    (SELECT sql FROM rules.rule_sql(
        md5('in flight')::uuid, 'public.tap_flights', object => 'Flight'
    )),
    'r.delay > 60', 'Columns may be fields of an object'
);
SELECT matches(
    (SELECT sql FROM rules.rule_sql(md5('in flight')::uuid)),
    '(^|[ (])facts .*delay', 'Without a table, it is about jsonb called facts'
);
SELECT matches(
    (SELECT sql FROM rules.rule_sql(
        md5('in flight')::uuid, 'public.tap_flights', 'facts'
    )),
    'r\.facts .*delay', 'With a facts_column, about that of the row'
);
SELECT results_eq(
    $$
        SELECT sql, exact, line, "column", left(expression, 17)
        FROM rules.rule_sql(md5('partly')::uuid, 'public.tap_flights')
    $$,
    $$VALUES ('r.delay > 60', false, 1, 15, 'carrier.reverse()')$$,
    'What has no SQL is named with its place; the rest is what all matches fulfil'
);
SELECT results_eq(
    $$
        SELECT sql, exact, line, "column", left(expression, 17)
        FROM rules.rule_sql(md5('not at all')::uuid, 'public.tap_flights')
    $$,
    $$VALUES (NULL::text, false, 1, 1, 'carrier.reverse()')$$,
    'Nothing has SQL'
);
SELECT ok(
    public.tap_is_condition(rule.sql), 'Literals are quoted by the server'
)
FROM rules.rule_sql(md5('hostile')::uuid, 'public.tap_flights') AS rule;
SELECT throws_like(
    $$SELECT rules.rule_sql(md5('lacking')::uuid, 'public.tap_flights')$$,
    '%the rule needs a column delai, which the table lacks%',
    'A column that the table lacks is named'
);
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('lacking')::uuid, 'public.tap_flights')$$,
    'RE070', NULL, 'RE070 for a column that the table lacks'
);
SELECT throws_like(
    $$SELECT rules.rule_sql(md5('unreadable')::uuid, 'public.tap_flights')$$,
    '%the column spot has the type point, which rules cannot read%',
    'So is one that rules cannot read'
);
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('mistyped')::uuid, 'public.tap_flights')$$,
    'RE070', NULL, 'RE070 for types that do not compare'
);
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('late')::uuid, object => 'Flight')$$,
    'RE071', NULL, 'RE071 for an object without a table'
);
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('theirs')::uuid, 'public.tap_flights')$$,
    'RE010', NULL, 'REQ-TENANT-005: another tenant''s rule is not found'
);
SELECT throws_ok(
    'SELECT rules.rule_sql(NULL)', 'RE010', NULL, 'Nor is none'
);
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('late')::uuid, 'public.nowhere')$$,
    '42P01', NULL, 'The server knows which tables there are'
);
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('late')::uuid)$$,
    '42501', NULL, 'Others may not call it'
);
RESET SESSION AUTHORIZATION;

SET SESSION AUTHORIZATION tap_app;
SET LOCAL "app.tenant_id" = '';
SELECT throws_ok(
    $$SELECT rules.rule_sql(md5('late')::uuid)$$,
    'RE001', NULL, 'REQ-TENANT-001: without a tenant there is an error'
);
RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
