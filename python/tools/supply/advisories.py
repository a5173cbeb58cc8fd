"""Known vulnerabilities of what is pinned: from a folder, or from a service.

A folder or zip file holds advisories in the Open Source Vulnerability format, one JSON
document a file, as https://osv.dev exports them (https://ossf.github.io/osv-schema/).
The service is the one that pip-audit asks. Not to be able to ask is no answer: it is
an error of its own.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from zipfile import ZipFile, is_zipfile

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .lock import Pinned

_START: Final = "0"
"""Of an event: before any version."""


class CannotAskError(Exception):
    """There was no answer about some of what is pinned."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """An advisory that is about a version that is pinned."""

    name: str
    version: str
    advisory: str
    summary: str
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        """One line for a person."""
        repaired = f"; fixed in {', '.join(self.fixed)}" if self.fixed else ""
        return f"{self.name} {self.version}: {self.advisory} {self.summary}{repaired}"


# ---------------------------------------------------------------- from a folder


def read_advisories(place: Path) -> list[dict[str, Any]]:
    """The advisories of a folder or zip file. Raises `CannotAskError` for none."""
    try:
        found = [json.loads(text) for text in _documents(place)]
    except (OSError, ValueError) as error:
        raise CannotAskError(f"{place} cannot be read: {error}") from error
    if not found:
        raise CannotAskError(f"{place} has no advisory")
    if not all(
        isinstance(one, dict) and {"id", "modified"} <= one.keys() for one in found
    ):
        raise CannotAskError(f"{place} has JSON that is no advisory")
    return found


def newest(advisories: Iterable[dict[str, Any]]) -> str:
    """The day of the last change of any advisory: what came later is not known."""
    return max(str(advisory["modified"]) for advisory in advisories)[:10]


def _documents(place: Path) -> Iterator[bytes]:
    if place.is_file() and is_zipfile(place):
        with ZipFile(place) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield archive.read(name)
    else:
        for path in sorted(place.rglob("*.json")):
            yield path.read_bytes()


def known(
    pinned: Iterable[Pinned], advisories: Iterable[dict[str, Any]]
) -> list[Finding]:
    """The advisories that are about what is pinned, for whatever platform."""
    versions: dict[str, set[str]] = {}
    for entry in pinned:
        versions.setdefault(entry.name, set()).add(entry.version)
    found = set()
    for advisory in advisories:
        if "withdrawn" in advisory:
            continue
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            if package.get("ecosystem") != "PyPI":
                continue
            name = canonicalize_name(package["name"])
            for version in versions.get(name, ()):
                if is_affected(version, affected):
                    fixed = sorted(_repaired(affected), key=_order)
                    found.add(
                        Finding(
                            name,
                            version,
                            advisory["id"],
                            _headline(advisory),
                            tuple(fixed),
                        )
                    )
    return sorted(found)


def _headline(advisory: dict[str, Any]) -> str:
    """What it is about, in a line."""
    text = advisory.get("summary") or advisory.get("details", "")
    return next(iter(text.strip().splitlines()), "no summary")[:120]


def is_affected(version: str, affected: dict[str, Any]) -> bool:
    """Whether a version is among those affected (OSV schema, "Evaluation")."""
    listed = affected.get("versions", ())
    if any(_order(version) == _order(other) for other in listed):
        return True
    return any(
        _in_range(version, affected_range["events"])
        for affected_range in affected.get("ranges", ())
        if affected_range["type"] == "ECOSYSTEM"
    )


def _in_range(version: str, events: list[dict[str, str]]) -> bool:
    at = _order(version)
    limits = [event["limit"] for event in events if "limit" in event]
    if limits and not any(limit == "*" or at < _order(limit) for limit in limits):
        return False
    affected = False
    for event in sorted(events, key=lambda event: _order(*event.values())):
        match event:
            case {"introduced": since} if at >= _order(since):
                affected = True
            case {"fixed": until} if at >= _order(until):
                affected = False
            case {"last_affected": last} if at > _order(last):
                affected = False
    return affected


def _repaired(affected: dict[str, Any]) -> set[str]:
    return {
        event["fixed"]
        for affected_range in affected.get("ranges", ())
        if affected_range["type"] == "ECOSYSTEM"
        for event in affected_range["events"]
        if "fixed" in event
    }


def _order(version: str) -> tuple[bool, Version, str]:
    """A key that orders versions, with those of no known form in front."""
    if version == _START:
        return False, Version("0.dev0"), ""
    try:
        return True, Version(version), ""
    except InvalidVersion:
        return False, Version("0.dev0"), version


# ---------------------------------------------------------------- from a service


def ask(pip_audit: Path, lock: Path) -> tuple[list[Finding], list[str]]:
    """What the service that pip-audit asks knows of a lock file.

    Gives the findings, and why there was no answer about others of what is pinned,
    which pip-audit by itself counts as success. Raises `CannotAskError` where there
    was none at all.
    """
    done = subprocess.run(
        [
            *(pip_audit, "--requirement", lock, "--require-hashes", "--disable-pip"),
            *("--format", "json", "--progress-spinner", "off", "--timeout", "30"),
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    try:
        report = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise CannotAskError(f"pip-audit failed: {lines[-1]}") from None
    return answers(report)


def answers(report: list[dict[str, Any]]) -> tuple[list[Finding], list[str]]:
    """The findings and the gaps of a report of pip-audit.

    Raises `CannotAskError` where it is nothing but gaps.
    """
    gaps = [entry["skip_reason"] for entry in report if "skip_reason" in entry]
    if len(gaps) == len(report):
        raise CannotAskError(
            f"the service has no answer about any of {len(report)} distributions"
        )
    found = [
        Finding(
            entry["name"],
            entry["version"],
            vulnerability["id"],
            _headline({"details": vulnerability.get("description", "")}),
            tuple(vulnerability.get("fix_versions", ())),
        )
        for entry in report
        for vulnerability in entry.get("vulns", ())
    ]
    return sorted(found), gaps
