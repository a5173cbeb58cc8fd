-- Deploy pgrules:000036_audit_log to pg
-- requires: 000008_tenant_policies
--
-- Who changed what, when, from what to what, for as long as the operator keeps it:
-- rules.audit_log has what belongs to a tenant, rules.tenant_audit_log the tenants and
-- their logins, which only administrators see. Neither has a foreign key: what was done
-- to a tenant stays when the tenant is gone.
--
-- A change is in force when its transaction commits, not when its statement runs. So a
-- transaction leaves a row at its very end: the time that all it did counts from.
-- Nothing is read when something is written. Serializable writers of different rules
-- would otherwise be in each other's way.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.audit_log (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    subject text NOT NULL,
    subject_id uuid NOT NULL,
    operation text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT session_user,
    role text NOT NULL DEFAULT coalesce(
        nullif(current_setting('role'), 'none'), session_user
    ),
    application text NOT NULL DEFAULT current_setting('application_name'),
    before jsonb,
    after jsonb,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    started_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
    CONSTRAINT audit_log_pkey PRIMARY KEY (tenant_id, changed_at, id),
    CONSTRAINT audit_log_subject_check
    CHECK (subject IN ('rule', 'schema', 'derived field', 'audit')),
    CONSTRAINT audit_log_operation_check CHECK (
        CASE operation
            WHEN 'insert' THEN before IS NULL AND after IS NOT NULL
            WHEN 'update' THEN before IS NOT NULL AND after IS NOT NULL
            WHEN 'delete' THEN before IS NOT NULL AND after IS NULL
            WHEN 'baseline' THEN before IS NULL AND after IS NOT NULL
            ELSE false
        END
    )
);

CREATE INDEX audit_log_tenant_id_subject_subject_id_changed_at_id_idx
ON rules.audit_log (tenant_id, subject, subject_id, changed_at, id);
CREATE INDEX audit_log_before_after_idx
ON rules.audit_log USING gin (before jsonb_path_ops, after jsonb_path_ops);

CREATE TABLE rules.tenant_audit_log (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    subject text NOT NULL,
    operation text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text NOT NULL DEFAULT session_user,
    role text NOT NULL DEFAULT coalesce(
        nullif(current_setting('role'), 'none'), session_user
    ),
    application text NOT NULL DEFAULT current_setting('application_name'),
    before jsonb,
    after jsonb,
    CONSTRAINT tenant_audit_log_pkey PRIMARY KEY (tenant_id, changed_at, id),
    CONSTRAINT tenant_audit_log_subject_check
    CHECK (subject IN ('tenant', 'tenant login')),
    CONSTRAINT tenant_audit_log_operation_check CHECK (
        CASE operation
            WHEN 'insert' THEN before IS NULL AND after IS NOT NULL
            WHEN 'update' THEN before IS NOT NULL AND after IS NOT NULL
            WHEN 'delete' THEN before IS NOT NULL AND after IS NULL
            WHEN 'baseline' THEN before IS NULL AND after IS NOT NULL
            ELSE false
        END
    )
);

CREATE INDEX tenant_audit_log_before_after_idx
ON rules.tenant_audit_log USING gin (before jsonb_path_ops, after jsonb_path_ops);

CREATE TABLE rules_internal.audit_commits (
    tenant_id uuid NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    started_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The number of a transaction may come again in a restored dump; its start not.
    CONSTRAINT audit_commits_pkey PRIMARY KEY (
        tenant_id, xid, started_at, committed_at
    )
);

ALTER TABLE rules.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.audit_log FORCE ROW LEVEL SECURITY;

CREATE POLICY audit_log_rules_app ON rules.audit_log TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY audit_log_rules_tenant ON rules.audit_log TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY audit_log_rules_owner ON rules.audit_log TO rules_owner
USING (true)
WITH CHECK (true);

ALTER TABLE rules.tenant_audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.tenant_audit_log FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_audit_log_rules_admin ON rules.tenant_audit_log TO rules_admin
USING (true)
WITH CHECK (true);

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY tenant_audit_log_rules_owner ON rules.tenant_audit_log TO rules_owner
USING (true)
WITH CHECK (true);

ALTER TABLE rules_internal.audit_commits ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.audit_commits FORCE ROW LEVEL SECURITY;

CREATE POLICY audit_commits_rules_app ON rules_internal.audit_commits TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY audit_commits_rules_tenant
ON rules_internal.audit_commits TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY audit_commits_rules_owner ON rules_internal.audit_commits TO rules_owner
USING (true)
WITH CHECK (true);

GRANT SELECT ON rules.audit_log TO rules_app, rules_tenant;
GRANT SELECT ON rules.tenant_audit_log TO rules_admin;
GRANT SELECT ON rules_internal.audit_commits TO rules_app, rules_tenant;

