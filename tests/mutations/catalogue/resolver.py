"""The resolver: who decides for which tenant a transaction acts."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

RESOLVER = "deploy/000007_current_tenant_id.sql"
TESTS = "tests/pgtap/current_tenant_id.sql"
CATALOG = "tests/pgtap/catalog.sql"
BORROWED = (
    f"{TESTS}::Whoever borrows an application's rights is still bound by the login"
)

MUTATIONS = (
    Mutation(
        name="resolver-immutable",
        path=RESOLVER,
        after="CREATE FUNCTION rules.current_tenant_id() RETURNS uuid",
        text="LANGUAGE sql STABLE PARALLEL SAFE",
        replacement="LANGUAGE sql IMMUTABLE PARALLEL SAFE",
        danger="A plan that is kept shows the rows of the tenant that it was made for.",
        caught_by=(
            (
                f"{TESTS}::An IMMUTABLE resolver would leave one tenant's rows in"
                " another's plan"
            ),
            f"{CATALOG}::Nothing is IMMUTABLE",
            "verify/000007_current_tenant_id.sql",
        ),
    ),
    Mutation(
        name="resolver-not-in-workers",
        path=RESOLVER,
        after="CREATE FUNCTION rules.current_tenant_id() RETURNS uuid",
        text="LANGUAGE sql STABLE PARALLEL SAFE",
        replacement="LANGUAGE sql STABLE PARALLEL RESTRICTED",
        danger="No query under a policy runs in parallel, and nobody learns why.",
        caught_by=(
            f"{TESTS}::current_tenant_id() may run in parallel workers",
            f"{CATALOG}::What only reads may run in parallel plans",
        ),
    ),
    Mutation(
        name="unset-tenant-is-nobody",
        path=RESOLVER,
        text="    IF coalesce(p_setting, '') = '' THEN\n        IF v_chooses THEN",
        replacement="    IF coalesce(p_setting, '') = '' THEN\n"
        "        IF v_chooses AND p_setting IS NULL THEN\n"
        "            RETURN NULL;\n"
        "        END IF;\n"
        "        IF v_chooses THEN",
        danger="A forgotten tenant looks like a tenant without rules.",
        caught_by=(
            f"{TESTS}::Unset: an error",
            (
                f"{TESTS}::Unset: a query of a table is an error, never all rows and"
                " never none"
            ),
        ),
    ),
    Mutation(
        name="empty-tenant-is-nobody",
        path=RESOLVER,
        text="    IF coalesce(p_setting, '') = '' THEN\n        IF v_chooses THEN",
        replacement="    IF coalesce(p_setting, '') = '' THEN\n"
        "        IF v_chooses AND p_setting = '' THEN\n"
        "            RETURN NULL;\n"
        "        END IF;\n"
        "        IF v_chooses THEN",
        danger="What a finished SET LOCAL leaves behind passes for a tenant.",
        caught_by=(f"{TESTS}::Empty, as a finished SET LOCAL leaves it: an error",),
    ),
    Mutation(
        name="role-decides-in-the-fast-half",
        path=RESOLVER,
        text="            AND pg_has_role(session_user, 'rules_app', 'MEMBER')",
        replacement="            AND pg_has_role(current_user, 'rules_app', 'MEMBER')",
        danger="A bound login chooses its tenant in a function of an application's.",
        caught_by=(BORROWED,),
    ),
    Mutation(
        name="role-decides-in-the-slow-half",
        path=RESOLVER,
        text="v_chooses constant boolean := pg_has_role(session_user,",
        replacement="v_chooses constant boolean := pg_has_role(current_user,",
        danger="A bound login chooses its tenant in a function of an application's.",
        caught_by=(BORROWED,),
    ),
    Mutation(
        name="binding-of-the-role",
        path=RESOLVER,
        text="    WHERE binding.login = session_user;",
        replacement="    WHERE binding.login = current_user;",
        danger="Inside SECURITY DEFINER current_user is the owner, for everyone.",
        caught_by=(
            "tests/security/test_isolation.py::test_a_bound_login_needs_no_setting",
        ),
    ),
    Mutation(
        name="setting-believed-of-bound-logins",
        path=RESOLVER,
        text="    IF p_setting <> '' AND p_setting::uuid <> v_bound THEN",
        replacement="    IF p_setting <> '' THEN\n"
        "        RETURN p_setting::uuid;\n"
        "    END IF;\n"
        "    IF p_setting <> '' AND p_setting::uuid <> v_bound THEN",
        danger="Any login becomes any tenant: a custom setting can be set by anyone.",
        caught_by=(
            f"{TESTS}::A bound login cannot choose another tenant",
            (
                "tests/security/test_isolation.py"
                "::test_a_bound_login_cannot_choose_by_the_setting"
            ),
        ),
    ),
    Mutation(
        name="setting-of-bound-logins-ignored",
        path=RESOLVER,
        text="    IF p_setting <> '' AND p_setting::uuid <> v_bound THEN",
        replacement="    IF false THEN",
        danger="A login that asks for one tenant gets another's rows without a word.",
        caught_by=(
            f"{TESTS}::A bound login cannot choose another tenant",
            "tests/pgtap/set_tenant.sql::A bound login cannot choose another one",
        ),
    ),
    Mutation(
        name="login-without-a-tenant-let-in",
        path=RESOLVER,
        text="    IF v_bound IS NULL THEN",
        replacement="    IF v_bound IS NULL AND p_setting <> '' THEN\n"
        "        RETURN p_setting::uuid;\n"
        "    END IF;\n"
        "    IF v_bound IS NULL THEN",
        danger="Whoever was never bound, or no longer is, chooses.",
        caught_by=(
            f"{TESTS}::A login of no tenant has none",
            f"{TESTS}::An administrator acts for no tenant",
        ),
    ),
    Mutation(
        name="resolver-with-the-callers-path",
        path=RESOLVER,
        after="CREATE FUNCTION rules_internal.resolve_tenant(p_setting text)",
        text="SET search_path = pg_catalog, pg_temp\n",
        replacement="",
        danger="A pg_has_role or <> of the caller's own says whose tenant it is.",
        caught_by=(
            (
                f"{CATALOG}::What decides for others than its caller has a search_path"
                " of its own"
            ),
            (
                "tests/pgtap/search_path.sql::REQ-TENANT-001: a bound login does not"
                " get another tenant"
            ),
        ),
    ),
    Mutation(
        name="resolver-that-catches",
        path=RESOLVER,
        text="    IF v_chooses THEN\n        RETURN p_setting::uuid;\n    END IF;",
        replacement="    BEGIN\n"
        "        IF v_chooses THEN\n"
        "            RETURN p_setting::uuid;\n"
        "        END IF;\n"
        "    EXCEPTION WHEN invalid_text_representation THEN\n"
        "        RETURN NULL;\n"
        "    END;",
        danger="A parallel worker cannot begin a subtransaction: the query fails.",
        caught_by=(
            (
                f"{CATALOG}::No function of parallel plans has an EXCEPTION block,"
                " which fails there"
            ),
            f"{TESTS}::No EXCEPTION block, which a parallel worker could not run",
        ),
    ),
    Mutation(
        name="tenant-set-for-the-session",
        path="deploy/000009_set_tenant.sql",
        text="set_tenant.tenant_id::text, true);",
        replacement="set_tenant.tenant_id::text, false);",
        danger="The next client of a pooler acts for the last one's tenant.",
        caught_by=(
            (
                "tests/integration/test_postgres_store.py"
                "::test_a_connection_is_left_idle_open_and_without_a_tenant"
            ),
        ),
    ),
    Mutation(
        name="tenant-set-without-asking",
        path="deploy/000009_set_tenant.sql",
        text="    PERFORM rules.current_tenant_id();\n",
        replacement="",
        danger="A login learns only later, if at all, that it may not act for it.",
        caught_by=(
            f"{CATALOG}::Every function for users asks for the tenant",
            "tests/pgtap/set_tenant.sql::A bound login cannot choose another one",
        ),
    ),
)
