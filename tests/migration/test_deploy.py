"""Deploying, verifying and reverting the whole project, in databases of all kinds."""

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.sqitch import ROOT
from tests.fixtures.uri import with_login
from tests.migration.conftest import ROLES
from tests.migration.project import dump, globals_of, plan, schema, sqitch, succeed

pytestmark = pytest.mark.integration

CHANGES = list(plan())

CreateDatabase = Callable[..., str]


def scalars(uri: str, query: str) -> list[object]:
    """The first column of a query's rows."""
    with psycopg.connect(uri) as session:
        return [row[0] for row in session.execute(query.encode()).fetchall()]


def execute(uri: str, *statements: str) -> None:
    with psycopg.connect(uri, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


def set_for_database(uri: str, setting: str) -> None:
    with psycopg.connect(uri, autocommit=True) as session:
        statement = sql.SQL("ALTER DATABASE {} SET " + setting)
        session.execute(statement.format(sql.Identifier(session.info.dbname)))


def search_path(uri: str) -> object:
    """What a new session gets."""
    return scalars(uri, "SELECT current_setting('search_path')")[0]


def roles(uri: str) -> set[object]:
    return set(scalars(uri, "SELECT rolname FROM pg_roles WHERE rolname ~ '^rules_'"))


def deployed(uri: str) -> list[object]:
    return scalars(uri, "SELECT name FROM rules.schema_migrations ORDER BY version")


def test_an_empty_database_gets_everything(uri: str) -> None:
    """REQ-MIGRATION-001."""
    succeed(uri, "deploy", "--verify")
    assert deployed(uri) == CHANGES
    assert set(ROLES) == roles(uri)
    assert "Verify successful" in succeed(uri, "verify")
    assert "Check successful" in succeed(uri, "check")
    assert "Nothing to deploy" in succeed(uri, "deploy")


def test_a_revert_leaves_nothing_behind(uri: str) -> None:
    """REQ-MIGRATION-004."""
    before = schema(uri), globals_of(uri)
    succeed(uri, "deploy")
    succeed(uri, "revert", "-y")
    assert (schema(uri), globals_of(uri)) == before


def test_a_second_deploy_gives_what_the_first_one_gave(uri: str) -> None:
    """REQ-MIGRATION-004, REQ-MIGRATION-006."""
    succeed(uri, "deploy", "--verify")
    first = dump(uri, "--schema-only"), globals_of(uri)
    succeed(uri, "revert", "-y")
    succeed(uri, "deploy", "--verify")
    assert (dump(uri, "--schema-only"), globals_of(uri)) == first


def test_each_change_is_undone_by_its_own_revert(uri: str) -> None:
    """REQ-MIGRATION-003, REQ-MIGRATION-004."""
    states = [schema(uri)]
    for change in CHANGES:
        succeed(uri, "deploy", "--no-verify", "--to", change)
        states.append(schema(uri))
        # Roles are the cluster's, not the database's.
        assert states[-1] != states[-2] or change == "000001_roles"
    for change, state in reversed(list(zip(CHANGES, states, strict=False))):
        target = [] if change == CHANGES[0] else ["--to", f"{change}^"]
        succeed(uri, "revert", "-y", *target)
        assert schema(uri) == state, f"after the revert of {change}"


def test_applied_changes_are_listed_for_every_role(uri: str) -> None:
    """REQ-MIGRATION-005."""
    succeed(uri, "deploy", "--to", "000024_schema_migrations")
    before = scalars(uri, "SELECT version FROM rules.schema_migrations ORDER BY 1")
    assert before == [f"{number:06}" for number in range(1, 25)]
    succeed(uri, "deploy")
    assert deployed(uri) == CHANGES
    execute(uri, "CREATE ROLE clerk LOGIN PASSWORD 'clerk' IN ROLE rules_tenant")
    try:
        assert deployed(with_login(uri, "clerk", "clerk")) == CHANGES
        with psycopg.connect(with_login(uri, "clerk", "clerk")) as session:
            applied = session.execute(
                "SELECT bool_and(applied_at <= now()) FROM rules.schema_migrations"
            ).fetchone()
        assert applied == (True,)
    finally:
        execute(uri, "DROP ROLE clerk")


def test_the_registry_of_sqitch_may_have_another_name(uri: str) -> None:
    """REQ-MIGRATION-005."""
    succeed(uri, "deploy", "--verify", "--registry", "Applied Changes")
    assert deployed(uri) == CHANGES
    succeed(uri, "revert", "-y", "--registry", "Applied Changes")
    assert roles(uri) == set()


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The project with one more change, which fails after it has made a table."""
    for name in ("deploy", "revert", "verify"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("sqitch.plan", "sqitch.conf"):
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "sqitch.plan").open("a") as changes:
        changes.write("999999_broken 2099-01-01T00:00:00Z Ada <ada@example.org> # No\n")
    scripts = {
        "deploy": "BEGIN;\nCREATE TABLE rules.half (id int);\nSELECT 1 / 0;\nCOMMIT;\n",
        "revert": "DROP TABLE rules.half;\n",
        "verify": "SELECT 1 / 0;\n",
    }
    for kind, script in scripts.items():
        (tmp_path / kind / "999999_broken.sql").write_text(script)
    return tmp_path


def test_a_failing_change_leaves_nothing_half_done(uri: str, broken: Path) -> None:
    """REQ-MIGRATION-004, REQ-MIGRATION-009."""
    succeed(uri, "deploy")
    before = schema(uri)
    done = sqitch(uri, "deploy", project=broken)
    assert done.returncode != 0
    assert "999999_broken" in done.stdout
    assert "division by zero" in done.stdout
    assert schema(uri) == before
    assert deployed(uri) == CHANGES


def test_a_failing_verification_takes_the_change_back(uri: str, broken: Path) -> None:
    """REQ-MIGRATION-004, REQ-MIGRATION-009."""
    script = broken / "deploy/999999_broken.sql"
    script.write_text(script.read_text().replace("SELECT 1 / 0;\n", ""))
    succeed(uri, "deploy")
    before = schema(uri)
    done = sqitch(uri, "deploy", "--verify", project=broken)
    assert done.returncode != 0
    assert "999999_broken" in done.stdout
    assert schema(uri) == before
    assert deployed(uri) == CHANGES


def test_a_first_deploy_that_fails_leaves_an_empty_database(
    uri: str, broken: Path
) -> None:
    """REQ-MIGRATION-004."""
    before = schema(uri), globals_of(uri)
    assert sqitch(uri, "deploy", project=broken).returncode != 0
    assert (schema(uri), globals_of(uri)) == before


def test_databases_of_one_cluster_deploy_at_the_same_time(
    create_database: CreateDatabase,
) -> None:
    """REQ-MIGRATION-006: the roles are the cluster's, and made by whoever is first."""
    uris = [create_database() for _ in range(3)]
    with ThreadPoolExecutor(len(uris)) as pool:
        done = list(pool.map(lambda uri: sqitch(uri, "deploy", "--verify"), uris))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stdout for one in done]
    with ThreadPoolExecutor(len(uris)) as pool:
        done = list(pool.map(lambda uri: sqitch(uri, "revert", "-y"), uris))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stdout for one in done]


