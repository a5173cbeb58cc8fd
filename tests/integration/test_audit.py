"""The audit where transactions overlap: what was in force at a time, and for whom.

A change counts from the commit that brings it. Every verdict as of a time is held
against what sessions evaluated at that time.
"""

import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.rows import scalar_row

from tests.fixtures.database import Database
from tests.fixtures.uri import with_database

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

INSERT = """
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), %s, %s, %s)
"""
UPDATE = """
UPDATE rules.rules SET expression = %s
WHERE tenant_id = rules.current_tenant_id() AND id = %s
"""
FACTS = '{"N": 5, "Item": {"Price": 5}}'
VERDICT = """
SELECT matched, error IS NOT NULL FROM rules.evaluate_as_of(%s, %s, %s)
"""
INT = 'SELECT rules.set_schema(\'{"Item": {"Price": "int"}}\')'
DOUBLE = 'SELECT rules.set_schema(\'{"Item": {"Price": "float64"}}\')'


@pytest.fixture
def open_session(app: str, tenant: UUID) -> Iterator[Callable[[], Connection]]:
    """Opens an application's sessions, each in a transaction of the tenant."""
    opened: list[Connection] = []

    def open_session() -> Connection:
        session = psycopg.connect(app)
        opened.append(session)
        begin(session, tenant)
        return session

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def watcher(app: str, tenant: UUID) -> Iterator[Connection]:
    """A session whose every statement is a transaction of the tenant."""
    with psycopg.connect(app, autocommit=True) as session:
        session.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        yield session


@pytest.fixture
def rule(watcher: Connection) -> UUID:
    """A rule that is committed."""
    rule = uuid4()
    watcher.execute(INSERT, [rule, "a rule", "N > 1"])
    return rule


def begin(session: Connection, tenant: UUID) -> None:
    session.execute("SELECT rules.set_tenant(%s)", [tenant])


def now(session: Connection) -> datetime:
    """The server's clock."""
    time: datetime = scalar(session, "SELECT clock_timestamp()")
    return time


def scalar(session: Connection, query: str, *arguments: object) -> Any:
    with session.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query.encode(), arguments).fetchone()


def judged(session: Connection, rule: UUID, at: datetime) -> Any:
    """What the rule says as of a time."""
    return scalar(
        session,
        "SELECT (rules.evaluate_as_of(%s, %s, %s)).matched",
        rule,
        FACTS,
        at,
    )


def test_a_change_is_in_force_from_its_commit_not_from_its_statement(
    open_session: Callable[[], Connection], watcher: Connection, rule: UUID
) -> None:
    writer = open_session()
    writer.execute(UPDATE, ["N > 9", rule])
    between = now(watcher)
    seen = scalar(watcher, "SELECT (rules.evaluate(%s, %s)).matched", rule, FACTS)
    writer.commit()
    assert seen is True
    assert judged(watcher, rule, between) is True
    assert judged(watcher, rule, now(watcher)) is False


def test_all_that_a_transaction_did_is_in_force_at_once(
    open_session: Callable[[], Connection], watcher: Connection, rule: UUID
) -> None:
    """No time shows the schema of a transaction with the rules of before it."""
    writer = open_session()
    writer.execute(UPDATE, ["Item.Price / 2 == 2", rule])
    writer.execute(INT)
    writer.execute(
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES (rules.current_tenant_id(), 'Half', 'Item.Price / 2')"
    )
    writer.execute(UPDATE, ["Half == 2", rule])
    writer.commit()
    versions = watcher.execute(
        "SELECT valid_from, valid_to FROM rules.rule_versions(%s)", [rule]
    ).fetchall()
    (_, first_end), (second, second_end), (third, third_end) = versions
    assert first_end == second == second_end == third
    assert third_end is None
    log = watcher.execute(
        "SELECT DISTINCT xid, started_at FROM rules.audit_log WHERE subject <> 'rule'"
    ).fetchall()
    assert len(log) == 1


def test_what_is_rolled_back_leaves_nothing(
    database: Database,
    open_session: Callable[[], Connection],
    watcher: Connection,
    rule: UUID,
) -> None:
    writer = open_session()
    writer.execute(UPDATE, ["N > 9", rule])
    writer.rollback()
    count = "SELECT count(*) FROM rules.rule_versions(%s)"
    assert scalar(watcher, count, rule) == 1
    superuser = database.connect(autocommit=True)
    assert scalar(superuser, "SELECT count(*) FROM rules_internal.audit_commits") == 2


