"""Transactions in each other's way: retried as psycopg's users do, they finish.

The loop is that of docs/python.md, which the tests of the documents run as well.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import ConnectionPool

from pgrules import PostgresRuleStore, Rule, TransactionConflict
from tests.fixtures.database import Database
from tests.integration.deployed import Deployed
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

_T = TypeVar("_T")


class World(NamedTuple):
    """A store, its pool, and two rules that both of two transactions want."""

    pool: ConnectionPool[Any]
    store: PostgresRuleStore
    rules: tuple[Rule, Rule]


@pytest.fixture
def world(deployed: Deployed) -> Iterator[World]:
    """A tenant with two rules; deadlocks are noticed soon."""
    database = Database(deployed.database.dsn)
    tenant = create_tenant(database)
    app = database.login("rules_app")
    with psycopg.connect(database.dsn, autocommit=True) as session:
        login = psycopg.conninfo.conninfo_to_dict(app)["user"]
        # Of superusers alone; for others it is set for them.
        session.execute(f"ALTER ROLE {login} SET deadlock_timeout = '20ms'".encode())
    with ConnectionPool(app, min_size=2, max_size=2) as pool:
        store = PostgresRuleStore(pool, tenant)
        rules = (
            store.add(Rule(uuid4(), "first", "User.Age >= 18")),
            store.add(Rule(uuid4(), "second", "User.Age >= 18")),
        )
        yield World(pool, store, rules)
    database.close()


def retried(call: Callable[[], _T], conflicts: list[TransactionConflict]) -> _T:
    """Make a call until nobody is in its way."""
    for _ in range(100):
        try:
            return call()
        except TransactionConflict as error:
            if not error.retry_safe:
                raise
            conflicts.append(error)
    raise AssertionError("it never ends")


def both_ways(
    world: World, change: Callable[[Rule, Rule, Callable[[], None]], None]
) -> list[TransactionConflict]:
    """Change the rules in one order and in the other at once; gives the conflicts.

    `change` calls back between the two, where both have one and want the other.
    """
    conflicts: list[TransactionConflict] = []
    meet = Barrier(2)

    def run(first: Rule, second: Rule) -> None:
        waits = [True]

        def between() -> None:
            if waits.pop() if waits else False:
                meet.wait(timeout=60)

        retried(lambda: change(first, second, between), conflicts)

    with ThreadPoolExecutor(2) as threads:
        one, other = world.rules
        running = [threads.submit(run, one, other), threads.submit(run, other, one)]
        for thread in running:
            thread.result(timeout=120)
    return conflicts


def test_a_deadlock_of_two_store_transactions_ends_by_a_retry(world: World) -> None:
    """STORE-6, ERR-4: in `PostgresRuleStore.transaction`."""

    def change(first: Rule, second: Rule, between: Callable[[], None]) -> None:
        with world.store.transaction("change both") as connection:
            joined = PostgresRuleStore(connection, world.store.tenant_id)
            joined.update(
                replace(first, expression=f"User.Age >= {first.name!r}.size()")
            )
            between()
            joined.update(
                replace(second, expression=f"User.Age >= {first.name!r}.size()")
            )

    conflicts = both_ways(world, change)
    assert {type(error.__cause__) for error in conflicts} == {errors.DeadlockDetected}
    assert {error.sqlstate for error in conflicts} == {"40P01"}
    # Both rules are those of the transaction that came last, of one of them alone.
    expressions = {rule.expression for rule in world.store.list_active()}
    assert len(expressions) == 1


def test_a_deadlock_in_the_callers_transactions_ends_by_a_retry(world: World) -> None:
    """STORE-6, ERR-4: the whole transaction is made again, not the one call."""

    def change(first: Rule, second: Rule, between: Callable[[], None]) -> None:
        with world.pool.connection() as connection, connection.transaction():
            joined = PostgresRuleStore(connection, world.store.tenant_id)
            joined.update(replace(first, active=False))
            between()
            joined.update(replace(second, active=False))

    conflicts = both_ways(world, change)
    assert {type(error.__cause__) for error in conflicts} == {errors.DeadlockDetected}
    assert world.store.list_active() == []


def test_serialisation_failures_end_by_a_retry(world: World) -> None:
    """STORE-6, ERR-4: no update is lost, though all read before they write."""
    conflicts: list[TransactionConflict] = []
    rule = replace(world.rules[0], expression="n == 0")
    world.store.update(rule)

    def count_up() -> None:
        with world.pool.connection() as connection:
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            try:
                with connection.transaction():
                    joined = PostgresRuleStore(connection, world.store.tenant_id)
                    found = joined.get(rule.id)
                    number = int(found.expression.split()[-1])
                    joined.update(replace(found, expression=f"n == {number + 1}"))
            finally:
                connection.isolation_level = None

    def work(_: int) -> None:
        for _ in range(20):
            retried(count_up, conflicts)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    assert world.store.get(rule.id).expression == "n == 40"
    assert {type(error.__cause__) for error in conflicts} <= {
        errors.SerializationFailure
    }
    assert conflicts


def test_a_failure_at_the_commit_is_a_conflict_too(world: World) -> None:
    """ERR-4: two that each read what the other writes; one of them cannot commit."""
    meet = Barrier(2)
    conflicts: list[TransactionConflict] = []

    def work(own: Rule) -> None:
        waits = [True]

        def call() -> None:
            with world.pool.connection() as connection:
                connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
                store = PostgresRuleStore(connection, world.store.tenant_id)
                try:
                    with store.transaction("leave one of two") as lent:
                        joined = PostgresRuleStore(lent, store.tenant_id)
                        found = joined.list_active()
                        if waits:
                            waits.clear()
                            meet.wait(timeout=60)
                        if len(found) == 2:
                            joined.update(replace(own, active=False))
                finally:
                    connection.isolation_level = None

        retried(call, conflicts)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, world.rules))
    assert {error.sqlstate for error in conflicts} == {"40001"}
    # One after the other, the second sees one rule, and leaves it.
    assert len(world.store.list_active()) == 1
