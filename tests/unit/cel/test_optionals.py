"""Optional values: syntax, functions, and what becomes of what is absent."""

from __future__ import annotations

import pytest

from pgrules.cel import InvalidExpression, compile_expression
from pgrules.cel.facts import value_to_json
from pgrules.cel.types import OPTIONAL
from pgrules.cel.values import Optional
from tests.unit.cel.evaluating import evaluate, fails

ORDER = {"customer": {"name": "Ada", "address": {"city": "London"}, "note": None}}


class TestSelection:
    def test_a_field_that_is_there_is_present(self) -> None:
        assert evaluate("order.?customer.hasValue()", order=ORDER) is True
        assert evaluate("order.?customer.name.value()", order=ORDER) == "Ada"

    def test_a_field_that_is_missing_is_absent(self) -> None:
        assert evaluate("order.?discount.hasValue()", order=ORDER) is False
        assert evaluate("order.?discount.orValue(5)", order=ORDER) == 5

    def test_what_follows_an_absent_field_is_absent_too(self) -> None:
        text = "order.?discount.code.region[0].orValue('none')"
        assert evaluate(text, order=ORDER) == "none"

    def test_what_follows_a_present_field_may_be_missing(self) -> None:
        text = "order.?customer.address.zip.orValue('?')"
        assert evaluate(text, order=ORDER) == "?"

    def test_null_is_a_value(self) -> None:
        assert evaluate("order.customer.?note.hasValue()", order=ORDER) is True
        assert evaluate("order.customer.?note.value() == null", order=ORDER) is True

    def test_a_scalar_has_no_fields_whether_optional_or_not(self) -> None:
        assert "has no fields" in fails("a.?b", a=1)
        assert "has no fields" in fails("a.?b.c", a={"b": 1})
        assert "has no fields" in fails("optional.of(a).b", a=1)

    def test_a_missing_name_is_an_error_all_the_same(self) -> None:
        assert "no such key: nobody" in fails("nobody.?name")

    def test_has_asks_whether_an_optional_has_the_field(self) -> None:
        assert evaluate("has(order.?customer.name)", order=ORDER) is True
        assert evaluate("has(order.?customer.age)", order=ORDER) is False
        assert evaluate("has(order.?discount.code)", order=ORDER) is False

    def test_has_of_an_optional_selection_says_what_to_write(self) -> None:
        with pytest.raises(InvalidExpression) as caught:
            compile_expression("has(a.?b)")
        assert "a.?b.hasValue()" in caught.value.hint

    def test_a_question_mark_before_the_dot_says_what_to_write(self) -> None:
        with pytest.raises(InvalidExpression) as caught:
            compile_expression("a?.b == 1")
        assert "a.?b" in caught.value.hint


class TestIndexes:
    def test_an_index_beyond_the_list_is_absent(self) -> None:
        assert evaluate("a[?1].value()", a=[1, 2]) == 2
        assert evaluate("a[?2].hasValue()", a=[1, 2]) is False
        assert evaluate("a[?-1].hasValue()", a=[1, 2]) is False

    def test_a_key_that_the_map_lacks_is_absent(self) -> None:
        assert evaluate("a[?'x'].value()", a={"x": 1}) == 1
        assert evaluate("a[?'y'].hasValue()", a={"x": 1}) is False
        assert evaluate("{1u: 'one'}[?dyn(a)].value()", a=1.0) == "one"

    def test_an_index_into_an_optional_is_optional(self) -> None:
        assert evaluate("optional.of(a)[0].value()", a=[7]) == 7
        assert evaluate("optional.of(a)[1].hasValue()", a=[7]) is False
        assert evaluate("optional.of(a)[?1].hasValue()", a=[7]) is False
        assert evaluate("optional.none()[0].hasValue()") is False

    def test_a_map_has_nothing_under_a_value_that_can_be_no_key(self) -> None:
        assert evaluate("a[?b].hasValue()", a={"x": 1}, b=[1]) is False
        assert evaluate("a[?b].hasValue()", a={"x": 1}, b=None) is False
        assert evaluate("optional.of(a)[b].hasValue()", a={"x": 1}, b={}) is False

    def test_an_index_of_a_wrong_type_is_an_error(self) -> None:
        assert "unsupported" in fails("a[?b]", a=[1], b="x")
        assert "no such overload" in fails("a[?0]", a=1)


