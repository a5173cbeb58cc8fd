-- Revert pgrules:000038_rule_versions from pg

BEGIN;

DROP FUNCTION rules.restore_rule(uuid, integer);
DROP FUNCTION rules.compare_rule_versions(uuid, integer, integer);
DROP FUNCTION rules_internal.rule_version(text, uuid, integer);
DROP FUNCTION rules.rule_versions(uuid);
DROP FUNCTION rules_internal.history(uuid, text);

COMMIT;
