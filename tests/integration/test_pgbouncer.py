"""Behind PgBouncer in transaction mode: clients share connections, never a tenant."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors
from psycopg_pool import ConnectionPool

from pgrules import (
    CompilationError,
    Engine,
    PostgresRuleStore,
    Rule,
    StoreUnavailable,
)
from tests.integration.deployed import Deployed
from tests.integration.pgbouncer import pgbouncer
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

CONNECTIONS = 3
"""To the server, for the application; there are more clients."""


@dataclass(frozen=True)
class Behind:
    """The URIs of an application's and of a tenant's login through PgBouncer."""

    app: str
    bound: str
    tenant: UUID
    other_tenant: UUID


@pytest.fixture(scope="module")
def behind(deployed: Deployed) -> Iterator[Behind]:
    """PgBouncer with few connections to the server."""
    database = deployed.database
    tenants = [create_tenant(database), create_tenant(database, "Mountain Rescue")]
    logins = [
        database.login("rules_app"),
        database.login("rules_tenant", tenant=tenants[0]),
    ]
    with pgbouncer(logins, size=CONNECTIONS) as (app, bound):
        yield Behind(app, bound, *tenants)


def client(uri: str) -> Connection:
    """A client as docs/operations.md has it: nothing prepared by name."""
    return psycopg.connect(uri, prepare_threshold=None, autocommit=True)


def backend(session: Connection) -> int:
    """The server's process that answers just now."""
    row = session.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    pid: int = row[0]
    return pid


def test_a_store_works_behind_it(behind: Behind) -> None:
    """STORE-1, REQ-PERF-PERSIST-003: all calls, by a pool of more clients."""
    with ConnectionPool(
        behind.app, min_size=6, max_size=6, kwargs={"prepare_threshold": None}
    ) as pool:
        store = PostgresRuleStore(pool, behind.tenant)
        rule = store.add(Rule(uuid4(), "adults", "User.Age >= 18"))
        engine = Engine(store)
        with ThreadPoolExecutor(6) as threads:
            ages = list(range(100))
            results = threads.map(
                lambda age: engine.evaluate(rule.id, {"User": {"Age": age}}).matched,
                ages,
            )
            assert list(results) == [age >= 18 for age in ages]
        with pytest.raises(CompilationError):
            store.add(Rule(uuid4(), "broken", "User.Age >="))
        store.delete(rule.id)


def test_the_tenant_of_a_transaction_is_not_the_next_clients(behind: Behind) -> None:
    """REQ-TENANT-001: on the same connection to the server, the tenant is unset."""
    with client(behind.app) as first, client(behind.app) as second:
        seen: set[int] = set()
        shared = False
        for _ in range(20):
            with first.transaction():
                first.execute("SELECT rules.set_tenant(%s)", [behind.tenant])
                seen.add(backend(first))
            with second.transaction():
                shared = shared or backend(second) in seen
                with pytest.raises(psycopg.DatabaseError) as refused:
                    second.execute("SELECT count(*) FROM rules.rules")
                assert refused.value.sqlstate == "RE001"
                raise psycopg.Rollback
        assert shared


def test_tenants_that_share_connections_see_their_own(behind: Behind) -> None:
    """REQ-TENANT-001: many clients of two tenants, interleaved by chance."""
    expected = {behind.tenant: True, behind.other_tenant: False}
    stores = {}
    with ConnectionPool(
        behind.app, min_size=8, max_size=8, kwargs={"prepare_threshold": None}
    ) as pool:
        rule_id = uuid4()
        for tenant, matches in expected.items():
            stores[tenant] = PostgresRuleStore(pool, tenant)
            text = "n >= 0" if matches else "n < 0"
            stores[tenant].add(Rule(rule_id, "same id, other rule", text))
        engines = {tenant: Engine(store) for tenant, store in stores.items()}

        def ask(number: int) -> bool:
            # Neighbours in time are now of one tenant, now of two.
            tenant = list(expected)[number * number // 3 % 2]
            engine = engines[tenant]
            one = engine.evaluate(rule_id, {"n": number}).matched
            (all_,) = engine.evaluate_all({"n": number})
            return one is all_.matched is expected[tenant]

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(ask, range(400)))
        for store in stores.values():
            store.delete(rule_id)


def test_a_login_of_one_tenant_is_bound_behind_it_too(behind: Behind) -> None:
    """REQ-TENANT-002: session_user is the login that PgBouncer logs in as."""
    with client(behind.bound) as session:
        found = session.execute("SELECT rules.current_tenant_id()").fetchone()
        assert found == (behind.tenant,)
        with session.transaction(), pytest.raises(errors.InsufficientPrivilege):
            session.execute("SELECT rules.set_tenant(%s)", [behind.other_tenant])


def test_a_setting_for_the_session_is_what_leaks(behind: Behind) -> None:
    """REQ-TENANT-001: why docs/operations.md forbids it; only SET LOCAL is safe."""
    with client(behind.app) as careless, client(behind.app) as next_:
        careless.execute(
            "SELECT set_config('app.tenant_id', %s, false)", [str(behind.tenant)]
        )
        set_on = backend(careless)
        inherited = None
        for _ in range(50):
            with next_.transaction():
                if backend(next_) == set_on:
                    inherited = next_.execute(
                        "SELECT current_setting('app.tenant_id', true)"
                    ).fetchone()
                    break
        assert inherited == (str(behind.tenant),)
        # Put right on that connection, and on whichever answers.
        for _ in range(50):
            next_.execute("RESET app.tenant_id")


def test_a_cancel_request_passes_through_it(behind: Behind) -> None:
    """ENG-4."""
    with client(behind.app) as session, ThreadPoolExecutor(1) as later:
        query = (
            "SELECT count(*) FROM generate_series(1, 100000) AS n"
            " WHERE rules.evaluate_expression('n > 0', jsonb_build_object('n', n))"
            " = 'false'"
        )

        def run() -> None:
            with session.transaction():
                session.execute("SELECT rules.set_tenant(%s)", [behind.tenant])
                session.execute(query)

        running = later.submit(run)
        while not running.done():
            session.cancel()
        with pytest.raises(errors.QueryCanceled):
            running.result()
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_server_connection_that_is_lost_is_replaced(behind: Behind) -> None:
    """ERR-4: a call may meet it; the next one succeeds."""
    with ConnectionPool(
        behind.app, min_size=1, max_size=1, kwargs={"prepare_threshold": None}
    ) as pool:
        engine = Engine(PostgresRuleStore(pool, behind.tenant))
        with pool.connection() as connection, pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        # PgBouncer may have noticed by now, or not yet.
        with suppress(StoreUnavailable):
            engine.evaluate_all({})
        assert engine.evaluate_all({}) == []
