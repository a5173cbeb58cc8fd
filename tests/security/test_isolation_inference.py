"""What can be inferred of another tenant: from errors, plans, statistics and waiting.

Timing is not defended, and neither is how much there is of all tenants together: see
docs/security.md.
"""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.security.world import TABLES, Connection, Tenant, Told, World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("untouched")]

NOBODY = Tenant("Nobody", 1)

# Errors


def generic(told: Told) -> tuple[str | None, list[str | None]]:
    """The code and the texts of an error, without ids and the time of the call."""
    texts = [
        text
        and re.sub(
            r"\d{4}-\d\d-\d\d [\d:.+]+",
            "<at>",
            re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text),
        )
        for text in told.diagnosis
    ]
    return told.sqlstate, texts


RULE_CALLS = {
    "evaluate": "SELECT rules.evaluate('<rule>', '{}')",
    "evaluate with a trace": "SELECT rules.evaluate('<rule>', '{}', true)",
    "evaluate_batch": "SELECT rules.evaluate_batch('<rule>', ARRAY['{}'::jsonb])",
    "matches": "SELECT rules.matches('<rule>', '{}')",
    "explain_rule": "SELECT rules.explain_rule('<rule>', '{}')",
    "evaluation_cost": "SELECT rules.evaluation_cost('<rule>', '{}')",
    "rule_sql": "SELECT rules.rule_sql('<rule>')",
    "rule_sql of a table": "SELECT rules.rule_sql('<rule>', 'desk.claims')",
    "matching_rows": "SELECT rules.matching_rows('<rule>', NULL::desk.claims)",
    "count_matches": "SELECT rules.count_matches('<rule>', 'desk.claims')",
    "rule_versions": "SELECT rules.rule_versions('<rule>')",
    "compare_rule_versions": "SELECT rules.compare_rule_versions('<rule>', 1, 2)",
    "restore_rule": "SELECT rules.restore_rule('<rule>', 1)",
    "evaluate_as_of": "SELECT rules.evaluate_as_of('<rule>', '{}', clock_timestamp())",
}


@pytest.mark.parametrize("call", RULE_CALLS)
@pytest.mark.parametrize("kind", ["there", "deleted"])
def test_another_tenants_rule_and_an_unknown_one_give_the_same_error(
    session: Connection, world: World, call: str, kind: str
) -> None:
    """REQ-TENANT-001, REQ-TENANT-005: whether it is there or was."""
    theirs = world.theirs.rule if kind == "there" else world.theirs.deleted
    # The first error of a session has another context than the second.
    world.tell(session, RULE_CALLS[call], rule=uuid4())
    told = world.tell(session, RULE_CALLS[call], rule=theirs)
    other = world.tell(session, RULE_CALLS[call], rule=uuid4())
    assert told.sqlstate == "RE010"
    assert generic(told) == generic(other)


def test_every_function_that_takes_a_rule_is_among_those(world: World) -> None:
    """A new one needs its call above."""
    rows = world.watcher.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'rules'::regnamespace"
        " AND 'rule_id' = ANY (proargnames[:pronargs])"
    ).fetchall()
    assert {name for (name,) in rows} == {call.split()[0] for call in RULE_CALLS}


TENANT_CALLS = {
    "set_tenant": "SELECT rules.set_tenant('<tenant>')",
    "setting": (
        "SELECT set_config('app.tenant_id', '<tenant>', true),"
        " rules.current_tenant_id()"
    ),
    "rule": (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES ('<tenant>', 'large', 'true')"
    ),
    "rule that does not compile": (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES ('<tenant>', 'large', 'Claim.<word>Note > 1 +')"
    ),
    "rule of their schema": (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES ('<tenant>', 'another', 'Claim.<word>Note > 1')"
    ),
    "derived field": (
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES ('<tenant>', '<word>Ratio', '<word>Ratio + 1')"
    ),
    "claim": "INSERT INTO desk.claims VALUES ('<tenant>', 1, 1.5)",
    "tenant": "INSERT INTO rules.tenants (id, name) VALUES ('<tenant>', 'planted')",
}


@pytest.mark.parametrize("call", TENANT_CALLS)
def test_another_tenant_and_none_give_the_same_error(world: World, call: str) -> None:
    """REQ-TENANT-001: a bound login does not learn who is there."""
    with world.session("rules_tenant", world.mine) as session:
        world.tell(session, TENANT_CALLS[call], tenant=uuid4())
        told = world.tell(session, TENANT_CALLS[call], tenant=world.theirs.id)
        other = world.tell(session, TENANT_CALLS[call], tenant=NOBODY.id)
    assert told.sqlstate
    assert generic(told) == generic(other)


