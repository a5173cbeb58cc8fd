"""Where workloads run: a fresh database, tenants with rules, one application login."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg

from tests.fixtures.database import fresh_database
from tests.fixtures.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection

    from tests.fixtures.database import Database

# So that the tenant is worth looking for, as it is where it matters.
OTHER_TENANTS = 20
RULES_OF_OTHERS = 50


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a workload may use."""

    database: Database
    tenant_id: UUID
    connection: Connection[Any]
    """Autocommit, of a login in ``rules_app``, with the tenant set for the session.

    That spares a round trip a call which only pooled connections need, so that a case
    is one statement. Statements are prepared at their second use.
    """

    def add_rules(self, rules: Iterable[tuple[str, str]]) -> list[UUID]:
        """Store rules, given as name and expression, and return their ids."""
        return _add_rules(self.connection, self.tenant_id, rules)

    def remove_rules(self) -> None:
        """Remove all rules of the tenant."""
        self.connection.execute(
            "DELETE FROM rules.rules WHERE tenant_id = %s", (self.tenant_id,)
        )


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Make everything on the server in use, and remove it afterwards."""
    provider = Server()
    try:
        with fresh_database(provider) as database:
            tenants = [uuid4() for _ in range(OTHER_TENANTS + 1)]
            with database.connect(autocommit=True) as admin:
                for number, tenant_id in enumerate(tenants):
                    admin.execute(
                        "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)",
                        (tenant_id, f"tenant {number}"),
                    )
            with psycopg.connect(
                database.login("rules_app"), autocommit=True
            ) as connection:
                for tenant_id in tenants[1:]:
                    _set_tenant(connection, tenant_id)
                    _add_rules(
                        connection,
                        tenant_id,
                        (
                            (f"rule {number}", f"Order.Total > {number}")
                            for number in range(RULES_OF_OTHERS)
                        ),
                    )
                _set_tenant(connection, tenants[0])
                with database.connect(autocommit=True) as admin:
                    admin.execute("ANALYZE")
                connection.prepare_threshold = 1
                yield Surroundings(database, tenants[0], connection)
    finally:
        provider.close()


def _set_tenant(connection: Connection[Any], tenant_id: UUID) -> None:
    connection.execute(
        "SELECT set_config('app.tenant_id', %s, false)", (str(tenant_id),)
    )


def _add_rules(
    connection: Connection[Any], tenant_id: UUID, rules: Iterable[tuple[str, str]]
) -> list[UUID]:
    added = []
    with connection.transaction():
        for name, expression in rules:
            rule_id = uuid4()
            connection.execute(
                "INSERT INTO rules.rules (tenant_id, id, name, expression)"
                " VALUES (%s, %s, %s, %s)",
                (tenant_id, rule_id, name, expression),
            )
            added.append(rule_id)
    return added
