-- Revert pgrules:000017_check_expression from pg

BEGIN;

DROP FUNCTION rules.check_expression(text);

COMMIT;
