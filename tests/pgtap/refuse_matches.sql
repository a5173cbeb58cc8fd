-- A trigger on tables of users: a row that a rule matches is not written.
BEGIN;

SELECT plan(26);

SELECT function_returns('rules', 'refuse_matches', ARRAY[]::name[], 'trigger');
SELECT isnt_definer('rules', 'refuse_matches', ARRAY[]::name[]);

INSERT INTO rules.tenants (id, name) VALUES
('aaaaaaaa-0000-4000-8000-000000000001', 'Harbour'),
('bbbbbbbb-0000-4000-8000-000000000002', 'Mountain');
INSERT INTO rules.rules (tenant_id, id, name, expression, created_at) VALUES
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000001',
    'late', 'Flight.delay >= 180', '2001-01-01'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000002',
    'refuse: early', 'Flight.delay < -60', '2001-01-02'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000003',
    'per seat', '100 / Flight.seats > 10', '2001-01-03'
),
(
    'aaaaaaaa-0000-4000-8000-000000000001', '11111111-0000-4000-8000-000000000004',
    'top', 'delay == 7', '2001-01-04'
),
(
    'bbbbbbbb-0000-4000-8000-000000000002', '11111111-0000-4000-8000-000000000001',
    'theirs', 'true', '2001-01-01'
);

-- As an application has its tables: a schema of its own, row-level security by tenant.
CREATE SCHEMA tap;
CREATE TABLE tap.flights (
    tenant_id uuid NOT NULL DEFAULT rules.current_tenant_id(),
    id integer NOT NULL,
    delay integer,
    seats integer NOT NULL DEFAULT 100,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE tap.flight_matches (
    tenant_id uuid NOT NULL,
    id integer NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    matched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id, rule_id)
);
ALTER TABLE tap.flights ENABLE ROW LEVEL SECURITY;
ALTER TABLE tap.flight_matches ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tap.flights USING (tenant_id = rules.current_tenant_id());
CREATE POLICY own ON tap.flight_matches USING (tenant_id = rules.current_tenant_id());
CREATE TRIGGER recording_insert AFTER INSERT ON tap.flights
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('flight_matches', 'object=Flight');
CREATE TRIGGER recording_update AFTER UPDATE ON tap.flights
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('flight_matches', 'object=Flight');
CREATE TRIGGER recording_delete AFTER DELETE ON tap.flights
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('flight_matches', 'object=Flight');

CREATE ROLE tap_app LOGIN IN ROLE rules_app;
CREATE ROLE tap_stranger LOGIN;
GRANT USAGE ON SCHEMA tap TO public;
GRANT ALL ON ALL TABLES IN SCHEMA tap TO public;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

PREPARE recorded AS
SELECT id, rule_name FROM tap.flight_matches ORDER BY id, rule_name;

SET SESSION AUTHORIZATION tap_app;
SELECT throws_ok(
    'INSERT INTO tap.flights (id) SELECT 1 WHERE false', 'RE001', NULL,
    'Without a tenant nothing is judged, not even nothing'
);
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
RESET SESSION AUTHORIZATION;

CREATE FUNCTION pg_temp.refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_message text;
    v_detail text;
    v_table text;
BEGIN
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION
    WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
            v_message = MESSAGE_TEXT,
            v_detail = PG_EXCEPTION_DETAIL,
            v_table = TABLE_NAME;
        RETURN concat_ws(
            E'\n', SQLSTATE, v_message, nullif(v_detail, ''), nullif(v_table, '')
        );
END;
$$;

-- Refusing
CREATE TRIGGER refusing_insert AFTER INSERT ON tap.flights
REFERENCING NEW TABLE AS written FOR EACH STATEMENT
EXECUTE FUNCTION rules.refuse_matches('object=Flight', 'rules=refuse: %');
CREATE TRIGGER refusing_update AFTER UPDATE ON tap.flights
REFERENCING NEW TABLE AS "Written" FOR EACH STATEMENT
EXECUTE FUNCTION rules.refuse_matches('object=Flight', 'rules=refuse: %');

