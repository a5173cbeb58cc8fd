"""Numbers as CEL counts, on Python's ``int`` and ``float`` (cel-spec, "Values").

Python's integers have no end, its ``//`` and ``%`` round down, its ``/`` raises and its
parsers take ``1_000`` and blanks. Here int and uint end at 64 bits, division rounds
toward zero, a double divides to infinity or NaN, and text is read as cel-go reads it.

The functions take operands of the right type; which types an operator accepts is the
evaluator's to decide. ``+``, ``-``, ``*`` and comparisons of two floats are Python's
own.
"""

from __future__ import annotations

import re
from math import copysign, isfinite, isinf, isnan
from typing import Final

from .errors import EvaluationError
from .values import Uint

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
UINT_MAX: Final = (1 << 64) - 1


def _overflow() -> EvaluationError:
    return EvaluationError("integer overflow: the result does not fit 64 bits")


def _unsigned_overflow() -> EvaluationError:
    return EvaluationError(
        "unsigned integer overflow: the result is negative or does not fit 64 bits"
    )


# --- int -----------------------------------------------------------------------------


def add_int(left: int, right: int) -> int:
    """``int + int``, or an overflow error."""
    result = left + right
    if INT_MIN <= result <= INT_MAX:
        return result
    raise _overflow()


def subtract_int(left: int, right: int) -> int:
    """``int - int``, or an overflow error."""
    result = left - right
    if INT_MIN <= result <= INT_MAX:
        return result
    raise _overflow()


def multiply_int(left: int, right: int) -> int:
    """``int * int``, or an overflow error."""
    result = left * right
    if INT_MIN <= result <= INT_MAX:
        return result
    raise _overflow()


def divide_int(left: int, right: int) -> int:
    """``int / int`` rounded toward zero; ``-2**63 / -1`` overflows."""
    if right == 0:
        raise EvaluationError("divide by zero")
    if (left < 0) == (right < 0):
        result = left // right
        if result > INT_MAX:
            raise _overflow()
        return result
    return -(-left // right)


def modulo_int(left: int, right: int) -> int:
    """``int % int`` with the sign of the dividend; ``-2**63 % -1`` overflows."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    if right == -1 and left == INT_MIN:
        raise _overflow()
    result = abs(left) % abs(right)
    return result if left >= 0 else -result


def negate_int(value: int) -> int:
    """``-int``; the smallest int has no positive counterpart."""
    if value == INT_MIN:
        raise _overflow()
    return -value


# --- uint ----------------------------------------------------------------------------


def add_uint(left: int, right: int) -> Uint:
    """``uint + uint``, or an overflow error."""
    result = int(left) + int(right)
    if result <= UINT_MAX:
        return Uint(result)
    raise _unsigned_overflow()


def subtract_uint(left: int, right: int) -> Uint:
    """``uint - uint``, an overflow error below zero."""
    if right <= left:
        return Uint(int(left) - int(right))
    raise _unsigned_overflow()


def multiply_uint(left: int, right: int) -> Uint:
    """``uint * uint``, or an overflow error."""
    result = int(left) * int(right)
    if result <= UINT_MAX:
        return Uint(result)
    raise _unsigned_overflow()


def divide_uint(left: int, right: int) -> Uint:
    """``uint / uint`` rounded down."""
    if right == 0:
        raise EvaluationError("divide by zero")
    return Uint(int(left) // int(right))


def modulo_uint(left: int, right: int) -> Uint:
    """``uint % uint``."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    return Uint(int(left) % int(right))


# --- double --------------------------------------------------------------------------


def divide_double(left: float, right: float) -> float:
    """``double / double`` of IEEE 754: by zero it is an infinity, or NaN for 0 / 0."""
    if right != 0.0:
        return left / right
    if left == 0.0 or isnan(left):
        return float("nan")
    return copysign(float("inf"), left) * copysign(1.0, right)


# --- conversions ---------------------------------------------------------------------


def double_to_int(value: float) -> int:
    """``int(double)``: toward zero, both ends of the range excluded, as in cel-go."""
    if -9223372036854775808.0 < value < 9223372036854775808.0:
        return int(value)
    raise EvaluationError(f"range error: {format_double(value)} does not fit int")


def uint_to_int(value: int) -> int:
    """``int(uint)``."""
    if value <= INT_MAX:
        return int(value)
    raise EvaluationError(f"range error: {int(value)}u does not fit int")


def double_to_uint(value: float) -> Uint:
    """``uint(double)``: toward zero; negative numbers are refused, -0.5 too."""
    if 0.0 <= value < 18446744073709551616.0:
        return Uint(int(value))
    raise EvaluationError(f"range error: {format_double(value)} does not fit uint")


def int_to_uint(value: int) -> Uint:
    """``uint(int)``."""
    if value >= 0:
        return Uint(value)
    raise EvaluationError(f"range error: {value} does not fit uint")


# [0-9], not \d, which takes the digits of every script.
_INT = re.compile(r"[+-]?[0-9]+")
_UINT = re.compile(r"[0-9]+")
_DOUBLE = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(inf|infinity))|nan",
    re.ASCII | re.IGNORECASE,
)
# No number of 64 bits has more digits; reading thousands of them would be slow.
_MAX_DIGITS = 20


