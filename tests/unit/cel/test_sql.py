"""Which SQL rules become: representative texts, and what is refused with its place."""

from __future__ import annotations

import re

import pytest

from pgrules.cel import Environment, compile_expression
from pgrules.cel.errors import InvalidEnvironment
from pgrules.cel.sql import Reason, Source, Translation, translate

FACTS = Source.from_json({"row": "t", "facts": "facts"})
COLUMNS = {
    "delay": ("int", {"name": "delay", "type": "bigint", "nullable": False}),
    "arrival": ("int", {"name": "arrival", "type": "integer"}),
    "carrier": ("string", {"name": "carrier", "type": "text"}),
    "gust": ("double", {"name": "gust", "type": "double precision"}),
    "price": ("double", {"name": "price", "type": "numeric"}),
    "at": ("timestamp", {"name": "at", "type": "timestamp with time zone"}),
    "on": ("timestamp", {"name": "on", "type": "date"}),
    "it's": ("string", {"name": "it's", "type": "text"}),
}
SCHEMA = """{
    "schema": {"Flight": {"delay": "int", "gust": "float64", "raw": "bytes"}},
    "derived": {"Late": "Flight.gust > 60.0"}
}"""


def written(made: Translation) -> str:
    """The SQL as format() gives it, as far as these tests quote."""
    assert made.template is not None

    def quoted(match: re.Match[str]) -> str:
        text = made.arguments[int(match[1]) - 1]
        return f"""'{text.replace("'", "''")}'""" if match[2] == "L" else text

    return re.sub(r"%([0-9]+)\$([LI])", quoted, made.template)


def of_facts(text: str, document: str = "{}") -> str:
    environment = Environment.from_json(document)
    program = compile_expression(text, environment)
    return written(translate(program.tree, text, environment, FACTS))


def of_columns(text: str, *, of: str | None = None) -> str:
    import json

    declared = {name: kind for name, (kind, _) in COLUMNS.items()}
    document = {"columns": declared} | ({"object": of} if of else {})
    environment = Environment.from_json(json.dumps(document))
    program = compile_expression(text, environment)
    columns = {name: column for name, (_, column) in COLUMNS.items()}
    source = Source.from_json({"row": "t", "columns": columns, "object": of})
    return written(translate(program.tree, text, environment, source))


def reasons(text: str, document: str = "{}") -> list[Reason]:
    environment = Environment.from_json(document)
    program = compile_expression(text, environment)
    return translate(program.tree, text, environment, FACTS).reasons


class TestFacts:
    def test_equal_text_is_compared_as_text(self) -> None:
        assert of_facts('Flight.carrier == "UA"') == (
            "(t.facts #>> '{Flight,carrier}') = 'UA'"
        )
        assert of_facts('a in ["x", "y"]') == "(t.facts ->> 'a') IN ('x', 'y')"

    def test_text_that_other_values_have_too_is_compared_with_its_type(self) -> None:
        assert of_facts('a == "5"') == """t.facts @@ 'strict $.a == "5"'"""

    def test_numbers_are_one_predicate_of_jsonpath(self) -> None:
        assert of_facts("a.b < 4.5 && c >= 0.25") == (
            "t.facts @@ 'strict $.a.b < 4.499999999999999555910790149937383830547332763"
            "671875 && $.c >= 0.249999999999999986122212192185543244704604148864746093"
            "75'"
        )

    def test_a_declared_int_is_looked_at_again_where_it_has_a_fraction(self) -> None:
        sql = of_facts("Flight.delay > 60", SCHEMA)
        assert sql.startswith(
            "(t.facts @@ 'strict $.Flight.delay > 60.0000000000000035"
        )
        assert "(strpos(t.facts #>> '{Flight,delay}', '.') = 0) OR (CASE" in sql

    def test_has_of_a_missing_object_is_an_error(self) -> None:
        assert of_facts("!has(a.b)") == (
            """t.facts @@ 'strict ($.a.type() == "object" """
            """&& !exists($.a ? (exists(@.b))))'"""
        )

    def test_a_derived_field_stands_in_its_place_unless_facts_supply_it(self) -> None:
        sql = of_facts("Late", SCHEMA)
        assert sql.startswith(
            "t.facts @@ 'strict (!exists($ ? (exists(@.Late))) && $.Flight.gust > 60.0"
        )
        assert sql.endswith(" || $.Late == true)'")

    def test_a_macro_over_a_list_is_a_filter(self) -> None:
        assert of_facts('xs.exists(x, x.a == "b")') == (
            """t.facts @@ 'strict (exists($.xs[*] ? (@.a == "b")) """
            """|| exists($.xs.keyvalue().key ? (@.a == "b")))'"""
        )

    def test_names_and_texts_are_arguments_of_the_template(self) -> None:
        text = 'a == "%1$I \'; DROP TABLE t --"'
        made = translate(compile_expression(text).tree, text, Environment(), FACTS)
        assert made.template == "(%1$I.%2$I ->> %3$L) = %4$L"
        assert made.arguments == ["t", "facts", "a", "%1$I '; DROP TABLE t --"]

    def test_two_signs_begin_no_comment(self) -> None:
        assert "--" not in of_facts("-(-(a)) > 1")


