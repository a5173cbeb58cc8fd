"""What an application stores while servers are killed, and what it knows of it.

A register is something that has one value at a time, a number that never comes again:
a rule, several rules and a derived field that change together, a schema. What is in
the database says which number it has, and rules of that number match accordingly.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from pgrules import DerivedField, PostgresRuleStore, Rule, RuleNotFound

Value = int | None
"""None where it is not there."""


class TornError(Exception):
    """A part of a transaction is there, and another part is not."""


@dataclass
class Register(ABC):
    """One of them: the value that is known to be stored, and how often it changed."""

    value: Value = None
    versions: int = 0

    def stored(self, value: Value) -> None:
        """It is known that this value was stored."""
        self.value = value
        self.versions += 1

    @abstractmethod
    def write(self, store: PostgresRuleStore, value: Value) -> None:
        """Store a value, in one transaction."""

    @abstractmethod
    def read(self, store: PostgresRuleStore) -> Value:
        """The value that is stored; raises `TornError`."""

    def matching(self, age: int) -> set[UUID]:
        """The rules that match facts of this age."""
        del age
        return set()

    def entries(self) -> Iterator[tuple[UUID, int, str | None]]:
        """What the audit has of it: ids, how many entries, the expression at last."""
        return iter(())


@dataclass
class OneRule(Register):
    """A rule that matches from an age on."""

    id: UUID = field(default_factory=uuid4)

    def write(self, store: PostgresRuleStore, value: Value) -> None:
        """Add, change or delete it."""
        if value is None:
            store.delete(self.id)
            return
        rule = Rule(self.id, f"rule {self.id}", _from_age(value))
        if self.value is None:
            store.add(rule)
        else:
            store.update(rule)

    def read(self, store: PostgresRuleStore) -> Value:
        """See `Register.read`."""
        try:
            return _number(store.get(self.id).expression)
        except RuleNotFound:
            return None

    def matching(self, age: int) -> set[UUID]:
        """See `Register.matching`."""
        return {self.id} if self.value is not None and age >= self.value else set()

    def entries(self) -> Iterator[tuple[UUID, int, str | None]]:
        """See `Register.entries`."""
        expression = None if self.value is None else _from_age(self.value)
        yield self.id, self.versions, expression


@dataclass
class Together(Register):
    """Rules, and a derived field that they use, which change in one transaction."""

    ids: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(4)])
    field_id: UUID = field(default_factory=uuid4)

    @property
    def _name(self) -> str:
        return f"D{self.field_id.hex}"

    def _rule(self, rule_id: UUID, value: int) -> str:
        return f"{self._name} >= 0 && {value} > {self.ids.index(rule_id)}"

    def write(self, store: PostgresRuleStore, value: Value) -> None:
        """Add or change them all."""
        assert value is not None
        with store.transaction("store rules together") as connection:
            joined = PostgresRuleStore(connection, store.tenant_id)
            field = DerivedField(self.field_id, self._name, f"User.Age - {value}")
            rules = [
                Rule(rule_id, f"together {rule_id}", self._rule(rule_id, value))
                for rule_id in self.ids
            ]
            if self.value is None:
                joined.add_derived_field(field)
            else:
                joined.update_derived_field(field)
            for rule in rules:
                if self.value is None:
                    joined.add(rule)
                else:
                    joined.update(rule)

    def read(self, store: PostgresRuleStore) -> Value:
        """See `Register.read`."""
        with store.transaction("read rules together") as connection:
            joined = PostgresRuleStore(connection, store.tenant_id)
            rules = {rule.id: rule.expression for rule in joined.list_active()}
            fields = {found.id: found.expression for found in joined.derived_fields()}
        found = [_number(rules[each]) if each in rules else None for each in self.ids]
        derived = fields.get(self.field_id)
        values = {*found, None if derived is None else _number(derived)}
        if len(values) != 1:
            raise TornError(f"{self._name}: {found}, derived field {derived}")
        return values.pop()

    def matching(self, age: int) -> set[UUID]:
        """See `Register.matching`."""
        matches = self.value is not None and age >= self.value
        return set(self.ids) if matches else set()

    def entries(self) -> Iterator[tuple[UUID, int, str | None]]:
        """See `Register.entries`."""
        value = self.value
        for each in self.ids:
            expression = None if value is None else self._rule(each, value)
            yield each, self.versions, expression
        derived = None if value is None else f"User.Age - {value}"
        yield self.field_id, self.versions, derived


@dataclass
class ActiveSchema(Register):
    """The schema of a tenant; a value is a field of an object that rules do not use."""

    def write(self, store: PostgresRuleStore, value: Value) -> None:
        """Store a version, and make it the active one."""
        definition = {"User": {"Age": "int"}, "Mark": {f"N{value}": "int"}}
        assert store.set_schema(definition).failed == 0

    def read(self, store: PostgresRuleStore) -> Value:
        """See `Register.read`."""
        schema = store.schema()
        if schema is None:
            return None
        (mark,) = schema.definition["Mark"]
        return int(mark.removeprefix("N"))


def _from_age(value: int) -> str:
    return f"User.Age >= {value}"


def _number(expression: str) -> int:
    """The value in an expression of these rules and derived fields."""
    return next(int(word) for word in expression.split()[2:] if word not in {"0", "&&"})
