"""``matching_rows`` and its like against the language itself, row by row.

By SQL or by the language in batches, a row is selected if and only if the rule is true
of it: each rule is asked of each row alone, too.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.database import Database
from tests.integration.matching import (
    RULES_ABOUT_AN_OBJECT,
    RULES_ABOUT_COLUMNS,
    add_rule,
    fill,
)

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

# The environment and the facts that matching_rows would give to the language.
BY_THE_LANGUAGE = """
CREATE FUNCTION public.by_the_language(p_rule_id uuid, p_object text)
RETURNS TABLE (id integer, matched boolean, error text)
LANGUAGE plpgsql
AS $$
DECLARE
    v_query record := rules_internal.row_query(
        'cannot test', rules.current_tenant_id(), p_rule_id,
        'hostile'::regclass, NULL, p_object
    );
    v_read record := rules_internal.cel_reads(
        rules_internal.cel_runtime(), v_query.expression, v_query.environment
    );
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT %1$I.id, outcome.matched, outcome.error FROM hostile AS %1$I, '
        'rules_internal.cel_evaluate(rules_internal.cel_runtime(), $1, $2, %2$s, false)'
        ' AS outcome',
        v_query.alias,
        rules_internal.row_facts(
            'hostile'::regclass, v_query.alias, v_read.columns, p_object
        )
    ) USING v_query.expression, v_query.environment;
END;
$$;
"""


@pytest.fixture
def session(database: Database, tenant: UUID) -> Iterator[Connection]:
    """An administrator's session with the hostile table, acting for a tenant."""
    session = database.connect()
    session.execute("SELECT rules.set_tenant(%s)", [tenant])
    fill(session)
    session.execute(BY_THE_LANGUAGE.encode())
    session.execute("ANALYZE hostile")
    yield session
    session.rollback()


def matching(session: Connection, rule: UUID, of: str | None) -> list[int]:
    rows = session.execute(
        "SELECT id FROM rules.matching_rows(%s, NULL::hostile, object => %s)"
        " ORDER BY id",
        [rule, of],
    )
    return [row[0] for row in rows]


def judged(session: Connection, rule: UUID, of: str | None) -> list[int]:
    """The rows that the language says true of, asked one by one."""
    rows = session.execute(
        "SELECT id FROM public.by_the_language(%s, %s) WHERE matched ORDER BY id",
        [rule, of],
    )
    return [row[0] for row in rows]


def test_rows_are_those_of_which_the_language_says_true(
    session: Connection, tenant: UUID
) -> None:
    exact, selective = 0, 0
    for expression in RULES_ABOUT_COLUMNS + RULES_ABOUT_AN_OBJECT:
        of = "H" if expression in RULES_ABOUT_AN_OBJECT else None
        rule = add_rule(session, tenant, expression)
        expected = judged(session, rule, of)
        assert matching(session, rule, of) == expected, expression
        row = session.execute(
            "SELECT rules.count_matches(%(rule)s, 'hostile', object => %(of)s),"
            " bool_and(exact)"
            " FROM rules.rule_sql(%(rule)s, 'hostile', object => %(of)s)",
            {"rule": rule, "of": of},
        ).fetchone()
        assert row is not None
        assert row[0] == len(expected), expression
        exact += row[1]
        selective += 0 < len(expected) < 400
    # Else the comparison would say little.
    assert exact > 40
    assert selective > 80


@pytest.mark.parametrize(
    "setting",
    [
        "extra_float_digits = 0",
        "TimeZone = 'America/New_York'",
        "DateStyle = 'German'",
        "IntervalStyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "enable_seqscan = off",
        "force_parallel_mode = on",
    ],
)
def test_settings_of_the_session_change_no_row(
    session: Connection, tenant: UUID, setting: str
) -> None:
    rules = [
        add_rule(session, tenant, expression)
        for expression in (
            "single == 0.1 || single == 0.10000000149011612 || sizes[0] == 0.1",
            "wide == 0.1 && string(wide) == '0.1'",
            "moment == timestamp('2013-01-01T05:17:00.000001Z')",
            "string(moment) == '2013-01-01T05:17:00.000001Z'",
            "day < timestamp('2013-01-02T00:00:00Z')",
            "span == duration('26h3m4.5s') || span == duration('-1h')",
            "raw == b'\\x00\\xff'",
            "word == 'a\\\\b' && string(yes) != ''",
            "small == null || word == 'a\\\\b'",
        )
    ]
    before = [matching(session, rule, None) for rule in rules]
    assert all(before)
    session.execute(f"SET LOCAL {setting}".encode())
    assert [matching(session, rule, None) for rule in rules] == before


