-- Deploy pgrules:000016_compile_rules to pg
-- requires: 000011_rules
-- requires: 000014_environments
-- requires: 000015_cel
--
-- What the core says becomes an error of SQL in one place; and a rule that does not
-- compile is refused.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.raise_failure(
    p_operation text, p_subject text, p_failure jsonb
) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_message constant text := p_operation || ': ' || (p_failure ->> 'message');
    v_detail constant text := concat_ws(
        E'\n', nullif(p_subject, ''), nullif(p_failure ->> 'detail', '')
    );
    v_hint constant text := p_failure ->> 'hint';
BEGIN
    -- After a cancelled evaluation the server raises its own error before this line.
    -- RAISE shows an empty detail or hint, so each is left out where it is empty.
    IF v_hint = '' AND v_detail = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = p_failure ->> 'sqlstate', MESSAGE = v_message;
    ELSIF v_hint = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = p_failure ->> 'sqlstate', MESSAGE = v_message, DETAIL = v_detail;
    ELSIF v_detail = '' THEN
        RAISE EXCEPTION USING
            ERRCODE = p_failure ->> 'sqlstate', MESSAGE = v_message, HINT = v_hint;
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = p_failure ->> 'sqlstate',
        MESSAGE = v_message,
        DETAIL = v_detail,
        HINT = v_hint;
END;
$function$;

COMMENT ON FUNCTION rules_internal.raise_failure(text, text, jsonb) IS
'Raises a failure of the core. p_operation is what failed, p_subject what it is about.';

CREATE FUNCTION rules_internal.compile_rule() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_outcome record;
BEGIN
    -- A rule that is switched on again is compiled again: the schema may have changed.
    IF
        TG_OP = 'UPDATE'
        AND NEW.expression = OLD.expression
        AND NEW.active <= OLD.active
    THEN
        RETURN NEW;
    END IF;
    PERFORM rules_internal.share_environment(NEW.tenant_id);
    v_outcome := rules_internal.cel_check(
        rules_internal.cel_runtime(),
        NEW.expression,
        rules_internal.environment(NEW.tenant_id)
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_failure(
            'cannot store rule ' || quote_literal(NEW.name),
            'Rule ' || NEW.id || ':',
            v_outcome.failure
        );
    END IF;
    NEW.estimated_cost := v_outcome.estimate;
    RETURN NEW;
END;
$function$;

COMMENT ON FUNCTION rules_internal.compile_rule() IS
'Trigger: refuses a rule that does not compile, and keeps what it can cost. Raises
RE020, RE021, RE050.';

REVOKE ALL ON FUNCTION
rules_internal.raise_failure(text, text, jsonb),
rules_internal.compile_rule()
FROM public;
GRANT EXECUTE ON FUNCTION rules_internal.raise_failure(text, text, jsonb)
TO rules_app, rules_tenant;

-- NULL in a column that must have a value is for the constraint to refuse.
CREATE TRIGGER rules_compile
BEFORE INSERT OR UPDATE OF expression, active ON rules.rules
FOR EACH ROW
WHEN (
    new.expression IS NOT NULL AND new.name IS NOT NULL AND new.active IS NOT NULL
)
EXECUTE FUNCTION rules_internal.compile_rule();

COMMIT;