class TestLiterals:
    def test_a_list_takes_the_values_that_are_present(self) -> None:
        assert evaluate("[1, ?a.?x, ?a.?y, 4]", a={"x": 2}) == [1, 2, 4]
        assert evaluate("[?optional.none()]") == []

    def test_a_map_takes_the_entries_that_are_present(self) -> None:
        assert evaluate("{'k': 1, ?'x': a.?x, ?'y': a.?y}", a={"x": 2}) == {
            "k": 1,
            "x": 2,
        }

    def test_what_stands_behind_a_question_mark_must_be_optional(self) -> None:
        assert "?" in fails("[?a]", a=1)
        assert "?" in fails("{?'x': a}", a=1)

    def test_a_key_may_not_be_there_twice(self) -> None:
        assert "repeated key" in fails("{'x': 1, ?'x': optional.of(2)}")


class TestFunctions:
    def test_or_takes_the_first_that_is_present(self) -> None:
        text = "a.?x.or(a.?y).or(a.?z).value()"
        assert evaluate(text, a={"y": 2, "z": 3}) == 2
        assert evaluate("a.?x.or(a.?y).hasValue()", a={}) is False

    def test_an_alternative_that_is_not_needed_is_not_evaluated(self) -> None:
        assert evaluate("a.?x.orValue(1 / 0)", a={"x": 2}) == 2
        assert evaluate("a.?x.or(a.y.z).value()", a={"x": 2}) == 2
        assert "divide by zero" in fails("a.?x.orValue(1 / 0)", a={})

    def test_what_is_no_optional_has_no_alternative(self) -> None:
        assert "no such overload" in fails("a.orValue(1)", a=1)
        assert "no such overload" in fails("a.or(optional.of(1))", a=1)
        assert "no such overload" in fails("optional.none().or(a)", a=1)

    def test_the_value_of_an_absent_one_is_an_error(self) -> None:
        assert "no value" in fails("a.?x.value()", a={})

    def test_zero_values_are_null_false_zero_and_what_is_empty(self) -> None:
        scalars = ["null", "false", "0", "0u", "0.0", "-0.0", "''", "b''", "[]", "{}"]
        times = ["duration('0s')", "timestamp('1970-01-01T00:00:00Z')"]
        for zero in scalars + times:
            assert evaluate(f"optional.ofNonZeroValue({zero}).hasValue()") is False
        for value in ("true", "1", "0.1", "'0'", "[0]", "{'a': 0}", "int"):
            assert evaluate(f"optional.ofNonZeroValue({value}).hasValue()") is True

    def test_opt_map_changes_a_value_that_is_there(self) -> None:
        text = "a.?x.optMap(x, x * 2).orValue(0)"
        assert evaluate(text, a={"x": 4}) == 8
        assert evaluate(text, a={}) == 0

    def test_opt_flat_map_goes_on_to_another_optional(self) -> None:
        text = "a.?x.optFlatMap(x, x.?y).orValue('none')"
        assert evaluate(text, a={"x": {"y": 1}}) == 1
        assert evaluate(text, a={"x": {}}) == "none"
        assert "optFlatMap" in fails("optional.of(a).optFlatMap(x, x)", a=1)

    def test_only_optionals_can_be_mapped(self) -> None:
        assert fails("a.optMap(x, x)", a=[1])

    def test_unwrap_keeps_what_is_there(self) -> None:
        text = "[optional.of(1), optional.none(), optional.of(3)]"
        assert evaluate(f"optional.unwrap({text})") == [1, 3]
        assert evaluate(f"{text}.unwrapOpt()") == [1, 3]
        assert "optional" in fails("a.unwrapOpt()", a=[1])

    def test_first_and_last_of_a_list(self) -> None:
        assert evaluate("a.first().value()", a=[1, 2, 3]) == 1
        assert evaluate("a.last().value()", a=[1, 2, 3]) == 3
        assert evaluate("a.first().or(a.last()).hasValue()", a=[]) is False


class TestValues:
    def test_optionals_are_equal_when_their_values_are(self) -> None:
        assert evaluate("optional.of(a) == optional.of(b)", a=1, b=1.0) is True
        assert evaluate("optional.of(a) == optional.of(b)", a=1, b=True) is False
        assert evaluate("optional.none() == optional.none()") is True
        assert evaluate("optional.of(1) != optional.none()") is True
        assert evaluate("[a.?x] == [optional.of([1])]", a={"x": [1]}) is True
        assert evaluate("dyn(optional.of(a)) == a", a=1) is False

    def test_the_type_is_optional_type(self) -> None:
        assert evaluate("type(a.?b) == optional_type", a={}) is True
        assert evaluate("type(optional.of(1))") == OPTIONAL

    def test_in_json_an_optional_is_its_value_or_null(self) -> None:
        assert value_to_json([Optional(1), Optional(None, present=False)]) == "[1,null]"