COMMENT ON TABLE rules.audit_log IS
'Every change of a rule, a schema or a derived field. Written by triggers, and only
ever added to: a change of it raises 55000, also for its owner.';
COMMENT ON COLUMN rules.audit_log.tenant_id IS 'The tenant to whom it was done.';
COMMENT ON COLUMN rules.audit_log.id IS
'Unique within the tenant; decides the order of what has the same time.';
COMMENT ON COLUMN rules.audit_log.subject IS
'rule, schema or derived field; audit for the time from which on all is recorded.';
COMMENT ON COLUMN rules.audit_log.subject_id IS
'The id of the row that changed; the tenant''s for audit.';
COMMENT ON COLUMN rules.audit_log.operation IS
'insert, update or delete; baseline for what was there when the audit began.';
COMMENT ON COLUMN rules.audit_log.changed_at IS
'When the statement changed it. It is in force from the commit on.';
COMMENT ON COLUMN rules.audit_log.changed_by IS 'The login (session_user).';
COMMENT ON COLUMN rules.audit_log.role IS
'The role that SET ROLE had chosen; the login if none.';
COMMENT ON COLUMN rules.audit_log.application IS
'application_name: what the client says of itself.';
COMMENT ON COLUMN rules.audit_log.before IS
'The row without what the engine keeps itself; NULL for insert and baseline.';
COMMENT ON COLUMN rules.audit_log.after IS 'The same after it; NULL for delete.';
COMMENT ON COLUMN rules.audit_log.xid IS 'The transaction.';
COMMENT ON COLUMN rules.audit_log.started_at IS 'When the transaction started.';

COMMENT ON TABLE rules.tenant_audit_log IS
'Every change of a tenant or of a login''s binding to it; for administrators. Written by
triggers, and only ever added to: a change of it raises 55000, also for its owner.';
COMMENT ON COLUMN rules.tenant_audit_log.tenant_id IS 'The tenant.';
COMMENT ON COLUMN rules.tenant_audit_log.id IS
'Unique within the tenant; decides the order of what has the same time.';
COMMENT ON COLUMN rules.tenant_audit_log.subject IS 'tenant or tenant login.';
COMMENT ON COLUMN rules.tenant_audit_log.operation IS
'insert, update or delete; baseline for what was there when the audit began.';
COMMENT ON COLUMN rules.tenant_audit_log.changed_at IS 'When it was changed.';
COMMENT ON COLUMN rules.tenant_audit_log.changed_by IS 'The login (session_user).';
COMMENT ON COLUMN rules.tenant_audit_log.role IS
'The role that SET ROLE had chosen; the login if none.';
COMMENT ON COLUMN rules.tenant_audit_log.application IS
'application_name: what the client says of itself.';
COMMENT ON COLUMN rules.tenant_audit_log.before IS
'The row without what the database sets itself; NULL for insert and baseline.';
COMMENT ON COLUMN rules.tenant_audit_log.after IS 'The same after it; NULL for delete.';

COMMENT ON TABLE rules_internal.audit_commits IS
'For each transaction with entries in rules.audit_log, and tenant: a row with the time
infinity from its first entry on, and one with the time at which it commits.';

CREATE FUNCTION rules_internal.keep_audit() RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'cannot change %: it is only added to', TG_RELID::regclass
        USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'docs/operations.md says how an operator shortens it.';
END;
$function$;

COMMENT ON FUNCTION rules_internal.keep_audit() IS
'Trigger: refuses to change what is recorded. Raises 55000.';

CREATE FUNCTION rules_internal.expect_commit(p_tenant_ids uuid[]) RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO rules_internal.audit_commits (tenant_id, committed_at)
    SELECT changed.tenant_id, 'infinity'
    FROM unnest(p_tenant_ids) AS changed (tenant_id)
    ON CONFLICT (tenant_id, xid, started_at, committed_at) DO NOTHING;
END;
$function$;

COMMENT ON FUNCTION rules_internal.expect_commit(uuid[]) IS
'Has the time noted at which this transaction commits, for these tenants.';

CREATE FUNCTION rules_internal.note_commit() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    INSERT INTO rules_internal.audit_commits (tenant_id) VALUES (NEW.tenant_id);
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.note_commit() IS
'Trigger, when the transaction commits: notes the time. SECURITY DEFINER, since no other
role writes rules_internal.audit_commits.';

REVOKE ALL ON FUNCTION
rules_internal.keep_audit(),
rules_internal.expect_commit(uuid[]),
rules_internal.note_commit()
FROM public;

CREATE TRIGGER audit_log_keep
BEFORE UPDATE OR DELETE OR TRUNCATE ON rules.audit_log
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.keep_audit();
CREATE TRIGGER tenant_audit_log_keep
BEFORE UPDATE OR DELETE OR TRUNCATE ON rules.tenant_audit_log
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.keep_audit();
CREATE TRIGGER audit_commits_keep
BEFORE UPDATE OR DELETE OR TRUNCATE ON rules_internal.audit_commits
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.keep_audit();

CREATE CONSTRAINT TRIGGER audit_commits_note
AFTER INSERT ON rules_internal.audit_commits
DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (new.committed_at = 'infinity')
EXECUTE FUNCTION rules_internal.note_commit();

COMMIT;
