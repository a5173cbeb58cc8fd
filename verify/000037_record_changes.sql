-- Verify pgrules:000037_record_changes on pg
--
-- Each trigger is there and on; each function with its properties, its owner, and
-- everyone else who may execute it.

BEGIN;

SET LOCAL search_path = pg_catalog;

DO $triggers$
DECLARE
    v_trigger text;
BEGIN
    SET LOCAL plpgsql.check_asserts = on;
    FOR v_trigger IN
        SELECT * FROM (
            VALUES
            (
                'CREATE TRIGGER tenants_audit AFTER INSERT OR DELETE OR UPDATE '
                || 'ON rules.tenants FOR EACH ROW EXECUTE FUNCTION '
                || 'rules_internal.audit_tenant(''tenant'')'
            ),
            (
                'CREATE TRIGGER tenants_audit_truncate BEFORE TRUNCATE ON '
                || 'rules.tenants FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_truncated_tenants(''tenant'')'
            ),
            (
                'CREATE TRIGGER tenant_logins_audit AFTER INSERT OR DELETE OR '
                || 'UPDATE ON rules.tenant_logins FOR EACH ROW EXECUTE FUNCTION '
                || 'rules_internal.audit_tenant(''tenant login'')'
            ),
            (
                'CREATE TRIGGER tenant_logins_audit_truncate BEFORE TRUNCATE '
                || 'ON rules.tenant_logins FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_truncated_tenants(''tenant login'')'
            ),
            (
                'CREATE TRIGGER schemas_audit_delete AFTER DELETE ON '
                || 'rules.schemas REFERENCING OLD TABLE AS deleted FOR EACH '
                || 'STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_delete(''schema'', '
                || '''{tenant_id,id,created_at,updated_at}'')'
            ),
            (
                'CREATE TRIGGER schemas_audit_insert AFTER INSERT ON '
                || 'rules.schemas REFERENCING NEW TABLE AS inserted FOR EACH '
                || 'STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_insert(''schema'', '
                || '''{tenant_id,id,created_at,updated_at}'')'
            ),
            (
                'CREATE TRIGGER schemas_audit_truncate BEFORE TRUNCATE ON '
                || 'rules.schemas FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_truncate(''schema'', '
                || '''{tenant_id,id,created_at,updated_at}'')'
            ),
            (
                'CREATE TRIGGER schemas_audit_update AFTER UPDATE ON '
                || 'rules.schemas REFERENCING OLD TABLE AS former NEW TABLE AS '
                || 'updated FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_update(''schema'', '
                || '''{tenant_id,id,created_at,updated_at}'')'
            ),
            (
                'CREATE TRIGGER rules_audit_delete AFTER DELETE ON rules.rules '
                || 'REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE '
                || 'FUNCTION rules_internal.audit_delete(''rule'', '
                || '''{tenant_id,id,created_at,updated_at,estimated_cost}'')'
            ),
            (
                'CREATE TRIGGER rules_audit_insert AFTER INSERT ON rules.rules '
                || 'REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE '
                || 'FUNCTION rules_internal.audit_insert(''rule'', '
                || '''{tenant_id,id,created_at,updated_at,estimated_cost}'')'
            ),
            (
                'CREATE TRIGGER rules_audit_truncate BEFORE TRUNCATE ON '
                || 'rules.rules FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_truncate(''rule'', '
                || '''{tenant_id,id,created_at,updated_at,estimated_cost}'')'
            ),
            (
                'CREATE TRIGGER rules_audit_update AFTER UPDATE ON rules.rules '
                || 'REFERENCING OLD TABLE AS former NEW TABLE AS updated FOR EACH '
                || 'STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_update(''rule'', '
                || '''{tenant_id,id,created_at,updated_at,estimated_cost}'')'
            ),
            (
                'CREATE TRIGGER derived_fields_audit_delete AFTER DELETE ON '
                || 'rules.derived_fields REFERENCING OLD TABLE AS deleted FOR '
                || 'EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_delete(''derived field'', '
                || '''{tenant_id,id,created_at,updated_at,dependencies}'')'
            ),
            (
                'CREATE TRIGGER derived_fields_audit_insert AFTER INSERT ON '
                || 'rules.derived_fields REFERENCING NEW TABLE AS inserted FOR '
                || 'EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_insert(''derived field'', '
                || '''{tenant_id,id,created_at,updated_at,dependencies}'')'
            ),
            (
                'CREATE TRIGGER derived_fields_audit_truncate BEFORE TRUNCATE '
                || 'ON rules.derived_fields FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_truncate(''derived field'', '
                || '''{tenant_id,id,created_at,updated_at,dependencies}'')'
            ),
            (
                'CREATE TRIGGER derived_fields_audit_update AFTER UPDATE ON '
                || 'rules.derived_fields REFERENCING OLD TABLE AS former NEW '
                || 'TABLE AS updated FOR EACH STATEMENT EXECUTE FUNCTION '
                || 'rules_internal.audit_update(''derived field'', '
                || '''{tenant_id,id,created_at,updated_at,dependencies}'')'
            )
        ) AS expected (definition)
    LOOP
        ASSERT EXISTS (
            SELECT FROM pg_trigger
            WHERE tgenabled = 'O' AND pg_get_triggerdef(oid) = v_trigger
        ), format('missing or disabled: %s', v_trigger);
    END LOOP;
END;
$triggers$;

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
                'rules_internal.audit_insert()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.audit_update()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.audit_delete()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.audit_truncate()',
                'plpgsql VOLATILE search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.audit_tenant()',
                'plpgsql VOLATILE SECURITY DEFINER search_path=pg_catalog, pg_temp',
                'rules_owner',
                ''
            ),
            (
                'rules_internal.audit_truncated_tenants()',
                'plpgsql VOLATILE search_path=pg_catalog, pg_temp',
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
END;
$functions$;

ROLLBACK;
