"""An application that goes on working while something happens to the server."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID, uuid4

from psycopg_pool import ConnectionPool

from pgrules import Engine, PgRulesError, PostgresRuleStore, Rule

FACTS = {"User": {"Age": 30}}
THREADS = 4

_T = TypeVar("_T")


@dataclass
class Load:
    """What the application did until now, and what went wrong."""

    pool: ConnectionPool
    tenant: UUID
    calls: int = 0
    added: list[UUID] = field(default_factory=list)
    """Rules whose storing was acknowledged, and that were not deleted."""
    doubtful: list[UUID] = field(default_factory=list)
    """Rules of which it is not known whether they were stored or deleted."""
    errors: list[PgRulesError] = field(default_factory=list)
    wrong: list[object] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_for(self, more: int) -> None:
        """Return when so many calls more have been answered, or a thread failed."""
        enough = self.calls + more
        while self.calls < enough and not self.stop.wait(0.01):
            pass

    def run(self) -> None:
        """Add, evaluate, change and delete rules until told to stop."""
        store = PostgresRuleStore(self.pool, self.tenant)
        engine = self._called(lambda: Engine(store))
        while not self.stop.is_set():
            if engine is None:
                engine = self._called(lambda: Engine(store))
                continue
            self._round(store, engine)

    def _round(self, store: PostgresRuleStore, engine: Engine) -> None:
        rule = Rule(uuid4(), f"rule {uuid4()}", "User.Age >= 18")
        if self._called(lambda: store.add(rule)) is None:
            self.doubtful.append(rule.id)
            return
        self.added.append(rule.id)
        for _ in range(3):
            result = self._called(lambda: engine.evaluate(rule.id, FACTS))
            if result is not None and not result.matched:
                self.wrong.append(result)
        every = self._called(lambda: engine.evaluate_all(FACTS))
        if every is not None and rule.id not in {
            result.rule_id for result in every if result.matched
        }:
            self.wrong.append(every)
        changed = Rule(rule.id, rule.name, "User.Age >= 21")
        self._called(lambda: store.update(changed))
        if len(self.added) > 40:
            self._delete(store, self.added.pop(0))

    def _delete(self, store: PostgresRuleStore, rule_id: UUID) -> None:
        def delete() -> bool:
            store.delete(rule_id)
            return True

        if self._called(delete) is None:
            self.doubtful.append(rule_id)

    def _called(self, call: Callable[[], _T]) -> _T | None:
        """The call's answer; None where it failed, which is noted."""
        try:
            answer = call()
        except PgRulesError as error:
            self.errors.append(error)
            return None
        with self._lock:
            self.calls += 1
        return answer


@contextmanager
def under_load(app: str, tenant: UUID) -> Iterator[Load]:
    """An application of several threads, as long as the block runs.

    What is no error of the package fails the block.
    """
    with (
        ConnectionPool(app, min_size=THREADS, max_size=THREADS, timeout=30) as pool,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        load = Load(pool, tenant)
        running: list[Future[None]] = []
        try:
            for _ in range(THREADS):
                running.append(threads.submit(load.run))
                running[-1].add_done_callback(lambda _: load.stop.set())
            yield load
        finally:
            load.stop.set()
        for thread in running:
            thread.result(timeout=60)
