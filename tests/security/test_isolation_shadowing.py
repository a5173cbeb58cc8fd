"""What stands in the place of ours: functions, operators and types of a login's own.

A login that may create in a schema puts that schema first in its search_path. What it
brings must not be run with anybody else's rights, nor decide whose rows it sees. The
same holds for what it tells the core directly: the PL/Python functions that everybody
calls, and what the backend keeps between two logins.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.security.world import Connection, Tenant, World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("untouched")]

FACTS = '{"Claim": {"Amount": 99999.5, "HarbourNote": "", "XanaduNote": ""}}'

# Each tells as whom it runs, and answers what would serve its maker.
_TELLING = "RAISE NOTICE 'run as %', current_user; "
SHADOWS = {
    "the resolver": (
        (
            "CREATE FUNCTION <lab>.current_tenant_id() RETURNS uuid LANGUAGE plpgsql AS"
            f" $$BEGIN {_TELLING} RETURN '<theirs>'; END$$"
        ),
    ),
    "current_setting": (
        (
            "CREATE FUNCTION <lab>.current_setting(text, boolean) RETURNS text"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN '<theirs>'; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.current_setting(text) RETURNS text"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN '<theirs>'; END$$"
        ),
    ),
    "pg_has_role": (
        (
            "CREATE FUNCTION <lab>.pg_has_role(name, name, text) RETURNS boolean"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN true; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.pg_has_role(name, text) RETURNS boolean"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN true; END$$"
        ),
    ),
    "equality": (
        (
            "CREATE FUNCTION <lab>.same(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS"
            f" $$BEGIN {_TELLING} RETURN true; END$$"
        ),
        (
            "CREATE OPERATOR <lab>.= (LEFTARG = uuid, RIGHTARG = uuid,"
            " FUNCTION = <lab>.same)"
        ),
        (
            "CREATE OPERATOR <lab>.<> (LEFTARG = uuid, RIGHTARG = uuid,"
            " FUNCTION = <lab>.same)"
        ),
        (
            "CREATE FUNCTION <lab>.same(text, text) RETURNS boolean LANGUAGE plpgsql AS"
            f" $$BEGIN {_TELLING} RETURN true; END$$"
        ),
        (
            "CREATE OPERATOR <lab>.= (LEFTARG = text, RIGHTARG = text,"
            " FUNCTION = <lab>.same)"
        ),
        (
            "CREATE OPERATOR <lab>.~~ (LEFTARG = text, RIGHTARG = text,"
            " FUNCTION = <lab>.same)"
        ),
    ),
    "functions that ours call": (
        (
            "CREATE FUNCTION <lab>.replace(text, text, text) RETURNS text"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN $1; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.octet_length(text) RETURNS integer"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN 32; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.to_jsonb(anyelement) RETURNS jsonb"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN '{{}}'; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.clock_timestamp() RETURNS timestamptz"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN 'epoch'; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.gen_random_uuid() RETURNS uuid"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN '<theirs>'; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.jsonb_array_length(jsonb) RETURNS integer"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN 0; END$$"
        ),
        (
            "CREATE FUNCTION <lab>.cel_runtime() RETURNS text"
            f" LANGUAGE plpgsql AS $$BEGIN {_TELLING} RETURN 'mine'; END$$"
        ),
    ),
    "types": (
        "CREATE DOMAIN <lab>.uuid AS pg_catalog.text",
        "CREATE DOMAIN <lab>.jsonb AS pg_catalog.text",
        "CREATE TYPE <lab>.evaluation_result AS (rule_id text)",
    ),
    "tables": (
        "CREATE TABLE <lab>.rules AS TABLE rules.rules",
        (
            "CREATE TABLE <lab>.tenant_logins AS SELECT '<theirs>'::uuid AS tenant_id,"
            " session_user AS login"
        ),
        "CREATE TABLE <lab>.environments (tenant_id uuid, document text)",
        "CREATE TABLE <lab>.pg_class (oid oid)",
    ),
}
CALLS = [
    "SELECT tenant_id FROM rules.rules",
    "SELECT id FROM rules.tenants",
    "SELECT rules.current_tenant_id()",
    "SELECT rules.set_tenant('<theirs>')",
    "SELECT * FROM rules.evaluate('<my_rule>', '<facts>')",
    "SELECT * FROM rules.evaluate('<their_rule>', '<facts>')",
    "SELECT * FROM rules.evaluate_all('<facts>')",
    "SELECT * FROM rules.match_rules('<facts>')",
    "SELECT * FROM rules.matching_rows('<my_rule>', NULL::desk.claims, NULL, 'Claim')",
    (
        'SELECT rules.set_schema(\'{"Claim": {"Amount": "float64",'
        ' "HarbourNote": "string"}, "Harbour": {"Age": "int"}}\')'
    ),
    "SELECT rules.activate_schema(1)",
    "UPDATE rules.rules SET expression = 'Claim.Amount > 1.0' WHERE name = 'large'",
    "DELETE FROM rules.rules",
    "UPDATE rules.derived_fields SET expression = '1.0'",
    (
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES ('<theirs>', 'planted', 'true')"
    ),
    'UPDATE desk.claims SET "Amount" = 5.5',
    "SELECT * FROM rules.rule_versions('<my_rule>')",
    "SELECT rules_internal.share_environment('<theirs>')",
]


@pytest.mark.parametrize("shadow", SHADOWS)
def test_what_shadows_ours_is_run_with_nobody_elses_rights(
    session: Connection, world: World, me: str, shadow: str
) -> None:
    """REQ-SECURITY-002, design section 2: SECURITY DEFINER has its own search_path."""
    names = {"lab": world.user(me), "facts": FACTS}
    world.run(
        session,
        *SHADOWS[shadow],
        # Who may not look into a schema is not led there.
        "GRANT USAGE ON SCHEMA <lab> TO PUBLIC",
        "SET LOCAL search_path = <lab>, pg_catalog, rules, rules_internal",
        **names,
    )
    for call in CALLS:
        told = world.tell(session, call, **names)
        runners = set(told.text.split("run as ")[1:])
        assert all(runner.startswith(world.user(me)) for runner in runners), call
        assert world.theirs.word not in told.text, call
        if me == "rules_tenant" and "set_tenant" in call:
            assert told.sqlstate
        if call.startswith("SELECT tenant_id FROM rules.rules"):
            assert {row[0] for row in told.rows} <= {world.mine.id}


def test_a_shadow_is_found_where_nothing_protects_from_it(
    session: Connection, world: World, me: str
) -> None:
    """Or else the test above could not fail."""
    world.run(
        session,
        *SHADOWS["pg_has_role"],
        "SET LOCAL search_path = <lab>, pg_catalog",
        lab=world.user(me),
    )
    told = world.tell(session, "SELECT pg_has_role(session_user, 'rules_app', 'USAGE')")
    assert f"run as {world.user(me)}" in told.text


@pytest.mark.parametrize(
    "statement",
    [
        (
            "CREATE FUNCTION pg_temp.current_tenant_id() RETURNS uuid LANGUAGE sql"
            " AS 'SELECT NULL::uuid'"
        ),
        "CREATE TABLE pg_temp.tenant_logins (tenant_id uuid, login name)",
        "CREATE TEMPORARY VIEW rules AS SELECT 1",
        "CREATE TEMPORARY SEQUENCE s",
        "SELECT 1 AS x INTO TEMPORARY planted",
        "CREATE TYPE pg_temp.uuid AS (x text)",
        (
            "CREATE FUNCTION public.current_tenant_id() RETURNS uuid LANGUAGE sql"
            " AS 'SELECT NULL::uuid'"
        ),
        (
            "CREATE FUNCTION rules_internal.bound_tenant(text) RETURNS uuid"
            " LANGUAGE sql AS 'SELECT NULL::uuid'"
        ),
        "CREATE OPERATOR public.= (FUNCTION = oideq, LEFTARG = oid, RIGHTARG = oid)",
        "CREATE CAST (text AS uuid) WITH INOUT AS IMPLICIT",
        "CREATE CAST (uuid AS text) WITHOUT FUNCTION AS IMPLICIT",
    ],
)
def test_there_is_no_place_to_put_a_shadow_for_others(
    session: Connection, world: World, statement: str
) -> None:
    """REQ-SECURITY-002: neither for temporary objects, nor where all look."""
    assert world.tell(session, statement).sqlstate == "42501"


# What the core is told directly


@pytest.mark.parametrize("kind", ["rules_admin", "stranger"])
def test_the_core_is_for_applications_and_tenants(world: World, kind: str) -> None:
    """REQ-SECURITY-002."""
    row = world.watcher.execute(
        "SELECT count(*) FROM pg_proc WHERE proname LIKE 'cel\\_%%'"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        [world.user(kind)],
    ).fetchone()
    assert row == (0,)


@pytest.mark.parametrize("runtime", ["", "sys", "os", "__builtins__", "pgrules_cel_0"])
def test_the_core_runs_nothing_but_itself(
    session: Connection, world: World, runtime: str
) -> None:
    """REQ-SECURITY-002: a name that is forged is no module."""
    told = world.tell(
        session,
        "SELECT rules_internal.cel_evaluate('<runtime>', 'true', '{}', '{}', false)",
        runtime=runtime,
    )
    assert told.sqlstate == "38000"


def test_the_internal_functions_read_no_other_tenant(
    session: Connection, world: World
) -> None:
    """REQ-TENANT-001: they take a tenant, and the policies decide all the same."""
    for call, found in {
        "SELECT rules_internal.environment('<theirs>')": [("{}",)],
        "SELECT rules_internal.rule_set_key('<theirs>')": [(None,)],
        "SELECT rules_internal.environment_as_of('<theirs>', now())": [("{}",)],
        "SELECT * FROM rules_internal.history('<theirs>', 'rule')": [],
        "SELECT * FROM rules_internal.rules_by_id('<theirs>', '{<their_rule>}')": [],
        "SELECT * FROM rules_internal.candidate_rules('<theirs>', '', "
        "ARRAY['<facts>'::jsonb], NULL)": [],
        "SELECT * FROM rules_internal.match_batch('<theirs>', '', "
        "ARRAY['<facts>'::jsonb], NULL)": [],
    }.items():
        told = world.tell(session, call, facts=FACTS)
        assert (told.sqlstate, told.rows) == (None, found), call


# What a backend keeps from one login to the next

VERDICTS = [
    "SELECT * FROM rules.evaluate('<rule>', '<facts>')",
    "SELECT * FROM rules.evaluate('<rule>', '<facts>', true)",
    "SELECT * FROM rules.evaluate_all('<facts>') ORDER BY 1",
    "SELECT * FROM rules.evaluate_all('<facts>', true) ORDER BY 1",
    "SELECT * FROM rules.match_rules('<facts>') ORDER BY 1",
    "SELECT * FROM rules.match_rules_batch(ARRAY['<facts>'::jsonb]) ORDER BY 1, 2",
    "SELECT * FROM rules.evaluate_batch('<rule>', ARRAY['<facts>'::jsonb, '{}'])",
    "SELECT * FROM rules.explain_rule('<rule>', '<facts>')",
    "SELECT rules.evaluation_cost('<rule>', '<facts>')",
    "SELECT * FROM rules.rule_sql('<rule>')",
    "SELECT * FROM rules.check_expression('Claim.<word>Note > 1')",
    "SELECT rules.evaluate_expression('<word>Ratio > 1.0', '<facts>')",
    "SELECT * FROM rules.evaluate_as_of('<rule>', '<facts>', clock_timestamp())",
    "SELECT rules.count_matches('<rule>', 'desk.claims', NULL, 'Claim')",
]


def verdicts(world: World, connection: Connection, tenant: Tenant) -> list[Any]:
    """What a tenant's rules say, by every function, the second time as well."""
    names = {"rule": tenant.rule, "facts": FACTS, "word": tenant.word}
    return [
        connection.execute(world.sql(verdict, **names).encode()).fetchall()
        for verdict in VERDICTS * 2
    ]


