"""A transaction of the tenant for statements of the caller's own."""

from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import CheckViolation, UndefinedTable
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from pgrules import (
    Cancelled,
    PermissionDenied,
    PostgresRuleStore,
    RowRefused,
    Rule,
    StoreUnavailable,
    TransactionConflict,
)
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

SHIPS = """
CREATE TABLE public.ships (
    id integer PRIMARY KEY, tons integer CHECK (tons > 0), flag text
);
GRANT ALL ON public.ships TO rules_app;
CREATE TRIGGER ships_refuse AFTER INSERT ON public.ships
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.refuse_matches('object=Ship');
"""
INSERT = "INSERT INTO public.ships (id, tons) VALUES (%s, %s)"
LIGHT = "INSERT INTO public.ships (id, tons) VALUES (1, 20)"
HEAVY = "INSERT INTO public.ships (id, tons) VALUES (2, 20000)"
NEGATIVE = "INSERT INTO public.ships (id, tons) VALUES (3, -5)"
COUNT = "SELECT count(*) FROM public.ships"


@pytest.fixture
def owner(database: Database) -> psycopg.Connection[Any]:
    """A superuser's session, with a table that refuses what rules match."""
    owner = database.connect(autocommit=True)
    owner.execute(SHIPS)
    return owner


@pytest.fixture
def heavy(owner: psycopg.Connection[Any], store: PostgresRuleStore) -> Rule:
    """The tenant's one rule."""
    return store.add(Rule(uuid4(), "heavy", "Ship.tons > 1000"))


def run(store: PostgresRuleStore, *statements: LiteralString) -> None:
    """Execute statements in one transaction of the store's tenant."""
    with store.transaction("register ships") as connection:
        for statement in statements:
            connection.execute(statement)


def ships(owner: psycopg.Connection[Any]) -> int:
    row = owner.execute(COUNT).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def test_statements_run_for_the_tenant_and_are_stored(
    owner: psycopg.Connection[Any], store: PostgresRuleStore, heavy: Rule
) -> None:
    with store.transaction() as connection:
        row = connection.execute("SELECT rules.current_tenant_id()").fetchone()
        connection.execute(INSERT, [1, 20])
        assert ships(owner) == 0
    assert row == (store.tenant_id,)
    assert ships(owner) == 1


def test_a_row_that_a_rule_matches_is_refused_by_an_exception_of_its_own(
    owner: psycopg.Connection[Any], store: PostgresRuleStore, heavy: Rule
) -> None:
    with pytest.raises(RowRefused) as caught:
        run(store, LIGHT, HEAVY)
    assert caught.value.sqlstate == "RE063"
    assert caught.value.operation == "register ships"
    assert "rule 'heavy' refuses it" in caught.value.reason
    assert "Row (id)=(2) matches rule 'heavy'" in caught.value.detail
    assert isinstance(caught.value.__cause__, psycopg.DatabaseError)
    assert ships(owner) == 0


def test_the_rows_that_a_rule_matches_are_found_for_the_tenant(
    owner: psycopg.Connection[Any], store: PostgresRuleStore
) -> None:
    light = store.add(Rule(uuid4(), "light", "Ship.tons < 100", active=False))
    run(store, "INSERT INTO public.ships VALUES (1, 20), (2, 2000), (3, NULL)")
    with store.transaction() as connection:
        found = connection.execute(
            "SELECT id FROM rules.matching_rows("
            "%s, NULL::public.ships, object => 'Ship')",
            [light.id],
        ).fetchall()
    assert found == [(1,)]


def test_errors_that_are_none_of_pgrules_are_psycopgs_own(
    owner: psycopg.Connection[Any], store: PostgresRuleStore
) -> None:
    with pytest.raises(CheckViolation):
        run(store, LIGHT, NEGATIVE)
    with pytest.raises(UndefinedTable):
        run(store, LIGHT, "SELECT * FROM public.boats")
    assert ships(owner) == 0


def test_any_exception_rolls_back(
    owner: psycopg.Connection[Any], store: PostgresRuleStore
) -> None:
    def fail() -> None:
        with store.transaction() as connection:
            connection.execute(LIGHT)
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        fail()
    assert ships(owner) == 0


def test_what_befalls_any_statement_is_an_error_of_pgrules(
    owner: psycopg.Connection[Any], store: PostgresRuleStore
) -> None:
    with pytest.raises(Cancelled):
        run(store, "SET LOCAL statement_timeout = '10ms'", "SELECT pg_sleep(10)")
    with owner.transaction():
        owner.execute("LOCK TABLE public.ships")
        with pytest.raises(TransactionConflict):
            run(store, "LOCK TABLE public.ships IN SHARE MODE NOWAIT")

    def lose_the_connection() -> None:
        with store.transaction() as connection:
            pid = connection.info.backend_pid
            owner.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            connection.execute(LIGHT)

    with pytest.raises(StoreUnavailable) as caught:
        lose_the_connection()
    assert caught.value.retry_safe


def test_rows_are_of_the_form_that_the_connection_has_and_may_be_copied(
    app: str, owner: psycopg.Connection[Any], tenant: UUID, heavy: Rule
) -> None:
    with psycopg.connect(app, row_factory=dict_row) as connection:
        store = PostgresRuleStore(connection, tenant)
        with store.transaction() as own:
            assert own is connection
            with own.cursor().copy("COPY public.ships (id) FROM STDIN") as copy:
                copy.write_row((7,))
            assert own.execute("SELECT id FROM public.ships").fetchone() == {"id": 7}
        assert connection.info.transaction_status == TransactionStatus.IDLE


def test_a_transaction_of_the_callers_is_joined_and_keeps_its_tenant(
    app: str, owner: psycopg.Connection[Any], tenant: UUID, other_tenant: UUID
) -> None:
    setting = "SELECT current_setting('app.tenant_id', true)"
    with psycopg.connect(app) as connection:
        connection.execute("SELECT rules.set_tenant(%s)", [other_tenant])
        connection.execute(INSERT, [1, 20])
        store = PostgresRuleStore(connection, tenant)
        with pytest.raises(CheckViolation), store.transaction():
            connection.execute(INSERT, [2, -5])
        with store.transaction():
            assert connection.execute(setting).fetchone() == (str(tenant),)
            connection.execute(INSERT, [3, 20])
        assert connection.execute(setting).fetchone() == (str(other_tenant),)
        assert ships(owner) == 0
        connection.commit()
    assert ships(owner) == 2


def test_a_login_that_may_not_act_for_the_tenant_runs_nothing(
    database: Database, owner: psycopg.Connection[Any], tenant: UUID, other_tenant: UUID
) -> None:
    login = database.login("rules_tenant", tenant=other_tenant)
    with ConnectionPool(login, min_size=1, max_size=1) as pool:
        store = PostgresRuleStore(pool, tenant)
        with pytest.raises(PermissionDenied), store.transaction() as connection:
            connection.execute(INSERT, [1, 20])
    assert ships(owner) == 0