BROKEN = [
    'SELECT rules.set_schema(\'{"Claim": {"Amount": "string"}}\')',
    "SELECT rules.activate_schema(99)",
    "DELETE FROM rules.derived_fields",
    "UPDATE rules.derived_fields SET name = 'other'",
    "UPDATE rules.rules SET expression = '<word>.Age > \"a\"'",
    "UPDATE rules.rules SET name = 'large'",
    "UPDATE rules.rules SET name = ''",
    "SELECT rules.evaluate('<my_rule>', '[]')",
    "SELECT rules.evaluate_expression('<word>Ratio + 1', '{}')",
    "SELECT rules.check_expression('<word>Ratio + ')",
    "SELECT rules.matching_rows('<my_rule>', NULL::rules.audit_log)",
    "SELECT rules.matching_rows('<my_rule>', NULL::rules.tenant_audit_log)",
    "SELECT rules.count_matches('<my_rule>', 'rules_internal.environments')",
    "SELECT 1 / 0 FROM rules.rules",
    "SELECT name::integer FROM rules.rules",
    "SELECT (definition ->> 'Claim')::numeric FROM rules.schemas",
]


@pytest.mark.parametrize("statement", BROKEN)
def test_an_error_says_nothing_of_the_other_tenant(
    session: Connection, world: World, statement: str
) -> None:
    """REQ-TENANT-001: what fails is looked for in message, detail, hint and context."""
    told = world.tell(session, statement)
    assert told.sqlstate or "check_expression" in statement


# Functions and operators that look at what they are given

LEAKS = {
    "function": "<lab>.leak(<column>::text)",
    "function before": "<lab>.leak(<column>::text) AND tenant_id = '<theirs>'",
    "operator": "<column>::text OPERATOR(<lab>.=~=) ''",
    "case": "CASE WHEN <lab>.leak(<column>::text) THEN true END",
    "cast": "(<column>::text)::integer > 0",
    "division": "1 / (length(<column>::text) - length(<column>::text)) > 0",
    "regular expression": "'a' ~ (<column>::text || '(')",
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("rules.rules", "expression"),
        ("rules.schemas", "definition"),
        ("rules.audit_log", "after"),
        ("rules_internal.environments", "document"),
        ("desk.claims", "id"),
    ],
)
def test_a_condition_of_mine_is_not_run_on_rows_of_others(
    session: Connection, world: World, me: str, leak: str, table: str, column: str
) -> None:
    """REQ-SECURITY-002: however cheap it says it is, and in every scan."""
    names = {"lab": world.user(me), "table": table, "column": column}
    world.run(
        session,
        "CREATE FUNCTION <lab>.leak(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE"
        " COST 0.0000001 AS $$BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END$$",
        "CREATE FUNCTION <lab>.leak(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE"
        " COST 0.0000001 AS 'SELECT <lab>.leak($1)'",
        "CREATE OPERATOR <lab>.=~= (LEFTARG = text, RIGHTARG = text,"
        " FUNCTION = <lab>.leak, RESTRICT = eqsel)",
        **names,
    )
    condition = world.sql(LEAKS[leak], **names)
    statement = world.sql(
        "SELECT tenant_id FROM <table> WHERE <is>", **names, **{"is": condition}
    )
    for off in ("", "indexscan", "bitmapscan"):
        if off:
            world.run(session, f"SET LOCAL enable_{off} = off")
        world.tell(session, statement)
        world.tell(session, f"EXPLAIN ANALYZE {statement}")


def test_such_a_condition_does_run_on_rows_of_mine(
    session: Connection, world: World, me: str
) -> None:
    """Or else the test above could not fail."""
    world.run(
        session,
        "CREATE FUNCTION <lab>.leak(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE"
        " COST 0.0000001 AS $$BEGIN RAISE NOTICE 'seen: %', $1; RETURN true; END$$",
        lab=world.user(me),
    )
    told = world.tell(
        session,
        "SELECT FROM rules.rules WHERE <lab>.leak(expression)",
        lab=world.user(me),
    )
    assert "seen: Claim.HarbourNote" in told.text


# Plans and statistics


def counted(told: Told) -> list[str]:
    """The rows that a plan says it met and left out."""
    return re.findall(r"Rows Removed by \w+(?: \w+)*: \d+|Heap Fetches: \d+", told.text)


PROBES = [
    ("rules.tenants", "name = '{} Limited'"),
    ("rules.tenants", "name >= '{0} ' AND name < '{0}!'"),
    ("rules.tenants", "name LIKE '{} Limited'"),
    ("rules.rules", "name = '{} note'"),
    ("rules.rules", "expression = '{0}.Age > 7'"),
    ("rules.derived_fields", "name = '{}Ratio'"),
    ("rules.schemas", """definition @> '{{"{}": {{}}}}'"""),
    ("rules.audit_log", """after @> '{{"name": "{} note"}}'"""),
]
SCANS = {
    "as planned": (),
    "by an index": ("seqscan", "bitmapscan"),
    "by a bitmap": ("seqscan", "indexscan", "indexonlyscan"),
    "of the whole": ("indexscan", "bitmapscan", "indexonlyscan"),
}


