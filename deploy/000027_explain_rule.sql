-- Deploy pgrules:000027_explain_rule to pg
-- requires: 000018_evaluate

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.explain_rule(rule_id uuid, facts jsonb)
RETURNS TABLE (
    step integer,
    depth integer,
    line integer,
    "column" integer,
    expression text,
    outcome text,
    value jsonb,
    error text,
    derived_from text,
    access_keys text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_result constant rules.evaluation_result :=
        rules.evaluate(explain_rule.rule_id, explain_rule.facts, true);
    v_expression constant text := (
        SELECT rule.expression
        FROM rules.rules AS rule
        WHERE
            rule.tenant_id = rules.current_tenant_id()
            AND rule.id = explain_rule.rule_id
    );
    v_keys record;
BEGIN
    v_keys := rules_internal.cel_described_keys(
        rules_internal.cel_runtime(),
        v_expression,
        rules_internal.environment(rules.current_tenant_id())
    );
    IF v_keys.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot explain rule ' || quote_literal(v_result.rule_name),
            'Rule ' || explain_rule.rule_id || '.',
            v_keys.failure
        );
    END IF;
    IF v_result.trace IS NULL THEN
        -- The rule does not compile any more, so there are no steps.
        RETURN QUERY
        SELECT
            1, 0, 1, 1, v_expression, 'error', NULL::jsonb, v_result.error, NULL::text,
            v_keys.keys;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT
        traced.number::integer,
        (traced.part ->> 'depth')::integer,
        (traced.part ->> 'line')::integer,
        (traced.part ->> 'column')::integer,
        traced.part ->> 'expression',
        CASE
            WHEN traced.part ? 'skipped' THEN 'not evaluated'
            WHEN traced.part ? 'error' THEN 'error'
            ELSE 'value'
        END,
        traced.part -> 'value',
        traced.part ->> 'error',
        traced.part ->> 'derived',
        CASE WHEN traced.number = 1 THEN v_keys.keys END
    FROM jsonb_array_elements(v_result.trace) WITH ORDINALITY AS traced (part, number);
END;
$function$;

COMMENT ON FUNCTION rules.explain_rule(uuid, jsonb) IS
'Why a rule says what it says of facts: one row for each sub-expression in the order of
the text, with its depth and place, and its value, its error, or "not evaluated" where a
short circuit skipped it; derived_from is the expression of a derived field that it
reads. On the first row access_keys says by what facts match_rules finds the rule, or why
it has to evaluate it for any. Raises what rules.evaluate raises.';

REVOKE ALL ON FUNCTION rules.explain_rule(uuid, jsonb) FROM public;
GRANT EXECUTE ON FUNCTION rules.explain_rule(uuid, jsonb) TO rules_app, rules_tenant;

COMMIT;
