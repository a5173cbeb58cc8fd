-- Who may do what, all of it: role by object by privilege. A privilege that is given
-- but not listed here fails, and so does one that is listed but not given.
BEGIN;

SELECT plan(185);

CREATE TEMPORARY TABLE expected (grantee text, relation text, privilege text);
INSERT INTO expected
SELECT
    role.name AS grantee,
    relation.name AS relation,
    privilege.name AS privilege
FROM
    unnest(ARRAY['rules_app', 'rules_tenant']) AS role (name),
    (
        VALUES
        ('rules.tenants', ARRAY['SELECT']),
        (
            'rules.rules',
            ARRAY[
                'SELECT',
                'DELETE',
                'INSERT (tenant_id)',
                'INSERT (id)',
                'INSERT (name)',
                'INSERT (expression)',
                'INSERT (active)',
                'UPDATE (name)',
                'UPDATE (expression)',
                'UPDATE (active)'
            ]
        ),
        (
            'rules.derived_fields',
            ARRAY[
                'SELECT',
                'DELETE',
                'INSERT (tenant_id)',
                'INSERT (id)',
                'INSERT (name)',
                'INSERT (expression)',
                'UPDATE (name)',
                'UPDATE (expression)'
            ]
        ),
        ('rules.schemas', ARRAY['SELECT']),
        ('rules.schema_changelog', ARRAY['SELECT']),
        ('rules.audit_log', ARRAY['SELECT']),
        ('rules_internal.audit_commits', ARRAY['SELECT']),
        ('rules.schema_migrations', ARRAY['SELECT']),
        ('rules_internal.environments', ARRAY['SELECT']),
        ('rules_internal.rule_keys', ARRAY['SELECT']),
        ('rules_internal.rule_key_shapes', ARRAY['SELECT']),
        ('rules_internal.rule_set_tokens', ARRAY['SELECT'])
    ) AS relation (name, privileges),
    unnest(relation.privileges) AS privilege (name);
INSERT INTO expected
SELECT
    'rules_admin' AS grantee,
    relation.name AS relation,
    privilege.name AS privilege
FROM
    (
        VALUES
        (
            'rules.tenants',
            ARRAY['SELECT', 'DELETE', 'INSERT (id)', 'INSERT (name)', 'UPDATE (name)']
        ),
        (
            'rules.tenant_logins',
            ARRAY[
                'SELECT',
                'DELETE',
                'INSERT (tenant_id)',
                'INSERT (login)',
                'UPDATE (tenant_id)',
                'UPDATE (login)'
            ]
        ),
        ('rules.tenant_audit_log', ARRAY['SELECT']),
        ('rules.schema_migrations', ARRAY['SELECT'])
    ) AS relation (name, privileges),
    unnest(relation.privileges) AS privilege (name);

CREATE TEMPORARY TABLE actual AS
SELECT
    coalesce(role.rolname::text, 'PUBLIC') AS grantee,
    class.oid::regclass::text AS relation,
    acl.privilege_type || CASE WHEN acl.is_grantable THEN ' *' ELSE '' END AS privilege
FROM pg_catalog.pg_class AS class
CROSS JOIN LATERAL aclexplode(class.relacl) AS acl
LEFT JOIN pg_catalog.pg_roles AS role ON acl.grantee = role.oid
WHERE
    class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
    AND acl.grantee <> class.relowner
UNION ALL
SELECT
    coalesce(role.rolname::text, 'PUBLIC') AS grantee,
    class.oid::regclass::text AS relation,
    format('%s (%s)', acl.privilege_type, attribute.attname)
    || CASE WHEN acl.is_grantable THEN ' *' ELSE '' END AS privilege
FROM pg_catalog.pg_class AS class
INNER JOIN pg_catalog.pg_attribute AS attribute ON class.oid = attribute.attrelid
CROSS JOIN LATERAL aclexplode(attribute.attacl) AS acl
LEFT JOIN pg_catalog.pg_roles AS role ON acl.grantee = role.oid
WHERE class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace);

