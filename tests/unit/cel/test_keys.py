"""Access keys: what they are, and that candidates contain every match."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import Environment, compile_expression
from pgrules.cel.facts import facts_to_json, parse_facts
from pgrules.cel.key_index import ALWAYS, Entry, Shapes
from pgrules.cel.keys import MOST_KEYS, Keys, access_keys
from tests.unit.cel import candidates

DOCUMENT = {
    "schema": {
        "User": {
            "Age": "int",
            "Born": "timestamp",
            "Wait": "duration",
            "Key": "bytes",
            "Name": "string",
            "Staff": "bool",
        },
        "Cart": {"Total": "float64"},
    },
    "derived": {
        "IsAdult": "User.Age >= 18",
        "Nick": "User.Name",
        "Taxed": "Cart.Total * 1.2",
        "Big": "IsAdult && Cart.Total > 100.0",
    },
}
DECLARED = Environment.from_json(json.dumps(DOCUMENT))
DYNAMIC = Environment()


def keys(text: str, environment: Environment = DYNAMIC) -> Keys:
    return access_keys(compile_expression(text, environment).tree, environment)


def finds(text: str, facts: dict[str, Any], environment: Environment = DYNAMIC) -> bool:
    """Whether a rule is a candidate for facts."""
    shapes = Shapes()
    entries = shapes.entries(keys(text, environment))
    questions = Shapes(shapes.added).questions(parse_facts(facts_to_json(facts)))
    return any(map(questions.finds, entries))


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_candidates_contain_every_match(random: Random) -> None:
    found = candidates.outcomes(random, rules=2, facts=3)
    assert not [str(each) for each in found if each.is_missed]


def test_among_many_rules_most_that_do_not_match_are_no_candidates() -> None:
    random = Random(5)  # noqa: S311 - wanted to be repeatable
    matching = found = all_of_them = 0
    for _ in range(20):
        for each in candidates.outcomes(random):
            all_of_them += 1
            matching += each.matches
            found += each.found
            assert not each.is_missed, each
    assert matching > all_of_them / 20
    assert found < all_of_them / 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b == 1", "a.b == 1"),
        ("1 == a.b", "a.b == 1"),
        ("a['b'] == 1", "a.b == 1"),
        ("a['b c'].d == 'x'", 'a["b c"].d == "x"'),
        ("a[0] == null", "a[0] == null"),
        ("a.b != 1", "has(a.b)"),
        ("!(a.b != 1)", "a.b == 1"),
        ("5 > a.b", "a.b < 5"),
        ("!(a.b < 5)", "a.b >= 5"),
        ("a.b >= 18 && a.b < 30", "a.b >= 18 and a.b < 30"),
        ("a > 1 && a > 2 && a < 9", "a > 2 and a < 9"),
        ("a.b in [1, 2]", "a.b == 1 or a.b == 2"),
        ("a.b in {'x': 1}", 'a.b == "x"'),
        ("a.b in []", "has(a.b)"),
        ("'x' in a.b", 'a.b[*] == "x"'),
        ("a.b", "a.b == true"),
        ("!a.b", "a.b == false"),
        ("a || !b", "a == true or b == false"),
        ("!(a && b)", "a == false or b == false"),
        ("a.startsWith('ab')", 'a.startsWith("ab")'),
        ("a.endsWith('ab')", "has(a)"),
        ("a.size() > 1", "has(a)"),
        ("a + b == 3", "has(a)"),
        ("has(a.b.c)", "has(a.b.c)"),
        ("!has(a.b.c)", "has(a.b)"),
        ("has(a.b) && a.b == 1", "a.b == 1"),
        ("a.b == 1 && c == 'x'", 'a.b == 1 and c == "x"'),
        ("a == 1 && b > 2", "a == 1 and b > 2"),
        ("a == 1 && a == 2", "never"),
        ("a > 2 && a < 1", "never"),
        ("a == 1 ? b : c == 2", "a == 1 and b == true or c == 2"),
        ("a.?b.orValue(0) == 1", "a.b == 1"),
        ("a.?b.hasValue()", "has(a.b)"),
        ("a[?'b'].?c == optional.of(1)", "has(a)"),
        ("xs.exists(x, x.a == 1)", "xs[*].a == 1"),
        ("xs.exists(x, x > 1 && x < 5)", "xs[*] > 1 and xs[*] < 5"),
        ("xs.exists(x, x > 1) && xs.exists(x, x < 5)", "xs[*] > 1"),
        ("!xs.all(x, x > 1)", "xs[*] <= 1"),
        ("xs.all(x, x > 1)", "has(xs)"),
        ("[1, 2].exists(x, x == a)", "a == 1 or a == 2"),
        ("cel.bind(x, a.b, x > 1 && x < 5)", "a.b > 1 and a.b < 5"),
        ("a == 1 || a / 0 == 1", "a == 1 or has(a)"),
        (
            "timestamp(a) < timestamp('2020-01-01T00:00:00Z')",
            'a < timestamp("2020-01-01T00:00:00Z")',
        ),
        ("false", "never"),
        ("false || a == 1", "a == 1"),
        ("1 == 2 || a == 1", "a == 1"),
        ("true && a == 1", "a == 1"),
    ],
)
def test_keys_of_clauses(text: str, expected: str) -> None:
    assert str(keys(text)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("true", "it is true for any facts"),
        ("a.?b.orValue(1) == 1", "it is true for any facts"),
        ("a == 1 || true", "it is true for any facts"),
        ("has(a.b) || int == 5", "nothing in it compares"),
        ("'a' + 'b' == 'ab'", "nothing in it compares"),
        (" || ".join(f"a{i} == 1" for i in range(MOST_KEYS + 1)), "more than 100"),
    ],
)
def test_a_rule_without_keys_says_why(text: str, reason: str) -> None:
    assert reason in keys(text).always
    assert Shapes().entries(keys(text)) == {Entry(ALWAYS)}


def test_too_many_values_of_a_field_become_its_presence() -> None:
    text = " || ".join(f"a.b == {i}" for i in range(MOST_KEYS + 1))
    assert str(keys(text)) == "has(a.b)"


def test_a_rule_that_is_too_large_is_always_a_candidate() -> None:
    # Each bound value is looked through twice.
    text = "x == 1"
    for i in range(20):
        text = f"cel.bind(v{i}, {text}, v{i} || v{i})"
    assert "too large" in keys(text).always


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IsAdult", "IsAdult == true or User.Age >= 18"),
        ("!IsAdult", "IsAdult == false or User.Age < 18"),
        ("Nick == 'a'", 'Nick == "a" or User.Name == "a"'),
        ("Taxed > 5.0", "Taxed > 5.0 or has(Cart.Total)"),
        ("User.Staff && User.Age > 20", "User.Staff == true and User.Age > 20"),
        ("User['Age'] == 3", "User.Age == 3"),
        (
            "User.Born == timestamp('2020-01-01T00:00:00Z')",
            'User.Born == timestamp("2020-01-01T00:00:00Z")',
        ),
        ("User.Born == null", "User.Born == null"),
        ("User.Wait > duration('1h')", 'User.Wait > duration("3600s")'),
    ],
)
def test_keys_with_a_schema_and_derived_fields(text: str, expected: str) -> None:
    assert str(keys(text, DECLARED)) == expected


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        # Numbers are equal across types, and an integer meets a double as a double.
        ("a == 1", 1.0, True),
        ("a == 1.0", 1, True),
        ("a == 1u", 1, True),
        ("a == 0.0", -0.0, True),
        ("a == -0.0", 0, True),
        ("a == 9007199254740992.0", 2**53 + 1, True),
        ("a >= 9007199254740993", 2.0**53, True),
        ("a == 18446744073709551615u", 2.0**64, True),
        ("a == 1", True, False),
        ("a == true", 1, False),
        ("a == 1", "1", False),
        ("a == null", None, True),
        ("a == null", False, False),
        ("a == double('NaN')", 1.0, True),
        ("!(a < double('NaN'))", 1.0, True),
        # The ends of a range are in it, however the number is written.
        ("a > -1.5", -1.5, True),
        ("a > -1.5", -1.6, False),
        ("a < -1.5", -1e300, True),
        ("a >= 0", -5e-324, False),
        ("a <= 9223372036854775807", 2**63 - 1, True),
        ("a > 5", "6", False),
        ("a > 'b'", "c", True),
        ("a > 'b'", "a", False),
        ("a > 'abcdefgh1'", "abcdefgh0", True),
        ("a < 'é'", "zz", True),
        ("a < 'z'", "é", False),
        ("a < '￿'", "\U00010000", False),
        ("a.startsWith('éa')", "éab", True),
        ("a.startsWith('ab')", "a", False),
        ("a.startsWith('ab')", ["ab"], False),
        ("1 in a", [2, 1.0], True),
        ("1 in a", [2, True], False),
        ("'k' in a", {"k": None}, True),
        ("'k' in a", "k", False),
        ("a[1] == 'x'", ["y", "x"], True),
        ("a[1] == 'x'", ["x"], False),
        ("a[1] == 'x'", {"1": "x"}, False),
        ("a['1'] == 'x'", {"1": "x"}, True),
        ("a.exists(k, k == 'b')", {"b": 1}, True),
        ("a.exists(e, e.f.exists(g, g > 3))", [{"f": [1]}, {"f": [1, 4]}], True),
        ("a.exists(e, e.f.exists(g, g > 3))", [{"f": [1]}, {"f": 4}], False),
        ("timestamp(a) == timestamp(1)", "1970-01-01T01:00:01+01:00", True),
        ("timestamp(a) == timestamp(1)", 1, True),
        ("timestamp(a) == timestamp(1)", "1970-01-01T00:00:02Z", False),
        ("a == timestamp(1)", "1970-01-01T00:00:01Z", True),
    ],
)
def test_values_of_facts_meet_keys(text: str, value: object, expected: bool) -> None:
    assert finds(text, {"a": value}) is expected


@pytest.mark.parametrize(
    ("text", "user", "expected"),
    [
        ("User.Age == 3", {"Age": 3.0}, True),
        ("timestamp(User.Age) == timestamp(3)", {"Age": 3.0}, True),
        ("User.Born == timestamp(0)", {"Born": "1970-01-01T01:00:00+01:00"}, True),
        ("User.Born == timestamp(0)", {"Born": "1970-01-01T00:00:00.000Z"}, True),
        ("User.Born == timestamp(0)", {"Born": None}, False),
        ("User.Born == null", {"Born": None}, True),
        ("User.Born != null", {"Born": None}, True),
        ("User.Wait == duration('90s')", {"Wait": "1m30s"}, True),
        ("User.Key == b'a'", {"Key": "YQ"}, True),
        ("User.Key == b'a'", {"Key": "YQ=="}, True),
        ("User.Key == b'a'", {"Key": "Yg=="}, False),
    ],
)
def test_declared_fields_are_compared_as_what_they_are_converted_to(
    text: str, user: dict[str, object], expected: bool
) -> None:
    assert finds(text, {"User": user}, DECLARED) is expected


class TestDerivedFields:
    @pytest.mark.parametrize("supplied", [True, False])
    def test_what_the_facts_supply_overrides_the_expression(
        self, supplied: bool
    ) -> None:
        facts = {"User": {"Age": 3}, "IsAdult": supplied}
        assert finds("IsAdult", facts, DECLARED) is supplied

    def test_one_that_depends_on_another_is_looked_through(self) -> None:
        cart = {"Total": 200}
        assert finds("Big", {"User": {"Age": 18}, "Cart": cart}, DECLARED)
        assert finds("Big", {"User": {}, "IsAdult": True, "Cart": cart}, DECLARED)
        poor = {"User": {"Age": 17}, "Cart": {"Total": 9}}
        assert not finds("Big", poor, DECLARED)


class TestShapes:
    def test_known_shapes_are_not_added_again(self) -> None:
        first = Shapes()
        first.entries(keys("a == 1 && b > 5"))
        assert first.added
        again = Shapes(first.added)
        again.entries(keys("a == 2 && b > 5"))
        assert again.added == []

    def test_a_key_is_the_same_in_any_process(self) -> None:
        found = Shapes().entries(keys("a.b == 'x' && c == 1"))
        assert found == {Entry(3180636896665458526)}

    def test_rules_over_many_fields_are_still_found(self) -> None:
        shapes = Shapes()
        rules = [
            (f"m['f{i}'].n == {i} && n{i} > 1", {"m": {f"f{i}": {"n": i}}, f"n{i}": 2})
            for i in range(2_000)
        ]
        entries = [shapes.entries(keys(text)) for text, _ in rules]
        # Where a shape each would be too many, keys of maps are looked up.
        assert len(shapes.levels) < 700
        for i in (0, 100, 1_000, 1_999):
            questions = shapes.questions(rules[i][1])
            found = [j for j in range(2_000) if any(map(questions.finds, entries[j]))]
            assert found == [i]

    def test_rules_over_many_variables_are_still_found(self) -> None:
        shapes = Shapes()
        entries = [shapes.entries(keys(f"v{i} == 1")) for i in range(1_000)]
        assert len(shapes.levels) < 700
        questions = shapes.questions({"v999": 1, "v5": 1})
        found = [j for j in range(1_000) if any(map(questions.finds, entries[j]))]
        assert found == [5, 999]

    @settings(max_examples=50)
    @given(
        st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), max_size=20),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
    def test_intervals_are_found_around_a_number(
        self, ends: list[tuple[float, float]], value: float
    ) -> None:
        shapes = Shapes()
        ends = [(a, b) for a, b in ends if abs(a) < 1e30 and abs(b) < 1e30]
        entries = [
            shapes.entries(keys(f"a >= double('{a!r}') && a <= double('{b!r}')"))
            for a, b in ends
        ]
        questions = shapes.questions({"a": value})
        found = [any(map(questions.finds, entry)) for entry in entries]
        assert found == [a <= value <= b for a, b in ends]
