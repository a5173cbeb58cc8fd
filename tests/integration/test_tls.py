"""REQ-SECURITY-004: encrypted connections, and servers that are not who they say.

The server has certificates made for this run and takes encrypted connections only.
Its name is ``pgrules.test``, wherever it runs: ``hostaddr`` says where.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import trustme
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from pgrules import (
    Engine,
    PermissionDenied,
    PostgresRuleStore,
    Rule,
    StoreUnavailable,
)
from tests.fixtures.sqitch import ROOT
from tests.integration.own_server import own_server

pytestmark = pytest.mark.integration

NAME = "pgrules.test"

CERTIFIED = "certified"
"""The login that proves itself by a certificate of that name."""

HOST_LINES = f"""
hostssl all {CERTIFIED} 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class TlsServer:
    """How to reach the server, with the right authority and with another one."""

    port: int
    password: str
    authority: Path
    other_authority: Path
    clients: Path
    """The folder of clients' certificates and keys."""

    def conninfo(self, **options: Any) -> str:
        """A connection string of the superuser."""
        defaults: dict[str, Any] = {
            "host": NAME,
            "hostaddr": "127.0.0.1",
            "port": self.port,
            "user": "postgres",
            "password": self.password,
            "dbname": "postgres",
            "connect_timeout": 10,
        }
        return make_conninfo(**defaults | options)

    def verified(self, **options: Any) -> str:
        """A connection string that checks certificate and name."""
        return self.conninfo(
            sslmode="verify-full", sslrootcert=self.authority, **options
        )

    def certified(self, certificate: str, **options: Any) -> str:
        """A connection string without a password, with a client's certificate."""
        return self.verified(
            user=CERTIFIED,
            password="",
            sslcert=self.clients / f"{certificate}.pem",
            sslkey=self.clients / f"{certificate}.key",
            **options,
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A server that takes encrypted connections only."""
    folder = tmp_path_factory.mktemp("authorities")
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    other.cert_pem.write_to_path(folder / "other.pem")
    certificate = authority.issue_cert(NAME)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    for issuer, common_name, file in (
        (authority, CERTIFIED, "right"),
        (authority, "somebody_else", "another name"),
        (other, CERTIFIED, "another authority"),
    ):
        client = issuer.issue_cert("client.test", common_name=common_name)
        client.cert_chain_pems[0].write_to_path(folder / f"{file}.pem")
        client.private_key_pem.write_to_path(folder / f"{file}.key")
        (folder / f"{file}.key").chmod(0o600)
    with own_server(
        {
            "server.pem": chain,
            "server.key": certificate.private_key_pem.bytes(),
            "clients.pem": authority.cert_pem.bytes(),
        },
        settings="ssl = on\nssl_cert_file = '../server.pem'\n"
        "ssl_key_file = '../server.key'\nssl_ca_file = '../clients.pem'\n",
        host_lines=HOST_LINES,
    ) as running:
        yield TlsServer(
            running.port,
            running.password,
            folder / "authority.pem",
            folder / "other.pem",
            folder,
        )


def migrate(conninfo: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the migration command against this database."""
    return subprocess.run(
        [sys.executable, "-m", "pgrules", "migrate", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": conninfo},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tenant(server: TlsServer) -> UUID:
    """A tenant of a database that was deployed over the encrypted connection."""
    done = migrate(server.verified(), "up")
    assert done.returncode == 0, done.stdout + done.stderr
    tenant_id = uuid4()
    with psycopg.connect(server.verified(), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)",
            [tenant_id, "Harbour Insurance"],
        )
    return tenant_id


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_rules_are_stored_and_evaluated_over_tls(
    server: TlsServer, tenant: UUID, mode: str
) -> None:
    """REQ-SECURITY-004: sslmode=require and sslmode=verify-full."""
    conninfo = server.conninfo(sslmode=mode, sslrootcert=server.authority)
    with ConnectionPool(conninfo, min_size=1, max_size=2) as pool:
        engine = Engine(PostgresRuleStore(pool, tenant))
        rule = engine.add_rule(Rule(uuid4(), f"adults over {mode}", "User.Age >= 18"))
        assert engine.evaluate(rule.id, {"User": {"Age": 30}}).matched
        with pool.connection() as connection:
            row = connection.execute(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ).fetchone()
        assert row == (True,)


def test_the_server_takes_no_plain_connection(server: TlsServer) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(server.conninfo(sslmode="disable"))


REFUSED: dict[str, tuple[Callable[[TlsServer], dict[str, Any]], str]] = {
    "another authority": (
        lambda server: {"sslrootcert": server.other_authority},
        "certificate verify failed",
    ),
    "another host": (
        lambda server: {"sslrootcert": server.authority, "host": "localhost"},
        "does not match host name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_server_that_cannot_prove_its_name_is_refused(
    server: TlsServer, case: str
) -> None:
    """REQ-SECURITY-004: verify-full refuses a wrong CA and a wrong host."""
    options, reason = REFUSED[case]
    conninfo = server.conninfo(sslmode="verify-full", **options(server))
    with pytest.raises(psycopg.OperationalError, match=reason):
        psycopg.connect(conninfo)


@pytest.mark.parametrize("case", REFUSED)
def test_the_migration_command_says_why_a_server_is_refused(
    server: TlsServer, case: str
) -> None:
    """REQ-SECURITY-004."""
    options, reason = REFUSED[case]
    conninfo = server.conninfo(sslmode="verify-full", **options(server))
    done = migrate(conninfo, "version")
    assert done.returncode == 1
    assert reason in done.stderr
    assert server.password not in done.stdout + done.stderr


def test_a_pool_that_reaches_no_trusted_server_is_unavailable(
    server: TlsServer,
) -> None:
    """REQ-SECURITY-004."""
    conninfo = server.conninfo(
        sslmode="verify-full", sslrootcert=server.other_authority
    )
    with ConnectionPool(
        conninfo, min_size=1, max_size=1, timeout=0.5, reconnect_timeout=1
    ) as pool:
        store = PostgresRuleStore(pool, uuid4())
        with pytest.raises(StoreUnavailable) as caught:
            store.list_active()
    assert caught.value.retry_safe


@pytest.fixture(scope="module")
def certified(server: TlsServer, tenant: UUID) -> UUID:
    """The tenant of the login that has a certificate and no password."""
    with psycopg.connect(server.verified(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {CERTIFIED} LOGIN IN ROLE rules_tenant")
        connection.execute(
            "INSERT INTO rules.tenant_logins (login, tenant_id) VALUES (%s, %s)",
            [CERTIFIED, tenant],
        )
    return tenant


def test_a_client_may_prove_itself_by_a_certificate(
    server: TlsServer, certified: UUID
) -> None:
    """REQ-SECURITY-004: the certificate's name is the login, and that has a tenant."""
    with ConnectionPool(server.certified("right"), min_size=1, max_size=2) as pool:
        engine = Engine(PostgresRuleStore(pool, certified))
        rule = engine.add_rule(Rule(uuid4(), "certified adults", "User.Age >= 18"))
        assert engine.evaluate(rule.id, {"User": {"Age": 30}}).matched
        with pytest.raises(PermissionDenied):
            PostgresRuleStore(pool, uuid4()).list_active()
        with pool.connection() as connection:
            row = connection.execute(
                "SELECT session_user, client_serial IS NOT NULL FROM pg_stat_ssl"
                " WHERE pid = pg_backend_pid()"
            ).fetchone()
    assert row == (CERTIFIED, True)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("another name", "certificate authentication failed"),
        ("another authority", "unknown ca|certificate"),
        ("none", "requires a valid client certificate"),
    ],
)
def test_a_client_that_cannot_prove_its_name_is_refused(
    server: TlsServer, certified: UUID, certificate: str, reason: str
) -> None:
    """REQ-SECURITY-004: also where it knows a password."""
    conninfo = server.certified(certificate)
    if certificate == "none":
        conninfo = server.verified(user=CERTIFIED)
    with pytest.raises(psycopg.OperationalError, match=reason):
        psycopg.connect(conninfo)
