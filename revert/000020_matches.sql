-- Revert pgrules:000020_matches from pg

BEGIN;

DROP FUNCTION rules.matches(uuid, jsonb);

COMMIT;
