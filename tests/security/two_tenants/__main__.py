"""``python -m tests.security.two_tenants N [SEED]``: so many random operations.

Prints how many of each kind there were, how fast, and how many rows of the other
tenant a tenant received. Works in a database of its own on the server that
``DATABASE_URL`` names, or on the private one. Ends with 1 at the first difference,
after printing the seed and a history that is as short as could be found.
"""

from __future__ import annotations

import sys
from collections import Counter
from random import Random
from time import monotonic

from tests.fixtures.database import fresh_database
from tests.fixtures.server import Server
from tests.security.two_tenants.histories import (
    described,
    play,
    play_thrice,
    random_history,
    shortened,
)
from tests.security.two_tenants.play import Difference
from tests.security.two_tenants.world import World, world

LENGTH = 600
"""Steps of a history. The longer it is, the more its tenants have."""

ALONE_EACH = 20
"""One of so many histories is repeated with the steps of each tenant alone."""


def main(wanted: int, seed: int) -> int:
    """Do so many operations; gives the exit status."""
    provider = Server()
    try:
        with fresh_database(provider) as database, world(database) as tenants:
            return _run(tenants, wanted, seed)
    finally:
        provider.close()


def _run(tenants: World, wanted: int, seed: int) -> int:
    counts: Counter[str] = Counter()
    begun = reported = monotonic()
    number = compared = 0
    while counts.total() < wanted:
        compares = number % ALONE_EACH == 0
        playing = play_thrice if compares else play
        # One history can be drawn again without those before it.
        history = random_history(Random(f"{seed}/{number}"), LENGTH)
        try:
            counts += playing(tenants, history)
        except Difference as difference:
            print(f"seed {seed}, history {number}: {difference}")
            print(f"cross-tenant rows: {difference.foreign_rows}")
            steps, shorter = shortened(tenants, history, playing)
            print(f"{len(steps)} steps make a difference:")
            print(described(tenants, steps))
            print(shorter)
            return 1
        number += 1
        compared += compares
        if monotonic() - reported > 60:
            reported = monotonic()
            print(f"{counts.total()} operations", file=sys.stderr, flush=True)
    seconds = monotonic() - begun
    for kind, count in counts.most_common():
        print(f"{count:9} {kind}")
    print(
        f"{counts.total()} operations of {number} pairs of tenants, seed {seed}:"
        f" 0 cross-tenant rows, 0 differences; {compared} histories repeated by each"
        f" tenant alone; {seconds:.0f} s, {counts.total() / seconds:.0f} a second"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
