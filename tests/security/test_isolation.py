"""Isolation as each role sees it, through SQL and through the package.

`rules_app` chooses its tenant by the setting; a login of `rules_tenant` is bound to one
and can choose no other; a stranger has nothing. Crossing over is tried in every way
that the interface has.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgrules import (
    Engine,
    InvalidTenant,
    PermissionDenied,
    PgRulesError,
    PostgresRuleStore,
    Rule,
    RuleNotFound,
)
from tests.fixtures.database import Database
from tests.integration.tenants import create_tenant

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class World:
    """Two tenants with a rule each, of the same name."""

    database: Database
    mine: UUID
    theirs: UUID
    my_rule: Rule
    their_rule: Rule


@pytest.fixture
def world(database: Database) -> World:
    """Harbour ("mine") and Mountain ("theirs")."""
    mine = create_tenant(database, "Harbour Insurance")
    theirs = create_tenant(database, "Mountain Rescue")
    with psycopg.connect(database.login("rules_app"), autocommit=True) as connection:
        my_rule, their_rule = (
            PostgresRuleStore(connection, tenant).add(
                Rule(uuid4(), "large", f"Claim.Amount > {limit}.0")
            )
            for tenant, limit in ((mine, 1000), (theirs, 90000))
        )
    return World(database, mine, theirs, my_rule, their_rule)


@pytest.fixture(params=["rules_app", "rules_tenant"])
def login(request: pytest.FixtureRequest, world: World) -> str:
    """A login that works for my tenant."""
    role: str = request.param
    tenant = world.mine if role == "rules_tenant" else None
    return world.database.login(role, tenant=tenant)


@pytest.fixture
def session(login: str) -> Iterator[Connection]:
    """A session of that login."""
    with psycopg.connect(login, autocommit=True) as connection:
        yield connection


@pytest.fixture
def engine(session: Connection, world: World) -> Engine:
    """My tenant's engine over that session."""
    return Engine(PostgresRuleStore(session, world.mine))


def their_rules(world: World) -> list[tuple[Any, ...]]:
    """The other tenant's rows as they are, past all policies."""
    with world.database.connect() as connection:
        return connection.execute(
            "SELECT * FROM rules.rules WHERE tenant_id = %s", [world.theirs]
        ).fetchall()


def as_me(session: Connection, world: World, query: str, *values: object) -> list[Any]:
    """The rows of a statement in a transaction of my tenant."""
    with session.transaction():
        session.execute("SELECT rules.set_tenant(%s)", [world.mine])
        return session.execute(query, values).fetchall()


def test_my_rules_are_all_i_see(
    session: Connection, engine: Engine, world: World
) -> None:
    """REQ-TENANT-001, REQ-TENANT-003, REQ-SECURITY-002."""
    store = PostgresRuleStore(session, world.mine)
    assert store.list_active() == [world.my_rule]
    (result,) = engine.evaluate_all({"Claim": {"Amount": 5000.0}})
    assert (result.rule_id, result.matched) == (world.my_rule.id, True)
    # The query's own filter is not what hides the others.
    seen = as_me(session, world, "SELECT tenant_id FROM rules.rules")
    assert seen == [(world.mine,)]


def test_another_tenants_rule_cannot_be_reached_by_its_id(
    session: Connection, engine: Engine, world: World
) -> None:
    """REQ-TENANT-001, REQ-TENANT-005, REQ-SECURITY-002, EVAL-6."""
    before = their_rules(world)
    store = PostgresRuleStore(session, world.mine)
    theirs = world.their_rule
    calls: list[Callable[[], object]] = [
        lambda: store.get(theirs.id),
        lambda: store.update(replace(theirs, name="mine now")),
        lambda: store.delete(theirs.id),
        lambda: engine.evaluate(theirs.id, {}),
    ]
    for call in calls:
        with pytest.raises(RuleNotFound):
            call()
    assert their_rules(world) == before


