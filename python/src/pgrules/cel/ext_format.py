"""``string.format``: printf for CEL values, as cel-go's ``strings`` from version 4.

The clauses are ``%s``, ``%d``, ``%f``, ``%e``, ``%b``, ``%o``, ``%x`` and ``%X``; a
precision may stand in them, ``%.3f``, and matters for ``%f`` and ``%e``. ``%%`` is a
percent sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite, isnan
from typing import TYPE_CHECKING, Final

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload
from .temporal import Duration, Timestamp, format_duration, format_timestamp
from .types import Type
from .values import NUMERIC, Uint, Value, decode_key, type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PRECISION: Final = 1000
_DEFAULT_PRECISION = 6

_CLAUSE = re.compile(r"%(?:(%)|(?:\.([0-9]*))?(.?))", re.DOTALL)


def _format(state: Evaluation, template: Value, arguments: Value) -> str:
    """The template with its clauses replaced by the arguments, in order."""
    if type(template) is not str or type(arguments) is not list:
        raise no_overload("format", template, arguments)
    state.charge(len(template) // CHARACTERS_PER_UNIT)
    pieces: list[str] = []
    position = used = 0
    for found in _CLAUSE.finditer(template):
        pieces.append(template[position : found.start()])
        position = found.end()
        if found[1]:
            pieces.append("%")
            continue
        if used >= len(arguments):
            raise EvaluationError(f"format: index {used} out of range")
        precision, clause = _clause(found)
        text = clause(state, arguments[used], precision)
        state.charge(len(text) // CHARACTERS_PER_UNIT)
        pieces.append(text)
        used += 1
    pieces.append(template[position:])
    return "".join(pieces)


def _validate(arguments: Sequence[Value | None]) -> None:
    """Refuse a constant template with a clause that there is not."""
    template = arguments[0]
    if type(template) is str:
        for found in _CLAUSE.finditer(template):
            if not found[1]:
                _clause(found)


# Takes the argument and the precision.
_Clause = Callable[[Evaluation, Value, int], str]


def _clause(found: re.Match[str]) -> tuple[int, _Clause]:
    digits, letter = found[2], found[3]
    if not letter:
        raise EvaluationError(
            "could not parse formatting clause: unexpected end of string",
            hint="a percent sign is written %%",
        )
    precision = _DEFAULT_PRECISION
    if digits is not None:
        # No precision of more digits is valid; int() need not look at them.
        if not digits or len(digits) > 9 or int(digits) > MAX_PRECISION:
            raise EvaluationError(
                f"could not parse formatting clause: invalid precision {digits[:20]!r}",
                hint=f"a precision is a number from 0 to {MAX_PRECISION}, as in %.2f",
            )
        precision = int(digits)
    clause = _CLAUSES.get(letter)
    if clause is None:
        raise EvaluationError(
            "could not parse formatting clause: unrecognized formatting clause "
            f'"{letter}"',
            hint="the clauses are %s %d %f %e %b %o %x %X; a percent sign is %%",
        )
    return precision, clause


def _cannot(clause: str, kinds: str, value: Value) -> EvaluationError:
    return EvaluationError(
        f"error during formatting: {clause} clause can only be used on {kinds}, "
        f"was given {type_of(value)}"
    )


# %s


def _string(state: Evaluation, value: Value, precision: int) -> str:
    pieces: list[str] = []
    _write(state, value, pieces)
    return "".join(pieces)


def _write(state: Evaluation, value: Value, pieces: list[str]) -> None:
    kind = type(value)
    if kind is list:
        # Two for the separator, one for the element.
        state.charge(len(value))
        separator = "["
        for element in value:
            pieces.append(separator)
            _write(state, element, pieces)
            separator = ", "
        pieces.append("]" if value else "[]")
    elif kind is dict:
        state.charge(2 * len(value))
        entries = [(_scalar(decode_key(key)), part) for key, part in value.items()]
        entries.sort(key=lambda entry: entry[0])
        separator = "{"
        for key, part in entries:
            pieces.append(f"{separator}{key}: ")
            _write(state, part, pieces)
            separator = ", "
        pieces.append("}" if value else "{}")
    else:
        text = _scalar(value)
        state.charge(len(text) // CHARACTERS_PER_UNIT)
        pieces.append(text)


def _scalar(value: Value) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return _shortest(value)
    if kind is Timestamp:
        return format_timestamp(value)
    if kind is Duration:
        return format_duration(value)
    if kind is Type:
        return str(value)
    if kind is bytes:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise EvaluationError(
                "error during formatting: bytes are no UTF-8",
                hint="format them with %x",
            ) from None
    raise _cannot(
        "string",
        "strings, bools, bytes, numbers, maps, lists, types, durations and timestamps",
        value,
    )


def _special(value: float) -> str:
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _shortest(value: float) -> str:
    """The shortest digits that read back, never with an exponent: ``1``, ``0.1``."""
    if not isfinite(value):
        return _special(value)
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, shift = whole + fraction, int(exponent)
    if shift < 0:
        return f"{sign}0.{'0' * (-shift - 1)}{digits}"
    return sign + digits.ljust(shift + 1, "0")


# %d %f %e


def _decimal(state: Evaluation, value: Value, precision: int) -> str:
    kind = type(value)
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return _shortest(value)
    raise _cannot("decimal", "ints, uints and doubles", value)


def _floating(name: str, letter: str) -> _Clause:
    def clause(state: Evaluation, value: Value, precision: int) -> str:
        if type(value) not in NUMERIC:
            raise _cannot(name, "ints, uints and doubles", value)
        number = float(value)
        if not isfinite(number):
            return _special(number)
        return f"{number:.{precision}{letter}}"

    return clause


# %b %o %x %X


def _binary(state: Evaluation, value: Value, precision: int) -> str:
    if type(value) in (int, Uint, bool):
        return f"{int(value):b}"
    raise _cannot("binary", "ints, uints and bools", value)


def _octal(state: Evaluation, value: Value, precision: int) -> str:
    if type(value) in (int, Uint):
        return f"{int(value):o}"
    raise _cannot("octal", "ints and uints", value)


def _hexadecimal(state: Evaluation, value: Value, precision: int) -> str:
    kind = type(value)
    if kind is int or kind is Uint:
        return f"{int(value):x}"
    if kind is str or kind is bytes:
        state.charge(len(value) // CHARACTERS_PER_UNIT)
        octets: bytes = value.encode() if kind is str else value
        return octets.hex()
    raise _cannot("hexadecimal", "ints, uints, strings and bytes", value)


def _upper_hexadecimal(state: Evaluation, value: Value, precision: int) -> str:
    return _hexadecimal(state, value, precision).upper()


_CLAUSES: dict[str, _Clause] = {
    "s": _string,
    "d": _decimal,
    "f": _floating("fixed-point", "f"),
    "e": _floating("scientific", "e"),
    "b": _binary,
    "o": _octal,
    "x": _hexadecimal,
    "X": _upper_hexadecimal,
}

LIBRARY = library(
    (Function("format", ("string.(list(dyn)) -> string",), _format, _validate),)
)
