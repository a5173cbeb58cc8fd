"""A backend gets no more memory: the call ends in a clear error, the session goes on.

The limit is that of the process (setrlimit(2), RLIMIT_AS), as a server has one where
the kernel gives no more than there is (`vm.overcommit_memory` = 2). Where it strikes
depends on how far it is: several are tried. A kernel that kills instead is among
`tests.faults.kills`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgrules import Engine, InsufficientResources, PostgresRuleStore, Rule
from tests.fixtures.database import Database
from tests.integration.deployed import Deployed
from tests.integration.own_server import run
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

MIB = 1024 * 1024

# What a session may take beyond what it has. PostgreSQL itself reaches the first ones
# when it reads the facts, PL/Python those between when it converts them, the language
# the last.
ROOMS = [1, 8, 24, 40, 56, 72, 88]

NUMBERS = ",".join(map(str, range(200_000)))
FACTS = f'{{"L": [{NUMBERS}], "S": "{"x" * 500_000}"}}'

EVALUATIONS = {
    "a map": "L.map(x, [x, x]).size() > 0",
    "a list of lists": "[[L, L], [L]] == [[L, L], [L]]",
    "text": "(S + S + S + S).size() > 0",
}


@pytest.fixture
def database(deployed: Deployed) -> Iterator[Database]:
    """The database that all tests here share; each has a tenant of its own."""
    database = Database(deployed.database.dsn)
    yield database
    database.close()


@pytest.fixture
def tenant(database: Database) -> UUID:
    """A tenant without rules."""
    return create_tenant(database)


def limit_memory(session: psycopg.Connection[Any], room: int | None) -> None:
    """Let the session's process take so many bytes more, or as many as it likes."""
    pid = session.info.backend_pid
    limit = "unlimited"
    if room is not None:
        status = Path(f"/proc/{pid}/status").read_text()
        (size,) = re.findall(r"VmSize:\s+(\d+) kB", status)
        limit = str(int(size) * 1024 + room)
    # The owner of a process may limit it; root may not, where it lacks the capability.
    run(Path("/"), "prlimit", "--pid", str(pid), f"--as={limit}:unlimited")


@pytest.mark.parametrize("expression", EVALUATIONS.values(), ids=EVALUATIONS)
def test_an_evaluation_without_memory_fails_clearly_and_the_session_goes_on(
    database: Database, tenant: UUID, expression: str
) -> None:
    """ERR-4: with the code of PostgreSQL, never as a defect, never as "no match"."""
    told = set()
    with psycopg.connect(database.login("rules_app"), autocommit=True) as session:
        session.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        evaluate = "SELECT rules.evaluate_expression(%s, %s::jsonb)"
        session.execute(evaluate, [expression, '{"L": [1], "S": "x"}'])
        for room in ROOMS:
            limit_memory(session, room * MIB)
            try:
                session.execute(evaluate, [expression, FACTS])
            except psycopg.Error as error:
                told.add(error.sqlstate)
            assert session.execute("SELECT 1").fetchone() == (1,)
            limit_memory(session, None)
            again = session.execute(evaluate, ["L.size() == 2", '{"L": [1, 2]}'])
            assert again.fetchone() == (True,)
    assert "53200" in told
    assert told <= {"53200", "RE041"}


def test_rules_that_lack_memory_are_not_said_not_to_match(
    database: Database, tenant: UUID
) -> None:
    """EVAL-3, ERR-4: the whole call fails, and may be repeated."""
    with psycopg.connect(database.login("rules_app"), autocommit=True) as session:
        store = PostgresRuleStore(session, tenant)
        engine = Engine(store)
        store.add(Rule(uuid4(), "long", "(S + S + S + S + S).size() > 0"))
        assert [result.matched for result in engine.evaluate_all({"S": "x"})] == [True]
        # Text of this size is memory of its own, which the kernel gives or refuses.
        facts = {"S": "x" * 300_000}
        failures = []
        for room in range(1, 12):
            limit_memory(session, room * MIB // 2)
            try:
                results = engine.evaluate_all(facts)
            except InsufficientResources as error:
                failures.append(error)
            else:
                assert [result.matched for result in results] == [True], results
            limit_memory(session, None)
        assert failures
        assert all(error.retry_safe for error in failures)
        assert [result.matched for result in engine.evaluate_all(facts)] == [True]


def test_a_transaction_that_lacks_memory_stores_nothing(
    database: Database, tenant: UUID
) -> None:
    """ERR-4, STORE-6: and once there is memory, the same transaction stores all."""
    rule = Rule(uuid4(), "adults", "User.Age >= 18")
    with psycopg.connect(database.login("rules_app"), autocommit=True) as session:
        store = PostgresRuleStore(session, tenant)
        assert Engine(store).evaluate_all({"S": "x"}) == []

        def work() -> None:
            with store.transaction("store what was evaluated") as connection:
                PostgresRuleStore(connection, tenant).add(rule)
                connection.execute(
                    "SELECT rules.evaluate_expression('L.size() > 0', %s::jsonb)",
                    [FACTS],
                )

        limit_memory(session, 8 * MIB)
        with pytest.raises(InsufficientResources) as caught:
            work()
        assert caught.value.retry_safe
        assert caught.value.sqlstate == "53200"
        assert store.list_active() == []
        limit_memory(session, None)
        work()
        assert [stored.id for stored in store.list_active()] == [rule.id]
