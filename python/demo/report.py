"""What the demo prints: tables of counts, decisions with their reasons, timings."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console

    from .database import Count, Decision
    from .policies import Tenant

# What a value may take of a line that explains a decision.
_VALUE_LENGTH = 100


def print_heading(
    console: Console, tenants: Iterable[Tenant], versions: list[str]
) -> None:
    """Say what is about to happen."""
    console.print(
        f"[bold]pgrules demo[/bold]: {len(versions)} changes are deployed,"
        f" the newest is {versions[-1]}"
    )
    for tenant in tenants:
        console.print(
            f"  [bold]{tenant.name}[/bold]: {len(tenant.rules)} rules; {tenant.about}"
        )


def spinner(console: Console, text: str) -> AbstractContextManager[Any]:
    """Show that something runs."""
    return console.status(text) if console.is_terminal else _announced(console, text)


@contextmanager
def _announced(console: Console, text: str) -> Iterator[None]:
    console.print(f"{text} ...")
    yield


@contextmanager
def progress(
    console: Console, text: str, total: int
) -> Iterator[Callable[[int], None]]:
    """Show how far the work is; yields what is to be told of each step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
    )
    if not console.is_terminal:
        console.print(f"{text} ...")
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda steps: bar.advance(task, steps)


def print_counts(
    console: Console, tenant: Tenant, counts: list[Count], flights: int
) -> None:
    """Show which rules of the tenant fired how often."""
    table = Table(
        title=f"{tenant.name}: {len(counts)} rules over {flights:,} flights",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("rule")
    for heading in ("fired", "share", "no answer"):
        table.add_column(heading, justify="right")
    for count in counts:
        table.add_row(
            count.rule,
            f"{count.fired:,}",
            f"{count.fired / flights:.2%}",
            f"{count.failed:,}" if count.failed else "",
        )
    console.print()
    console.print(table)
    for count in counts:
        if count.error is not None:
            console.print(
                f"{count.rule!r} had no answer {count.failed:,} times, as in:"
                f" {count.error}.\nThe other rules went on; has() would make it a no.",
                markup=False,
            )


def print_decisions(
    console: Console, tenant: Tenant, decisions: list[Decision]
) -> None:
    """Show the rules that fired for one flight, and the values that made them fire."""
    if not decisions:
        return
    first = decisions[0]
    console.print(
        f"\n[bold]{tenant.name} on flight {first.flight_id}:[/bold]"
        f" {_describe(first.facts['Flight'])}"
    )
    names = {rule.id: rule.name for rule in tenant.rules}
    for decision in decisions:
        console.print(f"  [green]{names[decision.rule_id]}[/green], because")
        for text, value in reasons(decision.trace):
            line = Text.assemble("    ", text, (" = ", "dim"), _value(value))
            console.print(line, overflow="ellipsis", no_wrap=True)


def reasons(trace: list[dict[str, Any]]) -> Iterator[tuple[str, object]]:
    """Yield the facts that a decision rests on: what was read, and its value.

    Of the steps of a trace those are the innermost. What a short circuit skipped, a
    list written in the rule, and a has() that holds say nothing that is not said.
    """
    seen = set()
    for position, step in enumerate(trace):
        following = trace[position + 1 : position + 2]
        is_innermost = not following or following[0]["depth"] <= step["depth"]
        text = " ".join(step["expression"].split())
        if "value" not in step or not is_innermost or text in seen:
            continue
        seen.add(text)
        has_it = text.startswith("has(") and step["value"] is True
        if not has_it and not text.startswith(("[", "{")):
            yield text, step["value"]


def print_timings(
    console: Console,
    *,
    flights: int,
    rules: int,
    workers: int,
    load_seconds: float,
    decide_seconds: float,
) -> None:
    """Show how long loading and deciding took."""
    evaluations = flights * rules
    table = Table(title="Timings", title_justify="left", title_style="bold")
    table.add_column("what")
    for heading in ("number", "seconds", "each second"):
        table.add_column(heading, justify="right")
    table.add_row(
        "flights loaded as jsonb (COPY)",
        f"{flights:,}",
        f"{load_seconds:.1f}",
        f"{flights / load_seconds:,.0f}",
    )
    table.add_row(
        f"rules evaluated ({workers} connections)",
        f"{evaluations:,}",
        f"{decide_seconds:.1f}",
        f"{evaluations / decide_seconds:,.0f}",
    )
    console.print()
    console.print(table)


def print_next_steps(console: Console, statements: list[str]) -> None:
    """Show statements to go on with."""
    console.print('\n[bold]To try next[/bold], in psql "$(make -s dsn)":')
    for statement in statements:
        console.print()
        syntax = Syntax(
            statement, "postgresql", theme="ansi_dark", background_color="default"
        )
        console.print(
            Padding(syntax, (0, 0, 0, 2)) if console.is_terminal else statement,
            markup=False,
        )


def _describe(flight: Any) -> str:
    delay = (
        f"{flight['ArrivalDelay']} minutes late"
        if "ArrivalDelay" in flight
        else flight["Status"]
    )
    return (
        f"{flight['CarrierName']} {flight['Number']},"
        f" {flight['Origin']} to {flight['Destination']} ({flight['DistanceMiles']:,}"
        f" miles), {flight['Date']}, {delay}"
    )


def _value(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > _VALUE_LENGTH:
        return f"{text[: _VALUE_LENGTH - 3]}..."
    return text
