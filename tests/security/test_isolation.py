"""Isolation as each role sees it, through the package and by who may do what.

`rules_app` chooses its tenant by the setting; a login of `rules_tenant` is bound to one
and can choose no other; `rules_admin` manages tenants and sees no rules; a stranger has
nothing. What statements try, and what a session keeps and shows, is in the other files.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
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
from tests.security.world import Connection, World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("untouched")]


@pytest.fixture
def engine(session: Connection, world: World) -> Engine:
    """My tenant's engine, over a transaction that is rolled back."""
    return Engine(PostgresRuleStore(session, world.mine.id))


@pytest.fixture
def store(session: Connection, world: World) -> PostgresRuleStore:
    """My tenant's store, over the same transaction."""
    return PostgresRuleStore(session, world.mine.id)


@pytest.fixture
def bound(world: World) -> Iterator[Connection]:
    """A session of a login that is bound to my tenant."""
    with world.session("rules_tenant") as connection:
        yield connection


def failing(call: Callable[[], object], kind: type[PgRulesError]) -> None:
    """Hold a call of the package to its error."""
    with pytest.raises(kind):
        call()


# The package


def test_my_rules_are_all_i_see(
    store: PostgresRuleStore, engine: Engine, world: World
) -> None:
    """REQ-TENANT-001, REQ-TENANT-003, REQ-SECURITY-002."""
    active = store.list_active()
    assert world.mine.rule in {rule.id for rule in active}
    assert world.theirs.word not in repr(active)
    results = engine.evaluate_all({"Claim": {"Amount": 5000.0}})
    assert {result.rule_id for result in results} == {rule.id for rule in active}
    matched = [result.rule_id for result in results if result.matched]
    assert matched == [world.mine.rule]


def test_another_tenants_rule_cannot_be_reached_by_its_id(
    store: PostgresRuleStore, engine: Engine, world: World
) -> None:
    """REQ-TENANT-001, REQ-TENANT-005, REQ-SECURITY-002, EVAL-6."""
    theirs = world.theirs.large
    calls: list[Callable[[], object]] = [
        lambda: store.get(theirs.id),
        lambda: store.update(replace(theirs, name="mine now")),
        lambda: store.delete(theirs.id),
        lambda: engine.evaluate(theirs.id, {}),
        lambda: engine.evaluate_batch(theirs.id, [{}]),
        lambda: store.get(world.theirs.deleted),
    ]
    for call in calls:
        failing(call, RuleNotFound)


def test_an_id_or_name_of_the_other_tenant_is_free_for_me(
    store: PostgresRuleStore, world: World
) -> None:
    """REQ-PERSIST-007: a unique key that tells of others would tell too much."""
    twin = Rule(world.theirs.rule, f"{world.theirs.word} note", "true")
    assert store.add(twin).id == world.theirs.rule


def test_a_batch_is_judged_by_my_rules_alone(engine: Engine, world: World) -> None:
    """REQ-TENANT-003: however many facts, and by whatever call."""
    claims = [{"Claim": {"Amount": amount}} for amount in (500.0, 5000.0, 99999.0)]
    mine = [[], [world.mine.rule], [world.mine.rule]]
    found = engine.match_rules_batch(claims)
    assert [[match.rule_id for match in matches] for matches in found] == mine
    assert [match.rule_id for match in engine.match_rules(claims[2])] == mine[2]
    assert [r.rule_id for r in engine.evaluate_all(claims[2], matched_only=True)] == (
        mine[2]
    )


