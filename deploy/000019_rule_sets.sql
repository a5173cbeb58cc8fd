-- Deploy pgrules:000019_rule_sets to pg
-- requires: 000011_rules
-- requires: 000014_environments
--
-- Which rule set a tenant has, so that a session may keep one that it has compiled.
-- Every transaction that writes rules leaves a token. The tokens that a snapshot sees
-- tell which of those transactions it sees: equal tokens, equal rules. They are only
-- ever added, so that writers wait for none but those of the same rule; a writer also
-- clears away older ones, as many as nobody else is clearing away.
--
-- A token refers to the tenant as of the last change of its environment. Whoever
-- changes that lets the foreign key carry the new time to all tokens, which the server
-- refuses where there is one that the snapshot does not see: nobody changes the
-- environment of rules that are hidden from him.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE TABLE rules_internal.rule_set_tokens (
    tenant_id uuid NOT NULL,
    tenant_updated_at timestamptz NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    started_at timestamptz NOT NULL DEFAULT transaction_timestamp(),
    token uuid NOT NULL DEFAULT gen_random_uuid(),
    -- A transaction has one token. Its number alone may come again in a restored dump.
    CONSTRAINT rule_set_tokens_pkey
    PRIMARY KEY (tenant_id, tenant_updated_at, xid, started_at),
    CONSTRAINT rule_set_tokens_tenant_id_tenant_updated_at_fkey
    FOREIGN KEY (tenant_id, tenant_updated_at)
    REFERENCES rules.tenants (id, updated_at) ON UPDATE CASCADE ON DELETE CASCADE
);

COMMENT ON TABLE rules_internal.rule_set_tokens IS
'One row for each transaction that wrote rules of the tenant, but for older ones that a
later writer saw and deleted. Two snapshots that see the same tokens see the same rules.';

ALTER TABLE rules_internal.rule_set_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.rule_set_tokens FORCE ROW LEVEL SECURITY;

CREATE POLICY rule_set_tokens_rules_app ON rules_internal.rule_set_tokens TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY rule_set_tokens_rules_tenant
ON rules_internal.rule_set_tokens TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY rule_set_tokens_rules_owner
ON rules_internal.rule_set_tokens TO rules_owner
USING (true)
WITH CHECK (true);

GRANT SELECT ON rules_internal.rule_set_tokens TO rules_app, rules_tenant;

CREATE FUNCTION rules_internal.rule_set_key(p_tenant_id uuid) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    -- What the own transaction wrote may be undone, or go on in the same transaction.
    RETURN (
        SELECT
            CASE
                WHEN bool_and(
                    rule_set.xid IS DISTINCT FROM pg_current_xact_id_if_assigned()
                    OR rule_set.started_at <> transaction_timestamp()
                )
                THEN string_agg(rule_set.token::text, ' ' ORDER BY rule_set.token)
            END
        FROM rules_internal.rule_set_tokens AS rule_set
        WHERE rule_set.tenant_id = p_tenant_id
    );
END;
$function$;

COMMENT ON FUNCTION rules_internal.rule_set_key(uuid) IS
'What the active rules that this snapshot sees may be cached under; NULL where they may
not: the own transaction has written rules, or nobody has yet.';

CREATE FUNCTION rules_internal.renew_rule_set(p_tenant_id uuid) RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    -- Nothing of the tokens is read to see whether the own is there: between
    -- serializable writers of different rules that would be a conflict. A tenant that
    -- is being deleted takes its tokens along.
    INSERT INTO rules_internal.rule_set_tokens (tenant_id, tenant_updated_at)
    SELECT tenant.id, tenant.updated_at
    FROM rules.tenants AS tenant
    WHERE tenant.id = p_tenant_id
    FOR KEY SHARE
    ON CONFLICT (tenant_id, tenant_updated_at, xid, started_at) DO NOTHING;
    -- In an older snapshot, a row that somebody else has deleted cannot be skipped.
    IF
        NOT FOUND
        OR current_setting('transaction_isolation') NOT IN (
            'read committed', 'read uncommitted'
        )
    THEN
        RETURN;
    END IF;
    DELETE FROM rules_internal.rule_set_tokens AS rule_set
    USING (
        SELECT older.xid, older.started_at
        FROM rules_internal.rule_set_tokens AS older
        WHERE
            older.tenant_id = p_tenant_id
            AND (older.xid, older.started_at)
            <> (pg_current_xact_id(), transaction_timestamp())
        FOR UPDATE SKIP LOCKED
    ) AS older
    WHERE
        rule_set.tenant_id = p_tenant_id
        AND rule_set.xid = older.xid
        AND rule_set.started_at = older.started_at;
