-- Deploy pgrules:000004_stamp_row to pg
-- requires: 000002_namespaces
--
-- Trigger function: every update leaves its time in updated_at.

BEGIN;

SET LOCAL ROLE rules_owner;

CREATE FUNCTION rules_internal.stamp_row() RETURNS trigger
LANGUAGE plpgsql
AS $function$
BEGIN
    -- The clock, not the start of the transaction: two updates of one transaction
    -- are told apart, and so are two inserts (whose default is the same clock).
    NEW.updated_at := pg_catalog.clock_timestamp();
    RETURN NEW;
END;
$function$;

COMMENT ON FUNCTION rules_internal.stamp_row() IS
'Trigger: sets updated_at to the time of the update.';

REVOKE ALL ON FUNCTION rules_internal.stamp_row() FROM public;

COMMIT;
