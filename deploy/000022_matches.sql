-- Deploy pgrules:000022_matches to pg
-- requires: 000018_evaluate

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules.matches(rule_id uuid, facts jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000
AS $function$
DECLARE
    v_result rules.evaluation_result;
BEGIN
    IF matches.facts IS NULL THEN
        -- No tenant is an error here too.
        PERFORM rules.current_tenant_id();
        RETURN NULL;
    END IF;
    v_result := rules.evaluate(matches.rule_id, matches.facts);
    IF v_result.error IS NOT NULL THEN
        RETURN NULL;
    END IF;
    RETURN v_result.matched;
END;
$function$;

COMMENT ON FUNCTION rules.matches(uuid, jsonb) IS
'Whether a rule matches, for WHERE clauses: true, false, and NULL where the evaluation
fails or the facts are NULL. Raises what rules.evaluate raises.';

REVOKE ALL ON FUNCTION rules.matches(uuid, jsonb) FROM public;
GRANT EXECUTE ON FUNCTION rules.matches(uuid, jsonb) TO rules_app, rules_tenant;

COMMIT;
