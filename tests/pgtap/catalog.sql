-- The rules of the design, for every object there is: a new table, function, policy or
-- view that breaks one of them fails here. At the end each rule is broken, and has to
-- be found broken.
BEGIN;

SELECT plan(144);

CREATE TEMPORARY TABLE checks (description text PRIMARY KEY, query text);

CREATE FUNCTION pg_temp.holds(p_query text, p_description text) RETURNS text
LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO checks (description, query) VALUES (p_description, p_query);
    RETURN is_empty(p_query, p_description);
END;
$function$;

CREATE TEMPORARY VIEW tables AS
SELECT
    class.oid,
    class.relnamespace AS namespace,
    class.relname AS name,
    class.relowner AS owner,
    class.relrowsecurity AS is_secured,
    class.relforcerowsecurity AS is_forced
FROM pg_catalog.pg_class AS class
WHERE
    class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
    AND class.relkind IN ('r', 'p', 'f', 'm');

-- Tables that hold no tenant's rows: rules.tenants is keyed by the tenant itself.
CREATE TEMPORARY VIEW tenant_tables AS
SELECT * FROM tables
WHERE
    oid NOT IN (
        'rules.tenants'::regclass, 'rules_internal.before_deploy'::regclass
    );

CREATE TEMPORARY VIEW routines AS
SELECT
    routine.*,
    language.lanname AS language_name,
    owner.rolsuper AS owned_by_superuser
FROM pg_catalog.pg_proc AS routine
INNER JOIN pg_catalog.pg_language AS language ON routine.prolang = language.oid
INNER JOIN pg_catalog.pg_roles AS owner ON routine.proowner = owner.oid
WHERE
    routine.pronamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace);

-- Tables.
SELECT pg_temp.holds(
    $$SELECT oid::regclass FROM tables WHERE owner <> 'rules_owner'::regrole$$,
    'Every table belongs to rules_owner'
);
SELECT pg_temp.holds(
    'SELECT oid::regclass FROM tables WHERE NOT (is_secured AND is_forced)',
    'REQ-SECURITY-002: every table has row-level security, enabled and forced'
);
SELECT pg_temp.holds(
    $$
        SELECT tenant_table.oid::regclass
        FROM tenant_tables AS tenant_table
        WHERE NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS attribute
            WHERE
                attribute.attrelid = tenant_table.oid
                AND attribute.attname = 'tenant_id'
                AND attribute.atttypid = 'uuid'::regtype
                AND attribute.attnotnull
        )
    $$,
    'Every table has a tenant_id, which is a uuid and not NULL'
);
SELECT pg_temp.holds(
    $$
        SELECT con.conrelid::regclass, con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tenant_tables AS tenant_table ON con.conrelid = tenant_table.oid
        INNER JOIN pg_catalog.pg_attribute AS first
            ON con.conrelid = first.attrelid AND con.conkey[1] = first.attnum
        WHERE
            con.contype IN ('p', 'u', 'f', 'x')
            AND first.attname <> 'tenant_id'
            -- A login has one tenant at the most, and only administrators see it.
            AND con.conname <> 'tenant_logins_login_key'
    $$,
    'REQ-TENANT-001: every key and foreign key starts with the tenant'
);
SELECT pg_temp.holds(
    $$
        SELECT index.indexrelid::regclass
        FROM pg_catalog.pg_index AS index
        INNER JOIN tenant_tables AS tenant_table ON index.indrelid = tenant_table.oid
        LEFT JOIN pg_catalog.pg_attribute AS first
            ON index.indrelid = first.attrelid AND index.indkey[0] = first.attnum
        WHERE
            index.indisunique
            AND first.attname IS DISTINCT FROM 'tenant_id'
            AND index.indexrelid::regclass::text
            NOT LIKE '%tenant_logins_login_key'
    $$,
    'REQ-TENANT-001: every unique index starts with the tenant'
);
SELECT pg_temp.holds(
    $$
        SELECT con.conrelid::regclass, con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.oid
        WHERE con.contype = 'f' AND con.confdeltype <> 'c'
    $$,
    'REQ-SCHEMA-006: every foreign key is ON DELETE CASCADE'
);
SELECT pg_temp.holds(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.oid
        WHERE attribute.atttypid IN ('timestamp'::regtype, 'timetz'::regtype)
    $$,
    'Every time is a timestamptz'
);
SELECT pg_temp.holds(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.oid
        WHERE
            attribute.atttypid = 'jsonb'::regtype
            AND NOT attribute.attisdropped
            AND NOT EXISTS (
                SELECT
                FROM pg_catalog.pg_index AS index
                INNER JOIN pg_catalog.pg_class AS class ON index.indexrelid = class.oid
                INNER JOIN pg_catalog.pg_am AS method ON class.relam = method.oid
                WHERE
                    index.indrelid = attribute.attrelid
                    AND attribute.attnum = ANY (index.indkey)
                    AND method.amname = 'gin'
            )
    $$,
    'REQ-SCHEMA-008: every jsonb column has a GIN index'
);
SELECT pg_temp.holds(
    $$
        SELECT class.oid::regclass
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND class.relkind = 'S'
    $$,
    'Nothing is numbered by a sequence, which tells of other tenants'
);
SELECT pg_temp.holds(
    $$
        SELECT con.conrelid::regclass, con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.oid
        WHERE con.conname NOT LIKE tables.name || '\_%'
        UNION ALL
        SELECT index.indrelid::regclass, class.relname
        FROM pg_catalog.pg_index AS index
        INNER JOIN tables ON index.indrelid = tables.oid
        INNER JOIN pg_catalog.pg_class AS class ON index.indexrelid = class.oid
        WHERE class.relname NOT LIKE tables.name || '\_%'
    $$,
    'Constraints and indexes are named for their table'
);
SELECT pg_temp.holds(
    $$
        SELECT tables.oid::regclass
        FROM tables
        WHERE
            tables.namespace = 'rules'::regnamespace
            AND EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS attribute
                WHERE
                    attribute.attrelid = tables.oid
                    AND attribute.attname = 'updated_at'
            )
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_trigger AS trigger
                WHERE
                    trigger.tgrelid = tables.oid
                    AND trigger.tgfoid = 'rules_internal.stamp_row()'::regprocedure
                    AND trigger.tgenabled = 'O'
            )
    $$,
    'REQ-SCHEMA-010: every updated_at is kept by a trigger'
);