def probe(world: World, table: str, condition: str, word: str) -> str:
    """A query for rows that have a word in them."""
    names = {"table": table, "condition": condition.format(word)}
    return world.sql("SELECT * FROM <table> WHERE <condition>", **names)


def explained(
    world: World,
    session: Connection,
    statement: str,
    scan: str,
    options: str = "ANALYZE, TIMING off, SUMMARY off",
) -> Told:
    """What EXPLAIN tells of a statement, with some ways to scan switched off."""
    with session.transaction(force_rollback=True):
        for method in SCANS[scan]:
            session.execute(f"SET LOCAL enable_{method} = off".encode())
        return world.tell(session, f"EXPLAIN ({options}) {statement}")


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize(("table", "condition"), PROBES)
def test_explain_analyze_counts_the_same_for_what_others_have_and_what_nobody_has(
    session: Connection, world: World, table: str, condition: str, scan: str
) -> None:
    """REQ-TENANT-001: 'Rows Removed by Filter' would tell that a name is there."""
    there, none = (
        explained(world, session, probe(world, table, condition, word), scan)
        for word in (world.theirs.word, "Nobody")
    )
    assert there.sqlstate is None
    assert counted(there) == counted(none)


@pytest.mark.parametrize("scan", ["as planned", "by an index", "by a bitmap"])
@pytest.mark.parametrize(
    "condition",
    [
        "tenant_id = '<tenant>'",
        "tenant_id >= '<tenant>' AND tenant_id <= '<tenant>'",
        "tenant_id = ANY ('{<tenant>}')",
        "tenant_id = '<tenant>' AND name = 'large'",
        "tenant_id = (SELECT '<tenant>'::uuid OFFSET 0)",
        "created_at > '-infinity' AND tenant_id = '<tenant>'",
    ],
)
def test_explain_analyze_counts_no_rows_of_a_tenant_that_is_named(
    session: Connection, world: World, condition: str, scan: str
) -> None:
    """REQ-TENANT-001: nor how many rules it has."""
    told = []
    for tenant in (world.theirs, NOBODY):
        named = world.sql(condition, tenant=tenant.id)
        query = world.sql("SELECT * FROM rules.rules WHERE <named>", named=named)
        told.append(counted(explained(world, session, query, scan)))
    assert told[0] == told[1]


def test_a_plan_tells_that_somebody_has_a_row_at_a_place(
    session: Connection, world: World
) -> None:
    """Not defended, see security.md; what the row says is not told."""
    row = world.watcher.execute(
        "SELECT ctid FROM rules.rules WHERE id = %s", [world.theirs.rule]
    ).fetchone()
    assert row is not None
    told = world.tell(
        session,
        "EXPLAIN (ANALYZE, TIMING off)"
        " SELECT * FROM rules.rules WHERE ctid = '<place>'",
        place=row[0],
    )
    assert counted(told) == ["Rows Removed by Filter: 1"]


@pytest.fixture
def analyzed(world: World) -> None:
    """Statistics as autovacuum would renew them."""
    world.watcher.execute(b"ANALYZE " + ", ".join(TABLES).encode())


@pytest.mark.usefixtures("analyzed")
@pytest.mark.parametrize(
    ("table", "condition"),
    [
        *PROBES,
        ("rules.rules", "expression < '{}'"),
        ("rules.rules", "name >= '{}'"),
        ("rules_internal.environments", "document > '{}'"),
        ("rules.audit_log", "changed_by = '{}'"),
    ],
)
def test_explain_estimates_the_same_for_what_others_have_and_what_nobody_has(
    session: Connection, world: World, table: str, condition: str
) -> None:
    """REQ-TENANT-001: the planner keeps no sample of anybody's values."""
    estimates = []
    for word in (world.theirs.word, "Nobody"):
        statement = probe(world, table, condition, word)
        told = explained(world, session, statement, "as planned", options="COSTS")
        estimates.append(re.findall(r"cost=\S+ rows=\d+", told.text))
    assert estimates[0]
    assert estimates[0] == estimates[1]


