-- Revert pgrules:000010_schemas from pg

BEGIN;

DROP TABLE rules.schemas;
DROP FUNCTION rules_internal.keep_schema();

COMMIT;
