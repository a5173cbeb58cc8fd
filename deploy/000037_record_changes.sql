-- Deploy pgrules:000037_record_changes to pg
-- requires: 000010_schemas
-- requires: 000011_rules
-- requires: 000012_derived_fields
-- requires: 000036_audit_log
--
-- Every change of a rule, schema, derived field, tenant or login writes its entry, in
-- the same transaction and whoever makes it. Once a statement, so that a million rules
-- are recorded by one INSERT. What is there already is recorded as the baseline.

BEGIN;

SET LOCAL ROLE rules_owner;

-- The arguments of these: what the rows are, and the columns that the engine keeps.
CREATE FUNCTION rules_internal.audit_insert() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_at constant timestamptz := clock_timestamp();
    v_kept constant text[] := TG_ARGV[1]::text[];
BEGIN
    INSERT INTO rules.audit_log (
        tenant_id, subject, subject_id, operation, changed_at, after
    )
    SELECT
        inserted.tenant_id,
        TG_ARGV[0],
        inserted.id,
        'insert',
        v_at,
        to_jsonb(inserted) - v_kept
    FROM inserted;
    IF FOUND THEN
        PERFORM rules_internal.expect_commit(
            ARRAY(SELECT DISTINCT inserted.tenant_id FROM inserted)
        );
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.audit_insert() IS
'Trigger: records the rows of transition table "inserted". SECURITY DEFINER, since no
other role writes rules.audit_log.';

CREATE FUNCTION rules_internal.audit_update() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_at constant timestamptz := clock_timestamp();
    v_kept constant text[] := TG_ARGV[1]::text[];
BEGIN
    -- A row that got another key is one that went and one that came.
    INSERT INTO rules.audit_log (
        tenant_id, subject, subject_id, operation, changed_at, before, after
    )
    SELECT
        changed.tenant_id,
        TG_ARGV[0],
        changed.id,
        CASE
            WHEN changed.before IS NULL THEN 'insert'
            WHEN changed.after IS NULL THEN 'delete'
            ELSE 'update'
        END,
        v_at,
        changed.before,
        changed.after
    FROM (
        SELECT
            tenant_id,
            id,
            to_jsonb(former) - v_kept AS before,
            to_jsonb(updated) - v_kept AS after
        FROM former
        FULL JOIN updated USING (tenant_id, id)
    ) AS changed
    WHERE changed.before IS DISTINCT FROM changed.after;
    IF FOUND THEN
        PERFORM rules_internal.expect_commit(
            ARRAY(
                SELECT former.tenant_id FROM former
                UNION
                SELECT updated.tenant_id FROM updated
            )
        );
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.audit_update() IS
'Trigger: records how the rows of transition table "former" became those of "updated",
where that is a change. SECURITY DEFINER, as audit_insert is.';

CREATE FUNCTION rules_internal.audit_delete() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_at constant timestamptz := clock_timestamp();
    v_kept constant text[] := TG_ARGV[1]::text[];
BEGIN
    INSERT INTO rules.audit_log (
        tenant_id, subject, subject_id, operation, changed_at, before
    )
    SELECT
        deleted.tenant_id,
        TG_ARGV[0],
        deleted.id,
        'delete',
        v_at,
        to_jsonb(deleted) - v_kept
    FROM deleted;
    IF FOUND THEN
        PERFORM rules_internal.expect_commit(
            ARRAY(SELECT DISTINCT deleted.tenant_id FROM deleted)
        );
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.audit_delete() IS
'Trigger: records the rows of transition table "deleted". SECURITY DEFINER, as
audit_insert is.';

-- Only superusers truncate, and the owner's rights would hide bindings of others.
CREATE FUNCTION rules_internal.audit_truncate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenants uuid[];
BEGIN
    EXECUTE format(
        'INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, before) '
        'SELECT deleted.tenant_id, $1, deleted.id, ''delete'', to_jsonb(deleted) - $2 '
        'FROM %s AS deleted',
        TG_RELID::regclass
    ) USING TG_ARGV[0], TG_ARGV[1]::text[];
    EXECUTE format(
        'SELECT array_agg(DISTINCT deleted.tenant_id) FROM %s AS deleted',
        TG_RELID::regclass
    ) INTO v_tenants;
    PERFORM rules_internal.expect_commit(v_tenants);
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.audit_truncate() IS
'Trigger, before all rows are truncated: records them as deleted.';

CREATE FUNCTION rules_internal.audit_tenant() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_kept constant text[] := ARRAY['tenant_id', 'id', 'created_at', 'updated_at'];
    v_old constant jsonb := to_jsonb(OLD);
    v_new constant jsonb := to_jsonb(NEW);
    v_old_id constant text := coalesce(v_old ->> 'tenant_id', v_old ->> 'id');
    v_new_id constant text := coalesce(v_new ->> 'tenant_id', v_new ->> 'id');
BEGIN
    -- A login that gets another tenant is one that went and one that came.
    IF v_old_id = v_new_id THEN
        INSERT INTO rules.tenant_audit_log (tenant_id, subject, operation, before, after)
        SELECT v_new_id::uuid, TG_ARGV[0], 'update', v_old - v_kept, v_new - v_kept
        WHERE v_old - v_kept <> v_new - v_kept;
        RETURN NULL;
    END IF;
    INSERT INTO rules.tenant_audit_log (tenant_id, subject, operation, before)
    SELECT v_old_id::uuid, TG_ARGV[0], 'delete', v_old - v_kept
    WHERE v_old_id IS NOT NULL;
    INSERT INTO rules.tenant_audit_log (tenant_id, subject, operation, after)
    SELECT v_new_id::uuid, TG_ARGV[0], 'insert', v_new - v_kept
    WHERE v_new_id IS NOT NULL;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.audit_tenant() IS
