-- Deploy pgrules:000014_environments to pg
-- requires: 000010_schemas
-- requires: 000012_derived_fields
--
-- What a tenant's expressions are compiled against, as one document: the active
-- schema and the derived fields. An evaluation reads one row instead of collecting
-- many. Kept by whoever writes schemas and derived fields, in the same transaction.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules_internal.environments (
    tenant_id uuid NOT NULL,
    document text NOT NULL,
    CONSTRAINT environments_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT environments_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE
);

COMMENT ON TABLE rules_internal.environments IS
'The environment of each tenant that has a schema or derived fields.';

ALTER TABLE rules_internal.environments ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.environments FORCE ROW LEVEL SECURITY;

CREATE POLICY environments_rules_app ON rules_internal.environments TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY environments_rules_tenant ON rules_internal.environments TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY environments_rules_owner ON rules_internal.environments TO rules_owner
USING (true)
WITH CHECK (true);

GRANT SELECT ON rules_internal.environments TO rules_app, rules_tenant;

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY tenants_rules_owner ON rules.tenants TO rules_owner
USING (true)
WITH CHECK (true);

CREATE FUNCTION rules_internal.environment(p_tenant_id uuid) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    -- Here the plan is kept; a function in SQL would plan on every call.
    RETURN coalesce(
        (
            SELECT environment.document
            FROM rules_internal.environments AS environment
            WHERE environment.tenant_id = p_tenant_id
        ),
        '{}'
    );
END;
$function$;

COMMENT ON FUNCTION rules_internal.environment(uuid) IS
'What the tenant''s expressions are compiled against.';

-- Writers of rules share the environment that they compile against; a writer of the
-- environment waits for them, and they for it. The lock is on the tenant's own row, as
-- an advisory lock could be taken by any login for any tenant.
CREATE FUNCTION rules_internal.share_environment(p_tenant_id uuid) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- Superusers write for any tenant; everyone else locks nothing but the own.
    v_tenant constant uuid := CASE
        WHEN pg_has_role(session_user, 'rules_owner', 'MEMBER') THEN p_tenant_id
        ELSE rules.current_tenant_id()
    END;
BEGIN
    PERFORM FROM rules.tenants AS tenant WHERE tenant.id = v_tenant FOR KEY SHARE;
END;
$function$;

COMMENT ON FUNCTION rules_internal.share_environment(uuid) IS
'Keeps the environment of a tenant as it is until the end of the transaction. SECURITY
DEFINER, since locking the tenant''s row takes the right to change it.';

CREATE FUNCTION rules_internal.lock_environment(p_tenant_id uuid) RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    -- An update of a key, which is more than a lock: who shares the environment later,
    -- in a snapshot from before the change, gets a serialization failure; and so does
    -- the own transaction, if rules were written that its snapshot does not see: their
    -- tokens refer to this key.
    UPDATE rules.tenants AS tenant SET updated_at = pg_catalog.clock_timestamp()
    WHERE tenant.id = p_tenant_id;
END;
$function$;

COMMENT ON FUNCTION rules_internal.lock_environment(uuid) IS
'Waits until nobody shares the environment of a tenant, and then keeps others from it
until the end of the transaction. Raises 40001 in a snapshot older than the last change
of the environment or of the rules.';

CREATE FUNCTION rules_internal.store_environment(p_tenant_id uuid) RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_definition jsonb;
    v_derived jsonb;
    v_document jsonb;
BEGIN
    SELECT active.definition INTO v_definition
    FROM rules.schemas AS active
    WHERE active.tenant_id = p_tenant_id AND active.active;
    SELECT jsonb_object_agg(field.name, field.expression) INTO v_derived
    FROM rules.derived_fields AS field
    WHERE field.tenant_id = p_tenant_id;
    v_document := jsonb_strip_nulls(
        jsonb_build_object('schema', v_definition, 'derived', v_derived)
    );
    IF v_document = '{}' THEN
        DELETE FROM rules_internal.environments AS environment
        WHERE environment.tenant_id = p_tenant_id;
    ELSE
        INSERT INTO rules_internal.environments AS environment (tenant_id, document)
        VALUES (p_tenant_id, v_document::text)
        ON CONFLICT (tenant_id) DO UPDATE SET document = excluded.document;
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules_internal.store_environment(uuid) IS
'Renews the environment of a tenant from its schema and derived fields; the caller
holds the lock.';

REVOKE ALL ON FUNCTION
rules_internal.environment(uuid),
rules_internal.share_environment(uuid),
rules_internal.lock_environment(uuid),
rules_internal.store_environment(uuid)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.environment(uuid),
rules_internal.share_environment(uuid)
TO rules_app, rules_tenant;

COMMIT;
