"""Many rules and one fact, from its JSON text to the ids of the rules that match."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from tests.benchmarks.measuring import Workload
from tests.benchmarks.peers import MEMORY, PEERS
from tests.benchmarks.peers.contestant import Team
from tests.benchmarks.peers.formats import cel
from tests.benchmarks.rules import ORDER, rule_set
from tests.benchmarks.surroundings import store_rules

from .cases import of_contestant, of_statement

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tests.benchmarks.rules import Rule
    from tests.benchmarks.surroundings import Surroundings

COUNTS: Final = (10, 100, 1_000, 10_000)
DIFFERENT: Final = 1_000

EVALUATE_ALL: Final = (
    "SELECT rule_id FROM rules.evaluate_all(%s::jsonb, matched_only => true)"
)
MATCH_RULES: Final = "SELECT rule_id FROM rules.match_rules(%s::jsonb)"


def workloads(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """Each size in turn: pgrules in the database and in memory, and every peer."""
    for count in COUNTS:
        if count <= surroundings.sizes.rules:
            yield from _side_by_side(
                surroundings, f"many_rules {count}", f"{count:,} rules", rule_set(count)
            )
    yield from _side_by_side(
        surroundings,
        "many_forms",
        f"{DIFFERENT:,} rules of as many forms",
        rule_set(DIFFERENT, forms=DIFFERENT),
    )


def _side_by_side(
    surroundings: Surroundings, name: str, what: str, rules: Sequence[Rule]
) -> Generator[Workload, None, None]:
    facts = json.dumps(ORDER)
    matching = sorted(rule.id for rule in rules if rule.matches(ORDER))
    surroundings.remove_rules()
    store_rules(
        surroundings.connection,
        surroundings.tenant_id,
        ((UUID(rule.id), rule.id, cel(rule)) for rule in rules),
    )
    surroundings.admin.execute("VACUUM ANALYZE")
    of_a_rule: dict[str, Any] = {
        "expected": matching,
        "units": len(rules),
        "unit": "rule",
    }
    with Team() as team:
        cases = [
            of_statement(
                surroundings,
                team,
                EVALUATE_ALL,
                (facts,),
                name="evaluate_all",
                aim="at most 0.5 µs a rule" if len(rules) > 1_000 else "",
                **of_a_rule,
            ),
            of_statement(
                surroundings,
                team,
                MATCH_RULES,
                (facts,),
                name="match_rules",
                compared_to="evaluate_all",
                **of_a_rule,
            ),
            *(
                of_contestant(
                    team.add(peer, "rule_set", texts=peer.texts(rules), facts=facts),
                    name="Engine in memory" if peer is MEMORY else peer.name,
                    compared_to="evaluate_all",
                    **of_a_rule,
                )
                for peer in (MEMORY, *PEERS)
            ),
        ]
        yield Workload(
            name,
            f"{what}, one fact; {len(matching)} match",
            tuple(cases),
            note=(
                "From JSON text to the list of ids. The first two are a round trip"
                " to the server, which holds the rules; the others run in the"
                " process of the caller, which holds them compiled."
            ),
        )
