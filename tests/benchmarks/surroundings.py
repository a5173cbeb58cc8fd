"""Where workloads run: a fresh database, tenants with rules, one application login."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from tests.fixtures.database import fresh_database
from tests.fixtures.server import Server

from .memory import backend_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection

    from tests.fixtures.database import Database

# So that the tenant is worth looking for, as it is where it matters.
OTHER_TENANTS = 20
RULES_OF_OTHERS = 50

# Rules that one statement stores.
_STORED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How far the workloads go that grow."""

    rules: int = 1_000_000
    flights: int = 336_776


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
    admin: Connection[Any]
    """A superuser's, autocommit; for what workloads make in the schema benchmark."""
    login: str
    """The login's URI."""
    sizes: Sizes

    def add_rules(self, rules: Iterable[tuple[str, str]]) -> list[UUID]:
        """Store rules, given as name and expression, and return their ids."""
        named = [(uuid4(), name, expression) for name, expression in rules]
        store_rules(self.connection, self.tenant_id, named)
        return [rule_id for rule_id, _, _ in named]

    def remove_rules(self) -> None:
        """Remove all rules of the tenant."""
        self.connection.execute(
            "DELETE FROM rules.rules WHERE tenant_id = %s", (self.tenant_id,)
        )

    def add_tenant(self, name: str) -> UUID:
        """Make another tenant, without rules."""
        return _add_tenant(self.admin, name)

    def connect(self, tenant_id: UUID) -> Connection[Any]:
        """Connect anew with the login's rights, the tenant set; close it yourself."""
        connection = psycopg.connect(self.login, autocommit=True)
        _set_tenant(connection, tenant_id)
        return connection

    def named_login(self, application: str) -> str:
        """The login's connection string, under a name to find its server process by."""
        return make_conninfo(self.login, application_name=application)

    def backend_memory(self, application: str) -> int | None:
        """Bytes of the server process of that name; None where it cannot be told."""
        row = self.admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s",
            (application,),
        ).fetchone()
        return backend_bytes(self.admin, row[0]) if row else None


@contextmanager
def surroundings(sizes: Sizes) -> Iterator[Surroundings]:
    """Make everything on the server in use, and remove it afterwards."""
    provider = Server()
    try:
        with fresh_database(provider) as database:
            login = database.login("rules_app")
            with (
                database.connect(autocommit=True) as admin,
                psycopg.connect(login, autocommit=True) as connection,
            ):
                tenant_id = _add_tenant(admin, "measured")
                for number in range(OTHER_TENANTS):
                    other = _add_tenant(admin, f"other {number}")
                    _set_tenant(connection, other)
                    store_rules(
                        connection,
                        other,
                        (
                            (uuid4(), f"rule {total}", f"Order.Total > {total}")
                            for total in range(RULES_OF_OTHERS)
                        ),
                    )
                _set_tenant(connection, tenant_id)
                admin.execute("CREATE SCHEMA benchmark")
                admin.execute("GRANT USAGE ON SCHEMA benchmark TO rules_app")
                admin.execute("ANALYZE")
                connection.prepare_threshold = 1
                yield Surroundings(database, tenant_id, connection, admin, login, sizes)
    finally:
        provider.close()


def store_rules(
    connection: Connection[Any],
    tenant_id: UUID,
    rules: Iterable[tuple[UUID, str, str]],
) -> int:
    """Store rules, given as id, name and expression, many a statement; counts them."""
    stored = 0
    remaining = iter(rules)
    while some := list(islice(remaining, _STORED_AT_ONCE)):
        connection.execute(
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " SELECT %s, r.* FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS r",
            (tenant_id, *map(list, zip(*some, strict=True))),
        )
        stored += len(some)
    return stored


def _add_tenant(admin: Connection[Any], name: str) -> UUID:
    tenant_id = uuid4()
    admin.execute(
        "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)", (tenant_id, name)
    )
    return tenant_id


def _set_tenant(connection: Connection[Any], tenant_id: UUID) -> None:
    connection.execute(
        "SELECT set_config('app.tenant_id', %s, false)", (str(tenant_id),)
    )
