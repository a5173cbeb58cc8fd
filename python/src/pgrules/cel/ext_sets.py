"""Lists taken as sets, as cel-go's library ``sets``.

Elements are compared by CEL's ``==``. Where Python's hashing agrees with it, sets of
strings and numbers that is, the work is linear; for others, each element of one list
is compared with each of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ext_lists import hashed, is_in
from .library import Function, library
from .operators import no_overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evaluation import Evaluation
    from .values import Value


def _contains(state: Evaluation, values: list[Value], parts: list[Value]) -> bool:
    """Whether each of the parts is among the values."""
    state.charge(len(values) + len(parts))
    sets = hashed(values, parts)
    if sets is not None:
        return sets[1] <= sets[0]
    return all(is_in(state, part, values) for part in parts)


def _equivalent(state: Evaluation, left: list[Value], right: list[Value]) -> bool:
    return _contains(state, left, right) and _contains(state, right, left)


def _intersects(state: Evaluation, left: list[Value], right: list[Value]) -> bool:
    state.charge(len(left) + len(right))
    sets = hashed(left, right)
    if sets is not None:
        return not sets[0].isdisjoint(sets[1])
    return any(is_in(state, value, right) for value in left)


def _function(
    name: str, compare: Callable[[Evaluation, list[Value], list[Value]], bool]
) -> Function:
    def implementation(state: Evaluation, left: Value, right: Value) -> bool:
        if type(left) is list and type(right) is list:
            return compare(state, left, right)
        raise no_overload(name, left, right)

    return Function(name, ("(list(A), list(A)) -> bool",), implementation)


LIBRARY = library(
    (
        _function("sets.contains", _contains),
        _function("sets.equivalent", _equivalent),
        _function("sets.intersects", _intersects),
    )
)
