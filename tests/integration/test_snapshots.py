"""Whatever a snapshot is held by, rules are evaluated as it shows them.

The sessions that evaluate have compiled other states of the rules before and after, and
keep those: none of it may be taken for what the snapshot shows. On a server that knows
prepared transactions.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import IsolationLevel, sql

from tests.fixtures.database import Database
from tests.integration.deployed import Deployed
from tests.integration.tenants import create_tenant
from tests.integration.waiting import wait_until_blocked

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

RULE, GONE = uuid4(), uuid4()
FACTS = json.dumps({"Item": {"Price": 7, "Count": 2}})
# The columns of a table are read as integers, whatever the schema says.
SETUP = """
CREATE TABLE IF NOT EXISTS public.items AS SELECT 7 AS "Price", 2 AS "Count";
GRANT SELECT ON public.items TO rules_app;
"""

# Every way of asking, in one statement and so in one snapshot.
ANSWERS = """
    (SELECT array_agg(result::text) FROM rules.evaluate_all(%(facts)s) AS result),
    (SELECT array_agg(rule_name) FROM rules.evaluate_all(%(facts)s, true)),
    (SELECT array_agg(rule_name) FROM rules.match_rules(%(facts)s)),
    (SELECT array_agg(rule_name) FROM rules.match_rules_batch(ARRAY[%(facts)s::jsonb])),
    (SELECT result::text FROM rules.evaluate(%(rule)s, %(facts)s) AS result),
    (
        SELECT result::text
        FROM rules.evaluate_batch(%(rule)s, ARRAY[%(facts)s::jsonb]) AS result
    ),
    rules.matches(%(rule)s, %(facts)s),
    rules.evaluate_expression('Item.Price / Item.Count > 3', %(facts)s),
    rules.count_matches(%(rule)s, 'public.items', object => 'Item'),
    (
        SELECT count(*) FROM rules.matching_rows(
            %(rule)s, NULL::public.items, object => 'Item'
        )
    )
