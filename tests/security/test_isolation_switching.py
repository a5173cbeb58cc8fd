"""What a session keeps while its tenant changes, and tries to change who it is.

An application's login may act for either tenant, and does so in one session here; what
is prepared, planned, opened or cached for one must tell nothing under the other. A
bound login can only claim to be another.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.security.world import TABLES, Connection, Tenant, World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("untouched")]

FACTS = '{"Claim": {"Amount": 99999.5, "HarbourNote": "", "XanaduNote": ""}}'

# What tells of which tenant it is: a column of its id, or of its rules' ids.
TELLING = {
    "rows": "SELECT tenant_id FROM rules.rules",
    "resolver": "SELECT rules.current_tenant_id()",
    "tenants": "SELECT id FROM rules.tenants",
    "environment": "SELECT tenant_id FROM rules_internal.environments",
    "join": (
        "SELECT a.tenant_id FROM rules.rules AS r JOIN rules.audit_log AS a"
        " ON a.subject_id = r.id"
    ),
    "evaluate_all": "SELECT rule_id FROM rules.evaluate_all('<facts>')",
    "match_rules": "SELECT rule_id FROM rules.match_rules('<facts>')",
    "match_rules_batch": (
        "SELECT rule_id FROM rules.match_rules_batch(ARRAY['<facts>'::jsonb])"
    ),
    "recorded matches": "SELECT tenant_id FROM desk.matches",
    "update": "UPDATE rules.rules SET active = active RETURNING tenant_id",
}


@pytest.fixture
def app(world: World) -> Iterator[Connection]:
    """A transaction of an application that has not set its tenant yet."""
    with world.session("rules_app", world.mine) as connection:
        yield connection


def become(connection: Connection, tenant: Tenant) -> None:
    """Set the tenant, as a client does."""
    connection.execute("SELECT rules.set_tenant(%s)", [tenant.id])


def ids(connection: Connection, statement: str) -> set[UUID]:
    """The first column of what a statement gives."""
    return {row[0] for row in connection.execute(statement.encode()).fetchall()}


def own(world: World, tenant: Tenant) -> set[UUID]:
    """The ids of a tenant and of its rules."""
    rows = world.watcher.execute(
        "SELECT id FROM rules.rules WHERE tenant_id = %s", [tenant.id]
    )
    return {tenant.id} | {rule for (rule,) in rows.fetchall()}


@pytest.fixture
def belongings(world: World) -> dict[Tenant, set[UUID]]:
    """The ids of both."""
    return {tenant: own(world, tenant) for tenant in (world.mine, world.theirs)}


# Prepared statements and plans


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("telling", TELLING)
def test_a_prepared_statement_is_of_the_tenant_that_runs_it(
    app: Connection,
    world: World,
    belongings: dict[Tenant, set[UUID]],
    telling: str,
    mode: str,
) -> None:
    """REQ-TENANT-001: also once its plan is generic, which five runs make it."""
    app.execute("SELECT set_config('plan_cache_mode', %s, true)", [mode])
    world.run(app, f"PREPARE telling AS {TELLING[telling]}", facts=FACTS)
    try:
        for tenant in [world.mine] * 6 + [world.theirs, world.mine, world.theirs]:
            become(app, tenant)
            told = ids(app, "EXECUTE telling")
            assert told
            assert told <= belongings[tenant]
    finally:
        app.execute("DEALLOCATE telling")


@pytest.mark.parametrize("telling", TELLING)
def test_a_statement_that_the_driver_prepares_is_too(
    app: Connection, world: World, belongings: dict[Tenant, set[UUID]], telling: str
) -> None:
    """REQ-TENANT-001, by the protocol's own prepared statements."""
    statement = world.sql(TELLING[telling], facts=FACTS)
    for tenant in [world.mine] * 6 + [world.theirs, world.mine]:
        become(app, tenant)
        rows = app.execute(statement.encode(), prepare=True).fetchall()
        assert rows
        assert {row[0] for row in rows} <= belongings[tenant]


