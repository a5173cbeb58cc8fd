"""The engine: rules of one tenant, evaluated where they are.

A store that brings its own evaluator is used as it is, which for the database means
that rules are evaluated there. For any other store, rules are evaluated in this
process by the same language, see :mod:`pgrules.local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import CompilationError
from .local import LocalEvaluator
from .store import EvaluatingStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .model import BrokenRule, EvaluationResult, Rule
    from .store import Evaluator, RuleStore


class Engine:
    """Evaluates and keeps the rules of one tenant. Safe to use from several threads.

    Building it compiles all active rules. Those that do not compile any more stand
    in `broken_rules`, and their results carry the reason; with `strict`, the engine
    is refused with a `CompilationError` that names them.

    Rules may be changed through the engine, through the store, or by others in the
    database: every evaluation goes by the rules as they then are.
    """

    def __init__(self, store: RuleStore, *, strict: bool = False) -> None:
        self._store = store
        self._evaluator: Evaluator = (
            store.evaluator()
            if isinstance(store, EvaluatingStore)
            else LocalEvaluator(store)
        )
        self._broken = tuple(self._evaluator.compile_active())
        if strict and self._broken:
            raise _refused(self._broken)

    @property
    def broken_rules(self) -> tuple[BrokenRule, ...]:
        """The active rules that did not compile when the engine was built."""
        return self._broken

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool = False
    ) -> EvaluationResult:
        """What the rule says about these facts.

        An evaluation that fails gives a result with `error`. With `trace`, the
        result has the values of the rule's sub-expressions. Raises `RuleNotFound`
        for an id that the tenant does not have, and `InvalidFacts`.
        """
        return self._evaluator.evaluate(rule_id, facts, trace=trace)

    def evaluate_all(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """One result for each active rule, oldest rule first.

        A rule that fails does not stop the others. Raises `InvalidFacts`.
        """
        return self._evaluator.evaluate_all(facts)

    def add_rule(self, rule: Rule) -> Rule:
        """Store a new rule, if it compiles; raises as `RuleStore.add`."""
        return self._store.add(rule)

    def update_rule(self, rule: Rule) -> Rule:
        """Replace a rule, if the new one compiles; raises as `RuleStore.update`."""
        return self._store.update(rule)

    def delete_rule(self, rule_id: UUID | str) -> None:
        """Remove a rule; raises `RuleNotFound`."""
        self._store.delete(rule_id)


def _refused(broken: tuple[BrokenRule, ...]) -> CompilationError:
    problems = [problem for rule in broken for problem in rule.problems]
    return CompilationError(
        f"{len(broken)} active rules do not compile",
        problems=problems,
        operation="build engine",
        detail="\n".join(
            f"rule {rule.rule_id} ({rule.rule_name}):\n{problem}"
            for rule in broken
            for problem in rule.problems
        ),
    )
