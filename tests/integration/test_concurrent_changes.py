"""Rules, derived fields and schemas that two sessions change at the same time.

Whoever changes what rules are compiled against waits for the writers of rules, and they
for it; what comes second sees what came first. Tenants do not wait for one another.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import IsolationLevel, errors

from tests.fixtures.database import Database
from tests.integration.waiting import wait_until_blocked

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

INSERT_RULE = """
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), %s, %s)
"""
INSERT_FIELD = """
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), %s, %s)
"""
AGE = 'SELECT rules.set_schema(\'{"User": {"Age": "int"}}\')'
NAME = 'SELECT rules.set_schema(\'{"User": {"Name": "string"}}\')'

UPPER_LEVELS = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


@pytest.fixture
def open_session(app: str) -> Iterator[Callable[[UUID], Connection]]:
    """Opens an application's sessions, each in a transaction of the tenant it gets."""
    opened: list[Connection] = []

    def open_session(tenant: UUID) -> Connection:
        session = psycopg.connect(app)
        opened.append(session)
        session.execute("SELECT rules.set_tenant(%s)", [tenant])
        return session

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def first(open_session: Callable[[UUID], Connection], tenant: UUID) -> Connection:
    """A session of the tenant."""
    return open_session(tenant)


@pytest.fixture
def second(open_session: Callable[[UUID], Connection], tenant: UUID) -> Connection:
    """Another one."""
    return open_session(tenant)