def test_many_rows_are_judged_in_batches_and_few_at_the_end(
    session: Connection, tenant: UUID
) -> None:
    session.execute(
        "CREATE TABLE numbers AS SELECT n FROM generate_series(1, 2500) AS n"
    )
    rule = add_rule(session, tenant, "string(n).endsWith('7')")
    rows = session.execute(
        "SELECT n FROM rules.matching_rows(%s, NULL::numbers)", [rule]
    ).fetchall()
    assert sorted(row[0] for row in rows) == list(range(7, 2500, 10))


def test_large_rows_make_small_batches(session: Connection, tenant: UUID) -> None:
    session.execute(
        "CREATE TABLE large AS SELECT n, jsonb_build_object('n', n, 'text',"
        " (SELECT string_agg(md5((n * 1000 + k)::text), '')"
        " FROM generate_series(1, 20000) AS k)) AS facts"
        " FROM generate_series(1, 40) AS n"
    )
    rule = add_rule(session, tenant, "string(n) == '7' || text.endsWith('!')")
    rows = session.execute(
        "SELECT n FROM rules.matching_rows(%s, NULL::large, facts_column => 'facts')",
        [rule],
    ).fetchall()
    assert rows == [(7,)]


FACTS = (
    "{}",
    '{"a": 1}',
    '{"a": 1.0, "b": {"c": "x"}}',
    '{"a": "1"}',
    '{"a": null}',
    '{"a": 1e400}',
    '{"a": [1, "x"], "b": {}}',
    "[]",
    "1",
    "null",
    '"a"',
    None,
)


@pytest.mark.parametrize(
    "expression",
    [
        "true",
        "!false",
        "a == 1",
        "a != 1",
        "!has(b.c) || true",
        "a == null",
        "a in [1, '1']",
        "b.c == 'x'",
        "string(a) == '1'",
        "type(a) == int || true",
        "a == 1 && string(a) == '1'",
    ],
)
def test_facts_in_a_column_match_as_they_do_by_themselves(
    session: Connection, tenant: UUID, expression: str
) -> None:
    """A document that evaluate refuses, and no document, is no match."""
    session.execute('CREATE TABLE kept (id integer, "the facts" jsonb)')
    for number, facts in enumerate(FACTS):
        session.execute("INSERT INTO kept VALUES (%s, %s)", [number, facts])
    rule = add_rule(session, tenant, expression)
    expected = []
    for number, facts in enumerate(FACTS):
        row = session.execute(
            "SELECT matched FROM rules_internal.cel_evaluate("
            "rules_internal.cel_runtime(), %s, '{}', %s, false)",
            [expression, facts],
        ).fetchone()
        if facts is not None and row is not None and row[0]:
            expected.append(number)
    found = session.execute(
        "SELECT id FROM rules.matching_rows("
        "%s, NULL::kept, facts_column => 'the facts') ORDER BY id",
        [rule],
    ).fetchall()
    # No facts either; but SQL can read such a number.
    beyond = {FACTS.index('{"a": 1e400}')}
    assert {row[0] for row in found} - beyond == set(expected) - beyond


# Whose rows, and by which plan


@pytest.fixture
def flights(database: Database, tenant: UUID) -> None:
    """20,000 flights of three carriers, of which a login sees those of its carrier."""
    with database.connect() as session:
        session.execute(
            """
            CREATE TABLE public.flights AS
            SELECT
                n AS id, (ARRAY['UA', 'AA', 'B6'])[n % 3 + 1] AS carrier,
                n % 500 AS delay,
                jsonb_build_object('Flight', jsonb_build_object('Delay', n % 500))
                    AS facts
            FROM generate_series(1, 20000) AS n;
            ALTER TABLE public.flights ADD PRIMARY KEY (id);
            CREATE INDEX flights_delay ON public.flights (delay);
            ANALYZE public.flights;
            GRANT SELECT ON public.flights TO PUBLIC;
            """
        )
        for name, expression in RULES.items():
            session.execute(
                "INSERT INTO rules.rules (tenant_id, id, name, expression)"
                " VALUES (%s, md5(%s)::uuid, %s, %s)",
                [tenant, name, name, expression],
            )