-- Policies.
SELECT pg_temp.holds(
    $$
        SELECT policy.polrelid::regclass, policy.polname
        FROM pg_catalog.pg_policy AS policy
        INNER JOIN tables ON policy.polrelid = tables.oid
        WHERE
            policy.polcmd <> '*'
            OR NOT policy.polpermissive
            OR array_length(policy.polroles, 1) <> 1
            OR policy.polname <> tables.name || '_' || policy.polroles[1]::regrole
            OR policy.polqual IS NULL
            OR policy.polwithcheck IS NULL
    $$,
    'A policy is of one role, for all commands, named <table>_<role>'
);
SELECT pg_temp.holds(
    $$
        SELECT policy.polrelid::regclass, policy.polname
        FROM pg_catalog.pg_policy AS policy
        INNER JOIN tables ON policy.polrelid = tables.oid
        WHERE
            policy.polroles[1]::regrole::text IN ('rules_app', 'rules_tenant')
            AND (
                pg_get_expr(policy.polqual, policy.polrelid)
                NOT IN (
                    '(tenant_id = current_tenant_id())',
                    '(tenant_id = rules.current_tenant_id())'
                )
                OR pg_get_expr(policy.polwithcheck, policy.polrelid)
                <> pg_get_expr(policy.polqual, policy.polrelid)
            )
            AND policy.polrelid <> 'rules.tenants'::regclass
    $$,
    'REQ-SECURITY-002: applications and tenants see and write by the resolver alone'
);
SELECT pg_temp.holds(
    $$
        SELECT policy.polrelid::regclass, policy.polname
        FROM pg_catalog.pg_policy AS policy
        INNER JOIN tables ON policy.polrelid = tables.oid
        WHERE
            pg_get_expr(policy.polqual, policy.polrelid) = 'true'
            AND policy.polroles[1]::regrole::text
            NOT IN ('rules_owner', 'rules_admin')
        UNION ALL
        SELECT policy.polrelid::regclass, policy.polname
        FROM pg_catalog.pg_policy AS policy
        WHERE
            policy.polroles[1] = 'rules_admin'::regrole
            AND policy.polrelid
            NOT IN (
                'rules.tenants'::regclass,
                'rules.tenant_logins'::regclass,
                'rules.tenant_audit_log'::regclass
            )
    $$,
    'REQ-TENANT-001: who sees all rows is the owner, and the administrator of tenants'
);
SELECT pg_temp.holds(
    $$
        SELECT tenant_table.oid::regclass, role.name
        FROM
            tenant_tables AS tenant_table,
            unnest(ARRAY['rules_app', 'rules_tenant']) AS role (name)
        WHERE
            has_table_privilege(role.name, tenant_table.oid, 'SELECT')
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_policy AS policy
                WHERE
                    policy.polrelid = tenant_table.oid
                    AND policy.polroles[1]::regrole::text = role.name
            )
    $$,
    'Where a role may read there is a policy for it'
);

