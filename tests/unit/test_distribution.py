"""What is installed: the package, its types, the Sqitch project, nothing else."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

PYTHON = Path(__file__).resolve().parents[2] / "python"


def build(source: Path, target: str, into: Path) -> Path:
    """Build a distribution with what the environment has; gives its file."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = into.iterdir()
    return built


def assert_complete(wheel: Path) -> None:
    checkout = PYTHON.parent
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        plan = archive.read("pgrules/sqitch/sqitch.plan")
    assert plan == (checkout / "sqitch.plan").read_bytes()
    for folder in ("deploy", "revert", "verify"):
        for script in (checkout / folder).iterdir():
            assert f"pgrules/sqitch/{folder}/{script.name}" in names
    assert "pgrules/py.typed" in names
    assert "pgrules/cel/program.py" in names
    assert {name.partition("/")[0] for name in names} == {
        "pgrules",
        f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
    }


def test_a_wheel_brings_the_migrations(tmp_path: Path) -> None:
    """REQ-MIGRATION-007: the installed command works without a checkout."""
    pytest.importorskip("hatchling", reason="pip install hatchling")
    assert_complete(build(PYTHON, "wheel", tmp_path))


def test_a_source_distribution_builds_the_same_wheel(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="pip install hatchling")
    sdist = build(PYTHON, "sdist", tmp_path / "sdist")
    # Debian 12's Python is older than the safe way to do this in Python.
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path], check=True)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert_complete(build(source, "wheel", tmp_path / "wheel"))
