"""Dump and restore: all is in it, and a dump that would be partial is refused."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from pgrules import DerivedField, Engine, PostgresRuleStore, Rule
from tests.fixtures.database import Database
from tests.fixtures.sqitch import ROOT
from tests.fixtures.uri import with_database
from tests.integration.deployed import Deployed
from tests.integration.own_server import OwnServer, own_folder, run
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

FACTS: dict[str, Any] = {"User": {"Age": 30}}


@pytest.fixture(scope="module")
def filled(deployed: Deployed) -> Iterator[tuple[Database, UUID]]:
    """A database in which two tenants have something in every table."""
    with deployed.clone() as database:
        tenants = [create_tenant(database), create_tenant(database, "Mountain Rescue")]
        for tenant in tenants:
            login = database.login("rules_tenant", tenant=tenant)
            with psycopg.connect(login, autocommit=True) as connection:
                store = PostgresRuleStore(connection, tenant)
                store.set_schema({"User": {"Age": "int"}})
                store.set_schema({"User": {"Age": "int", "Name": "string"}})
                store.add_derived_field(
                    DerivedField(uuid4(), "Adult", "User.Age >= 18")
                )
                for number in range(5):
                    name = f"rule {number}"
                    store.add(Rule(uuid4(), name, f"Adult && User.Age > {number}"))
        yield database, tenants[0]


# Rows of each table of the project, whoever they belong to.
ROWS = """
SELECT
    oid::regclass::text,
    (xpath('//c/text()', query_to_xml(
        format('SELECT count(*) AS c FROM %s', oid::regclass), true, false, ''
    )))[1]::text::bigint
FROM pg_class
WHERE relkind = 'r'
    AND relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace,
        'sqitch'::regnamespace)
ORDER BY 1
"""

# What a restored database must have that rows do not tell.
OBJECTS = {
    "functions": """
        SELECT oid::regprocedure::text, pg_get_userbyid(proowner), md5(prosrc),
            proconfig, prosecdef, provolatile, proparallel, proacl::text
        FROM pg_proc WHERE pronamespace::regnamespace::text LIKE 'rules%' ORDER BY 1
    """,
    "policies": """
        SELECT polrelid::regclass::text, polname, polcmd::text,
            polroles::regrole[]::text, pg_get_expr(polqual, polrelid),
            pg_get_expr(polwithcheck, polrelid)
        FROM pg_policy ORDER BY 1, 2
    """,
    "tables": """
        SELECT oid::regclass::text, relrowsecurity, relforcerowsecurity,
            pg_get_userbyid(relowner), relacl::text
        FROM pg_class WHERE relnamespace::regnamespace::text LIKE 'rules%'
            AND relkind IN ('r', 'v') ORDER BY 1
    """,
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text
        FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint
        WHERE connamespace::regnamespace::text LIKE 'rules%' ORDER BY 1, 2
    """,
    "comments": """
        SELECT objoid::regprocedure::text, md5(description) FROM pg_description
        WHERE classoid = 'pg_proc'::regclass
            AND objoid IN (SELECT oid FROM pg_proc
                WHERE pronamespace::regnamespace::text LIKE 'rules%') ORDER BY 1
    """,
    "settings of the database": """
        SELECT setconfig FROM pg_db_role_setting AS s
        JOIN pg_database AS d ON d.oid = s.setdatabase
        WHERE d.datname = current_database()
    """,
}


