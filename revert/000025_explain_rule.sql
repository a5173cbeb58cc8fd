-- Revert pgrules:000025_explain_rule from pg

BEGIN;

DROP FUNCTION rules.explain_rule(uuid, jsonb);

COMMIT;
