"""Locks that keep two sessions from making together what each alone may not."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CHANGES = "tests/integration/test_concurrent_changes.py"
ENVIRONMENTS = "deploy/000014_environments.sql"
LOCK = (
    "    UPDATE rules.tenants AS tenant SET name = tenant.name\n"
    "    WHERE tenant.id = p_tenant_id;\n"
)

MUTATIONS = (
    Mutation(
        name="environment-not-locked",
        path=ENVIRONMENTS,
        text=LOCK,
        replacement="    NULL;\n",
        danger="Two sessions make a cycle of derived fields, a half each.",
        caught_by=(
            f"{CHANGES}::test_two_sessions_make_no_cycle_together",
            (
                "tests/integration/test_environments.py"
                "::test_the_second_half_of_a_cycle_waits_for_the_first"
            ),
        ),
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
        " FOR SHARE;\n",
        replacement="",
        danger="A rule is stored that the schema, changed meanwhile, does not allow.",
        caught_by=(
            (
                f"{CHANGES}"
                "::test_a_schema_waits_for_a_rule_and_is_refused_where_it_would_break_i"
                "t"
            ),
            f"{CHANGES}::test_a_rule_waits_for_a_schema_and_is_compiled_against_it",
        ),
    ),
    Mutation(
        name="environment-shared-by-one",
        path=ENVIRONMENTS,
        text="WHERE tenant.id = v_tenant FOR SHARE;",
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
        caught_by=(f"{CHANGES}::test_two_sessions_make_no_cycle_together",),
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
