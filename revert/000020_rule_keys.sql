-- Revert pgrules:000020_rule_keys from pg

BEGIN;

DROP TRIGGER rules_keys_truncate ON rules.rules;
DROP TRIGGER rules_keys_delete ON rules.rules;
DROP TRIGGER rules_keys_update ON rules.rules;
DROP TRIGGER rules_keys_insert ON rules.rules;
DROP FUNCTION rules_internal.candidate_rules(uuid, text, jsonb[], text[]);
DROP FUNCTION rules_internal.truncate_rule_keys();
DROP FUNCTION rules_internal.update_rule_keys();
DROP FUNCTION rules_internal.remove_rule_keys();
DROP FUNCTION rules_internal.insert_rule_keys();
DROP FUNCTION rules_internal.renew_rule_keys(uuid);
DROP FUNCTION rules_internal.store_rule_keys(uuid, uuid[], text[]);
DROP FUNCTION rules_internal.delete_rule_keys(uuid, uuid[]);
DROP TABLE rules_internal.rule_key_shapes;
DROP TABLE rules_internal.rule_keys;

COMMIT;
