"""Schemas: what every tenant store promises, in memory and in the database."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from pgrules import (
    CompilationError,
    DerivedField,
    Engine,
    InMemoryRuleStore,
    InvalidDerivedFields,
    InvalidSchema,
    NotSupported,
    PgRulesError,
    Rule,
    RulesBroken,
    RuleStore,
    SchemaNotFound,
    TenantStore,
)

USERS = {"User": {"Age": "int", "Country": "string", "Since": "timestamp"}}
AMOUNTS = {"User": {"Age": "int"}, "Transaction": {"Amount": "float64"}}
TEXTS = {"User": {"Age": "string"}}


@pytest.fixture
def engine(store: RuleStore) -> Engine:
    return Engine(store)


def rule(expression: str, name: str = "the rule") -> Rule:
    return Rule(uuid4(), name, expression)


E = TypeVar("E", bound=PgRulesError)


def refused(kind: type[E], call: Callable[[], object]) -> E:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def state(engine: Engine) -> tuple[object, ...]:
    """All that a refused change of schema must leave as it was."""
    return engine.schema(), engine.schemas(), engine.schema_changes()


def test_both_stores_keep_schemas(store: RuleStore) -> None:
    assert isinstance(store, TenantStore)


def test_without_a_schema_everything_is_dynamic(engine: Engine) -> None:
    """COMP-3."""
    assert state(engine) == (None, [], [])
    added = engine.add_rule(rule("Anything.At.All == 'x'"))
    facts = {"Anything": {"At": {"All": "x"}}}
    assert engine.evaluate(added.id, facts).matched


def test_the_first_schema_is_version_one_and_active(engine: Engine) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    change = engine.set_schema(USERS)
    assert (change.old_version, change.new_version) == (None, 1)
    assert (change.compiled, change.failed, change.failures) == (0, 0, ())
    assert change.changed_by
    assert before < change.changed_at < datetime.now(UTC) + timedelta(minutes=1)
    active = engine.schema()
    assert active is not None
    assert (active.version, active.definition, active.active) == (1, USERS, True)
    assert before < active.created_at <= change.changed_at
    assert engine.schemas() == [active]
    assert engine.schema_changes() == [change]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("User.Age == 'x'", "cannot compare int with string"),
        ("User.Height > 1", "User has no field Height"),
        ("Userr.Age > 1", "unknown name Userr"),
        ("User.Age + User.Country == 1", "+ is not defined for int and string"),
    ],
)
def test_types_are_checked_against_the_active_schema(
    engine: Engine, expression: str, message: str
) -> None:
    """COMP-3, COMP-2: refused on add and on update, and told by check."""
    engine.set_schema(USERS)
    sound = engine.add_rule(rule("User.Age > 17"))
    error = refused(CompilationError, lambda: engine.add_rule(rule(expression, "b")))
    (problem,) = error.problems
    assert message in problem.message
    assert problem.line == 1
    assert problem.excerpt.startswith(expression)
    refused(
        CompilationError,
        lambda: engine.update_rule(replace(sound, expression=expression)),
    )
    assert engine.check(expression) == [problem]
    assert [r.rule_name for r in engine.evaluate_all({})] == [sound.name]


def test_facts_become_what_the_schema_declares(engine: Engine) -> None:
    """COMP-3."""
    engine.set_schema(
        {"Flight": {"Left": "timestamp", "Late": "duration", "Kg": "float64"}}
    )
    added = engine.add_rule(
        rule(
            "Flight.Left + Flight.Late < timestamp('2026-01-01T12:00:00Z')"
            " && Flight.Kg / 2.0 == 3.5"
        )
    )
    facts: dict[str, dict[str, object]] = {
        "Flight": {"Left": "2026-01-01T10:00:00Z", "Late": "90m", "Kg": 7}
    }
    assert engine.evaluate(added.id, facts).matched
    facts["Flight"] = {
        "Left": datetime(2026, 1, 1, 10, tzinfo=UTC),
        "Late": timedelta(hours=3),
        "Kg": 7.0,
    }
    assert not engine.evaluate(added.id, facts).matched
    facts["Flight"]["Left"] = "yesterday"
    error = engine.evaluate(added.id, facts).error
    assert error is not None
    assert "Flight.Left" in error


def test_a_new_definition_is_a_new_version_and_the_old_one_stays(
    engine: Engine,
) -> None:
    engine.set_schema(USERS)
    engine.set_schema(AMOUNTS)
    engine.set_schema(AMOUNTS)
    found = [(s.version, s.definition, s.active) for s in engine.schemas()]
    assert found == [(1, USERS, False), (2, AMOUNTS, False), (3, AMOUNTS, True)]
    assert engine.schema() == engine.schemas()[-1]


def test_an_earlier_version_is_made_active_by_one_call(engine: Engine) -> None:
    engine.set_schema(USERS)
    engine.set_schema(AMOUNTS)
    change = engine.activate_schema(1)
    assert (change.old_version, change.new_version) == (2, 1)
    assert [s.active for s in engine.schemas()] == [True, False]
    engine.add_rule(rule("User.Country == 'SE'"))
    again = engine.activate_schema(1)
    assert (again.old_version, again.new_version, again.compiled) == (1, 1, 1)
    versions = [(c.old_version, c.new_version) for c in engine.schema_changes()]
    assert versions == [(None, 1), (1, 2), (2, 1), (1, 1)]


@pytest.mark.parametrize("version", [0, -1, 2, 2**31, 10**40, True, "1", None, 1.0])
def test_an_unknown_version_is_not_found(engine: Engine, version: Any) -> None:
    """ENG-4."""
    engine.set_schema(USERS)
    before = state(engine)
    error = refused(SchemaNotFound, lambda: engine.activate_schema(version))
    assert str(error) == (
        f"failed to activate schema {version}: there is no such schema version"
    )
    assert error.sqlstate == "RE011"
    assert state(engine) == before


def test_a_schema_that_breaks_rules_is_refused_with_all_of_them(
    engine: Engine,
) -> None:
    """The old schema stays in force, and nothing is stored."""
    engine.set_schema(USERS)
    first = engine.add_rule(rule("User.Age > 17 &&\n User.Country == 'SE'", "first"))
    engine.add_rule(rule("User.Age + 1 > 2", "sound"))
    second = engine.add_rule(rule("User.Since < timestamp(0)", "second"))
    before = state(engine)
    error = refused(RulesBroken, lambda: engine.set_schema(AMOUNTS))
    assert [(b.rule_id, b.rule_name) for b in error.broken_rules] == [
        (first.id, "first"),
        (second.id, "second"),
    ]
    (problem,) = error.broken_rules[0].problems
    assert (problem.line, problem.message) == (2, "User has no field Country")
    assert problem.excerpt == " User.Country == 'SE'\n      ^"
    assert str(error).startswith(
        "failed to set schema: 2 active rules would no longer compile\n"
        f"rule {first.id} (first):\n2:7: User has no field Country\n"
    )
    assert str(error).endswith(
        "hint: change these rules first, or pass allow_broken=True"
    )
    assert error.sqlstate == "RE062"
    assert state(engine) == before
    facts = {"User": {"Age": 30, "Country": "SE"}}
    assert engine.evaluate(first.id, facts).matched


def test_going_back_is_refused_on_the_same_terms(engine: Engine) -> None:
    engine.set_schema(USERS)
    engine.set_schema(AMOUNTS)
    added = engine.add_rule(rule("Transaction.Amount > 1.0"))
    before = state(engine)
    error = refused(RulesBroken, lambda: engine.activate_schema(1))
    assert [broken.rule_id for broken in error.broken_rules] == [added.id]
    assert str(error).startswith("failed to activate schema 1: 1 active rule would")
    assert state(engine) == before


def test_rules_may_be_broken_on_request(engine: Engine) -> None:
    """EVAL-4, ENG-1: such a rule does not match, and says why."""
    engine.set_schema(USERS)
    broken = engine.add_rule(rule("User.Country == 'SE'", "broken"))
    engine.add_rule(rule("User.Age > 17", "sound"))
    change = engine.set_schema(AMOUNTS, allow_broken=True)
    assert (change.compiled, change.failed) == (2, 1)
    (failure,) = change.failures
    assert (failure.rule_id, failure.rule_name) == (broken.id, "broken")
    assert [p.message for p in failure.problems] == ["User has no field Country"]
    assert engine.schema_changes()[-1] == change
    results = engine.evaluate_all({"User": {"Age": 30, "Country": "SE"}})
    assert [(r.rule_name, r.matched) for r in results] == [
        ("broken", False),
        ("sound", True),
    ]
    assert results[0].error == "line 1, column 6: User has no field Country"
    refused(CompilationError, lambda: engine.cost(broken.id, {}))
    # Mended by going back.
    assert engine.activate_schema(1).failed == 0
    assert engine.evaluate(broken.id, {"User": {"Country": "SE"}}).matched


def test_an_engine_knows_the_rules_that_a_schema_broke(store: RuleStore) -> None:
    """ENG-1."""
    engine = Engine(store)
    added = engine.add_rule(rule("User.Country == 'SE'"))
    engine.set_schema(AMOUNTS, allow_broken=True)
    assert [broken.rule_id for broken in Engine(store).broken_rules] == [added.id]
    refused(CompilationError, lambda: Engine(store, strict=True))


def test_a_broken_rule_may_be_renamed_and_switched_off_but_not_on(
    engine: Engine,
) -> None:
    added = engine.add_rule(rule("User.Country == 'SE'"))
    engine.set_schema(AMOUNTS, allow_broken=True)
    off = engine.update_rule(replace(added, name="renamed", active=False))
    assert (off.name, off.active) == ("renamed", False)
    refused(CompilationError, lambda: engine.update_rule(replace(off, active=True)))
    engine.update_rule(replace(off, expression="User.Age > 1", active=True))


def test_inactive_rules_do_not_stand_in_the_way(engine: Engine) -> None:
    engine.add_rule(Rule(uuid4(), "off", "User.Country == 'SE'", active=False))
    change = engine.set_schema(AMOUNTS)
    assert (change.compiled, change.failed) == (0, 0)


@pytest.mark.parametrize("allow_broken", [False, True])
def test_a_schema_that_breaks_derived_fields_is_refused(
    engine: Engine, allow_broken: bool
) -> None:
    """DER-1: without its derived fields no rule could be evaluated."""
    engine.set_schema(USERS)
    engine.add_derived_field(DerivedField(uuid4(), "IsAdult", "User.Age > 17"))
    engine.add_derived_field(DerivedField(uuid4(), "IsHere", "User.Country == 'SE'"))
    before = state(engine)
    error = refused(
        InvalidDerivedFields,
        lambda: engine.set_schema(TEXTS, allow_broken=allow_broken),
    )
    assert [field.name for field in error.fields] == ["IsHere", "IsAdult"]
    assert [field.problems[0].message for field in error.fields] == [
        "User has no field Country",
        "cannot compare string with int",
    ]
    assert error.sqlstate == "RE061"
    assert state(engine) == before


def test_an_object_cannot_have_the_name_of_a_derived_field(engine: Engine) -> None:
    engine.add_derived_field(DerivedField(uuid4(), "Total", "1 + 1"))
    error = refused(
        InvalidDerivedFields, lambda: engine.set_schema({"Total": {"Sum": "int"}})
    )
    assert "name of an object in the schema" in str(error)


def test_all_violations_of_a_definition_are_reported_at_once(engine: Engine) -> None:
    """Each names object, field, the rule broken and a valid form; nothing is stored."""
    before = state(engine)
    definition: dict[str, Any] = {
        "User": {"Age": "integer", "in": "int", "Tags": ["string"]},
        "2nd": {"A": "int"},
        "Empty": {},
        "Flat": "int",
    }
    error = refused(InvalidSchema, lambda: engine.set_schema(definition))
    assert [(v.object, v.field) for v in error.violations] == [
        ("User", "Age"),
        ("User", "in"),
        ("User", "Tags"),
        ("2nd", None),
        ("Empty", None),
        ("Flat", None),
    ]
    for violation in error.violations:
        assert violation.message in str(error)
        assert violation.hint in str(error)
    assert error.sqlstate == "RE060"
    assert error.__cause__ is not None
    assert state(engine) == before


def wide(objects: int, fields: int) -> dict[str, dict[str, str]]:
    return {
        f"O{number}": {f"F{field}": "int" for field in range(fields)}
        for number in range(objects)
    }


BAD_DEFINITIONS: dict[str, Any] = {
    "None": None,
    "a list": [],
    "text": "{}",
    "a number": 7,
    "no objects": {},
    "101 objects": wide(101, 1),
    "201 fields": wide(1, 201),
    "a name of 101 characters": {"x" * 101: {"A": "int"}},
    "a name with a NUL": {"User\0": {"A": "int"}},
    "a surrogate": {"\ud83d": {"A": "int"}},
    "a number as name": {1: {"A": "int"}},
    "None as type": {"User": {"Age": None}},
    "a type in capitals": {"User": {"Age": "INT"}},
    "an object as type": {"User": {"Address": {"Zip": "string"}}},
    "SQL": {"User'; DROP TABLE rules.rules; --": {"Age": "int"}},
    "NaN": {"User": {"Age": float("nan")}},
}


@pytest.mark.parametrize("case", BAD_DEFINITIONS)
def test_what_is_no_schema_is_refused(engine: Engine, case: str) -> None:
    """ENG-4."""
    error = refused(InvalidSchema, lambda: engine.set_schema(BAD_DEFINITIONS[case]))
    assert error.violations
    assert str(error).startswith("failed to set schema: ")
    assert state(engine) == (None, [], [])


def test_the_largest_schema_is_taken(engine: Engine) -> None:
    engine.set_schema(wide(100, 200))
    engine.add_rule(rule("O99.F199 > 1"))
    refused(CompilationError, lambda: engine.add_rule(rule("O99.F200 > 1", "b")))


def test_definitions_are_copied(engine: Engine) -> None:
    given = {"User": {"Age": "int"}}
    engine.set_schema(given)
    given["User"]["Age"] = "string"
    given["Other"] = {}
    returned: Any = engine.schemas()[0].definition
    assert returned == {"User": {"Age": "int"}}
    returned["User"]["Age"] = "string"
    del returned["User"]
    active = engine.schema()
    assert active is not None
    assert active.definition == {"User": {"Age": "int"}}


def test_any_mapping_may_be_a_definition(engine: Engine) -> None:
    frozen: Mapping[str, object] = MappingProxyType(
        {"User": MappingProxyType({"Age": "int"})}
    )
    engine.set_schema(frozen)
    assert engine.schemas()[0].definition == {"User": {"Age": "int"}}


def test_concurrent_changes_are_numbered_without_gaps_and_one_is_active(
    engine: Engine,
) -> None:
    """ENG-2: the swap is atomic."""
    with ThreadPoolExecutor(6) as threads:
        definitions = [{f"O{number}": {"F": "int"}} for number in range(12)]
        changes = list(threads.map(engine.set_schema, definitions))
    assert sorted(change.new_version for change in changes) == list(range(1, 13))
    assert [s.version for s in engine.schemas()] == list(range(1, 13))
    assert [s.version for s in engine.schemas() if s.active] == [12]
    versions = [(c.old_version or 0, c.new_version) for c in engine.schema_changes()]
    assert versions == [(number, number + 1) for number in range(12)]


def test_evaluations_see_a_schema_as_a_whole(engine: Engine) -> None:
    """ENG-2: the old one or the new one, with its conversions, and never neither."""
    whole = {"User": {"Age": "int"}}
    real = {"User": {"Age": "float64"}}
    engine.set_schema(whole)
    engine.add_rule(rule("type(User.Age) in [int, double] && User.Age == dyn(7)"))

    def swap(number: int) -> None:
        engine.set_schema(real if number % 2 else whole)

    with ThreadPoolExecutor(6) as threads:
        swaps = [threads.submit(swap, number) for number in range(12)]
        results = list(
            threads.map(lambda _: engine.evaluate_all({"User": {"Age": 7}}), range(40))
        )
        for done in swaps:
            done.result()
    assert {(r.matched, r.error) for found in results for r in found} == {(True, None)}


def test_a_rule_and_a_schema_that_exclude_each_other_are_not_both_taken(
    engine: Engine,
) -> None:
    """ENG-2: a rule is never compiled against a schema that is no longer in force."""
    engine.set_schema(USERS)

    def add(number: int) -> bool:
        try:
            engine.add_rule(rule("User.Country == 'SE'", f"rule {number}"))
        except CompilationError:
            return False
        return True

    def narrow() -> bool:
        try:
            engine.set_schema(AMOUNTS)
        except RulesBroken:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        adds = [threads.submit(add, number) for number in range(3)]
        narrowed = threads.submit(narrow)
        adds += [threads.submit(add, number) for number in range(3, 6)]
        added = [done.result() for done in adds]
    assert narrowed.result() != any(added)
    assert all(added) or not any(added)
    assert all(
        r.error is None for r in engine.evaluate_all({"User": {"Country": "SE"}})
    )


def refusals() -> dict[str, Callable[[Engine], object]]:
    users: Mapping[str, object] = USERS
    return {
        "broken rules": lambda e: e.set_schema(AMOUNTS),
        "no such version": lambda e: e.activate_schema(9),
        "an earlier version": lambda e: e.activate_schema(2),
        "violations": lambda e: e.set_schema({"b": {"x": 1}, "aa": {}, "in": users}),
        "derived fields": lambda e: e.set_schema({"Other": {"A": "int"}}),
        "a rule": lambda e: e.add_rule(Rule(RULE_ID, "b", "Usr.Age > 'x'")),
    }


RULE_ID = uuid4()


@pytest.mark.parametrize("case", refusals())
def test_both_stores_refuse_a_schema_in_the_same_words(
    store: RuleStore, case: str
) -> None:
    identity = uuid4()
    errors = []
    for each in (InMemoryRuleStore(), store):
        engine = Engine(each)
        engine.set_schema(USERS)
        engine.set_schema(AMOUNTS)
        engine.activate_schema(1)
        engine.add_rule(Rule(identity, "the rule", "User.Country ==\n 'SE'"))
        if case == "derived fields":
            for name in ("Grown", "Adult"):
                engine.add_derived_field(DerivedField(uuid4(), name, "User.Age > 17"))
        errors.append(refused(PgRulesError, partial(refusals()[case], engine)))
    here, there = errors
    assert type(here) is type(there)
    assert here.__dict__ == there.__dict__


def test_a_store_of_rules_alone_has_no_schemas() -> None:
    """ENG-4: the engine says so."""

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
    calls: dict[str, Callable[[], object]] = {
        "set schema": lambda: engine.set_schema(USERS),
        "activate schema": lambda: engine.activate_schema(1),
        "get schema": engine.schema,
        "list schemas": engine.schemas,
        "list schema changes": engine.schema_changes,
        "list derived fields": engine.derived_fields,
    }
    for operation, call in calls.items():
        error = refused(NotSupported, call)
        assert str(error) == (
            f"failed to {operation}: the store keeps no schemas and no derived fields"
        )
    assert engine.check("1 +")
    assert engine.check("1 + 1") == []
