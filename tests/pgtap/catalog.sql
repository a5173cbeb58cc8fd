-- The rules of the design, for every object there is: a new table, function, policy or
-- view that breaks one of them fails here.
BEGIN;

SELECT plan(36);

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
SELECT is_empty(
    $$SELECT oid::regclass FROM tables WHERE owner <> 'rules_owner'::regrole$$,
    'Every table belongs to rules_owner'
);
SELECT is_empty(
    'SELECT oid::regclass FROM tables WHERE NOT (is_secured AND is_forced)',
    'REQ-SECURITY-002: every table has row-level security, enabled and forced'
);
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
    $$
        SELECT con.conrelid::regclass, con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.oid
        WHERE con.contype = 'f' AND con.confdeltype <> 'c'
    $$,
    'REQ-SCHEMA-006: every foreign key is ON DELETE CASCADE'
);
SELECT is_empty(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.oid
        WHERE attribute.atttypid IN ('timestamp'::regtype, 'timetz'::regtype)
    $$,
    'Every time is a timestamptz'
);
SELECT is_empty(
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
SELECT is_empty(
    $$
        SELECT class.oid::regclass
        FROM pg_catalog.pg_class AS class
        WHERE
            class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
            AND class.relkind = 'S'
    $$,
    'Nothing is numbered by a sequence, which tells of other tenants'
);
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE language_name NOT IN ('sql', 'plpgsql', 'plpython3u')
    $$,
    'Functions are in SQL, PL/pgSQL or PL/Python'
);
SELECT is_empty(
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
SELECT is_empty(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE has_function_privilege('public', oid, 'EXECUTE')
    $$,
    'No function is for everyone'
);
SELECT is_empty(
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
SELECT is_empty(
    $$
        SELECT oid::regprocedure FROM routines
        WHERE
            language_name = 'plpgsql'
            AND proparallel = 's'
            AND prosrc ~* '\mexception\s+when\M'
    $$,
    'No function of parallel plans has an EXCEPTION block, which fails there'
);
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
    $$SELECT oid::regprocedure FROM routines WHERE provolatile = 'i'$$,
    'Nothing is IMMUTABLE: a cached plan would keep an answer, or an error'
);
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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
SELECT is_empty(
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

SELECT * FROM finish();
ROLLBACK;
