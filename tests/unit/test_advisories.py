"""Advisories about what is pinned are found, and no answer is not taken for none.

The advisories are real ones; their ranges of versions are facts, the words are not.
"""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from python.tools.supply import __main__ as supply
from python.tools.supply import advisories
from python.tools.supply.advisories import CannotAskError
from python.tools.supply.lock import LOCK, Pinned, read_lock

Advisory = dict[str, Any]


def advisory(identifier: str, package: str, *events: dict[str, str]) -> Advisory:
    return {
        "id": identifier,
        "modified": "2026-06-09T08:15:00Z",
        "summary": "harm is done",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": package},
                "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
            }
        ],
    }


PIP = advisory("GHSA-mq26-g339-26xf", "pip", {"introduced": "0"}, {"fixed": "23.3"})
JINJA = advisory(
    "GHSA-h5c8-rqwp-cp95", "Jinja2", {"introduced": "0"}, {"fixed": "3.1.3"}
)
REQUESTS = advisory(
    "GHSA-j8r2-6x86-q33q", "requests", {"introduced": "2.3.0"}, {"fixed": "2.31.0"}
)
YAML = advisory("GHSA-8q59-q68h-6hv4", "PyYAML", {"introduced": "0"}, {"fixed": "5.4"})
PY = advisory(
    "GHSA-w596-4wvx-j9j6", "py", {"introduced": "0"}, {"last_affected": "1.11.0"}
)
ALL = [PIP, JINJA, REQUESTS, YAML, PY]


def pinned(folder: Path, *requirements: str) -> list[Pinned]:
    lock = folder / "requirements.lock"
    lock.write_text(
        "".join(
            f"{text} \\\n    --hash=sha256:{'0' * 64}\n    # via pgrules\n"
            for text in requirements
        )
    )
    return read_lock(lock)


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("pip==23.2.1", "GHSA-mq26-g339-26xf"),
        ("pip==23.3rc1", "GHSA-mq26-g339-26xf"),
        ("pip==23.3", None),
        ("jinja2==3.1.2", "GHSA-h5c8-rqwp-cp95"),
        ("jinja2==3.1.3", None),
        ("jinja2==3.1.10", None),
        ("requests==2.2.1", None),
        ("requests==2.3.0", "GHSA-j8r2-6x86-q33q"),
        ("requests==2.30.0.post1", "GHSA-j8r2-6x86-q33q"),
        ("requests==2.31.0", None),
        ("pyyaml==5.3.1", "GHSA-8q59-q68h-6hv4"),
        ("py==1.11.0", "GHSA-w596-4wvx-j9j6"),
        ("py==1.11.1", None),
        ("urllib3==1.0", None),
    ],
)
def test_an_advisory_is_about_the_versions_in_its_range(
    tmp_path: Path, requirement: str, expected: str | None
) -> None:
    found = advisories.known(pinned(tmp_path, requirement), ALL)
    assert [finding.advisory for finding in found] == [expected] * (
        expected is not None
    )


def test_a_finding_says_what_repairs_it(tmp_path: Path) -> None:
    (found,) = advisories.known(pinned(tmp_path, "pip==23.2.1"), ALL)
    assert str(found) == ("pip 23.2.1: GHSA-mq26-g339-26xf harm is done; fixed in 23.3")


@pytest.mark.parametrize(
    ("details", "headline"),
    [("\nHarm is done.\nAnd more.", "Harm is done."), ("", "no summary")],
)
def test_a_finding_without_a_summary_has_the_first_line(
    tmp_path: Path, details: str, headline: str
) -> None:
    told = {**PIP, "summary": "", "details": details}
    (found,) = advisories.known(pinned(tmp_path, "pip==23.2.1"), [told])
    assert found.summary == headline


def test_versions_that_are_listed_are_affected_without_a_range(tmp_path: Path) -> None:
    listed = advisory("GHSA-listed", "pip")
    del listed["affected"][0]["ranges"]
    listed["affected"][0]["versions"] = ["23.1", "23.2.1.0"]
    assert advisories.known(pinned(tmp_path, "pip==23.2.1"), [listed])
    assert not advisories.known(pinned(tmp_path, "pip==23.2"), [listed])


def test_a_version_between_two_ranges_is_not_affected(tmp_path: Path) -> None:
    twice = advisory(
        "GHSA-twice",
        "pip",
        # In no order, as the schema allows.
        *({"fixed": "22.1"}, {"introduced": "23.0"}),
        *({"introduced": "22.0"}, {"fixed": "23.1"}),
    )
    for version, affected in [("22.0", 1), ("22.2", 0), ("23.0.1", 1), ("23.1", 0)]:
        found = advisories.known(pinned(tmp_path, f"pip=={version}"), [twice])
        assert len(found) == affected, version