@pytest.fixture
def later() -> Iterator[ThreadPoolExecutor]:
    """Runs statements that have to wait."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def in_snapshot(session: Connection, tenant: UUID, level: IsolationLevel) -> Connection:
    """Begin a transaction of the tenant, whose snapshot is of now."""
    session.rollback()
    session.isolation_level = level
    session.execute("SELECT rules.set_tenant(%s)", [tenant])
    session.execute("SELECT count(*) FROM rules.rules")
    return session


def test_a_schema_waits_for_a_rule_and_is_refused_where_it_would_break_it(
    database: Database, first: Connection, second: Connection, later: ThreadPoolExecutor
) -> None:
    """COMP-3."""
    first.execute(INSERT_RULE, ["adult", "User.Age >= 18"])
    change = later.submit(second.execute, NAME)
    wait_until_blocked(database, second, first, change)
    first.commit()
    with pytest.raises(psycopg.DatabaseError) as refused:
        change.result()
    assert refused.value.sqlstate == "RE062"


def test_a_rule_waits_for_a_schema_and_is_compiled_against_it(
    database: Database, first: Connection, second: Connection, later: ThreadPoolExecutor
) -> None:
    """COMP-2, COMP-3."""
    first.execute(NAME)
    rule = later.submit(second.execute, INSERT_RULE, ["adult", "User.Age >= 18"])
    wait_until_blocked(database, second, first, rule)
    first.commit()
    with pytest.raises(psycopg.DatabaseError) as refused:
        rule.result()
    assert refused.value.sqlstate == "RE020"


def test_a_rule_is_compiled_against_the_old_schema_if_the_new_one_is_rolled_back(
    database: Database, first: Connection, second: Connection, later: ThreadPoolExecutor
) -> None:
    """COMP-3, REQ-PERSIST-003."""
    first.execute(NAME)
    rule = later.submit(second.execute, INSERT_RULE, ["adult", "User.Age >= 18"])
    wait_until_blocked(database, second, first, rule)
    first.rollback()
    rule.result()
    second.commit()


def test_a_rule_of_an_older_snapshot_is_not_compiled_against_the_old_schema(
    open_session: Callable[[UUID], Connection], first: Connection, tenant: UUID
) -> None:
    """COMP-3: REPEATABLE READ sees the old schema, so the writer has to begin anew."""
    older = in_snapshot(open_session(tenant), tenant, IsolationLevel.REPEATABLE_READ)
    first.execute(NAME)
    first.commit()
    with pytest.raises(errors.SerializationFailure):
        older.execute(INSERT_RULE, ["adult", "User.Age >= 18"])


CHANGES = {
    "a schema": AGE,
    "a version": "SELECT rules.activate_schema(1)",
    "a derived field": INSERT_FIELD.replace("%s, %s", "'Limit', 'User.Age + 1'"),
}


@pytest.mark.parametrize("level", UPPER_LEVELS)
@pytest.mark.parametrize("change", CHANGES)
def test_an_older_snapshot_changes_no_environment_of_rules_that_it_cannot_see(
    open_session: Callable[[UUID], Connection],
    first: Connection,
    tenant: UUID,
    level: IsolationLevel,
    change: str,
) -> None:
    """COMP-3: nor does it leave them with access keys of another environment.

    Also not where the rule's fields are known already, so that nothing else conflicts.
    """
    first.execute(AGE)
    first.execute(INSERT_RULE, ["former", "User.Age == 30"])
    first.execute("DELETE FROM rules.rules")
    first.commit()
    older = in_snapshot(open_session(tenant), tenant, level)
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    first.execute(INSERT_RULE, ["new", "User.Age == 30"])
    first.commit()
    with pytest.raises(errors.SerializationFailure):
        older.execute(CHANGES[change].encode())
    older.rollback()
    # Tried again, it sees the rule.
    in_snapshot(older, tenant, level)
    older.execute(CHANGES[change].encode())
    older.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    found = first.execute(
        'SELECT rule_name FROM rules.match_rules(\'{"User": {"Age": 30}}\')'
    ).fetchall()
    assert found == [("new",)]


def test_a_tenant_that_is_renamed_meanwhile_holds_no_environment_up(
    database: Database, first: Connection, tenant: UUID
) -> None:
    """Its row is what all of them lock."""
    first.execute(INSERT_RULE, ["adult", "User.Age >= 18"])
    first.commit()
    with psycopg.connect(database.login("rules_admin")) as admin:
        admin.execute("UPDATE rules.tenants SET name = 'renamed'")
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    first.execute(AGE)
    first.execute(INSERT_RULE, ["old", "User.Age >= 80"])
    first.commit()


def test_two_schemas_become_two_versions(
    database: Database, first: Connection, second: Connection, later: ThreadPoolExecutor
) -> None:
    first.execute(AGE)
    change = later.submit(second.execute, NAME)
    wait_until_blocked(database, second, first, change)
    first.commit()
    change.result()
    second.commit()
    with database.connect() as session:
        versions = session.execute(
            "SELECT version, active FROM rules.schemas ORDER BY version"
        ).fetchall()
    assert versions == [(1, False), (2, True)]


def test_two_sessions_make_no_cycle_together(
    database: Database, first: Connection, second: Connection, later: ThreadPoolExecutor
) -> None:
    """DER-2."""
    first.execute(INSERT_FIELD, ["a", "b + 1"])
    field = later.submit(second.execute, INSERT_FIELD, ["b", "a + 1"])
    wait_until_blocked(database, second, first, field)
    first.commit()
    with pytest.raises(psycopg.DatabaseError) as refused:
        field.result()
    assert refused.value.sqlstate == "RE061"


def test_two_operators_make_no_cycle_together(
    database: Database, later: ThreadPoolExecutor, tenant: UUID
) -> None:
    """DER-2: superusers, who write for a tenant without being set to it."""
    one, two = database.connect(), database.connect()
    insert = INSERT_FIELD.replace("rules.current_tenant_id()", "%s").encode()
    one.execute(insert, [tenant, "a", "b + 1"])
    field = later.submit(two.execute, insert, [tenant, "b", "a + 1"])
    wait_until_blocked(database, two, one, field)
    one.commit()
    with pytest.raises(psycopg.DatabaseError) as refused:
        field.result()
    assert refused.value.sqlstate == "RE061"


def test_an_operators_rule_is_compiled_against_what_it_waited_for(
    database: Database, first: Connection, later: ThreadPoolExecutor, tenant: UUID
) -> None:
    """COMP-2: a superuser's, who is not set to the tenant."""
    first.execute(NAME)
    operator = database.connect()
    insert = INSERT_RULE.replace("rules.current_tenant_id()", "%s").encode()
    rule = later.submit(operator.execute, insert, [tenant, "adult", "User.Age >= 18"])
    wait_until_blocked(database, operator, first, rule)
    first.commit()
    with pytest.raises(psycopg.DatabaseError) as refused:
        rule.result()
    assert refused.value.sqlstate == "RE020"


