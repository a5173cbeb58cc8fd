"""Twenty kills under load, and connections cut at every message of every write."""

import random

import pytest

from tests.faults.cuts import cut_everywhere
from tests.faults.kills import Kills, durable_copy, kinds
from tests.faults.store_calls import WRITES
from tests.integration.deployed import Deployed

pytestmark = pytest.mark.soak

KILLS = 20


# Each kill costs seconds of recovery, and on a busy machine several.
@pytest.mark.timeout(600)
def test_twenty_kills_lose_and_tear_nothing_that_was_acknowledged(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    """STORE-6, ERR-4."""
    seed = random.randrange(1_000_000)  # noqa: S311 - printed, to be repeated
    with durable_copy(deployed) as server:
        kills = Kills(server, seed)
        kills.run(kinds(KILLS, seed))
    with capsys.disabled():
        print(f"\nseed {seed}: {kills.tally}")
    assert kills.tally.kills.total() == KILLS
    assert kills.tally.lost == []
    assert kills.tally.torn == []
    assert kills.tally.wrong == []


def test_no_write_is_said_to_be_safe_to_repeat_that_was_stored(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    """STORE-6, ERR-4: at every message of both sides, for every kind of write."""
    cuts = 0
    for prepare in WRITES.values():
        cuts += cut_everywhere(deployed.database.dsn, prepare).cuts
    with capsys.disabled():
        print(f"\n{cuts} cuts")
    assert cuts > 400
