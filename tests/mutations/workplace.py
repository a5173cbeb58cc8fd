"""A copy of the checkout with a server of its own, in which a mutation is tried.

Nothing of the checkout is changed, and nothing of its private server: roles belong to
a whole server, so a copy has another. Copies of runs that were killed are removed by
the next run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import psycopg
from psycopg import sql

from tests.fixtures import sqitch
from tests.fixtures.runs import is_running, this_run
from tests.fixtures.server import copy_database_properties, template_name
from tests.fixtures.sqitch import ROOT
from tests.fixtures.uri import with_database
from tests.migration.project import plan
from tests.mutations.mutation import file_of, is_pgtap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FOLDERS = "pgrules-mutations-"

# A database in which Sqitch has noted every change, and nothing is deployed.
_REGISTRY = "registry"

# Far beyond what any of them takes, on a machine with other work too.
_PROGRAM_SECONDS = 600

_TAP_LINE = re.compile(r"^(ok|not ok) \d+(?: - (.*))?$", re.MULTILINE)


class ProgramError(Exception):
    """A program ended otherwise than it should; says what it printed."""


class Programs:
    """What was started and has not ended, so that it can be stopped."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = Lock()
        self.stopped = False
        """Whether nothing more is started."""

    def run(
        self, *arguments: str | Path, root: Path, env: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Run a program to its end; gives its exit code and all that it printed."""
        with self._lock:
            if self.stopped:
                raise ProgramError("stopped")
            process = subprocess.Popen(
                arguments,
                cwd=root,
                env=_environment(root) | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                # An interrupt is for the run, which stops its programs itself.
                start_new_session=True,
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=_PROGRAM_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"{arguments[0]}: no end in sight") from None
        finally:
            _kill(process)
            with self._lock:
                self._running.discard(process)
        return process.returncode, output

    def stop(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(root: Path) -> dict[str, str]:
    """The caller's environment, without what would lead elsewhere."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("PG")
    }
    return environment | {
        # Sqitch notes who deploys, and refuses where the account has no name.
        "SQITCH_FULLNAME": "pgrules tests",
        "SQITCH_EMAIL": "tests@localhost",
        "PGRULES_TEST_MODE": "server",
        # Before the checkout, which is installed in the virtual environment.
        "PYTHONPATH": str(root / "python" / "src"),
    }


