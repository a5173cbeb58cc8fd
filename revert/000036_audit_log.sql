-- Revert pgrules:000036_audit_log from pg

BEGIN;

DROP TABLE rules_internal.audit_commits;
DROP TABLE rules.tenant_audit_log;
DROP TABLE rules.audit_log;
DROP FUNCTION rules_internal.note_commit();
DROP FUNCTION rules_internal.expect_commit(uuid[]);
DROP FUNCTION rules_internal.keep_audit();

COMMIT;
