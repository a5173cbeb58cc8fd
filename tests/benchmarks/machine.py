"""What a measurement was made on: figures without it cannot be compared."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection


def facts(connection: Connection[Any]) -> list[tuple[str, str]]:
    """Return names and values to print with the results."""
    row = connection.execute(
        "SELECT current_setting('server_version'), current_setting('shared_buffers'),"
        " current_setting('jit')"
    ).fetchone()
    assert row is not None
    server, buffers, jit = row
    return [
        ("processor", f"{_processor()}, {os.cpu_count()} in use"),
        ("memory", _memory()),
        ("system", f"{platform.system()} {platform.release()}"),
        ("PostgreSQL", f"{server}, shared_buffers {buffers}, jit {jit}"),
        ("Python", f"{platform.python_version()}, psycopg {version('psycopg')}"),
        ("commit", _commit()),
    ]


def _processor() -> str:
    return _after_colon("/proc/cpuinfo", "model name") or platform.processor()


def _memory() -> str:
    kilobytes = _after_colon("/proc/meminfo", "MemTotal").removesuffix(" kB")
    return f"{int(kilobytes) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _after_colon(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
