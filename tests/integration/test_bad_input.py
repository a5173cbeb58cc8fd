"""Hostile and mistaken input through SQL: a clear error, quickly, and nothing else.

Each case names the SQLSTATE that it must end with. Afterwards the same session
answers, so the backend lives, and the tenant's rules are what they were. What the
package refuses before it reaches the database is in tests/unit.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgrules import Cancelled, Engine, PostgresRuleStore, Rule
from pgrules.translate import translated
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

# Over a list of the usual length it is soon done, over this one it is not.
ENDLESS = "L.all(a, L.all(b, a + b >= 0))"
LONG = '{"L": [' + ",".join(map(str, range(2_000))) + "]}"


@pytest.fixture
def session(app: str) -> Iterator[Connection]:
    """A session of the application, without a tenant."""
    with psycopg.connect(app, autocommit=True) as connection:
        yield connection


@pytest.fixture
def rule(session: Connection, tenant: UUID) -> UUID:
    """The tenant's one rule."""
    rule_id = uuid4()
    with session.transaction():
        session.execute("SELECT rules.set_tenant(%s)", [tenant])
        session.execute(
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " VALUES (%s, %s, 'adults', 'User.Age >= 18')",
            [tenant, rule_id],
        )
    return rule_id


def run(session: Connection, tenant: UUID, query: str, *values: object) -> list[Any]:
    """The rows of one statement in a transaction of the tenant."""
    with session.transaction():
        session.execute("SELECT rules.set_tenant(%s)", [tenant])
        return session.execute(query, values).fetchall()


def assert_refused(
    session: Connection, sqlstate: str, call: Callable[[], object]
) -> psycopg.Error:
    """The error that the call ends with: within a second, in a living session."""
    backend = session.info.backend_pid
    # The best of three, so that a busy machine is not taken for a slow answer.
    refusals = [_refusal(call) for _ in range(3)]
    assert min(duration for duration, _ in refusals) < 1
    for _, error in refusals:
        assert error.sqlstate == sqlstate, error
        assert error.diag.message_primary
    assert session.execute("SELECT pg_backend_pid()").fetchone() == (backend,)
    return refusals[0][1]


def _refusal(call: Callable[[], object]) -> tuple[float, psycopg.Error]:
    start = perf_counter()
    with pytest.raises(psycopg.Error) as caught:
        call()
    return perf_counter() - start, caught.value


CALLS = [
    "SELECT rules.current_tenant_id()",
    "SELECT * FROM rules.evaluate('{rule}', '{{}}')",
    "SELECT * FROM rules.evaluate_all('{{}}')",
    "SELECT rules.matches('{rule}', '{{}}')",
    "SELECT * FROM rules.rules",
    "DELETE FROM rules.rules",
]


@pytest.mark.parametrize("call", CALLS)
def test_without_a_tenant_every_call_is_refused(
    session: Connection, rule: UUID, call: str
) -> None:
    """An unset tenant is an error: never all rows, never silently none."""
    query = call.format(rule=rule)
    assert_refused(session, "RE001", lambda: session.execute(query))


@pytest.mark.parametrize("call", CALLS)
def test_a_tenant_left_behind_by_a_transaction_is_none(
    session: Connection, tenant: UUID, rule: UUID, call: str
) -> None:
    """What a finished SET LOCAL leaves is empty, not NULL."""
    run(session, tenant, "SELECT rules.current_tenant_id()")
    query = call.format(rule=rule)
    assert_refused(session, "RE001", lambda: session.execute(query))


@pytest.mark.parametrize(
    "setting",
    ["x", "1", "00000000-0000-0000-0000-00000000000", "' OR true --", "%", "null"],
)
def test_a_malformed_tenant_is_refused(
    session: Connection, rule: UUID, setting: str
) -> None:
    def use(query: str) -> None:
        with session.transaction():
            session.execute("SELECT set_config('app.tenant_id', %s, true)", [setting])
            session.execute(query)

    for call in CALLS:
        assert_refused(session, "RE002", partial(use, call.format(rule=rule)))


def test_another_tenants_rule_is_refused_as_an_unknown_one(
    session: Connection, other_tenant: UUID, rule: UUID
) -> None:
    """EVAL-6: the same code and the same words."""
    errors = []
    for rule_id in (rule, uuid4()):
        for call in (
            "SELECT * FROM rules.evaluate(%s, '{}')",
            "SELECT rules.matches(%s, '{}')",
        ):
            use = partial(run, session, other_tenant, call, rule_id)
            diag = assert_refused(session, "RE010", use).diag
            texts = [diag.message_primary, diag.message_detail, diag.message_hint]
            errors.append([(t or "").replace(str(rule_id), "ID") for t in texts])
    assert errors[:2] == errors[2:]


