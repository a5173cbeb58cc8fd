"""What the sessions of the history checker say to the server, and how often."""

# ruff: noqa: S608 (built of nothing but constants)

# A question that fails answers with its SQLSTATE, except where all of it has to be
# tried again. 57014 is not among OTHERS.
SETUP = """
CREATE SEQUENCE public.history_order;
CREATE TABLE public.history_items (
    "N" bigint, "S" text, "Price" bigint, "Count" bigint
);
INSERT INTO public.history_items
SELECT n % 8, 't' || n % 7 || 'x', 1 + n % 15, 1 + n % 4
FROM generate_series(0, 59) AS n;
ANALYZE public.history_items;
CREATE FUNCTION public.history_ask(p_query text, p_rule uuid, p_facts jsonb)
RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_answer jsonb;
BEGIN
    EXECUTE p_query INTO v_answer USING p_rule, p_facts;
    RETURN v_answer;
EXCEPTION WHEN OTHERS THEN
    IF SQLSTATE LIKE '40%' THEN
        RAISE;
    END IF;
    RETURN to_jsonb(SQLSTATE);
END;
$$;
GRANT USAGE ON SEQUENCE public.history_order TO rules_app, rules_tenant, rules_admin;
GRANT SELECT ON public.history_items, public.history_order TO rules_app, rules_tenant;
"""

ROWS = """
SELECT
    pg_current_snapshot()::text,
    pg_current_xact_id_if_assigned()::text::bigint,
    (SELECT last_value FROM public.history_order),
    clock_timestamp(),
    (
        SELECT coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'id', rule.id, 'name', rule.name, 'expression', rule.expression,
                    'active', rule.active
                ) ORDER BY rule.created_at, rule.id
            ),
            '[]'
        )
        FROM rules.rules AS rule
        WHERE rule.tenant_id = rules.current_tenant_id()
    ),
    (
        SELECT jsonb_build_array(
            max(stored.version), max(stored.definition::text)::jsonb
        )
        FROM rules.schemas AS stored
        WHERE stored.tenant_id = rules.current_tenant_id() AND stored.active
    ),
    (
        SELECT coalesce(jsonb_object_agg(field.name, field.expression), '{}')
        FROM rules.derived_fields AS field
        WHERE field.tenant_id = rules.current_tenant_id()
    ),
    rules_internal.environment(rules.current_tenant_id())::jsonb
"""

QUESTIONS = {
    "evaluate_all": """
        SELECT jsonb_agg(jsonb_build_array(rule_id, rule_name, matched, error IS NULL))
        FROM rules.evaluate_all(%(facts)s::jsonb)
    """,
    "evaluate_all, matched only": """
        SELECT jsonb_agg(jsonb_build_array(rule_id, rule_name))
        FROM rules.evaluate_all(%(facts)s::jsonb, matched_only => true)
    """,
    "match_rules": """
        SELECT jsonb_agg(jsonb_build_array(rule_id, rule_name))
        FROM rules.match_rules(%(facts)s::jsonb)
    """,
    "match_rules_batch": """
        SELECT jsonb_agg(jsonb_build_array(element, rule_id, rule_name))
        FROM rules.match_rules_batch(%(batch)s::jsonb[])
    """,
    "evaluate": """
        SELECT jsonb_agg(
            jsonb_build_array(
                rule.id, result.rule_name, result.matched, result.error IS NULL
            ) ORDER BY rule.created_at, rule.id
        )
        FROM rules.rules AS rule
        CROSS JOIN LATERAL rules.evaluate(rule.id, %(facts)s::jsonb) AS result
        WHERE rule.tenant_id = rules.current_tenant_id()
    """,
    "matches": """
        SELECT jsonb_agg(
            jsonb_build_array(rule.id, rules.matches(rule.id, %(facts)s::jsonb))
            ORDER BY rule.created_at, rule.id
        )
        FROM rules.rules AS rule
        WHERE rule.tenant_id = rules.current_tenant_id()
    """,
    "evaluate_batch": """
        SELECT public.history_ask(
            'SELECT jsonb_agg(jsonb_build_array(matched, error IS NULL)) '
            'FROM rules.evaluate_batch($1, ARRAY(SELECT jsonb_array_elements($2)))',
            %(rule)s, to_jsonb(%(batch)s::jsonb[])
        )
    """,
    "evaluate_expression": """
        SELECT public.history_ask(
            'SELECT rules.evaluate_expression($$Item.Price / Item.Count > 3$$, $2)',
            %(rule)s, %(facts)s::jsonb
        )
    """,
    "count_matches": """
        SELECT public.history_ask(
            'SELECT to_jsonb(rules.count_matches('
            '$1, ''public.history_items'', object => ''Item''))',
            %(rule)s, NULL
        )
    """,
    "matching_rows": """
        SELECT public.history_ask(
            'SELECT to_jsonb(count(*)) FROM rules.matching_rows('
            '$1, NULL::public.history_items, object => ''Item'')',
            %(rule)s, NULL
        )
    """,
    "evaluate_as_of": """
        SELECT public.history_ask(
            'SELECT jsonb_build_array(rule_name, matched, error IS NULL) '
            'FROM rules.evaluate_as_of($1, $2, clock_timestamp())',
            %(rule)s, %(facts)s::jsonb
        )
    """,
}

