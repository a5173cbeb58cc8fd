"""A database that is in use gets the audit: what is there already is its baseline."""

from uuid import UUID

import psycopg
import pytest

from tests.migration.project import plan, succeed

pytestmark = pytest.mark.integration

CHANGES = list(plan())
BEFORE = CHANGES[CHANGES.index("000036_audit_log") - 1]
TENANT = UUID("5f0e6a52-77c1-4c8b-9f4e-1d2c3b4a5968")
RULE = UUID("0b7c9f1e-3a52-4d6f-8e90-a1b2c3d4e5f6")


@pytest.fixture
def session(uri: str) -> psycopg.Connection:
    """A superuser's session for a tenant that was there before."""
    succeed(uri, "deploy", "--to", BEFORE)
    session = psycopg.connect(uri, autocommit=True)
    session.execute(
        "INSERT INTO rules.tenants (id, name) VALUES (%s, 'Harbour')", [TENANT]
    )
    session.execute(
        "INSERT INTO rules.tenant_logins (tenant_id, login) VALUES (%s, 'clerk')",
        [TENANT],
    )
    session.execute("SELECT set_config('app.tenant_id', %s, false)", [str(TENANT)])
    session.execute('SELECT rules.set_schema(\'{"Item": {"Price": "int"}}\')')
    session.execute(
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES (%s, 'Half', 'Item.Price / 2')",
        [TENANT],
    )
    session.execute(
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES (%s, %s, 'dear', 'Half > 10')",
        [TENANT, RULE],
    )
    succeed(uri, "deploy", "--verify")
    return session


def test_everything_that_was_there_has_an_entry(session: psycopg.Connection) -> None:
    with session:
        entries = session.execute(
            "SELECT subject, operation, coalesce(after ->> 'name', after ->> 'version')"
            " FROM rules.audit_log ORDER BY 1"
        ).fetchall()
        tenants = session.execute(
            "SELECT subject, operation, after FROM rules.tenant_audit_log ORDER BY 1"
        ).fetchall()
    assert entries == [
        ("audit", "baseline", None),
        ("derived field", "baseline", "Half"),
        ("rule", "baseline", "dear"),
        ("schema", "baseline", "1"),
    ]
    assert tenants == [
        ("tenant", "baseline", {"name": "Harbour"}),
        ("tenant login", "baseline", {"login": "clerk"}),
    ]


def test_verdicts_are_known_from_the_deploy_on(session: psycopg.Connection) -> None:
    judge = "SELECT (rules.evaluate_as_of(%s, %s, {})).matched"
    facts = [RULE, '{"Item": {"Price": 30}}']
    with session:
        verdict = session.execute(judge.format("clock_timestamp()"), facts).fetchone()
        assert verdict == (True,)
        version = session.execute(
            "SELECT version, operation FROM rules.rule_versions(%s)", [RULE]
        ).fetchall()
        assert version == [(1, "baseline")]
        with pytest.raises(psycopg.DatabaseError) as refused:
            session.execute(judge.format("clock_timestamp() - interval '1 day'"), facts)
        assert refused.value.sqlstate == "RE014"
