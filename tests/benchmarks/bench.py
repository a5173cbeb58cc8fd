"""``make bench``: medians and ratios of one run, on the server in use.

Makes a database of its own on that server and drops it. Nothing here passes or fails
by its time; a wrong result ends the run.
"""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from tests.benchmarks import machine
from tests.benchmarks.measuring import Measurement, Workload, measure
from tests.benchmarks.surroundings import surroundings
from tests.benchmarks.workloads import WORKLOADS


@click.command()
@click.argument("workloads", nargs=-1, type=click.Choice(list(WORKLOADS)))
@click.option(
    "--rounds",
    type=click.IntRange(10, 10_000),
    default=200,
    show_default=True,
    help="Samples of each case.",
)
def main(workloads: tuple[str, ...], rounds: int) -> None:
    """Run WORKLOADS, or all of them, and print a table of each."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    with surroundings() as around:
        console.print(f"[bold]pgrules benchmark[/bold], {datetime.now(UTC):%Y-%m-%d}")
        for name, value in machine.facts(around.connection):
            console.print(f"  {name:<12} {value}", markup=False)
        for name in workloads or tuple(WORKLOADS):
            workload = WORKLOADS[name](around)
            console.print()
            console.print(_table(workload, measure(workload, rounds=rounds)))
            if workload.note:
                console.print(workload.note)
    command = shlex.join(["make", "bench", *_arguments(workloads, rounds)])
    console.print(f"\nTo repeat: {command}", markup=False)


def _arguments(workloads: tuple[str, ...], rounds: int) -> list[str]:
    given = [*workloads, f"--rounds={rounds}"]
    return [f"BENCH={' '.join(given)}"]


def _table(workload: Workload, measurements: list[Measurement]) -> Table:
    table = Table(title=workload.title, title_justify="left", title_style="bold")
    table.add_column("case", no_wrap=True)
    for heading in ("median", "10%", "90%"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    table.add_column("of", max_width=22)
    table.add_column("aim", max_width=18)
    group = ""
    for measured in measurements:
        case = measured.case
        if case.group != group:
            group = case.group
            table.add_section()
            table.add_row(f"[bold]{group}[/bold]")
        name = f"  {case.name}" if group else case.name
        if case.units > 1:
            name += f"\n  a {case.unit}: {_time(measured.median / case.units)}"
        table.add_row(
            name,
            _time(measured.median),
            _time(measured.low),
            _time(measured.high),
            "" if measured.ratio is None else f"{measured.ratio:.2f}",
            case.compared_to or "",
            case.aim,
        )
    return table


def _time(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.2f} {unit}"
    return f"{seconds * 1e6:.2f} µs"


if __name__ == "__main__":
    main(prog_name="bench")
