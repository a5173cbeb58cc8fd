"""Sessions that change and evaluate rules at random, all at once.

Each runs transactions of every isolation level, with savepoints, rollbacks and cursors,
as it chooses from its own seed. What a transaction writes is noted by what it answered;
what it reads comes from one statement, so that the rows of rules, schema and derived
fields are of the same snapshot as what the caches of the session said of them.
"""

import itertools
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

import psycopg
from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from tests.security.history_log import Reading, Snapshot, Write
from tests.security.history_rules import (
    DERIVED,
    every_facts,
    random_definition,
    random_expression,
)
from tests.security.history_statements import (
    ACTIVE_DEFINITION,
    DELETE_TENANT,
    DERIVED_CHANGES,
    QUESTIONS,
    ROWS,
    RULE_CHANGES,
    SCHEMA_CHANGES,
)

Connection = psycopg.Connection[Any]

SLOTS = 16

# What a statement may be refused with: serialization, deadlock, lock_timeout, cancelled
# or terminated; no such rule, version or tenant; rules or fields that do not compile.
EXPECTED = {
    *("40001", "40P01", "55P03", "57014", "57P01", "23503"),
    *("RE010", "RE011", "RE013", "RE020", "RE061", "RE062"),
}


@dataclass
class Run:
    """What all sessions of a run share."""

    tenants: list[UUID]
    stop: threading.Event = field(default_factory=threading.Event)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    writes: list[Write] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    log: "deque[tuple[float, str, str]]" = field(default_factory=deque)
    """Time, session, what it did."""
    unexpected: list[tuple[float, str, BaseException]] = field(default_factory=list)
    transactions: int = 0
    refused: int = 0
    pids: dict[str, int] = field(default_factory=dict)


def rule_id(tenant: UUID, slot: int) -> UUID:
    """The id of one of the rules that sessions write again and again."""
    return uuid5(tenant, f"rule {slot}")


