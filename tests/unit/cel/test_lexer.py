"""Tokens: literals, names, what starts none."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrules.cel import InvalidExpression
from pgrules.cel.lexer import tokenize
from pgrules.cel.values import Uint
from tests.conformance.suite import same

floats = st.floats(allow_nan=False, allow_infinity=False, min_value=0)


def literal(text: str) -> Any:
    """The value of a text that is one literal."""
    token, end = tokenize(text)
    assert (token.kind, end.kind) == ("literal", "end")
    assert (token.start, token.end) == (0, len(text))
    return token.value


def refusal(text: str) -> InvalidExpression:
    with pytest.raises(InvalidExpression) as caught:
        tokenize(text)
    return caught.value


@given(st.integers(0, 2**63 - 1))
def test_an_int_is_read_in_decimal_and_hexadecimal(number: int) -> None:
    assert same(number, literal(str(number)))
    assert same(number, literal(hex(number)))
    assert same(number, literal(hex(number).upper().replace("0X", "0x")))


@given(st.integers(0, 2**64 - 1))
def test_a_uint_ends_in_u(number: int) -> None:
    assert same(Uint(number), literal(f"{number}u"))
    assert same(Uint(number), literal(f"0x{number:X}U"))


@given(floats)
def test_a_double_has_a_fraction_or_an_exponent(number: float) -> None:
    text = repr(number)
    assert same(number, literal(text))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1.5e+3", 1500.0),
        ("1e-400", 0.0),
    ],
)
def test_doubles_are_written_in_several_ways(text: str, number: float) -> None:
    assert same(number, literal(text))


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775809",
        "18446744073709551616u",
        "0x10000000000000000u",
        "9" * 30000,
        "0x" + "f" * 30000,
        "1e309",
        "9" * 400 + ".0",
    ],
    ids=lambda text: text[:24],
)
def test_a_number_that_does_not_fit_is_refused(text: str) -> None:
    assert "out of range" in str(refusal(text))
    assert len(str(refusal(text))) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("''", ""),
        ('"a"', "a"),
        ("'\"'", '"'),
        (r"'\''", "'"),
        (r"'\a\b\f\n\r\t\v\\\?\"\'\`'", "\a\b\f\n\r\t\v\\?\"'`"),
        (r"'\x41\u00fc\U0001f600\101'", "A\u00fc\U0001f600A"),
        (r"'\xff\377'", "\u00ff\u00ff"),
        ("'''a\n'b''c'''", "a\n'b''c"),
        ('"""a"b""c"""', 'a"b""c'),
        ("'''\r\n\r'''", "\n\n"),
        (r"r'\n\x4'", r"\n\x4"),
        (r"R'''\'''", "\\"),
        ("b''", b""),
        ("b'ü'", b"\xc3\xbc"),
        (r"b'\xff\377\101'", b"\xff\xffA"),
        (r"br'\xff'", rb"\xff"),
        (r"bR'\x'", rb"\x"),
        ("'\U0001f600'", "\U0001f600"),
    ],
)
def test_strings_and_bytes_are_read_with_their_escapes(
    text: str, value: str | bytes
) -> None:
    assert same(value, literal(text))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\'\r\n")))
def test_text_between_quotes_is_the_text(text: str) -> None:
    assert literal(f"'{text}'") == text
    assert literal(f"r'{text}'") == text
    assert literal(f"b'{text}'") == text.encode()


@pytest.mark.parametrize(
    "text",
    [
        r"'\q'",
        r"'\x4'",
        r"'\u00f'",
        r"'\U0001f60'",
        r"'\8'",
        r"'\400'",
        r"'\1'",
        r"'\ud800'",
        r"'\U00110000'",
        r"b'\u00fc'",
        r"b'\U000000fc'",
        r"'\X'",
    ],
)
def test_an_escape_that_means_nothing_is_refused(text: str) -> None:
    assert refusal(text).problems[0].column >= 1


@pytest.mark.parametrize(
    "text", ["'", '"', "'a", "'a\"", "'a\nb'", "'a\rb'", '"""a""', "'''", r"'\'", "b'"]
)
def test_a_string_that_does_not_end_is_refused(text: str) -> None:
    assert "not closed" in str(refusal(text))


def test_names_are_ascii() -> None:
    kinds = [token.kind for token in tokenize("_a1 A__b in true")]
    assert kinds == ["ident"] * 4 + ["end"]
    for text in ("ä", "a\u0301", "\u0430", "a-ä"):
        refusal(text)


@pytest.mark.parametrize("text", ["a & b", "a | b", "a = b", "a ^ b", "#", "@", "a;b"])
def test_a_character_of_other_languages_is_refused_where_it_stands(text: str) -> None:
    problem = refusal(text).problems[0]
    assert text[problem.column - 1] in problem.message


def test_space_and_comments_separate_and_vanish() -> None:
    tokens = tokenize("a // x 'y' \n\t\f\r\n+ // z")
    assert [token.value for token in tokens] == ["a", "+", None]
    for blank in ("\u00a0", "\u2028", "\ufeff", "\v", "\0"):
        refusal(f"a{blank}b")


def test_infinity_is_no_literal() -> None:
    assert not any(
        math.isinf(token.value)
        for token in tokenize("inf + nan + 1.7976931348623157e308")
        if isinstance(token.value, float)
    )


@given(st.text())
def test_any_text_becomes_tokens_in_order_or_is_refused(text: str) -> None:
    try:
        tokens = tokenize(text)
    except InvalidExpression:
        return
    assert tokens[-1].kind == "end"
    places = [place for token in tokens for place in (token.start, token.end)]
    assert places == sorted(places)
