-- Revert pgrules:000008_tenant_policies from pg

BEGIN;

DROP POLICY tenant_logins_rules_owner ON rules.tenant_logins;
DROP POLICY tenant_logins_rules_admin ON rules.tenant_logins;
ALTER TABLE rules.tenant_logins NO FORCE ROW LEVEL SECURITY;
ALTER TABLE rules.tenant_logins DISABLE ROW LEVEL SECURITY;

DROP POLICY tenants_rules_admin ON rules.tenants;
DROP POLICY tenants_rules_tenant ON rules.tenants;
DROP POLICY tenants_rules_app ON rules.tenants;
ALTER TABLE rules.tenants NO FORCE ROW LEVEL SECURITY;
ALTER TABLE rules.tenants DISABLE ROW LEVEL SECURITY;

COMMIT;
