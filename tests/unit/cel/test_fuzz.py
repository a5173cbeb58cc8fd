"""Bad input and work that grows: an answer or an error that says what is wrong.

``python -m tests.unit.cel.fuzz 100000`` tries many more.
"""

from __future__ import annotations

import json
import tracemalloc
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrules.cel import (
    CostLimitExceeded,
    EvaluationError,
    InvalidFacts,
    backend,
    compile_expression,
)
from pgrules.cel.facts import MAX_RESULT, facts_to_json, value_to_json
from pgrules.cel.trace import to_json
from tests.unit.cel import fuzz
from tests.unit.cel.evaluating import answer

_scalars = st.none() | st.booleans() | st.integers() | st.text() | st.floats()
_json = st.recursive(
    _scalars,
    lambda part: st.lists(part) | st.dictionaries(st.text() | st.just("schema"), part),
    max_leaves=20,
).map(json.dumps)
_anything = st.text() | st.binary().map(lambda data: data.decode("latin-1"))


class TestAnything:
    @settings(max_examples=200, deadline=None)
    @given(_anything, _json | _anything, _json | _anything)
    def test_any_text_gets_an_answer_in_the_documented_form(
        self, text: str, environment: str, facts: str
    ) -> None:
        assert list(fuzz.broken_by(text, environment, facts)) == []

    @settings(max_examples=100, deadline=None)
    @given(_json)
    def test_any_json_is_a_schema_or_breaks_its_rules(self, definition: str) -> None:
        document = f'{{"schema": {definition}}}'
        assert list(fuzz.broken_by("User.Age > 1", document, definition)) == []

    @settings(max_examples=100, deadline=None)
    @given(st.dictionaries(st.text(max_size=5), _anything, max_size=4))
    def test_any_texts_are_derived_fields_or_are_refused(
        self, derived: dict[str, str]
    ) -> None:
        document = json.dumps({"derived": derived})
        assert list(fuzz.broken_by("true", document, "{}")) == []

    def test_what_is_nearly_right_gets_an_answer_in_the_documented_form(self) -> None:
        random = Random(1)  # noqa: S311 - wanted to be repeatable
        broken = [wrong for _ in range(1_500) for wrong in fuzz.broken(random)]
        assert broken == []


class TestTexts:
    @pytest.mark.parametrize(
        "text",
        [
            r"{'a': 1}['\u0000']",
            r"'a'.matches('\u0000(')",
            r"'%\u0000'.format([1])",
            r"ip('\u0000')",
            r"{'\u0000': 1, '\u0000': 2}",
            r"base64.decode('\u0000')",
        ],
    )
    def test_a_message_has_no_nul_which_sql_cannot_hold(self, text: str) -> None:
        matched, error, _, failure = backend.evaluate(text, "{}", "{}", True)
        assert (matched, failure) == (False, None)
        assert error is not None
        assert "\0" not in error
        assert "\ufffd" in error

    @pytest.mark.parametrize(
        "definition", ['{"a":' * 6_000 + "1" + "}" * 6_000, "[" * 6_000, "1" * 5_000]
    )
    def test_json_that_python_cannot_decode_is_no_schema(self, definition: str) -> None:
        failure = json.loads(backend.check_schema(definition) or "{}")
        assert failure["sqlstate"] == "RE060"


_HUNDRED = {
    "l": list(range(100)),
    "s": "x" * 1_000,
    "n": [["x" * 500] * 100] * 20,
}