-- Functions.
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            CASE language_name
                WHEN 'plpython3u' THEN NOT owned_by_superuser
                ELSE proowner <> 'rules_owner'::regrole
            END
    $$,
    'Functions belong to rules_owner, and those in PL/Python to a superuser'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE language_name NOT IN ('sql', 'plpgsql', 'plpython3u')
    $$,
    'Functions are in SQL, PL/pgSQL or PL/Python'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            prosecdef
            AND (
                proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
                OR language_name = 'plpython3u'
                OR owned_by_superuser
            )
    $$,
    'SECURITY DEFINER has its own search_path and no superuser''s rights'
);
SELECT set_eq(
    'SELECT proname FROM routines WHERE prosecdef',
    $$
        VALUES
        ('audit_delete'::name),
        ('audit_insert'),
        ('audit_tenant'),
        ('audit_update'),
        ('bound_tenant'),
        ('check_derived_fields'),
        ('evaluate_all'),
        ('note_commit'),
        ('insert_rule_keys'),
        ('lock_own_environment'),
        ('remove_rule_keys'),
        ('update_rule_keys'),
        ('truncate_rule_keys'),
        ('renew_all_rule_sets'),
        ('renew_own_rule_set'),
        ('renew_rule_sets'),
        ('set_schema'),
        ('share_environment'),
        ('activate_schema')
    $$,
    'SECURITY DEFINER is for what has no other way'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE has_function_privilege('public', oid, 'EXECUTE')
    $$,
    'No function is for everyone'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            pronamespace = 'rules'::regnamespace
            AND prosrc || coalesce(pg_get_function_sqlbody(oid), '')
            !~ 'rules\.(current_tenant_id|evaluate)\('
            AND proname <> 'current_tenant_id'
    $$,
    'Every function for users asks for the tenant'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            language_name = 'plpgsql'
            AND proparallel = 's'
            AND prosrc ~* '\mexception\s+when\M'
    $$,
    'No function of parallel plans has an EXCEPTION block, which fails there'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            pronamespace = 'rules'::regnamespace
            AND provolatile = 's'
            AND proparallel <> 's'
    $$,
    'What only reads may run in parallel plans'
);

-- Views.
SELECT pg_temp.holds(
    $$
        SELECT class.oid::regclass
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND class.relkind = 'v'
            AND (
                class.relowner <> 'rules_owner'::regrole
                OR EXISTS (
                    -- A view reads with its owner's rights, past the policies.
                    SELECT
                    FROM pg_catalog.pg_rewrite AS rewrite
                    INNER JOIN pg_catalog.pg_depend AS dependency
                        ON rewrite.oid = dependency.objid
                    INNER JOIN tables ON dependency.refobjid = tables.oid
                    WHERE rewrite.ev_class = class.oid
                )
            )
    $$,
    'REQ-SECURITY-002: no view reads a table of tenants'
);

