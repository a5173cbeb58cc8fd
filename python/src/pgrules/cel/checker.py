"""Syntax tree to checked tree: what every name and call refers to.

All problems of an expression are found in one pass, each with its place and the
nearest known name. An expression taken ``unchecked`` keeps its problems for the
evaluation, where ``||`` may absorb them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import regex, source
from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Failure,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .errors import EvaluationError, InvalidExpression, Problem, RegexLibraryMissing
from .inference import infer
from .syntax import (
    Binding,
    Call,
    Comprehension,
    Conditional,
    Ident,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Node,
    Select,
    StructLiteral,
)
from .types import DENOTATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .environment import Environment
    from .library import Function


class Resolved(NamedTuple):
    """An expression whose names are resolved, with what is wrong so far."""

    tree: Checked
    slots: int
    problems: list[Problem]
    regex_missing: bool


def resolve(tree: Node, text: str, environment: Environment) -> Resolved:
    """The checked tree, not yet typed, and the slots that its macros need."""
    checker = _Checker(text, environment)
    checked = checker.check(tree)
    return Resolved(checked, checker.slots, checker.problems, checker.regex_missing)


def check(
    tree: Node, text: str, environment: Environment, *, unchecked: bool = False
) -> tuple[Checked, int]:
    """The checked tree and the number of slots that its macros need.

    Raises :class:`InvalidExpression` with all problems found, unless
    ``unchecked``, and :class:`RegexLibraryMissing`.
    """
    checked, slots, problems, regex_missing = resolve(tree, text, environment)
    if unchecked:
        return checked, slots
    problems += infer(checked, text, environment)
    if problems:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        failure = RegexLibraryMissing if regex_missing else InvalidExpression
        raise failure(problems)
    return checked, slots


# Looking for the nearest name takes a millisecond where there are many names.
_MOST_HINTS = 20


def _nearest(name: str, known: Iterable[str], problems: int) -> str:
    """A hint with the nearest known name; none behind so many problems."""
    if problems >= _MOST_HINTS:
        return ""
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def _path(node: Node) -> list[str] | None:
    """The names of a selection a.b.c, with a dot before an absolute one."""
    names: list[str] = []
    while isinstance(node, Select) and not node.test and not node.optional:
        names.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    names.append("." + node.name if node.absolute else node.name)
    names.reverse()
    return names


class _Checker:
    """The macro variables in scope and the problems so far.

    A name in scope has a slot: of a loop's variable, or of a bound value.
    """

    def __init__(self, text: str, environment: Environment) -> None:
        self.text = text
        self.environment = environment
        self.scope: dict[str, tuple[type[Local | Bound], int]] = {}
        self.slots = 0
        self.problems: list[Problem] = []
        self.regex_missing = False

    def fail(self, node: Node, place: int, message: str, hint: str = "") -> Failure:
        problem = source.problem(self.text, place, message, hint)
        self.problems.append(problem)
        return Failure(node, problem)

    def check(self, node: Node) -> Checked:
        match node:
            case Literal():
                return Constant(node, node.value)
            case Ident():
                return self.name(node)
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case Logical():
                operands = [self.check(operand) for operand in node.operands]
                return Chain(node, node.operator, operands)
            case Conditional():
                return Choice(
                    node,
                    self.check(node.condition),
                    self.check(node.then),
                    self.check(node.otherwise),
                )
            case Comprehension():
                return self.comprehension(node)
            case Binding():
                return self.binding(node)
            case ListLiteral():
                elements = [self.check(element) for element in node.elements]
                if node.optionals:
                    return MakeOptionalList(node, elements, node.optionals)
                return MakeList(node, elements)
            case MapLiteral():
                entries = [(self.check(k), self.check(v)) for k, v in node.entries]
                if node.optionals:
                    return MakeOptionalMap(node, entries, node.optionals)
                return MakeMap(node, entries)
            case StructLiteral():
                return self.fail(
                    node,
                    node.start,
                    f"unknown message type {node.name}",
                    "there are no protobuf messages; write a map, {'key': value}",
                )
        raise AssertionError(f"no such node: {node!r}")

    # Names

    def name(self, node: Ident) -> Checked:
        if not node.absolute and node.name in self.scope:
            kind, slot = self.scope[node.name]
            return kind(node, node.name, slot)
        name = "." + node.name if node.absolute else node.name
        return self.resolve(node, name) or self.free(node)

    def resolve(self, node: Node, name: str) -> Checked | None:
        """A declared variable or a type's name, by the rules of containers."""
        variables = self.environment.variables or {}
        derived = self.environment.derived
        for candidate in self.environment.candidates(name):
            if candidate in variables or candidate in derived:
                return Variable(node, candidate)
        denoted = DENOTATIONS.get(name.removeprefix("."))
        if denoted is None or (self.environment.variables is None and "." not in name):
            return None
        return Constant(node, denoted)

    def free(self, node: Ident) -> Checked:
        """A name that nothing declares: the facts may have it."""
        if node.name.startswith("@"):
            # Names that no source text can have: a macro made them.
            return self.fail(
                node,
                node.start,
                f"{self.text[node.start : node.end]} refers to nothing",
                "a slot of cel.block may use the slots before it; cel.iterVar and "
                "cel.accuVar the variables of the macros around them",
            )
        variables = self.environment.variables
        if variables is None:
            return Variable(node, node.name, DENOTATIONS.get(node.name))
        columns = self.environment.columns
        if node.name in self.environment.unfit:
            return self.fail(
                node,
                node.start,
                f"the derived field {node.name} does not fit the table: "
                + self.environment.unfit[node.name],
            )
        if columns is not None and columns.object is None:
            message, hint = columns.lacking(node.name)
            near = _nearest(node.name, columns.declared, len(self.problems))
            return self.fail(node, node.start, message, hint or near)
        declared = [*variables, *self.environment.derived]
        known = [*declared, *(name for name in self.scope if name[0] != "@")]
        hint = _nearest(node.name, known, len(self.problems))
        if columns is not None and not hint:
            hint = f"the columns of the table are the fields of {columns.object}"
        return self.fail(node, node.start, f"unknown name {node.name}", hint)

    def select(self, node: Select) -> Checked:
        if node.optional:
            return OptionalField(node, self.check(node.operand), node.field)
        names = _path(node)
        if names is not None and names[0] not in self.scope and not node.test:
            resolved = self.resolve(node, ".".join(names))
            if resolved is not None:
                return resolved
        return Field(node, self.check(node.operand), node.field, node.test)

    # Calls

    def call(self, node: Call) -> Checked:
        arguments = [self.check(argument) for argument in node.arguments]
        if node.target is None:
            function = self.lookup(node.function)
            return self.invoke(node, function, node.function, arguments, method=False)
        names = _path(node.target)
        if names is not None and names[0] not in self.scope:
            qualified = ".".join([*names, node.function])
            function = self.lookup(qualified)
            if function is not None or self.is_namespace(names, node.function):
                return self.invoke(node, function, qualified, arguments, method=False)
        target = self.check(node.target)
        function = self.lookup(node.function)
        return self.invoke(
            node, function, node.function, [target, *arguments], method=True
        )

    def is_namespace(self, names: list[str], function: str) -> bool:
        """Whether a target names a library, whose function is misspelled here."""
        functions = self.environment.functions
        if self.resolve_names(names) or function in functions:
            return False
        prefix = ".".join(names) + "."
        return any(name.startswith(prefix) for name in functions)

    def resolve_names(self, names: list[str]) -> bool:
        """Whether a path, or a part of it from its start, is a declared name."""
        variables = self.environment.variables or {}
        derived = self.environment.derived
        return any(
            candidate in variables or candidate in derived
            for end in range(1, len(names) + 1)
            for candidate in self.environment.candidates(".".join(names[:end]))
        )

    def lookup(self, name: str) -> Function | None:
        functions = self.environment.functions
        for candidate in self.environment.candidates(name):
            if candidate in functions:
                return functions[candidate]
        return None

    def invoke(
        self,
        node: Call,
        function: Function | None,
        name: str,
        arguments: list[Checked],
        *,
        method: bool,
    ) -> Checked:
        if function is None:
            known = (
                known
                for known in self.environment.functions
                if known.replace(".", "").isidentifier()
            )
            return self.fail(
                node,
                node.place,
                f"unknown function {name}",
                _nearest(name, known, len(self.problems)),
            )
        if not function.accepts(method=method, arguments=len(arguments) - method):
            return self.fail(
                node,
                node.place,
                f"{name} is not called with these arguments",
                function.usage(),
            )
        if function.validate is not None:
            try:
                function.validate(
                    [a.value if isinstance(a, Constant) else None for a in arguments]
                )
            except EvaluationError as error:
                self.regex_missing |= isinstance(error, regex.EngineMissing)
                return self.fail(node, node.place, error.message, error.hint)
        return Invoke(node, function, arguments, node.place)

    def comprehension(self, node: Comprehension) -> Checked:
        looped = self.check(node.range)
        outer, slot = self.scope, self.slots
        self.slots += 1 if node.second is None else 2
        self.scope = {**outer, node.variable: (Local, slot)}
        if node.second is not None:
            self.scope[node.second] = (Local, slot + 1)
        condition = None if node.condition is None else self.check(node.condition)
        transform = None if node.transform is None else self.check(node.transform)
        self.scope = outer
        parts = looped, condition, transform, node.place
        if node.second is None:
            return Loop(node, node.kind, slot, *parts)
        return PairLoop(node, node.kind, slot, slot + 1, *parts)

    def binding(self, node: Binding) -> Checked:
        outer, bindings = self.scope, []
        self.scope = dict(outer)
        for name, value in node.bindings:
            checked = self.check(value)
            bindings.append((self.slots, checked))
            self.scope[name] = Bound, self.slots
            self.slots += 1
        body = self.check(node.body)
        self.scope = outer
        return Bind(node, bindings, body)
