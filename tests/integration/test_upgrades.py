"""Upgrades while an application works: of pgrules, and of PostgreSQL.

A release of pgrules is deployed without an error of anybody's. A minor upgrade of
PostgreSQL is a restart: calls that meet it are told so, and what was acknowledged is
there.
"""

import os
import shutil
import subprocess
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from pgrules import PostgresRuleStore, StoreUnavailable
from tests.fixtures import sqitch
from tests.fixtures.database import Database
from tests.fixtures.sqitch import ROOT
from tests.fixtures.uri import with_database
from tests.integration.deployed import Deployed
from tests.integration.load import Load, under_load
from tests.integration.own_server import copy_of, installed_binaries, own_folder
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration


def stored(database: Database, tenant: UUID) -> set[UUID]:
    """The ids of the tenant's rules."""
    rows = database.connect(autocommit=True).execute(
        "SELECT id FROM rules.rules WHERE tenant_id = %s", [tenant]
    )
    return {rule_id for (rule_id,) in rows}


def assert_nothing_lost(load: Load, found: set[UUID]) -> None:
    """Hold what is stored to what was acknowledged."""
    assert load.wrong == []
    assert set(load.added) - set(load.doubtful) <= found
    assert found <= {*load.added, *load.doubtful}


def deploy(uri: str, project: Path, *options: str) -> None:
    """Deploy from a project's folder as an operator does."""
    done = subprocess.run(
        ["sqitch", "deploy", "--verify", *options, "--target", f"db:{uri}"],
        cwd=project,
        env={
            **os.environ,
            "SQITCH_FULLNAME": "pgrules tests",
            "SQITCH_EMAIL": "tests@localhost",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# A release: the language is deployed again under another hash, as after any change of
# it. What the next release says is seen in the text of an error.
BEFORE, AFTER = "divide by zero", "division by naught"


def next_release(folder: Path) -> Path:
    """A copy of the project with one change more, which replaces the language."""
    project = folder / "project"
    project.mkdir()
    for name in ("deploy", "revert", "verify"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copy(ROOT / "sqitch.conf", project)
    script = (ROOT / "deploy/000015_cel.sql").read_text()
    assert script.count(BEFORE) >= 1
    script = (
        script.replace("pgrules:000015_cel", "pgrules:999999_cel")
        .replace(BEFORE, AFTER)
        .replace("'CREATE FUNCTION ", "'CREATE OR REPLACE FUNCTION ")
    )
    (project / "deploy/999999_cel.sql").write_text(script)
    (project / "revert/999999_cel.sql").write_text("SELECT 1;\n")
    (project / "verify/999999_cel.sql").write_text("SELECT 1;\n")
    (project / "sqitch.plan").write_text(
        (ROOT / "sqitch.plan").read_text().rstrip("\n")
        + "\n999999_cel 2099-01-01T00:00:00Z tests <tests@localhost> # A release.\n"
    )
    return project


def test_a_release_is_deployed_under_load_without_an_error(
    deployed: Deployed, tmp_path: Path
) -> None:
    """REQ-MIGRATION-003, COMP-4: and sessions that are open take it up."""
    project = next_release(tmp_path)
    with deployed.clone() as database:
        tenant = create_tenant(database)
        app = database.login("rules_app")
        divided = "SELECT rules.evaluate_expression('1 / Zero', '{\"Zero\": 0}')"
        with (
            psycopg.connect(app, autocommit=True) as open_session,
            under_load(app, tenant) as load,
        ):
            open_session.execute(
                "SELECT set_config('app.tenant_id', %s, false)", [str(tenant)]
            )
            with pytest.raises(psycopg.DatabaseError, match=BEFORE):
                open_session.execute(divided)
            load.wait_for(100)
            deploy(database.dsn, project)
            with pytest.raises(psycopg.DatabaseError, match=AFTER):
                open_session.execute(divided)
            load.wait_for(100)
        assert load.errors == []
        assert_nothing_lost(load, stored(database, tenant))


def test_all_that_came_after_evaluate_is_deployed_under_load_without_an_error(
    deployed: Deployed,
) -> None:
    """REQ-MIGRATION-003: changes that add triggers and columns to tables in use."""
    with psycopg.connect(deployed.server.uri, autocommit=True) as session:
        session.execute("CREATE DATABASE early TEMPLATE template0")
    database = Database(with_database(deployed.server.uri, "early"))
    deploy(database.dsn, ROOT, "--to", "000028_evaluation_cost")
    tenant = create_tenant(database)
    with under_load(database.login("rules_app"), tenant) as load:
        load.wait_for(50)
        sqitch.deploy(database.dsn)
        load.wait_for(50)
    assert load.errors == []
    assert_nothing_lost(load, stored(database, tenant))
    database.close()


def relocated(folder: Path) -> Path:
    """A copy of the PostgreSQL installation, as files that can be replaced."""
    binaries = installed_binaries()
    version = binaries.parent.name
    copy = folder / "lib/postgresql" / version
    # Its programs find everything else from where they are.
    for name in ("bin", "lib"):
        shutil.copytree(
            binaries.parent / name,
            copy / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("bitcode"),
        )
    shared = folder / "share/postgresql"
    shared.mkdir(parents=True)
    (shared / version).symlink_to(f"/usr/share/postgresql/{version}")
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return copy / "bin"


def replace_all(installation: Path) -> None:
    """Replace every file by a new one, as a package manager does."""
    for path in installation.rglob("*"):
        if path.is_file() and not path.is_symlink():
            new = path.with_name(f"{path.name}.dpkg-new")
            shutil.copy(path, new)
            new.rename(path)


def test_a_minor_upgrade_with_sessions_open_costs_no_more_than_a_retry(
    deployed: Deployed,
) -> None:
    """STORE-6, ERR-4: files replaced under open sessions, then a restart."""
    if not Path("/usr/share/postgresql").exists():
        pytest.skip("PostgreSQL is not laid out here as Debian does")
    with own_folder() as folder:
        folder.chmod(0o755)
        binaries = relocated(folder)
        with copy_of(deployed.server, binaries) as server:
            database = Database(with_database(server.uri, "pgrules"))
            tenant = create_tenant(database)
            app = database.login("rules_app")
            database.close()
            with under_load(app, tenant) as load:
                load.wait_for(50)
                replace_all(folder / "lib")
                load.wait_for(100)
                assert load.errors == []
                # A session that begins now loads the new files.
                with psycopg.connect(app, autocommit=True) as new:
                    assert PostgresRuleStore(new, tenant).list_active()
                server.stop()
                server.start()
                load.wait_for(100)
            assert load.errors, "nobody met the restart"
            assert {type(error) for error in load.errors} == {StoreUnavailable}
            database = Database(database.dsn)
            assert_nothing_lost(load, stored(database, tenant))
            database.close()
