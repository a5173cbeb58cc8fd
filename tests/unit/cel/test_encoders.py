"""The library encoders: base64."""

from __future__ import annotations

import pytest

from tests.unit.cel.evaluating import evaluate, fails


def test_bytes_become_base64_and_back() -> None:
    assert evaluate("base64.encode(b'hello')") == "aGVsbG8="
    assert evaluate("base64.decode(a)", a="aGVsbG8=") == b"hello"
    assert evaluate("base64.decode(base64.encode(b'\\x00\\xff'))") == b"\x00\xff"
    assert evaluate("base64.encode(b'')") == ""


def test_padding_may_be_left_out() -> None:
    assert evaluate("base64.decode(a)", a="aGVsbG8") == b"hello"
    assert evaluate("base64.decode(a)", a="aGk") == b"hi"


def test_line_ends_are_passed_over() -> None:
    assert evaluate("base64.decode(a)", a="aGVs\r\nbG8=\n") == b"hello"


@pytest.mark.parametrize(
    "text", ["a", "aGVsbG8==", "====", "aGVs=", "a b=", "aGVs-_==", "é", "aGk=aGk="]
)
def test_what_is_no_base64_is_an_error(text: str) -> None:
    assert "not base64" in fails("base64.decode(a)", a=text)


def test_the_arguments_have_their_types() -> None:
    assert "no such overload" in fails("base64.decode(dyn(a))", a=1)
    assert "no such overload" in fails("base64.encode(dyn(a))", a="x")
