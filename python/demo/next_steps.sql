-- Why: the steps of one rule of $fairwing_name, judging flight $flight.
SET app.tenant_id = '$fairwing';
SELECT step.expression, step.outcome, step.value
FROM flights_demo.flights AS flight,
    rules.explain_rule('$knock_on', flight.facts) AS step
WHERE flight.id = $flight;

-- A rule in a WHERE clause: who owed most meals in January?
SET app.tenant_id = '$fairwing';
SELECT facts #>> '{Flight,CarrierName}' AS carrier, count(*)
FROM flights_demo.flights
WHERE id <= 27004 AND rules.matches('$meal', facts)
GROUP BY carrier
ORDER BY count(*) DESC;

-- No rule yet: how late was this aircraft on its earlier legs of the day?
SET app.tenant_id = '$skyledger';
SELECT rules.evaluate_expression(
        'Aircraft.EarlierLegs.map(leg, has(leg.ArrivalDelay), leg.ArrivalDelay)', facts
    ) AS minutes
FROM flights_demo.flights
WHERE id = $flight;
