-- Deploy pgrules:000023_evaluate_expression to pg
-- requires: 000018_evaluate

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.evaluate_expression(expression text, facts jsonb DEFAULT '{}')
RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_outcome record;
BEGIN
    IF evaluate_expression.expression IS NULL OR evaluate_expression.facts IS NULL THEN
        PERFORM rules_internal.raise_null(
            'cannot evaluate the expression',
            CASE WHEN evaluate_expression.facts IS NULL THEN 'facts' ELSE 'it' END
        );
    END IF;
    v_outcome := rules_internal.cel_evaluate_expression(
        rules_internal.cel_runtime(),
        evaluate_expression.expression,
        rules_internal.environment(v_tenant),
        evaluate_expression.facts
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot evaluate the expression', NULL, v_outcome.failure
        );
    END IF;
    RETURN v_outcome.value;
END;
$function$;

COMMENT ON FUNCTION rules.evaluate_expression(text, jsonb) IS
'The value of an expression that is no rule, for trying things out. Raises RE020 (does
not compile), RE021 (too large), RE030 (facts), RE040 (fails), RE041 (costs too much),
RE050 (needs RE2), 22004 for NULL, 57014 when cancelled, and what current_tenant_id
raises.';

REVOKE ALL ON FUNCTION rules.evaluate_expression(text, jsonb) FROM public;
GRANT EXECUTE ON FUNCTION rules.evaluate_expression(text, jsonb)
TO rules_app, rules_tenant;

COMMIT;
