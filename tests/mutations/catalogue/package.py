"""The Python package: the tenant of its transactions, its statements, its promises."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SESSION = "python/src/pgrules/tenant_session.py"
STORE = "python/src/pgrules/postgres.py"
STORE_TESTS = "tests/integration/test_postgres_store.py"
QUERIES = "tests/unit/test_queries.py"

MUTATIONS = (
    Mutation(
        name="tenant-not-set",
        path=SESSION,
        after="                # The caller may have chosen other rows",
        text="                tenant.execute(SET_TENANT, (self.tenant_id,))\n"
        "                yield Cursor",
        replacement="                yield Cursor",
        danger="A statement runs for the tenant that the connection had before.",
        caught_by=(f"{STORE_TESTS}::test_stores_of_two_tenants_share_a_transaction",),
    ),
    Mutation(
        name="tenant-set-for-the-connection",
        path=SESSION,
        text="rules.set_tenant(%s)",
        replacement="set_config('app.tenant_id', (%s)::text, false)",
        danger="The connection goes back to the pool with a tenant.",
        caught_by=(
            f"{STORE_TESTS}::test_a_connection_is_left_idle_open_and_without_a_tenant",
        ),
    ),
    Mutation(
        name="tenant-of-the-caller-lost",
        path=SESSION,
        after="                yield Cursor(connection, row_factory=tuple_row)\n",
        text="                if joined:\n                    self._restore(tenant)\n",
        replacement="",
        danger="The caller's own statements go on for the store's tenant.",
        caught_by=(
            f"{STORE_TESTS}::test_the_callers_transaction_keeps_its_tenant",
            f"{STORE_TESTS}::test_a_transaction_without_a_tenant_has_none_afterwards",
        ),
    ),
    Mutation(
        name="tenant-of-the-caller-lost-by-own-statements",
        path=SESSION,
        after="                yield connection\n",
        text="                if joined:\n                    self._restore(tenant)\n",
        replacement="",
        danger="The caller's own statements go on for the store's tenant.",
        caught_by=(
            (
                "tests/integration/test_own_statements.py"
                "::test_a_transaction_of_the_callers_is_joined_and_keeps_its_tenant"
            ),
        ),
    ),
    Mutation(
        name="connection-shared-without-order",
        path=SESSION,
        text="        lock = _locks.setdefault(connection, RLock())",
        replacement="        lock = RLock()",
        danger="A thread's statement runs in another's transaction, for its tenant.",
        caught_by=(
            (
                f"{STORE_TESTS}"
                "::test_stores_of_two_tenants_share_one_connection_between_threads"
            ),
        ),
    ),
    Mutation(
        name="retry-called-safe-after-commit",
        path=SESSION,
        text="                scope.commit_sent = writes and not joined",
        replacement="                scope.commit_sent = False",
        danger="The caller repeats what was stored.",
        caught_by=(
            (
                f"{STORE_TESTS}"
                "::test_a_connection_lost_while_committing_leaves_the_outcome_open"
            ),
        ),
    ),
    Mutation(
        name="retry-called-safe-by-the-translation",
        path="python/src/pgrules/translate.py",
        text=" and not scope.commit_sent",
        replacement="",
        danger="The caller repeats what was stored.",
        caught_by=(
            (
                "tests/unit/test_translate.py"
                "::test_a_retry_is_called_safe_only_where_nothing_can_have_been_stored"
            ),
        ),
    ),
    Mutation(
        name="values-in-the-statement",
        path=STORE,
        after="    They are asked for afterwards",
        text="        cursor.execute(PROBLEMS, (expression,))",
        replacement="        cursor.execute(\n"
        '            PROBLEMS.replace("%s", f"\'{expression}\'").encode()\n'
        "        )",
        danger="An expression that ends a string literal is SQL.",
        caught_by=(f"{QUERIES}::test_only_constants_are_executed",),
    ),
    Mutation(
        name="rule-read-by-its-id-alone",
        path=STORE,
        after='GET: Final = """',
        text="WHERE tenant_id = %s AND id = %s",
        replacement="WHERE %s::uuid IS NOT NULL AND id = %s",
        danger="Only the policy is left between an id and another tenant's rule.",
        caught_by=(f"{QUERIES}::test_a_query_on_a_table_is_bound_to_the_tenant",),
    ),
    Mutation(
        name="rule-deleted-by-its-id-alone",
        path=STORE,
        after='DELETE: Final = """',
        text="WHERE tenant_id = %s AND id = %s",
        replacement="WHERE %s::uuid IS NOT NULL AND id = %s",
        danger="A superuser's store deletes the rules of all tenants that have the id.",
        caught_by=(f"{QUERIES}::test_a_query_on_a_table_is_bound_to_the_tenant",),
    ),
    Mutation(
        name="callers-transaction-ended",
        path=SESSION,
        after="    def transaction(",
        text="            joined = connection.info.transaction_status"
        " != TransactionStatus.IDLE\n",
        replacement="            connection.commit()\n"
        "            joined = connection.info.transaction_status"
        " != TransactionStatus.IDLE\n",
        danger="What the caller would have rolled back is stored.",
        caught_by=(f"{STORE_TESTS}::test_the_callers_rollback_undoes_the_stores_work",),
    ),
)
