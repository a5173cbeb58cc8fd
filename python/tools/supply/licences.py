"""The licences of what this project uses, as docs/licences.md lists them.

A licence is what the distribution declares in its metadata, as an SPDX expression.
Where that says too little, it is what stands in its licence file, kept here by hand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from packaging.licenses import canonicalize_license_expression

from .lock import LOCK, ROOT, TOOLS_LOCK, node_packages, purposes, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import Distribution

DOCUMENT: Final = ROOT / "docs/licences.md"

# Read in the licence file of each, since its metadata say "BSD", nothing, or that the
# file is to be read; or it is never installed here, and these are the metadata.
_READ: Final = {
    "cel-python": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "cycler": "BSD-3-Clause",
    "google-re2": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "kiwisolver": "BSD-3-Clause",
    "matplotlib": "PSF-2.0",
    "prompt-toolkit": "BSD-3-Clause",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "zen-engine": "MIT",
}

_SPELLINGS: Final = {
    "Apache 2.0": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "CC0": "CC0-1.0",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "OSI Approved :: ISC License (ISCL)": "ISC",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
}

_PERMISSIVE: Final = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "PSF-2.0",
}
# What an application that uses pgrules runs, and what only works on pgrules itself.
_RUN: Final = {"runtime", "re2", "binary"}
_ALLOWED_TO_RUN: Final = _PERMISSIVE | {"LGPL-3.0-only"}
_ALLOWED: Final = _ALLOWED_TO_RUN | {
    "Artistic-2.0",
    "CC0-1.0",
    "CNRI-Python",
    "MIT-CMU",
    "MPL-2.0",
    "Zlib",
}


class LicenceError(Exception):
    """A licence that nobody knows, or that is not allowed."""


def declared(distribution: Distribution) -> str:
    """The licence in the metadata (PyPA, "Core metadata"), as an SPDX expression.

    Raises `LicenceError` where they say none.
    """
    metadata = distribution.metadata
    classifiers = {
        classifier.removeprefix("License :: ")
        for classifier in metadata.get_all("Classifier", [])
        if classifier.startswith("License :: OSI Approved :: ")
    }
    fields = ("License-Expression", "License")
    said = [text for field in fields for text in metadata.get_all(field, [])]
    for text in (*said, *classifiers):
        # The field License may hold the whole text, with the name in front.
        spelling = text.partition("\n")[0].strip()
        try:
            return str(
                canonicalize_license_expression(_SPELLINGS.get(spelling, spelling))
            )
        except ValueError:
            continue
    raise LicenceError(f"{distribution.name} declares no licence that SPDX knows")


def licence(
    name: str,
    versions: str,
    installed: Mapping[str, Distribution],
    listed: Mapping[tuple[str, str], str],
) -> str:
    """The licence of a distribution. Raises `LicenceError` for an unknown one.

    What is not installed, such as the tools that renew the lock, has the licence that
    the document lists for just these versions.
    """
    if name in _READ:
        return _READ[name]
    if name in installed:
        return declared(installed[name])
    try:
        return listed[name, versions]
    except KeyError:
        raise LicenceError(
            f"the licence of {name} {versions} is not known: run make licences"
        ) from None


def _listed(text: str) -> dict[tuple[str, str], str]:
    """The licences in the tables of the document, by name and versions."""
    rows = re.findall(r"^\| (\S+) \| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE)
    return {(name, versions): expression for name, versions, expression in rows}


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether one may use what is licensed so: any of OR, all of AND.

    Raises `LicenceError` for an expression with parentheses.
    """
    if "(" in expression:
        raise LicenceError(f"{expression}: read this one yourself")
    return any(
        set(alternative.split(" AND ")) <= allowed
        for alternative in expression.split(" OR ")
    )


def objections(
    text: str,
    environment: Mapping[str, Distribution],
    tools: Mapping[str, Distribution],
) -> Iterator[str]:
    """Licences that are not allowed for what they are used for."""
    for row in _python(text, environment, tools):
        allowed = _ALLOWED_TO_RUN if row.used & _RUN else _ALLOWED
        if not is_allowed(row.licence, allowed):
            used = ", ".join(sorted(row.used))
            yield f"{row.name}: {row.licence} is not allowed for {used}"
    for name, (_, expression) in node_packages().items():
        if not is_allowed(expression, _ALLOWED):
            yield f"{name}: {expression} is not allowed"


class _Row(NamedTuple):
    """A distribution that is pinned, in one version or one for each Python."""

    name: str
    versions: str
    licence: str
    used: set[str]


def _python(
    text: str,
    environment: Mapping[str, Distribution],
    tools: Mapping[str, Distribution],
) -> list[_Row]:
    """What both locks pin, by name."""
    pinned = read_lock(LOCK)
    used = purposes(pinned)
    installed, listed = {**tools, **environment}, _listed(text)
    versions: dict[str, list[str]] = {}
    for entry in pinned:
        versions.setdefault(entry.name, []).append(entry.version)
    for entry in read_lock(TOOLS_LOCK):
        if not used[entry.name]:
            used[entry.name] = {"lock"}
            versions[entry.name] = [entry.version]
    return [
        _Row(name, found, licence(name, found, installed, listed), used[name])
        for name, found in sorted(
            (name, ", ".join(found)) for name, found in versions.items()
        )
    ]


def document(
    text: str,
    environment: Mapping[str, Distribution],
    tools: Mapping[str, Distribution],
) -> str:
    """The document with today's tables between its marks."""
    rows = _python(text, environment, tools)
    tables = {
        "run": _table(
            ("distribution", "version", "licence", "for"),
            [
                (row.name, row.versions, row.licence, _runs_with(row.used))
                for row in rows
                if row.used & _RUN
            ],
        ),
        "develop": _table(
            ("distribution", "version", "licence", "for"),
            [
                (row.name, row.versions, row.licence, _names(row.used))
                for row in rows
                if not row.used & _RUN
            ],
        ),
        "node": _table(
            ("package", "version", "licence"),
            [(name, *found) for name, found in sorted(node_packages().items())],
        ),
    }
    for mark, table in tables.items():
        begin, end = f"<!-- licences: {mark} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_end:
            raise LicenceError(f"{DOCUMENT.name}: the marks of {mark} are missing")
        text = f"{before}{begin}{table}{end}{after}"
    return text


def _runs_with(used: set[str]) -> str:
    """What one has to install to run it."""
    return "runtime" if "runtime" in used else _names(used & _RUN)


def _names(used: set[str]) -> str:
    return ", ".join(sorted(used))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
