"""Where credentials come from, and where they may not be."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(autouse=True)
def repository() -> None:
    """Skip outside a checkout: what is committed cannot be told there."""
    if git("rev-parse", "--is-inside-work-tree").returncode:
        pytest.skip("not a git checkout: run from a clone of the repository")


def test_the_settings_file_is_not_committed() -> None:
    """REQ-SECURITY-003."""
    assert git("check-ignore", "--quiet", ".env").returncode == 0
    assert git("ls-files", ".env").stdout == ""


def test_a_template_shows_what_can_be_set() -> None:
    """REQ-SECURITY-003: .env.example, with no credential in it."""
    assert git("ls-files", ".env.example").stdout.strip() == ".env.example"
    template = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert "DATABASE_URL" in template
    assert "sslmode=" in template


def test_no_source_has_a_password_in_a_connection_string() -> None:
    """REQ-SECURITY-003: connection strings come from outside."""
    # In documentation the password is a word that says so.
    pattern = r"postgres(ql)?://[^:/@[:space:]]+:[^@[:space:]]+@"
    found = git("grep", "-nE", pattern, "--", "python/src", "deploy", "*.conf")
    lines = [
        line
        for line in found.stdout.splitlines()
        if not re.search(r"//user:password@", line)
    ]
    assert lines == []
