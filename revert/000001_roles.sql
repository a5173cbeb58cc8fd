-- Revert pgrules:000001_roles from pg
--
-- A role stays that has members, that another database still uses, or that was there
-- before the deploy, which leaves its mark in a comment on those that it creates.

BEGIN;

DO $roles$
DECLARE
    v_role name;
BEGIN
    FOR v_role IN
        SELECT role.rolname
        FROM pg_catalog.pg_roles AS role
        WHERE
            role.rolname IN ('rules_owner', 'rules_app', 'rules_tenant', 'rules_admin')
            AND shobj_description(role.oid, 'pg_authid') LIKE 'pgrules: %'
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_auth_members AS membership
                WHERE membership.roleid = role.oid
            )
    LOOP
        BEGIN
            EXECUTE pg_catalog.format('DROP ROLE IF EXISTS %I', v_role);
        EXCEPTION
            WHEN dependent_objects_still_exist THEN
                RAISE NOTICE 'role % is used by another database and stays', v_role;
        END;
    END LOOP;
END;
$roles$;

COMMIT;
