-- Revert pgrules:000039_evaluate_as_of from pg

BEGIN;

DROP FUNCTION rules.evaluate_as_of(uuid, jsonb, timestamptz);
DROP FUNCTION rules_internal.environment_as_of(uuid, timestamptz);

COMMIT;
