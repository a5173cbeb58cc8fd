"""What is installed is pinned by hash, little, and what the lock says it is."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from python.tools.supply import installed
from python.tools.supply.lock import (
    LOCK,
    ROOT,
    TOOLS_LOCK,
    LockError,
    node_packages,
    purposes,
    read_lock,
)

PACKAGE = ROOT / "python/src/pgrules"


def locked(folder: Path, text: str) -> Path:
    lock = folder / "requirements.lock"
    lock.write_text(text)
    return lock


HASH = f"--hash=sha256:{'0' * 64}"


# The lock files


@pytest.mark.parametrize("lock", [LOCK, TOOLS_LOCK], ids=["project", "tools"])
def test_everything_is_pinned_by_version_and_hash(lock: Path) -> None:
    pinned = read_lock(lock)
    # Whatever starts a line is a requirement that was read.
    lines = re.findall(r"^[^\s#].*$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(pinned) == len(lines) > 20


@pytest.mark.parametrize(
    "entry",
    [
        "click",
        "click==8.1.7",
        f"click>=8.1 \\\n    {HASH}\n    # via pgrules",
        f"click==8.* \\\n    {HASH}\n    # via pgrules",
        f"click==8.1.7,>8 \\\n    {HASH}\n    # via pgrules",
        "click==8.1.7 \\\n    --hash=md5:0123456789abcdef\n    # via pgrules",
        f"click==8.1.7 \\\n    {HASH}",
    ],
)
def test_an_entry_that_pins_too_little_is_refused(tmp_path: Path, entry: str) -> None:
    with pytest.raises(LockError):
        read_lock(locked(tmp_path, f"{entry}\n"))


def test_node_packages_are_pinned_by_hash() -> None:
    assert {"pg", "json-logic-engine"} <= node_packages().keys()


def test_what_is_needed_says_what_for() -> None:
    used = purposes(read_lock(LOCK))
    assert used["psycopg"] == {"runtime", "binary"}
    assert used["psycopg-binary"] == {"binary"}
    assert used["pluggy"] >= {"test", "build"}, "of pytest and of hatchling"
    names = {entry.name for entry in read_lock(LOCK)}
    assert {name for name, found in used.items() if found} >= names


def test_the_lock_has_what_the_project_asks_for() -> None:
    pinned = {entry.name: entry for entry in read_lock(LOCK)}
    requirements = map(Requirement, distribution("pgrules").requires or [])
    for requirement in requirements:
        entry = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(entry.version), requirement


SCRIPTS = [
    *ROOT.joinpath("python/tools").glob("*.sh"),
    ROOT / "docker/Dockerfile",
    ROOT / "Makefile",
]


def installing(text: str) -> Iterator[str]:
    """Command lines that install from a registry, with the lines they go on in."""
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        if re.search(r"(?<!# )\b(pip install|pip_install \"|npm (ci|install))", line):
            yield " ".join(line.split())


def test_nothing_is_installed_that_is_not_pinned() -> None:
    """By hash from a lock, or this checkout itself; npm by `ci`, running nothing."""
    lines = [
        line
        for script in SCRIPTS
        for line in installing(script.read_text(encoding="utf-8"))
    ]
    assert len(lines) >= 5
    for line in lines:
        by_hash = "--require-hashes" in line and "-r " in line
        checkout = "--no-deps --no-build-isolation --editable" in line
        by_npm = "npm ci" in line and "--ignore-scripts" in line
        within = "-m pip install --quiet" in line and '"$@"' in line
        assert by_hash or checkout or by_npm or within, line


# What runs


def test_the_package_requires_four_distributions() -> None:
    """A fifth is a decision: who installs pgrules runs it too."""
    asked = [
        Requirement(text)
        for text in distribution("pgrules").requires or []
        if "extra ==" not in text
    ]
    names = {requirement.name for requirement in asked}
    assert names == {"click", "psycopg", "psycopg-pool", "python-dotenv"}
    assert not any(requirement.extras for requirement in asked)


IMPORTED = """
import sys
from importlib.metadata import packages_distributions
before = set(sys.modules)
import {module}
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
known = packages_distributions()
print(*{{name for module in new for name in known.get(module, ())}})
"""


def imported(module: str) -> set[str]:
    """The distributions that an import brings."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {canonicalize_name(name) for name in done.stdout.split()}


def test_importing_the_package_brings_psycopg_and_its_pool_alone() -> None:
    """What else the package requires is for its command."""
    # The wheel with libpq where it is there, and what Python before 3.13 lacks.
    further = {"psycopg-binary", "typing-extensions"}
    # Itself is only among the distributions where it is installed from a wheel.
    found = imported("pgrules") - {"pgrules"}
    assert found - further == {"psycopg", "psycopg-pool"}


def outside(source: str) -> set[str]:
    """What a module imports, anywhere in it, that is not in the standard library."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names


def test_the_language_imports_the_standard_library_and_re2_alone() -> None:
    found = {
        path.name: outside(path.read_text(encoding="utf-8"))
        for path in (PACKAGE / "cel").glob("*.py")
    }
    assert {name: names for name, names in found.items() if names} == {
        "regex.py": {"re2"}
    }
    assert imported("pgrules.cel.backend") - imported("pgrules") == set()


def test_the_package_imports_what_it_requires_and_no_more() -> None:
    found = set()
    for path in PACKAGE.glob("*.py"):
        found |= outside(path.read_text(encoding="utf-8"))
    assert found == {"click", "dotenv", "psycopg", "psycopg_pool"}


# What is installed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one distribution of one module in it, as pip leaves it."""
    folder = tmp_path / "site-packages"
    information = folder / "thing-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "thing.py").write_text("print()\n")
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: Thing\nVersion: 1.0\n"
    )
    (information / "RECORD").write_text(
        "thing.py,sha256=2FlPoSaOyrxir3yeJEm4xG2w9CbNmq04TGfv5Z5YKz4,8\n"
        "thing-1.0.dist-info/METADATA,,\n"
        "thing-1.0.dist-info/RECORD,,\n"
    )
    return folder


def changes(folder: Path) -> list[str]:
    return list(installed.changes(folder, installed.inside(folder).values()))


def test_an_environment_as_it_was_installed_has_nothing_to_complain_about(
    folder: Path,
) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "thing.cpython-311.pyc").touch()
    assert changes(folder) == []


def test_a_file_that_was_changed_removed_or_added_is_found(folder: Path) -> None:
    (folder / "thing.py").write_text("print(1)\n")
    assert changes(folder) == ["Thing: thing.py was changed"]
    (folder / "thing.py").unlink()
    assert changes(folder) == ["Thing: thing.py is missing"]
    # What Python runs at every start.
    (folder / "planted.pth").write_text("import os\n")
    assert "planted.pth belongs to no distribution" in changes(folder)


@pytest.mark.parametrize(
    ("lock", "difference"),
    [
        (["thing==1.0"], None),
        (["thing==1.1"], "thing is 1.0, the lock has 1.1"),
        (["thing==1.0", "other==2"], "other 2 is not installed"),
        ([], "thing 1.0 is installed, the lock has none"),
    ],
)
def test_what_is_not_as_the_lock_has_it_is_found(
    tmp_path: Path, folder: Path, lock: list[str], difference: str | None
) -> None:
    text = "".join(f"{entry} \\\n    {HASH}\n    # via pgrules\n" for entry in lock)
    wanted = read_lock(locked(tmp_path, text))
    found = list(installed.differences(installed.inside(folder), wanted))
    assert found == [difference] * (difference is not None)
