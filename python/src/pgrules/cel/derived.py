"""Derived fields: what they depend on, in which order, and of which types.

A derived field is a name for an expression over facts and other derived fields. This
module finds the dependencies, refuses cycles and infers types; evaluation is the
program's.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from . import source
from .checked import Checked, Constant, Variable
from .checker import Resolved, resolve
from .environment import DerivedField, Environment
from .errors import FieldProblem, InvalidDerivedFields, InvalidExpression
from .inference import infer
from .lexer import KEYWORDS, RESERVED
from .parser import parse
from .syntax import Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .errors import Problem

MAX_NAME = 100


def order(derived: Mapping[str, str], environment: Environment) -> list[DerivedField]:
    """The derived fields, each behind those that it depends on.

    ``environment`` declares the facts; its own derived fields do not count. Raises
    :class:`InvalidDerivedFields` with every field that cannot be: its name, its
    expression, or a cycle that it is part of.
    """
    ordered, problems = _ordered(derived, environment)
    if problems:
        raise InvalidDerivedFields(problems)
    return ordered


def fitting(
    derived: Mapping[str, str], environment: Environment
) -> tuple[list[DerivedField], dict[str, str]]:
    """Those derived fields that compile over the columns of a table, in order.

    The others are named with the reason; among them are those that depend on one. A
    field with the name of a column is neither: the column supplies it.
    """
    columns = environment.variables or {}
    derived = {name: text for name, text in derived.items() if name not in columns}
    ordered, problems = _ordered(derived, environment)
    unfit = {
        problem.name: problem.problems[0].message
        if problem.problems
        else problem.message
        for problem in problems
    }
    fields = []
    for field in ordered:
        missing = [name for name in field.dependencies if name in unfit]
        if missing:
            reason = f"the derived field {missing[0]} does not: {unfit[missing[0]]}"
            unfit[field.name] = reason
        else:
            fields.append(field)
    return fields, unfit


def _ordered(
    derived: Mapping[str, str], environment: Environment
) -> tuple[list[DerivedField], list[FieldProblem]]:
    """The fields that can be, in order, and what is wrong with the others."""
    problems = [wrong for name in derived if (wrong := _name(name, environment))]
    placeholders = {name: _placeholder(name) for name in derived}
    outline = environment.with_derived(placeholders)
    resolved: dict[str, Resolved] = {}
    for name, expression in derived.items():
        try:
            resolved[name] = _resolve(expression, outline)
        except InvalidExpression as invalid:
            problems.append(_does_not_compile(name, invalid.problems))
    uses = {
        name: [used for used in dependencies(found.tree) if used in derived]
        for name, found in resolved.items()
    }
    sequence, problems_of_cycles = _sequence(uses)
    problems += problems_of_cycles
    known = dict(placeholders)
    ordered = []
    # Of the types of fields that cannot be, nothing is known.
    for name in sequence:
        found = resolved[name]
        mistakes = found.problems + infer(
            found.tree, derived[name], environment.with_derived(known)
        )
        if mistakes:
            mistakes.sort(key=lambda problem: (problem.line, problem.column))
            problems.append(_does_not_compile(name, mistakes))
            continue
        known[name] = DerivedField(
            name, derived[name], found.tree, found.slots, dependencies(found.tree)
        )
        ordered.append(known[name])
    return ordered, problems


def dependencies(tree: Checked) -> tuple[str, ...]:
    """The names that an expression reads, of facts and of derived fields.

    In the order of the text, each once. The names of macro variables are not among
    them, nor those of types.
    """
    names: dict[str, None] = {}
    pending = [tree]
    while pending:
        node = pending.pop()
        if type(node) is Variable and node.fallback is None:
            names[node.name] = None
        pending.extend(reversed(list(node.children())))
    return tuple(names)


def _placeholder(name: str) -> DerivedField:
    """A derived field of which only the name is known; its type is dyn."""
    return DerivedField(name, "", Constant(Literal(0, 0, None), None), 0, ())


def check_name(name: object) -> None:
    """Raise :class:`InvalidDerivedFields` for what no derived field can be named."""
    problem = _name(name, Environment())
    if problem is not None:
        raise InvalidDerivedFields([problem])


def _name(name: object, environment: Environment) -> FieldProblem | None:
    form = "a name is letters, digits and underscores, and no word of CEL: IsAdult"
    if not isinstance(name, str) or not (name.isascii() and name.isidentifier()):
        message = "has a name with characters not allowed"
    elif len(name) > MAX_NAME:
        message = f"has a name longer than {MAX_NAME} characters"
    elif name in RESERVED or name in KEYWORDS:
        message = "has a reserved word of CEL as its name"
    elif name in (environment.variables or {}):
        message, form = "has the name of an object in the schema", "choose another name"
    else:
        return None
    cut = str(name)[:MAX_NAME]
    shown = cut if cut.isidentifier() else json.dumps(cut)
    return FieldProblem(cut, f"the derived field {shown} {message}", form)


def _resolve(expression: object, environment: Environment) -> Resolved:
    if not isinstance(expression, str):
        message = "the expression is no text"
        raise InvalidExpression([source.problem("", 0, message)])
    source.refuse_surrogates(expression)
    try:
        tree = parse(expression, limits=environment.limits)
        return resolve(tree, expression, environment)
    except RecursionError:
        message = "the caller's stack leaves no room for an expression so deep"
        raise InvalidExpression([source.problem(expression, 0, message)]) from None


def _does_not_compile(name: str, problems: list[Problem]) -> FieldProblem:
    first = problems[0]
    return FieldProblem(
        name,
        f"the derived field {name} does not compile: {first.message}",
        first.hint,
        tuple(problems),
    )


def _sequence(
    uses: Mapping[str, list[str]],
) -> tuple[list[str], list[FieldProblem]]:
    """Names behind those that they use, and the cycles that keep some out."""
    users: dict[str, list[str]] = {name: [] for name in uses}
    waiting: dict[str, int] = {}
    for name, used in uses.items():
        # A field that does not compile keeps nothing waiting.
        present = [other for other in used if other in uses]
        waiting[name] = len(present)
        for other in present:
            users[other].append(name)
    ready = deque(name for name, count in waiting.items() if not count)
    sequence = []
    while ready:
        name = ready.popleft()
        sequence.append(name)
        for user in users[name]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    left = {name: uses[name] for name, count in waiting.items() if count}
    return sequence, [_in_cycle(path) for path in _cycles(left)]


def _cycles(uses: Mapping[str, list[str]]) -> Iterable[list[str]]:
    """Cycles among names that all use another of them; no name is in two."""
    seen: set[str] = set()
    for start in uses:
        path: dict[str, None] = {}
        name = start
        while name not in seen:
            seen.add(name)
            path[name] = None
            name = next(used for used in uses[name] if used in uses)
        if name in path:
            names = list(path)
            yield names[names.index(name) :]


def _in_cycle(path: list[str]) -> FieldProblem:
    cycle = (*path, path[0])
    return FieldProblem(
        path[0],
        f"the derived field {path[0]} depends on itself: {' -> '.join(cycle)}",
        "let one of them use facts only",
        cycle=cycle,
    )
