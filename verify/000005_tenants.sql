-- Verify pgrules:000005_tenants on pg
--
-- Every fact below is there, and no privilege is given that is not listed.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_table constant regclass := 'rules.tenants';
    v_differences text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    ASSERT (
        SELECT
            class.relkind = 'r'
            AND class.relpersistence = 'p'
            AND class.relowner = 'rules_owner'::regrole
            AND obj_description(class.oid, 'pg_class') IS NOT NULL
        FROM pg_class AS class
        WHERE class.oid = v_table
    ), format('table %s has another owner, or no comment', v_table);

    WITH
    expected (kind, fact) AS (
        VALUES
        ('column', 'id uuid NOT NULL DEFAULT gen_random_uuid()'),
        ('column', 'name character varying(255) NOT NULL'),
        (
            'column',
            'created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()'
        ),
        (
            'column',
            'updated_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()'
        ),
        ('constraint', 'tenants_pkey PRIMARY KEY (id)'),
        ('constraint', 'tenants_id_updated_at_key UNIQUE (id, updated_at)'),
        (
            'constraint',
            'tenants_name_check CHECK ((btrim((name)::text) <> ''''::text))'
        ),
        (
            'index',
            'CREATE INDEX tenants_name_id_idx ON rules.tenants USING btree (name, id)'
        ),
        (
            'trigger',
            'CREATE TRIGGER tenants_stamp BEFORE UPDATE ON rules.tenants FOR EACH '
            || 'ROW EXECUTE FUNCTION rules_internal.stamp_row()'
        ),
        ('grant', 'SELECT to rules_app'),
        ('grant', 'SELECT to rules_tenant'),
        ('grant', 'SELECT to rules_admin'),
        ('grant', 'DELETE to rules_admin'),
        ('grant', 'INSERT (id, name) to rules_admin'),
        ('grant', 'UPDATE (name) to rules_admin')
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
$verify$;

ROLLBACK;
