-- Verify pgrules:000021_evaluate_all on pg
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
                'rules.evaluate_all(jsonb, boolean)',
                'plpgsql STABLE PARALLEL SAFE SECURITY DEFINER '
                'search_path=pg_catalog, pg_temp',
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
        SELECT
            prorettype = 'rules.evaluation_result'::regtype
            AND proretset
            AND proargnames = ARRAY['facts', 'matched_only']
            AND pg_get_expr(proargdefaults, 0) = 'false'
        FROM pg_proc
        WHERE oid = 'rules.evaluate_all(jsonb, boolean)'::regprocedure
    ), 'rules.evaluate_all takes or gives something else';
END;
$verify$;

ROLLBACK;
