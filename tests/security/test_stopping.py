"""Whatever the server has to end a statement or a session ends an evaluation too.

Python does not return to the server while it evaluates, so the language looks at the
server's flags itself. Each evaluation here would take far longer than the test waits:
that it ends with the server's own code is what is shown, not how fast. How fast is in
``tests/soak``.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql
from psycopg_pool import ConnectionPool

from pgrules import (
    Engine,
    PostgresRuleStore,
    StoreUnavailable,
    TransactionConflict,
)
from tests.fixtures.database import Database
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

COSTLY = "L.all(a, L.all(b, a * b >= 0))"
FACTS = '{"L": [' + ",".join(map(str, range(300))) + "]}"

# Each takes a minute and more if nothing stops it.
LONG = {
    "one rule, row by row": (
        "SELECT count(*) FROM generate_series(1, 1000) AS n"
        " WHERE (rules.evaluate("
        "%(rule)s, %(facts)s::jsonb || jsonb_build_object('n', n))).matched"
    ),
    "one rule with its trace": (
        "SELECT count(*) FROM generate_series(1, 1000) AS n"
        " WHERE (rules.evaluate("
        "%(rule)s, %(facts)s::jsonb || jsonb_build_object('n', n), true)).matched"
    ),
    "a batch of one rule": (
        "SELECT count(*) FROM rules.evaluate_batch("
        "%(rule)s, ARRAY(SELECT %(facts)s::jsonb FROM generate_series(1, 1000)))"
    ),
    "all rules": "SELECT count(*) FROM rules.evaluate_all(%(facts)s::jsonb)",
    "all rules, many facts": (
        "SELECT count(*) FROM rules.match_rules_batch("
        "ARRAY(SELECT %(facts)s::jsonb FROM generate_series(1, 1000)))"
    ),
    "compiling": (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " SELECT rules.current_tenant_id(), 'r' || n,"
        "  repeat('a.b > 1 && ', 2000) || n || ' > 0'"
        " FROM generate_series(1, 1000) AS n"
    ),
    "compiling for a schema": (
        "SELECT rules.set_schema("
        """'{"User": {"Age": "int"}, "L": {"Size": "int"}}', allow_broken => true)"""
    ),
}


# PostgreSQL drops a cancel request that arrives before a statement is being executed,
# while it is parsed or planned.
BUSY = """
SELECT {} FROM pg_stat_activity
WHERE pid = %s AND state = 'active' AND wait_event IS NULL
    AND clock_timestamp() > query_start + interval '20 ms'
