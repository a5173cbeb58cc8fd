"""Numbers: 64 bits, division toward zero, conversions, text."""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrules.cel import EvaluationError, numbers
from pgrules.cel.numbers import INT_MAX, INT_MIN, UINT_MAX
from pgrules.cel.values import Uint

if TYPE_CHECKING:
    from collections.abc import Callable

INF, NAN = math.inf, math.nan

ints = st.integers(INT_MIN, INT_MAX)
uints = st.integers(0, UINT_MAX).map(Uint)
finite = st.floats(allow_nan=False, allow_infinity=False)


class TestInt:
    @pytest.mark.parametrize(
        ("ours", "exact"),
        [
            (numbers.add_int, operator.add),
            (numbers.subtract_int, operator.sub),
            (numbers.multiply_int, operator.mul),
        ],
    )
    @given(left=ints, right=ints)
    def test_a_result_is_exact_or_an_overflow(
        self,
        ours: Callable[[int, int], int],
        exact: Callable[[int, int], int],
        left: int,
        right: int,
    ) -> None:
        expected = exact(left, right)
        if INT_MIN <= expected <= INT_MAX:
            assert ours(left, right) == expected
        else:
            with pytest.raises(EvaluationError, match="integer overflow"):
                ours(left, right)

    @given(ints, ints.filter(bool))
    def test_division_and_remainder_round_toward_zero(
        self, left: int, right: int
    ) -> None:
        if (left, right) == (INT_MIN, -1):
            return
        quotient = numbers.divide_int(left, right)
        assert quotient == math.trunc(Fraction(left, right))
        assert quotient * right + numbers.modulo_int(left, right) == left

    @pytest.mark.parametrize(
        ("left", "right", "quotient", "remainder"),
        [
            (7, 2, 3, 1),
            (-7, 2, -3, -1),
            (7, -2, -3, 1),
            (-7, -2, 3, -1),
            (-3, 5, 0, -3),
        ],
    )
    def test_the_remainder_has_the_sign_of_the_dividend(
        self, left: int, right: int, quotient: int, remainder: int
    ) -> None:
        assert numbers.divide_int(left, right) == quotient
        assert numbers.modulo_int(left, right) == remainder

    def test_the_smallest_int_has_no_counterpart(self) -> None:
        for operation in (numbers.divide_int, numbers.modulo_int):
            with pytest.raises(EvaluationError, match="integer overflow"):
                operation(INT_MIN, -1)
        with pytest.raises(EvaluationError, match="integer overflow"):
            numbers.negate_int(INT_MIN)
        assert numbers.negate_int(INT_MAX) == INT_MIN + 1

    def test_division_by_zero_says_which_operation(self) -> None:
        with pytest.raises(EvaluationError, match=r"^divide by zero$"):
            numbers.divide_int(1, 0)
        with pytest.raises(EvaluationError, match=r"^modulus by zero$"):
            numbers.modulo_int(1, 0)


class TestUint:
    @pytest.mark.parametrize(
        ("ours", "exact"),
        [
            (numbers.add_uint, operator.add),
            (numbers.subtract_uint, operator.sub),
            (numbers.multiply_uint, operator.mul),
        ],
    )
    @given(left=uints, right=uints)
    def test_a_result_is_exact_and_a_uint_or_an_overflow(
        self,
        ours: Callable[[int, int], int],
        exact: Callable[[int, int], int],
        left: Uint,
        right: Uint,
    ) -> None:
        expected = exact(int(left), int(right))
        if 0 <= expected <= UINT_MAX:
            result = ours(left, right)
            assert type(result) is Uint
            assert int(result) == expected
        else:
            with pytest.raises(EvaluationError, match="unsigned integer overflow"):
                ours(left, right)

    def test_division_by_zero_says_which_operation(self) -> None:
        with pytest.raises(EvaluationError, match=r"^divide by zero$"):
            numbers.divide_uint(Uint(1), Uint(0))
        with pytest.raises(EvaluationError, match=r"^modulus by zero$"):
            numbers.modulo_uint(Uint(1), Uint(0))

    def test_division_gives_a_uint(self) -> None:
        assert type(numbers.divide_uint(Uint(7), Uint(2))) is Uint
        assert type(numbers.modulo_uint(Uint(7), Uint(2))) is Uint


class TestDouble:
    @pytest.mark.parametrize(
        ("left", "right", "quotient"),
        [
            (1.0, 0.0, INF),
            (1.0, -0.0, -INF),
            (-1.0, 0.0, -INF),
            (INF, 0.0, INF),
            (0.0, 0.0, NAN),
            (NAN, 0.0, NAN),
            (INF, INF, NAN),
            (1.0, 4.0, 0.25),
        ],
    )
    def test_division_follows_ieee_754(
        self, left: float, right: float, quotient: float
    ) -> None:
        result = numbers.divide_double(left, right)
        assert result == quotient or (math.isnan(result) and math.isnan(quotient))


