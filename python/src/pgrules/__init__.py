"""A rules engine that lives in PostgreSQL.

`Engine` evaluates the rules of one tenant, kept in a `RuleStore`: in the database
(`PostgresRuleStore`), where they are also evaluated, or in memory
(`InMemoryRuleStore`). Rules are written in CEL, see :mod:`pgrules.cel`. All errors are
`PgRulesError`.
"""

from __future__ import annotations

from .cel import Problem
from .engine import Engine
from .errors import (
    Cancelled,
    CompilationError,
    CostLimitExceeded,
    DerivedFieldNotFound,
    DuplicateDerivedField,
    DuplicateRule,
    DuplicateRuleId,
    DuplicateRuleName,
    EvaluationError,
    ExpressionTooLarge,
    InternalError,
    InvalidDerivedFields,
    InvalidFacts,
    InvalidFactsColumn,
    InvalidRule,
    InvalidSchema,
    InvalidTenant,
    NotATable,
    NotDeployed,
    NotRecorded,
    NotSupported,
    PermissionDenied,
    PgRulesError,
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
    TenantError,
    TenantNotSet,
    TransactionConflict,
)
from .memory import InMemoryRuleStore
from .model import (
    BrokenRule,
    DerivedField,
    EvaluationResult,
    Rule,
    Schema,
    SchemaChange,
)
from .postgres import PostgresRuleStore
from .store import EvaluatingStore, Evaluator, RuleStore, TenantStore

__all__ = [
    "BrokenRule",
    "Cancelled",
    "CompilationError",
    "CostLimitExceeded",
    "DerivedField",
    "DerivedFieldNotFound",
    "DuplicateDerivedField",
    "DuplicateRule",
    "DuplicateRuleId",
    "DuplicateRuleName",
    "Engine",
    "EvaluatingStore",
    "EvaluationError",
    "EvaluationResult",
    "Evaluator",
    "ExpressionTooLarge",
    "InMemoryRuleStore",
    "InternalError",
    "InvalidDerivedFields",
    "InvalidFacts",
    "InvalidFactsColumn",
    "InvalidRule",
    "InvalidSchema",
    "InvalidTenant",
    "NotATable",
    "NotDeployed",
    "NotRecorded",
    "NotSupported",
    "PermissionDenied",
    "PgRulesError",
    "PostgresRuleStore",
    "Problem",
    "RegexUnavailable",
    "RowRefused",
    "Rule",
    "RuleDoesNotFit",
    "RuleNotFound",
    "RuleNotInForce",
    "RuleStore",
    "RuleVersionNotFound",
    "RulesBroken",
    "Schema",
    "SchemaChange",
    "SchemaNotFound",
    "StoreError",
    "StoreUnavailable",
    "TenantError",
    "TenantNotSet",
    "TenantStore",
    "TransactionConflict",
]