RULES = {
    "columns": "delay >= 498",
    "facts": "Flight.Delay >= 498",
    "language": "delay >= 498 && carrier.reverse() != 'X'",
}
COUNTS = {
    "columns": (
        "SELECT count(*) FROM rules.matching_rows("
        "md5('columns')::uuid, NULL::public.flights)"
    ),
    "facts": (
        "SELECT count(*) FROM rules.matching_rows("
        "md5('facts')::uuid, NULL::public.flights, facts_column => 'facts')"
    ),
    "language": (
        "SELECT count(*) FROM rules.matching_rows("
        "md5('language')::uuid, NULL::public.flights)"
    ),
}


@pytest.fixture(params=["rules_app", "rules_tenant"])
def caller(
    request: pytest.FixtureRequest, database: Database, tenant: UUID, flights: None
) -> Iterator[Connection]:
    """A session of each kind of login, acting for the tenant."""
    role: str = request.param
    login = database.login(role, tenant=tenant if role == "rules_tenant" else None)
    # Each statement is a transaction, and keeps no lock that others would wait for.
    with psycopg.connect(login, autocommit=True) as session:
        session.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        yield session


def number(session: Connection, query: str) -> int:
    row = session.execute(query.encode()).fetchone()
    assert row is not None
    found: int = row[0]
    return found


def plans(session: Connection, query: str) -> str:
    """What ``auto_explain`` logs while a query runs, statements of functions too."""
    logged: list[str] = []

    def keep(diagnostic: psycopg.errors.Diagnostic) -> None:
        logged.append(diagnostic.message_primary or "")

    session.add_notice_handler(keep)
    session.execute(query.encode())
    session.remove_notice_handler(keep)
    return "\n".join(logged)


def explaining(database: Database, tenant: UUID) -> Connection:
    """A superuser's session that logs plans to its client."""
    session = database.connect()
    session.execute(
        """
        LOAD 'auto_explain';
        SET auto_explain.log_min_duration = 0;
        SET auto_explain.log_nested_statements = on;
        SET auto_explain.log_analyze = on;
        SET client_min_messages = log;
        """
    )
    session.execute("SELECT rules.set_tenant(%s)", [tenant])
    return session


@pytest.mark.parametrize("call", COUNTS)
def test_policies_of_the_table_hold_for_the_caller(
    database: Database, caller: Connection, call: str
) -> None:
    assert number(caller, COUNTS[call]) == 80
    with database.connect() as session:
        session.execute(
            """
            ALTER TABLE public.flights ENABLE ROW LEVEL SECURITY;
            CREATE POLICY flights_ua ON public.flights USING (carrier = 'UA');
            """
        )
    seen = number(caller, "SELECT count(*) FROM flights WHERE delay >= 498")
    assert 0 < seen < 80
    assert number(caller, COUNTS[call]) == seen
    counted = COUNTS[call].replace("count(*) FROM rules.matching_rows", "count_matches")
    counted = counted.replace("NULL::public.flights", "'public.flights'")
    assert number(caller, counted) == seen


def test_a_rule_uses_the_index_that_fits(
    database: Database, tenant: UUID, flights: None
) -> None:
    session = explaining(database, tenant)
    found = plans(session, COUNTS["columns"])
    assert "Bitmap Index Scan on flights_delay" in found
    assert "Index Cond: (delay >= 498)" in found
    condition = session.execute(
        "SELECT sql FROM rules.rule_sql(md5('columns')::uuid, 'public.flights')"
    ).fetchone()
    assert condition is not None
    plan = session.execute(
        b"EXPLAIN SELECT * FROM public.flights AS r WHERE " + condition[0].encode()
    ).fetchall()
    assert any("Index Cond: (delay >= 498)" in line for (line,) in plan)


def test_the_language_judges_only_what_passes_the_part_that_is_sql(
    database: Database, tenant: UUID, flights: None
) -> None:
    found = plans(explaining(database, tenant), COUNTS["language"])
    assert "Index Cond: (delay >= 498)" in found


