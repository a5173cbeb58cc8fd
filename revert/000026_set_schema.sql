-- Revert pgrules:000026_set_schema from pg

BEGIN;

DROP FUNCTION rules.activate_schema(integer, boolean);
DROP FUNCTION rules.set_schema(jsonb, boolean);
DROP FUNCTION rules_internal.switch_schema(uuid, uuid, boolean);

COMMIT;
