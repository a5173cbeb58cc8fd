-- Deploy pgrules:000011_rules to pg
-- requires: 000008_tenant_policies
--
-- The rules. Keys begin with the tenant, so that neither a violation nor a foreign key
-- tells one tenant of another's rows. Expressions are compiled by the trigger of
-- 000016_compile_rules.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.rules (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    expression text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    estimated_cost bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT rules_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT rules_tenant_id_name_key UNIQUE (tenant_id, name),
    CONSTRAINT rules_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE,
    CONSTRAINT rules_name_check CHECK (btrim(name) <> '')
);

-- The active rules of a tenant in the order of evaluation, from the index alone.
CREATE INDEX rules_tenant_id_active_created_at_id_idx
ON rules.rules (tenant_id, active, created_at, id) WHERE active;
-- Where the tenant is not in an index, EXPLAIN ANALYZE counts the rows of others that
-- it led to.
CREATE INDEX rules_created_at_tenant_id_idx ON rules.rules (created_at, tenant_id);

CREATE TRIGGER rules_stamp
BEFORE UPDATE ON rules.rules
FOR EACH ROW EXECUTE FUNCTION rules_internal.stamp_row();

ALTER TABLE rules.rules ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.rules FORCE ROW LEVEL SECURITY;

CREATE POLICY rules_rules_app ON rules.rules TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY rules_rules_tenant ON rules.rules TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY rules_rules_owner ON rules.rules TO rules_owner
USING (true)
WITH CHECK (true);

COMMENT ON TABLE rules.rules IS
'The rules of all tenants. A row whose expression does not compile is refused: RE020,
RE021 beyond the limits, RE050 where RE2 is missing; 23505 for an id or a name that
the tenant has already.';
COMMENT ON COLUMN rules.rules.tenant_id IS 'The tenant that the rule belongs to.';
COMMENT ON COLUMN rules.rules.id IS 'Unique within the tenant.';
COMMENT ON COLUMN rules.rules.name IS 'Unique within the tenant.';
COMMENT ON COLUMN rules.rules.expression IS 'The rule, in CEL.';
COMMENT ON COLUMN rules.rules.active IS
'Whether evaluate_all includes it; evaluate answers for any rule.';
COMMENT ON COLUMN rules.rules.estimated_cost IS
'The cost units of an evaluation at most, over facts of the sizes that docs/language.md
assumes; set when the rule is compiled.';
COMMENT ON COLUMN rules.rules.created_at IS 'Order of evaluation, then by id.';
COMMENT ON COLUMN rules.rules.updated_at IS 'When the row last changed.';

GRANT SELECT, DELETE ON rules.rules TO rules_app, rules_tenant;
GRANT INSERT (tenant_id, id, name, expression, active)
ON rules.rules TO rules_app, rules_tenant;
GRANT UPDATE (name, expression, active) ON rules.rules TO rules_app, rules_tenant;

COMMIT;