SET SESSION AUTHORIZATION tap_app;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
DELETE FROM tap.flights;
SELECT lives_ok(
    'INSERT INTO tap.flights (id, delay) VALUES (1, 300), (2, -60), (3, NULL)',
    'What no rule of the pattern matches is written'
);
SELECT is(
    pg_temp.refusal(
        'INSERT INTO tap.flights (id, delay) VALUES (4, 0), (5, -61), (6, -90)'
    ),
    'RE063
cannot write to table tap.flights: rule ''refuse: early'' refuses it
Row (tenant_id, id)=(aaaaaaaa-0000-4000-8000-000000000001, 5) matches rule'
    || ' ''refuse: early'' (11111111-0000-4000-8000-000000000002).
Row (tenant_id, id)=(aaaaaaaa-0000-4000-8000-000000000001, 6) matches rule'
    || ' ''refuse: early'' (11111111-0000-4000-8000-000000000002).
flights',
    'A refusal names rows and rules'
);
SELECT throws_ok(
    'UPDATE tap.flights SET delay = delay - 30', 'RE063', NULL,
    'An update is refused too'
);
SELECT results_eq(
    'SELECT id, delay FROM tap.flights ORDER BY id',
    $$VALUES (1, 300), (2, -60), (3, NULL)$$,
    'A refused statement leaves nothing behind'
);
SELECT results_eq(
    'recorded', $$VALUES (1, 'late')$$, 'Nor do the matches of its rows stay'
);
SELECT is(
    (
        SELECT count(*)
        FROM regexp_matches(
            pg_temp.refusal(
                'INSERT INTO tap.flights (id, delay) '
                'SELECT number, -70 FROM generate_series(10, 500) AS number'
            ),
            'Row \(', 'g'
        )
    ),
    10::bigint,
    'The detail stays short'
);

-- A writer who sets traps: functions, operators and tables in the path
RESET SESSION AUTHORIZATION;
CREATE SCHEMA trap AUTHORIZATION tap_app;
SET SESSION AUTHORIZATION tap_app;
CREATE FUNCTION trap.to_jsonb(anyelement) RETURNS jsonb
LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
CREATE FUNCTION trap.jsonb_build_object(text, jsonb) RETURNS jsonb
LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
CREATE FUNCTION trap.always(integer, integer) RETURNS boolean
LANGUAGE sql AS $$SELECT false$$;
CREATE FUNCTION trap.never(text, text) RETURNS boolean
LANGUAGE sql AS $$SELECT false$$;
DO $$
BEGIN
    EXECUTE 'CREATE OPERATOR trap.= '
    '(FUNCTION = trap.always, LEFTARG = integer, RIGHTARG = integer)';
    EXECUTE 'CREATE OPERATOR trap.~~ '
    '(FUNCTION = trap.never, LEFTARG = text, RIGHTARG = text)';
END;
$$;
CREATE TABLE trap.flight_matches (LIKE tap.flight_matches);
SET LOCAL search_path = trap, pg_catalog;
DO $$
BEGIN
    PERFORM set_config('tap.refusal', pg_temp.refusal(
        'INSERT INTO tap.flights (id, delay) VALUES (7, -90)'
    ), true);
END;
$$;
DELETE FROM tap.flights WHERE delay > 200;
INSERT INTO tap.flights (id, delay) VALUES (8, 300);
RESET search_path;
SELECT matches(
    current_setting('tap.refusal'), '^RE063',
    'A writer''s search_path does not decide what is refused'
);
SELECT results_eq(
    'recorded', $$VALUES (8, 'late')$$, 'Nor where matches are recorded'
);
SELECT is_empty('SELECT * FROM trap.flight_matches', 'Nor what is removed');
RESET SESSION AUTHORIZATION;

