"""Rules as SQL say what the language says, whatever rules, facts and session are."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from pgrules.cel import Environment
from tests.integration.sql_differential import Counts, compared, differences, store

if TYPE_CHECKING:
    from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

# Settings that change how the server reads and writes dates, times and numbers, and a
# parallel plan wherever one is allowed.
SESSIONS = {
    "plain": (),
    "foreign": (
        "SET DateStyle = 'SQL, DMY'",
        "SET IntervalStyle = 'sql_standard'",
        "SET TimeZone = 'Asia/Kathmandu'",
        "SET extra_float_digits = -15",
        "SET standard_conforming_strings = off",
        "SET bytea_output = 'escape'",
        "SET xmloption = document",
    ),
    "parallel": ("SET force_parallel_mode = on", "SET jit = off"),
}

FACTS: list[dict[str, object]] = [
    {},
    {"n": 2, "m": {"a": 1, "b": "x"}, "l": [1, 2], "s": "a", "b": True},
    {"n": 2.5, "m": {"a": 2.5}, "l": ["a", "ab"], "s": "A", "b": False},
    {"n": -(2**63), "m": {"a": {"b": None}}, "l": [], "s": "12", "b": None},
    {"n": "2", "m": [], "l": {"a": 1}, "s": 7, "b": "true"},
    {"n": None, "m": {"1": 2}, "l": [[1], {"a": 1}, None], "s": None, "b": 1},
    {"n": -1, "t": "2026-03-01T03:30:00Z", "d": "90m", "s": "1.5", "m": {"a": -1}},
    {"n": 5, "t": "1969-12-31T23:59:59.5Z", "d": "-1.5s", "l": [2, 2.5, "2"]},
    {"n": 1, "t": "yesterday", "d": "1 h", "m": {"a": 1}, "l": [True]},
    {"n": 9, "t": 5, "d": 5, "l": [1, 2, 3], "m": {"k\u0001'\\": 1}},
]

FORMS = [
    "timestamp(t) > timestamp('2026-01-01T00:00:00Z')",
    "timestamp(t).getHours() == 3",
    "timestamp(t).getDayOfWeek('UTC') == 0",
    "int(timestamp(t)) == -1",
    "timestamp(int(n)) == timestamp(5)",
    "duration(d) >= duration('90m')",
    "duration(d).getMinutes() == 90",
    "double(n) == 2.0",
    "double(int(n)) / 2.0 > 1.0",
    "int(n) == 2",
    "string(int(n)) == '2'",
    "string(b == true) == 'true'",
    "string(s == 'a' ? 'x' : 'y') == 'x'",
    "int(n) % m.a == 0",
    "int(n) % -1 == 0",
    "n % 2 == 1",
    "l[1] == 2",
    "l[1.0] == 2",
    "l[-1] == 2",
    "l[9223372036854775807] == 1",
    "l['a'] == 1",
    "m[1] == 2",
    "m[s] == 1",
    "m['b'] == 'x'",
    "m.all(k, k == 'a')",
    "m.exists(k, m[k] == 1)",
    "{'a': 1, 'b': 2}.exists(k, k == s)",
    "l.filter(x, x > 1) == [2]",
    "l.map(x, x == 2, x + 1) == [3]",
    "l.all(x, x.startsWith('a'))",
    "l.exists(x, l.exists(y, y == x && x == 2))",
    "l.all(x, l.all(y, y == x))",
    "[n, 2].exists(x, x == 2)",
    "[s, 'b'].all(x, x != 'c')",
    "n in [m.a, 2]",
    "m.a in l",
    "'a' in m",
    "n in {'a': 1}",
    "m == {'a': 1}",
    "l == [1, 2]",
    "has(m.a.b)",
    "!has(m.a)",
    "has({'a': n}.a)",
    "{'a': n}.a == 2",
    "{'a': {'b': 1}}.a.b == n",
    "n != 2.5",
    "!(n != 2.5)",
    "n == double('NaN')",
    "n != double('NaN')",
    "n < double('Infinity')",
    "n > -double('Infinity')",
    "double(n) < double('Infinity')",
    "-n == 1",
    "s.upperAscii() == 'A'",
    "s.lowerAscii() == 'a'",
    "s.contains('')",
    "s == 'a\\u0000'",
    "s.startsWith('\\u0000')",
    "s.startsWith(m.b)",
    "cel.bind(x, n + 1, x == 3)",
    "cel.bind(x, s, x == 'a' || x == 'A')",
    "cel.bind(x, b, x)",
    "1 / 0 == n",
    "b == true || 1 / 0 == 1",
    "(b ? n : m.a) == 2",
    "(b ? 1 : 2) == 1",
    "!b",
    "type(n) == int",
    "size(l) == 2",
    "size(s) == 1 || size(m) == 2",
    "(n == 2 && s == 'a') && (b || l == [])",
    "n > 1u",
    "uint(n) == 2u",
]


@pytest.mark.parametrize("session", SESSIONS)
def test_sql_is_true_false_or_null_as_a_rule_is_true_false_or_an_error(
    database: Database, session: str
) -> None:
    counts = Counts()
    seed = int(os.environ.get("PGRULES_SEED", "1"))
    with database.connect(autocommit=True) as connection:
        for setting in SESSIONS[session]:
            connection.execute(setting.encode())
        assert not list(differences(connection, 6_000, seed, counts))
    # Were most rules refused, little would be compared.
    assert counts.refused < counts.rules / 4


def test_every_form_that_has_sql_means_the_same_in_it(database: Database) -> None:
    """Forms that random rules seldom have, each over facts of many types."""
    counts = Counts()
    with database.connect(autocommit=True) as connection:
        pool = store(connection, [json.dumps(facts) for facts in FACTS], Environment())
        assert not list(compared(connection, pool, FORMS, counts))
    assert counts.rules == len(FORMS)
    assert counts.refused < len(FORMS) / 2


def test_a_difference_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: here the language takes errors for false."""
    monkeypatch.setattr(
        "tests.integration.sql_differential.outcome",
        _false_for_errors,
    )
    with database.connect(autocommit=True) as connection:
        found = next(differences(connection, 50_000, 1, Counts()), None)
    assert found is not None


def _false_for_errors(program: object, variables: object) -> bool:
    from pgrules.cel import EvaluationError

    try:
        return program.interpret(variables) is True  # type: ignore[attr-defined]
    except EvaluationError:
        return False
