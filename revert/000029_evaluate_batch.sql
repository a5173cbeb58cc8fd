-- Revert pgrules:000029_evaluate_batch from pg

BEGIN;

DROP FUNCTION rules.evaluate_batch(uuid, jsonb[]);
DROP FUNCTION rules_internal.slices(jsonb[], integer);
DROP FUNCTION rules_internal.check_batch(text, jsonb[]);

COMMIT;
