-- Verify pgrules:000014_environments on pg
--
-- Every fact below is there, and no privilege is given that is not listed.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $table$
DECLARE
    v_table constant regclass := 'rules_internal.environments';
    v_differences text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
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
    ), format('table %s has another owner, no row-level security, or no comment', v_table);

    WITH
    expected (kind, fact) AS (
        VALUES
        ('column', 'tenant_id uuid NOT NULL'),
        ('column', 'document text NOT NULL'),
        ('constraint', 'environments_pkey PRIMARY KEY (tenant_id)'),
        (
            'constraint',
            'environments_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES '
            || 'rules.tenants(id) ON DELETE CASCADE'
        ),
        (
            'policy',
            'environments_rules_app to rules_app: (tenant_id = '
            || 'rules.current_tenant_id()), (tenant_id = rules.current_tenant_id())'
        ),
        (
            'policy',
            'environments_rules_tenant to rules_tenant: (tenant_id = '
            || 'rules.current_tenant_id()), (tenant_id = rules.current_tenant_id())'
        ),
        ('policy', 'environments_rules_owner to rules_owner: true, true'),
        ('grant', 'SELECT to rules_app'),
        ('grant', 'SELECT to rules_tenant')
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
        SELECT 'constraint', conname || ' ' || pg_get_constraintdef(oid)
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
            CASE WHEN cmd <> 'ALL' OR permissive <> 'PERMISSIVE' THEN ' limited' END,
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
END;
$table$;

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
                'rules_internal.environment(uuid)',
                'plpgsql STABLE PARALLEL SAFE',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.share_environment(uuid)',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.lock_environment(uuid)',
                'plpgsql VOLATILE',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.store_environment(uuid)',
                'plpgsql VOLATILE',
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
    ASSERT EXISTS (
        SELECT FROM pg_policies
        WHERE
            schemaname = 'rules'
            AND policyname = 'tenants_rules_owner'
            AND roles = '{rules_owner}'
            AND qual = 'true'
            AND with_check = 'true'
    ), 'rules_owner does not see the tenants';
END;
$functions$;

ROLLBACK;
