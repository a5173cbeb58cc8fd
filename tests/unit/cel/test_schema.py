"""Tenant schemas: what is a valid definition, and what it makes of facts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgrules.cel import Environment, EvaluationError, InvalidExpression
from pgrules.cel import types as t
from pgrules.cel.errors import InvalidEnvironment, InvalidSchema, Violation
from pgrules.cel.program import Program, compile_expression
from pgrules.cel.schema import TYPES, read_schema
from pgrules.cel.temporal import parse_duration, parse_timestamp

SCHEMA = {
    "User": {
        "Age": "int",
        "Points": "int64",
        "Name": "string",
        "Active": "bool",
        "Born": "timestamp",
        "Patience": "duration",
        "Key": "bytes",
    },
    "Transaction": {"Amount": "float64"},
}
ENVIRONMENT = Environment.from_json(json.dumps({"schema": SCHEMA}))


def violations(definition: object) -> list[Violation]:
    with pytest.raises(InvalidSchema) as refused:
        read_schema(definition)
    return refused.value.violations


def violation(definition: object) -> Violation:
    (only,) = violations(definition)
    return only


def compiled(text: str) -> Program:
    return compile_expression(text, ENVIRONMENT)


def evaluate(text: str, **facts: Any) -> Any:
    """By closures and by generated code, which must agree."""
    program = compiled(text)
    outcomes: list[Any] = []
    for _ in range(2):
        try:
            outcomes.append(program.evaluate(facts))
        except EvaluationError as error:
            outcomes.append(error)
        program.generate()
    first, second = outcomes
    if isinstance(first, EvaluationError):
        assert str(first) == str(second)
        raise first
    assert type(first) is type(second)
    assert first == second
    return first


def error(text: str, **facts: Any) -> str:
    with pytest.raises(EvaluationError) as failed:
        evaluate(text, **facts)
    return failed.value.message


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(InvalidExpression) as refused:
        compiled(text)
    (problem,) = refused.value.problems
    return problem.message, problem.hint


class TestDefinitions:
    def test_every_type_name_is_a_type(self) -> None:
        fields = {f"F_{name}": name for name in TYPES}
        user = read_schema({"User": fields})["User"]
        assert {t.spoken(kind) for kind in user.fields.values()} == {
            "int", "double", "string", "bool", "bytes", "timestamp", "duration"
        }  # fmt: skip

    def test_the_largest_allowed_schema_is_read(self) -> None:
        fields = {f"{'f' * 97}{i:03}": "int" for i in range(200)}
        assert len(read_schema({f"o{i}": fields for i in range(100)})) == 100

    @pytest.mark.parametrize(
        "definition", [None, True, 1, 1.5, "User", [], [{"User": {"Age": "int"}}]]
    )
    def test_a_definition_is_an_object(self, definition: object) -> None:
        assert "a schema definition is a JSON object" in violation(definition).message

    @pytest.mark.parametrize(
        ("definition", "message"),
        [
            ({}, "the schema has no objects"),
            (
                {f"o{i}": {"f": "int"} for i in range(101)},
                "the schema has 101 objects",
            ),
            ({"User": {}}, "object User has no fields"),
            (
                {"User": {f"f{i}": "int" for i in range(201)}},
                "object User has 201 fields",
            ),
        ],
    )
    def test_objects_and_fields_are_counted(
        self, definition: object, message: str
    ) -> None:
        assert violation(definition).message == message

    @pytest.mark.parametrize("fields", [None, "int", 1, ["Age"]])
    def test_fields_stand_in_an_object(self, fields: object) -> None:
        found = violation({"User": fields})
        assert (found.object, found.field) == ("User", None)
        assert found.message.startswith("object User has its fields in a JSON object")

    @pytest.mark.parametrize(
        "name", ["1a", "a-b", "a b", "a.b", "ä", "a\n", "", "$a", "a\u0000"]
    )
    def test_a_name_with_other_characters_is_refused(self, name: str) -> None:
        assert violation({name: {"f": "int"}}).object == name
        assert violation({"User": {name: "int"}}).field == name

    @pytest.mark.parametrize("name", ["in", "true", "null", "while", "package", "var"])
    def test_a_word_of_cel_is_no_name(self, name: str) -> None:
        assert "reserved word" in violation({name: {"f": "int"}}).message
        assert "reserved word" in violation({"User": {name: "int"}}).message

    def test_a_name_has_at_most_100_characters(self) -> None:
        read_schema({"a" * 100: {"f" * 100: "int"}})
        assert "101 characters" in violation({"a" * 101: {"f": "int"}}).message
        assert "101 characters" in violation({"User": {"f" * 101: "int"}}).message

    @pytest.mark.parametrize(
        ("kind", "meant"),
        [
            ("Int", "int"),
            ("INT64", "int64"),
            ("integer", "int"),
            ("double", "float64"),
            ("strin", "string"),
            ("boolean", "bool"),
            ("timestampz", "timestamp"),
        ],
    )
    def test_an_unknown_type_is_refused_with_the_nearest_one(
        self, kind: str, meant: str
    ) -> None:
        found = violation({"User": {"Age": kind}})
        assert (found.object, found.field) == ("User", "Age")
        assert found.message == f"field User.Age has an unknown type {kind}"
        assert found.hint.startswith(
            f'did you mean "{meant}"? the types are int, int64'
        )

    @pytest.mark.parametrize(
        "kind", [None, 1, True, ["int"], {"a": "int"}, "", "x" * 9]
    )
    def test_a_type_is_one_of_the_names(self, kind: object) -> None:
        found = violation({"User": {"Age": kind}})
        assert (found.object, found.field) == ("User", "Age")
        assert "the types are int, int64, float64" in found.hint

    def test_all_violations_are_reported_together(self) -> None:
        found = violations(
            {
                "User": {"Age": "integer", "in": "int", "a-b": "text"},
                "while": {"x": "int"},
                "Empty": {},
                "List": ["a"],
            }
        )
        assert [(v.object, v.field) for v in found] == [
            ("User", "Age"),
            ("User", "in"),
            ("User", "a-b"),
            ("User", "a-b"),
            ("while", None),
            ("Empty", None),
            ("List", None),
        ]
        assert all(v.hint for v in found)

    def test_the_error_says_how_many_and_has_them_in_its_detail(self) -> None:
        with pytest.raises(InvalidSchema) as refused:
            read_schema({"User": {"Age": "x", "Name": "y"}})
        assert "breaks 2 rules" in str(refused.value)
        assert "User.Age" in refused.value.detail
        assert "User.Name" in refused.value.detail

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda part: st.lists(part) | st.dictionaries(st.text(), part),
        )
    )
    @example({"\ud800": {"\ud800": "\ud800"}})
    @example({"a" * 10_000: {"b" * 10_000: "c" * 10_000}})
    def test_any_json_is_a_schema_or_is_refused_as_one(self, definition: Any) -> None:
        """ENG-4."""
        try:
            valid = set(read_schema(definition)) == set(definition)
        except InvalidSchema as refused:
            valid = all(v.message and v.hint for v in refused.violations)
            refused.detail.encode()
        assert valid


class TestEnvironments:
    @pytest.mark.parametrize("text", ["{}", '{"schema": null}', '{"derived": {}}'])
    def test_without_a_schema_names_are_dynamic(self, text: str) -> None:
        compile_expression("Anything.At.All == 1", Environment.from_json(text))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[]",
            "1",
            "{",
            '{"schemas": {}}',
            "[" * 100_000,
            '{"derived": []}',
        ],
    )
    def test_another_form_of_json_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidEnvironment):
            Environment.from_json(text)

    def test_a_schema_is_checked(self) -> None:
        with pytest.raises(InvalidSchema):
            Environment.from_json('{"schema": {"User": {"Age": "number"}}}')


class TestChecking:
    """COMP-3."""

    def test_a_comparison_with_another_type_is_a_compile_error(self) -> None:
        assert refusal('User.Age == "x"') == (
            "cannot compare int with string",
            "User.Age is declared int",
        )

    def test_a_number_written_as_another_is_shown_as_it_should_be(self) -> None:
        assert refusal("Transaction.Amount == 1000") == (
            "cannot compare double with int",
            "Transaction.Amount is declared float64; write 1000.0",
        )

    def test_a_field_that_the_schema_lacks_is_a_compile_error(self) -> None:
        assert refusal("User.Agee > 18") == (
            "User has no field Agee",
            "did you mean Age?",
        )
        assert refusal("has(User.Agee)")[0] == "User has no field Agee"
        assert refusal('User["Agee"] > 18')[0] == "User has no field Agee"
        assert refusal("User.?Agee")[0] == "User has no field Agee"
        assert refusal("Transaction.Zzz")[1] == "its fields are Amount"

    def test_an_object_that_the_schema_lacks_is_a_compile_error(self) -> None:
        assert refusal("Usr.Age > 18") == ("unknown name Usr", "did you mean User?")

    def test_a_field_of_a_field_is_a_compile_error(self) -> None:
        assert refusal("User.Name.First == 'x'")[0] == "string has no fields"

    def test_the_problem_stands_at_the_field(self) -> None:
        with pytest.raises(InvalidExpression) as refused:
            compiled("true && User.Agee > 18")
        assert refused.value.problems[0].column == 14

    @pytest.mark.parametrize(
        "text",
        [
            "User.Age >= 18 && Transaction.Amount < 1000",
            "User.Age == null || User.Name.startsWith('a')",
            "User.Born + User.Patience < timestamp('2024-01-01T00:00:00Z')",
            "User.Age in [1, 2] && User.Key == b'x'",
            "User.Active ? User.Age : 0",
            "has(User.Age) && !User.Active",
            "'Age' in User && User['Age'] > 1 && size(User) > 2",
            "User.all(name, name != '')",
            "User == User && User != null",
            "[User, Transaction].map(x, x.Age)",
        ],
    )
    def test_what_fits_the_schema_compiles(self, text: str) -> None:
        compiled(text)

    def test_two_objects_are_different_types(self) -> None:
        assert refusal("User == Transaction")[0] == (
            "cannot compare User with Transaction"
        )


class TestReading:
    """How a fact becomes a value of its declared type, when it is read."""

    @pytest.mark.parametrize(
        ("field", "fact", "expected"),
        [
            ("Age", 18, 18),
            ("Age", 18.0, 18),
            ("Points", -9007199254740992.0, -(2**53)),
            ("Name", "x", "x"),
            ("Active", False, False),
            ("Born", "2000-01-01T00:00:00Z", parse_timestamp("2000-01-01T00:00:00Z")),
            ("Patience", "1h30m", parse_duration("1h30m")),
            ("Key", "aGk=", b"hi"),
            ("Key", "aGk", b"hi"),
            ("Key", "-_8=", b"\xfb\xff"),
            ("Key", "", b""),
            ("Age", None, None),
            ("Born", None, None),
        ],
    )
    def test_a_fact_converts_to_its_declared_type(
        self, field: str, fact: object, expected: object
    ) -> None:
        value = evaluate(f"User.{field}", User={field: fact})
        assert type(value) is type(expected)
        assert value == expected

    def test_an_int_becomes_a_double_where_float64_is_declared(self) -> None:
        value = evaluate("Transaction.Amount / 2.0", Transaction={"Amount": 5})
        assert value == 2.5
        value = evaluate("Transaction.Amount", Transaction={"Amount": 2**53 + 1})
        assert type(value) is float
        assert value == 2.0**53

    @pytest.mark.parametrize(
        ("field", "fact", "message"),
        [
            ("Age", "x", "User.Age is declared int, the facts have string"),
            ("Age", 1.5, "User.Age is declared int, the facts have double 1.5"),
            ("Age", True, "User.Age is declared int, the facts have bool true"),
            ("Age", 2.0**60, "User.Age is declared int, the facts have double 1.15"),
            ("Points", [], "User.Points is declared int64, the facts have list"),
            ("Name", 5, "User.Name is declared string, the facts have int 5"),
            ("Active", 1, "User.Active is declared bool, the facts have int 1"),
            ("Active", "true", "User.Active is declared bool, the facts have string"),
            ("Born", 5, "User.Born is declared timestamp, the facts have int 5"),
            ("Born", "today", "User.Born is declared timestamp: invalid timestamp"),
            ("Patience", "1 day", "User.Patience is declared duration: invalid dura"),
            ("Key", "a", 'User.Key is declared bytes: "a" is no base64 text'),
            ("Key", "a*==", 'User.Key is declared bytes: "a*==" is no base64 text'),
            ("Key", {}, "User.Key is declared bytes, the facts have map"),
        ],
    )
    def test_another_type_is_an_error_of_the_evaluation(
        self, field: str, fact: object, message: str
    ) -> None:
        """EVAL-4: it names the path, the declared type and what came."""
        assert error(f"User.{field}", User={field: fact}).startswith(message)

    def test_the_error_can_be_absorbed(self) -> None:
        assert evaluate("User.Age > 1 || true", User={"Age": "x"}) is True

    def test_a_missing_field_is_an_error_as_without_a_schema(self) -> None:
        """EVAL-5."""
        assert error("User.Age > 1", User={}) == "no such key: User.Age"
        assert error("User.Age > 1") == "no such key: User"
        assert evaluate("has(User.Age)", User={}) is False

    def test_null_is_null_and_no_value_of_the_type(self) -> None:
        assert evaluate("User.Age == null", User={"Age": None}) is True
        assert evaluate("User.Age == 0", User={"Age": None}) is False
        assert "null_type" in error("User.Age > 0", User={"Age": None})
        assert evaluate("has(User.Age)", User={"Age": None}) is True

    def test_a_field_that_is_only_tested_is_not_converted(self) -> None:
        assert evaluate("has(User.Age)", User={"Age": "x"}) is True

    def test_only_what_is_read_is_converted(self) -> None:
        assert evaluate("User.Age", User={"Age": 1, "Born": "no time"}) == 1

    def test_an_object_that_is_none_is_an_error(self) -> None:
        expected = "User is declared an object, the facts have int 5"
        assert error("User.Age", User=5) == expected
        assert error("User", User=5) == expected

    def test_a_whole_object_has_its_declared_fields_converted(self) -> None:
        facts = {"Age": 1.0, "Born": "2000-01-01T00:00:00Z", "Shoe": 44}
        assert evaluate("User", User=facts) == {
            "Age": 1,
            "Born": parse_timestamp("2000-01-01T00:00:00Z"),
        }
        assert evaluate("size(User)", User=facts) == 2
        assert evaluate("User['Age'] + [User][0].Age", User=facts) == 2
        assert evaluate("'Shoe' in User", User=facts) is False
        assert error("User", User={"Age": "x"}).startswith("User.Age is declared int")

    def test_an_optional_field_is_converted(self) -> None:
        assert evaluate("User.?Age.orValue(7)", User={"Age": 1.0}) == 1
        assert evaluate("User.?Age.orValue(7)", User={}) == 7
        assert error("User.?Age", User={"Age": "x"}).startswith("User.Age is declared")

    def test_facts_are_not_changed(self) -> None:
        facts = {"User": {"Age": 1.0, "Key": "aGk="}}
        evaluate("User.Age == 1 && User.Key == b'hi' && size(User) == 2", **facts)
        assert facts == {"User": {"Age": 1.0, "Key": "aGk="}}
        assert type(facts["User"]["Age"]) is float
