-- Deploy pgrules:000030_match_rules to pg
-- requires: 000018_evaluate
-- requires: 000020_rule_keys

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.rules_by_id(p_tenant_id uuid, p_rule_ids uuid[])
RETURNS TABLE (id uuid, name varchar, expression text, created_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    -- Each by the primary key, however many or few rules a tenant is thought to have;
    -- asked within, active would let an index of all the tenant's rules be used.
    RETURN QUERY
    SELECT found.id, found.name, found.expression, found.created_at
    FROM unnest(p_rule_ids) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT rule.id, rule.name, rule.expression, rule.created_at, rule.active
        FROM rules.rules AS rule
        WHERE rule.tenant_id = p_tenant_id AND rule.id = wanted.id
        OFFSET 0
    ) AS found
    WHERE found.active
    ORDER BY found.created_at, found.id;
END;
$function$;

COMMENT ON FUNCTION rules_internal.rules_by_id(uuid, uuid[]) IS
'Those of some rules of a tenant that are active, oldest first.';

CREATE FUNCTION rules.match_rules(facts jsonb)
RETURNS SETOF rules.evaluation_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_facts constant jsonb[] := ARRAY[match_rules.facts];
    v_ids uuid[];
    v_names text[];
    v_expressions text[];
    v_outcome record;
BEGIN
    IF match_rules.facts IS NULL THEN
        PERFORM rules_internal.raise_null('cannot match the rules', 'facts');
    END IF;
    SELECT array_agg(candidate.rule_id) INTO v_ids
    FROM rules_internal.candidate_rules(
        v_tenant, 'cannot match the rules', v_facts, '{}'
    ) AS candidate;
    IF v_ids IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(rule.id), array_agg(rule.name), array_agg(rule.expression)
    INTO v_ids, v_names, v_expressions
    FROM rules_internal.rules_by_id(v_tenant, v_ids) AS rule;
    v_outcome := rules_internal.cel_match_batch(
        rules_internal.cel_runtime(),
        NULL,
        coalesce(v_expressions, '{}'),
        rules_internal.environment(v_tenant),
        v_facts,
        NULL,
        NULL
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot match the rules', NULL, v_outcome.failure
        );
    END IF;
    RETURN QUERY
    SELECT
        v_ids[matching.number], v_names[matching.number], true, NULL::text, NULL::jsonb
    FROM unnest(v_outcome.rules) AS matching (number);
END;
$function$;

COMMENT ON FUNCTION rules.match_rules(jsonb) IS
'The active rules of the tenant that match facts, oldest first, found by their access
keys: the others are not evaluated. A rule that fails does not match. Raises RE030 for
facts that are no JSON object or exceed the limits, 22004 for NULL, 57014 when
cancelled, and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.rules_by_id(uuid, uuid[]),
rules.match_rules(jsonb)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.rules_by_id(uuid, uuid[]),
rules.match_rules(jsonb)
TO rules_app, rules_tenant;

COMMIT;
