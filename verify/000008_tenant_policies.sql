-- Verify pgrules:000008_tenant_policies on pg

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_table regclass;
    v_expected record;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOREACH v_table IN ARRAY ARRAY['rules.tenants', 'rules.tenant_logins']::regclass[]
    LOOP
        ASSERT (
            SELECT class.relrowsecurity AND class.relforcerowsecurity
            FROM pg_class AS class
            WHERE class.oid = v_table
        ), format('%s has no forced row-level security', v_table);
    END LOOP;

    FOR v_expected IN
        SELECT * FROM (
            VALUES
            ('tenants', 'rules_app', '(id = rules.current_tenant_id())'),
            ('tenants', 'rules_tenant', '(id = rules.current_tenant_id())'),
            ('tenants', 'rules_admin', 'true'),
            ('tenant_logins', 'rules_admin', 'true'),
            ('tenant_logins', 'rules_owner', '(login = SESSION_USER)')
        ) AS expected (relation, role, condition)
    LOOP
        ASSERT EXISTS (
            SELECT FROM pg_policies AS policy
            WHERE
                policy.schemaname = 'rules'
                AND policy.tablename = v_expected.relation
                AND policy.policyname
                = v_expected.relation || '_' || v_expected.role
                AND policy.roles = ARRAY[v_expected.role::name]
                AND policy.permissive = 'PERMISSIVE'
                AND policy.cmd = 'ALL'
                AND policy.qual = v_expected.condition
                AND policy.with_check = v_expected.condition
        ), format('policy of %s for %s', v_expected.relation, v_expected.role);
    END LOOP;
END;
$verify$;

ROLLBACK;
