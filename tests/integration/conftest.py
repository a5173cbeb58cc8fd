"""What the integration tests share: a tenant, a pool of the application's login."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg_pool import ConnectionPool

from pgrules import PostgresRuleStore
from tests.fixtures.database import Database
from tests.integration.tenants import create_tenant


@pytest.fixture
def tenant(database: Database) -> UUID:
    """A tenant without rules."""
    return create_tenant(database)


@pytest.fixture
def other_tenant(database: Database) -> UUID:
    """A second tenant without rules."""
    return create_tenant(database, "Mountain Rescue")


@pytest.fixture
def app(database: Database) -> str:
    """The URI of an application server's login."""
    return database.login("rules_app")


@pytest.fixture
def pool(app: str) -> Iterator[ConnectionPool[Any]]:
    """A pool of the application's connections."""
    with ConnectionPool(app, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture
def store(pool: ConnectionPool[Any], tenant: UUID) -> PostgresRuleStore:
    """The tenant's rules."""
    return PostgresRuleStore(pool, tenant)
