"""Generated code gives what the closures give: the value, or the error in its words."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import EvaluationError, compile_expression
from tests.unit.cel import differential

if TYPE_CHECKING:
    from random import Random

randoms = st.randoms(use_true_random=False)


@pytest.mark.parametrize("declared", [False, True])
@settings(max_examples=400, deadline=None)
@given(random=randoms)
def test_both_evaluators_agree_on_any_expression_and_facts(
    random: Random, *, declared: bool
) -> None:
    compiled = differential.program(random, declared=declared)
    if compiled is not None:
        facts, expected, found = differential.outcomes(
            compiled, random, declared=declared
        )
        assert differential.alike(expected, found), (compiled.text, facts)


def evaluate(text: str, **facts: Any) -> Any:
    compiled = compile_expression(text)
    compiled.generate()
    return compiled.evaluate(facts)


class TestWherePythonIsNotCel:
    def test_true_is_not_one(self) -> None:
        assert evaluate("x == 1", x=True) is False
        assert evaluate("x != 0", x=False) is True
        assert evaluate("x in [1, 2]", x=True) is False

    def test_a_bool_has_no_order_with_numbers(self) -> None:
        with pytest.raises(EvaluationError, match="no such overload"):
            evaluate("x > 0", x=True)

    def test_a_string_has_no_fields(self) -> None:
        with pytest.raises(EvaluationError, match="string has no fields"):
            evaluate("has(x.a)", x="abc")

    def test_in_does_not_look_into_strings(self) -> None:
        with pytest.raises(EvaluationError, match="no such overload"):
            evaluate("'a' in x", x="abc")

    def test_sums_end_at_64_bits(self) -> None:
        with pytest.raises(EvaluationError, match="overflow"):
            evaluate("x + 1 > 0", x=2**63 - 1)

    def test_int_and_double_are_not_added(self) -> None:
        with pytest.raises(EvaluationError, match="no such overload"):
            evaluate("x + 1", x=1.5)

    def test_nan_is_not_less_and_not_more(self) -> None:
        assert evaluate("x > 1.0 || x <= 1.0", x=math.nan) is False


class TestErrors:
    def test_an_absorbed_error_leaves_the_deciding_value(self) -> None:
        assert evaluate("x.missing > 1 || x.there", x={"there": True}) is True
        assert evaluate("xs.exists(x, x.a > 1)", xs=[{}, {"a": 2}]) is True

    def test_an_error_names_its_place(self) -> None:
        with pytest.raises(EvaluationError, match=r"^line 1, column 12: no such key"):
            evaluate("x.a > 1 && x.b > 1", x={"a": 2})


class TestLongLoops:
    def test_a_loop_beyond_the_budget_is_counted_by_the_closures(self) -> None:
        assert evaluate("xs.all(x, x >= 0)", xs=list(range(50_000))) is True


HOSTILE = [
    # What would be Python where it is put between quotes.
    *("' or True or '", '" or True or "', "'] or True or ['"),
    *("x\nraise SystemExit\n#", "\\", "'''\"\"\"", "{0}%s$1"),
]


class TestTextStaysText:
    """No constant, key or name becomes a part of the Python that is generated."""

    @pytest.mark.parametrize("text", HOSTILE)
    @pytest.mark.parametrize(
        "expression", ["s == {0}", "m[{0}] == 1", "s in [{0}]", "s.startsWith({0})"]
    )
    def test_what_would_be_python_is_compared(self, expression: str, text: str) -> None:
        program = compile_expression(expression.format(json.dumps(text)))
        program.generate()
        assert program.evaluate != program.interpret, "no code was generated"
        assert program.evaluate({"s": text, "m": {text: 1}}) is True
        assert program.evaluate({"s": "other", "m": {text: 2}}) is False

    @pytest.mark.parametrize("name", ["exit", "undecided", "variables", "__import__"])
    def test_names_are_those_of_facts(self, name: str) -> None:
        assert evaluate(f"{name} == 1", **{name: 1}) is True
        with pytest.raises(EvaluationError, match=name):
            evaluate(f"{name} == 1")
