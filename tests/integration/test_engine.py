"""Engines over the database: whole workflows, several tenants, rules that broke."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg_pool import ConnectionPool

from pgrules import (
    CompilationError,
    Engine,
    PostgresRuleStore,
    Rule,
    RuleNotFound,
)
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration


def claim(amount: float, *, channel: str = "web") -> dict[str, Any]:
    """Facts as a claims service has them: UUIDs, times, nested objects."""
    return {
        "Claim": {
            "Id": uuid4(),
            "Amount": amount,
            "Channel": channel,
            "ReportedAt": datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC),
            "Documents": [{"Kind": "photo"}, {"Kind": "police report"}],
        },
        "Policy": {"Number": "HI-204881", "Deductible": 1500.0, "Active": True},
    }


def harbour_rules() -> list[Rule]:
    return [
        Rule(uuid4(), "manual review", "Claim.Amount - Policy.Deductible > 50000.0"),
        Rule(uuid4(), "fast lane", "Claim.Amount < 5000.0 && Policy.Active"),
        Rule(
            uuid4(),
            "police report",
            "Claim.Documents.exists(d, d.Kind == 'police report')",
        ),
        Rule(
            uuid4(),
            "reported in time",
            "timestamp(Claim.ReportedAt) < timestamp('2026-04-01T00:00:00Z')",
        ),
    ]


def test_a_service_keeps_and_evaluates_its_rules(
    pool: ConnectionPool[Any], tenant: UUID
) -> None:
    """REQ-INTEG-009, REQ-INTEG-006: compile, evaluate and manage rules, end to end."""
    engine = Engine(PostgresRuleStore(pool, tenant))
    rules = [engine.add_rule(rule) for rule in harbour_rules()]
    fired = {
        amount: [r.rule_name for r in engine.evaluate_all(claim(amount)) if r.matched]
        for amount in (1200.0, 18000.0, 90000.0)
    }
    assert fired == {
        1200.0: ["fast lane", "police report", "reported in time"],
        18000.0: ["police report", "reported in time"],
        90000.0: ["manual review", "police report", "reported in time"],
    }

    review = replace(rules[0], expression="Claim.Amount > 10000.0")
    engine.update_rule(review)
    engine.update_rule(replace(rules[2], active=False))
    engine.delete_rule(rules[3].id)
    with pytest.raises(CompilationError):
        engine.add_rule(Rule(uuid4(), "typo", "Claim.Amount >> 10"))

    again = Engine(PostgresRuleStore(pool, tenant), strict=True)
    results = again.evaluate_all(claim(18000.0))
    assert [(r.rule_name, r.matched) for r in results] == [
        ("manual review", True),
        ("fast lane", False),
    ]
    assert again.evaluate(rules[2].id, claim(1.0)).matched


@pytest.fixture
def engines(
    pool: ConnectionPool[Any], tenant: UUID, other_tenant: UUID
) -> tuple[Engine, Engine]:
    """Two engines of two tenants over one pool."""
    return (
        Engine(PostgresRuleStore(pool, tenant)),
        Engine(PostgresRuleStore(pool, other_tenant)),
    )


def test_engines_of_two_tenants_work_side_by_side(
    engines: tuple[Engine, Engine],
) -> None:
    """REQ-TENANT-004, REQ-TENANT-003, REQ-INTEG-008, ENG-3."""
    harbour, mountain = engines
    harbour.add_rule(Rule(uuid4(), "large", "Claim.Amount > 1000.0"))
    mountain.add_rule(Rule(uuid4(), "large", "Claim.Amount > 90000.0"))
    facts = claim(18000.0)
    assert [r.matched for r in harbour.evaluate_all(facts)] == [True]
    assert [r.matched for r in mountain.evaluate_all(facts)] == [False]


def test_tenants_may_use_the_same_id_and_name(
    engines: tuple[Engine, Engine],
) -> None:
    """REQ-PERSIST-007: ids are unique per tenant, so a duplicate tells nothing."""
    harbour, mountain = engines
    rule_id = uuid4()
    harbour.add_rule(Rule(rule_id, "large", "Claim.Amount > 1000.0"))
    mountain.add_rule(Rule(rule_id, "large", "Claim.Amount > 90000.0"))
    assert harbour.evaluate(rule_id, claim(18000.0)).matched
    assert not mountain.evaluate(rule_id, claim(18000.0)).matched
    mountain.delete_rule(rule_id)
    assert harbour.evaluate(rule_id, claim(18000.0)).matched


def test_another_tenants_rule_looks_like_an_unknown_one(
    engines: tuple[Engine, Engine],
) -> None:
    """REQ-TENANT-001, REQ-TENANT-005, EVAL-6, REQ-INTEG-008."""
    harbour, mountain = engines
    theirs = mountain.add_rule(Rule(uuid4(), "secret", "Claim.Amount > 1.0"))
    unknown = uuid4()

    def errors(rule_id: UUID) -> list[list[str]]:
        found = []
        for call in (
            lambda: harbour.evaluate(rule_id, claim(1.0)),
            lambda: harbour.evaluate(rule_id, claim(1.0), trace=True),
            lambda: harbour.update_rule(Rule(rule_id, "mine", "true")),
            lambda: harbour.delete_rule(rule_id),
        ):
            with pytest.raises(RuleNotFound) as caught:
                call()
            texts = [str(caught.value), str(caught.value.__cause__)]
            found.append([text.replace(str(rule_id), "ID") for text in texts])
        return found

    assert errors(theirs.id) == errors(unknown)
    assert mountain.evaluate(theirs.id, claim(18000.0)).matched


def test_many_tenants_evaluate_at_once_over_one_pool(
    pool: ConnectionPool[Any], database: Database
) -> None:
    """ENG-3, REQ-TENANT-004: no answer is another tenant's."""
    from tests.integration.tenants import create_tenant

    engines = []
    for number in range(6):
        engine = Engine(PostgresRuleStore(pool, create_tenant(database)))
        engine.add_rule(Rule(uuid4(), f"rule of {number}", f"v == {number}"))
        engines.append(engine)

    def look(turn: int) -> bool:
        number = turn % len(engines)
        (result,) = engines[number].evaluate_all({"v": number})
        return result.matched and result.rule_name == f"rule of {number}"

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(look, range(240)))


