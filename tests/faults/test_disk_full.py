"""A disk is full: what is written fails, what is read goes on, and nothing is lost.

The disk is a file system of its own in memory, which mount(8) makes and root may.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from pgrules import (
    Engine,
    InsufficientResources,
    PostgresRuleStore,
    Rule,
    StoreError,
    StoreUnavailable,
)
from tests.faults.kills import DURABLE
from tests.fixtures.database import Database
from tests.fixtures.server import copy_database_properties
from tests.fixtures.uri import with_database
from tests.integration.deployed import Deployed
from tests.integration.own_server import OwnServer, copy_of, give, own_folder
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

FACTS = {"User": {"Age": 30}}
LONG = "User.Age >= 18 && User.Name != '" + "x" * 4000 + "'"


@contextmanager
def small_disk(mebibytes: int) -> Iterator[Path]:
    """A file system of this size, of the server's account; skips where none can be."""
    with own_folder() as folder:
        size = f"size={mebibytes}m"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            pytest.skip(f"needs root to mount a file system: {mounted.stderr.strip()}")
        try:
            give(folder)
            folder.chmod(0o700)
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Write a file until nothing more fits; gives the file."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def rules_of(database: Database, tenant: UUID) -> set[UUID]:
    """The ids of the tenant's rules."""
    with psycopg.connect(database.dsn) as session:
        rows = session.execute(
            "SELECT id FROM rules.rules WHERE tenant_id = %s", [tenant]
        )
        return {rule_id for (rule_id,) in rows}


@contextmanager
def database_on(disk: Path, deployed: Deployed) -> Iterator[Database]:
    """A copy of the deployed database whose tables are on this disk."""
    folder = disk / "tables"
    folder.mkdir()
    give(folder)
    with psycopg.connect(deployed.server.uri, autocommit=True) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = 'pgrules'"
        )
        session.execute(
            sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(folder))
        )
        try:
            session.execute(
                "CREATE DATABASE pgrules_small TEMPLATE pgrules TABLESPACE small"
            )
            copy_database_properties(session, "pgrules", "pgrules_small")
            database = Database(with_database(deployed.server.uri, "pgrules_small"))
            yield database
            database.close()
        finally:
            session.execute("DROP DATABASE IF EXISTS pgrules_small WITH (FORCE)")
            session.execute("DROP TABLESPACE small")


def test_where_the_tables_disk_is_full_writes_fail_and_evaluations_go_on(
    deployed: Deployed,
) -> None:
    """ERR-4, STORE-6: half of nothing is stored, and all works once there is room."""
    with small_disk(48) as disk, database_on(disk, deployed) as database:
        tenant = create_tenant(database)
        with ConnectionPool(database.login("rules_app"), min_size=2) as pool:
            store = PostgresRuleStore(pool, tenant)
            engine = Engine(store)
            kept = store.add(Rule(uuid4(), "adults", "User.Age >= 18"))
            assert engine.evaluate(kept.id, FACTS).matched
            ballast = fill(disk)
            stored = {kept.id}
            full = None
            while full is None:
                rules = [Rule(uuid4(), f"rule {uuid4()}", LONG) for _ in range(3)]
                try:
                    with store.transaction("store three rules") as connection:
                        for rule in rules:
                            PostgresRuleStore(connection, tenant).add(rule)
                except InsufficientResources as error:
                    full = error
                else:
                    stored |= {rule.id for rule in rules}
            assert full.sqlstate == "53100"
            assert full.retry_safe
            assert "No space left on device" in str(full)
            assert rules_of(database, tenant) == stored
            assert engine.evaluate(kept.id, FACTS).matched
            assert kept in store.list_active()
            ballast.unlink()
            stored.add(store.add(Rule(uuid4(), "room again", LONG)).id)
            assert rules_of(database, tenant) == stored
            assert engine.evaluate(kept.id, FACTS).matched


def switch_wal(server: OwnServer) -> None:
    """Begin another segment of the WAL, if the server still runs."""
    with suppress(psycopg.OperationalError), psycopg.connect(server.uri) as session:
        session.execute("SELECT pg_switch_wal()")


def bring_back(server: OwnServer) -> None:
    """Wait until it answers; where it has given up, start it as an operator would."""
    deadline = time.monotonic() + 60
    while True:
        with suppress(psycopg.OperationalError):
            psycopg.connect(server.uri).close()
            return
        assert time.monotonic() < deadline, "the server does not come back"
        if not server.runs():
            server.start()
        time.sleep(0.05)


def test_where_the_wals_disk_is_full_what_was_acknowledged_is_kept(
    deployed: Deployed,
) -> None:
    """ERR-4, STORE-6: the server stops at once, and recovers when there is room."""
    original = deployed.server
    with (
        small_disk(96) as disk,
        copy_of(
            original,
            original.binaries,
            settings=f"{DURABLE}wal_recycle = off\nmax_wal_size = 32MB\n",
            wal=disk / "wal",
        ) as server,
    ):
        database = Database(with_database(server.uri, "pgrules"))
        tenant = create_tenant(database)
        app = database.login("rules_app")
        ballast = fill(disk)
        acknowledged, doubtful = set(), set()
        failure: StoreError | None = None
        with ConnectionPool(app, min_size=1, max_size=1, timeout=2) as pool:
            store = PostgresRuleStore(pool, tenant)
            while failure is None:
                rule = Rule(uuid4(), f"rule {uuid4()}", LONG)
                try:
                    acknowledged.add(store.add(rule).id)
                except StoreError as error:
                    failure = error
                    if not error.retry_safe:
                        doubtful.add(rule.id)
                if len(acknowledged) % 20 == 0:
                    # The rest of the segment is not worth the time to fill it.
                    switch_wal(server)
        database.close()
        assert isinstance(failure, StoreUnavailable)
        ballast.unlink()
        bring_back(server)
        found = rules_of(database, tenant)
        assert acknowledged <= found <= acknowledged | doubtful
        assert len(acknowledged) >= 20
        with psycopg.connect(app) as connection:
            store = PostgresRuleStore(connection, tenant)
            store.add(Rule(uuid4(), "room again", LONG))
