"""Statements that try to read what another tenant has.

Each is tried by an application that has set its tenant, and by a login that is bound
to one. What is told is searched for the other tenant's texts and ids, and the other
tenant's rows are compared afterwards (see ``world`` and ``conftest``).
"""

import pytest

from tests.security.world import HIDDEN, TABLES, Connection, World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("untouched")]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_shows_the_rows_of_my_tenant_alone(
    session: Connection, world: World, table: str
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    column = "id" if table == "rules.tenants" else "tenant_id"
    names = {"table": table, "column": column}
    told = world.tell(session, "SELECT <column> FROM <table>", **names)
    assert {tenant for (tenant,) in told.rows} == {world.mine.id}
    named = world.tell(
        session, "SELECT * FROM <table> WHERE <column> = '<theirs>'", **names
    )
    assert named.rows == []


@pytest.mark.parametrize("table", HIDDEN)
def test_what_is_for_administrators_is_refused(
    session: Connection, world: World, table: str
) -> None:
    """REQ-SECURITY-002."""
    assert world.tell(session, f"TABLE {table}").sqlstate == "42501"


READS = {
    "by id": "SELECT * FROM rules.rules WHERE id = '<their_rule>'",
    "by the text of the tenant": (
        "SELECT * FROM rules.rules WHERE tenant_id::text = '<theirs>'"
    ),
    "by name": "SELECT * FROM rules.rules WHERE name LIKE '<word>%'",
    "by the whole row": "SELECT * FROM rules.rules AS r WHERE r::text LIKE '%<word>%'",
    "by its JSON": (
        "SELECT * FROM rules.schemas AS s WHERE to_jsonb(s)::text LIKE '%<word>%'"
    ),
    "by containment": (
        """SELECT * FROM rules.schemas WHERE definition @> '{"<word>": {}}'"""
    ),
    "by an outer join": (
        "SELECT r.* FROM (VALUES ('<theirs>'::uuid)) AS v (t)"
        " JOIN rules.rules AS r ON r.tenant_id = v.t"
    ),
    "by a lateral sub-query": (
        "SELECT f.* FROM (VALUES ('<theirs>'::uuid)) AS v (t) CROSS JOIN LATERAL"
        " (SELECT * FROM rules.rules AS r WHERE r.tenant_id = v.t OFFSET 0) AS f"
    ),
    "by a materialized query": (
        "WITH all_rules AS MATERIALIZED (SELECT * FROM rules.rules)"
        " SELECT * FROM all_rules WHERE tenant_id = '<theirs>'"
    ),
    "by a recursive query": (
        "WITH RECURSIVE r AS (SELECT '<theirs>'::uuid AS t, 1 AS n UNION ALL"
        " SELECT rules.tenant_id, n + 1 FROM r JOIN rules.rules"
        " ON rules.tenant_id = r.t WHERE n < 3) SELECT * FROM r WHERE n > 1"
    ),
    "by a range of ids": (
        "SELECT * FROM rules.rules WHERE tenant_id >= '<theirs>'"
        " AND tenant_id <= '<theirs>'"
    ),
    "by an array": "SELECT * FROM rules.rules WHERE tenant_id = ANY ('{<theirs>}')",
    "by either": (
        "SELECT * FROM rules.rules WHERE tenant_id = '<theirs>' OR id = '<their_rule>'"
    ),
    "by set operations": (
        "SELECT * FROM rules.rules EXCEPT SELECT * FROM rules.rules"
        " WHERE tenant_id = '<mine>'"
    ),
    "by locking": "SELECT * FROM rules.rules WHERE id = '<their_rule>' FOR UPDATE",
    "by sharing": (
        "SELECT * FROM rules.tenants WHERE id = '<theirs>' FOR KEY SHARE SKIP LOCKED"
    ),
    "by grouping": (
        "SELECT tenant_id FROM rules.rules GROUP BY tenant_id"
        " HAVING tenant_id = '<theirs>'"
    ),
    "of the audit": "SELECT * FROM rules.audit_log WHERE subject_id = '<their_rule>'",
    "of the deleted": (
        "SELECT * FROM rules.audit_log WHERE subject_id = '<their_deleted>'"
    ),
    "of recorded matches": "SELECT * FROM desk.matches WHERE tenant_id = '<theirs>'",
}


@pytest.mark.parametrize("read", READS)
def test_a_query_for_the_other_tenant_finds_nothing(
    session: Connection, world: World, read: str
) -> None:
    """REQ-TENANT-001, REQ-SECURITY-002."""
    if "FOR KEY SHARE" in READS[read]:
        # To lock a row takes the right to change it.
        assert world.tell(session, READS[read]).sqlstate == "42501"
        return
    told = world.tell(session, READS[read])
    assert (told.sqlstate, told.rows) == (None, [])


EXPORTS = [
    "SELECT table_to_xml('rules.rules', true, false, '')",
    "SELECT query_to_xml('SELECT * FROM rules.audit_log', true, false, '')",
    "SELECT schema_to_xml('rules_internal', true, false, '')",
    "SELECT jsonb_agg(r) FROM rules.rules AS r",
    "SELECT array_agg(r) FROM rules.derived_fields AS r",
    "SELECT * FROM rules.rules TABLESAMPLE SYSTEM (100)",
    "SELECT ctid, xmin, xmax, tableoid, r.* FROM rules.rules AS r",
    (
        "SELECT r.* FROM generate_series(0, 9) AS page,"
        " generate_series(1, 200) AS line, rules.rules AS r"
        " WHERE r.ctid = format('(%s,%s)', page, line)::tid"
    ),
    (
        "SELECT r.* FROM generate_series(1, 200) AS line, rules.rules AS r"
        " WHERE r.ctid = currtid2('rules.rules', format('(0,%s)', least(line, 4))::tid)"
    ),
    "SELECT row(r.*) FROM rules.schema_changelog AS r",
]


@pytest.mark.parametrize("export", EXPORTS)
def test_whatever_form_a_table_is_given_in_it_has_no_rows_of_others(
    session: Connection, world: World, export: str
) -> None:
    """REQ-TENANT-001: nor does a row's place get at it."""
    told = world.tell(session, export)
    assert told.sqlstate is None or "schema_to_xml" in export or "currtid2" in export


def test_a_parallel_plan_reads_no_rows_of_others(
    session: Connection, world: World
) -> None:
    """REQ-TENANT-001: workers know the tenant, too."""
    for setting in (
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
        "min_parallel_table_scan_size = 0",
        "enable_indexscan = off",
        "enable_bitmapscan = off",
    ):
        session.execute(f"SET LOCAL {setting}".encode())
    plan = world.tell(session, "EXPLAIN SELECT count(*) FROM rules.audit_log")
    assert "Workers Planned" in plan.text
    told = world.tell(session, "SELECT * FROM rules.audit_log")
    assert {row[0] for row in told.rows} == {world.mine.id}


# COPY


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", ["COPY {} TO STDOUT", "COPY (TABLE {}) TO STDOUT"])
def test_copy_gives_the_rows_of_my_tenant_alone(
    session: Connection, world: World, table: str, form: str
) -> None:
    """REQ-TENANT-001."""
    with session.cursor().copy(form.format(table).encode()) as copy:
        text = b"".join(bytes(part) for part in copy).decode()
    assert str(world.mine.id) in text
    world.check(text)


@pytest.mark.parametrize(
    "columns", ["rules (tenant_id, name, expression)", "rules", "audit_log"]
)
def test_copy_writes_to_no_table_of_tenants(
    session: Connection, world: World, columns: str
) -> None:
    """REQ-TENANT-001: PostgreSQL copies into none that has row-level security."""
    told = world.tell(session, f"COPY rules.{columns} FROM STDIN")
    assert told.sqlstate in {"42501", "0A000"}


@pytest.mark.parametrize(
    "copy",
    [
        "COPY rules.rules TO '/tmp/rules.txt'",
        "COPY rules.rules TO PROGRAM 'cat'",
        "COPY desk.claims FROM '/etc/passwd'",
        "COPY desk.claims FROM PROGRAM 'id'",
    ],
)
def test_copy_reaches_no_file_and_no_program(
    session: Connection, world: World, copy: str
) -> None:
    """REQ-SECURITY-002."""
    assert world.tell(session, copy).sqlstate in {"42501", "0A000"}


# Views

VIEWS = {
    "plain": "CREATE VIEW <lab>.all_rules AS TABLE rules.rules",
    "with a barrier": (
        "CREATE VIEW <lab>.all_rules WITH (security_barrier) AS TABLE rules.rules"
    ),
    "of the invoker": (
        "CREATE VIEW <lab>.all_rules WITH (security_invoker) AS TABLE rules.rules"
    ),
    "materialized": "CREATE MATERIALIZED VIEW <lab>.all_rules AS TABLE rules.rules",
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_mine_shows_what_i_may_see(
    session: Connection, world: World, me: str, view: str
) -> None:
    """REQ-TENANT-001."""
    names = {"lab": world.user(me)}
    world.run(session, VIEWS[view], **names)
    told = world.tell(session, "SELECT tenant_id FROM <lab>.all_rules", **names)
    assert {tenant for (tenant,) in told.rows} == {world.mine.id}


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "materialized"])
def test_a_view_shows_each_reader_its_own_tenant(world: World, view: str) -> None:
    """REQ-TENANT-001: whose view it is makes no difference to the resolver."""
    names = {"lab": world.user("rules_tenant"), "reader": world.user("theirs")}
    with world.watcher.transaction(force_rollback=True):
        world.run(
            world.watcher,
            "SET LOCAL SESSION AUTHORIZATION <lab>",
            VIEWS[view],
            "GRANT USAGE ON SCHEMA <lab> TO <reader>",
            "GRANT SELECT ON <lab>.all_rules TO <reader>",
            "SET LOCAL SESSION AUTHORIZATION <reader>",
            **names,
        )
        rows = world.watcher.execute(
            world.sql(
                "SELECT DISTINCT tenant_id FROM <lab>.all_rules", **names
            ).encode()
        ).fetchall()
    assert rows == [(world.theirs.id,)]


def test_a_superusers_view_of_the_invoker_keeps_to_the_policies(
    session: Connection, world: World
) -> None:
    """Without security_invoker it reads as a superuser does, see security.md."""
    world.watcher.execute(
        "CREATE OR REPLACE VIEW desk.all_rules WITH (security_invoker) AS"
        " SELECT * FROM rules.rules;"
        " CREATE OR REPLACE VIEW desk.all_tenants AS SELECT tenant_id FROM rules.rules;"
        " GRANT SELECT ON desk.all_rules, desk.all_tenants TO rules_app, rules_tenant"
    )
    told = world.tell(session, "SELECT tenant_id FROM desk.all_rules")
    assert {tenant for (tenant,) in told.rows} == {world.mine.id}
    rows = session.execute("SELECT DISTINCT tenant_id FROM desk.all_tenants").fetchall()
    assert len(rows) == 2
