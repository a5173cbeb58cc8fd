-- Deploy pgrules:000025_compile_derived_fields to pg
-- requires: 000016_compile_rules
-- requires: 000020_rule_keys
--
-- Derived fields are compiled when they are written, one writer of a tenant at a time:
-- each for its dependencies, then all of the tenant together with its rules. Cycles,
-- unknown names, and the removal or renaming of a field that is in use are refused.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.lock_own_environment() RETURNS trigger
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
        PERFORM rules_internal.lock_environment(rules.current_tenant_id());
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.lock_own_environment() IS
'Trigger, before derived fields are written: locks the environment of the tenant that
the session is set to before any of the rows, so that two writers do not wait for each
other. SECURITY DEFINER, since no other role changes rules.tenants. Raises 40001 as
lock_environment does, and what rules.current_tenant_id raises.';

CREATE FUNCTION rules_internal.compile_derived_field() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_outcome record;
BEGIN
    v_outcome := rules_internal.cel_dependencies(
        rules_internal.cel_runtime(), NEW.expression
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot store derived field ' || quote_literal(NEW.name),
            'Derived field ' || NEW.id || ':',
            v_outcome.failure
        );
    END IF;
    NEW.dependencies := v_outcome.dependencies;
    RETURN NEW;
END;
$function$;

COMMENT ON FUNCTION rules_internal.compile_derived_field() IS
'Trigger: finds the dependencies of a derived field. Raises RE020, RE021, RE050.';

CREATE FUNCTION rules_internal.check_derived_fields() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant uuid;
    v_removed text[];
    v_names text[];
    v_expressions text[];
    v_outcome record;
BEGIN
    FOR v_tenant IN SELECT DISTINCT changed.tenant_id FROM changed ORDER BY 1 LOOP
        PERFORM rules_internal.lock_environment(v_tenant);
        -- A tenant that is being deleted takes its rules along.
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM rules.tenants AS tenant WHERE tenant.id = v_tenant
        );
        SELECT coalesce(array_agg(former.name), '{}') INTO v_removed
        FROM jsonb_object_keys(
            coalesce(rules_internal.environment(v_tenant)::jsonb -> 'derived', '{}')
        ) AS former (name)
        WHERE NOT EXISTS (
            SELECT FROM rules.derived_fields AS field
            WHERE field.tenant_id = v_tenant AND field.name = former.name
        );
        PERFORM rules_internal.store_environment(v_tenant);
        -- In one query: a rule may be renamed or deleted meanwhile.
        SELECT
            coalesce(array_agg(rule.name ORDER BY rule.created_at, rule.id), '{}'),
            coalesce(array_agg(rule.expression ORDER BY rule.created_at, rule.id), '{}')
        INTO v_names, v_expressions
        FROM rules.rules AS rule
        WHERE rule.tenant_id = v_tenant AND rule.active;
        v_outcome := rules_internal.cel_check_environment(
            rules_internal.cel_runtime(),
            rules_internal.environment(v_tenant),
            v_removed,
            v_expressions
        );
        IF v_outcome.failure IS NOT NULL THEN
            PERFORM rules_internal.raise_failure(
                'cannot change the derived fields', NULL, v_outcome.failure
            );
        END IF;
        IF v_outcome.failures <> '[]' THEN
            RAISE EXCEPTION
                'cannot change the derived fields: % of the rules no longer compile',
                jsonb_array_length(v_outcome.failures)
                USING ERRCODE = 'RE062',
                    DETAIL = (
                        SELECT string_agg(
                            'Rule ' || quote_literal(v_names[failure.position])
                            || ': ' || failure.message, E'\n'
                            ORDER BY failure.position
                        )
                        FROM jsonb_to_recordset(v_outcome.failures)
                        AS failure ("position" integer, message text)
                    ),
                    HINT = 'Change or deactivate these rules first.';
        END IF;
        PERFORM rules_internal.renew_rule_keys(v_tenant);
    END LOOP;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules_internal.check_derived_fields() IS
'Trigger: compiles the derived fields and rules of the tenants in transition table
"changed", stores their environments and renews their access keys. SECURITY DEFINER, since no other role writes
rules_internal.environments. Raises RE061 for fields that do not compile or depend on
themselves, RE062 for rules that would no longer compile.';

REVOKE ALL ON FUNCTION
rules_internal.lock_own_environment(),
rules_internal.compile_derived_field(),
rules_internal.check_derived_fields()
FROM public;

CREATE TRIGGER derived_fields_lock
BEFORE INSERT OR UPDATE OR DELETE ON rules.derived_fields
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.lock_own_environment();

CREATE TRIGGER derived_fields_compile
BEFORE INSERT OR UPDATE OF expression ON rules.derived_fields
FOR EACH ROW
WHEN (new.expression IS NOT NULL AND new.name IS NOT NULL)
EXECUTE FUNCTION rules_internal.compile_derived_field();

CREATE TRIGGER derived_fields_check_insert
AFTER INSERT ON rules.derived_fields
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.check_derived_fields();

CREATE TRIGGER derived_fields_check_update
AFTER UPDATE ON rules.derived_fields
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.check_derived_fields();

CREATE TRIGGER derived_fields_check_delete
AFTER DELETE ON rules.derived_fields
REFERENCING OLD TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION rules_internal.check_derived_fields();

COMMIT;
