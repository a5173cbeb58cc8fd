-- The demo's own tables, beside the rules engine: what is judged, and what was decided.
-- Run as a superuser; may be run again.

CREATE SCHEMA IF NOT EXISTS flights_demo;
COMMENT ON SCHEMA flights_demo IS
    'The demo: flights as facts, and the decisions of two tenants. DROP it freely.';
GRANT USAGE ON SCHEMA flights_demo TO rules_app;

-- The tenant, through a function of one's own: PostgreSQL does not look into PL/pgSQL, so
-- that pgrules can be reverted and deployed anew without dropping what uses it.
CREATE OR REPLACE FUNCTION flights_demo.current_tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
BEGIN
    RETURN rules.current_tenant_id();
END;
$function$;
COMMENT ON FUNCTION flights_demo.current_tenant_id() IS
    'rules.current_tenant_id(), without a dependency on it.';

-- Both tables are UNLOGGED: the demo can make their rows again at any time.
CREATE UNLOGGED TABLE IF NOT EXISTS flights_demo.flights (
    id integer CONSTRAINT flights_pkey PRIMARY KEY,
    facts jsonb NOT NULL
);
COMMENT ON TABLE flights_demo.flights IS
    'Departures from New York in 2013: Flight, Aircraft and Weather of each.';
GRANT SELECT ON flights_demo.flights TO rules_app;

CREATE UNLOGGED TABLE IF NOT EXISTS flights_demo.decisions (
    tenant_id uuid NOT NULL DEFAULT flights_demo.current_tenant_id(),
    flight_id integer NOT NULL,
    rule_id uuid NOT NULL,
    rule_name text NOT NULL,
    error text,
    CONSTRAINT decisions_pkey PRIMARY KEY (tenant_id, flight_id, rule_id)
);
COMMENT ON TABLE flights_demo.decisions IS
    'A row for each rule that fired for a flight, and for each that had no answer '
    '(error is not null). Rules that did not fire leave no row.';
GRANT SELECT, INSERT ON flights_demo.decisions TO rules_app;

-- A table of one's own is kept apart by tenant in the way that the engine's tables are.
ALTER TABLE flights_demo.decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE flights_demo.decisions FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS decisions_rules_app ON flights_demo.decisions;
CREATE POLICY decisions_rules_app ON flights_demo.decisions
    FOR ALL TO rules_app
    USING (tenant_id = flights_demo.current_tenant_id())
    WITH CHECK (tenant_id = flights_demo.current_tenant_id());
