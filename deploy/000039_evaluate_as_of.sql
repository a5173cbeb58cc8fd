-- Deploy pgrules:000039_evaluate_as_of to pg
-- requires: 000038_rule_versions
--
-- What a rule would have said at some time: by the rule, the schema and the derived
-- fields that were in force then, in today's engine.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.environment_as_of(
    p_tenant_id uuid, p_at timestamptz
) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_definition jsonb;
    v_derived jsonb;
BEGIN
    SELECT latest.after -> 'definition' INTO v_definition
    FROM (
        SELECT DISTINCT ON (entry.subject_id) entry.after
        FROM rules_internal.history(p_tenant_id, 'schema') AS entry
        WHERE entry.in_force_from <= p_at
        ORDER BY entry.subject_id, entry.changed_at DESC, entry.id DESC
    ) AS latest
    WHERE latest.after -> 'active' = 'true';
    SELECT jsonb_object_agg(latest.after ->> 'name', latest.after ->> 'expression')
    INTO v_derived
    FROM (
        SELECT DISTINCT ON (entry.subject_id) entry.after
        FROM rules_internal.history(p_tenant_id, 'derived field') AS entry
        WHERE entry.in_force_from <= p_at
        ORDER BY entry.subject_id, entry.changed_at DESC, entry.id DESC
    ) AS latest
    WHERE latest.after IS NOT NULL;
    RETURN jsonb_strip_nulls(
        jsonb_build_object('schema', v_definition, 'derived', v_derived)
    );
END;
$function$;

COMMENT ON FUNCTION rules_internal.environment_as_of(uuid, timestamptz) IS
'What the tenant''s expressions were compiled against at a time, in the form that
rules_internal.store_environment gives it.';

CREATE FUNCTION rules.evaluate_as_of(
    rule_id uuid, facts jsonb, at timestamptz
) RETURNS rules.evaluation_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_operation constant text := 'cannot evaluate rule as of '
        || coalesce(evaluate_as_of.at::text, 'NULL');
    v_begin timestamptz;
    v_rule jsonb;
    v_outcome record;
    v_result rules.evaluation_result;
BEGIN
    IF evaluate_as_of.facts IS NULL THEN
        PERFORM rules_internal.raise_null(v_operation, 'facts');
    END IF;
    IF evaluate_as_of.at IS NULL THEN
        RAISE EXCEPTION '%: the time is NULL', v_operation
            USING ERRCODE = 'null_value_not_allowed',
                HINT = 'rules.evaluate(rule_id, facts) evaluates the rule of today.';
    END IF;
    IF evaluate_as_of.at > clock_timestamp() THEN
        RAISE EXCEPTION '%: that is in the future', v_operation
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'rules.evaluate(rule_id, facts) evaluates the rule of today.';
    END IF;
    SELECT max(coalesce((mark.after ->> 'since')::timestamptz, mark.in_force_from))
    INTO v_begin
    FROM rules_internal.history(v_tenant, 'audit') AS mark;
    IF evaluate_as_of.at < v_begin THEN
        RAISE EXCEPTION '%: what was in force then is not recorded', v_operation
            USING ERRCODE = 'RE014',
                DETAIL = format('The audit of the tenant begins at %s.', v_begin);
    END IF;
    SELECT entry.after INTO v_rule
    FROM rules_internal.history(v_tenant, 'rule') AS entry
    WHERE
        entry.subject_id = evaluate_as_of.rule_id
        AND entry.in_force_from <= evaluate_as_of.at
    ORDER BY entry.changed_at DESC, entry.id DESC
    LIMIT 1;
    IF v_rule IS NULL THEN
        IF NOT EXISTS (
            SELECT FROM rules_internal.history(v_tenant, 'rule') AS entry
            WHERE entry.subject_id = evaluate_as_of.rule_id
        ) THEN
            PERFORM rules_internal.raise_not_found(v_operation, evaluate_as_of.rule_id);
        END IF;
        RAISE EXCEPTION '%: rule % was not in force', v_operation, evaluate_as_of.rule_id
            USING ERRCODE = 'RE012',
                DETAIL = 'At that time it was not yet stored, or it was deleted.',
                HINT = 'rules.rule_versions(rule_id) lists when it was in force.';
    END IF;
    v_outcome := rules_internal.cel_evaluate(
        rules_internal.cel_runtime(),
        v_rule ->> 'expression',
        rules_internal.environment_as_of(v_tenant, evaluate_as_of.at),
        evaluate_as_of.facts,
        false
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            v_operation, 'Rule ' || evaluate_as_of.rule_id || '.', v_outcome.failure
        );
    END IF;
    v_result := (
        evaluate_as_of.rule_id,
        v_rule ->> 'name',
        v_outcome.matched,
        v_outcome.error,
        NULL
    );
    RETURN v_result;
END;
$function$;

COMMENT ON FUNCTION rules.evaluate_as_of(uuid, jsonb, timestamptz) IS
'Evaluates a rule over facts by the version, the schema and the derived fields that were
committed at a time, in today''s engine: an expression that no longer compiles gives
matched = false and the error. Raises RE010 for an unknown rule, RE012 for one that was
not in force then, RE014 for a time before the audit began, 22023 for one in the future,
RE030 for facts that are no JSON object or exceed the limits, 22004 for NULL, 57014 when
cancelled, and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.environment_as_of(uuid, timestamptz),
rules.evaluate_as_of(uuid, jsonb, timestamptz)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.environment_as_of(uuid, timestamptz),
rules.evaluate_as_of(uuid, jsonb, timestamptz)
TO rules_app, rules_tenant;

COMMIT;
