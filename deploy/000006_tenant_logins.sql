-- Deploy pgrules:000006_tenant_logins to pg
-- requires: 000005_tenants
--
-- Which tenant a login belongs to. A login has one tenant at the most: that is why
-- the login alone is unique too. Only rules_admin writes here, so the violation tells
-- no tenant of another.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules.tenant_logins (
    tenant_id uuid NOT NULL,
    login name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tenant_logins_pkey PRIMARY KEY (tenant_id, login),
    CONSTRAINT tenant_logins_login_key UNIQUE (login),
    CONSTRAINT tenant_logins_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE
);

COMMENT ON TABLE rules.tenant_logins IS
'Binds a login (session_user) to its tenant. Members of rules_app need no row.';
COMMENT ON COLUMN rules.tenant_logins.tenant_id IS 'The tenant.';
COMMENT ON COLUMN rules.tenant_logins.login IS 'Name of the login role.';
COMMENT ON COLUMN rules.tenant_logins.created_at IS 'When it was bound.';

GRANT SELECT, DELETE ON rules.tenant_logins TO rules_admin;
GRANT INSERT (tenant_id, login), UPDATE (tenant_id, login)
ON rules.tenant_logins TO rules_admin;

COMMIT;
