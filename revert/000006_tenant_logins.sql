-- Revert pgrules:000006_tenant_logins from pg

BEGIN;

DROP TABLE rules.tenant_logins;

COMMIT;
