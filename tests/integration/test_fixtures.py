"""The tests' own ground: real servers, migrated, fresh for each test, cleaned up."""

import subprocess
import sys

import psycopg
import pytest

from pgrules.migrate import find_project
from tests.fixtures.database import Database, Provider, fresh_database
from tests.fixtures.sqitch import ROOT

pytestmark = pytest.mark.integration


def test_a_test_gets_a_real_server(database: Database, provider: Provider) -> None:
    """REQ-INTEG-001: a container where there is an engine, else a server's database."""
    with database.connect() as connection:
        row = connection.execute("SELECT version()").fetchone()
    assert row is not None
    assert row[0].startswith("PostgreSQL ")
    assert provider.description


def test_a_tests_database_has_every_change_applied(database: Database) -> None:
    """REQ-INTEG-003, REQ-MIGRATION-005: migrations run before the test."""
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT version, name, applied_at FROM rules.schema_migrations"
            " ORDER BY version"
        ).fetchall()
    applied = [name for _, name, _ in rows]
    assert applied == [change.name for change in find_project(ROOT).changes]
    assert all(name.startswith(f"{version}_") for version, name, _ in rows)
    assert all(time.tzinfo is not None for *_, time in rows)


def test_each_test_has_a_database_of_its_own(provider: Provider) -> None:
    """REQ-INTEG-002: nothing of one test is seen by another."""
    with fresh_database(provider) as one, fresh_database(provider) as two:
        assert one.dsn != two.dsn
        one.connect(autocommit=True).execute(
            "INSERT INTO rules.tenants (id, name) VALUES (gen_random_uuid(), 'one')"
        )
        count = two.connect().execute("SELECT count(*) FROM rules.tenants")
        assert count.fetchone() == (0,)


def test_a_tests_database_and_logins_are_gone_afterwards(provider: Provider) -> None:
    """REQ-INTEG-005."""
    with fresh_database(provider) as database:
        login = database.login("rules_app")
        with psycopg.connect(login) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    for uri in (database.dsn, login):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(uri, connect_timeout=5)


def test_cleaning_up_follows_a_failing_test_too(provider: Provider) -> None:
    """REQ-INTEG-005."""

    def failing_test() -> None:
        with fresh_database(provider) as database:
            uris.append(database.dsn)
            raise AssertionError("the test failed")

    uris: list[str] = []
    with pytest.raises(AssertionError, match="the test failed"):
        failing_test()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(uris[0], connect_timeout=5)


def test_tests_without_the_marker_need_no_server() -> None:
    """REQ-INTEG-004: it separates tests as a build tag would."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", "tests/pytest.ini", "-q"),
            *("-m", "not integration", "-p", "no:cacheprovider", "--setup-plan"),
            *("tests/unit", "tests/integration", "tests/security"),
            *("--ignore", "tests/unit/cel"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "SETUP    F store['memory']" in done.stdout
    assert "provider" not in done.stdout
