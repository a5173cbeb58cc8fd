-- Revert pgrules:000013_schema_changelog from pg

BEGIN;

DROP TABLE rules.schema_changelog;

COMMIT;
