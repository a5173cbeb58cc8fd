"""Four rules in this process: generated code, a lambda, and other CEL libraries.

A lambda does what the rule says without CEL's checks: the floor of what Python can do.
The peers are used as their documentation advises: compiled once, given the facts as a
dict or as JSON text, which each decodes with what it has for that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cel
import celpy
from cel_expr_python import cel as google
from celpy.adapter import CELJSONDecoder, json_to_cel

from pgrules.cel import compile_expression
from pgrules.cel.facts import parse_facts
from tests.benchmarks.measuring import Case, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.benchmarks.surroundings import Surroundings

    Facts = dict[str, Any]

FLOOR = "lambda"

FACTS: Facts = {
    "User": {
        "Age": 30,
        "Name": "Alice",
        "Country": "DE",
        "Tags": ["new", "verified"],
        "Address": {"Zip": "10115", "City": "Berlin"},
    },
    "Payment": {
        "Amount": 120.5,
        "Currency": "EUR",
        "Items": [{"Price": 1.5 * n, "Quantity": n} for n in range(1, 21)],
    },
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule in CEL and in Python; both are true of ``FACTS``."""

    name: str
    expression: str
    function: Callable[[Facts], bool]


RULES = (
    Rule("one comparison", "User.Age >= 18", lambda f: f["User"]["Age"] >= 18),
    Rule(
        "two clauses",
        "User.Age >= 18 && Payment.Amount > 100.0",
        lambda f: f["User"]["Age"] >= 18 and f["Payment"]["Amount"] > 100.0,
    ),
    Rule(
        "ten clauses",
        """
        User.Age >= 18 && User.Age < 65 && User.Country in ["DE", "FR", "NL"]
        && User.Name.startsWith("A") && has(User.Address)
        && User.Address.City == "Berlin" && Payment.Amount > 100.0
        && Payment.Currency == "EUR" && "verified" in User.Tags
        && User.Address.Zip != ""
        """,
        lambda f: (
            f["User"]["Age"] >= 18
            and f["User"]["Age"] < 65
            and f["User"]["Country"] in ["DE", "FR", "NL"]
            and f["User"]["Name"].startswith("A")
            and "Address" in f["User"]
            and f["User"]["Address"]["City"] == "Berlin"
            and f["Payment"]["Amount"] > 100.0
            and f["Payment"]["Currency"] == "EUR"
            and "verified" in f["User"]["Tags"]
            and f["User"]["Address"]["Zip"] != ""
        ),
    ),
    Rule(
        "exists and all over 20 items",
        """
        Payment.Items.exists(i, i.Quantity == 20)
        && Payment.Items.all(i, i.Price > 0.0)
        """,
        lambda f: (
            any(i["Quantity"] == 20 for i in f["Payment"]["Items"])
            and all(i["Price"] > 0.0 for i in f["Payment"]["Items"])
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Runner:
    """One way to evaluate a rule over a dict and over JSON text."""

    name: str
    of_dict: Callable[[Facts], object]
    of_text: Callable[[str], object]
    aim: str = ""


def workloads(_: Surroundings) -> Generator[Workload, None, None]:
    """The four rules, from a dict and from JSON text."""
    text = json.dumps(FACTS)
    cases: list[Case] = []
    for rule in RULES:
        for source, facts in (("dict", FACTS), ("JSON", text)):
            for runner in _runners(rule):
                run = runner.of_dict if source == "dict" else runner.of_text
                cases.append(
                    Case(
                        runner.name,
                        partial(_is_true, run, facts),
                        expected=True,
                        compared_to=None if runner.name == FLOOR else FLOOR,
                        aim=runner.aim if source == "dict" else "",
                        group=f"{rule.name}, from {source}",
                    )
                )
    yield Workload(
        "expressions",
        "Four rules in this process",
        tuple(cases),
        note=(
            "cel-expr-python is Google's runtime in C++, common-expression-language "
            "one in Rust, cel-python one in Python."
        ),
    )


def _is_true(run: Callable[[Any], object], facts: object) -> bool:
    return bool(run(facts))


def _runners(rule: Rule) -> Iterator[Runner]:
    function = rule.function
    yield Runner(FLOOR, function, lambda text: function(json.loads(text)))

    program = compile_expression(rule.expression)
    program.generate()
    evaluate = program.evaluate
    yield Runner(
        "pgrules", evaluate, lambda text: evaluate(parse_facts(text)), "at most 2"
    )

    variables = dict.fromkeys(FACTS, google.Type.DYN)
    expression = google.NewEnv(variables=variables).compile(rule.expression)
    yield Runner(
        "cel-expr-python",
        lambda facts: expression.eval(data=facts).value(),
        lambda text: expression.eval(data=json.loads(text)).value(),
    )

    compiled = cel.compile(rule.expression)
    yield Runner(
        "common-expression-language",
        compiled.execute,
        lambda text: compiled.execute(json.loads(text)),
    )

    environment: Any = celpy.Environment()
    interpreted = environment.program(environment.compile(rule.expression))
    yield Runner(
        "cel-python",
        lambda facts: interpreted.evaluate(json_to_cel(facts)),
        lambda text: interpreted.evaluate(json.loads(text, cls=CELJSONDecoder)),
    )
