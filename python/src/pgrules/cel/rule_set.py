"""Many rules that are evaluated over the same facts.

Rules of one shape, see ``shapes``, are evaluated by one function, and the others by
their programs. What decides is always the same: the closures of ``interpreter``, which
evaluate every rule that generated code cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .activation import Activation
from .codegen import LEAST_LIMIT, compiled
from .errors import EvaluationError, Interrupted, InvalidExpression
from .shapes import ABSENT, UNDECIDED, Row, Shape
from .templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .facts import Facts
    from .program import Program

    Compile = Callable[[str], Program]

# Python takes about as long to compile a function as closures take for this many
# evaluations; so a shape of many rules is compiled at once, and another one when it has
# been used so often.
_WORTHWHILE: Final = 64

# Functions that one evaluation may compile of those that became worthwhile: some ten
# milliseconds.
_PATIENCE: Final = 20

# Rules between two looks at whether to stop, where a rule takes microseconds.
_STRIDE: Final = 64


class Outcomes(NamedTuple):
    """What the rules of a set said: positions of those that matched, and errors.

    ``matched`` is in order; ``errors`` has the message of each rule that failed.
    """

    matched: list[int]
    errors: dict[int, str]


class _Group:
    """The rules of one shape."""

    __slots__ = ("function", "nodes", "positions", "rows", "source", "uses")

    def __init__(self, source: str, *, keyed: bool) -> None:
        self.source = source
        self.function: Callable[..., int] | None = None
        self.rows: Any = {} if keyed else []
        self.positions: list[int] = []
        self.nodes = 0
        self.uses = 0

    def add(self, position: int, row: Row, keys: tuple[Any, ...] | None) -> None:
        whole = (position, *row)
        self.positions.append(position)
        if keys is None:
            self.rows.append(whole)
        else:
            for key in keys:
                self.rows.setdefault(key, []).append(whole)

    def compile(self) -> None:
        try:
            self.function = compiled(self.source)
        except (SyntaxError, RecursionError, MemoryError):
            # Too much for Python's compiler; it is not tried again.
            self.function = _undecided


def _undecided(*_: Any) -> int:
    return UNDECIDED


def _ignore(_: int) -> None:
    """Take a position of which nothing more is to be said."""


class RuleSet:
    """Rules in the order of evaluation; ``nodes`` is what they weigh in a cache.

    ``ids`` and ``names`` are the caller's, where it keeps them with the rules. Many
    threads may evaluate at once.
    ``compile`` gives the program of an expression, or raises
    :class:`InvalidExpression`, which then is the rule's error; it is asked again
    whenever the closures are needed. ``derived`` are the names of the environment's
    derived fields. Raises :class:`Interrupted` when told to stop.
    """

    def __init__(
        self,
        expressions: list[str],
        compile_: Compile,
        derived: Iterable[str] = (),
        interrupted: Callable[[], bool] | None = None,
        *,
        ids: list[str] | None = None,
        names: list[str] | None = None,
    ) -> None:
        self.expressions = expressions
        self.ids = ids or []
        self.names = names or []
        self.nodes = len(expressions)
        self._program = compile_
        self._broken: dict[int, str] = {}
        self._others: list[int] = []
        groups: dict[str, _Group] = {}
        known = frozenset(derived)
        templates = Templates(compile_, known)
        for position, expression in enumerate(expressions):
            if position % _STRIDE == 0:
                _give_way(interrupted)
            shaped = templates.shape(expression)
            if shaped is not None:
                self._place(groups, position, *shaped)
                continue
            try:
                program = compile_(expression)
            except InvalidExpression as invalid:
                self._broken[position] = str(invalid)
                continue
            found = None
            if program.environment.limits.cost >= LEAST_LIMIT:
                found = program.shape(known)
            if found is None:
                self._others.append(position)
                self.nodes += program.nodes
                continue
            self._place(groups, position, found, program.nodes)
        self._groups = list(groups.values())
        for group in self._groups:
            if len(group.positions) >= _WORTHWHILE:
                _give_way(interrupted)
                group.compile()
            else:
                # They keep a function of their own, but neither tree nor closures.
                self.nodes += group.nodes // 2

    @staticmethod
    def _place(
        groups: dict[str, _Group], position: int, found: Shape, nodes: int
    ) -> None:
        group = groups.get(found.source)
        if group is None:
            group = groups[found.source] = _Group(
                found.source, keyed=found.keys is not None
            )
        group.add(position, found.row, found.keys)
        group.nodes += nodes

    def __len__(self) -> int:
        return len(self.expressions)

    def generate(self) -> None:
        """Let generated code evaluate from now on, where the rules suit it."""
        for group in self._groups:
            group.compile()

    def evaluate(
        self,
        variables: Facts,
        interrupted: Callable[[], bool] | None = None,
        *,
        matched_only: bool = False,
    ) -> Outcomes:
        """Evaluate every rule; with ``matched_only`` errors may be left out.

        Raises :class:`Interrupted`.
        """
        outcomes = self._by_shape(variables, interrupted, matched_only=matched_only)
        if isinstance(variables, Activation) and variables.exhausted:
            # Which rules find a derived field beyond the limit they share depends on
            # the order, which is that of the rules.
            positions = range(len(self.expressions))
            return self._in_order(variables.renewed(), interrupted, positions, [])
        return outcomes

    def _by_shape(
        self,
        variables: Facts,
        interrupted: Callable[[], bool] | None,
        *,
        matched_only: bool,
    ) -> Outcomes:
        matched: list[int] = []
        doubts = list(self._others)
        doubt = doubts.append
        absent = _ignore if matched_only else doubt
        patience = _PATIENCE
        for group in self._groups:
            _give_way(interrupted)
            if group.function is None:
                group.uses += len(group.positions)
                if group.uses < _WORTHWHILE or not patience:
                    doubts += group.positions
                    continue
                patience -= 1
                group.compile()
            assert group.function is not None
            status = group.function(
                variables, group.rows, matched.append, doubt, absent, interrupted
            )
            if status == UNDECIDED or (status == ABSENT and not matched_only):
                doubts += group.positions
        doubts += self._broken
        doubts.sort()
        return self._in_order(variables, interrupted, doubts, matched)

    def _in_order(
        self,
        variables: Facts,
        interrupted: Callable[[], bool] | None,
        positions: Iterable[int],
        matched: list[int],
    ) -> Outcomes:
        """Evaluate some of the rules by closures, beside those found to match."""
        errors: dict[int, str] = {}
        for number, position in enumerate(positions):
            if number % _STRIDE == 0:
                _give_way(interrupted)
            broken = self._broken.get(position)
            if broken is not None:
                errors[position] = broken
                continue
            try:
                program = self._program(self.expressions[position])
                if program.interpret(variables, interrupted=interrupted) is True:
                    matched.append(position)
            except (EvaluationError, InvalidExpression) as failed:
                errors[position] = str(failed)
        matched.sort()
        return Outcomes(matched, errors)


def _give_way(interrupted: Callable[[], bool] | None) -> None:
    """Stop where the surrounding server asked to."""
    if interrupted is not None and interrupted():
        raise Interrupted
