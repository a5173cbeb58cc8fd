-- Revert pgrules:000032_record_matches from pg

BEGIN;

DROP FUNCTION rules.record_matches();
DROP FUNCTION rules_internal.same_key(regclass, text[]);
DROP FUNCTION rules_internal.match_columns(text, regclass, text, text[]);
DROP FUNCTION rules_internal.judgement(text, regclass, text, text, text, text[], text);
DROP FUNCTION rules_internal.raise_stranger(text, text);
DROP FUNCTION rules_internal.trigger_options(text, regclass, text[]);
DROP FUNCTION rules_internal.transition_tables(
    text, text, regclass, name, text, text, boolean
);

COMMIT;
