"""Many facts, and the rules that match: the same over either store."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from pgrules import (
    DerivedField,
    Engine,
    EvaluationResult,
    InvalidFacts,
    InvalidRule,
    Rule,
    RuleNotFound,
    TenantStore,
)

FLIGHTS: list[dict[str, Any]] = [
    {"Flight": {"Delay": 201, "Carrier": "UA", "Seats": 100, "Gust": 51.5}},
    {"Flight": {"Delay": 5, "Carrier": "DL", "Seats": 0}},
    {"Flight": {"Delay": 300, "Carrier": "UA", "Seats": 4}},
    {},
]

RULES = {
    "late": "Flight.Delay >= 180",
    "per seat": "100 / Flight.Seats > 10",
    "windy": "has(Flight.Gust) && Flight.Gust > 45.0",
    "no boolean": "Flight.Carrier",
    "United": "Flight.Carrier in ['UA', 'US']",
}

MATCHES = [
    ["late", "windy", "United"],
    [],
    ["late", "per seat", "United"],
    [],
]


@pytest.fixture
def engine(store: TenantStore) -> Engine:
    """An engine with rules of which each set of facts matches others."""
    engine = Engine(store)
    for name, expression in RULES.items():
        engine.add_rule(Rule(uuid4(), name, expression))
    engine.add_rule(Rule(uuid4(), "retired", "true", active=False))
    return engine


def names(results: list[EvaluationResult]) -> list[str]:
    return [result.rule_name for result in results]


def rule_of(engine: Engine, name: str) -> Rule:
    """A rule of this name, as the engine knows it."""
    results = engine.evaluate_all({})
    (found,) = [result for result in results if result.rule_name == name]
    return Rule(found.rule_id, name, RULES[name])


@pytest.mark.parametrize("number", range(len(FLIGHTS)))
def test_with_matched_only_the_rules_that_match_are_left(
    engine: Engine, number: int
) -> None:
    """EVAL-1."""
    everything = engine.evaluate_all(FLIGHTS[number])
    assert len(everything) == len(RULES)
    matched = engine.evaluate_all(FLIGHTS[number], matched_only=True)
    assert matched == [result for result in everything if result.matched]
    assert names(matched) == MATCHES[number]


@pytest.mark.parametrize("number", range(len(FLIGHTS)))
def test_matching_gives_what_evaluating_all_gives(engine: Engine, number: int) -> None:
    matched = engine.match_rules(FLIGHTS[number])
    assert matched == engine.evaluate_all(FLIGHTS[number], matched_only=True)


def test_each_of_many_facts_has_its_own_matches(engine: Engine) -> None:
    found = engine.match_rules_batch(FLIGHTS)
    assert [names(results) for results in found] == MATCHES
    assert found == [engine.match_rules(facts) for facts in FLIGHTS]


def test_one_rule_has_a_result_for_each_of_many_facts(engine: Engine) -> None:
    """EVAL-4: what fails is a result among the others."""
    rule = rule_of(engine, "per seat")
    results = engine.evaluate_batch(rule.id, FLIGHTS)
    assert [result.matched for result in results] == [False, False, True, False]
    assert [result.error for result in results] == [
        None,
        "line 1, column 5: divide by zero",
        None,
        "line 1, column 7: no such key: Flight",
    ]
    assert results == [engine.evaluate(rule.id, facts) for facts in FLIGHTS]
    assert results == engine.evaluate_batch(str(rule.id), FLIGHTS)


def test_a_rule_that_is_off_is_evaluated_over_a_batch_and_matches_nothing(
    engine: Engine,
) -> None:
    rule = rule_of(engine, "late")
    engine.update_rule(replace(rule, active=False))
    assert [result.matched for result in engine.evaluate_batch(rule.id, FLIGHTS)] == [
        True,
        False,
        True,
        False,
    ]
    assert "late" not in names(engine.match_rules(FLIGHTS[0]))


def test_no_facts_have_no_results(engine: Engine) -> None:
    rule = rule_of(engine, "late")
    assert engine.evaluate_batch(rule.id, []) == []
    assert engine.match_rules_batch([]) == []


def test_without_rules_nothing_matches(store: TenantStore) -> None:
    engine = Engine(store)
    assert engine.match_rules(FLIGHTS[0]) == []
    assert engine.match_rules_batch(FLIGHTS) == [[], [], [], []]


def test_a_batch_may_be_any_iterable(engine: Engine) -> None:
    def flights() -> Iterator[Mapping[str, object]]:
        yield from FLIGHTS

    rule = rule_of(engine, "late")
    assert engine.match_rules_batch(flights()) == engine.match_rules_batch(FLIGHTS)
    assert len(engine.evaluate_batch(rule.id, tuple(FLIGHTS))) == len(FLIGHTS)


def test_many_facts_are_one_call(engine: Engine) -> None:
    delays = [{"Flight": {"Delay": delay}} for delay in range(1_000)]
    found = engine.match_rules_batch(delays)
    assert [names(results) for results in found[178:182]] == [
        [],
        [],
        ["late"],
        ["late"],
    ]
    results = engine.evaluate_batch(rule_of(engine, "late").id, delays)
    assert sum(result.matched for result in results) == 820


def test_derived_fields_are_those_of_each_facts(engine: Engine) -> None:
    """A derived field is not computed once for the whole batch."""
    engine.add_derived_field(DerivedField(uuid4(), "Hours", "Flight.Delay / 60"))
    engine.add_rule(Rule(uuid4(), "hours", "Hours == 5"))
    found = engine.match_rules_batch(FLIGHTS)
    assert ["hours" in names(results) for results in found] == [
        False,
        False,
        True,
        False,
    ]


def test_a_schema_converts_what_it_declares(store: TenantStore) -> None:
    engine = Engine(store)
    engine.set_schema({"Flight": {"Gust": "float64", "At": "timestamp"}})
    rule = engine.add_rule(
        Rule(
            uuid4(),
            "gusty spring",
            "Flight.Gust / 2.0 > 20.0 && Flight.At < timestamp('2026-04-01T00:00:00Z')",
        )
    )
    batch = [
        {"Flight": {"Gust": 50, "At": "2026-03-14T09:26:53Z"}},
        {"Flight": {"Gust": 50, "At": "2026-05-14T09:26:53Z"}},
    ]
    assert [names(found) for found in engine.match_rules_batch(batch)] == [
        ["gusty spring"],
        [],
    ]
    assert [result.matched for result in engine.evaluate_batch(rule.id, batch)] == [
        True,
        False,
    ]


def test_a_change_is_in_force_at_the_next_call(engine: Engine) -> None:
    rule = rule_of(engine, "late")
    assert "late" in names(engine.match_rules_batch(FLIGHTS)[0])
    engine.update_rule(replace(rule, expression="Flight.Delay >= 240"))
    assert "late" not in names(engine.match_rules_batch(FLIGHTS)[0])
    assert "late" not in names(engine.match_rules(FLIGHTS[0]))
    engine.delete_rule(rule.id)
    assert "late" not in names(engine.match_rules_batch(FLIGHTS)[2])


BAD_ELEMENTS: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, 2],
    "None": lambda: None,
    "text": lambda: '{"Flight": {}}',
    "NaN": lambda: {"Flight": {"Delay": float("nan")}},
    "int of 65 bits": lambda: {"Flight": {"Delay": 2**63}},
    "NUL": lambda: {"Flight": "x\0y"},
    "object": lambda: {"Flight": object()},
}


@pytest.mark.parametrize("case", BAD_ELEMENTS)
def test_what_cannot_be_facts_is_refused_by_its_number(
    engine: Engine, case: str
) -> None:
    """ENG-4: nothing is evaluated, and the error says which element it is."""
    rule = rule_of(engine, "late")
    batch = [{}, BAD_ELEMENTS[case](), BAD_ELEMENTS[case]()]
    calls: list[tuple[str, Callable[[], object]]] = [
        ("match rules over a batch", lambda: engine.match_rules_batch(batch)),
        (
            f"evaluate rule over a batch {rule.id}",
            lambda: engine.evaluate_batch(rule.id, batch),
        ),
    ]
    for operation, call in calls:
        with pytest.raises(InvalidFacts) as caught:
            call()
        assert str(caught.value).startswith(f"failed to {operation}: element 2: ")
        assert caught.value.sqlstate == "RE030"
    with pytest.raises(InvalidFacts, match="failed to match rules: "):
        engine.match_rules(batch[1])


@pytest.mark.parametrize("batch", [None, 7])
def test_what_is_no_list_of_facts_is_refused(engine: Engine, batch: Any) -> None:
    with pytest.raises(InvalidFacts, match="a list of facts is expected"):
        engine.match_rules_batch(batch)
    with pytest.raises(InvalidFacts, match="a list of facts is expected"):
        engine.evaluate_batch(uuid4(), batch)


def test_one_mapping_is_no_list_of_facts(engine: Engine) -> None:
    """Its keys are text, and text is no facts."""
    with pytest.raises(InvalidFacts, match="element 1"):
        engine.match_rules_batch(FLIGHTS[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [[], FLIGHTS])
def test_an_unknown_rule_is_not_found_over_a_batch(
    engine: Engine, batch: list[dict[str, Any]]
) -> None:
    """EVAL-6."""
    unknown = uuid4()
    with pytest.raises(RuleNotFound) as caught:
        engine.evaluate_batch(unknown, batch)
    assert str(caught.value) == (
        f"failed to evaluate rule over a batch {unknown}: there is no such rule"
    )
    with pytest.raises(InvalidRule, match="'x' is no UUID"):
        engine.evaluate_batch("x", batch)


def test_facts_are_not_changed_by_matching(engine: Engine) -> None:
    facts = {"Flight": {"Delay": 200, "Tags": ("a", "b")}}
    engine.match_rules_batch([facts, facts])
    assert facts == {"Flight": {"Delay": 200, "Tags": ("a", "b")}}
