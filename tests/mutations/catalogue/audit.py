"""The audit: what is recorded, under whose name, and that it stays."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

TESTS = "tests/pgtap/audit_log.sql"
NOT_EVEN_A_SUPERUSER = f"{TESTS}::Not even a superuser: "
AUDIT_LOG = "deploy/000036_audit_log.sql"
CHANGES = "deploy/000037_record_changes.sql"

MUTATIONS = (
    Mutation(
        name="updates-not-recorded",
        path=CHANGES,
        text="'FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.audit_update",
        replacement="'FOR EACH STATEMENT WHEN (false)"
        " EXECUTE FUNCTION rules_internal.audit_update",
        danger="A rule changes and nobody can say who did it.",
        caught_by=(f"{TESTS}::An UPDATE is recorded, from what to what",),
    ),
    Mutation(
        name="deletions-of-bindings-not-recorded",
        path=CHANGES,
        text="AFTER INSERT OR UPDATE OR DELETE ON rules.tenant_logins",
        replacement="AFTER INSERT OR UPDATE ON rules.tenant_logins",
        danger="An administrator binds a login, uses it, and unbinds it.",
        caught_by=(
            (
                f"{TESTS}::Every change of tenants and logins is recorded, for"
                " administrators"
            ),
        ),
    ),
    Mutation(
        name="truncation-not-recorded",
        path=CHANGES,
        text="'CREATE TRIGGER %1$I BEFORE TRUNCATE ON rules.%2$I '\n"
        "            'FOR EACH STATEMENT '\n",
        replacement="'CREATE TRIGGER %1$I BEFORE TRUNCATE ON rules.%2$I '\n"
        "            'FOR EACH STATEMENT WHEN (false) '\n",
        danger="All rules of all tenants are gone, and the audit says they are there.",
        caught_by=(f"{TESTS}::TRUNCATE is recorded",),
    ),
    Mutation(
        name="recorded-under-the-owners-name",
        path=AUDIT_LOG,
        after="CREATE TABLE rules.audit_log (",
        text="changed_by text NOT NULL DEFAULT session_user,",
        replacement="changed_by text NOT NULL DEFAULT current_user,",
        danger="Every change was made by rules_owner.",
        caught_by=(
            (
                f"{TESTS}::Who calls a function that is SECURITY DEFINER is recorded,"
                " not its owner"
            ),
            f"{TESTS}::An entry says who, as what, from where, what, and when",
        ),
    ),
    Mutation(
        name="audit-emptied",
        path=AUDIT_LOG,
        text="BEFORE UPDATE OR DELETE OR TRUNCATE ON rules.audit_log",
        replacement="BEFORE UPDATE OR DELETE ON rules.audit_log",
        danger="One TRUNCATE by mistake, and the history of all tenants is gone.",
        caught_by=(NOT_EVEN_A_SUPERUSER + "TRUNCATE rules.audit_log",),
    ),
    Mutation(
        name="audit-rewritten",
        path=AUDIT_LOG,
        text="BEFORE UPDATE OR DELETE OR TRUNCATE ON rules.tenant_audit_log",
        replacement="BEFORE UPDATE ON rules.tenant_audit_log",
        danger="Who was bound to whom can be made never to have been.",
        caught_by=(
            NOT_EVEN_A_SUPERUSER + "DELETE FROM rules.tenant_audit_log",  # noqa: S608
        ),
    ),
    Mutation(
        name="in-force-before-the-commit",
        path=AUDIT_LOG,
        text="DEFERRABLE INITIALLY DEFERRED",
        replacement="DEFERRABLE INITIALLY IMMEDIATE",
        danger="A verdict as of a time is by a rule that nobody could see then.",
        caught_by=(
            f"{TESTS}::Before the commit there is no time of it",
            (
                "tests/integration/test_audit.py"
                "::test_a_change_is_in_force_from_its_commit_not_from_its_statement"
            ),
        ),
    ),
    Mutation(
        name="moved-rules-recorded-as-changed",
        path=CHANGES,
        text="FULL JOIN updated USING (tenant_id, id)",
        replacement="INNER JOIN updated USING (tenant_id, id)",
        danger="A rule that gets another tenant leaves no trace with either.",
        caught_by=(
            (
                f"{TESTS}::A rule that gets another tenant goes from the one and comes"
                " to the other"
            ),
        ),
    ),
)
