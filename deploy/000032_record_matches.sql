-- Deploy pgrules:000032_record_matches to pg
-- requires: 000031_match_rules_batch
--
-- A trigger function for tables of users: the active rules judge the rows of a
-- statement, and their matches are recorded. Everything runs with the rights of whoever
-- writes, and with a search_path of its own: a writer could otherwise bring a function
-- or an operator that decides something else. 000035_refuse_matches shares the helpers.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.transition_tables(
    p_operation text,
    p_function text,
    p_relation regclass,
    p_trigger name,
    p_moment text,
    p_event text,
    p_former boolean,
    OUT new_rows text,
    OUT old_rows text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_needs_new constant boolean := p_event IN ('INSERT', 'UPDATE');
    v_needs_old constant boolean := p_former AND p_event IN ('UPDATE', 'DELETE');
BEGIN
    SELECT quote_ident(trigger.tgnewtable), quote_ident(trigger.tgoldtable)
    INTO new_rows, old_rows
    FROM pg_trigger AS trigger
    WHERE trigger.tgrelid = p_relation AND trigger.tgname = p_trigger;
    IF NOT (v_needs_new OR v_needs_old) THEN
        RAISE EXCEPTION '%: trigger % fires on %',
            p_operation, quote_ident(p_trigger), p_event
            USING ERRCODE = 'trigger_protocol_violated',
                DETAIL = 'That writes no rows for rules to judge.',
                HINT = 'Create one trigger for INSERT and one for UPDATE.';
    END IF;
    IF
        p_moment <> 'AFTER STATEMENT'
        OR (v_needs_new AND new_rows IS NULL)
        OR (v_needs_old AND old_rows IS NULL)
    THEN
        RAISE EXCEPTION '%: trigger % is of another kind than is needed',
            p_operation, quote_ident(p_trigger)
            USING ERRCODE = 'trigger_protocol_violated',
                DETAIL = format(
                    'It is %s with %s.',
                    replace(p_moment, ' ', ' EACH '),
                    coalesce(
                        'transition table '
                        || concat_ws(' and ', old_rows, new_rows),
                        'no transition table'
                    )
                ),
                HINT = format(
                    'CREATE TRIGGER %I AFTER %s ON %s REFERENCING%s%s '
                    'FOR EACH STATEMENT EXECUTE FUNCTION rules.%s(...). '
                    'Each event takes a trigger of its own.',
                    p_trigger,
                    p_event,
                    p_relation,
                    CASE WHEN v_needs_old THEN ' OLD TABLE AS old_rows' END,
                    CASE WHEN v_needs_new THEN ' NEW TABLE AS new_rows' END,
                    p_function
                );
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules_internal.transition_tables(
    text, text, regclass, name, text, text, boolean
) IS
'The quoted names of a trigger''s transition tables; p_moment is TG_WHEN and TG_LEVEL,
p_former whether former rows are needed too. Raises 39P01 for a trigger that is attached
in another way than is needed.';

CREATE FUNCTION rules_internal.trigger_options(
    p_operation text,
    p_relation regclass,
    p_options text[],
    OUT facts text,
    OUT object text,
    OUT keys text[],
    OUT rules text,
    OUT tenant text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_columns text[];
    v_option text;
    v_name text;
    v_value text;
    v_again boolean;
BEGIN
    SELECT array_agg(attribute.attname) INTO v_columns
    FROM pg_attribute AS attribute
    WHERE
        attribute.attrelid = p_relation
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped;
    FOREACH v_option IN ARRAY coalesce(p_options, '{}') LOOP
        v_name := split_part(v_option, '=', 1);
        v_value := substr(v_option, length(v_name) + 2);
        v_again := CASE v_name
            WHEN 'key' THEN false
            WHEN 'facts' THEN facts IS NOT NULL
            WHEN 'object' THEN object IS NOT NULL
            WHEN 'rules' THEN rules IS NOT NULL
            WHEN 'tenant' THEN tenant IS NOT NULL
        END;
        IF v_again IS NULL OR v_again OR v_value = '' THEN
            RAISE EXCEPTION '%: % is no option, or is given twice',
                p_operation, quote_literal(v_option)
                USING ERRCODE = 'invalid_parameter_value',
                    HINT = 'Options are ''facts=column'', ''object=name'', '
                    '''rules=pattern'', ''tenant=column'', and ''key=column'' for each '
                    'column of the key.';
        END IF;
        IF v_name IN ('facts', 'key', 'tenant') AND v_value <> ALL (v_columns) THEN
            RAISE EXCEPTION '%: table % has no column %',
                p_operation, p_relation, quote_ident(v_value)
                USING ERRCODE = 'undefined_column',
                    DETAIL = format('Option %L of the trigger names it.', v_option);
        END IF;
        CASE v_name
            WHEN 'key' THEN keys := array_append(keys, v_value);
            WHEN 'facts' THEN facts := v_value;
            WHEN 'object' THEN object := v_value;
            WHEN 'rules' THEN rules := v_value;
            WHEN 'tenant' THEN tenant := v_value;
        END CASE;
    END LOOP;
    IF keys IS NULL THEN
        SELECT array_agg(attribute.attname::text ORDER BY part.position) INTO keys
        FROM pg_index AS index
        CROSS JOIN LATERAL unnest(index.indkey::smallint[])
            WITH ORDINALITY AS part (number, position)
        INNER JOIN pg_attribute AS attribute
            ON
                index.indrelid = attribute.attrelid
                AND part.number = attribute.attnum
        WHERE
            index.indrelid = p_relation
            AND index.indisprimary
            AND part.position <= index.indnkeyatts;
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules_internal.trigger_options(text, regclass, text[]) IS
'The options of a trigger, each given as ''name=value''; keys are the columns of the
primary key where none are given. Raises 22023 for what is no option, 42703 for a column
that the table lacks.';

CREATE FUNCTION rules_internal.raise_stranger(p_operation text, p_subject text)
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION '%: a row belongs to another tenant', p_operation
        USING ERRCODE = 'insufficient_privilege',
            DETAIL = concat('Row ' || p_subject || '. ')
            || 'The transaction is of tenant ' || rules.current_tenant_id() || '.',
            HINT = 'Write the rows of each tenant in a transaction of that tenant.';
END;
$function$;

COMMENT ON FUNCTION rules_internal.raise_stranger(text, text) IS
'Raises 42501 for a row of another tenant; stands where its facts would.';

CREATE FUNCTION rules_internal.judgement(
    p_operation text,
    p_relation regclass,
    p_new_rows text,
    p_facts text,
    p_object text,
    p_keys text[],
    p_tenant text
) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_type regtype;
    v_facts text := 'to_jsonb(written)';
    v_subject text := 'NULL';
    v_keys text := '';
BEGIN
    IF p_facts IS NOT NULL THEN
        SELECT attribute.atttypid::regtype INTO v_type
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = p_relation AND attribute.attname = p_facts;
        IF v_type NOT IN ('jsonb'::regtype, 'json'::regtype) THEN
            RAISE EXCEPTION '%: column % of table % is %, not jsonb',
                p_operation, quote_ident(p_facts), p_relation, v_type
                USING ERRCODE = 'datatype_mismatch',
                    HINT = 'Without ''facts=column'' the facts are the row itself.';
        END IF;
        v_facts := format('written.%I::jsonb', p_facts);
    END IF;
    IF p_object IS NOT NULL THEN
        v_facts := format('jsonb_build_object(%L, %s)', p_object, v_facts);
    END IF;
    IF p_keys IS NOT NULL THEN
        SELECT
            string_agg(
                format(', written.%I AS key%s', key.name, key.position), ''
                ORDER BY key.position
            ),
            -- Who may not read the key is not told it by an error either.
            CASE
                WHEN bool_and(has_column_privilege(p_relation, key.name, 'SELECT'))
                    THEN format(
                        '%L || concat_ws('', '', %s) || '')''',
                        '(' || string_agg(key.name, ', ' ORDER BY key.position) || ')=(',
                        string_agg(
                            format(
                                'coalesce(left(written.%I::text, 100), ''NULL'')',
                                key.name
                            ),
                            ', ' ORDER BY key.position
                        )
                    )
                ELSE 'NULL'
            END
        INTO v_keys, v_subject
        FROM unnest(p_keys) WITH ORDINALITY AS key (name, position);
    END IF;
    IF p_tenant IS NOT NULL THEN
        v_facts := format(
            'CASE WHEN written.%I IS DISTINCT FROM $1 '
            'THEN rules_internal.raise_stranger($2, %s) ELSE %s END',
            p_tenant, v_subject, v_facts
        );
    END IF;
    RETURN format(
        $query$
        WITH
        numbered AS MATERIALIZED (
            SELECT
                row_number() OVER given AS number,
                sum(pg_column_size(judged.facts)) OVER given AS size,
                judged.*
            FROM (
                SELECT %s AS facts, %s AS subject%s FROM %s AS written
            ) AS judged
            WINDOW given AS (ROWS UNBOUNDED PRECEDING)
        ),
        batch AS (
            SELECT
                array_agg(number ORDER BY number) AS numbers,
                array_agg(facts ORDER BY number) AS facts,
                array_agg(
                    'Row ' || coalesce(subject, number || ' of the statement') || '.'
                    ORDER BY number
                ) AS subjects
            FROM numbered
            WHERE facts IS NOT NULL
            GROUP BY (number - 1) / 100, size / 1000000
            ORDER BY min(number)
        ),
        matched AS MATERIALIZED (
            SELECT
                batch.numbers[matching.element] AS number,
                batch.subjects[matching.element] AS subject,
                matching.rule_id,
                matching.rule_name
            FROM batch
            CROSS JOIN LATERAL rules_internal.match_batch(
                $1, $2, batch.facts, batch.subjects
            ) AS matching
            WHERE $3 IS NULL OR matching.rule_name LIKE $3
        )
        $query$,
        v_facts, v_subject, v_keys, p_new_rows
    );
END;
$function$;

COMMENT ON FUNCTION rules_internal.judgement(
    text, regclass, text, text, text, text[], text
) IS
'The head of a query over a transition table: "numbered" has its rows with number, facts
and key1, key2 ..., "matched" their matches with number, subject, rule_id and rule_name.
Rows go to the rules in batches of at most 100 rows and some 1 MB of facts; a row whose
facts are NULL has no matches. The query''s parameters are the tenant (uuid), the
operation for errors, and a pattern of rule names or NULL. Raises 42804 for a column of
facts that is no jsonb; the query raises RE030, and 42501 for another tenant''s row.';

CREATE FUNCTION rules_internal.match_columns(
    p_operation text,
    p_relation regclass,
    p_recording text,
    p_keys text[],
    OUT recording regclass,
    OUT named boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_recording text := p_recording;
    v_parts text[];
    v_columns text[];
    v_column text;
BEGIN
    IF p_recording IS NULL OR p_recording LIKE '%=%' THEN
        RAISE EXCEPTION '%: the trigger names no table to record them in', p_operation
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Its first argument is that table''s name.';
    END IF;
    -- Never by the writer's path: a name alone is of the schema that the table is in.
    v_parts := parse_ident(p_recording);
    IF cardinality(v_parts) = 1 THEN
        SELECT format('%I.%I', space.nspname, v_parts[1]) INTO v_recording
        FROM pg_class AS class
        INNER JOIN pg_namespace AS space ON class.relnamespace = space.oid
        WHERE class.oid = p_relation;
    END IF;
    recording := to_regclass(v_recording);
    IF recording IS NULL THEN
        RAISE EXCEPTION '%: there is no table %', p_operation, v_recording
            USING ERRCODE = 'undefined_table',
                HINT = 'A name without a schema is looked for in that of the table.';
    END IF;
    IF recording = p_relation THEN
        RAISE EXCEPTION '%: it cannot record its own', p_operation
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Record them in a table that is there for them.';
    END IF;
    IF p_keys IS NULL THEN
        RAISE EXCEPTION '%: it has no primary key', p_operation
            USING ERRCODE = 'invalid_parameter_value',
                HINT = 'Name the columns that identify a row: ''key=column'' for each.';
    END IF;
    SELECT array_agg(attribute.attname) INTO v_columns
    FROM pg_attribute AS attribute
    WHERE
        attribute.attrelid = recording
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped;
    FOREACH v_column IN ARRAY p_keys || ARRAY['rule_id'] LOOP
        IF v_column <> ALL (v_columns) THEN
            RAISE EXCEPTION '%: table % has no column %',
                p_operation, recording, quote_ident(v_column)
                USING ERRCODE = 'undefined_column',
                    HINT = 'It needs the columns of the key, and rule_id uuid.';
        END IF;
    END LOOP;
    named := 'rule_name' = ANY (v_columns);
END;
$function$;

COMMENT ON FUNCTION rules_internal.match_columns(text, regclass, text, text[]) IS
'The table that matches are recorded in, and whether it has a rule_name. Raises 42P01,
42703 and 22023 for what cannot record the matches.';

CREATE FUNCTION rules_internal.same_key(p_relation regclass, p_keys text[]) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
    -- A type of an extension has its operator = in a schema that is not in the path.
    SELECT string_agg(
        format(
            CASE
                WHEN attribute.attnotnull THEN 'former.%1$I %2$s gone.%1$I'
                ELSE '(former.%1$I %2$s gone.%1$I '
                    'OR former.%1$I IS NULL AND gone.%1$I IS NULL)'
            END,
            key.name,
            coalesce(
                (
                    SELECT format('OPERATOR(%I.%s)', space.nspname, operator.oprname)
                    FROM pg_opclass AS class
                    INNER JOIN pg_am AS method ON class.opcmethod = method.oid
                    INNER JOIN pg_amop AS member
                        ON
                            class.opcfamily = member.amopfamily
                            AND class.opcintype = member.amoplefttype
                            AND class.opcintype = member.amoprighttype
                            AND member.amopstrategy = 3
                    INNER JOIN pg_operator AS operator
                        ON member.amopopr = operator.oid
                    INNER JOIN pg_namespace AS space
                        ON operator.oprnamespace = space.oid
                    WHERE
                        class.opcintype = attribute.atttypid
                        AND class.opcdefault
                        AND method.amname = 'btree'
                ),
                'OPERATOR(pg_catalog.=)'
            )
        ),
        ' AND ' ORDER BY key.position
    )
    FROM unnest(p_keys) WITH ORDINALITY AS key (name, position)
    INNER JOIN pg_attribute AS attribute
        ON attribute.attrelid = p_relation AND key.name = attribute.attname;
$function$;

COMMENT ON FUNCTION rules_internal.same_key(regclass, text[]) IS
'The condition that row "former" of a table of matches is of row "gone".';

-- Compiling the query takes longer than most statements.
CREATE FUNCTION rules.record_matches() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $function$
DECLARE
    v_table constant regclass := TG_RELID;
    v_operation constant text := 'cannot record the matches of table ' || v_table;
    v_transition record;
    v_options record;
    v_target record;
    v_tenant uuid;
BEGIN
    v_transition := rules_internal.transition_tables(
        v_operation,
        'record_matches',
        v_table,
        TG_NAME,
        TG_WHEN || ' ' || TG_LEVEL,
        TG_OP,
        true
    );
    v_options := rules_internal.trigger_options(v_operation, v_table, TG_ARGV[1:]);
    v_target := rules_internal.match_columns(
        v_operation, v_table, TG_ARGV[0], v_options.keys
    );
    v_tenant := rules.current_tenant_id();
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format(
            'DELETE FROM %s AS former USING %s AS gone WHERE %s',
            v_target.recording,
            v_transition.old_rows,
            rules_internal.same_key(v_table, v_options.keys)
        );
    END IF;
    IF TG_OP <> 'DELETE' THEN
        EXECUTE format(
            '%s INSERT INTO %s (%s, rule_id%s) '
            'SELECT %s, matched.rule_id%s FROM matched '
            'INNER JOIN numbered ON matched.number = numbered.number',
            rules_internal.judgement(
                v_operation,
                v_table,
                v_transition.new_rows,
                v_options.facts,
                v_options.object,
                v_options.keys,
                v_options.tenant
            ),
            v_target.recording,
            (
                SELECT string_agg(quote_ident(key.name), ', ' ORDER BY key.position)
                FROM unnest(v_options.keys) WITH ORDINALITY AS key (name, position)
            ),
            CASE WHEN v_target.named THEN ', rule_name' END,
            (
                SELECT string_agg('numbered.key' || number, ', ' ORDER BY number)
                FROM generate_series(1, cardinality(v_options.keys)) AS number
            ),
            CASE WHEN v_target.named THEN ', matched.rule_name' END
        ) USING v_tenant, v_operation, v_options.rules;
    END IF;
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION rules.record_matches() IS
'Trigger, AFTER and FOR EACH STATEMENT: records which active rules match the rows that a
statement writes, in the table that the first argument names, as the columns of the
row''s key, rule_id, and rule_name where it is there; matches of former rows are removed.
Further arguments are options ''facts=column'', ''object=name'', ''key=column'',
''rules=pattern'', ''tenant=column''. Raises 39P01 for a trigger of another kind, 22023,
42P01, 42703 and 42804 for its arguments, RE030 for a row that is no facts, 42501 for
one of another tenant, what the tables raise, and what current_tenant_id raises.';

REVOKE ALL ON FUNCTION
rules_internal.transition_tables(text, text, regclass, name, text, text, boolean),
rules_internal.trigger_options(text, regclass, text[]),
rules_internal.raise_stranger(text, text),
rules_internal.judgement(text, regclass, text, text, text, text[], text),
rules_internal.match_columns(text, regclass, text, text[]),
rules_internal.same_key(regclass, text[]),
rules.record_matches()
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.transition_tables(text, text, regclass, name, text, text, boolean),
rules_internal.trigger_options(text, regclass, text[]),
rules_internal.raise_stranger(text, text),
rules_internal.judgement(text, regclass, text, text, text, text[], text),
rules_internal.match_columns(text, regclass, text, text[]),
rules_internal.same_key(regclass, text[]),
rules.record_matches()
TO rules_app, rules_tenant;

COMMIT;
