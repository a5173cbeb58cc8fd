"""The types of CEL, as declarations name them and as ``type(x)`` returns them.

A :class:`Type` without parameters is also a CEL value: the result of ``type()``
and the meaning of names such as ``int`` (cel-spec, "Values"). Parameterised
types, ``list(int)``, stand in declarations and in checked expressions only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Type:
    """A type: its name in CEL and the types that parameterise it.

    ``open`` says that a :class:`TypeVariable` is in it, so that it is not yet known;
    ``common`` that neither this nor a schema's object is, so that it means the same in
    every expression. ``depth`` counts the levels of parameters.
    """

    __slots__ = ("_hash", "common", "depth", "name", "open", "parameters")

    def __init__(self, name: str, parameters: tuple[Type, ...] = ()) -> None:
        self.name = name
        self.parameters = parameters
        self.open = False
        self.common = True
        self.depth = 0
        for parameter in parameters:
            self.open |= parameter.open
            self.common &= parameter.common
            self.depth = max(self.depth, parameter.depth + 1)
        self._hash = hash((name, parameters))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is Type
            and self.name == other.name
            and self.parameters == other.parameters
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Type({self})"

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


class TypeVariable(Type):
    """A type that is still to be found; equal to itself only."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.open = True
        self.common = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class ObjectType(Type):
    """An object that a schema declares: a map with exactly these fields.

    ``fields`` maps names to CEL types, ``declared`` to the names of the types as
    the schema has them. Two objects are never the same type.
    """

    __slots__ = ("declared", "fields")

    def __init__(
        self, name: str, fields: Mapping[str, Type], declared: Mapping[str, str]
    ) -> None:
        super().__init__(name)
        self.common = False
        self.fields = fields
        self.declared = declared

    __eq__ = object.__eq__
    __hash__ = object.__hash__


BOOL = Type("bool")
BYTES = Type("bytes")
CIDR = Type("net.CIDR")
DOUBLE = Type("double")
DURATION = Type("google.protobuf.Duration")
DYN = Type("dyn")
INT = Type("int")
IP = Type("net.IP")
LIST = Type("list")
MAP = Type("map")
NULL = Type("null_type")
OPTIONAL = Type("optional_type")
STRING = Type("string")
TIMESTAMP = Type("google.protobuf.Timestamp")
TYPE = Type("type")
UINT = Type("uint")

# Names that denote a type when they stand in an expression. ``dyn`` does not: it
# is a declaration's word and a function, never a value.
DENOTATIONS = {
    t.name: t
    for t in (
        BOOL,
        BYTES,
        CIDR,
        DOUBLE,
        DURATION,
        INT,
        IP,
        LIST,
        MAP,
        NULL,
        OPTIONAL,
        STRING,
        TIMESTAMP,
        TYPE,
        UINT,
    )
}


# A type beyond this depth has dyn at its leaves. Through variables of macros a short
# expression can describe a type of exponential size, {a: a} of {b: b} and so on.
_MAX_DEPTH = 8


def parameterised(name: str, *parameters: Type) -> Type:
    """A type with parameters, with dyn where it would grow too deep."""
    if any(parameter.depth >= _MAX_DEPTH for parameter in parameters):
        parameters = tuple(p if p.depth < _MAX_DEPTH else DYN for p in parameters)
    return Type(name, parameters)


def list_of(element: Type) -> Type:
    """``list(element)``."""
    return parameterised("list", element)


def map_of(key: Type, value: Type) -> Type:
    """``map(key, value)``."""
    return parameterised("map", key, value)


def optional_of(value: Type) -> Type:
    """``optional_type(value)``."""
    return parameterised("optional_type", value)


def wrapper_of(value: Type) -> Type:
    """``wrapper(value)``: a value of this type, or null."""
    return parameterised("wrapper", value)


def type_of_type(denoted: Type) -> Type:
    """``type(denoted)``: the type of an expression that denotes a type."""
    return parameterised("type", denoted)


def nullable(of: Type) -> bool:
    """Whether null is among the values of a type.

    As in cel-spec, null is assignable to wrappers, messages, timestamps, durations
    and abstract types such as optionals, and to none of the others.
    """
    return of.name not in _NOT_NULLABLE or type(of) is not Type


_NOT_NULLABLE = frozenset(
    ("bool", "bytes", "double", "int", "list", "map", "string", "type", "uint")
)


def unwrapped(of: Type) -> Type:
    """The type without null, where it is a wrapper."""
    return of.parameters[0] if of.name == "wrapper" and of.parameters else of


# What people write and read for the well-known types.
_SPOKEN = {
    "google.protobuf.Duration": "duration",
    "google.protobuf.Timestamp": "timestamp",
    "null_type": "null",
    "optional_type": "optional",
}


def spoken(of: Type) -> str:
    """A type as messages show it: wrappers as their values, short names."""
    of = unwrapped(of)
    if type(of) is TypeVariable:
        return "dyn"
    name = _SPOKEN.get(of.name, of.name) if type(of) is Type else of.name
    if not of.parameters:
        return name
    return f"{name}({', '.join(map(spoken, of.parameters))})"
