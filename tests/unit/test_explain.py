"""The tree of a trace, as a terminal shows it."""

from collections.abc import Mapping
from textwrap import dedent
from typing import Any
from unicodedata import combining, east_asian_width
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrules import (
    CompilationError,
    DerivedField,
    Engine,
    EvaluationResult,
    InMemoryRuleStore,
    InvalidFacts,
    InvalidRule,
    Rule,
    RuleNotFound,
    RuleStore,
)

CLAIM = {
    "Claim": {
        "Amount": 12499.5,
        "Country": "SE",
        "Documents": [{"Kind": "photo", "Pages": 1}, {"Kind": "report", "Pages": 7}],
    },
    "Policy": {"Active": True, "Deductible": 1500.0},
}


@pytest.fixture
def engine(store: RuleStore) -> Engine:
    return Engine(store)


def explain(
    engine: Engine, expression: str, facts: Mapping[str, Any] = CLAIM, width: int = 100
) -> str:
    rule = engine.add_rule(Rule(uuid4(), "review", expression))
    return engine.explain(rule.id, facts, width=width)


def tree(text: str) -> str:
    return dedent(text).strip()


def test_values_stand_beside_the_tree(engine: Engine) -> None:
    """EVAL-2."""
    expression = "Policy.Active && Claim.Amount - Policy.Deductible > 10000.0"
    assert explain(engine, expression) == tree(
        """
        review: matched
        Policy.Active && Claim.Amount - Policy.Deductible > 10000.0  true
        ├─ Policy.Active                                             true
        └─ Claim.Amount - Policy.Deductible > 10000.0                true
           └─ Claim.Amount - Policy.Deductible                       10999.5
              ├─ Claim.Amount                                        12499.5
              └─ Policy.Deductible                                   1500.0
        """
    )


def test_what_a_short_circuit_skipped_is_not_evaluated(engine: Engine) -> None:
    """EVAL-2: nor is what would have been inside it shown."""
    expression = "Claim.Amount < 9.0 && (Policy.Active || Claim.Open > 1)"
    assert explain(engine, expression) == tree(
        """
        review: not matched
        Claim.Amount < 9.0 && (Policy.Active || Claim.Open > 1)  false
        ├─ Claim.Amount < 9.0                                    false
        │  └─ Claim.Amount                                       12499.5
        └─ (Policy.Active || Claim.Open > 1)                     not evaluated
        """
    )


def test_an_error_is_told_where_it_arose(engine: Engine) -> None:
    """EVAL-2, EVAL-4: the steps around it are marked."""
    expression = "Policy.Active && Claim.Amount > Claim.Limit * 2.0"
    assert explain(engine, expression) == tree(
        """
        review: failed, line 1, column 33: no such key: Claim.Limit
        Policy.Active && Claim.Amount > Claim.Limit * 2.0  ✗
        ├─ Policy.Active                                   true
        └─ Claim.Amount > Claim.Limit * 2.0                ✗
           ├─ Claim.Amount                                 12499.5
           └─ Claim.Limit * 2.0                            ✗
              └─ Claim.Limit                               ✗ no such key: Claim.Limit
        """
    )


def test_a_macro_shows_the_element_that_decided(engine: Engine) -> None:
    """EVAL-2."""
    expression = (
        "Claim.Documents.exists(d, d.Kind == 'report')"
        " && !Claim.Documents.all(d, d.Pages > 2)"
    )
    assert explain(engine, expression, width=80) == tree(
        """
        review: matched
        Claim.Documents.exists(d, d.Kind == 'report') && !C…  true
        ├─ Claim.Documents.exists(d, d.Kind == 'report')      true
        │  │  decided by {"Kind": "report", "Pages": 7}
        │  └─ Claim.Documents                                 [{"Kind": "photo", "Pages…
        └─ !Claim.Documents.all(d, d.Pages > 2)               true
           └─ Claim.Documents.all(d, d.Pages > 2)             false
              │  decided by {"Kind": "photo", "Pages": 1}
              └─ Claim.Documents                              [{"Kind": "photo", "Pages…
        """
    )


