"""Query plans at 1,000 tenants of 1,000 rules each: REQ-PERF-PERSIST-002.

The store's own statements are explained, and what ``evaluate`` and ``evaluate_all``
read inside is logged by ``auto_explain``: each as an application's login sees it,
planned for given values and as the generic plan that a long session settles on.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from pgrules import postgres, postgres_audit
from tests.fixtures.database import Database, Provider, fresh_database

pytestmark = pytest.mark.integration

TENANTS, RULES = 1_000, 1_000

FILL = """
INSERT INTO rules.tenants (id, name)
SELECT md5('tenant ' || t)::uuid, 'Tenant ' || t
FROM generate_series(1, %(tenants)s) AS t;
"""

FILL_RULES = """
INSERT INTO rules.rules (tenant_id, id, name, expression, active, created_at)
SELECT
    md5('tenant ' || t)::uuid,
    md5('rule ' || t || '/' || r)::uuid,
    'rule ' || r,
    'User.Age >= ' || r,
    r %% 10 <> 0,
    now() - r * interval '1 minute'
FROM generate_series(1, %(tenants)s) AS t
CROSS JOIN generate_series(1, %(rules)s) AS r
"""

FILL_AUDIT = """
INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, after)
SELECT
    md5('tenant ' || t)::uuid,
    'rule',
    md5('rule ' || t || '/' || r)::uuid,
    'insert',
    '{}'
FROM generate_series(1, %(tenants)s) AS t
CROSS JOIN generate_series(70, 90) AS r
"""


@dataclass(frozen=True)
class Large:
    """The filled database, with one of its tenants and rules."""

    database: Database
    tenant: UUID
    rule: UUID
    indexes: frozenset[str]
    """Indexes whose first column is the tenant."""


@pytest.fixture(scope="module")
def large(provider: Provider) -> Iterator[Large]:
    """A database of 1,000,000 rules."""
    counts = {"tenants": TENANTS, "rules": RULES}
    with fresh_database(provider) as database:
        with database.connect(autocommit=True) as connection:
            # Compiling a million rules is not what is looked at here.
            connection.execute("SET session_replication_role = replica")
            connection.execute(FILL, counts)
            connection.execute(FILL_RULES, counts)
            connection.execute(FILL_AUDIT, counts)
            connection.execute("ANALYZE rules.tenants, rules.rules, rules.audit_log")
            row = connection.execute(
                "SELECT md5('tenant 500')::uuid, md5('rule 500/77')::uuid"
            ).fetchone()
            assert row is not None
            names = connection.execute(
                """
                SELECT i.indexrelid::regclass::text
                FROM pg_index AS i
                JOIN pg_attribute AS a
                    ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                WHERE a.attname = 'tenant_id'
                """
            ).fetchall()
        indexes = frozenset(name.rpartition(".")[2] for (name,) in names)
        yield Large(database, row[0], row[1], indexes)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def assert_finds_rows_by_tenant(plan: dict[str, Any], large: Large) -> None:
    """Each access to a table goes through an index that starts with the tenant."""
    accesses = 0
    for node in nodes(plan):
        kind = node["Node Type"]
        if kind in {"Seq Scan", "Parallel Seq Scan", "Tid Scan", "Sample Scan"}:
            pytest.fail(f"reads a whole table: {json.dumps(node, indent=2)}")
        if kind in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}:
            accesses += 1
            assert node["Index Name"] in large.indexes
            assert "tenant_id" in node["Index Cond"]
    assert accesses, json.dumps(plan, indent=2)


@pytest.fixture(params=["force_custom_plan", "force_generic_plan"])
def session(
    request: pytest.FixtureRequest, large: Large
) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of the tenant, under row-level security, planning one way."""
    app = large.database.login("rules_app")
    role = psycopg.conninfo.conninfo_to_dict(app)["user"]
    with large.database.connect() as connection:
        # Loading auto_explain takes a superuser, who then acts as the application.
        connection.execute("LOAD 'auto_explain'")
        connection.execute(
            "SELECT set_config('plan_cache_mode', %s, false)", [request.param]
        )
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(str(role))))
        connection.execute("SELECT rules.set_tenant(%s)", [large.tenant])
        yield connection


