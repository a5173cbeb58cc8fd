-- Verify pgrules:000032_record_matches on pg
--
-- Each function with its properties, its owner, and everyone else who may execute it.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_expected record;
    v_actual record;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOR v_expected IN
        SELECT * FROM (
            VALUES
            (
                'rules_internal.transition_tables'
                || '(text,text,regclass,name,text,text,boolean)',
                'plpgsql STABLE search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.trigger_options(text,regclass,text[])',
                'plpgsql STABLE search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.raise_stranger(text,text)',
                'plpgsql STABLE search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.judgement(text,regclass,text,text,text,text[],text)',
                'plpgsql STABLE search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.match_columns(text,regclass,text,text[])',
                'plpgsql STABLE search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules_internal.same_key(regclass,text[])',
                'sql STABLE search_path=pg_catalog, pg_temp',
                'rules_owner',
                'rules_app, rules_tenant'
            ),
            (
                'rules.record_matches()',
                'plpgsql VOLATILE search_path=pg_catalog, pg_temp jit=off',
                'rules_owner',
                'rules_app, rules_tenant'
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
        SELECT prorettype = 'trigger'::regtype
        FROM pg_proc
        WHERE oid = 'rules.record_matches()'::regprocedure
    ), 'rules.record_matches is no trigger function';
END;
$verify$;

ROLLBACK;
