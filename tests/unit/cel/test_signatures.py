"""Signatures of functions, from text to types."""

from __future__ import annotations

import pytest

from pgrules.cel import types
from pgrules.cel.environment import Environment
from pgrules.cel.signatures import candidates, parse_signature
from pgrules.cel.types import TypeVariable, list_of, map_of, optional_of
from tests.unit.cel.evaluating import named_type


def test_a_function_has_parameters_and_a_result() -> None:
    method, overload = parse_signature("(int, string) -> bool")
    assert not method
    assert overload.parameters == (types.INT, types.STRING)
    assert overload.result is types.BOOL


def test_a_methods_target_is_its_first_parameter() -> None:
    method, overload = parse_signature("timestamp.(string) -> int")
    assert method
    assert overload.parameters == (types.TIMESTAMP, types.STRING)


def test_a_function_may_have_no_parameters() -> None:
    _, overload = parse_signature("() -> timestamp")
    assert overload.parameters == ()


def test_a_capital_letter_is_one_type_parameter_throughout_a_signature() -> None:
    _, overload = parse_signature("(map(A, B), A) -> B")
    (key, value), parameter = overload.parameters[0].parameters, overload.parameters[1]
    assert key is parameter
    assert value is overload.result
    assert overload.variables == (key, value)


def test_type_parameters_of_two_signatures_are_different() -> None:
    _, first = parse_signature("(A) -> A")
    _, second = parse_signature("(A) -> A")
    assert first.result != second.result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", types.INT),
        ("duration", types.DURATION),
        ("google.protobuf.Timestamp", types.TIMESTAMP),
        ("null", types.NULL),
        ("dyn", types.DYN),
        ("list", list_of(types.DYN)),
        ("list(list(int))", list_of(list_of(types.INT))),
        ("map( string , double )", map_of(types.STRING, types.DOUBLE)),
        ("optional(int)", optional_of(types.INT)),
        ("net.IP", types.Type("net.IP")),
        ("tuple(int, uint)", types.Type("tuple", (types.INT, types.UINT))),
    ],
)
def test_a_type_is_read_by_its_name(text: str, expected: types.Type) -> None:
    assert named_type(text) == expected


def test_basic_types_are_the_same_objects_everywhere() -> None:
    """Generated code compares them by identity."""
    assert named_type("list(int)").parameters[0] is types.INT
    assert named_type("any") is types.DYN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        "() ->",
        "(int) -> int)",
        "list(int)",
        "int.(string) - int",
        "(list(int, int)) -> int",
        "(int(string)) -> bool",
        "(int,, int) -> int",
        "(int) -> bool int",
        "(?) -> int",
    ],
)
def test_a_malformed_signature_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="malformed signature"):
        parse_signature(text)


def test_candidates_are_those_of_the_form_of_a_call() -> None:
    signatures = ("(string) -> int", "string.() -> int", "string.(int) -> int")
    found = candidates(signatures, method=True, arguments=1)
    assert found is not None
    assert [o.parameters for o in found.overloads] == [(types.STRING, types.INT)]
    assert candidates(signatures, method=False, arguments=2) is None


def test_every_signature_of_the_language_can_be_read() -> None:
    functions = Environment().functions
    for name in functions:
        for signature in functions[name].signatures:
            parse_signature(signature)


def test_a_variable_is_equal_to_itself_only() -> None:
    one, other = TypeVariable("A"), TypeVariable("A")
    assert one != other
    assert list_of(one) != list_of(other)
    assert list_of(one) == list_of(one)
