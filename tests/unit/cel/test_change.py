"""What a change of the environment breaks."""

import json

import pytest

from pgrules.cel import InvalidExpression, compile_expression
from pgrules.cel.backend import check_environment
from pgrules.cel.change import broken, refuse_removed
from pgrules.cel.environment import Environment
from pgrules.cel.errors import InvalidDerivedFields


def environment(**derived: str) -> Environment:
    return Environment.from_json(json.dumps({"derived": derived}))


def failures(
    expressions: list[str], removed: set[str], **derived: str
) -> dict[int, InvalidExpression]:
    after = environment(**derived)
    return dict(
        broken(
            expressions,
            lambda text: compile_expression(text, after),
            frozenset(removed),
        )
    )


def test_every_expression_that_uses_a_removed_name_is_found_with_its_place() -> None:
    """DER-2."""
    found = failures(
        ["true", "goner && gone", "[1].exists(gone, gone > 1)", "x ||\n gone"], {"gone"}
    )
    places = {n: (p.line, p.column) for n, e in found.items() for p in e.problems}
    assert places == {1: (1, 10), 3: (2, 2)}
    assert found[1].problems[0].message == "it uses the derived field gone"


def test_an_expression_that_does_not_compile_is_found_whatever_was_removed() -> None:
    assert list(failures(["true", "1 +"], set())) == [1]


def test_every_derived_field_that_uses_a_removed_name_is_named() -> None:
    """DER-2."""
    with pytest.raises(InvalidDerivedFields) as caught:
        refuse_removed(
            environment(a="gone > 1", b="true", c="a && gone == 2"), frozenset({"gone"})
        )
    assert [(field.name, len(field.problems)) for field in caught.value.fields] == [
        ("a", 1),
        ("c", 1),
    ]
    assert "it uses the derived field gone" in caught.value.detail


def test_sql_gets_the_problems_of_each_failure() -> None:
    found, failure = check_environment('{"derived": {"a": "1"}}', ["gone"], ["gone"])
    assert failure is None
    assert found is not None
    assert json.loads(found) == [
        {
            "position": 1,
            "message": "line 1, column 1: it uses the derived field gone",
            "problems": [
                {
                    "line": 1,
                    "column": 1,
                    "message": "it uses the derived field gone",
                    "hint": "gone\n^\nkeep gone, or change what uses it first",
                }
            ],
        }
    ]


def test_sql_gets_a_failure_where_derived_fields_use_a_removed_name() -> None:
    found, failure = check_environment('{"derived": {"a": "gone"}}', ["gone"], [])
    assert found is None
    assert failure is not None
    assert json.loads(failure)["sqlstate"] == "RE061"
