"""What expressions mean, above all where Python means something else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pgrules.cel import InvalidExpression, compile_expression
from pgrules.cel.temporal import parse_timestamp
from pgrules.cel.values import Uint
from tests.conformance.suite import same
from tests.unit.cel.evaluating import evaluate, fails

NAN = math.nan


def gives(text: str, expected: Any, **facts: Any) -> bool:
    return same(expected, evaluate(text, **facts))


class TestEquality:
    def test_true_is_not_one(self) -> None:
        assert gives("a == b", False, a=True, b=1)
        assert gives("a == b", False, a=False, b=0)
        assert gives("a == b", False, a=True, b=1.0)
        assert gives("a != b", True, a=True, b=1)

    def test_true_is_not_one_inside_lists_and_maps(self) -> None:
        assert gives("a == b", False, a=[True], b=[1])
        assert gives("a == b", False, a={"x": True}, b={"x": 1})
        assert gives("a == b", False, a=[[{"x": [False]}]], b=[[{"x": [0]}]])
        assert gives("a in b", False, a=True, b=[1, 1.0])
        assert gives("a in b", False, a=1, b=[True])

    def test_numbers_of_different_types_are_equal_by_value(self) -> None:
        assert gives("a == b", True, a=1, b=1.0)
        assert gives("a == b", True, a=[1, 2.0], b=[1.0, 2])
        assert gives("dyn(a) == 1u", True, a=1)
        assert gives("a in b", True, a=1, b=[2, 1.0])

    def test_an_int_meets_a_double_as_the_nearest_double(self) -> None:
        assert gives("a == b", True, a=9007199254740993, b=9007199254740992.0)
        assert gives("a > b", False, a=9007199254740993, b=9007199254740992.0)
        assert gives("a == 9007199254740992", False, a=9007199254740993)

    def test_nan_equals_nothing_even_where_it_is_the_same_object(self) -> None:
        assert gives("a == a", False, a=NAN)
        assert gives("a != a", True, a=NAN)
        assert gives("a in [a]", False, a=NAN)
        assert gives("[a] == [a]", False, a=NAN)
        assert gives("l == l", False, l=[NAN])
        assert gives("m == m", False, m={"x": NAN})
        assert gives("m == m", False, m={"x": [NAN]})
        assert gives("a < 1.0 || a >= 1.0", False, a=NAN)

    def test_negative_zero_is_zero(self) -> None:
        assert gives("a == 0.0 && a == 0", True, a=-0.0)

    @pytest.mark.parametrize(
        ("a", "b"),
        [("1", 1), (None, 0), (None, False), (None, ""), ([], {}), ("", [])],
        ids=repr,
    )
    def test_values_of_different_types_are_different_and_no_error(
        self, a: Any, b: Any
    ) -> None:
        assert gives("a == b", False, a=a, b=b)
        assert gives("a != b", True, a=a, b=b)

    def test_a_string_is_not_its_bytes(self) -> None:
        assert gives("dyn(b'a') == a", False, a="a")
        assert gives("size(b'\\xc3\\xbc') == 2 && size(a) == 1", True, a="ü")

    def test_maps_are_equal_in_any_order_and_lists_in_theirs(self) -> None:
        assert gives("a == b", True, a={"x": 1, "y": 2}, b={"y": 2, "x": 1})
        assert gives("a == b", False, a=[1, 2], b=[2, 1])


class TestOrder:
    def test_strings_are_ordered_by_code_points(self) -> None:
        assert gives("a < b", True, a="Z", b="a")
        assert gives("a < b", True, a="\uffff", b="\U00010000")
        assert gives("a < b", True, a="a", b="aa")

    def test_false_is_less_than_true(self) -> None:
        assert gives("a < b", True, a=False, b=True)

    @pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (True, 1),
            (0, False),
            ("a", 1),
            (None, 1),
            (None, None),
            ([1], [2]),
            ({}, {}),
            ("a", True),
        ],
        ids=repr,
    )
    def test_what_python_or_nobody_orders_is_an_error(
        self, operator: str, a: Any, b: Any
    ) -> None:
        assert "no such overload" in fails(f"a {operator} b", a=a, b=b)

    def test_comparisons_do_not_chain(self) -> None:
        assert "no such overload" in fails("a < b < c", a=1, b=2, c=3)
        assert gives("a < b == c", True, a=1, b=2, c=True)


class TestArithmetic:
    @pytest.mark.parametrize(
        ("text", "a", "b", "expected"),
        [
            ("a / b", -7, 2, -3),
            ("a / b", 7, -2, -3),
            ("a / b", 7, 2, 3),
            ("a % b", -7, 2, -1),
            ("a % b", 7, -2, 1),
            ("a / b", 7.0, 2.0, 3.5),
            ("a / b", 1.0, 0.0, math.inf),
            ("a / b", -1.0, 0.0, -math.inf),
            ("a / b", 0.0, 0.0, NAN),
            ("a * b", 1e308, 10.0, math.inf),
        ],
    )
    def test_division_is_not_pythons(
        self, text: str, a: Any, b: Any, expected: Any
    ) -> None:
        assert gives(text, expected, a=a, b=b)

    @pytest.mark.parametrize(
        ("text", "a", "b"),
        [
            ("a + b", 2**63 - 1, 1),
            ("a - b", -(2**63), 1),
            ("a * b", 2**62, 2),
            ("a / b", -(2**63), -1),
            ("a % b", -(2**63), -1),
            ("-a + b", -(2**63), 0),
            ("uint(a) - uint(b)", 1, 2),
            ("uint(a) + 18446744073709551615u + uint(b)", 1, 0),
        ],
    )
    def test_integers_overflow(self, text: str, a: int, b: int) -> None:
        assert "overflow" in fails(text, a=a, b=b)

    def test_division_of_integers_by_zero_is_an_error(self) -> None:
        assert "divide by zero" in fails("1 / a", a=0)
        assert "modulus by zero" in fails("1 % a", a=0)
        assert "divide by zero" in fails("1u / uint(a)", a=0)

    @pytest.mark.parametrize(
        ("text", "a", "b"),
        [
            ("a + b", 1, 1.0),
            ("a + b", True, 1),
            ("a + b", True, True),
            ("a * b", "a", 3),
            ("a * b", [1], 2),
            ("a % b", "%s", 1),
            ("a % b", 5.5, 2.0),
            ("a - b", {"x": 1}, {"x": 1}),
            ("a - b", "ab", "b"),
            ("a + b", "a", 1),
            ("a + b", "a", None),
            ("a + b", [1], (2)),
            ("a + uint(b)", 1, 1),
            ("a == 1 ? -b : -b", 1, True),
            ("a == 1 ? -b : -b", 1, "x"),
        ],
    )
    def test_what_python_computes_across_types_is_an_error(
        self, text: str, a: Any, b: Any
    ) -> None:
        assert "no such overload" in fails(text, a=a, b=b)

    def test_results_keep_their_type(self) -> None:
        assert gives("a / b", 2, a=4, b=2)
        assert gives("a * 2.0", 4.0, a=2.0)
        assert gives("uint(a) + 1u", Uint(3), a=2)

    def test_strings_and_lists_concatenate(self) -> None:
        assert gives("a + b", "xy", a="x", b="y")
        assert gives("a + b", [1, "y"], a=[1], b=["y"])


class TestLogic:
    @pytest.mark.parametrize("value", [0, 1, "", "x", [], [0], {}, None, 0.0], ids=repr)
    def test_nothing_but_bool_has_a_truth(self, value: Any) -> None:
        for text in ("!a", "a ? 1 : 2", "a && true", "a || false", "true && a"):
            assert "no such overload" in fails(text, a=value)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a.missing || true", True),
            ("true || a.missing", True),
            ("a.missing && false", False),
            ("false && a.missing", False),
            ("1 / n > 1 || n == 0", True),
            ("a || true", True),
            ("a && false", False),
            ("n == 0 ? 5 : 1 / n", 5),
            ("n != 0 ? 1 / n : 5", 5),
            ("[1, 0, 2].exists(x, 10 / x == 5)", True),
            ("[1, 0, 2].all(x, 10 / x > 50)", False),
            ("[].all(x, x.nonsense)", True),
            ("[].exists(x, x.nonsense)", False),
        ],
    )
    def test_an_error_is_absorbed_where_another_operand_decides(
        self, text: str, expected: Any
    ) -> None:
        assert gives(text, expected, a={}, n=0)

    @pytest.mark.parametrize(
        "text",
        [
            "a.missing || false",
            "false || a.missing",
            "a.missing && true",
            "a.missing ? 1 : 1",
            "[1, 0].exists(x, 10 / x == 5)",
            "[1, 0].all(x, 10 / x > 5)",
            "[1, 0].exists_one(x, 10 / x == 10)",
            "[1, 0].map(x, 10 / x) == []",
            "[1, 0].filter(x, 10 / x > 0) == []",
            "[1].all(x, x)",
        ],
    )
    def test_an_error_stands_where_nothing_decides(self, text: str) -> None:
        assert fails(text, a={})


class TestCollections:
    @pytest.mark.parametrize("position", [-1, 2, 1.5, "0", True, None], ids=repr)
    def test_a_list_has_no_element_there(self, position: Any) -> None:
        assert fails("l[i]", l=[1, 2], i=position)

    def test_a_list_is_indexed_by_equal_numbers(self) -> None:
        assert gives("l[i]", "b", l=["a", "b"], i=1)
        assert gives("l[i]", "b", l=["a", "b"], i=1.0)
        assert gives("l[uint(i)]", "b", l=["a", "b"], i=1)

    def test_a_string_is_no_list(self) -> None:
        assert fails("s[0]", s="abc")
        assert fails("'a' in s", s="abc")
        assert fails("s.all(c, true)", s="abc")
        assert fails("s.exists(c, true)", s="")

    def test_bool_and_int_keys_are_different_keys(self) -> None:
        assert gives("size({true: 'a', 1: 'b', false: 'c', 0: 'd'})", 4)
        assert gives("{true: 'a', 1: 'b'}[b]", "a", b=True)
        assert gives("{true: 'a', 1: 'b'}[b]", "b", b=1)
        assert fails("{1: 'b'}[b]", b=True)
        assert gives("b in {1: 'b'}", False, b=True)
        assert gives("{true: 'a', 1: 'b'}.map(k, k)", [True, 1])

    def test_a_key_is_found_by_an_equal_number(self) -> None:
        assert gives("{1: 'a'}[k]", "a", k=1.0)
        assert gives("{1u: 'a'}[k]", "a", k=1)
        assert gives("k in {1: 'a'}", True, k=1.0)
        assert gives("k in {1: 'a'}", False, k=1.5)

    def test_a_key_cannot_repeat_or_be_of_other_types(self) -> None:
        assert "repeated key" in fails("{a: 1, b: 2} == {}", a="x", b="x")
        keys: list[Any] = [1.5, None, [], {}]
        for key in keys:
            assert "key" in fails("{k: 1} == {}", k=key)

    def test_has_tests_presence_and_not_truth(self) -> None:
        values: list[Any] = [None, False, 0, "", [], {}]
        for value in values:
            assert gives("has(a.b)", True, a={"b": value})
        assert gives("has(a.b)", False, a={})
        assert gives("has(a.b.c)", False, a={"b": {}})
        assert fails("has(a.b.c)", a={})
        assert fails("has(a.b)", a=[])

    def test_a_missing_field_is_an_error_that_names_its_path(self) -> None:
        assert "Address.Zip" in fails("Address.Zip == 1", Address={})
        assert "Address" in fails("Address.Zip == 1")

    def test_methods_of_python_are_no_fields(self) -> None:
        for name in ("keys", "__class__", "items", "get", "__len__"):
            assert fails(f"a.{name} == 1", a={})
            assert gives(f"has(a.{name})", False, a={})
            assert fails(f"s.{name} == 1", s="x")
            assert fails(f"s.{name}()", s="x")

    def test_exists_one_counts(self) -> None:
        assert gives("l.exists_one(x, x > 1)", True, l=[1, 2])
        assert gives("l.exists_one(x, x > 1)", False, l=[2, 2])
        assert gives("l.exists_one(x, x > 1)", False, l=[])

    def test_macro_variables_hide_names_and_end_with_their_macro(self) -> None:
        assert gives("l.map(x, x + 1).exists(y, y == x)", True, l=[1], x=2)
        assert gives("l.map(x, l.map(x, x * 2))", [[2, 4], [2, 4]], l=[1, 2])
        assert gives("l.map(l, l)", [1], l=[1])
        assert gives("l.map(x, l.filter(y, y > x))", [[2], []], l=[1, 2])

    def test_values_of_facts_are_not_changed(self) -> None:
        facts = {"a": [1], "b": {"x": [2]}}
        evaluate("(a + b.x + a).map(x, x) == [1, 2, 1]", **facts)
        assert facts == {"a": [1], "b": {"x": [2]}}


class TestTypesAndText:
    @pytest.mark.parametrize(
        ("value", "name"),
        [
            (True, "bool"),
            (1, "int"),
            (1.0, "double"),
            ("", "string"),
            (None, "null_type"),
            ([], "list"),
            ({}, "map"),
        ],
        ids=repr,
    )
    def test_each_value_of_json_has_its_type(self, value: Any, name: str) -> None:
        assert gives(f"type(a) == {name}", True, a=value)
        assert gives("type(a) == type", False, a=value)

    @pytest.mark.parametrize(
        ("text", "size"),
        [("", 0), ("ü", 1), ("u\u0308", 2), ("\U0001f600", 1), ("日本", 2)],
        ids=ascii,
    )
    def test_a_string_is_as_long_as_its_code_points(self, text: str, size: int) -> None:
        assert gives("size(s)", size, s=text)
        assert gives("s.size()", size, s=text)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("string(1.0)", "1"),
            ("string(1e6)", "1e+06"),
            ("string(true)", "true"),
            ("string(1u)", "1"),
            ("string(duration('90m'))", "5400s"),
            ("int('-7')", -7),
            ("int(-7.9)", -7),
            ("double('1e3')", 1000.0),
            ("bool('t')", True),
            ("uint(3.99)", Uint(3)),
            ("bytes('ü')", b"\xc3\xbc"),
        ],
    )
    def test_conversions_are_not_pythons(self, text: str, expected: Any) -> None:
        assert gives(text, expected)

    @pytest.mark.parametrize(
        "text",
        [
            "int(s)",
            "double(s)",
            "bool(s)",
            "uint(s)",
            "timestamp(s)",
            "duration(s)",
        ],
    )
    @pytest.mark.parametrize("value", ["", " 1", "1_0", "yes", "0x10", "١"])  # noqa: RUF001
    def test_text_that_only_python_reads_is_an_error(
        self, text: str, value: str
    ) -> None:
        assert fails(text, s=value)

    def test_int_of_bool_is_an_error(self) -> None:
        for text in ("int(b)", "uint(b)", "double(b)", "timestamp(b)"):
            assert "no such overload" in fails(text, b=True)

    def test_nanoseconds_count(self) -> None:
        text = "timestamp(s) < timestamp(s) + duration('1ns')"
        assert gives(text, True, s="2009-02-13T23:31:30.123456789Z")
        assert gives(
            "timestamp(s) + duration('1ns')",
            parse_timestamp("2009-02-13T23:31:30.12345679Z"),
            s="2009-02-13T23:31:30.123456789Z",
        )

    def test_the_places_of_strings_match_as_they_stand(self) -> None:
        assert gives("s.contains('b.')", False, s="abc")
        assert gives("s.startsWith('')", True, s="")
        assert gives("s.endsWith('İ')", False, s="i̇")
        assert gives("s.matches('^b')", False, s="abc")
        assert gives("s.matches('b')", True, s="abc")
        assert fails("s.contains(x)", s="abc", x=1)


class TestErrors:
    def test_an_error_says_where(self) -> None:
        message = fails("a > 0 &&\n  a.b.c", a=1)
        assert message.startswith("line 2, column ")

    def test_all_problems_of_an_expression_are_reported(self) -> None:
        with pytest.raises(InvalidExpression) as caught:
            compile_expression("nope(1) && x.nope2() || nope3()")
        assert len(caught.value.problems) == 3

    @pytest.mark.parametrize(
        "text", ["", " ", "1 +", "(1", "a.", "'x", "1 2", "a ? b", "[1,,2]", "{1}"]
    )
    def test_a_syntax_error_has_a_place_and_a_caret(self, text: str) -> None:
        with pytest.raises(InvalidExpression) as caught:
            compile_expression(text)
        problem = caught.value.problems[0]
        assert problem.line == 1
        assert 1 <= problem.column <= len(text) + 1
        assert problem.excerpt.endswith("^")