-- Comments.
SELECT pg_temp.holds(
    $$
        SELECT class.oid::regclass::text
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND class.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND obj_description(class.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT routines.oid::regprocedure::text
        FROM routines
        WHERE obj_description(routines.oid, 'pg_proc') IS NULL
        UNION ALL
        SELECT class.oid::regclass::text
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace = 'rules'::regnamespace
            AND class.relkind = 'c'
            AND obj_description(class.reltype, 'pg_type') IS NULL
    $$,
    'Every table, view, type and function has a comment'
);
SELECT pg_temp.holds(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.oid
        WHERE
            tables.namespace = 'rules'::regnamespace
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
            AND col_description(attribute.attrelid, attribute.attnum) IS NULL
    $$,
    'Every column of a table for users has a comment'
);

-- Where things are, and what else they must not do.
SELECT pg_temp.holds(
    $$
        SELECT class.oid::regclass::text
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace = 'public'::regnamespace
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_depend AS dependency
                WHERE
                    dependency.objid = class.oid
                    AND dependency.deptype IN ('e', 'i', 'a')
            )
        UNION ALL
        SELECT routine.oid::regprocedure::text
        FROM pg_catalog.pg_proc AS routine
        WHERE
            routine.pronamespace = 'public'::regnamespace
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_depend AS dependency
                WHERE dependency.objid = routine.oid AND dependency.deptype = 'e'
            )
    $$,
    'Nothing is in schema public'
);
SELECT pg_temp.holds(
    $$
        SELECT con.conrelid::regclass, con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.oid
        WHERE
            con.contype = 'f'
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_index AS index
                WHERE
                    index.indrelid = con.conrelid
                    AND (index.indkey::smallint[])[0:cardinality(con.conkey) - 1]
                    @> con.conkey
            )
    $$,
    'REQ-SCHEMA-007: every foreign key has an index, by which a cascade finds its rows'
);
SELECT pg_temp.holds(
    $$
        SELECT trigger.tgrelid::regclass, trigger.tgname
        FROM pg_catalog.pg_trigger AS trigger
        INNER JOIN tables ON trigger.tgrelid = tables.oid
        WHERE
            NOT trigger.tgisinternal
            AND (
                trigger.tgname NOT LIKE tables.name || '\_%'
                OR trigger.tgenabled <> 'O'
            )
    $$,
    'Triggers are named for their table, and are on'
);
SELECT pg_temp.holds(
    $$
        SELECT trigger.tgrelid::regclass, trigger.tgname
        FROM pg_catalog.pg_trigger AS trigger
        WHERE
            trigger.tgfoid = 'rules_internal.stamp_row()'::regprocedure
            -- BEFORE UPDATE FOR EACH ROW, of any column and without a condition
            AND (
                trigger.tgtype <> 1 + 2 + 16
                OR trigger.tgattr::text <> ''
                OR trigger.tgqual IS NOT NULL
            )
    $$,
    'REQ-SCHEMA-010: whatever an update changes, it is stamped'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE proparallel = 'r' OR (proparallel = 's' AND provolatile = 'v')
        UNION ALL
        SELECT oid::regprocedure FROM routines
        WHERE
            proparallel = 's'
            AND language_name <> 'plpython3u'
            AND prosrc ~* '\m(INSERT INTO|UPDATE|DELETE FROM|PERFORM set_config)\M'
    $$,
    'What may run in parallel plans changes nothing'
);
SELECT pg_temp.holds(
    $$SELECT oid::regprocedure FROM routines WHERE provolatile = 'i'$$,
    'Nothing is IMMUTABLE: a cached plan would keep an answer, or an error'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            language_name = 'plpython3u'
            AND (
                pronamespace <> 'rules_internal'::regnamespace
                OR provolatile <> 's'
                OR proparallel <> 's'
                OR prosrc ~ 'plpy\.|import plpy'
            )
    $$,
    'PL/Python is the core''s, and has no SPI, which crashes parallel workers'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            language_name = 'plpgsql'
            AND (
                prosrc ~ '\mpg_has_role\M'
                OR (prorettype = 'trigger'::regtype AND prosrc ~ 'rules_internal\.cel_')
            )
            AND proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
    $$,
    'What decides for others than its caller has a search_path of its own'
);
SELECT pg_temp.holds(
    $$
        SELECT routines.oid::regprocedure, raised.code
        FROM routines
        CROSS JOIN LATERAL (
            SELECT (regexp_matches(routines.prosrc, '''(RE\d{3})''', 'g'))[1]
        ) AS raised (code)
        WHERE
            routines.pronamespace = 'rules'::regnamespace
            AND obj_description(routines.oid, 'pg_proc') !~ raised.code
    $$,
    'A comment names the errors that its function raises'
);
SELECT pg_temp.holds(
    $$
        SELECT nspname FROM pg_catalog.pg_namespace
        WHERE
            nspname IN ('rules', 'rules_internal')
            AND obj_description(oid, 'pg_namespace') IS NULL
        UNION ALL
        SELECT rolname FROM pg_catalog.pg_roles
        WHERE
            rolname IN ('rules_owner', 'rules_app', 'rules_tenant', 'rules_admin')
            AND shobj_description(oid, 'pg_authid') IS NULL
    $$,
    'Schemas and roles have comments'
);

