-- Deploy pgrules:000014_environments to pg
-- requires: 000010_schemas
-- requires: 000012_derived_fields
--
-- What a tenant's expressions are compiled against, as one document: the active
-- schema and the derived fields. Kept by triggers in the writer's transaction, so
-- that an evaluation reads one row instead of collecting many.

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

CREATE FUNCTION rules_internal.refresh_environments() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant uuid;
    v_definition jsonb;
    v_derived jsonb;
    v_document text;
BEGIN
    FOR v_tenant IN SELECT DISTINCT changed.tenant_id FROM changed ORDER BY 1 LOOP
        -- Two writers of one tenant: the second sees what the first one stored.
        PERFORM pg_advisory_xact_lock(
            hashtextextended('pgrules.environment:' || v_tenant, 0)
        );
        SELECT active.definition INTO v_definition
        FROM rules.schemas AS active
        WHERE active.tenant_id = v_tenant AND active.active;
        SELECT jsonb_object_agg(field.name, field.expression) INTO v_derived
        FROM rules.derived_fields AS field
        WHERE field.tenant_id = v_tenant;
        v_document := jsonb_strip_nulls(
            jsonb_build_object('schema', v_definition, 'derived', v_derived)
        );
        IF v_document = '{}' THEN
            DELETE FROM rules_internal.environments AS environment
            WHERE environment.tenant_id = v_tenant;
        ELSE
            UPDATE rules_internal.environments AS environment
            SET document = v_document
            WHERE environment.tenant_id = v_tenant;
            -- A tenant that is being deleted is gone already, and gets no new row.
            IF NOT FOUND AND EXISTS (
                SELECT FROM rules.tenants AS tenant WHERE tenant.id = v_tenant
            ) THEN
                INSERT INTO rules_internal.environments (tenant_id, document)
                VALUES (v_tenant, v_document);
            END IF;
        END IF;
    END LOOP;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.refresh_environments() IS
'Trigger: renews the environments of the tenants in transition table "changed".
SECURITY DEFINER, since no other role writes rules_internal.environments.';

REVOKE ALL ON FUNCTION rules_internal.refresh_environments() FROM public;

-- For the existence test above.
CREATE POLICY tenants_rules_owner ON rules.tenants TO rules_owner
USING (true)
WITH CHECK (true);

CREATE TRIGGER schemas_environment_insert
AFTER INSERT ON rules.schemas
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.refresh_environments();

CREATE TRIGGER schemas_environment_update
AFTER UPDATE ON rules.schemas
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.refresh_environments();

CREATE TRIGGER schemas_environment_delete
AFTER DELETE ON rules.schemas
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.refresh_environments();

CREATE TRIGGER derived_fields_environment_insert
AFTER INSERT ON rules.derived_fields
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.refresh_environments();

CREATE TRIGGER derived_fields_environment_update
AFTER UPDATE ON rules.derived_fields
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.refresh_environments();

CREATE TRIGGER derived_fields_environment_delete
AFTER DELETE ON rules.derived_fields
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.refresh_environments();

COMMIT;
