"""What every engine promises: the same over the in-memory store and in the database."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

import pytest

from pgrules import (
    CompilationError,
    DuplicateRuleId,
    Engine,
    EvaluationResult,
    InMemoryRuleStore,
    InvalidFacts,
    InvalidRule,
    PgRulesError,
    Rule,
    RuleNotFound,
    RuleStore,
)

APPLICATION = {
    "User": {
        "Id": "3f0f7a52-5a0e-4c62-9d0e-0f3a6d6cb8a1",
        "Age": 34,
        "Country": "SE",
        "Verified": True,
        "Since": "2019-04-01T08:30:00Z",
    },
    "Transaction": {
        "Amount": 12499.5,
        "Currency": "SEK",
        "Items": [
            {"Sku": "K-100", "Price": 4999.0, "Quantity": 2},
            {"Sku": "C-7", "Price": 2501.5, "Quantity": 1},
        ],
        "Device": {"Id": "ios-17", "Trusted": False},
    },
}
"""Facts as a payment service has them: REQ-INTEG-006."""


@pytest.fixture
def engine(store: RuleStore) -> Engine:
    return Engine(store)


def add(engine: Engine, expression: str, name: str = "the rule") -> Rule:
    return engine.add_rule(Rule(uuid4(), name, expression))


def evaluate(
    engine: Engine, expression: str, facts: Mapping[str, Any]
) -> EvaluationResult:
    return engine.evaluate(add(engine, expression).id, facts)


def test_a_result_says_which_rule_matched(engine: Engine) -> None:
    """EVAL-1, EVAL-2, COMP-1."""
    rule = add(engine, "User.Age >= 18 && Transaction.Amount > 10000.0", "review")
    assert engine.evaluate(rule.id, APPLICATION) == EvaluationResult(
        rule.id, "review", matched=True, error=None, trace=None
    )
    assert engine.evaluate(str(rule.id), APPLICATION).matched


@pytest.mark.parametrize(
    ("expression", "matched"),
    [
        ("User.Country in ['SE', 'NO', 'DK']", True),
        ("User.Age < 18", False),
        ("Transaction.Items.exists(i, i.Price * 2.0 > 9000.0)", True),
        ("Transaction.Items.all(i, i.Quantity == 1)", False),
        ("Transaction.Items.map(i, i.Sku) == ['K-100', 'C-7']", True),
        ("size(Transaction.Items) == 2 && Transaction.Items[1].Quantity == 1", True),
        ("timestamp(User.Since) < timestamp('2020-01-01T00:00:00Z')", True),
        (
            "Transaction.Device.Id.startsWith('ios') && !Transaction.Device.Trusted",
            True,
        ),
        ("User.Country.matches('^S[A-Z]$')", True),
        ("int(Transaction.Amount) / 1000 == 12", True),
        ("has(User.Email) ? User.Email.endsWith('.se') : User.Verified", True),
    ],
)
def test_rules_over_nested_facts_decide(
    engine: Engine, expression: str, matched: bool
) -> None:
    """EVAL-5, COMP-1, REQ-INTEG-006."""
    result = evaluate(engine, expression, APPLICATION)
    assert (result.matched, result.error) == (matched, None)


def test_all_active_rules_are_evaluated_oldest_first(engine: Engine) -> None:
    """EVAL-1."""
    names = [f"rule {number}" for number in range(6)]
    for name in names:
        add(engine, "User.Age >= 18", name)
    inactive = Rule(uuid4(), "off", "true", active=False)
    engine.add_rule(inactive)
    results = engine.evaluate_all(APPLICATION)
    assert [result.rule_name for result in results] == names
    assert all(result.matched for result in results)


def test_without_rules_there_are_no_results(engine: Engine) -> None:
    assert engine.evaluate_all(APPLICATION) == []


@pytest.mark.parametrize("expression", ["1", "'true'", "null", "[true]", "User.Age"])
def test_a_result_that_is_no_boolean_does_not_match(
    engine: Engine, expression: str
) -> None:
    """EVAL-3."""
    result = evaluate(engine, expression, APPLICATION)
    assert (result.matched, result.error) == (False, None)


FAILING = [
    "User.Age / 0 == 1",
    "User.Missing == 1",
    "User.Age == 1 || User.Missing",
    "User.Country > 5",
    "Transaction.Items[7].Sku == 'x'",
    "9223372036854775807 + User.Age > 0",
    "timestamp(User.Country) > timestamp('2020-01-01T00:00:00Z')",
    "Nobody.Age > 1",
]


@pytest.mark.parametrize("expression", FAILING)
def test_a_failing_evaluation_does_not_match_and_says_why(
    engine: Engine, expression: str
) -> None:
    """EVAL-4, EVAL-5."""
    result = evaluate(engine, expression, APPLICATION)
    assert not result.matched
    assert result.error


def test_a_failing_rule_does_not_stop_the_others(engine: Engine) -> None:
    """EVAL-4."""
    add(engine, "User.Age >= 18", "first")
    add(engine, "User.Age / 0 == 1", "failing")
    add(engine, "User.Verified", "last")
    results = engine.evaluate_all(APPLICATION)
    assert [(r.rule_name, r.matched) for r in results] == [
        ("first", True),
        ("failing", False),
        ("last", True),
    ]
    assert [r.error is None for r in results] == [True, False, True]


def test_a_missing_field_can_be_guarded(engine: Engine) -> None:
    """EVAL-5."""
    guarded = evaluate(engine, "has(User.Missing) && User.Missing > 1", APPLICATION)
    assert (guarded.matched, guarded.error) == (False, None)


def test_a_costly_evaluation_ends_with_an_error(engine: Engine) -> None:
    """EVAL-4, ENG-4: the cost of one evaluation is bounded."""
    expression = "L.all(a, L.all(b, a + b >= 0))"
    result = evaluate(engine, expression, {"L": list(range(1_000))})
    assert not result.matched
    assert result.error is not None
    assert "1,000,000" in result.error


def test_a_trace_has_the_values_of_sub_expressions(engine: Engine) -> None:
    """EVAL-2."""
    rule = add(engine, "User.Age > 18 && Transaction.Amount < 100.0")
    result = engine.evaluate(rule.id, APPLICATION, trace=True)
    steps = {step["expression"]: step["value"] for step in result.trace}
    assert steps["User.Age > 18"] is True
    assert steps["User.Age"] == 34
    assert steps["Transaction.Amount"] == 12499.5
    assert steps["Transaction.Amount < 100.0"] is False


def test_a_trace_shows_where_an_evaluation_failed(engine: Engine) -> None:
    """EVAL-2, EVAL-4."""
    rule = add(engine, "User.Age > 18 && User.Missing")
    result = engine.evaluate(rule.id, APPLICATION, trace=True)
    failed = [step["expression"] for step in result.trace if "error" in step]
    assert "User.Missing" in failed
    assert result.error is not None


@pytest.mark.parametrize("trace", [False, True])
def test_an_unknown_rule_is_not_found(engine: Engine, trace: bool) -> None:
    """EVAL-6."""
    unknown = uuid4()
    with pytest.raises(RuleNotFound) as caught:
        engine.evaluate(unknown, APPLICATION, trace=trace)
    assert str(caught.value) == (
        f"failed to evaluate rule {unknown}: there is no such rule"
    )


def test_an_id_that_is_no_uuid_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRule, match="failed to evaluate rule: 'x' is no UUID"):
        engine.evaluate("x", APPLICATION)


def test_a_change_is_in_force_at_once(engine: Engine) -> None:
    """ENG-1, COMP-4: programs are cached by content, not by rule."""
    rule = add(engine, "User.Age >= 18")
    assert engine.evaluate(rule.id, APPLICATION).matched
    engine.update_rule(replace(rule, expression="User.Age < 18"))
    assert not engine.evaluate(rule.id, APPLICATION).matched
    engine.delete_rule(rule.id)
    with pytest.raises(RuleNotFound):
        engine.evaluate(rule.id, APPLICATION)


def test_a_refused_change_leaves_everything_as_it_was(engine: Engine) -> None:
    """ENG-1, COMP-2."""
    rule = add(engine, "User.Age >= 18")
    with pytest.raises(CompilationError):
        engine.update_rule(replace(rule, expression="User.Age >="))
    with pytest.raises(CompilationError):
        engine.add_rule(Rule(uuid4(), "another", "(("))
    with pytest.raises(DuplicateRuleId):
        engine.add_rule(replace(rule, name="another"))
    with pytest.raises(RuleNotFound):
        engine.delete_rule(uuid4())
    assert [(r.rule_id, r.matched) for r in engine.evaluate_all(APPLICATION)] == [
        (rule.id, True)
    ]


def test_an_engine_over_sound_rules_has_no_broken_ones(store: RuleStore) -> None:
    """ENG-1."""
    store.add(Rule(uuid4(), "adults", "User.Age >= 18"))
    engine = Engine(store, strict=True)
    assert engine.broken_rules == ()
    assert len(engine.evaluate_all(APPLICATION)) == 1


class Moments:
    """Values that services hold and JSON does not."""

    since = datetime(2019, 4, 1, 10, 30, tzinfo=UTC)
    grace = timedelta(days=2, milliseconds=5)
    id = UUID("3f0f7a52-5a0e-4c62-9d0e-0f3a6d6cb8a1")


@pytest.mark.parametrize(
    ("value", "test"),
    [
        (Moments.since, "timestamp(v) == timestamp('2019-04-01T10:30:00Z')"),
        (Moments.grace, "duration(v) == duration('172800.005s')"),
        (Moments.id, "v == '3f0f7a52-5a0e-4c62-9d0e-0f3a6d6cb8a1'"),
        (Decimal(5), "v + 1 == 6"),
        (Decimal("5.00"), "v + 1.0 == 6.0"),
        ((1, 2), "v == [1, 2]"),
        (MappingProxyType({"a": 1}), "v.a == 1"),
        (1.0, "type(v) == double"),
        (1e16, "type(v) == double"),
        (-0.0, "v == 0.0"),
        (10**15, "type(v) == int"),
        (2**63 - 1, "v == 9223372036854775807"),
        (-(2**63), "v == -9223372036854775808"),
        (1e300, "v > 1e299"),
        (5e-324, "v > 0.0"),
        (True, "v && type(v) == bool"),
        (None, "v == null"),
        ("Ünïcödé 🚢\n\"'\\", "size(v) == 13"),
        ({}, "size(v) == 0"),
    ],
)
def test_values_that_services_hold_are_facts(
    engine: Engine, value: object, test: str
) -> None:
    """EVAL-5, REQ-INTEG-006: each by one rule, the same in both engines."""
    result = evaluate(engine, test, {"v": value})
    assert (result.matched, result.error) == (True, None)


def nested(depth: int) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for _ in range(depth - 1):
        facts = {"a": facts}
    return facts


def cyclic() -> dict[str, Any]:
    facts: dict[str, Any] = {"a": []}
    facts["a"].append(facts)
    return facts


BAD_FACTS: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, 2],
    "text": lambda: '{"a": 1}',
    "None": lambda: None,
    "NaN": lambda: {"a": {"b": float("nan")}},
    "infinity": lambda: {"a": float("-inf")},
    "decimal NaN": lambda: {"a": Decimal("NaN")},
    "endless decimal": lambda: {"a": Decimal("1E+999999")},
    "int of 65 bits": lambda: {"a": 2**63},
    "int of 100,000 digits": lambda: {"a": 10**100_000},
    "NUL": lambda: {"a": "x\0y"},
    "NUL in a key": lambda: {"a\0": 1},
    "surrogate": lambda: {"a": "\ud83d"},
    "int key": lambda: {"a": {1: "one"}},
    "None key": lambda: {None: 1},
    "naive datetime": lambda: {"a": datetime(2026, 1, 1)},  # noqa: DTZ001
    "object": lambda: {"a": object()},
    "set": lambda: {"a": {1, 2}},
    "complex": lambda: {"a": 1j},
    "depth of 10,000": lambda: nested(10_000),
    "cycle": cyclic,
}


@pytest.mark.parametrize("case", BAD_FACTS)
def test_what_cannot_be_facts_is_refused(engine: Engine, case: str) -> None:
    """ENG-4, REQ-INTEG-007: a clear error, and the engine goes on."""
    rule = add(engine, "has(a.b)")
    facts = BAD_FACTS[case]()
    with pytest.raises(InvalidFacts) as one:
        engine.evaluate(rule.id, facts)
    assert str(one.value).startswith(f"failed to evaluate rule {rule.id}: ")
    assert one.value.sqlstate == "RE030"
    with pytest.raises(InvalidFacts) as every:
        engine.evaluate_all(facts)
    assert str(every.value).startswith("failed to evaluate all rules: ")
    assert engine.evaluate(rule.id, {"a": {"b": 1}}).matched


def test_an_error_in_facts_names_the_path(engine: Engine) -> None:
    """ENG-4."""
    rule = add(engine, "true")
    facts = {"User": {"Addresses": [{}, {"Zip": float("nan")}]}}
    with pytest.raises(InvalidFacts, match=r"User\.Addresses\[1\]\.Zip"):
        engine.evaluate(rule.id, facts)


def test_facts_are_not_changed_by_an_evaluation(engine: Engine) -> None:
    facts = {"b": [1, {"z": 1, "a": 2}], "a": (1, 2)}
    evaluate(engine, "size(b) == 2", facts)
    assert facts == {"b": [1, {"z": 1, "a": 2}], "a": (1, 2)}
    assert list(facts) == ["b", "a"]


HOSTILE_EXPRESSIONS: dict[str, str] = {
    "empty": "",
    "blank": " \n\t",
    "a comment alone": "// nothing",
    "1 MB": "a" * 1_000_000,
    "1 MB of operators": "1+" * 500_000 + "1",
    "10,000 brackets": "(" * 10_000 + "1" + ")" * 10_000,
    "10,000 lists": "[" * 10_000 + "]" * 10_000,
    "open string": "'abc",
    "SQL": "true; DROP TABLE rules.rules",
    "Python": "__import__('os').system('true')",
    "unknown function": "system('true')",
    "reserved word": "while == 1",
    "bad regex": "'a'.matches('(')",
    "back reference": r"'aa'.matches('(a)\\1')",
}


@pytest.mark.parametrize("case", HOSTILE_EXPRESSIONS)
def test_a_hostile_expression_is_refused(engine: Engine, case: str) -> None:
    """COMP-2, ENG-4: with its place, and nothing is stored."""
    rule = Rule(uuid4(), "hostile", HOSTILE_EXPRESSIONS[case])
    with pytest.raises(CompilationError) as caught:
        engine.add_rule(rule)
    assert caught.value.problems
    assert f"failed to add rule {rule.id}" in str(caught.value)
    assert len(str(caught.value)) < 5_000
    assert engine.evaluate_all({}) == []


def test_a_regular_expression_cannot_explode(engine: Engine) -> None:
    """ENG-4: RE2 takes linear time."""
    text = "a" * 5_000 + "!"
    result = evaluate(engine, "v.matches('^(a+)+$')", {"v": text})
    assert (result.matched, result.error) == (False, None)


def test_evaluations_and_changes_may_run_at_once(engine: Engine) -> None:
    """ENG-2: each evaluation sees one version of the rule, old or new."""
    rule = add(engine, "v == 0")

    def change(number: int) -> None:
        engine.update_rule(replace(rule, expression=f"v == {number}"))

    def look(_: int) -> EvaluationResult:
        return engine.evaluate(rule.id, {"v": 3})

    with ThreadPoolExecutor(6) as threads:
        changes = [threads.submit(change, number) for number in range(30)]
        results = list(threads.map(look, range(60)))
        for done in changes:
            done.result()
    assert {result.error for result in results} == {None}


def test_rules_may_come_and_go_while_all_are_evaluated(engine: Engine) -> None:
    """ENG-2."""
    kept = add(engine, "true", "kept")

    def come_and_go(number: int) -> None:
        rule = add(engine, "v == 1", f"guest {number}")
        engine.delete_rule(rule.id)

    with ThreadPoolExecutor(6) as threads:
        guests = [threads.submit(come_and_go, number) for number in range(20)]
        results = list(threads.map(lambda _: engine.evaluate_all({"v": 1}), range(20)))
        for done in guests:
            done.result()
    for found in results:
        assert found[0].rule_id == kept.id
        assert all(result.error is None for result in found)


@pytest.mark.parametrize("expression", [*FAILING, "L.all(x, x > 0)"])
def test_both_engines_give_the_same_results(store: RuleStore, expression: str) -> None:
    """Results, errors and traces of the database equal those of this process."""
    here = InMemoryRuleStore()
    rule = Rule(uuid4(), "the rule", expression)
    here.add(rule)
    store.add(rule)
    for trace in (False, True):
        expected = Engine(here).evaluate(rule.id, APPLICATION, trace=trace)
        assert Engine(store).evaluate(rule.id, APPLICATION, trace=trace) == expected
    assert Engine(store).evaluate_all(APPLICATION) == Engine(here).evaluate_all(
        APPLICATION
    )


@pytest.mark.parametrize(
    "expression", ["User.Age >", "a.b.c(1)\n + nosuch(2)", "'open", "(" * 200]
)
def test_both_stores_refuse_in_the_same_words(
    store: RuleStore, expression: str
) -> None:
    rule = Rule(uuid4(), "the rule", expression)
    errors: list[PgRulesError] = []
    for each in (InMemoryRuleStore(), store):
        with pytest.raises(CompilationError) as caught:
            each.add(rule)
        errors.append(caught.value)
    here, there = errors
    assert type(here) is type(there)
    assert here.__dict__ == there.__dict__
