"""Whether what is installed is what the lock names, and as it was installed.

A file that was changed, added or removed by accident, or by one who does not know of
RECORD, is found. One who rewrites RECORD too is not: see docs/security.md.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .lock import Pinned

OWN: Final = "pgrules"


def inside(folder: Path) -> dict[str, Distribution]:
    """The distributions of a folder, by their normalised names."""
    return {
        canonicalize_name(found.name): found
        for found in distributions(path=[str(folder)])
    }


def differences(
    installed: dict[str, Distribution], wanted: Iterable[Pinned]
) -> Iterator[str]:
    """Where the distributions are not those of the lock."""
    versions = {entry.name: entry.version for entry in wanted}
    for name, version in versions.items():
        if name not in installed:
            yield f"{name} {version} is not installed"
        elif installed[name].version != version:
            yield f"{name} is {installed[name].version}, the lock has {version}"
    for name in sorted(installed.keys() - versions.keys()):
        yield f"{name} {installed[name].version} is installed, the lock has none"


def changes(folder: Path, installed: Iterable[Distribution]) -> Iterator[str]:
    """Files of a folder that are not as the RECORD of a distribution has them.

    See PyPA, "Recording installed projects". Compiled files are in no RECORD.
    """
    recorded = set()
    for distribution in installed:
        for file in distribution.files or ():
            path = Path(str(file.locate())).resolve()
            recorded.add(path)
            if file.suffix == ".pyc" or file.hash is None:
                continue
            try:
                digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
            except FileNotFoundError:
                yield f"{distribution.name}: {file} is missing"
                continue
            actual = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            if actual != file.hash.value:
                yield f"{distribution.name}: {file} was changed"
    for path in sorted(folder.rglob("*")):
        if path.suffix != ".pyc" and path.is_file() and path.resolve() not in recorded:
            yield f"{path.relative_to(folder)} belongs to no distribution"


def conflicts() -> Iterator[str]:
    """Requirements of the installed distributions that others do not meet."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        yield from (done.stdout or done.stderr).splitlines()
