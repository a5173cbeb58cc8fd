"""Numbers in SQL that count as CEL's do.

A number of the facts is a ``numeric`` with the digits of its JSON text; CEL reads it as
an int where it has neither fraction nor exponent, else as the nearest double. Rounding
to a double never reorders numbers, so that comparing with a constant needs no rounding:
a double is greater than a constant where its digits are beyond the middle between the
constant and the next double. Between two values, both are rounded.

Integers are computed as ``numeric``, which has no end, and become NULL outside 64 bits.
Doubles are computed by PostgreSQL's own operators, which raise where IEEE 754 has
infinities and zeros: those cases are found before (PostgreSQL sources,
src/include/utils/float.h).
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Final

from .numbers import INT_MAX, INT_MIN, UINT_MAX
from .sql_text import part
from .values import Uint

EXACT: Final = 1 << 53
"""Up to here, every int is a double."""

INT_BOUNDS: Final = (INT_MIN, INT_MAX)
UINT_BOUNDS: Final = (0, UINT_MAX)

# Half of the least positive double, which is the middle between it and zero.
LEAST: Final = "2.4703282292062327e-324"
# Beyond all numbers that round to the greatest double, but for the last digits.
GREATEST: Final = "1.7976931348623158e308"

SWAPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def middles(value: float) -> tuple[str, str, bool]:
    """The middles between a double and its neighbours; whether they round to it."""
    below, above = math.nextafter(value, -math.inf), math.nextafter(value, math.inf)
    even = struct.unpack("<q", struct.pack("<d", value))[0] & 1 == 0
    return _middle(value, below), _middle(value, above), even


def _middle(value: float, other: float) -> str:
    if value == 0.0:
        return LEAST if other > 0 else f"-{LEAST}"
    if math.isinf(other):
        last = math.ldexp(math.copysign(1.0, other), 1023)
        return decimal((Fraction(value) + 2 * Fraction(last)) / 2)
    return decimal((Fraction(value) + Fraction(other)) / 2)


def decimal(value: Fraction) -> str:
    """All digits of a number whose denominator is a power of two."""
    places = value.denominator.bit_length() - 1
    digits = str(abs(value.numerator) * 5**places).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    if not places:
        return f"{sign}{digits}"
    text = f"{sign}{digits[:-places]}.{digits[-places:]}"
    return text.rstrip("0").rstrip(".")


def threshold(operator: str, value: float) -> tuple[str, str]:
    """Operator and number for digits that compare so with a finite double."""
    below, above, even = middles(value)
    if operator == ">":
        return (">" if even else ">="), above
    if operator == "<=":
        return ("<=" if even else "<"), above
    if operator == "<":
        return ("<" if even else "<="), below
    return (">=" if even else ">"), below


def compare_digits(digits: str, operator: str, value: float) -> str:
    """A number of the facts, ``numeric`` and not rounded, against a constant.

    ``value`` is an int, which is compared exactly with ints, or a double. NULL where
    ``digits`` is.
    """
    exact = type(value) is not float
    if exact and abs(value) >= EXACT:
        rounded = _compare_rounded(digits, operator, float(value))
        whole = f"{part(digits)} {operator} {int(value)}"
        return f"CASE WHEN scale({digits}) = 0 THEN {whole} ELSE {rounded} END"
    return _compare_rounded(digits, operator, float(value))


def _compare_rounded(digits: str, operator: str, value: float) -> str:
    if math.isnan(value):
        return f"CASE WHEN {part(digits)} IS NOT NULL THEN FALSE END"
    if math.isinf(value):
        infinity = "Infinity" if value > 0 else "-Infinity"
        return f"{part(digits)} {operator} '{infinity}'::numeric"
    if operator == "=":
        below, above, even = middles(value)
        if even:
            return f"{part(digits)} BETWEEN {below} AND {above}"
        return f"{part(digits)} > {below} AND {part(digits)} < {above}"
    operator, number = threshold(operator, value)
    return f"{part(digits)} {operator} {number}"


def rounded(digits: str) -> str:
    """The double that is nearest to a ``numeric``.

    NULL for a number beyond all doubles, which valid facts do not have.
    """
    size = f"abs({digits})"
    return (
        f"CASE WHEN {size} <= {LEAST} THEN 0::float8 "
        f"WHEN {size} < {GREATEST} THEN {part(digits)}::float8 END"
    )


def within(sql: str, bounds: tuple[int, int], *, limits: tuple[int, int]) -> str:
    """A ``numeric`` that is NULL outside the limits, given where it can be."""
    low, high = limits
    if bounds[0] < low:
        sql = f"nullif(greatest({sql}, {low - 1}), {low - 1})"
    if bounds[1] > high:
        sql = f"nullif(least({sql}, {high + 1}), {high + 1})"
    return sql


def clamped(bounds: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """The bounds of a value that is within the limits."""
    return max(bounds[0], limits[0]), min(bounds[1], limits[1])


Bounds = tuple[int, int]


def result_bounds(operator: str, left: Bounds, right: Bounds) -> Bounds:
    """Between which numbers the result of an integer operator lies."""
    if operator == "+":
        return left[0] + right[0], left[1] + right[1]
    if operator == "-":
        return left[0] - right[1], left[1] - right[0]
    if operator == "*":
        corners = [a * b for a in left for b in right]
        return min(corners), max(corners)
    size = max(abs(left[0]), abs(left[1])) - (operator == "%")
    return -size, size


def whole(operator: str, left: str, right: str) -> str:
    """An integer operator on two ``numeric``; a division by zero is NULL."""
    if operator in "+-*":
        return f"{part(left)} {operator} {part(right)}"
    # Both truncate toward zero, as CEL's operators do.
    function = "div" if operator == "/" else "mod"
    return f"{function}({left}, nullif({right}, 0))"


# Doubles. In these, a and b are columns of a sub-select. Where the size of the result
# is in question, it is computed at another scale by powers of two, which is exact.

_INFINITY = "sign(a) * sign(b) * 'Infinity'::float8"
_ZERO = "sign(a) * sign(b) * 0::float8"
# With these, PostgreSQL's operators never raise.
_SPECIAL = "a = 'NaN' OR b = 'NaN' OR abs(a) = 'Infinity' OR abs(b) = 'Infinity'"


def _size(test: str, scaled: str, otherwise: int) -> str:
    """The size of a scaled result where it can be computed."""
    return f"abs(CASE WHEN {test} THEN {scaled} ELSE {otherwise} END)"


_UP, _DOWN = repr(2.0**540), repr(2.0**-512)

DOUBLE_OPERATORS: Final = {
    "+": (
        "CASE WHEN abs(a) < 8e307 AND abs(b) < 8e307 THEN a + b "
        f"WHEN {_SPECIAL} THEN a + b WHEN "
        + _size("sign(a) = sign(b) AND abs(a) >= 1 AND abs(b) >= 1", "a / 2 + b / 2", 0)
        + f" >= {2.0**1023!r} THEN sign(a) * 'Infinity'::float8 ELSE a + b END"
    ),
    "*": (
        f"CASE WHEN {_SPECIAL} THEN a * b WHEN "
        + _size(
            "abs(a) >= 1 AND abs(b) >= 1", f"a * {_DOWN}::float8 * (b * {_DOWN})", 0
        )
        + f" >= 1 THEN {_INFINITY} WHEN "
        + _size(
            "abs(a) < 1 AND abs(b) < 1 AND a <> 0 AND b <> 0 "
            f"AND least(abs(a), abs(b)) < {2.0**-537!r}",
            f"a * {_UP}::float8 * (b * {_UP})",
            33,
        )
        + f" <= 32 THEN {_ZERO} ELSE a * b END"
    ),
    # Of a zero, only its text tells the sign.
    "/": (
        "CASE WHEN b = 0 THEN CASE WHEN a = 0 OR a = 'NaN' THEN 'NaN'::float8 "
        "ELSE sign(a) * CASE b::text WHEN '-0' THEN -1 ELSE 1 END "
        "* 'Infinity'::float8 END "
        f"WHEN {_SPECIAL} THEN a / b WHEN "
        + _size(
            "abs(a) >= 1 AND abs(b) < 1",
            f"a * {2.0**-500!r}::float8 / (b * {2.0**574!r})",
            0,
        )
        + f" >= {2.0**-50!r} THEN {_INFINITY} WHEN "
        + _size("abs(a) < 1 AND abs(b) < 1e-290", f"a / (b * {2.0**74!r})", 0)
        + f" >= {2.0**950!r} THEN {_INFINITY} WHEN "
        + _size(
            f"abs(a) < {2.0**-50!r} AND a <> 0 AND abs(b) >= 1",
            f"a * {2.0**574!r}::float8 / (b * {2.0**-500!r})",
            1,
        )
        + f" <= 0.5 THEN {_ZERO} ELSE a / b END"
    ),
}


def is_number(value: object) -> bool:
    """Whether a constant is a number of CEL."""
    return type(value) in (int, float, Uint)