LOOKING = {
    "query": "RETURN QUERY <telling>",
    "execute": "RETURN QUERY EXECUTE $query$<telling>$query$",
    "loop": (
        "FOR v IN SELECT f.x FROM (<telling>) AS f (x) LOOP RETURN NEXT v; END LOOP"
    ),
    "cursor": (
        "OPEN c FOR SELECT f.x FROM (<telling>) AS f (x); LOOP FETCH c INTO v;"
        " EXIT WHEN NOT FOUND; RETURN NEXT v; END LOOP; CLOSE c"
    ),
    "expression": (
        "v := (SELECT f.x FROM (<telling>) AS f (x) ORDER BY x LIMIT 1); RETURN NEXT v"
    ),
    "simple expression": "v := rules.current_tenant_id(); RETURN NEXT v",
}


@pytest.mark.parametrize("label", ["VOLATILE", "STABLE"])
@pytest.mark.parametrize("looking", LOOKING)
@pytest.mark.parametrize("telling", ["rows", "evaluate_all", "join"])
def test_a_plan_that_plpgsql_keeps_is_of_the_tenant_that_runs_it(
    app: Connection,
    world: World,
    belongings: dict[Tenant, set[UUID]],
    telling: str,
    looking: str,
    label: str,
) -> None:
    """REQ-TENANT-001, design section 2: in every way that PL/pgSQL keeps plans."""
    names = {
        "lab": world.user("rules_app"),
        "telling": world.sql(TELLING[telling], facts=FACTS),
        "label": label,
    }
    world.run(
        app,
        "CREATE FUNCTION <lab>.look() RETURNS SETOF uuid LANGUAGE plpgsql <label>"
        f" AS $$DECLARE v uuid; c refcursor; BEGIN {LOOKING[looking]}; END$$",
        **names,
    )
    call = world.sql("SELECT * FROM <lab>.look()", **names)
    for tenant in [world.mine] * 6 + [world.theirs, world.mine]:
        become(app, tenant)
        told = ids(app, call)
        assert told
        assert told <= belongings[tenant]


@pytest.mark.parametrize("language", ["sql", "plpgsql"])
def test_a_resolver_relabelled_immutable_hides_rows_and_shows_none(
    app: Connection, world: World, language: str
) -> None:
    """It is folded into the plan; the policies ask the true one all the same."""
    body = "SELECT rules.current_tenant_id()"
    if language == "plpgsql":
        body = "BEGIN RETURN rules.current_tenant_id(); END"
    world.run(
        app,
        "CREATE FUNCTION <lab>.who() RETURNS uuid LANGUAGE <language> IMMUTABLE"
        " AS '<body>'",
        "SET LOCAL plan_cache_mode = force_generic_plan",
        "PREPARE mine AS SELECT tenant_id FROM rules.rules WHERE tenant_id ="
        " <lab>.who()",
        lab=world.user("rules_app"),
        language=language,
        body=body,
    )
    try:
        assert ids(app, "EXECUTE mine") == {world.mine.id}
        become(app, world.theirs)
        assert ids(app, "EXECUTE mine") <= {world.theirs.id}
    finally:
        app.execute("DEALLOCATE mine")


def test_a_verdict_relabelled_immutable_stays_in_the_plan_it_was_made_for(
    app: Connection, world: World
) -> None:
    """Not defended, see security.md: whoever labels it so asks for it."""
    world.run(
        app,
        "CREATE FUNCTION <lab>.any_match(jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE"
        " AS 'SELECT EXISTS (SELECT FROM rules.match_rules($1))'",
        "SET LOCAL plan_cache_mode = force_generic_plan",
        "PREPARE verdict AS"
        """ SELECT <lab>.any_match('{"Claim": {"Amount": 5000.0}}')""",
        lab=world.user("rules_app"),
    )
    try:
        for tenant in (world.mine, world.theirs):
            become(app, tenant)
            # It matches a rule of mine, and none of theirs.
            assert app.execute("EXECUTE verdict").fetchall() == [(True,)]
    finally:
        app.execute("DEALLOCATE verdict")