-- What the planner knows and what indexes lead to.
SELECT pg_temp.holds(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.oid
        WHERE
            attribute.attnum > 0
            AND NOT attribute.attisdropped
            AND attribute.attstattarget IS DISTINCT FROM 0
        UNION ALL
        SELECT stxrelid::regclass, stxname
        FROM pg_catalog.pg_statistic_ext
        INNER JOIN tables ON stxrelid = tables.oid
    $$,
    'No column has statistics, of which EXPLAIN tells'
);
SELECT pg_temp.holds(
    $$
        SELECT index.indexrelid::regclass::text
        FROM pg_catalog.pg_index AS index
        INNER JOIN tables ON index.indrelid = tables.oid
        INNER JOIN pg_catalog.pg_class AS class ON index.indexrelid = class.oid
        INNER JOIN pg_catalog.pg_am AS method ON class.relam = method.oid
        WHERE
            tables.name NOT IN ('before_deploy')
            AND method.amname = 'btree'
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS attribute
                WHERE
                    attribute.attrelid = index.indrelid
                    AND attribute.attnum
                    = ANY ((index.indkey::smallint[])[0:index.indnkeyatts - 1])
                    AND attribute.attname
                    = CASE tables.name WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
            )
            AND class.relname <> 'tenant_logins_login_key'
        UNION ALL
        SELECT index.indexrelid::regclass::text
        FROM pg_catalog.pg_index AS index
        INNER JOIN tables ON index.indrelid = tables.oid
        INNER JOIN pg_catalog.pg_class AS class ON index.indexrelid = class.oid
        INNER JOIN pg_catalog.pg_am AS method ON class.relam = method.oid
        INNER JOIN pg_catalog.pg_opclass AS opclass
            ON opclass.oid = ANY (index.indclass)
        INNER JOIN pg_catalog.pg_amop AS member
            ON opclass.opcfamily = member.amopfamily
        INNER JOIN pg_catalog.pg_operator AS operator ON member.amopopr = operator.oid
        INNER JOIN pg_catalog.pg_proc AS routine ON operator.oprcode = routine.oid
        WHERE method.amname <> 'btree' AND routine.proleakproof
    $$,
    'An index that conditions can lead through has the tenant in it'
);

