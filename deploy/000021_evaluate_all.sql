-- Deploy pgrules:000021_evaluate_all to pg
-- requires: 000018_evaluate

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.evaluate_all(facts jsonb)
RETURNS SETOF rules.evaluation_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_ids uuid[];
    v_names text[];
    v_expressions text[];
    v_outcome record;
BEGIN
    IF evaluate_all.facts IS NULL THEN
        PERFORM rules_internal.raise_null('cannot evaluate the rules', 'facts');
    END IF;
    SELECT
        array_agg(active.id), array_agg(active.name), array_agg(active.expression)
    INTO v_ids, v_names, v_expressions
    FROM (
        SELECT rule.id, rule.name, rule.expression
        FROM rules.rules AS rule
        WHERE rule.tenant_id = v_tenant AND rule.active
        ORDER BY rule.created_at, rule.id
    ) AS active;
    -- The facts are decoded once, and are tested even where there is no rule.
    v_outcome := rules_internal.cel_evaluate_all(
        rules_internal.cel_runtime(),
        coalesce(v_expressions, '{}'),
        rules_internal.environment(v_tenant),
        evaluate_all.facts
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot evaluate the rules', NULL, v_outcome.failure
        );
    END IF;
    RETURN QUERY
    SELECT result.id, result.name, result.matched, result.error, NULL::jsonb
    FROM unnest(v_ids, v_names, v_outcome.matched, v_outcome.errors)
    AS result (id, name, matched, error);
END;
$function$;

COMMENT ON FUNCTION rules.evaluate_all(jsonb) IS
'Evaluates all active rules of the tenant over facts, oldest first. A rule that fails
gives matched = false and its error; the others go on. Raises RE030 for facts that are
no JSON object or exceed the limits, 22004 for NULL, 57014 when cancelled, and what
current_tenant_id raises.';

REVOKE ALL ON FUNCTION rules.evaluate_all(jsonb) FROM public;
GRANT EXECUTE ON FUNCTION rules.evaluate_all(jsonb) TO rules_app, rules_tenant;

COMMIT;
