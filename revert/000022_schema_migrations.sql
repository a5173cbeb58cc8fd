-- Revert pgrules:000022_schema_migrations from pg

BEGIN;

DROP VIEW rules.schema_migrations;
REVOKE SELECT ON sqitch.changes FROM rules_owner;
REVOKE USAGE ON SCHEMA sqitch FROM rules_owner;

COMMIT;
