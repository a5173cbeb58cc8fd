"""The library strings: positions count code points, sizes are charged before growth."""

from __future__ import annotations

import pytest

from pgrules.cel import CostLimitExceeded, InvalidExpression, compile_expression
from tests.unit.cel.evaluating import answer, evaluate, fails

TEXT = "ta©o©жT"


class TestPositions:
    def test_a_character_at_a_position(self) -> None:
        assert evaluate("a.charAt(2)", a=TEXT) == "©"
        assert evaluate("a.charAt(7)", a=TEXT) == ""
        assert evaluate("a.charAt(0)", a="😀") == "😀"
        assert "index out of range: 8" in fails("a.charAt(8)", a=TEXT)
        assert "index out of range: -1" in fails("a.charAt(-1)", a=TEXT)

    def test_the_first_position_of_a_part(self) -> None:
        assert evaluate("a.indexOf('©')", a=TEXT) == 2
        assert evaluate("a.indexOf('©', 3)", a=TEXT) == 4
        assert evaluate("a.indexOf('x')", a=TEXT) == -1
        assert evaluate("a.indexOf('')", a=TEXT) == 0
        assert evaluate("a.indexOf('', 3)", a=TEXT) == 3
        assert evaluate("a.indexOf('x')", a="") == -1
        assert "out of range: 30" in fails("a.indexOf('a', 30)", a=TEXT)
        assert "out of range: -1" in fails("a.indexOf('a', -1)", a=TEXT)

    def test_the_last_position_of_a_part(self) -> None:
        assert evaluate("a.lastIndexOf('©')", a=TEXT) == 4
        assert evaluate("a.lastIndexOf('©', 3)", a=TEXT) == 2
        assert evaluate("a.lastIndexOf('©', 4)", a=TEXT) == 4
        assert evaluate("a.lastIndexOf('')", a=TEXT) == 7
        assert evaluate("a.lastIndexOf('x')", a=TEXT) == -1
        assert evaluate("a.lastIndexOf('longer than the text')", a=TEXT) == -1
        assert "out of range: 30" in fails("a.lastIndexOf('a', 30)", a=TEXT)
        assert "out of range: -1" in fails("a.lastIndexOf('a', -1)", a=TEXT)

    def test_a_part_between_positions(self) -> None:
        assert evaluate("a.substring(4)", a=TEXT) == "©жT"
        assert evaluate("a.substring(2, 4)", a=TEXT) == "©o"
        assert evaluate("a.substring(7)", a=TEXT) == ""
        assert "out of range: 8" in fails("a.substring(8)", a=TEXT)
        assert "out of range: -1" in fails("a.substring(-1)", a=TEXT)
        assert "out of range: 9" in fails("a.substring(1, 9)", a=TEXT)
        assert "start: 3, end: 2" in fails("a.substring(3, 2)", a=TEXT)


class TestChanges:
    def test_only_ascii_letters_change_case(self) -> None:
        assert evaluate("a.lowerAscii()", a="TacoCÆt ẞ") == "tacocÆt ẞ"
        assert evaluate("a.upperAscii()", a="TacoCÆtß ﬁ") == "TACOCÆTß ﬁ"
        assert evaluate("a.upperAscii()", a="plain") == "PLAIN"

    def test_trim_takes_unicodes_white_space(self) -> None:
        space = "\t\n\v\f\r \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
        assert evaluate("a.trim()", a=f"{space}x{space}") == "x"
        no_space = "\u180e\u200b\u200c\u200d\u2060\ufeff\x1c"
        assert evaluate("a.trim()", a=f"{no_space}x{no_space}") == (
            f"{no_space}x{no_space}"
        )

    def test_replace(self) -> None:
        assert evaluate("a.replace('he', 'we')", a="hello hello") == "wello wello"
        assert evaluate("a.replace('he', 'we', 1)", a="hello hello") == "wello hello"
        assert evaluate("a.replace('he', 'we', 0)", a="hello hello") == "hello hello"
        assert evaluate("a.replace('he', 'we', -7)", a="hello hello") == "wello wello"
        assert evaluate("a.replace('', '-')", a="ab") == "-a-b-"
        assert evaluate("a.replace('', '-', 2)", a="ab") == "-a-b"
        assert "no such overload" in fails("a.replace('x', dyn(b))", a="x", b=1)

    def test_split(self) -> None:
        assert evaluate("a.split(',')", a="a,b,,c") == ["a", "b", "", "c"]
        assert evaluate("a.split(',', 2)", a="a,b,c") == ["a", "b,c"]
        assert evaluate("a.split(',', 1)", a="a,b,c") == ["a,b,c"]
        assert evaluate("a.split(',', 0)", a="a,b,c") == []
        assert evaluate("a.split(',', -1)", a="a,b") == ["a", "b"]
        assert evaluate("a.split(',')", a="") == [""]
        assert evaluate("a.split('')", a="añ☺") == ["a", "ñ", "☺"]
        assert evaluate("a.split('', 2)", a="añ☺") == ["a", "ñ☺"]
        assert evaluate("a.split('')", a="") == []

    def test_join(self) -> None:
        assert evaluate("a.join()", a=["x", "y"]) == "xy"
        assert evaluate("a.join(', ')", a=["x", "y"]) == "x, y"
        assert evaluate("a.join('/')", a=[]) == ""
        assert "join needs strings" in fails("a.join()", a=["x", 1])

    def test_a_quoted_string_is_a_literal_that_gives_it_back(self) -> None:
        text = 'a "b" \\ \a\b\f\n\r\t\v é ☺'
        quoted = evaluate("strings.quote(a)", a=text)
        assert "\n" not in quoted
        assert evaluate(quoted) == text