UPDATE expected SET relation = relation::regclass::text;

SELECT is_empty(
    'SELECT * FROM actual EXCEPT SELECT * FROM expected',
    'No role has a privilege on a table that it should not have'
);
SELECT is_empty(
    'SELECT * FROM expected EXCEPT SELECT * FROM actual',
    'Every role has the privileges that it needs'
);

-- What the matrix amounts to, as the server itself answers.
SELECT
    ok(
        NOT has_table_privilege(role.name, class.oid, privilege.name),
        format('%s has no %s on %s', role.name, privilege.name, class.oid::regclass)
    )
FROM
    unnest(ARRAY['public', 'rules_app', 'rules_tenant', 'rules_admin']) AS role (name),
    pg_catalog.pg_class AS class,
    unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege (name)
WHERE
    class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
    AND class.relkind IN ('r', 'p', 'v', 'm', 'f');

-- Functions: whoever may execute them, beside their owners.
CREATE TEMPORARY TABLE expected_calls (routine text, grantees text);
INSERT INTO expected_calls VALUES
('rules.current_tenant_id()', 'rules_admin, rules_app, rules_tenant'),
('rules_internal.resolve_tenant(text)', 'rules_admin, rules_app, rules_tenant'),
('rules_internal.bound_tenant()', 'rules_admin, rules_app, rules_tenant'),
('rules.set_tenant(uuid)', 'rules_app, rules_tenant'),
('rules.evaluate(uuid,jsonb,boolean)', 'rules_app, rules_tenant'),
('rules.match_rules_batch(jsonb[])', 'rules_app, rules_tenant'),
('rules.match_rules(jsonb)', 'rules_app, rules_tenant'),
(
    'rules_internal.candidate_rules(uuid,text,jsonb[],text[])',
    'rules_app, rules_tenant'
),
('rules_internal.rules_by_id(uuid,uuid[])', 'rules_app, rules_tenant'),
('rules_internal.match_batch(uuid,text,jsonb[],text[])', 'rules_app, rules_tenant'),
('rules.evaluate_all(jsonb,boolean)', 'rules_app, rules_tenant'),
('rules.evaluate_batch(uuid,jsonb[])', 'rules_app, rules_tenant'),
('rules.record_matches()', 'rules_app, rules_tenant'),
('rules.refuse_matches()', 'rules_app, rules_tenant'),
(
    'rules_internal.transition_tables(text,text,regclass,name,text,text,boolean)',
    'rules_app, rules_tenant'
),
('rules_internal.trigger_options(text,regclass,text[])', 'rules_app, rules_tenant'),
('rules_internal.raise_stranger(text,text)', 'rules_app, rules_tenant'),
(
    'rules_internal.judgement(text,regclass,text,text,text,text[],text)',
    'rules_app, rules_tenant'
),
('rules_internal.match_columns(text,regclass,text,text[])', 'rules_app, rules_tenant'),
('rules_internal.same_key(regclass,text[])', 'rules_app, rules_tenant'),
('rules.matches(uuid,jsonb)', 'rules_app, rules_tenant'),
('rules.evaluate_expression(text,jsonb)', 'rules_app, rules_tenant'),
('rules.check_expression(text)', 'rules_app, rules_tenant'),
('rules.set_schema(jsonb,boolean)', 'rules_app, rules_tenant'),
('rules.rule_versions(uuid)', 'rules_app, rules_tenant'),
('rules.compare_rule_versions(uuid,integer,integer)', 'rules_app, rules_tenant'),
('rules.restore_rule(uuid,integer)', 'rules_app, rules_tenant'),
('rules.evaluate_as_of(uuid,jsonb,timestamptz)', 'rules_app, rules_tenant'),
('rules_internal.history(uuid,text)', 'rules_app, rules_tenant'),
('rules_internal.rule_version(text,uuid,integer)', 'rules_app, rules_tenant'),
('rules_internal.environment_as_of(uuid,timestamptz)', 'rules_app, rules_tenant'),
('rules.activate_schema(integer,boolean)', 'rules_app, rules_tenant'),
('rules.explain_rule(uuid,jsonb)', 'rules_app, rules_tenant'),
('rules.evaluation_cost(uuid,jsonb)', 'rules_app, rules_tenant'),
('rules_internal.environment(uuid)', 'rules_app, rules_tenant'),
('rules_internal.rule_set_key(uuid)', 'rules_app, rules_tenant'),
('rules_internal.share_environment(uuid)', 'rules_app, rules_tenant'),
('rules_internal.raise_failure(text,text,jsonb)', 'rules_app, rules_tenant'),
('rules_internal.raise_not_found(text,uuid)', 'rules_app, rules_tenant'),
('rules_internal.readable_type(oid)', 'rules_app, rules_tenant'),
('rules_internal.exact_text(anyelement)', 'rules_app, rules_tenant'),
('rules_internal.relation_columns(oid)', 'rules_app, rules_tenant'),
('rules_internal.row_facts(oid,text,text[],text)', 'rules_app, rules_tenant'),
('rules_internal.raise_no_relation(text,text)', 'rules_app, rules_tenant'),
('rules_internal.open_relation(text,oid)', 'rules_app, rules_tenant'),
('rules_internal.check_facts_column(text,oid,text,text)', 'rules_app, rules_tenant'),
('rules_internal.raise_row_failure(text,uuid,oid,jsonb)', 'rules_app, rules_tenant'),
('rules_internal.row_query(text,uuid,uuid,oid,text,text)', 'rules_app, rules_tenant'),
('rules.rule_sql(uuid,regclass,name,name)', 'rules_app, rules_tenant'),
(
    'rules_internal.matching_batch(anyarray,jsonb[],uuid,text,text)',
    'rules_app, rules_tenant'
),
(
    'rules_internal.matching_by_language(anyarray,text,uuid,text,text)',
    'rules_app, rules_tenant'
),
('rules.matching_rows(uuid,anyelement,name,name)', 'rules_app, rules_tenant'),
('rules.count_matches(uuid,regclass,name,name)', 'rules_app, rules_tenant'),
('rules_internal.raise_null(text,text)', 'rules_app, rules_tenant'),
('rules_internal.check_batch(text,jsonb[])', 'rules_app, rules_tenant'),
('rules_internal.slices(jsonb[],integer)', 'rules_app, rules_tenant');

