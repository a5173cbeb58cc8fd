-- Revert pgrules:000004_stamp_row from pg

BEGIN;

DROP FUNCTION rules_internal.stamp_row();

COMMIT;
