"""``pgrules migrate`` against real databases, with a small project made for the tests.

The project's own changes are exercised by tests/migration; here it is the command.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.fixtures.sqitch import ROOT

pytestmark = pytest.mark.integration

Run = Callable[..., subprocess.CompletedProcess[str]]

PLAN = """\
%syntax-version=1.0.0
%project=pgrules

000001_ships 2026-01-01T00:00:00Z Ada <ada@example.org> # Ships
000002_berths [000001_ships] 2026-01-02T00:00:00Z Ada <ada@example.org> # Berths
@v1.0 2026-01-03T00:00:00Z Ada <ada@example.org> # First release
000003_pilots [000001_ships] 2026-01-04T00:00:00Z Ada <ada@example.org> # Pilots
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Sqitch project of three tables, one change each."""
    (tmp_path / "sqitch.conf").write_text("[core]\n\tengine = pg\n")
    (tmp_path / "sqitch.plan").write_text(PLAN)
    for kind in ("deploy", "revert", "verify"):
        (tmp_path / kind).mkdir()
    for change in ("000001_ships", "000002_berths", "000003_pilots"):
        table = change.partition("_")[2]
        scripts = {
            "deploy": f"BEGIN;\nCREATE TABLE {table} (id int);\nCOMMIT;\n",
            "revert": f"DROP TABLE {table};\n",
            "verify": f"SELECT id FROM {table} WHERE false;\n",  # noqa: S608 - a name of this file
        }
        for kind, script in scripts.items():
            (tmp_path / kind / f"{change}.sql").write_text(script)
    return tmp_path


@pytest.fixture
def migrate(project: Path, empty_database: str) -> Run:
    """Runs the command in the project's folder, with DATABASE_URL set."""

    def run(
        *arguments: str, url: str | None = empty_database, cwd: Path = project
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
        if url is not None:
            environment["DATABASE_URL"] = url
        return subprocess.run(
            [sys.executable, "-m", "pgrules", "migrate", *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def tables(empty_database: str) -> Callable[[], set[str]]:
    """Reads which of the project's tables exist."""

    def read() -> set[str]:
        with psycopg.connect(empty_database) as connection:
            rows = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
        return {name for (name,) in rows}

    return read


def newest(run: Run) -> str:
    done = run("version")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def succeeded(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr


def test_up_applies_every_change(migrate: Run, tables: Callable[[], set[str]]) -> None:
    """REQ-MIGRATION-007, REQ-MIGRATION-008, REQ-MIGRATION-001."""
    assert newest(migrate) == "nothing is applied"
    succeeded(migrate("up"))
    assert tables() == {"ships", "berths", "pilots"}
    assert newest(migrate) == "000003_pilots"
    succeeded(migrate("up"))


def test_down_reverts_every_change(
    migrate: Run, tables: Callable[[], set[str]]
) -> None:
    """REQ-MIGRATION-007, REQ-MIGRATION-004."""
    succeeded(migrate("up"))
    succeeded(migrate("down", "--yes"))
    assert tables() == set()
    assert newest(migrate) == "nothing is applied"
    assert "nothing to revert" in migrate("down", "--yes").stdout


def test_down_asks_before_data_is_lost(
    migrate: Run, tables: Callable[[], set[str]]
) -> None:
    succeeded(migrate("up"))
    done = migrate("down")
    assert done.returncode == 1
    assert "revert 3 changes, with their data?" in done.stdout
    assert tables() == {"ships", "berths", "pilots"}


@pytest.mark.parametrize("target", ["000002", "@v1.0"])
def test_up_and_down_take_a_target(
    migrate: Run, tables: Callable[[], set[str]], target: str
) -> None:
    """REQ-MIGRATION-007: a version number, a change's name or a tag."""
    succeeded(migrate("up", target))
    assert newest(migrate) == "000002_berths"
    assert "applied already" in migrate("up", target).stdout
    succeeded(migrate("up"))
    succeeded(migrate("down", target, "--yes"))
    assert newest(migrate) == "000002_berths"
    assert tables() == {"ships", "berths"}


def test_an_unknown_target_changes_nothing(
    migrate: Run, tables: Callable[[], set[str]]
) -> None:
    done = migrate("up", "000009")
    assert done.returncode == 1
    assert "the plan has no change or tag 000009" in done.stderr
    assert tables() == set()


def test_force_records_without_running(
    migrate: Run, tables: Callable[[], set[str]]
) -> None:
    """REQ-MIGRATION-007."""
    succeeded(migrate("force", "000002"))
    assert newest(migrate) == "000002_berths"
    assert tables() == set()
    succeeded(migrate("up"))
    assert tables() == {"pilots"}
    succeeded(migrate("force", "1"))
    assert newest(migrate) == "000001_ships"
    assert tables() == {"pilots"}
    succeeded(migrate("force", "0"))
    assert newest(migrate) == "nothing is applied"
    assert "the newest already" in migrate("force", "0").stdout


def test_a_failing_change_is_named_with_the_servers_message(
    migrate: Run, project: Path, tables: Callable[[], set[str]]
) -> None:
    """REQ-MIGRATION-009: which migration failed, and why."""
    script = project / "deploy" / "000003_pilots.sql"
    script.write_text("BEGIN;\nCREATE TABLE pilots (id itn);\nCOMMIT;\n")
    done = migrate("up")
    assert done.returncode == 1
    last = done.stderr.splitlines()
    assert last[0] == (
        "pgrules: failed to apply change 000003_pilots:"
        ' ERROR:  type "itn" does not exist'
    )
    assert last[1].startswith("LINE 1: CREATE TABLE pilots (id itn);")
    assert tables() == set()


def test_a_failing_verification_is_named(migrate: Run, project: Path) -> None:
    """REQ-MIGRATION-009."""
    script = project / "verify" / "000002_berths.sql"
    script.write_text("DO $$ BEGIN ASSERT false, 'no berth is free'; END $$;\n")
    done = migrate("up", "000002")
    assert done.returncode == 1
    assert (
        "failed to apply change 000002_berths: ERROR:  no berth is free" in done.stderr
    )


def test_an_unreachable_database_is_said_to_be(migrate: Run) -> None:
    """REQ-MIGRATION-009."""
    done = migrate("up", url="postgresql://ada:s3cret@127.0.0.1:1/db")
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_a_flag_names_another_database(migrate: Run, empty_database: str) -> None:
    """REQ-MIGRATION-008: --database wins over the environment."""
    done = migrate(
        "version", "--database", empty_database, url="postgresql://127.0.0.1:1/db"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "nothing is applied")


def test_the_url_is_read_from_a_file(
    migrate: Run, project: Path, empty_database: str
) -> None:
    """REQ-MIGRATION-008, REQ-SECURITY-003: DATABASE_URL in .env, found upwards."""
    (project / ".env").write_text(f"# The server\nDATABASE_URL='{empty_database}'\n")
    inside = project / "some" / "folder"
    inside.mkdir(parents=True)
    succeeded(migrate("up", "1", url=None, cwd=inside))
    assert newest(migrate) == "000001_ships"


def test_the_environment_wins_over_the_file(
    migrate: Run, project: Path, empty_database: str
) -> None:
    """REQ-MIGRATION-008."""
    (project / ".env").write_text("DATABASE_URL=postgresql://127.0.0.1:1/db\n")
    assert newest(migrate) == "nothing is applied"


def test_the_project_may_be_elsewhere(
    migrate: Run, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    succeeded(migrate("up", "--project", str(project), cwd=elsewhere))
    assert newest(migrate) == "000003_pilots"


def test_without_sqitch_the_command_says_what_to_install(
    migrate: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = migrate("up")
    assert done.returncode == 1
    assert "Sqitch is not installed" in done.stderr


def test_the_installed_command_is_the_module(empty_database: str) -> None:
    """REQ-MIGRATION-007: ``pgrules`` and ``python -m pgrules`` are one."""
    command = Path(sys.executable).with_name("pgrules")
    done = subprocess.run(
        [command, "migrate", "version", "--database", empty_database],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "nothing is applied")
