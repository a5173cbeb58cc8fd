-- A trigger on tables of users: which rules match the rows is recorded.
BEGIN;

SELECT plan(31);

SELECT function_returns('rules', 'record_matches', ARRAY[]::name[], 'trigger');
SELECT isnt_definer('rules', 'record_matches', ARRAY[]::name[]);

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

-- Recording
INSERT INTO tap.flights (id, delay, seats) VALUES
(1, 200, 100), (2, 10, 0), (3, NULL, 4), (4, -90, 4);
SELECT results_eq(
    'recorded',
    $$
        VALUES (1, 'late'), (3, 'per seat'), (4, 'per seat'), (4, 'refuse: early')
    $$,
    'The matches of each row are recorded; a rule that fails does not match'
);
SELECT results_eq(
    $$SELECT DISTINCT tenant_id, rule_id FROM tap.flight_matches WHERE id = 1$$,
    $$
        VALUES (
            'aaaaaaaa-0000-4000-8000-000000000001'::uuid,
            '11111111-0000-4000-8000-000000000001'::uuid
        )
    $$,
    'A match has the key of its row and the id of its rule'
);
UPDATE tap.flights SET delay = 190 WHERE id IN (3, 4);
SELECT results_eq(
    'recorded',
    $$
        VALUES
        (1, 'late'), (3, 'late'), (3, 'per seat'), (4, 'late'), (4, 'per seat')
    $$,
    'An update replaces the matches of its rows, and of no others'
);
UPDATE tap.flights SET id = id + 10 WHERE id = 4;
SELECT results_eq(
    'recorded',
    $$
        VALUES
        (1, 'late'), (3, 'late'), (3, 'per seat'), (14, 'late'), (14, 'per seat')
    $$,
    'A change of the key takes the matches along'
);
DELETE FROM tap.flights WHERE id IN (3, 14);
SELECT results_eq(
    'recorded', $$VALUES (1, 'late')$$, 'A deleted row has no matches any more'
);
UPDATE tap.flights SET delay = 0 WHERE false;
DELETE FROM tap.flights WHERE false;
SELECT results_eq(
    'recorded', $$VALUES (1, 'late')$$, 'A statement without rows changes nothing'
);
INSERT INTO tap.flights (id, delay) VALUES (1, 0), (5, 300)
ON CONFLICT (tenant_id, id) DO UPDATE SET delay = excluded.delay;
SELECT results_eq(
    'recorded', $$VALUES (5, 'late')$$,
    'ON CONFLICT DO UPDATE inserts and updates: both triggers see their rows'
);
MERGE INTO tap.flights AS flight
USING (VALUES (1, 240), (5, NULL), (6, 250)) AS given (id, delay)
ON flight.id = given.id
WHEN MATCHED AND given.delay IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET delay = given.delay
WHEN NOT MATCHED THEN INSERT (id, delay) VALUES (given.id, given.delay);
SELECT results_eq(
    'recorded', $$VALUES (1, 'late'), (6, 'late')$$,
    'MERGE inserts, updates and deletes: all three triggers see their rows'
);
SELECT throws_ok(
    'INSERT INTO tap.flights (id, delay) VALUES (7, 300); SELECT 1 / 0',
    '22012', NULL, 'Something fails later'
);
SELECT results_eq(
    'recorded', $$VALUES (1, 'late'), (6, 'late')$$,
    'Matches go with their rows where a savepoint is returned to'
);
WITH added AS (
    INSERT INTO tap.flights (id, delay) VALUES (8, 300) RETURNING id
)

UPDATE tap.flights SET delay = 0 FROM added WHERE flights.id = 1;
SELECT results_eq(
    'recorded', $$VALUES (6, 'late'), (8, 'late')$$,
    'Each part of a statement that writes twice is recorded'
);
INSERT INTO tap.flights (id, delay, seats)
SELECT number, CASE WHEN number % 100 = 0 THEN 300 ELSE 0 END, 100
FROM generate_series(1001, 2250) AS number;
SELECT results_eq(
    $$
        SELECT count(*)::integer, min(id), max(id), sum(id % 100)::integer
        FROM tap.flight_matches
        WHERE id > 1000
    $$,
    $$VALUES (12, 1100, 2200, 0)$$,
    'In a statement of several batches each row has its own matches'
);

-- Tenants
SELECT rules.set_tenant('bbbbbbbb-0000-4000-8000-000000000002');
INSERT INTO tap.flights (id, delay) VALUES (1, 300);
SELECT results_eq(
    'recorded', $$VALUES (1, 'theirs')$$,
    'REQ-TENANT-003: the rules are those of the writer''s tenant'
);
UPDATE tap.flights SET delay = 0;
DELETE FROM tap.flights;
SELECT rules.set_tenant('aaaaaaaa-0000-4000-8000-000000000001');
SELECT results_eq(
    $$SELECT count(*) FROM tap.flight_matches$$, ARRAY[14::bigint],
    'REQ-TENANT-001: what the other tenant writes leaves these matches alone'
);

SET SESSION AUTHORIZATION tap_stranger;
SELECT throws_ok(
    'INSERT INTO tap.flights (tenant_id, id) SELECT gen_random_uuid(), 1',
    '42501', NULL,
    'Who may not evaluate rules does not write past them'
);
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

