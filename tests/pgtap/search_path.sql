-- A login that may create objects in some schema puts it first in its search_path. What
-- it brings there decides neither for whom it acts nor what is stored.
BEGIN;

SELECT plan(7);

INSERT INTO rules.tenants (id, name) VALUES
(md5('harbour')::uuid, 'Harbour Insurance'),
(md5('mountain')::uuid, 'Mountain Rescue');
CREATE ROLE tap_tenant LOGIN IN ROLE rules_tenant;
INSERT INTO rules.tenant_logins (tenant_id, login)
VALUES (md5('harbour')::uuid, 'tap_tenant');
CREATE SCHEMA mine AUTHORIZATION tap_tenant;
-- pgTAP counts in temporary tables, whoever asks.
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO public;
GRANT ALL ON ALL SEQUENCES IN SCHEMA pg_temp TO public;

SET SESSION AUTHORIZATION tap_tenant;
CREATE FUNCTION mine.pg_has_role(name, text, text) RETURNS boolean
LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION mine.pg_has_role(name, name, text) RETURNS boolean
LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION mine.clock_timestamp() RETURNS timestamptz
LANGUAGE sql AS $$SELECT '2001-01-01'::timestamptz$$;
CREATE FUNCTION mine.current_setting(text, boolean) RETURNS text
LANGUAGE sql AS $$SELECT md5('mountain')::uuid::text$$;
CREATE FUNCTION mine.differ(uuid, uuid) RETURNS boolean
LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION mine.same(text, text) RETURNS boolean
LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION mine.same(jsonb, jsonb) RETURNS boolean
LANGUAGE sql AS 'SELECT true';
DO $operators$
BEGIN
    CREATE OPERATOR mine.<> (FUNCTION = mine.differ, LEFTARG = uuid, RIGHTARG = uuid);
    CREATE OPERATOR mine.= (FUNCTION = mine.same, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR mine.= (FUNCTION = mine.same, LEFTARG = jsonb, RIGHTARG = jsonb);
END;
$operators$;
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (md5('harbour')::uuid, 'mine', 'true');
INSERT INTO rules.derived_fields (tenant_id, name, expression)
VALUES (md5('harbour')::uuid, 'mine', '1');

-- In a block of its own, as pgTAP would use these objects too.
CREATE FUNCTION mine.tried(p_tenant text, p_statement text) RETURNS text
LANGUAGE plpgsql AS $function$
DECLARE
    v_answer text;
BEGIN
    PERFORM set_config('app.tenant_id', p_tenant, true);
    SET LOCAL search_path = mine, pg_catalog;
    EXECUTE p_statement INTO v_answer;
    SET LOCAL search_path = public;
    RETURN v_answer;
EXCEPTION
    WHEN OTHERS THEN
        RETURN SQLSTATE;
END;
$function$;

SELECT is(
    mine.tried(md5('mountain')::uuid::text, 'SELECT rules.current_tenant_id()'),
    '42501', 'REQ-TENANT-001: a bound login does not get another tenant'
);
SELECT is(
    mine.tried(md5('mountain')::uuid::text, 'SELECT count(*) FROM rules.tenants'),
    '42501', 'REQ-TENANT-001: nor its rows'
);
SELECT is(
    mine.tried('', 'SELECT name FROM rules.tenants'), 'Harbour Insurance',
    'A bound login is still bound to its own'
);
SELECT is(
    mine.tried('', $$UPDATE rules.rules SET expression = 'true &&'$$), 'RE020',
    'COMP-2: a rule does not get past the compiler'
);
SELECT is(
    mine.tried('', $$UPDATE rules.derived_fields SET expression = 'mine + 1'$$),
    'RE061', 'DER-2: nor does a derived field past the search for cycles'
);
SELECT ok(
    mine.tried(
        '', $$UPDATE rules.rules SET name = 'stamped' RETURNING updated_at$$
    )::timestamptz > '2002-01-01',
    'REQ-SCHEMA-010: nobody brings a clock of his own'
);
SELECT ok(
    mine.tried(
        '', $$INSERT INTO rules.rules (tenant_id, name, expression)
        VALUES (md5('harbour')::uuid, 'new', 'true') RETURNING created_at$$
    )::timestamptz > '2002-01-01',
    'STORE-5: not for created_at either'
);
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
