"""What was measured as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .findings import Finding
    from .results import WorkloadResult


def workload_table(workload: WorkloadResult) -> Table:
    """A row a case: median, the tenths, ratio; memory and compiling where known."""
    has_memory = any(case.memory for case in workload.cases)
    has_prepared = any(case.prepared is not None for case in workload.cases)
    table = Table(title=workload.title, title_justify="left", title_style="bold")
    table.add_column("case", no_wrap=True)
    for heading in ("median", "10%", "90%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    table.add_column("of", no_wrap=True)
    if has_prepared:
        table.add_column("compiled", justify="right", no_wrap=True)
    if has_memory:
        table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("aim", max_width=22)
    group = ""
    for case in workload.cases:
        if case.group != group:
            group = case.group
            table.add_section()
            table.add_row(f"[bold]{group}[/bold]")
        name = f"  {case.name}" if group else case.name
        if case.units > 1:
            name += f"\n  a {case.unit}: {time_text(case.of_a_unit)}"
        cells = [
            name,
            time_text(case.median),
            time_text(case.low),
            time_text(case.high),
            "" if case.ratio is None else ratio_text(case.ratio),
            case.compared_to or "",
        ]
        if has_prepared:
            cells.append("" if case.prepared is None else time_text(case.prepared))
        if has_memory:
            cells.append("" if case.memory is None else memory_text(case.memory))
        table.add_row(*cells, case.aim)
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """A row an aim, and whether this run meets it."""
    table = Table(title="Aims", title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("aim", no_wrap=True)
    table.add_column("here", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for finding in findings:
        table.add_row(
            finding.what,
            finding.aim,
            finding.found,
            "[green]met[/green]" if finding.met else "[red]not met[/red]",
        )
    return table


def time_text(seconds: float) -> str:
    """In the unit that leaves one to three digits before the point."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e6:.2f} µs"


def ratio_text(ratio: float) -> str:
    """With as many digits as say something."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def memory_text(size: int) -> str:
    """In MiB."""
    return f"{size / 2**20:,.0f} MiB"
