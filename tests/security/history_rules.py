"""The rules, schemas and derived fields of the history checker, and what they mean.

An oracle in plain Python that shares nothing with pgrules: a small family of
expressions whose verdict over some facts can be said in a line each, under every
environment that the sessions of ``history_sessions`` choose.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]

VALUES = range(8)


class CannotSay(Exception):
    """Evaluating fails, at compile time or later: no match, and an error."""


@dataclass(frozen=True)
class Environment:
    """What expressions are compiled against: the definition, and derived fields."""

    definition: Mapping[str, Any] | None
    derived: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """The form in which the product stores it."""
        document: dict[str, Any] = {}
        if self.definition is not None:
            document["schema"] = self.definition
        if self.derived:
            document["derived"] = self.derived
        return document


Read = Callable[[str], Any]

# Each with the names that it uses; the number in it is the one that varies.
FAMILY: dict[str, tuple[tuple[str, ...], Callable[[Read, int], bool]]] = {
    "Item.N == {}": (("Item.N",), lambda read, v: read("Item.N") == v),
    "Item.N >= {} && Item.N < {} + 2": (
        ("Item.N",),
        lambda read, v: v <= read("Item.N") < v + 2,
    ),
    "Item.N in [{}, {} + 3]": (
        ("Item.N",),
        lambda read, v: read("Item.N") - v in {0, 3},
    ),
    "Item.S.startsWith('t{}')": (
        ("Item.S",),
        lambda read, v: read("Item.S").startswith(f"t{v}"),
    ),
    "Item.N == {} || Item.S == 't{}x'": (
        ("Item.N", "Item.S"),
        lambda read, v: read("Item.N") == v or read("Item.S") == f"t{v}x",
    ),
    "Item.Price / Item.Count > {}": (
        ("Item.Price", "Item.Count"),
        lambda read, v: ratio(read) > v,
    ),
    "Item.Price == Item.Count + Item.Count && Item.N != {}": (
        ("Item.Price", "Item.Count", "Item.N"),
        lambda read, v: (
            read("Item.Price") == 2 * read("Item.Count") and read("Item.N") != v
        ),
    ),
    "1 / (Item.N - {}) >= 0": (
        ("Item.N",),
        lambda read, v: quotient(1, read("Item.N") - v) >= 0,
    ),
    "Limit == {}": (("Limit",), lambda read, v: read("Limit") == v),
    "Limit >= {} && Item.N != {}": (
        ("Limit", "Item.N"),
        lambda read, v: both(lambda: read("Limit") >= v, lambda: read("Item.N") != v),
    ),
    "Twice == {} + {}": (("Twice",), lambda read, v: read("Twice") == 2 * v),
    "IsBig && Item.N != {}": (
        ("IsBig", "Item.N"),
        lambda read, v: both(lambda: read("IsBig"), lambda: read("Item.N") != v),
    ),
}

DERIVED = {
    "Limit": {f"Item.N + {v}": (("Item.N",), v) for v in range(4)},
    "Twice": {
        "Limit * 2": (("Limit",), 2),
        "Item.N * 2": (("Item.N",), 2),
    },
    "IsBig": {f"Item.N > {v}": (("Item.N",), v) for v in range(1, 6)},
}


def ratio(read: Read) -> float:
    """CEL divides integers towards zero, and doubles as they are."""
    price, count = read("Item.Price"), read("Item.Count")
    return price / count if isinstance(price, float) else quotient(price, count)


def quotient(dividend: int, divisor: int) -> int:
    """Division of integers, towards zero; by zero it fails."""
    if divisor == 0:
        raise CannotSay
    size = abs(dividend) // abs(divisor)
    return size if (dividend < 0) == (divisor < 0) else -size


def both(left: Callable[[], bool], right: Callable[[], bool]) -> bool:
    """CEL's ``&&``: false on either side outweighs an error on the other."""
    failed = False
    for side in (left, right):
        try:
            if not side():
                return False
        except CannotSay:
            failed = True
    if failed:
        raise CannotSay
    return True


EXPRESSIONS = {
    text.replace("{}", str(v)): (names, meaning, v)
    for text, (names, meaning) in FAMILY.items()
    for v in VALUES
}


def declared(definition: Mapping[str, Any], path: str) -> bool:
    """Whether a schema has the field, or (for a name alone) the object."""
    first, _, field = path.partition(".")
    return field in definition.get(first, {})


def compiles(names: tuple[str, ...], environment: Environment) -> bool:
    """Without a schema every name may be a fact; with one it is declared or derived."""
    for name in names:
        if name in environment.derived:
            uses, _ = DERIVED[name][environment.derived[name]]
            if not compiles(uses, environment):
                return False
        elif environment.definition is not None and not declared(
            environment.definition, name
        ):
            return False
    return True


def read_from(facts: Facts, environment: Environment) -> Read:
    """How a name is read: a fact if there is one, else a derived field, else not."""

    def read(name: str) -> Any:
        if "." in name:
            return field(*name.split("."))
        if name in facts:
            return facts[name]
        if name not in environment.derived:
            raise CannotSay
        (used,), v = DERIVED[name][environment.derived[name]]
        operand = read(used)
        return {
            "Limit": lambda: operand + v,
            "Twice": lambda: operand * v,
            "IsBig": lambda: operand > v,
        }[name]()

    def field(name: str, part: str) -> Any:
        value = facts[name][part]
        declared = (environment.definition or {}).get(name, {}).get(part)
        return float(value) if declared == "float64" else value

    return read


def verdict(expression: str, environment: Environment, facts: Facts) -> bool | None:
    """What a rule says of facts; None is an error."""
    names, meaning, v = EXPRESSIONS[expression]
    if not compiles(names, environment):
        return None
    try:
        return meaning(read_from(facts, environment), v)
    except CannotSay:
        return None


def derived_expressions() -> Iterator[tuple[str, str]]:
    """Every derived field that there can be."""
    for name, expressions in DERIVED.items():
        for expression in expressions:
            yield name, expression


def every_facts(choose: random.Random) -> tuple[dict[str, Any], ...]:
    """Facts with each of the values, so that a rule that matches any is asked for."""
    values = choose.sample(VALUES, len(VALUES))
    return tuple(random_facts(choose, value) for value in values)


def random_facts(choose: random.Random, value: int) -> dict[str, Any]:
    """Facts of which the rules say this or that."""
    facts: dict[str, Any] = {
        "Item": {
            "N": value,
            "S": f"t{choose.choice(VALUES)}x",
            "Price": choose.randrange(1, 16),
            "Count": choose.randrange(1, 5),
        }
    }
    if choose.random() < 0.1:
        facts["Limit"] = choose.choice(VALUES)
    return facts


def random_definition(choose: random.Random, number: int) -> dict[str, Any]:
    """A schema; the number makes it differ from every other."""
    number_type = choose.choice(["int", "float64"])
    fields = {"N": "int", "S": "string", "Price": number_type, "Count": number_type}
    if choose.random() < 0.2:
        del fields[choose.choice(["S", "Price"])]
    return {"Item": fields, "Version": {f"V{number}": "int"}}


def random_expression(choose: random.Random) -> str:
    """An expression of the family."""
    return choose.choice(tuple(EXPRESSIONS))


def slot_of(name: str) -> int:
    """Which rule a name like ``r3 v17`` is of."""
    found = re.match(r"r(\d+) ", name)
    assert found is not None
    return int(found[1])
