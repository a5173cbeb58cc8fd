"""Logical replication of the rule tables, as docs/operations.md has it.

Publisher and subscriber are two databases of one server, each with everything deployed;
the subscriber is for reading. That both are on one server changes nothing but who makes
the replication slot.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from pgrules import DerivedField, Engine, PostgresRuleStore, Rule
from tests.fixtures.database import Database
from tests.integration.deployed import Deployed
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

# All that evaluations read, and all of it: what a session may keep is told by the
# tokens, and which rules may match by the access keys.
PUBLISH = "CREATE PUBLICATION pgrules FOR TABLES IN SCHEMA rules, rules_internal"
SUBSCRIBE = """
CREATE SUBSCRIPTION {slot} CONNECTION '{publisher}' PUBLICATION pgrules
WITH (create_slot = false, slot_name = '{slot}')
"""
PREPARE = "DELETE FROM rules_internal.before_deploy"
SYNCHRONISED = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"


@dataclass(frozen=True)
class Replicated:
    """The two databases, with a tenant and a login of each."""

    publisher: Database
    subscriber: Database
    tenant: UUID
    writer: str
    reader: str

    def wait_until_applied(self) -> None:
        """Return when the subscriber has what the publisher has committed."""
        with psycopg.connect(self.publisher.dsn, autocommit=True) as session:
            row = session.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
            assert row is not None
            until(
                session,
                "SELECT confirmed_flush_lsn >= %s FROM pg_replication_slots"
                " WHERE slot_name = %s",
                [row[0], slot_of(self.subscriber)],
            )


def until(
    session: psycopg.Connection[Any], query: str, values: list[Any] | None = None
) -> None:
    """Return when the query says true."""
    deadline = time.monotonic() + 60
    while session.execute(query.encode(), values or []).fetchone() != (True,):
        assert time.monotonic() < deadline, query


def slot_of(subscriber: Database) -> str:
    """The name of the subscription and its slot."""
    name = psycopg.conninfo.conninfo_to_dict(subscriber.dsn)["dbname"]
    return f"to_{name}"


@contextmanager
def subscribed(publisher: Database, subscriber: Database) -> Iterator[None]:
    """The subscription, as long as the block runs."""
    slot = slot_of(subscriber)
    statement = SUBSCRIBE.format(slot=slot, publisher=publisher.dsn)
    with (
        psycopg.connect(publisher.dsn, autocommit=True) as source,
        psycopg.connect(subscriber.dsn, autocommit=True) as target,
    ):
        source.execute(PUBLISH.encode())
        source.execute(
            "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot]
        )
        target.execute(PREPARE.encode())
        target.execute(statement.encode())
        try:
            until(target, SYNCHRONISED)
            yield
        finally:
            target.execute(f"DROP SUBSCRIPTION {slot}".encode())


@pytest.fixture(scope="module")
def replicated(deployed: Deployed) -> Iterator[Replicated]:
    """A publisher that had rules before, and a subscriber that has them now."""
    with deployed.clone() as publisher, deployed.clone() as subscriber:
        tenant = create_tenant(publisher)
        create_tenant(publisher, "Mountain Rescue")
        writer = publisher.login("rules_app")
        reader = subscriber.login("rules_app")
        with psycopg.connect(writer, autocommit=True) as connection:
            store = PostgresRuleStore(connection, tenant)
            store.set_schema({"User": {"Age": "int"}})
            store.add_derived_field(DerivedField(uuid4(), "Adult", "User.Age >= 18"))
            store.add(Rule(uuid4(), "adults", "Adult"))
            publisher.close()
        with subscribed(publisher, subscriber):
            yield Replicated(publisher, subscriber, tenant, writer, reader)


@pytest.fixture
def writing(replicated: Replicated) -> Iterator[PostgresRuleStore]:
    """The tenant's store where rules are written."""
    with psycopg.connect(replicated.writer, autocommit=True) as connection:
        yield PostgresRuleStore(connection, replicated.tenant)


