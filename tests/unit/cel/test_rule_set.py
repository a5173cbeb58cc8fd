"""A rule set says of each rule what its closures say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import CelError, Environment, compile_expression
from pgrules.cel.activation import activate, compile_derived
from pgrules.cel.cache import CAPACITY, ProgramCache, RuleSetCache
from pgrules.cel.errors import Interrupted
from pgrules.cel.limits import Limits
from pgrules.cel.rule_set import RuleSet
from tests.unit.cel import differential

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from pgrules.cel import Program

randoms = st.randoms(use_true_random=False)

# As many rules of one shape as make it worth while to compile a function.
MANY = 100


def rule_set(
    *expressions: str, compile_: Callable[[str], Program] = compile_expression
) -> RuleSet:
    texts = list(expressions)
    rules = RuleSet(texts, compile_)
    rules.generate()
    return rules


def matches(rules: RuleSet, **facts: Any) -> list[str]:
    """The rules that match, which a set says alike however it is asked."""
    matched, _ = rules.evaluate(facts)
    assert rules.evaluate(facts, matched_only=True).matched == matched
    return [rules.expressions[position] for position in matched]


@pytest.mark.parametrize("declared", [False, True])
@settings(max_examples=60, deadline=None)
@given(random=randoms)
def test_sets_and_closures_agree_on_any_rules_and_facts(
    random: Random, *, declared: bool
) -> None:
    rules = differential.rule_set(random, declared=declared)
    facts, expected, found, matched = differential.set_outcomes(
        rules, random, declared=declared
    )
    assert found == expected, (rules.expressions, facts)
    assert matched == [one for one, _ in expected], (rules.expressions, facts)


class TestKeys:
    """Rules that compare a path with a constant are found by its value."""

    def test_a_string_finds_the_rules_of_its_value(self) -> None:
        rules = rule_set(*(f"c == 'C{n}' && n > {n}" for n in range(MANY)))
        assert matches(rules, c="C7", n=8) == ["c == 'C7' && n > 7"]
        assert matches(rules, c="C7", n=7) == []
        assert matches(rules, c="D", n=8) == []

    def test_numbers_are_equal_whatever_their_type(self) -> None:
        rules = rule_set("n == 1", "n == 1.0", "n == 2")
        assert matches(rules, n=1) == ["n == 1", "n == 1.0"]
        assert matches(rules, n=1.0) == ["n == 1", "n == 1.0"]

    def test_true_is_not_one(self) -> None:
        rules = rule_set("n == 0", "n == 1", "n in [0, 1]", "n in [1, 2]")
        assert matches(rules, n=True) == []
        assert matches(rules, n=1) == ["n == 1", "n in [0, 1]", "n in [1, 2]"]

    def test_a_list_finds_each_rule_once(self) -> None:
        rules = rule_set("n in ['a', 'b', 'a']", "n in ['b', 'c', 'b']")
        assert matches(rules, n="a") == ["n in ['a', 'b', 'a']"]
        assert len(matches(rules, n="b")) == 2

    @pytest.mark.parametrize("value", [[], [1], {}, {"a": 1}, None, "1"])
    def test_what_is_no_number_equals_none(self, value: Any) -> None:
        rules = rule_set("n == 1", "n == 2", "n in [1, 2]", "n in [3]")
        assert matches(rules, n=value) == []
        assert rules.evaluate({"n": value}).errors == {}

    def test_a_large_number_is_compared_as_a_double(self) -> None:
        """From 2**53 on, an int and a double are compared as doubles."""
        rules = rule_set("n == 9007199254740992.0", "n == 4.0")
        assert matches(rules, n=2**53 + 1) == ["n == 9007199254740992.0"]


class TestErrors:
    def test_without_a_field_that_it_needs_no_rule_matches(self) -> None:
        """And none is evaluated by its closures to find that out."""
        compiled: list[str] = []

        def compile_(text: str) -> Program:
            compiled.append(text)
            return compile_expression(text)

        rules = rule_set(
            "a.b > 1 && a.c > 1",
            "a.d > 1 ? a.b > 1 : a.b > 2",
            "a.b > 1 || a.c > 1",
            "a.c in ['x'] || a.c == 1",
            compile_=compile_,
        )
        del compiled[:]
        assert rules.evaluate({"a": {"d": 1}}, matched_only=True) == ([], {})
        assert compiled == []
        assert list(rules.evaluate({"a": {"d": 1}}).errors) == [0, 1, 2, 3]

    def test_an_alternative_that_lacks_a_field_does_not_hide_another(self) -> None:
        rules = rule_set("a.b == 1 || a.b == 2 || c == 3", "a.b == 1 || c == 4")
        assert matches(rules, a={}, c=3) == ["a.b == 1 || a.b == 2 || c == 3"]
        assert matches(rules, a={"b": 1}) == rules.expressions
        assert matches(rules, a={"b": 2}, c=4) == rules.expressions

    def test_a_rule_that_fails_has_its_own_error(self) -> None:
        rules = rule_set("a.b > 1", "a.b > 2", "1 / c > 0", "a.b == 1 || d > 1")
        _, errors = rules.evaluate({"a": {}, "c": 0, "d": 0})
        assert errors == {
            0: "line 1, column 1: no such key: a.b",
            1: "line 1, column 1: no such key: a.b",
            2: "line 1, column 3: divide by zero",
            3: "line 1, column 1: no such key: a.b",
        }

    def test_a_missing_field_does_not_hide_a_clause_that_is_false(self) -> None:
        rules = rule_set("a.b > 1 && c == 1", "a.b > 2 && c == 2")
        assert rules.evaluate({"a": {}, "c": 2}).errors == {
            1: "line 1, column 1: no such key: a.b"
        }

    def test_a_missing_field_does_not_hide_a_clause_that_is_true(self) -> None:
        rules = rule_set("a.b > 1 || c == 1", "a.b > 2 || c == 2")
        assert matches(rules, a={}, c=2) == ["a.b > 2 || c == 2"]

    def test_a_rule_that_does_not_compile_fails_alone(self) -> None:
        rules = rule_set("a >", "a > 1")
        matched, errors = rules.evaluate({"a": 2})
        assert matched == [1]
        assert list(errors) == [0]
        assert errors[0].startswith("line 1, column 4: ")

    def test_a_rule_that_is_no_bool_does_not_match(self) -> None:
        rules = rule_set("'yes'", "a", "a && true")
        matched, errors = rules.evaluate({"a": "yes"})
        assert matched == []
        assert list(errors) == [2]


# Texts that look alike in some respect, and facts that tell them apart.
ALIKE: tuple[tuple[list[str], dict[str, Any]], ...] = (
    (["s == 'a'", "s == 'b'", "s == 'c'", 's == "c"', "'c' == s"], {"s": "c"}),
    (["""s == "it's" """, """s == 'it"s' """, """s == "it" """], {"s": "it's"}),
    (["s == 'a\\'b'", "s == 'a' + 'b'", "s == 'a'"], {"s": "a'b"}),
    (["s == r'a'", "s == r'b'", "s == 'b'", "s == R'b'"], {"s": "b"}),
    (["s == b'a'", "s == b'b'", "s == 'b'"], {"s": "b"}),
    (["s == '''a'''", "s == '''b'''", "s == '' + 'b'"], {"s": "b"}),
    (["s == 'a' // 'b'", "s == 'b' // 'a'", "s == 'b' // a'"], {"s": "b"}),
    (["s == 'x // y'", "s == 'x // z'", "s == 'x // w'"], {"s": "x // z"}),
    (["s.`a-b` == 2", "s.`a-b` == 3", "s.`a-c` == 3"], {"s": {"a-b": 3, "a-c": 3}}),
    (["n == 2", "n == 3", "n == 2.0", "n == 3.0", "n == 0x3", "n == 3u"], {"n": 3}),
    (["n == 2", "n == 1", "n == 0", "n == 1.0", "n == true"], {"n": True}),
    (["n == 2", "n == -2", "n == - 3", "n == -3", "n == 0 - 3"], {"n": -3}),
    (["n - 2 == 1", "n - 3 == 0", "n -2 == 1", "n + -2 == 1"], {"n": 3}),
    (["n > 2.5", "n > .5", "n > 3.5", "n > 2.5e0", "n > 25e-1"], {"n": 3}),
    (["n in [2, 3]", "n in [3, 3]", "n in [4, 5]", "n in [2.0, 3.0]"], {"n": 3}),
    (["n in [2, 3]", "n in [0, 3]", "n in [1, 3]", "n in [1, 2]"], {"n": True}),
    (["x[2] == 5", "x[0] == 5", "x[3] == 5", "x[9] == 5"], {"x": [5, 6, 7, 5]}),
    (["a2 == 2", "a3 == 2", "a3 == 3", "a2 == 3"], {"a2": 2, "a3": 3}),
    (["s.size() > 2", "s.size() > 3", "s.size() > 4"], {"s": "abcd"}),
    (["s.matches('a+')", "s.matches('b+')", "s.matches('(')"], {"s": "bb"}),
    (["timestamp('2020-01-01T00:00:00Z') < timestamp(s)"] * 2
     + ["timestamp('never') < timestamp(s)"], {"s": "2021-01-01T00:00:00Z"}),
    (["n == 9007199254740993", "n == 9007199254740992", "n == 9007199254740992.0"],
     {"n": 2**53 + 1}),
    (["n / 2 == 1", "n / 3 == 1", "n % 2 == 1", "n * 2 == 6", "n * 3 == 6"], {"n": 3}),
    (["n == 99999999999999999999", "n == 3", "n == 4"], {"n": 3}),
    (["'x'in s", "'y'in s", "'z'in s", "'y' in s"], {"s": ["y"]}),
    (["{'a': 2}.a == n", "{'a': 3}.a == n", "{'b': 3}.a == n"], {"n": 3}),
    (["size(['a', 'b']) == n", "size(['a', 'c']) == n", "['a', 'd'][1] == 'd'"],
     {"n": 2}),
    (["s == 'Zürich'", "s == 'Köln'", "s == 'Bern'"], {"s": "Köln"}),
    (["n > 2 ? s == 'a' : s == 'b'", "n > 4 ? s == 'a' : s == 'c'",
      "n > 5 ? s == 'a' : s == 'b'"], {"n": 3, "s": "c"}),
)  # fmt: skip


@pytest.mark.parametrize(("expressions", "facts"), ALIKE)
def test_texts_that_look_alike_are_told_apart(
    expressions: list[str], facts: dict[str, Any]
) -> None:
    for texts in (expressions * 3, expressions[::-1] * 2):
        expected: list[tuple[bool, str | None]] = []
        for text in texts:
            try:
                value = compile_expression(text).interpret(facts)
                expected.append((value is True, None))
            except CelError as error:
                expected.append((False, str(error)))
        matched, errors = rule_set(*texts).evaluate(facts)
        found = [(n in matched, errors.get(n)) for n in range(len(texts))]
        assert found == expected


class TestLimits:
    def test_a_rule_beyond_its_limit_fails_alone(self) -> None:
        loops = [f"xs.all(x, xs.all(y, x + y >= {n}))" for n in (0, 5_000_000)]
        rules = rule_set(*loops)
        matched, errors = rules.evaluate({"xs": list(range(2_000))})
        assert matched == []
        assert "costs more than" in errors[0]
        assert list(errors) == [0]

    def test_a_small_limit_is_kept(self) -> None:
        tiny = Environment(limits=Limits(cost=3))
        rules = rule_set(
            "a == 1 && a == 1 && a == 1",
            "a == 1",
            compile_=lambda text: compile_expression(text, tiny, unchecked=True),
        )
        matched, errors = rules.evaluate({"a": 1})
        assert matched == [1]
        assert list(errors) == [0]

    def test_a_key_does_not_save_a_rule_from_the_limit_of_an_earlier_clause(
        self,
    ) -> None:
        rules = rule_set("xs.all(x, xs.all(y, x + y >= 0)) && a == 'b'")
        _, errors = rules.evaluate({"xs": list(range(2_000)), "a": "c"})
        assert list(errors) == [0]

    @pytest.mark.parametrize(
        "expression", ["a.b > 1", "a.b.c == 1", "xs.all(x, x > 0)", "xs.map(x, x)"]
    )
    def test_an_evaluation_ends_when_the_server_says_so(self, expression: str) -> None:
        rules = rule_set(expression)
        for told in (1, 2):
            answers = iter([False] * (told - 1) + [True] * 100)
            with pytest.raises(Interrupted):
                rules.evaluate({"xs": [1]}, answers.__next__)

    def test_loading_ends_when_the_server_says_so(self) -> None:
        with pytest.raises(Interrupted):
            RuleSet(["true"], compile_expression, (), lambda: True)


class TestDerivedFields:
    """All of them share one limit, so what is over it depends on the order."""

    def test_are_computed_in_the_order_of_the_rules(self) -> None:
        loop = "xs.all(x, xs.all(y, x + y >= {}))"
        of = Environment.from_json(
            json.dumps({"derived": {"A": loop.format(0), "B": loop.format(-1)}})
        )
        texts = ["n == 'b' && B", "n == 'a' && A", "n == 'a' && B"]
        names = ["A", "B"]
        fields = compile_derived(of)
        rules = RuleSet(texts, lambda text: compile_expression(text, of), names)
        rules.generate()
        for name, text in (("a", "n == 'a' && A"), ("b", "n == 'b' && B")):
            facts = {"xs": list(range(380)), "n": name}
            variables = activate(facts, fields, 1_000_000)
            expected = {
                position: str(error)
                for position, error in failures(texts, of, variables)
            }
            shared = activate(facts, fields, 1_000_000)
            matched, errors = rules.evaluate(shared)
            assert [texts[position] for position in matched] == [text]
            assert errors == expected

    def test_are_not_computed_for_a_rule_that_does_not_need_them(self) -> None:
        of = Environment.from_json(json.dumps({"derived": {"A": "1 / 0 == 1"}}))
        texts = ["a == 1 && A", "a == 2 && A"]
        rules = RuleSet(texts, lambda text: compile_expression(text, of), ["A"])
        rules.generate()
        _, errors = rules.evaluate(activate({"a": 3}, compile_derived(of), 1_000_000))
        assert errors == {}


def failures(
    texts: list[str], of: Environment, variables: dict[str, Any]
) -> list[tuple[int, Exception]]:
    found: list[tuple[int, Exception]] = []
    for position, text in enumerate(texts):
        try:
            compile_expression(text, of).interpret(variables)
        except Exception as error:  # noqa: BLE001 - they are compared
            found.append((position, error))
    return found


class TestCache:
    def of_size(self, nodes: int) -> RuleSet:
        rules = rule_set("true")
        rules.nodes = nodes
        return rules

    def test_a_set_is_found_by_its_key_and_its_environment(self) -> None:
        cache = RuleSetCache()
        rules = self.of_size(1)
        cache.put("key", "{}", rules)
        assert cache.get("key", "{}") is rules
        assert cache.get("key", '{"derived": {}}') is None
        assert cache.get("other", "{}") is None

    def test_the_set_that_was_unused_for_longest_goes(self) -> None:
        cache = RuleSetCache(capacity=10)
        for key in "abc":
            cache.put(key, "{}", self.of_size(4))
            cache.get("a", "{}")
        assert cache.get("b", "{}") is None
        assert cache.get("a", "{}") is not None
        assert cache.nodes == 8

    def test_a_set_beyond_the_capacity_is_not_kept(self) -> None:
        cache = RuleSetCache(capacity=10)
        cache.put("small", "{}", self.of_size(4))
        cache.put("large", "{}", self.of_size(11))
        assert cache.get("large", "{}") is None
        assert cache.get("small", "{}") is not None

    def test_a_set_is_replaced_under_its_key(self) -> None:
        cache = RuleSetCache(capacity=10)
        for nodes in (4, 6):
            cache.put("key", "{}", self.of_size(nodes))
        assert (len(cache), cache.nodes) == (1, 6)

    def test_what_sets_weigh_programs_do_not(self) -> None:
        """Both together stay below what programs alone may weigh."""
        sets, programs = RuleSetCache(capacity=2 * CAPACITY), ProgramCache()
        for n in range(10):
            programs.program(f"a == {n}", "{}", Environment())
        assert programs.nodes == 30
        sets.put("key", "{}", self.of_size(2 * (CAPACITY - 15)))
        programs.resize(sets.programs_left)
        assert programs.nodes == 15
        sets.put("key", "{}", self.of_size(2))
        programs.resize(sets.programs_left)
        assert programs.capacity == CAPACITY - 1
