"""The demo decides what plain SQL decides, may run again, and fails in plain words."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from rich.console import Console

from python.demo import __main__ as demo
from python.demo import flights, next_steps, report
from python.demo.policies import read_policies
from tests.fixtures import sqitch
from tests.fixtures.database import Database

FLIGHTS = 3_000

# For some rules, the same question in SQL: a condition on `facts`.
_DELAYED = "(facts #>> '{Flight,DepartureDelay}')::integer"
_ARRIVED = "(facts #>> '{Flight,ArrivalDelay}')::integer"
_DEPARTURE = "(facts #>> '{Flight,ScheduledDeparture}')::timestamptz"
IN_SQL = {
    "cancelled": "facts #>> '{Flight,Status}' = 'cancelled'",
    "basic cover, 1 hour late": f"{_ARRIVED} > 60",
    "medium haul, 3 hours late": f"""
        {_ARRIVED} >= 180
        AND (facts #>> '{{Flight,DistanceMiles}}')::float8 * 1.609344 > 1500
        AND (facts #>> '{{Flight,DistanceMiles}}')::float8 * 1.609344 <= 3500
    """,
    "care: hotel": f"""
        {_DELAYED} >= 120 AND extract(hour FROM
            ({_DEPARTURE} + {_DELAYED} * interval '1 minute')
            AT TIME ZONE 'America/New_York') < 5
    """,
    "knock-on from an earlier leg": f"""
        {_DELAYED} >= 60 AND EXISTS (
            SELECT FROM jsonb_array_elements(facts #> '{{Aircraft,EarlierLegs}}') AS leg
            WHERE (leg ->> 'ArrivalDelay')::integer >= 60)
    """,
    "weekend evening": f"""
        {_DELAYED} >= 45
        AND extract(dow FROM {_DEPARTURE} AT TIME ZONE 'America/New_York') IN (0, 5)
        AND extract(hour FROM {_DEPARTURE} AT TIME ZONE 'America/New_York') >= 17
    """,
    "review: aircraft over 25 years": f"""
        {_ARRIVED} > 60 AND 2013 - (facts #>> '{{Aircraft,Built}}')::integer > 25
    """,
}


@pytest.fixture(scope="module", autouse=True)
def _data_set() -> None:
    try:
        flights.data_folder()
    except flights.DataSetMissingError as error:
        pytest.skip(str(error))


def run(database: Database) -> str:
    """Run the demo over the first flights and return what it prints."""
    console = Console(file=io.StringIO(), width=120)
    demo.run(console, database.dsn, read_policies(), limit=FLIGHTS, workers=2)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def decided(database: Database) -> dict[str, tuple[int, int]]:
    """How often each rule fired, and how often it had no answer."""
    rows = database.connect(autocommit=True).execute(
        """
        SELECT rule_name, count(*) FILTER (WHERE error IS NULL), count(error)
        FROM flights_demo.decisions
        GROUP BY rule_name
        """
    )
    return {name: (fired, failed) for name, fired, failed in rows}


@pytest.mark.integration
def test_rules_fire_where_the_same_question_in_sql_says_yes(
    database: Database,
) -> None:
    printed = run(database)

    fired = decided(database)
    session = database.connect(autocommit=True)
    for name, condition in IN_SQL.items():
        row = session.execute(
            f"SELECT count(*) FROM flights_demo.flights WHERE {condition}"  # noqa: S608
        ).fetchone()
        assert row is not None
        assert fired[name][0] == row[0] > 0, name
        assert name in printed


@pytest.mark.integration
def test_a_rule_without_has_has_no_answer_where_the_field_is_missing(
    database: Database,
) -> None:
    run(database)

    row = (
        database.connect(autocommit=True)
        .execute(
            f"""
            SELECT count(*) FROM flights_demo.flights
            WHERE facts #>> '{{Flight,Status}}' = 'landed' AND {_DELAYED} >= 120
                AND facts #> '{{Weather,WindGust}}' IS NULL
            """  # noqa: S608
        )
        .fetchone()
    )
    assert row is not None
    assert decided(database)["draft: gusts at departure"][1] == row[0] > 0


@pytest.mark.integration
def test_a_second_run_decides_the_same(database: Database) -> None:
    run(database)
    first = decided(database)
    run(database)

    assert decided(database) == first


@pytest.mark.integration
def test_tables_that_somebody_holds_are_waited_for_but_not_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database)
    monkeypatch.setattr("python.demo.database.LOCK_TIMEOUT", "100ms")
    holder = database.connect()
    holder.execute("SELECT count(*) FROM flights_demo.decisions")

    result = CliRunner().invoke(demo.main, env={"DATABASE_URL": database.dsn})

    assert result.exit_code == 1
    assert "lock timeout" in result.output


@pytest.mark.integration
def test_the_statements_that_it_suggests_work_when_pasted_into_psql(
    database: Database,
) -> None:
    run(database)

    statements = next_steps.statements(read_policies(), 835)

    assert len(statements) == 3
    for statement in statements:
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", database.dsn],
            input=statement,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip(), f"{statement}\ngave no row"


@pytest.mark.integration
def test_a_tenant_of_the_demo_sees_its_own_decisions_only(database: Database) -> None:
    run(database)
    fairwing, skyledger = read_policies()

    with database.connect() as session:
        session.execute("SET ROLE rules_app")
        session.execute("SELECT rules.set_tenant(%s)", (fairwing.id,))
        rows = session.execute("SELECT rule_name FROM flights_demo.decisions")
        seen = {name for (name,) in rows}

    assert seen <= {rule.name for rule in fairwing.rules}
    assert not seen & {rule.name for rule in skyledger.rules}


@pytest.mark.integration
def test_pgrules_can_be_reverted_while_the_tables_of_the_demo_are_there(
    database: Database,
) -> None:
    run(database)

    done = subprocess.run(
        [sys.executable, "-m", "pgrules", "migrate", "down", "--yes"],
        cwd=sqitch.ROOT,
        env={**os.environ, "DATABASE_URL": database.dsn},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_a_database_without_pgrules_is_named_as_such(empty_database: str) -> None:
    result = CliRunner().invoke(demo.main, env={"DATABASE_URL": empty_database})

    assert result.exit_code == 1
    assert "not deployed" in result.output
    assert "Traceback" not in result.output


def test_a_database_that_does_not_answer_is_an_error_of_one_message() -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/none?connect_timeout=2"
    result = CliRunner().invoke(demo.main, env={"DATABASE_URL": nowhere})

    assert result.exit_code == 1
    assert "refused" in result.output
    assert "Traceback" not in result.output


@pytest.fixture(scope="module")
def facts() -> dict[int, flights.Facts]:
    """The facts of the first flights."""
    return dict(flights.read_facts(flights.data_folder(), FLIGHTS))


def test_what_the_source_does_not_know_is_missing_from_the_facts(
    facts: dict[int, flights.Facts],
) -> None:
    cancelled = [
        flight["Flight"]
        for flight in facts.values()
        if flight["Flight"]["Status"] == "cancelled"
    ]

    assert cancelled
    assert not any("DepartureDelay" in flight for flight in cancelled)
    assert "'NA'" not in str(facts)


def test_earlier_legs_left_before_and_on_the_same_day(
    facts: dict[int, flights.Facts],
) -> None:
    legs: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for flight in facts.values():
        tail = flight["Aircraft"].get("Tail")
        if tail is not None:
            key = (tail, flight["Flight"]["Date"])
            departure = flight["Flight"]["ScheduledDeparture"]
            earlier = len(flight["Aircraft"]["EarlierLegs"])
            legs.setdefault(key, []).append((departure, earlier))

    for rotation in legs.values():
        assert [count for _, count in sorted(rotation)] == list(range(len(rotation)))


def test_reasons_are_the_facts_that_were_read() -> None:
    trace = [
        {"expression": "has(A.B) &&\n A.B in [1]", "depth": 0, "value": True},
        {"expression": "has(A.B)", "depth": 1, "value": True},
        {"expression": "A.B in [1]", "depth": 1, "value": True},
        {"expression": "A.B", "depth": 2, "value": 1},
        {"expression": "[1]", "depth": 2, "value": [1]},
        {"expression": "A.C", "depth": 1, "skipped": True},
    ]

    assert list(report.reasons(trace)) == [("A.B", 1)]
