-- Revert pgrules:000021_evaluate_expression from pg

BEGIN;

DROP FUNCTION rules.evaluate_expression(text, jsonb);

COMMIT;
