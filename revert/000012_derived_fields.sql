-- Revert pgrules:000012_derived_fields from pg

BEGIN;

DROP TABLE rules.derived_fields;

COMMIT;