@contextmanager
def one_backend(world: World) -> Iterator[Connection]:
    """A backend in which logins follow one another, by SET SESSION AUTHORIZATION."""
    connection = world.database.connect(autocommit=True, prepare_threshold=None)
    try:
        yield connection
    finally:
        connection.close()


def log_in(
    world: World, connection: Connection, kind: str, *, discard: bool = False
) -> None:
    """Go on as another login; ``discard`` what a pooler can between the two."""
    connection.execute("RESET SESSION AUTHORIZATION")
    if discard:
        connection.execute("DISCARD ALL")
    world.run(connection, "SET SESSION AUTHORIZATION <login>", login=world.user(kind))


@pytest.fixture(scope="module")
def expected(world: World) -> list[Any]:
    """What the other tenant's rules say in a session of its own."""
    with world.session("theirs") as connection:
        return verdicts(world, connection, world.theirs)


def test_verdicts_are_of_the_own_tenant_whoever_was_there_before(
    world: World, expected: list[Any]
) -> None:
    """REQ-TENANT-001, REQ-TENANT-003: programs, environments and sets are kept."""
    assert any(world.theirs.word in repr(verdict) for verdict in expected)
    with one_backend(world) as connection:
        for discard in (False, True):
            log_in(world, connection, "rules_tenant", discard=discard)
            told = verdicts(world, connection, world.mine)
            assert world.theirs.word not in repr(told).replace("XanaduNote", "")
            log_in(world, connection, "theirs", discard=discard)
            assert verdicts(world, connection, world.theirs) == expected


