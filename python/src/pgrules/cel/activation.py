"""What names mean in one evaluation: the facts, and the derived fields over them.

A derived field is computed when it is first read, at most once, however many rules
are evaluated over the facts. One that the facts supply is taken as given. All derived
fields of an activation share one cost limit, beside that of each rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import CostLimitExceeded, EvaluationError
from .evaluation import Evaluation
from .program import Program
from .reading import read_derived

if TYPE_CHECKING:
    from collections.abc import Callable

    from .environment import DerivedField, Environment
    from .facts import Facts
    from .values import Value


class Derived(NamedTuple):
    """A derived field with its program."""

    field: DerivedField
    program: Program


Fields = dict[str, Derived]

# How the message of an evaluation begins that failed in a derived field.
_DERIVED = "derived field "


def compile_derived(environment: Environment) -> Fields:
    """The programs of an environment's derived fields, by name."""
    return {
        name: Derived(
            field, Program(field.expression, environment, field.tree, field.slots)
        )
        for name, field in environment.derived.items()
    }


def activate(
    facts: Facts,
    fields: Fields,
    limit: int,
    interrupted: Callable[[], bool] | None = None,
) -> Facts:
    """The variables of an evaluation: the facts, and derived fields where there are.

    ``limit`` is the cost that all derived fields together may have.
    """
    return Activation(facts, fields, limit, interrupted) if fields else facts


class Activation(dict[str, Any]):
    """Facts in which a derived field appears when it is first asked for."""

    __slots__ = (
        "_facts", "_failures", "_fields", "_interrupted", "_left", "_limit", "_supplied"
    )  # fmt: skip

    def __init__(
        self,
        facts: Facts,
        fields: Fields,
        limit: int,
        interrupted: Callable[[], bool] | None,
    ) -> None:
        super().__init__(facts)
        self._facts = facts
        self._fields = fields
        self._limit = self._left = limit
        self._interrupted = interrupted
        self._failures: dict[str, EvaluationError] = {}
        # A supplied value still has to become one of the field's type.
        self._supplied = {name: self.pop(name) for name in fields.keys() & facts.keys()}

    @property
    def exhausted(self) -> bool:
        """Whether derived fields have cost more than the limit that they share."""
        return self._left < 0

    def renewed(self) -> Activation:
        """The same facts, with no derived field computed."""
        return Activation(self._facts, self._fields, self._limit, self._interrupted)

    def __missing__(self, name: str) -> Value:
        known = self._fields.get(name)
        if known is None:
            raise KeyError(name)
        failure = self._failures.get(name)
        if failure is None:
            try:
                value = self[name] = self._derive(name, *known)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                failure = self._failures[name] = error
            else:
                return value
        # Each reader places the error in its own expression. Of a chain of fields the
        # ends are named, the one that is read and the one that failed: a chain can be
        # hundreds of fields long.
        reason = failure.message
        inner = reason.partition(": ")[2]
        if reason.startswith(_DERIVED) and inner.startswith(_DERIVED):
            reason = inner
        raise EvaluationError(
            f"{_DERIVED}{name}: {reason}", hint=failure.hint
        ) from failure

    def _derive(self, name: str, field: DerivedField, program: Program) -> Value:
        state = Evaluation(self, self._left, self._interrupted)
        try:
            if name in self._supplied:
                return read_derived(state, self._supplied[name], field.type, name)
            return program.run(state)
        finally:
            self._left -= state.cost