"""


class World:
    """A tenant whose rules take long, and the superuser who watches."""

    def __init__(self, database: Database, tenant: UUID) -> None:
        self.database = database
        self.tenant = tenant
        self.app = database.login("rules_app")
        self.watcher: Connection = database.connect(autocommit=True)
        self.rule = uuid4()

    def session(self, **options: Any) -> Connection:
        """A session that acts for the tenant in all its transactions."""
        session = psycopg.connect(self.app, autocommit=True, **options)
        session.execute(
            "SELECT set_config('app.tenant_id', %s, false)", [str(self.tenant)]
        )
        return session

    def add_rules(self, count: int) -> None:
        """Store costly rules; `rule` is the first."""
        with self.session() as session:
            session.execute(
                "INSERT INTO rules.rules (tenant_id, id, name, expression)"
                " SELECT rules.current_tenant_id(),"
                "  CASE WHEN n = 1 THEN %s ELSE gen_random_uuid() END,"
                "  'costly ' || n, %s || ' && ' || n || ' > 0'"
                " FROM generate_series(1, %s) AS n",
                [self.rule, COSTLY, count],
            )

    def values(self) -> dict[str, object]:
        """The parameters of `LONG`."""
        return {"rule": self.rule, "facts": FACTS}

    def wait_until(self, query: str, values: list[object], row: object) -> None:
        """Return when the watcher's query gives this row."""
        deadline = time.monotonic() + 60
        while self.watcher.execute(query.encode(), values).fetchone() != row:
            assert time.monotonic() < deadline, query

    def wait_until_gone(self, pid: int) -> None:
        """Return when the backend has ended."""
        self.wait_until(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid], (0,)
        )

    def when_busy(
        self, pid: int, outcome: Future[Any] | None, statement: str
    ) -> tuple[Any, ...]:
        """Run a statement with the pid as soon as that session is evaluating."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert outcome is None or not outcome.done(), outcome
            row = self.watcher.execute(
                BUSY.format(statement).encode(), [pid]
            ).fetchone()
            if row is not None:
                found: tuple[Any, ...] = row
                return found
        pytest.fail("the session does not evaluate")


@pytest.fixture
def world(database: Database) -> World:
    """A tenant with 200 costly rules."""
    world = World(database, create_tenant(database))
    world.add_rules(200)
    return world


@pytest.fixture
def long_running(world: World) -> World:
    """The same tenant, whose rules also take a minute to compile."""
    # The triggers would compile them now.
    world.watcher.execute("SET session_replication_role = replica")
    world.watcher.execute(
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " SELECT %s, 'large ' || n, repeat('a.b > 1 && ', 2500) || n || ' > 0'"
        " FROM generate_series(1, 400) AS n",
        [world.tenant],
    )
    world.watcher.execute("RESET session_replication_role")
    return world


@pytest.fixture
def later() -> Iterator[ThreadPoolExecutor]:
    """Runs what has to be stopped."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_cancel_request_ends_each_kind_of_evaluation(
    long_running: World, later: ThreadPoolExecutor
) -> None:
    """ENG-4."""
    with long_running.session() as session:
        pid = session.info.backend_pid
        for kind, query in LONG.items():
            running = later.submit(
                session.execute, query.encode(), long_running.values()
            )
            long_running.when_busy(pid, running, "pg_cancel_backend(pid)")
            with pytest.raises(errors.QueryCanceled, match="user request"):
                running.result(timeout=30)
            alive = session.execute("SELECT pg_backend_pid()").fetchone()
            assert alive == (pid,), kind


def test_a_statement_timeout_ends_each_kind_of_evaluation(long_running: World) -> None:
    """ENG-4."""
    with long_running.session() as session:
        pid = session.info.backend_pid
        session.execute("SET statement_timeout = '100ms'")
        for kind, query in LONG.items():
            with pytest.raises(errors.QueryCanceled, match="statement timeout"):
                session.execute(query.encode(), long_running.values())
            alive = session.execute("SELECT pg_backend_pid()").fetchone()
            assert alive == (pid,), kind


def test_a_terminated_backend_ends_in_the_midst_of_each_kind_of_evaluation(
    long_running: World, later: ThreadPoolExecutor
) -> None:
    """ENG-4: only that backend; the server does not restart."""
    started = "SELECT pg_postmaster_start_time()"
    before = long_running.watcher.execute(started).fetchone()
    for query in LONG.values():
        session = long_running.session()
        pid = session.info.backend_pid
        running = later.submit(session.execute, query.encode(), long_running.values())
        long_running.when_busy(pid, running, "pg_terminate_backend(pid)")
        with pytest.raises(errors.AdminShutdown):
            running.result(timeout=30)
        assert session.broken
        session.close()
        long_running.wait_until_gone(pid)
    assert long_running.watcher.execute(started).fetchone() == before


def test_the_engine_says_of_a_terminated_backend_that_it_may_be_tried_again(
    world: World, later: ThreadPoolExecutor
) -> None:
    """ERR-4: and the pool has a fresh connection for the next call."""
    with ConnectionPool(world.app, min_size=1, max_size=1) as pool:
        engine = Engine(PostgresRuleStore(pool, world.tenant))
        with pool.connection() as connection:
            pid = connection.info.backend_pid
        facts = {"L": list(range(300))}
        running = later.submit(engine.evaluate_all, facts)
        world.when_busy(pid, running, "pg_terminate_backend(pid)")
        with pytest.raises(StoreUnavailable) as caught:
            running.result(timeout=30)
        assert caught.value.retry_safe
        assert len(engine.evaluate_all({"L": []})) == 200


