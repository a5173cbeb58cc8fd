"""Checked trees to functions that evaluate many expressions of one shape at once.

Expressions that differ in their constants alone have one *shape*: the text of a
function that loops over *rows*, which are a position and the expression's constants.
What all of them read is read once, in front of the loop. Of ``User.Age >= 18 &&
Order.Country == "DE"``, and others like it, the shape is, in short::

    def generated(variables, rows, add, doubt, absent, interrupted):
        t1 = variables["User"]["Age"]
        t2 = variables["Order"]["Country"]
        for position, k0 in rows_under(rows, t2):
            if t1 >= k0:
                add(position)

``add`` takes the position of an expression whose value is true. ``doubt`` takes that of
one which only the closures can evaluate, see ``codegen``; so does the caller with all
of them when the function returns `UNDECIDED`. ``absent`` takes that of one which is not
true, as something that it needs to be true is not in the facts; whether it fails, the
closures know. For all of them the function returns `ABSENT`. Expressions of which
nothing is said are not true, and do not fail.

Where a clause compares a path with a constant, rows come in a dict under that constant,
and the others are never looked at. That is exact, errors included: a conjunction with a
clause that is false is false, whatever its other clauses are (cel-spec, "Logical
Operators"). Only the cost limit and the derived fields, which share one, make it matter
whether another clause was evaluated first; so such clauses keep their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .checked import (
    Chain,
    Checked,
    Choice,
    Constant,
    Field,
    Invoke,
    Loop,
    MakeList,
    PairLoop,
    Variable,
)
from .codegen import (
    MAX_NODES,
    Generator,
    Unsupported,
    constant_elements,
    is_plain_number,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .interpreter import Closure
    from .values import Value

ABSENT: Final = 1
UNDECIDED: Final = 2

_COMPARISONS: Final = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})

Row = tuple[Any, ...]


class Shape(NamedTuple):
    """The text of a function, and the row of an expression of this shape in it.

    ``keys`` are the constants under which the row stands in a dict, or None for a
    function that takes a list. ``row`` lacks the position, which comes first.
    """

    source: str
    row: Row
    keys: tuple[Value, ...] | None


def shape(
    tree: Checked, nodes: int, slots: int, derived: frozenset[str],
    build: Callable[[Checked], Closure],
) -> Shape | None:  # fmt: skip
    """The shape of a tree of so many nodes; None where it does not suit generated code.

    ``derived`` are the names of the derived fields, ``build`` gives the closure of a
    part, which may use so many ``slots``.
    """
    if nodes > MAX_NODES:
        return None
    try:
        return _Shaper(build, derived).shape(tree, slots)
    except (Unsupported, RecursionError):
        return None


class _Shaper(Generator):
    """Writes the function of a shape: what is in front of the loop, then its body."""

    def __init__(
        self, build: Callable[[Checked], Closure], derived: frozenset[str]
    ) -> None:
        super().__init__(build)
        self.derived = derived
        self.indent = 1

    def shape(self, tree: Checked, slots: int) -> Shape:
        clauses = list(_clauses(tree))
        keys: tuple[Value, ...] | None = None
        rows = "rows"
        left: list[Checked] = []
        cheap = True
        for number, clause in enumerate(clauses):
            # A derived field is computed only where a rule by itself would compute it.
            for node in _needed(clause):
                self.hoist(node, first=number == 0)
            cheap = cheap and self.is_cheap(clause)
            if cheap and not any(map(_is_parameter, walk(clause))):
                self.common(clause)
                continue
            found = self.keys(clause) if cheap and keys is None else None
            if found is None:
                left.append(clause)
            else:
                keys, rows = found
        head, self.lines = self.lines, []
        self.indent = 3
        self.body(left, alone=len(clauses) == 1)
        names = ", ".join(["position", *self.constants()])
        source = "\n".join(
            [
                "def generated(variables, rows, add, doubt, absent, interrupted):",
                *head,
                f"    for ({names},) in {rows}:",
                "        try:",
                *self.interruptions(),
                *self.preparations(slots),
                *self.lines,
                *(
                    ["        except KeyError:", "            absent(position)"]
                    if all(map(_is_strict, left))
                    else []
                ),
                "        except Exception:",
                "            doubt(position)",
                "    return 0",
            ]
        )
        return Shape(source, tuple(self.parameters), keys)

    # In front of the loop

    def hoist(self, node: Checked, *, first: bool) -> None:
        """Read a path that every expression needs to be true."""
        path = self.path(node)
        if path is None or path in self.known:
            return
        if self.is_read_plainly(node, first=first):
            self.guarded(self.expression(node).text, on_key_error=ABSENT)

    def is_read_plainly(self, node: Checked, *, first: bool = False) -> bool:
        """Whether a path is read without closures, and may be read at any time."""
        while isinstance(node, Field):
            if node.test or self.converts(node):
                return False
            node = node.operand
        return (
            isinstance(node, Variable)
            and not self.converts(node)
            and node.fallback is None
            and (first or node.name not in self.derived)
        )

    def guarded(self, statement: str, *, on_key_error: int) -> None:
        self.write("try:")
        self.write(f"    {statement}")
        # Only a map in which the key is missing raises it.
        self.write("except KeyError:")
        self.write(f"    return {on_key_error}")
        self.write("except Exception:")
        self.write(f"    return {UNDECIDED}")

    def is_cheap(self, node: Checked) -> bool:
        """Whether a node costs its nodes, and needs no derived field to be computed."""
        if isinstance(node, Constant):
            return True
        if isinstance(node, Field) and node.test:
            return self.is_cheap(node.operand)
        if isinstance(node, Variable | Field):
            if self.path(node) in self.known:
                return True
            return node.conversion is None and self.is_read_plainly(node)
        if isinstance(node, Invoke):
            name, arguments = node.function.name, node.arguments
            if name == "@in":
                return bool(constant_elements(arguments[1])) and self.is_cheap(
                    arguments[0]
                )
            if name != "!_" and not (
                name in _COMPARISONS
                and any(isinstance(argument, Constant) for argument in arguments)
            ):
                return False
        elif not isinstance(node, Chain | Choice):
            return False
        return all(map(self.is_cheap, node.children()))

    def common(self, clause: Checked) -> None:
        """End here where a clause without constants is not true: it is so for all."""
        known = dict(self.known)
        text = self.truth(clause)
        # What it binds is bound only where it comes so far.
        self.known = known
        self.guarded(f"if not {text}: return 0", on_key_error=UNDECIDED)

    def keys(self, clause: Checked) -> tuple[tuple[Value, ...], str] | None:
        """The constants, one of which a path must equal, and the rows under its value.

        None where the clause is no such comparison.
        """
        if not isinstance(clause, Invoke) or len(clause.arguments) != 2:
            return None
        subject, other = clause.arguments
        values: list[Value] | None = None
        if clause.function.name == "_==_":
            if isinstance(subject, Constant):
                subject, other = other, subject
            values = [other.value] if isinstance(other, Constant) else None
        elif clause.function.name == "@in":
            values = constant_elements(other)
        path = self.path(subject)
        known = None if path is None else self.known.get(path)
        if known is None or not values or not all(map(_is_key, values)):
            return None
        return tuple(dict.fromkeys(values)), f"rows_under(rows, {known.name})"

    # The loop's body

    def interruptions(self) -> list[str]:
        """What cannot be long needs no look at whether to stop."""
        if not (self.uses_state or self.uses_budget):
            return []
        return [
            f"{self.margin}if interrupted is not None and interrupted():",
            f"{self.margin}    raise Interrupted",
        ]

    def body(self, clauses: list[Checked], *, alone: bool) -> None:
        """Write the statements that add the position where all clauses are true."""
        if alone and clauses:
            (clause,) = clauses
            if isinstance(clause, Chain):
                self.alternatives(clause)
                return
            code = self.expression(clause)
            test = "" if code.kind == "bool" else " is True"
            self.write(f"if {code.text}{test}:")
            self.write("    add(position)")
            return
        for clause in clauses:
            self.write(f"if not {self.truth(clause)}:")
            self.write("    continue")
        self.write("add(position)")

    def alternatives(self, clause: Chain) -> None:
        """Write the statements for clauses of which one has to be true."""
        self.write("lacking = False")
        for operand in clause.operands:
            strict = _is_strict(operand)
            known = dict(self.known)
            if strict:
                self.write("try:")
                self.indent += 1
            self.write(f"if {self.truth(operand)}:")
            self.write("    add(position)")
            self.write("    continue")
            if strict:
                # It may have ended anywhere, before a name was bound.
                self.known = known
                self.indent -= 1
                self.write("except KeyError:")
                self.write("    lacking = True")
        self.write("if lacking:")
        self.write("    absent(position)")


def _clauses(tree: Checked) -> Iterator[Checked]:
    """What has to be true, all of it, for the tree to be true."""
    if isinstance(tree, Chain) and tree.operator == "&&":
        for operand in tree.operands:
            yield from _clauses(operand)
    else:
        yield tree


def _needed(node: Checked) -> Iterator[Checked]:
    """The field paths without whose values this node has no value."""
    if isinstance(node, Variable):
        yield node
    elif isinstance(node, Field):
        if not node.test:
            yield node
        else:
            yield from _needed(node.operand)
    elif isinstance(node, Invoke):
        if node.function.deferred is None:
            for argument in node.arguments:
                yield from _needed(argument)
    elif isinstance(node, MakeList):
        for element in node.elements:
            yield from _needed(element)
    elif isinstance(node, Choice):
        yield from _needed(node.condition)
    elif type(node) is Loop:
        yield from _needed(node.range)


def _is_strict(node: Checked) -> bool:
    """Whether a node has no value where any part of it that is evaluated has none."""
    return not any(
        isinstance(part, Chain | Loop | PairLoop)
        or (isinstance(part, Invoke) and part.function.deferred is not None)
        for part in walk(node)
    )


def _is_parameter(node: Checked) -> bool:
    """Whether the constant of a node is a parameter of the text."""
    return isinstance(node, Constant) and not (
        node.value is None or type(node.value) is bool
    )


def _is_key(value: Value) -> bool:
    return type(value) is str or is_plain_number(value)
