-- Verify pgrules:000024_schema_migrations on pg

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_view constant regclass := 'rules.schema_migrations';
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    ASSERT (
        SELECT
            class.relkind = 'v'
            AND class.relowner = 'rules_owner'::regrole
            AND obj_description(class.oid, 'pg_class') IS NOT NULL
        FROM pg_class AS class
        WHERE class.oid = v_view
    ), format('%s is no view, or has another owner or no comment', v_view);
    ASSERT (
        SELECT
            string_agg(
                attname || ' ' || format_type(atttypid, atttypmod), ', '
                ORDER BY attnum
            )
            = 'version text, name text, applied_at timestamp with time zone'
        FROM pg_attribute
        WHERE attrelid = v_view AND attnum > 0
    ), format('%s has other columns', v_view);
    ASSERT (
        SELECT
            string_agg(
                acl.grantee::regrole || ' ' || acl.privilege_type, ', '
                ORDER BY acl.grantee::regrole::text
            )
            = 'rules_admin SELECT, rules_app SELECT, rules_tenant SELECT'
        FROM pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS acl
        WHERE class.oid = v_view AND acl.grantee <> class.relowner
    ), format('%s is granted otherwise', v_view);
    -- While this change is verified for the first time, Sqitch has not recorded it.
    ASSERT EXISTS (
        SELECT FROM rules.schema_migrations AS migration
        WHERE migration.version = '000002' AND migration.name = '000002_namespaces'
    ), format('%s does not show what is deployed', v_view);
END;
$verify$;

ROLLBACK;
