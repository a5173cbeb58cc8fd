"""One small rule and one fact: what a decision costs beyond a round trip."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pgrules import Engine, InMemoryRuleStore
from pgrules import Rule as StoredRule
from tests.benchmarks.measuring import Case, Workload
from tests.benchmarks.peers import NODE, ONE_BY_ONE
from tests.benchmarks.peers.contestant import Team
from tests.benchmarks.peers.formats import cel
from tests.benchmarks.rules import Clause, Rule

from .cases import of_contestant, of_statement

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.benchmarks.surroundings import Surroundings

RULE: Final = Rule(
    "00000000-0000-4000-8000-000000000001",
    (
        Clause("User", "Age", ">=", 18),
        Clause("Transaction", "Country", "in", ("AT", "CH", "DE")),
    ),
)
EXPRESSION: Final = cel(RULE)
FACTS: Final[dict[str, Any]] = {
    "User": {"Age": 42, "Name": "Ada", "Since": "2019-05-01T00:00:00Z"},
    "Transaction": {"Amount": 129.9, "Country": "CH", "Items": [3, 5, 8]},
}
FACTS_TEXT: Final = json.dumps(FACTS)
READ_THE_ROW: Final = "read the rule's row"

# Peers' rules lie in the database as ours do: by tenant, under row-level security.
_PEER_RULES: Final = """
CREATE TABLE benchmark.peer_rules (
    tenant_id uuid,
    id uuid,
    peer text,
    content text NOT NULL,
    PRIMARY KEY (tenant_id, id, peer)
);
ALTER TABLE benchmark.peer_rules ENABLE ROW LEVEL SECURITY;
CREATE POLICY peer_rules_rules_app ON benchmark.peer_rules FOR ALL TO rules_app
    USING (tenant_id = rules.current_tenant_id());
GRANT SELECT ON benchmark.peer_rules TO rules_app;
INSERT INTO benchmark.peer_rules (tenant_id, id, peer, content)
SELECT tenant_id, id, 'another', expression FROM rules.rules;
"""
_READ_PEER_RULE: Final = (
    "SELECT content FROM benchmark.peer_rules"
    " WHERE tenant_id = {} AND id = {} AND peer = {}"
)


def workloads(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """The rule stored in the database, and fresh on every call; the same in memory."""
    surroundings.remove_rules()
    (rule_id,) = surroundings.add_rules([("adult in region", EXPRESSION)])
    rule = str(rule_id)

    engine = Engine(InMemoryRuleStore())
    engine.add_rule(StoredRule(rule_id, "adult in region", EXPRESSION))

    statements = (
        ("SELECT 1", "SELECT 1", (), 1),
        (
            READ_THE_ROW,
            """
            SELECT expression FROM rules.rules
            WHERE tenant_id = %s::uuid AND id = %s::uuid
            """,
            (str(surroundings.tenant_id), rule),
            EXPRESSION,
        ),
        (
            "evaluate",
            "SELECT matched FROM rules.evaluate(%s::uuid, %s::jsonb)",
            (rule, FACTS_TEXT),
            True,
        ),
        (
            "evaluate, with trace",
            "SELECT matched FROM rules.evaluate(%s::uuid, %s::jsonb, true)",
            (rule, FACTS_TEXT),
            True,
        ),
        (
            "matches",
            "SELECT rules.matches(%s::uuid, %s::jsonb)",
            (rule, FACTS_TEXT),
            True,
        ),
    )
    with Team() as team:
        yield Workload(
            "one_rule",
            "One rule, one fact",
            (
                *(
                    of_statement(
                        surroundings,
                        team,
                        statement,
                        parameters,
                        expected=[expected],
                        name=name,
                        compared_to={"SELECT 1": None, READ_THE_ROW: "SELECT 1"}.get(
                            name, READ_THE_ROW
                        ),
                        aim="at most 2.5" if name == "evaluate" else "",
                    )
                    for name, statement, parameters, expected in statements
                ),
                *_peers(surroundings, team),
                Case(
                    "Engine in memory",
                    lambda: engine.evaluate(rule_id, FACTS).matched,
                    expected=True,
                    compared_to=READ_THE_ROW,
                    aim="under 1 ms",
                ),
            ),
            note=(
                "What is in the database is one statement and one round trip, under"
                " row-level security. A peer reads the rule's row with it, and"
                " evaluates in the caller's process what it keeps compiled under the"
                " row's text."
                " Engine in memory reads no row."
            ),
            sample_seconds=0.02,
        )


def _peers(surroundings: Surroundings, team: Team) -> Iterator[Case]:
    surroundings.admin.execute(_PEER_RULES)
    for peer in ONE_BY_ONE:
        surroundings.admin.execute(
            "INSERT INTO benchmark.peer_rules VALUES (%s, %s, %s, %s)",
            (surroundings.tenant_id, UUID(RULE.id), peer.name, peer.text(RULE)),
        )
    surroundings.admin.execute("VACUUM ANALYZE benchmark.peer_rules")
    for peer in ONE_BY_ONE:
        on_node = peer.runs_in == NODE
        places = ("$1", "$2", "$3") if on_node else ("%s", "%s", "%s")
        yield of_contestant(
            team.add(
                peer,
                "stored_rule",
                dsn=surroundings.login,
                tenant=str(surroundings.tenant_id),
                statement=_READ_PEER_RULE.format(*places),
                rule_id=RULE.id,
                facts=FACTS_TEXT,
            ),
            expected=True,
            compared_to=READ_THE_ROW,
        )