def test_deleting_a_tenant_waits_for_its_writers_and_takes_their_rules(
    database: Database, first: Connection, later: ThreadPoolExecutor, tenant: UUID
) -> None:
    """REQ-TENANT-007, REQ-SCHEMA-006."""
    first.execute(AGE)
    first.execute(INSERT_FIELD, ["adult", "User.Age >= 18"])
    first.execute(INSERT_RULE, ["adults", "adult"])
    admin = psycopg.connect(database.login("rules_admin"))
    deletion = later.submit(
        admin.execute, "DELETE FROM rules.tenants WHERE id = %s", [tenant]
    )
    wait_until_blocked(database, admin, first, deletion)
    # Not a deadlock: the writer goes on while the deletion waits for it.
    first.execute(INSERT_RULE, ["more", "!adult"])
    first.commit()
    deletion.result()
    admin.commit()
    admin.close()
    with database.connect() as session:
        left = session.execute(
            "SELECT (SELECT count(*) FROM rules.rules)"
            " + (SELECT count(*) FROM rules.derived_fields)"
            " + (SELECT count(*) FROM rules_internal.environments)"
        ).fetchone()
    assert left == (0,)


def test_deleting_a_tenant_does_not_deadlock_with_deleting_its_rules(
    database: Database, first: Connection, later: ThreadPoolExecutor, tenant: UUID
) -> None:
    """REQ-TENANT-007: whoever deletes a rule locks the tenant first."""
    first.execute(INSERT_RULE, ["adults", "User.Age >= 18"])
    first.execute(INSERT_RULE, ["more", "User.Age >= 21"])
    first.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    first.execute("DELETE FROM rules.rules WHERE name = 'adults'")
    admin = psycopg.connect(database.login("rules_admin"))
    deletion = later.submit(
        admin.execute, "DELETE FROM rules.tenants WHERE id = %s", [tenant]
    )
    wait_until_blocked(database, admin, first, deletion)
    first.execute("DELETE FROM rules.rules")
    first.commit()
    deletion.result()
    admin.commit()
    admin.close()
    with database.connect() as session:
        left = session.execute(
            "SELECT (SELECT count(*) FROM rules.rules)"
            " + (SELECT count(*) FROM rules_internal.rule_set_tokens)"
        ).fetchone()
    assert left == (0,)


def test_a_rule_that_goes_while_the_schema_changes_leaves_no_access_keys(
    database: Database,
    first: Connection,
    second: Connection,
    later: ThreadPoolExecutor,
    tenant: UUID,
) -> None:
    """REQ-SCHEMA-006: and so nothing outlives the tenant."""
    first.execute(INSERT_RULE, ["adult", "User.Age == 18"])
    first.commit()
    second.execute(AGE)
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    deletion = later.submit(first.execute, "DELETE FROM rules.rules")
    wait_until_blocked(database, first, second, deletion)
    second.commit()
    deletion.result()
    first.commit()
    with database.connect() as session:
        left = session.execute("SELECT count(*) FROM rules_internal.rule_keys")
        assert left.fetchone() == (0,)


