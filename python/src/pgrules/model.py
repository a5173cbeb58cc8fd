"""Rules, schemas, derived fields, results: plain, immutable data.

Limits on names are those of the table's columns, so that a rule which can be built
here can be stored in either store. Whether an expression compiles is asked of the
language when the rule is stored, not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

from .cel import Problem
from .cel.derived import check_name
from .errors import InvalidArgument, InvalidRule, RuleVersionNotFound
from .explain import explained
from .translate import translated

NAME_LENGTH = 255
"""Code points of a rule's name, as the column has it."""

Subject: TypeAlias = Literal["rule", "schema", "derived field", "audit"]
"""What an entry of the audit is about; `audit` marks when recording began."""

Operation: TypeAlias = Literal["insert", "update", "delete", "baseline"]
"""What was done; `baseline` is what was there when recording began."""

SUBJECTS: tuple[Subject, ...] = get_args(Subject)

# PostgreSQL's integer.
_LAST_VERSION = 2**31 - 1

# What PostgreSQL's text cannot hold: NUL, and surrogates, which UTF-8 lacks.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """A named CEL expression with an identity.

    `id` may be given as text. The times are set by the store that keeps the rule:
    `created_at` on add, `updated_at` on every change; what a caller gives there is
    not stored. Raises `InvalidRule` for fields that no store could keep.
    """

    id: UUID
    name: str
    expression: str
    active: bool
    created_at: datetime | None
    updated_at: datetime | None

    def __init__(
        self,
        id: UUID | str,  # noqa: A002 - the field's name
        name: str,
        expression: str,
        *,
        active: bool = True,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        assign = object.__setattr__
        assign(self, "id", rule_id(id))
        assign(self, "name", text("name", name))
        assign(self, "expression", text("expression", expression))
        if not isinstance(active, bool):
            raise _invalid(f"active is {type(active).__name__}, not bool")
        if not name.strip():
            raise _invalid("the name is empty")
        if len(name) > NAME_LENGTH:
            raise _invalid(
                f"the name has {len(name)} characters, {NAME_LENGTH} are the limit"
            )
        assign(self, "active", active)
        assign(self, "created_at", created_at)
        assign(self, "updated_at", updated_at)


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What one rule said about one set of facts.

    `error` is the text of a failed evaluation, and then `matched` is false. `trace`
    holds the values of sub-expressions if they were asked for, as JSON decodes.
    """

    rule_id: UUID
    rule_name: str
    matched: bool
    error: str | None = None
    trace: Any = None

    def explain(self, *, width: int = 100) -> str:
        """The trace as a tree of text, for a terminal of this many columns.

        Each sub-expression has its value beside it, an error is marked where it
        arose, and what a short circuit skipped is "not evaluated". Without a trace,
        the outcome alone.
        """
        return explained(self, width)


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A stored rule that does not compile any more, and why."""

    rule_id: UUID
    rule_name: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        found = "\n".join(map(str, self.problems))
        return f"rule {self.rule_id} ({self.rule_name}):\n{found}"


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of a tenant's schema; a version that is stored never changes.

    `definition` maps the names of objects to their fields and the fields' types. It
    is a copy: changing it changes nothing in the store.
    """

    version: int
    definition: Mapping[str, Mapping[str, str]]
    active: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """Who made which version the active one, when, and what that did.

    `old_version` is None for the first. `compiled` counts the active rules and
    derived fields that were compiled against the new version, `failed` those of them
    that did not; `failures` has each with its problems.
    """

    old_version: int | None
    new_version: int
    changed_by: str
    changed_at: datetime
    compiled: int
    failed: int
    failures: tuple[BrokenRule, ...] = ()


