"""What a run says about the aims that the project set itself. Nothing depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .peers import PEERS
from .report import ratio_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import CaseResult, Run, WorkloadResult

_PEERS: Final = frozenset(peer.name for peer in PEERS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One aim, and what was found."""

    what: str
    aim: str
    found: str
    met: bool


def findings(run: Run) -> list[Finding]:
    """All aims that the run's workloads have to do with."""
    return [
        *_one_rule(run),
        *_many_rules(run),
        *_flights(run),
        *_rule_index(run),
        *_connections(run),
    ]


def fastest_peer(workload: WorkloadResult, group: str = "") -> CaseResult | None:
    """The peer that took least, if there was any; by ratio, as rounds differ."""
    peers = [
        case for case in workload.cases if case.name in _PEERS and case.group == group
    ]
    return min(peers, key=lambda case: case.ratio or case.median, default=None)


def growth(workload: WorkloadResult, name: str, connections: int) -> float:
    """Calls a second of so many connections, as a multiple of those of one."""
    label = f"{connections} connection{'s' if connections > 1 else ''}"
    one = workload.case("1 connection", name).of_a_unit
    return one / workload.case(label, name).of_a_unit


def _at_most(what: str, ratio: float | None, limit: float) -> Finding:
    assert ratio is not None
    return Finding(what, f"at most {limit:g}", ratio_text(ratio), ratio <= limit)


def _one_rule(run: Run) -> Iterator[Finding]:
    if workload := run.workload("one_rule"):
        ratio = workload.case("evaluate").ratio
        yield _at_most("evaluate, times reading the rule's row", ratio, 2.5)


def _many_rules(run: Run) -> Iterator[Finding]:
    sizes = run.named("many_rules ")
    if sizes:
        ours = sizes[-1].case("evaluate_all")
        yield Finding(
            f"evaluate_all, a rule of {ours.units:,}",
            "at most 0.5 µs",
            time_text(ours.of_a_unit),
            ours.of_a_unit <= 0.5e-6,
        )
    for workload in sizes:
        peer = fastest_peer(workload)
        if peer and peer.ratio:
            yield Finding(
                f"evaluate_all ahead of {peer.name}, {peer.units:,} rules",
                "more than 1",
                ratio_text(peer.ratio),
                peer.ratio > 1,
            )


def _flights(run: Run) -> Iterator[Finding]:
    workload = run.workload("flights")
    if workload is None:
        return
    for group, limit in (
        ("jsonb", 1.5),
        ("own columns", 1.1),
        ("own columns, an index", 1.1),
    ):
        ratio = workload.case("matching_rows", group).ratio
        yield _at_most(f"matching_rows, times hand-written SQL, {group}", ratio, limit)
    peer = fastest_peer(workload, "jsonb")
    if peer and peer.ratio:
        yield Finding(
            f"matching_rows ahead of {peer.name}",
            "at least 20",
            ratio_text(peer.ratio),
            peer.ratio >= 20,
        )


def _rule_index(run: Run) -> Iterator[Finding]:
    workload = run.workload("rule_index")
    if workload:
        largest = workload.cases[-1]
        if largest.ratio is not None:
            yield _at_most(
                f"{largest.name}, times {largest.compared_to}", largest.ratio, 2
            )
        yield Finding(
            largest.name,
            "below 1 ms",
            time_text(largest.median),
            largest.median < 1e-3,
        )
    storing = run.workload("storing")
    if storing:
        for case in storing.cases:
            if case.ratio is not None:
                what = f"storing {case.group} with keys, times without"
                yield _at_most(what, case.ratio, 2)


def _connections(run: Run) -> Iterator[Finding]:
    workload = run.workload("connections")
    if workload is None:
        return
    for connections in (2, 4):
        ratio = growth(workload, "evaluate", connections) / growth(
            workload, "SELECT 1", connections
        )
        yield Finding(
            f"evaluate on {connections} connections grows as SELECT 1 does",
            "at least 0.8 of it",
            ratio_text(ratio),
            ratio >= 0.8,
        )
