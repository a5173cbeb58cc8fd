-- Deploy pgrules:000021_evaluate_all to pg
-- requires: 000018_evaluate
-- requires: 000019_rule_sets
--
-- What a session keeps of a rule set, it keeps under a key. Whoever could give the core
-- rules for a key would have them in force for the next who uses the session, without a
-- trace in the audit. So nobody but this function calls it: it is SECURITY DEFINER, and
-- names the tenant in all that it reads.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.evaluate_all(facts jsonb, matched_only boolean DEFAULT false)
RETURNS SETOF rules.evaluation_result
LANGUAGE plpgsql STABLE PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_matched_only constant boolean := coalesce(evaluate_all.matched_only, false);
    v_runtime constant text := rules_internal.cel_runtime();
    v_key constant text := rules_internal.rule_set_key(v_tenant);
    v_environment constant text := rules_internal.environment(v_tenant);
    v_ids uuid[];
    v_names text[];
    v_expressions text[];
    v_outcome record;
BEGIN
    IF evaluate_all.facts IS NULL THEN
        PERFORM rules_internal.raise_null('cannot evaluate the rules', 'facts');
    END IF;
    -- A set that the session knows is not read from the table.
    v_outcome := rules_internal.cel_evaluate_set(
        v_runtime, v_key, NULL, NULL, NULL,
        v_environment, evaluate_all.facts, v_matched_only
    );
    IF NOT v_outcome.known THEN
        SELECT
            coalesce(array_agg(active.id), '{}'),
            coalesce(array_agg(active.name), '{}'),
            coalesce(array_agg(active.expression), '{}')
        INTO v_ids, v_names, v_expressions
        FROM (
            SELECT rule.id, rule.name, rule.expression
            FROM rules.rules AS rule
            WHERE rule.tenant_id = v_tenant AND rule.active
            ORDER BY rule.created_at, rule.id
        ) AS active;
        v_outcome := rules_internal.cel_evaluate_set(
            v_runtime, v_key, v_ids, v_names, v_expressions,
            v_environment, evaluate_all.facts, v_matched_only
        );
        IF NOT v_outcome.known THEN
            -- No memory to convert the ids, which are given.
            RAISE EXCEPTION 'cannot evaluate the rules: out of memory'
                USING ERRCODE = 'out_of_memory';
        END IF;
    END IF;
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot evaluate the rules', NULL, v_outcome.failure
        );
    END IF;
    IF v_matched_only THEN
        RETURN QUERY
        SELECT result.id, result.name, true, NULL::text, NULL::jsonb
        FROM unnest(v_outcome.ids, v_outcome.names) AS result (id, name);
    ELSE
        RETURN QUERY
        SELECT result.id, result.name, result.matched, result.error, NULL::jsonb
        FROM unnest(
            v_outcome.ids, v_outcome.names, v_outcome.matched, v_outcome.errors
        ) AS result (id, name, matched, error);
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules.evaluate_all(jsonb, boolean) IS
'Evaluates all active rules of the tenant over facts, oldest first. A rule that fails
gives matched = false and its error; the others go on. With matched_only, the rules
that match are returned, and no others. Raises RE030 for facts that are no JSON object
or exceed the limits, 22004 for NULL, 57014 when cancelled, and what current_tenant_id
raises.';

REVOKE ALL ON FUNCTION rules.evaluate_all(jsonb, boolean) FROM public;
GRANT EXECUTE ON FUNCTION rules.evaluate_all(jsonb, boolean) TO rules_app, rules_tenant;

COMMIT;
