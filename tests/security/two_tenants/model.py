"""What one tenant has, in plain Python: what it must see after each of its steps.

A `State` knows of no other tenant. Each method does what one statement does, and gives
the rows of its answer; one that must fail raises `Refused` and leaves all as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from uuid import UUID

from tests.security.two_tenants.judgement import (
    Claim,
    Expression,
    Verdict,
    Wrong,
    compiles,
)

Row: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = list[Row]


class Refused(Exception):
    """The statement must fail with this SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class Anything:
    """Some text, of which only its being there is foretold."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "<some text>"


SOME_TEXT = Anything()


@dataclass(frozen=True)
class StoredRule:
    """A row of rules.rules."""

    name: str
    expression: Expression
    text: str
    active: bool

    def audited(self) -> dict[str, object]:
        """What the audit says of it."""
        return {"name": self.name, "active": self.active, "expression": self.text}


@dataclass(frozen=True)
class Version:
    """A version of a rule; without a rule it is a deletion."""

    operation: str
    rule: StoredRule | None
    moment: int
    """Which of the tenant's transactions made it."""


@dataclass(frozen=True)
class Definition:
    """A version of the schema."""

    document: Mapping[str, Mapping[str, str]]
    declared: frozenset[str]

    def audited(self, version: int, *, active: bool) -> dict[str, object]:
        """What the audit says of it."""
        return {"version": version, "active": active, "definition": self.document}


Environment: TypeAlias = tuple[frozenset[str] | None, Mapping[str, Expression]]