-- Facts in a column
CREATE TABLE tap.bookings (code text, sent timestamptz, facts jsonb, payload json);
CREATE TABLE tap.booking_matches (
    code text, sent timestamptz, rule_id uuid, extra integer DEFAULT 7
);
GRANT ALL ON ALL TABLES IN SCHEMA tap TO public;
CREATE TRIGGER recording_insert AFTER INSERT ON tap.bookings
REFERENCING NEW TABLE AS matched FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches(
    'booking_matches', 'facts=facts', 'key=code', 'key=sent'
);
CREATE TRIGGER recording_update AFTER UPDATE ON tap.bookings
REFERENCING NEW TABLE AS numbered OLD TABLE AS former FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches(
    'tap.booking_matches', 'facts=payload', 'key=code', 'key=sent'
);
SET SESSION AUTHORIZATION tap_app;
INSERT INTO tap.bookings VALUES
('UA', '2026-01-01Z', '{"Flight": {"delay": 181}}'),
('no facts', '2026-01-01Z', NULL);
SELECT results_eq(
    'SELECT code, rule_id, extra FROM tap.booking_matches',
    $$VALUES ('UA', '11111111-0000-4000-8000-000000000001'::uuid, 7)$$,
    'Facts may be a column; a row without has no matches; rule_name may be missing'
);
SELECT is(
    pg_temp.refusal($$
        INSERT INTO tap.bookings VALUES ('ok', NULL, '{}'), ('not ok', NULL, '[1]')
    $$),
    'RE030
cannot record the matches of table tap.bookings: invalid facts: '
    'a JSON object is expected, not an array
Row (code, sent)=(not ok, NULL).',
    'Facts that are refused are named by their row'
);
INSERT INTO tap.bookings VALUES ('no time', NULL, '{"Flight": {"delay": 181}}');
UPDATE tap.bookings SET payload = '{"delay": 0}' WHERE code = 'no time';
SELECT results_eq(
    'SELECT code FROM tap.booking_matches', ARRAY['UA'],
    'A row whose key is NULL in part has its matches replaced too'
);
UPDATE tap.bookings SET payload = '{"delay": 7}' WHERE code = 'UA';
SELECT results_eq(
    'SELECT rule_id FROM tap.booking_matches',
    ARRAY['11111111-0000-4000-8000-000000000004'::uuid],
    'Facts may be json as well'
);
RESET SESSION AUTHORIZATION;

-- Partitions
CREATE TABLE tap.days (id integer PRIMARY KEY, facts jsonb) PARTITION BY RANGE (id);
CREATE TABLE tap.day1 PARTITION OF tap.days FOR VALUES FROM (1) TO (100);
CREATE TABLE tap.day2 PARTITION OF tap.days FOR VALUES FROM (100) TO (200);
CREATE TABLE tap.day_matches (id integer, rule_id uuid, rule_name text);
CREATE TRIGGER recording_insert AFTER INSERT ON tap.days
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('tap.day_matches', 'facts=facts');
CREATE TRIGGER recording_update AFTER UPDATE ON tap.days
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('tap.day_matches', 'facts=facts');
INSERT INTO tap.days VALUES (1, '{"delay": 7}'), (150, '{"delay": 7}');
UPDATE tap.days SET id = 101 WHERE id = 1;
SELECT results_eq(
    'SELECT id, rule_name FROM tap.day_matches ORDER BY id',
    $$VALUES (101, 'top'), (150, 'top')$$,
    'A partitioned table is one table, also where a row changes its partition'
);

-- A type whose = is in a schema of its own
CREATE SCHEMA kinds;
CREATE EXTENSION citext SCHEMA kinds;
CREATE TABLE tap.codes (code kinds.citext PRIMARY KEY, delay integer);
CREATE TABLE tap.code_matches (code kinds.citext, rule_id uuid);
CREATE TRIGGER recording_insert AFTER INSERT ON tap.codes
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('code_matches');
CREATE TRIGGER recording_delete AFTER DELETE ON tap.codes
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('code_matches');
INSERT INTO tap.codes VALUES ('UA1', 7), ('UA2', 7);
UPDATE tap.code_matches SET code = lower(code::text)::kinds.citext;
DELETE FROM tap.codes WHERE delay = 7 AND code::text = 'UA1';
SELECT results_eq(
    'SELECT code::text FROM tap.code_matches', ARRAY['ua2'],
    'Keys are compared as their type compares'
);

-- Attached in a way that cannot be
CREATE TABLE tap.plain (id integer PRIMARY KEY, delay integer, name text);
CREATE TABLE tap.plain_matches (id integer, rule_name text);
CREATE TABLE tap.keyless (id integer);
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
        'AFTER TRUNCATE ON tap.plain EXECUTE FUNCTION rules.record_matches(''m'')',
        'TRUNCATE tap.plain',
        '39P01 cannot record the matches of table tap.plain: trigger attached fires '
        'on TRUNCATE'
    ),
    (
        'AFTER UPDATE ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.record_matches(''m'')',
        'UPDATE tap.plain SET delay = 7',
        '39P01 cannot record the matches of table tap.plain: trigger attached is of '
        'another kind than is needed'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.record_matches()', NULL,
        '22023 cannot record the matches of table tap.plain: the trigger names no '
        'table to record them in'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.record_matches(''nowhere'')', NULL,
        '42P01 cannot record the matches of table tap.plain: there is no table '
        'tap.nowhere'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.record_matches(''plain'')', NULL,
        '22023 cannot record the matches of table tap.plain: it cannot record its own'
    ),
    (
        'AFTER INSERT ON tap.plain REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.record_matches(''plain_matches'')', NULL,
        '42703 cannot record the matches of table tap.plain: table tap.plain_matches '
        'has no column rule_id'
    ),
    (
        'AFTER INSERT ON tap.keyless REFERENCING NEW TABLE AS n '
        'EXECUTE FUNCTION rules.record_matches(''flight_matches'')',
        'INSERT INTO tap.keyless SELECT WHERE false',
        '22023 cannot record the matches of table tap.keyless: it has no primary key'
    )
) AS attempt (definition, statement, refusal);

SELECT * FROM finish();
ROLLBACK;