def test_many_cancels_at_any_moment_leave_one_backend_that_answers(
    world: World, later: ThreadPoolExecutor
) -> None:
    """ENG-4."""
    with world.session() as session:
        pid = session.info.backend_pid
        query = LONG["all rules"].encode()
        for moment in range(40):
            running = later.submit(session.execute, query, world.values())
            world.when_busy(pid, running, "pid")
            # Between two rules, within one, while an error is being made.
            threading.Event().wait(moment / 1000)
            world.watcher.execute("SELECT pg_cancel_backend(%s)", [pid])
            with pytest.raises(errors.QueryCanceled):
                running.result(timeout=30)
        alive = session.execute("SELECT pg_backend_pid()").fetchone()
        assert alive == (pid,)


def test_a_lock_timeout_ends_an_evaluation_that_waits(world: World) -> None:
    """ERR-4: for the table of rules, which somebody alters."""
    altering = world.database.connect()
    with world.session() as session:
        session.execute("SET lock_timeout = '50ms'")
        engine = Engine(PostgresRuleStore(session, world.tenant))
        altering.execute("LOCK TABLE rules.rules IN ACCESS EXCLUSIVE MODE")
        # The first column has been evaluated when the second has to wait.
        with pytest.raises(errors.LockNotAvailable):
            session.execute(
                "SELECT rules.evaluate_expression('1 + 1'),"
                " rules.matches(%(rule)s, '{}') FROM generate_series(1, 3)",
                world.values(),
            )
        with pytest.raises(TransactionConflict) as caught:
            engine.evaluate(world.rule, {"L": []})
        assert caught.value.retry_safe
        altering.rollback()
        assert engine.evaluate(world.rule, {"L": []}).matched


def test_a_lock_timeout_ends_the_writing_of_a_rule_that_waits(world: World) -> None:
    """COMP-3: for a schema that somebody sets, in the trigger that compiles."""
    setting = world.session()
    setting.execute("BEGIN")
    setting.execute(
        """SELECT rules.set_schema('{"User": {"Age": "int"}}', allow_broken => true)"""
    )
    with world.session() as session:
        session.execute("SET lock_timeout = '50ms'")
        with pytest.raises(errors.LockNotAvailable):
            session.execute(
                "UPDATE rules.rules SET expression = 'User.Age > 1' WHERE id = %s",
                [world.rule],
            )
        setting.execute("ROLLBACK")
        session.execute(
            "UPDATE rules.rules SET expression = 'User.Age > 1' WHERE id = %s",
            [world.rule],
        )
    setting.close()


def test_an_evaluation_is_not_idle_and_a_transaction_between_two_is(
    world: World,
) -> None:
    """ERR-4: idle_in_transaction_session_timeout, with a cursor halfway through."""
    session = world.session()
    pid = session.info.backend_pid
    session.execute("SET idle_in_transaction_session_timeout = '50ms'")
    session.execute("BEGIN")
    session.execute(
        "DECLARE halfway CURSOR FOR SELECT"
        " (rules.evaluate(%(rule)s, %(facts)s::jsonb)).matched"
        " FROM generate_series(1, 1000)",
        world.values(),
    )
    # Takes longer than the time that a session may be idle.
    rows = session.execute("FETCH 3 FROM halfway").fetchall()
    assert rows == [(True,)] * 3
    world.wait_until_gone(pid)
    with pytest.raises(errors.IdleInTransactionSessionTimeout):
        session.execute("FETCH 3 FROM halfway")
    assert session.broken
    session.close()


def test_a_callers_transaction_is_idle_between_two_calls_of_the_engine(
    world: World,
) -> None:
    """ERR-4: its timeout counts on after a call that joined it."""
    session = psycopg.connect(world.app)
    pid = session.info.backend_pid
    session.execute("SET idle_in_transaction_session_timeout = '50ms'")
    engine = Engine(PostgresRuleStore(session, world.tenant))
    world.wait_until_gone(pid)
    with pytest.raises(StoreUnavailable):
        engine.evaluate(world.rule, {"L": []})
    session.close()