FORGED = {
    "their expressions in other environments": [
        (
            "SELECT rules_internal.cel_evaluate(<runtime>, expression,"
            " document, '<facts>', false) FROM unnest(<expressions>) AS expression,"
            ' unnest(ARRAY[\'{}\', <document>, \'{"derived": {"<word>Ratio": "0"}}\','
            " 'no json']) AS document"
        )
    ],
    "shapes that are wrong": [
        (
            "SELECT rules_internal.cel_keys(<runtime>, <expressions>,"
            " <document>, <shapes> || shape) FROM unnest(ARRAY['[[', '{}',"
            " '[3, [], null, 0]', NULL]) AS shape"
        ),
        (
            "SELECT rules_internal.cel_keys(<runtime>,"
            " ARRAY['other.Field == 1', 'a < 5 && b == \"x\"'], '{}', <shapes>)"
        ),
        (
            "SELECT rules_internal.cel_questions(<runtime>, <shapes>"
            " || '[['::text, ARRAY['<facts>'::jsonb])"
        ),
        (
            "SELECT rules_internal.cel_questions(<runtime>, <shapes>,"
            " ARRAY['[]'::jsonb])"
        ),
    ],
    "candidates and batches that do not fit": [
        (
            "SELECT rules_internal.cel_match_batch(<runtime>,"
            " '{<their_rule>}', '{true}', <document>, ARRAY['<facts>'::jsonb],"
            " '{1,2,3}', '{<their_rule>}')"
        ),
        (
            "SELECT rules_internal.cel_match_batch(<runtime>,"
            " NULL, NULL, NULL, NULL, NULL, NULL)"
        ),
        (
            "SELECT rules_internal.cel_questions(<runtime>, <shapes>,"
            " ARRAY['<facts>'::jsonb, '[1]'::jsonb])"
        ),
        (
            "SELECT rules_internal.cel_evaluate_batch(<runtime>, 'true',"
            " <document>, ARRAY['<facts>'::jsonb, 'null', '[]'])"
        ),
    ],
    "an environment with other things removed": [
        (
            "SELECT rules_internal.cel_check_environment(<runtime>,"
            " <document>, '{<word>Ratio}', <expressions>)"
        ),
        (
            "SELECT rules_internal.cel_check(<runtime>, expression,"
            ' \'{"schema": {"Claim": {"Amount": "string"}}}\')'
            " FROM unnest(<expressions>) AS expression"
        ),
        (
            "SELECT rules_internal.cel_sql(<runtime>, expression,"
            ' <document>, \'{"row": "x", "facts": "y"}\')'
            " FROM unnest(<expressions>) AS expression"
        ),
    ],
    "facts that shadow fields": [
        (
            'SELECT * FROM rules.evaluate_all(\'{"<word>Ratio": 1, "Claim": 7,'
            ' "__class__": {}, "variables": []}\')'
        ),
        "SELECT rules.evaluate_expression('<word>Ratio', '{\"<word>Ratio\": 5}')",
        'SELECT * FROM rules.match_rules(\'{"Claim": {"__proto__": 1}}\')',
    ],
}


