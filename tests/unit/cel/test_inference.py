"""Types that are found before there are facts, and what they refuse."""

from __future__ import annotations

import pytest

from pgrules.cel import Environment, InvalidExpression, Problem, compile_expression
from pgrules.cel import types as t
from pgrules.cel.checked import Checked, Constant, Field, Invoke
from pgrules.cel.types import DYN, spoken
from tests.unit.cel.evaluating import named_type


def declared(**names: str) -> Environment:
    return Environment(variables={name: named_type(x) for name, x in names.items()})


def type_of(text: str, **names: str) -> str:
    environment = declared(**names) if names else Environment()
    return spoken(compile_expression(text, environment).type)


def problems(text: str, **names: str) -> list[Problem]:
    environment = declared(**names) if names else Environment()
    with pytest.raises(InvalidExpression) as refused:
        compile_expression(text, environment)
    return refused.value.problems


def message(text: str, **names: str) -> str:
    (problem,) = problems(text, **names)
    return problem.message


def hint(text: str, **names: str) -> str:
    (problem,) = problems(text, **names)
    return problem.hint


class TestTypes:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("null", "null"),
            ("1 + 2", "int"),
            ("1u * 2u", "uint"),
            ("-1.5", "double"),
            ("'a' + 'b'", "string"),
            ("b'a'", "bytes"),
            ("timestamp('2024-01-01T00:00:00Z') - duration('1h')", "timestamp"),
            ("type(1)", "type(int)"),
            ("int", "dyn"),
            ("[1, 2]", "list(int)"),
            ("[]", "list(dyn)"),
            ("[1, 'a']", "list(dyn)"),
            ("[[1], []]", "list(list(int))"),
            ("[[], [1]]", "list(list(int))"),
            ("[1] + []", "list(int)"),
            ("{}", "map(dyn, dyn)"),
            ("{'a': 1, 'b': 2}", "map(string, int)"),
            ("{'a': 1, 'b': 'x'}", "map(string, dyn)"),
            ("{'a': [1]}.a[0]", "int"),
            ("size('abc')", "int"),
            ("'a' in ['b']", "bool"),
            ("[1, 2].map(x, string(x))", "list(string)"),
            ("[1, 2].map(x, x > 1, x > 1)", "list(bool)"),
            ("[1, 2].filter(x, x > 1)", "list(int)"),
            ("{'a': 1}.map(k, k)", "list(string)"),
            ("[1].exists(x, x == 1)", "bool"),
            ("{'a': 1}.transformList(k, v, v)", "list(int)"),
            ("['a'].transformMap(i, v, v)", "map(int, string)"),
            ("['a'].transformMapEntry(i, v, {v: i})", "map(string, int)"),
            ("['a'].all(i, v, i == 0 && v == 'a')", "bool"),
            ("cel.bind(x, [1], x[0])", "int"),
            ("optional.of(1)", "optional(int)"),
            ("optional.none()", "optional(dyn)"),
            ("[optional.none(), optional.of(1)]", "list(optional(int))"),
            ("optional.of(1).orValue(2)", "int"),
            ("{'a': 1}.?a", "optional(int)"),
            ("{'a': {'b': 1}}.?a.b", "optional(int)"),
            ("{'a': 1}[?'a']", "optional(int)"),
            ("[?optional.of(1)]", "list(int)"),
            ("{?'a': optional.of(1)}", "map(string, int)"),
            ("optional.of(1).optMap(x, string(x))", "optional(string)"),
            ("optional.of(1).optFlatMap(x, optional.of('a'))", "optional(string)"),
            ("a.b", "dyn"),
            ("a.b > 1", "bool"),
            ("a + 1", "int"),
            ("a + b", "dyn"),
            ("a[0]", "dyn"),
            ("a.?b", "optional(dyn)"),
            ("a ? 1 : b", "dyn"),
            ("a ? 1 : 2", "int"),
        ],
    )
    def test_an_expression_has_the_type_that_follows_from_its_parts(
        self, text: str, expected: str
    ) -> None:
        assert type_of(text) == expected

    def test_every_node_has_its_type(self) -> None:
        tree = compile_expression("a.b == 'x'").tree
        assert isinstance(tree, Invoke)
        field, constant = tree.arguments
        assert tree.type is t.BOOL
        assert isinstance(field, Field)
        assert field.type is DYN
        assert field.operand.type is DYN
        assert isinstance(constant, Constant)
        assert constant.type is t.STRING

    def test_no_type_is_left_open(self) -> None:
        text = "[].map(x, [[], optional.none(), {}, x]) == [] || [][0][?1] == a"
        pending: list[Checked] = [compile_expression(text).tree]
        while pending:
            node = pending.pop()
            assert not node.type.open
            pending.extend(node.children())

    def test_a_dyn_leaves_no_type_to_the_other_operands(self) -> None:
        """What is inferred must hold: dyn may be a list of anything."""
        assert type_of("a + [1]") in ("dyn", "list(dyn)")
        assert type_of("[dyn(1), 2]") == "list(dyn)"
        assert type_of("dyn(optional.of('a')).orValue(1)") == "dyn"
        assert type_of("[{'a': dyn(1)}, {'b': 2}][0].a") == "dyn"

    def test_declared_variables_have_their_types(self) -> None:
        assert type_of("x.a + 1", x="map(string, int)") == "int"
        assert type_of("x.map(y, y.z)", x="list(map(string, bool))") == "list(bool)"

    def test_null_may_stand_for_what_can_be_null(self) -> None:
        assert type_of("[null, timestamp('2024-01-01T00:00:00Z')]") == "list(timestamp)"
        assert type_of("[optional.of(1), null]") == "list(optional(int))"
        assert type_of("x == null", x="wrapper(int)") == "bool"
        assert message("1 == null") == "cannot compare int with null"

    def test_a_wrapper_is_its_value_or_null(self) -> None:
        assert type_of("x + 1", x="wrapper(int)") == "int"
        found = compile_expression("[x, 1]", declared(x="wrapper(int)")).type
        assert found == t.list_of(t.wrapper_of(t.INT))