-- Tables and policies, once more.
SELECT pg_temp.holds(
    $$
        SELECT class.oid::regclass
        FROM pg_catalog.pg_class AS class
        INNER JOIN tables ON class.oid = tables.oid
        WHERE
            class.relkind <> 'r'
            OR class.relpersistence <> 'p'
            OR class.relhasrules
            OR class.oid IN (
                SELECT inhrelid FROM pg_catalog.pg_inherits
                UNION ALL
                SELECT inhparent FROM pg_catalog.pg_inherits
            )
    $$,
    'Tables are plain ones: nothing of theirs is somewhere without policies'
);
SELECT pg_temp.holds(
    $$
        SELECT con.conrelid::regclass, con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.oid
        INNER JOIN pg_catalog.pg_attribute AS first
            ON con.confrelid = first.attrelid AND con.confkey[1] = first.attnum
        WHERE
            con.contype = 'f'
            AND (
                con.confrelid NOT IN (SELECT oid FROM tables)
                OR first.attname
                <> CASE con.confrelid
                    WHEN 'rules.tenants'::regclass THEN 'id' ELSE 'tenant_id'
                END
            )
    $$,
    'REQ-TENANT-001: a foreign key leads to the same tenant'
);
SELECT pg_temp.holds(
    $$
        SELECT policy.polrelid::regclass, policy.polname
        FROM pg_catalog.pg_policy AS policy
        INNER JOIN tables ON policy.polrelid = tables.oid
        WHERE
            (
                policy.polrelid = 'rules.tenants'::regclass
                AND policy.polroles[1]::regrole::text IN ('rules_app', 'rules_tenant')
                AND (
                    pg_get_expr(policy.polqual, policy.polrelid)
                    NOT IN (
                        '(id = current_tenant_id())', '(id = rules.current_tenant_id())'
                    )
                    OR pg_get_expr(policy.polwithcheck, policy.polrelid)
                    <> pg_get_expr(policy.polqual, policy.polrelid)
                )
            )
            OR (
                policy.polroles[1]::regrole::text IN ('rules_owner', 'rules_admin')
                AND (
                    pg_get_expr(policy.polqual, policy.polrelid)
                    NOT IN ('true', '(login = SESSION_USER)')
                    OR pg_get_expr(policy.polwithcheck, policy.polrelid)
                    <> pg_get_expr(policy.polqual, policy.polrelid)
                )
            )
            OR policy.polroles[1]::regrole::text
            NOT IN ('rules_app', 'rules_tenant', 'rules_owner', 'rules_admin')
    $$,
    'No policy asks another table, and each writes what it reads'
);
SELECT pg_temp.holds(
    $$
        SELECT tables.oid::regclass, role.name, privilege.name
        FROM
            tables,
            unnest(ARRAY['public', 'rules_app', 'rules_tenant', 'rules_admin'])
            AS role (name),
            unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege (name)
        WHERE has_table_privilege(role.name, tables.oid, privilege.name)
        UNION ALL
        SELECT tables.oid::regclass, role.name, 'UPDATE (' || attribute.attname || ')'
        FROM
            tables
        INNER JOIN pg_catalog.pg_attribute AS attribute
            ON tables.oid = attribute.attrelid
        CROSS JOIN unnest(ARRAY['public', 'rules_app', 'rules_tenant']) AS role (name)
        WHERE
            attribute.attnum > 0
            AND attribute.attname IN ('tenant_id', 'id', 'created_at', 'updated_at')
            AND has_column_privilege(
                role.name, attribute.attrelid, attribute.attnum, 'UPDATE'
            )
    $$,
    'REQ-SECURITY-002: no TRUNCATE, REFERENCES, TRIGGER; no row changes its tenant'
);
SELECT pg_temp.holds(
    $$
        SELECT role.name, space.nspname::text, privilege.name
        FROM
            unnest(ARRAY['public', 'rules_app', 'rules_tenant', 'rules_admin'])
            AS role (name),
            pg_catalog.pg_namespace AS space,
            unnest(ARRAY['CREATE']) AS privilege (name)
        WHERE
            space.nspname IN ('rules', 'rules_internal', 'public')
            AND has_schema_privilege(role.name, space.oid, privilege.name)
        UNION ALL
        SELECT role.name, current_database(), privilege.name
        FROM
            unnest(ARRAY['public', 'rules_app', 'rules_tenant', 'rules_admin'])
            AS role (name),
            unnest(ARRAY['CREATE', 'TEMPORARY']) AS privilege (name)
        WHERE has_database_privilege(role.name, current_database(), privilege.name)
        UNION ALL
        SELECT defaclrole::regrole::text, defaclnamespace::regnamespace::text, 'default'
        FROM pg_catalog.pg_default_acl
    $$,
    'REQ-SECURITY-002: no role creates anything where others look, now or by default'
);
SELECT pg_temp.holds(
    $$
        SELECT role.rolname::text
        FROM pg_catalog.pg_roles AS role
        WHERE
            role.rolname IN ('rules_owner', 'rules_app', 'rules_tenant', 'rules_admin')
            AND (
                role.rolsuper
                OR role.rolbypassrls
                OR role.rolcanlogin
                OR role.rolcreaterole
                OR role.rolcreatedb
                OR role.rolreplication
                OR role.rolconfig IS NOT NULL
                OR EXISTS (
                    SELECT FROM pg_catalog.pg_auth_members AS membership
                    WHERE
                        membership.member = role.oid
                        OR (
                            role.rolname = 'rules_owner'
                            AND membership.roleid = role.oid
                        )
                )
            )
    $$,
    'REQ-SECURITY-002: the roles are groups without any power of their own'
);

