"""The functions of cel-spec's standard definitions, and those of the extensions.

Operators are functions too; their names are those of cel-spec, as in ``_+_``. The
extension libraries stand behind the standard one and load when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import conversions, operators, regex, temporal
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .extensions import EXTENSIONS
from .library import Function, Libraries, Library, library
from .operators import no_overload
from .temporal import Duration, Timestamp
from .values import Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .types import Type


def _size(state: Evaluation, value: Value) -> int:
    if type(value) in (str, bytes, list, dict):
        return len(value)
    raise no_overload("size", value)


def _type(state: Evaluation, value: Value) -> Type:
    return type_of(value)


def _dyn(state: Evaluation, value: Value) -> Value:
    return value


def _on_strings(
    name: str, test: Callable[[str, str], bool], *, whole: bool = False
) -> Callable[[Evaluation, Value, Value], bool]:
    """A test of two strings, which reads the ``whole`` text or as much as the part."""

    def implementation(state: Evaluation, text: Value, part: Value) -> bool:
        if type(text) is str and type(part) is str:
            state.charge(len(text if whole else part) // CHARACTERS_PER_UNIT)
            return test(text, part)
        raise no_overload(name, text, part)

    return implementation


def _matches(state: Evaluation, text: Value, pattern: Value) -> bool:
    if type(text) is str and type(pattern) is str:
        return regex.search(state, text, pattern)
    raise no_overload("matches", text, pattern)


def _accessor(
    name: str,
    of_timestamp: Callable[[Timestamp, str], int],
    of_duration: Callable[[Duration], int] | None = None,
) -> Function:
    """A method that reads a part of a timestamp, and perhaps of a duration."""

    def implementation(state: Evaluation, value: Value, *zone: Value) -> int:
        if type(value) is Timestamp:
            if not zone:
                return of_timestamp(value, "UTC")
            if type(zone[0]) is str:
                return of_timestamp(value, zone[0])
        elif type(value) is Duration and of_duration is not None and not zone:
            return of_duration(value)
        raise no_overload(name, value, *zone)

    signatures = ["timestamp.() -> int", "timestamp.(string) -> int"]
    if of_duration is not None:
        signatures.append("duration.() -> int")
    return Function(name, tuple(signatures), implementation)


def _arithmetic(kinds: str, *more: str) -> tuple[str, ...]:
    return (*(f"({kind}, {kind}) -> {kind}" for kind in kinds.split()), *more)


_ORDERED = "bool int uint double string bytes timestamp duration"
_NUMBERS = ("int", "uint", "double")
_ORDER = (
    *(f"({kind}, {kind}) -> bool" for kind in _ORDERED.split()),
    *(f"({a}, {b}) -> bool" for a in _NUMBERS for b in _NUMBERS if a != b),
)
_EQUALITY = ("(A, A) -> bool",)

_CORE = library(
    (
        # Operators
        Function("_==_", _EQUALITY, operators.equal),
        Function("_!=_", _EQUALITY, operators.not_equal),
        Function("_<_", _ORDER, operators.less),
        Function("_<=_", _ORDER, operators.less_equal),
        Function("_>_", _ORDER, operators.greater),
        Function("_>=_", _ORDER, operators.greater_equal),
        Function(
            "_+_",
            _arithmetic(
                "int uint double string bytes list(A) duration",
                "(timestamp, duration) -> timestamp",
                "(duration, timestamp) -> timestamp",
            ),
            operators.add,
        ),
        Function(
            "_-_",
            _arithmetic(
                "int uint double duration",
                "(timestamp, timestamp) -> duration",
                "(timestamp, duration) -> timestamp",
            ),
            operators.subtract,
        ),
        Function("_*_", _arithmetic("int uint double"), operators.multiply),
        Function("_/_", _arithmetic("int uint double"), operators.divide),
        Function("_%_", _arithmetic("int uint"), operators.modulo),
        Function("-_", ("(int) -> int", "(double) -> double"), operators.negate),
        Function("!_", ("(bool) -> bool",), operators.invert),
        Function(
            "_[_]",
            (
                "(list(A), int) -> A",
                "(map(A, B), A) -> B",
                "(optional_type(list(A)), int) -> optional_type(A)",
                "(optional_type(map(A, B)), A) -> optional_type(B)",
            ),
            operators.index,
        ),
        Function(
            "@in",
            ("(A, list(A)) -> bool", "(A, map(A, B)) -> bool"),
            operators.contains,
        ),
        # Sizes and types
        Function(
            "size",
            tuple(
                form.format(kind)
                for kind in ("string", "bytes", "list(A)", "map(A, B)")
                for form in ("({}) -> int", "{}.() -> int")
            ),
            _size,
        ),
        Function("type", ("(A) -> type(A)",), _type),
        Function("dyn", ("(A) -> dyn",), _dyn),
        # Strings
        Function(
            "contains",
            ("string.(string) -> bool",),
            _on_strings("contains", lambda text, part: part in text, whole=True),
        ),
        Function(
            "startsWith",
            ("string.(string) -> bool",),
            _on_strings("startsWith", str.startswith),
        ),
        Function(
            "endsWith",
            ("string.(string) -> bool",),
            _on_strings("endsWith", str.endswith),
        ),
        Function(
            "matches",
            ("string.(string) -> bool", "(string, string) -> bool"),
            _matches,
            regex.validate,
        ),
        # Conversions
        *conversions.FUNCTIONS,
        # Times
        _accessor("getFullYear", temporal.full_year),
        _accessor("getMonth", temporal.month),
        _accessor("getDate", temporal.day_of_month_from_1),
        _accessor("getDayOfMonth", temporal.day_of_month),
        _accessor("getDayOfWeek", temporal.day_of_week),
        _accessor("getDayOfYear", temporal.day_of_year),
        _accessor("getHours", temporal.hours, temporal.duration_hours),
        _accessor("getMinutes", temporal.minutes, temporal.duration_minutes),
        _accessor("getSeconds", temporal.seconds, temporal.duration_seconds),
        _accessor(
            "getMilliseconds", temporal.milliseconds, temporal.duration_milliseconds
        ),
    )
)

STANDARD: Library = Libraries(_CORE, EXTENSIONS)
"""All functions of the language, by name."""