'Trigger: records the change of a tenant or of a binding; the argument says which.
SECURITY DEFINER, since no other role writes rules.tenant_audit_log.';

CREATE FUNCTION rules_internal.audit_truncated_tenants() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format(
        'INSERT INTO rules.tenant_audit_log (tenant_id, subject, operation, before) '
        'SELECT deleted.%I, $1, ''delete'', to_jsonb(deleted) - $2 FROM %s AS deleted',
        CASE TG_ARGV[0] WHEN 'tenant' THEN 'id' ELSE 'tenant_id' END,
        TG_RELID::regclass
    ) USING TG_ARGV[0], '{tenant_id,id,created_at,updated_at}'::text[];
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.audit_truncated_tenants() IS
'Trigger, before all tenants or bindings are truncated: records them as deleted.';

REVOKE ALL ON FUNCTION
rules_internal.audit_insert(),
rules_internal.audit_update(),
rules_internal.audit_delete(),
rules_internal.audit_truncate(),
rules_internal.audit_tenant(),
rules_internal.audit_truncated_tenants()
FROM public;

DO $triggers$
DECLARE
    v_audited record;
BEGIN
    FOR v_audited IN
        SELECT * FROM (
            VALUES
            ('rules', 'rule', 'estimated_cost'),
            ('schemas', 'schema', NULL),
            ('derived_fields', 'derived field', 'dependencies')
        ) AS audited (relation, subject, kept)
    LOOP
        v_audited.kept := concat_ws(
            ',', '{tenant_id,id,created_at,updated_at', v_audited.kept
        ) || '}';
        EXECUTE format(
            'CREATE TRIGGER %1$I AFTER INSERT ON rules.%2$I '
            'REFERENCING NEW TABLE AS inserted '
            'FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.audit_insert(%3$L, %4$L)',
            v_audited.relation || '_audit_insert',
            v_audited.relation, v_audited.subject, v_audited.kept
        );
        EXECUTE format(
            'CREATE TRIGGER %1$I AFTER UPDATE ON rules.%2$I '
            'REFERENCING OLD TABLE AS former NEW TABLE AS updated '
            'FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.audit_update(%3$L, %4$L)',
            v_audited.relation || '_audit_update',
            v_audited.relation, v_audited.subject, v_audited.kept
        );
        EXECUTE format(
            'CREATE TRIGGER %1$I AFTER DELETE ON rules.%2$I '
            'REFERENCING OLD TABLE AS deleted '
            'FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.audit_delete(%3$L, %4$L)',
            v_audited.relation || '_audit_delete',
            v_audited.relation, v_audited.subject, v_audited.kept
        );
        EXECUTE format(
            'CREATE TRIGGER %1$I BEFORE TRUNCATE ON rules.%2$I '
            'FOR EACH STATEMENT '
            'EXECUTE FUNCTION rules_internal.audit_truncate(%3$L, %4$L)',
            v_audited.relation || '_audit_truncate',
            v_audited.relation, v_audited.subject, v_audited.kept
        );
        -- What is there already. The triggers hold writers off until this commits.
        EXECUTE format(
            'INSERT INTO rules.audit_log '
            '(tenant_id, subject, subject_id, operation, after) '
            'SELECT stored.tenant_id, %2$L, stored.id, ''baseline'', '
            'to_jsonb(stored) - %3$L::text[] FROM rules.%1$I AS stored',
            v_audited.relation, v_audited.subject, v_audited.kept
        );
    END LOOP;
END;
$triggers$;

CREATE TRIGGER tenants_audit
AFTER INSERT OR UPDATE OR DELETE ON rules.tenants
FOR EACH ROW EXECUTE FUNCTION rules_internal.audit_tenant('tenant');
CREATE TRIGGER tenants_audit_truncate
BEFORE TRUNCATE ON rules.tenants
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.audit_truncated_tenants('tenant');
CREATE TRIGGER tenant_logins_audit
AFTER INSERT OR UPDATE OR DELETE ON rules.tenant_logins
FOR EACH ROW EXECUTE FUNCTION rules_internal.audit_tenant('tenant login');
CREATE TRIGGER tenant_logins_audit_truncate
BEFORE TRUNCATE ON rules.tenant_logins
FOR EACH STATEMENT
EXECUTE FUNCTION rules_internal.audit_truncated_tenants('tenant login');

DO $baseline$
BEGIN
    -- What was done to these tenants earlier is not known; of later ones all is.
    INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, after)
    SELECT tenant.id, 'audit', tenant.id, 'baseline', '{}' FROM rules.tenants AS tenant;
    PERFORM rules_internal.expect_commit(
        ARRAY(SELECT tenant.id FROM rules.tenants AS tenant)
    );
    INSERT INTO rules.tenant_audit_log (tenant_id, subject, operation, after)
    SELECT tenant.id, 'tenant', 'baseline', jsonb_build_object('name', tenant.name)
    FROM rules.tenants AS tenant;
END;
$baseline$;

-- The owner does not see the bindings of others.
RESET ROLE;
INSERT INTO rules.tenant_audit_log (tenant_id, subject, operation, after)
SELECT
    binding.tenant_id,
    'tenant login' AS subject,
    'baseline' AS operation,
    jsonb_build_object('login', binding.login) AS after
FROM rules.tenant_logins AS binding;

COMMIT;
