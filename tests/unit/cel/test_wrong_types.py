"""What functions and operators say of values that they have no overload for.

The checker knows nothing of `dyn`, so it is asked of every function of the language at
run time, extensions included.
"""

from __future__ import annotations

from itertools import product

import pytest

from pgrules.cel import Environment
from pgrules.cel.signatures import parse_signature
from pgrules.cel.types import TypeVariable
from tests.unit.cel.evaluating import answer

# A value of each type that hardly any function takes, and one that many take.
VALUES = ("type(1)", "ip('::1')", "'1'", "[1]", "1")


def calls() -> list[str]:
    """Every function and method with `dyn` arguments that no signature of it takes."""
    functions = Environment().functions
    found = set()
    for name in functions:
        if not name.replace(".", "").isidentifier():
            continue
        for signature in functions[name].signatures:
            method, overload = parse_signature(signature)
            if not overload.parameters or any(
                type(parameter) is TypeVariable for parameter in overload.parameters
            ):
                continue
            values = [f"dyn({VALUES[0]})"] * len(overload.parameters)
            if method:
                found.add(f"{values[0]}.{name}({', '.join(values[1:])})")
            else:
                found.add(f"{name}({', '.join(values)})")
    return sorted(found)


@pytest.mark.parametrize("call", calls())
def test_a_function_refuses_what_it_has_no_overload_for(call: str) -> None:
    error = answer(call).error
    assert error is not None
    assert "no such overload" in str(error)


@pytest.mark.parametrize(
    "form",
    [
        "dyn({0}).charAt(dyn({1}))",
        "dyn({0}).indexOf('1', dyn({1}))",
        "dyn({0}).lastIndexOf(dyn({1}))",
        "dyn({0}).lastIndexOf('1', dyn({1}))",
        "dyn({0}).join(dyn({1}))",
        "regex.extract(dyn({0}), dyn({1})).hasValue()",
        "cidr('::/0').containsIP(dyn({0})) && cidr('::/0').containsCIDR(dyn({1}))",
        "dyn({0}).last() == dyn({1}).first()",
    ],
)
def test_whichever_of_two_arguments_is_wrong_all_evaluators_agree(form: str) -> None:
    """`answer` compares them; of 25 pairs some must be refused."""
    answers = [answer(form.format(*pair)) for pair in product(VALUES, VALUES)]
    assert any("no such overload" in str(found.error) for found in answers)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dyn(duration('3s')) - dyn(duration('1s')) == duration('2s')", True),
        ("dyn(timestamp(9)) - dyn(duration('4s')) == timestamp(5)", True),
        ("dyn(6u) / dyn(4u) == 1u", True),
    ],
)
def test_operators_know_the_types_that_are_found_late(text: str, value: object) -> None:
    assert answer(text).value is value


@pytest.mark.parametrize("right", ["'a'", "duration('1s')", "[1]", "true"])
def test_what_cannot_be_divided_is_named(right: str) -> None:
    error = answer(f"dyn({right}) / dyn({right})").error
    assert error is not None
    assert "no such overload" in str(error)