class TestProblems:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1 == 'a'", "cannot compare int with string"),
            ("1 < 'a'", "cannot compare int with string"),
            ("[1] == ['a']", "cannot compare list(int) with list(string)"),
            ("1 + 1.0", "+ is not defined for int and double"),
            ("true % 2", "% is not defined for bool and int"),
            ("-'a'", "- is not defined for string"),
            ("!1", "! needs bool, not int"),
            ("1 && a", "&& needs bool, not int"),
            ("a || 'x'", "|| needs bool, not string"),
            ("1 ? a : b", "the condition of ?: needs bool, not int"),
            (
                "a ? 1 : 'x'",
                "the branches of ?: have different types, int and string",
            ),
            ("[1]['a']", "list(int) has no element under a key of type string"),
            ("{'a': 1}[1]", "map(string, int) has no element under a key of type int"),
            ("'a'.b", "string has no fields"),
            ("size(1)", "no matching overload for size(int)"),
            ("'a'.startsWith(1)", "no matching overload for string.startsWith(int)"),
            ("[1].all(x, x)", "the condition of all needs bool, not int"),
            ("[1].filter(x, 'a')", "the condition of filter needs bool, not string"),
            ("1.map(x, x)", "a macro loops over a list or a map, not int"),
            ("[1].map(x, x.startsWith('a'))",
             "no matching overload for int.startsWith(string)"),
            ("[?1]", "? needs optional(dyn), not int"),
            ("optional.of(1).optFlatMap(x, x)",
             "optFlatMap needs optional(dyn), not int"),
            ("[1].transformMapEntry(i, v, v)",
             "transformMapEntry needs map(dyn, dyn), not int"),
            ("cel.bind(x, 'a', x + 1)", "+ is not defined for string and int"),
        ],
    )  # fmt: skip
    def test_what_can_never_be_right_is_refused(self, text: str, expected: str) -> None:
        """COMP-2."""
        assert message(text) == expected

    def test_the_problem_stands_at_the_operator(self) -> None:
        (problem,) = problems("a.b > 1 &&\n  1 == 'x'")
        assert (problem.line, problem.column) == (2, 5)
        assert problem.excerpt == "  1 == 'x'\n    ^"

    def test_all_problems_are_reported_in_source_order(self) -> None:
        found = problems("x + 'a' == y || foo(1) || 1 == '1'", x="int")
        assert [p.message for p in found] == [
            "+ is not defined for int and string",
            "unknown name y",
            "unknown function foo",
            "cannot compare int with string",
        ]

    def test_a_problem_is_reported_once(self) -> None:
        """What stands around a part that does not fit is taken for dyn."""
        assert len(problems("(1 + 'a') == [3]")) == 1

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1.5 == 1000", "write 1000.0"),
            ("2 * 1.5", "write 2.0"),
            ("size('a') + 1.5", "convert one of them, as in double(size('a'))"),
            ("1u + 2", "write 2u"),
            ("1 == '18'", "write 18 without quotes"),
            ("1 == 'x'", ""),
            (
                "timestamp('2024-01-01T00:00:00Z') < '2025-01-01T00:00:00Z'",
                "write timestamp('2025-01-01T00:00:00Z')",
            ),
            ("duration('1h') > '2h'", "write duration('2h')"),
        ],
    )
    def test_the_hint_shows_the_way_out(self, text: str, expected: str) -> None:
        assert hint(text) == expected

    def test_the_hint_of_a_function_has_its_signatures(self) -> None:
        assert "string.startsWith(string) -> bool" in hint("'a'.startsWith(1)")


