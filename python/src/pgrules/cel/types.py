"""The types of CEL, as declarations name them and as ``type(x)`` returns them.

A :class:`Type` without parameters is also a CEL value: the result of ``type()``
and the meaning of names such as ``int`` (cel-spec, "Values"). Parameterised
types, ``list(int)``, stand in declarations and in checked expressions only.
"""

from __future__ import annotations


class Type:
    """A type: its name in CEL and the types that parameterise it."""

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: tuple[Type, ...] = ()) -> None:
        self.name = name
        self.parameters = parameters

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is Type
            and self.name == other.name
            and self.parameters == other.parameters
        )

    def __hash__(self) -> int:
        return hash((self.name, self.parameters))

    def __repr__(self) -> str:
        return f"Type({self})"

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


BOOL = Type("bool")
BYTES = Type("bytes")
DOUBLE = Type("double")
DURATION = Type("google.protobuf.Duration")
DYN = Type("dyn")
INT = Type("int")
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
        DOUBLE,
        DURATION,
        INT,
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
