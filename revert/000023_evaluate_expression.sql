-- Revert pgrules:000023_evaluate_expression from pg

BEGIN;

DROP FUNCTION rules.evaluate_expression(text, jsonb);

COMMIT;
