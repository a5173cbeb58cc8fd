"""Rules found by their access keys, in the database: as many as match, and no others.

The keys are kept in the transaction that writes the rules. What they find is held
against ``evaluate_all``, which evaluates every rule.
"""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from pgrules.cel.facts import facts_to_json
from tests.fixtures.database import Database
from tests.unit.cel import generation

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

INSERT = """
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), %s, %s)
"""


@pytest.fixture
def open_session(app: str) -> Iterator[Callable[[UUID], Connection]]:
    """Opens an application's sessions, each in a transaction of the tenant it gets."""
    opened: list[Connection] = []

    def open_session(tenant: UUID) -> Connection:
        session = psycopg.connect(app)
        opened.append(session)
        begin(session, tenant)
        return session

    yield open_session
    for session in opened:
        session.close()


def begin(session: Connection, tenant: UUID) -> None:
    session.execute("SELECT rules.set_tenant(%s)", [tenant])


@pytest.fixture
def session(open_session: Callable[[UUID], Connection], tenant: UUID) -> Connection:
    """A session of the tenant."""
    return open_session(tenant)


def matching(session: Connection, facts: str) -> list[str]:
    """The names of the rules that match, in their order."""
    query = "SELECT rule_name FROM rules.match_rules(%s::jsonb)"
    return [name for (name,) in session.execute(query, [facts])]


def evaluated(session: Connection, facts: str) -> list[str]:
    """The same, by evaluating all of them."""
    query = "SELECT rule_name FROM rules.evaluate_all(%s::jsonb, true)"
    return [name for (name,) in session.execute(query, [facts])]


