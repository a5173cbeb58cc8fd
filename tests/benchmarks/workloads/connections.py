"""Several connections at once: whether what is decided grows as SELECT 1 does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.benchmarks.measuring import Case, Workload
from tests.benchmarks.peers.contestant import Team

from .one_rule import EXPRESSION, FACTS_TEXT

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tests.benchmarks.peers.contestant import Contestant
    from tests.benchmarks.surroundings import Surroundings

CONNECTIONS: Final = (1, 2, 4)

# Long enough that all clients are at it for most of a sample.
_SAMPLE_SECONDS: Final = 0.25


def workloads(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """One, two and four client processes that do nothing else, each a connection."""
    surroundings.remove_rules()
    (rule_id,) = surroundings.add_rules([("adult in region", EXPRESSION)])
    statements = {
        "SELECT 1": ("SELECT 1", (), [1]),
        "evaluate": (
            "SELECT matched FROM rules.evaluate(%s::uuid, %s::jsonb)",
            (str(rule_id), FACTS_TEXT),
            [True],
        ),
    }
    with Team() as team:
        cases = []
        for name, (statement, parameters, expected) in statements.items():
            clients = [
                team.add(
                    None,
                    "statement",
                    dsn=surroundings.login,
                    tenant=str(surroundings.tenant_id),
                    statement=statement,
                    parameters=parameters,
                )
                for _ in range(max(CONNECTIONS))
            ]
            cases += [
                _together(name, clients[:count], expected) for count in CONNECTIONS
            ]
        yield Workload(
            "connections",
            "Connections at once",
            tuple(cases),
            note=(
                "A case is one statement of each connection; per call is the time"
                " divided by them. With as many processes as connections on each side,"
                " more connections than processors cannot be faster by themselves."
            ),
            sample_seconds=_SAMPLE_SECONDS,
        )


def _together(name: str, clients: Sequence[Contestant], expected: object) -> Case:
    def run() -> object:
        return [client.run() for client in clients]

    def timer(repetitions: int) -> float:
        for client in clients:
            client.start(repetitions)
        return max(client.finish() for client in clients)

    return Case(
        f"{len(clients)} connection{'s' if clients[1:] else ''}",
        run,
        [expected] * len(clients),
        compared_to=None if len(clients) == 1 else "1 connection",
        units=len(clients),
        unit="call",
        group=name,
        timer=timer,
    )
