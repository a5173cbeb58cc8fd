"""What an evaluation costs is no more than was estimated when it was compiled."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import (
    Environment,
    ExpressionTooLarge,
    InvalidExpression,
    Limits,
    compile_expression,
)
from pgrules.cel.estimate import _FUNCTIONS
from pgrules.cel.standard import STANDARD
from tests.unit.cel import generation, oracle

# Small, so that random facts reach them; and no expression is refused.
_LIMITS = Limits(
    cost=10**15, assumed_elements=4, assumed_characters=25, assumed_weight=12
)
_ENVIRONMENT = Environment(limits=_LIMITS)
_TEXTS = ("", "a", "ab,ab", "x" * 10, "aAbB" * 5, "\u00e9" * 25, "a,b,c,d,e,f,g,h")
_NUMBERS = (0, 1, 4, 2.5, 2**63 - 1, -(2**63), 1e21, -1.2345678901234567e-5)


def weight(value: Any) -> int:
    """What comparing a value costs, and a unit for ten characters of a key."""
    if isinstance(value, str):
        return len(value) // 10
    if isinstance(value, list):
        return sum(1 + weight(part) for part in value)
    if isinstance(value, dict):
        return sum(1 + weight(key) + weight(part) for key, part in value.items())
    return 0


def value(random: Random, depth: int) -> Any:
    kind = random.random()
    if depth == 0 or kind < 0.35:
        return random.choice((*_TEXTS, *_TEXTS, *_NUMBERS, True, None))
    parts = [value(random, depth - 1) for _ in range(random.randint(0, 4))]
    if kind < 0.8:
        return parts
    return dict(zip("abck", parts, strict=False))


def facts(random: Random) -> dict[str, Any]:
    """Facts as large as is assumed, but never larger."""
    found = {}
    for name in generation.NAMES:
        while weight(part := value(random, 2)) > _LIMITS.assumed_weight:
            pass
        found[name] = part
    return found


# Where sizes grow, with places for parts.
_GROWING = (
    "{0}.map(x, {1})", "{0}.all(x, {1} == x)", "{0}.exists(x, {0}.all(y, x == y))",
    "{0}.map(x, x + {1})", "{0}.filter(x, x != {1})", "{0}.transformList(x, y, [x, y])",
    "{0}.transformMap(x, y, {1})", "{0}.transformMapEntry(x, y, {{x: {1}}})",
    "{0}.sortBy(x, {1})", "{0}.map(x, {0}.map(y, x + y))", "{0}.map(x, x in {1})",
    "{0} + {1}", "[{0}, {1}, {0}]", "{{'a': {0}, 'b': {1}}}", "{0}.a", "{0}[{1}]",
    "{0} == {1}", "{0} in {1}", "{0}.replace({1}, {0})", "{0}.replace('', {1})",
    "{0}.split({1})", "{0}.split('')", "{0}.join({1})", "{0}.map(x, string(x)).join()",
    "'%s|%s'.format([{0}, {1}])", "'%x %s'.format([{0}, {1}])", "{0}.format({1})",
    "'%.99f'.format([{0}])", "'%s %s'.format({0})", "{0}.reverse()", "{0}.flatten()",
    "{0}.flatten(3)", "{0}.distinct()", "{0}.sort()", "lists.range(size({0}))",
    "lists.range(7)", "sets.contains({0}, {1})", "sets.equivalent({0}, {1})",
    "sets.intersects({0}, {1})", "{0}.slice(0, 2)", "cel.bind(v, {0}, [v, v, {1}])",
    "{0} ? {1} : {0}", "optional.of({0}).orValue({1})", "{0}[?{1}]", "{0}.?a",
    "[?{0}.?a, {1}]", "{0}.first()", "{0}.matches({1})", "{0}.matches('a*b')",
    "regex.replace({0}, '(a)|b', '\\\\1x')", "regex.extractAll({0}, 'a?')",
    "regex.extract({0}, {1})", "string({0})", "bytes({0})", "base64.encode(bytes({0}))",
    "strings.quote({0})", "{0}.lowerAscii()", "{0}.indexOf({1})", "{0}.trim()",
    "{0}.substring(1)", "math.greatest({0})", "{0} < {1}", "double({0})", "size({0})",
    "isIP({0})", "{0}.map(x, {0}.filter(y, y == x))", "{0}.optMap(v, [v, {1}])",
    "{0}.map(x, x.a + x.b)", "{0}.map(x, '%s'.format([x.a])).join(',')", "dyn({0})",
    "timestamp({0})", "{0}.all(x, y, x == y)", "({0} && {1}) == {0}", "!({0})",
)  # fmt: skip
_LEAVES = (*generation.NAMES, *generation.NAMES, "'abcdefghijkl'", "[1, 2]", "m.a", "1",
           "xs.map(x, x)", "['ab', 'abcdefghij']")  # fmt: skip


def growing(random: Random, depth: int) -> str:
    if depth == 0:
        return random.choice(_LEAVES)
    parts = (growing(random, depth - random.randint(1, depth)) for _ in range(2))
    return f"({random.choice(_GROWING).format(*parts)})"


def held(random: Random, text: str) -> None:
    try:
        program = compile_expression(text, _ENVIRONMENT)
    except InvalidExpression:
        return
    for _ in range(3):
        found = facts(random)
        cost = program.cost(found)
        assert cost <= program.estimate, (text, found, cost, program.estimate)


randoms = st.randoms(use_true_random=False)


@settings(max_examples=1_500, deadline=None)
@given(random=randoms)
def test_no_evaluation_costs_more_than_its_estimate(random: Random) -> None:
    held(random, growing(random, random.randint(1, 4)))


@settings(max_examples=500, deadline=None)
@given(random=randoms)
def test_no_generated_program_costs_more_than_its_estimate(random: Random) -> None:
    held(random, oracle.program(random))
    held(random, generation.expression(random, 4))


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "column"),
        [
            ("l.all(a, l.all(b, l.all(c, a < b && b < c)))", 21),
            ("l.map(a, l.map(b, l.map(c, l))).size() > 0", 21),
            ("l.size() > 0 && l.exists(x, l.map(y, l == m) == [])", 31),
            ("lists.range(1000000000000).size() == 1", 7),
            ("s.replace('', s).replace('', s) == ''", 18),
            ("s.split('').map(x, s.split('')) == []", 22),
            ("lists.range(999).map(i, lists.range(9999)).size() == 1", 31),
            ("a.b.c" + " + a.b.c" * 3 + " == 1 || l.all(x, l.all(y, l == m))", 50),
        ],
    )
    def test_what_can_cost_too_much_is_refused_at_the_part_that_grows(
        self, text: str, column: int
    ) -> None:
        with pytest.raises(ExpressionTooLarge) as caught:
            compile_expression(text)
        (problem,) = caught.value.problems
        assert "of 1,000,000 allowed" in problem.message
        assert (problem.column, caught.value.sqlstate) == (column, "RE021")
        assert "100 elements" in problem.hint

    def test_the_loops_around_are_counted(self) -> None:
        with pytest.raises(ExpressionTooLarge, match="up to 1,000,000 times"):
            compile_expression("l.all(a, l.all(b, l.all(c, true)))")

    @pytest.mark.parametrize(
        "text",
        [
            "User.Age >= 18 && Transaction.Amount < 100.0",
            "l.all(a, l.all(b, a.id != b.id || a.iban == b.iban && a.n + b.n > 1))",
            "l.all(a, a.tags.all(t, t.startsWith('x')))",
            "l.map(a, '%s-%d'.format([a.id, a.n])).join(', ') != ''",
            "'%s-%s'.format([a.b, a.c]).matches('^[a-z]+-[a-z]+$')",
            "'%s: %d'.format([a.b, a.c]).split(': ').join('-') == b.c",
            "l.map(a, a.id).distinct().size() == l.size()",
            "name.matches('^[a-z]+$') && l.exists(x, x.name.matches('a|b'))",
            "l.sortBy(x, x.n).map(x, x.id) == m",
            "x == 1" + " || x == 2" * 3_000,
            "sets.intersects(l.map(x, x.tag), ['a', 'b'])",
        ],
    )
    def test_what_rules_are_made_of_is_accepted(self, text: str) -> None:
        assert compile_expression(text).estimate <= Limits().cost

    def test_what_is_taken_unchecked_is_left_to_the_evaluation(self) -> None:
        program = compile_expression("lists.range(10000000).size()", unchecked=True)
        assert program.estimate > Limits().cost

    def test_the_limit_and_the_sizes_are_the_environments(self) -> None:
        text = "l.all(a, l.all(b, l.all(c, true)))"
        fewer = Environment(limits=Limits(assumed_elements=10))
        assert compile_expression(text, fewer).estimate < 10_000
        cheap = Environment(limits=Limits(cost=1_000))
        with pytest.raises(ExpressionTooLarge):
            compile_expression("l.all(a, l.all(b, true))", cheap)

    def test_an_estimate_fits_a_bigint(self) -> None:
        text = "l.all(x, " * 60 + "true" + ")" * 60
        assert compile_expression(text, unchecked=True).estimate == (1 << 63) - 1
        grown = "s" + ".replace('', s)" * 90
        assert compile_expression(grown, unchecked=True).estimate > Limits().cost

    def test_an_estimate_of_literals_is_exact(self) -> None:
        for text in ("[1, 2, 3].all(x, x > 0)", "1 in [1, 2, 3]", "'a' + 'b' == 'ab'"):
            program = compile_expression(text)
            assert program.estimate == program.cost({}), text

    def test_each_function_says_what_it_charges(self) -> None:
        assert set(STANDARD) == set(_FUNCTIONS)

    def test_a_derived_field_is_as_large_as_its_expression(self) -> None:
        environment = Environment.from_json('{"derived": {"D": "lists.range(5000)"}}')
        program = compile_expression("D.all(x, x >= 0)", environment)
        assert program.estimate > 4 * 5_000

    def test_a_long_chain_of_derived_fields_is_estimated_in_time(self) -> None:
        chain = {f"D{n}": f"D{n - 1} + D{n - 1}" if n else "x" for n in range(300)}
        environment = Environment.from_json(json.dumps({"derived": chain}))
        assert compile_expression("D299 == 1", environment).estimate < 10_000
