-- Revert pgrules:000033_rule_sql from pg

BEGIN;

DROP FUNCTION rules.rule_sql(uuid, regclass, name, name);
DROP FUNCTION rules_internal.row_query(text, uuid, uuid, oid, text, text);
DROP FUNCTION rules_internal.raise_row_failure(text, uuid, oid, jsonb);
DROP FUNCTION rules_internal.check_facts_column(text, oid, text, text);
DROP FUNCTION rules_internal.open_relation(text, oid);
DROP FUNCTION rules_internal.raise_no_relation(text, text);
DROP FUNCTION rules_internal.row_facts(oid, text, text[], text);
DROP FUNCTION rules_internal.relation_columns(oid);
DROP FUNCTION rules_internal.exact_text(anyelement);
DROP FUNCTION rules_internal.readable_type(oid);

COMMIT;