-- Functions, once more.
SELECT pg_temp.holds(
    $$SELECT oid::regprocedure FROM routines WHERE proleakproof OR prokind <> 'f'$$,
    'No function says that it is LEAKPROOF, and there are none but plain functions'
);
SELECT pg_temp.holds(
    $$
        SELECT routines.oid::regprocedure, setting.text
        FROM routines
        CROSS JOIN LATERAL unnest(proconfig) AS setting (text)
        WHERE
            setting.text <> 'search_path=pg_catalog, pg_temp'
            AND split_part(setting.text, '=', 1)
            NOT IN ('enable_seqscan', 'plan_cache_mode', 'jit', 'extra_float_digits')
    $$,
    'A function sets nothing but how it plans, and a search_path that is the server''s'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            oid IN (
                'rules.current_tenant_id()'::regprocedure,
                'rules_internal.resolve_tenant(text)'::regprocedure,
                'rules_internal.bound_tenant()'::regprocedure
            )
            AND (
                provolatile <> 's'
                OR proparallel <> 's'
                OR prosrc ~* '\mEXCEPTION\s+WHEN\M'
                OR prosecdef <> (proname = 'bound_tenant')
            )
    $$,
    'The resolver is STABLE and PARALLEL SAFE, and asks as the caller'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            pronamespace = 'rules'::regnamespace
            AND language_name = 'plpgsql'
            AND coalesce(
                substring(prosrc FROM '^(.*?)rules\.(?:current_tenant_id|evaluate)\('),
                prosrc
            ) ~* '(FROM|INTO|UPDATE|JOIN)\s+rules(_internal)?\.|rules_internal\.cel_e'
    $$,
    'A function for users asks for the tenant before it reads or evaluates anything'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            prosecdef
            AND prorettype <> 'trigger'::regtype
            AND prosrc || coalesce(pg_get_function_sqlbody(oid), '')
            !~* 'rules\.current_tenant_id\(|session_user'
    $$,
    'SECURITY DEFINER asks who is there, whatever tenant it is given'
);
SELECT pg_temp.holds(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            prorettype = 'trigger'::regtype
            AND pronamespace = 'rules_internal'::regnamespace
            AND (
                has_function_privilege('rules_app', oid, 'EXECUTE')
                OR has_function_privilege('rules_tenant', oid, 'EXECUTE')
                OR has_function_privilege('rules_admin', oid, 'EXECUTE')
            )
    $$,
    'Nobody can attach our own triggers to a table of his'
);

-- Views and whatever else there is.
SELECT pg_temp.holds(
    $$
        SELECT class.oid::regclass
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND class.relkind = 'v'
            AND class.oid <> 'rules.schema_migrations'::regclass
            AND NOT coalesce(
                class.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'],
                false
            )
    $$,
    'A view reads with the rights of who asks; schema_migrations has no tenant''s rows'
);
SELECT pg_temp.holds(
    $$
        SELECT 'type ' || type.oid::regtype
        FROM pg_catalog.pg_type AS type
        WHERE
            type.typnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND (
                type.typowner <> 'rules_owner'::regrole
                OR (type.typtype <> 'c' AND type.typcategory <> 'A')
            )
        UNION ALL
        SELECT 'operator ' || operator.oid::regoperator
        FROM pg_catalog.pg_operator AS operator
        WHERE
            operator.oprnamespace
            IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
        UNION ALL
        SELECT 'cast ' || casts.oid
        FROM pg_catalog.pg_cast AS casts
        INNER JOIN routines ON casts.castfunc = routines.oid
        UNION ALL
        SELECT 'event trigger ' || evtname FROM pg_catalog.pg_event_trigger
        UNION ALL
        SELECT 'publication ' || pubname FROM pg_catalog.pg_publication
        UNION ALL
        SELECT 'setting ' || setting.text
        FROM pg_catalog.pg_db_role_setting AS stored
        CROSS JOIN LATERAL unnest(stored.setconfig) AS setting (text)
        WHERE
            stored.setdatabase = (
                SELECT oid FROM pg_catalog.pg_database
                WHERE datname = current_database()
            )
            AND setting.text NOT LIKE 'search\_path=%'
    $$,
    'There are no other types, operators, casts, event triggers, publications, settings'
);

-- Each rule, broken.
\ir shared/broken_catalog.sql

SELECT * FROM finish();
ROLLBACK;
