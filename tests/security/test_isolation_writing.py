"""Statements that try to write what another tenant has.

Each is tried by an application that has set its tenant, and by a login that is bound
to one. What is told is searched for the other tenant's texts and ids, and the other
tenant's rows are compared afterwards (see ``world`` and ``conftest``).
"""

import psycopg
import pytest

from tests.security.world import HIDDEN, TABLES, Connection, World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("untouched")]

NOTHING = {
    "update by id": (
        "UPDATE rules.rules SET expression = 'true' WHERE id = '<their_rule>'"
        " RETURNING *"
    ),
    "update by tenant": (
        "UPDATE rules.rules SET active = false WHERE tenant_id = '<theirs>' RETURNING *"
    ),
    "update by a join": (
        "UPDATE rules.rules AS r SET active = false FROM (VALUES ('<theirs>'::uuid))"
        " AS v (t) WHERE r.tenant_id = v.t RETURNING r.*"
    ),
    "update in a query": (
        "WITH u AS (UPDATE rules.derived_fields SET expression = '1'"
        " WHERE id = '<their_field>' RETURNING *) SELECT * FROM u"
    ),
    "delete by id": "DELETE FROM rules.rules WHERE id = '<their_rule>' RETURNING *",
    "delete by a join": (
        "DELETE FROM rules.rules AS r USING (VALUES ('<theirs>'::uuid)) AS v (t)"
        " WHERE r.tenant_id = v.t RETURNING r.*"
    ),
    "delete of a derived field": (
        "DELETE FROM rules.derived_fields WHERE id = '<their_field>' RETURNING *"
    ),
    "delete of recorded matches": (
        "DELETE FROM desk.matches WHERE tenant_id = '<theirs>' RETURNING *"
    ),
}


@pytest.mark.parametrize("write", NOTHING)
def test_a_change_of_the_other_tenants_rows_changes_nothing(
    session: Connection, world: World, write: str
) -> None:
    """REQ-TENANT-001, REQ-TENANT-005."""
    told = world.tell(session, NOTHING[write])
    assert (told.sqlstate, told.rows) == (None, [])


RULE = "INSERT INTO rules.rules (tenant_id, id, name, expression) VALUES"
FIELD = "INSERT INTO rules.derived_fields (tenant_id, id, name, expression) VALUES"
PLANTED = "('<theirs>', '<their_rule>', 'large', 'true')"
PLANTED_FIELD = "('<theirs>', '<their_field>', '<word>Ratio', '1')"

# Every unique key that a role may insert under, and every way to meet it.
UPSERTS = {
    f"{table} {target} {action}": (f"{insert} {values} ON CONFLICT {target} {action}")
    for table, insert, values, keys in (
        ("rules", RULE, PLANTED, ("pkey", "tenant_id_name_key")),
        ("derived_fields", FIELD, PLANTED_FIELD, ("pkey", "tenant_id_name_key")),
    )
    for key in keys
    for target in (
        f"ON CONSTRAINT {table}_{key}",
        "(tenant_id, id)" if key == "pkey" else "(tenant_id, name)",
    )
    for action in ("DO NOTHING", "DO UPDATE SET expression = 'true'")
}


@pytest.mark.parametrize("upsert", UPSERTS)
def test_an_upsert_for_the_other_tenant_is_refused_by_every_key(
    session: Connection, world: World, upsert: str
) -> None:
    """REQ-TENANT-001, REQ-PERSIST-007: and as if there were no such row."""
    told = world.tell(session, UPSERTS[upsert])
    assert told.sqlstate == "42501"
    unknown = UPSERTS[upsert].replace("<theirs>", "<nobody>")
    nobody = world.tell(session, unknown, nobody="00000000-0000-4000-8000-00000000000f")
    assert nobody.diagnosis == told.diagnosis


def test_keys_are_known_to_this_suite(world: World) -> None:
    """A new unique key that roles may insert under needs its upserts above."""
    rows = world.watcher.execute(
        "SELECT c.conname FROM pg_constraint AS c"
        " WHERE c.contype IN ('p', 'u', 'x') AND c.connamespace IN"
        " ('rules'::regnamespace, 'rules_internal'::regnamespace)"
        " AND has_any_column_privilege('rules_tenant', c.conrelid, 'INSERT')"
    ).fetchall()
    tried = " ".join(UPSERTS.values())
    assert rows
    assert all(name in tried for (name,) in rows)


