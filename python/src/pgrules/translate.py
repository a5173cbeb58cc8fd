"""The one place where errors from below become this package's exceptions.

The database and the language name an error by the same SQLSTATE: those of class RE
are listed in ``docs/errors.md``, the rest are PostgreSQL's own. So one table serves
rules that are evaluated there and rules that are evaluated here.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from . import errors
from .cel import CelError, InvalidExpression
from .cel.errors import InvalidDerivedFields, InvalidSchema
from .errors import PgRulesError, StoreError, StoreUnavailable, TransactionConflict

if TYPE_CHECKING:
    from collections.abc import Iterator

_BY_SQLSTATE: Final[dict[str, type[PgRulesError]]] = {
    "RE001": errors.TenantNotSet,
    "RE002": errors.InvalidTenant,
    "RE010": errors.RuleNotFound,
    "RE011": errors.SchemaNotFound,
    "RE012": errors.RuleNotInForce,
    "RE013": errors.RuleVersionNotFound,
    "RE014": errors.NotRecorded,
    "RE020": errors.CompilationError,
    "RE021": errors.ExpressionTooLarge,
    "RE030": errors.InvalidFacts,
    "RE040": errors.EvaluationError,
    "RE041": errors.CostLimitExceeded,
    "RE050": errors.RegexUnavailable,
    "RE060": errors.InvalidSchema,
    "RE061": errors.InvalidDerivedFields,
    "RE062": errors.RulesBroken,
    "RE063": errors.RowRefused,
    "RE070": errors.RuleDoesNotFit,
    "RE071": errors.NotATable,
    "RE072": errors.InvalidFactsColumn,
    "RE099": errors.InternalError,
    "22001": errors.InvalidRule,  # string_data_right_truncation
    "22023": errors.InvalidArgument,  # invalid_parameter_value
    "22P02": errors.InvalidFacts,  # invalid_text_representation: not JSON
    "22P05": errors.InvalidFacts,  # untranslatable_character: \u0000 in jsonb
    "23502": errors.InvalidRule,  # not_null_violation
    "23514": errors.InvalidRule,  # check_violation
    "25P03": StoreUnavailable,  # idle_in_transaction_session_timeout
    "40001": TransactionConflict,  # serialization_failure
    "40P01": TransactionConflict,  # deadlock_detected
    "42501": errors.PermissionDenied,  # insufficient_privilege
    "42703": errors.NotDeployed,  # undefined_column
    "42883": errors.NotDeployed,  # undefined_function
    "42P01": errors.NotDeployed,  # undefined_table
    "3F000": errors.NotDeployed,  # invalid_schema_name
    "53000": errors.InsufficientResources,  # insufficient_resources
    "53100": errors.InsufficientResources,  # disk_full
    "53200": errors.InsufficientResources,  # out_of_memory
    "53300": StoreUnavailable,  # too_many_connections
    "53400": errors.InsufficientResources,  # configuration_limit_exceeded
    "54000": errors.InvalidFacts,  # program_limit_exceeded: a jsonb too large
    "55P03": TransactionConflict,  # lock_not_available
    "57014": errors.Cancelled,  # query_canceled
    "57P01": StoreUnavailable,  # admin_shutdown
    "57P02": StoreUnavailable,  # crash_shutdown
    "57P03": StoreUnavailable,  # cannot_connect_now
    "57P05": StoreUnavailable,  # idle_session_timeout
}

_BY_CONSTRAINT: Final[dict[str, type[PgRulesError]]] = {
    "rules_pkey": errors.DuplicateRuleId,
    "rules_tenant_id_name_key": errors.DuplicateRuleName,
    "rules_tenant_id_fkey": errors.InvalidTenant,
    "schemas_tenant_id_fkey": errors.InvalidTenant,
    "derived_fields_pkey": errors.DuplicateDerivedField,
    "derived_fields_tenant_id_name_key": errors.DuplicateDerivedField,
    "derived_fields_tenant_id_fkey": errors.InvalidTenant,
    "derived_fields_name_check": errors.InvalidDerivedFields,
    "environments_tenant_id_fkey": errors.InvalidTenant,
}

_NO_TENANT: Final = "there is no such tenant"

_REASONS: Final[dict[str, str]] = {
    "rules_tenant_id_fkey": _NO_TENANT,
    "schemas_tenant_id_fkey": _NO_TENANT,
    "derived_fields_tenant_id_fkey": _NO_TENANT,
    "environments_tenant_id_fkey": _NO_TENANT,
    "25P02": "the caller's transaction has failed already and must be rolled back",
}

_HINTS: Final[dict[type[PgRulesError], str]] = {
    errors.NotDeployed: "deploy the database with 'pgrules migrate up'",
    errors.InsufficientResources: "the call may be repeated once the server has more",
}

# Their own words are the same in every store, so the server's are not repeated.
_OWN_WORDS: Final = (
    errors.RuleNotFound,
    errors.SchemaNotFound,
    errors.DuplicateRule,
    errors.DuplicateDerivedField,
)

# The same, but what the server adds as detail belongs to the case.
_OWN_REASONS: Final = (
    errors.RuleNotInForce,
    errors.RuleVersionNotFound,
    errors.NotRecorded,
)

# What may befall any statement, whoever wrote it.
_SHARED: Final = (
    StoreUnavailable,
    TransactionConflict,
    errors.InsufficientResources,
    errors.Cancelled,
)

# In the server's own words: the transaction did not happen.
_UNDONE: Final = (TransactionConflict, errors.InsufficientResources)


@dataclass(slots=True)
class Scope:
    """What is known while the operation runs, for `StoreError.retry_safe`."""

    commit_sent: bool = False


@contextmanager
def translated(operation: str, subject: object = "") -> Iterator[Scope]:
    """Raise errors of psycopg and of the language inside the block as `PgRulesError`.

    They name operation and subject, and have the original error as their cause.
    """
    scope = Scope()
    try:
        yield scope
    except psycopg.Error as error:
        raise _from_database(error, operation, subject, scope) from error
    except CelError as error:
        raise _from_language(error, operation, subject) from error


@contextmanager
def own_statements(operation: str) -> Iterator[Scope]:
    """Raise errors inside the block as `PgRulesError` where they are of pgrules.

    For statements of the caller's own: what has a SQLSTATE of class RE, and what
    concerns the transaction or the connection. The rest is raised as psycopg does.
    """
    scope = Scope()
    try:
        yield scope
    except psycopg.Error as error:
        translation = _from_database(error, operation, "", scope)
        if (error.sqlstate or "").startswith("RE") or isinstance(translation, _SHARED):
            raise translation from error
        raise


def _from_language(error: CelError, operation: str, subject: object) -> PgRulesError:
    context: dict[str, Any] = {
        "operation": operation,
        "subject": subject,
        "sqlstate": error.sqlstate,
        "hint": error.hint,
    }
    if isinstance(error, InvalidExpression):
        # The detail has every problem, each with its own hint.
        context |= {"detail": error.detail, "hint": "", "problems": error.problems}
    elif isinstance(error, InvalidSchema):
        context |= {"detail": error.detail, "hint": "", "violations": error.violations}
    elif isinstance(error, InvalidDerivedFields):
        context |= {"detail": error.detail, "hint": "", "fields": error.fields}
    return _BY_SQLSTATE[error.sqlstate](error.message, **context)


def _from_database(
    error: psycopg.Error, operation: str, subject: object, scope: Scope
) -> PgRulesError:
    state = error.sqlstate or ""
    constraint = error.diag.constraint_name or ""
    kind = _BY_CONSTRAINT.get(constraint) or _BY_SQLSTATE.get(state) or _fallback(error)
    context: dict[str, Any] = {
        "operation": operation,
        "subject": subject,
        "sqlstate": error.sqlstate,
    }
    if issubclass(kind, StoreError):
        # An error is the server's word that the transaction did not happen; silence
        # after COMMIT may mean either.
        lost = issubclass(kind, StoreUnavailable) and not scope.commit_sent
        context["retry_safe"] = lost or issubclass(kind, _UNDONE)
    if issubclass(kind, _OWN_WORDS):
        return kind(**context)
    diagnosis = error.diag
    if issubclass(kind, _OWN_REASONS):
        return kind(detail=diagnosis.message_detail or "", **context)
    primary = diagnosis.message_primary or str(error) or type(error).__name__
    return kind(
        _REASONS.get(constraint) or _REASONS.get(state) or primary,
        detail=diagnosis.message_detail or "",
        hint=diagnosis.message_hint or _HINTS.get(kind, ""),
        **context,
    )


def _fallback(error: psycopg.Error) -> type[PgRulesError]:
    """The class for an error without a SQLSTATE of its own in the table."""
    if isinstance(error, (PoolClosed, PoolTimeout, TooManyRequests)):
        return StoreUnavailable
    if error.sqlstate is None:
        # psycopg's own: the connection broke, was closed, or never came up.
        lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return StoreUnavailable if lost else StoreError
    if error.sqlstate.startswith("08"):
        return StoreUnavailable
    if error.sqlstate == "38000" and _lacked_memory(error):
        return errors.InsufficientResources
    return StoreError


def _lacked_memory(error: psycopg.Error) -> bool:
    """Whether PL/Python could not even begin; it has no code of its own for that."""
    message = error.diag.message_primary or ""
    told = (message, error.diag.message_detail or "")
    return any(text.startswith("MemoryError") for text in told) or (
        message == 'could not compile PL/Python function "cel_runtime"'
    )
