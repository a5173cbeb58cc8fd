"""Loading the demo into PostgreSQL, and evaluating there.

The work on tables of the demo is plain SQL; rules are stored through the package, as
a service would. Everything after the set-up runs under the role ``rules_app``, so
that row-level security holds for the demo as for any application.
"""

from __future__ import annotations

import json
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

import psycopg
from psycopg_pool import ConnectionPool

from pgrules import PostgresRuleStore, RuleNotFound

from .flights import Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg import Connection

    from .policies import Tenant

    Pool: TypeAlias = ConnectionPool[Connection[tuple[Any, ...]]]

SCHEMA: Final = Path(__file__).with_name("schema.sql")

# Flights of one INSERT: each is a transaction, and a step of the progress bar.
_CHUNK: Final = 8192

# How long to wait for somebody who holds the demo's tables in an open transaction.
LOCK_TIMEOUT = "20s"

_DEPLOYED: Final = """
SELECT to_regclass('rules.schema_migrations') IS NOT NULL
"""

_CHANGES: Final = "SELECT name FROM rules.schema_migrations ORDER BY version"

_ADD_TENANT: Final = """
INSERT INTO rules.tenants (id, name) VALUES (%s, %s)
ON CONFLICT (id) DO UPDATE SET name = excluded.name
"""

# Each flight through all active rules of the tenant, inside the database.
_DECIDE: Final = """
INSERT INTO flights_demo.decisions (flight_id, rule_id, rule_name, error)
SELECT flight.id, result.rule_id, result.rule_name, result.error
FROM flights_demo.flights AS flight
CROSS JOIN LATERAL rules.evaluate_all(flight.facts) AS result
WHERE flight.id >= %s AND flight.id < %s
    AND (result.matched OR result.error IS NOT NULL)
"""

_COUNT: Final = """
SELECT
    rule.name,
    count(decision.rule_id) FILTER (WHERE decision.error IS NULL),
    count(decision.error),
    min(decision.error)
FROM rules.rules AS rule
LEFT JOIN flights_demo.decisions AS decision
    ON decision.tenant_id = rule.tenant_id AND decision.rule_id = rule.id
WHERE rule.tenant_id = rules.current_tenant_id() AND rule.active
GROUP BY rule.tenant_id, rule.id
ORDER BY rule.created_at, rule.id
"""

# The flights for which most rules fired, and of those the first ones.
_BUSIEST: Final = """
SELECT flight.id, flight.facts, array_agg(decision.rule_id ORDER BY rule.created_at)
FROM flights_demo.decisions AS decision
JOIN flights_demo.flights AS flight ON flight.id = decision.flight_id
JOIN rules.rules AS rule
    ON rule.tenant_id = decision.tenant_id AND rule.id = decision.rule_id
WHERE decision.tenant_id = rules.current_tenant_id() AND decision.error IS NULL
GROUP BY flight.id
ORDER BY count(*) DESC, flight.id
LIMIT %s
"""

_EXPLAIN: Final = """
SELECT result.trace
FROM flights_demo.flights AS flight
CROSS JOIN LATERAL rules.evaluate(%s, flight.facts, trace => true) AS result
WHERE flight.id = %s
"""


class NotDeployedError(Exception):
    """The database has no pgrules."""


@dataclass(frozen=True, slots=True)
class Count:
    """How often a rule fired, and how often it had no answer."""

    rule: str
    fired: int
    failed: int
    error: str | None
    """One of the errors, where there are any."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A rule that fired for a flight, with the values that it saw."""

    flight_id: int
    facts: Facts
    rule_id: UUID
    trace: Any


@contextmanager
def application_pool(dsn: str, size: int) -> Iterator[Pool]:
    """A pool whose connections have the rights of ``rules_app`` and no more."""

    def configure(connection: Connection[Any]) -> None:
        connection.execute("SET ROLE rules_app")
        connection.commit()

    with ConnectionPool(
        dsn, min_size=size, max_size=size, configure=configure, timeout=15
    ) as pool:
        yield pool


