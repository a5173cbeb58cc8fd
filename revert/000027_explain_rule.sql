-- Revert pgrules:000027_explain_rule from pg

BEGIN;

DROP FUNCTION rules.explain_rule(uuid, jsonb);

COMMIT;
