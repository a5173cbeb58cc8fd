-- Deploy pgrules:000017_check_expression to pg
-- requires: 000016_compile_rules

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.check_expression(expression text)
RETURNS TABLE (line integer, "column" integer, message text, hint text)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_outcome record;
BEGIN
    IF check_expression.expression IS NULL THEN
        RAISE EXCEPTION 'cannot check the expression: it is NULL'
            USING ERRCODE = 'null_value_not_allowed',
                HINT = 'Give the text of an expression.';
    END IF;
    v_outcome := rules_internal.cel_check(
        rules_internal.cel_runtime(),
        check_expression.expression,
        rules_internal.environment(v_tenant)
    );
    IF v_outcome.problems IS NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot check the expression', NULL, v_outcome.failure
        );
    END IF;
    RETURN QUERY
    SELECT problem.line, problem."column", problem.message, problem.hint
    FROM jsonb_to_recordset(v_outcome.problems)
    AS problem (line integer, "column" integer, message text, hint text);
END;
$function$;

COMMENT ON FUNCTION rules.check_expression(text) IS
'One row for each reason why the expression does not compile, none if it does. Lines
and columns count from 1. Raises 22004 for NULL, and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION rules.check_expression(text) FROM public;
GRANT EXECUTE ON FUNCTION rules.check_expression(text) TO rules_app, rules_tenant;

COMMIT;
