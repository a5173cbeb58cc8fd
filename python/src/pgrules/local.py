"""Evaluation in this process, for stores that cannot evaluate by themselves.

The same language as in the database runs here, so results and the texts of errors
are the same. Programs are cached by the text of the expression, never by a rule's
id: a changed rule is another expression.
"""

from __future__ import annotations

import json
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from .cel import Environment, EvaluationError, InvalidExpression, Program
from .cel.cache import ProgramCache
from .cel.facts import facts_from_mapping
from .cel.trace import to_json
from .errors import CompilationError, RuleNotFound
from .model import BrokenRule, EvaluationResult
from .model import rule_id as as_rule_id
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .model import Rule
    from .store import RuleStore

_ENVIRONMENT: Final = Environment()

# One cache for all engines of the process. The language's own is for one thread.
_programs: Final = ProgramCache()
_programs_lock: Final = Lock()


def _program(expression: str) -> Program:
    with _programs_lock:
        return _programs.program(expression, "", _ENVIRONMENT)


def compiled(expression: str, *, operation: str, subject: object = "") -> Program:
    """The program of this expression; raises `CompilationError`."""
    with translated(operation, subject):
        return _program(expression)


class LocalEvaluator:
    """Evaluates the rules of any store in this process."""

    def __init__(self, store: RuleStore) -> None:
        self._store = store

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool
    ) -> EvaluationResult:
        """See `Evaluator.evaluate`."""
        operation = "evaluate rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with translated(operation, wanted):
            values = facts_from_mapping(facts)
        try:
            rule = self._store.get(wanted)
        except RuleNotFound as error:
            raise RuleNotFound(operation=operation, subject=wanted) from error
        return _evaluate(rule, values, trace=trace)

    def evaluate_all(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """See `Evaluator.evaluate_all`."""
        with translated("evaluate all rules"):
            values = facts_from_mapping(facts)
        return [
            _evaluate(rule, values, trace=False) for rule in self._store.list_active()
        ]

    def compile_active(self) -> list[BrokenRule]:
        """See `Evaluator.compile_active`."""
        broken = []
        for rule in self._store.list_active():
            try:
                compiled(rule.expression, operation="compile rule", subject=rule.id)
            except CompilationError as error:
                broken.append(BrokenRule(rule.id, rule.name, error.problems))
        return broken


def _evaluate(rule: Rule, facts: dict[str, Any], *, trace: bool) -> EvaluationResult:
    value, steps = None, None
    error: EvaluationError | InvalidExpression | None = None
    try:
        program = _program(rule.expression)
        if trace:
            value, error, steps = program.trace(facts)
        else:
            value = program.evaluate(facts)
    except (EvaluationError, InvalidExpression) as failure:
        error = failure
    return EvaluationResult(
        rule.id,
        rule.name,
        matched=value is True,
        error=None if error is None else str(error),
        trace=None if steps is None else json.loads(to_json(steps)),
    )