def test_roles_stay_as_long_as_another_database_uses_them(
    create_database: CreateDatabase,
) -> None:
    """REQ-MIGRATION-004, REQ-MIGRATION-006."""
    first, second = create_database(), create_database()
    succeed(first, "deploy")
    succeed(second, "deploy")
    succeed(first, "revert", "-y")
    assert set(ROLES) == roles(second)
    assert "Verify successful" in succeed(second, "verify")
    succeed(second, "revert", "-y")
    assert roles(second) == set()


def test_roles_that_were_there_before_stay(uri: str) -> None:
    """REQ-MIGRATION-004, REQ-MIGRATION-006."""
    execute(uri, "CREATE ROLE rules_app", "CREATE ROLE rules_admin")
    before = globals_of(uri)
    succeed(uri, "deploy", "--verify")
    succeed(uri, "revert", "-y")
    assert globals_of(uri) == before


def test_a_role_that_has_members_stays(uri: str) -> None:
    succeed(uri, "deploy")
    execute(uri, "CREATE ROLE teller LOGIN IN ROLE rules_app")
    try:
        succeed(uri, "revert", "-y")
        assert roles(uri) == {"rules_app"}
    finally:
        execute(uri, "DROP ROLE teller")


def test_a_role_that_may_do_too_much_is_refused(uri: str) -> None:
    """An existing role is used as it is, so it has to be harmless."""
    execute(uri, "CREATE ROLE rules_tenant BYPASSRLS")
    before = globals_of(uri)
    done = sqitch(uri, "deploy", "--verify")
    assert done.returncode != 0
    assert "rules_tenant" in done.stdout
    assert globals_of(uri) == before


def test_a_language_that_was_there_before_stays(uri: str) -> None:
    """REQ-MIGRATION-004, REQ-MIGRATION-006."""
    execute(
        uri,
        "CREATE EXTENSION plpython3u",
        "CREATE FUNCTION public.double(n int) RETURNS int LANGUAGE plpython3u"
        " AS 'return n * 2'",
    )
    before = schema(uri)
    succeed(uri, "deploy", "--verify")
    succeed(uri, "revert", "-y")
    assert schema(uri) == before
    assert scalars(uri, "SELECT public.double(21)") == [42]


