"""Traces: the steps of an evaluation as a reader wants to see them."""

from __future__ import annotations

import json
from typing import Any

from pgrules.cel import Environment, compile_expression
from pgrules.cel.activation import activate, compile_derived
from pgrules.cel.trace import to_json


def trace(
    text: str, facts: dict[str, Any], environment: Environment | None = None
) -> list[dict[str, Any]]:
    environment = environment or Environment()
    program = compile_expression(text, environment)
    fields = compile_derived(environment)
    variables = activate(facts, fields, environment.limits.cost)
    _, _, steps = program.trace(variables)
    found: list[dict[str, Any]] = json.loads(to_json(steps))
    return found


class TestSteps:
    """EVAL-2: the values of sub-expressions, on request."""

    def test_stand_in_the_order_of_the_text_with_their_depth(self) -> None:
        steps = trace("a.x > 1 && !b", {"a": {"x": 2}, "b": False})
        assert [(s["depth"], s["expression"], s["value"]) for s in steps] == [
            (0, "a.x > 1 && !b", True),
            (1, "a.x > 1", True),
            (2, "a.x", 2),
            (1, "!b", True),
            (2, "b", False),
        ]

    def test_name_line_and_column(self) -> None:
        steps = trace("a &&\n  b", {"a": True, "b": True})
        assert [(s["line"], s["column"]) for s in steps] == [(1, 1), (1, 1), (2, 3)]

    def test_show_an_absorbed_error_beside_the_result(self) -> None:
        steps = trace("a.x == 1 || b", {"a": {}, "b": True})
        assert steps[0]["value"] is True
        assert steps[1]["error"] == "no such key: a.x"

    def test_say_what_a_short_circuit_skipped(self) -> None:
        steps = trace("a && b.c > 1", {"a": False, "b": {}})
        assert [s.get("skipped", False) for s in steps] == [False, False, True, True]

    def test_keep_the_brackets_of_what_they_enclose(self) -> None:
        steps = trace("(a || b) && c", {"a": True, "b": True, "c": True})
        assert [s["expression"] for s in steps][:2] == ["(a || b) && c", "(a || b)"]

    def test_leave_out_constants_and_the_bodies_of_macros(self) -> None:
        steps = trace("xs.map(x, x + 1) == [2]", {"xs": [1]})
        assert [s["expression"] for s in steps] == [
            "xs.map(x, x + 1) == [2]",
            "xs.map(x, x + 1)",
            "xs",
            "[2]",
        ]


class TestMacros:
    def test_exists_names_the_element_that_decided(self) -> None:
        assert trace("xs.exists(x, x > 1)", {"xs": [1, 2, 3]})[0]["decided_by"] == [2]

    def test_all_names_the_pair_that_decided(self) -> None:
        steps = trace("xs.all(i, x, x < 2)", {"xs": [1, 2, 3]})
        assert steps[0]["decided_by"] == [1, 2]

    def test_nothing_decided_where_every_element_was_needed(self) -> None:
        assert "decided_by" not in trace("xs.all(x, x > 0)", {"xs": [1]})[0]
        assert "decided_by" not in trace("xs.exists(x, x > 9)", {"xs": [1]})[0]


class TestDerivedFields:
    def test_come_with_their_expression(self) -> None:
        environment = Environment.from_json('{"derived": {"Adult": "User.Age >= 18"}}')
        steps = trace("Adult", {"User": {"Age": 20}}, environment)
        assert steps == [
            {
                "expression": "Adult",
                "line": 1,
                "column": 1,
                "depth": 0,
                "value": True,
                "derived": "User.Age >= 18",
            }
        ]


class TestLongValues:
    def test_are_shortened(self) -> None:
        steps = trace("size(s) + size(l) + size(m) > 0",
                      {"s": "x" * 999, "l": [0] * 99,
                       "m": {str(n): n for n in range(99)}})  # fmt: skip
        values = {s["expression"]: s["value"] for s in steps}
        assert values["s"] == "x" * 197 + "..."
        assert values["l"] == "list of 99"
        assert values["m"] == "map of 99"

    def test_that_are_deep_end_somewhere(self) -> None:
        value: Any = 1
        for _ in range(50):
            value = [value]
        assert trace("x", {"x": value})[0]["value"] == [[[["list of 1"]]]]


def test_an_optional_is_its_value_or_null() -> None:
    there = trace("a.?b.orValue(1) == 2", {"a": {"b": 2}})
    absent = trace("a.?b.orValue(1) == 2", {"a": {}})
    assert [step["value"] for step in there] == [True, 2, 2, {"b": 2}]
    assert [step["value"] for step in absent] == [False, 1, None, {}]


def test_long_bytes_are_shown_as_their_number() -> None:
    (_, step) = trace("bytes(a) != b'x'", {"a": "é" * 300})[:2]
    assert (step["expression"], step["value"]) == ("bytes(a)", "bytes of 600")
