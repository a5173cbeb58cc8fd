"""The command line: ``pgrules migrate up|down|version|force``.

Only reads arguments and prints; the work is left to :mod:`pgrules.migrate`. The
database is that of ``--database``, of ``DATABASE_URL``, or of ``DATABASE_URL`` in the
nearest ``.env`` file, in this order.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from dotenv import find_dotenv, load_dotenv

from . import migrate as migrations
from .errors import PgRulesError
from .migrate import NOTHING, MigrationError, Project

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run the command line; errors go to standard error, with exit status 1."""
    try:
        pgrules()
    except PgRulesError as error:
        click.echo(f"pgrules: {error}", err=True)
        sys.exit(1)


@click.group()
@click.version_option(package_name="pgrules")
def pgrules() -> None:
    """Rules inside PostgreSQL: administration."""


@pgrules.group()
def migrate() -> None:
    """Apply, revert and record changes of the database.

    A TARGET is a version such as 000007, a change's name, or a tag such as @v1.0.
    """


def _database_and_project(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every migration command has."""
    command = click.option(
        "--project",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the Sqitch project; by default found from the working"
        " directory upwards.",
    )(command)
    return click.option(
        "--database",
        metavar="URL",
        help="postgresql:// URI; by default DATABASE_URL from the environment or"
        " a .env file.",
    )(command)


@migrate.command()
@click.argument("target", required=False)
@_database_and_project
def up(target: str | None, database: str | None, project: Path | None) -> None:
    """Apply all changes, or those up to TARGET, verifying each."""
    session = _Session(database, project)
    if target is None:
        session.run("deploy", "--verify")
        return
    position = session.project.position(target)
    if position <= session.applied:
        click.echo(f"nothing to apply: {target} is applied already")
        return
    session.run("deploy", "--verify", "--to-change", session.reference(position))


@migrate.command()
@click.argument("target", required=False)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_database_and_project
def down(
    target: str | None, database: str | None, project: Path | None, *, yes: bool
) -> None:
    """Revert all changes, or those after TARGET, newest first.

    Data in tables that are reverted is lost.
    """
    session = _Session(database, project)
    position = session.project.position(target or NOTHING)
    if position >= session.applied:
        click.echo("nothing to revert")
        return
    if not yes:
        click.confirm(
            f"revert {session.applied - position} changes, with their data?",
            abort=True,
        )
    session.run("revert", "-y", *session.down_to(position))


@migrate.command()
@_database_and_project
def version(database: str | None, project: Path | None) -> None:
    """Print the newest change that is applied."""
    applied = migrations.applied_changes(_url(database, project))
    click.echo(applied[-1] if applied else "nothing is applied")


@migrate.command()
@click.argument("target")
@_database_and_project
def force(target: str, database: str | None, project: Path | None) -> None:
    """Record TARGET as the newest applied change without running anything.

    0 records that nothing is applied. For a database that was repaired by hand.
    """
    session = _Session(database, project)
    position = session.project.position(target)
    if position > session.applied:
        change = session.reference(position)
        session.run("deploy", "--log-only", "--to-change", change)
    elif position < session.applied:
        session.run("revert", "--log-only", "-y", *session.down_to(position))
    else:
        click.echo(f"nothing to record: {target} is the newest already")


class _Session:
    """What one command works on: the project, the database, what is applied there."""

    def __init__(self, database: str | None, project: Path | None) -> None:
        self._url = _url(database, project)
        self.project: Project = migrations.find_project(project)
        self.applied = len(migrations.applied_changes(self._url))

    def reference(self, position: int) -> str:
        """How Sqitch is told the change at this position of the plan."""
        return self.project.changes[position - 1].reference

    def down_to(self, position: int) -> list[str]:
        """Sqitch's arguments for a revert that keeps this many changes."""
        return ["--to-change", self.reference(position)] if position else []

    def run(self, *arguments: str) -> None:
        """Run Sqitch, showing its output."""
        migrations.run_sqitch(self.project, self._url, arguments, show=click.echo)


def _url(given: str | None, project: Path | None) -> str:
    if given:
        return given
    beside = [project / ".env"] if project is not None else []
    for path in [*beside, Path(find_dotenv(usecwd=True) or os.devnull)]:
        # What the environment says already is kept.
        load_dotenv(path)
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise MigrationError(
            "no database is named",
            hint="give --database, or set DATABASE_URL in the environment or in .env",
        )
    return url
