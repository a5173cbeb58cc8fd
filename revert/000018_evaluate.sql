-- Revert pgrules:000018_evaluate from pg

BEGIN;

DROP FUNCTION rules.evaluate(uuid, jsonb, boolean);
DROP FUNCTION rules_internal.raise_null(text, text);
DROP FUNCTION rules_internal.raise_not_found(text, uuid);
DROP TYPE rules.evaluation_result;

COMMIT;
