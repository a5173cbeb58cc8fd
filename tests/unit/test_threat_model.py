"""The threat model names tests that exist, for each threat at least one."""

import re
from functools import cache
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/security.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
LINK = re.compile(r"\[`?(?P<name>[^\]`]+)`?\]\((?P<file>\.\./tests/[^)]+)\)")


def section(heading: str) -> str:
    """The text under a heading, up to the next one of its level."""
    begin = TEXT.index(f"\n## {heading}\n")
    end = TEXT.find("\n## ", begin + 1)
    return TEXT[begin : end if end > 0 else len(TEXT)]


def threats() -> list[str]:
    """The rows of the tables whose last column is `tests`."""
    rows = []
    for table in re.findall(
        r"^\| threat \|.*\n\|---.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    ):
        rows += table.splitlines()
    return rows


@cache
def names_in(file: str) -> set[str]:
    """What the tests of a file are called: functions, or pgTAP's descriptions."""
    text = (DOCUMENT.parent / file).resolve().read_text(encoding="utf-8")
    if file.endswith(".sql"):
        return set(re.findall(r"'([^'\n]{10,})'", text))
    return set(re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE))


NAMED = sorted({(m["file"], m["name"]) for m in LINK.finditer(section("Threats"))})


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_proves_a_defence_exists(file: str, name: str) -> None:
    assert name in names_in(file), f"{DOCUMENT.name}: {file} has no such test"


def test_every_threat_has_a_defence_and_a_test_of_it() -> None:
    assert len(threats()) > 30
    for row in threats():
        threat, defence, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert defence, threat
        assert LINK.search(tests), threat


def test_what_is_not_defended_is_shown_by_a_test_where_one_is_named() -> None:
    named = {m["file"] for m in LINK.finditer(section("What is not defended"))}
    assert "../tests/integration/test_undefended.py" in named
    for file in named:
        text = (DOCUMENT.parent / file).resolve().read_text(encoding="utf-8")
        assert "security.md" in text, file
