"""Columns of a table as facts: environments made of them, and values when read."""

from __future__ import annotations

import json
from math import inf, isnan
from typing import Any

import pytest

from pgrules.cel import CelError, Environment, EvaluationError, InvalidExpression
from pgrules.cel.errors import InvalidEnvironment
from pgrules.cel.program import Program, compile_expression
from pgrules.cel.temporal import parse_duration, parse_timestamp

COLUMNS: dict[str, Any] = {
    "delay": "int",
    "gust": "double",
    "carrier": "string",
    "cancelled": "bool",
    "raw": "bytes",
    "departed": "timestamp",
    "taxi": "duration",
    "payload": "dyn",
    "tags": "list(string)",
    "gusts": "list(double)",
    "spot": {"unreadable": "point"},
}
DERIVED = {
    "Late": "delay > 10",
    "VeryLate": "Late && User.Age > 3",
    "Worst": "VeryLate || Late",
    "carrier": "'supplied by the column'",
}
NAMES = Environment.from_json(json.dumps({"columns": COLUMNS, "derived": DERIVED}))
FIELDS = Environment.from_json(json.dumps({"columns": COLUMNS, "object": "Flight"}))


def evaluate(text: str, environment: Environment = NAMES, **facts: Any) -> Any:
    """By closures and by generated code, which must agree."""
    program: Program = compile_expression(text, environment)
    outcomes: list[Any] = []
    for _ in range(2):
        try:
            outcomes.append(program.evaluate(facts))
        except EvaluationError as error:
            outcomes.append(error)
        program.generate()
    first, second = outcomes
    if isinstance(first, EvaluationError):
        assert str(first) == str(second)
        raise first
    assert first == second or (isnan(first) and isnan(second))
    return first


def refusal(text: str, environment: Environment = NAMES) -> InvalidExpression:
    with pytest.raises(InvalidExpression) as refused:
        compile_expression(text, environment)
    return refused.value


@pytest.mark.parametrize(
    ("column", "fact", "value"),
    [
        ("delay", 11, 11),
        ("gust", "45.5", 45.5),
        ("gust", 45, 45.0),
        ("gust", "1e+300", 1e300),
        ("gust", "123456789012345678901234567890.0000000001", 1.2345678901234568e29),
        ("gust", "-Infinity", -inf),
        ("carrier", "UA", "UA"),
        ("cancelled", False, False),
        ("raw", "AP8=", b"\x00\xff"),
        (
            "departed",
            "2013-01-01T05:17:00.000001Z",
            parse_timestamp("2013-01-01T05:17:00.000001Z"),
        ),
        ("taxi", "-5400.000000s", parse_duration("-1h30m")),
        ("payload", {"a": [1]}, {"a": [1]}),
        ("tags", ["a", None], ["a", None]),
        ("gusts", ["1.5", ["Infinity", None]], [1.5, [inf, None]]),
        ("delay", None, None),
        ("tags", None, None),
    ],
)
def test_a_column_becomes_a_value_of_its_type_when_it_is_read(
    column: str, fact: Any, value: Any
) -> None:
    for environment, text, facts in (
        (NAMES, column, {column: fact}),
        (FIELDS, f"Flight.{column}", {"Flight": {column: fact}}),
        (FIELDS, f"Flight['{column}']", {"Flight": {column: fact}}),
    ):
        found = evaluate(text, environment, **facts)
        assert (type(found), found) == (type(value), value)


def test_a_double_column_may_have_what_json_has_no_number_for() -> None:
    assert isnan(evaluate("gust", gust="NaN"))
    assert evaluate("gust == gust", gust="NaN") is False
    assert evaluate("gust > 10.0", gust="NaN") is False