def test_a_resolver_relabelled_parallel_safe_is_right_in_workers(
    app: Connection, world: World
) -> None:
    """REQ-TENANT-001."""
    world.run(
        app,
        "CREATE FUNCTION <lab>.who(x integer) RETURNS text LANGUAGE plpgsql"
        " STABLE PARALLEL SAFE AS $$BEGIN RETURN rules.current_tenant_id() || ' '"
        " || (rules.evaluate_expression('1 + 1'))::text; END$$",
        "SET LOCAL force_parallel_mode = on",
        "SET LOCAL parallel_setup_cost = 0",
        "SET LOCAL parallel_tuple_cost = 0",
        lab=world.user("rules_app"),
    )
    for tenant in (world.mine, world.theirs, world.mine):
        become(app, tenant)
        rows = app.execute(
            world.sql(
                "SELECT DISTINCT <lab>.who(version) FROM rules.schemas",
                lab=world.user("rules_app"),
            ).encode()
        ).fetchall()
        assert rows == [(f"{tenant.id} 2",)]


# Labels and owners of functions of one's own


@pytest.mark.parametrize(
    "statement",
    [
        (
            "CREATE FUNCTION <lab>.f() RETURNS uuid LANGUAGE sql LEAKPROOF"
            " AS 'SELECT rules.current_tenant_id()'"
        ),
        "ALTER FUNCTION rules.matches(uuid, jsonb) LEAKPROOF",
        "ALTER FUNCTION rules.current_tenant_id() IMMUTABLE",
        "ALTER FUNCTION rules.evaluate(uuid, jsonb, boolean) SECURITY DEFINER",
        "ALTER FUNCTION rules_internal.cel_runtime() OWNER TO CURRENT_USER",
        (
            "CREATE OR REPLACE FUNCTION rules.current_tenant_id() RETURNS uuid"
            " LANGUAGE sql AS 'SELECT NULL::uuid'"
        ),
        "DROP FUNCTION rules.current_tenant_id() CASCADE",
        "CREATE FUNCTION rules.evaluate(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION <lab>.f() RETURNS text LANGUAGE plpython3u AS 'return 1'",
        "CREATE FUNCTION <lab>.f() RETURNS text LANGUAGE c AS 'libc', 'system'",
        "CREATE FUNCTION <lab>.f() RETURNS text LANGUAGE internal AS 'int4pl'",
        "DO LANGUAGE plpython3u $$import os$$",
        "CREATE EXTENSION pageinspect",
        "CREATE EXTENSION dblink",
    ],
)
def test_what_would_label_or_replace_our_functions_is_refused(
    world: World, me: str, statement: str
) -> None:
    """REQ-SECURITY-002, design section 2."""
    with world.session(me, world.mine) as connection:
        told = world.tell(connection, statement, lab=world.user(me))
    # 0A000 where the server lacks the extension altogether.
    assert told.sqlstate in {"42501", "0A000", "58P01"}


@pytest.mark.parametrize("label", ["SECURITY DEFINER", "SECURITY INVOKER"])
def test_a_function_of_mine_tells_others_what_they_may_know(
    world: World, label: str
) -> None:
    """REQ-TENANT-001: the login decides, not whose function it is."""
    names = {"lab": world.user("rules_tenant"), "label": label}
    callers = [world.user(kind) for kind in ("theirs", "stranger", "unbound")]
    with world.watcher.transaction(force_rollback=True):
        world.run(
            world.watcher,
            "SET LOCAL SESSION AUTHORIZATION <lab>",
            "CREATE FUNCTION <lab>.look() RETURNS SETOF uuid LANGUAGE sql <label>"
            " AS 'SELECT tenant_id FROM rules.rules'",
            "GRANT USAGE ON SCHEMA <lab> TO PUBLIC",
            **names,
        )
        call = world.sql("SELECT * FROM <lab>.look()", **names)
        assert ids(world.watcher, call) == {world.mine.id}
        found = []
        for caller in callers:
            world.run(world.watcher, "SET LOCAL SESSION AUTHORIZATION <c>", c=caller)
            try:
                with world.watcher.transaction():
                    found.append(ids(world.watcher, call))
            except psycopg.errors.InsufficientPrivilege:
                found.append(set())
        assert found == [{world.theirs.id}, set(), set()]


# Cursors


