-- Verify pgrules:000015_cel on pg

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $verify$
DECLARE
    v_signature text;
    v_routine record;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOREACH v_signature IN ARRAY ARRAY[
        'cel_runtime()',
        'cel_evaluate(text, text, text, jsonb, boolean)',
        'cel_keys(text, text[], text, text[])',
        'cel_described_keys(text, text, text)',
        'cel_questions(text, text[], jsonb[])',
        'cel_match_batch(text, uuid[], text[], text, jsonb[], integer[], uuid[])',
        'cel_evaluate_set(text, text, uuid[], text[], text[], text, jsonb, boolean)',
        'cel_evaluate_batch(text, text, text, jsonb[])',
        'cel_evaluate_expression(text, text, text, jsonb)',
        'cel_check(text, text, text)',
        'cel_check_schema(text, jsonb)',
        'cel_dependencies(text, text)',
        'cel_check_environment(text, text, text[], text[])',
        'cel_reads(text, text, text)',
        'cel_cost(text, text, text, jsonb)',
        'cel_sql(text, text, text, jsonb)'
    ]
    LOOP
        SELECT
            language.lanname AS language,
            owner.rolsuper AS owned_by_superuser,
            routine.provolatile = 's' AND routine.proparallel = 's' AS may_run_parallel,
            routine.prosecdef AS is_definer,
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
        INTO STRICT v_routine
        FROM pg_proc AS routine
        INNER JOIN pg_language AS language ON routine.prolang = language.oid
        INNER JOIN pg_roles AS owner ON routine.proowner = owner.oid
        WHERE routine.oid = ('rules_internal.' || v_signature)::regprocedure;
        ASSERT v_routine.language = 'plpython3u',
            format('%s is no PL/Python', v_signature);
        -- Another owner could turn it into SECURITY DEFINER.
        ASSERT v_routine.owned_by_superuser AND NOT v_routine.is_definer,
            format('%s belongs to no superuser, or is SECURITY DEFINER', v_signature);
        ASSERT v_routine.may_run_parallel,
            format('%s is not STABLE and PARALLEL SAFE', v_signature);
        ASSERT v_routine.executed_by = CASE
            WHEN v_signature LIKE 'cel\_evaluate\_set(%' THEN 'rules_owner'
            ELSE 'rules_app, rules_owner, rules_tenant'
        END,
            format('%s may execute %s', v_routine.executed_by, v_signature);
        ASSERT v_routine.remark IS NOT NULL, format('%s has no comment', v_signature);
    END LOOP;

    -- It runs, whatever Python this server embeds.
    ASSERT (
        SELECT outcome.matched AND outcome.failure IS NULL
        FROM rules_internal.cel_evaluate(
            rules_internal.cel_runtime(),
            'size(a) == 1 && a[0] + 1 > 1',
            '{}',
            '{"a": [1]}',
            false
        ) AS outcome
    ), 'the language does not evaluate';
END;
$verify$;

ROLLBACK;
