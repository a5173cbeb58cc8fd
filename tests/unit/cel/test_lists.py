"""The library lists: parts, orders, equals; sizes are charged before lists grow."""

from __future__ import annotations

import math

import pytest

from pgrules.cel import CostLimitExceeded
from tests.conformance.suite import same
from tests.unit.cel.evaluating import answer, evaluate, fails


class TestParts:
    def test_slice(self) -> None:
        assert evaluate("a.slice(1, 3)", a=[1, 2, 3, 4]) == [2, 3]
        assert evaluate("a.slice(4, 4)", a=[1, 2, 3, 4]) == []
        for start, end in ((-1, 2), (2, 1), (0, 5)):
            assert "cannot slice" in fails("a.slice(b, c)", a=[1, 2], b=start, c=end)

    def test_flatten_opens_one_level_or_as_many_as_asked(self) -> None:
        nested = [1, [2, [3, [4]]], []]
        assert evaluate("a.flatten()", a=nested) == [1, 2, [3, [4]]]
        assert evaluate("a.flatten(2)", a=nested) == [1, 2, 3, [4]]
        assert evaluate("a.flatten(0)", a=nested) == nested
        assert evaluate("a.flatten(9223372036854775807)", a=nested) == [1, 2, 3, 4]
        assert "negative" in fails("a.flatten(-1)", a=nested)

    def test_reverse(self) -> None:
        assert evaluate("a.reverse()", a=[1, 2, 3]) == [3, 2, 1]
        assert evaluate("a.reverse()", a="añ☺") == "☺ña"
        assert "no such overload" in fails("a.reverse()", a=1)

    def test_range(self) -> None:
        assert evaluate("lists.range(3)") == [0, 1, 2]
        assert evaluate("lists.range(0)") == []
        assert "negative" in fails("lists.range(a)", a=-1)


class TestOrder:
    def test_sort(self) -> None:
        assert evaluate("a.sort()", a=[3, 1, 2]) == [1, 2, 3]
        assert evaluate("a.sort()", a=["b", "a"]) == ["a", "b"]
        assert evaluate("a.sort()", a=[True, False]) == [False, True]
        assert evaluate("a.sort()", a=[]) == []

    def test_elements_must_have_one_type_that_has_an_order(self) -> None:
        assert "same type" in fails("a.sort()", a=[1, 2.0])
        assert "same type" in fails("a.sort()", a=[1, True])
        assert "comparable" in fails("a.sort()", a=[[1]])
        assert "comparable" in fails("a.sort()", a=[None])

    def test_nan_comes_first(self) -> None:
        found = evaluate("a.sort()", a=[2.0, math.nan, -math.inf])
        assert same(found, [math.nan, -math.inf, 2.0])

    def test_sort_by_a_key_keeps_the_order_of_equals(self) -> None:
        people = [{"n": "c", "a": 2}, {"n": "b", "a": 1}, {"n": "a", "a": 2}]
        assert evaluate("p.sortBy(x, x.a).map(x, x.n)", p=people) == ["b", "c", "a"]
        assert "same type" in fails("p.sortBy(x, x.a)", p=[{"a": 1}, {"a": "x"}])
        assert "no such key" in fails("p.sortBy(x, x.b)", p=people)
        assert fails("p.sortBy(x, x)", p={"a": 1})


class TestDistinct:
    def test_the_first_of_equals_stays(self) -> None:
        assert evaluate("a.distinct()", a=["b", "b", "c", "a", "c"]) == ["b", "c", "a"]
        assert same(evaluate("a.distinct()", a=[1, 1.0, 2]), [1, 2])

    def test_equality_is_cels(self) -> None:
        assert same(
            evaluate("a.distinct()", a=[1, True, 0, False]), [1, True, 0, False]
        )
        assert evaluate("a.distinct()", a=[[1], [1.0], [True]]) == [[1], [True]]
        assert evaluate("size(a.distinct())", a=[math.nan, math.nan]) == 2
        assert evaluate("size(a.distinct())", a=[2**53, 2**53 + 1]) == 2
        assert evaluate("size(a.distinct())", a=[2.0**53, 2**53 + 1]) == 1
        assert evaluate("a.distinct()", a=[None, None, "", {}]) == [None, "", {}]


class TestCost:
    @pytest.mark.parametrize(
        "text",
        [
            "lists.range(1000000000000)",
            "lists.range(999999).map(i, lists.range(1000)).flatten()",
            "cel.bind(x, lists.range(9000), lists.range(9000).map(i, x).flatten())",
            "lists.range(5000).map(i, [i]).distinct()",
            "lists.range(900000).sort()",
        ],
    )
    def test_a_list_that_grows_ends_at_the_limit(self, text: str) -> None:
        assert isinstance(answer(text, unchecked=True).error, CostLimitExceeded)
