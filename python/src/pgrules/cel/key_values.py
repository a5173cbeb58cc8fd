"""Values of rules and facts in the form in which access keys compare them.

What CEL takes for equal has one canonical form, and what it orders has coordinates in
that order, 64-bit integers. They may say equal where CEL does not, never the other way:
an integer stands for the double nearest to it, as it does where CEL compares it with a
double, and strings are ordered by their first bytes.
"""

from __future__ import annotations

import json
import struct
from math import isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import temporal
from .errors import EvaluationError
from .reading import read_bytes
from .temporal import Duration, Timestamp, format_duration, format_timestamp
from .values import NUMERIC, Uint, Value

if TYPE_CHECKING:
    from .facts import Facts

LOWEST: Final = -(1 << 63)
HIGHEST: Final = (1 << 63) - 1


class Element:
    """In a path: one element of a list, or key of a map, the same wherever it is.

    A loop over the list or map makes one for its variable. In the keys of a rule None
    stands in its place: any element.
    """

    __slots__ = ()


Part = str | int | Element | None
Path = tuple[Part, ...]
"""From the facts: names of fields, positions in lists, and for any element None."""


class Attribute(NamedTuple):
    """What a key looks at: a path, and what is made of the value there.

    ``reading`` is ``value``, or the type that its text is converted to: ``timestamp``,
    ``duration`` or ``bytes``; ``there`` asks only whether the facts have the path. With
    ``prefix`` it is so many first characters of a string.
    """

    path: Path
    reading: str
    prefix: int = 0

    def closed(self) -> Attribute:
        """The same, of any element."""
        path = (None if type(part) is Element else part for part in self.path)
        return self._replace(path=tuple(path))


def canonical(value: Value) -> bytes | None:
    """A form that equal values share; None for values that no key has."""
    kind = type(value)
    if kind is str:
        return b"s" + str.encode(value, "utf-8", "surrogatepass")
    if kind is bool:
        return b"b1" if value else b"b0"
    if kind in NUMERIC:
        number = float(value)
        # Zero has two signs, and NaN is equal to nothing.
        return None if isnan(number) else b"n" + struct.pack(">d", number + 0.0)
    if value is None:
        return b"0"
    if kind is Timestamp:
        return b"t%d" % value.nanos
    if kind is Duration:
        return b"d%d" % value.nanos
    return b"y" + bytes(value) if kind is bytes else None


def reading_of(value: Value) -> str:
    """The reading of facts that gives values of this kind."""
    return _READINGS.get(type(value), "value")


_READINGS: Final[dict[type, str]] = {
    Timestamp: "timestamp",
    Duration: "duration",
    bytes: "bytes",
}


def coordinate(value: Value) -> tuple[str, int] | None:
    """The kind of a value that CEL orders, and its place in the order of this kind.

    None for values that no range has.
    """
    kind = type(value)
    if kind in NUMERIC:
        number = float(value)
        if isnan(number):
            return None
        (bits,) = struct.unpack(">q", struct.pack(">d", number + 0.0))
        # The bits of negative numbers run the other way.
        return "number", bits if bits >= 0 else LOWEST - 1 - bits
    if kind is str:
        first = value[:8].encode("utf-8", "surrogatepass")[:8].ljust(8, b"\0")
        return "string", int.from_bytes(first, "big") + LOWEST
    if kind is Timestamp:
        # Microseconds: the years 1 to 9999 have more nanoseconds than 64 bits hold.
        return "timestamp", value.nanos // 1_000
    if kind is Duration:
        return "duration", value.nanos
    return None


def read(facts: Facts, attribute: Attribute) -> list[Value]:
    """What an attribute is in these facts: no value, one, or one of each element."""
    found: list[Any] = [facts]
    for part in attribute.path:
        if part is None:
            # The keys of a map are what its loops and ``in`` go through.
            found = [
                element
                for value in found
                if type(value) is list or type(value) is dict
                for element in value
            ]
        elif type(part) is str:
            found = [v[part] for v in found if type(v) is dict and part in v]
        else:
            assert type(part) is int
            found = [v[part] for v in found if type(v) is list and part < len(v)]
        if not found:
            return found
    if attribute.reading == "there":
        return [True]
    if attribute.prefix:
        size = attribute.prefix
        return [v[:size] for v in found if type(v) is str and len(v) >= size]
    if attribute.reading == "value":
        return found
    return [value for each in found for value in _converted(attribute.reading, each)]


def _converted(reading: str, value: Any) -> list[Value]:
    """A fact as a value of another type; nothing where it cannot be one."""
    try:
        if type(value) is str:
            if reading == "timestamp":
                return [temporal.parse_timestamp(value)]
            if reading == "duration":
                return [temporal.parse_duration(value)]
            return [read_bytes(value)]
        if reading == "timestamp" and type(value) is int:
            return [temporal.timestamp_from_seconds(value)]
        if reading == "timestamp" and type(value) is float and value.is_integer():
            # Of a field that is declared an int.
            return [temporal.timestamp_from_seconds(int(value))]
    except EvaluationError:
        pass
    return []


def written_path(path: Path) -> str:
    """A path as CEL selects it; ``[*]`` is any element."""
    text = ""
    for part in path:
        if type(part) is str:
            if part.isascii() and part.isidentifier():
                text += f".{part}" if text else part
            else:
                text += f"[{written(part)}]" if text else written(part)
        else:
            text += f"[{part}]" if type(part) is int else "[*]"
    return text


def written(value: Value) -> str:
    """A constant as CEL writes it, cut where it is long."""
    kind = type(value)
    if kind is str:
        return json.dumps(value if len(value) <= 60 else value[:57] + "...")
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if kind is Uint:
        return f"{int(value)}u"
    if kind is Timestamp:
        return f'timestamp("{format_timestamp(value)}")'
    if kind is Duration:
        return f'duration("{format_duration(value)}")'
    return repr(value)
