"""Functions of numbers, as cel-go's library ``math``, version 2.

``math.greatest`` and ``math.least`` come here with one number, two numbers or a list;
a macro makes a list of more arguments.
"""

from __future__ import annotations

import math
from math import copysign, isfinite, isinf, isnan
from typing import TYPE_CHECKING

from . import operators
from .errors import EvaluationError
from .library import Function, library
from .numbers import INT_MAX, UINT_MAX
from .operators import no_overload
from .values import NUMERIC, Uint, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evaluation import Evaluation
    from .library import Implementation

_NUMBERS = ("int", "uint", "double")


# The greatest and the least


def _extreme(
    name: str, is_better: Callable[[Evaluation, Value, Value], bool]
) -> Function:
    def implementation(state: Evaluation, *arguments: Value) -> Value:
        numbers: list[Value] | tuple[Value, ...] = arguments
        if len(arguments) == 1 and type(arguments[0]) is list:
            (numbers,) = arguments
            if not numbers:
                raise EvaluationError(f"{name}: the list is empty")
            state.charge(len(numbers))
        for number in numbers:
            if type(number) not in NUMERIC:
                raise no_overload(name, number)
        best = numbers[0]
        if len(numbers) > 1 and any(number != number for number in numbers):  # noqa: PLR0124
            raise EvaluationError(f"{name}: NaN has no order")
        # Of equal numbers of two types, the first is kept.
        for number in numbers:
            if is_better(state, number, best):
                best = number
        return best

    signatures = (
        *(f"({kind}) -> {kind}" for kind in _NUMBERS),
        *(f"({kind}, {kind}) -> {kind}" for kind in _NUMBERS),
        *(f"({a}, {b}) -> dyn" for a in _NUMBERS for b in _NUMBERS if a != b),
        *(f"(list({kind})) -> {kind}" for kind in _NUMBERS),
    )
    return Function(name, signatures, implementation)


# Rounding and the parts of a number


def _ceil(value: float) -> float:
    return copysign(math.ceil(value), value) if isfinite(value) else value


def _floor(value: float) -> float:
    return copysign(math.floor(value), value) if isfinite(value) else value


def _trunc(value: float) -> float:
    return copysign(math.trunc(value), value) if isfinite(value) else value


def _round(value: float) -> float:
    """To the nearest whole number, halves away from zero."""
    if not isfinite(value):
        return value
    whole = _trunc(value)
    # Exact, where adding one half is not: 0.49999999999999994 is less.
    return whole + copysign(1.0, value) if abs(value - whole) >= 0.5 else whole


def _of_double(name: str, result: str, compute: Callable[[float], Value]) -> Function:
    def implementation(state: Evaluation, value: Value) -> Value:
        if type(value) is float:
            return compute(value)
        raise no_overload(name, value)

    return Function(name, (f"(double) -> {result}",), implementation)


def _abs(state: Evaluation, value: Value) -> Value:
    kind = type(value)
    if kind is Uint:
        return value
    if kind is int:
        if -value > INT_MAX:
            raise EvaluationError("integer overflow: math.abs of the least int")
        return abs(value)
    if kind is float:
        return abs(value)
    raise no_overload("math.abs", value)


def _sign(state: Evaluation, value: Value) -> Value:
    kind = type(value)
    if kind is Uint:
        return Uint(value > 0)
    if kind is int:
        return (value > 0) - (value < 0)
    if kind is float:
        return value if isnan(value) else float((value > 0) - (value < 0))
    raise no_overload("math.sign", value)


def _sqrt(state: Evaluation, value: Value) -> float:
    if type(value) not in NUMERIC:
        raise no_overload("math.sqrt", value)
    return math.nan if value < 0 else math.sqrt(value)


# Bits: 64 of them, in two's complement


def _signed(bits: int) -> int:
    bits &= UINT_MAX
    return bits - (1 << 64) if bits > INT_MAX else bits


def _on_bits(name: str, compute: Callable[[int, int], int]) -> Function:
    def implementation(state: Evaluation, left: Value, right: Value) -> Value:
        if type(left) is type(right):
            if type(left) is int:
                return compute(left, right)
            if type(left) is Uint:
                return Uint(compute(int(left), int(right)))
        raise no_overload(name, left, right)

    signatures = ("(int, int) -> int", "(uint, uint) -> uint")
    return Function(name, signatures, implementation)


def _bit_not(state: Evaluation, value: Value) -> Value:
    if type(value) is int:
        return ~value
    if type(value) is Uint:
        return Uint(UINT_MAX - value)
    raise no_overload("math.bitNot", value)


def _shift(name: str, compute: Callable[[int, int], int]) -> Function:
    def implementation(state: Evaluation, value: Value, bits: Value) -> Value:
        if type(value) not in (int, Uint) or type(bits) is not int:
            raise no_overload(name, value, bits)
        if bits < 0:
            raise EvaluationError(f"{name}: negative offset: {bits}")
        shifted = 0 if bits >= 64 else compute(int(value) & UINT_MAX, bits)
        return Uint(shifted & UINT_MAX) if type(value) is Uint else _signed(shifted)

    signatures = ("(int, int) -> int", "(uint, int) -> uint")
    return Function(name, signatures, implementation)


def _on_numbers(name: str, result: str, implementation: Implementation) -> Function:
    """A function of one number; the result has its type where none is given."""
    signatures = tuple(f"({kind}) -> {result or kind}" for kind in _NUMBERS)
    return Function(name, signatures, implementation)


LIBRARY = library(
    (
        _extreme("math.greatest", operators.greater),
        _extreme("math.least", operators.less),
        _of_double("math.ceil", "double", _ceil),
        _of_double("math.floor", "double", _floor),
        _of_double("math.round", "double", _round),
        _of_double("math.trunc", "double", _trunc),
        _of_double("math.isInf", "bool", isinf),
        _of_double("math.isNaN", "bool", isnan),
        _of_double("math.isFinite", "bool", isfinite),
        _on_numbers("math.abs", "", _abs),
        _on_numbers("math.sign", "", _sign),
        _on_numbers("math.sqrt", "double", _sqrt),
        _on_bits("math.bitAnd", lambda left, right: left & right),
        _on_bits("math.bitOr", lambda left, right: left | right),
        _on_bits("math.bitXor", lambda left, right: left ^ right),
        Function("math.bitNot", ("(int) -> int", "(uint) -> uint"), _bit_not),
        _shift("math.bitShiftLeft", lambda value, bits: value << bits),
        # Zeros come in from the left, for a negative int too.
        _shift("math.bitShiftRight", lambda value, bits: value >> bits),
    )
)
