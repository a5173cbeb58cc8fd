-- All rules of $fairwing_name, judging flight $flight.
SET app.tenant_id = '$fairwing';
SELECT result.rule_name, result.matched, result.error
FROM flights_demo.flights AS flight,
    rules.evaluate_all(flight.facts) AS result
WHERE flight.id = $flight;

-- A rule in a WHERE clause: which carriers owed most meals in January?
SET app.tenant_id = '$fairwing';
SELECT facts #>> '{Flight,CarrierName}' AS carrier, count(*)
FROM flights_demo.flights
WHERE id <= 27004 AND rules.matches('$meal', facts)
GROUP BY carrier
ORDER BY count(*) DESC;

-- An expression that is no rule yet: how late were the aircraft's earlier legs?
SET app.tenant_id = '$skyledger';
SELECT rules.evaluate_expression(
        'Aircraft.EarlierLegs.map(leg, has(leg.ArrivalDelay), leg.ArrivalDelay)', facts
    ) AS delays
FROM flights_demo.flights
WHERE id = $flight;
