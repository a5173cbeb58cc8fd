"""Evaluation in this process, for stores that cannot evaluate by themselves.

The same language as in the database runs here, so results and the texts of errors
are the same. Programs are kept by the text of the expression and of its environment,
never by a rule's id: a changed rule is another expression.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .batch import prepared
from .cel import EvaluationError, InvalidExpression
from .cel.activation import activate
from .cel.facts import facts_from_mapping
from .cel.trace import to_json
from .errors import NO_VERSIONS, CompilationError, NotSupported, RuleNotFound
from .model import BrokenRule, EvaluationResult, instant, text
from .model import rule_id as as_rule_id
from .programs import EMPTY, TenantEnvironment, compiled, program, rule_set
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from .cel import Problem
    from .model import Rule
    from .store import RuleStore


@runtime_checkable
class _WithEnvironment(Protocol):
    """A store whose rules have an environment."""

    def reading(self) -> AbstractContextManager[TenantEnvironment]:
        """The environment; while the block runs, neither it nor a rule changes."""
        ...


@runtime_checkable
class _WithHistory(Protocol):
    """A store that remembers what its rules and their environment were."""

    def as_of(
        self, rule_id: UUID, at: datetime, *, operation: str
    ) -> tuple[Rule, TenantEnvironment]:
        """The rule that was in force at a time, and its environment of then."""
        ...


class LocalEvaluator:
    """Evaluates the rules of any store in this process."""

    def __init__(self, store: RuleStore) -> None:
        self._store = store

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool
    ) -> EvaluationResult:
        """See `Evaluator.evaluate`."""
        rule, environment, variables = self._prepare("evaluate rule", rule_id, facts)
        return _evaluate(rule, environment, variables, trace=trace)

    def evaluate_as_of(
        self, rule_id: UUID | str, facts: Mapping[str, object], at: datetime
    ) -> EvaluationResult:
        """See `Evaluator.evaluate_as_of`."""
        operation = "evaluate past version of rule"
        if not isinstance(self._store, _WithHistory):
            raise NotSupported(NO_VERSIONS, operation=operation)
        wanted = as_rule_id(rule_id, operation=operation)
        time = instant(at, operation=operation)
        with translated(operation, wanted):
            values = facts_from_mapping(facts)
        rule, environment = self._store.as_of(wanted, time, operation=operation)
        variables = _activated(values, environment)
        return _evaluate(rule, environment, variables, trace=False)

    def evaluate_all(
        self, facts: Mapping[str, object], *, matched_only: bool
    ) -> list[EvaluationResult]:
        """See `Evaluator.evaluate_all`."""
        with translated("evaluate all rules"):
            values = facts_from_mapping(facts)
        (results,) = self._each([values], matched_only=matched_only)
        return results

    def evaluate_batch(
        self, rule_id: UUID | str, batch: Iterable[Mapping[str, object]]
    ) -> list[EvaluationResult]:
        """See `Evaluator.evaluate_batch`."""
        operation = "evaluate rule over a batch"
        wanted = as_rule_id(rule_id, operation=operation)
        elements = prepared(facts_from_mapping, batch, operation, wanted)
        rule, environment = self._found(operation, wanted)
        return [
            _evaluate(rule, environment, _activated(values, environment), trace=False)
            for values in elements
        ]

    def match_rules(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """See `Evaluator.match_rules`."""
        with translated("match rules"):
            values = facts_from_mapping(facts)
        (results,) = self._each([values], matched_only=True)
        return results

    def match_rules_batch(
        self, batch: Iterable[Mapping[str, object]]
    ) -> list[list[EvaluationResult]]:
        """See `Evaluator.match_rules_batch`."""
        elements = prepared(facts_from_mapping, batch, "match rules over a batch")
        return self._each(elements, matched_only=True)

    def check(self, expression: str) -> list[Problem]:
        """See `Evaluator.check`."""
        text("expression", expression, operation="check expression")
        with self._reading() as environment:
            pass
        try:
            program(expression, environment)
        except InvalidExpression as invalid:
            return list(invalid.problems)
        return []

    def cost(self, rule_id: UUID | str, facts: Mapping[str, object]) -> int:
        """See `Evaluator.cost`."""
        operation = "compute cost of rule"
        rule, environment, variables = self._prepare(operation, rule_id, facts)
        found = compiled(
            rule.expression, environment, operation=operation, subject=rule.id
        )
        return found.cost(variables)

    def compile_active(self) -> list[BrokenRule]:
        """See `Evaluator.compile_active`."""
        with self._reading() as environment:
            rules = self._store.list_active()
        broken = []
        for rule in rules:
            try:
                compiled(
                    rule.expression,
                    environment,
                    operation="compile rule",
                    subject=rule.id,
                )
            except CompilationError as error:
                broken.append(BrokenRule(rule.id, rule.name, error.problems))
        return broken

    def _reading(self) -> AbstractContextManager[TenantEnvironment]:
        if isinstance(self._store, _WithEnvironment):
            return self._store.reading()
        return nullcontext(EMPTY)

    def _prepare(
        self, operation: str, rule_id: UUID | str, facts: Mapping[str, object]
    ) -> tuple[Rule, TenantEnvironment, dict[str, Any]]:
        """The rule, its environment as of the same moment, and the variables."""
        wanted = as_rule_id(rule_id, operation=operation)
        with translated(operation, wanted):
            values = facts_from_mapping(facts)
        rule, environment = self._found(operation, wanted)
        return rule, environment, _activated(values, environment)

    def _found(self, operation: str, wanted: UUID) -> tuple[Rule, TenantEnvironment]:
        """The rule of this id, and its environment as of the same moment."""
        try:
            with self._reading() as environment:
                return self._store.get(wanted), environment
        except RuleNotFound as error:
            raise RuleNotFound(operation=operation, subject=wanted) from error

    def _each(
        self, elements: Iterable[dict[str, Any]], *, matched_only: bool
    ) -> list[list[EvaluationResult]]:
        """The results of the active rules, those of one moment, over each facts."""
        with self._reading() as environment:
            rules = self._store.list_active()
        together = rule_set([rule.expression for rule in rules], environment)
        found = []
        for values in elements:
            # A derived field is computed once, however many rules read it.
            matched, errors = together.evaluate(
                _activated(values, environment), matched_only=matched_only
            )
            if matched_only:
                results = [
                    _result(rules[position], matched=True) for position in matched
                ]
            else:
                true = set(matched)
                results = [
                    _result(rule, matched=position in true, error=errors.get(position))
                    for position, rule in enumerate(rules)
                ]
            found.append(results)
        return found


def _activated(
    values: dict[str, Any], environment: TenantEnvironment
) -> dict[str, Any]:
    limit = environment.environment.limits.cost
    return activate(values, environment.fields, limit)


def _result(rule: Rule, *, matched: bool, error: str | None = None) -> EvaluationResult:
    return EvaluationResult(rule.id, rule.name, matched=matched, error=error)


def _evaluate(
    rule: Rule,
    environment: TenantEnvironment,
    variables: dict[str, Any],
    *,
    trace: bool,
) -> EvaluationResult:
    value, steps = None, None
    error: EvaluationError | InvalidExpression | None = None
    try:
        found = program(rule.expression, environment)
        if trace:
            value, error, steps = found.trace(variables)
        else:
            value = found.evaluate(variables)
    except (EvaluationError, InvalidExpression) as failure:
        error = failure
    return EvaluationResult(
        rule.id,
        rule.name,
        matched=value is True,
        error=None if error is None else str(error),
        trace=None if steps is None else json.loads(to_json(steps)),
    )
