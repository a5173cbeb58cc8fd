-- Revert pgrules:000026_evaluation_cost from pg

BEGIN;

DROP FUNCTION rules.evaluation_cost(uuid, jsonb);

COMMIT;
