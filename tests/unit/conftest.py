"""A store of each kind, so that one suite holds both to the same promises."""

from collections.abc import Iterator

import pytest
from psycopg_pool import ConnectionPool

from pgrules import InMemoryRuleStore, PostgresRuleStore, RuleStore
from tests.fixtures.database import Database
from tests.integration.tenants import create_tenant


@pytest.fixture(
    params=["memory", pytest.param("postgres", marks=pytest.mark.integration)]
)
def store(request: pytest.FixtureRequest) -> Iterator[RuleStore]:
    """An empty store."""
    if request.param == "memory":
        yield InMemoryRuleStore()
        return
    database: Database = request.getfixturevalue("database")
    tenant_id = create_tenant(database)
    login = database.login("rules_app")
    with ConnectionPool(login, min_size=1, max_size=8) as pool:
        yield PostgresRuleStore(pool, tenant_id)
