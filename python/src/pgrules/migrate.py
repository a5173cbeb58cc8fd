"""Migrations: driving Sqitch, and telling what it did in the words of this project.

Finds the Sqitch project, turns a connection string into what Sqitch and libpq read,
runs one command and names the change that failed. Credentials go through the
environment of the child process alone: never its arguments, never a message.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.pq import Conninfo

from .account import account_name
from .errors import PgRulesError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NOTHING: Final = "0"
"""The target that means: no change applied."""

_REGISTRY_EXISTS: Final = "SELECT to_regclass('sqitch.changes') IS NOT NULL"

_APPLIED: Final = """
SELECT change
FROM sqitch.changes
WHERE project = 'pgrules'
ORDER BY committed_at
"""

# Someone who uses pgrules may well have a Sqitch project of his own.
_OUR_PROJECT: Final = re.compile(r"^%project=pgrules\s*$", re.MULTILINE)
# Sqitch announces a change as "  + 000007_rules .. ".
_ANNOUNCED: Final = re.compile(r"^\s*[+-] (?P<change>[^\s@]\S*)(?: @\S+)* \.\.")
# psql reports as "psql:deploy/000007_rules.sql:12: ERROR:  ...".
_REPORTED: Final = re.compile(
    r"psql:(?:.*/)?(?P<change>[^/:]+)\.sql:(?P<line>\d+): (?P<message>.*)"
)
_NOISE: Final = re.compile(r"psql:\S+:\d+: (?:NOTICE|WARNING|INFO|DEBUG|LOG)\b")
# What follows a server's message and belongs to it.
_CONTINUED: Final = re.compile(r"^(?:DETAIL|HINT|CONTEXT|LINE \d+|QUERY|\s)")


class MigrationError(PgRulesError):
    """A migration command could not start, or a change failed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the plan: its name, how Sqitch tells it apart, its tags."""

    name: str
    reference: str
    tags: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The numeric prefix of the name, which a rework keeps."""
        return self.name.partition("_")[0]


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a Sqitch project, and its plan."""

    folder: Path
    changes: tuple[Change, ...]

    def position(self, target: str) -> int:
        """How many changes are applied when `target` is the newest.

        A target is a version (``7`` or ``000007``), a name, ``name@tag``, a tag
        (``@v1.0``), or ``0`` for none. Raises `MigrationError` if the plan lacks it.
        """
        if target.isdecimal() and int(target) == 0:
            return 0
        for position in range(len(self.changes), 0, -1):
            change = self.changes[position - 1]
            by_number = (
                target.isdecimal()
                and change.version.isdecimal()
                and int(change.version) == int(target)
            )
            names = {change.name, change.reference, *change.tags}
            if by_number or target in names or f"@{target}" in change.tags:
                return position
        newest = self.changes[-1].name if self.changes else "an empty plan"
        raise MigrationError(
            f"the plan has no change or tag {target}",
            hint=f"give a version, a change's name or a tag; the newest is {newest}",
        )


def find_project(given: Path | None) -> Project:
    """The Sqitch project of pgrules in this folder; by default the nearest one.

    That is the first folder upwards from the working directory that has it, the
    checkout that this package runs from, or else the copy that was installed with it.
    Raises `MigrationError` if there is none.
    """
    if given is not None:
        candidates = [given]
    else:
        here, package = Path.cwd(), Path(__file__).resolve().parent
        candidates = [here, *here.parents, *package.parents, package / "sqitch"]
    for folder in candidates:
        plan = folder / "sqitch.plan"
        if plan.is_file():
            text = plan.read_text(encoding="utf-8")
            if _OUR_PROJECT.search(text):
                return Project(folder, parse_plan(text))
    where = "around the working directory" if given is None else f"in {given}"
    raise MigrationError(
        f"there is no Sqitch project of pgrules {where}",
        hint="name its folder, the one with sqitch.plan, by --project",
    )


def parse_plan(text: str) -> tuple[Change, ...]:
    """The changes of a plan, in order (sqitchplan, "Grammar")."""
    names: list[str] = []
    tags: dict[int, list[str]] = {}
    for line in text.splitlines():
        entry = line.partition("#")[0].split()
        if not entry or entry[0].startswith("%"):
            continue
        if entry[0].startswith("@"):
            tags.setdefault(len(names) - 1, []).append(entry[0])
        else:
            names.append(entry[0])
    return tuple(
        Change(name, _reference(names, tags, index), tuple(tags.get(index, ())))
        for index, name in enumerate(names)
    )


def _reference(names: Sequence[str], tags: Mapping[int, list[str]], index: int) -> str:
    """The change's name, made unambiguous where it was reworked."""
    name = names[index]
    if names.count(name) == 1:
        return name
    if name not in names[index + 1 :]:
        return f"{name}@HEAD"
    # A rework is only possible after a tag, so one follows.
    return next(f"{name}{tags[later][0]}" for later in sorted(tags) if later >= index)


