-- Revert pgrules:000011_rules from pg

BEGIN;

DROP TABLE rules.rules;

COMMIT;