def test_a_derived_field_shows_its_expression(engine: Engine) -> None:
    """EVAL-2, DER-1."""
    engine.add_derived_field(
        DerivedField(uuid4(), "Payout", "Claim.Amount\n  - Policy.Deductible")
    )
    expression = "Payout > 10000.0 && Claim.Country in ['SE', 'NO']"
    assert explain(engine, expression) == tree(
        """
        review: matched
        Payout > 10000.0 && Claim.Country in ['SE', 'NO']  true
        ├─ Payout > 10000.0                                true
        │  └─ Payout                                       10999.5
        │        derived: Claim.Amount - Policy.Deductible
        └─ Claim.Country in ['SE', 'NO']                   true
           └─ Claim.Country                                "SE"
        """
    )


def test_lines_and_comments_of_a_rule_do_not_disturb_the_tree(engine: Engine) -> None:
    expression = (
        "// who may\n(Policy.Active   // theirs\n\t|| Claim.Country == 'N  O // no')\n"
    )
    assert explain(engine, expression) == tree(
        """
        review: matched
        (Policy.Active || Claim.Country == 'N  O // no')  true
        ├─ Policy.Active                                  true
        └─ Claim.Country == 'N  O // no'                  not evaluated
        """
    )


def test_a_narrow_terminal_gets_shortened_texts(engine: Engine) -> None:
    """Outcomes keep a third of the width."""
    expression = "Claim.Country.startsWith('S') && size(Claim.Documents) == 2"
    facts = {"Claim": {"Country": "S" * 60, "Documents": [1, 2]}}
    assert explain(engine, expression, facts, width=48) == tree(
        """
        review: matched
        Claim.Country.startsWith('S')…   true
        ├─ Claim.Country.startsWith('S…  true
        │  └─ Claim.Country              "SSSSSSSSSSSSS…
        └─ size(Claim.Documents) == 2    true
           └─ size(Claim.Documents)      2
              └─ Claim.Documents         [1, 2]
        """
    )


def test_a_rule_without_steps_has_its_outcome_alone(engine: Engine) -> None:
    assert explain(engine, "true") == "review: matched"


def test_a_rule_that_no_longer_compiles_says_so(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "review", "Claim.Amount > 1.0"))
    engine.set_schema({"Claim": {"Sum": "float64"}}, allow_broken=True)
    assert engine.explain(rule.id, CLAIM) == (
        "review: failed, line 1, column 7: Claim has no field Amount"
    )


def test_a_result_without_a_trace_is_its_outcome() -> None:
    result = EvaluationResult(UUID(int=1), "review", matched=False)
    assert result.explain() == "review: not matched"


def test_explaining_raises_as_evaluating_does(engine: Engine) -> None:
    """EVAL-6, ENG-4."""
    with pytest.raises(RuleNotFound):
        engine.explain(uuid4(), CLAIM)
    rule = engine.add_rule(Rule(uuid4(), "review", "true"))
    with pytest.raises(InvalidFacts):
        engine.explain(rule.id, {"a": float("nan")})


def columns(text: str) -> int:
    """Of a terminal, where a combining mark stands on the character before it."""
    return sum(
        2 if east_asian_width(character) in "WF" else 1
        for character in text
        if not combining(character)
    )


def test_wide_characters_take_two_columns(engine: Engine) -> None:
    text = explain(engine, "v == '金額' || w == 'ab'", {"v": "金額", "w": 1})
    assert text == tree(
        """
        review: matched
        v == '金額' || w == 'ab'  true
        ├─ v == '金額'            true
        │  └─ v                   "金額"
        └─ w == 'ab'              not evaluated
        """
    )


def test_nothing_in_facts_or_names_reaches_the_terminal_as_a_command() -> None:
    """ENG-4: no escape, no line break, no change of direction."""
    engine = Engine(InMemoryRuleStore())
    rule = engine.add_rule(Rule(uuid4(), "a\x1b[2Jb\nc", "v != '\u202e'"))
    text = engine.explain(rule.id, {"v": "x\x9b2J\x1b\r\n\u202e"})
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.startswith("a\\x1b[2Jb\\nc: matched\n")


@given(
    expression=st.sampled_from(
        [
            "a.exists(x, x == b) ? a : {'k': [a, b, c.d]}",
            "a == b && (b == a || c.d / 0 > 1) && !(c.d in a)",
            "has(c.d) ? c.d + 1 > b : size(a) > 2",
        ]
    ),
    facts=st.fixed_dictionaries(
        {
            "a": st.lists(st.text(max_size=80), max_size=3),
            "b": st.text(max_size=300) | st.integers(-5, 5),
            "c": st.dictionaries(st.just("d"), st.integers(-5, 5)),
        }
    ),
    width=st.integers(-10, 200),
)
def test_no_line_is_wider_than_asked(
    expression: str, facts: dict[str, Any], width: int
) -> None:
    """ENG-4: 40 columns are the least."""
    try:
        engine = Engine(InMemoryRuleStore())
        rule = engine.add_rule(Rule(uuid4(), "generated", expression))
        text = engine.explain(rule.id, facts, width=width)
    except InvalidFacts:
        return
    assert max(map(columns, text.split("\n"))) <= max(width, 40)


