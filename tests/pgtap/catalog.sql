-- The rules that every object keeps, those that are added later included. A query
-- gives the objects that break the rule; what is excepted is named in it.
BEGIN;

SELECT plan(29);

-- Names of pgrules' own objects are then written with their schema.
SET LOCAL search_path = public;

-- ------------------------------------------------------------------------ schemas

SELECT is_empty(
    $$
        SELECT class.oid::regclass::text
        FROM pg_catalog.pg_class AS class
        WHERE class.relnamespace = 'public'::regnamespace
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS depend
            WHERE depend.objid = class.oid AND depend.deptype IN ('e', 'i', 'a')
        )
        UNION ALL
        SELECT routine.oid::regprocedure::text
        FROM pg_catalog.pg_proc AS routine
        WHERE routine.pronamespace = 'public'::regnamespace
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS depend
            WHERE depend.objid = routine.oid AND depend.deptype = 'e'
        )
        UNION ALL
        SELECT class.oid::regclass::text
        FROM pg_catalog.pg_class AS class
        WHERE class.relowner = 'rules_owner'::regrole
        AND class.relnamespace NOT IN (
            'rules'::regnamespace, 'rules_internal'::regnamespace,
            'pg_toast'::regnamespace
        )
    $$,
    'Objects are in schemas rules and rules_internal, none in public'
);

SELECT is_empty(
    $$
        SELECT class.oid::regclass, class.relkind
        FROM pg_catalog.pg_class AS class
        WHERE class.relnamespace IN (
            'rules'::regnamespace, 'rules_internal'::regnamespace
        ) AND (
            class.relowner <> 'rules_owner'::regrole
            -- Sequences number the rows of all tenants; other kinds have no policies.
            OR class.relkind NOT IN ('r', 'v', 'i', 'c')
            OR class.relpersistence <> 'p'
        )
    $$,
    'Relations are tables, views, indexes or types, logged, and of rules_owner'
);

-- ------------------------------------------------------------------------- tables

CREATE TEMPORARY VIEW tables AS
SELECT class.oid::regclass AS id, class.relname, class.relrowsecurity
    AND class.relforcerowsecurity AS is_forced
FROM pg_catalog.pg_class AS class
WHERE class.relnamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
AND class.relkind IN ('r', 'p')
-- It belongs to no tenant and is read by superusers only.
AND class.oid <> 'rules_internal.before_deploy'::regclass;

SELECT is_empty(
    'SELECT id FROM tables WHERE NOT is_forced',
    'REQ-SECURITY-002: every table has row-level security, for its owner too'
);

SELECT is_empty(
    $$
        SELECT id FROM tables
        WHERE id <> 'rules.tenants'::regclass
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS attribute
            WHERE attribute.attrelid = tables.id
            AND attribute.attname = 'tenant_id'
            AND attribute.atttypid = 'uuid'::regtype
            AND attribute.attnotnull
        )
    $$,
    'REQ-TENANT-001: every table says whose its rows are: tenant_id uuid NOT NULL'
);

SELECT is_empty(
    $$
        SELECT index.indexrelid::regclass
        FROM pg_catalog.pg_index AS index
        INNER JOIN tables ON index.indrelid = tables.id
        INNER JOIN pg_catalog.pg_attribute AS first
            ON index.indrelid = first.attrelid AND index.indkey[0] = first.attnum
        WHERE (index.indisunique OR index.indisprimary OR index.indisexclusion)
        AND first.attname <> 'tenant_id'
        AND index.indexrelid NOT IN (
            'rules.tenants_pkey'::regclass,
            -- Only administrators write there.
            'rules.tenant_logins_login_key'::regclass
        )
    $$,
    'Every unique key starts with the tenant: a violation tells nobody of others'
);

SELECT is_empty(
    $$
        SELECT con.conname
        FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.id
        INNER JOIN pg_catalog.pg_attribute AS source
            ON con.conrelid = source.attrelid AND con.conkey[1] = source.attnum
        INNER JOIN pg_catalog.pg_attribute AS target
            ON con.confrelid = target.attrelid AND con.confkey[1] = target.attnum
        WHERE con.contype = 'f' AND (
            source.attname <> 'tenant_id'
            OR target.attname <> CASE
                WHEN con.confrelid = 'rules.tenants'::regclass THEN 'id'
                ELSE 'tenant_id'
            END
            OR con.confdeltype <> 'c'
        )
    $$,
    'REQ-SCHEMA-006: foreign keys start with the tenant and are ON DELETE CASCADE'
);

SELECT is_empty(
    $$
        SELECT con.conname FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.id
        WHERE con.contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_index AS index
            WHERE index.indrelid = con.conrelid
            AND (index.indkey::smallint[])[0:cardinality(con.conkey) - 1]
            OPERATOR(pg_catalog.@>) con.conkey
        )
    $$,
    'REQ-SCHEMA-007: every foreign key has an index, so that a cascade finds its rows'
);