def _shown(text: str) -> str:
    """Quote what a user wrote, shortened so that a message stays readable."""
    return repr(text if len(text) <= 64 else text[:61] + "...")


def parse_int(text: str) -> int:
    """``int(string)``: decimal digits with an optional sign, nothing else."""
    if _INT.fullmatch(text) is None:
        raise EvaluationError(f"cannot convert {_shown(text)} to int")
    if len(text) > _MAX_DIGITS:
        digits = text.lstrip("+-").lstrip("0")
        if len(digits) > _MAX_DIGITS:
            raise EvaluationError(f"range error: {_shown(text)} does not fit int")
        text = text[0] + digits if text[0] == "-" else digits or "0"
        text = "0" if text == "-" else text
    value = int(text)
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError(f"range error: {_shown(text)} does not fit int")


def parse_uint(text: str) -> Uint:
    """``uint(string)``: decimal digits without a sign, nothing else."""
    if _UINT.fullmatch(text) is None:
        raise EvaluationError(f"cannot convert {_shown(text)} to uint")
    if len(text) > _MAX_DIGITS:
        digits = text.lstrip("0")
        if len(digits) > _MAX_DIGITS:
            raise EvaluationError(f"range error: {_shown(text)} does not fit uint")
        text = digits or "0"
    value = int(text)
    if value <= UINT_MAX:
        return Uint(value)
    raise EvaluationError(f"range error: {_shown(text)} does not fit uint")


def parse_double(text: str) -> float:
    """``double(string)``: a decimal number, ``inf``, ``infinity`` or ``nan``.

    As in cel-go, letter case of the words does not matter and a number too large for a
    double is an error, not an infinity. Hexadecimal and underscores are refused.
    """
    match = _DOUBLE.fullmatch(text)
    if match is None:
        raise EvaluationError(f"cannot convert {_shown(text)} to double")
    value = float(text)
    if isinf(value) and match[1] is None:
        raise EvaluationError(f"range error: {_shown(text)} does not fit double")
    return value


def format_double(value: float) -> str:
    """``string(double)``: the shortest digits that read back, laid out as cel-go does.

    That is Go's ``%g``: no fraction where there is none (``1``), an exponent below
    1e-4 and from 1e6 on (``1e+06``), ``NaN``, ``+Inf``, ``-Inf``.
    """
    if not isfinite(value):
        return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    size = abs(value)
    if size < 1e6 or size >= 1e16:
        # Python's own exponents start at the same 1e-4 below, and at 1e16 above.
        return text.removesuffix(".0")
    sign = "-" if value < 0 else ""
    whole, _, fraction = text.lstrip("-").partition(".")
    exponent = len(whole) - 1
    digits = (whole + fraction).rstrip("0")
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{sign}{mantissa}e+{exponent:02d}"