def explained(connection: psycopg.Connection[Any], query: str) -> dict[str, Any]:
    """The plan of a prepared statement of the store, for values of this tenant."""
    row = connection.execute(
        "SELECT current_setting('app.tenant_id')::uuid, md5('rule 500/77')::uuid"
    ).fetchone()
    assert row is not None
    tenant, rule = row
    given: dict[str, list[object]] = {
        postgres.ADD: [tenant, tenant, "new", "true", True],
        postgres.GET: [tenant, rule],
        postgres.LIST_ACTIVE: [tenant],
        postgres.UPDATE: ["new", "true", True, tenant, rule],
        postgres.DELETE: [tenant, rule],
        postgres.COMPILE_ACTIVE: [tenant],
        postgres_audit.ENTRIES: [tenant, ["rule"], "-infinity", "infinity", rule, 9],
        postgres_audit.ENTRIES_OF_SUBJECT: [
            *[tenant, ["rule"], "-infinity", "infinity", rule, rule, 9]
        ],
    }
    values = given[query]
    numbers = iter(range(1, len(values) + 1))
    text = re.sub("%s", lambda _: f"${next(numbers)}", query)
    connection.execute(sql.SQL("PREPARE statement AS {}").format(sql.SQL(text)))
    literals = sql.SQL(", ").join(sql.Literal(value) for value in values)
    row = connection.execute(
        sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE statement ({})").format(literals)
    ).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


@pytest.mark.parametrize(
    "name", ["GET", "LIST_ACTIVE", "UPDATE", "DELETE", "COMPILE_ACTIVE"]
)
def test_a_store_query_finds_rows_by_tenant(
    large: Large, session: psycopg.Connection[Any], name: str
) -> None:
    """REQ-PERF-PERSIST-002, REQ-SCHEMA-007."""
    plan = explained(session, getattr(postgres, name))
    assert_finds_rows_by_tenant(plan, large)


@pytest.mark.parametrize("name", ["ENTRIES", "ENTRIES_OF_SUBJECT"])
def test_the_audit_is_read_by_tenant(
    large: Large, session: psycopg.Connection[Any], name: str
) -> None:
    """And no page of it is made of all entries."""
    plan = explained(session, getattr(postgres_audit, name))
    assert_finds_rows_by_tenant(plan, large)


def test_listing_active_rules_is_one_scan(
    large: Large, session: psycopg.Connection[Any]
) -> None:
    """REQ-PERF-PERSIST-003."""
    plan = explained(session, postgres.LIST_ACTIVE)
    scans = [node for node in nodes(plan) if "Relation Name" in node]
    assert len(scans) == 1


def read_inside(
    connection: psycopg.Connection[Any], call: str, *values: object
) -> list[dict[str, Any]]:
    """The plans that a function's own statements ran with, on tables."""
    messages: list[str] = []
    connection.add_notice_handler(
        lambda notice: messages.append(notice.message_primary or "")
    )
    connection.execute("RESET ROLE")
    connection.execute(
        """
        SELECT set_config(name, setting, true)
        FROM (VALUES
            ('auto_explain.log_min_duration', '0'),
            ('auto_explain.log_nested_statements', 'on'),
            ('auto_explain.log_format', 'json'),
            ('auto_explain.log_level', 'notice'),
            ('client_min_messages', 'notice')
        ) AS s (name, setting)
        """
    )
    connection.execute("SET ROLE rules_app")
    connection.execute(call, values)
    plans = []
    for message in messages:
        _, found, text = message.partition("plan:\n")
        if found:
            plan = json.loads(text)["Plan"]
            if any("Index Name" in n or "Relation Name" in n for n in nodes(plan)):
                plans.append(plan)
    return plans


@pytest.mark.parametrize(
    "call",
    [
        "SELECT * FROM rules.evaluate(md5('rule 500/77')::uuid, %s)",
        "SELECT * FROM rules.evaluate(md5('rule 500/77')::uuid, %s, trace => true)",
        "SELECT * FROM rules.evaluate_all(%s)",
        "SELECT rules.matches(md5('rule 500/77')::uuid, %s)",
    ],
)
def test_an_evaluation_finds_its_rules_by_tenant(
    large: Large, session: psycopg.Connection[Any], call: str
) -> None:
    """REQ-PERF-PERSIST-002: evaluate's own reads."""
    facts = '{"User": {"Age": 30}}'
    plans = read_inside(session, call, facts)
    assert plans
    for plan in plans:
        assert_finds_rows_by_tenant(plan, large)
