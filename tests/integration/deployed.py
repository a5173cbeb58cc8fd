"""A server of the tests' own that pgrules is deployed to, for what surrounds a server.

One serves all of a run's tests; each makes a tenant of its own, or a database cloned
from one that nobody else uses.
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

_PRISTINE = "pgrules_pristine"

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
    """The server, and the database on it that tests share."""

    server: OwnServer
    database: Database

    @contextmanager
    def clone(self) -> Iterator[Database]:
        """A database with everything deployed and no rows, while the block runs."""
        name = f"pgrules_{secrets.token_hex(4)}"
        with psycopg.connect(self.server.uri, autocommit=True) as session:
            _clone(session, name)
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


def _clone(session: psycopg.Connection, name: str) -> None:
    session.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(_PRISTINE)
        )
    )
    copy_database_properties(session, _PRISTINE, name)


@contextmanager
def deployed_server() -> Iterator[Deployed]:
    """A server with everything deployed in its database pgrules."""
    with own_server({}, settings=SETTINGS, host_lines=HOST_LINES) as server:
        with psycopg.connect(server.uri, autocommit=True) as session:
            session.execute(f"CREATE DATABASE {_PRISTINE} TEMPLATE template0")
            sqitch.deploy(with_database(server.uri, _PRISTINE))
            _clone(session, "pgrules")
        database = Database(with_database(server.uri, "pgrules"))
        try:
            yield Deployed(server, database)
        finally:
            database.close()


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """The one server of this kind that a run's tests share."""
    with deployed_server() as deployed:
        yield deployed