@pytest.mark.parametrize("expression", ["['x, ]", "a ? 'x :\n  b"])
def test_a_step_in_words_of_another_release_is_shown_as_it_is(expression: str) -> None:
    """A database may be deployed from a later one than the package is of."""
    step = {"expression": expression, "value": True}
    trace = [step | {"depth": 0}, step | {"depth": 1}]
    result = EvaluationResult(uuid4(), "review", matched=True, trace=trace)
    shown = " ".join(expression.split())
    assert result.explain().split("\n") == [
        "review: matched",
        f"{shown}     true",
        f"└─ {shown}  true",
    ]


# Checking an expression, and what an evaluation costs


def test_an_expression_is_checked_without_being_stored(engine: Engine) -> None:
    """COMP-2: every problem with its place and a hint."""
    assert engine.check("Claim.Amount > 1.0") == []
    problems = engine.check("Claim.Amount > 1.0 &&\n  nosuch(1) || sise([])")
    assert [(p.line, p.column) for p in problems] == [(2, 3), (2, 16)]
    assert problems[1].message == "unknown function sise"
    assert "size" in problems[1].hint
    assert problems[0].excerpt == "  nosuch(1) || sise([])\n  ^"
    assert engine.evaluate_all({}) == []


def test_an_expression_is_checked_with_derived_fields(engine: Engine) -> None:
    """DER-1, COMP-3."""
    engine.set_schema({"Claim": {"Amount": "float64"}})
    assert [p.message for p in engine.check("Payout > 1.0")] == ["unknown name Payout"]
    engine.add_derived_field(DerivedField(uuid4(), "Payout", "Claim.Amount - 1500.0"))
    assert engine.check("Payout > 1.0") == []


@pytest.mark.parametrize("expression", [None, 7, b"true", "x\0", "\ud83d"])
def test_what_is_no_text_is_not_checked(engine: Engine, expression: Any) -> None:
    """ENG-4."""
    with pytest.raises(InvalidRule, match="failed to check expression: expression "):
        engine.check(expression)


@pytest.mark.parametrize("expression", ["", "(" * 10_000, "a" * 100_000, "'"])
def test_any_text_is_checked(engine: Engine, expression: str) -> None:
    """ENG-4."""
    assert engine.check(expression)


def test_the_cost_of_an_evaluation_grows_with_its_work(engine: Engine) -> None:
    rule = engine.add_rule(Rule(uuid4(), "loop", "L.all(x, x >= 0)"))
    small, large = (engine.cost(rule.id, {"L": list(range(n))}) for n in (10, 1000))
    assert 10 < small < 100
    assert 1000 < large < 10_000
    # Of an evaluation that fails, what it took until then.
    assert 0 < engine.cost(rule.id, {}) < small


def test_the_cost_raises_as_evaluating_does(engine: Engine) -> None:
    """EVAL-6, ENG-4."""
    unknown = uuid4()
    with pytest.raises(RuleNotFound) as caught:
        engine.cost(unknown, {})
    assert str(caught.value) == (
        f"failed to compute cost of rule {unknown}: there is no such rule"
    )
    rule = engine.add_rule(Rule(uuid4(), "the rule", "Claim.Amount > 1.0"))
    with pytest.raises(InvalidFacts):
        engine.cost(rule.id, {"a": float("nan")})
    engine.set_schema({"Claim": {"Sum": "float64"}}, allow_broken=True)
    with pytest.raises(CompilationError) as broken:
        engine.cost(rule.id, {})
    assert [p.message for p in broken.value.problems] == ["Claim has no field Amount"]
    assert broken.value.subject == rule.id


def test_both_engines_count_the_same_cost(store: RuleStore) -> None:
    rule = Rule(uuid4(), "the rule", "Claim.Documents.exists(d, d.Pages > 5)")
    costs = []
    for each in (InMemoryRuleStore(), store):
        engine = Engine(each)
        engine.add_rule(rule)
        costs.append(engine.cost(rule.id, CLAIM))
    assert costs[0] == costs[1]
