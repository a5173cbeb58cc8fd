-- Revert pgrules:000028_evaluation_cost from pg

BEGIN;

DROP FUNCTION rules.evaluation_cost(uuid, jsonb);

COMMIT;
