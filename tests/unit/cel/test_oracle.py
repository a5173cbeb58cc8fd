"""Our results are those of Google's runtime, but for the listed differences.

``python -m tests.unit.cel.oracle 20000`` holds many more programs against it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.unit.cel import oracle, oracle_differences

pytestmark = pytest.mark.skipif(
    find_spec("cel_expr_python") is None,
    reason="the oracle is missing: install python[test], or run make setup",
)

FACTS = {
    "a": 1,
    "b": 2,
    "c": "x",
    "m": {letter: number for number, letter in enumerate("abcdefgh")},
    "xs": [1, 2.0, "three", None, True, {"a": [4]}],
}

# Where Python, C++ and Go have habits of their own.
PROBES = (
    *("1.0e400", "0x7fffffffffffffff", "-0x8000000000000000", "'\\x41'", "b'\\u00e9'"),
    *("1 / 0 == 1 || true", "-9223372036854775808 / -1", "-9223372036854775808 % -1"),
    *("5 % -3", "-5 / 2", "int(9223372036854775807.0)", "int(1e19)", "uint(-0.5)"),
    *("int(-0.9)", "double(9223372036854775807)", "int(' 1')", "int('+1')"),
    *("double('inf')", "double('NaN')", "double('0x1p3')", "double('1_000')"),
    *("bool('True')", "string(1.0e21)", "string(1e-7)", "string(123456789.0)"),
    *("string(1e15)", "string(5e-324)", "string(b'\\xff')", "size('\\U0001f600')"),
    *("b'\\xff' < b'a'", "[1] < [2]", "null == 1", "null < null", "dyn(null) + 1"),
    *("{1: 1}[1.0]", "[1][0u]", "[1][0.0]", "1.0 in [1]", "{1: 1, 1u: 2}"),
    *("{'a': 1}.a.b", "m.map(x, x)", "m.filter(x, x > 'b')", "m.map(x, m[x])[0]"),
    *("timestamp('2020-01-01')", "timestamp('2020-01-01T00:00:60Z')"),
    *("timestamp('2020-01-01t00:00:00z')", "timestamp(253402300800)"),
    *("timestamp('9999-12-31T23:59:59.999999999Z') + duration('1s')", "duration('1d')"),
    *("duration('1h1h')", "duration('-')", "duration('320000000000s')"),
    *("timestamp(0).getHours('America/St_Johns')", "timestamp(0).getHours('+24:00')"),
    *("timestamp(0).getHours('5:30')", "timestamp(0).getHours('Nowhere/X')"),
    *("'a'.replace('', '-')", "'abc'.replace('', '-', 2)", "'abc'.split('', 2)"),
    *(
        "'a,b'.split(',', 0)",
        "'a,b,'.split(',')",
        "''.split('')",
        "'a'.substring(0, 1)",
    ),
    *(
        "'\\u0085 x'.trim()",
        "strings.quote('\\u00e9\\u0007\\u0000')",
        "['a', 1].join()",
    ),
    *("'%.0f %.0e'.format([2.5, 2.5])", "'%s'.format([1e300])", "'%y'.format([1])"),
    *("'%b %o %x'.format([-5, -8, -255])", "'%s %s'.format([1])", "'%d'.format([1.5])"),
    *("'%s'.format([[1.0, 'a', null, b'x', type(1), {1: 2}]])", "'%s'.format([xs])"),
    *("math.round(-0.5)", "math.round(0.49999999999999994)", "math.sign(-0.0)"),
    *("math.bitShiftLeft(1, 64)", "math.bitShiftRight(-1, 1)", "math.greatest([])"),
    *("math.greatest(1, 1.0)", "math.least(1.0, 1)", "math.greatest(1, 0.0 / 0.0)"),
    *("optional.of(1) == optional.of(1.0)", "optional.ofNonZeroValue(timestamp(0))"),
    *("optional.of({'a': 1}).a", "optional.of([1])[0]", "m[?[1]]", "[1] in m"),
    *("type(optional.none())", "has(m.?a)", "int(true)", "base64.decode('YW Jj')"),
)


def test_generated_programs_give_what_google_s_runtime_gives() -> None:
    outcome = oracle.report(oracle.generated(1_500, seed=1))
    assert [str(differs) for differs in outcome.new] == []
    # Programs on which the oracle crashes prove nothing.
    assert outcome.lost < 15


def test_habits_of_other_languages_are_not_ours() -> None:
    outcome = oracle.report((text, FACTS) for text in PROBES)
    assert [str(differs) for differs in outcome.new] == []


def test_the_oracle_is_started_again_after_a_crash() -> None:
    with oracle.Oracle() as found:
        assert found.ask("1 + a", FACTS, checked=True).content == ["int", 2]
        assert found._process is not None
        found._process.kill()
        found._process.wait()
        assert found.ask("1 + a", FACTS, checked=True).kind == "lost"
        assert found.ask("1 + a", FACTS, checked=True).content == ["int", 2]


def test_a_difference_that_is_not_listed_is_new() -> None:
    differs = oracle.Difference(
        "a + b",
        FACTS,
        True,
        oracle.Outcome("value", ["int", 3]),
        oracle.Outcome("value", ["int", 4]),
    )
    assert oracle_differences.known(differs) is None


def test_every_listed_difference_is_explained() -> None:
    text = Path(__file__).parents[3].joinpath("docs/oracle.md").read_text()
    missing = {
        k.title for k in oracle_differences.KNOWN if f"| {k.title} |" not in text
    }
    assert missing == set()
