"""The syntax tree: what the parser makes and every later stage reads.

Nodes carry ``start`` and ``end``, code point offsets into the source. Macros are
expanded while parsing, so a tree has comprehensions where the text has
``all(...)``. Trees are never changed once they are built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Node:
    """A sub-expression and its place in the source."""

    start: int
    end: int

    def children(self) -> Iterator[Node]:
        """The direct sub-expressions, in source order."""
        return iter(())


@dataclass(slots=True)
class Literal(Node):
    """A constant: null, bool, int, uint, double, string or bytes."""

    value: Value


@dataclass(slots=True)
class Ident(Node):
    """A name. With a leading dot it is never looked up in the container."""

    name: str
    absolute: bool = False


@dataclass(slots=True)
class Select(Node):
    """``operand.field``; ``has(operand.field)`` when ``test`` is set."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False

    def children(self) -> Iterator[Node]:
        yield self.operand


@dataclass(slots=True)
class Call(Node):
    """A function, a method (``target`` is set) or an operator.

    Operators have the names of cel-spec's standard definitions: ``_+_``, ``!_``,
    ``_[_]``, ``@in``. ``place`` is the offset of the name or operator itself.
    """

    function: str
    target: Node | None
    arguments: list[Node]
    place: int

    def children(self) -> Iterator[Node]:
        if self.target is not None:
            yield self.target
        yield from self.arguments


@dataclass(slots=True)
class Logical(Node):
    """``a && b && c`` or ``a || b || c``: one node for the whole chain.

    A chain may be evaluated in any order (cel-spec, "Logical Operators"), so it
    is kept flat: long disjunctions are common in rules and must not nest.
    """

    operator: str
    operands: list[Node]

    def children(self) -> Iterator[Node]:
        yield from self.operands


@dataclass(slots=True)
class Conditional(Node):
    """``condition ? then : otherwise``."""

    condition: Node
    then: Node
    otherwise: Node

    def children(self) -> Iterator[Node]:
        yield self.condition
        yield self.then
        yield self.otherwise


@dataclass(slots=True)
class ListLiteral(Node):
    """``[a, ?b]``; ``optionals`` holds the indexes of elements behind a ``?``."""

    elements: list[Node]
    optionals: frozenset[int] = frozenset()

    def children(self) -> Iterator[Node]:
        yield from self.elements


@dataclass(slots=True)
class MapLiteral(Node):
    """``{a: b, ?c: d}``; ``optionals`` holds the indexes of entries behind ``?``."""

    entries: list[tuple[Node, Node]]
    optionals: frozenset[int] = frozenset()

    def children(self) -> Iterator[Node]:
        for key, value in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class StructLiteral(Node):
    """``Name{field: value}``: a protobuf message, which this CEL has none of."""

    name: str
    fields: list[tuple[str, Node]]

    def children(self) -> Iterator[Node]:
        for _, value in self.fields:
            yield value


@dataclass(slots=True)
class Comprehension(Node):
    """A macro that loops over a list or a map.

    ``kind`` is the macro: ``all``, ``exists``, ``exists_one``, ``map``, ``filter``,
    ``sortBy``; ``transformList``, ``transformMap``, ``transformMapEntry``; and
    ``optMap``, ``optFlatMap``, which loop over the value of an optional.
    ``variable`` stands for an element or a map's key; when ``second`` is set, for the
    element's index or the key, and ``second`` for the element or the key's value.
    ``condition`` selects or decides; ``transform`` makes what the result consists of.
    ``place`` is the offset of the macro.
    """

    kind: str
    variable: str
    range: Node
    condition: Node | None
    transform: Node | None
    place: int = field(default=0)
    second: str | None = None

    def children(self) -> Iterator[Node]:
        yield self.range
        if self.condition is not None:
            yield self.condition
        if self.transform is not None:
            yield self.transform


@dataclass(slots=True)
class Binding(Node):
    """Names for values in an expression: ``cel.bind`` and ``cel.block``.

    A value may use the names before it.
    """

    bindings: list[tuple[str, Node]]
    body: Node

    def children(self) -> Iterator[Node]:
        for _, value in self.bindings:
            yield value
        yield self.body
