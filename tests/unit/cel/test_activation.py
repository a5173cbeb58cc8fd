"""Derived fields in an evaluation: when they are computed, and what supplies them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgrules.cel import CostLimitExceeded, Environment, EvaluationError
from pgrules.cel import compile_expression as compile_
from pgrules.cel.activation import activate, compile_derived
from pgrules.cel.cache import EnvironmentCache, ProgramCache


def environment(**derived: str) -> Environment:
    return Environment.from_json(json.dumps({"derived": derived}))


def variables(of: Environment, facts: dict[str, Any]) -> dict[str, Any]:
    return activate(facts, compile_derived(of), of.limits.cost)


def evaluate(text: str, of: Environment, **facts: Any) -> Any:
    return compile_(text, of).evaluate(variables(of, facts))


class TestDerivedFields:
    def test_are_used_like_facts(self) -> None:
        """DER-1: a name for an expression over facts and other derived fields."""
        of = environment(Adult="age >= 18", Senior="Adult && age > 64")
        assert evaluate("Senior || Adult", of, age=20) is True
        assert evaluate("Senior", of, age=20) is False

    def test_follow_their_dependencies_in_any_order_of_writing(self) -> None:
        """DER-2: evaluation follows the order of dependencies."""
        of = environment(C="B + 1", B="A + 1", A="x + 1")
        assert evaluate("C", of, x=1) == 4

    def test_that_are_supplied_are_taken_as_given(self) -> None:
        """DER-3: what callers supply wins over the expression."""
        of = environment(Adult="age >= 18", Grown="!Adult")
        assert evaluate("Adult", of, age=1, Adult=True) is True
        assert evaluate("Grown", of, age=1, Adult=True) is False

    def test_that_are_supplied_must_be_of_their_type(self) -> None:
        of = environment(Adult="1 >= 18")
        with pytest.raises(EvaluationError, match="derived field Adult"):
            evaluate("Adult", of, Adult="yes")

    def test_are_computed_at_most_once(self) -> None:
        of = environment(Count="xs.filter(x, x > 0).size()")
        held = variables(of, {"xs": [1, 2]})
        rule = compile_("Count == 2 && Count > 1", of)
        assert rule.evaluate(held) is True
        held["xs"] = []
        assert rule.evaluate(held) is True

    def test_that_nobody_reads_are_not_computed(self) -> None:
        of = environment(Broken="1 / 0 == 1")
        assert evaluate("x == 1", of, x=1) is True
        assert evaluate("x == 1 || Broken", of, x=1) is True

    def test_fail_where_they_are_read_each_time_in_the_same_words(self) -> None:
        of = environment(Broken="1 / x == 1")
        held = variables(of, {"x": 0})
        for text, column in (("Broken", 1), ("  Broken", 3)):
            message = f"line 1, column {column}: derived field Broken: divide by zero"
            with pytest.raises(EvaluationError) as caught:
                compile_(text, of).evaluate(held)
            assert str(caught.value) == message

    def test_of_a_chain_that_fails_the_ends_are_named(self) -> None:
        of = environment(A="1 / x", B="A + 1", C="B + 1", D="C + 1")
        with pytest.raises(EvaluationError) as caught:
            evaluate("D", of, x=0)
        message = "line 1, column 1: derived field D: derived field A: divide by zero"
        assert str(caught.value) == message

    def test_share_one_cost_limit(self) -> None:
        loops = "xs.all(x, xs.all(y, y >= 0))"
        of = environment(A=loops, B=loops)
        xs = list(range(400))
        assert evaluate("A", of, xs=xs) is True
        with pytest.raises(CostLimitExceeded):
            evaluate("A && B", of, xs=xs)

    def test_work_in_generated_code(self) -> None:
        of = environment(Adult="age >= 18")
        rule = compile_("Adult && age < 65", of)
        rule.generate()
        assert rule.evaluate(variables(of, {"age": 20})) is True


class TestCaches:
    def test_programs_are_compiled_once(self) -> None:
        """COMP-4: what was compiled in this session is not compiled again."""
        programs, of = ProgramCache(), Environment()
        first = programs.program("x > 1", "{}", of)
        assert programs.program("x > 1", "{}", of) is first

    def test_the_same_text_in_another_environment_is_another_program(self) -> None:
        programs = ProgramCache()
        one = programs.program("Adult", "1", environment(Adult="age >= 18"))
        two = programs.program("Adult", "2", environment(Adult="age >= 21"))
        assert one is not two

    def test_programs_unused_for_longest_go_first(self) -> None:
        programs, of = ProgramCache(capacity=9), Environment()
        kept = programs.program("a > 1", "{}", of)
        gone = programs.program("b > 1", "{}", of)
        programs.program("a > 1", "{}", of)
        programs.program("c > 1", "{}", of)
        programs.program("d > 1", "{}", of)
        assert programs.nodes <= 9
        assert programs.program("b > 1", "{}", of) is not gone
        assert kept.text == "a > 1"

    def test_environments_are_bounded_too(self) -> None:
        environments = EnvironmentCache(capacity=2)
        documents = [json.dumps({"derived": {"D": str(n)}}) for n in range(3)]
        first = environments.compiled(documents[0])
        assert environments.compiled(documents[0]) is first
        for document in documents[1:]:
            environments.compiled(document)
        assert environments.compiled(documents[0]) is not first