def connection_environment(conninfo: str) -> dict[str, str]:
    """The environment by which libpq, psql and Sqitch connect as `conninfo` says.

    Takes a ``postgresql://`` URI or keywords. Raises `MigrationError` for a string
    that is neither, without repeating it: it may hold a password.
    """
    try:
        options = Conninfo.parse(conninfo.encode())
    except psycopg.Error:
        # libpq's message quotes what it does not understand, perhaps a password.
        raise MigrationError(
            "the database URL is not valid",
            hint="write postgresql://user:password@host:port/database?sslmode=...",
        ) from None
    environment: dict[str, str] = {}
    for option in options:
        if not option.val:
            continue
        keyword = option.keyword.decode()
        if option.envvar is None:
            raise MigrationError(
                f"Sqitch cannot be given the connection option {keyword}",
                hint="leave it out for migrations",
            )
        environment[option.envvar.decode()] = option.val.decode()
    return environment


def applied_changes(conninfo: str) -> list[str]:
    """The names of the applied changes, oldest first; empty before the first deploy.

    Raises `MigrationError` if the database cannot be reached.
    """
    connection_environment(conninfo)
    try:
        with psycopg.connect(conninfo) as connection:
            exists = connection.execute(_REGISTRY_EXISTS).fetchone()
            if exists is None or not exists[0]:
                return []
            return [name for (name,) in connection.execute(_APPLIED)]
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error).strip()
        raise MigrationError(reason, operation="read the applied changes") from error


def run_sqitch(
    project: Project,
    conninfo: str,
    arguments: Sequence[str],
    *,
    show: Callable[[str], None],
) -> None:
    """Run one Sqitch command; `show` is given each line of its output as it comes.

    Raises `MigrationError` with the change that failed and the server's message.
    """
    command = ["sqitch", arguments[0], "--target", "db:pg:", *arguments[1:]]
    user = account_name()
    environment = {
        # Sqitch records who deployed, and refuses where the account has no name.
        "SQITCH_FULLNAME": user,
        "SQITCH_EMAIL": f"{user}@localhost",
        **os.environ,
        **connection_environment(conninfo),
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "C",
    }
    failures = FailureReader()
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell, targets from the plan
            command,
            cwd=project.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError as error:
        raise MigrationError(
            "Sqitch is not installed",
            hint="apt-get install sqitch libdbd-pg-perl postgresql-client",
        ) from error
    with process:
        assert process.stdout is not None  # noqa: S101 - as asked for above
        for line in process.stdout:
            failures.read(line.rstrip("\n"))
            show(line.rstrip("\n"))
    if process.returncode:
        raise failures.error(f"sqitch {arguments[0]}")


class FailureReader:
    """Reads Sqitch's output and keeps the first failure in it."""

    def __init__(self) -> None:
        self._announced = ""
        self._failed = ""
        self._message: list[str] = []
        self._open = False
        self._last = ""

    def read(self, line: str) -> None:
        """Take the next line."""
        self._last = line.strip() or self._last
        announced = _ANNOUNCED.search(line)
        if announced is not None:
            self._announced = announced["change"]
        reported = _REPORTED.search(line)
        if reported is not None and _NOISE.search(line) is None:
            if not self._message:
                self._failed = reported["change"]
                self._open = True
            if self._open and reported["change"] == self._failed:
                self._message.append(reported["message"])
        elif self._open and _CONTINUED.search(line):
            self._message.append(line)
        else:
            self._open = False

    def error(self, operation: str) -> MigrationError:
        """What failed, as an exception."""
        if self._message:
            first, *rest = self._message
            return MigrationError(
                first,
                operation="apply change",
                subject=self._failed,
                detail="\n".join(rest),
            )
        return MigrationError(
            self._last or "it gave no reason",
            operation=operation,
            subject=self._announced,
        )