@pytest.mark.parametrize("hold", ["WITHOUT HOLD", "WITH HOLD"])
def test_a_cursor_of_a_bound_login_gives_its_own_rows_whatever_is_set(
    world: World, hold: str
) -> None:
    """REQ-TENANT-001."""
    with world.session("rules_tenant") as connection, connection.transaction():
        world.run(
            connection,
            "DECLARE held CURSOR <hold> FOR SELECT tenant_id FROM rules.rules",
            hold=hold,
        )
        assert ids(connection, "FETCH 1 FROM held") == {world.mine.id}
        connection.execute(
            "SELECT set_config('app.tenant_id', %s, true)", [str(world.theirs.id)]
        )
        try:
            with connection.transaction():
                told = ids(connection, "FETCH ALL FROM held")
        except psycopg.errors.InsufficientPrivilege:
            told = set()
        assert told <= {world.mine.id}
        connection.execute("SELECT set_config('app.tenant_id', '', true)")


def test_a_held_cursor_keeps_the_rows_of_the_tenant_that_opened_it(
    world: World,
) -> None:
    """Not defended, see security.md: it is the session's, as DISCARD ALL knows."""
    with world.session("rules_app") as connection:
        with connection.transaction():
            become(connection, world.mine)
            connection.execute(
                "DECLARE held CURSOR WITH HOLD FOR SELECT tenant_id FROM rules.rules"
            )
        with connection.transaction():
            become(connection, world.theirs)
            assert ids(connection, "FETCH 1 FROM held") == {world.mine.id}
        connection.execute("DISCARD ALL")
        with pytest.raises(psycopg.errors.InvalidCursorName):
            connection.execute("FETCH 1 FROM held")


@pytest.mark.parametrize("scan", ["index", "sequential"])
def test_a_cursor_that_is_open_while_an_application_switches_gives_no_third(
    app: Connection, world: World, scan: str
) -> None:
    """REQ-TENANT-001: rows of tenants that the session itself has set."""
    if scan == "sequential":
        for method in ("indexscan", "bitmapscan", "indexonlyscan"):
            world.run(app, f"SET LOCAL enable_{method} = off")
    app.execute("DECLARE c CURSOR FOR SELECT tenant_id FROM rules.rules")
    assert ids(app, "FETCH 1 FROM c") == {world.mine.id}
    become(app, Tenant("Nobody", 1))
    assert ids(app, "FETCH ALL FROM c") <= {world.mine.id}
    app.execute("CLOSE c")


def test_the_row_under_a_cursor_is_not_changed_for_another_tenant(
    app: Connection, world: World
) -> None:
    """REQ-TENANT-001: WHERE CURRENT OF asks the policy again."""
    app.execute("DECLARE c CURSOR FOR SELECT * FROM rules.rules FOR UPDATE")
    assert app.execute("FETCH 1 FROM c").fetchone()
    become(app, world.theirs)
    for change in ("UPDATE rules.rules SET active = false", "DELETE FROM rules.rules"):
        cursor = app.execute(f"{change} WHERE CURRENT OF c".encode())
        assert cursor.rowcount == 0


# The end of a transaction, of a part of it, and of all that a session has


def test_a_rollback_to_a_savepoint_takes_the_tenant_back(
    app: Connection, world: World
) -> None:
    """REQ-TENANT-001."""
    with app.transaction(force_rollback=True):
        become(app, world.theirs)
    assert ids(app, TELLING["rows"]) == {world.mine.id}
    world.run(
        app,
        "DO $$BEGIN PERFORM rules.set_tenant('<theirs>'); RAISE division_by_zero;"
        " EXCEPTION WHEN division_by_zero THEN NULL; END$$",
    )
    assert ids(app, TELLING["rows"]) == {world.mine.id}


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN"])
def test_the_tenant_ends_with_the_transaction(world: World, end: str) -> None:
    """REQ-TENANT-001: nobody inherits it."""
    with world.session("rules_app") as connection:
        world.run(connection, "BEGIN", "SELECT rules.set_tenant('<mine>')", end)
        for statement in TELLING.values():
            told = world.tell(connection, statement, facts=FACTS)
            assert told.sqlstate == "RE001"


