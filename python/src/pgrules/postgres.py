"""Rules in PostgreSQL: a store for one tenant, and evaluation where the rules are.

Schemas and derived fields are in :mod:`pgrules.postgres_environment`, versions and the
audit in :mod:`pgrules.postgres_audit`.

The statements stand here as constants, all of them: each is parameterised, and each
that reads or writes a table repeats ``tenant_id = %s`` beside the table's policies,
for the index and for a distributed planner. Transactions and the tenant's setting are
left to :mod:`pgrules.tenant_session`, the database's errors to
:mod:`pgrules.translate`.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from .batch import prepared
from .cel import InvalidExpression
from .cel.facts import facts_to_json
from .errors import CompilationError, PgRulesError, RuleNotFound
from .model import BrokenRule, EvaluationResult, Rule, instant, rule_version, text
from .model import rule_id as as_rule_id
from .postgres_audit import PostgresAudit
from .postgres_environment import PostgresEnvironment, problem_from
from .tenant_session import TenantSession
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from psycopg import Connection

    from .cel import Problem
    from .store import Evaluator
    from .tenant_session import AnyConnection, AnyPool, Rows

ADD: Final = """
INSERT INTO rules.rules (tenant_id, id, name, expression, active)
VALUES (%s, %s, %s, %s, %s)
RETURNING id, name, expression, active, created_at, updated_at
"""

GET: Final = """
SELECT id, name, expression, active, created_at, updated_at
FROM rules.rules
WHERE tenant_id = %s AND id = %s
"""

LIST_ACTIVE: Final = """
SELECT id, name, expression, active, created_at, updated_at
FROM rules.rules
WHERE tenant_id = %s AND active
ORDER BY created_at, id
"""

UPDATE: Final = """
UPDATE rules.rules
SET name = %s, expression = %s, active = %s
WHERE tenant_id = %s AND id = %s
RETURNING id, name, expression, active, created_at, updated_at
"""

DELETE: Final = """
DELETE FROM rules.rules
WHERE tenant_id = %s AND id = %s
RETURNING id
"""

RESTORE: Final = """
SELECT id, name, expression, active, created_at, updated_at
FROM rules.restore_rule(%s, %s::integer)
"""

PROBLEMS: Final = """
SELECT problem.line, problem."column", problem.message, problem.hint
FROM rules.check_expression(%s) AS problem
"""

COMPILE_ACTIVE: Final = """
SELECT
    rule.id, rule.name,
    problem.line, problem."column", problem.message, problem.hint
