"""Verify scripts notice what is missing, and what is too much.

Sqitch believes them, so each kind of damage is done once and has to be noticed.
"""

import psycopg
import pytest

from tests.fixtures.sqitch import ROOT
from tests.fixtures.uri import with_database
from tests.migration.project import plan, succeed

pytestmark = pytest.mark.integration

DAMAGE = {
    "ALTER TABLE rules.rules NO FORCE ROW LEVEL SECURITY": "000011_rules",
    "ALTER TABLE rules.tenants DISABLE ROW LEVEL SECURITY": "000008_tenant_policies",
    "ALTER TABLE rules.tenants OWNER TO postgres": "000005_tenants",
    "DROP POLICY rules_rules_app ON rules.rules": "000011_rules",
    "ALTER POLICY rules_rules_tenant ON rules.rules USING (true)": "000011_rules",
    "ALTER POLICY tenants_rules_tenant ON rules.tenants TO PUBLIC": (
        "000008_tenant_policies"
    ),
    "DROP INDEX rules.rules_created_at_tenant_id_idx": "000011_rules",
    "ALTER TABLE rules.rules DROP CONSTRAINT rules_tenant_id_name_key": "000011_rules",
    "ALTER TABLE rules.schema_changelog ALTER compiled TYPE bigint": (
        "000013_schema_changelog"
    ),
    "ALTER TABLE rules.rules ALTER active DROP DEFAULT": "000011_rules",
    "ALTER TABLE rules.rules DISABLE TRIGGER rules_stamp": "000011_rules",
    "ALTER TABLE rules.rules DISABLE TRIGGER rules_compile": "000016_compile_rules",
    "ALTER TABLE rules.rules ENABLE REPLICA TRIGGER rules_compile": (
        "000016_compile_rules"
    ),
    "GRANT SELECT ON rules.tenant_logins TO rules_tenant": "000006_tenant_logins",
    "GRANT SELECT ON rules.schemas TO PUBLIC": "000010_schemas",
    "GRANT UPDATE (created_at) ON rules.rules TO rules_app": "000011_rules",
    "GRANT TRUNCATE ON rules.rules TO rules_app": "000011_rules",
    "REVOKE DELETE ON rules.derived_fields FROM rules_app": "000012_derived_fields",
    "COMMENT ON TABLE rules.schema_changelog IS NULL": "000013_schema_changelog",
    "GRANT INSERT ON rules_internal.environments TO rules_app": "000014_environments",
    "GRANT EXECUTE ON FUNCTION rules.set_tenant(uuid) TO PUBLIC": "000009_set_tenant",
    "ALTER FUNCTION rules.current_tenant_id() IMMUTABLE": "000007_current_tenant_id",
    "ALTER FUNCTION rules_internal.bound_tenant() RESET ALL": (
        "000007_current_tenant_id"
    ),
    "ALTER FUNCTION rules.evaluate SECURITY DEFINER": "000018_evaluate",
    "ALTER FUNCTION rules.evaluate_all PARALLEL UNSAFE": "000021_evaluate_all",
    "REVOKE EXECUTE ON FUNCTION rules.matches FROM rules_app": "000022_matches",
    "ALTER FUNCTION rules_internal.cel_evaluate OWNER TO rules_owner": "000015_cel",
    "ALTER FUNCTION rules.set_schema SECURITY INVOKER": "000026_set_schema",
    "GRANT INSERT ON rules.audit_log TO rules_app": "000036_audit_log",
    "GRANT SELECT ON rules.tenant_audit_log TO rules_app": "000036_audit_log",
    "ALTER TABLE rules.audit_log DISABLE TRIGGER audit_log_keep": "000036_audit_log",
    "DROP TRIGGER audit_commits_note ON rules_internal.audit_commits": (
        "000036_audit_log"
    ),
    "ALTER TABLE rules.rules DISABLE TRIGGER rules_audit_update": (
        "000037_record_changes"
    ),
    "DROP TRIGGER tenant_logins_audit ON rules.tenant_logins": "000037_record_changes",
    "ALTER FUNCTION rules_internal.audit_insert() RESET ALL": "000037_record_changes",
    "ALTER FUNCTION rules.restore_rule SECURITY DEFINER": "000038_rule_versions",
    "ALTER FUNCTION rules.evaluate_as_of PARALLEL UNSAFE": "000039_evaluate_as_of",
    "GRANT EXECUTE ON FUNCTION rules_internal.shorten_audit TO rules_admin": (
        "000040_shorten_audit"
    ),
    "ALTER TABLE rules.rules ALTER expression SET STATISTICS 100": (
        "000041_withhold_statistics"
    ),
    "GRANT CREATE ON SCHEMA rules TO rules_app": "000002_namespaces",
    "GRANT CREATE ON SCHEMA public TO PUBLIC": "000002_namespaces",
    "GRANT USAGE ON SCHEMA rules TO PUBLIC": "000002_namespaces",
    "ALTER ROLE rules_app CREATEROLE": "000001_roles",
    "GRANT rules_admin TO rules_app": "000001_roles",
    "REVOKE SELECT ON rules.schema_migrations FROM rules_app": (
        "000024_schema_migrations"
    ),
}


@pytest.fixture(scope="module")
def whole(cluster: str) -> str:
    """The URI of a database with everything deployed, which no test changes."""
    with psycopg.connect(cluster, autocommit=True) as session:
        session.execute("CREATE DATABASE whole TEMPLATE template0")
    uri = with_database(cluster, "whole")
    succeed(uri, "deploy", "--verify")
    return uri


def verify(uri: str, change: str, *, after: str = "") -> None:
    """Run a verify script after a statement; its ROLLBACK undoes both."""
    script = (ROOT / "verify" / f"{change}.sql").read_text()
    with psycopg.connect(uri, autocommit=True) as session:
        session.execute(f"BEGIN; {after}; {script}".encode())


@pytest.mark.parametrize("change", plan())
def test_what_was_deployed_is_verified(whole: str, change: str) -> None:
    """REQ-MIGRATION-001."""
    verify(whole, change)


@pytest.mark.parametrize("statement", DAMAGE)
def test_damage_is_noticed(whole: str, statement: str) -> None:
    """REQ-MIGRATION-001: a verification that cannot fail says nothing."""
    with pytest.raises(psycopg.errors.AssertFailure):
        verify(whole, DAMAGE[statement], after=statement)


def test_assertions_count_where_the_server_has_them_switched_off(whole: str) -> None:
    with pytest.raises(psycopg.errors.AssertFailure):
        verify(
            whole,
            "000011_rules",
            after="SET LOCAL plpgsql.check_asserts = off;"
            " DROP INDEX rules.rules_created_at_tenant_id_idx",
        )
