-- Deploy pgrules:000034_matching_rows to pg
-- requires: 000033_rule_sql
--
-- The rows of a table for which a rule is true: by SQL where the rule has one, else by
-- the language in batches, over the rows that pass what has SQL of the rule.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.matching_batch(
    p_rows anyarray,
    p_facts jsonb[],
    p_rule_id uuid,
    p_expression text,
    p_environment text
) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_outcome constant record := rules_internal.cel_evaluate_batch(
        rules_internal.cel_runtime(), p_expression, p_environment, p_facts
    );
BEGIN
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_row_failure(
            'cannot find matches of a rule', p_rule_id, NULL, v_outcome.failure
        );
    END IF;
    FOR v_number IN 1 .. cardinality(p_facts) LOOP
        IF v_outcome.matched[v_number] THEN
            RETURN NEXT p_rows[v_number];
        END IF;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION
rules_internal.matching_batch(anyarray, jsonb[], uuid, text, text) IS
'Those of some rows of whose facts a rule is true. Facts that cannot be are no match.';

CREATE FUNCTION rules_internal.matching_by_language(
    p_rows anyarray,
    p_query text,
    p_rule_id uuid,
    p_expression text,
    p_environment text
) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    -- Of a batch, in bytes as they are stored: many rows, but not too much of them.
    v_most constant integer := 1024 * 1024;
    v_next record;
    v_facts jsonb[] := ARRAY[]::jsonb[];
    v_count integer := 0;
    v_size integer := 0;
BEGIN
    p_rows := '{}';
    -- The form of what the query gives.
    SELECT p_rows[1] AS found, NULL::jsonb AS facts INTO v_next;
    FOR v_next IN EXECUTE p_query LOOP
        v_count := v_count + 1;
        v_size := v_size
            + pg_column_size(v_next.facts) + pg_column_size(v_next.found);
        p_rows[v_count] := v_next.found;
        v_facts[v_count] := v_next.facts;
        IF v_count = 1000 OR v_size > v_most THEN
            RETURN QUERY SELECT * FROM rules_internal.matching_batch(
                p_rows, v_facts, p_rule_id, p_expression, p_environment
            );
            p_rows := '{}';
            v_facts := ARRAY[]::jsonb[];
            v_count := 0;
            v_size := 0;
        END IF;
    END LOOP;
    RETURN QUERY SELECT * FROM rules_internal.matching_batch(
        p_rows, v_facts, p_rule_id, p_expression, p_environment
    );
END;
$function$;

COMMENT ON FUNCTION
rules_internal.matching_by_language(anyarray, text, uuid, text, text) IS
'Those rows of a query of whose facts a rule is true, in batches. The query gives found
and facts; p_rows is an array of the type of found, for its type alone.';

CREATE FUNCTION rules.matching_rows(
    rule_id uuid,
    of anyelement,
    facts_column name DEFAULT NULL,
    object name DEFAULT NULL
) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_type constant oid := pg_typeof(matching_rows.of);
    v_relation oid;
    v_query record;
BEGIN
    SELECT nullif(type.typrelid, 0) INTO v_relation
    FROM pg_catalog.pg_type AS type
    WHERE type.oid = v_type;
    IF v_relation IS NULL THEN
        PERFORM rules_internal.raise_no_relation(
            'cannot find matches of a rule', 'the type ' || format_type(v_type, NULL)
        );
    END IF;
    v_query := rules_internal.row_query(
        'cannot find matches of',
        v_tenant,
        matching_rows.rule_id,
        v_relation,
        matching_rows.facts_column,
        matching_rows.object
    );
    IF v_query.reasons = '[]' THEN
        RETURN QUERY EXECUTE format(
            'SELECT %2$I.* FROM %1$s AS %2$I WHERE ', v_query.relation, v_query.alias
        ) || v_query.condition;
        RETURN;
    END IF;
    RETURN QUERY SELECT * FROM rules_internal.matching_by_language(
        ARRAY[matching_rows.of],
        format(
            'SELECT %2$I AS found, %3$s AS facts FROM %1$s AS %2$I WHERE ',
            v_query.relation, v_query.alias, v_query.facts
        ) || coalesce(v_query.condition, 'true'),
        matching_rows.rule_id,
        v_query.expression,
        v_query.environment
    );
END;
$function$;

COMMENT ON FUNCTION rules.matching_rows(uuid, anyelement, name, name) IS
'The rows of a table or view, named by its type (NULL::flights), of which a rule of the
tenant is true. The facts are the columns under their own names, under an object''s name,
or one jsonb column. Raises RE010 for an unknown rule, RE020 for one that no longer
compiles, RE070 for one that needs what the table lacks, RE071 for what has no rows, RE072
for a facts_column that cannot be, 42501 for a table that the caller may not read, 57014
when cancelled, and what current_tenant_id raises.';

CREATE FUNCTION rules.count_matches(
    rule_id uuid,
    "table" regclass,
    facts_column name DEFAULT NULL,
    object name DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_query record;
    v_count bigint;
BEGIN
    IF count_matches."table" IS NULL THEN
        PERFORM rules_internal.raise_no_relation(
            'cannot count matches of a rule', 'NULL'
        );
    END IF;
    v_query := rules_internal.row_query(
        'cannot count matches of',
        v_tenant,
        count_matches.rule_id,
        count_matches."table",
        count_matches.facts_column,
        count_matches.object
    );
    IF v_query.reasons = '[]' THEN
        EXECUTE format(
            'SELECT count(*) FROM %1$s AS %2$I WHERE ', v_query.relation, v_query.alias
        ) || v_query.condition INTO v_count;
        RETURN v_count;
    END IF;
    SELECT count(*) INTO v_count
    FROM rules_internal.matching_by_language(
        '{}'::integer[],
        format(
            'SELECT 1 AS found, %3$s AS facts FROM %1$s AS %2$I WHERE ',
            v_query.relation, v_query.alias, v_query.facts
        ) || coalesce(v_query.condition, 'true'),
        count_matches.rule_id,
        v_query.expression,
        v_query.environment
    );
    RETURN v_count;
END;
$function$;

COMMENT ON FUNCTION rules.count_matches(uuid, regclass, name, name) IS
'How many rows of a table or view a rule matches: those that rules.matching_rows gives,
counted where they are. Raises what that raises.';

REVOKE ALL ON FUNCTION
rules_internal.matching_batch(anyarray, jsonb[], uuid, text, text),
rules_internal.matching_by_language(anyarray, text, uuid, text, text),
rules.matching_rows(uuid, anyelement, name, name),
rules.count_matches(uuid, regclass, name, name)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.matching_batch(anyarray, jsonb[], uuid, text, text),
rules_internal.matching_by_language(anyarray, text, uuid, text, text),
rules.matching_rows(uuid, anyelement, name, name),
rules.count_matches(uuid, regclass, name, name)
TO rules_app, rules_tenant;

COMMIT;
