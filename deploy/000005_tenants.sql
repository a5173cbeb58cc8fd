-- Deploy pgrules:000005_tenants to pg
-- requires: 000004_stamp_row
--
-- The tenants. Deleting one deletes all that belongs to it.
-- Row-level security follows in 000008_tenant_policies, after the resolver.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.tenants (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    name varchar(255) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tenants_pkey PRIMARY KEY (id),
    -- What is compiled for the tenant refers to it as it was then.
    CONSTRAINT tenants_id_updated_at_key UNIQUE (id, updated_at),
    CONSTRAINT tenants_name_check CHECK (btrim(name) <> '')
);

-- With the id: EXPLAIN ANALYZE would else count the rows that a policy removes, and so
-- tell whether there is a tenant of some name.
CREATE INDEX tenants_name_id_idx ON rules.tenants (name, id);

CREATE TRIGGER tenants_stamp
BEFORE UPDATE ON rules.tenants
FOR EACH ROW EXECUTE FUNCTION rules_internal.stamp_row();

COMMENT ON TABLE rules.tenants IS
'The tenants. rules_admin manages them; everyone else sees the own one.';
COMMENT ON COLUMN rules.tenants.id IS 'What app.tenant_id names.';
COMMENT ON COLUMN rules.tenants.name IS 'For people; not unique.';
COMMENT ON COLUMN rules.tenants.created_at IS 'When the tenant was created.';
COMMENT ON COLUMN rules.tenants.updated_at IS
'When the row, or the schema or derived fields of the tenant, last changed.';

GRANT SELECT ON rules.tenants TO rules_app, rules_tenant;
GRANT SELECT, DELETE ON rules.tenants TO rules_admin;
GRANT INSERT (id, name), UPDATE (name) ON rules.tenants TO rules_admin;

COMMIT;