SELECT is_empty(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.id
        WHERE attribute.attnum > 0 AND (
            attribute.atttypid IN ('timestamp'::regtype, 'date'::regtype)
            OR attribute.attidentity <> ''
            OR EXISTS (
                SELECT FROM pg_catalog.pg_attrdef AS def
                WHERE def.adrelid = attribute.attrelid
                AND def.adnum = attribute.attnum
                AND pg_catalog.pg_get_expr(def.adbin, def.adrelid) ~ 'nextval'
            )
        )
    $$,
    'Times are timestamptz, and no column is numbered by a sequence'
);

SELECT is_empty(
    $$
        SELECT con.conname FROM pg_catalog.pg_constraint AS con
        INNER JOIN tables ON con.conrelid = tables.id
        WHERE NOT starts_with(con.conname, tables.relname || '_')
        UNION ALL
        SELECT class.relname FROM pg_catalog.pg_index AS index
        INNER JOIN tables ON index.indrelid = tables.id
        INNER JOIN pg_catalog.pg_class AS class ON index.indexrelid = class.oid
        WHERE NOT starts_with(class.relname, tables.relname || '_')
        UNION ALL
        SELECT trigger.tgname FROM pg_catalog.pg_trigger AS trigger
        INNER JOIN tables ON trigger.tgrelid = tables.id
        WHERE NOT trigger.tgisinternal
        AND NOT starts_with(trigger.tgname, tables.relname || '_')
    $$,
    'Constraints, indexes and triggers are named for their table'
);

SELECT is_empty(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.id
        WHERE attribute.atttypid = 'jsonb'::regtype
        AND attribute.attnum > 0
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_index AS index
            INNER JOIN pg_catalog.pg_class AS class ON index.indexrelid = class.oid
            INNER JOIN pg_catalog.pg_am AS method ON class.relam = method.oid
            WHERE index.indrelid = attribute.attrelid
            AND index.indkey[0] = attribute.attnum
            AND method.amname = 'gin'
        )
    $$,
    'REQ-SCHEMA-008: every jsonb column has a GIN index'
);

SELECT is_empty(
    $$
        SELECT attribute.attrelid::regclass
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.id
        WHERE attribute.attname = 'updated_at'
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_trigger AS trigger
            WHERE trigger.tgrelid = attribute.attrelid
            AND trigger.tgfoid = 'rules_internal.stamp_row'::regproc
            AND trigger.tgenabled = 'O'
            -- BEFORE, UPDATE, FOR EACH ROW, whatever is updated
            AND trigger.tgtype = 1 + 2 + 16
            AND trigger.tgattr::text = ''
            AND trigger.tgqual IS NULL
        )
    $$,
    'REQ-SCHEMA-010: a trigger keeps every updated_at'
);

-- ----------------------------------------------------------------------- policies

SELECT is_empty(
    $$
        SELECT policy.tablename, policy.policyname
        FROM pg_catalog.pg_policies AS policy
        WHERE policy.schemaname IN ('rules', 'rules_internal') AND NOT (
            policy.permissive = 'PERMISSIVE'
            AND policy.cmd = 'ALL'
            AND cardinality(policy.roles) = 1
            AND policy.policyname = policy.tablename || '_' || policy.roles[1]
            AND policy.qual = policy.with_check
        )
    $$,
    'A policy is for one role, all commands, what is read and what is written alike'
);

SELECT is_empty(
    $$
        SELECT policy.policyname, policy.qual
        FROM pg_catalog.pg_policies AS policy
        WHERE policy.schemaname IN ('rules', 'rules_internal') AND NOT CASE
            WHEN policy.roles[1] IN ('rules_app', 'rules_tenant')
                THEN policy.qual = format(
                    '(%s = rules.current_tenant_id())',
                    CASE policy.tablename WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
                )
            -- The resolver reads it, and so cannot be asked by its policy.
            WHEN policy.policyname = 'tenant_logins_rules_owner'
                THEN policy.qual = '(login = SESSION_USER)'
            ELSE policy.roles[1] IN ('rules_admin', 'rules_owner')
                AND policy.qual = 'true'
        END
    $$,
    'REQ-TENANT-002: rules_app and rules_tenant pass by the resolver and nothing else'
);

SELECT is_empty(
    $$
        SELECT policy.policyname FROM pg_catalog.pg_policies AS policy
        WHERE policy.schemaname IN ('rules', 'rules_internal')
        AND policy.roles = '{rules_admin}'
        AND policy.tablename NOT IN ('tenants', 'tenant_logins')
    $$,
    'rules_admin manages tenants and logins, and reads no rules'
);