FROM rules.rules AS rule
CROSS JOIN LATERAL rules.check_expression(rule.expression) AS problem
WHERE rule.tenant_id = %s AND rule.active
ORDER BY rule.created_at, rule.id, problem.line, problem."column"
"""

EVALUATE: Final = """
SELECT rule_id, rule_name, matched, error, trace::text
FROM rules.evaluate(%s, %s::jsonb, %s)
"""

EVALUATE_AS_OF: Final = """
SELECT rule_id, rule_name, matched, error, trace::text
FROM rules.evaluate_as_of(%s, %s::jsonb, %s)
"""

EVALUATE_ALL: Final = """
SELECT rule_id, rule_name, matched, error, trace::text
FROM rules.evaluate_all(%s::jsonb, %s)
"""

EVALUATE_BATCH: Final = """
SELECT rule_id, rule_name, matched, error, trace::text
FROM rules.evaluate_batch(%s, %s::text[]::jsonb[])
"""

MATCH_RULES: Final = """
SELECT rule_id, rule_name, matched, error, trace::text
FROM rules.match_rules(%s::jsonb)
"""

MATCH_RULES_BATCH: Final = """
SELECT element, rule_id, rule_name
FROM rules.match_rules_batch(%s::text[]::jsonb[])
"""

COST: Final = """
SELECT cost.units
FROM rules.evaluation_cost(%s, %s::jsonb) AS cost (units)
"""


class PostgresRuleStore(PostgresEnvironment, PostgresAudit):
    """The rules of one tenant in a database that pgrules is deployed to.

    Takes a pool or a single connection of psycopg; both stay the caller's, who
    closes them. The login needs the role ``rules_app``, or ``rules_tenant`` with a
    binding to this tenant. Several threads may share a store; over a single
    connection their calls queue up. A transaction that is open on the connection is
    joined: its commit makes the store's work last, and its rollback undoes it.

    Beside what `TenantStore` and `AuditedStore` say, every method may raise
    `StoreError`, whose `retry_safe` tells whether the call may simply be repeated,
    and `TenantError` where the login may not act for the tenant.
    """

    def __init__(
        self, pool_or_connection: AnyPool | AnyConnection, tenant_id: UUID | str
    ) -> None:
        super().__init__(TenantSession(pool_or_connection, tenant_id))

    def evaluator(self) -> Evaluator:
        """Evaluates these rules in the database, see `EvaluatingStore`."""
        return PostgresEvaluator(self._session)

    @contextmanager
    def transaction(
        self, operation: str = "run statements"
    ) -> Iterator[Connection[Any]]:
        """A connection in a transaction of this tenant, for statements of your own.

        What `matching_rows` finds, and what is written to tables whose triggers
        record or refuse matches, is that of this tenant. The transaction is committed
        at the end of the block, and rolled back if that raises; one that is open on
        the connection is joined by a savepoint.

        Errors that pgrules raises are `PgRulesError`, `RowRefused` among them, and so
        are lost connections, conflicts and cancellations; others are psycopg's own.
        """
        with self._session.connection(operation) as connection:
            yield connection

    def add(self, rule: Rule) -> Rule:
        """Store a new rule; see `RuleStore.add`."""
        with self._writing_rule("add rule", rule) as cursor:
            cursor.execute(
                ADD,
                (self.tenant_id, rule.id, rule.name, rule.expression, rule.active),
            )
            return _rule(_only_row(cursor, "add rule", rule.id))

    def get(self, rule_id: UUID | str) -> Rule:
        """The rule of this id; see `RuleStore.get`."""
        operation = "get rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._session.transaction(operation, wanted) as cursor:
            cursor.execute(GET, (self.tenant_id, wanted))
            return _rule(_only_row(cursor, operation, wanted))

    def list_active(self) -> list[Rule]:
        """All active rules in one query; see `RuleStore.list_active`."""
        with self._session.transaction("list active rules") as cursor:
            cursor.execute(LIST_ACTIVE, (self.tenant_id,))
            return [_rule(row) for row in cursor.fetchall()]

    def update(self, rule: Rule) -> Rule:
        """Replace the rule that has this id; see `RuleStore.update`."""
        with self._writing_rule("update rule", rule) as cursor:
            cursor.execute(
                UPDATE,
                (rule.name, rule.expression, rule.active, self.tenant_id, rule.id),
            )
            return _rule(_only_row(cursor, "update rule", rule.id))

    def delete(self, rule_id: UUID | str) -> None:
        """Remove the rule of this id; see `RuleStore.delete`."""
        operation = "delete rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._session.transaction(operation, wanted, writes=True) as cursor:
            cursor.execute(DELETE, (self.tenant_id, wanted))
            _only_row(cursor, operation, wanted)

    def restore_rule(self, rule_id: UUID | str, version: int) -> Rule:
        """Go back to a version; see `AuditedStore.restore_rule`."""
        operation = "restore rule"
        wanted = as_rule_id(rule_id, operation=operation)
        number = rule_version(version, wanted, operation=operation)
        try:
            with self._session.transaction(operation, wanted, writes=True) as cursor:
                cursor.execute(RESTORE, (wanted, number))
                return _rule(_only_row(cursor, operation, wanted))
        except CompilationError as error:
            versions = {each.version: each for each in self.rule_versions(wanted)}
            expression = versions[number].expression or ""
            refusal = _with_problems(self._session, error, expression)
            raise refusal from error.__cause__

    @contextmanager
    def _writing_rule(self, operation: str, rule: Rule) -> Iterator[Rows]:
        """A transaction that stores this rule, and says why it does not compile."""
        try:
            with self._session.transaction(operation, rule.id, writes=True) as cursor:
                yield cursor
        except CompilationError as error:
            refusal = _with_problems(self._session, error, rule.expression)
            raise refusal from error.__cause__


class PostgresEvaluator:
    """Evaluates a tenant's rules in the database, in the caller's transaction."""

    def __init__(self, session: TenantSession) -> None:
        self._session = session

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool
    ) -> EvaluationResult:
        """See `Evaluator.evaluate`."""
        operation = "evaluate rule"
        wanted = as_rule_id(rule_id, operation=operation)
        given = _facts(facts, operation, wanted)
        with self._session.transaction(operation, wanted) as cursor:
            cursor.execute(EVALUATE, (wanted, given, trace))
            return _results(cursor.fetchall())[0]

    def evaluate_as_of(
        self, rule_id: UUID | str, facts: Mapping[str, object], at: datetime
    ) -> EvaluationResult:
        """See `Evaluator.evaluate_as_of`."""
        operation = "evaluate past version of rule"
        wanted = as_rule_id(rule_id, operation=operation)
        time = instant(at, operation=operation)
        given = _facts(facts, operation, wanted)
        with self._session.transaction(operation, wanted) as cursor:
            cursor.execute(EVALUATE_AS_OF, (wanted, given, time))
            return _results(cursor.fetchall())[0]

    def evaluate_all(
        self, facts: Mapping[str, object], *, matched_only: bool
    ) -> list[EvaluationResult]:
        """See `Evaluator.evaluate_all`."""
        operation = "evaluate all rules"
        given = _facts(facts, operation)
        with self._session.transaction(operation) as cursor:
            cursor.execute(EVALUATE_ALL, (given, bool(matched_only)))
            return _results(cursor.fetchall())

    def evaluate_batch(
        self, rule_id: UUID | str, batch: Iterable[Mapping[str, object]]
    ) -> list[EvaluationResult]:
        """See `Evaluator.evaluate_batch`."""
        operation = "evaluate rule over a batch"
        wanted = as_rule_id(rule_id, operation=operation)
        given = prepared(facts_to_json, batch, operation, wanted)
        with self._session.transaction(operation, wanted) as cursor:
            cursor.execute(EVALUATE_BATCH, (wanted, given))
            return _results(cursor.fetchall())

    def match_rules(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """See `Evaluator.match_rules`."""
        operation = "match rules"
        given = _facts(facts, operation)
        with self._session.transaction(operation) as cursor:
            cursor.execute(MATCH_RULES, (given,))
            return _results(cursor.fetchall())

    def match_rules_batch(
        self, batch: Iterable[Mapping[str, object]]
    ) -> list[list[EvaluationResult]]:
        """See `Evaluator.match_rules_batch`."""
        operation = "match rules over a batch"
        given = prepared(facts_to_json, batch, operation)
        found: list[list[EvaluationResult]] = [[] for _ in given]
        with self._session.transaction(operation) as cursor:
            cursor.execute(MATCH_RULES_BATCH, (given,))
            for element, rule_id, name in cursor.fetchall():
                found[element - 1].append(EvaluationResult(rule_id, name, matched=True))
        return found

    def check(self, expression: str) -> list[Problem]:
        """See `Evaluator.check`."""
        operation = "check expression"
        text("expression", expression, operation=operation)
        with self._session.transaction(operation) as cursor:
            cursor.execute(PROBLEMS, (expression,))
            return [problem_from(*row) for row in cursor.fetchall()]

    def cost(self, rule_id: UUID | str, facts: Mapping[str, object]) -> int:
        """See `Evaluator.cost`."""
        operation = "compute cost of rule"
        wanted = as_rule_id(rule_id, operation=operation)
        given = _facts(facts, operation, wanted)
        try:
            with self._session.transaction(operation, wanted) as cursor:
                cursor.execute(COST, (wanted, given))
                units: int = cursor.fetchall()[0][0]
                return units
        except CompilationError as error:
            with self._session.transaction(operation, wanted) as cursor:
                cursor.execute(GET, (self._session.tenant_id, wanted))
                rule = _rule(_only_row(cursor, operation, wanted))
            refusal = _with_problems(self._session, error, rule.expression)
            raise refusal from error.__cause__

    def compile_active(self) -> list[BrokenRule]:
        """See `Evaluator.compile_active`; one query, whatever the rules' number.

        Programs live in the session that compiled them: a session of the pool that
        has not seen a rule yet compiles it at the first evaluation.
        """
        with self._session.transaction("compile active rules") as cursor:
            cursor.execute(COMPILE_ACTIVE, (self._session.tenant_id,))
            rows = cursor.fetchall()
        return [
            BrokenRule(rule_id, name, tuple(problem_from(*row[2:]) for row in found))
            for (rule_id, name), found in groupby(rows, key=lambda row: row[:2])
        ]


def _only_row(cursor: Rows, operation: str, rule_id: UUID) -> tuple[Any, ...]:
    """The row of the rule that the query was about; raises `RuleNotFound`."""
    row = cursor.fetchone()
    if row is None:
        raise RuleNotFound(operation=operation, subject=rule_id)
    return row


def _rule(row: tuple[Any, ...]) -> Rule:
    identity, name, expression, active, created_at, updated_at = row
    return Rule(
        identity,
        name,
        expression,
        active=active,
        created_at=created_at,
        updated_at=updated_at,
    )


def _facts(facts: Mapping[str, object], operation: str, subject: object = "") -> str:
    """The facts as JSON text; raises `InvalidFacts` before a connection is taken."""
    with translated(operation, subject):
        return facts_to_json(facts)


def _results(rows: Iterable[tuple[Any, ...]]) -> list[EvaluationResult]:
    return [
        EvaluationResult(
            rule_id, name, matched, error, None if trace is None else json.loads(trace)
        )
        for rule_id, name, matched, error, trace in rows
    ]


def _with_problems(
    session: TenantSession, error: CompilationError, expression: str
) -> CompilationError:
    """The error with the problems of the expression, in the language's own words.

    They are asked for afterwards, because a refusal of the database carries text
    alone; if this fails too, that text has to do.
    """
    with (
        suppress(PgRulesError),
        session.transaction(error.operation, error.subject) as cursor,
    ):
        cursor.execute(PROBLEMS, (expression,))
        problems = [problem_from(*row) for row in cursor.fetchall()]
        if not problems:
            return error
        refusal = InvalidExpression(problems)
        return type(error)(
            refusal.message,
            problems=problems,
            operation=error.operation,
            subject=error.subject,
            detail=refusal.detail,
            sqlstate=error.sqlstate,
        )
    return error
