"""Rules in this process's memory: for tests, scripts and rule authors.

Keeps the same promises as the database does, errors included. Evaluation is left to
:mod:`pgrules.local`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from .errors import DuplicateRuleId, DuplicateRuleName, RuleNotFound
from .local import compiled
from .model import rule_id as as_rule_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from .model import Rule


def _now() -> datetime:
    return datetime.now(UTC)


class InMemoryRuleStore:
    """The rules of one tenant in memory; see `RuleStore`.

    `clock` gives the time of a change; tests may set it.
    """

    def __init__(self, *, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._lock = Lock()
        self._rules: dict[UUID, Rule] = {}
        self._names: dict[str, UUID] = {}

    def add(self, rule: Rule) -> Rule:
        """Store a new rule; see `RuleStore.add`."""
        operation = "add rule"
        compiled(rule.expression, operation=operation, subject=rule.id)
        with self._lock:
            if rule.id in self._rules:
                raise DuplicateRuleId(operation=operation, subject=rule.id)
            now = self._clock()
            self._claim_name(rule, operation)
            stored = replace(rule, created_at=now, updated_at=now)
            self._rules[rule.id] = stored
            return stored

    def get(self, rule_id: UUID | str) -> Rule:
        """The rule of this id; see `RuleStore.get`."""
        operation = "get rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._lock:
            return self._existing(wanted, operation)

    def list_active(self) -> list[Rule]:
        """All active rules, oldest first; see `RuleStore.list_active`."""
        with self._lock:
            active = [rule for rule in self._rules.values() if rule.active]
        return sorted(active, key=lambda rule: (rule.created_at, rule.id))

    def update(self, rule: Rule) -> Rule:
        """Replace the rule that has this id; see `RuleStore.update`."""
        operation = "update rule"
        with self._lock:
            self._existing(rule.id, operation)
        # Compiled outside the lock, which would make everyone wait for one author.
        compiled(rule.expression, operation=operation, subject=rule.id)
        with self._lock:
            old = self._existing(rule.id, operation)
            now = self._clock()
            self._claim_name(rule, operation)
            if old.name != rule.name:
                del self._names[old.name]
            stored = replace(rule, created_at=old.created_at, updated_at=now)
            self._rules[rule.id] = stored
            return stored

    def delete(self, rule_id: UUID | str) -> None:
        """Remove the rule of this id; see `RuleStore.delete`."""
        operation = "delete rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._lock:
            rule = self._existing(wanted, operation)
            del self._rules[wanted]
            del self._names[rule.name]

    def _existing(self, wanted: UUID, operation: str) -> Rule:
        try:
            return self._rules[wanted]
        except KeyError:
            raise RuleNotFound(operation=operation, subject=wanted) from None

    def _claim_name(self, rule: Rule, operation: str) -> None:
        holder = self._names.setdefault(rule.name, rule.id)
        if holder != rule.id:
            raise DuplicateRuleName(operation=operation, subject=rule.id)
