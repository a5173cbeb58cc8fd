-- Deploy pgrules:000013_schema_changelog to pg
-- requires: 000010_schemas
--
-- Who changed the schema, when, from what to what, and which rules no longer compiled.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.schema_changelog (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    schema_id uuid NOT NULL,
    old_version integer,
    new_version integer NOT NULL,
    changed_by name NOT NULL DEFAULT session_user,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    compiled integer NOT NULL,
    failed integer NOT NULL,
    failures jsonb NOT NULL DEFAULT '[]',
    CONSTRAINT schema_changelog_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT schema_changelog_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE,
    CONSTRAINT schema_changelog_tenant_id_schema_id_fkey
    FOREIGN KEY (tenant_id, schema_id)
    REFERENCES rules.schemas (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT schema_changelog_compiled_check CHECK (compiled >= 0),
    CONSTRAINT schema_changelog_failed_check CHECK (failed >= 0),
    CONSTRAINT schema_changelog_failures_check
    CHECK (jsonb_typeof(failures) = 'array')
);

CREATE INDEX schema_changelog_tenant_id_changed_at_id_idx
ON rules.schema_changelog (tenant_id, changed_at, id);
CREATE INDEX schema_changelog_tenant_id_schema_id_idx
ON rules.schema_changelog (tenant_id, schema_id);
CREATE INDEX schema_changelog_failures_idx
ON rules.schema_changelog USING gin (failures);

ALTER TABLE rules.schema_changelog ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.schema_changelog FORCE ROW LEVEL SECURITY;

CREATE POLICY schema_changelog_rules_app ON rules.schema_changelog TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY schema_changelog_rules_tenant ON rules.schema_changelog TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY schema_changelog_rules_owner ON rules.schema_changelog TO rules_owner
USING (true)
WITH CHECK (true);

COMMENT ON TABLE rules.schema_changelog IS
'One row for each change of the active schema, written by rules.set_schema.';
COMMENT ON COLUMN rules.schema_changelog.tenant_id IS
'The tenant whose schema changed.';
COMMENT ON COLUMN rules.schema_changelog.id IS 'Unique within the tenant.';
COMMENT ON COLUMN rules.schema_changelog.schema_id IS 'The version made active.';
COMMENT ON COLUMN rules.schema_changelog.old_version IS
'The version that was active before; NULL for the first.';
COMMENT ON COLUMN rules.schema_changelog.new_version IS
'The number of the version made active.';
COMMENT ON COLUMN rules.schema_changelog.changed_by IS 'The login (session_user).';
COMMENT ON COLUMN rules.schema_changelog.changed_at IS 'When it changed.';
COMMENT ON COLUMN rules.schema_changelog.compiled IS
'Active rules and derived fields that were compiled against the new version.';
COMMENT ON COLUMN rules.schema_changelog.failed IS 'Those that did not compile.';
COMMENT ON COLUMN rules.schema_changelog.failures IS
'For each that did not compile: kind, id, name, and the problems.';

GRANT SELECT ON rules.schema_changelog TO rules_app, rules_tenant;

COMMIT;
