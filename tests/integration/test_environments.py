"""Schemas and derived fields in the database: transactions, sessions, tenants."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from pgrules import (
    CompilationError,
    DerivedField,
    DerivedFieldNotFound,
    Engine,
    InvalidDerivedFields,
    InvalidSchema,
    InvalidTenant,
    PermissionDenied,
    PostgresRuleStore,
    Rule,
    RulesBroken,
    SchemaNotFound,
)
from tests.fixtures.database import Database

pytestmark = pytest.mark.integration

Connection = psycopg.Connection[Any]

USERS = {"User": {"Age": "int", "Country": "string"}}
AGES = {"User": {"Age": "int"}}


def derived(name: str, expression: str) -> DerivedField:
    return DerivedField(uuid4(), name, expression)


def local_rule(name: str = "local") -> Rule:
    return Rule(uuid4(), name, "User.Country == 'SE'")


def begin(*connections: Connection) -> None:
    """Let a transaction be open, which the stores join and the test ends."""
    for connection in connections:
        connection.execute("SELECT 1")


# Transactions of the caller


def test_a_callers_rollback_undoes_schema_and_derived_fields(
    app: str, tenant: UUID
) -> None:
    with psycopg.connect(app) as connection:
        store = PostgresRuleStore(connection, tenant)
        store.set_schema(AGES)
        begin(connection)
        store.set_schema(USERS)
        store.add_derived_field(derived("IsLocal", "User.Country == 'SE'"))
        rule = store.add(Rule(uuid4(), "local", "IsLocal"))
        engine = Engine(store)
        assert engine.evaluate(rule.id, {"User": {"Country": "SE"}}).matched
        connection.rollback()
        assert [s.version for s in store.schemas() if s.active] == [1]
        assert len(store.schema_changes()) == 1
        assert store.derived_fields() == []
        # The rolled back environment, which this session has compiled, is forgotten.
        with pytest.raises(CompilationError, match="unknown name IsLocal"):
            store.add(rule)


def test_a_refusal_leaves_the_callers_transaction_usable(
    app: str, tenant: UUID
) -> None:
    """ENG-1, REQ-PERSIST-003."""
    with psycopg.connect(app) as connection:
        begin(connection)
        store = PostgresRuleStore(connection, tenant)
        store.set_schema(USERS)
        store.add(local_rule())
        field = store.add_derived_field(derived("IsAdult", "User.Age >= 18"))
        for refused, call in (
            (RulesBroken, lambda: store.set_schema(AGES)),
            (InvalidSchema, lambda: store.set_schema({})),
            (SchemaNotFound, lambda: store.activate_schema(7)),
            (
                InvalidDerivedFields,
                lambda: store.add_derived_field(derived("X", "X")),
            ),
            (DerivedFieldNotFound, lambda: store.delete_derived_field("Y")),
        ):
            with pytest.raises(refused):
                call()
        connection.commit()
        assert store.derived_fields() == [field]
        assert [s.version for s in store.schemas()] == [1]


def test_a_change_is_recorded_with_its_login(
    database: Database, app: str, tenant: UUID
) -> None:
    """Who, what, when."""
    theirs = database.login("rules_tenant", tenant=tenant)
    for uri in (app, theirs):
        with psycopg.connect(uri, autocommit=True) as connection:
            PostgresRuleStore(connection, tenant).set_schema(USERS)
    with psycopg.connect(app, autocommit=True) as connection:
        changes = PostgresRuleStore(connection, tenant).schema_changes()
    users = [psycopg.conninfo.conninfo_to_dict(uri)["user"] for uri in (app, theirs)]
    assert [change.changed_by for change in changes] == users


def test_an_unknown_tenant_gets_no_schema_and_no_derived_field(
    pool: ConnectionPool[Any],
) -> None:
    """REQ-INTEG-007."""
    store = PostgresRuleStore(pool, uuid4())
    assert (store.schema(), store.derived_fields()) == (None, [])
    with pytest.raises(InvalidTenant, match="there is no such tenant"):
        store.set_schema(USERS)
    with pytest.raises(InvalidTenant, match="there is no such tenant"):
        store.add_derived_field(derived("A", "1"))


# Two sessions at once


@pytest.fixture
def sessions(app: str) -> Iterator[tuple[Connection, Connection]]:
    """Two sessions of the application."""
    with psycopg.connect(app) as first, psycopg.connect(app) as second:
        yield first, second


@contextmanager
def waiting(
    database: Database, waiter: Connection, call: Callable[[], object]
) -> Iterator[Future[object]]:
    """The call's outcome; the block begins when its session waits for another."""
    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(call)
        observer = database.connect(autocommit=True)
        query = "SELECT pg_blocking_pids(%s) <> '{}'"
        deadline = monotonic() + 30
        while observer.execute(query, [waiter.info.backend_pid]).fetchone() != (True,):
            assert not outcome.done(), outcome.result()
            assert monotonic() < deadline, "it does not wait"
        yield outcome


