"""A tenant's rules, schemas and derived fields in this process's memory.

For tests, scripts and rule authors. Keeps the same promises as the database does,
errors included. Evaluation is left to :mod:`pgrules.local`, compiling to
:mod:`pgrules.programs`, what was changed to :mod:`pgrules.history`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock, RLock
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from .account import account_name
from .cel.derived import dependencies
from .errors import (
    DerivedFieldNotFound,
    DuplicateDerivedField,
    DuplicateRuleId,
    DuplicateRuleName,
    InvalidArgument,
    RuleNotFound,
    SchemaNotFound,
)
from .history import History
from .model import (
    AuditEntry,
    DerivedField,
    Rule,
    RuleVersion,
    Schema,
    SchemaChange,
    Subject,
    VersionDifference,
    instant,
    rule_version,
    subjects,
)
from .model import rule_id as as_rule_id
from .programs import (
    ALLOW_BROKEN_HINT,
    EMPTY,
    IN_USE_HINT,
    TenantEnvironment,
    TenantState,
    compiled,
    definition_from,
    environment,
    recompiled,
    refuse_broken,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def _now() -> datetime:
    return datetime.now(UTC)


class InMemoryRuleStore:
    """The rules of one tenant in memory; see `TenantStore` and `AuditedStore`.

    `clock` gives the time of a change, with its zone, `user` who makes it (the name
    that the process runs under); tests may set them. What was changed is kept for as
    long as the store is.
    """

    def __init__(
        self, *, clock: Callable[[], datetime] = _now, user: str | None = None
    ) -> None:
        self._clock = clock
        self._user = account_name() if user is None else user
        # Who changes something compiles first: authors wait for each other, and an
        # evaluation for none of them. State is replaced under the second lock.
        self._changing = Lock()
        self._lock = RLock()
        self._rules: dict[UUID, Rule] = {}
        # The active ones, oldest first, once somebody has asked for them.
        self._in_order: tuple[Rule, ...] | None = None
        self._names: dict[str, UUID] = {}
        self._fields: dict[UUID, DerivedField] = {}
        self._schemas: list[Schema] = []
        self._schema_ids: list[UUID] = []
        self._active: Schema | None = None
        self._changes: list[SchemaChange] = []
        self._environment: TenantEnvironment = EMPTY
        # Written under both locks, so that its times are those of what was seen.
        self._history = History(self._user)

    @contextmanager
    def reading(self) -> Iterator[TenantEnvironment]:
        """What the rules are compiled against; inside the block nothing changes."""
        with self._lock:
            yield self._environment

    # Rules

    def add(self, rule: Rule) -> Rule:
        """Store a new rule; see `RuleStore.add`."""
        operation = "add rule"
        with self._changing:
            self._compile(rule, operation)
            if rule.id in self._rules:
                raise DuplicateRuleId(operation=operation, subject=rule.id)
            return self._add(rule, operation)

    def get(self, rule_id: UUID | str) -> Rule:
        """The rule of this id; see `RuleStore.get`."""
        operation = "get rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._lock:
            return self._existing(wanted, operation)

    def list_active(self) -> list[Rule]:
        """All active rules, oldest first; see `RuleStore.list_active`."""
        with self._lock:
            if self._in_order is None:
                active = (rule for rule in self._rules.values() if rule.active)
                self._in_order = tuple(
                    sorted(active, key=lambda rule: (rule.created_at, rule.id))
                )
            return list(self._in_order)

    def update(self, rule: Rule) -> Rule:
        """Replace the rule that has this id; see `RuleStore.update`."""
        operation = "update rule"
        with self._changing:
            return self._update(self._existing(rule.id, operation), rule, operation)

    def delete(self, rule_id: UUID | str) -> None:
        """Remove the rule of this id; see `RuleStore.delete`."""
        operation = "delete rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._changing, self._lock:
            rule = self._existing(wanted, operation)
            del self._rules[wanted]
            self._in_order = None
            del self._names[rule.name]
            self._history.record(self._clock(), ("rule", rule.id, rule, None))

    # Versions and the audit

    def rule_versions(self, rule_id: UUID | str) -> list[RuleVersion]:
        """The versions of a rule; see `AuditedStore.rule_versions`."""
        operation = "list versions of rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._lock:
            return self._history.rule_versions(wanted, operation=operation)

    def compare_rule_versions(
        self, rule_id: UUID | str, old_version: int, new_version: int
    ) -> list[VersionDifference]:
        """What differs; see `AuditedStore.compare_rule_versions`."""
        operation = "compare versions of rule"
        wanted = as_rule_id(rule_id, operation=operation)
        old = rule_version(old_version, wanted, operation=operation)
        new = rule_version(new_version, wanted, operation=operation)
        with self._lock:
            return self._history.compare(wanted, old, new, operation=operation)

    def restore_rule(self, rule_id: UUID | str, version: int) -> Rule:
        """Go back to a version; see `AuditedStore.restore_rule`."""
        operation = "restore rule"
        wanted = as_rule_id(rule_id, operation=operation)
        number = rule_version(version, wanted, operation=operation)
        with self._changing:
            rule = self._history.restorable(wanted, number, operation=operation)
            old = self._rules.get(wanted)
            if old is not None:
                return self._update(old, rule, operation)
            self._compile(rule, operation)
            return self._add(rule, operation)

    def audit_log(
        self,
        *,
        subject: Subject | None = None,
        subject_id: UUID | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """What was changed, newest first; see `AuditedStore.audit_log`."""
        operation = "read audit log"
        about = subjects(subject, operation=operation)
        wanted = (
            None if subject_id is None else as_rule_id(subject_id, operation=operation)
        )
        begin = None if since is None else instant(since, operation=operation)
        end = None if until is None else instant(until, operation=operation)
        return (
            entry
            for entry in self._history.entries()
            if entry.subject in about
            and (wanted is None or entry.subject_id == wanted)
            and (begin is None or begin <= entry.changed_at)
            and (end is None or entry.changed_at < end)
        )

    def as_of(
        self, rule_id: UUID, at: datetime, *, operation: str
    ) -> tuple[Rule, TenantEnvironment]:
        """The rule that was in force at a time, and its environment of then.

        Raises `InvalidArgument` for a time in the future, `RuleNotFound` and
        `RuleNotInForce`.
        """
        with self._lock:
            if at > self._clock():
                raise InvalidArgument(
                    f"cannot evaluate rule as of {at}: that is in the future",
                    operation=operation,
                    subject=rule_id,
                    hint="evaluate(rule_id, facts) evaluates the rule of today",
                )
            rule = self._history.rule_as_of(rule_id, at, operation=operation)
            state = self._history.state_as_of(at)
        return rule, environment(state)

    # Schemas

    def set_schema(
        self, definition: Mapping[str, object], *, allow_broken: bool = False
    ) -> SchemaChange:
        """Store and activate a definition; see `TenantStore.set_schema`."""
        operation = "set schema"
        copied = definition_from(definition, operation=operation)
        with self._changing:
            number = len(self._schemas) + 1
            version = Schema(number, copied, active=True, created_at=self._clock())
            return self._switch(
                version, operation=operation, subject="", allow_broken=allow_broken
            )

    def activate_schema(
        self, version: int, *, allow_broken: bool = False
    ) -> SchemaChange:
        """Go back to a version; see `TenantStore.activate_schema`."""
        operation = "activate schema"
        with self._changing:
            for known in self._schemas:
                if known.version == version and type(version) is int:
                    return self._switch(
                        known,
                        operation=operation,
                        subject=version,
                        allow_broken=allow_broken,
                    )
        raise SchemaNotFound(operation=operation, subject=version)

    def schema(self) -> Schema | None:
        """The active version; see `TenantStore.schema`."""
        with self._lock:
            active = self._active
        return None if active is None else _copy(active, active=True)

    def schemas(self) -> list[Schema]:
        """All versions, oldest first; see `TenantStore.schemas`."""
        with self._lock:
            known, active = list(self._schemas), self._active
        return [_copy(each, active=each is active) for each in known]

    def schema_changes(self) -> list[SchemaChange]:
        """All changes, oldest first; see `TenantStore.schema_changes`."""
        with self._lock:
            return list(self._changes)

    # Derived fields

    def add_derived_field(self, field: DerivedField) -> DerivedField:
        """Store a new derived field; see `TenantStore.add_derived_field`."""
        operation = "add derived field"
        with self._changing:
            read = self._dependencies(field, operation)
            if field.id in self._fields:
                raise DuplicateDerivedField(operation=operation, subject=field.name)
            self._refuse_taken_field_name(field, operation)
            now = self._clock()
            stored = replace(field, dependencies=read, created_at=now, updated_at=now)
            self._change_field(field.id, stored, operation, field.name)
            return stored

    def get_derived_field(self, name: str) -> DerivedField:
        """The derived field of this name; see `TenantStore.get_derived_field`."""
        with self._lock:
            return self._named(name, "get derived field")

    def derived_fields(self) -> list[DerivedField]:
        """All derived fields, oldest first; see `TenantStore.derived_fields`."""
        with self._lock:
            found = list(self._fields.values())
        return sorted(found, key=lambda field: (field.created_at, field.id))

    def update_derived_field(self, field: DerivedField) -> DerivedField:
        """Replace the one of this id; see `TenantStore.update_derived_field`."""
        operation = "update derived field"
        with self._changing:
            old = self._fields.get(field.id)
            if old is None:
                raise DerivedFieldNotFound(operation=operation, subject=field.name)
            read = self._dependencies(field, operation)
            self._refuse_taken_field_name(field, operation)
            stored = replace(
                field,
                dependencies=read,
                created_at=old.created_at,
                updated_at=self._clock(),
            )
            self._change_field(field.id, stored, operation, field.name)
            return stored

    def delete_derived_field(self, name: str) -> None:
        """Remove the one of this name; see `TenantStore.delete_derived_field`."""
        operation = "delete derived field"
        with self._changing:
            field = self._named(name, operation)
            self._change_field(field.id, None, operation, name)

    # What the methods above share

    def _add(self, rule: Rule, operation: str) -> Rule:
        self._refuse_taken_name(rule, operation)
        with self._lock:
            now = self._clock()
            stored = replace(rule, created_at=now, updated_at=now)
            self._rules[rule.id] = stored
            self._in_order = None
            self._names[rule.name] = rule.id
            self._history.record(now, ("rule", rule.id, None, stored))
        return stored

    def _update(self, old: Rule, rule: Rule, operation: str) -> Rule:
        # A rule that a schema broke may be renamed and switched off as it is.
        if rule.expression != old.expression or rule.active > old.active:
            self._compile(rule, operation)
        self._refuse_taken_name(rule, operation)
        with self._lock:
            now = self._clock()
            stored = replace(rule, created_at=old.created_at, updated_at=now)
            del self._names[old.name]
            self._names[rule.name] = rule.id
            self._rules[rule.id] = stored
            self._in_order = None
            self._history.record(now, ("rule", rule.id, old, stored))
        return stored

    def _compile(self, rule: Rule, operation: str) -> None:
        compiled(
            rule.expression, self._environment, operation=operation, subject=rule.id
        )

    def _existing(self, wanted: UUID, operation: str) -> Rule:
        try:
            return self._rules[wanted]
        except KeyError:
            raise RuleNotFound(operation=operation, subject=wanted) from None

    def _refuse_taken_name(self, rule: Rule, operation: str) -> None:
        if self._names.get(rule.name, rule.id) != rule.id:
            raise DuplicateRuleName(operation=operation, subject=rule.id)

    def _named(self, name: str, operation: str) -> DerivedField:
        for field in self._fields.values():
            if field.name == name:
                return field
        raise DerivedFieldNotFound(operation=operation, subject=name)

    def _dependencies(self, field: DerivedField, operation: str) -> tuple[str, ...]:
        """What the field reads; whether that fits the others is asked later."""
        program = compiled(field.expression, operation=operation, subject=field.name)
        return dependencies(program.tree)

    def _refuse_taken_field_name(self, field: DerivedField, operation: str) -> None:
        others = (known for known in self._fields.values() if known.id != field.id)
        if any(known.name == field.name for known in others):
            raise DuplicateDerivedField(operation=operation, subject=field.name)

    def _state(self) -> TenantState:
        schema = None if self._active is None else _definition(self._active)
        return TenantState(schema, self._fields, self.list_active())

    def _change_field(
        self, field_id: UUID, new: DerivedField | None, operation: str, subject: str
    ) -> None:
        """Let this be the derived field of this id, if all and the rules compile."""
        fields = dict(self._fields)
        old = fields.get(field_id)
        if new is None:
            del fields[field_id]
        else:
            fields[field_id] = new
        before = self._state()
        after, broken = recompiled(
            before,
            before._replace(fields=fields),
            operation=operation,
            subject=subject,
        )
        refuse_broken(broken, operation=operation, subject=subject, hint=IN_USE_HINT)
        with self._lock:
            self._fields = fields
            self._environment = after
            self._history.record(self._clock(), ("derived field", field_id, old, new))

    def _switch(
        self, version: Schema, *, operation: str, subject: object, allow_broken: bool
    ) -> SchemaChange:
        """Let this be the active version, if fields and rules compile against it."""
        before = self._state()
        after, broken = recompiled(
            before,
            before._replace(schema=_definition(version)),
            operation=operation,
            subject=subject,
        )
        if not allow_broken:
            refuse_broken(
                broken, operation=operation, subject=subject, hint=ALLOW_BROKEN_HINT
            )
        with self._lock:
            former, now = self._active, self._clock()
            change = SchemaChange(
                None if former is None else former.version,
                version.version,
                self._user,
                now,
                compiled=len(before.rules) + len(before.fields),
                failed=len(broken),
                failures=broken,
            )
            # In the steps of the database: stored, the former one off, this one on.
            steps: list[tuple[Schema | None, Schema]] = []
            off = replace(version, active=False)
            if version.version > len(self._schemas):
                self._schemas.append(version)
                self._schema_ids.append(uuid4())
                steps.append((None, off))
            if former is not None:
                steps.append((former, replace(former, active=False)))
            steps.append((off, version))
            self._history.record(
                now,
                *(
                    ("schema", self._schema_ids[step.version - 1], before, step)
                    for before, step in steps
                ),
            )
            self._active = version
            self._changes.append(change)
            self._environment = after
        return change


def _definition(version: Schema) -> dict[str, dict[str, str]]:
    return {name: dict(fields) for name, fields in version.definition.items()}


def _copy(version: Schema, *, active: bool) -> Schema:
    return replace(version, definition=_definition(version), active=active)
