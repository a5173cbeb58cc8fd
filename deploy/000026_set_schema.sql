-- Deploy pgrules:000026_set_schema to pg
-- requires: 000016_compile_rules
-- requires: 000020_rule_keys
-- requires: 000013_schema_changelog
--
-- The only ways to change the active schema. They are SECURITY DEFINER so that
-- versions and changelog cannot be written past them.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.switch_schema(
    p_tenant_id uuid, p_schema_id uuid, p_allow_broken boolean
) RETURNS rules.schema_changelog
LANGUAGE plpgsql
AS $function$
DECLARE
    v_old_version integer;
    v_new_version integer;
    v_rules jsonb;
    v_outcome record;
    v_failures jsonb;
    v_entry rules.schema_changelog;
BEGIN
    UPDATE rules.schemas AS former SET active = false
    WHERE former.tenant_id = p_tenant_id AND former.active
    RETURNING former.version INTO v_old_version;
    UPDATE rules.schemas AS next SET active = true
    WHERE next.tenant_id = p_tenant_id AND next.id = p_schema_id
    RETURNING next.version INTO v_new_version;
    PERFORM rules_internal.store_environment(p_tenant_id);
    SELECT coalesce(
        jsonb_agg(
            jsonb_build_object(
                'id', rule.id, 'name', rule.name, 'expression', rule.expression
            ) ORDER BY rule.created_at, rule.id
        ),
        '[]'
    ) INTO v_rules
    FROM rules.rules AS rule
    WHERE rule.tenant_id = p_tenant_id AND rule.active;
    v_outcome := rules_internal.cel_check_environment(
        rules_internal.cel_runtime(),
        rules_internal.environment(p_tenant_id),
        '{}',
        ARRAY(
            SELECT rule.value ->> 'expression'
            FROM jsonb_array_elements(v_rules) WITH ORDINALITY AS rule (value, position)
            ORDER BY rule.position
        )
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot set the schema', 'Version ' || v_new_version || '.', v_outcome.failure
        );
    END IF;
    SELECT coalesce(
        jsonb_agg(
            jsonb_build_object(
                'kind', 'rule',
                'id', v_rules -> (failure.position - 1) -> 'id',
                'name', v_rules -> (failure.position - 1) -> 'name',
                'message', failure.message,
                'problems', failure.problems
            ) ORDER BY failure.position
        ),
        '[]'
    ) INTO v_failures
    FROM jsonb_to_recordset(v_outcome.failures)
    AS failure ("position" integer, message text, problems jsonb);
    IF v_failures <> '[]' AND NOT coalesce(p_allow_broken, false) THEN
        RAISE EXCEPTION 'cannot set the schema: % of the rules no longer compile',
            jsonb_array_length(v_failures)
            USING ERRCODE = 'RE062',
                DETAIL = (
                    SELECT string_agg(
                        pg_catalog.format(
                            'Rule %L: %s',
                            failure.value ->> 'name',
                            failure.value ->> 'message'
                        ),
                        E'\n' ORDER BY failure.position
                    )
                    FROM jsonb_array_elements(v_failures)
                    WITH ORDINALITY AS failure (value, position)
                ),
                HINT = 'Change these rules first, or pass allow_broken => true.';
    END IF;
    PERFORM rules_internal.renew_rule_keys(p_tenant_id);
    INSERT INTO rules.schema_changelog (
        tenant_id, schema_id, old_version, new_version, compiled, failed, failures
    ) VALUES (
        p_tenant_id,
        p_schema_id,
        v_old_version,
        v_new_version,
        jsonb_array_length(v_rules) + (
            SELECT count(*) FROM rules.derived_fields AS field
            WHERE field.tenant_id = p_tenant_id
        ),
        jsonb_array_length(v_failures),
        v_failures
    ) RETURNING * INTO v_entry;
    RETURN v_entry;
END;
$function$;

COMMENT ON FUNCTION rules_internal.switch_schema(uuid, uuid, boolean) IS
'Makes a stored version the active one, compiles everything against it, renews the
access keys of the rules, and writes the changelog. The caller holds the lock of the environment.';

CREATE FUNCTION rules.set_schema(
    definition jsonb, allow_broken boolean DEFAULT false
) RETURNS rules.schema_changelog
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_failure jsonb;
    v_id uuid;
BEGIN
    IF set_schema.definition IS NULL THEN
        RAISE EXCEPTION 'cannot set the schema: the definition is NULL'
            USING ERRCODE = 'null_value_not_allowed',
                HINT = 'For example {"User": {"Age": "int"}}.';
    END IF;
    v_failure := rules_internal.cel_check_schema(
        rules_internal.cel_runtime(), set_schema.definition
    );
    IF v_failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure('cannot set the schema', NULL, v_failure);
    END IF;
    PERFORM rules_internal.lock_environment(v_tenant);
    INSERT INTO rules.schemas (tenant_id, version, definition)
    SELECT v_tenant, coalesce(max(former.version), 0) + 1, set_schema.definition
    FROM rules.schemas AS former
    WHERE former.tenant_id = v_tenant
    RETURNING id INTO v_id;
    RETURN rules_internal.switch_schema(v_tenant, v_id, set_schema.allow_broken);
END;
$function$;

COMMENT ON FUNCTION rules.set_schema(jsonb, boolean) IS
'Stores a definition as the tenant''s next version, makes it active, and compiles all
derived fields and active rules against it, all in one transaction; gives the row of
rules.schema_changelog. Raises RE060 with every violation of a bad definition, RE061
for derived fields that do not compile, RE062 for rules that do not (unless
allow_broken), 22004 for NULL, and what current_tenant_id raises.';

CREATE FUNCTION rules.activate_schema(
    version integer, allow_broken boolean DEFAULT false
) RETURNS rules.schema_changelog
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_id uuid;
BEGIN
    PERFORM rules_internal.lock_environment(v_tenant);
    SELECT stored.id INTO v_id
    FROM rules.schemas AS stored
    WHERE stored.tenant_id = v_tenant AND stored.version = activate_schema.version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'cannot activate the schema: version % not found',
            coalesce(activate_schema.version::text, 'NULL')
            USING ERRCODE = 'RE011',
                DETAIL = 'The tenant has no schema of this version.',
                HINT = 'rules.schemas lists the versions of the tenant.';
    END IF;
    RETURN rules_internal.switch_schema(v_tenant, v_id, activate_schema.allow_broken);
END;
$function$;

COMMENT ON FUNCTION rules.activate_schema(integer, boolean) IS
'Makes an earlier version the active one again, as set_schema does for a new one.
Raises RE011 for an unknown version, RE061, RE062 and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.switch_schema(uuid, uuid, boolean),
rules.set_schema(jsonb, boolean),
rules.activate_schema(integer, boolean)
FROM public;
GRANT EXECUTE ON FUNCTION
rules.set_schema(jsonb, boolean),
rules.activate_schema(integer, boolean)
TO rules_app, rules_tenant;

COMMIT;
