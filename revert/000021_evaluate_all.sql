-- Revert pgrules:000021_evaluate_all from pg

BEGIN;

DROP FUNCTION rules.evaluate_all(jsonb, boolean);

COMMIT;
