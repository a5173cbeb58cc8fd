-- Deploy pgrules:000033_rule_sql to pg
-- requires: 000018_evaluate
-- requires: 000029_evaluate_batch
--
-- Rules over the rows of a table: what columns are to a rule, and the SQL that it
-- becomes. The search_path is fixed: operators and functions in generated text are the
-- server's own, whoever brings others.

BEGIN;

SET LOCAL ROLE rules_owner;

-- What is built in needs no look-up.
CREATE FUNCTION rules_internal.readable_type(p_type oid) RETURNS oid
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_type record;
    v_item oid;
BEGIN
    SELECT type.typtype, type.typbasetype, type.typelem, type.typarray INTO v_type
    FROM pg_catalog.pg_type AS type
    WHERE type.oid = p_type;
    IF v_type.typtype = 'd' THEN
        RETURN rules_internal.readable_type(v_type.typbasetype);
    ELSIF v_type.typtype = 'e' THEN
        RETURN 'anyenum'::regtype;
    END IF;
    SELECT item.oid INTO v_item
    FROM pg_catalog.pg_type AS item
    WHERE item.oid = v_type.typelem AND item.typarray = p_type;
    IF NOT FOUND THEN
        RETURN p_type;
    END IF;
    v_item := rules_internal.readable_type(v_item);
    IF v_item = 'anyenum'::regtype THEN
        RETURN 'anyarray'::regtype;
    END IF;
    SELECT item.typarray INTO v_item
    FROM pg_catalog.pg_type AS item
    WHERE item.oid = v_item;
    RETURN v_item;
END;
$function$;

COMMENT ON FUNCTION rules_internal.readable_type(oid) IS
'The type that a column is read as: what a domain is over in the end, as of an array''s
elements; anyenum for an enum, anyarray for an array of an enum; any other is its own.';

CREATE FUNCTION rules_internal.exact_text(p_value anyelement) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET extra_float_digits = 1
AS $function$
BEGIN
    RETURN p_value::text;
END;
$function$;

COMMENT ON FUNCTION rules_internal.exact_text(anyelement) IS
'Text with all digits of a double, where the session''s extra_float_digits cuts them.';

