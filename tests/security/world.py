"""Two tenants with everything that a tenant can have, for those who try to cross over.

One database serves all tests of a run. Every text of the other tenant has its word in
it, and every row an id: whatever a session is told is searched for them, and what the
other tenant has must be the same after each test as before.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from pgrules import Rule
from tests.fixtures.database import Database

Connection = psycopg.Connection[Any]

TABLES = (
    "rules.tenants",
    "rules.rules",
    "rules.schemas",
    "rules.derived_fields",
    "rules.schema_changelog",
    "rules.audit_log",
    "rules_internal.audit_commits",
    "rules_internal.environments",
    "rules_internal.rule_keys",
    "rules_internal.rule_key_shapes",
    "rules_internal.rule_set_tokens",
)
"""What a tenant may read of; the policies decide which rows."""

HIDDEN = (
    "rules.tenant_logins",
    "rules.tenant_audit_log",
    "rules_internal.before_deploy",
)
"""What no application and no tenant may read at all."""

DESK = """
CREATE SCHEMA desk;
GRANT USAGE ON SCHEMA desk TO rules_app, rules_tenant;
CREATE TABLE desk.claims (
    tenant_id uuid DEFAULT rules.current_tenant_id(),
    id integer,
    "Amount" double precision,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE desk.matches (
    tenant_id uuid, id integer, rule_id uuid, rule_name text,
    PRIMARY KEY (tenant_id, id, rule_id)
);
ALTER TABLE desk.claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE desk.matches ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON desk.claims USING (tenant_id = rules.current_tenant_id());
CREATE POLICY own ON desk.matches USING (tenant_id = rules.current_tenant_id());
GRANT ALL ON desk.claims, desk.matches TO rules_app, rules_tenant;
CREATE TRIGGER claims_record_insert AFTER INSERT ON desk.claims
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('matches', 'object=Claim');
CREATE TRIGGER claims_record_update AFTER UPDATE ON desk.claims
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('matches', 'object=Claim');
"""
"""A table of users whose rows are judged, and the matches that are recorded."""


@dataclass(frozen=True)
class Tenant:
    """A tenant and its things; ``word`` is in each of its texts."""

    word: str
    limit: int
    id: UUID = field(default_factory=uuid4)
    rule: UUID = field(default_factory=uuid4)
    ratio: UUID = field(default_factory=uuid4)
    deleted: UUID = field(default_factory=uuid4)

    @property
    def large(self) -> Rule:
        """The rule that both tenants have under one name."""
        return Rule(self.rule, "large", f"Claim.Amount > {self.limit}.0")

    def furnish(self, database: Database, app: Connection) -> None:
        """Give it a row in every table, some of them with a history."""
        word = self.word
        with database.connect() as connection:
            connection.execute(
                "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)",
                [self.id, f"{word} Limited"],
            )
        claim = {"Amount": "float64", f"{word}Note": "string"}
        with app.transaction():
            app.execute("SELECT rules.set_tenant(%s)", [self.id])
            for objects in ({"Claim": claim}, {"Claim": claim, word: {"Age": "int"}}):
                app.execute("SELECT rules.set_schema(%s)", [json.dumps(objects)])
            app.execute(
                "INSERT INTO rules.derived_fields (tenant_id, id, name, expression)"
                " VALUES (%s, %s, %s, %s)",
                [self.id, self.ratio, f"{word}Ratio", f"Claim.Amount / {self.limit}.0"],
            )
            rules: list[tuple[UUID, str, str, bool]] = [
                (self.rule, "large", f"Claim.Amount > {self.limit}.0", True),
                (uuid4(), f"{word} note", f'Claim.{word}Note == "{word} says"', True),
                (uuid4(), f"{word} ratio", f"{word}Ratio > 100.0", True),
                (uuid4(), f"{word} off", f"{word}.Age > 5", False),
                (self.deleted, f"{word} gone", f"{word}.Age > 6", True),
            ]
            for rule in rules:
                app.execute(
                    "INSERT INTO rules.rules (tenant_id, id, name, expression, active)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    [self.id, *rule],
                )
            app.execute("DELETE FROM rules.rules WHERE id = %s", [self.deleted])
            # Enough for estimates to differ.
            app.execute(
                "INSERT INTO rules.rules (tenant_id, name, expression, active)"
                " SELECT %s, %s || n, %s, false FROM generate_series(1, 40) AS n",
                [self.id, f"{word} ", f"{word}.Age > 7"],
            )
            app.execute(
                'INSERT INTO desk.claims (id, "Amount") VALUES (1, 99999.5), (2, 7)'
            )


@dataclass(frozen=True)
class Told:
    """All that a statement told its session."""

    rows: list[tuple[Any, ...]]
    sqlstate: str | None
    text: str
    """The rows, the notices, and every field of the error."""
    diagnosis: tuple[str | None, ...] = ()
    """Message, detail, hint and context of the error."""


@dataclass(frozen=True)
class World:
    """The database, two tenants, and logins of every kind with a schema of their own.

    ``logins`` are URIs by kind: ``rules_app``, ``rules_tenant`` (bound to my tenant),
    ``theirs`` (bound to the other one), ``rules_admin``, ``unbound``, ``stranger``.
    """

    database: Database
    mine: Tenant
    theirs: Tenant
    logins: Mapping[str, str]
    watcher: Connection
    """A superuser's session, which sees what is there."""
    open: dict[str, Connection]
    """Sessions that serve many tests, by the kind of their login."""
    secrets: frozenset[str]
    """What nobody but the other tenant may be told."""

    def user(self, kind: str) -> str:
        """The name of a login."""
        return str(psycopg.conninfo.conninfo_to_dict(self.logins[kind])["user"])

    @contextmanager
    def session(self, kind: str, tenant: Tenant | None = None) -> Iterator[Connection]:
        """A session of a login of its own, in autocommit.

        Given a tenant, a transaction of it that is rolled back, in a session that
        serves many tests.
        """
        if tenant is None:
            with psycopg.connect(self.logins[kind], autocommit=True) as connection:
                yield connection
            return
        if kind not in self.open:
            self.open[kind] = psycopg.connect(self.logins[kind], autocommit=True)
        with self.open[kind].transaction(force_rollback=True):
            self.open[kind].execute("SELECT rules.set_tenant(%s)", [tenant.id])
            yield self.open[kind]

    def close(self) -> None:
        """End the sessions."""
        for connection in self.open.values():
            connection.close()

    def sql(self, statement: str, **others: object) -> str:
        """A statement with ids and names in the place of ``<theirs>`` and its like."""
        names = {
            "mine": self.mine.id,
            "my_rule": self.mine.rule,
            "theirs": self.theirs.id,
            "their_rule": self.theirs.rule,
            "their_field": self.theirs.ratio,
            "their_deleted": self.theirs.deleted,
            "word": self.theirs.word,
            **others,
        }
        return re.sub(r"<([a-z_]+)>", lambda found: str(names[found[1]]), statement)

    def tell(self, connection: Connection, statement: str, **others: object) -> Told:
        """Run a statement in a savepoint that is rolled back, and hear what it tells.

        Fails if that is anything of the other tenant which the statement did not name.
        """
        query = self.sql(statement, **others)
        notices: list[str] = []

        def hear(notice: psycopg.errors.Diagnostic) -> None:
            notices.append(
                f"{notice.message_primary} {notice.message_detail} {notice.context}"
            )

        connection.add_notice_handler(hear)
        rows: list[tuple[Any, ...]] = []
        sqlstate, error = None, ""
        diagnosis: tuple[str | None, ...] = ()
        try:
            with connection.transaction(force_rollback=True):
                cursor = connection.execute(query.encode())
                if cursor.description:
                    rows = cursor.fetchall()
        except psycopg.Error as raised:
            told = raised.diag
            sqlstate, error = raised.sqlstate, str(raised)
            diagnosis = (
                told.message_primary,
                told.message_detail,
                told.message_hint,
                told.context,
            )
        finally:
            connection.remove_notice_handler(hear)
        text = "\n".join([*map(repr, rows), *notices, error, *map(str, diagnosis)])
        self.check(text, query)
        return Told(rows, sqlstate, text, diagnosis)

    def run(self, connection: Connection, *statements: str, **others: object) -> None:
        """Run statements that have to succeed, and whose effect stays."""
        for statement in statements:
            connection.execute(self.sql(statement, **others).encode())

    def check(self, text: str, query: str = "") -> None:
        """Fail if a text says anything of the other tenant that the query does not."""
        told = {secret for secret in self.secrets if secret in text}
        assert not {secret for secret in told if secret not in query}, text

    def theirs_as_it_is(self) -> dict[str, list[Any]]:
        """A digest of the other tenant's rows in every table, past all policies."""
        tables = (*TABLES, *HIDDEN[:2], "desk.claims", "desk.matches")
        digests = (
            sql.SQL(
                "SELECT {}, count(*), md5(string_agg(held::text, '' "
                "ORDER BY held::text)) FROM {} AS held WHERE {} = {}"
            ).format(
                sql.Literal(table),
                _identifier(table),
                sql.Identifier(_tenant_column(table)),
                sql.Literal(self.theirs.id),
            )
            for table in tables
        )
        query = sql.SQL(" UNION ALL ").join(digests)
        return {table: told for table, *told in self.watcher.execute(query).fetchall()}


def _identifier(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _tenant_column(table: str) -> str:
    return "id" if table == "rules.tenants" else "tenant_id"


def build(database: Database) -> World:
    """Furnish a database for both tenants."""
    watcher = database.connect(autocommit=True)
    watcher.execute(DESK)
    mine, theirs = Tenant("Harbour", 1000), Tenant("Xanadu", 90000)
    logins = {kind: database.login(kind) for kind in ("rules_app", "rules_admin")} | {
        "stranger": database.login(None),
        "unbound": database.login("rules_tenant"),
    }
    with psycopg.connect(logins["rules_app"], autocommit=True) as app:
        for tenant in (mine, theirs):
            tenant.furnish(database, app)
    logins["rules_tenant"] = database.login("rules_tenant", tenant=mine.id)
    logins["theirs"] = database.login("rules_tenant", tenant=theirs.id)
    world = World(database, mine, theirs, logins, watcher, {}, frozenset())
    for kind in logins:
        # An operator may give a login a schema; what it does there is its own affair.
        watcher.execute(
            sql.SQL("CREATE SCHEMA {0} AUTHORIZATION {0}").format(
                sql.Identifier(world.user(kind))
            )
        )
    return replace(world, secrets=_secrets(world))


def _secrets(world: World) -> frozenset[str]:
    """The other tenant's word, and every id in its rows but for the tenant's own."""
    found = {world.theirs.word, str(world.theirs.id)}
    for table in TABLES:
        rows = world.watcher.execute(
            sql.SQL("SELECT held::text FROM {} AS held WHERE {} = %s").format(
                _identifier(table), sql.Identifier(_tenant_column(table))
            ),
            [world.theirs.id],
        )
        for (text,) in rows:
            found |= set(
                re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text)
            )
    return frozenset(found)
