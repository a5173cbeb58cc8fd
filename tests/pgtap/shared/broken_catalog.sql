-- Included by ../catalog.sql: each of its rules is broken, once or more, and has to be
-- found broken. What is broken here is whole again before the next.
SET LOCAL client_min_messages = error;

CREATE TEMPORARY TABLE caught (description text);

CREATE FUNCTION pg_temp.catches(p_description text, p_break text) RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_query text;
    v_found boolean;
BEGIN
    SELECT checks.query INTO STRICT v_query
    FROM checks
    WHERE checks.description LIKE '%' || p_description || '%';
    INSERT INTO caught (description)
    SELECT checks.description FROM checks WHERE checks.query = v_query;
    BEGIN
        EXECUTE p_break;
        EXECUTE 'SELECT EXISTS (' || v_query || ')' INTO v_found;
        RAISE EXCEPTION USING ERRCODE = 'PT001', MESSAGE = v_found;
    EXCEPTION
        WHEN SQLSTATE 'PT001' THEN
            v_found := sqlerrm;
    END;
    RETURN ok(v_found, 'Is found: ' || regexp_replace(p_break, '\s+', ' ', 'g'));
END;
$function$;

SELECT pg_temp.catches(broken.description, broken.statement)
FROM (
    VALUES
    (
        'Every table belongs to rules_owner',
        'CREATE TABLE rules.planted (tenant_id uuid NOT NULL, id uuid NOT NULL, '
        || 't text, j jsonb)'
    ),
    (
        'enabled and forced',
        'ALTER TABLE rules.rules NO FORCE ROW LEVEL SECURITY'
    ),
    (
        'enabled and forced',
        'CREATE TABLE rules.planted (tenant_id uuid NOT NULL, id uuid NOT NULL, '
        || 't text, j jsonb)'
    ),
    (
        'has a tenant_id, which is',
        'CREATE TABLE rules_internal.planted (id uuid)'
    ),
    (
        'has a tenant_id, which is',
        'ALTER TABLE rules_internal.rule_keys DROP CONSTRAINT rule_keys_pkey; '
        || 'ALTER TABLE rules_internal.rule_keys ALTER tenant_id DROP NOT NULL'
    ),
    (
        'every key and foreign key starts',
        'ALTER TABLE rules.rules ADD CONSTRAINT rules_id_key UNIQUE (id)'
    ),
    (
        'every key and foreign key starts',
        'ALTER TABLE rules.schemas ADD CONSTRAINT schemas_x CHECK (true), ADD '
        || 'CONSTRAINT schemas_pair_fkey FOREIGN KEY (id) REFERENCES rules.tenants '
        || '(id)'
    ),
    (
        'every unique index starts',
        'CREATE UNIQUE INDEX rules_name_key ON rules.rules (name)'
    ),
    (
        'every unique index starts',
        'CREATE UNIQUE INDEX rules_lower_key ON rules.rules (lower(name), tenant_id)'
    ),
    (
        'every foreign key is ON DELETE CASCADE',
        'ALTER TABLE rules.rules ADD FOREIGN KEY (tenant_id) REFERENCES '
        || 'rules.tenants (id)'
    ),
    (
        'Every time is a timestamptz',
        'ALTER TABLE rules.rules ADD at timestamp'
    ),
    (
        'every jsonb column has a GIN index',
        'ALTER TABLE rules.rules ADD j jsonb'
    ),
    (
        'Nothing is numbered by a sequence',
        'ALTER TABLE rules.rules ADD n serial'
    ),
    (
        'Constraints and indexes are named',
        'CREATE INDEX planted ON rules.rules (tenant_id)'
    ),
    (
        'every updated_at is kept',
        'DROP TRIGGER rules_stamp ON rules.rules'
    ),
    (
        'A policy is of one role',
        'CREATE POLICY planted ON rules.rules USING (true) WITH CHECK (true)'
    ),
    (
        'A policy is of one role',
        'ALTER POLICY rules_rules_app ON rules.rules TO rules_app, rules_admin'
    ),
    (
        'by the resolver alone',
        'ALTER POLICY rules_rules_app ON rules.rules USING (true)'
    ),
    (
        'by the resolver alone',
        'ALTER POLICY rules_rules_tenant ON rules.rules USING (tenant_id = '
        || 'rules.current_tenant_id() OR name = ''shared'')'
    ),
    (
        'by the resolver alone',
        'ALTER POLICY rules_rules_tenant ON rules.rules WITH CHECK (true)'
    ),
    (
        'who sees all rows is the owner',
        'CREATE POLICY rules_rules_admin ON rules.rules TO rules_admin USING '
        || '(true) WITH CHECK (true)'
    ),
    (
        'Where a role may read there is a policy',
        'GRANT SELECT ON rules.tenant_audit_log TO rules_app'
    ),
    (
        'Functions belong to rules_owner',
        'CREATE FUNCTION rules.planted() RETURNS uuid LANGUAGE sql AS ''SELECT '
        || 'rules.current_tenant_id()'''
    ),
    (
        'Functions belong to rules_owner',
        'ALTER FUNCTION rules_internal.cel_runtime() OWNER TO rules_owner'
    ),
    (
        'Functions are in SQL, PL/pgSQL or PL/Python',
        'CREATE FUNCTION rules.planted(int, int) RETURNS int LANGUAGE internal '
        || 'AS ''int4pl'''
    ),
    (
        'has its own search_path and no superuser',
        'ALTER FUNCTION rules_internal.bound_tenant() RESET search_path'
    ),
    (
        'has its own search_path and no superuser',
        'ALTER FUNCTION rules_internal.bound_tenant() SET search_path = '
        || 'pg_catalog, public, pg_temp'
    ),
    (
        'has its own search_path and no superuser',
        'ALTER FUNCTION rules.evaluate(uuid, jsonb, boolean) SECURITY DEFINER'
    ),
    (
        'No function is for everyone',
        'CREATE FUNCTION rules_internal.planted() RETURNS int LANGUAGE sql AS '
        || '''SELECT 1'''
    ),
    (
        'Every function for users asks for the tenant',
        'CREATE FUNCTION rules.planted() RETURNS uuid LANGUAGE sql AS ''SELECT '
        || 'tenant_id FROM rules.rules'''
    ),
    (
        'has an EXCEPTION block, which fails there',
        'CREATE FUNCTION rules.planted() RETURNS uuid LANGUAGE plpgsql PARALLEL '
        || 'SAFE AS ''BEGIN RETURN NULL; EXCEPTION WHEN OTHERS THEN RETURN NULL; '
        || 'END'''
    ),
    (
        'What only reads may run in parallel',
        'ALTER FUNCTION rules.matches(uuid, jsonb) PARALLEL UNSAFE'
    ),
    (
        'no view reads a table of tenants',
        'CREATE VIEW rules.planted AS SELECT 1 AS x; ALTER VIEW rules.planted '
        || 'OWNER TO rules_owner; CREATE OR REPLACE VIEW rules.planted AS SELECT '
        || 'count(*)::integer AS x FROM rules.rules'
    ),
    (
        'Every table, view, type and function has a comment',
        'COMMENT ON FUNCTION rules.matches(uuid, jsonb) IS NULL'
    ),
    (
        'Every column of a table for users has a comment',
        'ALTER TABLE rules.rules ADD planted text'
    ),
    (
        'Nothing is in schema public',
        'CREATE TABLE public.planted (id int)'
    ),
    (
        'every foreign key has an index',
        'DROP INDEX rules.schema_changelog_tenant_id_schema_id_idx'
    ),
    (
        'Triggers are named for their table, and are on',
        'ALTER TABLE rules.rules DISABLE TRIGGER rules_compile'
    ),
    (
        'whatever an update changes, it is stamped',
        'DROP TRIGGER rules_stamp ON rules.rules; CREATE TRIGGER rules_stamp '
        || 'BEFORE UPDATE OF name ON rules.rules FOR EACH ROW EXECUTE FUNCTION '
        || 'rules_internal.stamp_row()'
    ),
    (
        'What may run in parallel plans changes nothing',
        'CREATE FUNCTION rules.planted() RETURNS uuid LANGUAGE plpgsql STABLE '
        || 'PARALLEL SAFE AS ''BEGIN DELETE FROM rules.rules; RETURN NULL; END'''
    ),
    (
        'Nothing is IMMUTABLE',
        'ALTER FUNCTION rules.current_tenant_id() IMMUTABLE'
    ),
    (
        'PL/Python is the core',
        'CREATE FUNCTION rules_internal.planted() RETURNS text LANGUAGE '
        || 'plpython3u STABLE PARALLEL SAFE AS ''return plpy.execute("SELECT 1")'''
    ),
    (
        'PL/Python is the core',
        'CREATE FUNCTION rules.planted() RETURNS text LANGUAGE plpython3u '
        || 'STABLE PARALLEL SAFE AS ''return 1'''
    ),
    (
        'decides for others than its caller has a search_path',
        'ALTER FUNCTION rules_internal.resolve_tenant(text) RESET search_path'
    ),
    (
        'A comment names the errors',
        'COMMENT ON FUNCTION rules.evaluate_as_of(uuid, jsonb, timestamptz) IS '
        || '''It evaluates.'''
    ),
    (
        'Schemas and roles have comments',
        'COMMENT ON SCHEMA rules IS NULL'
    ),
    (
        'No column has statistics',
        'ALTER TABLE rules.rules ALTER name SET STATISTICS 100'
    ),
    (
        'No column has statistics',
        'ALTER TABLE rules.rules ADD planted text'
    ),
    (
        'No column has statistics',
        'CREATE STATISTICS rules.planted ON name, expression FROM rules.rules'
    ),
    (
        'An index that conditions can lead through',
        'CREATE INDEX rules_name_idx ON rules.rules (name)'
    ),
    (
        'An index that conditions can lead through',
        'CREATE INDEX rules_name_idx ON rules.rules (name) INCLUDE (tenant_id)'
    ),
    (
        'An index that conditions can lead through',
        'CREATE INDEX rules_name_idx ON rules.rules USING hash (name)'
    ),
    (
        'Tables are plain ones',
        'CREATE UNLOGGED TABLE rules.planted (tenant_id uuid)'
    ),
    (
        'Tables are plain ones',
        'CREATE TABLE rules.planted () INHERITS (rules.rules)'
    ),
    (
        'Tables are plain ones',
        'CREATE TABLE public.planted () INHERITS (rules.rules)'
    ),
    (
        'Tables are plain ones',
        'CREATE RULE planted AS ON INSERT TO rules.rules DO ALSO NOTHING'
    ),
    (
        'Tables are plain ones',
        'CREATE MATERIALIZED VIEW rules.planted AS TABLE rules.rules'
    ),
    (
        'a foreign key leads to the same tenant',
        'ALTER TABLE rules.rules ADD UNIQUE (id, tenant_id); ALTER TABLE '
        || 'rules.schemas ADD FOREIGN KEY (tenant_id, id) REFERENCES rules.rules '
        || '(id, tenant_id)'
    ),
    (
        'No policy asks another table',
        'ALTER POLICY tenants_rules_app ON rules.tenants USING (true)'
    ),
    (
        'No policy asks another table',
        'ALTER POLICY tenant_logins_rules_owner ON rules.tenant_logins USING '
        || '(EXISTS (SELECT FROM rules.tenants))'
    ),
    (
        'No policy asks another table',
        'CREATE ROLE planted; CREATE POLICY rules_planted ON rules.rules TO '
        || 'planted USING (true) WITH CHECK (true)'
    ),
    (
        'no TRUNCATE, REFERENCES, TRIGGER',
        'GRANT TRUNCATE ON rules.rules TO rules_app'
    ),
    (
        'no TRUNCATE, REFERENCES, TRIGGER',
        'GRANT REFERENCES ON rules.tenants TO PUBLIC'
    ),
    (
        'no TRUNCATE, REFERENCES, TRIGGER',
        'GRANT UPDATE (tenant_id) ON rules.rules TO rules_tenant'
    ),
    (
        'no role creates anything where others look',
        'GRANT CREATE ON SCHEMA rules TO rules_app'
    ),
    (
        'no role creates anything where others look',
        'GRANT CREATE ON SCHEMA public TO PUBLIC'
    ),
    (
        'no role creates anything where others look',
        'DO $do$BEGIN EXECUTE format(''GRANT TEMPORARY ON DATABASE %I TO '
        || 'PUBLIC'', current_database()); END$do$'
    ),
    (
        'no role creates anything where others look',
        'ALTER DEFAULT PRIVILEGES IN SCHEMA rules GRANT SELECT ON TABLES TO rules_app'
    ),
    (
        'the roles are groups without any power',
        'ALTER ROLE rules_app BYPASSRLS'
    ),
    (
        'the roles are groups without any power',
        'ALTER ROLE rules_owner SUPERUSER'
    ),
    (
        'the roles are groups without any power',
        'GRANT rules_admin TO rules_app'
    ),
    (
        'the roles are groups without any power',
        'ALTER ROLE rules_app SET row_security = off'
    ),
    (
        'No function says that it is LEAKPROOF',
        'ALTER FUNCTION rules.matches(uuid, jsonb) LEAKPROOF'
    ),
    (
        'No function says that it is LEAKPROOF',
        'CREATE PROCEDURE rules.planted() LANGUAGE sql AS ''SELECT 1'''
    ),
    (
        'A function sets nothing but how it plans',
        'ALTER FUNCTION rules.matches(uuid, jsonb) SET row_security = off'
    ),
    (
        'A function sets nothing but how it plans',
        'ALTER FUNCTION rules.matches(uuid, jsonb) SET search_path = rules'
    ),
    (
        'The resolver is STABLE and PARALLEL SAFE',
        'ALTER FUNCTION rules.current_tenant_id() VOLATILE'
    ),
    (
        'The resolver is STABLE and PARALLEL SAFE',
        'ALTER FUNCTION rules_internal.resolve_tenant(text) PARALLEL UNSAFE'
    ),
    (
        'The resolver is STABLE and PARALLEL SAFE',
        'ALTER FUNCTION rules.current_tenant_id() SECURITY DEFINER'
    ),
    (
        'before it reads or evaluates anything',
        'CREATE FUNCTION rules.planted() RETURNS uuid LANGUAGE plpgsql AS '
        || '''BEGIN PERFORM FROM rules.rules; RETURN rules.current_tenant_id(); '
        || 'END'''
    ),
    (
        'before it reads or evaluates anything',
        'CREATE FUNCTION rules.planted() RETURNS uuid LANGUAGE plpgsql AS '
        || '''BEGIN PERFORM rules_internal.cel_evaluate(NULL, NULL, NULL, NULL, '
        || 'NULL); RETURN rules.current_tenant_id(); END'''
    ),
    (
        'SECURITY DEFINER asks who is there',
        'CREATE FUNCTION rules_internal.planted(p_tenant_id uuid) RETURNS uuid '
        || 'LANGUAGE sql SECURITY DEFINER AS ''SELECT id FROM rules.rules WHERE '
        || 'tenant_id = p_tenant_id'''
    ),
    (
        'Nobody can attach our own triggers',
        'GRANT EXECUTE ON FUNCTION rules_internal.audit_insert() TO rules_app'
    ),
    (
        'A view reads with the rights of who asks',
        'CREATE VIEW rules.planted AS SELECT count(*) FROM rules.rules'
    ),
    (
        'There are no other types, operators',
        'CREATE TYPE rules.planted AS ENUM (''a'')'
    ),
    (
        'There are no other types, operators',
        'CREATE DOMAIN rules.uuid AS text'
    ),
    (
        'There are no other types, operators',
        'CREATE OPERATOR rules.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_eq)'
    ),
    (
        'There are no other types, operators',
        'CREATE FUNCTION rules.planted(uuid) RETURNS integer LANGUAGE sql AS '
        || '''SELECT 1''; CREATE CAST (uuid AS integer) WITH FUNCTION '
        || 'rules.planted(uuid)'
    ),
    (
        'There are no other types, operators',
        'CREATE PUBLICATION planted FOR TABLE rules.rules'
    ),
    (
        'There are no other types, operators',
        'DO $do$BEGIN EXECUTE format(''ALTER DATABASE %I SET row_security = '
        || 'off'', current_database()); END$do$'
    ),
    (
        'There are no other types, operators',
        'CREATE FUNCTION rules_internal.planted() RETURNS event_trigger '
        || 'LANGUAGE plpgsql AS ''BEGIN END''; CREATE EVENT TRIGGER planted ON '
        || 'ddl_command_end EXECUTE FUNCTION rules_internal.planted()'
    )
) AS broken (description, statement);

SELECT is_empty(
    'SELECT description FROM checks EXCEPT SELECT description FROM caught',
    'Each of these rules has been broken'
);
