"""Many rules and one fact: what a rule costs beyond the decoding of the facts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pgrules import Engine, InMemoryRuleStore, Rule
from tests.benchmarks.measuring import Case, Workload

from .one_rule import FACTS

if TYPE_CHECKING:
    from tests.benchmarks.surroundings import Surroundings

RULES = 100
# Ages from 0 to 99 against a user of 42: these match.
MATCHING = 43


def workload(surroundings: Surroundings) -> Workload:
    """``evaluate_all`` over a hundred rules, in the database and in memory."""
    rules = [
        (f"age {age}", f'User.Age >= {age} && Transaction.Country != "US"')
        for age in range(RULES)
    ]
    surroundings.remove_rules()
    ids = surroundings.add_rules(rules)
    cursor = surroundings.connection.cursor()
    facts = json.dumps(FACTS)

    store = InMemoryRuleStore()
    for rule_id, (name, expression) in zip(ids, rules, strict=True):
        store.add(Rule(rule_id, name, expression))
    engine = Engine(store)

    def results() -> int:
        cursor.execute(
            "SELECT rule_id, rule_name, matched, error"
            " FROM rules.evaluate_all(%s::jsonb)",
            (facts,),
        )
        return sum(matched for _, _, matched, _ in cursor)

    def count() -> object:
        cursor.execute(
            "SELECT count(*) FROM rules.evaluate_all(%s::jsonb) WHERE matched",
            (facts,),
        )
        row = cursor.fetchone()
        return row and row[0]

    return Workload(
        f"{RULES} rules, one fact",
        (
            Case("SELECT 1", lambda: cursor.execute("SELECT 1").fetchone(), (1,)),
            Case(
                "evaluate_all, results fetched",
                results,
                expected=MATCHING,
                compared_to="SELECT 1",
                units=RULES,
                unit="rule",
            ),
            Case(
                "evaluate_all, matches counted in SQL",
                count,
                expected=MATCHING,
                compared_to="SELECT 1",
                units=RULES,
                unit="rule",
            ),
            Case(
                "Engine in memory, evaluate_all",
                lambda: sum(r.matched for r in engine.evaluate_all(FACTS)),
                expected=MATCHING,
                compared_to="SELECT 1",
                units=RULES,
                unit="rule",
            ),
        ),
    )