# Rules that compiled when they were stored, and do not any more


@pytest.fixture
def broken(database: Database, tenant: UUID) -> UUID:
    """The id of a stored rule that does not compile, as an older release left it."""
    rule_id = uuid4()
    with database.connect(autocommit=True) as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            "INSERT INTO rules.rules (tenant_id, id, name, expression, active)"
            " VALUES (%s, %s, 'from an older release', 'Claim.Amount >', true)",
            [tenant, rule_id],
        )
    return rule_id


def test_an_engine_reports_the_rules_that_do_not_compile(
    pool: ConnectionPool[Any], tenant: UUID, broken: UUID
) -> None:
    """ENG-1: all active rules are compiled when the engine is built."""
    store = PostgresRuleStore(pool, tenant)
    store.add(Rule(uuid4(), "sound", "true"))
    engine = Engine(store)
    (found,) = engine.broken_rules
    assert (found.rule_id, found.rule_name) == (broken, "from an older release")
    assert [(p.line, p.column) for p in found.problems] == [(1, 15)]
    assert found.problems[0].excerpt == "Claim.Amount >\n              ^"


def test_a_strict_engine_is_refused_where_a_rule_does_not_compile(
    pool: ConnectionPool[Any], tenant: UUID, broken: UUID
) -> None:
    """ENG-1, ENG-4."""
    with pytest.raises(CompilationError) as caught:
        Engine(PostgresRuleStore(pool, tenant), strict=True)
    assert str(broken) in str(caught.value)
    assert "1:15" in str(caught.value)


def test_a_rule_that_does_not_compile_fails_alone(
    pool: ConnectionPool[Any], tenant: UUID, broken: UUID
) -> None:
    """EVAL-4, ENG-4."""
    engine = Engine(PostgresRuleStore(pool, tenant))
    engine.add_rule(Rule(uuid4(), "sound", "true"))
    results = {r.rule_name: r for r in engine.evaluate_all(claim(1.0))}
    assert results["sound"].matched
    assert not results["from an older release"].matched
    assert "line 1, column 15" in (results["from an older release"].error or "")


# Tenants


def test_a_tenant_has_a_name_and_times(database: Database, tenant: UUID) -> None:
    """REQ-TENANT-006, REQ-SCHEMA-001."""
    with database.connect() as connection:
        row = connection.execute(
            "SELECT name, created_at, updated_at FROM rules.tenants WHERE id = %s",
            [tenant],
        ).fetchone()
    assert row is not None
    name, created_at, updated_at = row
    assert name == f"Harbour Insurance {tenant}"
    assert created_at.tzinfo is not None
    assert updated_at >= created_at


def test_deleting_a_tenant_deletes_its_rules_and_no_others(
    database: Database, engines: tuple[Engine, Engine], tenant: UUID
) -> None:
    """REQ-TENANT-007, REQ-SCHEMA-006."""
    harbour, mountain = engines
    for rule in harbour_rules():
        harbour.add_rule(rule)
    kept = mountain.add_rule(Rule(uuid4(), "kept", "true"))
    with database.connect(autocommit=True) as connection:
        connection.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
        left = connection.execute("SELECT id FROM rules.rules").fetchall()
    assert left == [(kept.id,)]
    assert harbour.evaluate_all(claim(1.0)) == []
    assert mountain.evaluate(kept.id, {}).matched
