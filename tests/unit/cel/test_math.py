"""The library math: extremes, rounding, signs, bits."""

from __future__ import annotations

import math

import pytest

from pgrules.cel import InvalidExpression, compile_expression
from pgrules.cel.values import Uint
from tests.conformance.suite import same
from tests.unit.cel.evaluating import evaluate, fails


class TestExtremes:
    def test_the_greatest_and_the_least_of_several(self) -> None:
        assert evaluate("math.greatest(a)", a=5) == 5
        assert evaluate("math.greatest(a, b)", a=5, b=7) == 7
        assert evaluate("math.least(a, b, -1, 3)", a=5, b=7) == -1
        assert evaluate("math.greatest(a)", a=[3, 9.5, 4]) == 9.5

    def test_numbers_of_different_types_keep_theirs(self) -> None:
        assert same(evaluate("math.greatest(a, b)", a=2, b=1.5), 2)
        assert same(evaluate("math.least(a, 1u)", a=1.5), Uint(1))
        assert same(evaluate("math.greatest(a, b)", a=1, b=1.0), 1)
        assert same(evaluate("math.greatest(a, b)", a=1.0, b=1), 1.0)
        # As doubles they are equal, and the first is kept.
        assert same(evaluate("math.greatest(a, b)", a=2.0**53, b=2**53 + 1), 2.0**53)
        assert evaluate("math.greatest(a, b)", a=2**53, b=2**53 + 1) == 2**53 + 1

    def test_what_is_no_number_is_an_error(self) -> None:
        assert "math.greatest" in fails("math.greatest(a, 1)", a="x")
        assert "math.least" in fails("math.least(a)", a=[1, True])
        assert "empty" in fails("math.least(a)", a=[])
        assert "NaN" in fails("math.least(a, b)", a=math.nan, b=1)

    @pytest.mark.parametrize(
        "text",
        [
            "math.greatest()",
            "math.greatest('x')",
            "math.least(1, null)",
            "math.least([])",
            "math.least([[1]])",
            "math.least({})",
        ],
    )
    def test_literals_that_cannot_be_numbers_do_not_compile(self, text: str) -> None:
        with pytest.raises(InvalidExpression):
            compile_expression(text)


class TestRounding:
    @pytest.mark.parametrize(
        ("call", "value", "expected"),
        [
            ("ceil", 1.2, 2.0),
            ("ceil", -1.2, -1.0),
            ("floor", 1.2, 1.0),
            ("floor", -1.2, -2.0),
            ("trunc", -1.9, -1.0),
            ("round", 2.5, 3.0),
            ("round", -2.5, -3.0),
            ("round", 0.49999999999999994, 0.0),
            ("round", 4503599627370497.0, 4503599627370497.0),
            ("round", 1e300, 1e300),
        ],
    )
    def test_of_doubles(self, call: str, value: float, expected: float) -> None:
        assert same(evaluate(f"math.{call}(a)", a=value), expected)

    @pytest.mark.parametrize("call", ["ceil", "floor", "trunc", "round"])
    def test_what_has_no_whole_number_stays_what_it_is(self, call: str) -> None:
        for value in (math.inf, -math.inf, math.nan):
            assert same(evaluate(f"math.{call}(a)", a=value), value)
        assert math.copysign(1, evaluate(f"math.{call}(a)", a=-0.0)) == -1
        assert "no such overload" in fails(f"math.{call}(dyn(a))", a=1)


class TestParts:
    def test_abs_and_sign(self) -> None:
        assert same(evaluate("math.abs(a)", a=-3), 3)
        assert same(evaluate("math.abs(a)", a=-3.5), 3.5)
        assert "overflow" in fails("math.abs(a)", a=-(2**63))
        assert same(evaluate("math.sign(a)", a=-3), -1)
        assert same(evaluate("math.sign(a)", a=-0.5), -1.0)
        assert same(evaluate("math.sign(a)", a=math.nan), math.nan)
        assert same(evaluate("math.sign(5u)"), Uint(1))
        assert "no such overload" in fails("math.sign(dyn(a))", a=True)

    def test_kinds_of_doubles(self) -> None:
        assert evaluate("math.isNaN(a) && !math.isInf(a)", a=math.nan) is True
        assert evaluate("math.isInf(a) && !math.isFinite(a)", a=-math.inf) is True
        assert evaluate("math.isFinite(a)", a=1.5) is True

    def test_square_roots_are_doubles(self) -> None:
        assert same(evaluate("math.sqrt(a)", a=81), 9.0)
        assert same(evaluate("math.sqrt(a)", a=-1), math.nan)
        assert same(evaluate("math.sqrt(a)", a=math.inf), math.inf)


class TestBits:
    def test_of_two_numbers_of_one_type(self) -> None:
        assert evaluate("math.bitAnd(a, b)", a=-3, b=-5) == -7
        assert evaluate("math.bitOr(a, b)", a=-2, b=-4) == -2
        assert evaluate("math.bitXor(a, b)", a=4, b=-2) == -6
        assert same(evaluate("math.bitXor(3u, 5u)"), Uint(6))
        assert "no such overload" in fails("math.bitAnd(dyn(a), 1u)", a=1)
        assert "no such overload" in fails("math.bitOr(dyn(a), 1)", a=True)

    def test_complement(self) -> None:
        assert evaluate("math.bitNot(a)", a=1) == -2
        assert same(evaluate("math.bitNot(0u)"), Uint(2**64 - 1))

    def test_shifts_stay_within_64_bits(self) -> None:
        assert evaluate("math.bitShiftLeft(a, 63)", a=1) == -(2**63)
        assert evaluate("math.bitShiftLeft(a, 64)", a=1) == 0
        assert evaluate("math.bitShiftLeft(a, 1000000000000)", a=1) == 0
        assert same(evaluate("math.bitShiftLeft(3u, 63)"), Uint(2**63))

    def test_a_shift_to_the_right_brings_in_zeros(self) -> None:
        assert evaluate("math.bitShiftRight(a, 1)", a=-1) == 2**63 - 1
        assert evaluate("math.bitShiftRight(a, 0)", a=-1) == -1
        assert evaluate("math.bitShiftRight(a, 64)", a=-1) == 0

    def test_a_negative_shift_is_an_error(self) -> None:
        assert "negative offset" in fails("math.bitShiftLeft(a, -1)", a=1)
        assert "negative offset" in fails("math.bitShiftRight(1u, a)", a=-1)