@pytest.mark.parametrize("forged", FORGED)
def test_nothing_that_a_login_tells_the_core_changes_the_verdicts_of_the_next(
    world: World, expected: list[Any], forged: str
) -> None:
    """REQ-TENANT-001: even one that has guessed the other's texts to the letter."""

    def literal(column: str, table: str) -> str:
        row = world.watcher.execute(
            world.sql(
                "SELECT quote_literal(array_agg(<column>::text)) || '::text[]'"
                " FROM <table> WHERE tenant_id = '<theirs>'",
                column=column,
                table=table,
            ).encode()
        ).fetchone()
        assert row is not None
        return str(row[0])

    document = literal("document", "rules_internal.environments")
    names = {
        "runtime": "rules_internal.cel_runtime()",
        "facts": FACTS,
        "expressions": literal("expression", "rules.rules"),
        "shapes": literal("shape", "rules_internal.rule_key_shapes"),
        "document": f"({document})[1]",
    }
    for first in (True, False):
        with one_backend(world) as connection:
            if not first:
                log_in(world, connection, "theirs")
                assert verdicts(world, connection, world.theirs) == expected
            log_in(world, connection, "rules_tenant")
            for statement in FORGED[forged]:
                query = world.sql(world.sql(statement, **names), **names)
                told = world.tell(connection, query)
                # It did come as far as the core.
                assert (told.sqlstate or "RE099")[:2] != "42", told.text
            log_in(world, connection, "theirs")
            assert verdicts(world, connection, world.theirs) == expected


