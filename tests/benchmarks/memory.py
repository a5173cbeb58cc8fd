"""Memory that is a process's alone: what would be free if it ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from psycopg import Connection


def private_bytes(process: int | str = "self") -> int | None:
    """Of a process of this machine's own user; None where Linux does not tell."""
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return None
    return _private(text)


def backend_bytes(admin: Connection[Any], backend: int) -> int | None:
    """Of a server process, which the server itself reads; shared buffers not counted.

    ``admin`` is a superuser's connection. None where the server's system does not tell.
    """
    try:
        row = admin.execute(
            "SELECT pg_read_file(%s)", (f"/proc/{backend}/smaps_rollup",)
        ).fetchone()
    except psycopg.Error:
        return None
    return _private(row[0]) if row else None


def _private(text: str) -> int:
    fields = (line.split() for line in text.splitlines())
    return 1024 * sum(
        int(field[1])
        for field in fields
        if field[0] in {"Private_Clean:", "Private_Dirty:"}
    )
