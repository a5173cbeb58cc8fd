-- Revert pgrules:000014_environments from pg

BEGIN;

DROP FUNCTION rules_internal.store_environment(uuid);
DROP FUNCTION rules_internal.lock_environment(uuid);
DROP FUNCTION rules_internal.share_environment(uuid);
DROP FUNCTION rules_internal.environment(uuid);
DROP POLICY tenants_rules_owner ON rules.tenants;
DROP TABLE rules_internal.environments;

COMMIT;
