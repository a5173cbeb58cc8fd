"""Evaluation in parallel plans, by each kind of login that evaluates.

A worker is another process with a Python of its own: it loads the language, finds the
tenant, and compiles the rule by itself.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

RULE = uuid4()
EXPRESSION = "n % 7 == 3 && n != 5001"

PARALLEL = """
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
"""

COUNTS = {
    "evaluate": "FROM orders WHERE (rules.evaluate(%(rule)s, facts)).matched",
    "matches": "FROM orders WHERE rules.matches(%(rule)s, facts)",
    "evaluate_expression": (
        "FROM orders WHERE rules.evaluate_expression(%(expression)s, facts) = 'true'"
    ),
    "evaluate_all": (
        "FROM orders CROSS JOIN LATERAL rules.evaluate_all(facts) AS result"
        " WHERE result.matched"
    ),
    "evaluate_all, matches only": (
        "FROM orders CROSS JOIN LATERAL rules.evaluate_all(facts, true) AS result"
    ),
    "evaluate_batch": (
        "FROM orders CROSS JOIN LATERAL"
        " rules.evaluate_batch(%(rule)s, ARRAY[facts, '{}']) AS result"
        " WHERE result.matched"
    ),
    "match_rules": (
        "FROM orders CROSS JOIN LATERAL rules.match_rules(facts) AS result"
    ),
    "match_rules_batch": (
        "FROM orders CROSS JOIN LATERAL"
        " rules.match_rules_batch(ARRAY['{}', facts]) AS result"
        " WHERE result.element = 2"
    ),
    "explain_rule": (
        "FROM orders CROSS JOIN LATERAL rules.explain_rule(%(rule)s, facts) AS step"
        " WHERE step.depth = 0 AND step.value = 'true'"
    ),
}


@pytest.fixture
def orders(database: Database, tenant: UUID) -> None:
    """A table of 10,000 rows that everybody reads, and a rule about them."""
    with database.connect() as session:
        session.execute(
            "CREATE TABLE public.orders AS"
            " SELECT jsonb_build_object('n', n) AS facts"
            " FROM generate_series(1, 10000) AS n"
        )
        # Without it the planner does not know how many workers are worth while.
        session.execute("ANALYZE public.orders")
        session.execute("GRANT SELECT ON public.orders TO PUBLIC")
        session.execute(
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " VALUES (%s, %s, 'every seventh', %s)",
            [tenant, RULE, EXPRESSION],
        )


@pytest.fixture(params=["rules_app", "rules_tenant"])
def session(
    request: pytest.FixtureRequest, database: Database, tenant: UUID, orders: None
) -> Iterator[Connection]:
    """A session of each kind, in a transaction of the tenant."""
    role: str = request.param
    login = database.login(role, tenant=tenant if role == "rules_tenant" else None)
    with psycopg.connect(login) as session:
        session.execute(PARALLEL.encode())
        if role == "rules_app":
            session.execute("SELECT rules.set_tenant(%s)", [tenant])
        yield session


@pytest.mark.parametrize("call", COUNTS)
def test_workers_decide_as_the_leader_does(session: Connection, call: str) -> None:
    """EVAL-1."""
    query = f"SELECT count(*) {COUNTS[call]}"
    values = {"rule": RULE, "expression": EXPRESSION}
    plan = session.execute(
        f"EXPLAIN (ANALYZE, COSTS off, TIMING off) {query}".encode(), values
    ).fetchall()
    assert "Workers Launched: 2" in "\n".join(line for (line,) in plan)
    assert session.execute(query.encode(), values).fetchone() == (1428,)


def test_an_error_in_a_worker_reaches_the_client(session: Connection) -> None:
    """EVAL-6, REQ-TENANT-005."""
    session.execute("SET LOCAL parallel_leader_participation = off")
    with pytest.raises(psycopg.DatabaseError) as refused:
        session.execute(
            "SELECT count(*) FROM public.orders WHERE rules.matches(%s, facts)",
            [uuid4()],
        )
    assert refused.value.sqlstate == "RE010"


def test_a_worker_sees_the_uncommitted_rule_of_its_leader(session: Connection) -> None:
    """COMP-4: programs are kept by their text, not by the rule's id."""
    session.execute("UPDATE rules.rules SET expression = 'n <= 10'")
    session.execute("SET LOCAL parallel_leader_participation = off")
    counted = session.execute(
        "SELECT count(*) FROM public.orders WHERE rules.matches(%s, facts)", [RULE]
    ).fetchone()
    assert counted == (10,)


def test_a_worker_keeps_no_rules_that_its_leader_has_not_committed(
    session: Connection,
) -> None:
    """COMP-4: it knows its leader's transaction, which has no number of its own."""
    count = "SELECT count(*) FROM public.orders CROSS JOIN LATERAL"
    count += " rules.evaluate_all(facts, true) AS result"
    session.execute("SET LOCAL parallel_leader_participation = off")
    assert session.execute(count.encode()).fetchone() == (1428,)
    with session.transaction(force_rollback=True):
        session.execute("UPDATE rules.rules SET expression = 'n <= 10'")
        assert session.execute(count.encode()).fetchone() == (10,)
        session.execute("UPDATE rules.rules SET expression = 'n <= 20'")
        assert session.execute(count.encode()).fetchone() == (20,)
        key = session.execute(
            "SELECT DISTINCT rules_internal.rule_set_key(rules.current_tenant_id())"
            " FROM public.orders"
        ).fetchall()
        assert key == [(None,)]
    assert session.execute(count.encode()).fetchone() == (1428,)
