"""Conversions between types: ``int(x)``, ``string(x)`` and the like.

cel-spec, "Type Conversions". What a number or a time looks like as text is owned
by ``numbers`` and ``temporal``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import numbers, temporal
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function
from .operators import no_overload, shown
from .temporal import Duration, Timestamp
from .values import Opaque, Uint, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def _bool(text: str) -> bool:
    try:
        return _BOOLS[text]
    except KeyError:
        raise EvaluationError(f"cannot convert {shown(text)} to bool") from None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8: bytes cannot become a string") from None


def _same(value: Value) -> Value:
    return value


def _conversion(
    name: str, result: str, conversions: Mapping[type, Callable[[Value], Value]]
) -> Function:
    """A conversion function from the conversion of each argument type."""

    def implementation(state: Evaluation, value: Value) -> Value:
        convert = conversions.get(type(value))
        if convert is None:
            if name == "string" and isinstance(value, Opaque):
                return str(value)
            raise no_overload(name, value)
        if type(value) is str or type(value) is bytes:
            state.charge(len(value) // CHARACTERS_PER_UNIT)
        return convert(value)

    signatures = tuple(f"({_NAMES[kind]}) -> {result}" for kind in conversions)
    if name == "string":
        signatures += ("(net.IP) -> string", "(net.CIDR) -> string")
    return Function(name, signatures, implementation)


_NAMES = {
    bool: "bool",
    bytes: "bytes",
    Duration: "duration",
    float: "double",
    int: "int",
    str: "string",
    Timestamp: "timestamp",
    Uint: "uint",
}

FUNCTIONS = (
    _conversion(
        "int",
        "int",
        {
            int: _same,
            Uint: numbers.uint_to_int,
            float: numbers.double_to_int,
            str: numbers.parse_int,
            Timestamp: temporal.timestamp_to_seconds,
        },
    ),
    _conversion(
        "uint",
        "uint",
        {
            Uint: _same,
            int: numbers.int_to_uint,
            float: numbers.double_to_uint,
            str: numbers.parse_uint,
        },
    ),
    _conversion(
        "double",
        "double",
        {float: _same, int: float, Uint: float, str: numbers.parse_double},
    ),
    _conversion(
        "string",
        "string",
        {
            str: _same,
            bool: lambda value: "true" if value else "false",
            int: str,
            Uint: lambda value: str(int(value)),
            float: numbers.format_double,
            bytes: _text,
            Timestamp: temporal.format_timestamp,
            Duration: temporal.format_duration,
        },
    ),
    _conversion("bytes", "bytes", {bytes: _same, str: str.encode}),
    _conversion("bool", "bool", {bool: _same, str: _bool}),
    _conversion(
        "timestamp",
        "timestamp",
        {
            Timestamp: _same,
            str: temporal.parse_timestamp,
            int: temporal.timestamp_from_seconds,
        },
    ),
    _conversion(
        "duration", "duration", {Duration: _same, str: temporal.parse_duration}
    ),
)
