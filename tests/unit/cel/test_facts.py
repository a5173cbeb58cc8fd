"""Facts and results: JSON text, Python mappings, what jsonb keeps."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import sys
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgrules.cel import EvaluationError, InvalidFacts, types
from pgrules.cel.facts import (
    FactLimits,
    facts_from_mapping,
    facts_to_json,
    parse_facts,
    parse_many,
    value_to_json,
)
from pgrules.cel.temporal import Duration, Timestamp
from pgrules.cel.values import FALSE_KEY, TRUE_KEY, Uint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fixtures.database import Database

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner),
    max_leaves=20,
)
mappings = st.dictionaries(texts, values, max_size=5)


def exact(value: object) -> object:
    """A form in which True, 1 and 1.0 differ, and the order of keys counts."""
    if isinstance(value, dict):
        return [(key, exact(part)) for key, part in value.items()]
    if isinstance(value, list):
        return [exact(part) for part in value]
    return (type(value), repr(value))


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(InvalidFacts) as caught:
        call(*arguments)
    assert caught.value.sqlstate == "RE030"
    return str(caught.value)


class TestParsing:
    def test_a_number_without_fraction_or_exponent_is_an_int(self) -> None:
        facts = parse_facts('{"a": 1, "b": -0, "c": 1.0, "d": 1e2, "e": 0.5}')
        assert exact(facts) == exact({"a": 1, "b": 0, "c": 1.0, "d": 100.0, "e": 0.5})

    @pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
    def test_the_ends_of_64_bits_are_ints(self, number: int) -> None:
        assert parse_facts(f'{{"a": {number}}}') == {"a": number}

    @pytest.mark.parametrize(
        "digits",
        [str(2**63), str(-(2**63) - 1), str(2**64), "1" + "0" * 131_071],
        ids=len,
    )
    def test_an_integer_outside_64_bits_is_refused_with_its_path(
        self, digits: str
    ) -> None:
        text = f'{{"User": {{"Ids": [1, {{"of card": {digits}}}]}}}}'
        message = refusal(parse_facts, text)
        assert message.startswith('invalid facts: User.Ids[1]["of card"]: the number ')
        assert "does not fit a 64-bit integer" in message
        assert len(message) < 200

    @pytest.mark.parametrize(
        "number", ["1e309", "-1e+309", "1E999999999", "9" * 400 + ".0"]
    )
    def test_a_number_beyond_all_doubles_is_refused_with_its_path(
        self, number: str
    ) -> None:
        message = refusal(parse_facts, f'{{"a": [{number}]}}')
        assert message.startswith("invalid facts: a[0]: the number ")
        assert "does not fit a double" in message

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": "9999999999999999999999"}',
            '{"a": "1e9999"}',
            '{"a": 9999999999999999999999.0}',
            '{"a": 0.00000000000000000000000000000001}',
            '{"a": 1e-9999}',
            '{"12345678901234567890": 1}',
        ],
    )
    def test_digits_that_are_no_large_number_are_no_reason_to_refuse(
        self, text: str
    ) -> None:
        assert exact(parse_facts(text)) == exact(json.loads(text))

    def test_a_number_that_a_later_key_replaces_is_refused_all_the_same(self) -> None:
        message = refusal(parse_facts, '{"a": 9223372036854775808, "a": 1}')
        assert message.endswith("9223372036854775808 does not fit a 64-bit integer")

    @pytest.mark.parametrize(
        "rest", ["", "[" * 100_000, "NaN}", '{"a": 9223372036854775808'], ids=len
    )
    def test_text_that_is_wrong_in_two_ways_is_refused_for_one(self, rest: str) -> None:
        message = refusal(parse_facts, '{"a": 9223372036854775808, "b": ' + rest)
        assert "9223372036854775808 does not fit" in message

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("[]", "an array"),
            ("null", "null"),
            ("true", "a boolean"),
            ('"x"', "a string"),
            ("1", "a number"),
            ("1.5", "a number"),
        ],
    )
    def test_facts_that_are_no_object_are_refused(self, text: str, kind: str) -> None:
        message = refusal(parse_facts, text)
        assert message == f"invalid facts: a JSON object is expected, not {kind}"

    @pytest.mark.parametrize(
        "text", ["", "{", '{"a":}', "{} {}", '{"a": "\0"}', "{'a'}"]
    )
    def test_text_that_is_no_json_is_refused_with_line_and_column(
        self, text: str
    ) -> None:
        assert "no valid JSON at line 1, column " in refusal(parse_facts, text)

    @pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
    def test_the_words_that_python_takes_for_numbers_are_refused(
        self, name: str
    ) -> None:
        message = refusal(parse_facts, f'{{"a": {name}}}')
        assert message == f"invalid facts: {name} is no JSON number"

    def test_escaped_nul_and_halves_of_surrogate_pairs_are_refused(self) -> None:
        assert "a[0]: the character NUL" in refusal(parse_facts, '{"a": ["\\u0000"]}')
        assert "surrogate" in refusal(parse_facts, '{"a": "\\ud83d"}')
        assert "surrogate" in refusal(parse_facts, '{"\\uDC00": 1}')
        assert "surrogate" in refusal(parse_facts, '{"a": "\ud83d"}')
        assert parse_facts('{"a": "\\ud83d\\ude00\\u0001\\\\u0000"}') == {
            "a": "\U0001f600\1\\u0000"
        }

    def test_nesting_is_bounded(self) -> None:
        deepest = '{"a":' + "[" * 99 + "]" * 99 + "}"
        assert parse_facts(deepest)
        for levels in (100, 1_000, 10_000, 1_000_000):
            text = '{"a":' + "[" * levels + "]" * levels + "}"
            assert "nested more than 100 levels" in refusal(parse_facts, text)

    def test_brackets_in_strings_and_beside_each_other_are_no_nesting(self) -> None:
        facts = {"a": "[{" * 200, "b": [[] for _ in range(500)]}
        assert parse_facts(json.dumps(facts)) == facts

    def test_size_is_bounded(self) -> None:
        limits = FactLimits(size=20)
        assert parse_facts('{"a": "012345678901"}'[:-3] + '"}', limits)
        message = refusal(parse_facts, '{"a": "01234567890123"}', limits)
        assert message == "invalid facts: larger than 20 characters of JSON"

    def test_a_caller_deep_in_python_gets_an_answer_or_invalid_facts(self) -> None:
        text = '{"a":' + "[" * 99 + "]" * 99 + "}"
        outcomes = set()

        def descend() -> None:
            try:
                outcomes.add(parse_facts(text) is not None)
            except InvalidFacts:
                outcomes.add(False)
            descend()

        with pytest.raises(RecursionError):
            descend()
        assert outcomes == {True, False}

    @pytest.mark.parametrize(
        "text",
        [
            '{"a":' * 800_000,
            '{"a": [' + "9" * 4_000_000 + "]}",
            '{"a": [' + "[]," * 1_300_000 + "1]}",
            '{"a": "' + "\\u0041" * 600_000 + '"}',
            '{"a": [' + "1e400," * 600_000 + "1]}",
        ],
        ids=["deep", "digits", "many lists", "escapes", "many out of range"],
    )
    @pytest.mark.timeout(60)
    def test_the_worst_texts_within_the_size_take_no_quadratic_time(
        self, text: str
    ) -> None:
        with contextlib.suppress(InvalidFacts):
            parse_facts(text)


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Named(str, enum.Enum):  # noqa: UP042 - what code before Python 3.11 has
    FIRST = "first"


class Metres(float):
    def __repr__(self) -> str:
        return "a length"


class TestMappings:
    @given(mappings)
    def test_what_goes_through_json_text_is_the_copy(
        self, mapping: dict[str, Any]
    ) -> None:
        text = facts_to_json(mapping)
        assert exact(parse_facts(text)) == exact(facts_from_mapping(mapping))

    @given(mappings)
    def test_a_copy_is_its_own_copy_and_equal(self, mapping: dict[str, Any]) -> None:
        copy = facts_from_mapping(mapping)
        assert copy == mapping
        assert exact(facts_from_mapping(copy)) == exact(copy)

    def test_a_copy_shares_nothing_that_can_change(self) -> None:
        original: dict[str, Any] = {"a": [{"b": []}]}
        copy = facts_from_mapping(original)
        original["a"][0]["b"].append(1)
        assert copy == {"a": [{"b": []}]}

    def test_keys_are_ordered_as_jsonb_orders_them(self) -> None:
        copy = facts_from_mapping(dict.fromkeys(["bb", "a", "é", "B", "", "zz", "ab"]))
        assert list(copy) == ["", "B", "a", "ab", "bb", "zz", "é"]

    @pytest.mark.parametrize(
        ("value", "stored"),
        [
            (True, True),
            (-0.0, 0.0),
            ((1, (2,)), [1, [2]]),
            (OrderedDict(a=1), {"a": 1}),
            (MappingProxyType({"a": 1}), {"a": 1}),
            (Colour.RED, "red"),
            (Named.FIRST, "first"),
            (Level.HIGH, 3),
            (Metres(1.5), 1.5),
            (Uint(7), 7),
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (Decimal(5), 5),
            (Decimal("-0"), 0),
            (Decimal("5.0"), 5.0),
            (Decimal("5E+3"), 5000.0),
            (datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC), "2009-02-13T23:31:30Z"),
            (
                datetime(1, 2, 3, 4, 5, 6, 700, timezone(timedelta(hours=1))),
                "0001-02-03T03:05:06.0007Z",
            ),
            (timedelta(minutes=-1, microseconds=1), "-59.999999s"),
            (Timestamp(1), "1970-01-01T00:00:00.000000001Z"),
            (Duration(-1_500_000_000), "-1.5s"),
        ],
        ids=repr,
    )
    def test_values_become_what_jsonb_would_hold(
        self, value: object, stored: object
    ) -> None:
        assert exact(facts_from_mapping({"a": value})) == exact({"a": stored})

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (math.nan, "nan is no JSON number"),
            (math.inf, "inf is no JSON number"),
            (Metres("-inf"), "-inf is no JSON number"),
            (2**63, "the number 9223372036854775808 does not fit a 64-bit integer"),
            (10**100_000, "the number 332193 bits does not fit a 64-bit integer"),
            (Decimal("NaN"), "NaN is no JSON number"),
            (Decimal("1e400"), "the number 1E+400 does not fit a double"),
            (Decimal(2**63), "does not fit a 64-bit integer"),
            ("a\0b", "the character NUL cannot be stored in jsonb"),
            ("\ud800", "half of a surrogate pair is no character"),
            ({"\ud800": 1}, "half of a surrogate pair is no character"),
            ({1: 2}, "a key of type int is no string"),
            ({None: 2}, "a key of type NoneType is no string"),
            ({1, 2}, "a value of type set has no place in JSON"),
            (b"x", "a value of type bytes has no place in JSON"),
            (1j, "a value of type complex has no place in JSON"),
            (object(), "a value of type object has no place in JSON"),
            (date(2009, 2, 13), "a value of type date has no place in JSON"),
            (datetime(2009, 2, 13), "a datetime without a time zone"),  # noqa: DTZ001
            (
                datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
                "outside the years 1 to 9999",
            ),
            (timedelta(days=200_000), "is longer than CEL's durations"),
        ],
        ids=lambda value: value if isinstance(value, str) else type(value).__name__,
    )
    def test_a_value_that_jsonb_cannot_hold_is_refused_with_its_path(
        self, value: object, reason: str
    ) -> None:
        facts = {"User": {"Addresses": [0, 1, 2, {"Zip": value}]}}
        for call in (facts_from_mapping, facts_to_json):
            message = refusal(call, facts)
            assert message.startswith("invalid facts: User.Addresses[3].Zip")
            assert reason in message

    @pytest.mark.parametrize("facts", [None, [], "x", 1, [("a", 1)]], ids=repr)
    def test_facts_that_are_no_mapping_are_refused(self, facts: Any) -> None:
        assert "a mapping is expected" in refusal(facts_from_mapping, facts)

    def test_a_structure_that_contains_itself_is_refused(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        assert "it contains itself" in refusal(facts_from_mapping, {"a": loop})

    def test_nesting_is_bounded_as_for_text(self) -> None:
        nested: Any = []
        for _ in range(98):
            nested = [nested]
        assert facts_from_mapping({"a": nested})
        message = refusal(facts_from_mapping, {"a": [nested]})
        assert "nested more than 100 levels" in message
        assert len(message) < 200

    def test_size_is_bounded_even_where_parts_are_shared(self) -> None:
        laughs: Any = ["ha"]
        for _ in range(60):
            laughs = [laughs] * 10
        assert "larger than" in refusal(facts_from_mapping, {"a": laughs})
        limits = FactLimits(size=100)
        assert "larger than" in refusal(facts_from_mapping, {"a": "x" * 99}, limits)
        assert "larger than" in refusal(facts_to_json, {"a": [1.5] * 30}, limits)

    def test_a_caller_deep_in_python_gets_an_answer_or_invalid_facts(self) -> None:
        nested: Any = 1
        for _ in range(90):
            nested = [nested]
        outcomes = set()

        def descend() -> None:
            try:
                outcomes.add(facts_from_mapping({"a": nested}) is not None)
            except InvalidFacts:
                outcomes.add(False)
            descend()

        with pytest.raises(RecursionError):
            descend()
        assert outcomes == {True, False}


class TestJsonText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1e16, "10000000000000000.0"),
            (-1.5e16, "-15000000000000000.0"),
            (1e22, "10000000000000000000000.0"),
            (1.7976931348623157e308, "17976931348623157" + "0" * 292 + ".0"),
            (1.0, "1.0"),
            (1e-7, "1e-07"),
            ("1e+16", '"1e+16"'),
            (10**16, "10000000000000000"),
        ],
    )
    def test_a_double_keeps_its_fraction_in_jsonb(
        self, value: object, text: str
    ) -> None:
        assert facts_to_json({"a": value, "e+": 1}) == f'{{"a":{text},"e+":1}}'
        assert facts_to_json({"a": value}) == f'{{"a":{text}}}'

    @pytest.mark.integration
    def test_what_goes_through_jsonb_is_the_copy(self, database: Database) -> None:
        connection = database.connect(autocommit=True)

        @settings(max_examples=500, deadline=None)
        @given(mappings)
        def round_trip(mapping: Mapping[str, Any]) -> None:
            row = connection.execute(
                "SELECT (%s::jsonb)::text", [facts_to_json(mapping)]
            ).fetchone()
            assert row is not None
            assert exact(parse_facts(row[0])) == exact(facts_from_mapping(mapping))

        round_trip()


class TestResults:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "null"),
            (True, "true"),
            (False, "false"),
            (1, "1"),
            (-(2**63), "-9223372036854775808"),
            (Uint(2**64 - 1), "18446744073709551615"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e300, "1" + "0" * 300 + ".0"),
            (5e-324, "5e-324"),
            (math.nan, '"NaN"'),
            (math.inf, '"Infinity"'),
            (-math.inf, '"-Infinity"'),
            ('é"\\\n', '"é\\"\\\\\\n"'),
            (b"\xff\0", '"/wA="'),
            (Timestamp(0), '"1970-01-01T00:00:00Z"'),
            (Duration(90_000_000_000), '"90s"'),
            (types.INT, '"int"'),
            (types.TIMESTAMP, '"google.protobuf.Timestamp"'),
            ([], "[]"),
            ({}, "{}"),
            ([1, [Uint(2)], {"a": None}], '[1,[2],{"a":null}]'),
            ({TRUE_KEY: 1, FALSE_KEY: 2}, '{"true":1,"false":2}'),
            ({1: 1.0, Uint(2): b"", "3": "x"}, '{"1":1.0,"2":"","3":"x"}'),
        ],
        ids=repr,
    )
    def test_a_cel_value_has_a_json_text(self, value: object, text: str) -> None:
        assert value_to_json(value) == text
        json.loads(text)

    @given(mappings)
    def test_facts_as_a_result_are_the_same_facts(
        self, mapping: dict[str, Any]
    ) -> None:
        facts = facts_from_mapping(mapping)
        assert exact(parse_facts(value_to_json(facts))) == exact(facts)

    def test_nul_is_an_error_of_results_and_replaced_in_traces(self) -> None:
        for value in ("a\0", ["a\0"], {"a\0": 1}):
            with pytest.raises(EvaluationError, match="NUL cannot be stored in jsonb"):
                value_to_json(value)
            assert "a\ufffd" in value_to_json(value, strict=False)


ODD_TEXTS = [
    "{}",
    '{"a": 1}',
    '{"a": {"b": [1, 2.5, "x", null, true]}}',
    '{"a": "[{"}',
    '{"a": 9223372036854775807}',
    '{"a": 9223372036854775808}',
    '{"a": 1e400}',
    '{"a": "\\\\u0041"}',
    '{"a": "\\u0041"}',
    '{"a": "\\u0000"}',
    '{"a": "\ud800"}',
    '{"a": ' + "[" * 99 + "]" * 99 + "}",
    '{"a": ' + "[" * 100 + "]" * 100 + "}",
    '{"a": "' + "x" * 70_000 + '"}',
    "[]",
    "null",
    "1",
    '"x"',
]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(ODD_TEXTS), max_size=150))
@example(["{}", '{"a": ' + "[" * 100 + "]" * 100 + "}"])
def test_many_facts_are_decoded_as_each_is(texts: list[str]) -> None:
    def alone(text: str) -> object:
        try:
            return parse_facts(text)
        except InvalidFacts as refused:
            return str(refused)

    found = [
        str(given) if isinstance(given, InvalidFacts) else given
        for given in parse_many(texts)
    ]
    assert found == [alone(text) for text in texts]


def test_modules_that_few_facts_need_are_not_loaded_with_this_one() -> None:
    import subprocess

    code = (
        "import sys, pgrules.cel.facts as f; f.facts_from_mapping({'a': [1, 'x']});"
        "print(*{'decimal', 'uuid', 'base64', 'zoneinfo'} & set(sys.modules))"
    )
    # The package itself may load them for its clients; the language must not.
    code = f"import sys, types; p = types.ModuleType('pgrules'); {_PATH}; " + code
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == ""


_PATH = (
    "import importlib.util as u; "
    "p.__path__ = list(u.find_spec('pgrules').submodule_search_locations); "
    "sys.modules['pgrules'] = p"
)
