"""A session keeps a tenant's rules compiled, and never mistakes one set for another.

``evaluate_all`` of each session is asked again and again while rules change: what it
says has to be what the rules say that this session's snapshot sees.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import IsolationLevel

from tests.fixtures.database import Database
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

INSERT = """
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), %s, %s, %s)
"""

FIRST, SECOND = uuid4(), uuid4()


@pytest.fixture
def open_session(app: str) -> Iterator[Callable[[UUID], Connection]]:
    """Opens an application's sessions, in autocommit, each of the tenant it gets."""
    opened: list[Connection] = []

    def open_session(tenant: UUID) -> Connection:
        session = psycopg.connect(app, autocommit=True)
        opened.append(session)
        session.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        return session

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def reader(open_session: Callable[[UUID], Connection], tenant: UUID) -> Connection:
    """A session that evaluates; it knows the rules as they are at first."""
    session = open_session(tenant)
    session.execute(INSERT, [FIRST, "first", "n >= 1"])
    session.execute(INSERT, [SECOND, "second", "n >= 2"])
    assert matches(session) == ["first", "second"]
    return session


@pytest.fixture
def writer(
    open_session: Callable[[UUID], Connection], tenant: UUID, reader: Connection
) -> Connection:
    """Another session of the tenant."""
    return open_session(tenant)


def matches(session: Connection, facts: str = '{"n": 2}') -> list[str]:
    """The names of the rules that match, which both ways of asking say alike."""
    names = [
        [name for (name,) in session.execute(query.encode(), [facts]).fetchall()]
        for query in (
            "SELECT rule_name FROM rules.evaluate_all(%s::jsonb) WHERE matched",
            "SELECT rule_name FROM rules.evaluate_all(%s::jsonb, matched_only => true)",
        )
    ]
    assert names[0] == names[1]
    return names[0]


@contextmanager
def undone(session: Connection) -> Iterator[None]:
    """A transaction that is rolled back."""
    with session.transaction(force_rollback=True):
        yield


CHANGES = {
    "UPDATE rules.rules SET expression = 'n > 2' WHERE name = 'first'": ["second"],
    "UPDATE rules.rules SET active = false WHERE name = 'first'": ["second"],
    "UPDATE rules.rules SET name = 'renamed' WHERE name = 'first'": [
        "renamed",
        "second",
    ],
    "DELETE FROM rules.rules WHERE name = 'first'": ["second"],
    "DELETE FROM rules.rules": [],
    """
    INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'third', 'true')
    """: ["first", "second", "third"],
    """
    INSERT INTO rules.rules (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), 'first', 'false')
    ON CONFLICT (tenant_id, name) DO UPDATE SET expression = excluded.expression
    """: ["second"],
}


@pytest.mark.parametrize("change", CHANGES)
class TestChanges:
    def test_a_change_is_seen_when_it_is_committed_and_not_before(
        self, reader: Connection, writer: Connection, change: str
    ) -> None:
        """COMP-4."""
        with writer.transaction():
            writer.execute(change.encode())
            assert matches(writer) == CHANGES[change]
            assert matches(reader) == ["first", "second"]
        assert matches(reader) == CHANGES[change]
        assert matches(writer) == CHANGES[change]

    def test_a_change_that_is_rolled_back_leaves_nothing(
        self, reader: Connection, writer: Connection, change: str
    ) -> None:
        """COMP-4, REQ-PERSIST-003."""
        assert matches(writer) == ["first", "second"]
        with undone(writer):
            writer.execute(change.encode())
            assert matches(writer) == CHANGES[change]
        assert matches(writer) == ["first", "second"]
        assert matches(reader) == ["first", "second"]

    def test_a_change_that_is_rolled_back_to_a_savepoint_leaves_nothing(
        self, reader: Connection, writer: Connection, change: str
    ) -> None:
        with writer.transaction():
            assert matches(writer) == ["first", "second"]
            with undone(writer):
                writer.execute(change.encode())
                assert matches(writer) == CHANGES[change]
            assert matches(writer) == ["first", "second"]
        assert matches(reader) == ["first", "second"]

    def test_an_older_snapshot_keeps_its_rules(
        self, reader: Connection, writer: Connection, change: str
    ) -> None:
        reader.isolation_level = IsolationLevel.REPEATABLE_READ
        with reader.transaction():
            reader.execute("SELECT count(*) FROM rules.rules")
            writer.execute(change.encode())
            assert matches(reader) == ["first", "second"]
            assert matches(writer) == CHANGES[change]
            assert matches(reader) == ["first", "second"]
        assert matches(reader) == CHANGES[change]

    def test_a_change_by_a_superuser_is_seen(
        self, database: Database, reader: Connection, tenant: UUID, change: str
    ) -> None:
        operator = database.connect(autocommit=True)
        operator.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        operator.execute(change.encode())
        assert matches(reader) == CHANGES[change]