def test_versions_are_in_the_order_of_commits_though_a_later_writer_began_earlier(
    open_session: Callable[[], Connection], watcher: Connection, rule: UUID
) -> None:
    began_first, began_second = open_session(), open_session()
    began_second.execute(UPDATE, ["N > 8", rule])
    began_second.commit()
    after_one = now(watcher)
    began_first.execute(UPDATE, ["N > 3", rule])
    began_first.commit()
    assert watcher.execute(
        "SELECT expression FROM rules.rule_versions(%s)", [rule]
    ).fetchall() == [("N > 1",), ("N > 8",), ("N > 3",)]
    assert judged(watcher, rule, after_one) is False
    assert judged(watcher, rule, now(watcher)) is True


def test_a_rule_has_the_versions_that_a_snapshot_sees(
    app: str, tenant: UUID, watcher: Connection, rule: UUID
) -> None:
    with psycopg.connect(app) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        begin(reader, tenant)
        count = "SELECT count(*) FROM rules.rule_versions(%s)"
        assert scalar(reader, count, rule) == 1
        watcher.execute(UPDATE, ["N > 9", rule])
        assert scalar(reader, count, rule) == 1
        assert scalar(watcher, count, rule) == 2


def test_serializable_writers_of_different_rules_do_not_conflict(
    app: str, tenant: UUID, watcher: Connection
) -> None:
    """Recording a change reads nothing that another change writes."""
    watcher.execute(INSERT, [uuid4(), "has the same access keys", "N > 1"])
    rules = [uuid4() for _ in range(8)]
    sessions = [psycopg.connect(app) for _ in rules]
    try:
        for session, name in zip(sessions, rules, strict=True):
            session.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            begin(session, tenant)
            session.execute(INSERT, [name, str(name), "N > 1"])
        for session in sessions:
            session.commit()
    finally:
        for session in sessions:
            session.close()
    entries = "SELECT count(*) FROM rules.audit_log WHERE subject = 'rule'"
    assert scalar(watcher, entries) == 1 + len(rules)


def test_constraints_that_are_checked_early_note_no_time_before_the_change(
    open_session: Callable[[], Connection], watcher: Connection, rule: UUID
) -> None:
    """Nobody dates a change back, whatever he does with the deferred trigger."""
    writer = open_session()
    writer.execute("SET CONSTRAINTS ALL IMMEDIATE")
    writer.execute(UPDATE, ["N > 2", rule])
    between = now(watcher)
    writer.execute(UPDATE, ["N > 9", rule])
    writer.commit()
    assert judged(watcher, rule, between) is True
    assert judged(watcher, rule, now(watcher)) is False


def test_what_a_deleted_tenant_had_is_recorded_with_what_came_meanwhile(
    database: Database,
    open_session: Callable[[], Connection],
    watcher: Connection,
    tenant: UUID,
) -> None:
    """REQ-TENANT-007: each rule that came has gone, by who deleted the tenant."""
    writer = open_session()
    for number in range(20):
        writer.execute(INSERT, [uuid4(), f"rule {number}", f"N > {number}"])
    writer.commit()
    with psycopg.connect(database.login("rules_admin")) as admin:
        admin.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
        login = admin.info.user
    assert watcher.execute(
        """
        SELECT operation, changed_by = %s, count(DISTINCT subject_id)
        FROM rules.audit_log GROUP BY 1, 2 ORDER BY 1
        """,
        [login],
    ).fetchall() == [("delete", True, 20), ("insert", False, 20)]
    begin(writer, tenant)
    with pytest.raises(errors.ForeignKeyViolation):
        writer.execute(INSERT, [uuid4(), "too late", "true"])


def test_a_tenant_reads_no_other_tenants_history(
    database: Database, watcher: Connection, rule: UUID, other_tenant: UUID
) -> None:
    """REQ-TENANT-001."""
    theirs = database.login("rules_tenant", tenant=other_tenant)
    with psycopg.connect(theirs, autocommit=True) as session:
        assert scalar(session, "SELECT count(*) FROM rules.audit_log") == 0
        for statement in (
            "SELECT rules.rule_versions(%s)",
            "SELECT rules.restore_rule(%s, 1)",
            "SELECT rules.evaluate_as_of(%s, '{}', now())",
        ):
            with pytest.raises(psycopg.DatabaseError) as refused:
                session.execute(statement, [rule])
            assert refused.value.sqlstate == "RE010"
        # Nor by asking for it below the interface.
        plan = "SELECT count(*) FROM rules_internal.history(%s, 'rule')"
        tenant = scalar(watcher, "SELECT rules.current_tenant_id()")
        assert scalar(session, plan, tenant) == 0


@dataclass
class Observation:
    """What one rule said to everyone at a time, or that it was not there."""

    at: datetime
    rule: UUID
    verdict: object