ATTEMPTS = {
    "read": "SELECT id FROM rules.rules WHERE tenant_id = %(theirs)s",
    "read by an expression": (
        "SELECT id FROM rules.rules WHERE tenant_id::text = %(theirs)s::text"
    ),
    "update": (
        "UPDATE rules.rules SET active = false WHERE tenant_id = %(theirs)s"
        " RETURNING id"
    ),
    "delete": "DELETE FROM rules.rules WHERE id = %(rule)s RETURNING id",
    "lock": "SELECT id FROM rules.rules WHERE id = %(rule)s FOR UPDATE",
    "count": "SELECT id FROM rules.rules GROUP BY id HAVING id = %(rule)s",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_sql_that_names_the_other_tenant_finds_nothing(
    session: Connection, world: World, attempt: str
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    before = their_rules(world)
    with session.transaction():
        session.execute("SELECT rules.set_tenant(%s)", [world.mine])
        found = session.execute(
            ATTEMPTS[attempt], {"theirs": world.theirs, "rule": world.their_rule.id}
        ).fetchall()
    assert found == []
    assert their_rules(world) == before


WRITES = {
    "insert": (
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES (%(theirs)s, gen_random_uuid(), 'planted', 'true')"
    ),
    "give away": "UPDATE rules.rules SET tenant_id = %(theirs)s",
    "upsert": (
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES (%(theirs)s, %(rule)s, 'large', 'true')"
        " ON CONFLICT (tenant_id, id) DO UPDATE SET expression = 'true'"
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_can_be_written_for_the_other_tenant(
    session: Connection, world: World, write: str
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    before = their_rules(world)

    def attempt() -> None:
        with session.transaction():
            session.execute("SELECT rules.set_tenant(%s)", [world.mine])
            session.execute(
                WRITES[write], {"theirs": world.theirs, "rule": world.their_rule.id}
            )

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt()
    assert their_rules(world) == before


def test_an_id_or_name_of_the_other_tenant_is_free_for_me(
    session: Connection, world: World
) -> None:
    """REQ-PERSIST-007: a unique key that tells of others would tell too much."""
    store = PostgresRuleStore(session, world.mine)
    twin = Rule(world.their_rule.id, "their id is mine as well", "true")
    assert store.add(twin).id == world.their_rule.id


# Many facts, and tables of users


def test_a_batch_is_judged_by_my_rules_alone(engine: Engine, world: World) -> None:
    """REQ-TENANT-003: however many facts, and by whatever call."""
    claims = [{"Claim": {"Amount": amount}} for amount in (500.0, 5000.0, 99999.0)]
    found = engine.match_rules_batch(claims)
    mine = [[], [world.my_rule.id], [world.my_rule.id]]
    assert [[match.rule_id for match in matches] for matches in found] == mine
    assert [match.rule_id for match in engine.match_rules(claims[2])] == mine[2]
    assert [r.rule_id for r in engine.evaluate_all(claims[2], matched_only=True)] == (
        mine[2]
    )
    with pytest.raises(RuleNotFound):
        engine.evaluate_batch(world.their_rule.id, claims)


CLAIMS = """
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
    PRIMARY KEY (tenant_id, id)
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


@pytest.fixture
def claims(world: World) -> Connection:
    """A superuser's session, with a table whose rows are judged, one of each tenant."""
    owner = world.database.connect(autocommit=True)
    owner.execute(CLAIMS)
    for tenant in (world.mine, world.theirs):
        with owner.transaction():
            owner.execute("SELECT set_config('app.tenant_id', %s, true)", [str(tenant)])
            owner.execute('INSERT INTO desk.claims (id, "Amount") VALUES (1, 99999.5)')
    return owner


def recorded(claims: Connection, tenant: UUID) -> list[tuple[Any, ...]]:
    """The matches of a tenant as they are, past all policies."""
    return claims.execute(
        "SELECT id, rule_id FROM desk.matches WHERE tenant_id = %s ORDER BY id",
        [tenant],
    ).fetchall()


def test_rows_are_judged_by_the_rules_of_the_writers_tenant(
    session: Connection, world: World, claims: Connection
) -> None:
    """REQ-TENANT-003: a trigger knows no other tenant than the transaction."""
    before = recorded(claims, world.theirs)
    assert before == [(1, world.their_rule.id)]
    written = 'INSERT INTO desk.claims (id, "Amount") VALUES (2, 5000.5) RETURNING id'
    as_me(session, world, written)
    as_me(session, world, 'UPDATE desk.claims SET "Amount" = 6000.5 RETURNING id')
    assert recorded(claims, world.mine) == [
        (1, world.my_rule.id),
        (2, world.my_rule.id),
    ]
    assert recorded(claims, world.theirs) == before


def test_the_other_tenants_matches_are_neither_seen_nor_changed(
    session: Connection, world: World, claims: Connection
) -> None:
    """REQ-TENANT-001: rows of the same key, each with the matches of its tenant."""
    before = recorded(claims, world.theirs)
    assert before
    as_me(session, world, 'UPDATE desk.claims SET "Amount" = 0, id = 7 RETURNING id')
    assert recorded(claims, world.mine) == []
    assert recorded(claims, world.theirs) == before
    seen = as_me(session, world, "SELECT tenant_id FROM desk.matches")
    assert seen == []


def test_a_row_cannot_be_written_for_the_other_tenant_by_the_way_of_a_trigger(
    session: Connection, world: World, claims: Connection
) -> None:
    """REQ-TENANT-001."""
    before = recorded(claims, world.theirs)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_me(
            session,
            world,
            "INSERT INTO desk.claims VALUES (%s, 9, 99999.5) RETURNING id",
            world.theirs,
        )
    assert recorded(claims, world.theirs) == before


# Choosing the tenant


@pytest.fixture
def bound(world: World) -> Iterator[Connection]:
    """A session of a login that is bound to my tenant."""
    login = world.database.login("rules_tenant", tenant=world.mine)
    with psycopg.connect(login, autocommit=True) as connection:
        yield connection


def test_a_bound_login_cannot_open_another_tenants_store(
    bound: Connection, world: World
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    store = PostgresRuleStore(bound, world.theirs)
    calls: list[Callable[[], object]] = [
        store.list_active,
        lambda: store.get(world.their_rule.id),
        lambda: store.add(Rule(uuid4(), "planted", "true")),
        lambda: store.delete(world.their_rule.id),
        lambda: Engine(store),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied) as caught:
            call()
        assert caught.value.sqlstate == "42501"


SETTINGS = [
    "SELECT set_config('app.tenant_id', '{theirs}', false)",
    "SELECT set_config('app.tenant_id', '{theirs}', true)",
    "SET app.tenant_id = '{theirs}'",
    "SET LOCAL app.tenant_id = '{theirs}'",
    "SET SESSION app.tenant_id TO '{theirs}'",
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM rules.rules",
        "SELECT rules.current_tenant_id()",
        "SELECT * FROM rules.evaluate_all('{}')",
    ],
)
def test_a_bound_login_cannot_choose_by_the_setting(
    bound: Connection, world: World, setting: str, query: str
) -> None:
    """A custom setting can be set by anyone, so it is not what binds."""

    def attempt() -> None:
        with bound.transaction():
            bound.execute(setting.format(theirs=world.theirs))
            bound.execute(query)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attempt()


def test_a_bound_login_needs_no_setting(bound: Connection, world: World) -> None:
    row = bound.execute("SELECT id FROM rules.rules").fetchall()
    assert row == [(world.my_rule.id,)]


@pytest.mark.parametrize("role", ["rules_app", "rules_admin", "rules_owner"])
def test_a_bound_login_cannot_become_another_role(bound: Connection, role: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        bound.execute(f"SET ROLE {role}")


def test_a_login_of_the_group_without_a_binding_has_no_tenant(world: World) -> None:
    """REQ-SECURITY-002: membership alone gives nothing."""
    with psycopg.connect(world.database.login("rules_tenant")) as connection:
        with pytest.raises(PermissionDenied):
            PostgresRuleStore(connection, world.mine).list_active()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM rules.rules")


STRANGER = [
    "SELECT * FROM rules.rules",
    "SELECT * FROM rules.tenants",
    "SELECT rules.set_tenant('{mine}')",
    "SELECT rules.current_tenant_id()",
    "SELECT * FROM rules.evaluate_all('{{}}')",
    "SELECT rules.evaluate_expression('1', '{{}}')",
    "SELECT * FROM rules.check_expression('1')",
]


@pytest.mark.parametrize("query", STRANGER)
def test_a_stranger_has_nothing(world: World, query: str) -> None:
    """REQ-SECURITY-002."""
    with (
        psycopg.connect(world.database.login(None)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(query.format(mine=world.mine))


def test_an_application_cannot_manage_tenants_or_logins(
    session: Connection, world: World
) -> None:
    """REQ-SECURITY-002: that takes rules_admin."""
    for query in (
        "INSERT INTO rules.tenants (id, name) VALUES (gen_random_uuid(), 'planted')",
        "DELETE FROM rules.tenants",
        "INSERT INTO rules.tenant_logins VALUES (gen_random_uuid(), session_user)",
        "UPDATE rules.tenant_logins SET tenant_id = gen_random_uuid()",
        "TRUNCATE rules.rules",
        "ALTER TABLE rules.rules DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE rules.planted (id int)",
        "CREATE TEMPORARY TABLE planted (id int)",
        "DROP POLICY rules_app ON rules.rules",
    ):
        with pytest.raises(psycopg.Error) as caught:
            as_me(session, world, query)
        assert caught.value.sqlstate in {"42501", "42704"}, query


def test_an_administrator_sees_all_tenants(world: World) -> None:
    """REQ-TENANT-007: by policy, not by a superuser's privilege."""
    with psycopg.connect(world.database.login("rules_admin")) as connection:
        rows = connection.execute("SELECT id FROM rules.tenants").fetchall()
        assert {tenant for (tenant,) in rows} == {world.mine, world.theirs}
        new = uuid4()
        connection.execute(
            "INSERT INTO rules.tenants (id, name) VALUES (%s, 'New')", [new]
        )
        connection.execute("DELETE FROM rules.tenants WHERE id = %s", [world.theirs])
    assert their_rules(world) == []


# Values that try to be SQL

INJECTIONS = [
    "'; DELETE FROM rules.rules; --",
    "' OR '1'='1",
    "\\'; DROP SCHEMA rules CASCADE; --",
    "%s",
    "$1",
    "${tenant}",
    "'||(SELECT expression FROM rules.rules)||'",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_stays_text_wherever_it_is_given(
    session: Connection, engine: Engine, world: World, text: str
) -> None:
    """REQ-SECURITY-001, REQ-PERSIST-004: names, expressions, facts, ids."""
    before = their_rules(world)
    store = PostgresRuleStore(session, world.mine)
    literal = text.replace("\\", "\\\\").replace('"', '\\"')
    named = store.add(Rule(uuid4(), text, f'v == "{literal}"'))
    assert store.get(named.id).name == text
    assert engine.evaluate(named.id, {"v": text, text: {text: [text]}}).matched
    failing: list[Callable[[], object]] = [
        lambda: store.get(text),
        lambda: store.delete(text),
        lambda: engine.evaluate(text, {}),
        lambda: store.add(Rule(uuid4(), "injected", f"{text} >")),
    ]
    for call in failing:
        with pytest.raises(PgRulesError):
            call()
    with pytest.raises(InvalidTenant):
        PostgresRuleStore(session, text)
    assert {rule.id for rule in store.list_active()} == {world.my_rule.id, named.id}
    assert their_rules(world) == before
