"""Everything that can go wrong, as a tree of exceptions under `PgRulesError`.

The in-memory store and the database raise the same classes. What a SQLSTATE of the
database becomes is decided in :mod:`pgrules.translate`, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cel import Problem
    from .cel.errors import FieldProblem, Violation
    from .model import BrokenRule


class PgRulesError(Exception):
    """Base of all errors of this package.

    `operation` names what failed ("add rule"), `subject` the rule, tenant or field
    it failed on, `reason` says why. `detail` and `hint` carry what the database or
    the language added, `sqlstate` the code under which SQL reports the same error.
    Where another exception led to this one, it is the ``__cause__``.
    """

    default_reason: ClassVar[str] = "the call failed"
    default_sqlstate: ClassVar[str | None] = None

    def __init__(
        self,
        reason: str = "",
        *,
        operation: str = "",
        subject: object = "",
        detail: str = "",
        hint: str = "",
        sqlstate: str | None = None,
    ) -> None:
        self.reason = reason or self.default_reason
        super().__init__(self.reason)
        self.operation = operation
        self.subject = subject
        self.detail = detail
        self.hint = hint
        self.sqlstate = sqlstate or self.default_sqlstate

    def __str__(self) -> str:
        what = " ".join(part for part in (self.operation, str(self.subject)) if part)
        message = f"failed to {what}: {self.reason}" if what else self.reason
        parts = (message, self.detail, f"hint: {self.hint}" if self.hint else "")
        return "\n".join(part for part in parts if part)


class InvalidArgument(PgRulesError, ValueError):
    """What no call can work with: a time without a zone, or one in the future."""

    default_sqlstate = "22023"


class InvalidRule(InvalidArgument):
    """An id, name or expression that no rule can have."""


class CompilationError(PgRulesError):
    """The expression does not compile; nothing was stored.

    `problems` has every reason found, each with line, column, message and hint.
    """

    default_reason = "the expression does not compile"
    default_sqlstate = "RE020"

    def __init__(
        self,
        reason: str = "",
        *,
        problems: Sequence[Problem] = (),
        operation: str = "",
        subject: object = "",
        detail: str = "",
        hint: str = "",
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(
            reason,
            operation=operation,
            subject=subject,
            detail=detail,
            hint=hint,
            sqlstate=sqlstate,
        )
        self.problems = tuple(problems)


class ExpressionTooLarge(CompilationError):
    """The expression is longer or deeper than the limits allow."""

    default_sqlstate = "RE021"


class RegexUnavailable(CompilationError):
    """The rule uses regular expressions where the RE2 library is missing."""

    default_sqlstate = "RE050"


class InvalidFacts(PgRulesError, ValueError):
    """The facts are no JSON object, or hold what JSON or CEL cannot represent."""

    default_sqlstate = "RE030"


class RuleNotFound(PgRulesError, LookupError):
    """No rule of this tenant has the id; another tenant's rule looks the same."""

    default_reason = "there is no such rule"
    default_sqlstate = "RE010"


class DuplicateRule(PgRulesError):
    """The tenant already has a rule of this id or name; see the sub-classes."""

    default_sqlstate = "23505"


class DuplicateRuleId(DuplicateRule):
    """The tenant already has a rule of this id."""

    default_reason = "a rule of this id exists already"


class DuplicateRuleName(DuplicateRule):
    """The tenant already has another rule of this name."""

    default_reason = "another rule has this name already"