@pytest.mark.parametrize("first_commits", [True, False])
def test_the_second_half_of_a_cycle_waits_for_the_first(
    database: Database,
    tenant: UUID,
    sessions: tuple[Connection, Connection],
    first_commits: bool,
) -> None:
    """DER-2, ENG-2: and is refused if that is committed."""
    first, second = (PostgresRuleStore(session, tenant) for session in sessions)
    begin(*sessions)
    first.add_derived_field(derived("A", "B + 1"))
    half = derived("B", "A + 1")
    with waiting(
        database, sessions[1], lambda: second.add_derived_field(half)
    ) as outcome:
        if first_commits:
            sessions[0].commit()
            with pytest.raises(InvalidDerivedFields) as caught:
                outcome.result()
            assert caught.value.fields[0].cycle == ("A", "B", "A")
        else:
            sessions[0].rollback()
            outcome.result()
    sessions[1].commit()
    names = [field.name for field in first.derived_fields()]
    assert names == (["A"] if first_commits else ["B"])


@pytest.mark.parametrize("first_commits", [True, False])
def test_a_change_of_schema_waits_for_a_rule_that_is_being_written(
    database: Database,
    tenant: UUID,
    sessions: tuple[Connection, Connection],
    first_commits: bool,
) -> None:
    """ENG-2: the rule is compiled against the new schema too."""
    author, owner = (PostgresRuleStore(session, tenant) for session in sessions)
    owner.set_schema(USERS)
    begin(*sessions)
    rule = author.add(local_rule())
    with waiting(database, sessions[1], lambda: owner.set_schema(AGES)) as outcome:
        if first_commits:
            sessions[0].commit()
            with pytest.raises(RulesBroken) as caught:
                outcome.result()
            assert [b.rule_id for b in caught.value.broken_rules] == [rule.id]
        else:
            sessions[0].rollback()
            outcome.result()
    sessions[1].commit()
    assert len(owner.schemas()) == (1 if first_commits else 2)


@pytest.mark.parametrize("first_commits", [True, False])
def test_a_rule_waits_for_a_change_of_schema(
    database: Database,
    tenant: UUID,
    sessions: tuple[Connection, Connection],
    first_commits: bool,
) -> None:
    """ENG-2, COMP-3: and is compiled against what is then in force."""
    owner, author = (PostgresRuleStore(session, tenant) for session in sessions)
    owner.set_schema(USERS)
    begin(*sessions)
    owner.set_schema(AGES)
    with waiting(database, sessions[1], lambda: author.add(local_rule())) as outcome:
        if first_commits:
            sessions[0].commit()
            with pytest.raises(CompilationError) as caught:
                outcome.result()
            messages = [problem.message for problem in caught.value.problems]
            assert messages == ["User has no field Country"]
        else:
            sessions[0].rollback()
            outcome.result()
    sessions[1].commit()
    assert len(author.list_active()) == (0 if first_commits else 1)


def test_authors_of_rules_do_not_wait_for_each_other(
    tenant: UUID, sessions: tuple[Connection, Connection]
) -> None:
    """ENG-2."""
    first, second = (PostgresRuleStore(session, tenant) for session in sessions)
    first.set_schema(USERS)
    begin(*sessions)
    sessions[1].execute("SET lock_timeout = '5s'")
    first.add(local_rule("a"))
    second.add(local_rule("b"))
    sessions[1].commit()
    sessions[0].commit()
    assert len(first.list_active()) == 2


def test_an_evaluation_does_not_wait_for_a_change_of_schema(
    tenant: UUID, sessions: tuple[Connection, Connection]
) -> None:
    """ENG-2: until the commit it sees the old one."""
    owner, reader = (PostgresRuleStore(session, tenant) for session in sessions)
    owner.set_schema(USERS)
    rule = owner.add(local_rule())
    begin(*sessions)
    owner.set_schema(AGES, allow_broken=True)
    sessions[1].execute("SET lock_timeout = '5s'")
    facts = {"User": {"Country": "SE"}}
    assert Engine(reader).evaluate(rule.id, facts).matched
    sessions[0].commit()
    assert Engine(reader).evaluate(rule.id, facts).error is not None


