"""Tables of users with `rules.record_matches` and `rules.refuse_matches`.

What one session can show by SQL alone is in tests/pgtap; here are COPY, many rows,
cancelling, other sessions, other rights and hostile names.
"""

from collections.abc import Callable, Iterator
from random import Random
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from pgrules import PostgresRuleStore, Rule
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

# Over a list of the usual length it is soon done, over this one it is not.
ENDLESS = "L.all(a, L.all(b, a + b >= 0))"

TABLES = """
CREATE SCHEMA port;
GRANT USAGE ON SCHEMA port TO public;
CREATE TABLE port.ships (
    tenant_id uuid NOT NULL DEFAULT rules.current_tenant_id(),
    id integer NOT NULL,
    facts jsonb,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE port.ship_matches (
    tenant_id uuid NOT NULL,
    id integer NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    PRIMARY KEY (tenant_id, id, rule_id)
);
ALTER TABLE port.ships ENABLE ROW LEVEL SECURITY;
ALTER TABLE port.ship_matches ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON port.ships USING (tenant_id = rules.current_tenant_id());
CREATE POLICY own ON port.ship_matches USING (tenant_id = rules.current_tenant_id());
GRANT ALL ON port.ships, port.ship_matches TO rules_app, rules_tenant;
"""

RECORDING = """
CREATE TRIGGER ships_record_insert AFTER INSERT ON port.ships
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('ship_matches', 'facts=facts');
CREATE TRIGGER ships_record_update AFTER UPDATE ON port.ships
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('ship_matches', 'facts=facts');
"""

REFUSING = """
CREATE TRIGGER ships_refuse_insert AFTER INSERT ON port.ships
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.refuse_matches('facts=facts');
CREATE TRIGGER ships_refuse_update AFTER UPDATE ON port.ships
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.refuse_matches('facts=facts');
"""

MATCHES = "SELECT id, rule_name FROM port.ship_matches ORDER BY id, rule_name"


@pytest.fixture
def owner(database: Database) -> Connection:
    """A superuser's session, after the tables were made."""
    connection = database.connect(autocommit=True)
    connection.execute(TABLES)
    return connection


@pytest.fixture
def open_session(app: str, owner: Connection) -> Iterator[Callable[..., Connection]]:
    """Opens an application's sessions, each in a transaction of the tenant it gets."""
    opened: list[Connection] = []

    def open_session(tenant: UUID, isolation: str = "READ COMMITTED") -> Connection:
        session = psycopg.connect(app)
        opened.append(session)
        session.execute(
            sql.SQL("SET TRANSACTION ISOLATION LEVEL {}").format(sql.SQL(isolation))
        )
        session.execute("SELECT rules.set_tenant(%s)", [tenant])
        return session

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session: Callable[..., Connection], tenant: UUID) -> Connection:
    """A session in a transaction of the tenant."""
    return open_session(tenant)


@pytest.fixture
def heavy(store: PostgresRuleStore) -> Rule:
    """The tenant's one rule."""
    return store.add(Rule(uuid4(), "heavy", "Ship.Tons > 1000"))