@pytest.mark.parametrize(
    "reset",
    [
        "DISCARD ALL",
        "RESET ALL",
        'RESET "app.tenant_id"',
        "SET app.tenant_id TO DEFAULT",
        "RESET SESSION AUTHORIZATION; RESET ROLE; RESET app.tenant_id",
    ],
)
def test_a_session_that_is_reset_has_no_tenant(world: World, reset: str) -> None:
    """REQ-TENANT-001: what a pooler does between clients."""
    with world.session("rules_app") as connection:
        world.run(
            connection,
            "SELECT set_config('app.tenant_id', '<mine>', false)",
            "SELECT * FROM rules.evaluate_all('<facts>')",
            *reset.split("; "),
            facts=FACTS,
        )
        told = world.tell(connection, TELLING["evaluate_all"], facts=FACTS)
        assert told.sqlstate == "RE001"
    with world.session("rules_tenant") as connection:
        world.run(connection, *reset.split("; "))
        assert ids(connection, TELLING["rows"]) == {world.mine.id}


@pytest.mark.parametrize("table", [*TABLES, "desk.claims"])
def test_row_security_off_is_an_error_and_no_rows(
    world: World, me: str, table: str
) -> None:
    """REQ-SECURITY-002."""
    with world.session(me, world.mine) as connection:
        connection.execute("SET LOCAL row_security = off")
        assert world.tell(connection, f"TABLE {table}").sqlstate == "42501"


@pytest.mark.parametrize("telling", ["evaluate_all", "match_rules", "update"])
def test_row_security_off_stops_our_functions_too(
    world: World, me: str, telling: str
) -> None:
    """REQ-SECURITY-002."""
    with world.session(me, world.mine) as connection:
        connection.execute("SET LOCAL row_security = off")
        told = world.tell(connection, TELLING[telling], facts=FACTS)
        assert told.sqlstate == "42501"
        schema = """SELECT rules.set_schema('{"Claim": {"Amount": "int"}}')"""
        assert world.tell(connection, schema).sqlstate == "42501"


