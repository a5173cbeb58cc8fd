"""Which of many rules are true of each of many facts, at the database's door."""

import json
from typing import Any

import pytest

from pgrules.cel import backend
from pgrules.cel.facts import parse_facts

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
    candidates: list[tuple[int | None, int]] | None = None,
) -> list[tuple[int, int]]:
    """The matches as pairs of element and rule, whose id is its number in words."""
    elements, rules, failure = backend.match_batch(
        [f"rule {number}" for number in range(1, len(expressions) + 1)],
        expressions,
        "{}",
        batch,
        None if candidates is None else [element for element, _ in candidates],
        None if candidates is None else [f"rule {rule}" for _, rule in candidates],
    )
    assert failure is None
    assert elements is not None
    assert rules is not None
    return list(zip(elements, rules, strict=True))


def test_without_candidates_every_rule_is_tried_over_every_element() -> None:
    assert pairs([LATE, STORM], FLIGHTS) == [(1, 1), (1, 2), (2, 2), (3, 1)]


def test_a_candidate_without_an_element_is_tried_over_each() -> None:
    assert pairs([LATE, STORM], FLIGHTS, [(None, 2)]) == [(1, 2), (2, 2)]


def test_a_candidate_is_tried_over_its_element_alone() -> None:
    assert pairs([LATE, STORM], FLIGHTS, [(1, 1), (2, 2)]) == [(1, 1), (2, 2)]
    assert pairs([LATE, STORM], FLIGHTS, [(2, 1), (3, 2)]) == []
    assert pairs([LATE, STORM], FLIGHTS, []) == []


def test_a_candidate_that_is_no_rule_any_more_is_left_out() -> None:
    """The index may have rules that were deleted or switched off."""
    assert pairs([LATE], FLIGHTS, [(1, 7), (None, 8), (1, 1)]) == [(1, 1)]


def test_matches_are_in_the_order_of_the_rules_wherever_they_come_from() -> None:
    rules = [STORM, LATE, "true"]
    found = pairs(rules, FLIGHTS[:1], [(None, 3), (1, 1), (None, 2)])
    assert found == [(1, 1), (1, 2), (1, 3)]


def test_what_fails_is_no_boolean_or_does_not_compile_is_no_match() -> None:
    """EVAL-3, EVAL-4: and the others go on."""
    assert pairs([FAILING, NUMBER, BROKEN, LATE], FLIGHTS) == [(1, 4), (3, 4)]


@pytest.mark.parametrize("elements", [None, []])
def test_facts_that_are_refused_are_named_by_their_element(
    elements: list[int | None] | None,
) -> None:
    """Also where no rule would look at them."""
    found, rules, failure = backend.match_batch(
        [], [LATE], "{}", [*FLIGHTS, "[]", "7"], elements, []
    )
    assert (found, rules) == (None, None)
    assert failure is not None
    told = json.loads(failure)
    assert (told["sqlstate"], told["element"]) == ("RE030", 4)


def test_derived_fields_are_computed_for_each_element_anew() -> None:
    environment = json.dumps({"derived": {"Hours": "Flight.Delay / 60"}})
    elements, _, failure = backend.match_batch(
        None, ["Hours == 5", "Hours == 3"], environment, FLIGHTS, None, None
    )
    assert failure is None
    assert elements == [1, 3]


def test_facts_that_the_index_was_asked_for_are_decoded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that are large are decoded again, and nothing is kept afterwards."""
    texts: list[str] = []

    def counting(text: str) -> dict[str, Any]:
        texts.append(text)
        return parse_facts(text)

    monkeypatch.setattr("pgrules.cel.backend.parse_facts", counting)
    large = '{"Flight": {"Delay": 200, "Log": "%s"}}' % ("x" * 600_000)
    batch = [*FLIGHTS, large, large.replace("200", "300"), FLIGHTS[0]]
    backend.questions([], batch)
    assert pairs([LATE], batch) == [(1, 1), (3, 1), (4, 1), (5, 1), (6, 1)]
    assert texts == [*batch, batch[4], batch[5]]
    texts.clear()
    assert pairs([LATE], FLIGHTS) == [(1, 1), (3, 1)]
    assert texts == FLIGHTS


def test_without_facts_there_are_no_matches() -> None:
    assert pairs([LATE], []) == []


@pytest.mark.parametrize(
    ("ids", "elements", "candidates"),
    [
        (None, [1], ["rule 1"]),
        (["rule 1"], None, ["rule 1"]),
        (["rule 1"], [1], None),
    ],
)
def test_an_argument_that_memory_lacked_for_is_not_taken_for_none_given(
    ids: list[str] | None,
    elements: list[int | None] | None,
    candidates: list[str] | None,
) -> None:
    """PL/Python gives None for it; to go on would leave matches out."""
    found, rules, failure = backend.match_batch(
        ids, [LATE], "{}", FLIGHTS, elements, candidates
    )
    assert (found, rules) == (None, None)
    assert failure is not None
    assert json.loads(failure)["sqlstate"] == "53200"
