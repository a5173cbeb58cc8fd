"""Triggers that keep what is derived from rules: programs, keys, tokens, fields."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

KEYS = "tests/pgtap/rule_keys.sql"

MUTATIONS = (
    Mutation(
        name="changed-rules-not-compiled",
        path="deploy/000016_compile_rules.sql",
        text="BEFORE INSERT OR UPDATE OF expression, active ON rules.rules",
        replacement="BEFORE INSERT ON rules.rules",
        danger="A rule in force that cannot be evaluated.",
        caught_by=(
            (
                "tests/pgtap/compile_rules.sql::COMP-2: an update that does not compile"
                " is refused"
            ),
        ),
    ),
    Mutation(
        name="rules-switched-on-unseen",
        path="deploy/000016_compile_rules.sql",
        text="        AND NEW.active <= OLD.active\n",
        replacement="",
        danger="A rule comes into force that the schema has outgrown.",
        caught_by=("tests/pgtap/compile_rules.sql::But not on again as it is",),
    ),
    Mutation(
        name="keys-not-derived-on-update",
        path="deploy/000020_rule_keys.sql",
        text="REFERENCING OLD TABLE AS removed NEW TABLE AS added\n"
        "FOR EACH STATEMENT EXECUTE",
        replacement="REFERENCING OLD TABLE AS removed NEW TABLE AS added\n"
        "FOR EACH STATEMENT WHEN (false) EXECUTE",
        danger="A changed rule is looked for where it used to be, and not found.",
        caught_by=(
            f"{KEYS}::Keys follow the expression",
            f"{KEYS}::Keys come and go with activity",
        ),
    ),
    Mutation(
        name="keys-not-derived-for-a-new-environment",
        path="deploy/000025_compile_derived_fields.sql",
        text="        PERFORM rules_internal.renew_rule_keys(v_tenant);\n",
        replacement="",
        danger="Rules are looked for by what a derived field used to mean.",
        caught_by=(
            f"{KEYS}::A derived field is looked through, unless the facts supply it",
        ),
    ),
    Mutation(
        name="token-not-left-by-others",
        path="deploy/000019_rule_sets.sql",
        text="AFTER UPDATE ON rules.rules\n"
        "REFERENCING NEW TABLE AS changed\n"
        "FOR EACH STATEMENT EXECUTE",
        replacement="AFTER UPDATE ON rules.rules\n"
        "REFERENCING NEW TABLE AS changed\n"
        "FOR EACH STATEMENT WHEN (false) EXECUTE",
        danger="Sessions go on with rules from before an operator moved others in.",
        caught_by=(
            (
                "tests/integration/test_rule_sets.py"
                "::TestTenants::test_a_rule_moves_from_one_tenant_to_another"
            ),
        ),
    ),
    Mutation(
        name="token-not-left-where-a-rule-was",
        path="deploy/000019_rule_sets.sql",
        text="AFTER UPDATE ON rules.rules\n"
        "REFERENCING OLD TABLE AS changed\n"
        "FOR EACH STATEMENT EXECUTE",
        replacement="AFTER UPDATE ON rules.rules\n"
        "REFERENCING OLD TABLE AS changed\n"
        "FOR EACH STATEMENT WHEN (false) EXECUTE",
        danger="Sessions of a tenant go on with a rule that is another's by now.",
        caught_by=(
            (
                "tests/integration/test_rule_sets.py"
                "::TestTenants::test_a_rule_moves_from_one_tenant_to_another"
            ),
        ),
    ),
    Mutation(
        name="token-left-too-late",
        path="deploy/000019_rule_sets.sql",
        text="BEFORE INSERT OR DELETE OR UPDATE OF tenant_id, id, name, expression,"
        " active, created_at\n",
        replacement="BEFORE INSERT OR DELETE\n",
        danger="What is evaluated in the midst of an update stays in the cache.",
        caught_by=(
            (
                "tests/integration/test_rule_sets.py"
                "::test_what_a_statement_evaluates_while_it_writes_is_not_kept"
            ),
        ),
    ),
    Mutation(
        name="own-changes-cached",
        path="deploy/000019_rule_sets.sql",
        text="rule_set.xid IS DISTINCT FROM pg_current_xact_id_if_assigned()",
        replacement="true",
        danger="After a ROLLBACK rules are in force that were never committed.",
        caught_by=(
            "tests/pgtap/rule_sets.sql::What the own transaction wrote is not cached",
            (
                "tests/integration/test_rule_sets.py"
                "::test_what_follows_a_savepoint_that_is_rolled_back_is_seen"
            ),
        ),
    ),
    Mutation(
        name="versions-change",
        path="deploy/000010_schemas.sql",
        text="    OR old.definition IS DISTINCT FROM new.definition\n",
        replacement="",
        danger="A stored version says something else than when it was in force.",
        caught_by=(
            "tests/pgtap/schemas.sql::The definition of a stored version never changes",
        ),
    ),
    Mutation(
        name="fields-removed-from-under-rules",
        path="deploy/000025_compile_derived_fields.sql",
        text="AFTER DELETE ON rules.derived_fields\n"
        "REFERENCING OLD TABLE AS changed\n"
        "FOR EACH STATEMENT EXECUTE",
        replacement="AFTER DELETE ON rules.derived_fields\n"
        "REFERENCING OLD TABLE AS changed\n"
        "FOR EACH STATEMENT WHEN (false) EXECUTE",
        danger="Rules go on with a field that nobody sees any more.",
        caught_by=("tests/pgtap/environments.sql::A deleted field is in it no more",),
    ),
    Mutation(
        name="times-not-kept",
        path="deploy/000004_stamp_row.sql",
        text="    NEW.updated_at := pg_catalog.clock_timestamp();\n",
        replacement="",
        danger="Nobody can tell that a rule changed, or when.",
        caught_by=("tests/pgtap/stamp_row.sql::An update leaves its time",),
    ),
)
