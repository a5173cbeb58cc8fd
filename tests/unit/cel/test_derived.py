"""Derived fields: dependencies, order, cycles, types."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrules.cel import Environment, InvalidExpression, compile_expression
from pgrules.cel.derived import dependencies, order
from pgrules.cel.errors import EvaluationError, FieldProblem, InvalidDerivedFields
from pgrules.cel.evaluation import Evaluation
from pgrules.cel.reading import read_derived
from pgrules.cel.types import spoken
from tests.unit.cel.evaluating import named_type

SCHEMA = {"User": {"Age": "int", "Name": "string"}, "Cart": {"Total": "float64"}}
OPEN = Environment()
CLOSED = Environment.from_json(json.dumps({"schema": SCHEMA}))


def problems(derived: dict[str, str], environment: Environment) -> list[FieldProblem]:
    with pytest.raises(InvalidDerivedFields) as refused:
        order(derived, environment)
    return refused.value.fields


def problem(derived: dict[str, str], environment: Environment = OPEN) -> FieldProblem:
    (only,) = problems(derived, environment)
    return only


class TestDependencies:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("1 + 2", ()),
            ("a.b + c", ("a", "c")),
            ("a + b * a", ("a", "b")),
            ("items.all(x, x > least)", ("items", "least")),
            ("x.map(x, x)", ("x",)),
            ("a.transformList(k, v, k + v + w)", ("a", "w")),
            ("cel.bind(x, y, x + z)", ("y", "z")),
            ("has(a.b) ? [c] : [d, e]", ("a", "c", "d", "e")),
            ("type(a) == int", ("a",)),
            ("math.abs(a)", ("a",)),
            ("a.?b.orValue(c)", ("a", "c")),
        ],
    )
    def test_are_the_names_that_an_expression_reads(
        self, text: str, names: tuple[str, ...]
    ) -> None:
        """DER-2."""
        assert dependencies(compile_expression(text).tree) == names


class TestOrder:
    def test_a_field_stands_behind_those_that_it_uses(self) -> None:
        """DER-2."""
        found = order({"C": "A + B", "B": "A * 2", "A": "User.Age"}, CLOSED)
        assert [field.name for field in found] == ["A", "B", "C"]
        assert [field.dependencies for field in found] == [
            ("User",),
            ("A",),
            ("A", "B"),
        ]

    def test_the_type_of_a_field_is_that_of_its_expression(self) -> None:
        derived = {"Adult": "User.Age >= 18", "Both": "[Adult, true]", "Any": "x"}
        assert {f.name: spoken(f.type) for f in order(derived, OPEN)} == {
            "Adult": "bool",
            "Both": "list(bool)",
            "Any": "dyn",
        }

    def test_a_chain_of_any_length_is_ordered(self) -> None:
        derived = {f"F{i}": f"F{i - 1} + 1" for i in range(3000, 0, -1)}
        found = order({**derived, "F0": "1"}, OPEN)
        assert [field.name for field in found] == [f"F{i}" for i in range(3001)]
        assert spoken(found[-1].type) == "int"

    def test_rules_use_a_derived_field_like_a_fact_of_its_type(self) -> None:
        """DER-1."""
        document = {"schema": SCHEMA, "derived": {"Adult": "User.Age >= 18"}}
        environment = Environment.from_json(json.dumps(document))
        compile_expression("Adult && User.Name != 'x'", environment)
        with pytest.raises(InvalidExpression) as refused:
            compile_expression("Adult > 3", environment)
        (found,) = refused.value.problems
        assert found.message == "cannot compare bool with int"
        assert found.hint == "the derived field Adult is bool"
        with pytest.raises(InvalidExpression) as refused:
            compile_expression("Adlt", environment)
        assert refused.value.problems[0].hint == "did you mean Adult?"


class TestProblems:
    @pytest.mark.parametrize(
        ("derived", "cycle"),
        [
            ({"A": "A + 1"}, ("A", "A")),
            ({"A": "B", "B": "A"}, ("A", "B", "A")),
            (
                {"X": "A", "A": "x ? B : 1", "B": "[1].map(i, C)", "C": "A"},
                ("A", "B", "C", "A"),
            ),
        ],
    )
    def test_a_cycle_is_refused_with_its_path(
        self, derived: dict[str, str], cycle: tuple[str, ...]
    ) -> None:
        """DER-2."""
        found = problem(derived)
        assert found.cycle == cycle
        assert found.message == (
            f"the derived field {cycle[0]} depends on itself: {' -> '.join(cycle)}"
        )

    def test_each_cycle_is_reported(self) -> None:
        derived = {"A": "B", "B": "A", "C": "D", "D": "C", "E": "A + C"}
        found = problems(derived, OPEN)
        assert [p.cycle for p in found] == [("A", "B", "A"), ("C", "D", "C")]

    def test_the_variable_of_a_macro_makes_no_cycle(self) -> None:
        order({"A": "[1].map(A, A + 1)", "B": "cel.bind(B, 1, B)"}, OPEN)

    def test_an_unknown_name_is_refused_where_a_schema_is(self) -> None:
        found = problem({"A": "Usr.Age"}, CLOSED)
        assert found.name == "A"
        assert found.message == (
            "the derived field A does not compile: unknown name Usr"
        )
        assert found.hint == "did you mean User?"
        order({"A": "Usr.Age"}, OPEN)

    @pytest.mark.parametrize(
        "text", ["1 +", "'a' - 1", "foo(1)", "", "\ud800", "(" * 500]
    )
    def test_an_expression_that_does_not_compile_is_refused_by_its_name(
        self, text: str
    ) -> None:
        found = problem({"Good": "1", "Bad": text, "Uses": "Bad + 1"})
        assert found.name == "Bad"
        assert found.problems

    def test_a_type_error_in_the_use_of_another_field_is_found(self) -> None:
        found = problem({"A": "'x'", "B": "A * 2"})
        assert found.name == "B"
        assert found.hint == "the derived field A is string"

    @pytest.mark.parametrize(
        "name", ["", "a b", "a.b", "1a", "in", "while", "ä", "a" * 101]
    )
    def test_a_name_must_be_one(self, name: str) -> None:
        assert problem({name: "1"}).name == name[:100]

    def test_a_name_of_the_schema_is_taken(self) -> None:
        assert "object in the schema" in problem({"User": "1"}, CLOSED).message

    def test_all_fields_that_cannot_be_are_reported(self) -> None:
        found = problems({"A": "1 +", "B": "B", "C": "1 + 'a'", "in": "1"}, OPEN)
        assert sorted(p.name for p in found) == ["A", "B", "C", "in"]

    @given(st.dictionaries(st.text(max_size=3), st.text(max_size=12), max_size=4))
    def test_any_names_and_expressions_are_fields_or_are_refused(
        self, derived: dict[str, str]
    ) -> None:
        """ENG-4."""
        try:
            found = [field.name for field in order(derived, OPEN)]
        except InvalidDerivedFields as refused:
            found = [field.name for field in refused.fields]
        assert bool(found) == bool(derived)


class TestSupplied:
    """DER-3: what the facts supply must be of the type that rules rely on."""

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("int", 5),
            ("dyn", {"a": [1]}),
            ("bool", True),
            ("wrapper(int)", None),
            ("list(int)", [1, 2]),
            ("map(string, list(bool))", {"a": [True]}),
            ("timestamp", None),
        ],
    )
    def test_a_value_of_the_type_is_taken_as_given(
        self, kind: str, value: object
    ) -> None:
        state = Evaluation({}, 1000)
        assert read_derived(state, value, named_type(kind), "A") == value

    def test_a_value_converts_as_a_declared_fact_does(self) -> None:
        state = Evaluation({}, 1000)
        value = read_derived(state, [1, 2.5], named_type("list(double)"), "A")
        assert list(map(type, value)) == [float, float]
        assert read_derived(state, "aGk=", named_type("bytes"), "A") == b"hi"

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("int", "5"),
            ("int", None),
            ("int", True),
            ("uint", -1),
            ("bool", 1),
            ("list(int)", [1, "a"]),
            ("list(int)", {}),
            ("map(string, int)", {"a": None}),
            ("map(int, int)", {"1": 1}),
            ("optional(int)", 1),
            ("type", "int"),
        ],
    )
    def test_another_value_is_an_error_that_names_the_field(
        self, kind: str, value: object
    ) -> None:
        with pytest.raises(EvaluationError, match="the derived field A is by its"):
            read_derived(Evaluation({}, 1000), value, named_type(kind), "A")
