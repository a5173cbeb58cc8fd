-- Deploy pgrules:000001_roles to pg
--
-- The group roles that everything is owned by or granted to. Roles belong to the
-- whole cluster: another database may have created them, or be doing so right now.

BEGIN;

DO $roles$
DECLARE
    v_role text;
    v_comment text;
BEGIN
    IF pg_catalog.current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'cannot deploy pgrules: the encoding of database % is %',
            pg_catalog.current_database(),
            pg_catalog.current_setting('server_encoding')
            USING ERRCODE = 'feature_not_supported',
                HINT = 'Create the database with ENCODING ''UTF8''.';
    END IF;
    FOR v_role, v_comment IN
        VALUES
        ('rules_owner', 'owns tables and functions; no superuser, nobody logs in as it'),
        ('rules_app', 'application servers, which choose the tenant by app.tenant_id'),
        ('rules_tenant', 'logins of one tenant, bound to it by rules.tenant_logins'),
        ('rules_admin', 'manages tenants and their logins, and sees all of them')
    LOOP
        BEGIN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', v_role);
            EXECUTE pg_catalog.format(
                'COMMENT ON ROLE %I IS %L', v_role, 'pgrules: ' || v_comment
            );
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
        END;
    END LOOP;
END;
$roles$;

COMMIT;
