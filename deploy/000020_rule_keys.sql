-- Deploy pgrules:000020_rule_keys to pg
-- requires: 000016_compile_rules
--
-- The index of access keys: which rules may match some facts. The core derives from
-- each rule what facts must have for it to be true, as terms, which are hashes, and for
-- ranges their ends; and says what facts ask for. Here the keys are kept in the
-- transaction that writes the rule, and looked up.

BEGIN;

SET LOCAL ROLE rules_owner;

-- No foreign key, which would be checked for each row. The triggers below delete the
-- keys of deleted rules.
CREATE TABLE rules_internal.rule_keys (
    tenant_id uuid NOT NULL,
    rule_id uuid NOT NULL,
    number integer NOT NULL,
    term bigint NOT NULL,
    low bigint,
    high bigint,
    CONSTRAINT rule_keys_pkey PRIMARY KEY (tenant_id, rule_id, number),
    CONSTRAINT rule_keys_high_check CHECK (low <= high),
    CONSTRAINT rule_keys_low_check CHECK ((low IS NULL) = (high IS NULL))
);

COMMENT ON TABLE rules_internal.rule_keys IS
'The access keys of active rules: a rule can be true only of facts that have one of its
terms, and in its range where it has one. Term 0 is of rules that are always looked at.';

CREATE INDEX rule_keys_tenant_id_term_rule_id_idx
ON rules_internal.rule_keys (tenant_id, term, rule_id) WHERE low IS NULL;
CREATE INDEX rule_keys_tenant_id_term_high_idx
ON rules_internal.rule_keys (tenant_id, term, high) INCLUDE (rule_id)
WHERE low IS NOT NULL;
CREATE INDEX rule_keys_tenant_id_term_low_idx
ON rules_internal.rule_keys (tenant_id, term, low) INCLUDE (rule_id)
WHERE low IS NOT NULL;

CREATE TABLE rules_internal.rule_key_shapes (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    shape text NOT NULL,
    CONSTRAINT rule_key_shapes_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT rule_key_shapes_tenant_id_fkey FOREIGN KEY (tenant_id)
    REFERENCES rules.tenants (id) ON DELETE CASCADE
);

-- Unique shapes would make writers wait for one another.
COMMENT ON TABLE rules_internal.rule_key_shapes IS
'What the access keys of a tenant look at: the fields of facts, and how. A shape stands
here once or more, if writers added it at the same time. It stays when its last rule
goes, until the environment changes.';

ALTER TABLE rules_internal.rule_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.rule_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.rule_key_shapes ENABLE ROW LEVEL SECURITY;
ALTER TABLE rules_internal.rule_key_shapes FORCE ROW LEVEL SECURITY;

CREATE POLICY rule_keys_rules_app ON rules_internal.rule_keys TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY rule_keys_rules_tenant ON rules_internal.rule_keys TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY rule_keys_rules_owner ON rules_internal.rule_keys TO rules_owner
USING (true)
WITH CHECK (true);

CREATE POLICY rule_key_shapes_rules_app ON rules_internal.rule_key_shapes TO rules_app
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

CREATE POLICY rule_key_shapes_rules_tenant
ON rules_internal.rule_key_shapes TO rules_tenant
USING (tenant_id = rules.current_tenant_id())
WITH CHECK (tenant_id = rules.current_tenant_id());

-- For SECURITY DEFINER functions, which name the tenant themselves.
CREATE POLICY rule_key_shapes_rules_owner
ON rules_internal.rule_key_shapes TO rules_owner
USING (true)
WITH CHECK (true);

GRANT SELECT ON rules_internal.rule_keys, rules_internal.rule_key_shapes
TO rules_app, rules_tenant;

-- Statements of one row and of a million share a plan, and one that was made for an
-- empty table is kept; so whatever the plan, it uses the indexes. Arrays of one element
-- would else be planned for anew each time, which takes longer than to store them.
CREATE FUNCTION rules_internal.delete_rule_keys(p_tenant_id uuid, p_rule_ids uuid[])
RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    DELETE FROM rules_internal.rule_keys AS key
    WHERE key.tenant_id = p_tenant_id AND key.rule_id = ANY(p_rule_ids);
