-- Deploy pgrules:000038_rule_versions to pg
-- requires: 000018_evaluate
-- requires: 000037_record_changes
--
-- The versions of a rule, from the audit log: listed, compared, and restored.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.history(p_tenant_id uuid, p_subject text)
RETURNS TABLE (
    subject_id uuid,
    id uuid,
    operation text,
    changed_at timestamptz,
    changed_by text,
    role text,
    application text,
    after jsonb,
    in_force_from timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
    SELECT
        entry.subject_id,
        entry.id,
        entry.operation,
        entry.changed_at,
        entry.changed_by,
        entry.role,
        entry.application,
        entry.after,
        -- Whoever has constraints checked early notes the time early, too.
        greatest(entry.changed_at, noted.committed_at)
    FROM rules.audit_log AS entry
    LEFT JOIN LATERAL (
        SELECT min(noted.committed_at) AS committed_at
        FROM rules_internal.audit_commits AS noted
        WHERE
            noted.tenant_id = p_tenant_id
            AND noted.xid = entry.xid
            AND noted.started_at = entry.started_at
    ) AS noted ON true
    WHERE entry.tenant_id = p_tenant_id AND entry.subject = p_subject
$function$;

COMMENT ON FUNCTION rules_internal.history(uuid, text) IS
'What was done to a tenant''s rules, schemas or derived fields, and since when it is in
force: infinity where the own transaction has not committed it. The planner puts the
query in the place of the call.';

CREATE FUNCTION rules.rule_versions(rule_id uuid)
RETURNS TABLE (
    version integer,
    operation text,
    name text,
    expression text,
    active boolean,
    valid_from timestamptz,
    valid_to timestamptz,
    changed_at timestamptz,
    changed_by text,
    role text,
    application text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
BEGIN
    RETURN QUERY
    SELECT
        (row_number() OVER former)::integer,
        entry.operation,
        entry.after ->> 'name',
        entry.after ->> 'expression',
        (entry.after ->> 'active')::boolean,
        nullif(entry.in_force_from, 'infinity'),
        nullif(lead(entry.in_force_from) OVER former, 'infinity'),
        entry.changed_at,
        entry.changed_by,
        entry.role,
        entry.application
    FROM rules_internal.history(v_tenant, 'rule') AS entry
    WHERE entry.subject_id = rule_versions.rule_id
    WINDOW former AS (ORDER BY entry.changed_at, entry.id)
    ORDER BY entry.changed_at, entry.id;
    IF NOT FOUND THEN
        PERFORM rules_internal.raise_not_found(
            'cannot list the versions of rule', rule_versions.rule_id
        );
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules.rule_versions(uuid) IS
'The versions of a rule, also of a deleted one, oldest first; a deletion is one without
name and expression. It is valid from when its transaction committed: valid_from is NULL
for what the own transaction has not committed, and equals valid_to where the same
transaction replaced it. Raises RE010 for an unknown rule and what current_tenant_id
raises.';

CREATE FUNCTION rules_internal.rule_version(
    p_operation text, p_rule_id uuid, p_version integer
) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_version jsonb;
BEGIN
    SELECT to_jsonb(listed) INTO v_version
    FROM rules.rule_versions(p_rule_id) AS listed
    WHERE listed.version = p_version;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: version % not found',
            p_operation, coalesce(p_version::text, 'NULL')
            USING ERRCODE = 'RE013',
                DETAIL = format('Rule %s has no version %s.', p_rule_id, p_version),
                HINT = 'rules.rule_versions(rule_id) lists them.';
    END IF;
    RETURN v_version;
END;
$function$;

COMMENT ON FUNCTION rules_internal.rule_version(text, uuid, integer) IS
'One version of a rule of the current tenant; p_operation is what failed without it.
Raises RE010 for an unknown rule, RE013 for an unknown version.';

CREATE FUNCTION rules.compare_rule_versions(
    rule_id uuid, old_version integer, new_version integer
)
RETURNS TABLE (field text, old_value text, new_value text)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_operation constant text := 'cannot compare versions of rule';
    v_old jsonb;
    v_new jsonb;
BEGIN
    PERFORM rules.current_tenant_id();
    v_old := rules_internal.rule_version(
        v_operation, compare_rule_versions.rule_id, compare_rule_versions.old_version
    );
    v_new := rules_internal.rule_version(
        v_operation, compare_rule_versions.rule_id, compare_rule_versions.new_version
    );
    RETURN QUERY
    SELECT compared.name, v_old ->> compared.name, v_new ->> compared.name
    FROM unnest(ARRAY['name', 'expression', 'active'])
    WITH ORDINALITY AS compared (name, position)
    WHERE v_old ->> compared.name IS DISTINCT FROM v_new ->> compared.name
    ORDER BY compared.position;
END;
$function$;

COMMENT ON FUNCTION rules.compare_rule_versions(uuid, integer, integer) IS
'A row for each of name, expression and active that differs between two versions of a
rule; NULL is the value of a deletion. Raises RE010 for an unknown rule, RE013 for an
unknown version and what current_tenant_id raises.';

CREATE FUNCTION rules.restore_rule(rule_id uuid, version integer) RETURNS rules.rules
LANGUAGE plpgsql
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_version constant jsonb := rules_internal.rule_version(
        'cannot restore rule', restore_rule.rule_id, restore_rule.version
    );
    v_rule rules.rules;
BEGIN
    IF v_version ->> 'operation' = 'delete' THEN
        RAISE EXCEPTION 'cannot restore rule: version % is its deletion',
            restore_rule.version
            USING ERRCODE = 'RE013',
                DETAIL = format(
                    'Version %s of rule %s is its deletion.',
                    restore_rule.version, restore_rule.rule_id
                ),
                HINT = 'Restore another version, or delete the rule.';
    END IF;
    INSERT INTO rules.rules AS stored (tenant_id, id, name, expression, active)
    VALUES (
        v_tenant,
        restore_rule.rule_id,
        v_version ->> 'name',
        v_version ->> 'expression',
        (v_version ->> 'active')::boolean
    )
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        name = excluded.name,
        expression = excluded.expression,
        active = excluded.active
    RETURNING stored.* INTO v_rule;
    RETURN v_rule;
END;
$function$;

COMMENT ON FUNCTION rules.restore_rule(uuid, integer) IS
'Gives a rule the name, the expression and the state of an earlier version, as its
newest one; a deleted rule is there again under its id, as the newest in the order of
evaluation. Gives the row. Raises RE010 for an unknown rule, RE013 for an unknown
version or a deletion, RE020, RE021 and RE050 for an expression that does not compile
today, 23505 for a name that another rule has today, and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.history(uuid, text),
rules.rule_versions(uuid),
rules_internal.rule_version(text, uuid, integer),
rules.compare_rule_versions(uuid, integer, integer),
rules.restore_rule(uuid, integer)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.history(uuid, text),
rules.rule_versions(uuid),
rules_internal.rule_version(text, uuid, integer),
rules.compare_rule_versions(uuid, integer, integer),
rules.restore_rule(uuid, integer)
TO rules_app, rules_tenant;

COMMIT;
