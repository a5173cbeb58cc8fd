-- Deploy pgrules:000035_refuse_matches to pg
-- requires: 000032_record_matches
--
-- A trigger function for tables of users: a row that a rule matches is not written.

BEGIN;

SET LOCAL ROLE rules_owner;

-- Compiling the query takes longer than most statements.
CREATE FUNCTION rules.refuse_matches() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $function$
DECLARE
    v_table constant regclass := TG_RELID;
    v_operation constant text := 'cannot write to table ' || v_table;
    v_transition record;
    v_options record;
    v_tenant uuid;
    v_subject text;
    v_rule_id uuid;
    v_rule_name text;
    v_first text;
    v_lines text[] := ARRAY[]::text[];
BEGIN
    v_transition := rules_internal.transition_tables(
        v_operation,
        'refuse_matches',
        v_table,
        TG_NAME,
        TG_WHEN || ' ' || TG_LEVEL,
        TG_OP,
        false
    );
    v_options := rules_internal.trigger_options(v_operation, v_table, TG_ARGV);
    v_tenant := rules.current_tenant_id();
    FOR v_subject, v_rule_id, v_rule_name IN EXECUTE
        rules_internal.judgement(
            v_operation,
            v_table,
            v_transition.new_rows,
            v_options.facts,
            v_options.object,
            v_options.keys,
            v_options.tenant
        ) || 'SELECT matched.subject, matched.rule_id, matched.rule_name FROM matched'
        USING v_tenant, v_operation, v_options.rules
    LOOP
        IF cardinality(v_lines) = 10 THEN
            v_lines := array_append(v_lines, 'There are more.');
            EXIT;
        END IF;
        v_first := coalesce(v_first, v_rule_name);
        v_lines := array_append(
            v_lines,
            format(
                '%s matches rule %L (%s).',
                rtrim(v_subject, '.'), v_rule_name, v_rule_id
            )
        );
    END LOOP;
    IF v_first IS NOT NULL THEN
        RAISE EXCEPTION '%: rule % refuses it', v_operation, quote_literal(v_first)
            USING ERRCODE = 'RE063',
                DETAIL = array_to_string(v_lines, E'\n'),
                HINT = 'rules.explain_rule shows why a rule matches.',
                SCHEMA = TG_TABLE_SCHEMA,
                TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules.refuse_matches() IS
'Trigger, AFTER and FOR EACH STATEMENT: refuses a statement that writes a row which an
active rule matches. Arguments are options ''facts=column'', ''object=name'',
''key=column'', ''rules=pattern'', ''tenant=column''. Raises RE063, whose DETAIL names
rows and rules; 39P01 for a trigger of another kind, 22023, 42703 and 42804 for its
arguments, RE030 for a row that is no facts, 42501 for one of another tenant, and what
current_tenant_id raises.';

REVOKE ALL ON FUNCTION rules.refuse_matches() FROM public;
GRANT EXECUTE ON FUNCTION rules.refuse_matches() TO rules_app, rules_tenant;

COMMIT;
