"""Processes of a server are killed under load: what was acknowledged is there.

A few times here; ``tests/soak`` and ``python -m tests.faults.kills`` do so more often.
"""

import pytest

from tests.faults.kills import Kills, durable_copy
from tests.integration.deployed import Deployed

pytestmark = pytest.mark.integration

SEED = 1


def test_kills_under_load_lose_and_tear_nothing_that_was_acknowledged(
    deployed: Deployed,
) -> None:
    """STORE-6, ERR-4: a backend, the postmaster, the whole server, and a restart."""
    with durable_copy(deployed) as server:
        kills = Kills(server, SEED)
        kills.run(["backend", "postmaster", "immediate stop", "restart"])
    tally = kills.tally
    assert tally.kills.total() == 4
    assert tally.lost == []
    assert tally.torn == []
    assert tally.wrong == []
    # Nobody would have met the kills otherwise.
    assert tally.repeated + tally.doubtful > 0
