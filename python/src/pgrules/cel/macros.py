"""Macro expansion: calls that bind variables become nodes of their own.

``has``, ``all``, ``exists``, ``exists_one``, ``map`` and ``filter`` (cel-spec,
"Macros"). A call whose name and number of arguments fit no macro stays a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import source
from .errors import InvalidExpression
from .syntax import Call, Comprehension, Ident, Node, Select

if TYPE_CHECKING:
    from collections.abc import Callable


def expand(call: Call, text: str) -> Node:
    """The expansion of a call, or the call itself where it is no macro.

    Raises :class:`InvalidExpression` for a macro whose arguments do not fit.
    """
    macro = _MACROS.get((call.function, call.target is not None, len(call.arguments)))
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
    return Select(
        call.start, call.end, argument.operand, argument.field, True, argument.optional
    )


def _variable(argument: Node, text: str) -> str:
    if not isinstance(argument, Ident) or argument.absolute:
        raise _fail(
            text,
            argument.start,
            "the first argument of a macro must be a simple name",
            "for example items.all(item, item > 0)",
        )
    return argument.name


def _comprehension(kind: str) -> Callable[[Call, str], Node]:
    def build(call: Call, text: str) -> Node:
        assert call.target is not None
        variable = _variable(call.arguments[0], text)
        condition: Node | None = call.arguments[1]
        transform: Node | None = None
        if kind == "map":
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
}
