"""One rule over every flight out of New York in 2013, stored in PostgreSQL."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from python.demo.flights import data_folder, read_facts
from tests.benchmarks.measuring import Workload
from tests.benchmarks.peers import MEMORY, ONE_BY_ONE
from tests.benchmarks.peers.contestant import Team
from tests.benchmarks.peers.formats import cel
from tests.benchmarks.rules import Clause, Rule
from tests.benchmarks.surroundings import store_rules

from .cases import of_contestant, of_statement

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.benchmarks.measuring import Case
    from tests.benchmarks.peers import Peer
    from tests.benchmarks.peers.contestant import Contestant
    from tests.benchmarks.surroundings import Surroundings

RULE: Final = Rule(
    "00000000-0000-4000-8000-000000000002",
    (
        Clause("Flight", "ArrivalDelay", "has"),
        Clause("Flight", "ArrivalDelay", ">=", 180),
        Clause("Flight", "Origin", "==", "JFK"),
        Clause("Flight", "DistanceMiles", "<", 1500),
    ),
)

_TABLES: Final = """
CREATE UNLOGGED TABLE benchmark.documents (
    id integer PRIMARY KEY,
    facts jsonb NOT NULL
);
CREATE UNLOGGED TABLE benchmark.flights (
    id integer PRIMARY KEY,
    "Carrier" text NOT NULL,
    "Number" bigint NOT NULL,
    "Origin" text NOT NULL,
    "Destination" text NOT NULL,
    "DistanceMiles" bigint NOT NULL,
    "Status" text NOT NULL,
    "DepartureDelay" bigint,
    "ArrivalDelay" bigint,
    "AirTime" bigint
);
GRANT SELECT ON benchmark.documents, benchmark.flights TO rules_app;
"""
_COLUMNS: Final = """
INSERT INTO benchmark.flights
SELECT d.id, f.* FROM benchmark.documents AS d
CROSS JOIN jsonb_to_record(d.facts -> 'Flight') AS f (
    "Carrier" text, "Number" bigint, "Origin" text, "Destination" text,
    "DistanceMiles" bigint, "Status" text, "DepartureDelay" bigint,
    "ArrivalDelay" bigint, "AirTime" bigint
);
CREATE UNLOGGED TABLE benchmark.indexed (
    LIKE benchmark.flights INCLUDING DEFAULTS INCLUDING CONSTRAINTS
);
INSERT INTO benchmark.indexed SELECT * FROM benchmark.flights;
CREATE INDEX indexed_delay ON benchmark.indexed ("ArrivalDelay");
GRANT SELECT ON benchmark.indexed TO rules_app;
"""
_HAND_WRITTEN: Final = {
    "jsonb": """
        SELECT id FROM benchmark.documents
        WHERE (facts -> 'Flight' ->> 'ArrivalDelay')::bigint >= 180
            AND facts -> 'Flight' ->> 'Origin' = 'JFK'
            AND (facts -> 'Flight' ->> 'DistanceMiles')::bigint < 1500
    """,
    "own columns": """
        SELECT id FROM benchmark.flights
        WHERE "ArrivalDelay" >= 180 AND "Origin" = 'JFK' AND "DistanceMiles" < 1500
    """,
    "own columns, an index": """
        SELECT id FROM benchmark.indexed
        WHERE "ArrivalDelay" >= 180 AND "Origin" = 'JFK' AND "DistanceMiles" < 1500
    """,
}
_OURS: Final = {
    "jsonb": "SELECT id FROM rules.matching_rows(%s::uuid, NULL::benchmark.documents,"
    " facts_column => 'facts')",
    "own columns": "SELECT id FROM rules.matching_rows(%s::uuid,"
    " NULL::benchmark.flights, object => 'Flight')",
    "own columns, an index": "SELECT id FROM rules.matching_rows(%s::uuid,"
    " NULL::benchmark.indexed, object => 'Flight')",
}
_COUNT: Final = {
    "jsonb": "SELECT rules.count_matches(%s::uuid, 'benchmark.documents',"
    " facts_column => 'facts')",
    "own columns": "SELECT rules.count_matches(%s::uuid, 'benchmark.flights',"
    " object => 'Flight')",
    "own columns, an index": "SELECT rules.count_matches(%s::uuid,"
    " 'benchmark.indexed', object => 'Flight')",
}
_AIMS: Final = {
    "jsonb": "at most 1.5",
    "own columns": "at most 1.1",
    "own columns, an index": "at most 1.1",
}
HAND_WRITTEN: Final = "hand-written SQL"

# A peer that would need longer for all rows gets some of them, and is scaled.
_PATIENCE: Final = 10.0
_PROBED: Final = 2_000

_FETCHED: Final = "SELECT id, facts::text FROM benchmark.documents"


def workloads(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """The table as documents and as columns; peers fetch the documents."""
    facts = dict(read_facts(data_folder(), surroundings.sizes.flights))
    matching = [number for number, of in facts.items() if RULE.matches(of)]
    _load(surroundings, facts)
    flights = len(facts)
    del facts
    surroundings.remove_rules()
    store_rules(
        surroundings.connection,
        surroundings.tenant_id,
        [(UUID(RULE.id), "late", cel(RULE))],
    )
    with Team() as team:
        yield Workload(
            "flights",
            f"One rule, {flights:,} flights in PostgreSQL; {len(matching):,} match",
            tuple(
                sorted(
                    (
                        *_in_database(surroundings, team, matching, flights),
                        *_peers(surroundings, team, matching, flights),
                    ),
                    key=lambda case: list(_HAND_WRITTEN).index(case.group),
                )
            ),
            note=(
                "From the stored rows to the ids of those that match. Peers fetch id"
                " and facts as JSON text through a server-side cursor, 5,000 rows at a"
                " time, and evaluate what they keep compiled. A slow one gets the first"
                " of 10 or of 100 parts of the rows, and its time is multiplied."
            ),
        )


def _load(surroundings: Surroundings, facts: dict[int, dict[str, Any]]) -> None:
    admin = surroundings.admin
    admin.execute(_TABLES)
    with admin.cursor().copy("COPY benchmark.documents FROM STDIN") as copy:
        for number, flight in facts.items():
            copy.write_row((number, json.dumps(flight)))
    admin.execute(_COLUMNS)
    admin.execute("VACUUM ANALYZE")


def _in_database(
    surroundings: Surroundings, team: Team, matching: list[int], flights: int
) -> Iterator[Case]:
    for group, statement in _HAND_WRITTEN.items():
        of_a_row: dict[str, Any] = {"units": flights, "unit": "row", "group": group}
        yield of_statement(
            surroundings,
            team,
            statement,
            (),
            name=HAND_WRITTEN,
            expected=matching,
            **of_a_row,
        )
        yield of_statement(
            surroundings,
            team,
            _OURS[group],
            (RULE.id,),
            name="matching_rows",
            expected=matching,
            compared_to=HAND_WRITTEN,
            aim=_AIMS[group],
            **of_a_row,
        )
        yield of_statement(
            surroundings,
            team,
            _COUNT[group],
            (RULE.id,),
            name="count_matches",
            expected=[len(matching)],
            compared_to=HAND_WRITTEN,
            **of_a_row,
        )


def _peers(
    surroundings: Surroundings, team: Team, matching: list[int], flights: int
) -> Iterator[Case]:
    for peer in (*ONE_BY_ONE, MEMORY):
        share = _share(surroundings, peer, flights)
        rows = flights // share
        contestant = _fetcher(surroundings, team, peer, rows)
        yield of_contestant(
            contestant,
            [number for number in matching if number <= rows],
            name="Engine in memory" if peer is MEMORY else peer.name,
            timer=partial(_scaled, contestant, share),
            compared_to="matching_rows",
            units=flights,
            unit="row" if share == 1 else f"row, by 1 in {share}",
            group="jsonb",
        )


def _share(surroundings: Surroundings, peer: Peer, flights: int) -> int:
    """One in how many rows a peer gets, so that it ends before one loses patience."""
    with Team() as team:
        probe = _fetcher(surroundings, team, peer, _PROBED)
        probe.time(1)
        seconds = probe.time(1) * flights / _PROBED
    return next(share for share in (1, 10, 100, 1_000) if seconds / share < _PATIENCE)


def _fetcher(
    surroundings: Surroundings, team: Team, peer: Peer, rows: int
) -> Contestant:
    return team.add(
        peer,
        "rows",
        dsn=surroundings.login,
        tenant=str(surroundings.tenant_id),
        statement=f"{_FETCHED} WHERE id <= {rows}",
        text=peer.text(RULE),
    )


def _scaled(contestant: Contestant, share: int, repetitions: int) -> float:
    return share * contestant.time(repetitions)