def nested(depth: int) -> str:
    return '{"a":' + "[" * depth + "]" * depth + "}"


BAD_FACTS = {
    "a list": ("[1]", "RE030"),
    "text": ('"x"', "RE030"),
    "a number": ("1", "RE030"),
    "null": ("null", "RE030"),
    "NUL": ('{"a": "\\u0000"}', "22P05"),
    "NaN": ('{"a": NaN}', "22P02"),
    "no JSON": ("{", "22P02"),
    "half a surrogate pair": ('{"a": "\\ud83d"}', "22P02"),
    "int of 65 bits": ('{"a": 9223372036854775808}', "RE030"),
    "int of 100,000 digits": ('{"a": ' + "9" * 100_000 + "}", "RE030"),
    "double outside all doubles": ('{"a": 1e400}', "RE030"),
    "nested 1,000 deep": (nested(1_000), "RE030"),
    "nested 10,000 deep": (nested(10_000), "RE030"),
    "nested 100,000 deep": (nested(100_000), "54001"),
    "larger than the limit": ('{"a": "' + "x" * 5_000_000 + '"}', "RE030"),
}


@pytest.mark.parametrize("case", BAD_FACTS)
def test_bad_facts_are_refused(
    session: Connection, tenant: UUID, rule: UUID, case: str
) -> None:
    """REQ-INTEG-007, ENG-4: by every call that takes facts."""
    facts, sqlstate = BAD_FACTS[case]

    def use(query: str) -> None:
        with session.transaction():
            session.execute("SELECT rules.set_tenant(%s)", [tenant])
            session.execute(query, {"rule": rule, "facts": facts})

    for call in (
        "SELECT * FROM rules.evaluate(%(rule)s, %(facts)s::jsonb)",
        "SELECT * FROM rules.evaluate(%(rule)s, %(facts)s::jsonb, trace => true)",
        "SELECT * FROM rules.evaluate_all(%(facts)s::jsonb)",
        "SELECT rules.matches(%(rule)s, %(facts)s::jsonb)",
        "SELECT rules.evaluate_expression('true', %(facts)s::jsonb)",
    ):
        assert_refused(session, sqlstate, partial(use, call))
    evaluated = run(
        session,
        tenant,
        "SELECT matched FROM rules.evaluate(%s, %s)",
        rule,
        '{"User": {"Age": 30}}',
    )
    assert evaluated == [(True,)]


BAD_EXPRESSIONS = {
    "empty": ("", "RE020"),
    "open": ("User.Age >", "RE020"),
    "no CEL": ("SELECT 1", "RE020"),
    "unknown function": ("nosuch(1)", "RE020"),
    "1 MB": ("a" * 1_000_000, "RE021"),
    "1 MB of operators": ("1+" * 500_000 + "1", "RE021"),
    "10,000 brackets": ("(" * 10_000 + "1" + ")" * 10_000, "RE021"),
    "10,000 lists": ("[" * 10_000 + "]" * 10_000, "RE021"),
    "bad regex": ("a.matches('(')", "RE020"),
}


@pytest.mark.parametrize("case", BAD_EXPRESSIONS)
def test_a_bad_expression_is_refused_and_not_stored(
    session: Connection, tenant: UUID, rule: UUID, case: str
) -> None:
    """COMP-2, REQ-PERSIST-003, REQ-INTEG-007: on insert and on update."""
    expression, sqlstate = BAD_EXPRESSIONS[case]
    before = run(session, tenant, "SELECT * FROM rules.rules")
    error = assert_refused(
        session,
        sqlstate,
        lambda: run(
            session,
            tenant,
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " VALUES (%s, gen_random_uuid(), 'bad', %s) RETURNING id",
            tenant,
            expression,
        ),
    )
    # Where and why, without the megabyte itself.
    assert 0 < len(error.diag.message_detail or "") < 5_000
    assert_refused(
        session,
        sqlstate,
        lambda: run(
            session,
            tenant,
            "UPDATE rules.rules SET expression = %s WHERE id = %s RETURNING id",
            expression,
            rule,
        ),
    )
    assert_refused(
        session,
        sqlstate,
        lambda: run(
            session, tenant, "SELECT rules.evaluate_expression(%s, '{}')", expression
        ),
    )
    assert run(session, tenant, "SELECT * FROM rules.rules") == before


def test_one_bad_row_of_many_refuses_the_statement(
    session: Connection, tenant: UUID
) -> None:
    """REQ-PERSIST-003: all or nothing."""
    assert_refused(
        session,
        "RE020",
        lambda: run(
            session,
            tenant,
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " SELECT %s, gen_random_uuid(), 'rule ' || n,"
            "  CASE WHEN n = 40 THEN 'a >' ELSE 'a > ' || n END"
            " FROM generate_series(1, 50) AS n RETURNING id",
            tenant,
        ),
    )
    assert run(session, tenant, "SELECT count(*) FROM rules.rules") == [(0,)]


