"""Locks that keep two sessions from making together what each alone may not."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CHANGES = "tests/integration/test_concurrent_changes.py"
ENVIRONMENTS = "deploy/000014_environments.sql"
LOCK = (
    "    UPDATE rules.tenants AS tenant"
    " SET updated_at = pg_catalog.clock_timestamp()\n"
    "    WHERE tenant.id = p_tenant_id;\n"
)

MUTATIONS = (
    Mutation(
        name="environment-not-locked",
        path=ENVIRONMENTS,
        text=LOCK,
        replacement="    NULL;\n",
        danger="Two sessions make a cycle of derived fields, a half each.",
        caught_by=(f"{CHANGES}::test_two_sessions_make_no_cycle_together",),
    ),
    Mutation(
        name="environment-locked-but-not-touched",
        path=ENVIRONMENTS,
        text=LOCK,
        replacement="    PERFORM FROM rules.tenants AS tenant\n"
        "    WHERE tenant.id = p_tenant_id FOR UPDATE;\n",
        danger="A transaction with an older snapshot compiles against what is gone.",
        caught_by=(
            (
                f"{CHANGES}"
                "::test_a_rule_of_an_older_snapshot_is_not_compiled_against_the_old_sch"
                "ema"
            ),
        ),
    ),
    Mutation(
        name="environment-not-shared",
        path=ENVIRONMENTS,
        text="    PERFORM FROM rules.tenants AS tenant WHERE tenant.id = v_tenant"
        " FOR KEY SHARE;\n",
        replacement="",
        danger="A rule is stored that the schema, changed meanwhile, does not allow.",
        caught_by=(
            f"{CHANGES}::test_an_operators_rule_is_compiled_against_what_it_waited_for",
        ),
    ),
    Mutation(
        name="environment-shared-by-one",
        path=ENVIRONMENTS,
        text="WHERE tenant.id = v_tenant FOR KEY SHARE;",
        replacement="WHERE tenant.id = v_tenant FOR UPDATE;",
        danger="Authors of rules wait for one another until each has committed.",
        caught_by=(f"{CHANGES}::test_writers_of_rules_do_not_wait_for_one_another",),
    ),
    Mutation(
        name="tokens-waited-for",
        path="deploy/000019_rule_sets.sql",
        text="        FOR UPDATE SKIP LOCKED\n",
        replacement="        FOR UPDATE\n",
        danger="Writers of different rules wait for one another, or deadlock.",
        caught_by=(
            (
                "tests/integration/test_rule_sets.py"
                "::TestTwoWriters"
                "::test_writers_of_different_rules_do_not_wait_and_do_not_conflict"
            ),
        ),
    ),
    Mutation(
        name="fields-of-an-older-environment",
        path="deploy/000025_compile_derived_fields.sql",
        text="        PERFORM rules_internal.lock_environment(v_tenant);\n",
        replacement="",
        danger="Two sessions make a cycle of derived fields, a half each.",
        caught_by=(f"{CHANGES}::test_two_operators_make_no_cycle_together",),
    ),
    Mutation(
        name="fields-locked-before-the-environment",
        path="deploy/000025_compile_derived_fields.sql",
        text="        PERFORM rules_internal.lock_environment("
        "rules.current_tenant_id());\n",
        replacement="        NULL;\n",
        danger="Two writers of derived fields wait for each other, and one is refused.",
        caught_by=(
            (
                f"{CHANGES}"
                "::test_writers_of_derived_fields_do_not_wait_for_each_other_in_a_circle"
            ),
        ),
    ),
    Mutation(
        name="tokens-of-no-environment",
        path="deploy/000019_rule_sets.sql",
        text="    FOREIGN KEY (tenant_id, tenant_updated_at)\n"
        "    REFERENCES rules.tenants (id, updated_at)"
        " ON UPDATE CASCADE ON DELETE CASCADE\n",
        replacement="    FOREIGN KEY (tenant_id)\n"
        "    REFERENCES rules.tenants (id) ON DELETE CASCADE\n",
        danger="match_rules misses a rule, whose access keys are of a former schema.",
        caught_by=(
            (
                f"{CHANGES}"
                "::test_an_older_snapshot_changes_no_environment_of_rules_that_it_canno"
                "t_see"
            ),
        ),
    ),
    Mutation(
        name="schema-set-without-waiting",
        path="deploy/000026_set_schema.sql",
        after="'cannot set the schema', NULL, v_failure",
        text="    PERFORM rules_internal.lock_environment(v_tenant);\n",
        replacement="",
        danger="A rule that was being written is not compiled against the new schema.",
        caught_by=(
            (
                f"{CHANGES}"
                "::test_a_schema_waits_for_a_rule_and_is_refused_where_it_would_break_i"
                "t"
            ),
        ),
    ),
)
