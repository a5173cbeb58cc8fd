"""Macro expansion: calls that bind variables become nodes of their own.

cel-spec's ``has``, ``all``, ``exists``, ``exists_one``, ``map`` and ``filter``
("Macros"), and those of the extension libraries: comprehensions with two variables,
``cel.bind`` and ``cel.block``, ``optMap`` and ``optFlatMap``, ``sortBy``, and
``math.greatest`` and ``math.least`` for their many arguments. A call whose name and
number of arguments fit no macro stays a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import source
from .errors import InvalidExpression
from .syntax import (
    Binding,
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    Select,
    StructLiteral,
)
from .values import NUMERIC

if TYPE_CHECKING:
    from collections.abc import Callable


def expand(call: Call, text: str) -> Node:
    """The expansion of a call, or the call itself where it is no macro.

    Raises :class:`InvalidExpression` for a macro whose arguments do not fit.
    """
    macro = _MACROS.get((call.function, call.target is not None, len(call.arguments)))
    if macro is None:
        target = call.target
        if type(target) is not Ident or target.absolute:
            return call
        macro = _NAMESPACED.get((target.name, call.function))
    return call if macro is None else macro(call, text)


def _fail(text: str, offset: int, message: str, hint: str) -> InvalidExpression:
    return InvalidExpression([source.problem(text, offset, message, hint)])


def _has(call: Call, text: str) -> Node:
    (argument,) = call.arguments
    if not isinstance(argument, Select) or argument.test:
        raise _fail(
            text,
            argument.start,
            "has() takes a field selection",
            'write has(a.b); for a key, write "b" in a',
        )
    if argument.optional:
        raise _fail(
            text,
            argument.start,
            "has() takes a field selection without '?'",
            f"write has(a.{argument.field}), or a.?{argument.field}.hasValue()",
        )
    return Select(call.start, call.end, argument.operand, argument.field, test=True)


def _variable(argument: Node, text: str, example: str) -> str:
    if not isinstance(argument, Ident) or argument.absolute:
        raise _fail(
            text,
            argument.start,
            "a macro's variable must be a simple name",
            f"for example {example}",
        )
    return argument.name


def _comprehension(kind: str) -> Callable[[Call, str], Node]:
    """A macro with one variable."""

    def build(call: Call, text: str) -> Node:
        assert call.target is not None
        example = f"items.{call.function}(item, item > 0)"
        variable = _variable(call.arguments[0], text, example)
        condition: Node | None = call.arguments[1]
        transform: Node | None = None
        if kind not in ("all", "exists", "exists_one", "filter"):
            transform = call.arguments[-1]
            if len(call.arguments) == 2:
                condition = None
        return Comprehension(
            call.start,
            call.end,
            kind,
            variable,
            call.target,
            condition,
            transform,
            call.place,
        )

    return build


def _pair_comprehension(kind: str) -> Callable[[Call, str], Node]:
    """A macro with two variables."""

    def build(call: Call, text: str) -> Node:
        assert call.target is not None
        example = f"items.{call.function}(key, value, key != value)"
        first = _variable(call.arguments[0], text, example)
        second = _variable(call.arguments[1], text, example)
        if first == second:
            raise _fail(
                text,
                call.arguments[1].start,
                f"both variables of the macro are named {first}",
                f"for example {example}",
            )
        condition: Node | None = call.arguments[2]
        transform: Node | None = None
        if kind.startswith("transform"):
            transform = call.arguments[-1]
            if len(call.arguments) == 3:
                condition = None
        return Comprehension(
            call.start,
            call.end,
            kind,
            first,
            call.target,
            condition,
            transform,
            call.place,
            second,
        )

    return build


# cel.bind and cel.block


def _arguments(call: Call, text: str, count: int, usage: str) -> list[Node]:
    if len(call.arguments) != count:
        assert isinstance(call.target, Ident)
        raise _fail(
            text,
            call.place,
            f"{call.target.name}.{call.function} takes {count} arguments",
            usage,
        )
    return call.arguments


def _bind(call: Call, text: str) -> Node:
    example = "cel.bind(total, price * count, total > 10 && total < 20)"
    name, value, body = _arguments(call, text, 3, example)
    variable = _variable(name, text, example)
    return Binding(call.start, call.end, [(variable, value)], body)


def _block(call: Call, text: str) -> Node:
    example = "cel.block([a + b, cel.index(0) * 2], cel.index(1) > 10)"
    slots, body = _arguments(call, text, 2, example)
    if not isinstance(slots, ListLiteral) or slots.optionals:
        raise _fail(
            text, slots.start, "the first argument of cel.block must be a list", example
        )
    bindings = [(_slot(index), value) for index, value in enumerate(slots.elements)]
    return Binding(call.start, call.end, bindings, body)


def _slot(index: int) -> str:
    """The name of a block's slot, which no name in a source text can be."""
    return f"@index{index}"


