"""Kills of a server's processes under an application, and what is left after each.

``python -m tests.faults.kills KILLS SEED`` kills so many times and prints what was
found. Killing processes leaves what they gave to the operating system: this shows that
nothing is acknowledged before it was given, and what recovery makes of it, not what a
disk does when the power fails.
"""

import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg_pool import ConnectionPool

from pgrules import Engine, PostgresRuleStore, StoreError
from tests.faults.registers import (
    ActiveSchema,
    OneRule,
    Register,
    Together,
    TornError,
    Value,
)
from tests.fixtures.database import Database
from tests.fixtures.uri import with_database
from tests.integration.deployed import Deployed, deployed_server
from tests.integration.own_server import OwnServer, copy_of
from tests.integration.tenants import create_tenant

# As PostgreSQL comes; the servers of other tests need not survive anything.
DURABLE: Final = "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n"

AGES: Final = 1_000_000
TENANTS: Final = 2
RULE_WRITERS: Final = 3
"""Of each tenant; beside them one of what changes together, one of its schema."""
KEPT: Final = 12
"""Rules that a writer keeps, before it deletes the oldest."""
CONNECTIONS: Final = 8

ENTRIES = """
SELECT
    subject_id,
    count(*),
    (array_agg(after ->> 'expression' ORDER BY changed_at DESC))[1]
FROM rules.audit_log
WHERE tenant_id = %s AND subject IN ('rule', 'derived field')
GROUP BY subject_id
"""

# Of each transaction the time when it was committed is noted, by that transaction.
UNFINISHED = """
SELECT count(*)
FROM rules.audit_log AS entry
WHERE entry.tenant_id = %(tenant)s AND NOT EXISTS (
    SELECT FROM rules_internal.audit_commits AS committed
    WHERE committed.tenant_id = entry.tenant_id AND committed.xid = entry.xid
)
"""


@dataclass
class Tally:
    """What was done, and what was found that should not be."""

    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    """Writes whose call returned."""
    repeated: int = 0
    """Calls that failed, and were said to be safe to repeat."""
    doubtful: int = 0
    """Writes that failed, and were not."""
    doubtful_stored: int = 0
    """Those of them that were stored."""
    answered: int = 0
    """Evaluations."""
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills.total()} kills"
            f" ({', '.join(f'{n} {kind}' for kind, n in sorted(self.kills.items()))}):"
            f" {self.acknowledged} acknowledged writes, {len(self.lost)} lost,"
            f" {len(self.torn)} torn; {self.repeated} calls repeated as told;"
            f" {self.doubtful} writes in doubt, of which {self.doubtful_stored} stored;"
            f" {self.answered} evaluations; {len(self.wrong)} other findings"
        )


_T = TypeVar("_T")


