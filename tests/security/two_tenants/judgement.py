"""A few kinds of expressions, with what they mean said once more in plain Python.

Nothing here is the product's: ``judge`` is what the database's answers are held to.
A verdict is True, False, or None where the evaluation is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeAlias

Verdict: TypeAlias = bool | None
Claim: TypeAlias = Mapping[str, object]
"""Facts under the name Claim."""

WORDS = ("car", "boat", "carpet")
FIELDS = ("Large", "Odd")
"""Names of derived fields that both tenants use; each has one of its own besides."""


class Expression(Protocol):
    """What a rule or a derived field says."""

    def text(self, mark: str) -> str:
        """The expression in CEL, for the tenant that has this mark."""
        ...

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        """What it says about a claim; None stands for facts that have none."""
        ...

    def names(self, mark: str) -> frozenset[str]:
        """Fields of the claim that it reads, as ``.Name``, and derived fields."""
        ...


def word(number: int, mark: str) -> str:
    """A word that both tenants use, or the one that is the tenant's own."""
    return WORDS[number] if number < len(WORDS) else mark


def field_name(number: int, mark: str) -> str:
    """A derived field's name that both tenants use, or the tenant's own."""
    return FIELDS[number] if number < len(FIELDS) else mark


@dataclass(frozen=True)
class Amount:
    """A comparison with a number."""

    operator: str
    limit: int

    def text(self, mark: str) -> str:
        return f"Claim.Amount {self.operator} {self.limit}.5"

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        if claim is None or "Amount" not in claim:
            return None
        amount = claim["Amount"]
        assert isinstance(amount, int | float)
        above = amount > self.limit + 0.5
        return above if self.operator == ">" else not above

    def names(self, mark: str) -> frozenset[str]:
        return frozenset({".Amount"})


@dataclass(frozen=True)
class Kind:
    """A comparison with words; one of them may be the tenant's own."""

    operator: str
    words: tuple[int, ...]

    def text(self, mark: str) -> str:
        words = [f'"{word(number, mark)}"' for number in self.words]
        match self.operator:
            case "in":
                return f"Claim.Kind in [{', '.join(words)}]"
            case "startsWith":
                return f"Claim.Kind.startsWith({words[0]})"
            case operator:
                return f"Claim.Kind {operator} {words[0]}"

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        if claim is None or "Kind" not in claim:
            return None
        kind = str(claim["Kind"])
        words = [word(number, mark) for number in self.words]
        match self.operator:
            case "in":
                return kind in words
            case "startsWith":
                return kind.startswith(words[0])
            case "==":
                return kind == words[0]
            case _:
                return kind != words[0]

    def names(self, mark: str) -> frozenset[str]:
        return frozenset({".Kind"})


@dataclass(frozen=True)
class Own:
    """Whether a claim has the field that only this tenant knows the name of."""

    def text(self, mark: str) -> str:
        return f"has(Claim.{mark})"

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        return None if claim is None else mark in claim

    def names(self, mark: str) -> frozenset[str]:
        return frozenset({f".{mark}"})


@dataclass(frozen=True)
class Derived:
    """A derived field; facts never have one of the name."""

    number: int

    def text(self, mark: str) -> str:
        return field_name(self.number, mark)

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        expression = fields.get(field_name(self.number, mark))
        return expression.judge(claim, fields, mark) if expression else None

    def names(self, mark: str) -> frozenset[str]:
        return frozenset({field_name(self.number, mark)})


@dataclass(frozen=True)
class Not:
    """The opposite."""

    one: Expression

    def text(self, mark: str) -> str:
        return f"!({self.one.text(mark)})"

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        verdict = self.one.judge(claim, fields, mark)
        return None if verdict is None else not verdict

    def names(self, mark: str) -> frozenset[str]:
        return self.one.names(mark)


@dataclass(frozen=True)
class Junction:
    """``&&`` or ``||``: one side can decide although the other is an error."""

    operator: str
    one: Expression
    other: Expression

    def text(self, mark: str) -> str:
        return f"({self.one.text(mark)}) {self.operator} ({self.other.text(mark)})"

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        verdicts = {side.judge(claim, fields, mark) for side in (self.one, self.other)}
        decides = self.operator == "||"
        if decides in verdicts:
            return decides
        return None if None in verdicts else not decides

    def names(self, mark: str) -> frozenset[str]:
        return self.one.names(mark) | self.other.names(mark)


@dataclass(frozen=True)
class Wrong:
    """What compiles for nobody."""

    def text(self, mark: str) -> str:
        return f'Claim.Kind == "{mark}" &&'

    def judge(
        self, claim: Claim | None, fields: Mapping[str, Expression], mark: str
    ) -> Verdict:
        raise AssertionError("it is never stored")

    def names(self, mark: str) -> frozenset[str]:
        return frozenset()


def compiles(
    expression: Expression,
    declared: frozenset[str] | None,
    fields: Mapping[str, Expression],
    mark: str,
) -> bool:
    """Whether it compiles: without a schema (None) every name may be among facts."""
    if isinstance(expression, Wrong):
        return False
    return declared is None or expression.names(mark) <= declared | fields.keys()


def random_expression(random: Random, depth: int = 2) -> Expression:
    """An expression; one in twenty is wrong."""
    if depth == 2 and random.random() < 0.05:
        return Wrong()
    if depth and random.random() < 0.3:
        one = random_expression(random, depth - 1)
        if random.random() < 0.2:
            return Not(one)
        other = random_expression(random, depth - 1)
        return Junction(random.choice(("&&", "||")), one, other)
    kind = random.random()
    if kind < 0.4:
        return Amount(random.choice((">", "<=")), random.randrange(6))
    if kind < 0.8:
        operator = random.choice(("==", "!=", "in", "startsWith"))
        return Kind(operator, (random.randrange(4), random.randrange(4)))
    if kind < 0.9:
        return Derived(random.randrange(3))
    return Own() if kind < 0.95 else Derived(0)
