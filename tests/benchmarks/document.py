"""What a run measured, as Markdown, in the places that documents keep for it.

A place begins with ``<!-- measured: NAME -->`` and ends with ``<!-- end -->``. So the
figures in a document are those of the committed results; a test holds them together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .findings import fastest_peer, findings, growth
from .plots import OURS
from .report import memory_text, ratio_text, time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .results import CaseResult, Run

_PLACE: Final = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, run: Run) -> str:
    """The document with its places filled; raises `KeyError` for an unknown one."""
    return _PLACE.sub(
        lambda place: f"{place[1]}{FRAGMENTS[place[2]](run)}\n{place[3]}", text
    )


# ---------------------------------------------------------------- fragments


def _machine(run: Run) -> str:
    facts = [
        *run.machine.items(),
        (
            "load before",
            ", ".join(f"{load:.2f}" for load in run.load) + " (1, 5 and 15 minutes)",
        ),
        ("date", run.date),
        ("command", f"`{run.command}`"),
    ]
    return _table(("", ""), facts)


def _summary(run: Run) -> str:
    """The most telling ratios; for a reader who wants no more than them."""
    one, flights, index = (
        run.workload(name) for name in ("one_rule", "flights", "rule_index")
    )
    assert one is not None
    assert flights is not None
    assert index is not None
    decision = one.case("evaluate")
    rows, columns = (
        flights.case("matching_rows", group) for group in ("jsonb", "own columns")
    )
    largest = index.cases[-1]
    lines = [
        f"a stored rule decides in {_ratio(decision)} times the time of reading its row"
    ]
    lines.append(
        f"the flights that match a rule are found in {_ratio(rows)} times the time of"
        f" SQL written by hand over `jsonb`, and {_ratio(columns)} over columns"
    )
    if peer := fastest_peer(flights, "jsonb"):
        lines.append(
            f"that is {_ratio(peer)} times as fast as {peer.name}, the fastest of the"
            " engines that have to fetch the rows",
        )
    if largest.ratio is not None:
        lines.append(
            f"`{largest.name.replace(',', '`,', 1)} finds the ten that match in"
            f" {time_text(largest.median)}, {_ratio(largest)} times as long as among"
            f" {index.cases[0].name.split(', ')[1]}"
        )
    many = run.named("many_rules ")[-1]
    if peer := fastest_peer(many):
        lines.append(
            f"for {peer.units:,} rules that an application keeps in its own memory,"
            f" {peer.name}, the fastest then, takes {_ratio(peer)} times as long as"
            " `evaluate_all`"
        )
    return "\n".join(f"- {line}" for line in lines)


def _aims(run: Run) -> str:
    return _table(
        ("what", "aim", "measured", ""),
        (
            (found.what, found.aim, found.found, "met" if found.met else "**not met**")
            for found in findings(run)
        ),
    )


def _one_rule(run: Run) -> str:
    workload = run.workload("one_rule")
    assert workload is not None
    return _table(
        ("", "a decision", "times reading the row"),
        (
            (_name(case), time_text(case.median), _ratio(case))
            for case in sorted(workload.cases, key=lambda case: case.median)
        ),
    )


def _many_rules(run: Run) -> str:
    workloads = run.named("many_rules ")
    counts = [workload.cases[0].units for workload in workloads]
    memory = {case.name: case.memory for case in workloads[-1].cases}
    heading = ("", *(f"{count:,} rules" for count in counts), "memory, the last")
    rows = []
    for name, *medians in _by_name(workload.cases for workload in workloads):
        size = memory.get(name.strip("*"))
        rows.append((name, *medians, memory_text(size) if size else ""))
    return _table(heading, rows)


def _many_forms(run: Run) -> str:
    workload = run.workload("many_forms")
    assert workload is not None
    return _table(
        ("", workload.title.split(",")[0], "a rule"),
        (
            (_name(case), time_text(case.median), time_text(case.of_a_unit))
            for case in sorted(workload.cases, key=lambda case: case.median)
        ),
    )


def _flights(run: Run) -> str:
    workload = run.workload("flights")
    assert workload is not None
    return _table(
        ("table", "", "all rows", "times", "of"),
        (
            (
                case.group,
                _name(case),
                time_text(case.median),
                _ratio(case),
                case.compared_to or "",
            )
            for case in workload.cases
        ),
    )


def _rule_index(run: Run) -> str:
    workloads = run.named("rule_index ")
    heading = (
        "",
        *(f"{int(workload.name.split()[-1]):,} rules" for workload in workloads),
    )
    table = _table(heading, _by_name(workload.cases for workload in workloads))
    stops = [
        f"- At {int(workload.name.split()[-1]):,} rules: {line}"
        for workload in workloads
        for line in workload.note.splitlines()
    ]
    side_by_side = run.workload("rule_index")
    assert side_by_side is not None
    lines = [f"- {line}" for line in side_by_side.note.splitlines()]
    return "\n".join([table, "", *lines, *stops])


def _storing(run: Run) -> str:
    workload = run.workload("storing")
    assert workload is not None
    return _table(
        ("rules", "", "a rule", "times without"),
        (
            (case.group, case.name, time_text(case.of_a_unit), _ratio(case))
            for case in workload.cases
        ),
    )


def _connections(run: Run) -> str:
    workload = run.workload("connections")
    assert workload is not None

    def times(case: CaseResult) -> float:
        return growth(workload, case.group, case.units)

    counts = sorted({case.units for case in workload.cases})
    return _table(
        ("calls a second", *(f"{count} of them" for count in counts)),
        (
            (
                name,
                *(
                    f"{1 / case.of_a_unit:,.0f} ({times(case):.2f})"
                    for case in workload.cases
                    if case.group == name
                ),
            )
            for name in dict.fromkeys(case.group for case in workload.cases)
        ),
    )


FRAGMENTS: Final[dict[str, Callable[[Run], str]]] = {
    "machine": _machine,
    "summary": _summary,
    "aims": _aims,
    "one_rule": _one_rule,
    "many_rules": _many_rules,
    "many_forms": _many_forms,
    "flights": _flights,
    "rule_index": _rule_index,
    "storing": _storing,
    "connections": _connections,
}


# ---------------------------------------------------------------- tables


def _by_name(sizes: Iterable[Sequence[CaseResult]]) -> list[tuple[str, ...]]:
    """A row a contestant, a column a size; the fastest at the last size first."""
    columns = [{case.name: case.median for case in cases} for cases in sizes]
    names = dict.fromkeys(name for column in columns for name in column)

    def last(name: str) -> tuple[int, float]:
        known = [column[name] for column in columns if name in column]
        return -len(known), known[-1]

    return [
        (
            f"**{name}**" if name in OURS else name,
            *(time_text(column[name]) if name in column else "" for column in columns),
        )
        for name in sorted(names, key=last)
    ]


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    aligned = ["---", *("---:" for _ in heading[1:])]
    lines = [heading, aligned, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _name(case: CaseResult) -> str:
    name = f"**{case.name}**" if case.name in OURS else case.name
    return f"{name} ({case.unit})" if case.unit.startswith("row, ") else name


def _ratio(case: CaseResult) -> str:
    return "" if case.ratio is None else ratio_text(case.ratio)
