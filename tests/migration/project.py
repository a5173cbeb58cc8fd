"""The Sqitch project as its tests see it: the plan, the command, and dumps."""

import os
import re
import subprocess
from pathlib import Path

from tests.fixtures.sqitch import ROOT

ENVIRONMENT = {
    # Sqitch records who deployed, and refuses where the account has no name.
    "SQITCH_FULLNAME": "pgrules tests",
    "SQITCH_EMAIL": "tests@localhost",
    "LC_ALL": "C.UTF-8",
}


def plan(root: Path = ROOT) -> dict[str, list[str]]:
    """The changes in the order of the plan, each with those that it requires."""
    changes: dict[str, list[str]] = {}
    for line in (root / "sqitch.plan").read_text().splitlines():
        planned = re.match(r"(\w+) (?:\[([^]]*)\] )?\d{4}-", line)
        if planned:
            changes[planned[1]] = (planned[2] or "").split()
    return changes


def sqitch(
    uri: str, *arguments: str, project: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run Sqitch on a database; its output, both streams in one, is in `stdout`."""
    command, *options = arguments
    return subprocess.run(
        ["sqitch", command, *options, "--target", f"db:{uri}"],
        cwd=project,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def succeed(uri: str, *arguments: str, project: Path = ROOT) -> str:
    """Run Sqitch on a database; give its output, or fail with it."""
    done = sqitch(uri, *arguments, project=project)
    assert done.returncode == 0, done.stdout
    return done.stdout


def dump(uri: str, *options: str) -> str:
    """The database as pg_dump writes it, with its settings and privileges."""
    return _run(["pg_dump", "--create", *options, "--dbname", uri])


def schema(uri: str) -> str:
    """What the database consists of: no rows, and not what Sqitch keeps for itself."""
    return dump(uri, "--schema-only", "--exclude-schema=sqitch")


def globals_of(uri: str) -> str:
    """The roles of the cluster, their settings and their memberships."""
    return _run(["pg_dumpall", "--globals-only", "--no-role-passwords", "-d", uri])


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Newer versions bracket the script with a word that is another one every time.
    return re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout)
