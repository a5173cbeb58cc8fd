"""Keys that reach across tenants: a violation tells one of another's rows."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CATALOG = "tests/pgtap/catalog.sql"
KEYS = f"{CATALOG}::REQ-TENANT-001: every key and foreign key starts with the tenant"
INDEXES = f"{CATALOG}::REQ-TENANT-001: every unique index starts with the tenant"

MUTATIONS = (
    Mutation(
        name="rule-names-unique-among-all",
        path="deploy/000011_rules.sql",
        text="CONSTRAINT rules_tenant_id_name_key UNIQUE (tenant_id, name)",
        replacement="CONSTRAINT rules_tenant_id_name_key UNIQUE (name)",
        danger="A name that is refused is a name that another tenant uses.",
        caught_by=(
            KEYS,
            (
                "tests/pgtap/rules.sql::REQ-TENANT-001: ids and names of another tenant"
                " are free"
            ),
        ),
    ),
    Mutation(
        name="rule-ids-unique-among-all",
        path="deploy/000011_rules.sql",
        text="CONSTRAINT rules_pkey PRIMARY KEY (tenant_id, id)",
        replacement="CONSTRAINT rules_pkey PRIMARY KEY (id)",
        danger="An id that is refused is the id of another tenant's rule.",
        caught_by=(
            KEYS,
            f"{CATALOG}::REQ-TENANT-001: every unique index starts with the tenant",
        ),
    ),
    Mutation(
        name="field-names-unique-among-all",
        path="deploy/000012_derived_fields.sql",
        text="UNIQUE (tenant_id, name)",
        replacement="UNIQUE (name)",
        danger="A name that is refused is a derived field of another tenant.",
        caught_by=(KEYS,),
    ),
    Mutation(
        name="one-active-schema-for-all",
        path="deploy/000010_schemas.sql",
        text="ON rules.schemas (tenant_id, active) WHERE active;",
        replacement="ON rules.schemas (active) WHERE active;",
        danger="The first tenant with a schema keeps all others from having one.",
        caught_by=(INDEXES,),
    ),
    Mutation(
        name="changelog-of-any-schema",
        path="deploy/000013_schema_changelog.sql",
        text="    CONSTRAINT schema_changelog_tenant_id_schema_id_fkey\n"
        "    FOREIGN KEY (tenant_id, schema_id)\n"
        "    REFERENCES rules.schemas (tenant_id, id) ON DELETE CASCADE,\n",
        replacement="",
        danger="A changelog entry of one tenant may name a schema of another.",
        caught_by=(
            (
                "tests/pgtap/schema_changelog.sql::A change is of a schema of the same"
                " tenant"
            ),
        ),
    ),
    Mutation(
        name="rules-outlive-their-tenant",
        path="deploy/000011_rules.sql",
        text="    REFERENCES rules.tenants (id) ON DELETE CASCADE,",
        replacement="    REFERENCES rules.tenants (id) ON DELETE RESTRICT,",
        danger="A tenant that asks to be forgotten cannot be deleted.",
        caught_by=(
            f"{CATALOG}::REQ-SCHEMA-006: every foreign key is ON DELETE CASCADE",
            (
                "tests/integration/test_engine.py"
                "::test_deleting_a_tenant_deletes_its_rules_and_no_others"
            ),
        ),
    ),
    Mutation(
        name="login-of-two-tenants",
        path="deploy/000006_tenant_logins.sql",
        text="    CONSTRAINT tenant_logins_login_key UNIQUE (login),\n",
        replacement="",
        danger="A login is bound to two tenants, and gets one of them by chance.",
        caught_by=(
            "tests/pgtap/tenant_logins.sql::A login has one tenant at the most",
        ),
    ),
    Mutation(
        name="samples-of-all-tenants-kept",
        path="deploy/000041_withhold_statistics.sql",
        text="SET STATISTICS 0",
        replacement="SET STATISTICS 100",
        danger="The estimates of EXPLAIN tell what texts other tenants have.",
        caught_by=(
            "tests/pgtap/withhold_statistics.sql::ANALYZE keeps no values",
            (
                "tests/pgtap/withhold_statistics.sql::An expression of another tenant"
                " is estimated as one that nobody has"
            ),
        ),
    ),
    Mutation(
        name="index-without-the-tenant",
        path="deploy/000011_rules.sql",
        text="ON rules.rules (created_at, tenant_id);",
        replacement="ON rules.rules (created_at);",
        danger="EXPLAIN ANALYZE counts the rules of others in a span of time.",
        caught_by=("tests/pgtap/rules.sql::REQ-SCHEMA-007",),
    ),
)