class Workplace:
    """A copy of the checkout, and what can be run in it."""

    def __init__(self, root: Path, programs: Programs) -> None:
        self.root = root
        self._programs = programs
        self._uri = ""
        self._original = sqitch.content_key(root)

    def _run(self, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
        code, output = self._programs.run(*arguments, root=self.root, env=env)
        if code:
            raise ProgramError(f"{arguments[0]}: {output.strip()}")
        return output

    # ------------------------------------------------------------ the server

    def start_server(self) -> None:
        """Start the copy's server, if it does not run."""
        if self._uri:
            return
        output = self._run(self.root / "python/tools/server.sh", "start")
        self._uri = output.splitlines()[-1]
        with self._session() as session:
            # What is in it is worth nothing after a crash.
            session.execute("ALTER SYSTEM SET fsync = off")
            session.execute("SELECT pg_reload_conf()")
            session.execute(f"CREATE DATABASE {_REGISTRY} TEMPLATE template0")
        self._run(
            *("sqitch", "deploy", "--log-only", "--no-verify"),
            *("--target", f"db:{with_database(self._uri, _REGISTRY)}"),
        )

    def remove_server(self) -> None:
        """Stop it and remove it, with its databases and roles."""
        remove_server(self.root)
        self._uri = ""

    @contextmanager
    def _session(self, database: str = "postgres") -> Iterator[psycopg.Connection]:
        uri = with_database(self._uri, database)
        with psycopg.connect(uri, autocommit=True) as session:
            session.execute("SET client_min_messages = warning")
            yield session

    @contextmanager
    def _database(self, name: str, template: str) -> Iterator[str]:
        """A database for as long as the block runs; gives its URI."""
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
        create = sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names)
        with self._session() as session:
            session.execute(create)
        try:
            yield with_database(self._uri, name)
        finally:
            with self._session() as session:
                session.execute(
                    sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names)
                )

    def deploy(self) -> None:
        """Deploy what the copy holds, as the template that its tests look for.

        Without verifying: the tests are to notice by themselves. In one session, which
        takes a fifth of the time that Sqitch takes with one for each script.
        """
        self.start_server()
        with self._session() as session:
            row = session.execute(
                "SELECT FROM pg_database WHERE datname = %s", [self._template]
            ).fetchone()
            if row is not None:
                return
            name = sql.Identifier(self._template)
            session.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    name, sql.Identifier(_REGISTRY)
                )
            )
            self._run(
                *("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
                *("--set=registry=sqitch", "--output=/dev/null"),
                *(f"--file=deploy/{change}.sql" for change in plan(self.root)),
                with_database(self._uri, self._template),
                env={"PGOPTIONS": "--client-min-messages=warning"},
            )
            session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(name))

    def drop_deployed(self) -> None:
        """Drop what `deploy` made of a mutation."""
        if self._template == template_name(self._original) or not self._uri:
            return
        name = sql.Identifier(self._template)
        with self._session() as session:
            session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(name))
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    @property
    def _template(self) -> str:
        return template_name(sqitch.content_key(self.root))

    # ------------------------------------------------------------ tests

    def failing_verification(self) -> str:
        """What deploying and verifying prints when it fails; empty if it does not."""
        self.start_server()
        with self._database("verified", "template0") as uri:
            try:
                sqitch.deploy(uri, root=self.root)
            except RuntimeError as failure:
                return str(failure)
        return ""

    def bundle(self) -> None:
        """Write the core into the deploy."""
        self._run(self.root / ".venv/bin/python", "python/tools/bundle.py")

    def results(self, tests: Sequence[str]) -> dict[str, list[bool]]:
        """Of each test, whether its cases passed; of one that did not run, nothing.

        A case that could not begin, since what it needs could not be had, did not run.
        Raises ProgramError for what ended without results.
        """
        found: dict[str, list[bool]] = {test: [] for test in tests}
        in_python = [test for test in tests if not is_pgtap(test)]
        if in_python:
            for test, passed in self._pytest(in_python):
                if test in found:
                    found[test].append(passed)
        in_sql = [test for test in tests if is_pgtap(test)]
        for case, passed in self._pgtap(in_sql):
            for test in in_sql:
                if case.startswith(test):
                    found[test].append(passed)
        return found

    def _pytest(self, tests: Sequence[str]) -> Iterator[tuple[str, bool]]:
        report = self.root / "report.xml"
        report.unlink(missing_ok=True)
        _, output = self._programs.run(
            *(self.root / ".venv/bin/python", "-m", "pytest"),
            *("-c", "tests/pytest.ini", "-q", "-p", "no:cacheprovider"),
            *(f"--junitxml={report}", "-o", "junit_family=xunit1", *tests),
            root=self.root,
        )
        if not report.exists():
            raise ProgramError(f"pytest: {output.strip()}")
        # pytest wrote it a moment ago.
        for case in ET.parse(report).iter("testcase"):  # noqa: S314
            kinds = {part.tag for part in case}
            # A test that failed may not be able to clean up either.
            if "failure" not in kinds and kinds & {"error", "skipped"}:
                continue
            module = case.get("file", "").removesuffix(".py").replace("/", ".")
            classes = case.get("classname", "").removeprefix(module).split(".")[1:]
            function = case.get("name", "").partition("[")[0]
            path = f"tests/{case.get('file')}"
            yield "::".join([path, *classes, function]), "failure" not in kinds

    def _pgtap(self, tests: Sequence[str]) -> Iterator[tuple[str, bool]]:
        files = list(dict.fromkeys(map(file_of, tests)))
        if not files:
            return
        name = "pgtap"
        with self._database(name, self._template) as uri:
            with self._session() as session:
                copy_database_properties(session, self._template, name)
            with self._session(name) as session:
                session.execute("CREATE EXTENSION pgtap")
            for file in files:
                # As pg_prove calls it.
                _, output = self._programs.run(
                    *("psql", "--no-psqlrc", "--no-align", "--quiet"),
                    *("--tuples-only", "--pset=pager=off", "--set=ON_ERROR_STOP=1"),
                    *(f"--file={file}", uri),
                    root=self.root,
                    env={"PGOPTIONS": "--client-min-messages=warning"},
                )
                for outcome, description in _TAP_LINE.findall(output):
                    test = f"{file}::{description}".replace("\\#", "#")
                    yield test, outcome == "ok"


def remove_server(root: Path) -> None:
    """Stop and remove the server of a copy. Not to be interrupted."""
    subprocess.run(
        [root / "python/tools/server.sh", "clean"],
        env=_environment(root),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )


@contextmanager
def workplace(programs: Programs) -> Iterator[Workplace]:
    """A copy of the files that git tracks, as they are now; removed after the block."""
    root = Path(tempfile.mkdtemp(prefix=f"{_FOLDERS}{this_run()}-"))
    try:
        # The server's account must be able to enter.
        root.chmod(0o755)
        _copy(root)
        yield Workplace(root, programs)
    finally:
        _remove(root)


def _copy(root: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        source, target = ROOT / name, root / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    for name in (".venv", "build"):
        (root / name).symlink_to(ROOT / name)


def remove_abandoned() -> None:
    """Remove the copies of runs that were killed, and stop their servers."""
    for root in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        if not is_running(root.name.removeprefix(_FOLDERS).rpartition("-")[0]):
            _remove(root)


def _remove(root: Path) -> None:
    if (root / ".pg").exists():
        remove_server(root)
    shutil.rmtree(root)