@contextmanager
def _superuser(dsn: str) -> Iterator[Connection[Any]]:
    """One transaction as the superuser of the URI, who owns the demo's tables."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET LOCAL client_min_messages = warning")
        connection.execute(
            "SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,)
        )
        yield connection


def prepare(dsn: str, tenants: Iterable[Tenant]) -> list[str]:
    """Create the demo's tables and the two tenants; as the deploying superuser.

    Returns the names of the changes that are deployed, oldest first.
    """
    with _superuser(dsn) as connection:
        row = connection.execute(_DEPLOYED).fetchone()
        if row != (True,):
            raise NotDeployedError(
                "pgrules is not deployed in this database: run `pgrules migrate up`"
            )
        connection.execute(SCHEMA.read_bytes())
        for tenant in tenants:
            connection.execute(_ADD_TENANT, (tenant.id, tenant.name))
        return [name for (name,) in connection.execute(_CHANGES)]


def store_rules(pool: Pool, tenant: Tenant) -> None:
    """Leave the tenant with exactly its rules of the policy."""
    store = PostgresRuleStore(pool, tenant.id)
    wanted = {rule.id for rule in tenant.rules}
    for rule in store.list_active():
        if rule.id not in wanted:
            store.delete(rule.id)
    for rule in tenant.rules:
        try:
            store.update(rule)
        except RuleNotFound:
            store.add(rule)


def load(dsn: str, facts: Iterable[tuple[int, Facts]]) -> int:
    """Replace all flights, and forget all decisions; returns how many were loaded."""
    count = 0
    with _superuser(dsn) as connection:
        connection.execute("TRUNCATE flights_demo.flights, flights_demo.decisions")
        with connection.cursor().copy(
            "COPY flights_demo.flights (id, facts) FROM STDIN"
        ) as copy:
            for number, flight in facts:
                copy.write_row((number, json.dumps(flight)))
                count += 1
        connection.execute("ANALYZE flights_demo.flights")
    return count


def decide(
    pool: Pool,
    tenants: Iterable[Tenant],
    flights: int,
    *,
    workers: int,
    on_progress: Callable[[int], None],
) -> None:
    """Evaluate every rule of every tenant for flights 1 to ``flights``.

    The work is cut into ranges of flights, which so many connections take on at once:
    an INSERT does not run in parallel by itself. ``on_progress`` is told, from any
    thread, how many flights a finished range had. The first error, or Ctrl-C, cancels
    what runs.
    """
    running: set[Connection[Any]] = set()
    lock = Lock()

    def decide_range(tenant: Tenant, first: int, end: int) -> None:
        with pool.connection() as connection:
            with lock:
                running.add(connection)
            try:
                connection.execute("SELECT rules.set_tenant(%s)", (tenant.id,))
                connection.execute(_DECIDE, (first, end))
            finally:
                with lock:
                    running.discard(connection)
        on_progress(end - first)

    with ThreadPoolExecutor(workers) as executor:
        futures = [
            executor.submit(
                decide_range, tenant, first, min(first + _CHUNK, flights + 1)
            )
            for tenant in tenants
            for first in range(1, flights + 1, _CHUNK)
        ]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            with lock:
                for connection in running:
                    connection.cancel_safe()
            raise


def counts(pool: Pool, tenant: Tenant) -> list[Count]:
    """How often each rule of the tenant fired, oldest rule first."""
    with tenant_transaction(pool, tenant) as connection:
        return [Count(*row) for row in connection.execute(_COUNT)]


def decisions(pool: Pool, tenant: Tenant, flights: int) -> list[list[Decision]]:
    """The decisions on the flights for which most of the tenant's rules fired."""
    with tenant_transaction(pool, tenant) as connection:
        found = connection.execute(_BUSIEST, (flights,)).fetchall()
        return [
            [
                Decision(flight_id, facts, rule_id, row[0])
                for rule_id in rule_ids
                for row in connection.execute(_EXPLAIN, (rule_id, flight_id))
            ]
            for flight_id, facts, rule_ids in found
        ]


@contextmanager
def tenant_transaction(pool: Pool, tenant: Tenant) -> Iterator[Connection[Any]]:
    """A transaction that speaks for the tenant."""
    with pool.connection() as connection:
        connection.execute("SELECT rules.set_tenant(%s)", (tenant.id,))
        yield connection
