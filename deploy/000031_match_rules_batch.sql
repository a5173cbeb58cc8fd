-- Deploy pgrules:000031_match_rules_batch to pg
-- requires: 000029_evaluate_batch
-- requires: 000030_match_rules
--
-- The matching rules of many facts at once. The inner function also serves the triggers
-- of 000032_record_matches, which have other words for what an element is.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.match_batch(
    p_tenant_id uuid, p_operation text, p_facts jsonb[], p_subjects text[]
) RETURNS TABLE (element integer, rule_id uuid, rule_name text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
AS $function$
DECLARE
    v_elements integer[];
    v_candidates uuid[];
    v_ids uuid[];
    v_names text[];
    v_expressions text[];
    v_outcome record;
BEGIN
    SELECT array_agg(candidate.element), array_agg(candidate.rule_id)
    INTO v_elements, v_candidates
    FROM rules_internal.candidate_rules(
        p_tenant_id, p_operation, p_facts, p_subjects
    ) AS candidate;
    IF v_candidates IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(rule.id), array_agg(rule.name), array_agg(rule.expression)
    INTO v_ids, v_names, v_expressions
    FROM rules_internal.rules_by_id(
        p_tenant_id,
        ARRAY(SELECT DISTINCT wanted.id FROM unnest(v_candidates) AS wanted (id))
    ) AS rule;
    v_outcome := rules_internal.cel_match_batch(
        rules_internal.cel_runtime(),
        v_ids,
        coalesce(v_expressions, '{}'),
        rules_internal.environment(p_tenant_id),
        p_facts,
        v_elements,
        v_candidates
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(p_operation, NULL, v_outcome.failure);
    END IF;
    RETURN QUERY
    SELECT matching.element, v_ids[matching.rule], v_names[matching.rule]
    FROM unnest(v_outcome.elements, v_outcome.rules) AS matching (element, rule);
END;
$function$;

COMMENT ON FUNCTION rules_internal.match_batch(uuid, text, jsonb[], text[]) IS
'The active rules of a tenant that match each of the facts, none of which is NULL, found
by their access keys. For an error p_operation is what failed, and p_subjects what each
element is. Raises RE030.';

CREATE FUNCTION rules.match_rules_batch(facts jsonb[])
RETURNS TABLE (element integer, rule_id uuid, rule_name text)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 100
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
BEGIN
    PERFORM rules_internal.check_batch(
        'cannot match the rules', match_rules_batch.facts
    );
    RETURN QUERY
    SELECT
        slice.first + matching.element - 1, matching.rule_id, matching.rule_name
    FROM rules_internal.slices(match_rules_batch.facts, 100) AS slice
    CROSS JOIN LATERAL rules_internal.match_batch(
        v_tenant,
        'cannot match the rules',
        slice.facts,
        ARRAY(
            SELECT 'Element ' || (slice.first + place.number - 1) || '.'
            FROM generate_series(1, cardinality(slice.facts)) AS place (number)
        )
    ) AS matching;
END;
$function$;

COMMENT ON FUNCTION rules.match_rules_batch(jsonb[]) IS
'The active rules of the tenant that match each of many facts: a row for each match, by
element, which counts from 1, then oldest rule first. A rule that fails over an element
does not match it. Raises RE030, which names the element, for facts that are no JSON
object or exceed the limits, 22004 for NULL and for an element that is NULL, 2202E for an
array of several dimensions, 57014 when cancelled, and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.match_batch(uuid, text, jsonb[], text[]),
rules.match_rules_batch(jsonb[])
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.match_batch(uuid, text, jsonb[], text[]),
rules.match_rules_batch(jsonb[])
TO rules_app, rules_tenant;

COMMIT;
