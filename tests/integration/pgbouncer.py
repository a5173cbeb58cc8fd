"""PgBouncer in transaction mode, in front of a server of the tests' own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import psycopg
import pytest

from tests.integration.own_server import ACCOUNT, free_port, give, own_folder

# What docs/operations.md advises, with few server connections, so that they are shared.
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
server_reset_query =
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pgbouncer(uris: list[str], *, size: int) -> Iterator[list[str]]:
    """Start PgBouncer for logins of a server; gives their URIs through it.

    Each login has `size` connections to the server.
    """
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("no PgBouncer here; python/tools/setup.sh pgbouncer installs it")
    port = free_port()
    with own_folder() as folder:
        logins = [psycopg.conninfo.conninfo_to_dict(uri) for uri in uris]
        files = {
            "users": "".join(
                f'"{login["user"]}" "{login["password"]}"\n' for login in logins
            ),
            "pgbouncer.ini": CONFIGURATION.format(
                server=logins[0]["port"], port=port, folder=folder, size=size
            ),
        }
        for name, content in files.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(content)
            give(path)
        bouncer = subprocess.Popen(
            [program, "--quiet", str(folder / "pgbouncer.ini")],
            user=ACCOUNT,
            group=ACCOUNT,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        through = [
            psycopg.conninfo.make_conninfo(uri, host="127.0.0.1", port=port)
            for uri in uris
        ]
        try:
            _wait_until_it_answers(bouncer, through[0])
            yield through
        finally:
            bouncer.terminate()
            bouncer.wait(timeout=30)


def _wait_until_it_answers(bouncer: subprocess.Popen[bytes], conninfo: str) -> None:
    deadline = monotonic() + 30
    while True:
        assert bouncer.poll() is None, "PgBouncer ended"
        with suppress(psycopg.OperationalError):
            psycopg.connect(conninfo).close()
            return
        assert monotonic() < deadline, "PgBouncer does not answer"