-- A column is not written in a way that JSON or a session's settings could change: a
-- double travels as text, as JSON has no NaN and would make an integer of 1e300; a time
-- as UTC, an interval in seconds.
CREATE FUNCTION rules_internal.relation_columns(p_relation oid)
RETURNS TABLE (
    number smallint,
    name text,
    type text,
    base text,
    deterministic boolean,
    not_null boolean,
    declared text,
    facts text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    RETURN QUERY
    SELECT
        attribute.attnum,
        attribute.attname::text,
        pg_catalog.format_type(attribute.atttypid, attribute.atttypmod),
        pg_catalog.format_type(readable.type, NULL),
        -- Below, collations are the server's own; theirs tell all texts apart.
        attribute.attcollation < 10000
        OR EXISTS (
            SELECT FROM pg_catalog.pg_collation AS sorting
            WHERE
                sorting.oid = attribute.attcollation AND sorting.collisdeterministic
        ),
        attribute.attnotnull,
        known.declared,
        known.facts
    FROM pg_catalog.pg_attribute AS attribute
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN attribute.atttypid < 10000 THEN attribute.atttypid
                ELSE rules_internal.readable_type(attribute.atttypid)
            END AS type
    ) AS readable
    LEFT JOIN (
        VALUES
        ('int2'::regtype, 'int', '%s'),
        ('int2[]'::regtype, 'list(int)', '%s'),
        ('int4'::regtype, 'int', '%s'),
        ('int4[]'::regtype, 'list(int)', '%s'),
        ('int8'::regtype, 'int', '%s'),
        ('int8[]'::regtype, 'list(int)', '%s'),
        ('float4'::regtype, 'double', '%s::float8::text'),
        ('float4[]'::regtype, 'list(double)', '%s::float8[]::text[]'),
        ('float8'::regtype, 'double', '%s::text'),
        ('float8[]'::regtype, 'list(double)', '%s::text[]'),
        ('numeric'::regtype, 'double', '%s::text'),
        ('numeric[]'::regtype, 'list(double)', '%s::text[]'),
        ('bool'::regtype, 'bool', '%s'),
        ('bool[]'::regtype, 'list(bool)', '%s'),
        ('text'::regtype, 'string', '%s'),
        ('text[]'::regtype, 'list(string)', '%s'),
        ('varchar'::regtype, 'string', '%s'),
        ('varchar[]'::regtype, 'list(string)', '%s'),
        ('bpchar'::regtype, 'string', '%s::text'),
        ('bpchar[]'::regtype, 'list(string)', '%s::text[]'),
        ('name'::regtype, 'string', '%s::text'),
        ('name[]'::regtype, 'list(string)', '%s'),
        ('uuid'::regtype, 'string', '%s'),
        ('uuid[]'::regtype, 'list(string)', '%s'),
        ('anyenum'::regtype, 'string', '%s'),
        ('anyarray'::regtype, 'list(string)', '%s'),
        ('jsonb'::regtype, 'dyn', '%s'),
        ('jsonb[]'::regtype, 'list(dyn)', '%s'),
        ('"char"'::regtype, 'string', '%s::text'),
        (
            'timestamptz'::regtype, 'timestamp',
            '(to_jsonb(%s AT TIME ZONE ''UTC'') #>> ''{}'') || ''Z'''
        ),
        ('timestamp'::regtype, 'timestamp', '(to_jsonb(%s) #>> ''{}'') || ''Z'''),
        ('date'::regtype, 'timestamp', '(to_jsonb(%s) #>> ''{}'') || ''T00:00:00Z'''),
        (
            'interval'::regtype, 'duration',
            'CASE WHEN extract(year FROM %1$s) = 0 AND extract(month FROM %1$s) = 0 '
            'THEN extract(epoch FROM %1$s)::text || ''s'' ELSE %1$s::text END'
        ),
        ('bytea'::regtype, 'bytes', 'replace(encode(%s, ''base64''), E''\n'', '''')'),
        ('json'::regtype, 'dyn', '%s::jsonb')
    ) AS known (type, declared, facts) ON readable.type = known.type
    WHERE
        attribute.attrelid = p_relation
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped;
END;
$function$;

COMMENT ON FUNCTION rules_internal.relation_columns(oid) IS
'The columns of a relation as a rule has them: their type, its base, the type of the
language that it becomes, and a format() of the expression that gives the value to the
language; both NULL where it becomes none.';

CREATE FUNCTION rules_internal.row_facts(
    p_relation oid, p_alias text, p_columns text[], p_object text
) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_facts text;
BEGIN
    -- A function takes 100 arguments at most.
    WITH part AS (
        SELECT
            'jsonb_build_object('
            || string_agg(
                quote_literal(known.name)
                || ', '
                || CASE
                    WHEN
                        known.declared LIKE '%double%'
                        AND known.base NOT LIKE 'numeric%'
                        AND current_setting('extra_float_digits')::integer < 1
                        THEN
                            CASE known.declared
                                WHEN 'double' THEN format(
                                    'rules_internal.exact_text(%I.%I::float8)',
                                    p_alias, known.name
                                )
                                ELSE format(
                                    'rules_internal.exact_text(%I.%I::float8[])'
                                    '::text[]', p_alias, known.name
                                )
                            END
                    ELSE format(known.facts, format('%I.%I', p_alias, known.name))
                END,
                ', ' ORDER BY known.number
            )
            || ')' AS text
        FROM rules_internal.relation_columns(p_relation) AS known
        WHERE known.name = ANY(p_columns) AND known.declared IS NOT NULL
        GROUP BY known.number / 50
    )

    SELECT coalesce(string_agg(part.text, ' || '), '''{}''::jsonb') INTO v_facts
    FROM part;
    IF p_object IS NOT NULL THEN
        v_facts := format('jsonb_build_object(%L, %s)', p_object, v_facts);
    END IF;
    RETURN v_facts;
END;
$function$;

COMMENT ON FUNCTION rules_internal.row_facts(oid, text, text[], text) IS
'SQL that makes facts of some columns of a relation''s rows.';

CREATE FUNCTION rules_internal.raise_no_relation(p_operation text, p_given text)
RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    RAISE EXCEPTION '%: % has no rows', p_operation, p_given
        USING ERRCODE = 'RE071',
            HINT = 'Name a table or a view: NULL::flights, ''flights''::regclass.';
END;
$function$;

COMMENT ON FUNCTION rules_internal.raise_no_relation(text, text) IS
'Raises RE071 for what is no table, view, materialized view or foreign table.';

CREATE FUNCTION rules_internal.open_relation(
    p_operation text, p_relation oid, OUT name text, OUT alias text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    SELECT format('%I.%I', namespace.nspname, class.relname) INTO name
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_namespace AS namespace
        ON class.relnamespace = namespace.oid
    WHERE class.oid = p_relation AND class.relkind IN ('r', 'p', 'v', 'm', 'f');
    IF name IS NULL THEN
        PERFORM rules_internal.raise_no_relation(
            p_operation, p_relation::regclass::text
        );
    END IF;
    -- The server refuses who may not read it, before anything is said about it, and
    -- keeps it as it is until the end of the transaction.
    EXECUTE format('SELECT FROM %s LIMIT 0', name);
    alias := 'r';
    WHILE
        EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS attribute
            WHERE attribute.attrelid = p_relation AND attribute.attname = alias
        )
    LOOP
        alias := alias || '_';
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION rules_internal.open_relation(text, oid) IS
'The quoted name of a relation that the caller may read, locked against changes, and an
alias that none of its columns has. Raises RE071, and 42501 as the server does.';

CREATE FUNCTION rules_internal.check_facts_column(
    p_operation text, p_relation oid, p_facts_column text, p_object text
) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_column record;
BEGIN
    IF p_object IS NOT NULL THEN
        RAISE EXCEPTION '%: both facts_column and object are given', p_operation
            USING ERRCODE = 'RE072',
                HINT = 'The facts are one column, or the columns are an object.';
    END IF;
    SELECT known.base, known.type INTO v_column
    FROM rules_internal.relation_columns(p_relation) AS known
    WHERE known.name = p_facts_column;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%: % has no column %',
            p_operation, p_relation::regclass, quote_ident(p_facts_column)
            USING ERRCODE = 'RE072',
                HINT = coalesce(
                    'Its columns of type jsonb: ' || (
                        SELECT
                            string_agg(
                                quote_ident(known.name), ', ' ORDER BY known.number
                            )
                        FROM rules_internal.relation_columns(p_relation) AS known
                        WHERE known.base = 'jsonb'
                    ) || '.',
                    'It has no column of type jsonb.'
                );
    ELSIF v_column.base IS DISTINCT FROM 'jsonb' THEN
        RAISE EXCEPTION '%: the column % of % is of type %, not jsonb',
            p_operation,
            quote_ident(p_facts_column),
            p_relation::regclass,
            v_column.type
            USING ERRCODE = 'RE072',
                HINT = 'Leave facts_column out for a rule about the columns.';
    END IF;
END;
$function$;

COMMENT ON FUNCTION rules_internal.check_facts_column(text, oid, text, text) IS
'Raises RE072 for a facts_column that the relation lacks, that is no jsonb, or that is
given together with an object.';

CREATE FUNCTION rules_internal.raise_row_failure(
    p_operation text, p_rule_id uuid, p_relation oid, p_failure jsonb
) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    PERFORM rules_internal.raise_failure(
        p_operation,
        'Rule ' || p_rule_id
        || coalesce(', relation ' || p_relation::regclass::text, '') || '.',
        CASE
            WHEN p_relation IS NOT NULL AND p_failure ->> 'sqlstate' = 'RE020'
                THEN p_failure || '{"sqlstate": "RE070"}'
            ELSE p_failure
        END
    );
END;
$function$;

COMMENT ON FUNCTION rules_internal.raise_row_failure(text, uuid, oid, jsonb) IS
'Raises a failure of the core. A rule that does not compile over the columns of a
relation is RE070; without a relation the failure is as it is.';

CREATE FUNCTION rules_internal.row_query(
    p_operation text,
    p_tenant_id uuid,
    p_rule_id uuid,
    p_relation oid,
    p_facts_column text,
    p_object text,
    OUT rule_name text,
    OUT expression text,
    OUT environment text,
    OUT relation text,
    OUT alias text,
    OUT condition text,
    OUT reasons jsonb,
    OUT facts text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    v_compiled_for oid;
    v_source jsonb;
    v_columns record;
    v_outcome record;
BEGIN
    SELECT rule.name, rule.expression, document.document
    INTO rule_name, expression, environment
    FROM rules.rules AS rule
    LEFT JOIN rules_internal.environments AS document
        ON document.tenant_id = p_tenant_id
    WHERE rule.tenant_id = p_tenant_id AND rule.id = p_rule_id;
    IF NOT FOUND THEN
        PERFORM rules_internal.raise_not_found(p_operation || ' a rule', p_rule_id);
    END IF;
    p_operation := p_operation || ' rule ' || quote_literal(rule_name);
    IF p_relation IS NOT NULL THEN
        SELECT opened.name, opened.alias INTO relation, alias
        FROM rules_internal.open_relation(p_operation, p_relation) AS opened;
    END IF;
    environment := coalesce(environment, '{}');
    IF p_relation IS NULL THEN
        IF p_object IS NOT NULL THEN
            PERFORM rules_internal.raise_no_relation(p_operation, 'NULL');
        END IF;
        p_facts_column := coalesce(p_facts_column, 'facts');
    ELSIF p_facts_column IS NOT NULL THEN
        PERFORM rules_internal.check_facts_column(
            p_operation, p_relation, p_facts_column, p_object
        );
    END IF;
    IF p_facts_column IS NOT NULL THEN
        v_source := jsonb_build_object('row', alias, 'facts', p_facts_column);
    ELSE
        v_compiled_for := p_relation;
        SELECT
            jsonb_object_agg(
                known.name,
                CASE
                    WHEN known.declared IS NOT NULL THEN to_jsonb(known.declared)
                    ELSE jsonb_build_object('unreadable', known.type)
                END
            ) AS declared,
            jsonb_object_agg(
                known.name,
                jsonb_build_object(
                    'name', known.name,
                    'type', known.base,
                    'deterministic', known.deterministic,
                    'nullable', NOT known.not_null
                )
            ) FILTER (WHERE known.declared IS NOT NULL) AS source
        INTO v_columns
        FROM rules_internal.relation_columns(p_relation) AS known;
        v_source := jsonb_build_object(
            'row', alias,
            'columns', coalesce(v_columns.source, '{}'),
            'object', p_object
        );
        -- In place of the schema.
        environment := (
            jsonb_build_object('columns', coalesce(v_columns.declared, '{}'))
            || jsonb_strip_nulls(
                jsonb_build_object(
                    'object', p_object, 'derived', environment::jsonb -> 'derived'
                )
            )
        )::text;
    END IF;
    v_outcome := rules_internal.cel_sql(
        rules_internal.cel_runtime(), expression, environment, v_source
    );
    IF v_outcome.failure IS NOT NULL THEN
        PERFORM rules_internal.raise_row_failure(
            p_operation, p_rule_id, v_compiled_for, v_outcome.failure
        );
    END IF;
    condition := format(v_outcome.template, VARIADIC v_outcome.arguments);
    reasons := v_outcome.reasons;
    IF v_compiled_for IS NULL THEN
        -- What is no object is no facts. Behind the rule, it is tested of few rows.
        condition := format(
            '(%s) AND jsonb_typeof(%s) = ''object''',
            coalesce(condition, 'true'),
            concat_ws('.', quote_ident(alias), quote_ident(p_facts_column))
        );
    END IF;
    IF p_relation IS NULL OR reasons = '[]' THEN
        RETURN;
    END IF;
    IF p_facts_column IS NOT NULL THEN
        facts := format('%I.%I', alias, p_facts_column);
        RETURN;
    END IF;
    v_outcome := rules_internal.cel_reads(
        rules_internal.cel_runtime(), expression, environment
    );
    facts := rules_internal.row_facts(p_relation, alias, v_outcome.columns, p_object);
END;
$function$;

COMMENT ON FUNCTION rules_internal.row_query(text, uuid, uuid, oid, text, text) IS
'What it takes to ask a rule of the rows of a relation: a condition, which is the rule
where there are no reasons against that, and else NULL or what every row that matches
fulfils; the expression and environment of the rule, and SQL that makes the facts of a
row, for the language to decide. Raises RE010, RE070, RE071, RE072, and 42501 as the
server does.';

CREATE FUNCTION rules.rule_sql(
    rule_id uuid,
    "table" regclass DEFAULT NULL,
    facts_column name DEFAULT NULL,
    object name DEFAULT NULL
) RETURNS TABLE (
    sql text,
    exact boolean,
    line integer,
    "column" integer,
    expression text,
    reason text
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_tenant constant uuid := rules.current_tenant_id();
    v_query constant record := rules_internal.row_query(
        'cannot translate',
        v_tenant,
        rule_sql.rule_id,
        rule_sql."table",
        rule_sql.facts_column,
        rule_sql.object
    );
BEGIN
    IF v_query.reasons = '[]' THEN
        RETURN QUERY
        SELECT
            v_query.condition,
            true,
            NULL::integer,
            NULL::integer,
            NULL::text,
            NULL::text;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT
        v_query.condition,
        false,
        found.line,
        found."column",
        found.expression,
        found.reason
    FROM jsonb_to_recordset(v_query.reasons)
    AS found (line integer, "column" integer, expression text, reason text);
END;
$function$;

COMMENT ON FUNCTION rules.rule_sql(uuid, regclass, name, name) IS
'The SQL that a rule of the tenant becomes: a condition for rows of a table under the
alias r, or r_ where a column is called r; without a table, for jsonb under the name
facts. One row if it is exact, true of a row if and only if the rule is. Else a row for
each part that has no SQL, with its place and the reason; the condition is then what all
rows that match fulfil, or NULL. Raises what rules.matching_rows raises.';

REVOKE ALL ON FUNCTION
rules_internal.readable_type(oid),
rules_internal.exact_text(anyelement),
rules_internal.relation_columns(oid),
rules_internal.row_facts(oid, text, text[], text),
rules_internal.raise_no_relation(text, text),
rules_internal.open_relation(text, oid),
rules_internal.check_facts_column(text, oid, text, text),
rules_internal.raise_row_failure(text, uuid, oid, jsonb),
rules_internal.row_query(text, uuid, uuid, oid, text, text),
rules.rule_sql(uuid, regclass, name, name)
FROM public;
GRANT EXECUTE ON FUNCTION
rules_internal.readable_type(oid),
rules_internal.exact_text(anyelement),
rules_internal.relation_columns(oid),
rules_internal.row_facts(oid, text, text[], text),
rules_internal.raise_no_relation(text, text),
rules_internal.open_relation(text, oid),
rules_internal.check_facts_column(text, oid, text, text),
rules_internal.raise_row_failure(text, uuid, oid, jsonb),
rules_internal.row_query(text, uuid, uuid, oid, text, text),
rules.rule_sql(uuid, regclass, name, name)
TO rules_app, rules_tenant;

COMMIT;
