-- Revert pgrules:000031_match_rules_batch from pg

BEGIN;

DROP FUNCTION rules.match_rules_batch(jsonb[]);
DROP FUNCTION rules_internal.match_batch(uuid, text, jsonb[], text[]);

COMMIT;
