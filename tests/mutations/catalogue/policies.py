"""Row-level security: which rows a policy shows, which it lets in, and to whom."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

OWN_ROWS = "USING (tenant_id = rules.current_tenant_id())"
OWN_WRITES = "WITH CHECK (tenant_id = rules.current_tenant_id())"
ALL_ROWS = "USING (true)"
ALL_WRITES = "WITH CHECK (true)"

CATALOG = "tests/pgtap/catalog.sql"
ISOLATION = "tests/pgtap/isolation.sql"
BY_THE_RESOLVER = (
    f"{CATALOG}::REQ-SECURITY-002: applications and tenants see and write by the"
    " resolver alone"
)
SECURED = f"{CATALOG}::REQ-SECURITY-002: every table has row-level security, enabled"
APPLICATION_SEES = (
    f"{ISOLATION}::REQ-TENANT-001, REQ-TENANT-003: an application sees one tenant of "
)
FINDS_NOTHING = f"{ISOLATION}::REQ-TENANT-001: finds nothing of others: "
BOUND_LOGIN_SEES = f"{ISOLATION}::REQ-TENANT-001: a bound login sees its tenant of "

MUTATIONS = (
    Mutation(
        name="rules-shown-to-every-application",
        path="deploy/000011_rules.sql",
        after="CREATE POLICY rules_rules_app ON rules.rules TO rules_app",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="An application reads, changes and deletes the rules of all tenants.",
        caught_by=(
            BY_THE_RESOLVER,
            APPLICATION_SEES + "rules.rules",
            (
                "tests/security/test_isolation_reading.py"
                "::test_a_table_shows_the_rows_of_my_tenant_alone"
            ),
        ),
    ),
    Mutation(
        name="rules-written-for-any-tenant",
        path="deploy/000011_rules.sql",
        after="CREATE POLICY rules_rules_tenant ON rules.rules TO rules_tenant",
        text=OWN_WRITES,
        replacement=ALL_WRITES,
        danger="A bound login plants a rule with another tenant.",
        caught_by=(
            BY_THE_RESOLVER,
            f"{ISOLATION}::REQ-TENANT-001: cannot: INSERT INTO rules.rules",
        ),
    ),
    Mutation(
        name="derived-fields-shown-to-every-login",
        path="deploy/000012_derived_fields.sql",
        after="CREATE POLICY derived_fields_rules_tenant",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="A bound login reads and deletes the derived fields of all tenants.",
        caught_by=(
            BOUND_LOGIN_SEES + "rules.derived_fields",
            FINDS_NOTHING + "DELETE FROM rules.derived_fields",  # noqa: S608
        ),
    ),
    Mutation(
        name="derived-fields-written-for-any-tenant",
        path="deploy/000012_derived_fields.sql",
        after="CREATE POLICY derived_fields_rules_tenant",
        text=OWN_WRITES,
        replacement=ALL_WRITES,
        danger="A bound login changes what a name means in another tenant's rules.",
        caught_by=(
            f"{ISOLATION}::REQ-TENANT-001: cannot: INSERT INTO rules.derived_fields",
        ),
    ),
    Mutation(
        name="schemas-shown-to-every-login",
        path="deploy/000010_schemas.sql",
        after="CREATE POLICY schemas_rules_tenant",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="A bound login reads the object and field names of all tenants.",
        caught_by=(BOUND_LOGIN_SEES + "rules.schemas",),
    ),
    Mutation(
        name="changelog-shown-to-every-application",
        path="deploy/000013_schema_changelog.sql",
        after="CREATE POLICY schema_changelog_rules_app",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="An application reads which rules of other tenants broke, and why.",
        caught_by=(APPLICATION_SEES + "rules.schema_changelog",),
    ),
    Mutation(
        name="environments-shown-to-every-application",
        path="deploy/000014_environments.sql",
        after="CREATE POLICY environments_rules_app",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="Schema and derived fields of all tenants, in one document each.",
        caught_by=(
            APPLICATION_SEES + "rules_internal.environments",
            (
                "tests/pgtap/environments.sql::REQ-TENANT-001: a tenant does not see"
                " the environment of another"
            ),
        ),
    ),
    Mutation(
        name="access-keys-shown-to-every-application",
        path="deploy/000020_rule_keys.sql",
        after="CREATE POLICY rule_keys_rules_app",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="Whether another tenant has a rule about a value can be asked for.",
        caught_by=(
            (
                "tests/pgtap/rule_keys.sql::REQ-TENANT-001: another tenant's are not"
                " found, whatever is asked"
            ),
        ),
    ),
    Mutation(
        name="tokens-shown-to-every-application",
        path="deploy/000019_rule_sets.sql",
        after="CREATE POLICY rule_set_tokens_rules_app",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="When every other tenant writes rules can be watched.",
        caught_by=(APPLICATION_SEES + "rules_internal.rule_set_tokens",),
    ),
    Mutation(
        name="audit-shown-to-every-login",
        path="deploy/000036_audit_log.sql",
        after="CREATE POLICY audit_log_rules_tenant",
        text=OWN_ROWS,
        replacement=ALL_ROWS,
        danger="The audit has every expression of every tenant, also deleted ones.",
        caught_by=(
            (
                "tests/pgtap/audit_log.sql::REQ-TENANT-001: another tenant sees nothing"
                " of it"
            ),
        ),
    ),
    Mutation(
        name="tenants-shown-to-every-application",
        path="deploy/000008_tenant_policies.sql",
        after="CREATE POLICY tenants_rules_app",
        text="USING (id = rules.current_tenant_id())",
        replacement=ALL_ROWS,
        danger="The list of all customers.",
        caught_by=(
            APPLICATION_SEES + "rules.tenants",
            (
                "tests/pgtap/tenant_policies.sql::An application that acts for nobody"
                " gets an error, not all tenants"
            ),
        ),
    ),
    Mutation(
        name="tenants-checked-by-nothing",
        path="deploy/000008_tenant_policies.sql",
        after="CREATE POLICY tenants_rules_tenant",
        text="WITH CHECK (id = rules.current_tenant_id())",
        replacement=ALL_WRITES,
        danger="The day that a login may change its tenant's name, it may take an id.",
        caught_by=(
            (
                "tests/pgtap/tenant_policies.sql::Applications and tenants see and"
                " write their own tenant alone"
            ),
        ),
    ),
    Mutation(
        name="bindings-shown-to-the-owner",
        path="deploy/000008_tenant_policies.sql",
        after="CREATE POLICY tenant_logins_rules_owner",
        text="USING (login = session_user)",
        replacement=ALL_ROWS,
        danger="One slip in a SECURITY DEFINER function binds a login to any tenant.",
        caught_by=(
            (
                "tests/pgtap/tenant_policies.sql::The owner sees the binding of the"
                " login only"
            ),
            f"{ISOLATION}::The owner reads no login but the session's own",
        ),
    ),
    Mutation(
        name="policy-for-everybody",
        path="deploy/000013_schema_changelog.sql",
        text="CREATE POLICY schema_changelog_rules_tenant"
        " ON rules.schema_changelog TO rules_tenant",
        replacement="CREATE POLICY schema_changelog_rules_tenant"
        " ON rules.schema_changelog TO public",
        danger="A policy of everybody's widens what every other policy allows.",
        caught_by=(
            (
                f"{CATALOG}::A policy is of one role, for all commands, named"
                " <table>_<role>"
            ),
        ),
    ),
    Mutation(
        name="owner-past-the-policies",
        path="deploy/000011_rules.sql",
        text="ALTER TABLE rules.rules FORCE ROW LEVEL SECURITY;\n",
        replacement="",
        danger="Whatever runs as the owner of the tables sees the rules of all.",
        caught_by=(SECURED, "verify/000011_rules.sql"),
    ),
    Mutation(
        name="policies-not-in-force",
        path="deploy/000012_derived_fields.sql",
        text="ALTER TABLE rules.derived_fields ENABLE ROW LEVEL SECURITY;\n",
        replacement="",
        danger="The policies are there, and nobody is held by them.",
        caught_by=(SECURED, APPLICATION_SEES + "rules.derived_fields"),
    ),
    Mutation(
        name="policy-for-reading-only",
        path="deploy/000011_rules.sql",
        text="CREATE POLICY rules_rules_owner ON rules.rules TO rules_owner",
        replacement="CREATE POLICY rules_rules_owner ON rules.rules AS RESTRICTIVE"
        " TO rules_owner",
        danger="What runs as the owner finds no rule, and checks nothing in silence.",
        caught_by=(
            (
                f"{CATALOG}::A policy is of one role, for all commands, named"
                " <table>_<role>"
            ),
        ),
    ),
)
