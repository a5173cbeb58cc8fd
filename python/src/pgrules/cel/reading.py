"""How facts become values of their declared types, when they are read.

====================  ===========================================================
declared              what the facts may have
====================  ===========================================================
``int``, ``int64``    an int; a double that has no fraction and is at most 2**53,
                      up to which doubles are exact: 1.0 is 1
``float64``           a number; an int becomes the nearest double
``string``, ``bool``  the same
``bytes``             text in base64, of either alphabet, with or without padding
``timestamp``         text as ``timestamp(string)`` reads it, RFC 3339
``duration``          text as ``duration(string)`` reads it, ``1h30m``
``double``            of columns: a number, or text as ``double(string)`` reads it,
                      with ``NaN`` and ``Infinity``, which JSON has no numbers for
``list(type)``        of columns: a list, at any depth, of values that become the type
``dyn``               of columns: anything, as it is
====================  ===========================================================

Anything else is an error that names the path, the declared type and what came. Null
stays null, as cel-spec has it for wrappers: it equals null, differs from any other
value, and is an error for every other operation. ``has()`` asks only whether the field
is there, null or not. A field that the facts lack is an error, as without a schema.

An object read as a whole, ``User`` rather than ``User.Age``, is a map of the declared
fields that the facts have, each converted; fields not declared are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import numbers, temporal, types
from .errors import CostLimitExceeded, EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .operators import shown
from .types import ObjectType, Type, spoken, unwrapped
from .values import Uint, Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The Python type that needs no conversion, by declared type.
NATIVE: Final[dict[str, type | None]] = {
    "int": int,
    "int64": int,
    "float64": float,
    "string": str,
    "bool": bool,
    "bytes": None,
    "timestamp": None,
    "duration": None,
    "double": float,
    "dyn": None,
}

_LIST: Final = "list("

# Beyond this, neighbouring integers are one double.
_EXACT: Final = 1 << 53


def read_field(state: Evaluation, value: Value, declared: str, path: str) -> Value:
    """A fact as a value of its declared type, a type's name in a schema.

    Raises :class:`EvaluationError` where it cannot be one.
    """
    if value is None or type(value) is NATIVE.get(declared) or declared == "dyn":
        return value
    if declared.startswith(_LIST) and type(value) is list:
        element = declared[len(_LIST) : -1]
        state.charge(len(value))
        return [
            read_field(state, part, declared if type(part) is list else element, path)
            for part in value
        ]
    convert = _CONVERSIONS.get((declared, type(value)))
    if convert is None:
        raise _mismatch(path, f"declared {declared}", value)
    if type(value) is str:
        state.charge(len(value) // CHARACTERS_PER_UNIT)
    try:
        return convert(value)
    except _Mismatch:
        raise _mismatch(path, f"declared {declared}", value) from None
    except EvaluationError as error:
        raise EvaluationError(
            f"{path} is declared {declared}: {error.message}", hint=error.hint
        ) from None


def conversion(declared: Mapping[str, str], name: str) -> str | None:
    """The declared type of a fact that is to be converted when it is read."""
    found = declared.get(name)
    return None if found == "dyn" else found


def read_object(state: Evaluation, value: Value, of: ObjectType) -> Value:
    """An object of the facts as the map of its declared fields."""
    if type(value) is not dict:
        raise not_an_object(of.name, value)
    state.charge(len(of.declared))
    return {
        name: read_field(state, value[name], declared, f"{of.name}.{name}")
        for name, declared in of.declared.items()
        if name in value
    }


def not_an_object(name: str, value: Value) -> EvaluationError:
    """The error of facts that have another value where an object is declared."""
    return _mismatch(name, "declared an object", value)


def read_derived(state: Evaluation, value: Value, of: Type, name: str) -> Value:
    """A derived field that the facts supply, as a value of the type inferred for it.

    Doubles, bytes, timestamps and durations convert as for declared fields; lists and
    maps are read through. Raises :class:`EvaluationError` for another type: what relies
    on the inferred type must not meet it.
    """
    try:
        return _derived(state, value, of)
    except CostLimitExceeded:
        raise
    except EvaluationError as error:
        raise EvaluationError(
            f"the derived field {name}: {error.message}", hint=error.hint
        ) from None
    except _Mismatch:
        kind = f"by its expression {spoken(of)}"
        raise _mismatch(f"the derived field {name}", kind, value) from None


class _Mismatch(Exception):
    """A part of a value has not the type that is asked for."""


def _derived(state: Evaluation, value: Value, of: Type) -> Value:
    if of is types.DYN or (value is None and types.nullable(of)):
        return value
    of = unwrapped(of)
    if type(of) is ObjectType:
        return read_object(state, value, of)
    if of.name == "list" and type(value) is list:
        (element,) = of.parameters
        state.charge(len(value))
        return [_derived(state, part, element) for part in value]
    if of.name == "map" and type(value) is dict:
        state.charge(len(value))
        return dict(_entries(state, value, *of.parameters))
    if of is types.UINT and type(value) is int and value >= 0:
        return Uint(value)
    declared = _DECLARED.get(of)
    if declared is None:
        raise _Mismatch
    if type(value) is NATIVE[declared]:
        return value
    convert = _CONVERSIONS.get((declared, type(value)))
    if convert is None:
        raise _Mismatch
    if type(value) is str:
        state.charge(len(value) // CHARACTERS_PER_UNIT)
    return convert(value)


def _entries(
    state: Evaluation, value: Value, key: Type, element: Type
) -> Iterator[tuple[str, Value]]:
    # The keys of JSON are strings.
    if unwrapped(key) not in (types.STRING, types.DYN) and value:
        raise _Mismatch
    for name, part in value.items():
        yield name, _derived(state, part, element)


def _mismatch(path: str, declaration: str, value: Value) -> EvaluationError:
    kind = spoken(type_of(value))
    if type(value) in (int, float, bool):
        kind = f"{kind} {shown(value)}"
    return EvaluationError(f"{path} is {declaration}, the facts have {kind}")


def _whole(value: float) -> int:
    if value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    raise _Mismatch


def read_bytes(text: str) -> bytes:
    """Base64 text as bytes; raises :class:`EvaluationError` for other text."""
    import binascii

    # Standard and URL-safe alphabet, with or without padding, as protobuf's JSON.
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(
            standard + "=" * (-len(standard) % 4), strict_mode=True
        )
    except ValueError:
        raise EvaluationError(f"{shown(text)} is no base64 text") from None


_CONVERSIONS: Final[dict[tuple[str, type], Callable[..., Value]]] = {
    ("int", float): _whole,
    ("int64", float): _whole,
    ("float64", int): float,
    ("bytes", str): read_bytes,
    ("double", int): float,
    ("double", str): numbers.parse_double,
    ("timestamp", str): temporal.parse_timestamp,
    ("duration", str): temporal.parse_duration,
}

_DECLARED: Final = {
    types.INT: "int",
    types.DOUBLE: "float64",
    types.STRING: "string",
    types.BOOL: "bool",
    types.BYTES: "bytes",
    types.TIMESTAMP: "timestamp",
    types.DURATION: "duration",
}