PARALLEL = """
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
"""


@pytest.fixture
def parallel(world: World) -> Iterator[Connection]:
    """A session of the tenant whose scans of table ``facts`` are parallel."""
    world.watcher.execute(
        "CREATE TABLE public.facts (facts jsonb NOT NULL);"
        " ALTER TABLE public.facts ALTER facts SET STORAGE EXTERNAL;"
        " GRANT SELECT ON public.facts TO PUBLIC"
    )
    world.watcher.execute(
        "INSERT INTO public.facts SELECT %s::jsonb FROM generate_series(1, 2000)",
        [FACTS],
    )
    world.watcher.execute("ANALYZE public.facts")
    with world.session() as session:
        session.execute(PARALLEL.encode())
        plan = session.execute(
            "EXPLAIN SELECT count(*) FROM public.facts WHERE rules.matches(%s, facts)",
            [world.rule],
        ).fetchall()
        assert "Workers Planned: 2" in "\n".join(line for (line,) in plan)
        yield session


IN_PARALLEL = "SELECT count(*) FROM public.facts WHERE rules.matches(%s, facts)"


WORKERS = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE backend_type = 'parallel worker' AND datname = current_database()
"""


def test_a_timeout_ends_the_workers_of_a_parallel_plan_too(
    world: World, parallel: Connection
) -> None:
    """ENG-4."""
    parallel.execute("SET statement_timeout = '400ms'")
    with pytest.raises(errors.QueryCanceled):
        parallel.execute(IN_PARALLEL, [world.rule])
    world.wait_until(WORKERS, [], (False,))
    assert parallel.execute("SELECT 1").fetchone() == (1,)


def test_a_worker_that_is_terminated_ends_the_statement_and_nothing_else(
    world: World, parallel: Connection, later: ThreadPoolExecutor
) -> None:
    """ENG-4: in the midst of its evaluations."""
    running = later.submit(parallel.execute, IN_PARALLEL, [world.rule])
    world.wait_until(WORKERS, [], (True,))
    world.watcher.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'parallel worker' AND datname = current_database()"
    )
    with pytest.raises(psycopg.errors.AdminShutdown):
        running.result(timeout=30)
    assert parallel.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("expression", "sqlstate"),
    [
        (" && ".join([COSTLY] * 4), "RE041"),
        ("L[0] / 0 == 1", "RE040"),
        ("L.all(a", "RE020"),
        ("(" * 200 + "1" + ")" * 200, "RE021"),
    ],
)
def test_a_hostile_expression_in_a_worker_ends_in_its_error(
    world: World, parallel: Connection, expression: str, sqlstate: str
) -> None:
    """ENG-4: and the workers live to tell."""
    with pytest.raises(psycopg.Error) as caught:
        parallel.execute(
            "SELECT count(*) FROM public.facts"
            " WHERE rules.evaluate_expression(%s, facts) = 'true'",
            [expression],
        )
    assert caught.value.sqlstate == sqlstate
    assert parallel.execute("SELECT 1").fetchone() == (1,)


# Recursion through triggers


RECURSIVE = """
CREATE TABLE public.claims (id integer, facts jsonb NOT NULL);
CREATE FUNCTION public.follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF rules.matches('{rule}', NEW.facts) THEN
        INSERT INTO public.claims VALUES (NEW.id + 1, NEW.facts);
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER claims_follow BEFORE INSERT ON public.claims
FOR EACH ROW EXECUTE FUNCTION public.follow();
GRANT SELECT, INSERT ON public.claims TO PUBLIC;
"""

MUTUAL = """
CREATE TABLE public.here (id integer, rule_id uuid, facts jsonb DEFAULT '{{"L": []}}');
CREATE TABLE public.there (id integer, rule_id uuid, facts jsonb DEFAULT '{{"L": []}}');
CREATE TRIGGER here_record AFTER INSERT ON public.here
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('public.there', 'facts=facts', 'key=id');
CREATE TRIGGER there_record AFTER INSERT ON public.there
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('public.here', 'facts=facts', 'key=id');
GRANT SELECT, INSERT ON public.here, public.there TO PUBLIC;
"""


ENTRANCE = "INSERT INTO public.{} (id, facts) VALUES (1, '{{\"L\": []}}')"


@pytest.mark.parametrize(
    ("definition", "table"),
    [(RECURSIVE, "claims"), (MUTUAL, "here")],
    ids=["one table", "two tables"],
)
def test_a_trigger_that_evaluates_forever_ends_at_the_depth_of_the_stack(
    database: Database, definition: str, table: str
) -> None:
    """ENG-4: with the server's own error, nothing written, and the backend alive."""
    world = World(database, create_tenant(database))
    world.add_rules(1)
    world.watcher.execute(definition.format(rule=world.rule).encode())
    with world.session() as session:
        pid = session.info.backend_pid
        with pytest.raises(errors.StatementTooComplex):
            session.execute(ENTRANCE.format(table).encode())
        written = session.execute(
            sql.SQL("SELECT pg_backend_pid(), count(*) FROM public.{}").format(
                sql.Identifier(table)
            )
        ).fetchone()
        assert written == (pid, 0)
        assert session.execute(
            "SELECT matched FROM rules.evaluate(%s, '{\"L\": []}')", [world.rule]
        ).fetchone() == (True,)


