"""Rules as SQL say what the language says, whatever rules, facts and session are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.sql_differential import Counts, differences

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
