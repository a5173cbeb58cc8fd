-- Deploy pgrules:000029_evaluate_batch to pg
-- requires: 000018_evaluate

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.check_batch(p_operation text, p_facts jsonb[])
RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_null integer;
BEGIN
    IF p_facts IS NULL THEN
        PERFORM rules_internal.raise_null(p_operation, 'facts');
    END IF;
    IF array_ndims(p_facts) > 1 THEN
        RAISE EXCEPTION '%: the array of facts has % dimensions',
            p_operation, array_ndims(p_facts)
            USING ERRCODE = 'array_subscript_error',
                HINT = 'Give an array of one dimension, each element of it facts.';
    END IF;
    v_null := array_position(p_facts, NULL) - array_lower(p_facts, 1) + 1;
    IF v_null IS NOT NULL THEN
        PERFORM rules_internal.raise_null(
            p_operation, 'element ' || v_null || ' of facts'
        );
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules_internal.check_batch(text, jsonb[]) IS
'Raises 22004 for NULL and for an element that is NULL, 2202E for an array of several
dimensions.';

CREATE FUNCTION rules_internal.slices(p_facts jsonb[], p_most integer)
RETURNS TABLE (first integer, facts jsonb[])
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10
AS $function$
DECLARE
    -- In bytes as they are stored.
    v_largest constant integer := 1024 * 1024;
BEGIN
    IF cardinality(p_facts) <= p_most AND pg_column_size(p_facts) <= v_largest THEN
        first := 1;
        facts := p_facts;
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT
        min(sized.number)::integer,
        array_agg(sized.facts ORDER BY sized.number)
    FROM (
        SELECT
            element.facts,
            element.number,
            sum(pg_column_size(element.facts)) OVER given AS size
        FROM unnest(p_facts) WITH ORDINALITY AS element (facts, number)
        WINDOW given AS (ORDER BY element.number ROWS UNBOUNDED PRECEDING)
    ) AS sized
    GROUP BY (sized.number - 1) / p_most, sized.size / v_largest
    ORDER BY min(sized.number);
END;
$function$;

COMMENT ON FUNCTION rules_internal.slices(jsonb[], integer) IS
'Facts in slices of at most p_most elements and some 1 MB, in order, each with the
number of its first element, which counts from 1. What PL/Python is given at once it
takes over as a whole, and no cancel request is seen meanwhile.';

CREATE FUNCTION rules.evaluate_batch(rule_id uuid, facts jsonb[])
RETURNS SETOF rules.evaluation_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_name text;
    v_expression text;
    v_environment text;
    v_slice record;
    v_outcome record;
    v_refused integer;
BEGIN
    SELECT rule.name, rule.expression, environment.document
    INTO v_name, v_expression, v_environment
    FROM rules.rules AS rule
    LEFT JOIN rules_internal.environments AS environment
        ON environment.tenant_id = v_tenant
    WHERE rule.tenant_id = v_tenant AND rule.id = evaluate_batch.rule_id;
    IF NOT FOUND THEN
        PERFORM rules_internal.raise_not_found(
            'cannot evaluate rule', evaluate_batch.rule_id
        );
    END IF;
    PERFORM rules_internal.check_batch(
        'cannot evaluate rule ' || quote_literal(v_name), evaluate_batch.facts
    );
    FOR v_slice IN
        SELECT slice.first, slice.facts
        FROM rules_internal.slices(evaluate_batch.facts, 1000) AS slice
    LOOP
        v_outcome := rules_internal.cel_evaluate_batch(
            rules_internal.cel_runtime(),
            v_expression,
            coalesce(v_environment, '{}'),
            v_slice.facts
        );
        IF v_outcome.failure IS NOT NULL THEN
            PERFORM rules_internal.raise_failure(
                'cannot evaluate rule ' || quote_literal(v_name),
                'Rule ' || evaluate_batch.rule_id || '.',
                v_outcome.failure
            );
        END IF;
        v_refused := array_position(v_outcome.matched, NULL);
        IF v_refused IS NOT NULL THEN
            RAISE EXCEPTION 'cannot evaluate rule %: element %: %',
                quote_literal(v_name),
                v_slice.first + v_refused - 1,
                v_outcome.errors[v_refused]
                USING ERRCODE = 'RE030',
                    DETAIL = 'Rule ' || evaluate_batch.rule_id || '.';
        END IF;
        RETURN QUERY
        SELECT
            evaluate_batch.rule_id, v_name, result.matched, result.error, NULL::jsonb
        FROM unnest(v_outcome.matched, v_outcome.errors) AS result (matched, error);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION rules.evaluate_batch(uuid, jsonb[]) IS
'Evaluates one rule of the tenant, active or not, over each of many facts: one result
for each element, in order. An evaluation that fails gives matched = false and the
error; the others go on. Raises RE010 for an unknown rule, RE030 for an element that is
no JSON object or exceeds the limits, and names it, 22004 for NULL and for an element
that is NULL, 2202E for an array of several dimensions, 57014 when cancelled, and what
current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.check_batch(text, jsonb[]),
rules_internal.slices(jsonb[], integer),
rules.evaluate_batch(uuid, jsonb[])
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.check_batch(text, jsonb[]),
rules_internal.slices(jsonb[], integer),
rules.evaluate_batch(uuid, jsonb[])
TO rules_app, rules_tenant;

COMMIT;