# A rule that is changed while it is evaluated

# The statement waits at its tenth row until the other has changed the rule.
HALFWAY = """
SELECT n, {call} FROM (
    SELECT n, CASE WHEN n = 10 THEN pg_advisory_xact_lock_shared(7) END
    FROM generate_series(1, 20) AS n OFFSET 0
) AS rows (n, waited) ORDER BY n
"""

CHANGES: dict[str, str] = {
    "the rule": ("UPDATE rules.rules SET expression = 'n > 10' WHERE id = %(rule)s"),
    "its absence": "DELETE FROM rules.rules WHERE id = %(rule)s",
    "its name": "UPDATE rules.rules SET name = 'another' WHERE id = %(rule)s",
    "a derived field": (
        "UPDATE rules.derived_fields SET expression = 'false' WHERE name = 'yes'"
    ),
}

SAID = {
    "evaluate": (
        "(SELECT matched::text || rule_name FROM rules.evaluate(%(rule)s, '{{}}'))"
    ),
    "matches": "rules.matches(%(rule)s, '{{}}')::text",
    "evaluate_all": (
        "(SELECT string_agg(matched::text || rule_name, ',')"
        " FROM rules.evaluate_all('{{}}'))"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("call", SAID)
def test_a_statement_judges_all_its_rows_by_one_state_of_the_rules(
    database: Database, later: ThreadPoolExecutor, call: str, change: str
) -> None:
    """EVAL-2: that of its snapshot; the next statement sees what has changed."""
    world = World(database, create_tenant(database))
    with world.session() as session, world.session() as other:
        session.execute(
            "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
            " VALUES (rules.current_tenant_id(), 'yes', 'true')"
        )
        session.execute(
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " VALUES (rules.current_tenant_id(), %s, 'one', 'yes')",
            [world.rule],
        )
        query = HALFWAY.format(call=SAID[call].format()).encode()
        values = {"rule": world.rule}
        before = session.execute(query, values).fetchall()
        other.execute("SELECT pg_advisory_lock(7)")
        session.execute("BEGIN")
        running = later.submit(session.execute, query, values)
        world.wait_until(
            "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s",
            [session.info.backend_pid],
            ("Lock",),
        )
        other.execute(CHANGES[change].encode(), values)
        other.execute("SELECT pg_advisory_unlock(7)")
        assert running.result(timeout=30).fetchall() == before
        if change == "its absence" and call != "evaluate_all":
            with pytest.raises(errors.DatabaseError) as caught:
                session.execute(query, values)
            assert caught.value.sqlstate == "RE010"
            return
        after = session.execute(query, values).fetchall()
        assert len({said for _, said in after}) == 1
        # Its name is no part of whether it matches.
        assert (after != before) == ((call, change) != ("matches", "its name"))
