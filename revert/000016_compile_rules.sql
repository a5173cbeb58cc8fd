-- Revert pgrules:000016_compile_rules from pg

BEGIN;

DROP TRIGGER rules_compile ON rules.rules;
DROP FUNCTION rules_internal.compile_rule();
DROP FUNCTION rules_internal.raise_failure(text, text, jsonb);

COMMIT;
