"""Comprehensions with two variables, bound values and blocks; what macros refuse."""

from __future__ import annotations

import pytest

from pgrules.cel import CostLimitExceeded, InvalidExpression, Limits, compile_expression
from tests.unit.cel.evaluating import answer, evaluate, fails


def refused(text: str) -> str:
    with pytest.raises(InvalidExpression) as caught:
        compile_expression(text)
    return str(caught.value.problems[0])


class TestTwoVariables:
    def test_a_list_gives_index_and_element(self) -> None:
        assert evaluate("a.all(i, v, v == i * 10)", a=[0, 10, 20]) is True
        assert evaluate("a.exists(i, v, i == 2 && v == 20)", a=[0, 10, 20]) is True
        assert evaluate("a.existsOne(i, v, v > i)", a=[0, 1, 9]) is True
        assert evaluate("a.exists_one(i, v, v > i)", a=[1, 1, 9]) is False

    def test_a_map_gives_key_and_value(self) -> None:
        assert evaluate("a.all(k, v, k == v)", a={"x": "x", "y": "y"}) is True
        assert evaluate("a.exists(k, v, k == 'y' && v == 2)", a={"x": 1, "y": 2})
        assert evaluate("{true: 1, 2u: 3}.transformList(k, v, k)") == [True, 2]

    def test_errors_are_absorbed_where_another_element_decides(self) -> None:
        assert evaluate("a.exists(i, v, 6 / v > 5)", a=[0, 1]) is True
        assert evaluate("a.all(i, v, 6 / v > 5)", a=[0, 2]) is False
        assert "divide by zero" in fails("a.all(i, v, 6 / v > 5)", a=[0, 1])
        assert "divide by zero" in fails("a.existsOne(i, v, 6 / v > 5)", a=[0, 1])

    def test_transform_list(self) -> None:
        assert evaluate("a.transformList(i, v, v + i)", a=[5, 5]) == [5, 6]
        assert evaluate("a.transformList(i, v, i > 0, v)", a=[5, 6, 7]) == [6, 7]
        assert evaluate("a.transformList(_, v, v)", a={"x": 1}) == [1]

    def test_transform_map_keeps_the_keys(self) -> None:
        assert evaluate("a.transformMap(k, v, k + v)", a={"x": "1"}) == {"x": "x1"}
        assert evaluate("a.transformMap(k, v, v > 1, v)", a={"x": 1, "y": 2}) == {
            "y": 2
        }
        assert evaluate("a.transformMap(i, v, v)", a=["p", "q"]) == {0: "p", 1: "q"}
        assert evaluate("{true: 1}.transformMap(k, v, v + 1) == {true: 2}") is True

    def test_transform_map_entry_makes_new_keys(self) -> None:
        text = "a.transformMapEntry(k, v, {v: k})"
        assert evaluate(text, a={"x": "y"}) == {"y": "x"}
        assert evaluate("a.transformMapEntry(k, v, v == 'y', {v: k})",
                        a={"x": "y", "z": "w"}) == {"y": "x"}  # fmt: skip
        assert "repeated key" in fails(text, a={"x": "same", "y": "same"})
        assert "repeated key" in fails("[1, 1u].transformMapEntry(i, v, {v: i})")

    def test_transform_map_entry_needs_maps(self) -> None:
        assert "transformMapEntry" in fails("a.transformMapEntry(i, v, v)", a=[1])

    def test_loops_nest(self) -> None:
        text = "a.all(k, vs, vs.all(i, v, v.startsWith(k)))"
        assert evaluate(text, a={"h": ["hello", "hi"], "j": ["joke"]}) is True

    def test_a_scalar_is_not_looped_over(self) -> None:
        assert fails("a.all(i, v, true)", a=1)

    def test_the_variables_are_two_simple_names(self) -> None:
        assert "named i" in refused("a.all(i, i, true)")
        assert "simple name" in refused("a.all(i, v.w, true)")
        assert "simple name" in refused("a.map(1, true)")

    def test_each_turn_is_charged_with_its_body(self) -> None:
        facts = {"a": [1] * 1000}
        found = answer("a.transformList(i, v, v + i)", facts, Limits(cost=3000))
        assert isinstance(found.error, CostLimitExceeded)


class TestBind:
    def test_a_name_stands_for_a_value(self) -> None:
        text = "cel.bind(total, a * b, total > 10 && total < 20)"
        assert evaluate(text, a=3, b=5) is True
        assert evaluate(text, a=3, b=9) is False

    def test_a_bound_name_hides_a_fact_and_an_outer_name(self) -> None:
        assert evaluate("cel.bind(a, 2, a) + a", a=10) == 12
        assert evaluate("cel.bind(x, 1, cel.bind(x, x + 1, x))") == 2

    def test_a_value_that_is_not_used_is_not_computed(self) -> None:
        assert evaluate("cel.bind(x, 1 / 0, true)") is True
        assert evaluate("cel.bind(x, 1 / 0, a || x == 1)", a=True) is True

    def test_the_error_of_a_value_is_the_error_of_each_use(self) -> None:
        assert evaluate("cel.bind(x, 1 / 0, x == 1 || a || x == 2)", a=True) is True
        assert "divide by zero" in fails("cel.bind(x, 1 / 0, x == 1 || x == 2)")

    def test_a_value_is_computed_once_however_often_it_is_used(self) -> None:
        facts = {"a": list(range(500))}
        text = "cel.bind(s, a.filter(x, x > 1), a.all(x, size(s) == 498))"
        found = answer(text, facts, Limits(cost=6000))
        assert found.value is True

    def test_a_failing_value_is_computed_once(self) -> None:
        facts = {"a": list(range(500))}
        text = "cel.bind(s, a.map(x, 1 / (x - 499)), a.all(x, size(s) > x) || true)"
        assert answer(text, facts, Limits(cost=6000)).value is True

    def test_in_a_loop_each_turn_has_its_own(self) -> None:
        text = "a.map(x, cel.bind(y, x * 2, y + y))"
        assert evaluate(text, a=[1, 2]) == [4, 8]

    def test_the_name_must_be_simple(self) -> None:
        assert "simple name" in refused("cel.bind(a.b, 1, 2)")
        assert "3 arguments" in refused("cel.bind(a, 1)")


class TestBlock:
    def test_slots_use_the_slots_before_them(self) -> None:
        text = "cel.block([a + 1, cel.index(0) * 2], cel.index(0) + cel.index(1))"
        assert evaluate(text, a=1) == 6

    def test_a_slot_that_is_not_used_is_not_computed(self) -> None:
        assert evaluate("cel.block([1 / 0, 2], cel.index(1))") == 2

    def test_a_slot_cannot_use_later_ones(self) -> None:
        assert "cel.index(1) refers to nothing" in refused(
            "cel.block([cel.index(1), 2], cel.index(0))"
        )
        assert "refers to nothing" in refused("cel.index(0)")

    def test_variables_without_names(self) -> None:
        text = "a.map(cel.iterVar(0, 0), a.map(cel.iterVar(1, 0), cel.iterVar(0, 0)))"
        assert evaluate(text, a=[1, 2]) == [[1, 1], [2, 2]]
        assert "refers to nothing" in refused("cel.iterVar(0, 0)")

    def test_arguments_are_literals(self) -> None:
        assert "integer literals" in refused("cel.index(a)")
        assert "integer literals" in refused("cel.index(-1)")
        assert "must be a list" in refused("cel.block(1, 2)")
