-- Revert pgrules:000019_rule_sets from pg

BEGIN;

DROP TRIGGER rules_renew_sets_truncate ON rules.rules;
DROP TRIGGER rules_renew_sets_delete ON rules.rules;
DROP TRIGGER rules_renew_sets_move ON rules.rules;
DROP TRIGGER rules_renew_sets_update ON rules.rules;
DROP TRIGGER rules_renew_sets_insert ON rules.rules;
DROP TRIGGER rules_renew_own_set ON rules.rules;
DROP FUNCTION rules_internal.renew_all_rule_sets();
DROP FUNCTION rules_internal.renew_rule_sets();
DROP FUNCTION rules_internal.renew_own_rule_set();
DROP FUNCTION rules_internal.renew_rule_set(uuid);
DROP FUNCTION rules_internal.rule_set_key(uuid);
DROP TABLE rules_internal.rule_set_tokens;

COMMIT;
