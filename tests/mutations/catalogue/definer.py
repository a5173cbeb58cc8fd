"""Functions with the owner's rights: which there are, and for whom they act."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

CATALOG = "tests/pgtap/catalog.sql"
OWN_PATH = (
    f"{CATALOG}::SECURITY DEFINER has its own search_path and no superuser's rights"
)
FEW = f"{CATALOG}::SECURITY DEFINER is for what has no other way"
ASKS = f"{CATALOG}::Every function for users asks for the tenant"
DEFINER = "SECURITY DEFINER\nSET search_path = pg_catalog, pg_temp\n"

MUTATIONS = (
    Mutation(
        name="binding-looked-up-on-the-callers-path",
        path="deploy/000007_current_tenant_id.sql",
        after="CREATE FUNCTION rules_internal.bound_tenant() RETURNS uuid",
        text=DEFINER,
        replacement="SECURITY DEFINER\n",
        danger="An operator = of the caller's own runs with the owner's rights.",
        caught_by=(
            OWN_PATH,
            (
                "tests/pgtap/current_tenant_id.sql::Its SECURITY DEFINER half cannot be"
                " led to other tables"
            ),
        ),
    ),
    Mutation(
        name="audit-written-on-the-callers-path",
        path="deploy/000037_record_changes.sql",
        after="CREATE FUNCTION rules_internal.audit_update() RETURNS trigger",
        text=DEFINER,
        replacement="SECURITY DEFINER\n",
        danger="A to_jsonb of the writer's own decides what is recorded.",
        caught_by=(OWN_PATH,),
    ),
    Mutation(
        name="evaluation-with-the-owners-rights",
        path="deploy/000018_evaluate.sql",
        after="RETURNS rules.evaluation_result",
        text="LANGUAGE plpgsql STABLE PARALLEL SAFE\n",
        replacement=f"LANGUAGE plpgsql STABLE PARALLEL SAFE\n{DEFINER}",
        danger="Only its own WHERE is left between an id and another tenant's rule.",
        caught_by=(FEW,),
    ),
    Mutation(
        name="restoring-with-the-owners-rights",
        path="deploy/000038_rule_versions.sql",
        after="CREATE FUNCTION rules.restore_rule(rule_id uuid, version integer)"
        " RETURNS rules.rules\n",
        text="LANGUAGE plpgsql\n",
        replacement="LANGUAGE plpgsql\nSECURITY DEFINER\n",
        danger="Rules are written past the policies and the grants.",
        caught_by=(FEW, OWN_PATH),
    ),
    Mutation(
        name="schema-set-by-the-setting",
        path="deploy/000026_set_schema.sql",
        after="CREATE FUNCTION rules.set_schema(",
        text="v_tenant constant uuid := rules.current_tenant_id();",
        replacement="v_tenant constant uuid := coalesce(\n"
        "        nullif(current_setting('app.tenant_id', true), '')::uuid,\n"
        "        rules_internal.bound_tenant()\n"
        "    );",
        danger="A bound login changes the schema of the tenant that it names.",
        caught_by=(
            ASKS,
            (
                "tests/pgtap/set_schema.sql::REQ-TENANT-001: a bound login sets no"
                " schema of the tenant that it names"
            ),
        ),
    ),
    Mutation(
        name="anybodys-tenant-locked",
        path="deploy/000014_environments.sql",
        text="        ELSE rules.current_tenant_id()\n",
        replacement="        ELSE p_tenant_id\n",
        danger="One tenant keeps another from changing its schema, by its id alone.",
        caught_by=(
            (
                "tests/integration/test_concurrent_changes.py"
                "::test_a_tenant_cannot_hold_up_another"
            ),
        ),
    ),
    Mutation(
        name="rule-compiled-on-the-callers-path",
        path="deploy/000016_compile_rules.sql",
        after="CREATE FUNCTION rules_internal.compile_rule() RETURNS trigger",
        text="SET search_path = pg_catalog, pg_temp\n",
        replacement="",
        danger="An operator = of the author's own gets a rule past the compiler.",
        caught_by=(
            (
                "tests/pgtap/search_path.sql::COMP-2: a rule does not get past the"
                " compiler"
            ),
            (
                f"{CATALOG}::What decides for others than its caller has a search_path"
                " of its own"
            ),
        ),
    ),
    Mutation(
        name="writer-that-runs-in-parallel",
        path="deploy/000019_rule_sets.sql",
        after="CREATE FUNCTION rules_internal.renew_rule_set(p_tenant_id uuid)"
        " RETURNS void\n",
        text="LANGUAGE plpgsql\n",
        replacement="LANGUAGE plpgsql PARALLEL SAFE\n",
        danger="A parallel worker that writes ends the query with an error.",
        caught_by=(f"{CATALOG}::What may run in parallel plans changes nothing",),
    ),
    Mutation(
        name="evaluation-not-in-workers",
        path="deploy/000018_evaluate.sql",
        after="RETURNS rules.evaluation_result",
        text="LANGUAGE plpgsql STABLE PARALLEL SAFE\n",
        replacement="LANGUAGE plpgsql STABLE\n",
        danger="A condition over millions of rows keeps one core busy.",
        caught_by=(f"{CATALOG}::What only reads may run in parallel plans",),
    ),
    Mutation(
        name="core-with-spi",
        path="deploy/000015_cel.sql",
        text="E'\\nreturn GD[p_runtime].' || v_function.call || E'\\n'",
        replacement="E'\\nplpy.execute(\"SELECT 1\")\\nreturn GD[p_runtime].'"
        " || v_function.call || E'\\n'",
        danger="SPI from PL/Python in a parallel worker crashes the whole server.",
        caught_by=(
            (
                f"{CATALOG}::PL/Python is the core's, and has no SPI, which crashes"
                " parallel workers"
            ),
        ),
    ),
)