SELECT is_empty(
    $$
        SELECT tables.id, acl.grantee::regrole
        FROM tables
        INNER JOIN pg_catalog.pg_class AS class ON tables.id = class.oid
        CROSS JOIN LATERAL aclexplode(class.relacl) AS acl
        WHERE acl.grantee <> class.relowner
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_policy AS policy
            WHERE policy.polrelid = tables.id AND acl.grantee = ANY(policy.polroles)
        )
    $$,
    'Whoever has a privilege on a table has a policy there'
);

-- --------------------------------------------------------------------- privileges

SELECT is_empty(
    $$
        SELECT class.oid::regclass, acl.grantee::regrole, acl.privilege_type
        FROM pg_catalog.pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS acl
        WHERE class.relnamespace IN (
            'rules'::regnamespace, 'rules_internal'::regnamespace
        ) AND acl.grantee <> class.relowner AND (
            acl.privilege_type NOT IN ('SELECT', 'DELETE')
            OR acl.is_grantable
            OR acl.grantee NOT IN (
                'rules_app'::regrole, 'rules_tenant'::regrole, 'rules_admin'::regrole
            )
        )
        UNION ALL
        SELECT class.oid::regclass, acl.grantee::regrole, acl.privilege_type
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN pg_catalog.pg_class AS class ON attribute.attrelid = class.oid
        CROSS JOIN LATERAL aclexplode(attribute.attacl) AS acl
        WHERE class.relnamespace IN (
            'rules'::regnamespace, 'rules_internal'::regnamespace
        ) AND (acl.privilege_type NOT IN ('INSERT', 'UPDATE') OR acl.is_grantable)
    $$,
    'No TRUNCATE, REFERENCES or TRIGGER; writing is given by column; nothing to PUBLIC'
);

SELECT is_empty(
    $$
        SELECT attribute.attrelid::regclass, attribute.attname
        FROM pg_catalog.pg_attribute AS attribute
        INNER JOIN tables ON attribute.attrelid = tables.id
        CROSS JOIN LATERAL aclexplode(attribute.attacl) AS acl
        WHERE attribute.attname IN (
            'created_at', 'updated_at', 'changed_at', 'changed_by', 'dependencies'
        )
        OR (
            acl.privilege_type = 'UPDATE'
            AND attribute.attname IN ('id', 'tenant_id')
            AND attribute.attrelid <> 'rules.tenant_logins'::regclass
        )
    $$,
    'STORE-5: nobody writes the times, nor moves a row to another id or tenant'
);

-- ---------------------------------------------------------------------- functions

CREATE TEMPORARY VIEW functions AS
SELECT
    routine.oid::regprocedure AS id, routine.pronamespace::regnamespace AS schema,
    routine.provolatile AS volatility, routine.proparallel AS parallel,
    routine.prosecdef AS is_definer, routine.proconfig AS settings,
    routine.prosrc AS source, routine.proacl AS acl, routine.proowner AS owner,
    routine.prorettype::regtype AS result, language.lanname AS language
FROM pg_catalog.pg_proc AS routine
INNER JOIN pg_catalog.pg_language AS language ON routine.prolang = language.oid
WHERE routine.pronamespace IN (
    'rules'::regnamespace, 'rules_internal'::regnamespace
);

SELECT is_empty(
    $$
        SELECT functions.id, acl.grantee::regrole
        FROM functions
        CROSS JOIN LATERAL aclexplode(
            coalesce(functions.acl, acldefault('f', functions.owner))
        ) AS acl
        WHERE acl.grantee <> functions.owner AND (
            acl.is_grantable
            OR acl.grantee NOT IN (
                'rules_app'::regrole, 'rules_tenant'::regrole, 'rules_admin'::regrole,
                -- Which calls the core, whose owner is a superuser.
                'rules_owner'::regrole
            )
        )
    $$,
    'No function is for everybody'
);

SELECT is_empty(
    $$
        SELECT id, settings FROM functions
        WHERE is_definer
        AND settings IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
    $$,
    'A SECURITY DEFINER function has a search_path of its own'
);

SELECT set_eq(
    'SELECT id::text FROM functions WHERE is_definer',
    ARRAY[
        'rules_internal.bound_tenant()',
        'rules_internal.check_derived_fields()',
        'rules.activate_schema(integer,boolean)',
        'rules.set_schema(jsonb,boolean)'
    ],
    'SECURITY DEFINER is the exception, and these are all'
);

