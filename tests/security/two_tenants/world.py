"""Two tenants in a database, and the sessions that they share and do not share.

Three sessions are an application's pool: whichever tenant has a transaction uses one,
and leaves it to the other afterwards. Two are of logins that are bound to a tenant.
Each history has tenants of its own; sessions, with what they have cached, go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import psycopg
from psycopg import ClientCursor
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus

from pgrules import PgRulesError
from tests.fixtures.database import Database
from tests.security.two_tenants.model import Rows
from tests.security.two_tenants.statements import Statement
from tests.security.two_tenants.steps import SESSIONS, Side

Connection: TypeAlias = psycopg.Connection[Any]

MARKS = ("harbour", "mountain")
# Also where an error shows only the beginning of it.
_MARK = re.compile(r"(?:harbour|mountain)(?:_\d*)?")
_MADE_ID = re.compile(r"(?!0{8}-)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*\+\d\d")

DESK = """
CREATE SCHEMA desk;
GRANT USAGE ON SCHEMA desk TO rules_app, rules_tenant;
CREATE TABLE desk.claims (
    tenant_id uuid NOT NULL DEFAULT rules.current_tenant_id(),
    id integer NOT NULL,
    "Amount" double precision NOT NULL,
    "Kind" text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE desk.matches (
    tenant_id uuid NOT NULL,
    id integer NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    PRIMARY KEY (tenant_id, id, rule_id)
);
ALTER TABLE desk.claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE desk.matches ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON desk.claims USING (tenant_id = rules.current_tenant_id());
CREATE POLICY own ON desk.matches USING (tenant_id = rules.current_tenant_id());
GRANT ALL ON desk.claims, desk.matches TO rules_app, rules_tenant;
CREATE TRIGGER record_insert AFTER INSERT ON desk.claims
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('matches', 'object=Claim');
CREATE TRIGGER record_update AFTER UPDATE ON desk.claims
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('matches', 'object=Claim');
CREATE TRIGGER record_delete AFTER DELETE ON desk.claims
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('matches', 'object=Claim');
"""

# Nobody waits for the other tenant; whoever does is told, as of any other difference.
SETTINGS = "SET lock_timeout = '5s'; SET statement_timeout = '60s'"

PREPARED = """
PREPARE listed_rules AS
SELECT id, name, expression, active FROM rules.rules ORDER BY created_at, id;
PREPARE matched_rules (jsonb) AS
SELECT rule_id, rule_name FROM rules.match_rules($1);
"""


@dataclass
class Observation:
    """All that a session received for one statement or call."""

    rows: Rows | None
    sqlstate: str | None
    text: str

    def foreign_rows(self, side: Side, *, names_other: bool) -> int:
        """How many of the rows, or else errors, have something of the other tenant."""

        def is_foreign(text: str) -> bool:
            return not all(map(side.mark.startswith, _MARK.findall(text))) or (
                not names_other and str(side.other) in text
            )

        rows = sum(is_foreign(repr(row)) for row in self.rows or [])
        return rows or int(is_foreign(self.text))

    def normalised(self, side: Side) -> str:
        """The same whatever ids and times it was made with."""
        text = self.text.replace(str(side.tenant), "<mine>")
        text = text.replace(str(side.other), "<other>")
        return _TIME.sub("<time>", _MADE_ID.sub("<id>", text))


@dataclass
class Session:
    """A connection, and what it was told beside the answers."""

    connection: Connection
    is_bound: bool
    owner: int | None = None
    """The side whose transaction is open in it."""
    notices: list[str] = field(default_factory=list)

    def begin(self, side: Side, level: str) -> None:
        """Begin a transaction of a tenant, as a client of the pool does."""
        text = f"BEGIN{level}"
        if not self.is_bound:
            text += f"; SELECT rules.set_tenant('{side.tenant}')"
        self.control(text)

    def control(self, text: str) -> None:
        """Run what begins or ends a transaction, and must not fail.

        Past psycopg, which drops all prepared statements when it sees a ROLLBACK.
        """
        result = self.connection.pgconn.exec_(text.encode())
        if result.status not in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}:
            raise psycopg.errors.error_from_result(result)

    def _prepare(self) -> None:
        """Have the statements prepared that are executed by name."""
        names = self.connection.execute("SELECT name FROM pg_prepared_statements")
        if ("listed_rules",) not in names.fetchall():
            self.control(PREPARED)

    def observe(
        self, statement: Statement, parameters: Mapping[str, object]
    ) -> Observation:
        """Run a statement."""
        works = self.connection.info.transaction_status != TransactionStatus.INERROR
        if works and statement.text.startswith("EXECUTE"):
            self._prepare()
        self.notices.clear()
        try:
            rows, status = _answer(self.connection, statement.text, parameters)
        except psycopg.Error as error:
            return Observation(None, error.sqlstate or "", self._told(error))
        shown = rows if statement.ordered else sorted(rows, key=repr)
        return Observation(rows, None, f"{shown!r} {status} {self.notices}")

    def refused(self, error: PgRulesError) -> Observation:
        """What the package raised."""
        told = [str(error), error.detail, error.hint]
        if isinstance(error.__cause__, psycopg.Error):
            told.append(self._told(error.__cause__))
        return Observation(None, error.sqlstate or "", repr(told))

    def answered(self, rows: Rows) -> Observation:
        """What the package gave."""
        return Observation(rows, None, f"{rows!r} {self.notices}")

    def _told(self, error: psycopg.Error) -> str:
        result = error.pgresult
        # Where in its source PostgreSQL noticed says only what was prepared before.
        fields = [
            result.error_field(part)
            for part in DiagnosticField
            if result and not part.name.startswith("SOURCE_")
        ]
        told = [text.decode() for text in fields if text]
        return f"{told} {self.notices}" if told else f"{error} {self.notices}"


def _answer(
    connection: Connection, text: str, parameters: Mapping[str, object]
) -> tuple[Rows, str | None]:
    if text.startswith("COPY"):
        with connection.cursor() as cursor, cursor.copy(text.encode()) as copy:
            return list(copy.rows()), cursor.statusmessage
    if text.startswith("EXECUTE"):
        cursor = ClientCursor(connection)
    else:
        cursor = connection.cursor()
    cursor.execute(text.encode(), parameters)
    rows = cursor.fetchall() if cursor.description else []
    return rows, cursor.statusmessage


class World:
    """The sessions, and the two tenants of a history."""

    def __init__(self, database: Database) -> None:
        self._owner = database.connect(autocommit=True)
        self._owner.execute(DESK)
        self._logins = [database.login("rules_tenant") for _ in MARKS]
        names = database.logins[-2:]
        self._count = 0
        """How many pairs of tenants there were; it is in their marks."""
        tenants = self._made_tenants()
        for name, tenant in zip(names, tenants, strict=True):
            self._owner.execute(
                "INSERT INTO rules.tenant_logins (login, tenant_id) VALUES (%s, %s)",
                [name, tenant],
            )
        self._names = names
        self.pool = [
            _session(database.login("rules_app"), number, is_bound=False)
            for number in range(SESSIONS)
        ]
        self.bound = [
            _session(login, number, is_bound=True)
            for number, login in enumerate(self._logins)
        ]
        self.sides: tuple[Side, Side] = self.fresh()

    def close(self) -> None:
        """End the sessions; the superuser's ends with the database."""
        for session in (*self.pool, *self.bound):
            session.connection.close()

    def roll_back(self) -> None:
        """End all transactions, and whatever was set beyond them."""
        for session in (*self.pool, *self.bound):
            session.control("ROLLBACK; RESET app.tenant_id")
            session.owner = None

    def fresh(self, *, like_before: bool = False) -> tuple[Side, Side]:
        """Two tenants who have done nothing yet; the logins are bound to them.

        With the marks of those before, if they are to do what those did.
        """
        self.roll_back()
        if not like_before:
            self._count += 1
        one, other = self._made_tenants()
        for name, tenant in zip(self._names, (one, other), strict=True):
            self._owner.execute(
                "UPDATE rules.tenant_logins SET tenant_id = %s WHERE login = %s",
                [tenant, name],
            )
        marks = [f"{mark}_{self._count:06d}" for mark in MARKS]
        self.sides = (Side(0, one, other, marks[0]), Side(1, other, one, marks[1]))
        return self.sides

    def stored(self, side: Side) -> dict[str, Rows]:
        """All that a tenant has, past all policies."""
        return {
            name: self._owner.execute(query.encode(), [side.tenant]).fetchall()
            for name, query in STORED.items()
        }

    def _made_tenants(self) -> tuple[UUID, UUID]:
        tenants = uuid4(), uuid4()
        for mark, tenant in zip(MARKS, tenants, strict=True):
            self._owner.execute(
                "INSERT INTO rules.tenants (id, name) VALUES (%s, %s)",
                [tenant, f"{mark}_{self._count:06d}"],
            )
        return tenants


STORED = {
    "rules": "SELECT id, name, expression, active FROM rules.rules"
    " WHERE tenant_id = %s ORDER BY created_at, id",
    "derived fields": "SELECT name, expression FROM rules.derived_fields"
    ' WHERE tenant_id = %s ORDER BY name COLLATE "C"',
    "schemas": "SELECT version, definition, active FROM rules.schemas"
    " WHERE tenant_id = %s ORDER BY version",
    "changelog": "SELECT old_version, new_version, compiled, failed"
    " FROM rules.schema_changelog WHERE tenant_id = %s ORDER BY changed_at, id",
    "audit": "SELECT count(*) FROM rules.audit_log WHERE tenant_id = %s",
    "claims": 'SELECT id, "Amount", "Kind" FROM desk.claims'
    " WHERE tenant_id = %s ORDER BY id",
    "matches": "SELECT id, rule_id, rule_name FROM desk.matches"
    " WHERE tenant_id = %s ORDER BY id, rule_id",
}


def _session(login: str, number: int, *, is_bound: bool) -> Session:
    connection = psycopg.connect(login, autocommit=True, prepare_threshold=1)
    connection.execute(SETTINGS)
    # Plans that are not made for the tenant, in every other session.
    plans = "force_generic_plan" if number % 2 == 0 else "auto"
    connection.execute("SELECT set_config('plan_cache_mode', %s, false)", [plans])
    session = Session(connection, is_bound)
    connection.add_notice_handler(
        lambda notice: session.notices.append(
            f"{notice.message_primary} {notice.message_detail}"
        )
    )
    return session


@contextmanager
def world(database: Database) -> Iterator[World]:
    """Two tenants in a database, for as long as the block runs."""
    opened = World(database)
    try:
        yield opened
    finally:
        with suppress(psycopg.Error):
            opened.close()
