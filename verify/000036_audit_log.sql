-- Verify pgrules:000036_audit_log on pg
--
-- Every fact below is there, and no privilege is given that is not listed.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $tables$
DECLARE
    v_table regclass;
    v_differences text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOREACH v_table IN ARRAY ARRAY[
        'rules.audit_log', 'rules.tenant_audit_log', 'rules_internal.audit_commits'
    ]::regclass[]
    LOOP
        ASSERT (
            SELECT
                class.relkind = 'r'
                AND class.relpersistence = 'p'
                AND class.relowner = 'rules_owner'::regrole
                AND class.relrowsecurity
                AND class.relforcerowsecurity
                AND obj_description(class.oid, 'pg_class') IS NOT NULL
            FROM pg_class AS class
            WHERE class.oid = v_table
        ), format('%s: another owner, no row-level security, or no comment', v_table);

        WITH
        listed (relation, kind, fact) AS (
            VALUES
                (
                    'rules.audit_log',
                    'column',
                    'id uuid NOT NULL DEFAULT gen_random_uuid()'
                ),
                ('rules.audit_log', 'column', 'subject text NOT NULL'),
                ('rules.audit_log', 'column', 'subject_id uuid NOT NULL'),
                ('rules.audit_log', 'column', 'operation text NOT NULL'),
                (
                    'rules.audit_log',
                    'column',
                    'changed_at timestamp with time zone NOT NULL DEFAULT '
                    || 'clock_timestamp()'
                ),
                (
                    'rules.audit_log',
                    'column',
                    'changed_by text NOT NULL DEFAULT SESSION_USER'
                ),
                (
                    'rules.audit_log',
                    'column',
                    'role text NOT NULL DEFAULT '
                    || 'COALESCE(NULLIF(current_setting(''role''::text), '
                    || '''none''::text), (SESSION_USER)::text)'
                ),
                (
                    'rules.audit_log',
                    'column',
                    'application text NOT NULL DEFAULT '
                    || 'current_setting(''application_name''::text)'
                ),
                ('rules.audit_log', 'column', 'before jsonb'),
                ('rules.audit_log', 'column', 'after jsonb'),
                (
                    'rules.audit_log',
                    'column',
                    'xid xid8 NOT NULL DEFAULT pg_current_xact_id()'
                ),
                (
                    'rules.audit_log',
                    'column',
                    'started_at timestamp with time zone NOT NULL DEFAULT '
                    || 'transaction_timestamp()'
                ),
                (
                    'rules.audit_log',
                    'constraint',
                    'audit_log_subject_check CHECK ((subject = ANY '
                    || '(ARRAY[''rule''::text, ''schema''::text, ''derived '
                    || 'field''::text, ''audit''::text])))'
                ),
                (
                    'rules.audit_log',
                    'constraint',
                    'audit_log_operation_check CHECK ( CASE operation WHEN '
                    || '''insert''::text THEN ((before IS NULL) AND (after IS NOT '
                    || 'NULL)) WHEN ''update''::text THEN ((before IS NOT NULL) AND '
                    || '(after IS NOT NULL)) WHEN ''delete''::text THEN ((before IS '
                    || 'NOT NULL) AND (after IS NULL)) WHEN ''baseline''::text THEN '
                    || '((before IS NULL) AND (after IS NOT NULL)) ELSE false END)'
                ),
                (
                    'rules.audit_log',
                    'constraint',
                    'audit_log_pkey PRIMARY KEY (tenant_id, changed_at, id)'
                ),
                (
                    'rules.audit_log',
                    'index',
                    'CREATE INDEX '
                    || 'audit_log_tenant_id_subject_subject_id_changed_at_id_idx ON '
                    || 'rules.audit_log USING btree (tenant_id, subject, subject_id, '
                    || 'changed_at, id)'
                ),
                (
                    'rules.audit_log',
                    'index',
                    'CREATE INDEX audit_log_before_after_idx ON rules.audit_log '
                    || 'USING gin (before jsonb_path_ops, after jsonb_path_ops)'
                ),
                (
                    'rules.audit_log',
                    'trigger',
                    'CREATE TRIGGER audit_log_keep BEFORE DELETE OR UPDATE OR '
                    || 'TRUNCATE ON rules.audit_log FOR EACH STATEMENT EXECUTE '
                    || 'FUNCTION rules_internal.keep_audit()'
                ),
                (
                    'rules.audit_log',
                    'policy',
                    'audit_log_rules_app to rules_app: (tenant_id = '
                    || 'rules.current_tenant_id()), (tenant_id = '
                    || 'rules.current_tenant_id())'
                ),
                (
                    'rules.audit_log',
                    'policy',
                    'audit_log_rules_owner to rules_owner: true, true'
                ),
                (
                    'rules.audit_log',
                    'policy',
                    'audit_log_rules_tenant to rules_tenant: (tenant_id = '
                    || 'rules.current_tenant_id()), (tenant_id = '
                    || 'rules.current_tenant_id())'
                ),
                ('rules.audit_log', 'grant', 'SELECT to rules_app'),
                ('rules.audit_log', 'grant', 'SELECT to rules_tenant'),
                ('rules.tenant_audit_log', 'column', 'tenant_id uuid NOT NULL'),
                (
                    'rules.tenant_audit_log',
                    'column',
                    'id uuid NOT NULL DEFAULT gen_random_uuid()'
                ),
                ('rules.tenant_audit_log', 'column', 'subject text NOT NULL'),
                ('rules.tenant_audit_log', 'column', 'operation text NOT NULL'),
                (
                    'rules.tenant_audit_log',
                    'column',
                    'changed_at timestamp with time zone NOT NULL DEFAULT '
                    || 'clock_timestamp()'
                ),
                (
                    'rules.tenant_audit_log',
                    'column',
                    'changed_by text NOT NULL DEFAULT SESSION_USER'
                ),
                (
                    'rules.tenant_audit_log',
                    'column',
                    'role text NOT NULL DEFAULT '
                    || 'COALESCE(NULLIF(current_setting(''role''::text), '
                    || '''none''::text), (SESSION_USER)::text)'
                ),
                (
                    'rules.tenant_audit_log',
                    'column',
                    'application text NOT NULL DEFAULT '
                    || 'current_setting(''application_name''::text)'
                ),
                ('rules.tenant_audit_log', 'column', 'before jsonb'),
                ('rules.tenant_audit_log', 'column', 'after jsonb'),
                (
                    'rules.tenant_audit_log',
                    'constraint',
                    'tenant_audit_log_subject_check CHECK ((subject = ANY '
                    || '(ARRAY[''tenant''::text, ''tenant login''::text])))'
                ),
                (
                    'rules.tenant_audit_log',
                    'constraint',
                    'tenant_audit_log_operation_check CHECK ( CASE operation WHEN '
                    || '''insert''::text THEN ((before IS NULL) AND (after IS NOT '
                    || 'NULL)) WHEN ''update''::text THEN ((before IS NOT NULL) AND '
                    || '(after IS NOT NULL)) WHEN ''delete''::text THEN ((before IS '
                    || 'NOT NULL) AND (after IS NULL)) WHEN ''baseline''::text THEN '
                    || '((before IS NULL) AND (after IS NOT NULL)) ELSE false END)'
                ),
                (
                    'rules.tenant_audit_log',
                    'constraint',
                    'tenant_audit_log_pkey PRIMARY KEY (tenant_id, changed_at, id)'
                ),
                (
                    'rules.tenant_audit_log',
                    'index',
                    'CREATE INDEX tenant_audit_log_before_after_idx ON '
                    || 'rules.tenant_audit_log USING gin (before jsonb_path_ops, '
                    || 'after jsonb_path_ops)'
                ),
                (
                    'rules.tenant_audit_log',
                    'trigger',
                    'CREATE TRIGGER tenant_audit_log_keep BEFORE DELETE OR UPDATE '
                    || 'OR TRUNCATE ON rules.tenant_audit_log FOR EACH STATEMENT '
                    || 'EXECUTE FUNCTION rules_internal.keep_audit()'
                ),
                (
                    'rules.tenant_audit_log',
                    'policy',
                    'tenant_audit_log_rules_admin to rules_admin: true, true'
                ),
                (
                    'rules.tenant_audit_log',
                    'policy',
                    'tenant_audit_log_rules_owner to rules_owner: true, true'
                ),
                ('rules.tenant_audit_log', 'grant', 'SELECT to rules_admin'),
                ('rules_internal.audit_commits', 'column', 'tenant_id uuid NOT NULL'),
                (
                    'rules_internal.audit_commits',
                    'column',
                    'xid xid8 NOT NULL DEFAULT pg_current_xact_id()'
                ),
                (
                    'rules_internal.audit_commits',
                    'column',
                    'started_at timestamp with time zone NOT NULL DEFAULT '
                    || 'transaction_timestamp()'
                ),
                (
                    'rules_internal.audit_commits',
                    'column',
                    'committed_at timestamp with time zone NOT NULL DEFAULT '
                    || 'clock_timestamp()'
                ),
                (
                    'rules_internal.audit_commits',
                    'constraint',
                    'audit_commits_pkey PRIMARY KEY (tenant_id, xid, started_at, '
                    || 'committed_at)'
                ),
                (
                    'rules_internal.audit_commits',
                    'constraint',
                    'audit_commits_note TRIGGER DEFERRABLE INITIALLY DEFERRED'
                ),
                (
                    'rules_internal.audit_commits',
                    'trigger',
                    'CREATE TRIGGER audit_commits_keep BEFORE DELETE OR UPDATE OR '
                    || 'TRUNCATE ON rules_internal.audit_commits FOR EACH STATEMENT '
                    || 'EXECUTE FUNCTION rules_internal.keep_audit()'
                ),
                (
                    'rules_internal.audit_commits',
                    'trigger',
                    'CREATE CONSTRAINT TRIGGER audit_commits_note AFTER INSERT ON '
                    || 'rules_internal.audit_commits DEFERRABLE INITIALLY DEFERRED '
                    || 'FOR EACH ROW WHEN ((new.committed_at = '
                    || '''infinity''::timestamp with time zone)) EXECUTE FUNCTION '
                    || 'rules_internal.note_commit()'
                ),
                (
                    'rules_internal.audit_commits',
                    'policy',
                    'audit_commits_rules_app to rules_app: (tenant_id = '
                    || 'rules.current_tenant_id()), (tenant_id = '
                    || 'rules.current_tenant_id())'
                ),
                (
                    'rules_internal.audit_commits',
                    'policy',
                    'audit_commits_rules_owner to rules_owner: true, true'
                ),
                (
                    'rules_internal.audit_commits',
                    'policy',
                    'audit_commits_rules_tenant to rules_tenant: (tenant_id = '
                    || 'rules.current_tenant_id()), (tenant_id = '
                    || 'rules.current_tenant_id())'
                ),
                ('rules_internal.audit_commits', 'grant', 'SELECT to rules_app'),
                ('rules_internal.audit_commits', 'grant', 'SELECT to rules_tenant')
        ),
        expected (kind, fact) AS (
            SELECT listed.kind, listed.fact
            FROM listed
            WHERE listed.relation::regclass = v_table
        ),
        actual (kind, fact) AS (
            SELECT 'column', format(
                '%s %s%s%s', attribute.attname,
                format_type(attribute.atttypid, attribute.atttypmod),
                CASE WHEN attribute.attnotnull THEN ' NOT NULL' END,
                ' DEFAULT ' || pg_get_expr(def.adbin, def.adrelid)
            )
            FROM pg_attribute AS attribute
            LEFT JOIN pg_attrdef AS def
                ON attribute.attrelid = def.adrelid AND attribute.attnum = def.adnum
            WHERE
                attribute.attrelid = v_table
                AND attribute.attnum > 0
                AND NOT attribute.attisdropped
            UNION ALL
            SELECT 'constraint', regexp_replace(
                conname || ' ' || pg_get_constraintdef(oid), '\s+', ' ', 'g'
            )
            FROM pg_constraint
            WHERE conrelid = v_table AND convalidated
            UNION ALL
            SELECT 'index', pg_get_indexdef(indexrelid)
            FROM pg_index
            WHERE indrelid = v_table AND indisvalid
            UNION ALL
            SELECT 'trigger', pg_get_triggerdef(oid)
            FROM pg_trigger
            WHERE tgrelid = v_table AND NOT tgisinternal AND tgenabled = 'O'
            UNION ALL
            SELECT 'policy', format(
                '%s to %s%s: %s, %s', policyname, array_to_string(roles, ', '),
                CASE
                    WHEN cmd <> 'ALL' OR permissive <> 'PERMISSIVE' THEN ' limited'
                END,
                qual, with_check
            )
            FROM pg_policies
            WHERE format('%I.%I', schemaname, tablename)::regclass = v_table
            UNION ALL
            SELECT 'grant', format('%s to %s', acl.privilege_type, acl.grantee::regrole)
            FROM pg_class AS class
            CROSS JOIN LATERAL aclexplode(class.relacl) AS acl
            WHERE class.oid = v_table AND acl.grantee <> class.relowner
            UNION ALL
            SELECT 'grant', format(
                '%s (%s) to %s', acl.privilege_type,
                string_agg(attribute.attname, ', ' ORDER BY attribute.attnum),
                acl.grantee::regrole
            )
            FROM pg_attribute AS attribute
            CROSS JOIN LATERAL aclexplode(attribute.attacl) AS acl
            WHERE attribute.attrelid = v_table
            GROUP BY acl.privilege_type, acl.grantee
        )
        SELECT string_agg(
            format(
                '%s %s: %s',
                CASE WHEN expected.fact IS NULL THEN 'unexpected' ELSE 'missing' END,
                kind, fact
            ),
            E'\n'
        )
        INTO v_differences
        FROM expected
        FULL JOIN actual USING (kind, fact)
        WHERE actual.fact IS NULL OR (expected.fact IS NULL AND kind = 'grant');
        ASSERT v_differences IS NULL, format(E'table %s:\n%s', v_table, v_differences);
    END LOOP;
END;
$tables$;

DO $functions$
DECLARE
    v_expected record;
    v_actual record;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOR v_expected IN
        SELECT * FROM (
            VALUES
            (
                'rules_internal.keep_audit()',
                'plpgsql VOLATILE',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.expect_commit(uuid[])',
                'plpgsql VOLATILE',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.note_commit()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            )
        ) AS expected (signature, properties, owner, executed_by)
    LOOP
        SELECT
            concat_ws(
                ' ',
                language.lanname,
                CASE routine.provolatile
                    WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE'
                END,
                CASE routine.proparallel WHEN 's' THEN 'PARALLEL SAFE' END,
                CASE WHEN routine.prosecdef THEN 'SECURITY DEFINER' END,
                array_to_string(routine.proconfig, ' ')
            ) AS properties,
            routine.proowner::regrole::text AS owner,
            (
                SELECT
                    string_agg(
                        acl.grantee::regrole::text, ', '
                        ORDER BY acl.grantee::regrole::text
                    )
                FROM aclexplode(
                    coalesce(routine.proacl, acldefault('f', routine.proowner))
                ) AS acl
                WHERE acl.grantee <> routine.proowner
            ) AS executed_by,
            obj_description(routine.oid, 'pg_proc') AS remark
        INTO STRICT v_actual
        FROM pg_proc AS routine
        INNER JOIN pg_language AS language ON routine.prolang = language.oid
        WHERE routine.oid = v_expected.signature::regprocedure;
        ASSERT v_actual.properties = v_expected.properties,
            format('%s is %s', v_expected.signature, v_actual.properties);
        ASSERT v_actual.owner = v_expected.owner,
            format('%s belongs to %s', v_expected.signature, v_actual.owner);
        ASSERT coalesce(v_actual.executed_by, '') = v_expected.executed_by,
            format('%s may execute %s', v_actual.executed_by, v_expected.signature);
        ASSERT v_actual.remark IS NOT NULL,
            format('%s has no comment', v_expected.signature);
    END LOOP;
END;
$functions$;

ROLLBACK;