class TestGrowth:
    """What is taken unchecked ends at the limit, and memory with it."""

    @pytest.mark.parametrize(
        "text",
        [
            "l.map(a, l.map(b, l.map(c, l.map(d, l))))",
            "l.all(a, l.all(b, l.all(c, a + b + c >= 0 && l.size() > 0)))",
            "[s]" + ".map(x, x + x)" * 30,
            "[l]" + ".map(x, x + x)" * 30,
            "['ab']" + ".map(x, [x, x]).flatten()" * 30,
            "lists.range(1000000000)",
            "lists.range(900000).map(x, lists.range(900000))",
            "l.map(a, s).join(s).replace('x', s)",
            "l.map(a, s).join().replace('', s)",
            "s.replace('', s).replace('', s)",
            "'%s%s%s'.format([n, n, n]).replace('x', s)",
            "l.map(x, l.map(y, '%s'.format([n])))",
            "l.map(x, l.map(y, '%.1000f'.format([1e308])))",
            "l.transformMap(k, v, l.transformMap(j, w, l.transformMap(i, u, l)))",
            "l.map(a, n).flatten(9).map(x, n).flatten(9)",
            "cel.bind(a, l + l, cel.bind(b, a + a, b.map(x, b + b + b + b)))",
            "sets.contains(l.map(x, l.map(y, [y])).flatten(), l.map(x, [x]))",
            "l.map(x, l.map(y, s.split('')))",
            "l.map(x, l.map(y, s == s + 'y' || s == s))",
            "l.map(x, n.map(y, n == n))",
            "l.map(x, l.map(y, s.matches('x*x*x*y')))",
            "l.map(x, regex.replace(s, '', s))",
            "l.map(x, l.map(y, bytes(s) + bytes(s)))",
            "l.map(x, l.map(y, base64.encode(bytes(s))))",
            "l.sortBy(x, l.sortBy(y, l.sortBy(z, z)[0])[0])",
        ],
    )
    def test_growth_ends_at_the_limit_before_it_fills_memory(self, text: str) -> None:
        program = compile_expression(text, unchecked=True)
        tracemalloc.start()
        try:
            with pytest.raises(CostLimitExceeded):
                program.interpret(_HUNDRED)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 200 * 1024 * 1024
        assert isinstance(answer(text, _HUNDRED, unchecked=True).error, EvaluationError)

    @pytest.mark.parametrize(
        ("text", "facts"),
        [
            ("l.map(a, l.map(b, s))", {"l": list(range(90)), "s": "x" * 100_000}),
            ("l.map(a, l.map(b, l))", {"l": ["x" * 10_000] * 90}),
            ("l.map(a, l.map(b, 1e308))", {"l": list(range(300))}),
            (
                "cel.bind(a, [x, x], "
                + "".join(
                    f"cel.bind({new}, [{old}, {old}], "
                    for old, new in zip(
                        "abcdefghijklmno", "bcdefghijklmnop", strict=True
                    )
                )
                + "[p, p, p, p, p, p])"
                + ")" * 15,
                {"x": "x" * 100},
            ),
        ],
    )
    def test_a_small_value_of_a_large_text_is_no_result(
        self, text: str, facts: dict[str, Any]
    ) -> None:
        program = compile_expression(text, unchecked=True)
        value, _, steps = program.trace(facts)
        tracemalloc.start()
        try:
            with pytest.raises(EvaluationError, match="too large to be given as JSON"):
                value_to_json(value)
            assert len(to_json(steps)) < 200_000
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 64 * MAX_RESULT

    def test_a_result_as_large_as_allowed_is_given(self) -> None:
        value = ["x" * 97] * (MAX_RESULT // 100)
        assert len(value_to_json(value)) <= MAX_RESULT
        with pytest.raises(EvaluationError):
            value_to_json(value, limit=1_000)

    def test_a_result_that_is_too_deep_is_an_error(self) -> None:
        value: list[Any] = []
        for _ in range(5_000):
            value = [value]
        with pytest.raises(EvaluationError, match="too deep"):
            value_to_json(value)

    def test_facts_whose_doubles_are_long_are_refused_in_time(self) -> None:
        tracemalloc.start()
        try:
            with pytest.raises(InvalidFacts, match="larger than"):
                facts_to_json({"l": [1e308] * 100_000})
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 40 * 1024 * 1024

    def test_thousands_of_problems_are_found_in_time(self) -> None:
        schema = {f"Object{n}": {"a": "int"} for n in range(100)}
        names = ",".join(f"Objct{n:x}" for n in range(3_000))
        document = json.dumps({"schema": schema})
        assert list(fuzz.broken_by(f"[{names}]", document, "{}")) == []
