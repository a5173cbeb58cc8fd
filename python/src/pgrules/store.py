"""What a store of rules promises, and what an evaluator does.

A store that can evaluate by itself (the database does) says so by `evaluator`; for
any other store the engine evaluates in this process, see :mod:`pgrules.local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .model import BrokenRule, EvaluationResult, Rule


class RuleStore(Protocol):
    """The rules of one tenant. Safe to use from several threads.

    Every method is atomic: it does all it says, or raises and changes nothing.
    Errors are `PgRulesError`, name the operation and the rule's id, and keep their
    cause. Ids may be given as text; `InvalidRule` is raised if they are no UUID.
    """

    def add(self, rule: Rule) -> Rule:
        """Store a new rule and return it with the times that the store has set.

        Raises `DuplicateRuleId`, `DuplicateRuleName`, or `CompilationError` for
        an expression that does not compile.
        """
        ...

    def get(self, rule_id: UUID | str) -> Rule:
        """The rule of this id; raises `RuleNotFound`."""
        ...

    def list_active(self) -> list[Rule]:
        """All active rules, oldest first; rules of the same instant by id."""
        ...

    def update(self, rule: Rule) -> Rule:
        """Replace name, expression and `active` of the rule that has this id.

        Returns the rule as it is stored. Raises `RuleNotFound`,
        `DuplicateRuleName` or `CompilationError`; then the old rule stays in force.
        """
        ...

    def delete(self, rule_id: UUID | str) -> None:
        """Remove the rule of this id; raises `RuleNotFound`."""
        ...


class Evaluator(Protocol):
    """Evaluates the rules of one store. Safe to use from several threads."""

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool
    ) -> EvaluationResult:
        """What this rule, active or not, says about the facts."""
        ...

    def evaluate_all(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """One result for each active rule, in the order of `list_active`."""
        ...

    def compile_active(self) -> list[BrokenRule]:
        """Compile all active rules; returns those that do not compile."""
        ...


@runtime_checkable
class EvaluatingStore(Protocol):
    """A store that brings its own evaluator."""

    def evaluator(self) -> Evaluator:
        """The evaluator of the rules in this store."""
        ...
