"""What a change of the environment breaks: derived fields and rules that then fail.

A new schema, or derived fields that came, changed or went, make a new environment.
Whether the derived fields themselves can be, ``derived`` says; here it is asked who
still uses one that went, and which expressions no longer compile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checked import Checked, Variable
from .errors import FieldProblem, InvalidDerivedFields, InvalidExpression, Problem
from .source import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .environment import Environment
    from .program import Program


def refuse_removed(environment: Environment, removed: frozenset[str]) -> None:
    """Refuse derived fields that use one of the removed names.

    Without a schema the name could be a fact's; yet whoever wrote it meant the
    derived field. Raises :class:`InvalidDerivedFields` with every such field.
    """
    users = []
    for name, field in environment.derived.items():
        found = _uses(field.expression, field.tree, removed)
        if found:
            message = f"the derived field {name} cannot be: {found[0].message}"
            users.append(FieldProblem(name, message, found[0].hint, tuple(found)))
    if users:
        raise InvalidDerivedFields(users)


def broken(
    expressions: Iterable[str],
    program: Callable[[str], Program],
    removed: frozenset[str],
) -> Iterator[tuple[int, InvalidExpression]]:
    """The expressions that do not compile, by position from 0, each with the reason.

    ``program`` compiles in the new environment. Using a removed name is a reason.
    """
    for position, expression in enumerate(expressions):
        try:
            compiled = program(expression)
        except InvalidExpression as invalid:
            yield position, invalid
            continue
        problems = _uses(expression, compiled.tree, removed)
        if problems:
            yield position, InvalidExpression(problems)


def _uses(text: str, tree: Checked, removed: frozenset[str]) -> list[Problem]:
    """Where an expression uses names that were removed; of each name the first."""
    if not removed:
        return []
    places: dict[str, int] = {}
    pending = [tree]
    while pending:
        node = pending.pop()
        if type(node) is Variable and node.fallback is None and node.name in removed:
            places.setdefault(node.name, node.origin.start)
        pending.extend(reversed(list(node.children())))
    return [
        problem(
            text,
            place,
            f"it uses the derived field {name}",
            f"keep {name}, or change what uses it first",
        )
        for name, place in places.items()
    ]
