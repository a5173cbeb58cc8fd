-- Deploy pgrules:000028_evaluation_cost to pg
-- requires: 000018_evaluate

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.evaluation_cost(rule_id uuid, facts jsonb) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_name text;
    v_expression text;
    v_outcome record;
BEGIN
    IF evaluation_cost.facts IS NULL THEN
        PERFORM rules_internal.raise_null('cannot cost rule', 'facts');
    END IF;
    SELECT rule.name, rule.expression INTO v_name, v_expression
    FROM rules.rules AS rule
    WHERE rule.tenant_id = v_tenant AND rule.id = evaluation_cost.rule_id;
    IF NOT FOUND THEN
        PERFORM rules_internal.raise_not_found(
            'cannot cost rule', evaluation_cost.rule_id
        );
    END IF;
    v_outcome := rules_internal.cel_cost(
        rules_internal.cel_runtime(),
        v_expression,
        rules_internal.environment(v_tenant),
        evaluation_cost.facts
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot cost rule ' || quote_literal(v_name),
            'Rule ' || evaluation_cost.rule_id || '.',
            v_outcome.failure
        );
    END IF;
    RETURN v_outcome.cost;
END;
$function$;

COMMENT ON FUNCTION rules.evaluation_cost(uuid, jsonb) IS
'The cost units of evaluating a rule over facts, of which 1,000,000 are the limit.
Raises what rules.evaluate raises, and RE020 for a rule that no longer compiles.';

REVOKE ALL ON FUNCTION rules.evaluation_cost(uuid, jsonb) FROM public;
GRANT EXECUTE ON FUNCTION rules.evaluation_cost(uuid, jsonb) TO rules_app, rules_tenant;

COMMIT;
