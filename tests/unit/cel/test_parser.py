"""Syntax trees: precedence, selections, calls, literals, places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrules.cel import InvalidExpression, compile_expression
from pgrules.cel.parser import parse
from pgrules.cel.syntax import (
    Call,
    Conditional,
    Ident,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Node,
    Select,
)


def show(node: Node) -> str:
    """A tree with every bracket that the text may leave out."""
    match node:
        case Literal():
            return repr(node.value)
        case Ident():
            return ("." if node.absolute else "") + node.name
        case Select():
            text = f"{show(node.operand)}.{node.field}"
            return f"has({text})" if node.test else text
        case Logical():
            return f"({f' {node.operator} '.join(map(show, node.operands))})"
        case Conditional():
            parts = map(show, (node.condition, node.then, node.otherwise))
            return "({} ? {} : {})".format(*parts)
        case ListLiteral():
            return f"[{', '.join(map(show, node.elements))}]"
        case MapLiteral():
            entries = (f"{show(k)}: {show(v)}" for k, v in node.entries)
            return f"{{{', '.join(entries)}}}"
        case Call():
            arguments = list(map(show, node.arguments))
            if node.target is not None:
                return f"{show(node.target)}.{node.function}({', '.join(arguments)})"
            if node.function == "_[_]":
                return "{}[{}]".format(*arguments)
            symbol = node.function.strip("_@")
            if symbol != node.function and len(arguments) == 2:
                return f"({arguments[0]} {symbol} {arguments[1]})"
            if symbol != node.function:
                return f"({symbol}{arguments[0]})"
            return f"{node.function}({', '.join(arguments)})"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a * b + c", "((a * b) + c)"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b % c", "((a / b) % c)"),
        ("(a + b) * c", "((a + b) * c)"),
        ("a < b == c", "((a < b) == c)"),
        ("a + 1 > b - 1", "((a + 1) > (b - 1))"),
        ("a in b && c", "((a in b) && c)"),
        ("a && b || c && d", "((a && b) || (c && d))"),
        ("a || b && c || d", "(a || (b && c) || d)"),
        ("a && b && c", "(a && b && c)"),
        ("a && (b && c)", "(a && (b && c))"),
        ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
        ("a || b ? c : d", "((a || b) ? c : d)"),
        ("a ? b || c : d", "(a ? (b || c) : d)"),
        ("!a && b", "((!a) && b)"),
        ("!a.b", "(!a.b)"),
        ("!!a", "(!(!a))"),
        ("-a * b", "((-a) * b)"),
        ("-1 - -1", "(-1 - -1)"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("a-1", "(a - 1)"),
        ("-1.5", "-1.5"),
        ("a.b.c", "a.b.c"),
        (".a.b", ".a.b"),
        ("a[b][c].d", "a[b][c].d"),
        ("a.b(c).d", "a.b(c).d"),
        ("f(a, b)", "f(a, b)"),
        ("f()", "f()"),
        ("a.size() + size(b)", "(a.size() + size(b))"),
        ("a.`b-c`", "a.b-c"),
        ("a.if", "a.if"),
        ("[1, 'a', [], ]", "[1, 'a', []]"),
        ("{'a': 1, b: {}, }", "{'a': 1, b: {}}"),
        ("has(a.b)", "has(a.b)"),
        ("true && null == false", "(True && (None == False))"),
        ("((((a))))", "a"),
        ("a\n  // comment\n  + b", "(a + b)"),
    ],
)
def test_operators_bind_as_the_specification_says(text: str, tree: str) -> None:
    assert show(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("a b", 3),
        ("a +", 4),
        ("(a", 3),
        ("a)", 2),
        ("[a", 3),
        ("[,]", 2),
        ("[a,,b]", 4),
        ("{a}", 3),
        ("{a: b, c}", 9),
        ("a.", 3),
        ("a.1", 2),
        ("a.b.true", 5),
        ("f(a,)", 5),
        ("f(,a)", 3),
        ("a ? b", 6),
        ("a ?: b", 4),
        ("a[", 3),
        ("a[]", 3),
        ("a == == b", 6),
        ("!-a", 2),
        ("-!a", 2),
        ("+a", 1),
        ("a++b", 3),
        ("a ** b", 4),
        ("a and b", 3),
        ("not a", 5),
        ("a is null", 3),
        ("if", 1),
        ("let + 1", 1),
        ("in", 1),
        ("x in", 5),
        ("a.(b)", 3),
        ("lambda x: x", 8),
        ("f(x for x in y)", 5),
        ("a := 1", 4),
        ("9223372036854775808", 1),
    ],
)
def test_a_syntax_error_is_placed_where_the_text_goes_wrong(
    text: str, column: int
) -> None:
    with pytest.raises(InvalidExpression) as caught:
        parse(text)
    problem = caught.value.problems[0]
    assert (problem.line, problem.column) == (1, column), problem


def test_lines_and_columns_count_code_points_from_one() -> None:
    with pytest.raises(InvalidExpression) as caught:
        parse("'\U0001f600' +\n  '\U0001f600' ) ")
    problem = caught.value.problems[0]
    assert (problem.line, problem.column) == (2, 7)
    assert problem.excerpt == "  '\U0001f600' ) \n      ^"


def test_a_long_line_is_cut_around_the_place() -> None:
    with pytest.raises(InvalidExpression) as caught:
        parse("a + " * 200 + ") " + " + a" * 200)
    line, caret = caught.value.problems[0].excerpt.split("\n")
    assert len(line) < 100
    assert line[caret.index("^")] == ")"


@pytest.mark.parametrize(
    "text",
    [
        "has(a)",
        "has(a.b.c())",
        "has(a[0])",
        "a.all(1, b)",
        "a.exists(b.c, d)",
        "a.map(.b, c)",
        "a.filter('x', true)",
    ],
)
def test_a_macro_with_the_wrong_arguments_is_refused_with_advice(text: str) -> None:
    with pytest.raises(InvalidExpression) as caught:
        parse(text)
    assert caught.value.problems[0].hint


def test_nodes_know_their_places() -> None:
    text = " (a.b) + f( c ) "
    pending = [parse(text)]
    found = set()
    while pending:
        node = pending.pop()
        found.add(text[node.start : node.end])
        pending += node.children()
    assert {"a", "f( c )", "c"} <= found


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operator = st.sampled_from(["+", "-", "*", "/", "<", "==", "&&", "||", "in"])
    return (
        st.tuples(inner, operator, inner).map(" ".join).map("({})".format)
        | st.tuples(inner, inner, inner).map(
            lambda parts: "({} ? {} : {})".format(*parts)
        )
        | st.tuples(inner, inner).map(lambda parts: "{}[{}]".format(*parts))
        | inner.map("{}.f".format)
    )


@given(st.recursive(st.sampled_from(["a", "1", "'s'", "[]"]), _grown))
def test_a_tree_written_with_all_brackets_parses_to_itself(text: str) -> None:
    tree = show(parse(text))
    assert show(parse(tree)) == tree


@pytest.mark.parametrize("fields", ["", "a: 1", "a: 1, b: c", "a: 1, b: c,"])
@pytest.mark.parametrize("name", ["Claim", "google.protobuf.Struct", ".a.B"])
def test_a_message_is_read_and_refused_by_its_name(name: str, fields: str) -> None:
    """There are no protobuf messages, which the error says."""
    with pytest.raises(InvalidExpression) as refused:
        compile_expression(f"{name}{{{fields}}}")
    (problem,) = refused.value.problems
    assert problem.message == f"unknown message type {name}"
    assert "write a map" in problem.hint


def test_a_long_word_is_cut_in_the_error() -> None:
    with pytest.raises(InvalidExpression) as refused:
        parse(f"1 {'a' * 500}")
    assert f"{'a' * 37}..." in refused.value.problems[0].message
    assert "a" * 38 not in refused.value.problems[0].message
