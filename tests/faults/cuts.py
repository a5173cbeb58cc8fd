"""Calls whose connection is cut at one message after the other.

``python -m tests.faults.cuts`` does so with every call, at every message, in both
ways, on a server of its own, and prints what it did.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Literal, LiteralString
from uuid import UUID

import psycopg

from pgrules import PostgresRuleStore, StoreUnavailable
from tests.faults.proxy import Conversation, Cut, Proxy
from tests.faults.store_calls import READS, WRITES, Made, Prepared
from tests.fixtures.database import Database
from tests.integration.deployed import deployed_server
from tests.integration.tenants import create_tenant

# The audit has an entry for every row that a call writes.
WRITTEN = "SELECT count(*) FROM rules.audit_log WHERE tenant_id = %s"
ALIVE = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
BLOCKED = "SELECT cardinality(pg_blocking_pids(%s))"


@dataclass
class Counts:
    """What was tried, and what came of it."""

    cuts: int = 0
    safe: int = 0
    """Calls of which the caller was told that they may simply be made again."""
    stored: int = 0
    """Calls that were stored all the same; of those the caller was told to look."""
    answered: int = 0
    """Calls that had their answer before they noticed, and did not fail."""


class Subject:
    """A tenant with two ways to the server: one that works, one that will be cut."""

    def __init__(self, database: Database, proxy: Proxy) -> None:
        self.proxy = proxy
        self._watching = database.connect(autocommit=True)
        self.tenant: UUID = create_tenant(database)
        self.app = database.login("rules_app")
        self._sound = psycopg.connect(self.app, autocommit=True)
        self.sound = PostgresRuleStore(self._sound, self.tenant)
        self.counts = Counts()

    def close(self) -> None:
        """Close the connection that works."""
        self._sound.close()

    def written(self) -> int:
        """How many rows were written for the tenant."""
        row = self._watching.execute(WRITTEN, [self.tenant]).fetchone()
        assert row is not None
        return int(row[0])

    def wait_for_the_end_of(self, backend: int) -> None:
        """A backend may commit before it notices that nobody listens any more."""
        self._wait_until(ALIVE, backend, 0)

    def wait_until_blocked(self, backend: int) -> None:
        """Return when the backend waits for a lock of another one."""
        self._wait_until(BLOCKED, backend, 1)

    def _wait_until(self, question: LiteralString, backend: int, answer: int) -> None:
        deadline = time.monotonic() + 30
        while self._watching.execute(question, [backend]).fetchone() != (answer,):
            assert time.monotonic() < deadline, question
            time.sleep(0.001)

    def uncut(self, call: Made) -> tuple[Conversation, int]:
        """What a whole call says, and how many rows it writes."""
        before = self.written()
        with psycopg.connect(self.proxy.through(self.app)) as connection:
            store = PostgresRuleStore(connection, self.tenant)
            with self.proxy.listening() as conversation:
                call(store)
        return conversation, self.written() - before

    def cut(self, prepare: Prepared, whole: int, cut: Cut) -> None:
        """Cut one call, and hold its error to what was stored.

        `whole` is how many rows it writes where nothing is cut.
        """
        call = prepare(self.sound)
        before = self.written()
        with psycopg.connect(self.proxy.through(self.app)) as connection:
            backend = connection.info.backend_pid
            store = PostgresRuleStore(connection, self.tenant)
            error = None
            with self.proxy.listening(cut) as conversation:
                try:
                    call(store)
                except StoreUnavailable as caught:
                    error = caught
        self.wait_for_the_end_of(backend)
        stored = self.written() - before
        assert stored in {0, whole}, (cut, "a part of the call was stored")
        self.counts.cuts += 1
        self.counts.stored += bool(stored)
        if error is None:
            # The answer to COMMIT was there, and only what psycopg says after it lost.
            assert stored == whole, (cut, "acknowledged, but not stored")
            assert conversation.commits, (cut, "the call did not fail")
            self.counts.answered += 1
            return
        assert isinstance(error.__cause__, psycopg.Error)
        if error.retry_safe:
            assert not stored, (cut, "said to be safe to repeat, but stored")
            call(self.sound)
            assert self.written() - before == whole
        else:
            assert whole, (cut, "a call that reads is always safe to repeat")
            assert _may_have_sent_commit(conversation), (cut, "nothing was at stake")
        self.counts.safe += error.retry_safe


def _may_have_sent_commit(conversation: Conversation) -> bool:
    """Whether the client had the statement's answer, and could go on to commit.

    It cannot know what reached the server of what it had given to its socket, so it
    counts from there. The answers come between the second and the last ReadyForQuery.
    """
    if conversation.commits:
        return True
    answers = [message.kind for message in conversation.server]
    return "H" in [message.kind for message in conversation.client] and (
        "D" in answers[answers.index("Z") :]
    )


def points(
    conversation: Conversation,
    *,
    every: int = 1,
    first: int = 1,
    part: Literal["nothing", "half"] = "nothing",
) -> Iterator[Cut]:
    """The messages of a conversation to cut it at; some of them, and the last ones."""
    said = len(conversation.client)
    while conversation.client[said - 1].kind == "H":
        # A Flush at the end: nothing is left that an answer could be to.
        said -= 1
    for number in range(1, said + 1):
        if number % every == first % every or number > said - 2:
            yield Cut("client", number, part)
    answered = len(conversation.server)
    for number in range(1, answered + 1):
        if number % every == first % every or number > answered - 2:
            yield Cut("server", number, part)


@contextmanager
def subject_of(uri: str) -> Iterator[Subject]:
    """A tenant of its own in the database of this superuser, and a proxy before it."""
    port = int(str(psycopg.conninfo.conninfo_to_dict(uri)["port"]))
    database = Database(uri)
    with Proxy(port) as proxy, closing(database):
        subject = Subject(database, proxy)
        with closing(subject):
            yield subject


def cut_everywhere(
    uri: str,
    prepare: Prepared,
    *,
    every: int = 1,
    first: int = 1,
    part: Literal["nothing", "half"] = "nothing",
) -> Counts:
    """Cut a kind of call at its messages; raises AssertionError if its error lies."""
    with subject_of(uri) as subject:
        # The first schema of a tenant replaces none.
        prepare(subject.sound)(subject.sound)
        conversation, whole = subject.uncut(prepare(subject.sound))
        for cut in points(conversation, every=every, first=first, part=part):
            subject.cut(prepare, whole, cut)
        return subject.counts


def main() -> None:
    """Cut everything everywhere."""
    with deployed_server() as deployed:
        parts: tuple[Literal["nothing", "half"], ...] = ("nothing", "half")
        for part, (name, prepare) in product(parts, {**WRITES, **READS}.items()):
            counts = cut_everywhere(deployed.database.dsn, prepare, part=part)
            sys.stdout.write(
                f"{name}, {part} of the message: {counts.cuts} cuts,"
                f" {counts.safe} safe to repeat, {counts.stored} stored\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
