"""Derived fields: what every tenant store promises, in memory and in the database."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from pgrules import (
    CompilationError,
    DerivedField,
    DerivedFieldNotFound,
    DuplicateDerivedField,
    Engine,
    InMemoryRuleStore,
    InvalidDerivedFields,
    InvalidRule,
    PgRulesError,
    Rule,
    RulesBroken,
    RuleStore,
)

ORDER = {
    "Order": {
        "Items": [{"Price": 40.0, "Count": 2}, {"Price": 20.5, "Count": 1}],
        "Country": "SE",
    }
}

E = TypeVar("E", bound=PgRulesError)


@pytest.fixture
def engine(store: RuleStore) -> Engine:
    return Engine(store)


def derive(engine: Engine, name: str, expression: str) -> DerivedField:
    return engine.add_derived_field(DerivedField(uuid4(), name, expression))


def add(engine: Engine, expression: str, name: str = "the rule") -> Rule:
    return engine.add_rule(Rule(uuid4(), name, expression))


def refused(kind: type[E], call: Callable[[], object]) -> E:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def totals(engine: Engine) -> None:
    """Three fields, one over the other."""
    derive(engine, "Prices", "Order.Items.map(i, i.Price * double(i.Count))")
    derive(engine, "Total", "Prices[0] + Prices[1]")
    derive(engine, "IsLarge", "Total > 100.0")


def test_a_rule_uses_a_derived_field_like_a_fact(engine: Engine) -> None:
    """DER-1: over facts, and over other derived fields."""
    totals(engine)
    rule = add(engine, "IsLarge && Total == 100.5 && Order.Country == 'SE'")
    result = engine.evaluate(rule.id, ORDER)
    assert (result.matched, result.error) == (True, None)
    assert [r.matched for r in engine.evaluate_all(ORDER)] == [True]


def test_a_derived_field_that_was_added_can_be_read(engine: Engine) -> None:
    """DER-1, DER-2: its dependencies are found, not given."""
    before = datetime.now(UTC) - timedelta(minutes=1)
    given = DerivedField(
        uuid4(), "Total", "Order.Sum + Prices[0] + Order.Tax", dependencies=["Made up"]
    )
    added = engine.add_derived_field(given)
    assert (added.id, added.name, added.expression) == (
        given.id,
        given.name,
        given.expression,
    )
    assert added.dependencies == ("Order", "Prices")
    assert added.created_at is not None
    assert added.updated_at is not None
    assert before < added.created_at <= added.updated_at
    assert engine.get_derived_field("Total") == added
    assert engine.derived_fields() == [added]


def test_derived_fields_are_listed_oldest_first(engine: Engine) -> None:
    for name in ("B", "A", "C"):
        derive(engine, name, "1")
    engine.update_derived_field(replace(engine.get_derived_field("B"), expression="2"))
    assert [field.name for field in engine.derived_fields()] == ["B", "A", "C"]


def test_macro_variables_are_no_dependencies(engine: Engine) -> None:
    """DER-2."""
    field = derive(engine, "Any", "Order.Items.exists(i, i.Price > Limit)")
    assert field.dependencies == ("Order", "Limit")


def test_the_order_of_writing_does_not_matter(engine: Engine) -> None:
    """DER-2: evaluation follows the dependencies."""
    derive(engine, "C", "B + 1")
    derive(engine, "B", "A + 1")
    derive(engine, "A", "v + 1")
    rule = add(engine, "C == 4")
    assert engine.evaluate(rule.id, {"v": 1}).matched


def test_a_change_is_in_force_at_once(engine: Engine) -> None:
    """DER-1, COMP-4: programs are kept by content, the environment's included."""
    field = derive(engine, "Limit", "10")
    rule = add(engine, "v > Limit")
    assert engine.evaluate(rule.id, {"v": 15}).matched
    changed = engine.update_derived_field(replace(field, expression="20 + Extra"))
    assert changed.dependencies == ("Extra",)
    assert changed.created_at == field.created_at
    assert changed.updated_at is not None
    assert field.updated_at is not None
    assert changed.updated_at > field.updated_at
    assert not engine.evaluate(rule.id, {"v": 15, "Extra": 0}).matched


def test_supplied_values_are_taken_as_given(engine: Engine) -> None:
    """DER-3."""
    totals(engine)
    rule = add(engine, "IsLarge")
    assert engine.evaluate(rule.id, ORDER).matched
    assert not engine.evaluate(rule.id, {**ORDER, "Total": 5.0}).matched
    assert engine.evaluate(rule.id, {"Prices": [60.0, 50.0]}).matched
    assert engine.evaluate(rule.id, {"IsLarge": True}).matched