class InvalidSchema(PgRulesError, ValueError):
    """The definition of a schema breaks rules; nothing was stored.

    `violations` has every rule that it breaks, each with object, field and a valid
    form.
    """

    default_reason = "the schema definition breaks rules"
    default_sqlstate = "RE060"

    def __init__(
        self,
        reason: str = "",
        *,
        violations: Sequence[Violation] = (),
        operation: str = "",
        subject: object = "",
        detail: str = "",
        hint: str = "",
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(
            reason,
            operation=operation,
            subject=subject,
            detail=detail,
            hint=hint,
            sqlstate=sqlstate,
        )
        self.violations = tuple(violations)


class SchemaNotFound(PgRulesError, LookupError):
    """The tenant has no schema of this version."""

    default_reason = "there is no such schema version"
    default_sqlstate = "RE011"


class RuleNotInForce(PgRulesError, LookupError):
    """At the time asked for, the rule was not yet stored, or it was deleted."""

    default_reason = "the rule was not in force then"
    default_sqlstate = "RE012"


class RuleVersionNotFound(PgRulesError, LookupError):
    """The rule has no such version, or it is a deletion, which nothing restores."""

    default_reason = "the rule has no such version"
    default_sqlstate = "RE013"


class NotRecorded(PgRulesError, LookupError):
    """The time asked for is before the tenant's audit begins."""

    default_reason = "what was in force then is not recorded"
    default_sqlstate = "RE014"


class InvalidDerivedFields(PgRulesError, ValueError):
    """Derived fields that cannot be; nothing was stored.

    They do not compile, depend on themselves, use one that is to go, or have a name
    that no derived field can have. `fields` has each with its problems or its cycle.
    """

    default_reason = "derived fields cannot be"
    default_sqlstate = "RE061"

    def __init__(
        self,
        reason: str = "",
        *,
        fields: Sequence[FieldProblem] = (),
        operation: str = "",
        subject: object = "",
        detail: str = "",
        hint: str = "",
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(
            reason,
            operation=operation,
            subject=subject,
            detail=detail,
            hint=hint,
            sqlstate=sqlstate,
        )
        self.fields = tuple(fields)


class DerivedFieldNotFound(PgRulesError, LookupError):
    """The tenant has no derived field of this name or id."""

    default_reason = "there is no such derived field"


class DuplicateDerivedField(PgRulesError):
    """The tenant already has a derived field of this name or id."""

    default_reason = "a derived field of this name or id exists already"
    default_sqlstate = "23505"


class RulesBroken(PgRulesError):
    """The change would leave active rules that do not compile; nothing was changed.

    `broken_rules` has each of them with its problems.
    """

    default_reason = "active rules would no longer compile"
    default_sqlstate = "RE062"

    def __init__(
        self,
        reason: str = "",
        *,
        broken_rules: Sequence[BrokenRule] = (),
        operation: str = "",
        subject: object = "",
        detail: str = "",
        hint: str = "",
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(
            reason,
            operation=operation,
            subject=subject,
            detail=detail,
            hint=hint,
            sqlstate=sqlstate,
        )
        self.broken_rules = tuple(broken_rules)


class RowRefused(PgRulesError):
    """A row that a rule matches was written to a table that refuses such rows.

    The whole statement is undone. `detail` names the rows and the rules.
    """

    default_reason = "a rule refuses the row"
    default_sqlstate = "RE063"


class RuleDoesNotFit(PgRulesError):
    """The rule does not compile over the columns of a table.

    It needs one that the table lacks, or that has a type which rules cannot read.
    """

    default_reason = "the rule does not fit the table"
    default_sqlstate = "RE070"


class NotATable(PgRulesError):
    """What is given for a table has no rows: a scalar, a composite type, a domain."""

    default_reason = "that has no rows"
    default_sqlstate = "RE071"


class InvalidFactsColumn(PgRulesError):
    """The table lacks the column of facts, or it is no ``jsonb``."""

    default_reason = "there is no such column of facts"
    default_sqlstate = "RE072"


NO_VERSIONS: Final = "the store keeps no versions of what was changed"
"""The reason of `NotSupported` for a store that is not audited."""


class NotSupported(PgRulesError):
    """The store of this engine lacks what the call is about.

    It keeps rules alone, without schemas and derived fields, or without versions.
    """

    default_reason = "the store keeps no schemas and no derived fields"


class TenantError(PgRulesError):
    """The tenant of the call is missing, malformed, unknown or not allowed."""


class InvalidTenant(TenantError, ValueError):
    """The tenant id is no UUID, or there is no such tenant."""

    default_sqlstate = "RE002"


class TenantNotSet(TenantError):
    """The transaction has no tenant."""

    default_sqlstate = "RE001"


class PermissionDenied(TenantError):
    """The login may not act for this tenant, or lacks the privilege."""

    default_sqlstate = "42501"


class EvaluationError(PgRulesError):
    """An expression that is no rule ended in a CEL error.

    A rule never raises this: its `EvaluationResult` carries the error's text.
    """

    default_sqlstate = "RE040"


class CostLimitExceeded(EvaluationError):
    """An expression that is no rule used up the cost limit."""

    default_sqlstate = "RE041"


class Cancelled(PgRulesError):
    """``statement_timeout`` or a cancel request ended the call."""

    default_reason = "the call was cancelled"
    default_sqlstate = "57014"


class StoreError(PgRulesError):
    """The database refused or failed for a reason outside the rules.

    `retry_safe` tells whether the same call may simply be made again: true when it
    is certain that nothing was stored, false when the commit may have happened.
    Inside a transaction of the caller it speaks of that transaction as a whole.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        retry_safe: bool = False,
        operation: str = "",
        subject: object = "",
        detail: str = "",
        hint: str = "",
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(
            reason,
            operation=operation,
            subject=subject,
            detail=detail,
            hint=hint,
            sqlstate=sqlstate,
        )
        self.retry_safe = retry_safe


class StoreUnavailable(StoreError):
    """No connection: lost, closed, refused, or none came free in the pool."""


class TransactionConflict(StoreError):
    """A deadlock, a lock timeout or a serialisation failure; nothing was stored."""


class InsufficientResources(StoreError):
    """The server lacks disk space, memory or locks; nothing was stored.

    The call may be repeated once there is more of what `reason` says.
    """


class NotDeployed(StoreError):
    """The database lacks the objects of pgrules, or some of them."""


class InternalError(PgRulesError):
    """The language core failed in a way that it should not: a bug of pgrules."""

    default_sqlstate = "RE099"