class Gate:
    """Lets workers work, or keeps them all out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working = 0
        self._closed = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """One step of a worker."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """No worker works while the block runs."""
        with self._changed:
            self._closed = True
            assert self._changed.wait_for(lambda: not self._working, timeout=120)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()


class StoppedError(Exception):
    """Nobody is to go on."""


class Application:
    """Threads that store and evaluate the rules of one tenant."""

    def __init__(
        self,
        pool: ConnectionPool[Any],
        tenant: UUID,
        tally: Tally,
        stop: threading.Event,
        seed: int,
    ) -> None:
        self.tenant = tenant
        self.store = PostgresRuleStore(pool, tenant)
        # Built once: no restart of the server makes it useless.
        self.engine = Engine(self.store)
        self.schema = ActiveSchema()
        self.registers: list[Register] = [self.schema]
        self._tally = tally
        self._random = random.Random(seed)  # noqa: S311 - wanted to be repeatable
        self._stop = stop
        self._count = threading.Lock()
        self._last = 0
        self._write(self.schema)

    def workers(self) -> list[Callable[[], None]]:
        """What its threads do, a step at a time."""
        writers = [self._writer(OneRule) for _ in range(RULE_WRITERS)]
        return [*writers, self._writer(Together), self._schema_writer, self._reader]

    def _writer(self, kind: type[OneRule | Together]) -> Callable[[], None]:
        own: list[OneRule | Together] = []

        def step() -> None:
            if len(own) < KEPT:
                own.append(kind())
                self.registers.append(own[-1])
                self._write(own[-1])
                return
            if kind is OneRule and self._random.random() < 0.2:
                self._write(own.pop(0), delete=True)
                return
            self._write(self._random.choice(own))

        return step

    def _schema_writer(self) -> None:
        self._write(self.schema)
        time.sleep(0.05)

    def _reader(self) -> None:
        facts = {"User": {"Age": self._random.randrange(AGES)}}
        for evaluate in (self.engine.match_rules, self.engine.evaluate_all):
            self._repeated(partial(evaluate, facts))
            self._add(answered=1)

    def _write(self, register: Register, *, delete: bool = False) -> None:
        """Store the next value, as docs/python.md says that an application should."""
        with self._count:
            self._last += 1
            value: Value = None if delete else self._last
        while True:
            try:
                register.write(self.store, value)
            except StoreError as error:
                if error.retry_safe:
                    self._note_repetition()
                    continue
                self._add(doubtful=1)
                self._look(register, value)
                return
            except Exception as error:  # noqa: BLE001 - a repetition that cannot be
                self._tally.wrong.append(f"{register} to {value}: {error!r}")
                return
            register.stored(value)
            self._add(acknowledged=1)
            return

    def _look(self, register: Register, value: Value) -> None:
        """See what became of a write, before anything is repeated."""
        try:
            found = self._repeated(partial(register.read, self.store))
        except TornError as torn:
            self._tally.torn.append(str(torn))
            return
        if found == value:
            register.stored(value)
            self._add(doubtful_stored=1)
        elif found != register.value:
            self._tally.lost.append(f"{register}, and found {found}")

    def _repeated(self, call: Callable[[], _T]) -> _T:
        """The answer of a call that reads, however often it takes."""
        while True:
            try:
                return call()
            except StoreError as error:
                if not error.retry_safe:
                    self._tally.wrong.append(f"not said to be safe: {error!r}")
                self._note_repetition()

    def _note_repetition(self) -> None:
        if self._stop.is_set():
            raise StoppedError
        self._add(repeated=1)

    def _add(self, **counts: int) -> None:
        with self._count:
            for name, count in counts.items():
                setattr(self._tally, name, getattr(self._tally, name) + count)

    def check(self, session: psycopg.Connection[Any]) -> None:
        """Hold all that is stored to what was acknowledged; nobody works meanwhile."""
        for register in self.registers:
            read = partial(register.read, self.store)
            try:
                found = self._repeated(read)
            except TornError as torn:
                self._tally.torn.append(str(torn))
                continue
            if found != register.value:
                self._tally.lost.append(f"{register}, and found {found}")
        self._check_audit(session)
        self._check_evaluations()

    def _check_audit(self, session: psycopg.Connection[Any]) -> None:
        found = {
            subject: (count, expression)
            for subject, count, expression in session.execute(ENTRIES, [self.tenant])
        }
        expected = {
            subject: (count, expression)
            for register in self.registers
            for subject, count, expression in register.entries()
            if count
        }
        if found != expected:
            differing = found.items() ^ expected.items()
            self._tally.wrong.append(f"audit: {differing}")
        unfinished = session.execute(UNFINISHED, {"tenant": self.tenant}).fetchone()
        if unfinished != (0,):
            self._tally.wrong.append(f"audit: {unfinished} without their commit")

    def _check_evaluations(self) -> None:
        """What is derived from the rules when they are stored agrees with them."""
        for age in (self._random.randrange(self._last + 1), AGES):
            facts = {"User": {"Age": age}}
            expected = set[UUID]().union(*(r.matching(age) for r in self.registers))
            matches = self._repeated(partial(self.engine.match_rules, facts))
            indexed = {match.rule_id for match in matches}
            every = self._repeated(partial(self.engine.evaluate_all, facts))
            matched = {result.rule_id for result in every if result.matched}
            errors = [result.error for result in every if result.error]
            if not (indexed == matched == expected) or errors:
                self._tally.wrong.append(
                    f"age {age}: {indexed ^ expected}, {matched ^ expected}, {errors}"
                )
        if self.engine.check(f"Mark.N{self.schema.value} > 0"):
            self._tally.wrong.append("the environment is not that of the schema")


class Kills:
    """An application of several tenants, and a server that is killed under it."""

    def __init__(self, server: OwnServer, seed: int) -> None:
        self.server = server
        self.tally = Tally()
        self._uri = with_database(server.uri, "pgrules")
        self._random = random.Random(seed)  # noqa: S311 - wanted to be repeatable
        self._seed = seed
        self._gate = Gate()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    def run(self, kinds: list[str]) -> None:
        """Kill in each of these ways, and look at what is left after each."""
        database = Database(self._uri)
        tenants = [create_tenant(database) for _ in range(TENANTS)]
        login = database.login("rules_app")
        database.close()
        self._login = str(psycopg.conninfo.conninfo_to_dict(login)["user"])
        with ConnectionPool(
            login, min_size=CONNECTIONS, max_size=CONNECTIONS, timeout=10
        ) as pool:
            applications = [
                Application(pool, tenant, self.tally, self._stop, self._seed + number)
                for number, tenant in enumerate(tenants)
            ]
            threads = [
                threading.Thread(target=self._work, args=[step])
                for application in applications
                for step in application.workers()
            ]
            for thread in threads:
                thread.start()
            try:
                self._wait_for(TENANTS * RULE_WRITERS * KEPT)
                for kind in kinds:
                    self._wait_for(self._random.randrange(20, 80))
                    self._kill(kind)
                    self._wait_until_it_answers()
                    with self._gate.closed(), psycopg.connect(self._uri) as session:
                        for application in applications:
                            application.check(session)
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(timeout=120)
        if self._failures:
            raise self._failures[0]

    def _work(self, step: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                with self._gate.working():
                    step()
        except StoppedError:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised where it is looked for
            self._failures.append(failure)
            self._stop.set()

    def _wait_for(self, more: int) -> None:
        """Return when so many writes more have been acknowledged."""
        enough = self.tally.acknowledged + more
        while self.tally.acknowledged < enough and not self._stop.wait(0.001):
            pass
        if self._failures:
            raise self._failures[0]

    def _kill(self, kind: str) -> None:
        self.tally.kills[kind] += 1
        if kind in {"immediate stop", "restart"}:
            self.server.stop("fast" if kind == "restart" else "immediate")
            self.server.start()
            return
        pid = int(self._pid_file.read_text().splitlines()[0])
        children = _children(pid)
        if kind == "postmaster":
            os.kill(pid, signal.SIGKILL)
            for child in [pid, *children]:
                _wait_for_the_end_of(child)
            if Path(f"/proc/{pid}").exists():
                # In some containers nobody takes note of a daemon's end, and its
                # number in the lock files still looks like a server's.
                socket = f".s.PGSQL.{self.server.port}.lock"
                for lock in (self._pid_file, self.server.folder / socket):
                    lock.unlink()
            self.server.start()
            return
        title = f" {self._login} " if kind == "backend" else "checkpointer"
        victims = [child for child in children if title in _title(child)]
        # Those whose ends the postmaster has to notice, by ending all the others.
        os.kill(self._random.choice(victims), signal.SIGKILL)
        for child in children:
            _wait_for_the_end_of(child)

    @property
    def _pid_file(self) -> Path:
        return self.server.folder / "data/postmaster.pid"

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self._uri).close()
                return
            assert time.monotonic() < deadline, "the server does not come back"
            time.sleep(0.01)


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def _title(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def _wait_for_the_end_of(pid: int) -> None:
    """Return when a process is gone, or nothing is left of it but its number."""
    deadline = time.monotonic() + 60
    while True:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        if stat.rpartition(")")[2].split()[0] in {"Z", "X"}:
            return
        assert time.monotonic() < deadline, f"process {pid} lives on: {_title(pid)}"
        time.sleep(0.005)


KINDS: Final = ("backend", "postmaster", "immediate stop", "checkpointer", "backend")


def kinds(count: int, seed: int) -> list[str]:
    """So many ways to kill, each as often as `KINDS` has it, in any order."""
    chosen = [KINDS[number % len(KINDS)] for number in range(count)]
    random.Random(seed).shuffle(chosen)  # noqa: S311
    return chosen


@contextmanager
def durable_copy(deployed: Deployed) -> Iterator[OwnServer]:
    """A copy of the deployed server that keeps what it acknowledges."""
    original = deployed.server
    with copy_of(original, original.binaries, settings=DURABLE) as server:
        yield server


def main() -> None:
    """Kill a server of its own as often as the first argument says."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    with deployed_server() as deployed, durable_copy(deployed) as server:
        kills = Kills(server, seed)
        try:
            kills.run(kinds(count, seed))
        finally:
            sys.stdout.write(f"seed {seed}: {kills.tally}\n")
    findings = [*kills.tally.lost, *kills.tally.torn, *kills.tally.wrong]
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