class Session:
    """One connection at a time, and the random transactions that it runs."""

    def __init__(
        self, run: Run, name: str, uri: str, seed: str, tenants: list[UUID]
    ) -> None:
        self.run, self.name, self.uri, self.tenants = run, name, uri, tenants
        self.choose = random.Random(seed)  # noqa: S311 (nothing is secret here)
        self.own: list[Write] = []
        self.savepoints: list[int] = []
        self.cursor: tuple[tuple[Write, ...], tuple[Any, ...], int] | None = None
        self.level = IsolationLevel.READ_COMMITTED
        self.tenant = tenants[0]
        self.connection = self.connect()

    def connect(self) -> Connection:
        """Another connection, which prepares what it repeats."""
        connection = psycopg.connect(self.uri, prepare_threshold=2)
        connection.execute("SET lock_timeout = '3s'")
        connection.commit()
        self.run.pids[self.name] = connection.info.backend_pid
        return connection

    def note(self, text: str) -> None:
        """Say what is done, for the report of a difference."""
        self.run.log.append((time.monotonic(), self.name, text))

    def work(self) -> None:
        """Run transactions until told to stop."""
        try:
            while not self.run.stop.is_set():
                self.transaction()
                self.run.transactions += 1
        except BaseException as error:
            self.run.unexpected.append((time.monotonic(), self.name, error))
            self.run.stop.set()
            raise
        finally:
            self.connection.close()

    def transaction(self) -> None:
        """One transaction: some steps, and an end."""
        self.own, self.savepoints, self.cursor = [], [], None
        self.level = self.choose.choice(list(IsolationLevel)[1:])
        self.tenant = self.choose.choice(self.tenants)
        try:
            self.connection.isolation_level = self.level
            self.connection.execute("SELECT rules.set_tenant(%s)", [self.tenant])
            self.note(f"begin {self.level.name} for {self.tenant}")
            for do in self.steps():
                if not self.did(do):
                    break
            self.end()
        except psycopg.Error as error:
            # The connection is lost, perhaps within COMMIT: the server knows the rest.
            self.expect(error)
            if not self.connection.broken:
                self.connection.rollback()
        self.run.writes += self.own
        if self.connection.broken:
            self.connection.close()
            if not self.run.stop.is_set():
                self.connection = self.connect()

    def end(self) -> None:
        """Commit, or roll back."""
        if self.connection.info.transaction_status == TransactionStatus.INERROR:
            self.connection.rollback()
            self.note("roll back")
        elif self.choose.random() < 0.15:
            self.connection.rollback()
            self.note("roll back by choice")
        else:
            self.connection.commit()
            self.note("commit")

    def steps(self) -> list[Callable[[], None]]:
        """What a transaction does: mostly this and that, some of it for long."""
        change = self.choose.choice([self.set_schema, self.write_derived])
        if self.choose.random() < 0.2:
            # In an upper isolation level, from a snapshot that has grown old.
            return [self.read, self.pause, self.pause, change, self.read]
        count = 40 if self.choose.random() < 0.03 else self.choose.randrange(1, 9)
        weights = {
            self.read: 8.0,
            self.write_rule: 6.0,
            change: 0.8,
            self.savepoint: 1.0,
            self.roll_back_to_savepoint: 1.0,
            self.declare: 0.7,
            self.fetch: 1.5,
            self.pause: 2.0,
        }
        return self.choose.choices(list(weights), list(weights.values()), k=count)

    def did(self, do: Callable[[], None]) -> bool:
        """Do a step; whether the transaction goes on."""
        try:
            do()
        except psycopg.Error as error:
            self.expect(error)
            if self.connection.broken or not self.savepoints:
                return False
            self.roll_back_to_savepoint()
        return True

    def expect(self, error: psycopg.Error) -> None:
        """An error is one that the situation explains, or it is reported."""
        self.note(f"{error.sqlstate}: {error}")
        self.run.refused += 1
        if self.connection.broken or error.sqlstate in EXPECTED:
            return
        self.run.unexpected.append((time.monotonic(), self.name, error))

    # Steps

    def pause(self) -> None:
        """Let the others do something."""
        self.run.stop.wait(self.choose.uniform(0, 0.2))

    def savepoint(self) -> None:
        self.connection.execute(f"SAVEPOINT s{len(self.savepoints)}".encode())
        self.savepoints.append(len(self.own))

    def roll_back_to_savepoint(self) -> None:
        if not self.savepoints:
            return
        kept = self.savepoints.pop()
        name = f"s{len(self.savepoints)}"
        # A cursor that was declared within goes with it.
        self.connection.execute(
            f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}".encode()
        )
        if self.cursor is not None and len(self.savepoints) < self.cursor[2]:
            self.cursor = None
        del self.own[kept:]
        self.note(f"roll back to {name}")

    def write_rule(self) -> None:
        """Insert, change or delete a rule, or some, or restore a version of it."""
        slot = self.choose.randrange(SLOTS)
        slots = self.choose.sample(range(SLOTS), 3)
        change = self.chosen(RULE_CHANGES)
        rows = self.connection.execute(
            change.encode(),
            {
                "id": rule_id(self.tenant, slot),
                "ids": [rule_id(self.tenant, each) for each in slots],
                "name": f"r{slot} v{next(self.run.numbers)}",
                "expression": random_expression(self.choose),
                "active": self.choose.random() < 0.8,
                "version": self.choose.randrange(1, 12),
            },
        ).fetchall()
        for written, name, expression, active, order, xid in rows:
            value = [name, expression, active]
            self.wrote(order, xid, f"rule {written}", change, value)

    def set_schema(self) -> None:
        """Another version of the schema, or one of before."""
        definition = random_definition(self.choose, next(self.run.numbers))
        change = self.chosen(SCHEMA_CHANGES)
        row = self.connection.execute(
            change.encode(),
            {
                "definition": json.dumps(definition),
                "version": self.choose.randrange(1, 9),
                "allow": self.choose.random() < 0.7,
            },
        ).fetchone()
        assert row is not None
        version, order, xid = row
        if "activate_schema" in change:
            row = self.connection.execute(ACTIVE_DEFINITION.encode()).fetchone()
            assert row is not None
            (definition,) = row
        self.wrote(order, xid, "schema", change, [version, definition])

    def write_derived(self) -> None:
        """Insert, change or delete a derived field."""
        name = self.choose.choice(tuple(DERIVED))
        change = self.chosen(DERIVED_CHANGES)
        rows = self.connection.execute(
            change.encode(),
            {"name": name, "expression": self.choose.choice(tuple(DERIVED[name]))},
        ).fetchall()
        for expression, order, xid in rows:
            self.wrote(order, xid, f"derived {name}", change, expression)

    def chosen(self, weights: Mapping[str, int]) -> str:
        """One of some statements."""
        return self.choose.choices(list(weights), list(weights.values()))[0]

    def wrote(self, order: int, xid: int, key: str, change: str, value: object) -> None:
        """Note what a statement wrote, or that it deleted it."""
        if change.lstrip().startswith("DELETE"):
            value = None
        self.own.append(Write(order, xid, self.tenant, key, value))
        self.note(f"{xid} wrote {key}: {value}")

    def read(self) -> None:
        query, asked = self.reading()
        self.answered("statement", tuple(self.own), asked, self.fetched(query, asked))

    def declare(self) -> None:
        """A cursor, whose snapshot is of now."""
        if self.cursor is not None:
            self.connection.execute("CLOSE asked")
            self.cursor = None
        query, asked = self.reading()
        self.fetched(f"DECLARE asked NO SCROLL CURSOR FOR {query}", asked)
        self.cursor = tuple(self.own), asked, len(self.savepoints)

    def fetch(self) -> None:
        """What the cursor gives, later."""
        if self.cursor is None:
            return
        own, asked, _ = self.cursor
        self.cursor = None
        row = self.connection.execute("FETCH asked").fetchone()
        self.connection.execute("CLOSE asked")
        self.answered("cursor", own, asked, row)

    def reading(self) -> tuple[str, tuple[Any, ...]]:
        """A query and what it asks: all questions, or one."""
        names = list(QUESTIONS)
        if self.choose.random() < 0.5:
            names = [self.choose.choice(names)]
        facts = every_facts(self.choose)
        rule = rule_id(self.tenant, self.choose.randrange(SLOTS))
        query = ROWS + "".join(f", ({QUESTIONS[name]})" for name in names)
        return query, (names, facts, rule)

    def fetched(self, query: str, asked: tuple[Any, ...]) -> Any:
        _, facts, rule = asked
        texts = [json.dumps(each) for each in facts]
        cursor = self.connection.execute(
            query.encode(),
            {"facts": texts[0], "batch": texts, "rule": rule},
        )
        return cursor.fetchone() if cursor.description else None

    def answered(
        self, how: str, own: tuple[Write, ...], asked: tuple[Any, ...], row: Any
    ) -> None:
        names, facts, rule = asked
        snapshot, xid, until, clock, rules, schema, derived, document, *answers = row
        reading = Reading(
            self.name,
            f"{self.level.name}, {how}",
            self.tenant,
            own,
            until,
            Snapshot.parse(snapshot, xid),
            clock,
            facts,
            rule,
            {
                "rules": rules,
                "schema": schema,
                "derived": derived,
                "document": document,
            },
            dict(zip(names, answers, strict=True)),
        )
        self.note(f"read {snapshot} as reading {len(self.run.readings)}")
        self.run.readings.append(reading)


