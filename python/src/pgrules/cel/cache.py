"""Compiled programs by their content, so that nothing is compiled twice.

The key is the expression's text and its environment, never a rule's id: after a
rollback an id or a counter would name another program. The cache is bounded by the
nodes of the programs it holds, which their memory follows (about 1 KB a node), and
forgets the one that was unused for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from .activation import Fields, compile_derived
from .environment import Environment
from .errors import InvalidExpression
from .program import Program, compile_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .rule_set import RuleSet

# Some 80 MB at the most; ten thousand rules of ten nodes.
CAPACITY = 100_000

# A refusal is kept too: a rule that stopped compiling must not cost a compilation
# each time it is met.
_REFUSAL_NODES = 10


class Compiled(NamedTuple):
    """An environment with the programs of its derived fields."""

    environment: Environment
    fields: Fields


class EnvironmentCache:
    """Environments by the text of their documents, the latest few."""

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self._empty = Compiled(Environment(), {})
        self._entries: OrderedDict[str, Compiled] = OrderedDict()

    def compiled(self, document: str) -> Compiled:
        """The environment that a document describes, see ``Environment.from_json``.

        Raises what that raises.
        """
        if document == "{}":
            return self._empty
        entry = self._entries.get(document)
        if entry is None:
            environment = Environment.from_json(document)
            entry = Compiled(environment, compile_derived(environment))
            self._entries[document] = entry
            if len(self._entries) > self.capacity:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(document)
        return entry


class ProgramCache:
    """The programs of one environment after the other, least recently used out.

    ``give_way`` is called before each compilation; it may raise :class:`Interrupted`.
    """

    def __init__(
        self, capacity: int = CAPACITY, give_way: Callable[[], None] | None = None
    ) -> None:
        self.capacity = capacity
        self.nodes = 0
        self._give_way = give_way
        self._entries: OrderedDict[
            tuple[str, str], tuple[Program | InvalidExpression, int]
        ] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def program(self, text: str, digest: str, environment: Environment) -> Program:
        """The program of an expression, compiled when it is not there.

        ``digest`` stands for the environment: equal digests, equal environments.
        Raises what :func:`compile_expression` raises.
        """
        key = (text, digest)
        entry = self._entries.get(key)
        if entry is None:
            # Many are compiled in one call: all of a tenant's, for a new schema.
            if self._give_way is not None:
                self._give_way()
            entry = self._compile(text, environment)
            self._entries[key] = entry
            self.nodes += entry[1]
            self._forget()
        else:
            self._entries.move_to_end(key)
        outcome = entry[0]
        if isinstance(outcome, InvalidExpression):
            raise outcome.with_traceback(None)
        return outcome

    def resize(self, capacity: int) -> None:
        """Keep so many nodes from now on."""
        self.capacity = capacity
        self._forget()

    def _forget(self) -> None:
        while self.nodes > self.capacity and len(self._entries) > 1:
            _, (_, freed) = self._entries.popitem(last=False)
            self.nodes -= freed

    @staticmethod
    def _compile(
        text: str, environment: Environment
    ) -> tuple[Program | InvalidExpression, int]:
        try:
            program = compile_expression(text, environment)
        except InvalidExpression as refusal:
            return refusal, _REFUSAL_NODES
        return program, program.nodes


class RuleSetCache:
    """Rule sets by a key that stands for their rules, least recently used out.

    The environment's document is part of the key. A set beyond the capacity is not
    kept. What the sets weigh, the programs of a session may not: see ``programs_left``.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.nodes = 0
        self._entries: OrderedDict[tuple[Hashable, str], RuleSet] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def programs_left(self) -> int:
        """Nodes of programs that the sets leave room for; theirs take half as much."""
        return CAPACITY - self.nodes // 2

    def get(self, key: Hashable, document: str) -> RuleSet | None:
        """The rule set of this key and environment, if it is kept."""
        rules = self._entries.get((key, document))
        if rules is not None:
            self._entries.move_to_end((key, document))
        return rules

    def put(self, key: Hashable, document: str, rules: RuleSet) -> None:
        """Keep a rule set, in place of those that were unused for longest."""
        if rules.nodes > self.capacity:
            return
        former = self._entries.pop((key, document), None)
        if former is not None:
            self.nodes -= former.nodes
        # First what may lack memory: nothing is counted that is not there.
        self._entries[key, document] = rules
        self.nodes += rules.nodes
        while self.nodes > self.capacity:
            _, oldest = self._entries.popitem(last=False)
            self.nodes -= oldest.nodes
