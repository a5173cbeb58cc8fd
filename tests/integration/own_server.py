"""PostgreSQL servers of a test's own, for what a shared one cannot be set up to do."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# A server refuses to run as root; Debian's packages bring this account.
ACCOUNT = "postgres" if os.geteuid() == 0 else None


@dataclass(frozen=True)
class OwnServer:
    """Where the server listens, and its superuser's password."""

    port: int
    password: str
    folder: Path
    """Its files: ``data`` is the cluster, ``server.log`` the log."""
    binaries: Path
    """The folder of its programs."""

    @property
    def uri(self) -> str:
        """The URI of the superuser, in the database postgres."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it answers."""
        data, log = self.folder / "data", self.folder / "server.log"
        control = (self.binaries / "pg_ctl", "--pgdata", data, "--log", log)
        run(self.folder, *control, "--wait", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends the sessions that are open, ``immediate`` all."""
        data = self.folder / "data"
        control = (self.binaries / "pg_ctl", "--pgdata", data, "--mode", mode)
        run(self.folder, *control, "--wait", "stop")

    def runs(self) -> bool:
        """Whether its main process is there; one that was killed leaves its file."""
        try:
            content = (self.folder / "data" / "postmaster.pid").read_text()
            os.kill(int(content.split()[0]), 0)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return True


def run(folder: Path, program: Path | str, *arguments: Path | str) -> str:
    """Run a program as the server's account; gives what it printed."""
    done = subprocess.run(
        [program, *arguments],
        user=ACCOUNT,
        group=ACCOUNT,
        cwd=folder,
        # As whoever else: settings of the user's own are not for a test's server.
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def installed_binaries() -> Path:
    """The folder of initdb and pg_ctl; skips the test where there is none."""
    found = [Path(path).resolve().parent for path in [shutil.which("pg_ctl")] if path]
    found += sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")),
        key=lambda path: int(path.parent.name),
        reverse=True,
    )
    if not found:
        pytest.skip(
            "no PostgreSQL server is installed here; `make up` installs one,"
            " or put pg_ctl on the PATH"
        )
    return found[0]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that belongs to the server's account, removed after the block."""
    folder = Path(tempfile.mkdtemp(prefix="pgrules-server-"))
    try:
        give(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def give(path: Path) -> None:
    """Make a file or folder the server account's own."""
    if ACCOUNT is not None:
        shutil.chown(path, ACCOUNT, ACCOUNT)


@contextmanager
def own_server(
    files: Mapping[str, bytes],
    *,
    settings: str,
    host_lines: str,
) -> Iterator[OwnServer]:
    """Start a server on the loopback interface for as long as the block runs.

    `files` are written beside its data, readable by the server alone; `settings` and
    `host_lines` become its postgresql.conf and pg_hba.conf.
    """
    binaries = installed_binaries()
    with own_folder() as folder:
        server = OwnServer(free_port(), secrets.token_hex(8), folder, binaries)
        contents = {**files, "password": server.password.encode()}
        for name, content in contents.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)
            give(path)
        data = folder / "data"
        run(
            folder,
            binaries / "initdb",
            *("--pgdata", data, "--username", "postgres", "--no-sync"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8"),
            *("--auth", "scram-sha-256", "--pwfile", folder / "password"),
        )
        (data / "pg_hba.conf").write_text(host_lines)
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"port = {server.port}\nlisten_addresses = '127.0.0.1'\nfsync = off\n"
                f"unix_socket_directories = '{folder}'\n{settings}"
            )
        with _running(server):
            yield server


@contextmanager
def standby_of(primary: OwnServer) -> Iterator[OwnServer]:
    """Start a streaming replica for as long as the block runs."""
    with _from_backup(primary, primary.binaries, "--write-recovery-conf") as standby:
        yield standby


@contextmanager
def copy_of(
    original: OwnServer,
    binaries: Path,
    *,
    settings: str = "",
    wal: Path | None = None,
) -> Iterator[OwnServer]:
    """Start a server with the same databases for as long as the block runs.

    `settings` are added to its postgresql.conf; `wal` is a folder for its WAL.
    """
    options = () if wal is None else ("--waldir", str(wal))
    with _from_backup(original, binaries, *options, settings=settings) as copy:
        yield copy


@contextmanager
def _from_backup(
    original: OwnServer, binaries: Path, *options: str, settings: str = ""
) -> Iterator[OwnServer]:
    with own_folder() as folder:
        server = OwnServer(free_port(), original.password, folder, binaries)
        data = folder / "data"
        run(
            folder,
            original.binaries / "pg_basebackup",
            *("--pgdata", data, "--dbname", original.uri),
            *("--checkpoint", "fast", "--no-sync", *options),
        )
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"port = {server.port}\nunix_socket_directories = '{folder}'\n"
                f"{settings}"
            )
        with _running(server):
            yield server


@contextmanager
def _running(server: OwnServer) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        if server.runs():
            server.stop("immediate")
