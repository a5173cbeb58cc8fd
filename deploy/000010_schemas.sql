-- Deploy pgrules:000010_schemas to pg
-- requires: 000008_tenant_policies
--
-- The versions of each tenant's schema. A stored version never changes, and one at
-- the most is active.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.schemas (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    version integer NOT NULL,
    definition jsonb NOT NULL,
    active boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT schemas_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT schemas_tenant_id_version_key UNIQUE (tenant_id, version),
    CONSTRAINT schemas_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE,
    CONSTRAINT schemas_version_check CHECK (version > 0),
    CONSTRAINT schemas_definition_check CHECK (jsonb_typeof(definition) = 'object')
);

CREATE UNIQUE INDEX schemas_tenant_id_active_key
ON rules.schemas (tenant_id, active) WHERE active;
CREATE INDEX schemas_definition_idx ON rules.schemas USING gin (definition);

CREATE FUNCTION rules_internal.keep_schema() RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'cannot change schema version %: stored versions never change',
        OLD.version
        USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = pg_catalog.format('Tenant %s.', OLD.tenant_id),
            HINT = 'Store the new definition as a new version.';
END;
$function$;

COMMENT ON FUNCTION rules_internal.keep_schema() IS
'Trigger: refuses a change of what a schema version says. Raises 55000.';

REVOKE ALL ON FUNCTION rules_internal.keep_schema() FROM public;

CREATE TRIGGER schemas_keep
BEFORE UPDATE OF tenant_id, id, version, definition, created_at ON rules.schemas
FOR EACH ROW
WHEN (
    old.tenant_id IS DISTINCT FROM new.tenant_id
    OR old.id IS DISTINCT FROM new.id
    OR old.version IS DISTINCT FROM new.version
    OR old.definition IS DISTINCT FROM new.definition
    OR old.created_at IS DISTINCT FROM new.created_at
)
EXECUTE FUNCTION rules_internal.keep_schema();

CREATE TRIGGER schemas_stamp
BEFORE UPDATE ON rules.schemas
FOR EACH ROW EXECUTE FUNCTION rules_internal.stamp_row();

ALTER TABLE rules.schemas ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.schemas FORCE ROW LEVEL SECURITY;

CREATE POLICY schemas_rules_app ON rules.schemas TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY schemas_rules_tenant ON rules.schemas TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY schemas_rules_owner ON rules.schemas TO rules_owner
USING (true)
WITH CHECK (true);

COMMENT ON TABLE rules.schemas IS
'Versions of the tenant''s schema: object names, their fields and the fields'' types.
Written by rules.set_schema.';
COMMENT ON COLUMN rules.schemas.tenant_id IS 'The tenant that the schema belongs to.';
COMMENT ON COLUMN rules.schemas.id IS 'Unique within the tenant.';
COMMENT ON COLUMN rules.schemas.version IS '1, 2, 3 ... of each tenant.';
COMMENT ON COLUMN rules.schemas.definition IS
'For example {"User": {"Age": "int"}}; never changes.';
COMMENT ON COLUMN rules.schemas.active IS 'Whether rules are compiled against it.';
COMMENT ON COLUMN rules.schemas.created_at IS 'When the version was stored.';
COMMENT ON COLUMN rules.schemas.updated_at IS
'When it was last made active or inactive.';

GRANT SELECT ON rules.schemas TO rules_app, rules_tenant;

COMMIT;
