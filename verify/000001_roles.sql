-- Verify pgrules:000001_roles on pg

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_role text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOREACH v_role IN ARRAY
        ARRAY['rules_owner', 'rules_app', 'rules_tenant', 'rules_admin']
    LOOP
        ASSERT (
            SELECT count(*) = 1
            FROM pg_roles AS role
            WHERE
                role.rolname = v_role
                AND NOT role.rolcanlogin
                AND NOT role.rolsuper
                AND NOT role.rolbypassrls
                AND NOT role.rolcreaterole
                AND NOT role.rolcreatedb
                AND NOT role.rolreplication
        ), format('role %s is missing, or may do more than it should', v_role);
        ASSERT NOT EXISTS (
            SELECT FROM pg_auth_members AS membership
            WHERE
                membership.member = v_role::regrole
                AND membership.roleid IN (
                    'rules_owner'::regrole, 'rules_app'::regrole,
                    'rules_tenant'::regrole, 'rules_admin'::regrole
                )
        ), format('role %s is a member of another of them', v_role);
    END LOOP;
END;
$verify$;

ROLLBACK;