@dataclass
class State:
    """All that a tenant has, as one of its transactions sees it."""

    mark: str
    rules: dict[UUID, StoredRule] = field(default_factory=dict)
    """In the order of evaluation."""
    fields: dict[str, Expression] = field(default_factory=dict)
    schemas: list[Definition] = field(default_factory=list)
    active: int | None = None
    """The version of the schema in use, counted from 1."""
    changelog: Rows = field(default_factory=list)
    versions: dict[UUID, tuple[Version, ...]] = field(default_factory=dict)
    audit: list[tuple[str, str, object, object]] = field(default_factory=list)
    environments: dict[int, Environment] = field(default_factory=dict)
    """Those of earlier transactions that changed something."""
    claims: dict[int, tuple[float, str]] = field(default_factory=dict)
    matches: dict[tuple[int, UUID], str] = field(default_factory=dict)
    moment: int = 0

    def branch(self) -> State:
        """A copy to go on with; what is in it is never changed, only replaced."""
        branch = copy(self)
        branch.rules = dict(self.rules)
        branch.fields = dict(self.fields)
        branch.schemas = list(self.schemas)
        branch.changelog = list(self.changelog)
        branch.versions = dict(self.versions)
        branch.audit = list(self.audit)
        branch.environments = dict(self.environments)
        branch.claims = dict(self.claims)
        branch.matches = dict(self.matches)
        return branch

    def committed(self) -> State:
        """The state after the transaction that saw this one commits."""
        self.environments[self.moment] = (self.declared, dict(self.fields))
        self.moment += 1
        return self

    # What expressions mean to this tenant

    @property
    def declared(self) -> frozenset[str] | None:
        """The fields of the active schema."""
        return None if self.active is None else self.schemas[self.active - 1].declared

    def compiles(self, expression: Expression) -> bool:
        """Whether it compiles against schema and derived fields."""
        return compiles(expression, self.declared, self.fields, self.mark)

    def verdict(self, rule: StoredRule, claim: Claim | None) -> Verdict:
        """What a rule says about facts."""
        if not self.compiles(rule.expression):
            return None
        return rule.expression.judge(claim, self.fields, self.mark)

    def _rule(self, identity: UUID) -> StoredRule:
        if identity not in self.rules:
            raise Refused("RE010")
        return self.rules[identity]

    def _active_rules(self) -> Iterable[tuple[UUID, StoredRule]]:
        return ((key, rule) for key, rule in self.rules.items() if rule.active)

    # Rules

    def add(self, key: UUID, name: str, expression: Expression, active: bool) -> Rows:
        """INSERT."""
        self._check(expression)
        if key in self.rules:
            raise Refused("23505")
        self._check_name(name, but=None)
        rule = StoredRule(name, expression, expression.text(self.mark), active)
        self.rules[key] = rule
        self._record(key, None, rule)
        return [(key, name, rule.text, active)]

    def change(self, key: UUID, **changes: Any) -> Rows:
        """UPDATE of one rule by its id."""
        if key not in self.rules:
            return []
        old = self.rules[key]
        new = self._changed(old, **changes)
        self._check_name(new.name, but=key)
        self._put(key, new)
        return [(key, new.name, new.text, new.active)]

    def switch_all(self, active: bool) -> Rows:
        """UPDATE of all rules there are."""
        changed = {
            key: self._changed(rule, active=active) for key, rule in self.rules.items()
        }
        for key, rule in changed.items():
            self._put(key, rule)
        return [(key,) for key in changed]

    def upsert_by_id(
        self, key: UUID, name: str, expression: Expression, active: bool
    ) -> Rows:
        """INSERT ... ON CONFLICT (tenant_id, id) DO UPDATE."""
        self._check(expression)
        if key in self.rules:
            return self.change(key, name=name, expression=expression, active=active)
        return self.add(key, name, expression, active)

    def upsert_by_name(self, key: UUID, name: str, expression: Expression) -> Rows:
        """INSERT ... ON CONFLICT (tenant_id, name) DO UPDATE SET expression."""
        self._check(expression)
        for other, rule in self.rules.items():
            if rule.name == name:
                return self.change(other, expression=expression)
        return self.add(key, name, expression, active=True)

    def merge(self, key: UUID, name: str, expression: Expression) -> Rows:
        """MERGE by the id, which changes the expression of a rule that is there."""
        if key in self.rules:
            self.change(key, expression=expression)
        else:
            self.add(key, name, expression, active=True)
        return []

    def delete(self, wanted: Callable[[UUID, StoredRule], bool]) -> Rows:
        """DELETE of the rules that are wanted."""
        gone = [key for key, rule in self.rules.items() if wanted(key, rule)]
        for key in gone:
            self._record(key, self.rules.pop(key), None)
        return [(key,) for key in gone]

    def restore(self, key: UUID, number: int) -> Rows:
        """rules.restore_rule."""
        version = self._version(key, number)
        if version.rule is None:
            raise Refused("RE013")
        rule = version.rule
        return self.upsert_by_id(key, rule.name, rule.expression, rule.active)

    def _check(self, expression: Expression) -> None:
        if not self.compiles(expression):
            raise Refused("RE020")

    def _check_name(self, name: str, but: UUID | None) -> None:
        if any(r.name == name and key != but for key, r in self.rules.items()):
            raise Refused("23505")

    def _changed(self, old: StoredRule, **changes: Any) -> StoredRule:
        new = replace(old, **changes)
        new = replace(new, text=new.expression.text(self.mark))
        if new.text != old.text or new.active > old.active:
            self._check(new.expression)
        return new

    def _put(self, key: UUID, rule: StoredRule) -> None:
        old, self.rules[key] = self.rules[key], rule
        if rule.audited() != old.audited():
            self._record(key, old, rule)

    def _record(
        self, key: UUID, old: StoredRule | None, new: StoredRule | None
    ) -> None:
        operation = "insert" if old is None else "delete" if new is None else "update"
        former = self.versions.get(key, ())
        self.versions[key] = (*former, Version(operation, new, self.moment))
        before = old.audited() if old else None
        after = new.audited() if new else None
        self.audit.append(("rule", operation, before, after))

    # Schemas and derived fields

    def set_schema(self, definition: Definition | None, allow_broken: bool) -> Rows:
        """rules.set_schema; None is a definition that is none."""
        if definition is None:
            raise Refused("RE060")
        failed = self._failed(definition.declared, self.fields, allow_broken)
        self.schemas.append(definition)
        version = len(self.schemas)
        self._audit("schema", None, definition.audited(version, active=False))
        return self._switch(version, failed)

    def activate_schema(self, version: int, allow_broken: bool) -> Rows:
        """rules.activate_schema."""
        if not 0 < version <= len(self.schemas):
            raise Refused("RE011")
        declared = self.schemas[version - 1].declared
        failed = self._failed(declared, self.fields, allow_broken)
        return self._switch(version, failed)

    def add_field(self, name: str, expression: Expression) -> Rows:
        """INSERT of a derived field."""
        self._check_field(expression)
        if name in self.fields:
            raise Refused("23505")
        return self._set_fields({**self.fields, name: expression}, None, (name,))

    def change_field(self, name: str, expression: Expression) -> Rows:
        """UPDATE of the expression of a derived field."""
        if name not in self.fields:
            return []
        self._check_field(expression)
        former = self.fields[name]
        return self._set_fields(
            {**self.fields, name: expression}, (name, former), (name,)
        )

    def rename_field(self, name: str, new: str) -> Rows:
        """UPDATE of the name of a derived field."""
        if name not in self.fields:
            return []
        if new != name and new in self.fields:
            raise Refused("23505")
        former = self.fields[name]
        fields = {key: value for key, value in self.fields.items() if key != name}
        return self._set_fields({**fields, new: former}, (name, former), (new,))

    def delete_field(self, name: str) -> Rows:
        """DELETE of a derived field."""
        if name not in self.fields:
            return []
        fields = {key: value for key, value in self.fields.items() if key != name}
        return self._set_fields(fields, (name, self.fields[name]), None)

    def _check_field(self, expression: Expression) -> None:
        if isinstance(expression, Wrong):
            raise Refused("RE020")

    def _set_fields(
        self,
        fields: dict[str, Expression],
        former: tuple[str, Expression] | None,
        new: tuple[str] | None,
    ) -> Rows:
        self._failed(self.declared, fields, allow_broken=False)
        self.fields = fields
        before = former and self._audited_field(*former)
        after = new and self._audited_field(new[0], fields[new[0]])
        if before != after:
            self._audit("derived field", before, after)
        name = new[0] if new else former[0] if former else ""
        return [(name,)]

    def _audited_field(self, name: str, expression: Expression) -> dict[str, object]:
        return {"name": name, "expression": expression.text(self.mark)}

    def _failed(
        self,
        declared: frozenset[str] | None,
        fields: Mapping[str, Expression],
        allow_broken: bool,
    ) -> int:
        """How many rules a new environment breaks, if it may break any."""
        removed = self.fields.keys() - fields.keys()

        def works(expression: Expression) -> bool:
            return compiles(
                expression, declared, fields, self.mark
            ) and removed.isdisjoint(expression.names(self.mark))

        if not all(map(works, fields.values())) or self._is_cyclic(fields):
            raise Refused("RE061")
        broken = sum(not works(rule.expression) for _, rule in self._active_rules())
        if broken and not allow_broken:
            raise Refused("RE062")
        return broken

    def _is_cyclic(self, fields: Mapping[str, Expression]) -> bool:
        used = {
            name: value.names(self.mark) & fields.keys()
            for name, value in fields.items()
        }
        while free := [name for name, names in used.items() if not names]:
            used = {
                name: names.difference(free)
                for name, names in used.items()
                if name not in free
            }
        return bool(used)

    def _switch(self, version: int, failed: int) -> Rows:
        former, self.active = self.active, version
        for number, active in ((former, False), (version, True)):
            if number is not None:
                schema = self.schemas[number - 1]
                self._audit(
                    "schema",
                    schema.audited(number, active=not active),
                    schema.audited(number, active=active),
                )
        compiled = len(list(self._active_rules())) + len(self.fields)
        self.changelog.append((former, version, compiled, failed))
        return self.changelog[-1:]

    def _audit(self, subject: str, before: object, after: object) -> None:
        operation = (
            "insert" if before is None else "delete" if after is None else "update"
        )
        self.audit.append((subject, operation, before, after))

    # A table of the user's, with the matches that a trigger records

    def put_claims(self, claims: Mapping[int, tuple[float, str]]) -> Rows:
        """INSERT or UPDATE."""
        self._forget(claims)
        self.claims.update(claims)
        for number, (amount, kind) in claims.items():
            claim = {"Amount": amount, "Kind": kind}
            for key, rule in self._active_rules():
                if self.verdict(rule, claim):
                    self.matches[number, key] = rule.name
        return [(number,) for number in claims]

    def add_claim(self, number: int, amount: float, kind: str) -> Rows:
        """INSERT."""
        if number in self.claims:
            raise Refused("23505")
        return self.put_claims({number: (amount, kind)})

    def raise_claims(self, amount: float) -> Rows:
        """UPDATE of all rows there are."""
        return self.put_claims(
            {number: (amount, kind) for number, (_, kind) in self.claims.items()}
        )

    def delete_claims(self, numbers: Iterable[int]) -> Rows:
        """DELETE."""
        gone = [number for number in numbers if number in self.claims]
        self._forget(gone)
        for number in gone:
            del self.claims[number]
        return [(number,) for number in gone]

    def _forget(self, numbers: Iterable[int]) -> None:
        gone = set(numbers)
        self.matches = {
            key: name for key, name in self.matches.items() if key[0] not in gone
        }

    # Questions

    def evaluate(self, key: UUID, claim: Claim | None) -> Rows:
        """rules.evaluate, and each row of rules.evaluate_batch."""
        rule = self._rule(key)
        return [_result(key, rule.name, self.verdict(rule, claim))]

    def evaluate_expression(self, expression: Expression, claim: Claim | None) -> Rows:
        """rules.evaluate_expression."""
        self._check(expression)
        verdict = expression.judge(claim, self.fields, self.mark)
        if verdict is None:
            raise Refused("RE040")
        return [(verdict,)]

    def evaluate_batch(self, key: UUID, claims: list[Claim | None]) -> Rows:
        """rules.evaluate_batch."""
        return [row for claim in claims for row in self.evaluate(key, claim)]

    def evaluate_all(self, claim: Claim | None) -> Rows:
        """rules.evaluate_all."""
        return [
            _result(key, rule.name, self.verdict(rule, claim))
            for key, rule in self._active_rules()
        ]

    def matching(self, claim: Claim | None) -> Rows:
        """rules.match_rules."""
        return [
            (key, rule.name)
            for key, rule in self._active_rules()
            if self.verdict(rule, claim)
        ]

    def matching_batch(self, claims: list[Claim | None]) -> Rows:
        """rules.match_rules_batch."""
        return [
            (number, *row)
            for number, claim in enumerate(claims, 1)
            for row in self.matching(claim)
        ]

    def explain(self, key: UUID, claim: Claim | None) -> Rows:
        """The first row of rules.explain_rule."""
        verdict = self.verdict(self._rule(key), claim)
        return [("error" if verdict is None else "value", verdict)]

    def cost(self, key: UUID) -> Rows:
        """rules.evaluation_cost, of which only the sign is known here."""
        self._check(self._rule(key).expression)
        return [(True,)]

    def claims_where(self, key: UUID) -> Rows:
        """Claims for which rules.matches is true."""
        if not self.claims:
            return []
        rule = self._rule(key)
        return [
            (number,)
            for number, (amount, kind) in sorted(self.claims.items())
            if self.verdict(rule, {"Amount": amount, "Kind": kind})
        ]

    def claims_matching(self, key: UUID) -> Rows:
        """rules.matching_rows: the table's columns take the place of the schema."""
        expression = self._rule(key).expression
        columns = frozenset({".Amount", ".Kind"})
        unread = [expression]
        while unread:
            read = unread.pop()
            if not compiles(read, columns, self.fields, self.mark):
                raise Refused("RE070")
            unread += [
                self.fields[name]
                for name in read.names(self.mark)
                if name in self.fields
            ]
        return [
            (number,)
            for number, (amount, kind) in sorted(self.claims.items())
            if expression.judge(
                {"Amount": amount, "Kind": kind}, self.fields, self.mark
            )
        ]

    def list_versions(self, key: UUID) -> Rows:
        """rules.rule_versions: number, operation, rule, and whether it is committed."""
        return [
            (number, version.operation, *_shown(version), version.moment < self.moment)
            for number, version in enumerate(self._versions(key), 1)
        ]

    def compare_versions(self, key: UUID, old: int, new: int) -> Rows:
        """rules.compare_rule_versions."""
        pairs = zip(
            ("name", "expression", "active"),
            _shown(self._version(key, old)),
            _shown(self._version(key, new)),
            strict=True,
        )
        return [(name, as_text(a), as_text(b)) for name, a, b in pairs if a != b]

    def evaluate_as_of(self, key: UUID, claim: Claim | None, number: int) -> Rows:
        """rules.evaluate_as_of for the time since which a version is in force."""
        versions = self._versions(key)
        if number > len(versions) or versions[number - 1].moment == self.moment:
            return []
        moment = versions[number - 1].moment
        rule = [v.rule for v in versions if v.moment <= moment][-1]
        if rule is None:
            raise Refused("RE012")
        declared, fields = self.environments[moment]
        verdict = None
        if compiles(rule.expression, declared, fields, self.mark):
            verdict = rule.expression.judge(claim, fields, self.mark)
        return [_result(key, rule.name, verdict)]

    def _versions(self, key: UUID) -> tuple[Version, ...]:
        if key not in self.versions:
            raise Refused("RE010")
        return self.versions[key]

    def _version(self, key: UUID, number: int) -> Version:
        versions = self._versions(key)
        if number > len(versions):
            raise Refused("RE013")
        return versions[number - 1]

    def list_rules(self, wanted: Callable[[UUID, StoredRule], bool]) -> Rows:
        """Rows of rules.rules."""
        return [
            (key, rule.name, rule.text, rule.active)
            for key, rule in self.rules.items()
            if wanted(key, rule)
        ]

    def list_schemas(self) -> Rows:
        """Rows of rules.schemas."""
        return [
            (number, schema.document, number == self.active)
            for number, schema in enumerate(self.schemas, 1)
        ]

    def list_fields(self) -> Rows:
        """Rows of rules.derived_fields."""
        return [
            (name, expression.text(self.mark))
            for name, expression in sorted(self.fields.items())
        ]

    def list_claims(self) -> Rows:
        """Rows of desk.claims."""
        return [
            (number, amount, kind)
            for number, (amount, kind) in sorted(self.claims.items())
        ]

    def list_matches(self) -> Rows:
        """Rows of desk.matches."""
        return [
            (number, key, name) for (number, key), name in sorted(self.matches.items())
        ]


def _result(key: UUID, name: str, verdict: Verdict) -> Row:
    return key, name, verdict is True, SOME_TEXT if verdict is None else None


def _shown(version: Version) -> Row:
    rule = version.rule
    return (rule.name, rule.text, rule.active) if rule else (None, None, None)


def as_text(value: object) -> str | None:
    """A name, an expression or a truth value as SQL makes text of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