class TestConversions:
    @pytest.mark.parametrize(
        ("double", "integer"),
        [
            (-123.456, -123),
            (-7.9, -7),
            (3.5, 3),
            (-0.0, 0),
            (0.99, 0),
            (-0.99, 0),
            (9.223372036854775e18, 9223372036854774784),
        ],
    )
    def test_a_double_becomes_an_int_toward_zero(
        self, double: float, integer: int
    ) -> None:
        result = numbers.double_to_int(double)
        assert type(result) is int
        assert result == integer

    @pytest.mark.parametrize(
        "double", [9223372036854775807.0, -9223372036854775808.0, 1e99, NAN, INF, -INF]
    )
    def test_a_double_outside_the_open_range_is_no_int(self, double: float) -> None:
        with pytest.raises(EvaluationError, match=r"range error: .* does not fit int"):
            numbers.double_to_int(double)

    @pytest.mark.parametrize(
        ("double", "integer"), [(25.5, 25), (0.0, 0), (18446744073709549568.0, None)]
    )
    def test_a_double_becomes_a_uint_toward_zero(
        self, double: float, integer: int | None
    ) -> None:
        result = numbers.double_to_uint(double)
        assert type(result) is Uint
        assert result == (int(double) if integer is None else integer)

    @pytest.mark.parametrize(
        "double", [-0.5, -1.0, 18446744073709551615.0, 6.022e23, NAN, INF, -INF]
    )
    def test_a_double_outside_the_range_is_no_uint(self, double: float) -> None:
        with pytest.raises(EvaluationError, match=r"range error: .* does not fit uint"):
            numbers.double_to_uint(double)

    def test_int_and_uint_convert_where_the_value_fits(self) -> None:
        assert type(numbers.int_to_uint(INT_MAX)) is Uint
        assert type(numbers.uint_to_int(Uint(INT_MAX))) is int
        with pytest.raises(EvaluationError, match="-1 does not fit uint"):
            numbers.int_to_uint(-1)
        with pytest.raises(EvaluationError, match="9223372036854775808u does not fit"):
            numbers.uint_to_int(Uint(INT_MAX + 1))


class TestText:
    @given(ints)
    def test_every_int_is_read_back(self, value: int) -> None:
        assert numbers.parse_int(str(value)) == value

    @given(st.integers(0, UINT_MAX))
    def test_every_uint_is_read_back(self, value: int) -> None:
        parsed = numbers.parse_uint(str(value))
        assert type(parsed) is Uint
        assert int(parsed) == value

    @given(finite)
    def test_every_double_is_read_back(self, value: float) -> None:
        assert numbers.parse_double(numbers.format_double(value)) == value

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("+5", 5),
            ("-0", 0),
            ("007", 7),
            ("0" * 5000 + "7", 7),
            ("-" + "0" * 5000, 0),
            ("-" + "0" * 30 + "12", -12),
        ],
    )
    def test_signs_and_leading_zeros_are_read(self, text: str, value: int) -> None:
        assert numbers.parse_int(text) == value

    @pytest.mark.parametrize(
        "text",
        ["", "+", "-", " 1", "1 ", "1_0", "0x1", "1.0", "1e3", "\u0661", "--1", "1\n"],
    )
    def test_text_that_python_or_nobody_reads_is_no_int(self, text: str) -> None:
        with pytest.raises(EvaluationError, match=r"cannot convert .* to int"):
            numbers.parse_int(text)

    @pytest.mark.parametrize("text", ["", "+1", "-1", " 1", "1u", "1_0", "\u0661"])
    def test_text_that_python_or_nobody_reads_is_no_uint(self, text: str) -> None:
        with pytest.raises(EvaluationError, match=r"cannot convert .* to uint"):
            numbers.parse_uint(text)

    @pytest.mark.parametrize(
        "text",
        [str(INT_MAX + 1), str(INT_MIN - 1), "9" * 1_000_000, "-" + "9" * 21],
    )
    def test_an_int_outside_64_bits_is_a_range_error(self, text: str) -> None:
        with pytest.raises(EvaluationError, match=r"range error: .* does not fit int"):
            numbers.parse_int(text)

    @pytest.mark.parametrize("text", [str(UINT_MAX + 1), "9" * 1_000_000])
    def test_a_uint_outside_64_bits_is_a_range_error(self, text: str) -> None:
        with pytest.raises(EvaluationError, match=r"range error: .* does not fit uint"):
            numbers.parse_uint(text)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-1.5e-3", -0.0015),
            ("1E5", 100000.0),
            ("+Inf", INF),
            ("-infinity", -INF),
            ("INF", INF),
            ("1e-400", 0.0),
        ],
    )
    def test_decimal_numbers_and_words_are_doubles(
        self, text: str, value: float
    ) -> None:
        assert numbers.parse_double(text) == value

    def test_nan_is_a_double(self) -> None:
        assert math.isnan(numbers.parse_double("NaN"))

    @pytest.mark.parametrize(
        "text",
        ["", ".", "e5", "1e", " 1", "1 ", "1_0.0", "0x1p-2", "1,5", "\u0661", "-nan"],
    )
    def test_other_text_is_no_double(self, text: str) -> None:
        with pytest.raises(EvaluationError, match=r"cannot convert .* to double"):
            numbers.parse_double(text)

    @pytest.mark.parametrize("text", ["1e309", "-1e309", "9" * 400])
    def test_a_number_beyond_all_doubles_is_a_range_error(self, text: str) -> None:
        with pytest.raises(EvaluationError, match="does not fit double"):
            numbers.parse_double(text)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-4.5e-3, "-0.0045"),
            (123.456, "123.456"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100000.0, "100000"),
            (999999.5, "999999.5"),
            (1e6, "1e+06"),
            (-1234567.8, "-1.2345678e+06"),
            (123456789.0, "1.23456789e+08"),
            (1e15, "1e+15"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (5e-324, "5e-324"),
            (NAN, "NaN"),
            (INF, "+Inf"),
            (-INF, "-Inf"),
        ],
    )
    def test_a_double_is_written_as_cel_go_writes_it(
        self, value: float, text: str
    ) -> None:
        assert numbers.format_double(value) == text
