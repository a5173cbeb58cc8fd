"""The engines that pgrules is compared with, and how a rule is written for each.

``formats`` writes rules in an engine's own form, ``adapters`` and ``worker.cjs`` use
the engines as their documentation advises, ``tasks`` says what is done again and
again, ``contestant`` is the process that does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import formats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.rules import Rule

PYTHON: Final = "Python"
NODE: Final = "Node"


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine, used in one way."""

    name: str
    """As `adapters.ADAPTERS` or ``worker.cjs`` call it."""
    package: str
    """What is installed for it."""
    runs_in: str
    text: Callable[[Rule], str]
    """A rule in its own form."""
    is_table: bool = False
    """Whether all rules of a set are one document."""

    def texts(self, rules: Sequence[Rule]) -> list[tuple[str, str]]:
        """A rule set in its own form: id and text of each, or of the one document."""
        if self.is_table:
            return [("rules", formats.zen_table(rules))]
        return [(rule.id, self.text(rule)) for rule in rules]


MEMORY: Final = Peer("pgrules", "pgrules", PYTHON, formats.cel)
"""pgrules without a database."""

PEERS: Final = (
    Peer("zen-engine", "zen-engine", PYTHON, formats.zen_expression),
    Peer(
        "zen-engine table",
        "zen-engine",
        PYTHON,
        formats.zen_expression,
        is_table=True,
    ),
    Peer(
        "common-expression-language",
        "common-expression-language",
        PYTHON,
        formats.cel,
    ),
    Peer("cel-expr-python", "cel-expr-python", PYTHON, formats.cel),
    Peer("cel-python", "cel-python", PYTHON, formats.cel),
    Peer("rule-engine", "rule-engine", PYTHON, formats.rule_engine),
    Peer("json-logic", "json-logic-modernized", PYTHON, formats.json_logic),
    Peer("json-logic-engine", "json-logic-engine", NODE, formats.json_logic),
    Peer("json-rules-engine", "json-rules-engine", NODE, formats.json_rules_engine),
)

ONE_BY_ONE: Final = tuple(peer for peer in PEERS if not peer.is_table)
"""Peers as they are used where there is one rule."""
