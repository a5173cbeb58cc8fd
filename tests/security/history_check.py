"""Whether what was read is what the snapshot allows.

Two comparisons, of which either finds what the other cannot: the rows of each statement
with what committed and its snapshot shows, and what its functions answered with what
those rows mean.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from uuid import UUID

from tests.security.history_log import History, Reading, environment_of
from tests.security.history_rules import (
    EXPRESSIONS,
    Environment,
    Facts,
    compiles,
    verdict,
)

# Questions that name a rule, or tell rules apart by their ids.
BY_ID = (
    *("evaluate", "matches", "evaluate_batch", "match_rules_batch"),
    *("count_matches", "matching_rows"),
)

# The rows of public.history_items.
ITEMS = [
    {
        "Item": {
            "N": n % 8,
            "S": f"t{n % 7}x",
            "Price": 1 + n % 15,
            "Count": 1 + n % 4,
        }
    }
    for n in range(60)
]


def wrong_rows(reading: Reading, history: History) -> Iterator[str]:
    """Where the rows are not what the snapshot has to show."""
    expected = history.state(
        reading.tenant, reading.snapshot, reading.until, reading.own
    )
    seen = reading.state()
    for key in sorted(expected.keys() | seen.keys()):
        if expected.get(key) != seen.get(key):
            yield f"{key} is {seen.get(key)}, not {expected.get(key)}"


def wrong_as_of(reading: Reading, history: History) -> Iterator[str]:
    """Where evaluating as of the present is not what had been committed."""
    if "evaluate_as_of" not in reading.answers:
        return
    answer = reading.answers["evaluate_as_of"]
    state = history.state(reading.tenant, reading.snapshot, reading.until)
    expected = judged_as_of(state, reading.rule, reading.facts[0])
    if answer not in expected:
        yield f"evaluate_as_of({reading.rule}) is {answer}, not {expected}"


def judged_as_of(state: dict[str, Any], rule: UUID, facts: Facts) -> list[object]:
    """What evaluate_as_of may answer where a state was in force."""
    stored = state.get(f"rule {rule}")
    if stored is None:
        return ["RE010", "RE012"]
    said = verdict(stored[1], environment_of(state), facts)
    return [[stored[0], said is True, said is not None]]


def wrong_answers(reading: Reading) -> Iterator[str]:
    """Where functions say another thing than the rows of the same snapshot mean."""
    environment = reading.environment
    document = environment.document()
    if reading.rows["document"] != document:
        yield f"the environment is {reading.rows['document']}, not {document}"
    expected = expected_answers(reading, environment)
    if shows_a_rule_twice(reading):
        for by_id in BY_ID:
            del expected[by_id]
    for question, answer in reading.answers.items():
        if question in expected and (answer or []) != (expected[question] or []):
            yield f"{question} is {answer}, not {expected[question]}"


def shows_a_rule_twice(reading: Reading) -> bool:
    """Whether one id has two rows, of which asking by id gives either.

    As the server has it in the upper isolation levels: another transaction deleted the
    rule after the snapshot was taken, which goes on to show it, and the own one
    inserted it again.
    """
    ids = [rule["id"] for rule in reading.rows["rules"]]
    return len(set(ids)) < len(ids)


def expected_answers(reading: Reading, environment: Environment) -> dict[str, Any]:
    """What the rows mean, question by question."""
    first = reading.facts[0]
    rules = reading.rows["rules"]
    active = [rule for rule in rules if rule["active"]]

    def says(rule: dict[str, Any], facts: Facts) -> bool | None:
        return verdict(rule["expression"], environment, facts)

    matching = [
        [rule["id"], rule["name"]] for rule in active if says(rule, first) is True
    ]
    expected: dict[str, Any] = {
        "evaluate_all": [result(rule, says(rule, first)) for rule in active],
        "evaluate_all, matched only": matching,
        "match_rules": matching,
        "match_rules_batch": [
            [number, rule["id"], rule["name"]]
            for number, facts in enumerate(reading.facts, 1)
            for rule in active
            if says(rule, facts) is True
        ],
        "evaluate": [result(rule, says(rule, first)) for rule in rules],
        "matches": [[rule["id"], says(rule, first)] for rule in rules],
        "evaluate_expression": tried(environment, first),
    }
    asked = [rule for rule in rules if rule["id"] == str(reading.rule)]
    batch: Any = "RE010"
    count: Any = "RE010"
    for rule in asked:
        batch = [
            [said is True, said is not None]
            for said in (says(rule, facts) for facts in reading.facts)
        ]
        count = counted(rule["expression"], environment.derived)
    expected["evaluate_batch"] = batch
    expected["count_matches"] = expected["matching_rows"] = count
    return expected


def result(rule: dict[str, Any], said: bool | None) -> list[object]:
    """A row of evaluate_all: id, name, matched, and whether there is no error."""
    return [rule["id"], rule["name"], said is True, said is not None]


def tried(environment: Environment, facts: Facts) -> object:
    """What evaluate_expression answers."""
    expression = "Item.Price / Item.Count > 3"
    if not compiles(EXPRESSIONS[expression][0], environment):
        return "RE020"
    return verdict(expression, environment, facts)


def counted(expression: str, derived: Mapping[str, str]) -> object:
    """How many of the table's rows match; or why that cannot be counted.

    Over columns, their types are the environment instead of the tenant's schema.
    """
    environment = Environment({"Item": ITEMS[0]["Item"]}, derived)
    if not compiles(EXPRESSIONS[expression][0], environment):
        return "RE070"
    return sum(verdict(expression, environment, item) is True for item in ITEMS)


def wrong_versions(
    history: History, tenant: UUID, rule: UUID, versions: list[Any]
) -> Iterator[str]:
    """Where the audit does not list what a rule was, one after the other."""
    expected = history.values(tenant, f"rule {rule}")
    changes = [now for before, now in pairwise([None, *expected]) if now != before]
    listed = [value for before, value in pairwise([None, *versions]) if value != before]
    if changes != listed:
        yield f"the versions of {rule} are {listed}, not {changes}"
