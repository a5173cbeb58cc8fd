"""On a streaming replica: evaluation as on the primary, and writes refused clearly."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from pgrules import Engine, PgRulesError, PostgresRuleStore, Rule
from tests.fixtures.uri import with_login
from tests.integration.deployed import Deployed
from tests.integration.own_server import OwnServer, standby_of
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Pair:
    """A primary and its replica, with a tenant and an application's login."""

    deployed: Deployed
    standby: OwnServer
    tenant: UUID
    primary_uri: str
    replica_uri: str

    def wait_until_replayed(self) -> None:
        """Return when the replica has what the primary has committed."""
        with psycopg.connect(self.deployed.database.dsn) as primary:
            row = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        deadline = time.monotonic() + 60
        with psycopg.connect(self.standby.uri, autocommit=True) as replica:
            while replica.execute(
                "SELECT pg_last_wal_replay_lsn() >= %s", row
            ).fetchone() != (True,):
                assert time.monotonic() < deadline


@pytest.fixture(scope="module")
def pair(deployed: Deployed) -> Iterator[Pair]:
    """A replica of the server that pgrules is deployed to."""
    database = deployed.database
    tenant = create_tenant(database)
    app = database.login("rules_app")
    with standby_of(deployed.server) as standby:
        login = psycopg.conninfo.conninfo_to_dict(app)
        own = f"postgresql://x@127.0.0.1:{standby.port}/pgrules"
        replica = with_login(own, str(login["user"]), str(login["password"]))
        yield Pair(deployed, standby, tenant, app, replica)


@pytest.fixture
def primary(pair: Pair) -> Iterator[PostgresRuleStore]:
    """The tenant's store on the primary."""
    with psycopg.connect(pair.primary_uri, autocommit=True) as connection:
        yield PostgresRuleStore(connection, pair.tenant)


@pytest.fixture
def replica(pair: Pair) -> Iterator[Connection]:
    """An application's session on the replica."""
    with psycopg.connect(pair.replica_uri, autocommit=True) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        yield connection


def test_rules_are_evaluated_on_it(
    pair: Pair, primary: PostgresRuleStore, replica: Connection
) -> None:
    """EVAL-1: by every call that reads."""
    rule = primary.add(Rule(uuid4(), "adults", "User.Age >= 18"))
    pair.wait_until_replayed()
    store = PostgresRuleStore(replica, pair.tenant)
    engine = Engine(store)
    assert store.get(rule.id) == rule
    adult, child = {"User": {"Age": 30}}, {"User": {"Age": 3}}
    assert engine.evaluate(rule.id, adult).matched
    assert engine.evaluate(rule.id, adult, trace=True).trace
    assert [r.matched for r in engine.evaluate_all(child)] == [False]
    with replica.transaction():
        replica.execute("SELECT rules.set_tenant(%s)", [pair.tenant])
        for query in READS:
            replica.execute(query, {"rule": rule.id, "facts": '{"User": {"Age": 30}}'})
    primary.delete(rule.id)
    pair.wait_until_replayed()


READS = [
    "SELECT rules.matches(%(rule)s, %(facts)s::jsonb)",
    "SELECT * FROM rules.explain_rule(%(rule)s, %(facts)s::jsonb)",
    "SELECT rules.evaluation_cost(%(rule)s, %(facts)s::jsonb)",
    "SELECT * FROM rules.evaluate_batch(%(rule)s, ARRAY[%(facts)s::jsonb])",
    "SELECT * FROM rules.match_rules(%(facts)s::jsonb)",
    "SELECT * FROM rules.match_rules_batch(ARRAY[%(facts)s::jsonb])",
    "SELECT * FROM rules.check_expression('a > 1')",
    "SELECT rules.evaluate_expression('1 + 1', %(facts)s::jsonb)",
    "SELECT * FROM rules.rule_sql(%(rule)s)",
]