def test_a_bound_login_cannot_open_another_tenants_store(
    bound: Connection, world: World
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    store = PostgresRuleStore(bound, world.theirs.id)
    calls: list[Callable[[], object]] = [
        store.list_active,
        lambda: store.get(world.theirs.rule),
        lambda: store.add(Rule(uuid4(), "planted", "true")),
        lambda: store.delete(world.theirs.rule),
        lambda: Engine(store),
    ]
    for call in calls:
        with pytest.raises(PermissionDenied) as caught:
            call()
        assert caught.value.sqlstate == "42501"


# Tables of users


def test_rows_are_judged_by_the_rules_of_the_writers_tenant(
    session: Connection, world: World
) -> None:
    """REQ-TENANT-003: a trigger knows no other tenant than the transaction."""
    world.run(
        session,
        'INSERT INTO desk.claims (id, "Amount") VALUES (3, 5000.5), (4, 99999.5)',
        'UPDATE desk.claims SET "Amount" = 6000.5 WHERE id IN (2, 3)',
    )
    told = world.tell(session, "SELECT tenant_id, id, rule_id FROM desk.matches")
    assert {row[0] for row in told.rows} == {world.mine.id}
    large = [number for _, number, rule in told.rows if rule == world.mine.rule]
    assert sorted(large) == [1, 2, 3, 4]


def test_a_row_of_the_same_key_keeps_the_matches_of_its_tenant(
    session: Connection, world: World
) -> None:
    """REQ-TENANT-001: the other tenant has a row 1 too."""
    world.run(session, 'UPDATE desk.claims SET "Amount" = 0, id = 7 WHERE id = 1')
    assert world.tell(session, "TABLE desk.matches").rows == []


# Choosing the tenant


SETTINGS = [
    "SELECT set_config('app.tenant_id', '<theirs>', false)",
    "SELECT set_config('app.tenant_id', '<theirs>', true)",
    "SET app.tenant_id = '<theirs>'",
    "SET LOCAL app.tenant_id = '<theirs>'",
    "SET SESSION app.tenant_id TO '<theirs>'",
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM rules.rules",
        "SELECT rules.current_tenant_id()",
        "SELECT * FROM rules.evaluate_all('{}')",
        'SELECT rules.set_schema(\'{"Claim": {"Amount": "int"}}\')',
    ],
)
def test_a_bound_login_cannot_choose_by_the_setting(
    bound: Connection, world: World, setting: str, query: str
) -> None:
    """A custom setting can be set by anyone, so it is not what binds."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege), bound.transaction():
        world.run(bound, setting, query)


def test_a_bound_login_needs_no_setting(bound: Connection, world: World) -> None:
    rows = bound.execute("SELECT DISTINCT tenant_id FROM rules.rules").fetchall()
    assert rows == [(world.mine.id,)]


def test_a_login_that_is_bound_anew_has_its_new_tenant_at_once(world: World) -> None:
    """REQ-TENANT-001: an open session asks each time, and keeps no binding."""
    login = {"login": "tap_bound_anew"}
    with world.watcher.transaction(force_rollback=True):
        world.run(
            world.watcher,
            "CREATE ROLE <login> LOGIN IN ROLE rules_tenant",
            "INSERT INTO rules.tenant_logins VALUES ('<mine>', '<login>')",
            **login,
        )
        for tenant in (world.mine, world.theirs, world.mine):
            world.run(
                world.watcher,
                "UPDATE rules.tenant_logins SET tenant_id = '<tenant>'"
                " WHERE login = '<login>'",
                "SET LOCAL SESSION AUTHORIZATION <login>",
                tenant=tenant.id,
                **login,
            )
            rows = world.watcher.execute(
                "SELECT DISTINCT tenant_id FROM rules.rules"
            ).fetchall()
            assert rows == [(tenant.id,)]
            world.run(world.watcher, "RESET SESSION AUTHORIZATION")


# Who has nothing, and who has all tenants


@pytest.mark.parametrize("kind", ["unbound", "stranger", "rules_admin"])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM rules.rules",
        "SELECT rules.set_tenant('<mine>')",
        "SELECT rules.current_tenant_id()",
        "SELECT * FROM rules.evaluate_all('{}')",
        "SELECT * FROM rules.match_rules('{}')",
        "SELECT rules.evaluate('<their_rule>', '{}')",
        "SELECT rules.evaluate_expression('1', '{}')",
        "SELECT * FROM rules.check_expression('1')",
        "SELECT * FROM rules.rule_versions('<their_rule>')",
        "SELECT rules.set_schema('{}')",
        "SELECT * FROM rules.audit_log",
        "INSERT INTO desk.claims VALUES ('<theirs>', 9, 1.5)",
    ],
)
def test_who_has_no_tenant_has_nothing(world: World, kind: str, query: str) -> None:
    """REQ-SECURITY-002: membership alone gives nothing, nor does managing tenants."""
    with world.session(kind) as connection:
        assert world.tell(connection, query).sqlstate == "42501"


def test_a_stranger_does_not_see_that_there_are_tenants(world: World) -> None:
    """REQ-SECURITY-002."""
    with world.session("stranger") as connection:
        for table in (
            "rules.tenants",
            "rules.tenant_logins",
            "rules.schema_migrations",
        ):
            told = world.tell(connection, "TABLE <table>", table=table)
            assert told.sqlstate == "42501"


def test_an_administrator_sees_all_tenants(world: World) -> None:
    """REQ-TENANT-007: by policy, not by a superuser's privilege."""
    new = uuid4()
    with world.session("rules_admin") as admin, admin.transaction(force_rollback=True):
        admin.execute("INSERT INTO rules.tenants (id, name) VALUES (%s, 'New')", [new])
        rows = admin.execute("SELECT id FROM rules.tenants").fetchall()
        assert {tenant for (tenant,) in rows} == {world.mine.id, world.theirs.id, new}
        admin.execute("DELETE FROM rules.tenants WHERE id = %s", [world.theirs.id])
        left: list[tuple[UUID]] = admin.execute(
            "SELECT id FROM rules.tenants"
        ).fetchall()
        assert {tenant for (tenant,) in left} == {world.mine.id, new}


def test_an_administrator_who_binds_himself_still_sees_no_rules(world: World) -> None:
    """REQ-SECURITY-002: that takes membership in rules_tenant, which is not his."""
    with world.session("rules_admin") as admin, admin.transaction(force_rollback=True):
        world.run(
            admin, "INSERT INTO rules.tenant_logins VALUES ('<theirs>', session_user)"
        )
        for query in ("TABLE rules.rules", "SELECT rules.evaluate_all('{}')"):
            assert world.tell(admin, query).sqlstate == "42501"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute("GRANT rules_tenant TO CURRENT_USER")


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
    session: Connection,
    store: PostgresRuleStore,
    engine: Engine,
    world: World,
    text: str,
) -> None:
    """REQ-SECURITY-001, REQ-PERSIST-004: names, expressions, facts, ids."""
    before = {rule.id for rule in store.list_active()}
    literal = text.replace("\\", "\\\\").replace('"', '\\"')
    named = store.add(Rule(uuid4(), text, f'Claim.HarbourNote == "{literal}"'))
    assert store.get(named.id).name == text
    facts: dict[str, Any] = {"Claim": {"HarbourNote": text}, text: [text]}
    assert engine.evaluate(named.id, facts).matched
    calls: list[Callable[[], object]] = [
        lambda: store.get(text),
        lambda: store.delete(text),
        lambda: engine.evaluate(text, {}),
        lambda: store.add(Rule(uuid4(), "injected", f"{text} >")),
    ]
    for call in calls:
        failing(call, PgRulesError)
    with pytest.raises(InvalidTenant):
        PostgresRuleStore(session, text)
    assert {rule.id for rule in store.list_active()} == before | {named.id}
