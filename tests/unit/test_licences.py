"""The list of licences is what the distributions declare, and what is allowed."""

from importlib import metadata
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from python.tools.supply import installed, licences
from python.tools.supply.licences import LicenceError
from python.tools.supply.lock import ROOT

TEXT = licences.DOCUMENT.read_text(encoding="utf-8")


def distribution(folder: Path, *lines: str) -> Distribution:
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(
        "\n".join(("Metadata-Version: 2.4", "Name: thing", "Version: 1.0", *lines))
    )
    return PathDistribution(folder)


@pytest.fixture
def environment() -> dict[str, Distribution]:
    """What the tests run in."""
    return installed.inside(Path(pytest.__file__).parents[1])


def test_the_document_lists_what_is_pinned_and_what_it_declares(
    environment: dict[str, Distribution],
) -> None:
    assert licences.document(TEXT, environment, {}) == TEXT, "run make licences"


def test_everything_has_a_licence_that_is_allowed(
    environment: dict[str, Distribution],
) -> None:
    assert list(licences.objections(TEXT, environment, {})) == []


def test_a_list_that_is_out_of_date_is_found(
    environment: dict[str, Distribution],
) -> None:
    version = environment["click"].version
    stale = TEXT.replace(f"| click | {version} |", "| click | 0.1 |")
    assert licences.document(stale, environment, {}) == TEXT != stale


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
        (["License: BSD-3-Clause"], "BSD-3-Clause"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: MIT License", " ", " Copyright (c) somebody"], "MIT"),
        (
            ["License: look", "Classifier: License :: OSI Approved :: MIT License"],
            "MIT",
        ),
    ],
)
def test_a_licence_is_read_from_whatever_declares_it(
    tmp_path: Path, lines: list[str], expected: str
) -> None:
    assert licences.declared(distribution(tmp_path, *lines)) == expected


@pytest.mark.parametrize(
    "lines", [[], ["Classifier: License :: OSI Approved :: BSD License"]]
)
def test_a_licence_that_is_not_declared_is_not_guessed(
    tmp_path: Path, lines: list[str]
) -> None:
    with pytest.raises(LicenceError, match="thing"):
        licences.declared(distribution(tmp_path, *lines))


def test_what_is_not_installed_keeps_the_licence_of_its_version() -> None:
    listed = {("thing", "1.0"): "MIT"}
    assert licences.licence("thing", "1.0", {}, listed) == "MIT"
    with pytest.raises(LicenceError, match=r"thing 1\.1"):
        licences.licence("thing", "1.1", {}, listed)


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND 0BSD OR GPL-3.0-only", True),
    ],
)
def test_one_alternative_must_be_allowed_as_a_whole(
    expression: str, *, allowed: bool
) -> None:
    assert licences.is_allowed(expression, {"MIT", "0BSD"}) is allowed


def test_a_licence_that_is_not_allowed_is_found(
    environment: dict[str, Distribution], tmp_path: Path
) -> None:
    """What only tests may use, an application may not be made to run."""
    for expression, used in [("AGPL-3.0-only", "pytest"), ("MPL-2.0", "click")]:
        other = distribution(tmp_path / used, f"License-Expression: {expression}")
        found = list(licences.objections(TEXT, {**environment, used: other}, {}))
        assert len(found) == 1
        assert found[0].startswith(f"{used}: {expression} is not allowed")


def test_the_project_declares_the_licence_of_its_file() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n")
    assert (ROOT / "python/LICENSE").read_text(encoding="utf-8") == text
    assert licences.declared(metadata.distribution("pgrules")) == "MIT"
