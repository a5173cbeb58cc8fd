"""What SQLSTATEs and the language's errors become, without a server."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg_pool import PoolClosed, PoolTimeout

from pgrules import (
    Cancelled,
    CompilationError,
    CostLimitExceeded,
    DuplicateDerivedField,
    DuplicateRuleId,
    DuplicateRuleName,
    EvaluationError,
    ExpressionTooLarge,
    InsufficientResources,
    InternalError,
    InvalidArgument,
    InvalidDerivedFields,
    InvalidFacts,
    InvalidFactsColumn,
    InvalidRule,
    InvalidSchema,
    InvalidTenant,
    NotATable,
    NotDeployed,
    NotRecorded,
    PermissionDenied,
    PgRulesError,
    Problem,
    RegexUnavailable,
    RowRefused,
    RuleDoesNotFit,
    RuleNotFound,
    RuleNotInForce,
    RulesBroken,
    RuleVersionNotFound,
    SchemaNotFound,
    StoreError,
    StoreUnavailable,
    TenantNotSet,
    TransactionConflict,
    cel,
)
from pgrules.cel import errors as cel_errors
from pgrules.postgres_environment import problem_from
from pgrules.translate import translated


def server_error(sqlstate: str) -> psycopg.Error:
    """An error as psycopg raises it for a SQLSTATE that it may not know."""
    kind = type("ServerError", (psycopg.Error,), {"sqlstate": sqlstate})
    error = kind("the server's words")
    assert isinstance(error, psycopg.Error)
    return error


def translate(error: Exception, *, commit_sent: bool = False) -> PgRulesError:
    def fail() -> None:
        with translated("add rule", "7") as scope:
            scope.commit_sent = commit_sent
            raise error

    with pytest.raises(PgRulesError) as caught:
        fail()
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("RE001", TenantNotSet),
        ("RE002", InvalidTenant),
        ("RE010", RuleNotFound),
        ("RE011", SchemaNotFound),
        ("RE012", RuleNotInForce),
        ("RE013", RuleVersionNotFound),
        ("RE014", NotRecorded),
        ("RE020", CompilationError),
        ("RE021", ExpressionTooLarge),
        ("RE030", InvalidFacts),
        ("RE040", EvaluationError),
        ("RE041", CostLimitExceeded),
        ("RE050", RegexUnavailable),
        ("RE060", InvalidSchema),
        ("RE061", InvalidDerivedFields),
        ("RE062", RulesBroken),
        ("RE063", RowRefused),
        ("RE070", RuleDoesNotFit),
        ("RE071", NotATable),
        ("RE072", InvalidFactsColumn),
        ("RE099", InternalError),
        ("22001", InvalidRule),
        ("22023", InvalidArgument),
        ("22P05", InvalidFacts),
        ("23514", InvalidRule),
        ("40001", TransactionConflict),
        ("40P01", TransactionConflict),
        ("42501", PermissionDenied),
        ("42P01", NotDeployed),
        ("42883", NotDeployed),
        ("53100", InsufficientResources),
        ("53200", InsufficientResources),
        ("53300", StoreUnavailable),
        ("57014", Cancelled),
        ("57P01", StoreUnavailable),
        ("08006", StoreUnavailable),
        ("XX000", StoreError),
    ],
)
def test_each_sqlstate_becomes_its_exception(
    sqlstate: str, kind: type[PgRulesError]
) -> None:
    error = translate(server_error(sqlstate))
    assert type(error) is kind
    assert error.sqlstate == sqlstate


def test_an_error_names_operation_and_id_and_keeps_its_cause() -> None:
    """REQ-PERSIST-008, ENG-4."""
    error = translate(server_error("XX000"))
    assert str(error) == "failed to add rule 7: the server's words"
    assert (error.operation, error.subject) == ("add rule", "7")


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("the connection is closed"),
        psycopg.InterfaceError("broken"),
        PoolTimeout("no connection"),
        PoolClosed("closed"),
    ],
)
def test_a_missing_connection_is_unavailability(error: Exception) -> None:
    assert isinstance(translate(error), StoreUnavailable)


@pytest.mark.parametrize(
    ("error", "commit_sent", "retry_safe"),
    [
        (psycopg.OperationalError("lost"), False, True),
        (psycopg.OperationalError("lost"), True, False),
        (server_error("57P01"), True, False),
        (server_error("40001"), True, True),
        (server_error("40P01"), False, True),
        (server_error("53100"), True, True),
        (server_error("53300"), False, True),
        (server_error("XX000"), False, False),
    ],
)
def test_a_retry_is_called_safe_only_where_nothing_can_have_been_stored(
    error: Exception, commit_sent: bool, retry_safe: bool
) -> None:
    translation = translate(error, commit_sent=commit_sent)
    assert isinstance(translation, StoreError)
    assert translation.retry_safe is retry_safe


def test_a_missing_deployment_comes_with_the_way_out() -> None:
    assert "pgrules migrate up" in translate(server_error("42P01")).hint


def test_the_languages_errors_become_the_same_classes() -> None:
    problems = [Problem(1, 8, "unexpected >", excerpt="a\n^")]
    error = translate(cel.InvalidExpression(problems))
    assert isinstance(error, CompilationError)
    assert error.problems == tuple(problems)
    assert error.sqlstate == "RE020"
    assert "1:8: unexpected >" in str(error)
    assert type(translate(cel.ExpressionTooLarge(problems))) is ExpressionTooLarge
    assert type(translate(cel.RegexLibraryMissing(problems))) is RegexUnavailable
    assert type(translate(cel.InvalidFacts("NaN"))) is InvalidFacts
    assert type(translate(cel.EvaluationError("no"))) is EvaluationError
    assert type(translate(cel.CostLimitExceeded("no"))) is CostLimitExceeded


def test_refusals_of_the_language_keep_their_reasons_as_data() -> None:
    violation = cel_errors.Violation("User", "Age", "no such type", 'write "int"')
    schema = translate(cel_errors.InvalidSchema([violation]))
    assert isinstance(schema, InvalidSchema)
    assert schema.violations == (violation,)
    assert schema.detail == 'no such type\nwrite "int"'
    field = cel_errors.FieldProblem("A", "A depends on itself", cycle=("A", "A"))
    fields = translate(cel_errors.InvalidDerivedFields([field]))
    assert isinstance(fields, InvalidDerivedFields)
    assert fields.fields == (field,)


@pytest.mark.parametrize(
    ("constraint", "kind"),
    [
        ("rules_pkey", DuplicateRuleId),
        ("rules_tenant_id_name_key", DuplicateRuleName),
        ("derived_fields_tenant_id_name_key", DuplicateDerivedField),
        ("schemas_tenant_id_fkey", InvalidTenant),
        ("derived_fields_tenant_id_fkey", InvalidTenant),
    ],
)
def test_a_violated_constraint_says_what_is_wrong(
    constraint: str, kind: type[PgRulesError]
) -> None:
    """REQ-PERSIST-008."""

    class Violated(psycopg.errors.IntegrityError):
        """As the server tells it."""

        diag: Any = SimpleNamespace(
            constraint_name=constraint,
            message_primary="the server's words",
            message_detail=None,
            message_hint=None,
        )

    error = translate(Violated())
    assert type(error) is kind
    assert "the server's words" not in str(error)


@pytest.mark.parametrize(
    ("message", "detail", "kind"),
    [
        ("MemoryError: ", None, InsufficientResources),
        (
            "could not compile PL/Python function",
            "MemoryError: ",
            InsufficientResources,
        ),
        (
            'could not compile PL/Python function "cel_runtime"',
            None,
            InsufficientResources,
        ),
        ("KeyError: 'a'", None, StoreError),
    ],
)
def test_what_plpython_says_without_memory_is_told_from_other_errors_of_it(
    message: str, detail: str | None, kind: type[PgRulesError]
) -> None:
    """ERR-4: it has one code for all, external_routine_exception."""

    class Failed(psycopg.errors.ExternalRoutineException):
        """As PL/Python tells it."""

        diag: Any = SimpleNamespace(
            constraint_name=None,
            message_primary=message,
            message_detail=detail,
            message_hint=None,
        )

    error = translate(Failed())
    assert type(error) is kind
    assert isinstance(error, StoreError)
    assert error.retry_safe is (kind is InsufficientResources)


def test_an_unrelated_error_passes_unchanged() -> None:
    with pytest.raises(KeyError), translated("add rule"):
        raise KeyError("bug")


def test_no_code_of_the_database_or_the_language_is_left_out() -> None:
    root = Path(__file__).resolve().parents[2]
    sources = [*root.glob("deploy/*.sql"), *root.glob("python/src/pgrules/cel/*.py")]
    codes = set()
    for source in sources:
        codes |= set(re.findall(r"\bRE\d{3}\b", source.read_text(encoding="utf-8")))
    assert codes
    for code in sorted(codes):
        assert type(translate(server_error(code))) is not StoreError, code


def test_a_problem_of_the_database_need_not_have_a_hint() -> None:
    assert problem_from(1, 2, "odd", None) == Problem(1, 2, "odd")
    assert problem_from(1, 2, "odd", "a\nb") == Problem(1, 2, "odd", "a\nb")
    assert problem_from(1, 2, "odd", "a b\n  ^\nc") == Problem(
        1, 2, "odd", "c", "a b\n  ^"
    )