def test_one_text_in_two_environments_is_two_programs(world: World) -> None:
    """REQ-TENANT-001: a schema or derived field of another tenant is never served."""
    with world.session("rules_app", world.mine) as app:
        for tenant, value, kind in (
            (world.mine, 1, "int"),
            (world.theirs, 2, "string"),
        ):
            schema = {
                "Claim": {"Amount": "float64", f"{tenant.word}Note": "string"},
                tenant.word: {"Age": "int"},
                "Same": {"Kind": kind},
            }
            app.execute("SELECT rules.set_tenant(%s)", [tenant.id])
            app.execute("SELECT rules.set_schema(%s)", [json.dumps(schema)])
            world.run(
                app,
                "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
                " VALUES ('<tenant>', 'Shared', '<value>')",
                "INSERT INTO rules.rules (tenant_id, name, expression)"
                " VALUES ('<tenant>', 'same', 'Shared == 1')",
                tenant=tenant.id,
                value=value,
            )
        for _ in range(3):
            for tenant, matched in ((world.mine, True), (world.theirs, False)):
                app.execute("SELECT rules.set_tenant(%s)", [tenant.id])
                row = app.execute(
                    "SELECT (rules.evaluate(id, '{}')).matched,"
                    " (SELECT a.matched FROM rules.evaluate_all('{}') AS a"
                    " WHERE a.rule_id = id),"
                    " EXISTS (SELECT FROM rules.match_rules('{}') AS m"
                    " WHERE m.rule_id = id),"
                    " (SELECT count(*) > 0 FROM"
                    " rules.check_expression('Same.Kind == 1'))"
                    " FROM rules.rules WHERE name = 'same'"
                ).fetchone()
                assert row == (matched, matched, matched, not matched)


def test_a_backend_keeps_the_language_and_nothing_else_in_its_python(
    world: World,
) -> None:
    """REQ-TENANT-001: GD has the core under its hash; the rest is the core's caches."""
    with one_backend(world) as connection:
        log_in(world, connection, "theirs")
        verdicts(world, connection, world.theirs)
        connection.execute("RESET SESSION AUTHORIZATION")
        world.run(
            connection,
            "DO LANGUAGE plpython3u $$import sys\n"
            "kept = [key for key in GD if not key.startswith('pgrules_cel_')]\n"
            "assert kept == [], kept\n"
            "assert len(GD) == 1\n"
            "import builtins\n"
            "words = [name for name in vars(builtins) if '<word>' in name]\n"
            "words += [name for name in sys.modules if '<word>' in name]\n"
            "assert words == []$$",
        )


FORGED_SET = (
    "SELECT rules_internal.cel_evaluate_set(rules_internal.cel_runtime(),"
    " rules_internal.rule_set_key('<tenant>'), '{<their_rule>}', '{forged}',"
    " '{true}', rules_internal.environment('<tenant>'), '{}', false)"
)


@pytest.mark.parametrize("tenant", ["mine", "theirs"])
def test_nobody_gives_a_session_rules_to_keep_under_a_key(
    session: Connection, world: World, tenant: str
) -> None:
    """REQ-TENANT-001: evaluate_all would serve them, and no audit would know."""
    tenants = {"mine": world.mine.id, "theirs": world.theirs.id}
    told = world.tell(session, FORGED_SET, tenant=tenants[tenant])
    assert told.sqlstate == "42501"


def test_rules_that_are_kept_under_a_key_are_served(
    world: World, expected: list[Any]
) -> None:
    """Or else the tests above could not fail: a superuser's forgery is seen."""
    with one_backend(world) as connection:
        world.run(connection, FORGED_SET, tenant=world.theirs.id)
        log_in(world, connection, "theirs")
        told = verdicts(world, connection, world.theirs)
        assert "forged" in repr(told)
        assert told != expected
