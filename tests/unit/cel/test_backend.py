"""The language at the database's door: what SQL gets for what it asks.

Nothing is raised here. The server's copy of this module is the same text; what it says
in SQL, pgTAP and the integration tests see.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgrules.cel import backend

SCHEMA = json.dumps({"schema": {"User": {"Age": "int"}}})
DERIVED = json.dumps({"derived": {"Adult": "User.Age >= 18"}})
TABLE = json.dumps(
    {
        "columns": {"age": "int", "name": "string", "born": "timestamp"},
        "derived": {"Adult": "age >= 18"},
    }
)


def state(failure: str | None) -> str:
    """The SQLSTATE of a failure."""
    assert failure is not None
    found: str = json.loads(failure)["sqlstate"]
    return found


def test_a_rule_is_evaluated_with_its_trace() -> None:
    matched, error, trace, failure = backend.evaluate("a > 1", "{}", '{"a": 2}', True)
    assert (matched, error, failure) == (True, None, None)
    assert trace is not None
    assert [step["value"] for step in json.loads(trace)] == [True, 2]


def test_an_evaluation_that_fails_is_an_answer_and_keeps_its_trace() -> None:
    matched, error, trace, failure = backend.evaluate(
        "1 / a > 1", "{}", '{"a": 0}', True
    )
    assert (matched, error) == (False, "line 1, column 3: divide by zero")
    assert failure is None
    assert "divide by zero" in (trace or "")
    assert backend.evaluate("a >", "{}", "{}", False)[0] is False


RULES: tuple[list[str], list[str], list[str]] = (
    ["1", "2", "3", "4"],
    ["adult", "young", "failing", "broken"],
    ["User.Age >= 18", "User.Age < 18", "User.Sum > 1", "User.Age >"],
)
FACTS = '{"User": {"Age": 34}}'


@pytest.mark.parametrize("key", [None, "a set"])
def test_a_rule_set_gives_a_result_for_each_rule(key: str | None) -> None:
    known, ids, names, matched, errors, failure = backend.evaluate_set(
        key, *RULES, "{}", FACTS, False
    )
    assert (known, ids, names, failure) == (True, RULES[0], RULES[1], None)
    assert matched == [True, False, False, False]
    assert errors is not None
    assert errors[:2] == [None, None]
    assert "no such key: User.Sum" in (errors[2] or "")
    assert "expression ends" in (errors[3] or "")


def test_a_rule_set_gives_the_matches_alone_if_asked() -> None:
    answer = backend.evaluate_set(None, *RULES, "{}", FACTS, True)
    assert answer == (True, ["1"], ["adult"], None, None, None)


def test_a_rule_set_is_found_under_its_key_in_its_environment() -> None:
    def kept(key: str | None, environment: str) -> object:
        known, ids, *_ = backend.evaluate_set(
            key, None, [], [], environment, FACTS, True
        )
        return ids if known else known

    assert kept("kept", "{}") is False
    backend.evaluate_set("kept", *RULES, "{}", FACTS, True)
    assert kept("kept", "{}") == ["1"]
    assert kept("kept", SCHEMA) is False
    assert kept(None, "{}") is False


def test_a_batch_has_errors_and_refusals_in_their_places() -> None:
    matched, errors, failure = backend.evaluate_batch(
        "1 / a > 0", "{}", ['{"a": 1}', '{"a": 0}', "[]", '{"a": 1}']
    )
    assert failure is None
    assert matched == [True, False, None, True]
    assert errors is not None
    assert errors[1] == "line 1, column 3: divide by zero"
    assert errors[2] == "invalid facts: a JSON object is expected, not an array"
    matched, errors, _ = backend.evaluate_batch("a >", "{}", ["{}", "{}"])
    assert matched == [False, False]
    assert errors is not None
    assert errors[0] == errors[1] is not None


def test_an_expression_that_is_no_rule_has_any_value() -> None:
    assert backend.evaluate_expression("[a, 2.0]", "{}", '{"a": 1}') == (
        "[1,2.0]",
        None,
    )
    assert state(backend.evaluate_expression("a", "{}", "{}")[1]) == "RE040"


def test_checking_tells_all_problems_and_an_estimate() -> None:
    assert backend.check("true", "{}")[::2] == ("[]", None)
    problems, estimate, failure = backend.check("nosuch(1) ||\n other(2)", "{}")
    assert estimate is None
    assert state(failure) == "RE020"
    assert problems is not None
    places = [(p["line"], p["column"]) for p in json.loads(problems)]
    assert places == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ('{"User": {"Age": "int"}}', None),
        ('{"User": {"Age": "integer"}}', "unknown type integer"),
        ('{"User": 7}', "a number"),
        ('{"User": ["Age"]}', "an array"),
        ('{"User": {"Age": {"type": "int"}}}', "an object"),
        ("[" * 100_000, "a JSON object of two levels"),
        ('{"User": {"Age": ' + "9" * 10_000 + "}}", "a JSON object of two levels"),
    ],
)
def test_a_schema_is_accepted_or_refused_with_the_reason(
    definition: str, says: str | None
) -> None:
    failure = backend.check_schema(definition)
    if says is None:
        assert failure is None
    else:
        assert state(failure) == "RE060"
        assert says in (failure or "")


def test_a_derived_field_reads_names() -> None:
    assert backend.derived_dependencies("b.c + a + b.d") == ('["b", "a"]', None)
    assert state(backend.derived_dependencies("a +")[1]) == "RE020"


def test_the_cost_is_told_also_of_what_fails() -> None:
    units, failure = backend.evaluation_cost("l.all(x, x > 0)", "{}", '{"l": [1, 2]}')
    assert failure is None
    assert units is not None
    assert units > backend.evaluation_cost("l.all(x, x > 0)", "{}", "{}")[0] > 0  # type: ignore[operator]


def test_the_columns_that_a_rule_reads_are_those_of_its_derived_fields_too() -> None:
    assert backend.reads("name == 'x' && Adult", TABLE) == (["age", "name"], None)
    assert backend.reads("true", TABLE) == ([], None)
    assert backend.reads("true", "{}") == ([], None)


CALLS: dict[str, tuple[Any, ...]] = {
    "evaluate": ("true", "{}", "[]", False),
    "evaluate_set": (None, *RULES, "{}", "[]", False),
    "evaluate_batch": ("true", '{"derived": {"A": "A"}}', ["{}"]),
    "evaluate_expression": ("true", "{}", "[]"),
    "evaluation_cost": ("true", "{}", "[]"),
    "access_keys": (["true"], '{"derived": {"A": "A"}}', []),
    "described_keys": ("true", '{"derived": {"A": "A"}}'),
    "match_batch": (["1"], ["true"], "{}", ["[]"], None, None),
    "questions": ([], ["[]"]),
    "check": ("true", '{"derived": {"A": "A"}}'),
    "check_environment": ('{"derived": {"A": "A"}}', [], []),
    "derived_dependencies": ("a +",),
    "reads": ("a +", "{}"),
    "sql": ("a +", "{}", '{"facts": "facts"}'),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_cannot_be_answered_is_a_failure_and_nothing_else(name: str) -> None:
    *answer, failure = getattr(backend, name)(*CALLS[name])
    assert state(failure) in {"RE020", "RE030", "RE061"}
    assert not any(answer)


@pytest.mark.parametrize("name", CALLS)
def test_a_defect_is_a_failure_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is, the backend goes on, and the log says what to report."""

    def fail(*_: object, **__: object) -> Any:
        raise ZeroDivisionError("a bug")

    for inner in (
        *("_variables", "_rule_set", "_program", "_sound", "_taken", "_kept"),
        *("compile_expression", "parse_many"),
    ):
        monkeypatch.setattr(backend, inner, fail)
    monkeypatch.setattr(backend._environments, "compiled", fail)
    *answer, failure = getattr(backend, name)(*CALLS[name])
    assert state(failure) == "RE099"
    assert "ZeroDivisionError: a bug" in (failure or "")
    assert not any(answer)