@pytest.mark.parametrize(
    ("column", "fact"),
    [
        ("delay", "11"),
        ("gust", "1" + "0" * 400),
        ("gust", "a lot"),
        ("departed", "infinityZ"),
        ("departed", "0044-03-15T00:00:00 BCZ"),
        ("taxi", "1 mon"),
        ("gusts", "1.5"),
        ("gusts", [True]),
    ],
)
def test_a_value_beyond_its_type_is_an_error_that_names_the_column(
    column: str, fact: Any
) -> None:
    with pytest.raises(EvaluationError, match=f"{column} is declared"):
        evaluate(f"{column} == {column}", **{column: fact})


def test_a_null_column_equals_null_and_has_no_order() -> None:
    assert evaluate("delay == null", delay=None) is True
    assert evaluate("delay != 3", delay=None) is True
    with pytest.raises(EvaluationError):
        evaluate("delay < 3", delay=None)


def test_a_column_that_the_table_lacks_is_named_with_a_near_one() -> None:
    problem = refusal("delai > 3").problems[0]
    assert problem.message == "the rule needs a column delai, which the table lacks"
    assert problem.hint == "did you mean delay?"
    problem = refusal("Flight.delai > 3", FIELDS).problems[0]
    assert problem.message == "the rule needs a column delai, which the table lacks"
    assert problem.hint == "did you mean delay?"
    assert "needs a column User" in refusal("User.Age > 3").problems[0].message


def test_a_column_that_rules_cannot_read_is_named_with_its_type() -> None:
    expected = "the column spot has the type point, which rules cannot read"
    assert refusal("spot == spot").problems[0].message == expected
    assert refusal("Flight.spot == null", FIELDS).problems[0].message == expected
    assert refusal("has(Flight.spot)", FIELDS).problems[0].message == expected


def test_a_name_beside_the_object_gets_a_hint_of_where_columns_are() -> None:
    problem = refusal("boundary > 3", FIELDS).problems[0]
    assert problem.message == "unknown name boundary"
    assert problem.hint == "the columns of the table are the fields of Flight"


def test_columns_are_checked_by_their_types() -> None:
    problem = refusal("gust > 'a lot'").problems[0]
    assert problem.message == "cannot compare double with string"
    assert problem.hint == "the column gust is double"


def test_derived_fields_that_fit_the_table_are_kept() -> None:
    assert set(NAMES.derived) == {"Late"}
    assert NAMES.derived["Late"].type.name == "bool"


def test_one_that_does_not_fit_is_an_error_of_the_rules_that_use_it_only() -> None:
    assert refusal("VeryLate").problems[0].message == (
        "the derived field VeryLate does not fit the table: "
        "the rule needs a column User, which the table lacks"
    )
    assert "the derived field VeryLate does not" in refusal("Worst").problems[0].message


def test_a_column_supplies_the_derived_field_of_its_name() -> None:
    assert evaluate("carrier", carrier="UA") == "UA"


def test_an_object_of_columns_read_as_a_whole_has_those_that_can_be_read() -> None:
    facts = {"delay": 3, "gust": "NaN", "payload": {}, "spot": "(1,2)"}
    assert evaluate("size(Flight)", FIELDS, Flight=facts) == 3


def test_reading_text_and_lists_is_part_of_what_a_rule_can_cost() -> None:
    plain = compile_expression("delay == 1", NAMES).estimate
    for column in ("gust", "departed", "gusts"):
        costly = compile_expression(f"{column} == {column}", NAMES).estimate
        assert costly > plain + 100


@pytest.mark.parametrize(
    "document",
    [
        {"columns": {"a": "text"}},
        {"columns": {"a": {"type": "int"}}},
        {"columns": ["a"]},
        {"columns": {}, "object": 3},
        {"columns": {}, "schema": {"User": {"Age": "int"}}},
        {"object": "Flight"},
    ],
)
def test_other_documents_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidEnvironment):
        Environment.from_json(json.dumps(document))


def test_without_columns_nothing_can_be_read() -> None:
    environment = Environment.from_json('{"columns": {}}')
    assert evaluate("1 + 1", environment) == 2
    with pytest.raises(CelError):
        compile_expression("a", environment)
