-- Revert pgrules:000034_matching_rows from pg

BEGIN;

DROP FUNCTION rules.count_matches(uuid, regclass, name, name);
DROP FUNCTION rules.matching_rows(uuid, anyelement, name, name);
DROP FUNCTION rules_internal.matching_by_language(anyarray, text, uuid, text, text);
DROP FUNCTION rules_internal.matching_batch(anyarray, jsonb[], uuid, text, text);

COMMIT;
