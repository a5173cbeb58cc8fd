"""A PostgreSQL server of a test's own, for what a shared one cannot be set up to do."""

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


@dataclass(frozen=True)
class OwnServer:
    """Where the server listens, and its superuser's password."""

    port: int
    password: str
    folder: Path


def _binaries() -> Path:
    """The folder of initdb and pg_ctl; skips the test where there is none."""
    found = [Path(path).parent for path in [shutil.which("pg_ctl")] if path]
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def own_server(
    files: Mapping[str, bytes], *, settings: str, host_lines: str
) -> Iterator[OwnServer]:
    """Start a server on the loopback interface for as long as the block runs.

    `files` are written beside its data, readable by the server alone; `settings` and
    `host_lines` become its postgresql.conf and pg_hba.conf.
    """
    binaries = _binaries()
    # A server refuses to run as root; Debian's packages bring this account.
    account = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pgrules-server-"))
    password, port = secrets.token_hex(8), _free_port()

    def run(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [binaries / program, *arguments],
            user=account,
            group=account,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    try:
        contents = {**files, "password": password.encode()}
        for name, content in contents.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(content)
        if account is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, account, account)
        data = folder / "data"
        run(
            "initdb",
            *("--pgdata", str(data), "--username", "postgres", "--no-sync"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8"),
            *("--auth", "scram-sha-256", "--pwfile", str(folder / "password")),
        )
        (data / "pg_hba.conf").write_text(host_lines)
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"port = {port}\nlisten_addresses = '127.0.0.1'\nfsync = off\n"
                f"unix_socket_directories = '{folder}'\n{settings}"
            )
        log = str(folder / "server.log")
        run("pg_ctl", "--pgdata", str(data), "--log", log, "--wait", "start")
        try:
            yield OwnServer(port, password, folder)
        finally:
            run("pg_ctl", "--pgdata", str(data), "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
