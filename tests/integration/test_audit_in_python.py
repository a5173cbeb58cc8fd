"""The audit and versions through the package: what only a database has of them.

Pages, transactions that are not committed, logins and roles, and an audit that an
operator has shortened; the rest is in the contract of both stores.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from pgrules import (
    Engine,
    NotRecorded,
    PostgresRuleStore,
    Rule,
    RuleNotFound,
    RuleNotInForce,
)
from pgrules.postgres_audit import PAGE
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

MANY = 2 * PAGE + 50

INSERT_MANY = f"""
INSERT INTO rules.rules (tenant_id, name, expression)
SELECT rules.current_tenant_id(), 'rule ' || n, 'true'
FROM generate_series(1, {MANY}) AS n
"""  # noqa: S608 (a number)


def test_the_audit_is_read_page_by_page_each_entry_once(app: str, tenant: UUID) -> None:
    """Also where all entries have one time; the connection is free between pages."""
    with ConnectionPool[Any](app, min_size=1, max_size=1, timeout=5) as pool:
        store = PostgresRuleStore(pool, tenant)
        with store.transaction() as connection:
            connection.execute(INSERT_MANY)
        seen = []
        for entry in store.audit_log(subject="rule"):
            seen.append(entry)
            if len(seen) == PAGE + 1:
                store.add(Rule(uuid4(), "another", "true"))
    assert len(seen) == len({entry.id for entry in seen}) == MANY
    assert len({entry.changed_at for entry in seen}) == 1
    assert [entry.id for entry in seen] == sorted(
        (entry.id for entry in seen), reverse=True
    )


def test_entries_of_one_rule_are_read_page_by_page(
    store: PostgresRuleStore,
) -> None:
    rule = store.add(Rule(uuid4(), "a rule", "N > 0"))
    with store.transaction() as connection:
        for number in range(1, PAGE + 1):
            connection.execute(
                "UPDATE rules.rules SET expression = %s WHERE id = %s",
                [f"N > {number}", rule.id],
            )
    store.add(Rule(uuid4(), "another", "true"))
    entries = list(store.audit_log(subject_id=rule.id))
    assert [entry.after and entry.after["expression"] for entry in entries] == [
        f"N > {number}" for number in range(PAGE, -1, -1)
    ]
    boundary = entries[PAGE - 1].changed_at
    assert list(store.audit_log(subject_id=rule.id, since=boundary)) == entries[:PAGE]
    assert list(store.audit_log(subject_id=rule.id, until=boundary)) == entries[PAGE:]


def test_an_entry_says_who_under_which_role_by_which_application(
    app: str, tenant: UUID
) -> None:
    """A pool has one login, so the client says for whom it acts."""
    with psycopg.connect(app, autocommit=True) as connection:
        store = PostgresRuleStore(connection, tenant)
        with store.transaction() as session:
            session.execute("SET LOCAL application_name = 'claims, for alice'")
            session.execute("SET LOCAL ROLE rules_app")
            rule = store.add(Rule(uuid4(), "a rule", "N > 1"))
        login = connection.info.user
        (entry,) = store.audit_log()
        (version,) = store.rule_versions(rule.id)
    who = (login, "rules_app", "claims, for alice")
    assert (entry.changed_by, entry.role, entry.application) == who
    assert (version.changed_by, version.role, version.application) == who


def test_what_is_not_committed_is_a_version_but_was_never_in_force(
    app: str, tenant: UUID
) -> None:
    with psycopg.connect(app) as connection:
        engine = Engine(PostgresRuleStore(connection, tenant))
        rule = engine.add_rule(Rule(uuid4(), "a rule", "N > 1"))
        connection.execute("SELECT 1")  # Begins a transaction, which the store joins.
        engine.update_rule(replace(rule, expression="N > 9"))
        _, changed = engine.rule_versions(rule.id)
        assert (changed.valid_from, changed.valid_to) == (None, None)
        result = engine.evaluate_as_of(rule.id, {"N": 5}, changed.changed_at)
        assert result.matched
        connection.commit()
        first, second = engine.rule_versions(rule.id)
        assert first.valid_to == second.valid_from
        assert second.valid_from is not None
        assert second.valid_from >= changed.changed_at
        at = second.valid_from
        assert not engine.evaluate_as_of(rule.id, {"N": 5}, at).matched
        connection.execute("SELECT 1")
        engine.restore_rule(rule.id, 1)
        connection.rollback()
        assert len(engine.rule_versions(rule.id)) == 2


def test_before_the_audit_begins_nothing_is_answered(
    database: Database, store: PostgresRuleStore, tenant: UUID
) -> None:
    engine = Engine(store)
    rule = engine.add_rule(Rule(uuid4(), "a rule", "N > 1"))
    engine.update_rule(replace(rule, expression="N > 9"))
    row = (
        database.connect(autocommit=True)
        .execute(
            "SELECT clock_timestamp(), rules_internal.shorten_audit(clock_timestamp())"
        )
        .fetchone()
    )
    assert row is not None
    begin: datetime = row[0]
    with pytest.raises(NotRecorded) as refused:
        engine.evaluate_as_of(rule.id, {"N": 5}, begin - timedelta(days=1))
    assert refused.value.reason == "what was in force then is not recorded"
    assert refused.value.detail.startswith("The audit of the tenant begins at ")
    assert refused.value.sqlstate == "RE014"
    assert [v.expression for v in engine.rule_versions(rule.id)] == ["N > 9"]
    assert next(engine.audit_log()).subject == "audit"


def test_another_tenant_has_nothing_of_it(
    pool: ConnectionPool[Any], store: PostgresRuleStore, other_tenant: UUID
) -> None:
    """REQ-TENANT-001, REQ-INTEG-008: unknown, as an id that nobody has."""
    rule = store.add(Rule(uuid4(), "a rule", "N > 1"))
    other = Engine(PostgresRuleStore(pool, other_tenant))
    (version,) = store.rule_versions(rule.id)
    assert version.valid_from is not None
    at = version.valid_from
    calls: list[Callable[[], object]] = [
        lambda: other.rule_versions(rule.id),
        lambda: other.compare_rule_versions(rule.id, 1, 1),
        lambda: other.restore_rule(rule.id, 1),
        lambda: other.evaluate_as_of(rule.id, {}, at),
    ]
    for call in calls:
        with pytest.raises(RuleNotFound):
            call()
    assert list(other.audit_log()) == []
    assert list(other.audit_log(subject_id=rule.id)) == []


def test_a_time_at_the_ends_of_the_calendar_is_a_time(
    store: PostgresRuleStore,
) -> None:
    engine = Engine(store)
    rule = engine.add_rule(Rule(uuid4(), "a rule", "N > 1"))
    ages = datetime.min.replace(tzinfo=UTC)
    with pytest.raises(RuleNotInForce):
        engine.evaluate_as_of(rule.id, {}, ages)
    assert len(list(engine.audit_log(since=ages))) == 1
