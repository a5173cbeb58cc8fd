-- Deploy pgrules:000007_current_tenant_id to pg
-- requires: 000006_tenant_logins
--
-- The one resolver of the tenant, used by every policy and every function. It has
-- no EXCEPTION block, which fails in parallel workers, and is STABLE, never IMMUTABLE:
-- a cached plan would show another tenant's rows. session_user decides, because
-- current_user changes with SET ROLE and inside SECURITY DEFINER functions.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.bound_tenant() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT binding.tenant_id
    FROM rules.tenant_logins AS binding
    WHERE binding.login = session_user;
END;

COMMENT ON FUNCTION rules_internal.bound_tenant() IS
'The tenant that the login is bound to, or NULL. SECURITY DEFINER, since nobody else
may read rules.tenant_logins.';

-- The search_path is fixed though the caller's rights are used: whoever may create in
-- any schema could otherwise bring a pg_has_role or an operator <> of his own.
CREATE FUNCTION rules_internal.resolve_tenant(p_setting text) RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_chooses constant boolean := pg_has_role(session_user, 'rules_app', 'MEMBER');
    v_bound uuid;
BEGIN
    IF coalesce(p_setting, '') = '' THEN
        IF v_chooses THEN
            RAISE EXCEPTION 'no tenant is set: app.tenant_id is %',
                CASE WHEN p_setting IS NULL THEN 'unset' ELSE 'empty' END
                USING ERRCODE = 'RE001',
                    DETAIL = 'A tenant is set for one transaction and ends with it.',
                    HINT = 'Begin each transaction with SELECT rules.set_tenant(...).';
        END IF;
    ELSIF
        p_setting NOT LIKE '________-____-____-____-____________'
        OR p_setting ~ '[^0-9a-fA-F-]'
        OR octet_length(replace(p_setting, '-', '')) <> 32
    THEN
        RAISE EXCEPTION 'the tenant in app.tenant_id is no uuid: %',
            quote_literal(left(p_setting, 64))
            USING ERRCODE = 'RE002',
                DETAIL = 'Expected are hexadecimal digits as 8-4-4-4-12.',
                HINT = 'Begin each transaction with SELECT rules.set_tenant(...).';
    END IF;
    IF v_chooses THEN
        RETURN p_setting::uuid;
    END IF;
    v_bound := rules_internal.bound_tenant();
    IF v_bound IS NULL THEN
        RAISE EXCEPTION 'login % is bound to no tenant', session_user
            USING ERRCODE = 'insufficient_privilege',
                DETAIL = 'Only members of rules_app choose the tenant by app.tenant_id.',
                HINT = 'An administrator inserts the login into rules.tenant_logins.';
    END IF;
    IF p_setting <> '' AND p_setting::uuid <> v_bound THEN
        RAISE EXCEPTION 'login % may not act for tenant %', session_user, p_setting
            USING ERRCODE = 'insufficient_privilege',
                DETAIL = 'The login is bound to another tenant.',
                HINT = 'Leave app.tenant_id unset, or set it to the own tenant.';
    END IF;
    RETURN v_bound;
END;
$function$;

COMMENT ON FUNCTION rules_internal.resolve_tenant(text) IS
'The slow and complete half of rules.current_tenant_id.';

-- The common case, an application server with a proper setting, in a form that the
-- planner puts in the place of the call: policies cost no function call. The tests for
-- a uuid are those that are cheap; a cast could not be caught.
CREATE FUNCTION rules.current_tenant_id() RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE
        WHEN
            current_setting('app.tenant_id', true)
            LIKE '________-____-____-____-____________'
            AND current_setting('app.tenant_id', true) !~ '[^0-9a-fA-F-]'
            AND octet_length(replace(current_setting('app.tenant_id', true), '-', ''))
            = 32
            AND pg_has_role(session_user, 'rules_app', 'MEMBER')
            THEN current_setting('app.tenant_id', true)::uuid
        ELSE rules_internal.resolve_tenant(current_setting('app.tenant_id', true))
    END;
END;

COMMENT ON FUNCTION rules.current_tenant_id() IS
'The tenant of this transaction: app.tenant_id for members of rules_app, the tenant
that the login is bound to for everyone else. Raises RE001 when none is set, RE002
when the setting is no uuid, 42501 when the login may not act for the tenant.';

REVOKE ALL ON FUNCTION
rules_internal.bound_tenant(),
rules_internal.resolve_tenant(text),
rules.current_tenant_id()
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.bound_tenant(),
rules_internal.resolve_tenant(text),
rules.current_tenant_id()
TO rules_app, rules_tenant, rules_admin;

COMMIT;
