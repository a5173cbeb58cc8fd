"""The commands: ``check``, ``audit`` and ``licences``.

``check``     what needs no network; exit code 1 where anything is wrong
``audit``     that, and whether advisories are known about what is pinned; exit code 1
              for findings, 3 where nobody could be asked
``licences``  writes the tables of docs/licences.md

AUDIT_ADVISORIES names a folder or zip file of advisories to ask instead of the
service; ``none`` leaves the question out.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from . import advisories, installed, licences
from .lock import LOCK, ROOT, TOOLS_LOCK, LockError, node_packages, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = ROOT / "build/tools"
RE2 = ROOT / "build/re2"
FOUND, COULD_NOT_ASK = 1, 3


def problems() -> Iterator[str]:
    """What is wrong with what is installed, as far as it can be told offline."""
    lock = read_lock(LOCK)
    tools_lock = read_lock(TOOLS_LOCK)
    node_packages()
    folder = Path(sysconfig.get_path("purelib"))
    environment = installed.inside(folder)
    others = {name: d for name, d in environment.items() if name != installed.OWN}
    applying = [entry for entry in lock if entry.applies]
    yield from installed.differences(others, applying)
    yield from installed.changes(folder, environment.values())
    yield from installed.conflicts()
    # What is not made yet is made from the lock when it is.
    tools = _tools_folder()
    if tools is not None:
        there = installed.inside(tools)
        applying = [entry for entry in tools_lock if entry.applies]
        yield from installed.differences(there, applying)
        yield from installed.changes(tools, there.values())
    if RE2.is_dir():
        there = installed.inside(RE2)
        wanted = [entry for entry in lock if entry.name == "google-re2"]
        yield from installed.differences(there, wanted)
        yield from (
            f"build/re2: {line}"
            for line in installed.changes(RE2, there.values())
            # The marks of setup.sh.
            if not line.startswith((".python-", "requirements.txt "))
        )
    known = {} if tools is None else installed.inside(tools)
    text = licences.DOCUMENT.read_text(encoding="utf-8")
    yield from licences.objections(text, environment, known)
    if licences.document(text, environment, known) != text:
        yield f"{licences.DOCUMENT.name} is stale: run make licences"


def _tools_folder() -> Path | None:
    """Where the distributions of build/tools are, if it is installed."""
    return next(iter(TOOLS.glob("lib/python3.*/site-packages")), None)


def check() -> int:
    """Say what is wrong offline."""
    found = list(problems())
    for line in found:
        sys.stderr.write(f"supply: {line}\n")
    return FOUND if found else 0


def audit() -> int:
    """Say what is wrong, and what advisories say about what is pinned."""
    status = check()
    if status == 0:
        _say("what is installed is what is pinned, with licences that are allowed")
    place = os.environ.get("AUDIT_ADVISORIES", "")
    if place == "none":
        _say("advisories were not checked, as AUDIT_ADVISORIES=none says")
        return status
    try:
        found, gaps = _ask(Path(place) if place else None)
    except advisories.CannotAskError as error:
        _say(f"advisories were NOT CHECKED: {error}")
        _say("AUDIT_ADVISORIES=folder asks a folder or zip file of OSV's instead")
        return status or COULD_NOT_ASK
    for finding in found:
        _say(str(finding))
    if gaps:
        _say(f"advisories were NOT CHECKED for {len(gaps)}, for example: {gaps[0]}")
    if found:
        return FOUND
    if not gaps:
        _say("no advisory is known about what is pinned")
    return status or (COULD_NOT_ASK if gaps else 0)


def _ask(place: Path | None) -> tuple[list[advisories.Finding], list[str]]:
    locks = (LOCK, TOOLS_LOCK)
    if place is not None:
        pinned = [entry for lock in locks for entry in read_lock(lock)]
        read = advisories.read_advisories(place)
        _say(f"asking {len(read)} advisories, the newest of {advisories.newest(read)}")
        return advisories.known(pinned, read), []
    results = [advisories.ask(TOOLS / "bin/pip-audit", lock) for lock in locks]
    found = {finding for findings, _ in results for finding in findings}
    return sorted(found), [gap for _, gaps in results for gap in gaps]


def write_licences() -> int:
    """Write the tables of docs/licences.md."""
    tools = _tools_folder()
    known = {} if tools is None else installed.inside(tools)
    environment = installed.inside(Path(sysconfig.get_path("purelib")))
    text = licences.DOCUMENT.read_text(encoding="utf-8")
    fresh = licences.document(text, environment, known)
    licences.DOCUMENT.write_text(fresh, encoding="utf-8")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


COMMANDS = {"check": check, "audit": audit, "licences": write_licences}


def main() -> int:
    """Run the command that the arguments name."""
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.stderr.write(f"usage: python -m python.tools.supply {'|'.join(COMMANDS)}\n")
        return 2
    try:
        return COMMANDS[sys.argv[1]]()
    except (LockError, licences.LicenceError) as error:
        sys.stderr.write(f"supply: {error}\n")
        return FOUND


if __name__ == "__main__":
    raise SystemExit(main())