def test_a_supplied_value_becomes_one_of_the_fields_type(engine: Engine) -> None:
    """DER-3, COMP-3."""
    engine.set_schema({"User": {"Born": "timestamp"}})
    derive(engine, "Grown", "User.Born + duration('157680h')")
    rule = add(engine, "Grown < timestamp('2026-01-01T00:00:00Z')")
    assert engine.evaluate(rule.id, {"Grown": "2025-01-01T00:00:00Z"}).matched
    result = engine.evaluate(rule.id, {"Grown": "soon"})
    assert not result.matched
    assert "Grown" in str(result.error)


def test_a_derived_field_that_fails_fails_the_rules_that_read_it(
    engine: Engine,
) -> None:
    """EVAL-4, DER-1: computed when read, so a guard keeps it from failing."""
    derive(engine, "Ratio", "a / b")
    add(engine, "Ratio == 2", "reads it")
    add(engine, "b != 0 && Ratio == 2", "guards it")
    add(engine, "a == 4", "does without")
    results = engine.evaluate_all({"a": 4, "b": 0})
    assert [(r.matched, r.error) for r in results] == [
        (False, "line 1, column 1: derived field Ratio: divide by zero"),
        (False, None),
        (True, None),
    ]


def test_derived_fields_together_have_a_cost_limit(engine: Engine) -> None:
    """ENG-4: and they are computed once, however many rules read them."""
    derive(engine, "Slow", "L.all(a, L.all(b, a + b >= 0))")
    for number in range(40):
        add(engine, "Slow", f"rule {number}")
    results = engine.evaluate_all({"L": list(range(200))})
    assert all(result.matched for result in results)
    derive(engine, "Endless", "L.all(a, L.all(b, a + b + b >= 0))")
    rule = add(engine, "Endless", "costly")
    result = engine.evaluate(rule.id, {"L": list(range(1_000))})
    assert not result.matched
    assert "1,000,000" in str(result.error)


@pytest.mark.parametrize("name", ["the same", "new name"])
def test_a_duplicate_is_refused(engine: Engine, name: str) -> None:
    """STORE-4, by name or by id."""
    field = derive(engine, "Total", "1")
    twin = (
        DerivedField(uuid4(), "Total", "2")
        if name == "the same"
        else DerivedField(field.id, "Other", "2")
    )
    error = refused(DuplicateDerivedField, lambda: engine.add_derived_field(twin))
    assert str(error) == (
        f"failed to add derived field {twin.name}: "
        "a derived field of this name or id exists already"
    )
    assert error.sqlstate == "23505"
    assert engine.derived_fields() == [field]


def test_a_name_in_use_is_refused_on_update(engine: Engine) -> None:
    first, second = derive(engine, "A", "1"), derive(engine, "B", "2")
    refused(
        DuplicateDerivedField,
        lambda: engine.update_derived_field(replace(second, name="A")),
    )
    assert engine.derived_fields() == [first, second]


@pytest.mark.parametrize("name", ["Nothing", "", "a b", "'; --", "x\0", "\ud83d", None])
def test_an_unknown_name_is_not_found(engine: Engine, name: Any) -> None:
    """STORE-4, ENG-4."""
    for operation, call in {
        "get": engine.get_derived_field,
        "delete": engine.delete_derived_field,
    }.items():
        error = refused(DerivedFieldNotFound, partial(call, name))
        assert error.operation == f"{operation} derived field"
        assert error.reason == "there is no such derived field"


def test_an_unknown_id_is_not_found(engine: Engine) -> None:
    """STORE-4."""
    unknown = DerivedField(uuid4(), "Total", "1 +")
    error = refused(DerivedFieldNotFound, lambda: engine.update_derived_field(unknown))
    assert str(error) == (
        "failed to update derived field Total: there is no such derived field"
    )


@pytest.mark.parametrize(
    "name",
    ["", "1st", "a-b", "a b", "é", "in", "true", "while", "x" * 101, "a.b", None],
)
def test_a_name_that_cannot_be_is_refused(name: Any) -> None:
    """ENG-4."""
    error = refused(InvalidDerivedFields, lambda: DerivedField(uuid4(), name, "1"))
    assert str(error).startswith("failed to build derived field: the derived field ")
    assert error.sqlstate == "RE061"


@pytest.mark.parametrize("expression", [None, 7, "x\0", "\ud83d"])
def test_an_expression_that_cannot_be_stored_is_refused(expression: Any) -> None:
    """ENG-4."""
    error = refused(InvalidRule, lambda: DerivedField(uuid4(), "A", expression))
    assert str(error).startswith("failed to build derived field: expression ")