def test_only_advisories_of_this_ecosystem_that_stand_count(tmp_path: Path) -> None:
    elsewhere = json.loads(json.dumps(PIP))
    elsewhere["affected"][0]["package"]["ecosystem"] = "npm"
    commits = json.loads(json.dumps(PIP))
    commits["affected"][0]["ranges"][0]["type"] = "GIT"
    withdrawn = {**PIP, "withdrawn": "2026-06-09T00:00:00Z"}
    assert not advisories.known(
        pinned(tmp_path, "pip==23.2.1"), [elsewhere, commits, withdrawn]
    )


def test_every_platforms_versions_are_looked_up(tmp_path: Path) -> None:
    lock = pinned(
        tmp_path,
        "requests==2.30.0 ; sys_platform == 'win32'",
        "requests==2.32.0 ; sys_platform != 'win32'",
    )
    assert [finding.version for finding in advisories.known(lock, ALL)] == ["2.30.0"]


# Where advisories come from


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "advisories" / "PyPI"
    folder.mkdir(parents=True)
    for document in ALL:
        (folder / f"{document['id']}.json").write_text(json.dumps(document))
    return folder.parent


def test_a_folder_and_a_zip_file_have_the_same_advisories(folder: Path) -> None:
    archive = folder.parent / "all.zip"
    with ZipFile(archive, "w") as writing:
        for document in sorted(folder.rglob("*.json")):
            writing.write(document, document.name)
    assert advisories.read_advisories(archive) == advisories.read_advisories(folder)
    assert len(advisories.read_advisories(archive)) == len(ALL)


@pytest.mark.parametrize("place", ["empty", "missing", "broken", "foreign"])
def test_a_folder_that_tells_nothing_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "GHSA.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "package.json").write_text('{"name": "pg"}')
    with pytest.raises(CannotAskError, match=place):
        advisories.read_advisories(tmp_path / place)


VULNERABLE = {
    "name": "jinja2",
    "version": "3.1.2",
    "vulns": [
        {
            "id": "GHSA-h5c8-rqwp-cp95",
            "fix_versions": ["3.1.3"],
            "description": "harm is done\nand more",
        }
    ],
}
CLEAN = {"name": "pip", "version": "26.3", "vulns": []}
SKIPPED = {"name": "click", "skip_reason": "not found and could not be audited"}


def test_a_report_of_the_service_is_read() -> None:
    found, gaps = advisories.answers([CLEAN, VULNERABLE, SKIPPED])
    assert [str(finding) for finding in found] == [
        "jinja2 3.1.2: GHSA-h5c8-rqwp-cp95 harm is done; fixed in 3.1.3"
    ]
    assert gaps == ["not found and could not be audited"]


@pytest.mark.parametrize("report", [[], [SKIPPED, SKIPPED]])
def test_a_report_without_an_answer_is_no_clean_one(report: list[Advisory]) -> None:
    """pip-audit itself says "no known vulnerabilities found" then."""
    with pytest.raises(CannotAskError):
        advisories.answers(report)


@pytest.mark.parametrize(
    "body",
    ["exit 1", "echo", "echo '{}'", "echo '{\"dependencies\": []}'"],
)
def test_a_program_that_fails_is_no_answer(tmp_path: Path, body: str) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    with pytest.raises(CannotAskError):
        advisories.ask(program, tmp_path / "lock")


# The three answers of `make audit`


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is checked beside advisories is right."""
    monkeypatch.setattr(supply, "problems", list)


@pytest.mark.usefixtures("nothing_else")
def test_nothing_known_a_finding_and_no_answer_are_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_ADVISORIES", str(folder))
    assert supply.audit() == 0
    said = capsys.readouterr().out
    assert "asking 5 advisories, the newest of 2026-06-09" in said
    assert "no advisory is known" in said

    lock = read_lock(LOCK)
    about = advisory("GHSA-new", lock[0].name, {"introduced": "0"})
    (folder / "GHSA-new.json").write_text(json.dumps(about))
    assert supply.audit() == supply.FOUND
    assert f"{lock[0].name} {lock[0].version}: GHSA-new" in capsys.readouterr().out

    monkeypatch.setenv("AUDIT_ADVISORIES", str(folder / "missing"))
    assert supply.audit() == supply.COULD_NOT_ASK
    assert "NOT CHECKED" in capsys.readouterr().out

    monkeypatch.setenv("AUDIT_ADVISORIES", "none")
    assert supply.audit() == 0
    assert "were not checked" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_else")
def test_an_answer_with_gaps_is_not_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AUDIT_ADVISORIES", raising=False)
    monkeypatch.setattr(
        advisories, "ask", lambda *_: advisories.answers([CLEAN, SKIPPED])
    )
    assert supply.audit() == supply.COULD_NOT_ASK
    assert "NOT CHECKED for 2" in capsys.readouterr().out
