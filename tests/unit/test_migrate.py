"""Reading plans, connection strings and Sqitch's output, without running anything."""

import os
from pathlib import Path

import pytest

from pgrules import InMemoryRuleStore, PgRulesError
from pgrules.migrate import (
    Change,
    FailureReader,
    MigrationError,
    Project,
    connection_environment,
    find_project,
    parse_plan,
    run_sqitch,
)

PLAN = """\
%syntax-version=1.0.0
%project=pgrules
%uri=https://example.org/

000001_roles 2026-01-01T00:00:00Z Ada <ada@example.org> # The roles
000002_rules [000001_roles] 2026-01-02T00:00:00Z Ada <ada@example.org> # A # B
@v1.0 2026-01-03T00:00:00Z Ada <ada@example.org> # First release

000003_evaluate 2026-01-04T00:00:00Z Ada <ada@example.org> # Evaluation
000002_rules [000002_rules@v1.0] 2026-01-05T00:00:00Z Ada <ada@example.org> # Reworked
@v1.1 2026-01-06T00:00:00Z Ada <ada@example.org> # Second release
@latest 2026-01-06T00:00:00Z Ada <ada@example.org> # The same
"""


@pytest.fixture
def project() -> Project:
    return Project(Path(), parse_plan(PLAN))


def test_a_plan_gives_its_changes_in_order(project: Project) -> None:
    assert project.changes == (
        Change("000001_roles", "000001_roles"),
        Change("000002_rules", "000002_rules@v1.0", ("@v1.0",)),
        Change("000003_evaluate", "000003_evaluate"),
        Change("000002_rules", "000002_rules@HEAD", ("@v1.1", "@latest")),
    )


def test_the_version_is_the_numeric_prefix(project: Project) -> None:
    """REQ-MIGRATION-002."""
    assert [change.version for change in project.changes] == [
        "000001",
        "000002",
        "000003",
        "000002",
    ]


@pytest.mark.parametrize(
    ("target", "position"),
    [
        ("0", 0),
        ("000000", 0),
        ("1", 1),
        ("000001", 1),
        ("000001_roles", 1),
        ("000003", 3),
        ("@v1.0", 2),
        ("v1.0", 2),
        ("000002_rules@v1.0", 2),
        ("@latest", 4),
        ("2", 4),
        ("000002_rules", 4),
    ],
)
def test_a_target_is_a_version_a_name_or_a_tag(
    project: Project, target: str, position: int
) -> None:
    """REQ-MIGRATION-007."""
    assert project.position(target) == position


@pytest.mark.parametrize("target", ["9", "roles", "@v9", "", "000001_roles; DROP"])
def test_an_unknown_target_is_refused_with_the_newest_change(
    project: Project, target: str
) -> None:
    with pytest.raises(MigrationError, match="no change or tag") as caught:
        project.position(target)
    assert "000002_rules" in caught.value.hint


def test_the_project_is_found_from_a_folder_inside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sqitch.plan").write_text(PLAN)
    inside = tmp_path / "some" / "folder"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    assert find_project(None).folder == tmp_path


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match="no Sqitch project of pgrules") as caught:
        find_project(tmp_path)
    assert "--project" in caught.value.hint


def test_another_sqitch_project_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sqitch.plan").write_text(PLAN)
    theirs = tmp_path / "shop"
    theirs.mkdir()
    (theirs / "sqitch.plan").write_text(PLAN.replace("=pgrules", "=shop"))
    monkeypatch.chdir(theirs)
    assert find_project(None).folder == tmp_path
    with pytest.raises(MigrationError, match="no Sqitch project of pgrules"):
        find_project(theirs)


def test_a_connection_uri_becomes_libpqs_environment() -> None:
    assert connection_environment(
        "postgresql://ada:s%40cret@db.example.org:5433/prod?sslmode=verify-full"
    ) == {
        "PGUSER": "ada",
        "PGPASSWORD": "s@cret",
        "PGHOST": "db.example.org",
        "PGPORT": "5433",
        "PGDATABASE": "prod",
        "PGSSLMODE": "verify-full",
    }


