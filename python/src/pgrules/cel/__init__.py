"""CEL, the Common Expression Language, in pure Python.

The language as cel-spec defines it, without protobuf messages. Source text goes
through ``lexer``, ``parser`` and ``checker`` to the closures of ``interpreter``; the
data between the stages is in ``syntax`` and ``checked``. Nothing here knows
PostgreSQL, and nothing but the standard library is imported (RE2 is, when an
expression first needs it): the same files run in the database, in ``pgrules.Engine``
over an in-memory store, and in tests.
"""

from __future__ import annotations

from .environment import Environment
from .errors import (
    CelError,
    CostLimitExceeded,
    EvaluationError,
    ExpressionTooLarge,
    Interrupted,
    InvalidExpression,
    InvalidFacts,
    Problem,
    RegexLibraryMissing,
)
from .limits import Limits
from .program import Program, compile_expression

__all__ = [
    "CelError",
    "CostLimitExceeded",
    "Environment",
    "EvaluationError",
    "ExpressionTooLarge",
    "Interrupted",
    "InvalidExpression",
    "InvalidFacts",
    "Limits",
    "Problem",
    "Program",
    "RegexLibraryMissing",
    "compile_expression",
]
