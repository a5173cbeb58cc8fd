-- Revert pgrules:000015_cel from pg

BEGIN;

DROP FUNCTION rules_internal.cel_check;
DROP FUNCTION rules_internal.cel_evaluate_expression;
DROP FUNCTION rules_internal.cel_evaluate_all;
DROP FUNCTION rules_internal.cel_evaluate;

COMMIT;