@pytest.mark.parametrize("seed", range(4))
def test_random_rules_are_found_where_they_match(
    session: Connection, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - wanted to be repeatable
    declared = seed % 2 == 1
    if declared:
        document = json.loads(generation.KEY_DOCUMENT)
        session.execute("SELECT rules.set_schema(%s)", [json.dumps(document["schema"])])
        for field in document["derived"].items():
            session.execute(
                "INSERT INTO rules.derived_fields (tenant_id, name, expression) "
                "VALUES (rules.current_tenant_id(), %s, %s)",
                field,
            )
    names = generation.KEY_NAMES if declared else generation.NAMES
    stored = 0
    while stored < 150:
        text = generation.rule(random, random.randint(0, 4), names)
        problems = session.execute(
            "SELECT count(*) FROM rules.check_expression(%s)", [text]
        ).fetchone()
        if problems == (0,):
            stored += 1
            session.execute(INSERT, [f"rule {stored}", text])
    matched = 0
    for _ in range(60):
        make = generation.key_facts if declared else generation.facts
        facts = facts_to_json(make(random))
        found = matching(session, facts)
        assert found == evaluated(session, facts), facts
        matched += len(found)
    assert matched > 60


def test_a_rule_is_found_in_the_transaction_that_stores_it_and_by_others_afterwards(
    session: Connection, open_session: Callable[[UUID], Connection], tenant: UUID
) -> None:
    other = open_session(tenant)
    session.execute(INSERT, ["new", "a == 1"])
    assert matching(session, '{"a": 1}') == ["new"]
    assert matching(other, '{"a": 1}') == []
    session.commit()
    assert matching(other, '{"a": 1}') == ["new"]


def test_a_rollback_takes_the_keys_back(session: Connection, tenant: UUID) -> None:
    session.execute(INSERT, ["kept", "a == 1"])
    session.commit()
    begin(session, tenant)
    session.execute("UPDATE rules.rules SET expression = 'a == 2'")
    assert matching(session, '{"a": 2}') == ["kept"]
    session.rollback()
    begin(session, tenant)
    assert matching(session, '{"a": 1}') == ["kept"]
    assert matching(session, '{"a": 2}') == []


def test_a_savepoint_takes_the_keys_back(session: Connection) -> None:
    session.execute(INSERT, ["kept", "a == 1"])
    session.execute("SAVEPOINT before")
    # Of a shape that there was not yet: it is not known afterwards either.
    session.execute(INSERT, ["undone", "b.c > 1"])
    session.execute("DELETE FROM rules.rules WHERE name = 'kept'")
    assert matching(session, '{"a": 1, "b": {"c": 2}}') == ["undone"]
    session.execute("ROLLBACK TO before")
    assert matching(session, '{"a": 1, "b": {"c": 2}}') == ["kept"]
    session.execute(INSERT, ["again", "b.c > 1"])
    assert matching(session, '{"a": 1, "b": {"c": 2}}') == ["kept", "again"]


def test_a_snapshot_sees_the_keys_of_its_rules(
    session: Connection, open_session: Callable[[UUID], Connection], tenant: UUID
) -> None:
    session.execute(INSERT, ["old", "a == 1"])
    session.commit()
    begin(session, tenant)
    reader = open_session(tenant)
    reader.commit()
    reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    begin(reader, tenant)
    assert matching(reader, '{"a": 1, "b": 1}') == ["old"]
    session.execute("DELETE FROM rules.rules")
    session.execute(INSERT, ["new", "b == 1"])
    session.commit()
    assert matching(reader, '{"a": 1, "b": 1}') == ["old"]
    reader.commit()
    begin(reader, tenant)
    assert matching(reader, '{"a": 1, "b": 1}') == ["new"]


def test_two_writers_of_the_same_new_field_do_not_wait(
    session: Connection, open_session: Callable[[UUID], Connection], tenant: UUID
) -> None:
    other = open_session(tenant)
    other.execute("SET lock_timeout = '5s'")
    session.execute(INSERT, ["one", "new.field == 1"])
    other.execute(INSERT, ["two", "new.field == 1"])
    session.rollback()
    other.commit()
    begin(other, tenant)
    assert matching(other, '{"new": {"field": 1}}') == ["two"]


def test_one_session_serves_tenants_in_turn(
    session: Connection, tenant: UUID, other_tenant: UUID
) -> None:
    session.execute(INSERT, ["ours", "a.b == 1 && a.c >= 5"])
    session.commit()
    begin(session, other_tenant)
    session.execute(INSERT, ["theirs", "a.b == 1"])
    facts = '{"a": {"b": 1, "c": 7}}'
    assert matching(session, facts) == ["theirs"]
    session.commit()
    begin(session, tenant)
    assert matching(session, facts) == ["ours"]


def test_a_schema_changes_how_facts_are_read(session: Connection) -> None:
    moment = 'timestamp("2020-01-01T00:00:00Z")'
    session.execute(INSERT, ["declared", f"User.Born == {moment}"])
    facts = '{"User": {"Born": "2020-01-01T01:00:00+01:00"}}'
    assert matching(session, facts) == []
    session.execute("""SELECT rules.set_schema('{"User": {"Born": "timestamp"}}')""")
    assert matching(session, facts) == ["declared"]


def test_a_conflicting_insert_leaves_the_keys_of_what_is_there(
    session: Connection,
) -> None:
    upsert = """
    INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'same', %s)
    ON CONFLICT (tenant_id, name) DO {}
    """
    keep = sql.SQL(upsert).format(sql.SQL("NOTHING"))
    replace = sql.SQL(upsert).format(
        sql.SQL("UPDATE SET expression = excluded.expression")
    )
    for statement, expression, expected in [
        (keep, "a == 1", '{"a": 1}'),
        (keep, "a == 2", '{"a": 1}'),
        (replace, "a == 3", '{"a": 3}'),
    ]:
        session.execute(statement, [expression])
        assert matching(session, expected) == ["same"]
    assert matching(session, '{"a": 1}') == []


def test_many_rules_are_stored_and_changed_by_one_statement(
    session: Connection,
) -> None:
    session.execute(
        "INSERT INTO rules.rules (tenant_id, name, expression) "
        "SELECT rules.current_tenant_id(), 'r' || i, format('a == %s', i) "
        "FROM generate_series(1, 2500) AS i"
    )
    assert matching(session, '{"a": 2500}') == ["r2500"]
    session.execute("UPDATE rules.rules SET expression = expression || ' + 1'")
    assert matching(session, '{"a": 2501}') == ["r2500"]
    assert matching(session, '{"a": 1}') == []
    session.execute("DELETE FROM rules.rules WHERE name <> 'r7'")
    keys = session.execute("SELECT count(*) FROM rules_internal.rule_keys").fetchone()
    assert keys == (1,)


def test_a_superuser_copies_rules_of_many_tenants(
    database: Database, session: Connection, tenant: UUID, other_tenant: UUID
) -> None:
    copier = database.connect()
    with copier.cursor().copy(
        "COPY rules.rules (tenant_id, id, name, expression) FROM STDIN"
    ) as copy:
        for number in range(20):
            owner = tenant if number % 2 else other_tenant
            row = (owner, uuid4(), f"r{number}", f"a == {number // 4}")
            copy.write_row(row)
    copier.commit()
    assert sorted(matching(session, '{"a": 1}')) == ["r5", "r7"]
    session.commit()
    begin(session, other_tenant)
    assert sorted(matching(session, '{"a": 1}')) == ["r4", "r6"]


def test_a_plan_made_for_no_rules_reads_few_of_many(session: Connection) -> None:
    # After five calls a plan is kept, whatever was in the tables then.
    for _ in range(8):
        assert matching(session, '{"a": 1, "b": 1}') == []
    session.execute(
        "INSERT INTO rules.rules (tenant_id, name, expression) "
        "SELECT rules.current_tenant_id(), 'r' || i, "
        "CASE i % 2 WHEN 0 THEN format('a == %s', i) "
        "ELSE format('b >= %s && b < %s', i, i + 2) END "
        "FROM generate_series(1, 3000) AS i"
    )
    read = """
    SELECT sum(seq_tup_read)::integer, sum(idx_tup_fetch)::integer
    FROM pg_stat_xact_user_tables WHERE relname IN ('rules', 'rule_keys')
    """
    before = session.execute(read).fetchone()
    assert matching(session, '{"a": 1000, "b": 2001}') == ["r1000", "r2001"]
    after = session.execute(read).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] == before[0]
    assert after[1] - before[1] < 20
