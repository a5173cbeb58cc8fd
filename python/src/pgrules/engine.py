"""The engine: rules of one tenant, evaluated where they are.

A store that brings its own evaluator is used as it is, which for the database means
that rules are evaluated there. For any other store, rules are evaluated in this
process by the same language, see :mod:`pgrules.local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import NO_VERSIONS, CompilationError, NotSupported
from .local import LocalEvaluator
from .store import AuditedStore, EvaluatingStore, TenantStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from .cel import Problem
    from .model import (
        AuditEntry,
        BrokenRule,
        DerivedField,
        EvaluationResult,
        Rule,
        RuleVersion,
        Schema,
        SchemaChange,
        Subject,
        VersionDifference,
    )
    from .store import Evaluator, RuleStore


class Engine:
    """Evaluates and keeps the rules of one tenant. Safe to use from several threads.

    Building it compiles all active rules. Those that do not compile any more stand
    in `broken_rules`, and their results carry the reason; with `strict`, the engine
    is refused with a `CompilationError` that names them.

    Rules, schemas and derived fields may be changed through the engine, through the
    store, or by others in the database: every evaluation goes by what then is. A
    store of rules alone raises `NotSupported` for schemas, derived fields, versions
    and the audit.
    """

    def __init__(self, store: RuleStore, *, strict: bool = False) -> None:
        self._store = store
        self._evaluator: Evaluator = (
            store.evaluator()
            if isinstance(store, EvaluatingStore)
            else LocalEvaluator(store)
        )
        self._broken = tuple(self._evaluator.compile_active())
        if strict and self._broken:
            raise _refused(self._broken)

    @property
    def broken_rules(self) -> tuple[BrokenRule, ...]:
        """The active rules that did not compile when the engine was built."""
        return self._broken

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool = False
    ) -> EvaluationResult:
        """What the rule says about these facts.

        An evaluation that fails gives a result with `error`. With `trace`, the
        result has the values of the rule's sub-expressions. Raises `RuleNotFound`
        for an id that the tenant does not have, and `InvalidFacts`.
        """
        return self._evaluator.evaluate(rule_id, facts, trace=trace)

    def evaluate_as_of(
        self, rule_id: UUID | str, facts: Mapping[str, object], at: datetime
    ) -> EvaluationResult:
        """What the rule would have said about these facts at a time in the past.

        By the version of the rule, the schema and the derived fields that were in
        force then, in the language of today. Raises `InvalidArgument` for a time
        without a zone and for one in the future, `RuleNotFound` for a rule that there
        never was, `RuleNotInForce` for one that was not there at that time,
        `NotRecorded` for a time before the audit begins, and `InvalidFacts`.
        """
        return self._evaluator.evaluate_as_of(rule_id, facts, at)

    def evaluate_all(
        self, facts: Mapping[str, object], *, matched_only: bool = False
    ) -> list[EvaluationResult]:
        """One result for each active rule, oldest rule first.

        A rule that fails does not stop the others. With `matched_only`, the rules
        that match, and no others. Raises `InvalidFacts`.
        """
        return self._evaluator.evaluate_all(facts, matched_only=matched_only)

    def evaluate_batch(
        self, rule_id: UUID | str, batch: Iterable[Mapping[str, object]]
    ) -> list[EvaluationResult]:
        """What the rule says about each of many facts: one result for each, in order.

        An evaluation that fails gives a result with `error`, and the others go on.
        Raises `RuleNotFound`, and `InvalidFacts` that names the element, from 1.
        """
        return self._evaluator.evaluate_batch(rule_id, batch)

    def match_rules(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """The results of the active rules that match, oldest rule first.

        As `evaluate_all` with `matched_only`; but the database evaluates only rules
        that can match, which it finds by an index. Raises `InvalidFacts`.
        """
        return self._evaluator.match_rules(facts)

    def match_rules_batch(
        self, batch: Iterable[Mapping[str, object]]
    ) -> list[list[EvaluationResult]]:
        """What `match_rules` gives for each of many facts: a list for each, in order.

        One call, and one state of the rules for all. Raises `InvalidFacts` that names
        the element, from 1.
        """
        return self._evaluator.match_rules_batch(batch)

    def explain(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, width: int = 100
    ) -> str:
        """Why the rule says what it says, as a tree; see `EvaluationResult.explain`.

        Raises as `evaluate`.
        """
        return self.evaluate(rule_id, facts, trace=True).explain(width=width)

    def check(self, expression: str) -> list[Problem]:
        """Why this expression does not compile for this tenant; empty if it does.

        Each problem has line, column, message and hint. Nothing is stored. Raises
        `InvalidRule` for what is no text.
        """
        return self._evaluator.check(expression)

    def cost(self, rule_id: UUID | str, facts: Mapping[str, object]) -> int:
        """The cost units of evaluating the rule, of which 1,000,000 are the limit.

        Derived fields have a limit of their own and are not included. Raises
        `RuleNotFound`, `InvalidFacts`, and `CompilationError` for a rule that does
        not compile any more.
        """
        return self._evaluator.cost(rule_id, facts)

    def add_rule(self, rule: Rule) -> Rule:
        """Store a new rule, if it compiles; raises as `RuleStore.add`."""
        return self._store.add(rule)

    def update_rule(self, rule: Rule) -> Rule:
        """Replace a rule, if the new one compiles; raises as `RuleStore.update`."""
        return self._store.update(rule)

    def delete_rule(self, rule_id: UUID | str) -> None:
        """Remove a rule; raises `RuleNotFound`."""
        self._store.delete(rule_id)

    def rule_versions(self, rule_id: UUID | str) -> list[RuleVersion]:
        """The versions of a rule, also of a deleted one, oldest first.

        Raises `RuleNotFound` for a rule that there never was.
        """
        return self._audited("list versions of rule").rule_versions(rule_id)

    def compare_rule_versions(
        self, rule_id: UUID | str, old_version: int, new_version: int
    ) -> list[VersionDifference]:
        """What differs; raises as `AuditedStore.compare_rule_versions`."""
        return self._audited("compare versions of rule").compare_rule_versions(
            rule_id, old_version, new_version
        )

    def restore_rule(self, rule_id: UUID | str, version: int) -> Rule:
        """Go back to a version; raises as `AuditedStore.restore_rule`."""
        return self._audited("restore rule").restore_rule(rule_id, version)

    def audit_log(
        self,
        *,
        subject: Subject | None = None,
        subject_id: UUID | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """What was changed, newest first; see `AuditedStore.audit_log`."""
        return self._audited("read audit log").audit_log(
            subject=subject, subject_id=subject_id, since=since, until=until
        )

    def set_schema(
        self, definition: Mapping[str, object], *, allow_broken: bool = False
    ) -> SchemaChange:
        """Let a new schema be in force; raises as `TenantStore.set_schema`."""
        return self._tenant("set schema").set_schema(
            definition, allow_broken=allow_broken
        )

    def activate_schema(
        self, version: int, *, allow_broken: bool = False
    ) -> SchemaChange:
        """Go back to a version; raises as `TenantStore.activate_schema`."""
        return self._tenant("activate schema").activate_schema(
            version, allow_broken=allow_broken
        )

    def schema(self) -> Schema | None:
        """The schema in force, or None."""
        return self._tenant("get schema").schema()

    def schemas(self) -> list[Schema]:
        """All versions of the schema, oldest first."""
        return self._tenant("list schemas").schemas()

    def schema_changes(self) -> list[SchemaChange]:
        """All changes of the schema, oldest first."""
        return self._tenant("list schema changes").schema_changes()

    def add_derived_field(self, field: DerivedField) -> DerivedField:
        """Store a new derived field; raises as `TenantStore.add_derived_field`."""
        return self._tenant("add derived field").add_derived_field(field)

    def get_derived_field(self, name: str) -> DerivedField:
        """The derived field of this name; raises `DerivedFieldNotFound`."""
        return self._tenant("get derived field").get_derived_field(name)

    def derived_fields(self) -> list[DerivedField]:
        """All derived fields, oldest first."""
        return self._tenant("list derived fields").derived_fields()

    def update_derived_field(self, field: DerivedField) -> DerivedField:
        """Replace the one of this id; raises as `TenantStore.update_derived_field`."""
        return self._tenant("update derived field").update_derived_field(field)

    def delete_derived_field(self, name: str) -> None:
        """Remove the one of this name; raises as `TenantStore.delete_derived_field`."""
        self._tenant("delete derived field").delete_derived_field(name)

    def _tenant(self, operation: str) -> TenantStore:
        if isinstance(self._store, TenantStore):
            return self._store
        raise NotSupported(operation=operation)

    def _audited(self, operation: str) -> AuditedStore:
        if isinstance(self._store, AuditedStore):
            return self._store
        raise NotSupported(NO_VERSIONS, operation=operation)


def _refused(broken: tuple[BrokenRule, ...]) -> CompilationError:
    problems = [problem for rule in broken for problem in rule.problems]
    return CompilationError(
        f"{len(broken)} active rules do not compile",
        problems=problems,
        operation="build engine",
        detail="\n".join(map(str, broken)),
    )