class Administrator:
    """Deletes a tenant under the others' hands, and makes it anew."""

    def __init__(self, run: Run, uri: str, seed: str, tenant: UUID) -> None:
        self.run, self.uri, self.tenant = run, uri, tenant
        self.choose = random.Random(seed)  # noqa: S311 (nothing is secret here)

    def work(self) -> None:
        """Now and then, until told to stop."""
        with psycopg.connect(self.uri) as connection:
            connection.execute("SET lock_timeout = '3s'")
            connection.commit()
            while not self.run.stop.wait(self.choose.uniform(0.5, 3)):
                try:
                    self.replace(connection)
                except psycopg.Error as error:
                    if error.sqlstate not in EXPECTED:
                        raise
                    self.run.log.append((time.monotonic(), "admin", str(error)))
                    connection.rollback()

    def replace(self, connection: Connection) -> None:
        """Delete the tenant and insert it again; or think better of it."""
        row = connection.execute(DELETE_TENANT.encode(), [self.tenant]).fetchone()
        connection.execute(
            "INSERT INTO rules.tenants (id, name) VALUES (%s, 'again')", [self.tenant]
        )
        assert row is not None
        order, xid = row
        for key in keys(self.tenant):
            self.run.writes.append(Write(order, xid, self.tenant, key, None))
        self.run.log.append((time.monotonic(), "admin", f"{xid} replaced a tenant"))
        if self.choose.random() < 0.3:
            connection.rollback()
        else:
            connection.commit()


def keys(tenant: UUID) -> Iterable[str]:
    """Every key that a tenant's writes can have."""
    yield "schema"
    yield from (f"derived {name}" for name in DERIVED)
    yield from (f"rule {rule_id(tenant, slot)}" for slot in range(SLOTS))


class Disturber:
    """Cancels and terminates sessions, vacuums and analyzes."""

    def __init__(self, run: Run, dsn: str, seed: str) -> None:
        self.run, self.dsn = run, dsn
        self.choose = random.Random(seed)  # noqa: S311 (nothing is secret here)

    def work(self) -> None:
        """Now and then, as the sessions get on with it, until told to stop."""
        done = 0
        tables = "rules.rules, rules_internal.rule_set_tokens, rules_internal.rule_keys"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.run.stop.wait(0.1):
                if len(self.run.log) < done + self.choose.randrange(40):
                    continue
                done = len(self.run.log)
                (does,) = self.choose.choices(
                    ["pg_cancel_backend", "pg_terminate_backend", "VACUUM", "ANALYZE"],
                    [6, 1, 1, 1],
                )
                if does.startswith("pg_"):
                    pid = self.choose.choice(list(self.run.pids.values()))
                    connection.execute(f"SELECT {does}(%s)".encode(), [pid])
                else:
                    connection.execute(f"{does} {tables}".encode())