MERGES = {
    "into their row": (
        (
            "MERGE INTO rules.rules AS r USING (VALUES ('<theirs>'::uuid)) AS v (t)"
            " ON r.tenant_id = v.t WHEN MATCHED THEN UPDATE SET expression = 'true'"
            " WHEN NOT MATCHED THEN DO NOTHING"
        ),
        None,
    ),
    "deleting their row": (
        (
            "MERGE INTO rules.rules AS r USING (VALUES ('<their_rule>'::uuid)) AS v (i)"
            " ON r.id = v.i WHEN MATCHED THEN DELETE"
        ),
        None,
    ),
    "adding a row for them": (
        (
            "MERGE INTO rules.rules AS r USING (VALUES ('<theirs>'::uuid)) AS v (t)"
            " ON r.tenant_id = v.t WHEN NOT MATCHED THEN"
            " INSERT (tenant_id, name, expression) VALUES (v.t, 'large', 'true')"
        ),
        "42501",
    ),
    "adding under their id": (
        (
            "MERGE INTO rules.derived_fields AS f"
            " USING (VALUES ('<their_field>'::uuid)) AS v (i) ON f.id = v.i"
            " WHEN MATCHED THEN UPDATE SET expression = '2'"
            " WHEN NOT MATCHED THEN INSERT (tenant_id, id, name, expression)"
            " VALUES ('<theirs>', v.i, 'planted', '1')"
        ),
        "42501",
    ),
}


@pytest.mark.parametrize("merge", MERGES)
def test_merge_meets_no_row_of_the_other_tenant(
    session: Connection, world: World, merge: str
) -> None:
    """REQ-TENANT-001."""
    statement, sqlstate = MERGES[merge]
    assert world.tell(session, statement).sqlstate == sqlstate


