"""``make bench``: pgrules beside other engines, on the server in use, in one run.

Makes a database of its own on that server and drops it. Nothing here passes or fails
by its time; a wrong result ends the run.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from tests.benchmarks import machine, plots, results
from tests.benchmarks.document import filled
from tests.benchmarks.findings import findings
from tests.benchmarks.measuring import Effort, measure
from tests.benchmarks.peers.contestant import ContestantError
from tests.benchmarks.report import findings_table, workload_table
from tests.benchmarks.surroundings import Sizes, surroundings
from tests.benchmarks.workloads import WORKLOADS

_FULL: Final = Sizes()
_ROOT: Final = Path(__file__).resolve().parents[2]
_DOCUMENTED: Final = _ROOT / "docs/performance"
_DOCUMENTS: Final = [_ROOT / "docs/performance.md", _ROOT / "README.md"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("workloads", nargs=-1, type=click.Choice(list(WORKLOADS)))
@click.option(
    "--rounds",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Samples of each case, at most.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=3.0,
    show_default=True,
    help="Time of each case, after which it gets no more samples than three.",
)
@click.option(
    "--rules",
    type=click.IntRange(1_000),
    default=_FULL.rules,
    show_default=True,
    help="The largest rule set.",
)
@click.option(
    "--flights",
    type=click.IntRange(1, _FULL.flights),
    default=_FULL.flights,
    show_default=True,
    help="The first so many flights.",
)
@click.option(
    "--plots",
    "draws",
    is_flag=True,
    help="Write results.json and the plots of it to --out; and, where that is"
    " docs/performance, the figures in docs/performance.md and README.md.",
)
@click.option(
    "--redraw", is_flag=True, help="Measure nothing; print and draw --out/results.json."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_DOCUMENTED,
    show_default="docs/performance",
    help="Folder of results and plots.",
)
def main(
    workloads: tuple[str, ...],
    rounds: int,
    seconds: float,
    rules: int,
    flights: int,
    draws: bool,
    redraw: bool,
    out: Path,
) -> None:
    """Run WORKLOADS, or all of them, and print a table of each."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if redraw:
        run = results.read(out / "results.json")
        for workload in run.workloads:
            console.print(workload_table(workload))
    else:
        if draws and workloads and out == _DOCUMENTED:
            raise click.UsageError(
                "docs/performance shows all workloads of one run; name another --out"
            )
        try:
            run = _measure(
                console,
                workloads or tuple(WORKLOADS),
                Effort(rounds, seconds),
                Sizes(rules, flights),
            )
        except ContestantError as error:
            raise click.ClickException(str(error)) from error
    if found := findings(run):
        console.print()
        console.print(findings_table(found))
    console.print(f"\nTo repeat: {run.command}", markup=False)
    if draws or redraw:
        out.mkdir(parents=True, exist_ok=True)
        results.write(run, out / "results.json")
        written = plots.draw(run, out)
        if out == _DOCUMENTED:
            for path in _DOCUMENTS:
                path.write_text(filled(path.read_text("utf-8"), run), "utf-8")
            written += _DOCUMENTS
        for path in written:
            console.print(f"Wrote {path}", markup=False)


def _measure(
    console: Console, names: tuple[str, ...], effort: Effort, sizes: Sizes
) -> results.Run:
    load = os.getloadavg()
    measured = []
    with surroundings(sizes) as around:
        facts = machine.facts(around.connection)
        now = datetime.now(UTC)
        console.print(f"[bold]pgrules benchmark[/bold], {now:%Y-%m-%d}")
        for name, value in facts:
            console.print(f"  {name:<12} {value}", markup=False)
        console.print(f"  {'load':<12} {' '.join(f'{part:.2f}' for part in load)}")
        for name in names:
            # Closed also when the measuring fails: it holds processes.
            with closing(WORKLOADS[name](around)) as one_by_one:
                for workload in one_by_one:
                    result = results.result_of(workload, measure(workload, effort))
                    measured.append(result)
                    console.print()
                    console.print(workload_table(result))
                    if result.note:
                        console.print(result.note, markup=False)
    return results.Run(
        f"{now:%Y-%m-%d}",
        _command(names, effort, sizes),
        dict(facts),
        load,
        tuple(measured),
    )


def _command(names: tuple[str, ...], effort: Effort, sizes: Sizes) -> str:
    options = main.params
    defaults = {option.name: option.default for option in options}
    given: dict[str, float] = {
        "rounds": effort.rounds,
        "seconds": effort.seconds,
        "rules": sizes.rules,
        "flights": sizes.flights,
    }
    arguments = [
        *(() if names == tuple(WORKLOADS) else names),
        *(
            f"--{name}={value:.10g}"
            for name, value in given.items()
            if value != defaults.get(name)
        ),
    ]
    if not arguments:
        return "make bench"
    return shlex.join(["make", "bench", f"BENCH={' '.join(arguments)}"])


if __name__ == "__main__":
    main(prog_name="bench")
