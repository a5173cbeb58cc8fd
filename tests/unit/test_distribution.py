"""What is installed: the package, its types, the Sqitch project, nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

PYTHON = Path(__file__).resolve().parents[2] / "python"
OUTSIDE_OF_A_BUILD = shutil.ignore_patterns("__pycache__", "*.egg-info")


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
    # PyPA, "Recording installed projects", License files.
    folder = f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"
    licence = f"{folder}/licenses/LICENSE"
    with ZipFile(wheel) as archive:
        assert archive.read(licence) == (checkout / "LICENSE").read_bytes()
    assert {name.partition("/")[0] for name in names} == {
        "pgrules",
        folder,
    }
    # Nothing of tests, tools or demo, nor what this machine made of the sources.
    suffixes = {Path(name).suffix for name in names if name.startswith("pgrules/")}
    assert suffixes == {".py", ".typed", ".sql", ".plan", ".conf"}


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
    again = build(source, "wheel", tmp_path / "again")
    assert_complete(again)
    # Byte for byte: who has the sources can tell what a wheel was made of.
    wheel = build(PYTHON, "wheel", tmp_path / "wheel")
    assert again.read_bytes() == wheel.read_bytes()


def test_a_build_depends_on_its_sources_alone(tmp_path: Path) -> None:
    """Neither on the time, nor on the place, nor on who builds with which rights."""
    pytest.importorskip("hatchling", reason="pip install hatchling")
    checkout = tmp_path / "elsewhere"
    checkout.mkdir()
    shutil.copytree(PYTHON, checkout / "python", ignore=OUTSIDE_OF_A_BUILD)
    parts = ("sqitch.conf", "sqitch.plan", "deploy", "revert", "verify", ".gitignore")
    for part in parts:
        source = PYTHON.parent / part
        if source.is_dir():
            shutil.copytree(source, checkout / part)
        else:
            shutil.copyfile(source, checkout / part)
    for path in checkout.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (0, 0))
    for target in ("wheel", "sdist"):
        here = build(PYTHON, target, tmp_path / "here" / target)
        there = build(checkout / "python", target, tmp_path / "there" / target)
        assert here.name == there.name
        assert here.read_bytes() == there.read_bytes()