def test_a_session_on_it_takes_up_each_change_of_the_primary(
    pair: Pair, primary: PostgresRuleStore, replica: Connection
) -> None:
    """COMP-4: what the session has cached does not outlive the rule."""
    rule = primary.add(Rule(uuid4(), "limit", "n > 0"))
    pair.wait_until_replayed()
    engine = Engine(PostgresRuleStore(replica, pair.tenant))
    for limit in range(5):
        expression = f"n > {limit}"
        primary.update(Rule(rule.id, "limit", expression))
        pair.wait_until_replayed()
        for n in range(7):
            (of_all,) = engine.evaluate_all({"n": n})
            assert of_all.matched is engine.evaluate(rule.id, {"n": n}).matched
            assert of_all.matched is (n > limit)
    primary.delete(rule.id)
    pair.wait_until_replayed()
    assert engine.evaluate_all({"n": 1}) == []


WRITES = {
    "a rule": (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES (rules.current_tenant_id(), 'x', 'true')"
    ),
    "a derived field": (
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES (rules.current_tenant_id(), 'x', 'true')"
    ),
    "a schema": """SELECT rules.set_schema('{"User": {"Age": "int"}}')""",
    "an earlier schema": "SELECT rules.activate_schema(1)",
    "a deletion": "DELETE FROM rules.rules",
}


@pytest.mark.parametrize("what", WRITES)
def test_a_write_on_it_is_refused_by_the_server(
    pair: Pair, replica: Connection, what: str
) -> None:
    """ERR-4: 25006, not an error of pgrules' own insides."""
    with replica.transaction(force_rollback=True):
        replica.execute("SELECT rules.set_tenant(%s)", [pair.tenant])
        with pytest.raises(errors.ReadOnlySqlTransaction):
            replica.execute(WRITES[what].encode())
    assert replica.execute("SELECT 1").fetchone() == (1,)


def test_the_store_tells_that_it_cannot_write_there(
    pair: Pair, replica: Connection
) -> None:
    """ERR-4."""
    store = PostgresRuleStore(replica, pair.tenant)
    with pytest.raises(PgRulesError) as caught:
        store.add(Rule(uuid4(), "adults", "User.Age >= 18"))
    assert caught.value.sqlstate == "25006"
    assert "read-only transaction" in str(caught.value)


def test_a_conflict_with_recovery_ends_an_evaluation(
    pair: Pair, replica: Connection
) -> None:
    """ENG-4: the replica need not wait for Python to be through."""
    with psycopg.connect(pair.deployed.database.dsn, autocommit=True) as primary:
        primary.execute("CREATE TABLE public.passing (n integer)")
        primary.execute("INSERT INTO public.passing SELECT generate_series(1, 5000)")
        primary.execute("GRANT SELECT ON public.passing TO PUBLIC")
    pair.wait_until_replayed()
    with psycopg.connect(pair.standby.uri, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET max_standby_streaming_delay = '100ms'")
        admin.execute("SELECT pg_reload_conf()")

    def evaluate() -> None:
        with replica.transaction():
            replica.execute("SELECT rules.set_tenant(%s)", [pair.tenant])
            replica.execute(
                "SELECT count(*) FROM public.passing WHERE rules.evaluate_expression("
                "'L.all(a, L.all(b, a + b >= 0))', %s::jsonb) = 'true'",
                ['{"L": [' + ",".join(map(str, range(300))) + "]}"],
            )

    with ThreadPoolExecutor(1) as later:
        running = later.submit(evaluate)
        with psycopg.connect(pair.standby.uri, autocommit=True) as admin:
            busy = (
                "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
                " AND state = 'active' AND query LIKE '%%passing%%'"
            )
            while admin.execute(busy, [replica.info.backend_pid]).fetchone() != (1,):
                assert not running.done()
        with psycopg.connect(pair.deployed.database.dsn, autocommit=True) as primary:
            primary.execute("DROP TABLE public.passing")
        with pytest.raises(
            (errors.QueryCanceled, errors.SerializationFailure), match="recovery"
        ):
            running.result(timeout=60)
    # The server may end the session with it; the next one is answered.
    with psycopg.connect(pair.replica_uri) as next_:
        assert next_.execute("SELECT 1").fetchone() == (1,)
