-- Revert pgrules:000009_set_tenant from pg

BEGIN;

DROP FUNCTION rules.set_tenant(uuid);

COMMIT;
