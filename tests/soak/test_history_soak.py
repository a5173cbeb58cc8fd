"""Evaluations of concurrent sessions agree with their snapshots, for two minutes."""

import random

import pytest

from tests.fixtures.database import Provider, fresh_database
from tests.security import history

pytestmark = pytest.mark.soak

SECONDS = 100


def test_every_evaluation_is_what_its_snapshot_allows(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    """COMP-3, COMP-4, EVAL-1, REQ-PERSIST-003, REQ-TENANT-007."""
    seed = random.randrange(1_000_000)  # noqa: S311 - printed, to be repeated
    with fresh_database(provider) as database:
        report = history.run(database, SECONDS, seed)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.differences, "\n\n".join(report.differences[:3])