def test_rows_that_are_copied_are_judged(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    owner.execute(RECORDING)
    owner.execute("ALTER TABLE port.ships DISABLE ROW LEVEL SECURITY")
    with session.cursor().copy("COPY port.ships (id, facts) FROM STDIN") as copy:
        copy.write_row((1, '{"Ship": {"Tons": 20000}}'))
        copy.write_row((2, '{"Ship": {"Tons": 20}}'))
    assert session.execute(MATCHES).fetchall() == [(1, "heavy")]


def test_a_copy_is_refused_as_a_whole(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    owner.execute(REFUSING)
    owner.execute("ALTER TABLE port.ships DISABLE ROW LEVEL SECURITY")

    def copy_ships() -> None:
        with session.cursor().copy("COPY port.ships (id, facts) FROM STDIN") as copy:
            copy.write_row((1, '{"Ship": {"Tons": 20}}'))
            copy.write_row((2, '{"Ship": {"Tons": 20000}}'))

    with pytest.raises(psycopg.DatabaseError) as caught:
        copy_ships()
    assert caught.value.sqlstate == "RE063"
    assert caught.value.diag.schema_name == "port"
    assert caught.value.diag.table_name == "ships"
    assert "id)=(" in (caught.value.diag.message_detail or "")
    session.rollback()
    assert owner.execute("SELECT count(*) FROM port.ships").fetchone() == (0,)


def peak_memory(owner: Connection, session: Connection) -> int:
    """The kilobytes that a backend has had in memory at the most."""
    row = owner.execute(
        "SELECT substring(pg_read_file(%s) FROM 'VmHWM:\\s+(\\d+)')::integer",
        [f"/proc/{session.info.backend_pid}/status"],
    ).fetchone()
    assert row is not None
    peak: int = row[0]
    return peak


def test_a_large_statement_is_judged_in_little_memory(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    """Batches of rows go to the rules, never 200 MB of facts as one."""
    owner.execute(RECORDING)
    session.execute("INSERT INTO port.ships (id, facts) VALUES (0, '{}')")
    before = peak_memory(owner, session)
    session.execute(
        "INSERT INTO port.ships (id, facts) SELECT number, jsonb_build_object("
        "'Ship', jsonb_build_object('Tons', number % 1003, 'Log', repeat('x', 20000)))"
        " FROM generate_series(1, 10000) AS number"
    )
    found = session.execute("SELECT count(*), min(id) FROM port.ship_matches")
    assert found.fetchone() == (18, 1001)
    assert peak_memory(owner, session) - before < 300_000


def test_each_of_many_rows_has_its_own_matches(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    owner.execute(RECORDING)
    session.execute(
        "INSERT INTO port.ships (id, facts) SELECT number, jsonb_build_object("
        "'Ship', jsonb_build_object('Tons', number % 1003))"
        " FROM generate_series(1, 100000) AS number"
    )
    found = session.execute(
        "SELECT count(*), bool_and(id % 1003 > 1000) FROM port.ship_matches"
    )
    assert found.fetchone() == (198, True)


def test_large_facts_make_small_batches(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    """Together they are more than an array can hold, at 3 MB each."""
    owner.execute(RECORDING)
    session.execute(
        "INSERT INTO port.ships (id, facts) SELECT number, jsonb_build_object("
        "'Ship', jsonb_build_object('Tons', number * 100, 'Log', repeat('x', 3000000)))"
        " FROM generate_series(1, 40) AS number"
    )
    found = session.execute("SELECT count(*), min(id) FROM port.ship_matches")
    assert found.fetchone() == (30, 11)


@pytest.mark.parametrize("how", ["statement_timeout", "pg_cancel_backend"])
def test_a_statement_is_cancelled_while_its_rows_are_judged(
    owner: Connection,
    session: Connection,
    store: PostgresRuleStore,
    database: Database,
    how: str,
) -> None:
    """Each row takes long, and there are many of them."""
    owner.execute(RECORDING)
    store.add(Rule(uuid4(), "endless", ENDLESS))
    insert = (
        "INSERT INTO port.ships (id, facts) SELECT number, jsonb_build_object('L',"
        " (SELECT jsonb_agg(n) FROM generate_series(1, 450) AS n))"
        " FROM generate_series(1, 1000) AS number"
    )
    if how == "statement_timeout":
        session.execute("SET LOCAL statement_timeout = '300ms'")
        with pytest.raises(errors.QueryCanceled):
            session.execute(insert)
    else:
        pid = session.info.backend_pid
        done = Event()

        def cancel() -> None:
            watcher = database.connect(autocommit=True)
            active = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = %s"
            while not watcher.execute(active, [pid, "active"]).fetchone():
                pass
            while not done.wait(0.05):
                watcher.execute("SELECT pg_cancel_backend(%s)", [pid])

        canceller = Thread(target=cancel)
        canceller.start()
        with pytest.raises(errors.QueryCanceled):
            session.execute(insert)
        done.set()
        canceller.join()
    session.rollback()
    assert owner.execute("SELECT count(*) FROM port.ships").fetchone() == (0,)


def test_a_rule_of_another_session_counts_from_its_commit_on(
    owner: Connection,
    session: Connection,
    store: PostgresRuleStore,
    open_session: Callable[..., Connection],
    tenant: UUID,
) -> None:
    owner.execute(RECORDING)
    other = open_session(tenant)
    other.execute(
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES (rules.current_tenant_id(), 'any', 'true')"
    )
    session.execute("INSERT INTO port.ships (id, facts) VALUES (1, '{}')")
    assert session.execute(MATCHES).fetchall() == []
    other.commit()
    session.execute("INSERT INTO port.ships (id, facts) VALUES (2, '{}')")
    assert session.execute(MATCHES).fetchall() == [(2, "any")]


def test_repeatable_read_judges_by_the_rules_of_its_snapshot(
    owner: Connection,
    store: PostgresRuleStore,
    open_session: Callable[..., Connection],
    tenant: UUID,
) -> None:
    owner.execute(RECORDING)
    session = open_session(tenant, "REPEATABLE READ")
    session.execute("SELECT 1 FROM port.ships").fetchall()
    store.add(Rule(uuid4(), "any", "true"))
    session.execute("INSERT INTO port.ships (id, facts) VALUES (1, '{}')")
    assert session.execute(MATCHES).fetchall() == []
    session.rollback()
    later = open_session(tenant, "REPEATABLE READ")
    later.execute("INSERT INTO port.ships (id, facts) VALUES (1, '{}')")
    assert later.execute(MATCHES).fetchall() == [(1, "any")]


def test_rules_written_in_the_same_transaction_count_and_go_with_it(
    owner: Connection, session: Connection
) -> None:
    owner.execute(REFUSING)
    add = (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES (rules.current_tenant_id(), 'none', 'true')"
    )
    insert = "INSERT INTO port.ships (id, facts) VALUES (1, '{}')"
    session.execute("SAVEPOINT earlier")
    session.execute(add)
    with pytest.raises(psycopg.DatabaseError) as caught:
        session.execute(insert)
    assert caught.value.sqlstate == "RE063"
    session.execute("ROLLBACK TO SAVEPOINT earlier")
    session.execute(insert)


HOSTILE = [
    "'; DROP TABLE port.ships; --",
    '"; DROP TABLE port.ships; --',
    "%s",
    "%1$I",
    "select",
    "Facts",
    "number",
    "key1",
    "$1",
    "a.b",
    "facts) FROM port.ships --",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_names_wherever_they_are_given(
    owner: Connection, session: Connection, tenant: UUID, heavy: Rule, name: str
) -> None:
    """Tables, columns, objects, transition tables, triggers, options."""
    matches = f"{name} matches"
    quoted = matches.replace('"', '""')
    names = {
        "table": sql.Identifier("port", name),
        "matches": sql.Identifier("port", matches),
        "trigger": sql.Identifier(name),
        "key": sql.Identifier(name),
        "new": sql.Identifier(f"{name} new"),
        "old": sql.Identifier(f"{name} old"),
        "facts": sql.Identifier(f"{name} facts"),
        "recorded_in": sql.Literal(f'port."{quoted}"'),
        "facts_option": sql.Literal(f"facts={name} facts"),
        "key_option": sql.Literal(f"key={name}"),
        "object_option": sql.Literal(f"object={name}"),
    }
    definition = """
        CREATE TABLE {table} ({key} text, {facts} jsonb);
        CREATE TABLE {matches} ({key} text, rule_id uuid, rule_name text);
        GRANT ALL ON {table}, {matches} TO rules_app;
        CREATE TRIGGER {trigger} AFTER INSERT ON {table}
        REFERENCING NEW TABLE AS {new} FOR EACH STATEMENT EXECUTE FUNCTION
        rules.record_matches({recorded_in}, {facts_option}, {key_option});
        CREATE TRIGGER refusing AFTER UPDATE ON {table}
        REFERENCING NEW TABLE AS {new} OLD TABLE AS {old} FOR EACH STATEMENT
        EXECUTE FUNCTION rules.refuse_matches({object_option}, {key_option});
    """
    owner.execute(sql.SQL(definition).format(**names))
    session.execute(
        sql.SQL("INSERT INTO {table} VALUES ({value}, {given})").format(
            value=name, given='{"Ship": {"Tons": 20000}}', **names
        )
    )
    found = session.execute(sql.SQL("SELECT * FROM {matches}").format(**names))
    assert found.fetchall() == [(name, heavy.id, "heavy")]

    session.execute(
        "INSERT INTO rules.rules (tenant_id, name, expression) VALUES (%s, %s, 'true')",
        [tenant, name],
    )
    with pytest.raises(psycopg.DatabaseError) as caught:
        session.execute(sql.SQL("UPDATE {table} SET {facts} = NULL").format(**names))
    assert caught.value.sqlstate == "RE063"
    assert f"Row ({name})=({name}) matches rule" in str(caught.value)


CASCADES = """
CREATE TABLE port.fleets (id integer PRIMARY KEY);
CREATE TABLE port.boats (
    id integer PRIMARY KEY,
    fleet integer REFERENCES port.fleets ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE port.boat_matches (id integer, rule_name text, rule_id uuid);
CREATE TRIGGER boats_insert AFTER INSERT ON port.boats
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('boat_matches');
CREATE TRIGGER boats_update AFTER UPDATE ON port.boats
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('boat_matches');
CREATE TRIGGER boats_delete AFTER DELETE ON port.boats
REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT
EXECUTE FUNCTION rules.record_matches('boat_matches');
"""


def test_what_a_foreign_key_writes_is_judged_with_the_writers_rights(
    database: Database,
    owner: Connection,
    session: Connection,
    store: PostgresRuleStore,
) -> None:
    """The cascade runs as the tables' owner, who has nothing to do with rules."""
    database.login(None)
    fleet_owner = sql.Identifier(database.logins[-1])
    for statement in (
        "GRANT USAGE, CREATE ON SCHEMA port TO {}",
        "GRANT USAGE ON SCHEMA rules TO {}",
        "GRANT EXECUTE ON FUNCTION rules.record_matches() TO {}",
        "SET ROLE {}",
    ):
        owner.execute(sql.SQL(statement).format(fleet_owner))
    owner.execute(CASCADES)
    owner.execute("GRANT ALL ON port.fleets, port.boats, port.boat_matches TO PUBLIC")
    owner.execute("RESET ROLE")
    store.add(Rule(uuid4(), "second", "fleet == 2"))
    session.execute("INSERT INTO port.fleets VALUES (1), (3)")
    session.execute("INSERT INTO port.boats VALUES (10, 1), (30, 3)")
    session.execute("UPDATE port.fleets SET id = 2 WHERE id = 1")
    matches = "SELECT id, rule_name FROM port.boat_matches"
    assert session.execute(matches).fetchall() == [(10, "second")]
    session.execute("DELETE FROM port.fleets WHERE id = 2")
    assert session.execute(matches).fetchall() == []


def test_who_may_not_read_the_key_is_not_told_it(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    owner.execute(REFUSING)
    owner.execute("REVOKE ALL ON port.ships FROM rules_app")
    owner.execute("GRANT INSERT, UPDATE ON port.ships TO rules_app")
    owner.execute("GRANT SELECT (tenant_id) ON port.ships TO rules_app")
    with pytest.raises(psycopg.DatabaseError) as caught:
        session.execute(
            "INSERT INTO port.ships (id, facts)"
            """ VALUES (1, '{}'), (424242, '{"Ship": {"Tons": 20000}}')"""
        )
    assert caught.value.sqlstate == "RE063"
    assert "424242" not in str(caught.value)
    assert "Row 2 of the statement matches rule 'heavy'" in str(caught.value)


def test_without_the_right_to_record_nothing_is_written(
    owner: Connection, session: Connection, heavy: Rule
) -> None:
    """The trigger has the writer's rights, and no others."""
    owner.execute(RECORDING)
    owner.execute("REVOKE ALL ON port.ship_matches FROM rules_app")
    with pytest.raises(errors.InsufficientPrivilege, match="ship_matches"):
        session.execute(
            """INSERT INTO port.ships (id, facts) VALUES (1, '{"Ship": {"Tons": 9}}')"""
        )
    session.rollback()
    assert owner.execute("SELECT count(*) FROM port.ships").fetchone() == (0,)


FIELDS = ("a", "b", "c")
CONDITIONS = (
    "{0} == {1}",
    "{0} > {1}",
    "{0} in [{1}, 7, 'x']",
    "!({0} == {1})",
    "has(O.{0}) && O.{0} <= {1}",
    "{0} == {1} || 1 / {0} > 0",
    "O.?{0}.orValue({1}) == {1}",
    "{0}.startsWith('x')",
)


def expression(random: Random) -> str:
    parts = [
        random.choice(CONDITIONS).format(random.choice(FIELDS), random.randint(-3, 9))
        for _ in range(random.randint(1, 3))
    ]
    return random.choice((" && ", " || ")).join(parts)


def some_facts(random: Random) -> dict[str, Any]:
    def values() -> dict[str, Any]:
        names = random.sample(FIELDS, random.randint(0, 3))
        choices = [random.randint(-3, 9), 2.5, "x", "xyz", True, None]
        return {name: random.choice(choices) for name in names}

    return {"O": values(), **values()}


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_matches_what_evaluating_every_rule_matches(
    owner: Connection, session: Connection, tenant: UUID, seed: int
) -> None:
    """By whatever way candidates are found, none is left out and none is added."""
    random = Random(seed)  # noqa: S311 - not for secrets
    owner.execute(RECORDING)
    session.cursor().executemany(
        "INSERT INTO rules.rules (tenant_id, name, expression) VALUES (%s, %s, %s)",
        [(tenant, f"rule {number}", expression(random)) for number in range(120)],
    )
    batch = [Jsonb(some_facts(random)) for _ in range(250)]
    expected = session.execute(
        "SELECT element.number::integer, result.rule_id, result.rule_name"
        " FROM unnest(%s::jsonb[]) WITH ORDINALITY AS element (facts, number)"
        " CROSS JOIN LATERAL rules.evaluate_all(element.facts) AS result"
        " WHERE result.matched",
        [batch],
    ).fetchall()
    found = session.execute(
        "SELECT element, rule_id, rule_name FROM rules.match_rules_batch(%s::jsonb[])",
        [batch],
    ).fetchall()
    assert found == expected
    assert len(found) > 1_000
    session.execute(
        "INSERT INTO port.ships (id, facts) SELECT number, facts"
        " FROM unnest(%s::jsonb[]) WITH ORDINALITY AS element (facts, number)",
        [batch],
    )
    recorded = session.execute("SELECT id, rule_id, rule_name FROM port.ship_matches")
    assert sorted(recorded.fetchall()) == sorted(expected)
