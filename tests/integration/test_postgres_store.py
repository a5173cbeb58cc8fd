"""What is particular to the store over PostgreSQL: connections and transactions."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from pgrules import (
    CompilationError,
    DuplicateRuleId,
    Engine,
    InvalidTenant,
    NotDeployed,
    PermissionDenied,
    PostgresRuleStore,
    Rule,
    RuleNotFound,
    RulesBroken,
    StoreError,
    StoreUnavailable,
    TransactionConflict,
)
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration


def adults(name: str = "adults") -> Rule:
    return Rule(uuid4(), name, "User.Age >= 18")


def tenant_setting(connection: psycopg.Connection[Any]) -> str | None:
    row = connection.execute("SELECT current_setting('app.tenant_id', true)").fetchone()
    assert row is not None
    setting: str | None = row[0]
    return setting


# Construction


def test_a_store_takes_a_pool_or_a_connection_and_a_tenant(
    pool: ConnectionPool[Any], app: str, tenant: UUID
) -> None:
    """REQ-PERSIST-002."""
    rule = PostgresRuleStore(pool, tenant).add(adults())
    with psycopg.connect(app) as connection:
        store = PostgresRuleStore(connection, str(tenant))
        assert store.tenant_id == tenant
        assert store.get(rule.id) == rule


@pytest.mark.parametrize("tenant_id", ["", "x", "' OR 1=1 --", None, 7])
def test_a_tenant_that_is_no_uuid_is_refused(
    pool: ConnectionPool[Any], tenant_id: Any
) -> None:
    """REQ-INTEG-007, ENG-4."""
    with pytest.raises(InvalidTenant, match="is no UUID"):
        PostgresRuleStore(pool, tenant_id)


def test_anything_but_a_pool_or_a_connection_is_refused(tenant: UUID) -> None:
    with pytest.raises(TypeError, match="got str"):
        PostgresRuleStore("postgresql:///", tenant)  # type: ignore[arg-type]


def test_an_unknown_tenant_has_no_rules_and_gets_none(
    pool: ConnectionPool[Any],
) -> None:
    """REQ-INTEG-007."""
    store = PostgresRuleStore(pool, uuid4())
    assert store.list_active() == []
    with pytest.raises(InvalidTenant, match="there is no such tenant"):
        store.add(adults())


# Whose transaction, whose connection


def test_each_call_is_stored_when_it_returns(
    store: PostgresRuleStore, database: Database
) -> None:
    rule = store.add(adults())
    row = database.connect().execute(
        "SELECT count(*) FROM rules.rules WHERE id = %s", [rule.id]
    )
    assert row.fetchone() == (1,)


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_connection_is_left_idle_open_and_without_a_tenant(
    app: str, tenant: UUID, autocommit: bool
) -> None:
    with psycopg.connect(app, autocommit=autocommit) as connection:
        store = PostgresRuleStore(connection, tenant)
        rule = store.add(adults())
        Engine(store).evaluate(rule.id, {"User": {"Age": 3}})
        with pytest.raises(RuleNotFound):
            store.get(uuid4())
        with pytest.raises(DuplicateRuleId):
            store.add(rule)
        assert connection.info.transaction_status == TransactionStatus.IDLE
        assert not connection.closed
        assert not tenant_setting(connection)


def test_the_callers_rollback_undoes_the_stores_work(
    app: str, tenant: UUID, store: PostgresRuleStore
) -> None:
    """REQ-PERSIST-003: a transaction of the caller is never committed."""
    rule = adults()
    with psycopg.connect(app) as connection:
        connection.execute("SELECT 1")
        joined = PostgresRuleStore(connection, tenant)
        joined.add(rule)
        assert joined.get(rule.id).name == "adults"
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        with pytest.raises(RuleNotFound):
            store.get(rule.id)
        connection.rollback()
    with pytest.raises(RuleNotFound):
        store.get(rule.id)


def test_the_callers_commit_keeps_the_stores_work(
    app: str, tenant: UUID, store: PostgresRuleStore
) -> None:
    rule = adults()
    with psycopg.connect(app) as connection, connection.transaction():
        PostgresRuleStore(connection, tenant).add(rule)
    assert store.get(rule.id).name == "adults"


def test_an_error_leaves_the_callers_transaction_usable(
    app: str, tenant: UUID, store: PostgresRuleStore
) -> None:
    """REQ-PERSIST-003: nor is it rolled back as a whole."""
    first, second = adults("first"), adults("second")
    with psycopg.connect(app) as connection, connection.transaction():
        joined = PostgresRuleStore(connection, tenant)
        joined.add(first)
        with pytest.raises(DuplicateRuleId):
            joined.add(first)
        with pytest.raises(CompilationError) as caught:
            joined.add(replace(second, expression="(("))
        assert caught.value.problems
        with pytest.raises(RuleNotFound):
            joined.delete(uuid4())
        joined.add(second)
    assert {rule.id for rule in store.list_active()} == {first.id, second.id}


def test_the_callers_transaction_keeps_its_tenant(
    app: str, tenant: UUID, other_tenant: UUID
) -> None:
    with psycopg.connect(app) as connection, connection.transaction():
        connection.execute("SELECT rules.set_tenant(%s)", [tenant])
        other = PostgresRuleStore(connection, other_tenant)
        rule = other.add(adults())
        assert tenant_setting(connection) == str(tenant)
        with pytest.raises(DuplicateRuleId):
            other.add(rule)
        assert tenant_setting(connection) == str(tenant)


def test_a_transaction_without_a_tenant_has_none_afterwards(
    app: str, tenant: UUID
) -> None:
    with psycopg.connect(app) as connection, connection.transaction():
        PostgresRuleStore(connection, tenant).list_active()
        assert not tenant_setting(connection)


def test_stores_of_two_tenants_share_a_transaction(
    app: str, tenant: UUID, other_tenant: UUID
) -> None:
    with psycopg.connect(app) as connection, connection.transaction():
        one = PostgresRuleStore(connection, tenant)
        two = PostgresRuleStore(connection, other_tenant)
        mine, theirs = one.add(adults()), two.add(adults())
        assert one.list_active() == [mine]
        assert two.list_active() == [theirs]


def test_rules_added_in_one_transaction_keep_their_order(
    app: str, tenant: UUID
) -> None:
    """REQ-PERSIST-006."""
    names = [f"rule {number}" for number in range(20)]
    with psycopg.connect(app) as connection, connection.transaction():
        store = PostgresRuleStore(connection, tenant)
        for name in names:
            store.add(adults(name))
        assert [rule.name for rule in store.list_active()] == names


def test_a_transaction_that_has_failed_already_is_said_to_be(
    app: str, tenant: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "psycopg")
    with psycopg.connect(app) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        store = PostgresRuleStore(connection, tenant)
        with pytest.raises(StoreError, match="transaction has failed already"):
            store.list_active()
        connection.rollback()
        assert store.list_active() == []


def test_the_callers_choice_of_rows_does_not_matter(app: str, tenant: UUID) -> None:
    with psycopg.connect(
        app, row_factory=dict_row, cursor_factory=psycopg.ClientCursor
    ) as connection:
        engine = Engine(PostgresRuleStore(connection, tenant))
        rule = engine.add_rule(adults())
        assert engine.evaluate(rule.id, {"User": {"Age": 30}}).matched


def test_a_call_inside_the_callers_pipeline_works(app: str, tenant: UUID) -> None:
    with psycopg.connect(app, autocommit=True) as connection, connection.pipeline():
        store = PostgresRuleStore(connection, tenant)
        rule = store.add(adults())
        with pytest.raises(DuplicateRuleId):
            store.add(rule)
        assert store.list_active() == [rule]


# Several threads


def test_threads_share_one_connection(app: str, tenant: UUID) -> None:
    """STORE-6: calls over a single connection queue up."""
    with psycopg.connect(app, autocommit=True) as connection:
        store = PostgresRuleStore(connection, tenant)
        engine = Engine(store)

        def work(number: int) -> bool:
            rule = store.add(adults(f"rule {number}"))
            store.update(replace(rule, expression=f"v == {number}"))
            return engine.evaluate(rule.id, {"v": number}).matched

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(work, range(40)))
        assert len(store.list_active()) == 40


def test_stores_of_two_tenants_share_one_connection_between_threads(
    app: str, tenant: UUID, other_tenant: UUID
) -> None:
    """STORE-6, ENG-3: the lock is the connection's, not the store's."""
    with psycopg.connect(app, autocommit=True) as connection:
        stores = [
            PostgresRuleStore(connection, tenant),
            PostgresRuleStore(connection, other_tenant),
        ]

        def work(number: int) -> None:
            stores[number % 2].add(adults(f"rule {number}"))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(40)))
        for parity, store in enumerate(stores):
            names = {rule.name for rule in store.list_active()}
            assert names == {f"rule {number}" for number in range(parity, 40, 2)}


def test_concurrent_calls_reuse_the_connections_of_the_pool(
    app: str, tenant: UUID
) -> None:
    """REQ-PERF-PERSIST-001: many calls, few connections, none exhausted."""
    with ConnectionPool(app, min_size=2, max_size=3) as pool:
        pool.wait()
        engine = Engine(PostgresRuleStore(pool, tenant))
        rule = engine.add_rule(adults())
        start = Barrier(12)

        def work(_: int) -> list[bool]:
            start.wait()
            return [
                engine.evaluate(rule.id, {"User": {"Age": age}}).matched
                for age in range(10, 30)
            ]

        with ThreadPoolExecutor(12) as threads:
            outcomes = list(threads.map(work, range(12)))
        stats = pool.get_stats()
    assert outcomes == [[age >= 18 for age in range(10, 30)]] * 12
    assert stats["pool_max"] == 3
    assert stats["connections_num"] <= 3
    assert stats["requests_num"] >= 12 * 20
    assert stats.get("requests_errors", 0) == 0


# What can fail


def test_a_closed_connection_is_unavailable(app: str, tenant: UUID) -> None:
    connection = psycopg.connect(app)
    connection.close()
    store = PostgresRuleStore(connection, tenant)
    with pytest.raises(StoreUnavailable, match=r"failed to add rule .* is closed"):
        store.add(adults())


def test_a_closed_pool_is_unavailable(app: str, tenant: UUID) -> None:
    with ConnectionPool(app, min_size=1) as pool:
        store = PostgresRuleStore(pool, tenant)
    with pytest.raises(StoreUnavailable, match="is already closed") as caught:
        store.list_active()
    assert caught.value.retry_safe


def test_an_exhausted_pool_is_unavailable(app: str, tenant: UUID) -> None:
    with ConnectionPool(app, min_size=1, max_size=1, timeout=0.2) as pool:
        store = PostgresRuleStore(pool, tenant)
        with pool.connection(), pytest.raises(StoreUnavailable) as caught:
            store.list_active()
        assert caught.value.retry_safe
        assert store.list_active() == []


def test_after_a_lost_connection_the_call_may_be_repeated(
    store: PostgresRuleStore, pool: ConnectionPool[Any], database: Database
) -> None:
    rule = adults()
    with pool.connection() as connection:
        backend = connection.info.backend_pid
    database.connect().execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    with pytest.raises(StoreUnavailable) as caught:
        store.add(rule)
    assert caught.value.retry_safe
    assert f"failed to add rule {rule.id}" in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert store.add(rule).id == rule.id


def test_a_connection_lost_while_committing_leaves_the_outcome_open(
    store: PostgresRuleStore, database: Database
) -> None:
    """The caller learns that a retry is not safe, and looks before it repeats."""
    with database.connect(autocommit=True) as connection:
        # The backend ends itself when the transaction is about to commit.
        connection.execute(
            """
            CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER AS
            'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER die AFTER INSERT ON rules.rules
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.die()
            """
        )
    rule = adults()
    with pytest.raises(StoreUnavailable) as caught:
        store.add(rule)
    assert not caught.value.retry_safe
    with pytest.raises(RuleNotFound):
        store.get(rule.id)


def test_a_lock_that_is_not_had_in_time_is_a_conflict(
    store: PostgresRuleStore, app: str, tenant: UUID
) -> None:
    rule = store.add(adults())
    with (
        psycopg.connect(app) as holder,
        psycopg.connect(app, options="-c lock_timeout=100ms") as waiter,
    ):
        holder.execute("SELECT rules.set_tenant(%s)", [tenant])
        holder.execute("UPDATE rules.rules SET active = false WHERE id = %s", [rule.id])
        with pytest.raises(TransactionConflict) as caught:
            PostgresRuleStore(waiter, tenant).delete(rule.id)
        holder.rollback()
    assert caught.value.retry_safe
    assert store.get(rule.id) == rule


def test_a_serialisation_failure_is_a_conflict(
    store: PostgresRuleStore, app: str, tenant: UUID
) -> None:
    rule = store.add(adults())
    with psycopg.connect(app) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        joined = PostgresRuleStore(connection, tenant)
        with connection.transaction():
            assert joined.get(rule.id) == rule
            store.update(replace(rule, name="changed meanwhile"))
            with pytest.raises(TransactionConflict) as caught:
                joined.update(replace(rule, name="changed late"))
    assert caught.value.retry_safe
    assert caught.value.sqlstate == "40001"


def test_a_login_without_a_role_is_denied(database: Database, tenant: UUID) -> None:
    with psycopg.connect(database.login(None)) as connection:
        store = PostgresRuleStore(connection, tenant)
        with pytest.raises(PermissionDenied) as caught:
            store.list_active()
    assert caught.value.sqlstate == "42501"


def test_a_database_without_pgrules_is_said_to_lack_it(
    empty_database: str, tenant: UUID
) -> None:
    with psycopg.connect(empty_database) as connection:
        with pytest.raises(NotDeployed) as caught:
            PostgresRuleStore(connection, tenant).list_active()
        assert "pgrules migrate up" in str(caught.value)


def test_a_refusal_that_cannot_be_explained_keeps_the_words_of_the_database(
    database: Database, store: PostgresRuleStore
) -> None:
    """COMP-2: problems are asked for afterwards, and that may fail."""
    store.set_schema({"Claim": {"Amount": "int"}})
    store.add(Rule(uuid4(), "large", "Claim.Amount > 1"))
    superuser = database.connect(autocommit=True)
    superuser.execute(
        "REVOKE EXECUTE ON FUNCTION rules.check_expression(text) FROM rules_app"
    )
    superuser.execute("REVOKE SELECT ON rules.derived_fields FROM rules_app")
    with pytest.raises(CompilationError) as refused:
        store.add(Rule(uuid4(), "odd", "Claim.Sum > 1"))
    assert refused.value.problems == ()
    assert "Claim has no field Sum" in str(refused.value)
    with pytest.raises(RulesBroken) as broken:
        store.set_schema({"Claim": {"Sum": "int"}})
    assert broken.value.broken_rules == ()
    assert "Claim has no field Amount" in str(broken.value)