@pytest.mark.usefixtures("analyzed")
@pytest.mark.parametrize("view", ["pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"])
def test_statistics_have_no_values(
    session: Connection, world: World, view: str
) -> None:
    """REQ-TENANT-001."""
    told = world.tell(
        session,
        "SELECT * FROM <view> WHERE schemaname IN ('rules', 'rules_internal', 'desk')",
        view=view,
    )
    assert (told.sqlstate, told.rows) == (None, [])
    for table in ("pg_statistic", "pg_statistic_ext_data"):
        assert world.tell(session, f"TABLE {table}").sqlstate == "42501"


# What a session can see of others at work


@pytest.fixture(scope="module")
def busy(world: World) -> Iterator[Connection]:
    """The other tenant in the midst of a transaction that holds all its rows."""
    with (
        world.session("theirs") as connection,
        connection.transaction(force_rollback=True),
    ):
        world.run(
            connection,
            "UPDATE rules.rules SET active = active",
            "UPDATE rules.derived_fields SET expression = expression",
            'UPDATE desk.claims SET "Amount" = "Amount" + 1',
            "INSERT INTO rules.rules (tenant_id, name, expression) VALUES"
            " ('<theirs>', '<word> new', 'true')",
            """SELECT rules.set_schema('{"Claim": {"Amount": "float64",
            "<word>Note": "string"}, "<word>": {"Age": "int"}}')""",
            "SELECT '<word> at work'",
        )
        yield connection


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM pg_stat_activity",
        "SELECT pg_stat_get_activity(NULL)",
        "SELECT * FROM pg_locks",
        "SELECT * FROM pg_stat_progress_analyze",
        "SELECT * FROM pg_prepared_statements",
        "SELECT * FROM pg_cursors",
        "SELECT * FROM pg_stat_user_tables",
        "SELECT * FROM pg_stat_xact_user_tables",
        "SELECT * FROM pg_stat_user_functions",
        "SELECT * FROM pg_settings",
        "SELECT * FROM pg_file_settings",
        "SELECT * FROM pg_hba_file_rules",
        "SELECT * FROM pg_class WHERE relname ~ 'rule'",
        "SELECT obj_description(oid) FROM pg_class",
        "SELECT * FROM rules.schema_migrations",
        "SELECT pg_current_snapshot(), pg_current_xact_id_if_assigned()",
        "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relkind = 'v'",
        "SELECT prosrc FROM pg_proc WHERE pronamespace = 'rules'::regnamespace",
    ],
)
def test_what_the_server_shows_of_its_work_has_no_values_of_others(
    session: Connection, world: World, statement: str
) -> None:
    """REQ-SECURITY-002: names of objects and numbers are there, see security.md."""
    world.tell(session, statement)


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM rules.rules FOR UPDATE",
        "UPDATE rules.rules SET active = active",
        "DELETE FROM rules.rules",
        (
            "INSERT INTO rules.rules (tenant_id, name, expression) VALUES"
            " ('<mine>', '<word> new', 'true')"
        ),
        (
            "INSERT INTO rules.derived_fields (tenant_id, name, expression) VALUES"
            " ('<mine>', '<word>New', '1')"
        ),
        "UPDATE rules.derived_fields SET expression = expression",
        """SELECT rules.set_schema('{"Claim": {"Amount": "float64",
        "HarbourNote": "string"}, "Harbour": {"Age": "int"}}')""",
        "SELECT rules_internal.share_environment('<theirs>')",
        "SELECT rules_internal.share_environment('<mine>')",
        'UPDATE desk.claims SET "Amount" = 5.5',
    ],
)
def test_nobody_waits_for_the_rows_of_another_tenant(
    session: Connection, world: World, statement: str
) -> None:
    """REQ-TENANT-001: or what waits would tell what somebody else writes."""
    session.execute("SET LOCAL lock_timeout = '5s'")
    assert world.tell(session, statement).sqlstate is None


def test_no_advisory_locks_are_taken_that_others_could_take(
    busy: Connection, world: World
) -> None:
    """Anybody can take any: the engine waits for none."""
    rows = world.watcher.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND pid = %s",
        [busy.info.backend_pid],
    ).fetchall()
    assert rows == []


def test_nothing_that_is_written_notifies_anybody(world: World) -> None:
    """A channel has no policy: whoever listens hears."""
    row = world.watcher.execute(
        "SELECT count(*) FROM pg_proc WHERE prosrc ~* '\\mpg_notify\\M|\\mNOTIFY\\s'"
        " AND pronamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)"
    ).fetchone()
    assert row == (0,)
    heard: list[Any] = []
    with world.session("rules_tenant") as mine, world.session("theirs") as theirs:
        for channel in ("rules", "audit_log", "environments", str(world.mine.id)):
            world.run(theirs, f'LISTEN "{channel}"')
        theirs.add_notify_handler(heard.append)
        world.run(mine, "UPDATE rules.rules SET active = active")
        world.run(theirs, "SELECT 1")
    assert heard == []
