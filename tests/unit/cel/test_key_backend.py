"""Access keys as the database asks for them: entries of rules, questions of facts."""

from __future__ import annotations

import json

from pgrules.cel import backend

SHAPE = '[null, [["value", 0, "a"]], null, ""]'


def test_entries_are_numbered_by_rule_and_shapes_are_those_that_are_new() -> None:
    rules, terms, lows, highs, shapes, failure = backend.access_keys(
        ["a == 1", "b >= 2 && b < 3", "true"], "{}", [SHAPE]
    )
    assert failure is None
    assert rules == [1, 2, 3]
    assert terms is not None
    assert terms[2] == 0
    assert lows is not None
    assert highs is not None
    assert (lows[0], highs[0]) == (None, None)
    assert lows[1] is not None
    assert highs[1] is not None
    assert lows[1] < highs[1]
    assert shapes is not None
    assert [json.loads(shape)[2:] for shape in shapes] == [
        [["value", 0, "b"], "number"]
    ]


def test_a_rule_that_does_not_compile_has_no_entries() -> None:
    schema = '{"schema": {"User": {"Age": "int"}}}'
    found = backend.access_keys(["User.Name == 'x'", "User.Age == 1"], schema, [])
    assert found[0] == [2]
    described = backend.described_keys("User.Name == 'x'", schema)
    assert described == ("never: it does not compile", None)


def test_shapes_of_a_transaction_that_was_undone_are_new_again() -> None:
    _, _, _, _, first, _ = backend.access_keys(["q.w == 1"], "{}", [])
    assert first is not None
    assert len(first) == 1
    *_, after_commit, _ = backend.access_keys(["q.w == 2"], "{}", first)
    assert after_commit == []
    *_, after_rollback, _ = backend.access_keys(["q.w == 2"], "{}", [])
    assert after_rollback == first


def test_facts_ask_for_what_the_shapes_look_at() -> None:
    _, terms, _, _, shapes, _ = backend.access_keys(["c == 1", "d < 5"], "{}", [])
    assert terms is not None
    assert shapes is not None
    elements, asked, above, _, _, below, _, _, failure = backend.questions(
        shapes, ['{"c": 1}', '{"d": 4, "x": 1}', "{}"]
    )
    assert failure is None
    assert (elements, asked) == ([1], [terms[0]])
    assert above + below == [2]


def test_facts_that_are_refused_are_named() -> None:
    *_, failure = backend.questions([], ["{}", "[]"])
    assert failure is not None
    assert json.loads(failure)["element"] == 2
    assert json.loads(failure)["sqlstate"] == "RE030"
