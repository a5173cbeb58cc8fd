-- Verify pgrules:000019_rule_sets on pg
--
-- Every fact below is there, and no privilege is given that is not listed.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $table$
DECLARE
    v_table constant regclass := 'rules_internal.rule_set_tokens';
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
        ('column', 'tenant_updated_at timestamp with time zone NOT NULL'),
        ('column', 'xid xid8 NOT NULL DEFAULT pg_current_xact_id()'),
        (
            'column',
            'started_at timestamp with time zone NOT NULL '
            || 'DEFAULT transaction_timestamp()'
        ),
        ('column', 'token uuid NOT NULL DEFAULT gen_random_uuid()'),
        (
            'constraint',
            'rule_set_tokens_pkey PRIMARY KEY '
            || '(tenant_id, tenant_updated_at, xid, started_at)'
        ),
        (
            'constraint',
            'rule_set_tokens_tenant_id_tenant_updated_at_fkey FOREIGN KEY '
            || '(tenant_id, tenant_updated_at) REFERENCES '
            || 'rules.tenants(id, updated_at) ON UPDATE CASCADE ON DELETE CASCADE'
        ),
        (
            'policy',
            'rule_set_tokens_rules_app to rules_app: (tenant_id = '
            || 'rules.current_tenant_id()), (tenant_id = rules.current_tenant_id())'
        ),
        (
            'policy',
            'rule_set_tokens_rules_tenant to rules_tenant: (tenant_id = '
            || 'rules.current_tenant_id()), (tenant_id = rules.current_tenant_id())'
        ),
        ('policy', 'rule_set_tokens_rules_owner to rules_owner: true, true'),
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
                'rules_internal.rule_set_key(uuid)',
                'plpgsql STABLE PARALLEL SAFE',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.renew_rule_set(uuid)',
                'plpgsql VOLATILE',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.renew_own_rule_set()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.renew_rule_sets()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.renew_all_rule_sets()',
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
    ASSERT (
        SELECT
            array_agg(
                pg_get_triggerdef(oid) ORDER BY pg_get_triggerdef(oid) COLLATE "C"
            ) = ARRAY[
                'CREATE TRIGGER rules_renew_own_set BEFORE INSERT OR DELETE OR UPDATE '
                || 'OF tenant_id, id, name, expression, active, created_at '
                || 'ON rules.rules FOR EACH STATEMENT '
                || 'EXECUTE FUNCTION rules_internal.renew_own_rule_set()',
                'CREATE TRIGGER rules_renew_sets_delete AFTER DELETE ON rules.rules '
                || 'REFERENCING OLD TABLE AS changed FOR EACH STATEMENT '
                || 'EXECUTE FUNCTION rules_internal.renew_rule_sets()',
                'CREATE TRIGGER rules_renew_sets_insert AFTER INSERT ON rules.rules '
                || 'REFERENCING NEW TABLE AS changed FOR EACH STATEMENT '
                || 'EXECUTE FUNCTION rules_internal.renew_rule_sets()',
                'CREATE TRIGGER rules_renew_sets_move AFTER UPDATE ON rules.rules '
                || 'REFERENCING OLD TABLE AS changed FOR EACH STATEMENT '
                || 'EXECUTE FUNCTION rules_internal.renew_rule_sets()',
                'CREATE TRIGGER rules_renew_sets_truncate AFTER TRUNCATE '
                || 'ON rules.rules FOR EACH STATEMENT '
                || 'EXECUTE FUNCTION rules_internal.renew_all_rule_sets()',
                'CREATE TRIGGER rules_renew_sets_update AFTER UPDATE ON rules.rules '
                || 'REFERENCING NEW TABLE AS changed FOR EACH STATEMENT '
                || 'EXECUTE FUNCTION rules_internal.renew_rule_sets()'
            ]
        FROM pg_trigger
        WHERE
            tgrelid = 'rules.rules'::regclass
            AND tgname ~ '^rules_renew_'
            AND tgenabled = 'O'
    ), 'writing rules leaves no token';
END;
$functions$;

ROLLBACK;
