"""Tenants for tests, made as an operator makes them."""

from uuid import UUID, uuid4

from tests.fixtures.database import Database


def create_tenant(database: Database, name: str = "Harbour Insurance") -> UUID:
    """Insert a tenant and give its id."""
    tenant_id = uuid4()
    database.connect(autocommit=True).execute(
        "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)",
        [tenant_id, f"{name} {tenant_id}"],
    )
    return tenant_id
