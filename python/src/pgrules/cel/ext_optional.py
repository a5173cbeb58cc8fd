"""Functions of optional values, as cel-go's library ``optional``, version 2.

The syntax, ``a.?b``, ``a[?k]``, ``[?x]`` and ``{?k: v}``, and the macros ``optMap``
and ``optFlatMap`` are the checker's and the interpreter's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EvaluationError
from .library import Function, library
from .operators import index_optionally, no_overload
from .temporal import Duration, Timestamp
from .values import ABSENT, Optional, Value, type_of

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .interpreter import Closure


def _of(state: Evaluation, value: Value) -> Optional:
    return Optional(value)


def _none(state: Evaluation) -> Optional:
    return ABSENT


_ZERO_TIMES = (Timestamp(0), Duration(0))


def _of_non_zero_value(state: Evaluation, value: Value) -> Optional:
    """Absent for null, false, zero and what is empty; the zero time is 1970's."""
    if isinstance(value, Timestamp | Duration):
        return ABSENT if value in _ZERO_TIMES else Optional(value)
    zero = value is None or (
        isinstance(value, bool | int | float | str | bytes | list | dict) and not value
    )
    return ABSENT if zero else Optional(value)


def _has_value(state: Evaluation, optional: Value) -> bool:
    if type(optional) is Optional:
        return optional.present
    raise no_overload("hasValue", optional)


def _value(state: Evaluation, optional: Value) -> Value:
    if type(optional) is not Optional:
        raise no_overload("value", optional)
    if optional.present:
        return optional.value
    raise EvaluationError(
        "optional.none() has no value", hint="use orValue(default), or test hasValue()"
    )


def _or(state: Evaluation, optional: Value, alternative: Value) -> Optional:
    if type(optional) is Optional and type(alternative) is Optional:
        return optional if optional.present else alternative
    raise no_overload("or", optional, alternative)


def _or_deferred(state: Evaluation, optional: Closure, alternative: Closure) -> Value:
    value = optional(state)
    if type(value) is Optional and value.present:
        return value
    return _or(state, value, alternative(state))


def _or_value(state: Evaluation, optional: Value, alternative: Value) -> Value:
    if type(optional) is Optional:
        return optional.value if optional.present else alternative
    raise no_overload("orValue", optional, alternative)


def _or_value_deferred(
    state: Evaluation, optional: Closure, alternative: Closure
) -> Value:
    value = optional(state)
    if type(value) is Optional and value.present:
        return value.value
    return _or_value(state, value, alternative(state))


def _unwrap(state: Evaluation, optionals: Value) -> list[Value]:
    """The values of those that have one."""
    if type(optionals) is not list:
        raise no_overload("optional.unwrap", optionals)
    state.charge(len(optionals))
    for optional in optionals:
        if type(optional) is not Optional:
            raise EvaluationError(
                f"optional.unwrap needs optional elements, not {type_of(optional)}"
            )
    return [optional.value for optional in optionals if optional.present]


def _first(state: Evaluation, elements: Value) -> Optional:
    if type(elements) is list:
        return Optional(elements[0]) if elements else ABSENT
    raise no_overload("first", elements)


def _last(state: Evaluation, elements: Value) -> Optional:
    if type(elements) is list:
        return Optional(elements[-1]) if elements else ABSENT
    raise no_overload("last", elements)


LIBRARY = library(
    (
        Function("optional.of", ("(A) -> optional_type(A)",), _of),
        Function(
            "optional.ofNonZeroValue",
            ("(A) -> optional_type(A)",),
            _of_non_zero_value,
        ),
        Function("optional.none", ("() -> optional_type(A)",), _none),
        Function("hasValue", ("optional_type(A).() -> bool",), _has_value),
        Function("value", ("optional_type(A).() -> A",), _value),
        Function(
            "or",
            ("optional_type(A).(optional_type(A)) -> optional_type(A)",),
            _or,
            deferred=_or_deferred,
        ),
        Function(
            "orValue",
            ("optional_type(A).(A) -> A",),
            _or_value,
            deferred=_or_value_deferred,
        ),
        Function("optional.unwrap", ("(list(optional_type(A))) -> list(A)",), _unwrap),
        Function("unwrapOpt", ("list(optional_type(A)).() -> list(A)",), _unwrap),
        Function("first", ("list(A).() -> optional_type(A)",), _first),
        Function("last", ("list(A).() -> optional_type(A)",), _last),
        Function(
            "_[?_]",
            (
                "(list(A), int) -> optional_type(A)",
                "(optional_type(list(A)), int) -> optional_type(A)",
                "(map(A, B), A) -> optional_type(B)",
                "(optional_type(map(A, B)), A) -> optional_type(B)",
            ),
            index_optionally,
        ),
    )
)
