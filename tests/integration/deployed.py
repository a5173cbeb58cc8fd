"""A server of the tests' own that pgrules is deployed to, for what surrounds a server.

One serves all of a run's tests; each makes a tenant of its own, or a database cloned
from the one that was deployed.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from tests.fixtures import sqitch
from tests.fixtures.database import Database
from tests.fixtures.server import copy_database_properties
from tests.fixtures.uri import with_database
from tests.integration.own_server import OwnServer, own_server

SETTINGS = """
wal_level = logical
shared_buffers = 64MB
max_connections = 60
max_prepared_transactions = 4
"""
HOST_LINES = """
host all all 127.0.0.1/32 scram-sha-256
host replication postgres 127.0.0.1/32 scram-sha-256
local all all trust
"""


@dataclass(frozen=True)
class Deployed:
    """The server, and the database on it that was deployed to."""

    server: OwnServer
    database: Database

    @contextmanager
    def clone(self) -> Iterator[Database]:
        """Another database with everything deployed, for as long as the block runs.

        The sessions of the one that it is cloned from are ended.
        """
        name = f"pgrules_{secrets.token_hex(4)}"
        with psycopg.connect(self.server.uri, autocommit=True) as session:
            session.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = 'pgrules'"
            )
            session.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE pgrules").format(
                    sql.Identifier(name)
                )
            )
            copy_database_properties(session, "pgrules", name)
            clone = Database(with_database(self.server.uri, name))
            try:
                yield clone
            finally:
                clone.close()
                session.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(
                        sql.Identifier(name)
                    )
                )


@contextmanager
def deployed_server() -> Iterator[Deployed]:
    """A server with everything deployed in its database pgrules."""
    with own_server({}, settings=SETTINGS, host_lines=HOST_LINES) as server:
        with psycopg.connect(server.uri, autocommit=True) as session:
            session.execute("CREATE DATABASE pgrules TEMPLATE template0")
        database = Database(with_database(server.uri, "pgrules"))
        sqitch.deploy(database.dsn)
        try:
            yield Deployed(server, database)
        finally:
            database.close()


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """The one server of this kind that a run's tests share."""
    with deployed_server() as deployed:
        yield deployed
