-- Deploy pgrules:000009_set_tenant to pg
-- requires: 000007_current_tenant_id
--
-- Sets the tenant for this transaction only: a setting of the session would leak to
-- the next client of a transaction pooler.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.set_tenant(tenant_id uuid) RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    IF set_tenant.tenant_id IS NULL THEN
        RAISE EXCEPTION 'cannot set the tenant: the tenant id is NULL'
            USING ERRCODE = 'null_value_not_allowed',
                HINT = 'Give the id of a row of rules.tenants.';
    END IF;
    PERFORM set_config('app.tenant_id', set_tenant.tenant_id::text, true);
    PERFORM rules.current_tenant_id();
END;
$function$;

COMMENT ON FUNCTION rules.set_tenant(uuid) IS
'Sets the tenant of this transaction; it ends with COMMIT, ROLLBACK, or the return to
a savepoint before it. Raises 22004 for NULL and 42501 when the login is bound to
another tenant.';

REVOKE ALL ON FUNCTION rules.set_tenant(uuid) FROM public;
GRANT EXECUTE ON FUNCTION rules.set_tenant(uuid) TO rules_app, rules_tenant;

COMMIT;