class TestWithoutDeclarations:
    """COMP-3: without a schema everything is dynamic."""

    @pytest.mark.parametrize(
        "text",
        [
            "a == 1",
            "a.b.c == 'x' && a.b.c == 1",
            "a.exists(x, x.y > 1 && x.y == 'a')",
            "a.b + c.d == e",
            "a in b",
            "[1, 'a'].exists(x, x == 1)",
            "a ? b : 1",
            "a[b].c.startsWith(d)",
            "size(a) > b",
            "{'x': a}.x == 3",
            "type(a) == int",
        ],
    )
    def test_what_nothing_declares_fits_everywhere(self, text: str) -> None:
        compile_expression(text)


class TestUnchecked:
    def test_types_are_not_inferred_for_an_expression_taken_unchecked(self) -> None:
        program = compile_expression("1 == 'a'", unchecked=True)
        assert program.evaluate({}) is False
        assert program.type is DYN


class TestSize:
    @pytest.mark.parametrize(
        "text",
        [
            "[" + ",".join(["[]"] * 10_000) + "]",
            " || ".join(["[]==[]"] * 3_000),
            "[" + ",".join(["[][0]"] * 5_000) + "]",
            "true ? [] : " * 90 + "[1]",
            "".join(f"cel.bind(v{i}, {{v{i - 1}: v{i - 1}}}, " for i in range(1, 50))
            + "v49"
            + ")" * 49,
        ],
    )
    def test_a_long_expression_with_much_to_find_compiles(self, text: str) -> None:
        """With work that grew as its square, one of these would take a minute."""
        compile_expression(text)

    def test_type_variables_do_not_collide_in_dictionaries(self) -> None:
        variables = [t.TypeVariable("A") for _ in range(10)]
        assert len(set(map(hash, variables))) == 10

    def test_a_type_that_would_grow_without_bounds_ends_in_dyn(self) -> None:
        text = "[" * 40 + "1" + "]" * 40
        found = compile_expression(text).type
        assert found.depth <= 9
        assert str(found).count("dyn") == 1
