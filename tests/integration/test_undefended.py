"""What docs/security.md lists as not defended is so, and no worse than it says.

Where one of these fails because something is defended after all, the list is to be
shortened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from pgrules import CompilationError, PostgresRuleStore, Rule
from tests.integration.deployed import Deployed
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]
FACTS = '{"Deal": {"Target": "Northwind"}}'


@pytest.fixture
def tenant(deployed: Deployed) -> UUID:
    return create_tenant(deployed.database)


@contextmanager
def session(deployed: Deployed, role: str | None, **options: Any) -> Iterator[Any]:
    """A session of a new login, closed after the block."""
    login = deployed.database.login(role, **options)
    with psycopg.connect(login, autocommit=True) as connection:
        yield connection


def superuser(deployed: Deployed) -> Connection:
    return deployed.database.connect(autocommit=True)


# Who may run SQL of his own


def test_a_login_of_a_tenant_may_lock_a_table_for_all(
    deployed: Deployed, tenant: UUID
) -> None:
    """PostgreSQL lets lock whatever way who may delete (LOCK, Notes)."""
    other = create_tenant(deployed.database)
    with (
        session(deployed, "rules_tenant", tenant=tenant) as mine,
        session(deployed, "rules_tenant", tenant=other) as theirs,
    ):
        theirs.execute("SET lock_timeout = '50ms'")
        with mine.transaction():
            mine.execute("LOCK TABLE rules.rules IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                theirs.execute("SELECT count(*) FROM rules.rules")
        # But not what it only reads.
        for table in ("rules.tenants", "rules.audit_log", "rules.schemas"):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                mine.transaction(),
            ):
                mine.execute(f"LOCK TABLE {table} IN SHARE MODE")


def test_a_login_may_undo_the_timeouts_that_are_set_for_it(
    deployed: Deployed, tenant: UUID
) -> None:
    """They are defaults; what only a superuser may set is a limit."""
    with session(deployed, "rules_tenant", tenant=tenant) as mine:
        for setting in (
            *("statement_timeout", "lock_timeout"),
            "idle_in_transaction_session_timeout",
        ):
            mine.execute(f"SET {setting} = 0")
        mine.execute("SET work_mem = '2GB'")
        for setting in ("temp_file_limit", "log_parameter_max_length", "log_statement"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                mine.execute(f"SET {setting} TO DEFAULT")


def test_a_serializable_transaction_may_fail_for_what_another_tenant_writes(
    deployed: Deployed,
) -> None:
    """What one reads is locked by pages of indexes, where keys of others stand too.

    PostgreSQL's manual, 13.2.3. Nobody waits, and the other levels know no such locks.
    """
    # Where there are few rows, those of two tenants stand on one page.
    with deployed.clone() as database:
        logins = [
            database.login("rules_tenant", tenant=create_tenant(database))
            for _ in range(2)
        ]

        def conflict(level: psycopg.IsolationLevel) -> bool:
            with (
                psycopg.connect(logins[0]) as mine,
                psycopg.connect(logins[1]) as theirs,
            ):
                mine.isolation_level = theirs.isolation_level = level
                try:
                    for one in (mine, theirs):
                        one.execute("SELECT * FROM rules.evaluate_all('{}')")
                    for one in (mine, theirs):
                        one.execute(
                            "INSERT INTO rules.rules (tenant_id, name, expression)"
                            " SELECT rules.current_tenant_id(),"
                            " gen_random_uuid()::text, 'true'"
                        )
                    mine.commit()
                    theirs.commit()
                except psycopg.errors.SerializationFailure:
                    return True
                return False

        assert any(conflict(psycopg.IsolationLevel.SERIALIZABLE) for _ in range(20))
        assert not conflict(psycopg.IsolationLevel.REPEATABLE_READ)


def test_any_login_reads_sizes_and_definitions(
    deployed: Deployed, tenant: UUID
) -> None:
    with superuser(deployed) as owner:
        owner.execute("ANALYZE rules.tenants")
    with session(deployed, None) as stranger:
        tuples, size, defined, policies = stranger.execute(
            """
            SELECT
                (SELECT reltuples FROM pg_class WHERE oid = relation.oid),
                pg_relation_size(relation.oid),
                (SELECT prosrc FROM pg_proc WHERE proname = 'evaluate_all'),
                (SELECT count(*) FROM pg_policies WHERE schemaname = 'rules')
            FROM pg_class AS relation
            WHERE relname = 'tenants' AND relkind = 'r'
            """
        ).fetchone()
        assert tuples > 0
        assert size > 0
        assert "cannot evaluate" in defined
        assert policies > 0
        # What nobody is shown who may not read the table.
        (shown,) = stranger.execute(
            "SELECT count(*) FROM pg_stats WHERE schemaname LIKE 'rules%'"
        ).fetchone()
        assert shown == 0


# Who manages logins


def test_an_administrator_may_give_any_login_any_tenant(
    deployed: Deployed, tenant: UUID
) -> None:
    """And leaves an entry in a log that he cannot change."""
    other = create_tenant(deployed.database)
    with (
        session(deployed, "rules_tenant", tenant=other) as accomplice,
        session(deployed, "rules_admin") as administrator,
    ):
        login = accomplice.info.user
        administrator.execute(
            "UPDATE rules.tenant_logins SET tenant_id = %s WHERE login = %s",
            [tenant, login],
        )
        (acting_for,) = accomplice.execute("SELECT current_tenant_id()").fetchone()
        assert acting_for == tenant
        entries = administrator.execute(
            """
            SELECT operation, changed_by = session_user
            FROM rules.tenant_audit_log
            WHERE tenant_id = %s AND coalesce(after, before) ->> 'login' = %s
            """,
            [tenant, login],
        ).fetchall()
        assert entries == [("insert", True)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            administrator.execute("DELETE FROM rules.tenant_audit_log")


def test_a_binding_outlives_its_login(deployed: Deployed, tenant: UUID) -> None:
    """A login is a name: who drops a login deletes its binding as well."""
    with session(deployed, "rules_tenant", tenant=tenant) as first:
        name = sql.Identifier(first.info.user)
    with superuser(deployed) as owner:
        owner.execute(sql.SQL("DROP ROLE {}").format(name))
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE rules_tenant").format(name))
        owner.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(name))
        row = owner.execute("SELECT rules.current_tenant_id()").fetchone()
    assert row == (tenant,)


# The server's log


class Log:
    """What the server wrote since the last look."""

    def __init__(self, deployed: Deployed) -> None:
        self._path = deployed.server.folder / "server.log"
        self._seen = self._path.stat().st_size

    def news(self) -> str:
        """The lines that came since."""
        with self._path.open("rb") as log:
            log.seek(self._seen)
            text = log.read()
        self._seen += len(text)
        return text.decode()


@pytest.fixture
def log(deployed: Deployed) -> Log:
    return Log(deployed)


@pytest.fixture
def stored(deployed: Deployed, tenant: UUID) -> UUID:
    """A rule of the tenant."""
    with session(deployed, "rules_app") as application:
        store = PostgresRuleStore(application, tenant)
        rule = Rule(uuid4(), "deal", 'Deal.Target == "Northwind"')
        return store.add(rule).id


def evaluate(connection: Connection, tenant: UUID, rule_id: UUID) -> None:
    with connection.transaction():
        connection.execute("SELECT rules.set_tenant(%s)", [tenant])
        connection.execute("SELECT rules.evaluate(%s, %s)", [rule_id, FACTS])


def test_a_failing_statement_is_logged_with_its_literals_not_its_parameters(
    deployed: Deployed, tenant: UUID, log: Log
) -> None:
    """`log_min_error_statement` is `error` by default."""
    unknown = uuid4()
    with session(deployed, "rules_tenant", tenant=tenant) as mine:
        with pytest.raises(psycopg.Error):
            mine.execute("SELECT rules.evaluate(%s, %s)", [unknown, FACTS])
        written = log.news()
        assert str(unknown) in written
        assert "Northwind" not in written
        with pytest.raises(psycopg.Error):
            mine.execute(f"SELECT rules.evaluate('{unknown}', '{FACTS}')")
        assert "Northwind" in log.news()


def test_an_expression_that_is_refused_is_logged(
    deployed: Deployed, tenant: UUID, log: Log
) -> None:
    """The place of a problem is shown by the line that it is in."""
    with session(deployed, "rules_tenant", tenant=tenant) as mine:
        with pytest.raises(CompilationError):
            PostgresRuleStore(mine, tenant).add(
                Rule(uuid4(), "deal", 'Deal.Target == "Northwind" &&')
            )
        assert "Northwind" in log.news()


def test_parameters_are_logged_where_statements_are_until_they_are_cut(
    deployed: Deployed, tenant: UUID, stored: UUID, log: Log
) -> None:
    login = deployed.database.login("rules_app")
    with superuser(deployed) as owner:
        with psycopg.connect(login) as first:
            name = sql.Identifier(first.info.user)
        for setting, shown in (("log_statement = 'all'", True), (CUT, False)):
            owner.execute(sql.SQL(f"ALTER ROLE {{}} SET {setting}").format(name))
            with psycopg.connect(login, autocommit=True) as application:
                log.news()
                evaluate(application, tenant, stored)
            written = log.news()
            assert "rules.evaluate($1, $2)" in written
            assert ("Northwind" in written) is shown


CUT = "log_parameter_max_length = 0"


def test_auto_explain_logs_the_constants_of_rules_that_became_sql(
    deployed: Deployed, tenant: UUID, log: Log
) -> None:
    with superuser(deployed) as owner, owner.transaction(force_rollback=True):
        owner.execute("CREATE TABLE deals (target text)")
        owner.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
        rule_id = uuid4()
        owner.execute(
            "INSERT INTO rules.rules (tenant_id, id, name, expression)"
            " VALUES (%s, %s, 'deal', %s)",
            [tenant, rule_id, 'target == "Northwind"'],
        )
        owner.execute("LOAD 'auto_explain'")
        owner.execute("SET LOCAL auto_explain.log_min_duration = 0")
        owner.execute("SET LOCAL auto_explain.log_nested_statements = on")
        query = "SELECT rules.count_matches(%s, 'deals')"
        log.news()
        owner.execute(query, [rule_id])
        assert "'Northwind'" in log.news()
