"""Calls that fail by the thousand, and more threads than connections: nothing leaks."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from pgrules import (
    Cancelled,
    CompilationError,
    DerivedField,
    DuplicateRuleName,
    Engine,
    InvalidDerivedFields,
    InvalidFacts,
    PostgresRuleStore,
    Rule,
    RuleNotFound,
    SchemaNotFound,
    StoreUnavailable,
)
from tests.fixtures.database import Database
from tests.integration.deployed import Deployed
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

CALLS = 1000
THREADS = 8
CONNECTIONS = 2
FACTS = {"User": {"Age": 30}}

SESSIONS = """
SELECT count(*), count(*) FILTER (WHERE state <> 'idle')
FROM pg_stat_activity
WHERE usename = %s
"""


class World(NamedTuple):
    """A store over few connections, and one rule in it."""

    database: Database
    pool: ConnectionPool[Any]
    login: str
    store: PostgresRuleStore
    engine: Engine
    rule: Rule

    def assert_nothing_leaked(self) -> None:
        """Every connection is back in the pool, idle, and works."""
        self.pool.wait(timeout=60)
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            calls = [threads.submit(self.store.get, self.rule.id) for _ in range(4)]
            assert [call.result() for call in calls] == [self.rule] * 4
        stats = self.pool.get_stats()
        assert stats["pool_size"] == CONNECTIONS
        assert stats["pool_available"] == CONNECTIONS
        assert stats["requests_waiting"] == 0
        with psycopg.connect(self.database.dsn) as session:
            sessions = session.execute(SESSIONS, [self.login]).fetchone()
        assert sessions == (CONNECTIONS, 0)


@pytest.fixture
def world(deployed: Deployed) -> Iterator[World]:
    """A tenant with one rule."""
    database = Database(deployed.database.dsn)
    tenant = create_tenant(database)
    app = database.login("rules_app")
    login = str(psycopg.conninfo.conninfo_to_dict(app)["user"])
    with ConnectionPool(
        app, min_size=CONNECTIONS, max_size=CONNECTIONS, timeout=60
    ) as pool:
        store = PostgresRuleStore(pool, tenant)
        rule = store.add(Rule(uuid4(), "adults", "User.Age >= 18"))
        yield World(database, pool, login, store, Engine(store), rule)
    database.close()


def raise_in_the_callers_block(world: World) -> None:
    """An error of the caller's own, which is the one to be raised."""
    with world.store.transaction() as connection:
        connection.execute("UPDATE rules.rules SET active = false")
        raise ZeroDivisionError


def cancel(world: World) -> None:
    """A statement that its timeout ends."""
    with world.store.transaction() as connection:
        connection.execute("SET LOCAL statement_timeout = '1ms'")
        connection.execute("SELECT pg_sleep(10)")


Call = Callable[[World], object]

FAILING: dict[str, tuple[type[Exception], Call]] = {
    "get": (RuleNotFound, lambda w: w.store.get(uuid4())),
    "delete": (RuleNotFound, lambda w: w.store.delete(uuid4())),
    "update": (RuleNotFound, lambda w: w.store.update(replace(w.rule, id=uuid4()))),
    "add": (DuplicateRuleName, lambda w: w.store.add(replace(w.rule, id=uuid4()))),
    "add what does not compile": (
        CompilationError,
        lambda w: w.store.add(Rule(uuid4(), f"{uuid4()}", "User.Age >=> 18")),
    ),
    "add_derived_field": (
        InvalidDerivedFields,
        lambda w: w.store.add_derived_field(DerivedField(uuid4(), "D", "D + 1")),
    ),
    "activate_schema": (SchemaNotFound, lambda w: w.store.activate_schema(7)),
    "evaluate": (RuleNotFound, lambda w: w.engine.evaluate(uuid4(), FACTS)),
    "evaluate_all": (
        InvalidFacts,
        lambda w: w.engine.evaluate_all({"a": 10**30}),
    ),
    "transaction": (ZeroDivisionError, raise_in_the_callers_block),
    "a timeout": (Cancelled, cancel),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_thousand_calls_that_fail_leak_no_connection(world: World, name: str) -> None:
    """STORE-6, ENG-4."""
    kind, call = FAILING[name]

    def failing(_: int) -> None:
        with pytest.raises(kind):
            call(world)

    with ThreadPoolExecutor(THREADS) as threads:
        assert len(list(threads.map(failing, range(CALLS)))) == CALLS
    world.assert_nothing_leaked()


def test_a_thousand_calls_that_get_no_connection_leak_none(world: World) -> None:
    """STORE-6, ERR-4: each is told so, and may be repeated; others go on."""
    world.pool.wait()
    # Two threads hold all connections; each works on its own, in its transaction.
    with (
        world.store.transaction() as first,
        world.store.transaction() as second,
        ThreadPoolExecutor(THREADS * 4) as threads,
    ):

        def failing(_: int) -> bool:
            with pytest.raises(StoreUnavailable) as caught:
                world.store.list_active()
            return caught.value.retry_safe

        world.pool.timeout = 0.02
        retry_safe = list(threads.map(failing, range(CALLS)))
        for holder in (first, second):
            held = PostgresRuleStore(holder, world.store.tenant_id)
            assert held.get(world.rule.id) == world.rule
    world.pool.timeout = 60
    assert retry_safe == [True] * CALLS
    world.assert_nothing_leaked()


def test_a_hundred_lost_connections_are_replaced(world: World) -> None:
    """STORE-6, ERR-4."""

    def lose(_: int) -> bool:
        with (
            pytest.raises(StoreUnavailable) as caught,
            world.store.transaction() as connection,
        ):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        return caught.value.retry_safe

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        assert all(threads.map(lose, range(100)))
    world.assert_nothing_leaked()


def test_many_threads_share_few_connections_without_an_error(world: World) -> None:
    """STORE-6, REQ-PERF-PERSIST-001: they wait for one another."""

    def work(number: int) -> UUID:
        rule = world.store.add(Rule(uuid4(), f"rule {number}", "User.Age >= 18"))
        assert world.engine.evaluate(rule.id, FACTS).matched
        return rule.id

    with ThreadPoolExecutor(32) as threads:
        added = set(threads.map(work, range(200)))
    stored = {rule.id for rule in world.store.list_active()}
    assert stored == {*added, world.rule.id}
    world.assert_nothing_leaked()
