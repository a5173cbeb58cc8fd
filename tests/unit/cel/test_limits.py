"""Bounds: length, nesting, cost, patterns, and any text as an expression."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import (
    CelError,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    ExpressionTooLarge,
    Interrupted,
    InvalidExpression,
    Limits,
    compile_expression,
)
from tests.unit.cel.evaluating import answer, evaluate


class TestSize:
    def test_the_length_is_bounded(self) -> None:
        limit = Limits().expression_length
        text = "true" + " " * (limit - 4)
        assert evaluate(text) is True
        with pytest.raises(ExpressionTooLarge) as caught:
            compile_expression(text + " ")
        assert caught.value.sqlstate == "RE021"

    @pytest.mark.parametrize(
        "text",
        [
            "(" * 500_000 + "1" + ")" * 500_000,
            "a || " * 200_000 + "a",
            "'" + "x" * 1_000_000 + "'",
            "9" * 1_000_000,
        ],
        ids=["brackets", "operands", "string", "digits"],
    )
    def test_a_megabyte_is_refused(self, text: str) -> None:
        with pytest.raises(ExpressionTooLarge):
            compile_expression(text)

    @pytest.mark.parametrize(
        "text",
        [
            "(" * 10_000 + "1" + ")" * 10_000,
            "[" * 10_000 + "]" * 10_000,
            "{1:" * 5_000 + "1" + "}" * 5_000,
            "f(" * 5_000 + ")" * 5_000,
            "a[" * 5_000 + "0" + "]" * 5_000,
            "a" + ".b" * 5_000,
            "a" + "[0]" * 5_000,
            "a" + ".f()" * 5_000,
            "a" + " + a" * 5_000,
            "a ? b : " * 2_000 + "c",
            "a.all(x, " * 2_000 + "true" + ")" * 2_000,
            "[a].map(x, " * 2_000 + "x" + ")" * 2_000,
            "M{f: " * 5_000 + "1" + "}" * 5_000,
            "(" * 32_000,
            "[" * 32_000,
            "f(" * 16_000,
        ],
        ids=lambda text: text[:12],
    )
    def test_nesting_is_bounded(self, text: str) -> None:
        with pytest.raises(ExpressionTooLarge) as caught:
            compile_expression(text)
        assert "nests deeper than 100 levels" in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            "true" + " && true" * 3000,
            "false" + " || false" * 3000 + " || true",
            "-" * 30000 + "1 == 1",
            "!" * 30000 + "true",
            "1 in [" + "1," * 9000 + "]",
        ],
        ids=lambda text: text[:12],
    )
    def test_what_is_long_without_nesting_is_no_problem(self, text: str) -> None:
        assert evaluate(text) is True

    @pytest.mark.parametrize("depth", [20, 50, 90])
    def test_nesting_within_the_bound_evaluates(self, depth: int) -> None:
        assert evaluate("(" * depth + "1" + ")" * depth) == 1
        assert evaluate("1" + " + 1" * depth) == depth + 1
        nested = "[" * depth + "1" + "]" * depth
        assert evaluate(f"{nested} == {nested}") is True

    def test_a_caller_deep_in_python_gets_an_answer_or_an_error(self) -> None:
        text = "(" * 60 + "a" + ")" * 60 + " + 1" * 30
        program = compile_expression(text)
        outcomes: set[object] = set()

        def descend() -> None:
            for attempt in (
                lambda: program.evaluate({"a": 1}),
                lambda: compile_expression(text).text,
            ):
                try:
                    outcomes.add(attempt())
                except CelError as error:
                    outcomes.add(type(error))
            descend()

        with pytest.raises(RecursionError):
            descend()
        assert {31, text, ExpressionTooLarge} <= outcomes
        assert outcomes <= {31, text, ExpressionTooLarge, EvaluationError}
        assert sys.getrecursionlimit() == 1000


class TestCost:
    @pytest.mark.parametrize(
        "text",
        [
            "l.all(a, l.all(b, l.all(c, l.all(d, true))))",
            "l.map(a, l.map(b, l.map(c, l))).size() > 0",
            "l.exists(a, l.exists(b, l.exists(c, false)))",
            "l.filter(a, l.filter(b, l.filter(c, true) == l) == l) == l",
            "l.all(a, s.contains('y') || true)" * 1 + " && l.all(a, l.all(b, s == s))",
            "l.all(a, (s + s + s + s) != '')" + " && l.all(a, l.all(b, s + s != ''))",
            "l.all(a, l.all(b, l + l != l))",
            "l.all(a, l.all(b, s in l || true))",
            "l.all(a, l.all(b, l == l))",
            "l.all(a, l.all(b, string(bytes(s)) == s))",
        ],
    )
    def test_loops_within_loops_run_out_of_cost(self, text: str) -> None:
        facts = {"l": list(range(200)), "s": "x" * 1_000}
        error = answer(text, facts, unchecked=True).error
        assert isinstance(error, CostLimitExceeded)
        assert error.sqlstate == "RE041"

    def test_nothing_absorbs_the_cost_limit(self) -> None:
        endless = "l.all(a, l.all(b, l.all(c, l.all(d, true))))"
        facts = {"l": list(range(200))}
        for text in (
            f"{endless} || true",
            f"true && ({endless} || true)",
            f"l.exists(x, {endless} || true)",
            f"!l.all(x, {endless} && false)",
        ):
            error = answer(text, facts, unchecked=True).error
            assert isinstance(error, CostLimitExceeded)

    def test_the_limit_is_the_environments(self) -> None:
        facts = {"l": list(range(100))}
        assert answer("l.all(x, x >= 0)", facts, Limits(cost=10_000)).value is True
        fewer = Limits(cost=50, assumed_elements=5)
        error = answer("l.all(x, x >= 0)", facts, fewer).error
        assert isinstance(error, CostLimitExceeded)
        assert "50 units" in str(error)

    def test_growth_is_charged_before_it_happens(self) -> None:
        doubling = "[s]"
        for _ in range(30):
            doubling = f"{doubling}.map(x, x + x)"
        facts = {"s": "x" * 1_000}
        error = answer(f"{doubling}[0] == ''", facts, unchecked=True).error
        assert isinstance(error, CostLimitExceeded)

    def test_an_evaluation_that_is_told_to_stop_stops(self) -> None:
        text = "l.all(a, l.all(b, l.all(c, true))) || true"
        program = compile_expression(text, unchecked=True)
        facts = {"l": list(range(90))}
        asked = 0

        def interrupted() -> bool:
            nonlocal asked
            asked += 1
            return asked == 3

        for _ in range(2):
            asked = 0
            with pytest.raises(Interrupted):
                program.evaluate(facts, interrupted=interrupted)
            assert asked == 3
            program.generate()


class TestPatterns:
    @pytest.mark.parametrize(
        "pattern", ["(a+)+$", "(a|a)*b", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$"]
    )
    def test_a_pattern_that_hangs_python_takes_linear_time(self, pattern: str) -> None:
        assert evaluate("s.matches(p)", s="a" * 5_000 + "!", p=pattern) is False

    @pytest.mark.parametrize(
        "pattern",
        [
            "(",
            "[",
            "a**",
            r"\1",
            "(?=a)",
            "(?<!a)",
            "a{1001}",
            "((a{100}){100}){100}",
            "x" * 5000,
            r"\p{Nonsense}",
            "(?P<n>a",
        ],
        ids=ascii,
    )
    def test_a_pattern_that_re2_refuses_is_an_error(self, pattern: str) -> None:
        error = answer("s.matches(p)", {"s": "a", "p": pattern}).error
        assert error is not None
        assert len(str(error)) < 400

    def test_a_wrong_pattern_in_the_text_does_not_compile(self) -> None:
        with pytest.raises(InvalidExpression, match="invalid regular expression"):
            compile_expression("s.matches('(')")


FACTS: dict[str, Any] = {
    "a": 1,
    "b": [1, 2.5, "x", None, True, {"c": [3]}],
    "c": {"d": {"e": "text"}, "f": -7, "g": 0.0},
    "s": "caf\u00e9 \U0001f600",
    "t": "2009-02-13T23:31:30.5Z",
    "n": None,
}
PIECES = [
    *("a", "b", "c", "s", "t", "n", "x", "c.d.e", "b[0]", "c.f", "c.g", "b[5].c"),
    *("1", "0", "-1", "2u", "0u", "1.5", "0.0", "1e308", "9223372036854775807"),
    *("''", "'a'", "b'\\xff'", "r'\\d'", "true", "false", "null", "[]", "{}", "int"),
    *("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"),
    *("!", "?", ":", ",", ".", "(", ")", "[", "]", "{", "}", "?.", "[?"),
    *("size(", "has(", ".size()", ".map(x,", ".all(x,", ".exists(x,", ".filter(x,"),
    *("timestamp(", "duration('1h')", ".getHours('Europe/Berlin')", "string(", "int("),
    *(".matches(", ".contains(", "type(", "dyn(", "{'k':", "[1,", ".exists_one(x,"),
]
atoms = st.sampled_from(
    [
        *(
            "a",
            "b",
            "c",
            "s",
            "t",
            "n",
            "c.d.e",
            "b[0]",
            "c.f",
            "c.g",
            "b[5].c",
            "b[1]",
        ),
        *("1", "0", "-3", "2u", "1.5", "0.0", "'a'", "b'a'", "true", "false", "null"),
        *("[1, 2]", "{'k': 1}", "{1: 2, true: 3}", "timestamp(t)", "duration('90m')"),
    ]
)
BINARY = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]
FORMS = [
    *("size({})", "{}.size()", "!{}", "-{}", "type({})", "string({})", "int({})"),
    *("{}.d", "has({}.d)", "{}[0]", "{}['d']", "{}.getHours()", "double({})"),
    *("{}.map(x, x)", "{}.all(x, x != null)", "{}.exists(x, x == 1)", "uint({})"),
    *("{}.filter(x, x > 0)", "{}.exists_one(x, x == a)", "{}.map(x, x > 1, x + x)"),
    *("{}.contains('a')", "{}.startsWith(s)", "bytes({})", "bool({})", "[{}]"),
    *("{{'k': {}}}", "timestamp({})", "duration({})", "{} ? 1 : 2", "dyn({})"),
]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from(BINARY), inner)
    return (
        binary.map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})")
        | st.tuples(st.sampled_from(FORMS), inner).map(
            lambda parts: parts[0].format(f"({parts[1]})")
        )
        | st.tuples(inner, inner, inner).map(
            lambda parts: f"({parts[0]} ? {parts[1]} : {parts[2]})"
        )
    )


class TestAnything:
    @given(st.text())
    def test_any_text_is_an_expression_or_an_error_of_cel(self, text: str) -> None:
        _try(text)

    @given(st.text("()[]{}.,:?!-+*/%<>=&|'\"\\rb \n0123456789eEuxXaτ`_"))
    def test_any_punctuation_is_an_expression_or_an_error_of_cel(
        self, text: str
    ) -> None:
        _try(text)

    @settings(max_examples=500)
    @given(st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join))
    def test_any_words_of_cel_are_an_expression_or_an_error_of_cel(
        self, text: str
    ) -> None:
        _try(text)

    @settings(max_examples=1000, deadline=None)
    @given(st.recursive(atoms, _grown, max_leaves=8))
    def test_any_expression_has_one_answer_in_all_evaluators(self, text: str) -> None:
        _try(text)

    @given(st.binary(max_size=200))
    def test_any_bytes_are_an_expression_or_an_error_of_cel(self, data: bytes) -> None:
        _try(data.decode("latin-1"))
        _try(data.decode("utf-8", "surrogateescape"))


def _try(text: str) -> None:
    """Any exception that is no error of the language fails the test."""
    with contextlib.suppress(InvalidExpression):
        answer(text, FACTS)


def test_an_environment_is_small_and_shared() -> None:
    assert compile_expression("a").environment is compile_expression("b").environment
    assert Environment().limits is Environment().limits