CREATE TEMPORARY TABLE actual_calls AS
SELECT
    routine.oid::regprocedure::text AS routine,
    string_agg(
        coalesce(role.rolname::text, 'PUBLIC'), ', ' ORDER BY role.rolname::text
    ) AS grantees
FROM pg_catalog.pg_proc AS routine
CROSS JOIN LATERAL aclexplode(
    coalesce(routine.proacl, acldefault('f', routine.proowner))
) AS acl
LEFT JOIN pg_catalog.pg_roles AS role ON acl.grantee = role.oid
WHERE
    routine.pronamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
    AND acl.grantee <> routine.proowner
    -- cel.sql is about these.
    AND routine.proname NOT LIKE 'cel\_%'
GROUP BY routine.oid;

UPDATE expected_calls SET routine = routine::regprocedure::text;

SELECT is_empty(
    'SELECT * FROM actual_calls EXCEPT SELECT * FROM expected_calls',
    'Nobody may call a function that he should not call'
);
SELECT is_empty(
    'SELECT * FROM expected_calls EXCEPT SELECT * FROM actual_calls',
    'Everyone may call the functions that he needs'
);
SELECT is_empty(
    $$
        SELECT routine.oid::regprocedure
        FROM pg_catalog.pg_proc AS routine
        WHERE
            routine.pronamespace
            IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND has_function_privilege('public', routine.oid, 'EXECUTE')
    $$,
    'PUBLIC may call nothing'
);

SELECT * FROM finish();
ROLLBACK;
