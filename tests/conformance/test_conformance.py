"""The shared conformance cases, one test each, where the folder is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.suite import Case, judge, read_cases

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "cel-conformance"


def _parameters() -> list[object]:
    if not FOLDER.is_dir():
        reason = f"the conformance cases are not here: {FOLDER}"
        return [pytest.param(None, marks=pytest.mark.skip(reason), id="no-cases")]
    return [pytest.param(case, id=case.id) for case in read_cases(FOLDER)]


@pytest.mark.parametrize("case", _parameters())
def test_a_conformance_case_gives_what_the_specification_demands(case: Case) -> None:
    outcome = judge(case)
    assert outcome.passed, (
        f"{case.expression}\nexpected {outcome.expected}\ngot      {outcome.got}"
    )