def observe(watcher: Connection, rules: list[UUID]) -> Iterator[Observation]:
    """Evaluate all rules in one snapshot, at the time that goes with it."""
    with watcher.transaction():
        watcher.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        at = now(watcher)
        for rule in rules:
            row = watcher.execute(
                """
                SELECT result.matched, result.error IS NOT NULL
                FROM rules.rules AS rule
                CROSS JOIN LATERAL rules.evaluate(rule.id, %s) AS result
                WHERE rule.tenant_id = rules.current_tenant_id() AND rule.id = %s
                """,
                [FACTS, rule],
            ).fetchone()
            yield Observation(at, rule, row)


def random_change(random: random.Random, session: Connection, rule: UUID) -> None:
    expression = random.choice(
        ["N > 1", "N > 9", "Item.Price / 2 == 2", "Item.Price > 4", "has(Item.Price)"]
    )
    change = random.choice(["write"] * 6 + ["delete", "int", "double", "field"])
    match change:
        case "write":
            session.execute(
                INSERT + " ON CONFLICT (tenant_id, id)"
                " DO UPDATE SET expression = excluded.expression",
                [rule, str(rule), expression],
            )
        case "delete":
            session.execute("DELETE FROM rules.rules WHERE id = %s", [rule])
        case "int":
            session.execute(INT.replace("}')", "}', allow_broken => true)"))
        case "double":
            session.execute(DOUBLE.replace("}')", "}', allow_broken => true)"))
        case _:
            session.execute(
                "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
                " VALUES (rules.current_tenant_id(), 'N', %s)"
                " ON CONFLICT (tenant_id, name)"
                " DO UPDATE SET expression = excluded.expression",
                [random.choice(["1", "5", "20"])],
            )


@pytest.mark.parametrize("seed", range(4))
def test_a_verdict_as_of_a_time_is_what_was_evaluated_at_it(
    open_session: Callable[[], Connection],
    watcher: Connection,
    tenant: UUID,
    seed: int,
) -> None:
    """Overlapping transactions of three writers, committed, rolled back, refused."""
    choose = random.Random(seed)  # noqa: S311 (nothing is secret here)
    rules = [uuid4() for _ in range(3)]
    # A sentinel's first version, so that each rule is known to the tenant.
    for rule in rules:
        watcher.execute(INSERT, [rule, str(rule), "true"])
    writers = [open_session() for _ in rules]
    for writer in writers:
        writer.execute("SET lock_timeout = '50ms'")
        writer.commit()
        begin(writer, tenant)
    observations: list[Observation] = []
    for _ in range(100):
        writer, rule = choose.choice(list(zip(writers, rules, strict=True)))
        match choose.choice(["change"] * 4 + ["commit"] * 4 + ["rollback"]):
            case "change":
                try:
                    random_change(choose, writer, rule)
                except psycopg.DatabaseError:
                    # Refused, or held up by another writer.
                    writer.rollback()
                    begin(writer, tenant)
            case "commit":
                writer.commit()
                begin(writer, tenant)
            case _:
                writer.rollback()
                begin(writer, tenant)
        observations += observe(watcher, rules)
    assert len({seen.verdict for seen in observations}) > 1
    for seen in observations:
        judge = partial(watcher.execute, VERDICT, [seen.rule, FACTS, seen.at])
        if seen.verdict is None:
            with pytest.raises(psycopg.DatabaseError) as refused:
                judge()
            assert refused.value.sqlstate == "RE012", seen
        else:
            assert judge().fetchone() == seen.verdict, seen


def test_a_dump_brings_the_audit_along_and_it_goes_on(
    database: Database, watcher: Connection, rule: UUID, tenant: UUID
) -> None:
    first = now(watcher)
    watcher.execute(UPDATE, ["N > 9", rule])
    second = now(watcher)
    name = f"restored_{uuid4().hex[:8]}"
    restored = with_database(database.dsn, name)
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(
        sql.Identifier(name)
    )
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    superuser = database.connect(autocommit=True)
    superuser.execute(create)
    try:
        dump = subprocess.run(
            ["pg_dump", "--format=custom", database.dsn],
            check=True,
            stdout=subprocess.PIPE,
        )
        subprocess.run(
            ["pg_restore", "--exit-on-error", "--dbname", restored],
            check=True,
            input=dump.stdout,
        )
        with psycopg.connect(restored, autocommit=True) as session:
            everything = (
                "SELECT entry, noted FROM rules.audit_log AS entry"
                " JOIN rules_internal.audit_commits AS noted"
                " USING (tenant_id, xid, started_at)"
                " ORDER BY entry.changed_at, entry.id, noted.committed_at"
            )
            assert (
                session.execute(everything).fetchall()
                == superuser.execute(everything).fetchall()
            )
            session.execute(
                "SELECT set_config('app.tenant_id', %s, false)", [str(tenant)]
            )
            session.execute(UPDATE, ["N > 2", rule])
            times = (first, second, now(session))
            verdicts = [judged(session, rule, at) for at in times]
            assert verdicts == [True, False, True]
    finally:
        superuser.execute(drop)
