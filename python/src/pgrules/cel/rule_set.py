"""Many rules that are evaluated over the same facts.

A rule set keeps what all evaluations have in common: identifiers, names and programs
in the order of evaluation. Which rules a set has, and for how long it may be kept, the
caller knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .errors import EvaluationError, InvalidExpression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .facts import Facts
    from .program import Program


class Outcomes(NamedTuple):
    """What the rules of a set said: positions of those that matched, and errors.

    ``matched`` is in order; ``errors`` has the message of each rule that failed.
    """

    matched: list[int]
    errors: dict[int, str]


class RuleSet:
    """Rules in the order of evaluation; ``nodes`` is what they weigh in a cache."""

    def __init__(
        self,
        ids: list[str],
        names: list[str],
        programs: Iterable[Program | InvalidExpression],
    ) -> None:
        self.ids = ids
        self.names = names
        self.programs = list(programs)
        self.nodes = sum(getattr(program, "nodes", 1) for program in self.programs)

    def __len__(self) -> int:
        return len(self.ids)

    def evaluate(
        self, variables: Facts, interrupted: Callable[[], bool] | None = None
    ) -> Outcomes:
        """Evaluate every rule; raises :class:`Interrupted`."""
        matched: list[int] = []
        errors: dict[int, str] = {}
        for position, program in enumerate(self.programs):
            try:
                if isinstance(program, InvalidExpression):
                    raise program.with_traceback(None)
                if program.evaluate(variables, interrupted=interrupted) is True:
                    matched.append(position)
            except (EvaluationError, InvalidExpression) as failed:
                errors[position] = str(failed)
        return Outcomes(matched, errors)