def test_a_set_that_is_known_is_not_read_again(
    database: Database, reader: Connection
) -> None:
    """EVAL-1: not even a lock on the table of rules is taken."""
    reader.execute("SET lock_timeout = '5s'")
    with database.connect() as operator:
        operator.execute("LOCK TABLE rules.rules IN ACCESS EXCLUSIVE MODE")
        assert matches(reader) == ["first", "second"]


def test_what_follows_a_savepoint_that_is_rolled_back_is_seen(
    reader: Connection, writer: Connection
) -> None:
    with writer.transaction():
        writer.execute(INSERT, [uuid4(), "third", "n == 2"])
        with undone(writer):
            writer.execute("DELETE FROM rules.rules")
            assert matches(writer) == []
        assert matches(writer) == ["first", "second", "third"]
        with writer.transaction():
            writer.execute("DELETE FROM rules.rules WHERE name = 'first'")
        assert matches(writer) == ["second", "third"]
    assert matches(reader) == matches(writer) == ["second", "third"]


@pytest.mark.parametrize(
    ("statement", "values", "expected"),
    [
        (INSERT, [uuid4(), "third", "n == 2"], ["first", "second", "third"]),
        (
            "UPDATE rules.rules SET expression = 'n == 3' WHERE name = 'first'",
            [],
            ["second"],
        ),
    ],
    ids=["insert", "update"],
)
def test_what_a_statement_evaluates_while_it_writes_is_not_kept(
    database: Database,
    reader: Connection,
    statement: str,
    values: list[object],
    expected: list[str],
) -> None:
    """A VOLATILE function sees the rows that the statement around it has written."""
    database.connect(autocommit=True).execute(
        """
        CREATE FUNCTION public.decided() RETURNS text[] LANGUAGE plpgsql AS $$
        BEGIN
            RETURN (
                SELECT array_agg(result.rule_name)
                FROM rules.evaluate_all('{"n": 2}', true) AS result
            );
        END;
        $$
        """
    )
    with undone(reader):
        decided = reader.execute(
            statement.encode() + b" RETURNING public.decided()", values
        ).fetchone()
        assert decided == (expected,)
    assert matches(reader) == ["first", "second"]


class TestTwoWriters:
    @pytest.mark.parametrize(
        "level", [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ]
    )
    def test_writers_of_different_rules_do_not_wait_and_do_not_conflict(
        self,
        open_session: Callable[[UUID], Connection],
        tenant: UUID,
        reader: Connection,
        level: IsolationLevel,
    ) -> None:
        """STORE-6."""
        one, two = open_session(tenant), open_session(tenant)
        for session in (one, two):
            session.isolation_level = level
            session.execute("SET lock_timeout = '5s'")
        with one.transaction():
            one.execute("UPDATE rules.rules SET name = '1st' WHERE id = %s", [FIRST])
            with two.transaction():
                two.execute(
                    "UPDATE rules.rules SET name = '2nd' WHERE id = %s", [SECOND]
                )
                assert matches(two) == ["first", "2nd"]
                assert matches(one) == ["1st", "second"]
            assert matches(reader) == ["first", "2nd"]
        assert matches(reader) == ["1st", "2nd"]
        assert matches(one) == matches(two) == ["1st", "2nd"]

    def test_serializable_writers_do_not_conflict(
        self, open_session: Callable[[UUID], Connection], tenant: UUID
    ) -> None:
        """STORE-6: two new rules depend on nothing of each other, nor their tokens.

        A rule whose access keys have a shape that is new to the tenant is another
        matter: whoever matches has to know of it.
        """
        one, two = open_session(tenant), open_session(tenant)
        one.execute(INSERT, [uuid4(), "0", "n == 3"])
        for session in (one, two):
            session.isolation_level = IsolationLevel.SERIALIZABLE
        with one.transaction(), two.transaction():
            for name in ("a", "b"):
                one.execute(INSERT, [uuid4(), f"1{name}", "n == 2"])
                two.execute(INSERT, [uuid4(), f"2{name}", "n == 2"])
        assert matches(one) == matches(two) == ["1a", "2a", "1b", "2b"]

    def test_the_second_may_be_rolled_back(
        self, reader: Connection, writer: Connection
    ) -> None:
        with reader.transaction():
            reader.execute(INSERT, [uuid4(), "third", "n == 2"])
            with undone(writer):
                writer.execute("UPDATE rules.rules SET active = false")
                assert matches(writer) == []
            assert matches(writer) == ["first", "second"]
        assert matches(writer) == ["first", "second", "third"]

    def test_a_rule_that_both_write_is_as_the_last_one_left_it(
        self, reader: Connection, writer: Connection
    ) -> None:
        rename = "UPDATE rules.rules SET name = %s WHERE id = %s"
        for number, session in enumerate([reader, writer] * 3):
            session.execute(rename.encode(), [f"name {number}", FIRST])
            for each in (reader, writer):
                assert matches(each) == [f"name {number}", "second"]

    def test_many_writers_leave_few_tokens(
        self, database: Database, reader: Connection, writer: Connection
    ) -> None:
        for number in range(20):
            with reader.transaction():
                reader.execute(INSERT, [uuid4(), f"a {number}", "false"])
                writer.execute(INSERT, [uuid4(), f"b {number}", "false"])
        writer.execute("DELETE FROM rules.rules WHERE expression = 'false'")
        row = (
            database.connect()
            .execute("SELECT count(*) FROM rules_internal.rule_set_tokens")
            .fetchone()
        )
        assert row == (1,)
        assert matches(reader) == ["first", "second"]