class TestColumns:
    def test_columns_are_compared_without_casts(self) -> None:
        assert of_columns('delay > 60 && carrier == "UA"') == (
            "(t.delay > 60) AND (t.carrier = 'UA')"
        )
        assert of_columns('carrier in ["UA", "AA"]') == "t.carrier IN ('UA', 'AA')"

    def test_null_is_a_value(self) -> None:
        assert of_columns('carrier != "UA"') == "t.carrier IS DISTINCT FROM 'UA'"
        assert of_columns("arrival == null") == "t.arrival IS NULL"
        assert of_columns("delay == null") == "FALSE"

    def test_only_order_has_a_collation(self) -> None:
        assert of_columns('carrier < "B"') == """t.carrier < 'B' COLLATE "C\""""

    def test_nan_is_not_greater(self) -> None:
        assert of_columns("gust > 40.0") == (
            "t.gust > '40.0'::float8 AND t.gust < 'NaN'"
        )
        assert of_columns("gust < 40.0") == "t.gust < '40.0'::float8"

    def test_times_are_constants_of_the_columns_type(self) -> None:
        assert of_columns('at <= timestamp("2013-01-01T05:00:00.123456789Z")') == (
            "t.at <= '2013-01-01T05:00:00.123456Z'::timestamptz "
            "AND t.at >= '0001-01-01T00:00:00Z'::timestamptz"
        )
        assert of_columns('on > timestamp("2013-01-01T05:00:00Z")') == (
            "t.on > '2013-01-01'::date AND t.on < '10000-01-01'::date"
        )

    def test_sums_that_fit_are_those_of_bigint(self) -> None:
        assert of_columns("arrival + 1 > 60") == "(t.arrival::bigint + 1) > 60"
        assert of_columns("delay + 1 > 60") == (
            "CASE WHEN t.delay BETWEEN -4611686018427387904 AND 4611686018427387903 "
            "THEN t.delay::bigint + 1 ELSE nullif(least(t.delay::numeric + 1, "
            "9223372036854775808), 9223372036854775808)::bigint END > 60"
        )

    def test_the_columns_can_be_the_fields_of_an_object(self) -> None:
        assert of_columns("Flight.delay > 60", of="Flight") == "t.delay > 60"
        assert of_columns("has(Flight.arrival)", of="Flight") == "TRUE"


class TestWhatHasNoSql:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ('a > 1 || b.matches("x")', (1, 10)),
            ("string(a) == 'x'", (1, 1)),
            ("a.getHours('Europe/Berlin') > 1", (1, 12)),
            ("a.b.?c.hasValue()", (1, 1)),
            ("math.abs(a) > 1", (1, 1)),
        ],
    )
    def test_it_is_named_with_its_place(
        self, text: str, place: tuple[int, int]
    ) -> None:
        found = reasons(text)
        assert [(reason.line, reason.column) for reason in found] == [place]
        assert all(reason.reason and reason.expression for reason in found)

    def test_every_operand_is_looked_at(self) -> None:
        found = reasons('a.matches("x") || b.matches("y")')
        assert [reason.expression for reason in found] == [
            'a.matches("x")',
            'b.matches("y")',
        ]

    def test_what_else_a_conjunction_has_is_a_filter(self) -> None:
        text = 'a == "x" && b.matches("y")'
        made = translate(compile_expression(text).tree, text, Environment(), FACTS)
        assert written(made) == "(t.facts ->> 'a') = 'x'"
        assert made.reasons

    def test_declared_bytes_are_text_in_json(self) -> None:
        (reason,) = reasons('Flight.raw == b"a"', SCHEMA)
        assert reason.expression == "Flight.raw"


@pytest.mark.parametrize(
    "document", [None, [], {}, {"facts": 1}, {"columns": {"a": {}}}, {"columns": []}]
)
def test_a_source_of_another_form_is_refused(document: object) -> None:
    with pytest.raises(InvalidEnvironment, match="source of a translation"):
        Source.from_json(document)