class TestFormat:
    @pytest.mark.parametrize(
        ("template", "value", "expected"),
        [
            ("%s", "x", "x"),
            ("%s", True, "true"),
            ("%s", None, "null"),
            ("%s", 1.0, "1"),
            ("%s", 1e21, "1000000000000000000000"),
            ("%s", -1.5e-7, "-0.00000015"),
            ("%s", [1, "a", [None, 2.5]], "[1, a, [null, 2.5]]"),
            ("%s", {"b": 1, "a": {"c": []}}, "{a: {c: []}, b: 1}"),
            ("%s", [], "[]"),
            ("%s", {}, "{}"),
            ("%d", 7, "7"),
            ("%d", 2.5, "2.5"),
            ("%f", 2.71828, "2.718280"),
            ("%.3f", 1.2345, "1.234"),
            ("%.3f", -123.4999, "-123.500"),
            ("%.0f", 3, "3"),
            ("%e", 2.71828, "2.718280e+00"),
            ("%.2e", 123456, "1.23e+05"),
            ("%b", 5, "101"),
            ("%b", -5, "-101"),
            ("%b", True, "1"),
            ("%o", 11, "13"),
            ("%x", 30, "1e"),
            ("%X", 30, "1E"),
            ("%x", "héllo", "68c3a96c6c6f"),
            ("100%% of %s", "x", "100% of x"),
        ],
    )
    def test_clauses(self, template: str, value: object, expected: str) -> None:
        assert evaluate("t.format([a])", t=template, a=value) == expected

    def test_times_types_and_bytes(self) -> None:
        assert evaluate("'%s'.format([duration('1h45m47.5s')])") == "6347.5s"
        time = "timestamp('2023-02-03T23:31:20+01:00')"
        assert evaluate(f"'%s'.format([{time}])") == "2023-02-03T22:31:20Z"
        assert evaluate("'%s %s'.format([type(1), b'xyz'])") == "int xyz"
        assert evaluate("'%X'.format([b'\\xff'])") == "FF"
        assert evaluate("'%s'.format([{1: 'a', true: 2, 3u: 4}])") == (
            "{1: a, 3: 4, true: 2}"
        )

    def test_what_has_no_digits_has_a_name(self) -> None:
        for clause in "sdfe":
            text = f"'%{clause}'.format([double('NaN')])"
            assert evaluate(text) == "NaN"
            text = f"'%{clause}'.format([double('-Infinity')])"
            assert evaluate(text) == "-Infinity"

    @pytest.mark.parametrize(
        ("template", "value", "message"),
        [
            ("%d", "x", "decimal clause"),
            ("%d", None, "decimal clause"),
            ("%f", "x", "fixed-point clause"),
            ("%e", True, "scientific clause"),
            ("%b", 1.0, "binary clause"),
            ("%o", True, "octal clause"),
            ("%x", 1.5, "hexadecimal clause"),
            ("%s %s", 1, "index 1 out of range"),
            ("%a", 1, "unrecognized formatting clause"),
            ("%", 1, "unexpected end of string"),
            ("%.1001f", 1, "precision"),
            ("%.f", 1, "precision"),
            ("%.99999999999999999999f", 1, "precision"),
        ],
    )
    def test_what_does_not_fit(
        self, template: str, value: object, message: str
    ) -> None:
        assert message in fails("t.format([a])", t=template, a=value)

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        assert "UTF-8" in fails("'%s'.format([b'\\xff'])")

    def test_a_constant_template_is_checked_when_it_is_compiled(self) -> None:
        with pytest.raises(InvalidExpression) as caught:
            compile_expression("'100%'.format([a])")
        assert "%%" in caught.value.hint


class TestCost:
    @pytest.mark.parametrize(
        "text",
        [
            "a.replace('x', a)",
            "a.replace('', a)",
            "lists.range(9000).map(i, a).join(a)",
            "cel.bind(l, lists.range(9000).map(i, a), '%s'.format([l]))",
            "lists.range(99999).map(i, '%.1000f'.format([1e300]))",
            "a.split('').map(i, a.split(''))",
        ],
    )
    def test_a_string_that_grows_ends_at_the_limit(self, text: str) -> None:
        found = answer(text, {"a": "x" * 5000}, unchecked=True)
        assert isinstance(found.error, CostLimitExceeded), found
