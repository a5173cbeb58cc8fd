-- Deploy pgrules:000008_tenant_policies to pg
-- requires: 000007_current_tenant_id
--
-- Row-level security of the two tables that the resolver itself needs.

BEGIN;

SET LOCAL ROLE rules_owner;

ALTER TABLE rules.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.tenants FORCE ROW LEVEL SECURITY;

CREATE POLICY tenants_rules_app ON rules.tenants TO rules_app
USING (id = rules.current_tenant_id())
WITH CHECK (id = rules.current_tenant_id());

CREATE POLICY tenants_rules_tenant ON rules.tenants TO rules_tenant
USING (id = rules.current_tenant_id())
WITH CHECK (id = rules.current_tenant_id());

CREATE POLICY tenants_rules_admin ON rules.tenants TO rules_admin
USING (true)
WITH CHECK (true);

ALTER TABLE rules.tenant_logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules.tenant_logins FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_logins_rules_admin ON rules.tenant_logins TO rules_admin
USING (true)
WITH CHECK (true);

-- For rules_internal.bound_tenant: it must not ask the resolver, which asks it.
CREATE POLICY tenant_logins_rules_owner ON rules.tenant_logins TO rules_owner
USING (login = session_user)
WITH CHECK (login = session_user);

COMMIT;
