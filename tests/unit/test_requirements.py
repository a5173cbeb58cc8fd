"""Every requirement is named by the test that proves it."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

# How many the documents of the requirements number in each group, from 1 on.
COUNTS = {
    "REQ-PERSIST": 8,
    "REQ-SCHEMA": 10,
    "REQ-TENANT": 7,
    "REQ-MIGRATION": 9,
    "REQ-INTEG": 9,
    "REQ-SECURITY": 4,
    "REQ-PERF-PERSIST": 3,
    "STORE": 6,
    "COMP": 5,
    "EVAL": 6,
    "DER": 3,
    "ENG": 4,
}


def test_every_requirement_is_named_by_a_test() -> None:
    wanted = {
        f"{group}-{number:03}" if group.startswith("REQ") else f"{group}-{number}"
        for group, count in COUNTS.items()
        for number in range(1, count + 1)
    }
    pattern = re.compile(
        r"\b(?:REQ(?:-[A-Z]+)+-\d{3}|(?:STORE|COMP|EVAL|DER|ENG)-\d)\b"
    )
    named = set()
    for path in TESTS.rglob("*"):
        if path.suffix in {".py", ".sql"} and path != Path(__file__):
            named |= set(pattern.findall(path.read_text(encoding="utf-8")))
    assert sorted(wanted - named) == []
    assert sorted(named - wanted) == [], "named, but no requirement"
