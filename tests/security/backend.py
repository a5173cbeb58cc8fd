"""One backend that hostile input is given to, and what is watched of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.fixtures.database import Database

Connection = psycopg.Connection[Any]

# More than any case takes by far, on a machine that does other things as well. The
# server itself ends one that takes longer, and the code tells.
BUDGET = "20s"

# What a backend may grow by in one statement, and keep. The largest facts that are
# taken, 4 MiB of text, become some 150 MiB of values; and before they are seen at all,
# PostgreSQL takes up to 320 MiB to read as much text as jsonb.
GROWTH = 448 * 1024
KEPT = 512 * 1024

# A clear error is for people: no more than a page, and nothing of Python's insides.
LONGEST = 8_000
INSIDES = re.compile(r"Traceback| at 0x|internal error|File \"|NoneType|__main__")


class Backend:
    """A session of an application's login, and a superuser's that watches it."""

    def __init__(self, database: Database, tenant: UUID) -> None:
        self._watcher = database.connect(autocommit=True)
        self.session: Connection = psycopg.connect(
            database.login("rules_app"), prepare_threshold=None
        )
        self.tenant = tenant
        self.pid = self.session.info.backend_pid
        self.session.execute(
            "SELECT set_config('app.tenant_id', %s, false),"
            " set_config('statement_timeout', %s, false)",
            [str(tenant), BUDGET],
        )
        # What every session loads is not a case's.
        self.session.execute(
            "SELECT rules.evaluate_expression('s.matches(s)', '{\"s\": \"a\"}')"
        )
        self.session.commit()

    def close(self) -> None:
        """End the session; the watcher's ends with the database."""
        self.session.close()

    def memory(self) -> dict[str, int]:
        """Memory as Linux counts it, in KiB by name; empty where it is no Linux."""
        row = self._watcher.execute(
            "SELECT pg_read_file(%s, 0, 65536, true)", [f"/proc/{self.pid}/status"]
        ).fetchone()
        assert row is not None
        return {
            name: int(amount)
            for name, amount in re.findall(r"(\w+):\s+(\d+) kB", row[0] or "")
        }

    def _begin_peak(self) -> bool:
        """Begin the peak of memory anew, where the kernel lets the server do so."""
        try:
            # proc(5), clear_refs.
            self._watcher.execute(f"COPY (SELECT 5) TO '/proc/{self.pid}/clear_refs'")
        except psycopg.Error:
            return False
        return True

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hold the backend to its memory, and to being alive after the block."""
        before = self.memory()
        peak = "VmHWM" if before and self._begin_peak() else "VmRSS"
        try:
            yield
        finally:
            self.session.rollback()
        alive = self.session.execute(
            "SELECT pg_backend_pid(), rules.evaluate_expression('1 + 1')"
        ).fetchone()
        assert alive == (self.pid, 2)
        self.session.rollback()
        if before:
            assert self.memory()[peak] - before["VmRSS"] < GROWTH

    def refuses(self, sqlstate: str, query: str, *values: object) -> psycopg.Error:
        """The clear error that a statement must end with, in a transaction's midst."""
        with pytest.raises(psycopg.Error) as caught:
            self.session.execute(query.encode(), values)
        error = caught.value
        assert error.sqlstate == sqlstate, error
        assert_clear(error)
        return error


def assert_clear(error: psycopg.Error) -> None:
    """Hold an error to what a person can read."""
    diagnosis = error.diag
    assert diagnosis.message_primary
    told = [diagnosis.message_primary]
    told += [
        part for part in (diagnosis.message_detail, diagnosis.message_hint) if part
    ]
    text = "\n".join(told)
    assert len(text) < LONGEST
    assert not INSIDES.search(text), text