FORBIDDEN = [
    f"{RULE} {PLANTED}",
    f"{FIELD} {PLANTED_FIELD}",
    "UPDATE rules.rules SET tenant_id = '<theirs>'",
    "UPDATE rules.derived_fields SET tenant_id = '<theirs>'",
    "UPDATE desk.claims SET tenant_id = '<theirs>' WHERE id = 2",
    "INSERT INTO desk.claims VALUES ('<theirs>', 9, 1.5)",
    "INSERT INTO desk.matches VALUES ('<theirs>', 9, '<their_rule>', 'large')",
    (
        "INSERT INTO rules.schemas (tenant_id, version, definition)"
        " VALUES ('<theirs>', 9, '{}')"
    ),
    "UPDATE rules.schemas SET active = true",
    "DELETE FROM rules.schemas",
    "INSERT INTO rules.schema_changelog DEFAULT VALUES",
    "DELETE FROM rules.schema_changelog",
    "INSERT INTO rules.tenants (name) VALUES ('planted')",
    "UPDATE rules.tenants SET name = 'planted'",
    "DELETE FROM rules.tenants",
    "INSERT INTO rules.tenant_logins VALUES ('<theirs>', session_user)",
    "UPDATE rules.tenant_logins SET tenant_id = '<theirs>'",
    "DELETE FROM rules.tenant_logins",
    # The audit is neither forged nor changed.
    (
        "INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, after)"
        " VALUES ('<theirs>', 'rule', '<their_rule>', 'insert', '{}')"
    ),
    (
        "INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, after)"
        " VALUES ('<mine>', 'rule', '<my_rule>', 'insert', '{}')"
    ),
    "UPDATE rules.audit_log SET changed_by = 'somebody else'",
    "DELETE FROM rules.audit_log",
    "DELETE FROM rules.tenant_audit_log",
    "INSERT INTO rules_internal.audit_commits (tenant_id) VALUES ('<mine>')",
    "UPDATE rules_internal.audit_commits SET committed_at = now()",
    "SELECT rules_internal.shorten_audit(now())",
    "SELECT rules_internal.expect_commit('{<theirs>}')",
    # What the engine keeps is its own to keep.
    "UPDATE rules_internal.environments SET document = '{}'",
    "INSERT INTO rules_internal.environments VALUES ('<mine>', '{}')",
    "DELETE FROM rules_internal.rule_keys",
    "UPDATE rules_internal.rule_key_shapes SET shape = ''",
    "DELETE FROM rules_internal.rule_set_tokens",
    "INSERT INTO rules_internal.rule_set_tokens (tenant_id) VALUES ('<theirs>')",
    "SELECT rules_internal.store_environment('<theirs>')",
    "SELECT rules_internal.lock_environment('<theirs>')",
    "SELECT rules_internal.renew_rule_set('<theirs>')",
    "SELECT rules_internal.renew_rule_keys('<theirs>')",
    "SELECT rules_internal.delete_rule_keys('<theirs>', '{<their_rule>}')",
    "SELECT rules_internal.store_rule_keys('<theirs>', '{<their_rule>}', '{true}')",
    "SELECT rules_internal.switch_schema('<theirs>', '<theirs>', true)",
    "DELETE FROM rules.schema_migrations",
    "UPDATE rules.schema_migrations SET name = 'planted'",
    # Tables as a whole.
    *(f"TRUNCATE {table}" for table in (*TABLES, *HIDDEN)),
    *(
        f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"
        for table in (*TABLES, *HIDDEN)
        if table not in {"rules.rules", "rules.derived_fields"}
    ),
    "ALTER TABLE rules.rules DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE rules.rules NO FORCE ROW LEVEL SECURITY",
    "ALTER TABLE rules.rules DISABLE TRIGGER ALL",
    "CREATE POLICY mine ON rules.rules USING (true)",
    "DROP POLICY rules_rules_app ON rules.rules",
    "ALTER POLICY rules_rules_app ON rules.rules USING (true)",
    "CREATE INDEX ON rules.rules (name)",
    "CREATE STATISTICS rules.planted ON name, expression FROM rules.rules",
    "ALTER TABLE rules.rules ALTER name SET STATISTICS 1000",
    "REINDEX TABLE rules.rules",
    "CLUSTER rules.rules USING rules_pkey",
    "COMMENT ON TABLE rules.rules IS 'planted'",
    "CREATE TABLE rules.planted (id int)",
    "CREATE TABLE public.planted (id int)",
    "CREATE TEMPORARY TABLE planted (id int)",
    "CREATE TABLE pg_temp.planted (id int)",
    "CREATE SCHEMA planted",
    "CREATE EVENT TRIGGER planted ON ddl_command_end EXECUTE FUNCTION f()",
    "CREATE PUBLICATION planted FOR TABLE rules.rules",
    "ALTER DATABASE pgrules SET app.tenant_id = '<theirs>'",
    "ALTER ROLE rules_owner LOGIN",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_what_is_not_mine_to_do_is_refused(
    session: Connection, world: World, statement: str
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    assert world.tell(session, statement).sqlstate in {"42501", "42704", "55000"}


def test_privileges_cannot_be_passed_on(session: Connection, world: World) -> None:
    """REQ-SECURITY-002: PostgreSQL warns, and grants nothing."""
    told = world.tell(session, "GRANT SELECT ON rules.rules TO PUBLIC")
    assert "no privileges were granted" in told.text
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("GRANT rules_tenant TO rules_admin")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER SYSTEM SET app.tenant_id = '<theirs>'",
        "CREATE DATABASE planted TEMPLATE pgrules",
        "CREATE TABLESPACE planted LOCATION '/tmp'",
    ],
)
def test_the_cluster_is_not_mine_to_change(
    world: World, me: str, statement: str
) -> None:
    """REQ-SECURITY-002."""
    with (
        world.session(me) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(world.sql(statement).encode())


@pytest.mark.parametrize("kind", ["rules_admin", "unbound", "stranger"])
@pytest.mark.parametrize("table", [*TABLES[1:], "rules_internal.before_deploy"])
def test_the_other_roles_read_and_write_no_tables_of_rules(
    world: World, kind: str, table: str
) -> None:
    """REQ-SECURITY-002: administrators manage tenants, and see no rules."""
    with world.session(kind) as connection:
        for statement in ("TABLE <table>", "DELETE FROM <table>"):
            assert world.tell(connection, statement, table=table).sqlstate == "42501"


# Keys and cascades


@pytest.mark.parametrize(
    ("insert", "given"),
    [
        (RULE, "('<mine>', '<their_rule>', 'another', 'true')"),
        (RULE, "('<mine>', gen_random_uuid(), '<word> note', 'true')"),
        (FIELD, "('<mine>', '<their_field>', 'another', '1')"),
        (FIELD, "('<mine>', gen_random_uuid(), '<word>Ratio', '1')"),
    ],
)
def test_an_id_or_a_name_of_the_other_tenant_is_free(
    session: Connection, world: World, insert: str, given: str
) -> None:
    """REQ-PERSIST-007: a violation would tell that somebody has it."""
    assert world.tell(session, f"{insert} {given}").sqlstate is None


def test_a_violation_shows_no_row(session: Connection, world: World) -> None:
    told = world.tell(session, f"{RULE} ('<mine>', gen_random_uuid(), 'large', 'true')")
    assert told.sqlstate == "23505"
    assert told.diagnosis == (
        'duplicate key value violates unique constraint "rules_tenant_id_name_key"',
        *(None, None, None),
    )


@pytest.mark.parametrize("table", ["rules.tenants", "rules.rules", "rules.schemas"])
def test_a_foreign_key_of_mine_cannot_ask_who_is_there(
    session: Connection, world: World, me: str, table: str
) -> None:
    """REQ-TENANT-001: a foreign key is checked past the policies."""
    told = world.tell(
        session,
        "CREATE TABLE <lab>.probe (t uuid, FOREIGN KEY (t) REFERENCES <table>)",
        lab=world.user(me),
        table=table,
    )
    assert told.sqlstate == "42501"
    assert told.diagnosis[0] is not None
    assert "permission denied" in told.diagnosis[0]


def test_deleting_all_that_i_see_deletes_what_is_mine(
    session: Connection, world: World
) -> None:
    """REQ-TENANT-001, REQ-SCHEMA-006."""
    for table in ("rules.rules", "rules.derived_fields", "desk.claims", "desk.matches"):
        world.run(session, "DELETE FROM <table>", table=table)
    rows = world.tell(session, "TABLE rules.rules").rows
    assert rows == []


def test_deleting_a_tenant_deletes_nothing_of_another(
    world: World, before: dict[str, list[object]]
) -> None:
    """REQ-SCHEMA-006, REQ-TENANT-007."""
    with world.session("rules_admin") as admin, admin.transaction(force_rollback=True):
        admin.execute("DELETE FROM rules.tenants WHERE id = %s", [world.mine.id])
        rows = admin.execute("SELECT id FROM rules.tenants").fetchall()
        assert rows == [(world.theirs.id,)]
    with world.watcher.transaction(force_rollback=True):
        world.watcher.execute("SET LOCAL ROLE rules_admin")
        world.watcher.execute(
            "DELETE FROM rules.tenants WHERE id = %s", [world.mine.id]
        )
        world.watcher.execute("RESET ROLE")
        assert world.theirs_as_it_is() == before


# Triggers and large objects

TRIGGER_FUNCTIONS = [
    "audit_insert",
    "audit_update",
    "audit_delete",
    "audit_tenant",
    "renew_rule_sets",
    "insert_rule_keys",
    "remove_rule_keys",
    "truncate_rule_keys",
    "check_derived_fields",
    "note_commit",
    "compile_rule",
]


@pytest.mark.parametrize("function", TRIGGER_FUNCTIONS)
def test_what_our_triggers_do_cannot_be_had_for_a_table_of_mine(
    session: Connection, world: World, me: str, function: str
) -> None:
    """REQ-SECURITY-002: transition tables of mine would forge entries for anyone."""
    names = {"lab": world.user(me), "function": function}
    world.run(
        session, "CREATE TABLE <lab>.bait (tenant_id uuid, id uuid, a bool)", **names
    )
    told = world.tell(
        session,
        "CREATE TRIGGER bait AFTER INSERT ON <lab>.bait"
        " REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT"
        " EXECUTE FUNCTION rules_internal.<function>('rule', '{}')",
        **names,
    )
    assert told.sqlstate == "42501"


def test_a_trigger_of_mine_sees_what_i_see(
    session: Connection, world: World, me: str
) -> None:
    """REQ-TENANT-001: on my own table; on others' there is none."""
    names = {"lab": world.user(me)}
    world.run(
        session,
        "CREATE TABLE <lab>.bait (found text)",
        "CREATE FUNCTION <lab>.look() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " NEW.found := (SELECT string_agg(r::text, ' ') FROM rules.rules AS r);"
        " RETURN NEW; END$$",
        "CREATE TRIGGER bait BEFORE INSERT ON <lab>.bait"
        " FOR EACH ROW EXECUTE FUNCTION <lab>.look()",
        **names,
    )
    told = world.tell(
        session, "INSERT INTO <lab>.bait VALUES (NULL) RETURNING found", **names
    )
    assert str(world.mine.id) in told.text
    for table in ("rules.rules", "rules.tenants", "rules_internal.environments"):
        refused = world.tell(
            session,
            "CREATE TRIGGER bait BEFORE INSERT ON <table>"
            " FOR EACH ROW EXECUTE FUNCTION <lab>.look()",
            table=table,
            **names,
        )
        assert refused.sqlstate == "42501"


def test_a_row_for_the_other_tenant_does_not_pass_a_recording_trigger(
    session: Connection, world: World
) -> None:
    """REQ-TENANT-003."""
    told = world.tell(
        session, "INSERT INTO desk.claims VALUES ('<theirs>', 9, 99999.5)"
    )
    assert told.sqlstate == "42501"


def test_a_large_object_is_its_makers_own(world: World) -> None:
    """The engine has none; what a login makes no other login reads."""
    with world.session("rules_tenant") as mine, world.session("theirs") as theirs:
        row = mine.execute("SELECT lo_from_bytea(0, 'Harbour')").fetchone()
        assert row is not None
        try:
            for attempt in ("lo_get(%s)", "lo_open(%s, 131072)", "lo_unlink(%s)"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    theirs.execute(f"SELECT {attempt}".encode(), row)
        finally:
            mine.execute("SELECT lo_unlink(%s)", row)
    row = world.watcher.execute("SELECT count(*) FROM pg_largeobject").fetchone()
    assert row == (0,)
