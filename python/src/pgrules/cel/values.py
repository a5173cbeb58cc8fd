"""How CEL values look in Python, and what separates the two languages.

=================  ==========================================================
CEL                Python
=================  ==========================================================
int                ``int``, kept within 64 bits by every operation
uint               :class:`Uint`, an ``int`` of its own type
double             ``float``
bool, null_type    ``bool``, ``None``
string, bytes      ``str`` (code points, as CEL counts), ``bytes``
list               ``list``
map                ``dict``; bool keys are wrapped, see :class:`BoolKey`
timestamp          :class:`~.temporal.Timestamp`
duration           :class:`~.temporal.Duration`
type               :class:`~.types.Type`
optional_type      :class:`Optional`
net.IP, net.CIDR   subclasses of :class:`Opaque`
=================  ==========================================================

Decoded JSON is already in this form, so facts are never converted. The price is
care with Python's own equalities: ``True == 1`` holds there and must not here,
so types are compared with ``type(x) is``, never with ``isinstance``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from . import types
from .temporal import Duration, Timestamp
from .types import Type

Value = Any
"""A CEL value in the representation above."""


class Uint(int):
    """An unsigned 64-bit integer, equal and hashed as the number it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self)}u"


class Optional:
    """A value that may be absent: ``optional.of(x)`` or ``optional.none()``.

    ``==`` of Python compares identities; ``operators.equal`` compares as CEL does.
    """

    __slots__ = ("present", "value")

    def __init__(self, value: Value, *, present: bool = True) -> None:
        self.value = value
        self.present = present

    def __repr__(self) -> str:
        return f"optional.of({self.value!r})" if self.present else "optional.none()"


ABSENT: Final = Optional(None, present=False)


class Opaque:
    """A value of a type that a library brings, such as an IP address.

    Subclasses are immutable, compare with ``==`` and have the value's text as
    ``str``; ``cel_type`` is what ``type(x)`` gives.
    """

    __slots__ = ()
    cel_type: ClassVar[Type]


class BoolKey:
    """A bool as the key of a map, where Python would take it for 0 or 1."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


TRUE_KEY: Final = BoolKey(True)
FALSE_KEY: Final = BoolKey(False)

NUMERIC: Final = frozenset({int, Uint, float})

_TYPES: Final[dict[type, Type]] = {
    bool: types.BOOL,
    bytes: types.BYTES,
    dict: types.MAP,
    Duration: types.DURATION,
    float: types.DOUBLE,
    int: types.INT,
    list: types.LIST,
    Optional: types.OPTIONAL,
    type(None): types.NULL,
    str: types.STRING,
    Timestamp: types.TIMESTAMP,
    Type: types.TYPE,
    Uint: types.UINT,
}


def type_of(value: Value) -> Type:
    """The CEL type of a value (cel-spec, "type")."""
    known = _TYPES.get(type(value))
    if known is not None:
        return known
    assert isinstance(value, Opaque)
    return value.cel_type


def encode_key(key: Value) -> Value:
    """The form in which a map stores this key.

    Raises ``KeyError`` for a value that can be no key (cel-spec, "Maps": int,
    uint, bool and string can). A double finds the integer that it equals.
    """
    kind = type(key)
    if kind is str or kind is int or kind is Uint or kind is float:
        return key
    if kind is bool:
        return TRUE_KEY if key else FALSE_KEY
    raise KeyError(key)


def decode_key(key: Value) -> Value:
    """The key as CEL sees it, from the form in which a map stores it."""
    return key.value if type(key) is BoolKey else key


def map_keys(value: dict[Any, Value]) -> list[Value]:
    """The keys of a map, in the map's order."""
    return [key.value if type(key) is BoolKey else key for key in value]
