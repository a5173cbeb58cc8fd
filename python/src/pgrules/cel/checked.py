"""The checked tree: what the checker makes and the evaluators run.

Every name is resolved: to a variable of the facts, to the slot of a macro's
variable, to a constant, to a function. ``origin`` is the syntax node that a
checked node stands for; places and texts in messages come from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import Problem
from .library import Function
from .syntax import Node
from .types import DYN, ObjectType, Type
from .values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Checked:
    """A checked sub-expression.

    ``type`` is what inference found: ``dyn`` where nothing is known. See module
    ``inference`` for how far it may be relied on.
    """

    origin: Node
    type: Type = field(default=DYN, init=False, compare=False)

    def children(self) -> Iterator[Checked]:
        """The direct sub-expressions, in source order."""
        return iter(())

    def straight_children(self) -> Iterator[Checked]:
        """Those that one evaluation of this node evaluates at most once."""
        return self.children()


@dataclass(slots=True)
class Constant(Checked):
    """A value known at compile time."""

    value: Value


@dataclass(slots=True)
class Variable(Checked):
    """A name looked up in the facts; ``fallback`` is the type it else denotes.

    ``conversion`` is set where a schema's object is read as a whole: its fields are
    converted then, see module ``reading``. It is the name of a type for a column of a
    table, which is converted as a :class:`Field` is.
    """

    name: str
    fallback: Type | None = None
    conversion: ObjectType | str | None = None


@dataclass(slots=True)
class Local(Checked):
    """A macro's variable, in its slot."""

    name: str
    slot: int


@dataclass(slots=True)
class Bound(Checked):
    """The name of a :class:`Bind`, in its slot."""

    name: str
    slot: int


@dataclass(slots=True)
class Field(Checked):
    """A map's value under a field name; whether it is there when ``test`` is set.

    Of an optional map it is optional, as an :class:`OptionalField`.

    ``conversion`` names the declared type of a fact that a schema declares; the
    fact is converted to it when it is read, see module ``reading``.
    """

    operand: Checked
    name: str
    test: bool
    conversion: str | None = None

    def children(self) -> Iterator[Checked]:
        yield self.operand


@dataclass(slots=True)
class OptionalField(Checked):
    """``operand.?name``: an optional, absent where the map has no such field.

    ``conversion`` is that of a :class:`Field`.
    """

    operand: Checked
    name: str
    conversion: str | None = None

    def children(self) -> Iterator[Checked]:
        yield self.operand


@dataclass(slots=True)
class Invoke(Checked):
    """A call of a function with its arguments, a method's target first."""

    function: Function
    arguments: list[Checked]
    place: int

    def children(self) -> Iterator[Checked]:
        yield from self.arguments


@dataclass(slots=True)
class Chain(Checked):
    """``&&`` or ``||`` over two or more operands."""

    operator: str
    operands: list[Checked]

    def children(self) -> Iterator[Checked]:
        yield from self.operands


@dataclass(slots=True)
class Choice(Checked):
    """The conditional operator."""

    condition: Checked
    then: Checked
    otherwise: Checked

    def children(self) -> Iterator[Checked]:
        yield self.condition
        yield self.then
        yield self.otherwise


@dataclass(slots=True)
class MakeList(Checked):
    """A list from its elements."""

    elements: list[Checked]

    def children(self) -> Iterator[Checked]:
        yield from self.elements


@dataclass(slots=True)
class MakeOptionalList(Checked):
    """``[a, ?b]``: an absent optional at one of the ``optionals`` adds no element."""

    elements: list[Checked]
    optionals: frozenset[int]

    def children(self) -> Iterator[Checked]:
        yield from self.elements


@dataclass(slots=True)
class MakeMap(Checked):
    """A map from its entries."""

    entries: list[tuple[Checked, Checked]]

    def children(self) -> Iterator[Checked]:
        for key, value in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class MakeOptionalMap(Checked):
    """``{a: b, ?c: d}``: an absent optional at one of the ``optionals`` adds none."""

    entries: list[tuple[Checked, Checked]]
    optionals: frozenset[int]

    def children(self) -> Iterator[Checked]:
        for key, value in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class Loop(Checked):
    """A macro with one variable; see ``syntax.Comprehension`` for the kinds.

    The variable is a list's element, a map's key, or for ``optMap`` and
    ``optFlatMap`` the value of an optional.
    """

    kind: str
    slot: int
    range: Checked
    condition: Checked | None
    transform: Checked | None
    place: int

    def children(self) -> Iterator[Checked]:
        yield self.range
        if self.condition is not None:
            yield self.condition
        if self.transform is not None:
            yield self.transform

    def straight_children(self) -> Iterator[Checked]:
        yield self.range


@dataclass(slots=True)
class PairLoop(Checked):
    """A macro with two variables: index and element, or key and value.

    The kinds are ``all``, ``exists``, ``exists_one``, ``transformList``,
    ``transformMap`` and ``transformMapEntry``.
    """

    kind: str
    slot: int
    second_slot: int
    range: Checked
    condition: Checked | None
    transform: Checked | None
    place: int

    def children(self) -> Iterator[Checked]:
        yield self.range
        if self.condition is not None:
            yield self.condition
        if self.transform is not None:
            yield self.transform

    def straight_children(self) -> Iterator[Checked]:
        yield self.range


@dataclass(slots=True)
class Bind(Checked):
    """``cel.bind`` and ``cel.block``: slots and the values that they stand for.

    A value is computed when the first :class:`Bound` of its slot is, and kept, or
    its error is: one that is never used is never computed. It may use the slots
    before it.
    """

    bindings: list[tuple[int, Checked]]
    body: Checked

    def children(self) -> Iterator[Checked]:
        for _, value in self.bindings:
            yield value
        yield self.body


@dataclass(slots=True)
class Failure(Checked):
    """A part that does not compile, in an expression taken unchecked.

    It is an error when it is evaluated (cel-spec, "Gradual Type Checking").
    """

    problem: Problem


def count(node: Checked) -> int:
    """The nodes of a tree."""
    total, pending = 0, [node]
    while pending:
        total += 1
        pending.extend(pending.pop().children())
    return total
