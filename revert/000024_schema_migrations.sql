-- Revert pgrules:000024_schema_migrations from pg

BEGIN;

DROP VIEW rules.schema_migrations;
REVOKE SELECT ON :"registry".changes FROM rules_owner;
REVOKE USAGE ON SCHEMA :"registry" FROM rules_owner;

COMMIT;
