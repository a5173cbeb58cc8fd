"""Run the demo: ``python -m demo``, or ``make demo`` which also brings a server."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click
import psycopg
from dotenv import load_dotenv
from psycopg_pool import PoolTimeout
from rich.console import Console

from pgrules import PgRulesError

from . import database, flights, next_steps, report
from .policies import Tenant, read_policies

_ROOT = Path(__file__).resolve().parents[2]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--flights",
    "limit",
    type=click.IntRange(1, flights.FLIGHTS),
    default=flights.FLIGHTS,
    help="Judge only the first so many flights.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=os.cpu_count() or 1,
    help="Connections that evaluate at the same time (default: one a processor).",
)
def main(limit: int, workers: int) -> None:
    """Judge the flights out of New York in 2013 by the rules of two tenants.

    Needs a superuser's DATABASE_URL, from the environment or .env, of a database that
    pgrules is deployed to. May be run again; leaves its tables for you to look at.
    """
    load_dotenv(_ROOT / ".env")
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    dsn = os.environ.get("DATABASE_URL")
    if not dsn:
        raise click.ClickException("DATABASE_URL is not set; `make demo` sets it")
    try:
        run(console, dsn, read_policies(), limit=limit, workers=workers)
    except (database.NotDeployedError, flights.DataSetMissingError) as error:
        raise click.ClickException(str(error)) from error
    except (PgRulesError, psycopg.Error, PoolTimeout) as error:
        raise click.ClickException(f"the database refused: {error}") from error


def run(
    console: Console,
    dsn: str,
    tenants: tuple[Tenant, ...],
    *,
    limit: int,
    workers: int,
) -> None:
    """Do all of it, and print what was found."""
    folder = flights.data_folder()
    report.print_heading(console, tenants, database.prepare(dsn, tenants))

    started = time.perf_counter()
    with report.spinner(console, f"Loading {limit:,} flights"):
        loaded = database.load(dsn, flights.read_facts(folder, limit))
    load_seconds = time.perf_counter() - started

    with database.application_pool(dsn, workers) as pool:
        for tenant in tenants:
            database.store_rules(pool, tenant)
        started = time.perf_counter()
        with report.progress(console, "Deciding", loaded * len(tenants)) as advance:
            database.decide(pool, tenants, loaded, workers=workers, on_progress=advance)
        decide_seconds = time.perf_counter() - started

        for tenant in tenants:
            report.print_counts(console, tenant, database.counts(pool, tenant), loaded)
        shown = [(t, database.decisions(pool, t, 1)) for t in tenants]
        for tenant, busiest in shown:
            for found in busiest:
                report.print_decisions(console, tenant, found)

    report.print_timings(
        console,
        flights=loaded,
        rules=sum(len(tenant.rules) for tenant in tenants),
        workers=workers,
        load_seconds=load_seconds,
        decide_seconds=decide_seconds,
    )
    flights_shown = [found[0].flight_id for _, busiest in shown for found in busiest]
    example = flights_shown[0] if flights_shown else 1
    report.print_next_steps(console, next_steps.statements(tenants, example))


if __name__ == "__main__":
    main(prog_name="demo")
