-- Revert pgrules:000007_current_tenant_id from pg

BEGIN;

DROP FUNCTION rules.current_tenant_id();
DROP FUNCTION rules_internal.resolve_tenant(text);
DROP FUNCTION rules_internal.bound_tenant();

COMMIT;