END;
$function$;

COMMENT ON FUNCTION rules_internal.renew_rule_set(uuid) IS
'Leaves the token of this transaction, if it is not there, and deletes older ones.';

CREATE FUNCTION rules_internal.renew_own_rule_set() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- An administrator who deletes a tenant has none. A superuser may have set none.
    IF (
        CASE
            WHEN pg_has_role(session_user, 'rules_app', 'MEMBER')
                THEN current_setting('app.tenant_id', true) <> ''
            ELSE rules_internal.bound_tenant() IS NOT NULL
        END
    ) THEN
        PERFORM rules_internal.renew_rule_set(rules.current_tenant_id());
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.renew_own_rule_set() IS
'Trigger, before rules are written: leaves the token of the tenant that the session is
set to, so that nothing which is evaluated within the statement is cached. SECURITY
DEFINER, since no other role writes rules_internal.rule_set_tokens. Raises what
rules.current_tenant_id raises for a setting that is no uuid.';

CREATE FUNCTION rules_internal.renew_rule_sets() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant uuid;
BEGIN
    FOR v_tenant IN SELECT DISTINCT changed.tenant_id FROM changed LOOP
        PERFORM rules_internal.renew_rule_set(v_tenant);
    END LOOP;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.renew_rule_sets() IS
'Trigger, after rules were written: leaves a token of every tenant in transition table
"changed". SECURITY DEFINER, since no other role writes rules_internal.rule_set_tokens.';

CREATE FUNCTION rules_internal.renew_all_rule_sets() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM rules_internal.renew_rule_set(tenant.id) FROM rules.tenants AS tenant;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.renew_all_rule_sets() IS
'Trigger, after all rules were truncated: leaves a token of every tenant. SECURITY
DEFINER, as renew_rule_sets is.';

REVOKE ALL ON FUNCTION
rules_internal.rule_set_key(uuid),
rules_internal.renew_rule_set(uuid),
rules_internal.renew_own_rule_set(),
rules_internal.renew_rule_sets(),
rules_internal.renew_all_rule_sets()
FROM public;
GRANT EXECUTE ON FUNCTION rules_internal.rule_set_key(uuid) TO rules_app, rules_tenant;

CREATE TRIGGER rules_renew_own_set
BEFORE INSERT OR DELETE OR UPDATE OF tenant_id, id, name, expression, active, created_at
ON rules.rules
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.renew_own_rule_set();

-- Superusers write rules of any tenant, and move them from one to another.
CREATE TRIGGER rules_renew_sets_insert
AFTER INSERT ON rules.rules
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.renew_rule_sets();

CREATE TRIGGER rules_renew_sets_update
AFTER UPDATE ON rules.rules
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.renew_rule_sets();

CREATE TRIGGER rules_renew_sets_move
AFTER UPDATE ON rules.rules
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.renew_rule_sets();

CREATE TRIGGER rules_renew_sets_delete
AFTER DELETE ON rules.rules
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.renew_rule_sets();

CREATE TRIGGER rules_renew_sets_truncate
AFTER TRUNCATE ON rules.rules
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.renew_all_rule_sets();

-- Tenants that have rules already.
INSERT INTO rules_internal.rule_set_tokens (tenant_id, tenant_updated_at)
SELECT
    tenant.id,
    tenant.updated_at
FROM rules.tenants AS tenant
WHERE tenant.id IN (SELECT rule.tenant_id FROM rules.rules AS rule);

COMMIT;