def test_a_language_that_others_use_by_now_stays(uri: str) -> None:
    succeed(uri, "deploy")
    execute(
        uri,
        "CREATE FUNCTION public.double(n int) RETURNS int LANGUAGE plpython3u"
        " AS 'return n * 2'",
    )
    succeed(uri, "revert", "-y")
    assert scalars(uri, "SELECT public.double(21)") == [42]


@pytest.mark.parametrize(
    ("own", "with_ours"),
    [
        ("app, public", "app, public, rules"),
        ('"My App", "$user"', '"My App", "$user", rules'),
        ("rules, public", "rules, public"),
        ("''", "rules"),
    ],
)
def test_a_search_path_of_the_databases_own_is_kept(
    uri: str, own: str, with_ours: str
) -> None:
    """REQ-MIGRATION-004."""
    set_for_database(uri, f"search_path = {own}")
    before, path = schema(uri), search_path(uri)
    succeed(uri, "deploy", "--verify")
    assert search_path(uri) == with_ours
    succeed(uri, "revert", "-y")
    assert search_path(uri) == path
    assert schema(uri) == before


def test_a_search_path_that_was_changed_since_is_kept(uri: str) -> None:
    succeed(uri, "deploy")
    set_for_database(uri, "search_path = app, rules, public")
    succeed(uri, "revert", "-y")
    assert search_path(uri) == "app, public"


def test_functions_are_found_without_their_schema(uri: str) -> None:
    succeed(uri, "deploy")
    assert search_path(uri) == '"$user", public, rules'
    assert scalars(uri, "SELECT 'evaluate(uuid, jsonb, boolean)'::regprocedure::text")


def test_privileges_that_everybody_lacked_are_not_given(uri: str) -> None:
    """REQ-MIGRATION-004."""
    with psycopg.connect(uri, autocommit=True) as session:
        database = sql.Identifier(session.info.dbname)
        session.execute(
            sql.SQL("REVOKE TEMPORARY, CONNECT ON DATABASE {} FROM PUBLIC").format(
                database
            )
        )
        session.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    before = schema(uri)
    succeed(uri, "deploy", "--verify")
    succeed(uri, "revert", "-y")
    assert schema(uri) == before


def test_a_database_without_schema_public_is_fine(uri: str) -> None:
    execute(uri, "DROP SCHEMA public")
    before = schema(uri)
    succeed(uri, "deploy", "--verify")
    succeed(uri, "revert", "-y")
    assert schema(uri) == before


def test_another_encoding_is_refused_with_the_way_out(
    create_database: CreateDatabase,
) -> None:
    """Rules and facts are Unicode."""
    uri = create_database("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    done = sqitch(uri, "deploy")
    assert done.returncode != 0
    assert "LATIN1" in done.stdout
    assert "ENCODING 'UTF8'" in done.stdout
    assert roles(uri) == set()


def test_a_restored_dump_works_like_the_original(uri: str, cluster: str) -> None:
    """Code, policies, privileges, settings and rows are all in the dump."""
    succeed(uri, "deploy")
    execute(
        uri,
        "INSERT INTO rules.tenants (id, name)"
        " VALUES ('b0000000-0000-4000-8000-000000000001', 'Harbour')",
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES ('b0000000-0000-4000-8000-000000000001', 'double', 'n * 2')",
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES ('b0000000-0000-4000-8000-000000000001',"
        " 'a0000000-0000-4000-8000-000000000001', 'large', 'double > 10')",
    )
    original = dump(uri)
    name = uri.rpartition("/")[2]
    execute(cluster, f"DROP DATABASE {name}")
    restored = subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", cluster],
        input=original,
        capture_output=True,
        text=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    assert dump(uri) == original
    assert "Verify successful" in succeed(uri, "verify")
    execute(uri, "CREATE ROLE teller LOGIN PASSWORD 'teller' IN ROLE rules_app")
    try:
        with psycopg.connect(with_login(uri, "teller", "teller")) as session:
            session.execute("SELECT set_tenant('b0000000-0000-4000-8000-000000000001')")
            matched = session.execute(
                "SELECT matched FROM evaluate("
                "'a0000000-0000-4000-8000-000000000001', '{\"n\": 6}')"
            ).fetchone()
        assert matched == (True,)
    finally:
        execute(uri, "DROP ROLE teller")