class TestTenants:
    def test_a_session_that_changes_the_tenant_changes_the_rules(
        self, reader: Connection, other_tenant: UUID, tenant: UUID
    ) -> None:
        """REQ-TENANT-003."""
        switch = "SELECT set_config('app.tenant_id', %s, false)"
        for _ in range(3):
            reader.execute(switch.encode(), [str(other_tenant)])
            assert matches(reader) == []
            reader.execute(switch.encode(), [str(tenant)])
            assert matches(reader) == ["first", "second"]
        reader.execute(switch.encode(), [str(other_tenant)])
        reader.execute(INSERT, [FIRST, "theirs", "n == 2"])
        assert matches(reader) == ["theirs"]
        reader.execute(switch.encode(), [str(tenant)])
        assert matches(reader) == ["first", "second"]

    def test_a_tenant_that_is_deleted_takes_its_rules_along(
        self, database: Database, reader: Connection, tenant: UUID
    ) -> None:
        """REQ-TENANT-007: and comes back without them."""
        admin = psycopg.connect(database.login("rules_admin"), autocommit=True)
        with admin.transaction(force_rollback=True):
            admin.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
        assert matches(reader) == ["first", "second"]
        admin.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
        assert matches(reader) == []
        admin.execute(
            "INSERT INTO rules.tenants (id, name) VALUES (%s, 'again')", [tenant]
        )
        admin.close()
        assert matches(reader) == []
        reader.execute(INSERT, [FIRST, "anew", "n == 2"])
        assert matches(reader) == ["anew"]

    def test_truncating_the_rules_empties_every_set(
        self, database: Database, reader: Connection
    ) -> None:
        database.connect(autocommit=True).execute("TRUNCATE rules.rules CASCADE")
        assert matches(reader) == []

    def test_a_rule_moves_from_one_tenant_to_another(
        self, database: Database, reader: Connection, other_tenant: UUID, tenant: UUID
    ) -> None:
        """A superuser may do that."""
        reader.execute(
            "SELECT set_config('app.tenant_id', %s, false)", [str(other_tenant)]
        )
        reader.execute(INSERT, [uuid4(), "theirs", "n == 2"])
        assert matches(reader) == ["theirs"]
        database.connect(autocommit=True).execute(
            "UPDATE rules.rules SET tenant_id = %s WHERE id = %s", [other_tenant, FIRST]
        )
        assert matches(reader) == ["first", "theirs"]
        reader.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        assert matches(reader) == ["second"]

    def test_more_sets_than_a_session_keeps_are_read_again(
        self, database: Database, app: str
    ) -> None:
        """Each of these weighs a third of what a session keeps."""
        tenants = [create_tenant(database) for _ in range(5)]
        operator = database.connect(autocommit=True)
        clauses = "".join(f" || a.b{n} == {n}" for n in range(120))
        for tenant in tenants:
            operator.execute(
                "INSERT INTO rules.rules (tenant_id, name, expression)"
                " SELECT"
                "     %(tenant)s, 'rule ' || n, 'n == ' || n || %(clauses)s"
                " FROM generate_series(1, 60) AS n",
                {"tenant": tenant, "clauses": clauses},
            )
        with psycopg.connect(app, autocommit=True) as session:
            for tenant in tenants * 2:
                session.execute(
                    "SELECT set_config('app.tenant_id', %s, false)", [str(tenant)]
                )
                assert matches(session, '{"n": 7, "a": {}}') == ["rule 7"]


def test_a_set_follows_the_schema_and_the_derived_fields(
    reader: Connection, writer: Connection
) -> None:
    """COMP-3, DER-1: the rules are the same, and mean something else."""
    writer.execute(INSERT, [uuid4(), "third", "size_of > 1"])
    assert matches(reader) == ["first", "second"]
    writer.execute(
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES (rules.current_tenant_id(), 'size_of', 'n * 2')"
    )
    assert matches(reader) == ["first", "second", "third"]
    with undone(writer):
        writer.execute("UPDATE rules.derived_fields SET expression = 'n - 2'")
        assert matches(writer) == ["first", "second"]
        assert matches(reader) == ["first", "second", "third"]
    assert matches(writer) == ["first", "second", "third"]


def test_rules_that_were_there_before_any_token_are_not_kept(
    database: Database, reader: Connection
) -> None:
    """As rules are that replication wrote, whose triggers do not run."""
    operator = database.connect(autocommit=True)
    operator.execute("DELETE FROM rules_internal.rule_set_tokens")
    assert matches(reader) == ["first", "second"]
    operator.execute("SET session_replication_role = replica")
    operator.execute("UPDATE rules.rules SET expression = 'false' WHERE name = 'first'")
    assert matches(reader) == ["second"]
