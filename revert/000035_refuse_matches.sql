-- Revert pgrules:000035_refuse_matches from pg

BEGIN;

DROP FUNCTION rules.refuse_matches();

COMMIT;
