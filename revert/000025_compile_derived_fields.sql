-- Revert pgrules:000025_compile_derived_fields from pg

BEGIN;

DROP TRIGGER derived_fields_check_delete ON rules.derived_fields;
DROP TRIGGER derived_fields_check_update ON rules.derived_fields;
DROP TRIGGER derived_fields_check_insert ON rules.derived_fields;
DROP TRIGGER derived_fields_compile ON rules.derived_fields;
DROP TRIGGER derived_fields_lock ON rules.derived_fields;
DROP FUNCTION rules_internal.check_derived_fields();
DROP FUNCTION rules_internal.compile_derived_field();
DROP FUNCTION rules_internal.lock_own_environment();

COMMIT;
