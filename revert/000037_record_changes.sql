-- Revert pgrules:000037_record_changes from pg

BEGIN;

DO $triggers$
DECLARE
    v_relation text;
    v_event text;
BEGIN
    FOREACH v_relation IN ARRAY ARRAY['rules', 'schemas', 'derived_fields'] LOOP
        FOREACH v_event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            EXECUTE pg_catalog.format(
                'DROP TRIGGER %I ON rules.%I',
                v_relation || '_audit_' || v_event, v_relation
            );
        END LOOP;
    END LOOP;
END;
$triggers$;
DROP TRIGGER tenants_audit ON rules.tenants;
DROP TRIGGER tenants_audit_truncate ON rules.tenants;
DROP TRIGGER tenant_logins_audit ON rules.tenant_logins;
DROP TRIGGER tenant_logins_audit_truncate ON rules.tenant_logins;
DROP FUNCTION rules_internal.audit_truncated_tenants();
DROP FUNCTION rules_internal.audit_tenant();
DROP FUNCTION rules_internal.audit_truncate();
DROP FUNCTION rules_internal.audit_delete();
DROP FUNCTION rules_internal.audit_update();
DROP FUNCTION rules_internal.audit_insert();

COMMIT;