@dataclass(frozen=True, slots=True, init=False)
class DerivedField:
    """A name for a CEL expression over facts and other derived fields.

    `id` may be given as text. The store sets the rest: `dependencies`, the names that
    the expression reads, in the order of the text, and the times. Raises
    `InvalidDerivedFields` for a name, `InvalidRule` for an id or an expression, that
    no store could keep.
    """

    id: UUID
    name: str
    expression: str
    dependencies: tuple[str, ...]
    created_at: datetime | None
    updated_at: datetime | None

    def __init__(
        self,
        id: UUID | str,  # noqa: A002 - the field's name
        name: str,
        expression: str,
        *,
        dependencies: Sequence[str] = (),
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        operation = "build derived field"
        assign = object.__setattr__
        assign(self, "id", rule_id(id, operation=operation))
        with translated(operation):
            check_name(name)
        assign(self, "name", name)
        assign(self, "expression", text("expression", expression, operation=operation))
        assign(self, "dependencies", tuple(dependencies))
        assign(self, "created_at", created_at)
        assign(self, "updated_at", updated_at)


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One version of a rule, counted from 1; a deletion is a version too.

    `name`, `expression` and `active` are None for a deletion. The version was in
    force from `valid_from`, when it was committed, until `valid_to`, when the next
    was. `valid_from` is None for what the own transaction has not committed yet,
    `valid_to` for the last version; they are equal where one transaction made both.
    `changed_by` is the login, `role` what ``SET ROLE`` had chosen, `application` what
    the client called itself.
    """

    rule_id: UUID
    version: int
    operation: Operation
    name: str | None
    expression: str | None
    active: bool | None
    valid_from: datetime | None
    valid_to: datetime | None
    changed_at: datetime
    changed_by: str
    role: str
    application: str


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """A field of a rule that differs between two versions; None is a deletion's."""

    field: Literal["name", "expression", "active"]
    old_value: str | bool | None
    new_value: str | bool | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change of a rule, a schema or a derived field: who, when, from what to what.

    `before` and `after` have the fields that an author sets, without ids, times and
    what the engine computes; `before` is None for what is new, `after` for a
    deletion. `changed_at` is when the statement ran, `transaction` tells which
    changes were made together, and `started_at` when that began.
    """

    id: UUID
    subject: Subject
    subject_id: UUID
    operation: Operation
    changed_at: datetime
    changed_by: str
    role: str
    application: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    transaction: int
    started_at: datetime


def rule_id(value: UUID | str, *, operation: str = "") -> UUID:
    """The rule id in this argument; raises `InvalidRule` if it is no UUID."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError as error:
            raise _invalid(f"{value!r} is no UUID", operation=operation) from error
    raise _invalid(
        f"the id is {type(value).__name__}, not UUID or str", operation=operation
    )


def text(name: str, value: str, *, operation: str = "") -> str:
    """The text in this argument; raises `InvalidRule` for what cannot be stored."""
    if not isinstance(value, str):
        raise _invalid(
            f"{name} is {type(value).__name__}, not str", operation=operation
        )
    found = _UNSTORABLE.search(value)
    if found is not None:
        raise _invalid(
            f"{name} has U+{ord(found.group()):04X} at position {found.start()},"
            " which PostgreSQL cannot store",
            operation=operation,
        )
    return value


def instant(value: object, *, operation: str) -> datetime:
    """The time in this argument; raises `InvalidArgument` if it has no time zone."""
    if not isinstance(value, datetime):
        reason = f"the time is {type(value).__name__}, not datetime"
        raise InvalidArgument(reason, operation=operation)
    if value.utcoffset() is None:
        raise InvalidArgument(
            f"the time {value} has no time zone",
            operation=operation,
            hint="datetime.now(UTC) has one; astimezone() adds the local one",
        )
    return value


def subjects(value: Subject | None, *, operation: str) -> list[Subject]:
    """This subject, or all of them; raises `InvalidArgument` for what is none."""
    if value is None:
        return list(SUBJECTS)
    if value in SUBJECTS:
        return [value]
    raise InvalidArgument(
        f"nothing is recorded about {value!r}",
        operation=operation,
        hint=f"subjects are {', '.join(SUBJECTS)}",
    )


def rule_version(value: int, wanted: UUID, *, operation: str) -> int:
    """The number in this argument; raises `RuleVersionNotFound` if there is none."""
    if type(value) is not int or not 0 < value <= _LAST_VERSION:
        raise version_not_found(value, wanted, operation=operation)
    return value


def version_not_found(
    value: object, wanted: UUID, *, operation: str
) -> RuleVersionNotFound:
    """The error for a version that the rule does not have, as SQL words it."""
    return RuleVersionNotFound(
        operation=operation,
        subject=wanted,
        detail=f"Rule {wanted} has no version {value}.",
    )


def _invalid(reason: str, *, operation: str = "build rule") -> InvalidRule:
    return InvalidRule(reason, operation=operation or "build rule")