@pytest.mark.parametrize("call", ["columns", "facts"])
def test_the_rows_are_found_by_parallel_workers(
    database: Database, tenant: UUID, flights: None, call: str
) -> None:
    session = explaining(database, tenant)
    session.execute(
        """
        SET LOCAL max_parallel_workers_per_gather = 2;
        SET LOCAL parallel_setup_cost = 0;
        SET LOCAL parallel_tuple_cost = 0;
        SET LOCAL min_parallel_table_scan_size = 0;
        SET LOCAL enable_bitmapscan = off;
        SET LOCAL enable_indexscan = off;
        """
    )
    found = plans(session, COUNTS[call])
    assert "Parallel Seq Scan on flights" in found
    assert "Workers Launched: 2" in found


def test_rows_of_a_view_are_those_that_its_owner_shows(
    database: Database, caller: Connection
) -> None:
    with database.connect() as session:
        session.execute(
            """
            CREATE VIEW public.ours AS SELECT * FROM flights WHERE carrier = 'B6';
            GRANT SELECT ON public.ours TO PUBLIC;
            REVOKE SELECT ON public.flights FROM PUBLIC;
            """
        )
    query = COUNTS["columns"].replace("public.flights", "public.ours")
    seen = number(caller, "SELECT count(*) FROM public.ours WHERE delay >= 498")
    assert number(caller, query) == seen > 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="table flights"):
        caller.execute(COUNTS["columns"].encode())


def test_rows_of_a_foreign_table_match(database: Database, caller: Connection) -> None:
    with database.connect() as session:
        session.execute(
            """
            CREATE EXTENSION file_fdw;
            CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
            CREATE FOREIGN TABLE public.abroad (delay integer, carrier text)
            SERVER files OPTIONS (
                program $$printf '500,UA\\n7,AA\\n600,AA\\n'$$, format 'csv'
            );
            GRANT SELECT ON public.abroad TO PUBLIC;
            """
        )
    for call in ("columns", "language"):
        query = COUNTS[call].replace("public.flights", "public.abroad")
        assert number(caller, query) == 2


def test_operators_of_the_caller_have_no_part_in_it(
    database: Database, caller: Connection
) -> None:
    """CVE-2018-1058: who may create in a schema of the path brings better fits."""
    with database.connect() as session:
        session.execute(
            """
            CREATE SCHEMA theirs;
            GRANT USAGE ON SCHEMA theirs TO PUBLIC;
            CREATE FUNCTION theirs.yes(integer, integer) RETURNS boolean
            LANGUAGE sql AS 'SELECT true';
            CREATE OPERATOR theirs.>= (
                FUNCTION = theirs.yes, LEFTARG = integer, RIGHTARG = integer
            );
            CREATE FUNCTION theirs.no(jsonb, text[]) RETURNS jsonb
            LANGUAGE sql AS $$SELECT '1000'::jsonb$$;
            CREATE OPERATOR theirs.#> (
                FUNCTION = theirs.no, LEFTARG = jsonb, RIGHTARG = text[]
            );
            CREATE FUNCTION theirs.jsonb_build_object(VARIADIC "any") RETURNS jsonb
            LANGUAGE internal AS 'jsonb_build_object_noargs';
            CREATE FUNCTION theirs.format(text, text, text) RETURNS text
            LANGUAGE sql AS $$SELECT 'SELECT 1'$$;
            """
        )
    caller.execute("SET search_path = theirs, pg_catalog, public")
    assert number(caller, "SELECT count(*) FROM flights WHERE delay >= 498") == 20000
    for call in COUNTS.values():
        assert number(caller, call) == 80


# Tables that change


def test_a_table_that_changes_between_calls_is_read_as_it_is(
    database: Database, caller: Connection
) -> None:
    """Each change comes from another session; plans of this one are cached by then."""
    changer = database.connect(autocommit=True)
    asked = COUNTS["columns"].replace("count(*)", "id, delay")
    counted = "SELECT rules.count_matches(md5('columns')::uuid, 'public.flights')"

    def again() -> tuple[int, int]:
        rows = caller.execute(asked.encode(), prepare=False).fetchall()
        return len(rows), number(caller, counted)

    for _ in range(6):
        assert again() == (80, 80)
    for change, expected in (
        ("ALTER TABLE flights ADD extra text DEFAULT 'x'", (80, 80)),
        ("ALTER TABLE flights DROP COLUMN carrier", (80, 80)),
        ("ALTER TABLE flights ALTER delay TYPE double precision", (80, 80)),
        ("UPDATE flights SET delay = 'NaN' WHERE delay = 498", (40, 40)),
        ("ALTER TABLE flights ALTER delay TYPE numeric", (40, 40)),
        (
            "ALTER TABLE flights RENAME TO fl; ALTER TABLE fl RENAME TO flights",
            (40, 40),
        ),
    ):
        changer.execute(change.encode())
        assert again() == expected, change
    changer.execute("ALTER TABLE flights ALTER delay TYPE text")
    with pytest.raises(
        psycopg.Error, match="cannot compare string with int"
    ) as refused:
        again()
    assert refused.value.sqlstate == "RE070"
    changer.execute("ALTER TABLE flights RENAME delay TO late")
    with pytest.raises(psycopg.Error, match="the table lacks") as refused:
        number(caller, counted)
    assert refused.value.sqlstate == "RE070"


