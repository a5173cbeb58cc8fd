"""The command line where it needs no database."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pgrules.cli import pgrules


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pgrules", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_commands_are_up_down_version_and_force() -> None:
    """REQ-MIGRATION-007."""
    shown = CliRunner().invoke(pgrules, ["migrate", "--help"]).output
    commands = shown.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in commands if line.strip()] == [
        "down",
        "force",
        "up",
        "version",
    ]


def test_without_a_database_the_command_says_how_to_name_one() -> None:
    """REQ-MIGRATION-008."""
    done = run_module("migrate", "up")
    assert done.returncode == 1
    assert "pgrules: no database is named" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_malformed_url_is_refused_without_its_password() -> None:
    url = "postgresql://ada:s3cret@localhost:port/db"
    done = run_module("migrate", "version", "--database", url)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_force_asks_for_a_target() -> None:
    done = CliRunner().invoke(pgrules, ["migrate", "force"])
    assert done.exit_code == 2
    assert "Missing argument 'TARGET'" in done.output
