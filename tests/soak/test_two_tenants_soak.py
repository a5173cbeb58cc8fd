"""Two tenants at random for a hundred seconds, and each of them alone."""

import random
from time import monotonic

import pytest

from tests.fixtures.database import Provider, fresh_database
from tests.security.two_tenants.histories import play_thrice, random_history
from tests.security.two_tenants.play import Difference
from tests.security.two_tenants.world import world

pytestmark = pytest.mark.soak

SECONDS = 100
LENGTH = 600


def test_two_tenants_neither_see_change_nor_infer_what_the_other_has(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    """REQ-TENANT-001, REQ-TENANT-004; the seed is printed, to be repeated.

    ``python -m tests.security.two_tenants N SEED`` gives a short history.
    """
    seed = random.randrange(1_000_000)  # noqa: S311
    operations, histories, ends = 0, 0, monotonic() + SECONDS
    with fresh_database(provider) as database, world(database) as tenants:
        while monotonic() < ends:
            draw = random.Random(f"{seed}/{histories}")  # noqa: S311
            try:
                counts = play_thrice(tenants, random_history(draw, LENGTH))
            except Difference as difference:
                pytest.fail(f"seed {seed}, history {histories}: {difference}")
            operations += counts.total()
            histories += 1
    with capsys.disabled():
        print(
            f"\n{operations} operations of two tenants, {histories} histories,"
            f" each also by one tenant alone; seed {seed}: no difference"
        )
    assert histories
