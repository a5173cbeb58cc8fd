"""``tenant_id = ...`` left out where policies do not stand behind it.

Functions with the owner's rights, and what superusers call, see all tenants' rows.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SET_SCHEMA = "deploy/000026_set_schema.sql"
ENVIRONMENTS = "deploy/000014_environments.sql"
OWN_ENVIRONMENT = (
    "tests/integration/test_environments.py"
    "::test_each_tenant_has_its_own_schema_and_derived_fields"
)

MUTATIONS = (
    Mutation(
        name="schemas-of-all-switched-off",
        path=SET_SCHEMA,
        text="    WHERE former.tenant_id = p_tenant_id AND former.active\n",
        replacement="    WHERE former.active\n",
        danger="One tenant's new schema takes the schema of every other out of force.",
        caught_by=(
            (
                "tests/pgtap/set_schema.sql::REQ-TENANT-004: a change of one tenant"
                " leaves the schema of another in force"
            ),
        ),
    ),
    Mutation(
        name="versions-counted-over-all",
        path=SET_SCHEMA,
        text="    FROM rules.schemas AS former\n"
        "    WHERE former.tenant_id = v_tenant\n",
        replacement="    FROM rules.schemas AS former\n",
        danger="A version's number tells how often others change their schemas.",
        caught_by=(OWN_ENVIRONMENT,),
    ),
    Mutation(
        name="version-of-another-activated",
        path=SET_SCHEMA,
        text="    WHERE stored.tenant_id = v_tenant AND stored.version"
        " = activate_schema.version;",
        replacement="    WHERE stored.version = activate_schema.version;",
        danger="A version that another tenant has is not unknown; none is active.",
        caught_by=("tests/pgtap/set_schema.sql::REQ-TENANT-001: nor makes one active",),
    ),
    Mutation(
        name="broken-rules-of-others-named-by-a-schema",
        path=SET_SCHEMA,
        text="    WHERE rule.tenant_id = p_tenant_id AND rule.active;",
        replacement="    WHERE rule.active;",
        danger="The error and the changelog name rules of other tenants.",
        caught_by=(
            (
                "tests/integration/test_environments.py"
                "::test_many_tenants_change_their_schemas_at_once_over_one_pool"
            ),
        ),
    ),
    Mutation(
        name="broken-rules-of-others-named-by-a-field",
        path="deploy/000025_compile_derived_fields.sql",
        text="        WHERE rule.tenant_id = v_tenant AND rule.active;",
        replacement="        WHERE rule.active;",
        danger="The error names rules of other tenants and quotes from them.",
        caught_by=(
            (
                "tests/pgtap/compile_derived_fields.sql::REQ-TENANT-005: rules of"
                " another tenant are neither compiled nor named"
            ),
        ),
    ),
    Mutation(
        name="derived-fields-of-all-in-one-environment",
        path=ENVIRONMENTS,
        text="    FROM rules.derived_fields AS field\n"
        "    WHERE field.tenant_id = p_tenant_id;",
        replacement="    FROM rules.derived_fields AS field;",
        danger="Rules are judged by other tenants' expressions, which they can read.",
        caught_by=(
            (
                "tests/pgtap/environments.sql::REQ-TENANT-003: nothing in it is of"
                " another tenant"
            ),
        ),
    ),
    Mutation(
        name="schema-of-anyone-in-the-environment",
        path=ENVIRONMENTS,
        text="    WHERE active.tenant_id = p_tenant_id AND active.active;",
        replacement="    WHERE active.active;",
        danger="Facts are read by another tenant's schema.",
        caught_by=(
            (
                "tests/pgtap/environments.sql::REQ-TENANT-003: nothing in it is of"
                " another tenant"
            ),
        ),
    ),
    Mutation(
        name="keys-of-twins-deleted",
        path="deploy/000020_rule_keys.sql",
        text="    WHERE key.tenant_id = p_tenant_id AND key.rule_id = ANY(p_rule_ids);",
        replacement="    WHERE key.rule_id = ANY(p_rule_ids);",
        danger="A rule with the id of another tenant's rule hides that one.",
        caught_by=(
            (
                "tests/pgtap/rule_keys.sql::REQ-TENANT-004: keys of a rule of the same"
                " id stay with the other tenant"
            ),
        ),
    ),
    Mutation(
        name="keys-of-all-deleted",
        path="deploy/000020_rule_keys.sql",
        text="    DELETE FROM rules_internal.rule_keys AS key"
        " WHERE key.tenant_id = p_tenant_id;",
        replacement="    DELETE FROM rules_internal.rule_keys AS key;",
        danger="After one tenant's change no rule of the others is found any more.",
        caught_by=(
            (
                "tests/pgtap/rule_keys.sql::REQ-TENANT-004: a change of the environment"
                " leaves the keys of others"
            ),
        ),
    ),
    Mutation(
        name="tokens-of-all-deleted",
        path="deploy/000019_rule_sets.sql",
        text="        rule_set.tenant_id = p_tenant_id\n        AND rule_set.xid",
        replacement="        rule_set.xid",
        danger="A session of another tenant takes changed rules for those it knows.",
        caught_by=(
            "tests/pgtap/rule_sets.sql::REQ-TENANT-004: another tenant's tokens stay",
        ),
    ),
    Mutation(
        name="history-of-all-shortened",
        path="deploy/000040_shorten_audit.sql",
        text="        SELECT entry.tenant_id FROM rules.audit_log AS entry\n"
        "        WHERE p_tenant_id IS NULL OR entry.tenant_id = p_tenant_id\n",
        replacement="        SELECT entry.tenant_id FROM rules.audit_log AS entry\n",
        danger="An operator who erases one tenant's history erases every other's too.",
        caught_by=("tests/pgtap/shorten_audit.sql::Another tenant keeps all",),
    ),
    Mutation(
        name="tenants-history-of-all-shortened",
        path="deploy/000040_shorten_audit.sql",
        text="        WHERE entry.tenant_id = v_tenant"
        " AND entry.changed_at < p_before;",
        replacement="        WHERE entry.changed_at < p_before;",
        danger="Who was bound to whom is forgotten for every tenant.",
        caught_by=(
            (
                "tests/pgtap/shorten_audit.sql::Another tenant keeps its own history of"
                " logins"
            ),
        ),
    ),
    Mutation(
        name="rows-of-all-judged",
        path="deploy/000032_record_matches.sql",
        text="    IF p_tenant IS NOT NULL THEN\n        v_facts := format(",
        replacement="    IF false THEN\n        v_facts := format(",
        danger="A row that is written for another tenant is judged by these rules.",
        caught_by=(
            (
                "tests/pgtap/refuse_matches.sql::With tenant=column a row of another"
                " tenant is not judged by these rules"
            ),
        ),
    ),
)
