-- Deploy pgrules:000040_shorten_audit to pg
-- requires: 000038_rule_versions
--
-- For operators, as superusers: the audit is kept for as long as they say. What is
-- needed to judge as of a later time stays.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.shorten_audit(
    p_before timestamptz, p_tenant_id uuid DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant uuid;
    v_removed bigint;
    v_total bigint := 0;
BEGIN
    IF p_before IS NULL OR p_before > clock_timestamp() THEN
        RAISE EXCEPTION 'cannot shorten the audit before %: that is in the future',
            coalesce(p_before::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Entries of before this time are removed.';
    END IF;
    -- Writers wait from here on, and no entry is on its way.
    ALTER TABLE rules.audit_log DISABLE TRIGGER audit_log_keep;
    ALTER TABLE rules.tenant_audit_log DISABLE TRIGGER tenant_audit_log_keep;
    ALTER TABLE rules_internal.audit_commits DISABLE TRIGGER audit_commits_keep;
    FOR v_tenant IN
        SELECT entry.tenant_id FROM rules.audit_log AS entry
        WHERE p_tenant_id IS NULL OR entry.tenant_id = p_tenant_id
        UNION
        SELECT entry.tenant_id FROM rules.tenant_audit_log AS entry
        WHERE p_tenant_id IS NULL OR entry.tenant_id = p_tenant_id
    LOOP
        DELETE FROM rules.audit_log AS entry
        USING (
            SELECT
                subject.name,
                former.id,
                former.operation = 'delete'
                AND former.in_force_from <= p_before AS is_gone,
                lead(former.in_force_from) OVER (
                    PARTITION BY subject.name, former.subject_id
                    ORDER BY former.changed_at, former.id
                ) <= p_before AS is_replaced
            FROM unnest(ARRAY['rule', 'schema', 'derived field']) AS subject (name)
            CROSS JOIN LATERAL rules_internal.history(v_tenant, subject.name) AS former
        ) AS former
        WHERE
            entry.tenant_id = v_tenant
            AND entry.id = former.id
            AND (former.is_gone OR former.is_replaced);
        GET DIAGNOSTICS v_removed = ROW_COUNT;
        v_total := v_total + v_removed;
        DELETE FROM rules.tenant_audit_log AS entry
        WHERE entry.tenant_id = v_tenant AND entry.changed_at < p_before;
        GET DIAGNOSTICS v_removed = ROW_COUNT;
        v_total := v_total + v_removed;
        INSERT INTO rules.audit_log (tenant_id, subject, subject_id, operation, after)
        SELECT
            v_tenant, 'audit', v_tenant, 'baseline',
            jsonb_build_object('since', p_before);
        DELETE FROM rules_internal.audit_commits AS noted
        WHERE
            noted.tenant_id = v_tenant
            AND NOT EXISTS (
                SELECT FROM rules.audit_log AS entry
                WHERE
                    entry.tenant_id = v_tenant
                    AND entry.xid = noted.xid
                    AND entry.started_at = noted.started_at
            );
        PERFORM rules_internal.expect_commit(ARRAY[v_tenant]);
    END LOOP;
    -- The notes of this transaction, which a table that is altered must not wait for.
    SET CONSTRAINTS rules_internal.audit_commits_note IMMEDIATE;
    ALTER TABLE rules.audit_log ENABLE TRIGGER audit_log_keep;
    ALTER TABLE rules.tenant_audit_log ENABLE TRIGGER tenant_audit_log_keep;
    ALTER TABLE rules_internal.audit_commits ENABLE TRIGGER audit_commits_keep;
    RETURN v_total;
END;
$function$;

COMMENT ON FUNCTION rules_internal.shorten_audit(timestamptz, uuid) IS
'For superusers: removes what was replaced or deleted before a time, of one tenant or of
all, and gives the number of entries removed. What was in force at that time stays, and
times before it are refused from then on. Raises 22023 for a time in the future.';

REVOKE ALL ON FUNCTION rules_internal.shorten_audit(timestamptz, uuid) FROM public;

COMMIT;