def test_writers_of_derived_fields_do_not_wait_for_each_other_in_a_circle(
    database: Database,
    first: Connection,
    second: Connection,
    later: ThreadPoolExecutor,
    tenant: UUID,
) -> None:
    """DER-2: whoever writes one locks the environment before the field."""
    for name in ("a", "b"):
        first.execute(INSERT_FIELD, [name, "1"])
    first.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    change = "UPDATE rules.derived_fields SET expression = '2' WHERE name = %s"
    first.execute(change.encode(), ["a"])
    other = later.submit(second.execute, change.encode(), ["b"])
    wait_until_blocked(database, second, first, other)
    first.execute(change.encode(), ["b"])
    first.commit()
    other.result()
    second.execute(change.encode(), ["a"])
    second.commit()


def test_deleting_a_tenant_does_not_deadlock_with_changing_its_derived_fields(
    database: Database, first: Connection, later: ThreadPoolExecutor, tenant: UUID
) -> None:
    """REQ-TENANT-007."""
    first.execute(INSERT_FIELD, ["a", "1"])
    first.execute(INSERT_FIELD, ["b", "1"])
    first.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    first.execute("UPDATE rules.derived_fields SET expression = '2' WHERE name = 'a'")
    admin = psycopg.connect(database.login("rules_admin"))
    deletion = later.submit(
        admin.execute, "DELETE FROM rules.tenants WHERE id = %s", [tenant]
    )
    wait_until_blocked(database, admin, first, deletion)
    first.execute("UPDATE rules.derived_fields SET expression = '2' WHERE name = 'b'")
    first.commit()
    deletion.result()
    admin.commit()
    admin.close()


# What somebody does to a tenant that another is deleting, and how it ends.
TOO_LATE = {
    "INSERT INTO rules.rules (tenant_id, name, expression)"
    " VALUES (rules.current_tenant_id(), 'new', 'true')": "23503",
    "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
    " VALUES (rules.current_tenant_id(), 'New', '1')": "23503",
    NAME: "23503",
    "SELECT rules.activate_schema(1)": "RE011",
    "SELECT rules.restore_rule(id, 1) FROM rules.rules": "23503",
    "UPDATE rules.rules SET expression = 'true'": None,
    "DELETE FROM rules.rules": None,
    "UPDATE rules.derived_fields SET expression = '1'": None,
}


@pytest.mark.parametrize("statement", TOO_LATE)
def test_who_comes_too_late_for_a_tenant_is_told_so_and_leaves_nothing(
    database: Database,
    first: Connection,
    later: ThreadPoolExecutor,
    tenant: UUID,
    statement: str,
) -> None:
    """REQ-TENANT-007: evaluations go on meanwhile, by what is there for them."""
    first.execute(AGE)
    first.execute(INSERT_FIELD, ["Limit", "18"])
    first.execute(INSERT_RULE, ["adult", "User.Age >= Limit"])
    first.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    evaluate = 'SELECT (rules.evaluate_all(\'{"User": {"Age": 20}}\')).matched'
    with psycopg.connect(database.login("rules_admin")) as admin:
        admin.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
        assert first.execute(evaluate.encode()).fetchall() == [(True,)]
        change = later.submit(first.execute, statement.encode())
        wait_until_blocked(database, first, admin, change)
        admin.commit()
    if TOO_LATE[statement] is None:
        assert change.result().rowcount == 0
    else:
        with pytest.raises(psycopg.DatabaseError) as refused:
            change.result()
        assert refused.value.sqlstate == TOO_LATE[statement]
        first.rollback()
        first.execute("SELECT rules.set_tenant(%s)", [tenant])
    assert first.execute(evaluate.encode()).fetchall() == []
    first.commit()
    assert left_of(database, tenant) == []
    # Each that came has gone, and nothing else is recorded.
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    recorded = first.execute(
        "SELECT subject, array_agg(operation ORDER BY changed_at) FROM rules.audit_log"
        " GROUP BY subject ORDER BY subject"
    )
    assert recorded.fetchall() == [
        ("derived field", ["insert", "delete"]),
        ("rule", ["insert", "delete"]),
        ("schema", ["insert", "update", "delete"]),
    ]


