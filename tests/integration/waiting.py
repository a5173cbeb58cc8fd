"""Waiting for a session to wait."""

import time
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest

from tests.fixtures.database import Database

Connection = psycopg.Connection[Any]


def wait_until_blocked(
    database: Database, blocked: Connection, by: Connection, outcome: Future[Any]
) -> None:
    """Return when the server says that one session waits for the other."""
    watcher = database.connect(autocommit=True)
    deadline = time.monotonic() + 30
    pids = (blocked.info.backend_pid, by.info.backend_pid)
    while time.monotonic() < deadline:
        if outcome.done():
            pytest.fail(f"it did not wait: {outcome.exception() or outcome.result()}")
        row = watcher.execute("SELECT pg_blocking_pids(%s)", [pids[0]]).fetchone()
        assert row is not None
        if pids[1] in row[0]:
            return
    pytest.fail("it neither waits nor ends")