def _index(call: Call, text: str) -> Node:
    (number,) = _numbers(call, text, "cel.index(0)", 1)
    return Ident(call.start, call.end, _slot(number))


def _numbered_variable(kind: str) -> Callable[[Call, str], Node]:
    """``cel.iterVar(depth, number)``: a macro's variable that has no name."""

    def build(call: Call, text: str) -> Node:
        depth, number = _numbers(call, text, f"cel.{call.function}(0, 0)", 2)
        return Ident(call.start, call.end, f"@{kind}:{depth}:{number}")

    return build


def _numbers(call: Call, text: str, example: str, count: int) -> list[int]:
    numbers = []
    for argument in _arguments(call, text, count, f"for example {example}"):
        value = argument.value if isinstance(argument, Literal) else None
        if type(value) is not int or value < 0:
            raise _fail(
                text,
                argument.start,
                f"cel.{call.function} takes integer literals",
                f"for example {example}",
            )
        numbers.append(value)
    return numbers


# math.greatest and math.least


def _extreme(call: Call, text: str) -> Node:
    """Many arguments become one list; what can be no number is refused."""
    name = f"math.{call.function}"
    arguments = call.arguments
    if not arguments:
        raise _fail(
            text, call.place, f"{name} takes numbers", f"for example {name}(a, b, 10)"
        )
    checked = arguments
    if len(arguments) == 1 and isinstance(arguments[0], ListLiteral):
        checked = arguments[0].elements
        if not checked:
            raise _fail(
                text,
                arguments[0].start,
                f"{name} of an empty list",
                "there must be a number at least",
            )
    for argument in checked:
        if _is_no_number(argument):
            raise _fail(
                text,
                argument.start,
                f"{name} takes numbers",
                f"for example {name}(a, b, 10), or {name}(list)",
            )
    if len(arguments) > 2:
        span = arguments[0].start, arguments[-1].end
        arguments = [ListLiteral(*span, arguments)]
    return Call(call.start, call.end, name, None, arguments, call.place)


def _is_no_number(node: Node) -> bool:
    if isinstance(node, Literal):
        return type(node.value) not in NUMERIC
    return isinstance(node, ListLiteral | MapLiteral | StructLiteral)


# By name, whether called as a method, and the number of arguments.
_MACROS: dict[tuple[str, bool, int], Callable[[Call, str], Node]] = {
    ("has", False, 1): _has,
    ("all", True, 2): _comprehension("all"),
    ("exists", True, 2): _comprehension("exists"),
    ("exists_one", True, 2): _comprehension("exists_one"),
    ("existsOne", True, 2): _comprehension("exists_one"),
    ("filter", True, 2): _comprehension("filter"),
    ("map", True, 2): _comprehension("map"),
    ("map", True, 3): _comprehension("map"),
    ("optMap", True, 2): _comprehension("optMap"),
    ("optFlatMap", True, 2): _comprehension("optFlatMap"),
    ("sortBy", True, 2): _comprehension("sortBy"),
    ("all", True, 3): _pair_comprehension("all"),
    ("exists", True, 3): _pair_comprehension("exists"),
    ("exists_one", True, 3): _pair_comprehension("exists_one"),
    ("existsOne", True, 3): _pair_comprehension("exists_one"),
    **{
        (kind, True, count): _pair_comprehension(kind)
        for kind in ("transformList", "transformMap", "transformMapEntry")
        for count in (3, 4)
    },
}

# By namespace and name: a name with a dot, whatever the arguments.
_NAMESPACED: dict[tuple[str, str], Callable[[Call, str], Node]] = {
    ("cel", "bind"): _bind,
    ("cel", "block"): _block,
    ("cel", "index"): _index,
    ("cel", "iterVar"): _numbered_variable("it"),
    ("cel", "accuVar"): _numbered_variable("ac"),
    ("math", "greatest"): _extreme,
    ("math", "least"): _extreme,
}