"""
WAITING = f"""
WITH waited AS MATERIALIZED (SELECT pg_advisory_xact_lock(8341))
SELECT {ANSWERS} FROM waited
"""  # noqa: S608
JUDGED = """
SELECT moment.at, (rules.evaluate_as_of(%(rule)s, %(facts)s, moment.at)).matched
FROM (SELECT coalesce(%(at)s::timestamptz, clock_timestamp()) AS at OFFSET 0) AS moment
"""
ARGUMENTS: dict[str, object] = {"facts": FACTS, "rule": RULE}

INSERT = """
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), %s, %s, %s)
"""
INT = 'SELECT rules.set_schema(\'{"Item": {"Price": "int", "Count": "int"}}\')'
DOUBLE = INT.replace("int", "float64")
# Each changes what some of the questions are answered.
CHANGES = (
    "UPDATE rules.rules SET expression = 'Item.Price < Limit' WHERE name = 'a rule'",
    "DELETE FROM rules.rules WHERE name = 'gone'",
    DOUBLE,
    "UPDATE rules.derived_fields SET expression = '9' WHERE name = 'Limit'",
)


@pytest.fixture
def tenant(deployed: Deployed) -> UUID:
    """A tenant of the shared database, with a schema, a derived field and two rules."""
    tenant = create_tenant(deployed.database)
    operator = deployed.database.connect(autocommit=True)
    operator.execute(SETUP)
    operator.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
    operator.execute(INT)
    operator.execute(
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES (%s, 'Limit', '5')",
        [tenant],
    )
    operator.execute(INSERT, [RULE, "a rule", "Item.Price > Limit"])
    operator.execute(INSERT, [GONE, "gone", "Item.Price == 7"])
    return tenant


@pytest.fixture
def database(deployed: Deployed) -> Database:
    """The shared one."""
    return deployed.database


@pytest.fixture
def open_session(
    database: Database, tenant: UUID
) -> Iterator[Callable[[], Connection]]:
    """Opens sessions of an application, set to the tenant; none waits for long."""
    opened: list[Connection] = []
    uri = database.login("rules_app")

    def open_session() -> Connection:
        session = psycopg.connect(uri)
        opened.append(session)
        session.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        session.execute("SET lock_timeout = '10s'")
        session.commit()
        return session

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def reader(open_session: Callable[[], Connection]) -> Connection:
    """A session that has evaluated everything as it is at first."""
    session = open_session()
    answers(session)
    session.commit()
    return session


@pytest.fixture
def writer(open_session: Callable[[], Connection]) -> Connection:
    """Another session."""
    return open_session()


def answers(session: Connection) -> Any:
    """What is answered to every way of asking."""
    return session.execute(f"SELECT {ANSWERS}".encode(), ARGUMENTS).fetchone()


def change(session: Connection) -> None:
    """Change what everything is answered, and commit."""
    for statement in CHANGES:
        session.execute(statement.encode())
    session.commit()


def begin(session: Connection, level: IsolationLevel) -> None:
    """Take a snapshot of now."""
    session.rollback()
    session.isolation_level = level
    session.execute("SELECT count(*) FROM rules.rules")


UPPER_LEVELS = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


@pytest.mark.parametrize("level", UPPER_LEVELS)
def test_a_long_snapshot_stays_as_it_is_through_hundreds_of_changes(
    database: Database, reader: Connection, writer: Connection, level: IsolationLevel
) -> None:
    """COMP-3, COMP-4: also when others have vacuumed what they left."""
    before = answers(reader)
    begin(reader, level)
    change(writer)
    operator = database.connect(autocommit=True)
    for number in range(40):
        for statement in (INT.replace("Count", f"C{number}"), DOUBLE):
            writer.execute(statement.replace("}')", "}', true)").encode())
        writer.execute("UPDATE rules.derived_fields SET expression = %s", [str(number)])
        writer.execute(
            "UPDATE rules.rules SET expression = %s, name = %s WHERE id = %s",
            [f"Item.Price < {number}", f"rule {number}", RULE],
        )
        writer.execute(INSERT, [uuid4(), f"new {number}", "Item.Price > 5"])
        writer.commit()
        if number % 10 == 9:
            operator.execute(
                "VACUUM rules.rules, rules.derived_fields, rules.schemas,"
                " rules_internal.rule_keys, rules_internal.rule_key_shapes,"
                " rules_internal.rule_set_tokens, rules_internal.environments"
            )
            assert answers(reader) == before
    after = answers(writer)
    assert after != before
    assert len(after[2]) == 41
    reader.commit()
    assert answers(reader) == after


def test_an_exported_snapshot_is_evaluated_in_another_session_too(
    reader: Connection, writer: Connection, open_session: Callable[[], Connection]
) -> None:
    before = answers(reader)
    begin(reader, IsolationLevel.REPEATABLE_READ)
    row = reader.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None
    change(writer)
    other = open_session()
    after = answers(other)
    assert after != before
    other.rollback()
    other.isolation_level = IsolationLevel.REPEATABLE_READ
    other.execute(
        sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(row[0])),
    )
    assert answers(other) == answers(reader) == before
    other.commit()
    assert answers(other) == after


@pytest.mark.parametrize("hold", ["", "WITH HOLD"])
def test_a_cursor_gives_what_was_in_force_when_it_was_declared(
    reader: Connection, writer: Connection, hold: str
) -> None:
    """Also where its own transaction has changed the rules meanwhile."""
    before = answers(reader)
    reader.execute(
        f"DECLARE asked CURSOR {hold} FOR SELECT {ANSWERS}".encode(), ARGUMENTS
    )
    if hold:
        reader.commit()
        change(writer)
    else:
        for statement in CHANGES:
            reader.execute(statement.encode())
    after = answers(reader)
    assert reader.execute("FETCH asked").fetchone() == before
    assert after != before
    assert answers(reader) == after


def test_a_statement_that_waits_evaluates_what_was_in_force_when_it_began(
    database: Database, reader: Connection, writer: Connection
) -> None:
    """READ COMMITTED: one statement, one state, however long it takes."""
    before = answers(reader)
    reader.commit()
    writer.execute("SELECT pg_advisory_lock(8341)")
    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(
            reader.execute,
            WAITING.encode(),
            ARGUMENTS,
        )
        wait_until_blocked(database, reader, writer, outcome)
        change(writer)
        writer.execute("SELECT pg_advisory_unlock(8341)")
        assert outcome.result().fetchone() == before
    assert answers(reader) == answers(writer) != before


def test_no_evaluation_waits_for_a_change_or_sees_a_part_of_it(
    reader: Connection, writer: Connection
) -> None:
    """ENG-2: rule, schema and derived field change for others at once."""
    before = answers(reader)
    reader.commit()
    seen = [before]
    for statement in CHANGES:
        writer.execute(statement.encode())
        assert answers(reader) == before
        reader.commit()
        seen.append(answers(writer))
    assert len({str(each) for each in seen}) == len(seen)
    writer.commit()
    assert answers(reader) == seen[-1]


@pytest.mark.parametrize("outcome", ["COMMIT", "ROLLBACK"])
def test_a_prepared_change_is_seen_when_it_is_committed_and_not_before(
    reader: Connection, writer: Connection, outcome: str
) -> None:
    """Nor by the session that prepared it, which had evaluated it."""
    before = answers(reader)
    name = f"change {uuid4()}"
    writer.execute("SELECT 1")
    for statement in CHANGES:
        writer.execute(statement.encode())
    changed = answers(writer)
    assert changed != before
    writer.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(name)))
    assert answers(writer) == before
    writer.rollback()
    assert answers(reader) == before
    reader.rollback()
    writer.autocommit = True
    writer.execute(
        sql.SQL(f"{outcome} PREPARED {{}}").format(sql.Literal(name)),
    )
    expected = changed if outcome == "COMMIT" else before
    assert answers(writer) == answers(reader) == expected


def test_a_prepared_change_counts_as_in_force_from_when_it_was_prepared(
    reader: Connection, writer: Connection
) -> None:
    """Though others have not seen it before: docs/sql.md says so."""
    name = f"change {uuid4()}"
    writer.execute("UPDATE rules.rules SET expression = 'false' WHERE id = %s", [RULE])
    writer.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(name)))
    writer.rollback()
    row = reader.execute(JUDGED, ARGUMENTS | {"at": None}).fetchone()
    assert row is not None
    between, seen = row
    assert seen is True
    writer.autocommit = True
    writer.execute(sql.SQL("COMMIT PREPARED {}").format(sql.Literal(name)))
    reader.rollback()
    row = reader.execute(JUDGED, ARGUMENTS | {"at": between}).fetchone()
    assert row == (between, False)


def test_subtransactions_that_are_undone_leave_nothing_behind(
    reader: Connection, writer: Connection
) -> None:
    """COMP-4: savepoints one within another, after an error and by choice."""
    before = answers(reader)
    stages = [answers(writer)]
    writer.execute("SAVEPOINT outer_one")
    for statement in CHANGES:
        writer.execute("SAVEPOINT inner_one")
        writer.execute(statement.encode())
        changed = answers(writer)
        with pytest.raises(psycopg.DatabaseError):
            writer.execute(INSERT, [uuid4(), "bad", "1 +"])
        writer.execute("ROLLBACK TO inner_one")
        assert answers(writer) == stages[-1] != changed
        writer.execute(statement.encode())
        writer.execute("RELEASE inner_one")
        stages.append(answers(writer))
        assert stages[-1] == changed
    writer.execute("ROLLBACK TO outer_one")
    assert answers(writer) == before
    writer.commit()
    assert answers(writer) == answers(reader) == before
