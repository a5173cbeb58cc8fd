"""What the lock files pin: names, versions, hashes, and who asks for each.

The files are what ``uv pip compile`` writes, requirements files of pip: a requirement
on a line, its hashes and, as comments, what it came ``via`` on those below.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[3]
PROJECT: Final = ROOT / "python/pyproject.toml"
LOCK: Final = ROOT / "python/requirements.lock"
TOOLS_LOCK: Final = ROOT / "python/tools/requirements.lock"
NODE_LOCK: Final = ROOT / "tests/benchmarks/peers/node/package-lock.json"

_REQUIREMENT = re.compile(r"^(?P<text>[^\s#][^\\\n]*?)\s*\\?$")
_HASH = re.compile(r"^\s+--hash=(?P<hash>\w+:[0-9a-f]+)")
_VIA = re.compile(r"^\s+#(?: via)?\s+(?P<parent>\S+)")


class LockError(Exception):
    """A lock file that does not pin what it names."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """One requirement of a lock file."""

    requirement: Requirement
    hashes: tuple[str, ...]
    parents: tuple[str, ...]
    """The names that require it; `pgrules` or a file's name for those asked for."""

    @property
    def name(self) -> str:
        """The name, normalised (PyPA, "Names and normalization")."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one version that it is pinned to. Raises `LockError` if it is not."""
        (pin, *others) = self.requirement.specifier
        if others or pin.operator != "==" or "*" in pin.version:
            raise LockError(f"{self.requirement} is not pinned")
        return pin.version

    @property
    def applies(self) -> bool:
        """Whether it is for this Python on this machine."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate()


def read_lock(path: Path) -> list[Pinned]:
    """The requirements of a lock file. Raises `LockError` where one is not pinned."""
    entries: list[tuple[Requirement, list[str], list[str]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := _REQUIREMENT.match(line):
            entries.append((Requirement(found["text"]), [], []))
        elif entries and (found := _HASH.match(line)):
            entries[-1][1].append(found["hash"])
        elif entries and (found := _VIA.match(line)):
            entries[-1][2].append(found["parent"])
    pinned = []
    for requirement, hashes, parents in entries:
        if not requirement.specifier or not hashes:
            raise LockError(f"{path.name}: {requirement} has no version or no hash")
        entry = Pinned(requirement, tuple(hashes), tuple(parents))
        if not all(text.startswith("sha256:") for text in hashes):
            raise LockError(f"{path.name}: {requirement} has a hash that is no SHA-256")
        if not entry.version or not parents:
            raise LockError(f"{path.name}: nobody asks for {requirement}")
        pinned.append(entry)
    return pinned


def purposes(pinned: list[Pinned]) -> dict[str, set[str]]:
    """What each name is needed for: `runtime`, or extras of pyproject.toml."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    asked = {"runtime": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, set[str]] = defaultdict(set)
    chosen = set()
    for purpose, requirements in asked.items():
        for requirement in map(Requirement, requirements):
            found[canonicalize_name(requirement.name)].add(purpose)
            for extra in requirement.extras:
                # psycopg[binary] is psycopg-binary, which psycopg alone does not need.
                chosen.add(canonicalize_name(f"{requirement.name}-{extra}"))
                found[canonicalize_name(f"{requirement.name}-{extra}")].add(purpose)
    # What is needed by something is needed for what that is needed for.
    waiting = list(pinned)
    while waiting:
        waiting = []
        for entry in pinned:
            inherited = set().union(*(found[parent] for parent in entry.parents))
            if entry.name not in chosen and not inherited <= found[entry.name]:
                found[entry.name] |= inherited
                waiting.append(entry)
    return found


def node_packages() -> dict[str, tuple[str, str]]:
    """Version and licence of each Node package of the benchmark.

    Raises `LockError` for one without a SHA-512 (npm, "package-lock.json", integrity).
    """
    lock = json.loads(NODE_LOCK.read_text(encoding="utf-8"))
    packages = {}
    for path, package in lock["packages"].items():
        if not path:
            continue
        name = path.rpartition("node_modules/")[2]
        if not package.get("integrity", "").startswith("sha512-"):
            raise LockError(f"{NODE_LOCK.name}: {name} has no SHA-512")
        packages[name] = (package["version"], package["license"])
    return packages
