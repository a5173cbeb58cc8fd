"""One small rule and one fact: what a decision costs beyond a round trip."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pgrules import Engine, InMemoryRuleStore, Rule
from tests.benchmarks.measuring import Case, Workload

if TYPE_CHECKING:
    from tests.benchmarks.surroundings import Surroundings

EXPRESSION = 'User.Age >= 18 && Transaction.Country in ["AT", "CH", "DE"]'
FACTS: dict[str, Any] = {
    "User": {"Age": 42, "Name": "Ada", "Since": "2019-05-01T00:00:00Z"},
    "Transaction": {"Amount": 129.9, "Country": "CH", "Items": [3, 5, 8]},
}


def workload(surroundings: Surroundings) -> Workload:
    """One prepared connection of an application login; the same rule in memory."""
    surroundings.remove_rules()
    (rule_id,) = surroundings.add_rules([("adult in region", EXPRESSION)])
    tenant_id = surroundings.tenant_id
    facts = json.dumps(FACTS)
    cursor = surroundings.connection.cursor()

    store = InMemoryRuleStore()
    store.add(Rule(rule_id, "adult in region", EXPRESSION))
    engine = Engine(store)

    def query(statement: str, parameters: tuple[object, ...] = ()) -> object:
        return cursor.execute(statement, parameters).fetchone()

    return Workload(
        "One rule, one fact",
        (
            Case("SELECT 1", lambda: query("SELECT 1"), expected=(1,)),
            Case(
                "read the row under RLS",
                lambda: query(
                    "SELECT expression FROM rules.rules"
                    " WHERE tenant_id = %s AND id = %s",
                    (tenant_id, rule_id),
                ),
                expected=(EXPRESSION,),
                compared_to="SELECT 1",
            ),
            Case(
                "evaluate",
                lambda: query(
                    "SELECT matched, error FROM rules.evaluate(%s, %s::jsonb)",
                    (rule_id, facts),
                ),
                expected=(True, None),
                compared_to="read the row under RLS",
                aim="at most 3",
            ),
            Case(
                "evaluate, with trace",
                lambda: query(
                    "SELECT matched, error FROM rules.evaluate(%s, %s::jsonb, true)",
                    (rule_id, facts),
                ),
                expected=(True, None),
                compared_to="read the row under RLS",
            ),
            Case(
                "matches",
                lambda: query("SELECT rules.matches(%s, %s::jsonb)", (rule_id, facts)),
                expected=(True,),
                compared_to="read the row under RLS",
            ),
            Case(
                "Engine in memory, evaluate",
                lambda: engine.evaluate(rule_id, FACTS).matched,
                expected=True,
                compared_to="SELECT 1",
                aim="under 1 ms",
            ),
        ),
        note="Each case in the database is one statement and one round trip.",
    )
