"""The library sets: lists compared as sets by CEL's equality."""

from __future__ import annotations

import math

from pgrules.cel import CostLimitExceeded
from tests.unit.cel.evaluating import answer, evaluate, fails


def test_contains_asks_for_every_element_of_the_second() -> None:
    assert evaluate("sets.contains(a, b)", a=[1, 2, 3], b=[3, 1]) is True
    assert evaluate("sets.contains(a, b)", a=[1], b=[1, 2]) is False
    assert evaluate("sets.contains(a, b)", a=[], b=[]) is True


def test_equivalent_lists_have_the_same_elements() -> None:
    assert evaluate("sets.equivalent(a, b)", a=[1, 1, 2], b=[2, 1]) is True
    assert evaluate("sets.equivalent(a, b)", a=[1], b=[1, 2]) is False


def test_intersecting_lists_have_an_element_in_common() -> None:
    assert evaluate("sets.intersects(a, b)", a=["x", "y"], b=["y"]) is True
    assert evaluate("sets.intersects(a, b)", a=["x"], b=[]) is False


def test_elements_are_equal_as_in_cel() -> None:
    assert evaluate("sets.contains(a, b)", a=[1, 2.0], b=[1.0, 2]) is True
    assert evaluate("sets.contains(a, b)", a=[1, 0], b=[True]) is False
    assert evaluate("sets.intersects(a, b)", a=[True], b=[1]) is False
    assert evaluate("sets.intersects(a, b)", a=[[1], {"x": 1}], b=[{"x": 1.0}]) is True
    assert evaluate("sets.intersects(a, a)", a=[math.nan]) is False
    assert evaluate("sets.contains(a, b)", a=["1", None], b=[None]) is True
    assert evaluate("sets.contains(a, b)", a=[2.0**53], b=[2**53 + 1]) is True
    assert evaluate("sets.contains(a, b)", a=[2**53], b=[2**53 + 1]) is False


def test_only_lists_are_compared() -> None:
    assert "no such overload" in fails("sets.contains(dyn(a), [1])", a={"x": 1})


def test_large_lists_of_scalars_are_cheap_and_others_are_charged() -> None:
    facts = {"a": list(range(50_000)), "b": [[n] for n in range(2_000)]}
    assert answer("sets.equivalent(a, a)", facts).value is True
    found = answer("sets.equivalent(b, b)", facts)
    assert isinstance(found.error, CostLimitExceeded)
