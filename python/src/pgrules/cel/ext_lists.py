"""Functions of lists, as cel-go's library ``lists``, version 3.

``reverse`` is here for strings too (``strings``, version 3). ``first`` and ``last``
are in ``ext_optional``; the macro ``sortBy`` is the interpreter's.
"""

from __future__ import annotations

from itertools import repeat
from math import isnan
from typing import TYPE_CHECKING, Any

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import equal, no_overload
from .temporal import Duration, Timestamp
from .values import Uint, Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string",
               "bytes")  # fmt: skip
_COMPARABLE_KINDS = frozenset({int, Uint, float, bool, Duration, Timestamp, str, bytes})


def _slice(state: Evaluation, elements: Value, start: Value, end: Value) -> list[Value]:
    if type(elements) is not list or type(start) is not int or type(end) is not int:
        raise no_overload("slice", elements, start, end)
    if not 0 <= start <= end <= len(elements):
        raise EvaluationError(
            f"cannot slice({start}, {end}): the list has {len(elements)} elements",
            hint="0 <= start <= end <= size",
        )
    state.charge(end - start)
    return elements[start:end]


def _flatten(state: Evaluation, elements: Value, *depth: Value) -> list[Value]:
    levels = depth[0] if depth else 1
    if type(elements) is not list or type(levels) is not int:
        raise no_overload("flatten", elements, *depth)
    if levels < 0:
        raise EvaluationError(f"flatten: the depth {levels} is negative")
    flat: list[Value] = elements
    # Each pass opens one level; the last finds nothing to open.
    while levels > 0 and list in map(type, flat):
        levels -= 1
        state.charge(sum(len(e) + 1 if type(e) is list else 1 for e in flat))
        parts, flat = flat, []
        for part in parts:
            if type(part) is list:
                flat += part
            else:
                flat.append(part)
    return flat


def _range(state: Evaluation, size: Value) -> list[Value]:
    if type(size) is not int:
        raise no_overload("lists.range", size)
    if size < 0:
        raise EvaluationError(f"lists.range: the size {size} is negative")
    state.charge(size)
    return list(range(size))


def _reverse(state: Evaluation, sequence: Value) -> Value:
    if type(sequence) is list:
        state.charge(len(sequence))
        return sequence[::-1]
    if type(sequence) is str:
        state.charge(len(sequence) // CHARACTERS_PER_UNIT)
        return sequence[::-1]
    raise no_overload("reverse", sequence)


# Sorting


def _sort(state: Evaluation, elements: Value) -> list[Value]:
    if type(elements) is not list:
        raise no_overload("sort", elements)
    return sorted_by(state, elements, elements)


def sorted_by(
    state: Evaluation, elements: list[Value], keys: list[Value]
) -> list[Value]:
    """The elements in the order of their keys; equal keys keep their order.

    Keys are of one type that has an order; NaN comes before all numbers.
    """
    if not elements:
        return elements
    kind = type(keys[0])
    if kind not in _COMPARABLE_KINDS:
        raise EvaluationError(
            f"list elements must be comparable: {type_of(keys[0])} has no order"
        )
    for key in keys:
        if type(key) is not kind:
            raise EvaluationError(
                "list elements must have the same type to be sorted: "
                f"{type_of(keys[0])} and {type_of(key)}"
            )
    state.charge(len(keys) * len(keys).bit_length())
    if kind is str or kind is bytes:
        state.charge(sum(map(len, keys)) // CHARACTERS_PER_UNIT)
    order: Callable[[int], Any] = keys.__getitem__
    if kind is float and any(map(isnan, keys)):

        def order(index: int) -> Any:
            key = keys[index]
            return (False, 0.0) if isnan(key) else (True, key)

    return [elements[index] for index in sorted(range(len(keys)), key=order)]


# Elements by CEL's equality


_HASHABLE = frozenset({int, Uint, float, str, bytes, type(None), Duration, Timestamp})

# From here on, Python's equality of an int and a float is not CEL's.
_EXACT = 1 << 53


def hashed(*lists: list[Value]) -> list[set[Value]] | None:
    """The lists as sets in which membership is CEL's equality, or none.

    There are none with values that Python hashes differently: lists and maps, which
    it does not hash, bool, which it takes for 0 or 1, NaN, which it finds by
    identity, and doubles together with integers that no double is.
    """
    kinds: set[type] = set()
    for values in lists:
        kinds.update(map(type, values))
    if not kinds <= _HASHABLE:
        return None
    if float in kinds:
        for values in lists:
            for value in values:
                if type(value) is float:
                    if isnan(value):
                        return None
                elif isinstance(value, int) and abs(value) > _EXACT:
                    return None
    return [set(values) for values in lists]


def is_in(state: Evaluation, value: Value, values: list[Value]) -> bool:
    """Whether some of the values is equal to the one."""
    state.charge(len(values))
    return any(map(equal, repeat(state), repeat(value), values))


def _distinct(state: Evaluation, elements: Value) -> list[Value]:
    """The elements without those that are equal to an earlier one."""
    if type(elements) is not list:
        raise no_overload("distinct", elements)
    state.charge(len(elements))
    if hashed(elements) is not None:
        return list(dict.fromkeys(elements))
    distinct: list[Value] = []
    for element in elements:
        if not is_in(state, element, distinct):
            distinct.append(element)
    return distinct


LIBRARY = library(
    (
        Function("slice", ("list(A).(int, int) -> list(A)",), _slice),
        Function(
            "flatten",
            ("list(list(A)).() -> list(A)", "list(dyn).(int) -> list(dyn)"),
            _flatten,
        ),
        Function("lists.range", ("(int) -> list(int)",), _range),
        Function("reverse", ("list(A).() -> list(A)", "string.() -> string"), _reverse),
        Function(
            "sort", tuple(f"list({t}).() -> list({t})" for t in _COMPARABLE), _sort
        ),
        Function("distinct", ("list(A).() -> list(A)",), _distinct),
    )
)