END;
$function$;

COMMENT ON FUNCTION rules_internal.delete_rule_keys(uuid, uuid[]) IS
'Deletes the access keys of rules of a tenant.';

CREATE FUNCTION rules_internal.store_rule_keys(
    p_tenant_id uuid, p_rule_ids uuid[], p_expressions text[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    v_outcome record;
BEGIN
    v_outcome := rules_internal.cel_keys(
        rules_internal.cel_runtime(),
        p_expressions,
        rules_internal.environment(p_tenant_id),
        ARRAY(
            SELECT known.shape
            FROM rules_internal.rule_key_shapes AS known
            WHERE known.tenant_id = p_tenant_id
        )
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot index the rules', NULL, v_outcome.failure
        );
    END IF;
    IF v_outcome.shapes <> '{}' THEN
        INSERT INTO rules_internal.rule_key_shapes (tenant_id, shape)
        SELECT p_tenant_id, missing.shape
        FROM unnest(v_outcome.shapes) AS missing (shape);
    END IF;
    -- A rule that was deleted while the environment changed may have left keys behind.
    INSERT INTO rules_internal.rule_keys AS key (
        tenant_id, rule_id, number, term, low, high
    )
    SELECT
        p_tenant_id,
        p_rule_ids[entry.rule],
        entry.number,
        entry.term,
        entry.low,
        entry.high
    FROM unnest(
        v_outcome.rules, v_outcome.terms, v_outcome.lows, v_outcome.highs
    ) WITH ORDINALITY AS entry (rule, term, low, high, number)
    ON CONFLICT (tenant_id, rule_id, number) DO UPDATE
    SET term = excluded.term, low = excluded.low, high = excluded.high;
END;
$function$;

COMMENT ON FUNCTION rules_internal.store_rule_keys(uuid, uuid[], text[]) IS
'Derives and stores the access keys of rules of a tenant that have none. Raises 57014
when cancelled.';

CREATE FUNCTION rules_internal.renew_rule_keys(p_tenant_id uuid) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
AS $function$
DECLARE
    v_rule record;
    v_ids uuid[] := '{}'::uuid[];
    v_expressions text[] := '{}'::text[];
BEGIN
    DELETE FROM rules_internal.rule_keys AS key WHERE key.tenant_id = p_tenant_id;
    DELETE FROM rules_internal.rule_key_shapes AS known
    WHERE known.tenant_id = p_tenant_id;
    FOR v_rule IN
        SELECT rule.id, rule.expression
        FROM rules.rules AS rule
        WHERE rule.tenant_id = p_tenant_id AND rule.active
    LOOP
        IF cardinality(v_ids) = 1000 THEN
            PERFORM rules_internal.store_rule_keys(p_tenant_id, v_ids, v_expressions);
            v_ids := '{}'::uuid[];
            v_expressions := '{}'::text[];
        END IF;
        v_ids := v_ids || v_rule.id;
        v_expressions := v_expressions || v_rule.expression;
    END LOOP;
    IF v_ids <> '{}' THEN
        PERFORM rules_internal.store_rule_keys(p_tenant_id, v_ids, v_expressions);
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules_internal.renew_rule_keys(uuid) IS
'Derives the access keys of all active rules of a tenant anew; the caller holds the lock
of the environment.';

CREATE FUNCTION rules_internal.insert_rule_keys() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_rule record;
    v_tenant uuid;
    v_ids uuid[] := '{}'::uuid[];
    v_expressions text[] := '{}'::text[];
BEGIN
    FOR v_rule IN
        SELECT added.tenant_id, added.id, added.expression FROM added WHERE added.active
    LOOP
        IF v_rule.tenant_id IS DISTINCT FROM v_tenant OR cardinality(v_ids) = 1000 THEN
            IF v_ids <> '{}' THEN
                PERFORM rules_internal.store_rule_keys(v_tenant, v_ids, v_expressions);
            END IF;
            v_tenant := v_rule.tenant_id;
            v_ids := '{}'::uuid[];
            v_expressions := '{}'::text[];
        END IF;
        v_ids := v_ids || v_rule.id;
        v_expressions := v_expressions || v_rule.expression;
    END LOOP;
    IF v_ids <> '{}' THEN
        PERFORM rules_internal.store_rule_keys(v_tenant, v_ids, v_expressions);
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.insert_rule_keys() IS
'Trigger: stores the access keys of the active rules in transition table "added".
SECURITY DEFINER, since no other role writes rules_internal.rule_keys.';

CREATE FUNCTION rules_internal.remove_rule_keys() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_rule record;
    v_tenant uuid;
    v_ids uuid[] := '{}'::uuid[];
BEGIN
    FOR v_rule IN SELECT removed.tenant_id, removed.id FROM removed LOOP
        IF v_rule.tenant_id IS DISTINCT FROM v_tenant OR cardinality(v_ids) = 1000 THEN
            IF v_ids <> '{}' THEN
                PERFORM rules_internal.delete_rule_keys(v_tenant, v_ids);
            END IF;
            v_tenant := v_rule.tenant_id;
            v_ids := '{}'::uuid[];
        END IF;
        v_ids := v_ids || v_rule.id;
    END LOOP;
    IF v_ids <> '{}' THEN
        PERFORM rules_internal.delete_rule_keys(v_tenant, v_ids);
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.remove_rule_keys() IS
'Trigger: deletes the access keys of the rules in transition table "removed". SECURITY
DEFINER, since no other role writes rules_internal.rule_keys.';

CREATE FUNCTION rules_internal.update_rule_keys() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_rule record;
    v_tenant uuid;
    v_ids uuid[] := '{}'::uuid[];
    v_active_ids uuid[] := '{}'::uuid[];
    v_expressions text[] := '{}'::text[];
BEGIN
    -- What changed but for names: as it was, to be deleted, and then as it is. EXCEPT
    -- has plans only that are as good for a million rows as for one.
    FOR v_rule IN
        SELECT former.tenant_id, former.id, NULL AS expression, false AS active
        FROM (
            SELECT removed.tenant_id, removed.id, removed.expression, removed.active
            FROM removed
            EXCEPT
            SELECT added.tenant_id, added.id, added.expression, added.active
            FROM added
        ) AS former
        UNION ALL
        (
            SELECT added.tenant_id, added.id, added.expression, added.active
            FROM added
            EXCEPT
            SELECT removed.tenant_id, removed.id, removed.expression, removed.active
            FROM removed
        )
    LOOP
        IF v_rule.tenant_id IS DISTINCT FROM v_tenant OR cardinality(v_ids) = 1000 THEN
            IF v_ids <> '{}' THEN
                PERFORM rules_internal.delete_rule_keys(v_tenant, v_ids);
            END IF;
            IF v_active_ids <> '{}' THEN
                PERFORM rules_internal.store_rule_keys(
                    v_tenant, v_active_ids, v_expressions
                );
            END IF;
            v_tenant := v_rule.tenant_id;
            v_ids := '{}'::uuid[];
            v_active_ids := '{}'::uuid[];
            v_expressions := '{}'::text[];
        END IF;
        v_ids := v_ids || v_rule.id;
        IF v_rule.active THEN
            v_active_ids := v_active_ids || v_rule.id;
            v_expressions := v_expressions || v_rule.expression;
        END IF;
    END LOOP;
    IF v_ids <> '{}' THEN
        PERFORM rules_internal.delete_rule_keys(v_tenant, v_ids);
    END IF;
    IF v_active_ids <> '{}' THEN
        PERFORM rules_internal.store_rule_keys(v_tenant, v_active_ids, v_expressions);
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.update_rule_keys() IS
'Trigger: renews the access keys of the rules that differ between transition tables
"removed" and "added". SECURITY DEFINER, since no other role writes
rules_internal.rule_keys.';

CREATE FUNCTION rules_internal.truncate_rule_keys() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    TRUNCATE rules_internal.rule_keys, rules_internal.rule_key_shapes;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.truncate_rule_keys() IS
'Trigger: deletes all access keys. SECURITY DEFINER, since no other role writes
rules_internal.rule_keys.';

CREATE FUNCTION rules_internal.candidate_rules(
    p_tenant_id uuid, p_operation text, p_facts jsonb[], p_subjects text[]
) RETURNS TABLE (element integer, rule_id uuid)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET enable_seqscan = off
-- Planning for the very arrays takes longer than looking up.
SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    v_asked record;
BEGIN
    v_asked := rules_internal.cel_questions(
        rules_internal.cel_runtime(),
        ARRAY(
            SELECT known.shape
            FROM rules_internal.rule_key_shapes AS known
            WHERE known.tenant_id = p_tenant_id
        ),
        p_facts
    );
    IF v_asked.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            p_operation,
            p_subjects[(v_asked.failure ->> 'element')::integer],
            v_asked.failure
        );
    END IF;
    -- OFFSET 0 has each question answered by itself, from the index that fits it.
    RETURN QUERY
    SELECT NULL::integer, key.rule_id
    FROM rules_internal.rule_keys AS key
    WHERE key.tenant_id = p_tenant_id AND key.term = 0 AND key.low IS NULL
    UNION
    SELECT asked.element, found.rule_id
    FROM unnest(v_asked.elements, v_asked.terms) AS asked (element, term)
    CROSS JOIN LATERAL (
        SELECT key.rule_id
        FROM rules_internal.rule_keys AS key
        WHERE
            key.tenant_id = p_tenant_id AND key.term = asked.term AND key.low IS NULL
        OFFSET 0
    ) AS found
    UNION
    SELECT asked.element, found.rule_id
    FROM unnest(
        v_asked.elements_above, v_asked.terms_above, v_asked.values_above
    ) AS asked (element, term, value)
    CROSS JOIN LATERAL (
        SELECT key.rule_id
        FROM rules_internal.rule_keys AS key
        WHERE
            key.tenant_id = p_tenant_id
            AND key.term = asked.term
            AND key.high >= asked.value
            AND key.low IS NOT NULL
        OFFSET 0
    ) AS found
    UNION
    SELECT asked.element, found.rule_id
    FROM unnest(
        v_asked.elements_below, v_asked.terms_below, v_asked.values_below
    ) AS asked (element, term, value)
    CROSS JOIN LATERAL (
        SELECT key.rule_id
        FROM rules_internal.rule_keys AS key
        WHERE
            key.tenant_id = p_tenant_id
            AND key.term = asked.term
            AND key.low <= asked.value
            AND key.low IS NOT NULL
        OFFSET 0
    ) AS found;
END;
$function$;

COMMENT ON FUNCTION rules_internal.candidate_rules(uuid, text, jsonb[], text[]) IS
'The rules of a tenant that may match each of the facts, none of which is NULL; all
that match are among them. The element counts from 1, and is NULL for rules that may
match any. A rule may be deleted or inactive. For an error p_operation is what failed,
and p_subjects what each element is. Raises RE030.';

REVOKE ALL ON FUNCTION
rules_internal.delete_rule_keys(uuid, uuid[]),
rules_internal.store_rule_keys(uuid, uuid[], text[]),
rules_internal.renew_rule_keys(uuid),
rules_internal.insert_rule_keys(),
rules_internal.remove_rule_keys(),
rules_internal.update_rule_keys(),
rules_internal.truncate_rule_keys(),
rules_internal.candidate_rules(uuid, text, jsonb[], text[])
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.candidate_rules(uuid, text, jsonb[], text[])
TO rules_app, rules_tenant;

CREATE TRIGGER rules_keys_insert
AFTER INSERT ON rules.rules
REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.insert_rule_keys();

CREATE TRIGGER rules_keys_update
AFTER UPDATE ON rules.rules
REFERENCING OLD TABLE AS removed NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.update_rule_keys();

CREATE TRIGGER rules_keys_delete
AFTER DELETE ON rules.rules
REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.remove_rule_keys();

CREATE TRIGGER rules_keys_truncate
AFTER TRUNCATE ON rules.rules
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.truncate_rule_keys();

-- Rules that are there already.
SELECT rules_internal.renew_rule_keys(tenant.id) FROM rules.tenants AS tenant;

COMMIT;
