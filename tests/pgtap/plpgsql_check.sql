-- What plpgsql_check finds in the functions: nothing.
BEGIN;

SELECT plan(102);

-- Tables of users have these triggers.
CREATE TEMPORARY TABLE written (id integer PRIMARY KEY);
CREATE TRIGGER written_record AFTER UPDATE ON written
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION rules.record_matches();
CREATE TRIGGER written_refuse AFTER INSERT ON written
REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION rules.refuse_matches();

-- Planning looks at the tenant, where a statement compares with it.
SET LOCAL "app.tenant_id" = 'aaaaaaaa-0000-4000-8000-000000000001';

SELECT
    is_empty(
        format(
            'SELECT * FROM plpgsql_check_function_tb(%L::regprocedure, '
            'relid => %L::regclass, newtable => %L, oldtable => %L, '
            'performance_warnings => false, extra_warnings => true) '
            -- The interface has such names; and what a query over a user's table gives
            -- is known when it runs.
            'WHERE message !~ ''^name of parameter "(column|table)" is '' '
            'AND message NOT LIKE ''cannot determinate a result of dynamic SQL%%''',
            routine.oid::regprocedure,
            coalesce(trigger.tgrelid, 0)::regclass,
            trigger.tgnewtable,
            trigger.tgoldtable
        ),
        'Nothing is wrong with ' || routine.oid::regprocedure
        || coalesce(' of ' || trigger.tgrelid::regclass, '')
    )
FROM pg_catalog.pg_proc AS routine
INNER JOIN pg_catalog.pg_language AS language ON routine.prolang = language.oid
LEFT JOIN pg_catalog.pg_trigger AS trigger ON routine.oid = trigger.tgfoid
WHERE
    routine.pronamespace IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
    AND language.lanname = 'plpgsql'
ORDER BY routine.oid::regprocedure::text, trigger.tgname;

SELECT * FROM finish();
ROLLBACK;
