-- Revert pgrules:000040_shorten_audit from pg

BEGIN;

DROP FUNCTION rules_internal.shorten_audit(timestamptz, uuid);

COMMIT;
