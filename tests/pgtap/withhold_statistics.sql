-- No samples of the values of all tenants, of which EXPLAIN's estimates would tell.
BEGIN;

SELECT plan(5);

INSERT INTO rules.tenants (id, name) VALUES
(md5('harbour')::uuid, 'Harbour Insurance'),
(md5('mountain')::uuid, 'Mountain Rescue');
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES (md5('harbour')::uuid, 'tap_tenant');
INSERT INTO rules.rules (tenant_id, name, expression)
SELECT
    md5('mountain')::uuid AS tenant_id,
    'their rule ' || number % 10 || repeat(' ', number) AS name,
    CASE WHEN number % 2 = 0 THEN 'Secret > 1' ELSE 'Secret > ' || number END
        AS expression
FROM generate_series(1, 200) AS number;
INSERT INTO rules.rules (tenant_id, name, expression)
SELECT
    md5('harbour')::uuid AS tenant_id,
    'my rule ' || number AS name,
    'Open > ' || number AS expression
FROM generate_series(1, 400) AS number;
ANALYZE rules.tenants, rules.rules, rules_internal.rule_keys, rules.audit_log;

SELECT is_empty(
    $$
        SELECT statistic.starelid::regclass, statistic.staattnum
        FROM pg_catalog.pg_statistic AS statistic
        INNER JOIN pg_catalog.pg_class AS class ON statistic.starelid = class.oid
        WHERE
            class.relnamespace
            IN ('rules'::regnamespace, 'rules_internal'::regnamespace)
    $$,
    'ANALYZE keeps no values'
);

CREATE FUNCTION pg_temp.estimate(p_condition text) RETURNS numeric
LANGUAGE plpgsql
AS $function$
DECLARE
    v_plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM rules.rules WHERE ' || p_condition
    INTO v_plan;
    RETURN v_plan #>> '{0, Plan, Plan Rows}';
END;
$function$;

SET SESSION AUTHORIZATION tap_tenant;
SELECT is(
    pg_temp.estimate('expression = ''Secret > 1'''),
    pg_temp.estimate('expression = ''Secret > none'''),
    'An expression of another tenant is estimated as one that nobody has'
);
SELECT is(
    pg_temp.estimate('expression < ''Secret'''),
    pg_temp.estimate('expression < ''Sesame'''),
    'Where the texts of other tenants lie cannot be searched for'
);
SELECT is(
    pg_temp.estimate('name < ''their rule 5'''),
    pg_temp.estimate('name < ''their rule 9'''),
    'Nor can their names'
);
SELECT is(
    pg_temp.estimate(format('tenant_id = %L', md5('mountain')::uuid)),
    pg_temp.estimate(format('tenant_id = %L', md5('nobody')::uuid)),
    'A tenant of many rules is estimated as one that there is not'
);
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