def test_a_prepared_statement_over_columns_of_other_types_is_an_error(
    database: Database, caller: Connection
) -> None:
    """The server's own, of a function's columns; it is never a row of wrong values."""
    asked = COUNTS["columns"].replace("count(*)", "delay").encode()
    assert len(caller.execute(asked, prepare=True).fetchall()) == 80
    with database.connect() as changer:
        changer.execute("ALTER TABLE flights ALTER delay TYPE double precision")
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        caller.execute(asked, prepare=True)
    assert len(caller.execute(asked, prepare=False).fetchall()) == 80


def test_a_table_cannot_change_while_its_rows_are_in_use(
    database: Database, caller: Connection
) -> None:
    changer = database.connect(autocommit=True)
    changer.execute("SET lock_timeout = '50ms'")
    with caller.transaction():
        number(caller, COUNTS["facts"])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            changer.execute("ALTER TABLE flights DROP COLUMN delay")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("ALTER TABLE flights ADD extra integer DEFAULT 3", 80),
        ("ALTER TABLE flights DROP COLUMN carrier", 80),
        (
            """
            ALTER TABLE flights RENAME delay TO late;
            ALTER TABLE flights RENAME id TO delay;
            """,
            19503,
        ),
        ("ALTER TABLE flights RENAME delay TO late", "42703"),
        # The server writes such a table anew, and an older snapshot sees no row of it.
        ("ALTER TABLE flights ALTER delay TYPE double precision USING -delay", 0),
        ("ALTER TABLE flights ALTER delay TYPE text", "42883"),
    ],
)
def test_a_transaction_that_began_before_a_change_gets_no_wrong_row(
    database: Database, caller: Connection, change: str, expected: int | str
) -> None:
    """Its snapshot has the catalog of before; the server reads the table of now."""
    caller.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    found: int | str
    with caller.transaction():
        number(caller, "SELECT count(*) FROM rules.rules")
        with database.connect() as changer:
            changer.execute(change.encode())
        try:
            with caller.transaction():
                found = number(caller, COUNTS["columns"])
        except psycopg.Error as error:
            found = error.sqlstate or ""
    assert found == expected


def test_columns_of_tables_that_come_and_go_are_not_mixed_up(
    caller: Connection, database: Database
) -> None:
    with database.connect() as session:
        statement = "GRANT TEMPORARY ON DATABASE {} TO PUBLIC"
        session.execute(sql.SQL(statement).format(sql.Identifier(session.info.dbname)))
    query = COUNTS["columns"].replace("public.flights", "passing")
    for definition, expected in (
        ("SELECT 499 AS delay", 1),
        ("SELECT 'NaN'::double precision AS delay", 0),
        ("SELECT 'NaN'::numeric AS other, 498.5 AS delay", 1),
    ) * 2:
        caller.execute(f"CREATE TEMPORARY TABLE passing AS {definition}".encode())
        assert number(caller, query) == expected
        caller.execute("DROP TABLE passing")


# Ends


@pytest.mark.parametrize("call", COUNTS)
def test_a_statement_timeout_ends_the_search(
    database: Database, tenant: UUID, flights: None, call: str
) -> None:
    session = database.connect()
    session.execute("SELECT rules.set_tenant(%s)", [tenant])
    session.execute(
        "CREATE VIEW many AS SELECT a.* FROM flights AS a, generate_series(1, 10000)"
    )
    session.execute("SET LOCAL statement_timeout = '300ms'")
    query = COUNTS[call].replace("public.flights", "many")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute(query.encode())
