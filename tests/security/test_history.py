"""Evaluations of concurrent sessions agree with their snapshots: a few seconds of it.

``python -m tests.security.history SECONDS [SEED]`` goes on for longer, and says what
happened around a difference; `make test-soak` runs it for two minutes.
"""

import pytest

from tests.fixtures.database import Database
from tests.security import history

pytestmark = pytest.mark.integration

SECONDS = 6
LEAST = 2000


def test_every_evaluation_is_what_its_snapshot_allows(database: Database) -> None:
    """COMP-3, COMP-4, EVAL-1, REQ-PERSIST-003, REQ-TENANT-007."""
    report = history.run(database, SECONDS, seed=1, least=LEAST)
    assert not report.differences, "\n\n".join(report.differences[:3])
    assert report.evaluations >= LEAST, report
