"""Compiled expressions: source text in, a program that evaluates facts out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from . import source
from .checked import Checked, count
from .checker import check
from .environment import Environment
from .errors import (
    EvaluationError,
    ExpressionTooLarge,
)
from .estimate import estimate, too_costly
from .evaluation import Evaluation
from .interpreter import Closure, interpret, straight_cost
from .parser import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .shapes import Shape
    from .trace import Step
    from .types import Type
    from .values import Value

_DEFAULT = Environment()


# Evaluations by closures before Python code is generated, which costs as much as
# a few hundred of them; most rules of a short session are evaluated once or twice.
_WARM = 32


class Program:
    """A compiled expression. It may be used by many threads at once.

    ``evaluate(variables, *, interrupted=None)`` gives the value of the expression.
    ``variables`` maps names to CEL values, as ``facts.parse_facts`` gives them;
    ``interrupted`` is asked every millisecond or so whether to stop. It raises
    :class:`EvaluationError`, :class:`CostLimitExceeded` and, when told to stop,
    :class:`Interrupted`. It is an attribute: once the program is warm, generated
    code takes the place of the closures.
    """

    __slots__ = (
        "_closure", "_cost", "_estimate", "_slots", "_uses", "environment", "evaluate",
        "nodes", "text", "tree",
    )  # fmt: skip

    def __init__(
        self, text: str, environment: Environment, tree: Checked, slots: int
    ) -> None:
        self.text = text
        self.environment = environment
        self.tree = tree
        self.nodes = count(tree)
        self._slots = slots
        # Made when the program first runs, which those that a statement only stores
        # never do. Threads that make them at once make equal ones.
        self._closure: Closure | None = None
        self._cost: int | None = None
        self._estimate: int | None = None
        self._uses = 0
        self.evaluate: Callable[..., Value] = self._warming

    def _warming(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> Value:
        self._uses += 1
        if self._uses == _WARM:
            self.generate()
        return self.interpret(variables, interrupted=interrupted)

    @property
    def type(self) -> Type:
        """The type of the value, as far as inference knows it; else dyn."""
        return self.tree.type

    @property
    def estimate(self) -> int:
        """The cost units of an evaluation at most, over facts of assumed sizes.

        See :mod:`.estimate`; larger facts may cost more.
        """
        if self._estimate is None:
            self._estimate = estimate(self.tree, self.environment).cost
        return self._estimate

    def refuse_too_costly(self) -> None:
        """Raise :class:`ExpressionTooLarge` where the estimate exceeds the limit."""
        found = estimate(self.tree, self.environment)
        self._estimate = found.cost
        problem = too_costly(found, self.text, self.environment.limits)
        if problem is not None:
            raise ExpressionTooLarge([problem])

    def generate(self) -> None:
        """Let generated code evaluate from now on, where the expression suits it."""
        from .codegen import LEAST_LIMIT, generate

        function = None
        if self.environment.limits.cost >= LEAST_LIMIT:
            function = generate(self.tree, self._slots, interpret, self.interpret)
        self.evaluate = function or self.interpret

    def shape(self, derived: frozenset[str]) -> Shape | None:
        """What the expression has in common with others, see ``shapes``."""
        from .shapes import shape

        return shape(self.tree, self.nodes, self._slots, derived, interpret)

    def interpret(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> Value:
        """The value by the closures, which define it."""
        return self.run(
            Evaluation(variables, self.environment.limits.cost, interrupted)
        )

    def run(self, state: Evaluation) -> Value:
        """The value by the closures, in an evaluation whose cost the caller reads."""
        return self._run(self._closure, state)

    def cost(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> int:
        """The cost units of an evaluation, which may fail."""
        state = Evaluation(variables, self.environment.limits.cost, interrupted)
        with suppress(EvaluationError):
            self.run(state)
        return state.cost

    def trace(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> tuple[Value, EvaluationError | None, list[Step]]:
        """The value or the error, and the steps that led to it."""
        from . import trace

        state = Evaluation(variables, self.environment.limits.cost, interrupted)
        state.trace = {}
        value, failure = None, None
        try:
            value = self._run(interpret(self.tree, trace=True), state)
        except EvaluationError as error:
            failure = error
        return (
            value,
            failure,
            trace.steps(
                self.text,
                self.tree,
                state.trace,
                state.locals,
                self.environment.derived,
            ),
        )

    def _run(self, closure: Closure | None, state: Evaluation) -> Value:
        """The value by some closures, or by the program's own."""
        if self._slots:
            state.locals = [None] * self._slots
        try:
            if closure is None:
                closure = self._closure = interpret(self.tree)
            if self._cost is None:
                self._cost = straight_cost(self.tree)
            state.charge(self._cost)
            return closure(state)
        except EvaluationError as error:
            if error.place is not None:
                error.location = source.location(self.text, error.place)
            raise
        except RecursionError:
            raise EvaluationError(
                "the caller's stack leaves no room for this expression"
            ) from None


def compile_expression(
    text: str,
    environment: Environment = _DEFAULT,
    *,
    unchecked: bool = False,
    expand_macros: bool = True,
) -> Program:
    """Compile an expression.

    ``unchecked`` turns unknown names and functions into errors of the evaluation, and
    leaves what it may cost to the limit of the evaluation.

    Raises :class:`InvalidExpression` with every problem found, or one of its
    subclasses :class:`ExpressionTooLarge` and :class:`RegexLibraryMissing`.
    """
    source.refuse_surrogates(text)
    try:
        tree = parse(text, limits=environment.limits, expand_macros=expand_macros)
        checked, slots = check(tree, text, environment, unchecked=unchecked)
        program = Program(text, environment, checked, slots)
        if not unchecked:
            program.refuse_too_costly()
    except RecursionError:
        problem = source.problem(
            text, 0, "the caller's stack leaves no room for an expression so deep"
        )
        raise ExpressionTooLarge([problem]) from None
    return program
