"""Rules in no engine's language, from which every engine's own form is written.

A rule here is a conjunction of clauses, each a fact against a constant: what all the
engines that are compared can say, each in the form that it is fastest in. That what
they say is the same is checked: the results are compared before anything is timed.
"""

from __future__ import annotations

import operator
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Facts: TypeAlias = dict[str, dict[str, Any]]
Scalar: TypeAlias = str | int
Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in", "has"]

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
}


@dataclass(frozen=True, slots=True)
class Clause:
    """``group.field operator value``; ``has`` takes no value."""

    group: str
    field: str
    operator: Operator
    value: Scalar | tuple[Scalar, ...] = ""

    def holds(self, facts: Facts) -> bool:
        """What the clause says of the facts; a field that is missing holds nothing."""
        group = facts.get(self.group, {})
        if self.field not in group:
            return False
        return self.operator == "has" or _COMPARE[self.operator](
            group[self.field], self.value
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that matches where all of its clauses hold."""

    id: str
    """A uuid, as text."""
    clauses: tuple[Clause, ...]

    def matches(self, facts: Facts) -> bool:
        """What every engine has to answer."""
        return all(clause.holds(facts) for clause in self.clauses)


ORDER: Final[Facts] = {
    "Customer": {
        "Id": "c7",
        "Age": 42,
        "Country": "DE",
        "Tier": "gold",
        "Orders": 17,
        "Since": "2019-05-01T00:00:00Z",
    },
    "Order": {
        "Total": 250,
        "Currency": "EUR",
        "Channel": "web",
        "Merchant": "m12",
        "Items": 3,
    },
}
"""The fact that rules on orders are evaluated with."""

_NUMBERS: Final = (
    ("Customer", "Age", 18, 90),
    ("Customer", "Orders", 0, 200),
    ("Order", "Total", 1, 2000),
    ("Order", "Items", 1, 30),
)
_NAMES: Final = (
    ("Customer", "Country", ("AT", "CH", "DE", "DK", "ES", "FR", "IT", "NL", "PL")),
    ("Customer", "Tier", ("bronze", "silver", "gold", "platinum")),
    ("Order", "Currency", ("CHF", "DKK", "EUR", "PLN", "USD")),
    ("Order", "Channel", ("app", "partner", "phone", "shop", "web")),
    ("Order", "Merchant", tuple(f"m{number}" for number in range(50))),
)


def rule_set(count: int, *, seed: int = 1) -> list[Rule]:
    """So many different rules, of which one in a hundred matches `ORDER`.

    At least one does. The same count and seed give the same rules.
    """
    chance = random.Random(seed)  # noqa: S311
    matching = {
        round((number + 0.5) * count / max(1, count // 100))
        for number in range(max(1, count // 100))
    }
    matching = {min(position, count - 1) for position in matching}
    return [
        _drawn(chance, wanted=position in matching, number=position)
        for position in range(count)
    ]


def subscriptions(count: int, *, matching: int = 10) -> Iterator[Rule]:
    """So many rules, of which ``matching`` match `ORDER`, however many there are.

    Nine of ten are of a customer, twice as many of each customer as match; the tenth
    looks for orders of a narrow range of totals, one of which is that of `ORDER`.
    """
    of_customer = 2 * (matching - 1)
    total = ORDER["Order"]["Total"]
    for number in range(count):
        rule_id = str(UUID(int=(1 << 96) + number, version=4))
        if number % 10 == 9:
            low = total if number == 9 else 10_000 + 10 * number
            yield Rule(
                rule_id,
                (
                    Clause("Order", "Total", ">=", low),
                    Clause("Order", "Total", "<", low + 10),
                ),
            )
            continue
        position = number - number // 10
        customer = 7 + position // of_customer
        least = 100 if position % of_customer < matching - 1 else 300
        yield Rule(
            rule_id,
            (
                Clause("Customer", "Id", "==", f"c{customer}"),
                Clause("Order", "Total", ">=", least),
            ),
        )


def _drawn(chance: random.Random, *, wanted: bool, number: int) -> Rule:
    while True:
        fields = chance.sample((*_NUMBERS, *_NAMES), chance.choice((2, 2, 3)))
        rule = Rule(
            str(UUID(int=chance.getrandbits(96) << 32 | number, version=4)),
            tuple(_clause(chance, field) for field in fields),
        )
        if rule.matches(ORDER) == wanted:
            return rule


def _clause(chance: random.Random, field: tuple[Any, ...]) -> Clause:
    group, name, *domain = field
    if len(domain) == 2:
        sign: Operator = chance.choice((">=", "<"))
        return Clause(group, name, sign, chance.randint(*domain))
    if chance.random() < 0.3:
        return Clause(group, name, "in", tuple(chance.sample(domain[0], 3)))
    return Clause(group, name, "==", chance.choice(domain[0]))
