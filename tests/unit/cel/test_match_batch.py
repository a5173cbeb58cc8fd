"""Which of many rules are true of each of many facts, at the database's door."""

import json

import pytest

from pgrules.cel import backend

LATE = "Flight.Delay >= 180"
STORM = "Weather.Gust > 45.0"
FAILING = "1 / Flight.Delay > 0"
NUMBER = "Flight.Delay"
BROKEN = "Flight.Delay >"

FLIGHTS = [
    '{"Flight": {"Delay": 200}, "Weather": {"Gust": 50.5}}',
    '{"Flight": {"Delay": 0}, "Weather": {"Gust": 50.5}}',
    '{"Flight": {"Delay": 300}, "Weather": {}}',
]


def pairs(
    expressions: list[str],
    batch: list[str],
    always: list[int],
    candidates: list[tuple[int, int]] | None = None,
) -> list[tuple[int, int]]:
    """The matches as pairs of element and rule."""
    elements, rules, failure = backend.match_batch(
        expressions,
        "{}",
        batch,
        always,
        [element for element, _ in candidates or []],
        [rule for _, rule in candidates or []],
    )
    assert failure is None
    assert elements is not None
    assert rules is not None
    return list(zip(elements, rules, strict=True))


def test_rules_for_every_element_are_tried_over_each() -> None:
    assert pairs([LATE, STORM], FLIGHTS, [1, 2]) == [(1, 1), (1, 2), (2, 2), (3, 1)]


def test_a_candidate_is_tried_over_its_element_alone() -> None:
    assert pairs([LATE, STORM], FLIGHTS, [], [(1, 1), (2, 2)]) == [(1, 1), (2, 2)]
    assert pairs([LATE, STORM], FLIGHTS, [], [(2, 1), (3, 2)]) == []
    assert pairs([LATE, STORM], FLIGHTS, []) == []


def test_matches_are_in_the_order_of_the_rules_wherever_they_come_from() -> None:
    rules = [STORM, LATE, "true"]
    found = pairs(rules, FLIGHTS[:1], [3, 2], [(1, 1)])
    assert found == [(1, 1), (1, 2), (1, 3)]


def test_what_fails_is_no_boolean_or_does_not_compile_is_no_match() -> None:
    """EVAL-3, EVAL-4: and the others go on."""
    rules = [FAILING, NUMBER, BROKEN, LATE]
    assert pairs(rules, FLIGHTS, [1, 2, 3, 4]) == [(1, 4), (3, 4)]


@pytest.mark.parametrize("always", [[], [1]])
def test_facts_that_are_refused_are_named_by_their_element(always: list[int]) -> None:
    """Also where no rule would look at them."""
    elements, rules, failure = backend.match_batch(
        [LATE], "{}", [*FLIGHTS, "[]", "7"], always, [], []
    )
    assert (elements, rules) == (None, None)
    assert failure is not None
    told = json.loads(failure)
    assert (told["sqlstate"], told["element"]) == ("RE030", 4)


def test_derived_fields_are_computed_for_each_element_anew() -> None:
    environment = json.dumps({"derived": {"Hours": "Flight.Delay / 60"}})
    elements, _, failure = backend.match_batch(
        ["Hours == 5", "Hours == 3"], environment, FLIGHTS, [1, 2], [], []
    )
    assert failure is None
    assert elements == [1, 3]


def test_without_facts_there_are_no_matches() -> None:
    assert pairs([LATE], [], [1]) == []
