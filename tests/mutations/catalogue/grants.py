"""Privileges that a role must not have: of tables, columns, functions, other roles."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

PRIVILEGES = "tests/pgtap/privileges.sql"
TOO_MUCH = f"{PRIVILEGES}::No role has a privilege on a table that it should not have"
NOT_TO_BE_CALLED = f"{PRIVILEGES}::Nobody may call a function that he should not call"
ISOLATION = "tests/pgtap/isolation.sql"
CATALOG = "tests/pgtap/catalog.sql"

MUTATIONS = (
    Mutation(
        name="truncate-granted",
        path="deploy/000011_rules.sql",
        text="GRANT SELECT, DELETE ON rules.rules TO rules_app, rules_tenant;",
        replacement="GRANT SELECT, DELETE, TRUNCATE ON rules.rules"
        " TO rules_app, rules_tenant;",
        danger="TRUNCATE knows no policies: one login empties every tenant.",
        caught_by=(
            TOO_MUCH,
            f"{PRIVILEGES}::rules_tenant has no TRUNCATE on",
        ),
    ),
    Mutation(
        name="references-granted",
        path="deploy/000012_derived_fields.sql",
        text="GRANT SELECT, DELETE ON rules.derived_fields TO rules_app, rules_tenant;",
        replacement="GRANT SELECT, DELETE, REFERENCES ON rules.derived_fields"
        " TO rules_app, rules_tenant;",
        danger="A foreign key of one's own tells which ids other tenants have.",
        caught_by=(TOO_MUCH, f"{PRIVILEGES}::rules_app has no REFERENCES on"),
    ),
    Mutation(
        name="audit-deleted-by-applications",
        path="deploy/000036_audit_log.sql",
        text="GRANT SELECT ON rules.audit_log TO rules_app, rules_tenant;",
        replacement="GRANT SELECT, DELETE ON rules.audit_log TO rules_app,"
        " rules_tenant;",
        danger="Whoever did it deletes what tells of it.",
        caught_by=(
            TOO_MUCH,
            (
                "tests/pgtap/audit_log.sql::An application cannot: DELETE FROM"
                " rules.audit_log"
            ),
        ),
    ),
    Mutation(
        name="bindings-read-by-logins",
        path="deploy/000006_tenant_logins.sql",
        text="GRANT SELECT, DELETE ON rules.tenant_logins TO rules_admin;",
        replacement="GRANT SELECT, DELETE ON rules.tenant_logins TO rules_admin;\n"
        "GRANT SELECT, INSERT ON rules.tenant_logins TO rules_app;",
        danger="An application binds logins to tenants.",
        caught_by=(TOO_MUCH,),
    ),
    Mutation(
        name="versions-written-past-the-functions",
        path="deploy/000010_schemas.sql",
        text="GRANT SELECT ON rules.schemas TO rules_app, rules_tenant;",
        replacement="GRANT SELECT, INSERT ON rules.schemas TO rules_app, rules_tenant;",
        danger="A schema comes into force that no rule was compiled against.",
        caught_by=(
            TOO_MUCH,
            (
                "tests/integration/test_environments.py"
                "::test_versions_and_changelog_cannot_be_written_past_the_functions"
            ),
        ),
    ),
    Mutation(
        name="changelog-written-by-hand",
        path="deploy/000013_schema_changelog.sql",
        text="GRANT SELECT ON rules.schema_changelog TO rules_app, rules_tenant;",
        replacement="GRANT SELECT, INSERT ON rules.schema_changelog"
        " TO rules_app, rules_tenant;",
        danger="Changes of the schema that never were, under anybody's name.",
        caught_by=(
            TOO_MUCH,
            "tests/pgtap/schema_changelog.sql::Nobody invents a change",
        ),
    ),
    Mutation(
        name="rules-given-away",
        path="deploy/000011_rules.sql",
        text="GRANT UPDATE (name, expression, active) ON rules.rules",
        replacement="GRANT UPDATE (tenant_id, name, expression, active) ON rules.rules",
        danger="Only the policy's check is left between a rule and another tenant.",
        caught_by=(TOO_MUCH,),
    ),
    Mutation(
        name="time-of-a-rule-chosen",
        path="deploy/000011_rules.sql",
        text="GRANT INSERT (tenant_id, id, name, expression, active)",
        replacement="GRANT INSERT (tenant_id, id, name, expression, active,"
        " created_at)",
        danger="A new rule goes before the old ones, and looks as old.",
        caught_by=(TOO_MUCH,),
    ),
    Mutation(
        name="environment-written-by-logins",
        path="deploy/000014_environments.sql",
        text="rules_internal.environment(uuid),\n"
        "rules_internal.share_environment(uuid)\nTO rules_app, rules_tenant;",
        replacement="rules_internal.environment(uuid),\n"
        "rules_internal.store_environment(uuid),\n"
        "rules_internal.share_environment(uuid)\nTO rules_app, rules_tenant;",
        danger="A function that trusts its caller's tenant is for everyone to call.",
        caught_by=(NOT_TO_BE_CALLED,),
    ),
    Mutation(
        name="audit-shortened-by-administrators",
        path="deploy/000040_shorten_audit.sql",
        text="REVOKE ALL ON FUNCTION rules_internal.shorten_audit(timestamptz, uuid)"
        " FROM public;",
        replacement="REVOKE ALL ON FUNCTION"
        " rules_internal.shorten_audit(timestamptz, uuid) FROM public;\n"
        "GRANT EXECUTE ON FUNCTION rules_internal.shorten_audit(timestamptz, uuid)"
        " TO rules_admin;",
        danger="An administrator's way to cover his tracks.",
        caught_by=(NOT_TO_BE_CALLED,),
    ),
    Mutation(
        name="evaluate-for-everybody",
        path="deploy/000018_evaluate.sql",
        text="rules_internal.raise_null(text, text),\n"
        "rules.evaluate(uuid, jsonb, boolean)\nFROM public;",
        replacement="rules_internal.raise_null(text, text)\nFROM public;",
        danger="PostgreSQL lets everybody call a new function.",
        caught_by=(
            f"{CATALOG}::No function is for everyone",
            f"{PRIVILEGES}::PUBLIC may call nothing",
        ),
    ),
    Mutation(
        name="core-for-everybody",
        path="deploy/000015_cel.sql",
        text="'REVOKE ALL ON FUNCTION rules_internal.%I FROM public'",
        replacement="'REVOKE ALL ON FUNCTION rules_internal.%I FROM rules_app'",
        danger="A stranger's expressions keep the server busy.",
        caught_by=(
            f"{CATALOG}::No function is for everyone",
            f"{PRIVILEGES}::PUBLIC may call nothing",
        ),
    ),
    Mutation(
        name="core-owned-by-a-role",
        path="deploy/000015_cel.sql",
        text="        EXECUTE format(\n"
        "            'REVOKE ALL ON FUNCTION rules_internal.%I FROM public',"
        " v_function.name\n"
        "        );\n",
        replacement="        EXECUTE format(\n"
        "            'REVOKE ALL ON FUNCTION rules_internal.%I FROM public',"
        " v_function.name\n"
        "        );\n"
        "        EXECUTE format(\n"
        "            'ALTER FUNCTION rules_internal.%I OWNER TO rules_owner',"
        " v_function.name\n"
        "        );\n",
        danger="Who gets at the owner of Python code makes it run as somebody else.",
        caught_by=(
            (
                f"{CATALOG}::Functions belong to rules_owner, and those in PL/Python to"
                " a superuser"
            ),
        ),
    ),
    Mutation(
        name="applications-made-administrators",
        path="deploy/000001_roles.sql",
        text="END;\n$roles$;\n",
        replacement="    GRANT rules_admin TO rules_app;\nEND;\n$roles$;\n",
        danger="Every application reads and binds the logins of all tenants.",
        caught_by=(
            "tests/pgtap/roles.sql::No group role has the rights of another",
            (
                "tests/security/test_isolation_reading.py"
                "::test_what_is_for_administrators_is_refused"
            ),
        ),
    ),
    Mutation(
        name="owner-logs-in",
        path="deploy/000001_roles.sql",
        text="'CREATE ROLE %I NOLOGIN'",
        replacement="'CREATE ROLE %I LOGIN'",
        danger="The owner of the tables is an account that somebody can guess at.",
        caught_by=(
            (
                "tests/pgtap/roles.sql::rules_owner neither logs in nor passes by"
                " row-level security (REQ-SECURITY-002)"
            ),
        ),
    ),
    Mutation(
        name="temporary-objects-allowed",
        path="deploy/000002_namespaces.sql",
        text="'REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC'",
        replacement="'REVOKE CREATE ON DATABASE %I FROM PUBLIC'",
        danger="A temporary table of the same name stands in for one of ours.",
        caught_by=(
            "tests/pgtap/namespaces.sql::rules_tenant has no TEMPORARY on the database",
            f"{ISOLATION}::A stranger: CREATE TEMPORARY TABLE",
        ),
    ),
    Mutation(
        name="schema-for-everybody",
        path="deploy/000002_namespaces.sql",
        text="GRANT USAGE ON SCHEMA rules TO rules_app, rules_tenant, rules_admin;",
        replacement="GRANT USAGE ON SCHEMA rules TO public;",
        danger="A stranger is one forgotten REVOKE away from everything in it.",
        caught_by=("tests/pgtap/namespaces.sql::PUBLIC has no USAGE on rules",),
    ),
    Mutation(
        name="grant-handed-on",
        path="deploy/000011_rules.sql",
        text="ON rules.rules TO rules_app, rules_tenant;\nGRANT UPDATE (name",
        replacement="ON rules.rules TO rules_app, rules_tenant WITH GRANT OPTION;\n"
        "GRANT UPDATE (name",
        danger="A login gives what it may do to logins of its own choice.",
        caught_by=(TOO_MUCH,),
    ),
)
