"""The operators of CEL on values (cel-spec, "Operators" and "Equality").

Each takes the evaluation's state first, to charge for work that grows, and raises
:class:`EvaluationError` for operands that it is not defined for.
"""

from __future__ import annotations

from itertools import repeat

from . import numbers, temporal
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .temporal import Duration, Timestamp
from .values import ABSENT, NUMERIC, Optional, Uint, Value, encode_key, type_of

_ORDERED = frozenset({bool, str, bytes, Timestamp, Duration})


def no_overload(name: str, *arguments: Value) -> EvaluationError:
    """The error of a function that is not defined for these arguments."""
    kinds = ", ".join(str(type_of(argument)) for argument in arguments)
    return EvaluationError(f"no such overload: {name}({kinds})")


def _no_operator(symbol: str, left: Value, right: Value) -> EvaluationError:
    return EvaluationError(
        f"no such overload: {type_of(left)} {symbol} {type_of(right)}"
    )


# Equality and order


def equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``==``: true for equal values of one type, and for equal numbers of any."""
    kind = type(left)
    if kind is not type(right):
        if kind not in NUMERIC or type(right) not in NUMERIC:
            return False
        left, right = _aligned(left, right)
        return bool(left == right)
    if kind is list:
        if len(left) != len(right):
            return False
        state.charge(len(left))
        return all(map(equal, repeat(state), left, right))
    if kind is dict:
        if len(left) != len(right):
            return False
        state.charge(len(left))
        return all(
            key in right and equal(state, value, right[key])
            for key, value in left.items()
        )
    if kind is str or kind is bytes:
        # Only text of equal length is looked into.
        if len(left) == len(right):
            state.charge(len(left) // CHARACTERS_PER_UNIT)
    elif kind is Optional:
        if left.present and right.present:
            return equal(state, left.value, right.value)
        return bool(left.present is right.present)
    return bool(left == right)


def not_equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``!=``: the negation of ``==``."""
    return not equal(state, left, right)


def _aligned(left: Value, right: Value) -> tuple[Value, Value]:
    """Numbers of two types as they compare.

    An integer meets a double as the double nearest to it, as in cel-go, cel-cpp and
    the conformance suite; Python would compare their exact values, which differ from
    2**53 on. Integers among each other are exact.
    """
    if type(left) is float:
        return left, float(right)
    return (float(left), right) if type(right) is float else (left, right)


