"""Steps: who does what in which session, as data that says it without a database.

What a step is about is said by numbers: the third name is the same for both tenants,
the fifth each has for itself. `Side` makes values of them for one of the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from tests.security.two_tenants.judgement import (
    Claim,
    Expression,
    field_name,
    random_expression,
    word,
)
from tests.security.two_tenants.model import Definition

SESSIONS = 3
"""Sessions of an application's pool, for both tenants; a number more is the login
that is bound to the tenant."""

SHARED_RULES = tuple(UUID(f"00000000-0000-4000-8000-00000000000{n}") for n in range(4))
SECRET_RULES = tuple(
    tuple(UUID(f"00000000-0000-4000-9000-{side}0000000000{n}") for n in range(2))
    for side in range(2)
)
"""Ids that a tenant uses by itself, and that the other one guesses."""

SHARED_NAMES = ("large", "odd one", "none's")


@dataclass(frozen=True)
class Facts:
    """Facts about a claim; each part may be missing."""

    claim: bool
    amount: float | None
    word: int | None
    own: bool


@dataclass(frozen=True)
class Step:
    """One thing that one of the two tenants does.

    It has a value for all that any kind of operation may need; each kind takes some.
    """

    side: int
    session: int
    kind: str
    guarded: bool
    """Whether a failure is undone by a savepoint, or ends the transaction."""
    rule: int
    name: int
    other_name: int
    expression: Expression
    active: bool
    allow_broken: bool
    facts: Facts
    more_facts: Facts
    version: int
    other_version: int
    definition: int
    field: int
    other_field: int
    claim: int
    amount: int
    word: int


def random_step(random: Random, weights: dict[str, int]) -> Step:
    """A step, of kinds as often as the weights say."""
    (kind,) = random.choices(list(weights), list(weights.values()))
    return Step(
        side=random.randrange(2),
        session=min(random.randrange(5), SESSIONS),
        kind=kind,
        guarded=random.random() < 0.8,
        rule=random.choice((0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 6, 7)),
        name=random.randrange(5),
        other_name=random.randrange(5),
        expression=random_expression(random),
        active=random.random() < 0.8,
        allow_broken=random.random() < 0.3,
        facts=_random_facts(random),
        more_facts=_random_facts(random),
        version=random.choice((1, 1, 2, 2, 3, 4)),
        other_version=random.choice((1, 2, 2, 3)),
        definition=random.randrange(4),
        field=random.randrange(3),
        other_field=random.randrange(3),
        claim=random.randrange(4),
        amount=random.randrange(7),
        word=random.randrange(4),
    )


def _random_facts(random: Random) -> Facts:
    amount = random.choice((None, random.randrange(7), random.randrange(7) + 0.25))
    number = random.choice((None, 0, 1, 2, 3))
    return Facts(random.random() < 0.95, amount, number, random.random() < 0.2)


@dataclass(frozen=True)
class Side:
    """One of the two tenants."""

    number: int
    tenant: UUID
    other: UUID
    mark: str
    """A name that stands in all that the tenant does not share, and nowhere else."""

    def rule(self, number: int) -> UUID:
        """An id of both, of this tenant, or (the last two) of the other one."""
        if number < len(SHARED_RULES):
            return SHARED_RULES[number]
        whose, which = divmod(number - len(SHARED_RULES), 2)
        return SECRET_RULES[self.number ^ whose][which]

    def name(self, number: int) -> str:
        """A rule's name."""
        if number < len(SHARED_NAMES):
            return SHARED_NAMES[number]
        return f"{self.mark} {number}"

    def claim(self, facts: Facts) -> Claim | None:
        """The claim that facts have."""
        if not facts.claim:
            return None
        claim: dict[str, object] = {}
        if facts.amount is not None:
            claim["Amount"] = facts.amount
        if facts.word is not None:
            claim["Kind"] = word(facts.word, self.mark)
        if facts.own:
            claim[self.mark] = self.mark
        return claim

    def definition(self, number: int) -> Definition | None:
        """A schema: of both, with a field of the own, without words, or wrong."""
        fields = {"Amount": "float64", "Kind": "string"}
        if number == 1:
            fields[self.mark] = "string"
        elif number == 2:
            del fields["Kind"]
        elif number == 3:
            return None
        declared = frozenset(f".{name}" for name in fields)
        return Definition({"Claim": fields}, declared)


class Values:
    """What the numbers of a step are for its tenant."""

    def __init__(self, step: Step, side: Side) -> None:
        self.rule = side.rule(step.rule)
        self.name = side.name(step.name)
        self.other_name = side.name(step.other_name)
        self.expression = step.expression
        self.active = step.active
        self.allow_broken = step.allow_broken
        self.facts = side.claim(step.facts)
        self.batch = [self.facts, side.claim(step.more_facts)]
        self.version = step.version
        self.other_version = step.other_version
        self.definition = side.definition(step.definition)
        self.field = field_name(step.field, side.mark)
        self.other_field = field_name(step.other_field, side.mark)
        self.claim = step.claim
        self.amount = step.amount + 0.25
        self.word = word(step.word, side.mark)
        self.side = side

    def documents(self) -> list[dict[str, object]]:
        """The facts, as they are given to the package."""
        return [{"Claim": claim} if claim is not None else {} for claim in self.batch]

    def document(self) -> Mapping[str, object]:
        """The schema, which may be none."""
        if self.definition is None:
            return {"Claim": {self.side.mark: "nope"}}
        return self.definition.document

    def parameters(self) -> dict[str, Any]:
        """The same for a statement."""
        side = self.side
        documents = [json.dumps(document) for document in self.documents()]
        return {
            "mine": side.tenant,
            "other": side.other,
            "rule": self.rule,
            "name": self.name,
            "other_name": self.other_name,
            "expression": self.expression.text(side.mark),
            "active": self.active,
            "allow_broken": self.allow_broken,
            "facts": documents[0],
            "batch": documents,
            "version": self.version,
            "other_version": self.other_version,
            "definition": json.dumps(self.document()),
            "field": self.field,
            "other_field": self.other_field,
            "claim": self.claim,
            "amount": self.amount,
            "word": self.word,
        }
