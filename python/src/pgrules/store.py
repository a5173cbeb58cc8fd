"""What a store promises, and what an evaluator does.

Rules alone make a store. One that also keeps the tenant's schemas and derived fields
is a `TenantStore`, one that also remembers what was changed an `AuditedStore`; both
stores of this package are.

A store that can evaluate by itself (the database does) says so by `evaluator`; for
any other store the engine evaluates in this process, see :mod:`pgrules.local`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

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


class RuleStore(Protocol):
    """The rules of one tenant. Safe to use from several threads.

    Every method is atomic: it does all it says, or raises and changes nothing.
    Errors are `PgRulesError`, name the operation and the rule's id, and keep their
    cause. Ids may be given as text; `InvalidRule` is raised if they are no UUID.
    """

    def add(self, rule: Rule) -> Rule:
        """Store a new rule and return it with the times that the store has set.

        Raises `DuplicateRuleId`, `DuplicateRuleName`, or `CompilationError` for
        an expression that does not compile.
        """
        ...

    def get(self, rule_id: UUID | str) -> Rule:
        """The rule of this id; raises `RuleNotFound`."""
        ...

    def list_active(self) -> list[Rule]:
        """All active rules, oldest first; rules of the same instant by id."""
        ...

    def update(self, rule: Rule) -> Rule:
        """Replace name, expression and `active` of the rule that has this id.

        Returns the rule as it is stored. Raises `RuleNotFound`,
        `DuplicateRuleName` or `CompilationError`; then the old rule stays in force.
        """
        ...

    def delete(self, rule_id: UUID | str) -> None:
        """Remove the rule of this id; raises `RuleNotFound`."""
        ...


@runtime_checkable
class TenantStore(RuleStore, Protocol):
    """The rules of one tenant, with the schemas and derived fields they may use.

    Rules and derived fields are compiled against the active schema. A change of it,
    or of derived fields, compiles all derived fields and active rules, and is refused
    as a whole if any of them would no longer compile.
    """

    def set_schema(
        self, definition: Mapping[str, object], *, allow_broken: bool = False
    ) -> SchemaChange:
        """Store a definition as the next version, and make it the active one.

        With `allow_broken`, active rules that no longer compile are no obstacle:
        they stay, do not match, and have the reason as their error; the change lists
        them. Raises `InvalidSchema` with all violations, `InvalidDerivedFields`, and
        `RulesBroken`.
        """
        ...

    def activate_schema(
        self, version: int, *, allow_broken: bool = False
    ) -> SchemaChange:
        """Make an earlier version the active one again.

        Raises `SchemaNotFound`, and what `set_schema` raises.
        """
        ...

    def schema(self) -> Schema | None:
        """The active version, or None: then every name may come from the facts."""
        ...

    def schemas(self) -> list[Schema]:
        """All versions, oldest first."""
        ...

    def schema_changes(self) -> list[SchemaChange]:
        """What was changed, by whom, when and with which failures, oldest first."""
        ...

    def add_derived_field(self, field: DerivedField) -> DerivedField:
        """Store a new derived field and return it with dependencies and times.

        Raises `DuplicateDerivedField`, `CompilationError` for an expression that
        does not compile by itself, `InvalidDerivedFields` for one that does not
        compile against the schema or depends on itself, and `RulesBroken`.
        """
        ...

    def get_derived_field(self, name: str) -> DerivedField:
        """The derived field of this name; raises `DerivedFieldNotFound`."""
        ...

    def derived_fields(self) -> list[DerivedField]:
        """All derived fields, oldest first; those of the same instant by id."""
        ...

    def update_derived_field(self, field: DerivedField) -> DerivedField:
        """Replace name and expression of the derived field that has this id.

        Raises `DerivedFieldNotFound` and what `add_derived_field` raises. A new name
        is refused while the old one is in use: `InvalidDerivedFields` and
        `RulesBroken` name the users.
        """
        ...

    def delete_derived_field(self, name: str) -> None:
        """Remove the derived field of this name.

        Raises `DerivedFieldNotFound`, or, while it is in use, `InvalidDerivedFields`
        or `RulesBroken`, which name the users.
        """
        ...


@runtime_checkable
class AuditedStore(RuleStore, Protocol):
    """The rules of one tenant, with who changed what, when, from what to what."""

    def rule_versions(self, rule_id: UUID | str) -> list[RuleVersion]:
        """The versions of a rule, also of a deleted one, oldest first.

        Raises `RuleNotFound` for a rule that there never was.
        """
        ...

    def compare_rule_versions(
        self, rule_id: UUID | str, old_version: int, new_version: int
    ) -> list[VersionDifference]:
        """Which of name, expression and `active` differ, in this order.

        Raises `RuleNotFound` and `RuleVersionNotFound`.
        """
        ...

    def restore_rule(self, rule_id: UUID | str, version: int) -> Rule:
        """Store an earlier version as the newest one, and return the rule.

        A deleted rule is there again under its id, as the newest in the order of
        `list_active`. Raises `RuleNotFound`, `RuleVersionNotFound`, also for a
        deletion, `CompilationError` for an expression that does not compile today,
        and `DuplicateRuleName` for a name that another rule has today.
        """
        ...

    def audit_log(
        self,
        *,
        subject: Subject | None = None,
        subject_id: UUID | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """What was changed, newest first, fetched while it is iterated over.

        Of all subjects or one, of all of them or the one with this id, changed at or
        after `since` and before `until`. Raises `InvalidArgument` for times without
        a zone.
        """
        ...


class Evaluator(Protocol):
    """Evaluates the rules of one store. Safe to use from several threads."""

    def evaluate(
        self, rule_id: UUID | str, facts: Mapping[str, object], *, trace: bool
    ) -> EvaluationResult:
        """What this rule, active or not, says about the facts."""
        ...

    def evaluate_as_of(
        self, rule_id: UUID | str, facts: Mapping[str, object], at: datetime
    ) -> EvaluationResult:
        """What the rule would have said about the facts at a time."""
        ...

    def evaluate_all(
        self, facts: Mapping[str, object], *, matched_only: bool
    ) -> list[EvaluationResult]:
        """One result for each active rule, in the order of `list_active`.

        With `matched_only`, those of the rules that match, and no others.
        """
        ...

    def evaluate_batch(
        self, rule_id: UUID | str, batch: Iterable[Mapping[str, object]]
    ) -> list[EvaluationResult]:
        """What this rule, active or not, says about each of many facts, in order."""
        ...

    def match_rules(self, facts: Mapping[str, object]) -> list[EvaluationResult]:
        """The results of the active rules that match, in the order of `list_active`."""
        ...

    def match_rules_batch(
        self, batch: Iterable[Mapping[str, object]]
    ) -> list[list[EvaluationResult]]:
        """What `match_rules` gives for each of many facts, in order."""
        ...

    def check(self, expression: str) -> list[Problem]:
        """Why this expression, which is no rule, does not compile; empty if it does."""
        ...

    def cost(self, rule_id: UUID | str, facts: Mapping[str, object]) -> int:
        """The cost units of one evaluation, whether it fails or not."""
        ...

    def compile_active(self) -> list[BrokenRule]:
        """Compile all active rules; returns those that do not compile."""
        ...


@runtime_checkable
class EvaluatingStore(Protocol):
    """A store that brings its own evaluator."""

    def evaluator(self) -> Evaluator:
        """The evaluator of the rules in this store."""
        ...