@pytest.mark.parametrize("kind", ["rules_app", "theirs"])
def test_a_prepared_transaction_keeps_no_tenant_and_is_its_makers(
    world: World, kind: str
) -> None:
    """REQ-TENANT-001: two-phase commit."""
    row = world.watcher.execute("SHOW max_prepared_transactions").fetchone()
    if row == ("0",):
        pytest.skip("the server's max_prepared_transactions is 0")
    name = f"pgrules {kind}"
    with world.session("rules_tenant") as mine, world.session(kind) as other:
        world.run(
            mine,
            "BEGIN",
            "UPDATE rules.rules SET active = active",
            "PREPARE TRANSACTION '<name>'",
            name=name,
        )
        try:
            told = world.tell(other, "SELECT * FROM pg_prepared_xacts")
            assert name in told.text
            for end in ("COMMIT", "ROLLBACK"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    other.execute(f"{end} PREPARED '{name}'".encode())
        finally:
            world.run(mine, "ROLLBACK PREPARED '<name>'", name=name)


def test_an_imported_snapshot_is_read_under_ones_own_policies(world: World) -> None:
    """REQ-TENANT-001: a snapshot's name can be guessed, or handed over."""
    with (
        world.session("theirs") as theirs,
        world.session("rules_tenant") as mine,
        theirs.transaction(),
        mine.transaction(),
    ):
        row = theirs.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        world.run(
            mine,
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET TRANSACTION SNAPSHOT '<snapshot>'",
            snapshot=row[0],
        )
        assert ids(mine, TELLING["rows"]) == {world.mine.id}


# Who a session is

TRICKS = [
    "SET SESSION AUTHORIZATION '<victim>'",
    "SET LOCAL SESSION AUTHORIZATION '<victim>'",
    "SET ROLE '<victim>'",
    "SET ROLE rules_owner",
    "SET ROLE rules_admin",
    "SET ROLE postgres",
    "SELECT set_config('role', '<victim>', true)",
    "SELECT set_config('session_authorization', '<victim>', true)",
    "ALTER ROLE '<victim>' PASSWORD 'known'",
    "CREATE ROLE planted LOGIN IN ROLE rules_app",
    "GRANT rules_owner TO CURRENT_USER",
    'GRANT "<victim>" TO CURRENT_USER',
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE ALL SET app.tenant_id = '<theirs>'",
    "SET session_replication_role = replica",
    "SET LOCAL session_preload_libraries = 'auto_explain'",
    "LOAD 'auto_explain'",
    'REASSIGN OWNED BY "<victim>" TO CURRENT_USER',
]


@pytest.mark.parametrize("trick", TRICKS)
def test_nobody_becomes_somebody_else(world: World, me: str, trick: str) -> None:
    """REQ-SECURITY-002."""
    trick = trick.replace("ROLE '<victim>' PASS", 'ROLE "<victim>" PASS')
    with world.session(me, world.mine) as connection:
        told = world.tell(connection, trick, victim=world.user("theirs"))
    # 22023: what is no parameter of theirs to set, by the name of set_config.
    assert told.sqlstate in {"42501", "22023", "55P02"}


@pytest.mark.parametrize("role", ["NONE", "rules_tenant"])
def test_the_role_that_is_set_does_not_change_the_tenant(
    world: World, role: str
) -> None:
    """REQ-TENANT-001: session_user decides."""
    with world.session("rules_tenant", world.mine) as connection:
        world.run(connection, f"SET LOCAL ROLE {role}")
        assert ids(connection, TELLING["rows"]) == {world.mine.id}
        told = world.tell(connection, "SELECT rules.set_tenant('<theirs>')")
        assert told.sqlstate == "42501"


MEMBERSHIPS = {
    "of a group": ("CREATE ROLE <group> IN ROLE rules_tenant", "IN ROLE <group>"),
    "that does not inherit": ("", "NOINHERIT IN ROLE rules_tenant"),
    "of administrators too": ("", "IN ROLE rules_tenant, rules_admin"),
}


@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_however_a_login_is_a_member_it_is_bound(world: World, membership: str) -> None:
    """REQ-TENANT-001: as administrators too, rules are those of the own tenant."""
    group, options = MEMBERSHIPS[membership]
    names = {"group": f"{world.user('rules_tenant')}_group", "login": "tap_member"}
    with world.watcher.transaction(force_rollback=True):
        world.run(
            world.watcher,
            *([group] if group else []),
            f"CREATE ROLE <login> LOGIN {options}",
            "INSERT INTO rules.tenant_logins VALUES ('<mine>', '<login>')",
            "SET LOCAL SESSION AUTHORIZATION <login>",
            "SET LOCAL ROLE rules_tenant",
            **names,
        )
        assert ids(world.watcher, TELLING["rows"]) == {world.mine.id}
        world.run(world.watcher, "SET LOCAL ROLE NONE")
        try:
            with world.watcher.transaction():
                told = ids(world.watcher, TELLING["rows"])
        except psycopg.errors.InsufficientPrivilege:
            told = set()
        assert told <= {world.mine.id}


def test_a_setting_that_comes_with_the_connection_binds_no_other(
    world: World,
) -> None:
    """REQ-TENANT-001: by the connection's options, or kept for the login."""
    login = world.logins["rules_tenant"]
    options = f"-c app.tenant_id={world.theirs.id}"
    with psycopg.connect(login, options=options, autocommit=True) as connection:
        for statement in TELLING.values():
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                world.run(connection, statement, facts=FACTS)
    names = {"login": world.user("rules_tenant")}
    world.run(
        world.watcher, "ALTER ROLE <login> SET app.tenant_id = '<theirs>'", **names
    )
    try:
        with (
            psycopg.connect(login, autocommit=True) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            world.run(connection, TELLING["rows"])
    finally:
        world.run(world.watcher, "ALTER ROLE <login> RESET ALL", **names)


@pytest.mark.parametrize(
    "options", ["-c role=rules_owner", "-c session_authorization=postgres"]
)
def test_a_connection_cannot_begin_as_somebody_else(
    world: World, me: str, options: str
) -> None:
    """REQ-SECURITY-002."""

    def connect() -> tuple[Any, ...] | None:
        with psycopg.connect(world.logins[me], options=options) as connection:
            return connection.execute("SELECT session_user, current_user").fetchone()

    try:
        told = connect()
    except psycopg.OperationalError:
        return
    assert told == (world.user(me), world.user(me))
