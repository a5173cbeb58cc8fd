"""The library regex: extract and replace by RE2."""

from __future__ import annotations

import sys

import pytest

from pgrules.cel import (
    CostLimitExceeded,
    InvalidExpression,
    RegexLibraryMissing,
    compile_expression,
    regex,
)
from tests.unit.cel.evaluating import answer, evaluate, fails


class TestExtract:
    def test_the_first_match_or_its_group(self) -> None:
        assert evaluate("regex.extract(a, 'o.').value()", a="foo bot") == "oo"
        assert evaluate("regex.extract(a, 'b(o.)').value()", a="foo bot") == "ot"

    def test_no_match_and_an_empty_group_are_absent(self) -> None:
        assert evaluate("regex.extract(a, 'x').hasValue()", a="foo") is False
        assert evaluate("regex.extract(a, 'f(x?)').hasValue()", a="foo") is False
        assert evaluate("regex.extract(a, 'f(x)?').hasValue()", a="foo") is False

    def test_all_matches_or_their_groups(self) -> None:
        assert evaluate("regex.extractAll(a, 'é.')", a="éa éb") == ["éa", "éb"]
        assert evaluate("regex.extractAll(a, 'é(.)')", a="éa éb") == ["a", "b"]
        assert evaluate("regex.extractAll(a, 'x')", a="éa") == []
        assert evaluate("regex.extractAll(a, 'a*')", a="baac") == ["", "aa", ""]

    def test_more_than_one_group_is_an_error(self) -> None:
        assert "more than one" in fails("regex.extract(a, '(.)(.)')", a="foo")
        assert "more than one" in fails("regex.extractAll(a, '(.)(.)')", a="foo")


class TestReplace:
    def test_all_or_some(self) -> None:
        assert evaluate("regex.replace(a, 'a', 'x')", a="banana") == "bxnxnx"
        assert evaluate("regex.replace(a, 'a', 'x', 2)", a="banana") == "bxnxna"
        assert evaluate("regex.replace(a, 'a', 'x', 0)", a="banana") == "banana"
        assert evaluate("regex.replace(a, 'a', 'x', -12)", a="banana") == "bxnxnx"

    def test_groups_by_number(self) -> None:
        text = r"regex.replace(a, '(fo)o (ba)r', r'\2-\1-\0')"
        assert evaluate(text, a="foo bar") == "ba-fo-foo bar"
        assert evaluate(r"regex.replace(a, '(x)?b', r'[\1]')", a="ab") == "a[]"
        assert evaluate(r"regex.replace(a, 'b', r'\\')", a="ab") == "a\\"
        assert evaluate(r"regex.replace(a, '(b)', r'\11')", a="ab") == "ab1"

    @pytest.mark.parametrize("replacement", [r"\2", r"\x", "a\\", r"\\\\" + "\\"])
    def test_a_wrong_replacement_is_an_error(self, replacement: str) -> None:
        assert "replacement" in fails(
            "regex.replace(a, '(b)', r)", a="b", r=replacement
        )

    def test_an_empty_match_behind_a_match_is_none(self) -> None:
        assert evaluate("regex.replace(a, 'x*', '-')", a="abxc") == "-a-b-c-"


def test_a_wrong_pattern_is_refused_when_it_is_compiled() -> None:
    for call in ("extract(a, '(')", "extractAll(a, '(')", "replace(a, '(', 'x')"):
        with pytest.raises(InvalidExpression):
            compile_expression(f"regex.{call}")
    assert "invalid regular expression" in fails("regex.extract('x', a)", a="(")


@pytest.mark.parametrize(
    "text",
    [
        "regex.replace(a, '', b)",
        "regex.replace(a, '(x)', r'\\1\\1\\1\\1\\1\\1\\1\\1\\1').replace('x', b)",
        "regex.extractAll(a, 'x(y.*z)?')",
    ],
)
def test_work_that_grows_ends_at_the_limit(text: str) -> None:
    facts = {"a": "x" * 100_000, "b": "y" * 1000}
    found = answer(text, facts, unchecked=True)
    assert isinstance(found.error, CostLimitExceeded)


def test_without_the_library_a_pattern_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule with a pattern is refused, and one whose pattern is a fact fails."""
    monkeypatch.setitem(sys.modules, "re2", None)
    monkeypatch.setattr(regex, "_compiled", {})
    regex._load.cache_clear()
    try:
        with pytest.raises(RegexLibraryMissing) as refused:
            compile_expression("a.matches('b+')")
        assert "google-re2" in refused.value.problems[0].hint
        assert "need the RE2 library" in fails("a.matches(b)", a="b", b="b+")
    finally:
        regex._load.cache_clear()


def test_patterns_are_kept_up_to_a_number_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: dict[tuple[str, bool], object] = {}
    monkeypatch.setattr(regex, "_compiled", kept)
    monkeypatch.setattr(regex, "_CACHE_SIZE", 2)
    for pattern in ("a", "b", "a", "c"):
        regex.compile_pattern(pattern)
    assert list(kept) == [("b", False), ("c", False)]