def test_an_expression_that_does_not_compile_is_refused(engine: Engine) -> None:
    """COMP-2: with all its problems; nothing is stored."""
    error = refused(CompilationError, lambda: derive(engine, "A", "f(1) +\n g(2)"))
    assert [(p.line, p.column) for p in error.problems] == [(1, 1), (2, 2)]
    assert str(error).startswith("failed to add derived field A: line 1, column 1: ")
    assert engine.derived_fields() == []
    field = derive(engine, "A", "1")
    refused(
        CompilationError,
        lambda: engine.update_derived_field(replace(field, expression="1 +")),
    )
    assert engine.derived_fields() == [field]


def test_types_and_names_are_checked_against_the_schema(engine: Engine) -> None:
    """COMP-3, DER-2: a name that is neither fact nor derived field is unknown."""
    engine.set_schema({"User": {"Age": "int"}})
    derive(engine, "NextAge", "User.Age + 1")
    for expression, message in {
        "User.Age == 'x'": "cannot compare int with string",
        "NextAge + 'x'": "+ is not defined for int and string",
        "NextAje + 1": "unknown name NextAje",
    }.items():
        error = refused(InvalidDerivedFields, partial(derive, engine, "B", expression))
        (field,) = error.fields
        assert field.name == "B"
        assert field.problems[0].message == message
        assert (
            "failed to add derived field B: the derived field B does not compile"
            in (str(error))
        )
    # And rules against the type of a derived field.
    refused(CompilationError, lambda: add(engine, "NextAge.startsWith('x')"))
    assert len(engine.derived_fields()) == 1


@pytest.mark.parametrize(
    ("last", "cycle"),
    [
        ("A + 1", ("A", "A")),
        ("B", ("A", "B", "A")),
        ("v > 1 || D", ("A", "D", "C", "B", "A")),
    ],
)
def test_a_cycle_is_refused_with_its_path(
    engine: Engine, last: str, cycle: tuple[str, ...]
) -> None:
    """DER-2: when the field is written, and nothing is stored."""
    first = derive(engine, "A", "true")
    derive(engine, "B", "A")
    derive(engine, "C", "B")
    derive(engine, "D", "C")
    error = refused(
        InvalidDerivedFields,
        lambda: engine.update_derived_field(replace(first, expression=last)),
    )
    (field,) = error.fields
    start = field.cycle.index("A")
    turned = field.cycle[start:-1] + field.cycle[: start + 1]
    assert turned == cycle
    assert " -> ".join(field.cycle) in str(error)
    assert engine.get_derived_field("A") == first


def in_use(engine: Engine) -> tuple[Rule, DerivedField]:
    field = derive(engine, "Base", "v + 1")
    return add(engine, "Base > 1", "user"), field


@pytest.mark.parametrize("with_schema", [False, True])
@pytest.mark.parametrize("change", ["delete", "rename"])
def test_a_field_that_rules_use_stays(
    engine: Engine, change: str, with_schema: bool
) -> None:
    """DER-2: the refusal names the users."""
    if with_schema:
        engine.set_schema({"v": {"x": "int"}})
        field = derive(engine, "Base", "v.x + 1")
        rule = add(engine, "Base > 1", "user")
    else:
        rule, field = in_use(engine)
    add(engine, "1 > 0", "no user")
    calls: dict[str, Callable[[], object]] = {
        "delete": lambda: engine.delete_derived_field("Base"),
        "rename": lambda: engine.update_derived_field(replace(field, name="Other")),
    }
    error = refused(RulesBroken, calls[change])
    (user,) = error.broken_rules
    assert (user.rule_id, user.rule_name) == (rule.id, "user")
    assert "Base" in user.problems[0].message
    assert f"rule {rule.id} (user):" in str(error)
    assert error.hint == "change or deactivate these rules first"
    assert engine.derived_fields() == [field]
    # A rule that is switched off does not stand in the way.
    engine.update_rule(replace(rule, active=False))
    calls[change]()
    refused(DerivedFieldNotFound, lambda: engine.get_derived_field("Base"))


@pytest.mark.parametrize("change", ["delete", "rename"])
def test_a_field_that_others_use_stays(engine: Engine, change: str) -> None:
    """DER-2: the refusal names all of them."""
    field = derive(engine, "Base", "v + 1")
    users = [derive(engine, name, f"Base > {len(name)}") for name in ("Second", "One")]
    calls: dict[str, Callable[[], object]] = {
        "delete": lambda: engine.delete_derived_field("Base"),
        "rename": lambda: engine.update_derived_field(replace(field, name="Other")),
    }
    error = refused(InvalidDerivedFields, calls[change])
    assert [user.name for user in error.fields] == ["One", "Second"]
    assert "it uses the derived field Base" in str(error)
    assert engine.derived_fields() == [field, *users]
    for user in users:
        engine.delete_derived_field(user.name)
    calls[change]()


