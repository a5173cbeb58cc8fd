"""A cluster of the migration tests' own, and databases in it with nothing deployed.

Roles, settings and privileges of databases belong to the whole cluster, and whether a
revert leaves any of them can only be seen where nobody else deploys.
"""

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.uri import with_database
from tests.integration.own_server import own_server

ROLES = ("rules_owner", "rules_app", "rules_tenant", "rules_admin")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The superuser URI of a server that nobody else uses."""
    with own_server(
        {}, settings="", host_lines="host all all 127.0.0.1/32 scram-sha-256\n"
    ) as server:
        password, port = server.password, server.port
        yield f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"


@pytest.fixture
def create_database(cluster: str) -> Iterator[Callable[..., str]]:
    """Creates empty databases, gives their URIs; they and our roles go afterwards."""
    names: list[str] = []

    def create(options: str = "TEMPLATE template0") -> str:
        names.append(f"ledger_{secrets.token_hex(4)}")
        identifier = sql.Identifier(names[-1])
        with psycopg.connect(cluster, autocommit=True) as session:
            session.execute(sql.SQL("CREATE DATABASE {} " + options).format(identifier))
        return with_database(cluster, names[-1])

    yield create
    with psycopg.connect(cluster, autocommit=True) as session:
        for name in names:
            identifier = sql.Identifier(name)
            session.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier)
            )
        for role in ROLES:
            session.execute(
                sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role))
            )


@pytest.fixture
def uri(create_database: Callable[..., str]) -> str:
    """The superuser URI of a database with nothing deployed."""
    return create_database()
