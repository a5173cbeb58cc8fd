"""What was done to the rules, schemas and derived fields of a store in memory.

Tells it as the audit of the database does, so that both stores are one to their
callers. A change is kept as the objects before and after it, which the store has
anyhow; entries and versions are made of them when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from .errors import RuleNotFound, RuleNotInForce, RuleVersionNotFound
from .model import (
    AuditEntry,
    DerivedField,
    Rule,
    RuleVersion,
    Schema,
    VersionDifference,
    version_not_found,
)
from .programs import TenantState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from .model import Operation, Subject

Kept: TypeAlias = Rule | Schema | DerivedField

_FIELDS: Final[tuple[Literal["name", "expression", "active"], ...]] = (
    "name",
    "expression",
    "active",
)


class Change(NamedTuple):
    """What one call did to one rule, schema or derived field, and when."""

    subject: Subject
    subject_id: UUID
    before: Kept | None
    after: Kept | None
    at: datetime
    transaction: int

    @property
    def operation(self) -> Operation:
        """What was done."""
        if self.before is None:
            return "insert"
        return "delete" if self.after is None else "update"


class History:
    """All changes of one store, oldest first. The store sees to it that one writes."""

    def __init__(self, user: str) -> None:
        self._user = user
        self._changes: list[Change] = []
        self._by_id: dict[Subject, dict[UUID, list[Change]]] = {
            "rule": {},
            "schema": {},
            "derived field": {},
        }
        self._transactions = 0

    def record(
        self,
        at: datetime,
        *changes: tuple[Subject, UUID, Kept | None, Kept | None],
    ) -> None:
        """Add what one call did: subject, its id, and what was before and is after."""
        self._transactions += 1
        for subject, subject_id, before, after in changes:
            if _row(before) == _row(after):
                continue
            change = Change(subject, subject_id, before, after, at, self._transactions)
            self._changes.append(change)
            self._by_id[subject].setdefault(subject_id, []).append(change)

    def entries(self) -> Iterator[AuditEntry]:
        """What was changed so far, newest first."""
        count = len(self._changes)
        return (
            self._entry(number, self._changes[number - 1])
            for number in range(count, 0, -1)
        )

    def rule_versions(self, rule_id: UUID, *, operation: str) -> list[RuleVersion]:
        """The versions of a rule, oldest first; raises `RuleNotFound`."""
        changes = self._of_rule(rule_id, operation)
        ends = [change.at for change in changes[1:]]
        return [
            RuleVersion(
                rule_id,
                number,
                change.operation,
                **_rule_fields(change.after),
                valid_from=change.at,
                valid_to=end,
                changed_at=change.at,
                changed_by=self._user,
                role=self._user,
                application="",
            )
            for number, (change, end) in enumerate(
                zip(changes, [*ends, None], strict=True), 1
            )
        ]

    def compare(
        self, rule_id: UUID, old: int, new: int, *, operation: str
    ) -> list[VersionDifference]:
        """What differs; raises `RuleNotFound` and `RuleVersionNotFound`."""
        former = _rule_fields(self._version(rule_id, old, operation).after)
        later = _rule_fields(self._version(rule_id, new, operation).after)
        return [
            VersionDifference(field, former[field], later[field])
            for field in _FIELDS
            if former[field] != later[field]
        ]

    def restorable(self, rule_id: UUID, number: int, *, operation: str) -> Rule:
        """The rule as it was; raises `RuleNotFound` and `RuleVersionNotFound`."""
        found = self._version(rule_id, number, operation).after
        if not isinstance(found, Rule):
            raise RuleVersionNotFound(
                operation=operation,
                subject=rule_id,
                detail=f"Version {number} of rule {rule_id} is its deletion.",
            )
        return found

    def rule_as_of(self, rule_id: UUID, at: datetime, *, operation: str) -> Rule:
        """The rule that was in force; raises `RuleNotFound` and `RuleNotInForce`."""
        found = _latest(self._of_rule(rule_id, operation), at)
        if not isinstance(found, Rule):
            raise RuleNotInForce(
                operation=operation,
                subject=rule_id,
                detail="At that time it was not yet stored, or it was deleted.",
            )
        return found

    def state_as_of(self, at: datetime) -> TenantState:
        """The schema and derived fields that were in force, without rules."""
        schemas = [_latest(each, at) for each in self._by_id["schema"].values()]
        fields = {
            field_id: found
            for field_id, changes in self._by_id["derived field"].items()
            if isinstance(found := _latest(changes, at), DerivedField)
        }
        active = [s for s in schemas if isinstance(s, Schema) and s.active]
        definition = active[0].definition if active else None
        return TenantState(
            None if definition is None else {n: dict(f) for n, f in definition.items()},
            fields,
            (),
        )

    def _of_rule(self, rule_id: UUID, operation: str) -> list[Change]:
        changes = self._by_id["rule"].get(rule_id)
        if changes is None:
            raise RuleNotFound(operation=operation, subject=rule_id)
        return changes

    def _version(self, rule_id: UUID, number: int, operation: str) -> Change:
        changes = self._of_rule(rule_id, operation)
        if number > len(changes):
            raise version_not_found(number, rule_id, operation=operation)
        return changes[number - 1]

    def _entry(self, number: int, change: Change) -> AuditEntry:
        return AuditEntry(
            UUID(int=number),
            change.subject,
            change.subject_id,
            change.operation,
            change.at,
            self._user,
            self._user,
            "",
            _row(change.before),
            _row(change.after),
            change.transaction,
            change.at,
        )


def _latest(changes: Sequence[Change], at: datetime) -> Kept | None:
    """What the last of the changes up to this time left."""
    left = None
    for change in changes:
        if change.at <= at:
            left = change.after
    return left


def _rule_fields(rule: Kept | None) -> dict[str, Any]:
    if not isinstance(rule, Rule):
        return dict.fromkeys(_FIELDS)
    return {field: getattr(rule, field) for field in _FIELDS}


def _row(kept: Kept | None) -> dict[str, Any] | None:
    """The fields that an author sets, as the database records them."""
    match kept:
        case Rule():
            return _rule_fields(kept)
        case DerivedField():
            return {"name": kept.name, "expression": kept.expression}
        case Schema():
            return {
                "version": kept.version,
                "definition": {n: dict(f) for n, f in kept.definition.items()},
                "active": kept.active,
            }
    return None