def left_of(database: Database, tenant: UUID) -> list[str]:
    """The tables, except for the audit, that have rows of a tenant."""
    operator = database.connect(autocommit=True)
    tables = operator.execute(
        """
        SELECT attrelid::regclass::text
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE
            attname = 'tenant_id' AND relkind = 'r'
            AND relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND relname NOT LIKE '%audit%'
        """
    ).fetchall()
    count = "SELECT count(*) FROM {} WHERE tenant_id = %s"
    return [
        table
        for (table,) in tables
        if operator.execute(count.format(table).encode(), [tenant]).fetchone() != (0,)
    ]


def test_the_last_of_two_writers_of_a_rule_leaves_its_access_keys(
    database: Database,
    first: Connection,
    second: Connection,
    later: ThreadPoolExecutor,
    tenant: UUID,
) -> None:
    first.execute(INSERT_RULE, ["adult", "User.Age == 18 || User.Age == 19"])
    first.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    change = "UPDATE rules.rules SET expression = %s"
    first.execute(change.encode(), ["User.Age == 20"])
    other = later.submit(second.execute, change.encode(), ["User.Age == 21"])
    wait_until_blocked(database, second, first, other)
    first.commit()
    other.result()
    second.commit()
    first.execute("SELECT rules.set_tenant(%s)", [tenant])
    found = [
        first.execute(
            "SELECT count(*) FROM rules.match_rules(%s)",
            [f'{{"User": {{"Age": {age}}}}}'],
        ).fetchone()
        for age in range(18, 22)
    ]
    assert found == [(0,), (0,), (0,), (1,)]
    row = database.connect().execute("SELECT count(*) FROM rules_internal.rule_keys")
    assert row.fetchone() == (1,)


def test_writers_of_rules_do_not_wait_for_one_another(
    first: Connection, second: Connection
) -> None:
    """STORE-6."""
    for name, session in (("one", first), ("two", second)):
        session.execute("SET LOCAL lock_timeout = '5s'")
        session.execute(INSERT_RULE, [name, "true"])
    second.commit()
    first.commit()


def test_a_tenant_does_not_wait_for_another(
    open_session: Callable[[UUID], Connection], tenant: UUID, other_tenant: UUID
) -> None:
    """REQ-TENANT-004."""
    mine, theirs = open_session(tenant), open_session(other_tenant)
    mine.execute(AGE)
    theirs.execute("SET LOCAL lock_timeout = '5s'")
    theirs.execute(NAME)
    theirs.execute(INSERT_RULE, ["named", 'User.Name != ""'])


def test_a_tenant_cannot_hold_up_another(
    database: Database,
    open_session: Callable[[UUID], Connection],
    tenant: UUID,
    other_tenant: UUID,
) -> None:
    """REQ-TENANT-001: a lock is for the own tenant, whichever is named."""
    with psycopg.connect(
        database.login("rules_tenant", tenant=other_tenant), autocommit=True
    ) as hostile:
        hostile.execute("BEGIN")
        hostile.execute("SELECT rules_internal.share_environment(%s)", [tenant])
        for attempt in (
            "SELECT rules_internal.lock_environment(%s)",
            "SELECT id FROM rules.tenants WHERE id = %s FOR SHARE",
        ):
            hostile.execute("SAVEPOINT attempt")
            with pytest.raises(errors.InsufficientPrivilege):
                hostile.execute(attempt, [tenant])
            hostile.execute("ROLLBACK TO attempt")
        session = open_session(tenant)
        session.execute("SET LOCAL lock_timeout = '5s'")
        session.execute(AGE)
        session.execute(INSERT_RULE, ["adult", "User.Age >= 18"])