# Drawn and asked while the row is locked.
ORDER = "nextval('public.history_order'), pg_current_xact_id()::text::bigint"
RULE = f"RETURNING id, name, expression, active, {ORDER}"
OWN = "WHERE tenant_id = rules.current_tenant_id()"

RULE_CHANGES = {
    f"""
    INSERT INTO rules.rules (tenant_id, id, name, expression, active)
    VALUES (
        rules.current_tenant_id(), %(id)s, %(name)s, %(expression)s, %(active)s
    )
    ON CONFLICT (tenant_id, id) DO UPDATE SET
        name = excluded.name, expression = excluded.expression,
        active = excluded.active
    {RULE}
    """: 6,
    f"""
    UPDATE rules.rules SET expression = %(expression)s {OWN} AND id = %(id)s {RULE}
    """: 3,
    f"UPDATE rules.rules SET name = %(name)s {OWN} AND id = %(id)s {RULE}": 1,
    f"UPDATE rules.rules SET active = NOT active {OWN} AND id = %(id)s {RULE}": 2,
    f"""
    UPDATE rules.rules SET active = %(active)s {OWN} AND id = ANY(%(ids)s) {RULE}
    """: 1,
    f"DELETE FROM rules.rules {OWN} AND id = %(id)s {RULE}": 6,
    f"""
    SELECT id, name, expression, active, {ORDER}
    FROM rules.restore_rule(%(id)s, %(version)s)
    """: 1,
}
SCHEMA_CHANGES = {
    f"""
    SELECT changed.new_version, {ORDER}
    FROM rules.set_schema(%(definition)s::jsonb, %(allow)s) AS changed
    """: 3,
    f"""
    SELECT changed.new_version, {ORDER}
    FROM rules.activate_schema(%(version)s, %(allow)s) AS changed
    """: 2,
}
# Asked afterwards: a statement that waited for another does not see what that stored.
ACTIVE_DEFINITION = f"SELECT definition FROM rules.schemas {OWN} AND active"
DERIVED_CHANGES = {
    f"""
    INSERT INTO rules.derived_fields (tenant_id, name, expression)
    VALUES (rules.current_tenant_id(), %(name)s, %(expression)s)
    ON CONFLICT (tenant_id, name) DO UPDATE SET expression = excluded.expression
    RETURNING expression, {ORDER}
    """: 3,
    f"""
    UPDATE rules.derived_fields SET expression = %(expression)s
    {OWN} AND name = %(name)s RETURNING expression, {ORDER}
    """: 2,
    f"""
    DELETE FROM rules.derived_fields {OWN} AND name = %(name)s
    RETURNING expression, {ORDER}
    """: 1,
}
DELETE_TENANT = f"DELETE FROM rules.tenants WHERE id = %s RETURNING {ORDER}"