def test_tenants_do_not_wait_for_each_other(
    tenant: UUID, other_tenant: UUID, sessions: tuple[Connection, Connection]
) -> None:
    """ENG-3."""
    first = PostgresRuleStore(sessions[0], tenant)
    second = PostgresRuleStore(sessions[1], other_tenant)
    begin(*sessions)
    sessions[1].execute("SET lock_timeout = '5s'")
    first.set_schema(USERS)
    second.set_schema(AGES)
    second.add_derived_field(derived("IsAdult", "User.Age >= 18"))
    sessions[1].commit()
    sessions[0].commit()


# Deleting a tenant


def test_an_administrator_deletes_a_tenant_with_all_it_has(
    database: Database, pool: ConnectionPool[Any], tenant: UUID, other_tenant: UUID
) -> None:
    """REQ-TENANT-007, REQ-SCHEMA-006."""
    for each in (tenant, other_tenant):
        store = PostgresRuleStore(pool, each)
        store.set_schema(USERS)
        store.set_schema(USERS)
        store.add_derived_field(derived("IsAdult", "User.Age >= 18"))
        store.add_derived_field(derived("IsLocal", "IsAdult && User.Country == 'SE'"))
        store.add(Rule(uuid4(), "local", "IsLocal"))
    admin = database.login("rules_admin")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
    counts = (
        database.connect()
        .execute(
            """
        SELECT
            (SELECT array_agg(DISTINCT tenant_id) FROM rules.rules),
            (SELECT array_agg(DISTINCT tenant_id) FROM rules.schemas),
            (SELECT array_agg(DISTINCT tenant_id) FROM rules.schema_changelog),
            (SELECT array_agg(DISTINCT tenant_id) FROM rules.derived_fields),
            (SELECT array_agg(DISTINCT tenant_id) FROM rules_internal.environments)
        """
        )
        .fetchone()
    )
    assert counts == ([other_tenant],) * 5
    left = Engine(PostgresRuleStore(pool, other_tenant))
    (result,) = left.evaluate_all({"User": {"Age": 20, "Country": "SE"}})
    assert result.matched


@pytest.mark.parametrize("what", ["a rule", "a derived field", "a schema"])
def test_who_writes_for_a_tenant_that_is_being_deleted_waits_and_is_refused(
    database: Database,
    tenant: UUID,
    sessions: tuple[Connection, Connection],
    what: str,
) -> None:
    """REQ-TENANT-007: without a deadlock."""
    store = PostgresRuleStore(sessions[0], tenant)
    store.set_schema(USERS)
    store.add_derived_field(derived("IsAdult", "User.Age >= 18"))
    calls: dict[str, Callable[[], object]] = {
        "a rule": lambda: store.add(local_rule()),
        "a derived field": lambda: store.add_derived_field(derived("A", "1")),
        "a schema": lambda: store.set_schema(AGES),
    }
    with psycopg.connect(database.login("rules_admin")) as admin:
        admin.execute("DELETE FROM rules.tenants WHERE id = %s", [tenant])
        with waiting(database, sessions[0], calls[what]) as outcome:
            admin.commit()
            with pytest.raises(InvalidTenant, match="there is no such tenant"):
                outcome.result()


# Several tenants


@pytest.fixture
def engines(
    pool: ConnectionPool[Any], tenant: UUID, other_tenant: UUID
) -> tuple[Engine, Engine]:
    """Two engines of two tenants over one pool."""
    return (
        Engine(PostgresRuleStore(pool, tenant)),
        Engine(PostgresRuleStore(pool, other_tenant)),
    )


def test_each_tenant_has_its_own_schema_and_derived_fields(
    engines: tuple[Engine, Engine],
) -> None:
    """ENG-3, REQ-TENANT-001, REQ-TENANT-003, REQ-INTEG-008."""
    harbour, mountain = engines
    harbour.set_schema({"Claim": {"Amount": "float64"}})
    harbour.add_derived_field(derived("IsLarge", "Claim.Amount > 1000.0"))
    mountain.add_derived_field(derived("IsLarge", "Claim.Amount > 90000.0"))
    assert mountain.schema() is None
    assert mountain.schema_changes() == []
    with pytest.raises(SchemaNotFound):
        mountain.activate_schema(1)
    for engine in engines:
        engine.add_rule(Rule(uuid4(), "large", "IsLarge"))
    facts = {"Claim": {"Amount": 18000.0}}
    assert [r.matched for r in harbour.evaluate_all(facts)] == [True]
    assert [r.matched for r in mountain.evaluate_all(facts)] == [False]
    # Versions count from 1 for each.
    assert mountain.set_schema({"Claim": {"Amount": "float64"}}).new_version == 1
    assert mountain.check("Claim.Sum > 1.0")
    assert len(harbour.schemas()) == 1