def tables(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that is compared, by name."""
    with psycopg.connect(uri) as session:
        found = {"rows": session.execute(ROWS).fetchall()}
        for name, query in OBJECTS.items():
            found[name] = session.execute(query.encode()).fetchall()
    return found


def dump(server: OwnServer, uri: str, folder: Path, *options: str) -> Path:
    """Dump as docs/operations.md has it."""
    path = folder / "rules.dump"
    program = server.binaries / "pg_dump"
    run(folder, program, "--format=custom", f"--file={path}", *options, uri)
    return path


def database_of(uri: str) -> str:
    """The database's name."""
    return str(psycopg.conninfo.conninfo_to_dict(uri)["dbname"])


@pytest.fixture(scope="module")
def restored(deployed: Deployed, filled: tuple[Database, UUID]) -> Iterator[str]:
    """The URI of the filled database after it was dumped, dropped and restored.

    Settings and privileges of the database itself come with --create.
    """
    server = deployed.server
    name = database_of(filled[0].dsn)
    with own_folder() as folder, psycopg.connect(server.uri, autocommit=True) as admin:
        path = dump(server, filled[0].dsn, folder, "--create")
        kept = f"{name}_kept"
        filled[0].close()
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
        admin.execute(rename.format(sql.Identifier(name), sql.Identifier(kept)))
        try:
            run(
                folder,
                server.binaries / "pg_restore",
                *("--create", "--exit-on-error", "--dbname", server.uri, path),
            )
            yield with_database(server.uri, kept)
        finally:
            drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            admin.execute(drop.format(sql.Identifier(name)))
            admin.execute(rename.format(sql.Identifier(kept), sql.Identifier(name)))


def test_everything_is_restored(filled: tuple[Database, UUID], restored: str) -> None:
    """REQ-SCHEMA-006: row for row, code, policies, owners, privileges, settings."""
    original, copy = tables(restored), tables(filled[0].dsn)
    assert len(original["rows"]) > 5
    for name, found in original.items():
        assert copy[name] == found, name
        assert found, name


def test_rules_are_evaluated_in_the_restored_database(
    filled: tuple[Database, UUID], restored: str
) -> None:
    """EVAL-1: as before, by each kind of login, and a new rule is compiled."""
    database, tenant = filled
    answers = []
    for uri in (restored, database.dsn):
        for role in ("rules_app", "rules_tenant"):
            copy = Database(uri)
            bound = tenant if role == "rules_tenant" else None
            login = copy.login(role, tenant=bound)
            with psycopg.connect(login, autocommit=True) as connection:
                store = PostgresRuleStore(connection, tenant)
                engine = Engine(store)
                rule = store.add(Rule(uuid4(), "new", "Adult"))
                answers.append([r.matched for r in engine.evaluate_all(FACTS)])
                store.delete(rule.id)
    assert answers == [[True] * 6] * 4


def test_sqitch_finds_the_restored_database_as_deployed(
    filled: tuple[Database, UUID], restored: str
) -> None:
    """REQ-MIGRATION-003: the registry is in the dump, and every change verifies."""
    done = subprocess.run(
        ["sqitch", "verify", "--target", f"db:{filled[0].dsn}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", ["rules_app", "rules_tenant", "rules_admin"])
def test_a_dump_that_policies_would_make_partial_is_refused(
    deployed: Deployed, filled: tuple[Database, UUID], role: str
) -> None:
    """REQ-TENANT-001: an error instead of a backup with a tenant's rows only."""
    database, tenant = filled
    login = database.login(role, tenant=tenant if role == "rules_tenant" else None)
    with own_folder() as folder:
        with pytest.raises(AssertionError) as failed:
            dump(deployed.server, login, folder)
        assert "permission denied" in str(failed.value) or (
            "row-level security" in str(failed.value)
        )


def test_the_owner_of_the_tables_cannot_make_a_partial_dump_either(
    deployed: Deployed, filled: tuple[Database, UUID]
) -> None:
    """REQ-TENANT-001: FORCE ROW LEVEL SECURITY holds the owner to it."""
    database, _ = filled
    login = database.login("rules_owner")
    with own_folder() as folder, pytest.raises(AssertionError, match="row-level"):
        dump(deployed.server, login, folder, "--schema=rules")


def test_a_dump_of_one_tenant_is_what_was_asked_for(
    deployed: Deployed, filled: tuple[Database, UUID]
) -> None:
    """REQ-TENANT-003: rows with --enable-row-security, of the tenant that is set."""
    database, tenant = filled
    login = database.login("rules_tenant", tenant=tenant)
    program = deployed.server.binaries / "pg_dump"
    with own_folder() as folder:
        printed = run(
            folder,
            program,
            *("--data-only", "--enable-row-security", "--table=rules.rules", login),
        )
    rows = [line for line in printed.splitlines() if "\trule " in line]
    assert len(rows) == 5
    assert all(row.startswith(str(tenant)) for row in rows)
