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
        "Number": 5_000_000,
    },
}
"""The fact that rules on orders are evaluated with."""

_Field: TypeAlias = tuple[Any, ...]
_Form: TypeAlias = tuple[tuple[_Field, Operator], ...]

_NUMBERS: Final[tuple[_Field, ...]] = (
    ("Customer", "Age", 18, 90),
    ("Customer", "Orders", 0, 200),
    ("Order", "Total", 1, 2000),
    ("Order", "Items", 1, 30),
)
_NAMES: Final[tuple[_Field, ...]] = (
    ("Customer", "Country", ("AT", "CH", "DE", "DK", "ES", "FR", "IT", "NL", "PL")),
    ("Customer", "Tier", ("bronze", "silver", "gold", "platinum")),
    ("Order", "Currency", ("CHF", "DKK", "EUR", "PLN", "USD")),
    ("Order", "Channel", ("app", "partner", "phone", "shop", "web")),
    ("Order", "Merchant", tuple(f"m{number}" for number in range(50))),
)


def rule_set(count: int, *, forms: int = 40, seed: int = 1) -> list[Rule]:
    """So many rules, of which one in a hundred matches `ORDER`; at least one does.

    They are drawn from so many forms, which say what is compared and how; the rules
    of a form differ in their constants. The same arguments give the same rules.
    """
    chance = random.Random(seed)  # noqa: S311
    drawn = [_form(chance) for _ in range(forms)]
    wanted = max(1, count // 100)
    matching = {
        min(count - 1, (2 * n + 1) * count // (2 * wanted)) for n in range(wanted)
    }
    return [
        _of_a_form(chance, drawn, wanted=number in matching, number=number)
        for number in range(count)
    ]


def subscriptions(count: int, *, matching: int = 10) -> Iterator[Rule]:
    """So many rules, of which ``matching`` match `ORDER`, however many there are.

    Nine of ten are of a customer, twice as many of each customer as match. The tenth
    is of a narrow range of numbers; these ranges lie side by side, and the number of
    `ORDER` is in the midst of them.
    """
    of_customer = 2 * (matching - 1)
    ranges = count // 10
    width = 2 * ORDER["Order"]["Number"] // ranges
    for number in range(count):
        rule_id = str(UUID(int=(1 << 96) + number, version=4))
        if number % 10 == 9:
            low = number // 10 * width
            yield Rule(
                rule_id,
                (
                    Clause("Order", "Number", ">=", low),
                    Clause("Order", "Number", "<", low + width),
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


def _form(chance: random.Random) -> _Form:
    """Two or three fields, and how each is compared."""
    return tuple(
        (field, chance.choice((">=", "<") if field in _NUMBERS else ("==", "==", "in")))
        for field in chance.sample((*_NUMBERS, *_NAMES), chance.choice((2, 2, 3)))
    )


def _of_a_form(
    chance: random.Random, forms: list[_Form], *, wanted: bool, number: int
) -> Rule:
    identity = str(UUID(int=chance.getrandbits(96) << 32 | number, version=4))
    while True:
        form = chance.choice(forms)
        rule = Rule(identity, tuple(_clause(chance, *compared) for compared in form))
        if rule.matches(ORDER) == wanted:
            return rule


def _clause(chance: random.Random, field: _Field, sign: Operator) -> Clause:
    group, name, *domain = field
    if len(domain) == 2:
        return Clause(group, name, sign, chance.randint(*domain))
    if sign == "in":
        return Clause(group, name, sign, tuple(chance.sample(domain[0], 3)))
    return Clause(group, name, sign, chance.choice(domain[0]))
