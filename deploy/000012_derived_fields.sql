-- Deploy pgrules:000012_derived_fields to pg
-- requires: 000008_tenant_policies
--
-- Named expressions that rules use like facts.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.derived_fields (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(100) NOT NULL,
    expression text NOT NULL,
    dependencies jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT derived_fields_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT derived_fields_tenant_id_name_key UNIQUE (tenant_id, name),
    CONSTRAINT derived_fields_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE,
    CONSTRAINT derived_fields_name_check
    CHECK (name ~ '^[a-zA-Z_][a-zA-Z0-9_]*$'),
    CONSTRAINT derived_fields_dependencies_check
    CHECK (jsonb_typeof(dependencies) = 'array')
);

CREATE INDEX derived_fields_tenant_id_idx ON rules.derived_fields (tenant_id);
CREATE INDEX derived_fields_dependencies_idx
ON rules.derived_fields USING gin (dependencies);

CREATE TRIGGER derived_fields_stamp
BEFORE UPDATE ON rules.derived_fields
FOR EACH ROW EXECUTE FUNCTION rules_internal.stamp_row();

ALTER TABLE rules.derived_fields ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.derived_fields FORCE ROW LEVEL SECURITY;

CREATE POLICY derived_fields_rules_app ON rules.derived_fields TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY derived_fields_rules_tenant ON rules.derived_fields TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY derived_fields_rules_owner ON rules.derived_fields TO rules_owner
USING (true)
WITH CHECK (true);

COMMENT ON TABLE rules.derived_fields IS
'Named expressions over facts and other derived fields; rules use them like facts. A
row whose expression does not compile is refused: RE020.';
COMMENT ON COLUMN rules.derived_fields.tenant_id IS
'The tenant that the field belongs to.';
COMMENT ON COLUMN rules.derived_fields.id IS 'Unique within the tenant.';
COMMENT ON COLUMN rules.derived_fields.name IS
'A name that rules use; unique within the tenant.';
COMMENT ON COLUMN rules.derived_fields.expression IS 'What it computes, in CEL.';
COMMENT ON COLUMN rules.derived_fields.dependencies IS
'The names that the expression uses, as an array; kept by the engine.';
COMMENT ON COLUMN rules.derived_fields.created_at IS 'When the field was added.';
COMMENT ON COLUMN rules.derived_fields.updated_at IS 'When the row last changed.';

GRANT SELECT, DELETE ON rules.derived_fields TO rules_app, rules_tenant;
GRANT INSERT (tenant_id, id, name, expression), UPDATE (name, expression)
ON rules.derived_fields TO rules_app, rules_tenant;

COMMIT;