def test_a_derived_field_of_another_tenant_looks_like_an_unknown_one(
    engines: tuple[Engine, Engine],
) -> None:
    """REQ-TENANT-005, REQ-SECURITY-002."""
    harbour, mountain = engines
    theirs = mountain.add_derived_field(derived("Secret", "1 + 1"))
    with pytest.raises(DerivedFieldNotFound):
        harbour.get_derived_field("Secret")
    with pytest.raises(DerivedFieldNotFound):
        harbour.update_derived_field(theirs)
    with pytest.raises(DerivedFieldNotFound):
        harbour.delete_derived_field("Secret")
    # Its id and name are free, so a duplicate tells nothing.
    harbour.add_derived_field(DerivedField(theirs.id, "Secret", "2 + 2"))
    assert mountain.derived_fields() == [theirs]


def test_many_tenants_change_their_schemas_at_once_over_one_pool(
    engines: tuple[Engine, Engine],
) -> None:
    """ENG-2, ENG-3, REQ-INTEG-008."""
    for number, engine in enumerate(engines):
        engine.set_schema(USERS)
        engine.add_derived_field(derived("Limit", f"User.Age + {number}"))
        engine.add_rule(Rule(uuid4(), "exact", f"Limit == {20 + number}"))

    def work(turn: int) -> bool:
        engine = engines[turn % 2]
        if turn % 3 == 0:
            engine.set_schema(USERS if turn % 4 else AGES)
        return all(r.matched for r in engine.evaluate_all({"User": {"Age": 20}}))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(36)))


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO rules.schemas (tenant_id, version, definition)"
            " VALUES (rules.current_tenant_id(), 9, '{}')"
        ),
        "UPDATE rules.schemas SET active = false",
        "UPDATE rules.schemas SET definition = '{}'",
        "DELETE FROM rules.schemas",
        "DELETE FROM rules.schema_changelog",
        "UPDATE rules.schema_changelog SET failed = 0",
        "UPDATE rules.derived_fields SET dependencies = '[]'",
        "UPDATE rules.derived_fields SET tenant_id = gen_random_uuid()",
        "UPDATE rules_internal.environments SET document = '{}'",
        "SELECT rules_internal.store_environment(rules.current_tenant_id())",
    ],
)
def test_versions_and_changelog_cannot_be_written_past_the_functions(
    app: str, tenant: UUID, statement: str
) -> None:
    """REQ-SECURITY-002: a stored version never changes, and history stays."""
    with psycopg.connect(app) as connection:
        store = PostgresRuleStore(connection, tenant)
        store.set_schema(USERS)
        connection.execute("SELECT rules.set_tenant(%s)", [tenant])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_a_login_bound_to_another_tenant_changes_nothing(
    database: Database, pool: ConnectionPool[Any], tenant: UUID, other_tenant: UUID
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    owner = PostgresRuleStore(pool, tenant)
    owner.set_schema(USERS)
    owner.add_derived_field(derived("IsAdult", "User.Age >= 18"))
    uri = database.login("rules_tenant", tenant=other_tenant)
    with psycopg.connect(uri, autocommit=True) as connection:
        store = PostgresRuleStore(connection, tenant)
        calls: list[Callable[[], object]] = [
            store.schema,
            store.derived_fields,
            lambda: store.set_schema(AGES),
            lambda: store.activate_schema(1),
            lambda: store.add_derived_field(derived("A", "1")),
            lambda: store.delete_derived_field("IsAdult"),
        ]
        for call in calls:
            with pytest.raises(PermissionDenied):
                call()
    assert len(owner.schema_changes()) == 1
    assert len(owner.derived_fields()) == 1


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE rules.rules; --", "%s %(x)s %%", '$1 \\ " \n\t', "🚢 金額"]
)
def test_text_in_a_derived_field_stays_text(
    pool: ConnectionPool[Any], tenant: UUID, text: str
) -> None:
    """REQ-PERSIST-004, REQ-SECURITY-001."""
    store = PostgresRuleStore(pool, tenant)
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    field = store.add_derived_field(derived("Text", f'v + "{quoted}"'))
    assert store.get_derived_field("Text").expression == field.expression
    rule = store.add(Rule(uuid4(), "the rule", f'Text == "x{quoted}"'))
    assert Engine(store).evaluate(rule.id, {"v": "x"}).matched
