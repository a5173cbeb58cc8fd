-- Revert pgrules:000005_tenants from pg

BEGIN;

DROP TABLE rules.tenants;

COMMIT;
