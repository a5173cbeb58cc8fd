-- Deploy pgrules:000018_evaluate to pg
-- requires: 000016_compile_rules

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TYPE rules.evaluation_result AS (
    rule_id uuid,
    rule_name text,
    matched boolean,
    error text,
    trace jsonb
);

COMMENT ON TYPE rules.evaluation_result IS
'What one rule said of one set of facts. matched is true or false, never NULL; error
is the reason of an evaluation that failed, and NULL otherwise; trace lists the steps.';

CREATE FUNCTION rules_internal.raise_not_found(p_operation text, p_rule_id uuid)
RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    RAISE EXCEPTION '%: rule % not found', p_operation, coalesce(p_rule_id::text, 'NULL')
        USING ERRCODE = 'RE010',
            DETAIL = 'The tenant has no rule with this id.',
            HINT = 'rules.rules lists the rules of the tenant.';
END;
$function$;

COMMENT ON FUNCTION rules_internal.raise_not_found(text, uuid) IS
'Raises RE010, in the same words for an unknown rule and for another tenant''s.';

CREATE FUNCTION rules_internal.raise_null(p_operation text, p_argument text)
RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    RAISE EXCEPTION '%: % is NULL', p_operation, p_argument
        USING ERRCODE = 'null_value_not_allowed',
            HINT = 'For no facts give ''{}''.';
END;
$function$;

COMMENT ON FUNCTION rules_internal.raise_null(text, text) IS
'Raises 22004 for an argument that must have a value.';

CREATE FUNCTION rules.evaluate(
    rule_id uuid, facts jsonb, trace boolean DEFAULT false
) RETURNS rules.evaluation_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_name text;
    v_expression text;
    v_environment text;
    v_outcome record;
    v_result rules.evaluation_result;
BEGIN
    IF evaluate.facts IS NULL THEN
        PERFORM rules_internal.raise_null('cannot evaluate rule', 'facts');
    END IF;
    SELECT rule.name, rule.expression, environment.document
    INTO v_name, v_expression, v_environment
    FROM rules.rules AS rule
    LEFT JOIN rules_internal.environments AS environment
        ON environment.tenant_id = v_tenant
    WHERE rule.tenant_id = v_tenant AND rule.id = evaluate.rule_id;
    IF NOT FOUND THEN
        PERFORM rules_internal.raise_not_found('cannot evaluate rule', evaluate.rule_id);
    END IF;
    -- Assignments of simple expressions: a SELECT INTO costs ten times as much.
    v_outcome := rules_internal.cel_evaluate(
        rules_internal.cel_runtime(),
        v_expression,
        coalesce(v_environment, '{}'),
        evaluate.facts,
        coalesce(evaluate.trace, false)
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot evaluate rule ' || quote_literal(v_name),
            'Rule ' || evaluate.rule_id || '.',
            v_outcome.failure
        );
    END IF;
    v_result := (
        evaluate.rule_id, v_name, v_outcome.matched, v_outcome.error, v_outcome.trace
    );
    RETURN v_result;
END;
$function$;

COMMENT ON FUNCTION rules.evaluate(uuid, jsonb, boolean) IS
'Evaluates one rule of the tenant, active or not, over facts. An evaluation that fails
gives matched = false and the error. Raises RE010 for an unknown rule, RE030 for facts
that are no JSON object or exceed the limits, 22004 for NULL, 57014 when cancelled, and
what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.raise_not_found(text, uuid),
rules_internal.raise_null(text, text),
rules.evaluate(uuid, jsonb, boolean)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.raise_not_found(text, uuid),
rules_internal.raise_null(text, text),
rules.evaluate(uuid, jsonb, boolean)
TO rules_app, rules_tenant;

COMMIT;
