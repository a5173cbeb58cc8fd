-- Revert pgrules:000015_cel from pg

BEGIN;

DROP FUNCTION rules_internal.cel_sql;
DROP FUNCTION rules_internal.cel_reads;
DROP FUNCTION rules_internal.cel_cost;
DROP FUNCTION rules_internal.cel_check_environment;
DROP FUNCTION rules_internal.cel_dependencies;
DROP FUNCTION rules_internal.cel_check_schema;
DROP FUNCTION rules_internal.cel_check;
DROP FUNCTION rules_internal.cel_evaluate_expression;
DROP FUNCTION rules_internal.cel_match_batch;
DROP FUNCTION rules_internal.cel_questions;
DROP FUNCTION rules_internal.cel_described_keys;
DROP FUNCTION rules_internal.cel_keys;
DROP FUNCTION rules_internal.cel_evaluate_batch;
DROP FUNCTION rules_internal.cel_evaluate_set;
DROP FUNCTION rules_internal.cel_evaluate;
DROP FUNCTION rules_internal.cel_runtime();

COMMIT;
