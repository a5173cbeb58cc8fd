"""A value is of the type that inference found: generated code relies on it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import EvaluationError, InvalidExpression, compile_expression
from pgrules.cel.types import Type
from pgrules.cel.values import Optional, Uint, decode_key

FACTS = {"a": 1, "b": {"a": [1, "x", {"a": 2}]}, "c": [1, 2.0, "s"]}

_LEAVES = st.sampled_from(
    [
        "1", "2.5", "'x'", "true", "null", "[]", "{}", "1u", "b'q'", "a", "b", "c", "v",
        "w", "dyn(1)", "dyn('a')", "dyn([1])", "dyn({'a': 1})", "optional.none()",
        "optional.of(1)", "duration('1s')",
    ]
)  # fmt: skip


def _compound(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    forms = [
        "({} + {})", "({} * {})", "({} == {})", "({} < {})", "({} in {})", "({} && {})",
        "({} ? {} : {})", "[{}, {}]", "[?{}, {}]", "{{'a': {}, 'b': {}}}",
        "{{{}: {}}}", "{}[{}]", "[{}][0]", "{}.a", "{}.?a", "has({}.a)", "size({})",
        "{}.map(v, {})", "{}.filter(v, {})", "{}.exists(v, {})",
        "{}.transformMap(v, w, {})", "{}.transformList(v, w, {})", "{}.optMap(v, {})",
        "cel.bind(v, {}, {})", "{}.orValue({})",
    ]  # fmt: skip
    return st.sampled_from(forms).flatmap(
        lambda form: st.tuples(*[part] * form.count("{}")).map(
            lambda parts: form.format(*parts)
        )
    )


expressions = st.recursive(_LEAVES, _compound, max_leaves=12)

_PYTHON: dict[str, type] = {
    "bool": bool,
    "bytes": bytes,
    "double": float,
    "int": int,
    "list": list,
    "map": dict,
    "null_type": type(None),
    "string": str,
    "uint": Uint,
}


def has_type(value: Any, of: Type) -> bool:
    if of.name == "list":
        return type(value) is list and all(
            has_type(part, of.parameters[0]) for part in value
        )
    if of.name == "map":
        key, element = of.parameters
        return type(value) is dict and all(
            has_type(decode_key(name), key) and has_type(part, element)
            for name, part in value.items()
        )
    if of.name == "optional_type":
        return value is None or (
            type(value) is Optional
            and (not value.present or has_type(value.value, of.parameters[0]))
        )
    return of.name not in _PYTHON or type(value) is _PYTHON[of.name]


@settings(max_examples=1_000)
@given(expressions)
def test_a_value_is_of_the_type_that_was_inferred(text: str) -> None:
    try:
        program = compile_expression(text)
        value = program.interpret(FACTS)
    except (InvalidExpression, EvaluationError):
        return
    assert has_type(value, program.type), f"{program.type} is the type of {value!r}"


@pytest.mark.parametrize("text", ["['x'] + c", "c + ['x']", "[[1]] + [c]", "['x', c]"])
def test_what_is_joined_with_dyn_has_elements_of_any_type(text: str) -> None:
    program = compile_expression(text)
    assert has_type(program.interpret(FACTS), program.type), program.type
    assert compile_expression(f"({text})[0] == 1").interpret(FACTS) in (True, False)
