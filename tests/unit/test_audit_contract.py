"""Versions and the audit: what every audited store promises, in memory and in SQL."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
import pytest

from pgrules import (
    AuditedStore,
    AuditEntry,
    CompilationError,
    DerivedField,
    DuplicateRuleName,
    Engine,
    InMemoryRuleStore,
    InvalidArgument,
    InvalidFacts,
    InvalidRule,
    NotSupported,
    PgRulesError,
    PostgresRuleStore,
    Rule,
    RuleNotFound,
    RuleNotInForce,
    RuleStore,
    RuleVersionNotFound,
    VersionDifference,
)
from tests.fixtures.database import Provider, fresh_database

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
FACTS = {"Claim": {"Amount": 500}}


@pytest.fixture(scope="module")
def server(provider: Provider) -> Iterator[tuple[str, str]]:
    """One database for these tests: the superuser's URI, and an application's."""
    with fresh_database(provider) as database:
        yield database.dsn, database.login("rules_app")


@pytest.fixture(
    params=["memory", pytest.param("postgres", marks=pytest.mark.integration)]
)
def store(request: pytest.FixtureRequest) -> Iterator[RuleStore]:
    """An empty store; in the database, that of a new tenant."""
    if request.param == "memory":
        yield InMemoryRuleStore()
        return
    superuser, app = request.getfixturevalue("server")
    tenant = uuid4()
    with psycopg.connect(superuser) as session:
        session.execute(
            "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)",
            [tenant, f"Harbour Insurance {tenant}"],
        )
    with psycopg.connect(app) as connection:
        yield PostgresRuleStore(connection, tenant)


@pytest.fixture
def engine(store: RuleStore) -> Engine:
    return Engine(store)


@pytest.fixture
def changed(engine: Engine) -> Rule:
    """A rule of four versions: stored, changed, deleted, and stored again."""
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    engine.update_rule(replace(rule, name="huge", expression="Claim.Amount > 900"))
    engine.delete_rule(rule.id)
    return engine.add_rule(replace(rule, active=False))


E = TypeVar("E", bound=PgRulesError)


def refused(kind: type[E], call: Callable[[], object]) -> E:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def now(engine: Engine) -> datetime:
    """A time between two changes, by the clock of the store."""
    probe = engine.add_rule(Rule(uuid4(), f"probe {uuid4()}", "true", active=False))
    assert probe.created_at is not None
    return probe.created_at


def test_both_stores_are_audited(store: RuleStore) -> None:
    assert isinstance(store, AuditedStore)


def test_every_change_of_a_rule_is_a_version(engine: Engine, changed: Rule) -> None:
    versions = engine.rule_versions(changed.id)
    assert [
        (v.version, v.operation, v.name, v.expression, v.active) for v in versions
    ] == [
        (1, "insert", "large", "Claim.Amount > 100", True),
        (2, "update", "huge", "Claim.Amount > 900", True),
        (3, "delete", None, None, None),
        (4, "insert", "large", "Claim.Amount > 100", False),
    ]
    assert {v.rule_id for v in versions} == {changed.id}
    assert all(v.changed_by and v.role == v.changed_by for v in versions)


def test_a_version_is_valid_until_the_next_one(engine: Engine, changed: Rule) -> None:
    versions = engine.rule_versions(changed.id)
    begins = [version.valid_from for version in versions]
    assert [version.valid_to for version in versions] == [*begins[1:], None]
    times = [begin for begin in begins if begin is not None]
    assert len(times) == 4
    assert times == sorted(times)
    assert all(time.utcoffset() is not None for time in times)


def test_an_update_that_changes_nothing_is_no_version(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    engine.update_rule(rule)
    assert len(engine.rule_versions(rule.id)) == 1


def test_a_version_may_be_named_by_the_text_of_the_id(
    engine: Engine, changed: Rule
) -> None:
    """REQ-PERSIST-005."""
    text = str(changed.id)
    assert engine.rule_versions(text) == engine.rule_versions(changed.id)
    assert engine.compare_rule_versions(text, 1, 2)
    assert engine.restore_rule(text, 1).name == "large"
    assert list(engine.audit_log(subject_id=text))


def test_versions_are_compared_field_by_field(engine: Engine, changed: Rule) -> None:
    assert engine.compare_rule_versions(changed.id, 1, 2) == [
        VersionDifference("name", "large", "huge"),
        VersionDifference("expression", "Claim.Amount > 100", "Claim.Amount > 900"),
    ]
    assert engine.compare_rule_versions(changed.id, 4, 1) == [
        VersionDifference("active", old_value=False, new_value=True)
    ]
    assert engine.compare_rule_versions(changed.id, 2, 2) == []
    assert engine.compare_rule_versions(changed.id, 3, 4) == [
        VersionDifference("name", None, "large"),
        VersionDifference("expression", None, "Claim.Amount > 100"),
        VersionDifference("active", old_value=None, new_value=False),
    ]


def test_a_version_that_is_restored_is_the_newest_one(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    engine.update_rule(replace(rule, expression="Claim.Amount > 900", active=False))
    restored = engine.restore_rule(rule.id, 1)
    assert (restored.id, restored.name, restored.expression, restored.active) == (
        rule.id,
        rule.name,
        rule.expression,
        True,
    )
    assert restored.created_at == rule.created_at
    assert restored.updated_at is not None
    assert rule.updated_at is not None
    assert restored.updated_at > rule.updated_at
    assert engine.evaluate_all(FACTS)[0].matched
    assert len(engine.rule_versions(rule.id)) == 3
    assert engine.compare_rule_versions(rule.id, 1, 3) == []


def test_a_deleted_rule_is_restored_as_the_newest_in_order(
    engine: Engine, store: RuleStore
) -> None:
    first = engine.add_rule(Rule(uuid4(), "first", "Claim.Amount > 100"))
    second = engine.add_rule(Rule(uuid4(), "second", "true"))
    engine.delete_rule(first.id)
    restored = engine.restore_rule(first.id, 1)
    assert store.list_active() == [second, restored]
    assert store.get(first.id) == restored
    assert [version.operation for version in engine.rule_versions(first.id)] == [
        "insert",
        "delete",
        "insert",
    ]


def test_restoring_what_does_not_compile_today_says_why(engine: Engine) -> None:
    """COMP-2: and changes nothing."""
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Sum >\n 100"))
    engine.update_rule(replace(rule, expression="Claim.Amount > 100"))
    engine.set_schema({"Claim": {"Amount": "int"}})
    for _ in ("stored", "deleted"):
        error = refused(CompilationError, lambda: engine.restore_rule(rule.id, 1))
        (problem,) = error.problems
        assert problem.message == "Claim has no field Sum"
        assert problem.excerpt == "Claim.Sum >\n      ^"
        assert str(error).startswith(f"failed to restore rule {rule.id}: ")
        if engine.rule_versions(rule.id)[-1].operation == "update":
            assert [r.rule_id for r in engine.match_rules(FACTS)] == [rule.id]
            engine.delete_rule(rule.id)
    assert len(engine.rule_versions(rule.id)) == 3


def test_a_name_that_another_rule_has_today_is_not_restored(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "true"))
    engine.update_rule(replace(rule, name="huge"))
    engine.add_rule(Rule(uuid4(), "large", "false"))
    error = refused(DuplicateRuleName, lambda: engine.restore_rule(rule.id, 1))
    assert str(error).startswith(f"failed to restore rule {rule.id}: ")
    engine.delete_rule(rule.id)
    refused(DuplicateRuleName, lambda: engine.restore_rule(rule.id, 1))
    assert len(engine.rule_versions(rule.id)) == 3


def test_an_unknown_rule_has_no_versions(engine: Engine) -> None:
    unknown = uuid4()
    calls: dict[str, Callable[[], object]] = {
        "list versions of rule": lambda: engine.rule_versions(unknown),
        "compare versions of rule": lambda: engine.compare_rule_versions(unknown, 1, 2),
        "restore rule": lambda: engine.restore_rule(unknown, 1),
        "evaluate past version of rule": lambda: engine.evaluate_as_of(
            unknown, FACTS, now(engine)
        ),
    }
    for operation, call in calls.items():
        error = refused(RuleNotFound, call)
        assert str(error) == f"failed to {operation} {unknown}: there is no such rule"


@pytest.mark.parametrize("version", [0, -1, 5, 2**31, True, 1.0, "1"])
def test_a_version_that_the_rule_does_not_have_is_not_found(
    engine: Engine, changed: Rule, version: Any
) -> None:
    for operation, call in {
        "compare versions of rule": lambda: engine.compare_rule_versions(
            changed.id, 1, version
        ),
        "restore rule": lambda: engine.restore_rule(changed.id, version),
    }.items():
        error = refused(RuleVersionNotFound, call)
        assert str(error) == (
            f"failed to {operation} {changed.id}: the rule has no such version\n"
            f"Rule {changed.id} has no version {version}."
        )
        assert error.sqlstate == "RE013"


def test_a_deletion_is_not_restored(engine: Engine, changed: Rule) -> None:
    error = refused(RuleVersionNotFound, lambda: engine.restore_rule(changed.id, 3))
    assert error.detail == f"Version 3 of rule {changed.id} is its deletion."


def test_an_id_that_is_no_uuid_is_refused(engine: Engine) -> None:
    moment = now(engine)
    for call in (
        lambda: engine.rule_versions("x"),
        lambda: engine.compare_rule_versions("x", 1, 2),
        lambda: engine.restore_rule("x", 1),
        lambda: engine.evaluate_as_of("x", FACTS, moment),
        lambda: engine.audit_log(subject_id="x"),
    ):
        refused(InvalidRule, call)


def test_a_rule_is_judged_by_the_version_of_then(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    first = now(engine)
    engine.update_rule(replace(rule, name="huge", expression="Claim.Amount > 900"))
    second = now(engine)
    engine.delete_rule(rule.id)
    results = [engine.evaluate_as_of(rule.id, FACTS, at) for at in (first, second)]
    assert [(r.rule_id, r.rule_name, r.matched, r.error) for r in results] == [
        (rule.id, "large", True, None),
        (rule.id, "huge", False, None),
    ]
    elsewhere = first.astimezone(timezone(timedelta(hours=-9)))
    assert engine.evaluate_as_of(rule.id, FACTS, elsewhere) == results[0]


def test_every_version_is_in_force_from_its_first_instant(
    engine: Engine, changed: Rule
) -> None:
    verdicts: list[bool | None] = []
    for version in engine.rule_versions(changed.id):
        assert version.valid_from is not None
        try:
            result = engine.evaluate_as_of(changed.id, FACTS, version.valid_from)
        except RuleNotInForce:
            verdicts.append(None)
        else:
            verdicts.append(result.matched)
    assert verdicts == [True, False, None, True]


def test_a_rule_is_judged_by_the_schema_and_the_derived_fields_of_then(
    engine: Engine,
) -> None:
    facts = {"Claim": {"Amount": 5}}
    rule = engine.add_rule(Rule(uuid4(), "half", "Half == dyn(2.5)"))
    undefined = now(engine)
    field = engine.add_derived_field(
        DerivedField(uuid4(), "Half", "type(Claim.Amount) == double ? 2.5 : 2.0")
    )
    dynamic = now(engine)
    engine.set_schema({"Claim": {"Amount": "float64"}})
    real = now(engine)
    engine.set_schema({"Claim": {"Amount": "int"}, "Other": {"A": "int"}})
    whole = now(engine)
    engine.update_derived_field(replace(field, expression="2.5"))
    constant = now(engine)
    engine.activate_schema(1)
    engine.delete_rule(rule.id)
    engine.delete_derived_field("Half")
    verdicts = [
        engine.evaluate_as_of(rule.id, facts, at)
        for at in (undefined, dynamic, real, whole, constant)
    ]
    assert [result.matched for result in verdicts] == [False, False, True, False, True]
    assert [result.error is None for result in verdicts] == [False] + [True] * 4


def test_an_evaluation_that_failed_then_is_a_result(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    result = engine.evaluate_as_of(rule.id, {"Claim": {}}, now(engine))
    assert (result.matched, result.error) == (
        False,
        "line 1, column 1: no such key: Claim.Amount",
    )


def test_before_it_was_stored_a_rule_was_not_in_force(engine: Engine) -> None:
    before = now(engine)
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    engine.delete_rule(rule.id)
    for at in (before, now(engine)):
        judge = partial(engine.evaluate_as_of, rule.id, FACTS, at)
        error = refused(RuleNotInForce, judge)
        assert str(error) == (
            f"failed to evaluate past version of rule {rule.id}:"
            " the rule was not in force then\n"
            "At that time it was not yet stored, or it was deleted."
        )
        assert error.sqlstate == "RE012"


def test_what_will_be_is_not_evaluated(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    tomorrow = now(engine) + timedelta(days=1)
    error = refused(
        InvalidArgument, lambda: engine.evaluate_as_of(rule.id, FACTS, tomorrow)
    )
    assert error.reason.endswith("that is in the future")
    assert error.sqlstate == "22023"


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (datetime(2026, 1, 1), "2026-01-01 00:00:00 has no time zone"),  # noqa: DTZ001
        (LONG_AGO.date(), "is date, not datetime"),
        ("2026-01-01T00:00:00Z", "is str, not datetime"),
        (1.5, "is float, not datetime"),
    ],
)
def test_a_time_without_a_zone_is_refused(
    engine: Engine, time: Any, reason: str
) -> None:
    """It would mean another time on another machine."""
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    for operation, call in {
        "evaluate past version of rule": lambda: engine.evaluate_as_of(
            rule.id, FACTS, time
        ),
        # Said at the call, not when the first entry is asked for.
        "read audit log": lambda: engine.audit_log(since=time),
        "read audit log ": lambda: engine.audit_log(until=time),
    }.items():
        error = refused(InvalidArgument, call)
        assert error.operation == operation.strip()
        assert error.reason == f"the time {reason}"


def test_facts_are_refused_as_evaluate_refuses_them(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    facts = {"Claim": {"Amount": float("nan")}}
    at = now(engine)
    error = refused(InvalidFacts, lambda: engine.evaluate_as_of(rule.id, facts, at))
    assert "Claim.Amount: nan" in error.reason


def told(entry: AuditEntry) -> tuple[object, ...]:
    return entry.subject, entry.operation, entry.before, entry.after


def test_the_audit_tells_each_change_from_what_to_what(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "large", "Claim.Amount > 100"))
    engine.update_rule(replace(rule, expression="Claim.Amount > 900", active=False))
    engine.delete_rule(rule.id)
    field = engine.add_derived_field(DerivedField(uuid4(), "Half", "Claim.Amount / 2"))
    engine.update_derived_field(replace(field, name="Part"))
    engine.delete_derived_field("Part")
    old = {"name": "large", "expression": "Claim.Amount > 100", "active": True}
    new = {"name": "large", "expression": "Claim.Amount > 900", "active": False}
    half = {"name": "Half", "expression": "Claim.Amount / 2"}
    part = {"name": "Part", "expression": "Claim.Amount / 2"}
    entries = list(engine.audit_log())
    assert list(map(told, entries)) == [
        ("derived field", "delete", part, None),
        ("derived field", "update", half, part),
        ("derived field", "insert", None, half),
        ("rule", "delete", new, None),
        ("rule", "update", old, new),
        ("rule", "insert", None, old),
    ]
    assert [entry.subject_id for entry in entries] == [field.id] * 3 + [rule.id] * 3
    assert len({entry.id for entry in entries}) == 6
    assert len({entry.transaction for entry in entries}) == 6
    times = [entry.changed_at for entry in entries]
    assert times == sorted(times, reverse=True)
    assert all(entry.started_at <= entry.changed_at for entry in entries)
    assert all(entry.changed_by == entry.role != "" for entry in entries)


def test_the_audit_tells_how_schemas_were_switched(engine: Engine) -> None:
    """A version is stored, the former one goes out of force, and this one into it."""
    first, second = {"Claim": {"Amount": "int"}}, {"Claim": {"Amount": "float64"}}
    engine.set_schema(first)
    engine.set_schema(second)
    engine.activate_schema(1)
    entries = list(engine.audit_log(subject="schema"))

    def row(version: int, *, active: bool) -> dict[str, object]:
        definition = first if version == 1 else second
        return {"version": version, "definition": definition, "active": active}

    on, off = row(1, active=True), row(1, active=False)
    other_on, other_off = row(2, active=True), row(2, active=False)
    assert list(map(told, reversed(entries))) == [
        ("schema", "insert", None, off),
        ("schema", "update", off, on),
        ("schema", "insert", None, other_off),
        ("schema", "update", on, off),
        ("schema", "update", other_off, other_on),
        ("schema", "update", other_on, other_off),
        ("schema", "update", off, on),
    ]
    together = [entry.transaction for entry in reversed(entries)]
    assert [together.count(number) for number in dict.fromkeys(together)] == [2, 3, 2]
    assert len({entry.subject_id for entry in entries}) == 2


def test_a_refused_change_leaves_no_entry(engine: Engine) -> None:
    engine.set_schema({"Claim": {"Amount": "int"}})
    engine.add_derived_field(DerivedField(uuid4(), "Half", "Claim.Amount / 2"))
    rule = engine.add_rule(Rule(uuid4(), "large", "Half > 100"))
    entries = list(engine.audit_log())
    refused(CompilationError, lambda: engine.add_rule(Rule(uuid4(), "b", "1 +")))
    refused(PgRulesError, lambda: engine.update_rule(replace(rule, expression="Hal")))
    refused(PgRulesError, lambda: engine.set_schema({"Claim": {"Sum": "int"}}))
    refused(PgRulesError, lambda: engine.delete_derived_field("Half"))
    assert list(engine.audit_log()) == entries


def test_entries_are_chosen_by_subject_id_and_time(
    engine: Engine, changed: Rule
) -> None:
    other = engine.add_rule(Rule(uuid4(), "other", "true"))
    engine.set_schema({"Claim": {"Amount": "int"}})
    entries = list(engine.audit_log())
    assert list(engine.audit_log(subject="rule")) == entries[2:]
    assert list(engine.audit_log(subject_id=other.id)) == entries[2:3]
    assert list(engine.audit_log(subject="rule", subject_id=changed.id)) == entries[3:]
    assert list(engine.audit_log(subject="schema", subject_id=changed.id)) == []
    since, until = entries[4].changed_at, entries[2].changed_at
    assert list(engine.audit_log(since=since)) == entries[:5]
    assert list(engine.audit_log(until=until)) == entries[3:]
    assert list(engine.audit_log(since=since, until=until)) == entries[3:5]
    assert list(engine.audit_log(since=until, until=since)) == []
    assert list(engine.audit_log(until=LONG_AGO)) == []
    assert (
        list(engine.audit_log(subject_id=changed.id, since=since, until=until))
        == entries[3:5]
    )


def test_a_subject_that_nothing_is_recorded_about_is_refused(engine: Engine) -> None:
    unknown: Any = "rules"
    error = refused(InvalidArgument, lambda: engine.audit_log(subject=unknown))
    assert error.reason == "nothing is recorded about 'rules'"
    assert "rule, schema, derived field, audit" in error.hint


def test_the_newest_entries_can_be_had_without_the_rest(engine: Engine) -> None:
    rules = [
        engine.add_rule(Rule(uuid4(), f"rule {number}", "true")) for number in range(5)
    ]
    newest = islice(engine.audit_log(), 2)
    assert [entry.subject_id for entry in newest] == [rules[4].id, rules[3].id]


def test_entries_are_copies(engine: Engine) -> None:
    engine.set_schema({"Claim": {"Amount": "int"}})
    (newest, *_) = entries = list(engine.audit_log())
    kept: Any = newest.after
    kept["definition"].clear()
    kept.clear()
    assert list(engine.audit_log())[1:] == entries[1:]
    assert next(engine.audit_log()).after != {}


def test_a_store_that_keeps_no_versions_says_so() -> None:
    """ENG-4."""

    class Rules:
        """The five methods."""

        def __init__(self) -> None:
            self._store = InMemoryRuleStore()
            self.add = self._store.add
            self.get = self._store.get
            self.list_active = self._store.list_active
            self.update = self._store.update
            self.delete = self._store.delete

    engine = Engine(Rules())
    rule = engine.add_rule(Rule(uuid4(), "large", "true"))
    calls: dict[str, Callable[[], object]] = {
        "list versions of rule": lambda: engine.rule_versions(rule.id),
        "compare versions of rule": lambda: engine.compare_rule_versions(rule.id, 1, 2),
        "restore rule": lambda: engine.restore_rule(rule.id, 1),
        "evaluate past version of rule": lambda: engine.evaluate_as_of(
            rule.id, {}, LONG_AGO
        ),
        "read audit log": engine.audit_log,
    }
    for operation, call in calls.items():
        error = refused(NotSupported, call)
        assert str(error) == (
            f"failed to {operation}: the store keeps no versions of what was changed"
        )