@pytest.mark.parametrize(
    ("conninfo", "environment"),
    [
        ("postgres:///prod", {"PGDATABASE": "prod"}),
        (
            "postgresql:///prod?host=/run/sock&port=5555",
            {"PGDATABASE": "prod", "PGHOST": "/run/sock", "PGPORT": "5555"},
        ),
        (
            "host=a,b port=1,2 dbname=prod",
            {"PGHOST": "a,b", "PGPORT": "1,2", "PGDATABASE": "prod"},
        ),
        (
            "postgresql://[::1]:5432/prod",
            {"PGHOST": "::1", "PGPORT": "5432", "PGDATABASE": "prod"},
        ),
    ],
)
def test_every_form_that_libpq_takes_is_taken(
    conninfo: str, environment: dict[str, str]
) -> None:
    assert connection_environment(conninfo) == environment


@pytest.mark.parametrize(
    "conninfo",
    [
        "mysql://ada:s3cret@host/db",
        "postgresql://ada:s3cret@host:port/db?nonsense=1",
        "password=s3cret host",
        "password=s3cret 'quote",
    ],
)
def test_a_malformed_connection_string_is_refused_without_repeating_it(
    conninfo: str,
) -> None:
    with pytest.raises(MigrationError) as caught:
        connection_environment(conninfo)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "s3cret" not in str(chain)
        chain = chain.__cause__


def test_an_option_that_sqitch_cannot_be_given_is_refused() -> None:
    with pytest.raises(MigrationError, match="keepalives_idle"):
        connection_environment("postgresql:///prod?keepalives_idle=5")


def test_the_password_is_in_no_argument_and_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQ-SECURITY-003: arguments can be read by every user of the machine."""
    # Stands in for Sqitch, to see what it is given.
    recorder = tmp_path / "sqitch"
    recorder.write_text('#!/bin/sh\necho "arguments $*"\necho "password $PGPASSWORD"\n')
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    shown: list[str] = []
    run_sqitch(
        Project(tmp_path, ()),
        "postgresql://ada:s3cret@localhost/prod",
        ["deploy", "--verify"],
        show=shown.append,
    )
    assert shown == ["arguments deploy --target db:pg: --verify", "password s3cret"]


def test_an_account_without_a_name_can_deploy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers are given ids that no file lists; Sqitch refuses an empty name."""
    recorder = tmp_path / "sqitch"
    recorder.write_text('#!/bin/sh\necho "$SQITCH_FULLNAME $SQITCH_EMAIL"\n')
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 1_234_567_890)
    shown: list[str] = []
    run_sqitch(Project(tmp_path, ()), "", ["deploy"], show=shown.append)
    assert shown == ["unknown unknown@localhost"]
    store = InMemoryRuleStore()
    assert store.set_schema({"User": {"Age": "int"}}).changed_by == "unknown"


def failure(output: str) -> MigrationError:
    reader = FailureReader()
    for line in output.splitlines():
        reader.read(line)
    return reader.error("sqitch deploy")


def test_a_failing_script_is_named_with_the_servers_message() -> None:
    """REQ-MIGRATION-009."""
    error = failure(
        """\
Deploying changes to db:pg:
  + 000001_roles .. ok
psql:deploy/000002_rules.sql:3: NOTICE:  schema "rules" exists, skipping
psql:deploy/000002_rules.sql:7: ERROR:  column "no" does not exist
LINE 1: SELECT no;
               ^
HINT:  Perhaps you meant "on".
psql:deploy/000002_rules.sql:9: ERROR:  current transaction is aborted
  + 000002_rules .. not ok
"psql" unexpectedly returned exit value 3
Reverting all changes
  - 000001_roles .. ok
Deploy failed"""
    )
    assert str(error).startswith(
        'failed to apply change 000002_rules: ERROR:  column "no" does not exist'
    )
    assert "LINE 1: SELECT no;" in error.detail
    assert 'HINT:  Perhaps you meant "on".' in error.detail
    assert isinstance(error, PgRulesError)


def test_a_reworked_script_is_named_with_its_tag() -> None:
    error = failure("psql:/x/deploy/000002_rules@v1.0.sql:7: ERROR:  no")
    assert error.subject == "000002_rules@v1.0"


def test_a_failure_outside_scripts_gives_sqitchs_last_words() -> None:
    error = failure("Deploying changes to db:pg:\n  + 000001_roles .. \nCannot lock\n")
    assert str(error) == "failed to sqitch deploy 000001_roles: Cannot lock"