-- Another tenant's row
CREATE TABLE tap.bookings (tenant uuid, id integer, facts jsonb);
CREATE TRIGGER refusing AFTER INSERT ON tap.bookings
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.refuse_matches('facts=facts', 'tenant=tenant');
SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';
SELECT throws_ok(
    $$
        INSERT INTO tap.bookings
        VALUES ('bbbbbbbb-0000-4000-8000-000000000002', 1, '{}')
    $$,
    '42501', 'cannot write to table tap.bookings: a row belongs to another tenant',
    'With tenant=column a row of another tenant is not judged by these rules'
);
SELECT throws_ok(
    $$INSERT INTO tap.bookings VALUES (NULL, 1, '{}')$$, '42501', NULL,
    'Nor one of no tenant'
);
SELECT lives_ok(
    $$
        INSERT INTO tap.bookings
        VALUES ('aaaaaaaa-0000-4000-8000-000000000001', 1, '{}')
    $$,
    'One of this tenant is'
);
SELECT is(
    pg_temp.refusal($$
        INSERT INTO tap.bookings
        SELECT 'aaaaaaaa-0000-4000-8000-000000000001', 2, facts
        FROM (VALUES (NULL::jsonb), ('{"delay": 7}')) AS given (facts)
    $$),
    'RE063
cannot write to table tap.bookings: rule ''top'' refuses it
Row 2 of the statement matches rule ''top'' (11111111-0000-4000-8000-000000000004).
bookings',
    'A row without a key is named by its number'
);

-- Attached in a way that cannot be
CREATE TABLE tap.plain (id integer PRIMARY KEY, delay integer, name text);
CREATE VIEW tap.plain_view AS SELECT * FROM tap.plain;
CREATE FUNCTION pg_temp.attached(definition text, statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE TRIGGER attached ' || definition;
    EXECUTE statement;
    RETURN 'not refused';
EXCEPTION
    WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END;
$$;
SELECT
    is(
        pg_temp.attached(
            attempt.definition,
            coalesce(attempt.statement, 'INSERT INTO tap.plain VALUES (1, 7)')
        ),
        attempt.refusal,
        attempt.definition
    )
FROM (
    VALUES
    (
        'BEFORE INSERT ON tap.plain EXECUTE FUNCTION rules.refuse_matches()', NULL,
        '39P01 cannot write to table tap.plain: trigger attached is of another kind '
        'than is needed'
    ),
    (
        'AFTER INSERT ON tap.plain FOR EACH ROW '
        'EXECUTE FUNCTION rules.refuse_matches()',
        NULL,
        '39P01 cannot write to table tap.plain: trigger attached is of another kind '
        'than is needed'
    ),
    (
        'AFTER INSERT OR UPDATE ON tap.plain EXECUTE FUNCTION rules.refuse_matches()',
        NULL,
        '39P01 cannot write to table tap.plain: trigger attached is of another kind '
        'than is needed'
    ),
    (
        'INSTEAD OF INSERT ON tap.plain_view FOR EACH ROW '
        'EXECUTE FUNCTION rules.refuse_matches()',
        'INSERT INTO tap.plain_view VALUES (1, 7)',
        '39P01 cannot write to table tap.plain_view: trigger attached is of another '
        'kind than is needed'
    ),
    (
        'AFTER DELETE ON tap.plain REFERENCING OLD TABLE AS o '
        'EXECUTE FUNCTION rules.refuse_matches()',
        'DELETE FROM tap.plain',
        '39P01 cannot write to table tap.plain: trigger attached fires on DELETE'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.refuse_matches(''facts=facts'')', NULL,
        '42703 cannot write to table tap.plain: table tap.plain has no column facts'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.refuse_matches(''facts=name'')', NULL,
        '42804 cannot write to table tap.plain: column name of table tap.plain is '
        'text, not jsonb'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.refuse_matches(''colour=blue'')', NULL,
        '22023 cannot write to table tap.plain: ''colour=blue'' is no option, or is '
        'given twice'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.refuse_matches(''rules=a'', ''rules=b'')', NULL,
        '22023 cannot write to table tap.plain: ''rules=b'' is no option, or is given '
        'twice'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.refuse_matches(''object='')', NULL,
        '22023 cannot write to table tap.plain: ''object='' is no option, or is given '
        'twice'
    )
) AS attempt (definition, statement, refusal);

SELECT * FROM finish();
ROLLBACK;