def test_endless_macros_end_at_the_cost_limit(
    session: Connection, tenant: UUID
) -> None:
    """ENG-4: an evaluation over more than anybody thought of."""
    assert_refused(
        session,
        "RE041",
        lambda: run(
            session, tenant, "SELECT rules.evaluate_expression(%s, %s)", ENDLESS, LONG
        ),
    )


def test_macros_that_could_run_for_years_are_refused(
    session: Connection, tenant: UUID
) -> None:
    """COMP-2, ENG-4: the estimate of a rule is within the cost limit."""
    expression = "L.all(a, L.all(b, L.all(c, L.all(d, a + b + c + d >= 0))))"
    assert_refused(
        session,
        "RE021",
        lambda: run(
            session,
            tenant,
            "INSERT INTO rules.rules (tenant_id, name, expression)"
            " VALUES (%s, 'years', %s)",
            tenant,
            expression,
        ),
    )


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)*b", "(.*)*x{1,500}$"])
def test_a_regular_expression_cannot_explode(
    session: Connection, tenant: UUID, pattern: str
) -> None:
    """ENG-4: RE2 takes linear time, or refuses."""
    facts = '{"v": "' + "a" * 10_000 + '!"}'
    backend = session.info.backend_pid
    start = perf_counter()
    (row,) = run(
        session,
        tenant,
        "SELECT rules.evaluate_expression(format('v.matches(%%L)', %s::text), %s)",
        pattern,
        facts,
    )
    assert perf_counter() - start < 1
    assert row == (False,)
    assert session.execute("SELECT pg_backend_pid()").fetchone() == (backend,)


# Cancelling


def costly_rules(engine: Engine) -> dict[str, Any]:
    """Add rules that take seconds together over the facts that are returned."""
    for number in range(40):
        expression = f"L.all(a, L.all(b, a * b >= {-number}))"
        engine.add_rule(Rule(uuid4(), f"costly {number}", expression))
    # Compiled before any clock runs.
    engine.evaluate_all({"L": []})
    return {"L": list(range(300))}


def evaluate_endless(connection: Connection, tenant: UUID) -> None:
    """An expression that runs into the cost limit if nothing stops it."""
    with translated("evaluate expression"):
        run(
            connection,
            tenant,
            "SELECT rules.evaluate_expression(%s, %s)",
            ENDLESS,
            LONG,
        )


@pytest.mark.parametrize("what", ["all rules", "an expression"])
def test_a_statement_timeout_ends_an_evaluation(
    app: str, tenant: UUID, what: str
) -> None:
    """Within 100 ms of its time, with the server's own code, in a living session."""
    timeout = 0.04
    with psycopg.connect(app, autocommit=True) as connection:
        engine = Engine(PostgresRuleStore(connection, tenant))
        backend = connection.info.backend_pid
        facts = costly_rules(engine)
        calls: dict[str, Callable[[], object]] = {
            "all rules": lambda: engine.evaluate_all(facts),
            "an expression": lambda: evaluate_endless(connection, tenant),
        }
        overtimes = []
        for _ in range(3):
            connection.execute("SET statement_timeout = '40ms'")
            start = perf_counter()
            with pytest.raises(Cancelled) as caught:
                calls[what]()
            overtimes.append(perf_counter() - start - timeout)
            connection.execute("RESET statement_timeout")
            assert caught.value.sqlstate == "57014"
            assert "statement timeout" in caught.value.reason
        assert min(overtimes) < 0.1
        assert connection.info.backend_pid == backend
        assert len(engine.evaluate_all({"L": [1]})) == 40


def test_a_cancel_request_ends_an_evaluation(
    app: str, database: Database, tenant: UUID
) -> None:
    """pg_cancel_backend takes effect in the middle of an evaluation."""
    with psycopg.connect(app, autocommit=True) as connection:
        engine = Engine(PostgresRuleStore(connection, tenant))
        facts = costly_rules(engine)
        watcher = database.connect(autocommit=True)
        with ThreadPoolExecutor(1) as threads:
            evaluation = threads.submit(engine.evaluate_all, facts)
            busy = (
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE pid = %s AND state = 'active' AND query LIKE '%%evaluate_all%%'"
            )
            while (
                watcher.execute(busy, [connection.info.backend_pid]).fetchone() is None
            ):
                assert not evaluation.done()
            with pytest.raises(Cancelled, match="failed to evaluate all rules"):
                evaluation.result()
        assert len(engine.evaluate_all({"L": []})) == 40
