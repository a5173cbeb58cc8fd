-- Revert pgrules:000014_environments from pg

BEGIN;

DROP TRIGGER derived_fields_environment_delete ON rules.derived_fields;
DROP TRIGGER derived_fields_environment_update ON rules.derived_fields;
DROP TRIGGER derived_fields_environment_insert ON rules.derived_fields;
DROP TRIGGER schemas_environment_delete ON rules.schemas;
DROP TRIGGER schemas_environment_update ON rules.schemas;
DROP TRIGGER schemas_environment_insert ON rules.schemas;
DROP POLICY tenants_rules_owner ON rules.tenants;
DROP FUNCTION rules_internal.refresh_environments();
DROP TABLE rules_internal.environments;

COMMIT;
