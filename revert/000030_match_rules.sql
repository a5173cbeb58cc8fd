-- Revert pgrules:000030_match_rules from pg

BEGIN;

DROP FUNCTION rules.match_rules(jsonb);
DROP FUNCTION rules_internal.rules_by_id(uuid, uuid[]);

COMMIT;