SELECT is_empty(
    $$
        SELECT functions.id, functions.owner::regrole
        FROM functions
        INNER JOIN pg_catalog.pg_roles AS owner ON functions.owner = owner.oid
        WHERE CASE
            -- Its owner could turn it into SECURITY DEFINER.
            WHEN functions.language = 'plpython3u' THEN NOT owner.rolsuper
            ELSE owner.rolname <> 'rules_owner'
        END OR functions.language NOT IN ('sql', 'plpgsql', 'plpython3u')
    $$,
    'Functions are of rules_owner, those in PL/Python of a superuser'
);

SELECT is_empty(
    $$
        SELECT id FROM functions
        WHERE language = 'plpython3u'
        AND (schema <> 'rules_internal'::regnamespace OR volatility <> 's'
        OR parallel <> 's' OR source ~ 'plpy\s*\.' OR source ~ 'import\s+plpy')
    $$,
    'PL/Python is the core''s: STABLE, PARALLEL SAFE, without SPI'
);

SELECT is_empty(
    $$
        SELECT id FROM functions
        WHERE parallel = 'r' OR (
            parallel = 's' AND (
                volatility = 'v'
                OR language <> 'plpython3u'
                AND source ~* '\m(EXCEPTION\s+WHEN|INSERT INTO|UPDATE|DELETE FROM)\M'
            )
        )
    $$,
    'What may run in parallel workers neither writes nor catches errors'
);

SELECT is_empty(
    $$
        SELECT id FROM functions
        WHERE volatility = 'i'
    $$,
    'Nothing is IMMUTABLE: a cached plan would keep one tenant''s answer'
);

SELECT is_empty(
    $$
        SELECT id, volatility, parallel FROM functions
        WHERE schema = 'rules'::regnamespace
        AND (volatility, parallel) IS DISTINCT FROM ('s', 's')
        AND id::text NOT IN (
            'rules.set_tenant(uuid)',
            'rules.set_schema(jsonb,boolean)',
            'rules.activate_schema(integer,boolean)'
        )
    $$,
    'What only reads is STABLE and PARALLEL SAFE'
);

-- ----------------------------------------------------------------------- comments

SELECT is_empty(
    $$
        SELECT id::text FROM functions WHERE obj_description(id, 'pg_proc') IS NULL
        UNION ALL
        SELECT class.oid::regclass::text FROM pg_catalog.pg_class AS class
        WHERE class.relnamespace IN (
            'rules'::regnamespace, 'rules_internal'::regnamespace
        ) AND class.relkind IN ('r', 'v')
        AND obj_description(class.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT type.oid::regtype::text FROM pg_catalog.pg_type AS type
        INNER JOIN pg_catalog.pg_class AS class ON type.typrelid = class.oid
        WHERE type.typnamespace = 'rules'::regnamespace AND class.relkind = 'c'
        AND obj_description(type.oid, 'pg_type') IS NULL
        UNION ALL
        SELECT nspname FROM pg_catalog.pg_namespace
        WHERE nspname LIKE 'rules%' AND obj_description(oid, 'pg_namespace') IS NULL
        UNION ALL
        SELECT rolname FROM pg_catalog.pg_roles
        WHERE rolname IN ('rules_owner', 'rules_app', 'rules_tenant', 'rules_admin')
        AND shobj_description(oid, 'pg_authid') IS NULL
    $$,
    'Every object has a comment'
);

SELECT is_empty(
    $$
        SELECT id, code FROM functions
        CROSS JOIN LATERAL (
            SELECT DISTINCT (regexp_matches(source, '''(RE\d{3})''', 'g'))[1]
        ) AS raised (code)
        WHERE schema = 'rules'::regnamespace
        AND obj_description(id, 'pg_proc') !~ code
    $$,
    'A comment names the errors that its function raises itself'
);

-- ------------------------------------------------------------------------ PL/pgSQL

-- Planning a query of a table asks for the tenant.
SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';

SELECT is_empty(
    $$
        SELECT functions.id, problem.lineno, problem.level, problem.message
        FROM functions
        CROSS JOIN LATERAL plpgsql_check_function_tb(functions.id) AS problem
        WHERE functions.language = 'plpgsql'
        AND functions.result <> 'trigger'::regtype
        AND problem.message <> 'name of parameter "column" is reserved keyword'
    $$,
    'plpgsql_check has nothing to say about functions'
);

SELECT is_empty(
    $$
        SELECT
            trigger.tgrelid::regclass, trigger.tgname,
            problem.lineno, problem.level, problem.message
        FROM pg_catalog.pg_trigger AS trigger
        INNER JOIN functions ON trigger.tgfoid = functions.id
        CROSS JOIN LATERAL plpgsql_check_function_tb(
            functions.id,
            trigger.tgrelid,
            newtable => trigger.tgnewtable,
            oldtable => trigger.tgoldtable
        ) AS problem
        WHERE NOT trigger.tgisinternal
    $$,
    'plpgsql_check has nothing to say about triggers'
);

SELECT * FROM finish();
ROLLBACK;