@pytest.fixture
def reading(replicated: Replicated) -> Iterator[PostgresRuleStore]:
    """The same where they are read; one session, which keeps what it compiled."""
    with psycopg.connect(replicated.reader, autocommit=True) as connection:
        yield PostgresRuleStore(connection, replicated.tenant)


def test_what_was_there_before_is_copied(
    replicated: Replicated, reading: PostgresRuleStore
) -> None:
    """EVAL-1: rules, schema, derived fields and environment."""
    engine = Engine(reading)
    assert [r.matched for r in engine.evaluate_all({"User": {"Age": 30}})] == [True]
    assert [r.matched for r in engine.evaluate_all({"User": {"Age": 3}})] == [False]
    assert [r.rule_name for r in engine.match_rules({"User": {"Age": 30}})] == [
        "adults"
    ]
    schema = reading.schema()
    assert schema is not None
    assert schema.version == 1
    with replicated.publisher.connect() as source, replicated.subscriber.connect() as t:
        for table in ("rules", "tenants", "schemas", "derived_fields"):
            count = sql.SQL("SELECT count(*) FROM rules.{}").format(
                sql.Identifier(table)
            )
            assert source.execute(count).fetchone() == t.execute(count).fetchone()


def test_a_session_takes_up_each_change_that_arrives(
    replicated: Replicated, writing: PostgresRuleStore, reading: PostgresRuleStore
) -> None:
    """COMP-4: evaluate, evaluate_all and match_rules, by what was in force."""
    rule = writing.add(Rule(uuid4(), "limit", "User.Age > 0"))
    replicated.wait_until_applied()
    engine = Engine(reading)
    for limit in range(1, 6):
        for age in range(7):
            facts = {"User": {"Age": age}}
            by_all = {r.rule_name: r.matched for r in engine.evaluate_all(facts)}
            found = [r.rule_name for r in engine.match_rules(facts)]
            assert by_all["limit"] is (age > limit - 1)
            assert engine.evaluate(rule.id, facts).matched is by_all["limit"]
            assert ("limit" in found) is by_all["limit"]
        writing.update(Rule(rule.id, "limit", f"User.Age > {limit}"))
        replicated.wait_until_applied()
    writing.delete(rule.id)
    replicated.wait_until_applied()
    assert len(engine.evaluate_all({"User": {"Age": 30}})) == 1


def test_a_change_of_the_environment_arrives_with_its_transaction(
    replicated: Replicated, writing: PostgresRuleStore, reading: PostgresRuleStore
) -> None:
    """COMP-3, DER-1."""
    engine = Engine(reading)
    facts = {"User": {"Age": 20}}
    (field,) = writing.derived_fields()
    for limit, matches in ((21, False), (18, True)):
        writing.update_derived_field(
            DerivedField(field.id, "Adult", f"User.Age >= {limit}")
        )
        replicated.wait_until_applied()
        assert [r.matched for r in engine.evaluate_all(facts)] == [matches]
        assert len(engine.match_rules(facts)) == matches


def test_a_tenant_that_is_deleted_is_gone_there_too(replicated: Replicated) -> None:
    """REQ-TENANT-007."""
    gone = create_tenant(replicated.publisher, "Passing Trade")
    with psycopg.connect(replicated.writer, autocommit=True) as connection:
        PostgresRuleStore(connection, gone).add(Rule(uuid4(), "any", "true"))
    replicated.wait_until_applied()
    count = "SELECT count(*) FROM rules.rules WHERE tenant_id = %s"
    with replicated.subscriber.connect(autocommit=True) as session:
        assert session.execute(count, [gone]).fetchone() == (1,)
        replicated.publisher.connect(autocommit=True).execute(
            "DELETE FROM rules.tenants WHERE id = %s", [gone]
        )
        replicated.wait_until_applied()
        assert session.execute(count, [gone]).fetchone() == (0,)