def _comparable(
    state: Evaluation, symbol: str, left: Value, right: Value
) -> tuple[Value, Value]:
    kind = type(left)
    if kind is type(right) and (kind in _ORDERED or kind in NUMERIC):
        if kind is str or kind is bytes:
            state.charge(min(len(left), len(right)) // CHARACTERS_PER_UNIT)
        return left, right
    if kind in NUMERIC and type(right) in NUMERIC:
        return _aligned(left, right)
    raise _no_operator(symbol, left, right)


def less(state: Evaluation, left: Value, right: Value) -> bool:
    """``<``, on bool, numbers, string, bytes, timestamp and duration."""
    left, right = _comparable(state, "<", left, right)
    return bool(left < right)


def less_equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``<=``."""
    left, right = _comparable(state, "<=", left, right)
    return bool(left <= right)


def greater(state: Evaluation, left: Value, right: Value) -> bool:
    """``>``."""
    left, right = _comparable(state, ">", left, right)
    return bool(left > right)


def greater_equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``>=``."""
    left, right = _comparable(state, ">=", left, right)
    return bool(left >= right)


# Arithmetic


def add(state: Evaluation, left: Value, right: Value) -> Value:
    """``+``: numbers of one type, strings, bytes, lists, times."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.add_int(left, right)
        if kind is float:
            return left + right
        if kind is str or kind is bytes:
            state.charge((len(left) + len(right)) // CHARACTERS_PER_UNIT)
            return left + right
        if kind is list:
            state.charge(len(left) + len(right))
            return left + right
        if kind is Uint:
            return numbers.add_uint(left, right)
        if kind is Duration:
            return temporal.add_durations(left, right)
    elif kind is Timestamp and type(right) is Duration:
        return temporal.add_to_timestamp(left, right)
    elif kind is Duration and type(right) is Timestamp:
        return temporal.add_to_timestamp(right, left)
    raise _no_operator("+", left, right)


def subtract(state: Evaluation, left: Value, right: Value) -> Value:
    """``-``: numbers of one type, and times."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.subtract_int(left, right)
        if kind is float:
            return left - right
        if kind is Uint:
            return numbers.subtract_uint(left, right)
        if kind is Duration:
            return temporal.subtract_durations(left, right)
        if kind is Timestamp:
            return temporal.subtract_timestamps(left, right)
    elif kind is Timestamp and type(right) is Duration:
        return temporal.subtract_from_timestamp(left, right)
    raise _no_operator("-", left, right)


def multiply(state: Evaluation, left: Value, right: Value) -> Value:
    """``*``: numbers of one type."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.multiply_int(left, right)
        if kind is float:
            return left * right
        if kind is Uint:
            return numbers.multiply_uint(left, right)
    raise _no_operator("*", left, right)


def divide(state: Evaluation, left: Value, right: Value) -> Value:
    """``/``: integers truncate toward zero; doubles follow IEEE 754."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.divide_int(left, right)
        if kind is float:
            return numbers.divide_double(left, right)
        if kind is Uint:
            return numbers.divide_uint(left, right)
    raise _no_operator("/", left, right)


def modulo(state: Evaluation, left: Value, right: Value) -> Value:
    """``%``: integers only; the result has the sign of the dividend."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.modulo_int(left, right)
        if kind is Uint:
            return numbers.modulo_uint(left, right)
    raise _no_operator("%", left, right)


def negate(state: Evaluation, operand: Value) -> Value:
    """Unary ``-``: int and double."""
    kind = type(operand)
    if kind is int:
        return numbers.negate_int(operand)
    if kind is float:
        return -operand
    raise EvaluationError(f"no such overload: -{type_of(operand)}")


def invert(state: Evaluation, operand: Value) -> bool:
    """``!``: bool only."""
    if operand is True:
        return False
    if operand is False:
        return True
    raise EvaluationError(f"no such overload: !{type_of(operand)}")


# Lists and maps


def _find(container: Value, key: Value) -> tuple[bool, Value]:
    """Whether a list or map has something under a key, and what."""
    kind = type(container)
    if kind is dict:
        try:
            stored = encode_key(key)
        except KeyError:
            raise EvaluationError(f"unsupported key type: {type_of(key)}") from None
        return stored in container, container.get(stored)
    if kind is list:
        position = key
        if type(key) is float and key.is_integer():
            position = int(key)
        elif type(key) is not int and type(key) is not Uint:
            raise EvaluationError(f"unsupported index type: {type_of(key)}")
        if 0 <= position < len(container):
            return True, container[position]
        return False, None
    raise EvaluationError(f"no such overload: {type_of(container)}[{type_of(key)}]")


def index(state: Evaluation, container: Value, key: Value) -> Value:
    """``container[key]``: a list's element from 0, or a map's value.

    Of an optional list or map it is optional, as ``container[?key]``.
    """
    if type(container) is Optional:
        return index_optionally(state, container, key)
    found, value = _find(container, key)
    if found:
        return value
    if type(container) is dict:
        raise EvaluationError(f"no such key: {shown(key)}")
    raise EvaluationError(
        f"index out of bounds: {shown(key)} in a list of {len(container)}"
    )


def index_optionally(state: Evaluation, container: Value, key: Value) -> Optional:
    """``container[?key]``: an optional, which is absent where the key is.

    A map has nothing under a value that can be no key, as ``in`` says.
    """
    if type(container) is Optional:
        if not container.present:
            return container
        container = container.value
    if type(container) is dict and not contains(state, key, container):
        return ABSENT
    found, value = _find(container, key)
    return Optional(value) if found else ABSENT


def contains(state: Evaluation, element: Value, container: Value) -> bool:
    """``element in container``: a list's elements or a map's keys."""
    kind = type(container)
    if kind is list:
        state.charge(len(container))
        if type(element) is str:
            # A str equals nothing but a str, in Python as in CEL.
            return element in container
        return any(map(equal, repeat(state), repeat(element), container))
    if kind is dict:
        try:
            return encode_key(element) in container
        except KeyError:
            return False
    raise _no_operator("in", element, container)


def shown(value: Value) -> str:
    """A scalar as an error message shows it, cut where it is long."""
    if type(value) is bool:
        return "true" if value else "false"
    text = f'"{value}"' if type(value) is str else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
