-- Revert pgrules:000022_matches from pg

BEGIN;

DROP FUNCTION rules.matches(uuid, jsonb);

COMMIT;