def test_a_change_that_breaks_rules_is_refused(engine: Engine) -> None:
    """COMP-3: a field's type is part of what rules are compiled against."""
    engine.set_schema({"User": {"Age": "int"}})
    field = derive(engine, "Limit", "User.Age + 1")
    rule = add(engine, "Limit + 1 > 2")
    error = refused(
        RulesBroken,
        lambda: engine.update_derived_field(replace(field, expression="'many'")),
    )
    assert [broken.rule_id for broken in error.broken_rules] == [rule.id]
    assert engine.derived_fields() == [field]


def test_a_deleted_field_is_gone_and_its_name_is_free(engine: Engine) -> None:
    field = derive(engine, "Total", "1")
    engine.delete_derived_field("Total")
    assert engine.derived_fields() == []
    assert engine.add_derived_field(field).id == field.id


def test_a_name_without_a_field_is_a_fact_when_there_is_no_schema(
    engine: Engine,
) -> None:
    rule = add(engine, "Total > 1")
    assert engine.evaluate(rule.id, {"Total": 2}).matched
    derive(engine, "Total", "a + b")
    assert engine.evaluate(rule.id, {"a": 1, "b": 1}).matched


def test_of_two_halves_of_a_cycle_one_is_refused(engine: Engine) -> None:
    """ENG-2, DER-2: whoever is second."""

    def write(number: int, half: tuple[str, str]) -> bool:
        names = [f"{name}{number}" for name in half]
        try:
            derive(engine, *names)
        except InvalidDerivedFields:
            return False
        return True

    for number in range(4):
        with ThreadPoolExecutor(2) as threads:
            halves = [("A", "B"), ("B", "A")]
            outcomes = list(threads.map(partial(write, number), halves))
        assert sorted(outcomes) == [False, True]


def test_fields_may_come_and_go_while_rules_are_evaluated(engine: Engine) -> None:
    """ENG-2."""
    derive(engine, "Base", "v + 1")
    add(engine, "Base == 2")

    def come_and_go(number: int) -> None:
        derive(engine, f"Guest{number}", "Base + 1")
        engine.delete_derived_field(f"Guest{number}")

    with ThreadPoolExecutor(6) as threads:
        guests = [threads.submit(come_and_go, number) for number in range(12)]
        results = list(threads.map(lambda _: engine.evaluate_all({"v": 1}), range(30)))
        for done in guests:
            done.result()
    assert {(r.matched, r.error) for found in results for r in found} == {(True, None)}


IDS = [UUID(int=number) for number in range(1, 9)]


def refusals() -> dict[str, Callable[[Engine], object]]:
    def field(number: int, name: str, expression: str) -> DerivedField:
        return DerivedField(IDS[number], name, expression)

    return {
        "syntax": lambda e: e.add_derived_field(field(5, "New", "1 +")),
        "unknown function": lambda e: e.add_derived_field(field(5, "New", "f() + g()")),
        "self": lambda e: e.add_derived_field(field(5, "New", "New + 1")),
        "cycle": lambda e: e.update_derived_field(field(0, "Base", "Upper")),
        "in use": lambda e: e.delete_derived_field("Base"),
        "in use by a rule": lambda e: e.delete_derived_field("Upper"),
        "renamed": lambda e: e.update_derived_field(field(1, "Other", "Base + 1")),
        "duplicate": lambda e: e.add_derived_field(field(5, "Base", "1")),
        "unknown": lambda e: e.delete_derived_field("Nothing"),
    }


@pytest.mark.parametrize("case", refusals())
def test_both_stores_refuse_a_derived_field_in_the_same_words(
    store: RuleStore, case: str
) -> None:
    errors = []
    for each in (InMemoryRuleStore(), store):
        engine = Engine(each)
        engine.add_derived_field(DerivedField(IDS[0], "Base", "v"))
        engine.add_derived_field(DerivedField(IDS[1], "Upper", "Base + 1"))
        engine.add_rule(Rule(IDS[2], "the rule", "Upper >\n 1 || Upper < 0"))
        errors.append(refused(PgRulesError, partial(refusals()[case], engine)))
    here, there = errors
    assert type(here) is type(there)
    assert here.__dict__ == there.__dict__


def test_both_engines_trace_derived_fields_alike(store: RuleStore) -> None:
    """EVAL-2, DER-1."""
    found = []
    for each in (InMemoryRuleStore(), store):
        engine = Engine(each)
        totals(engine)
        engine.add_rule(Rule(IDS[0], "large", "IsLarge && Prices.exists(p, p > 50.0)"))
        found.append(engine.evaluate(IDS[0], ORDER, trace=True))
        assert engine.cost(IDS[0], ORDER) > 0
    assert found[0] == found[1]
    assert found[0].trace[1]["derived"] == "Total > 100.0"
