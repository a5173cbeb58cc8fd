"""Random rules and facts: the rules that are true are among the candidates.

``python -m tests.unit.cel.candidates 200000 [SEED]`` tries so many pairs of a rule and
facts and prints the rules that match and are not found by their access keys.
"""

from __future__ import annotations

import sys
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from pgrules.cel import CelError, Environment, EvaluationError, compile_expression
from pgrules.cel.activation import activate, compile_derived
from pgrules.cel.facts import facts_to_json, parse_facts
from pgrules.cel.key_index import Entry, Shapes
from pgrules.cel.keys import Keys, access_keys
from tests.unit.cel import generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgrules.cel import Program
    from pgrules.cel.facts import Facts

_DYNAMIC = Environment()
_DECLARED = Environment.from_json(generation.KEY_DOCUMENT)
_FIELDS = compile_derived(_DECLARED)
_LIMIT = _DECLARED.limits.cost


class Rule(NamedTuple):
    """A compiled rule with its keys and what the index has of them."""

    program: Program
    keys: Keys
    entries: set[Entry]


class Outcome(NamedTuple):
    """What came of one rule over one fact."""

    rule: Rule
    facts: Facts
    matches: bool
    found: bool

    @property
    def is_missed(self) -> bool:
        """Whether the rule matches and is no candidate."""
        return self.matches and not self.found

    def __str__(self) -> str:
        return f"{self.rule.program.text}\n  {self.rule.keys}\n  {self.facts}"


def outcomes(random: Random, rules: int = 20, facts: int = 20) -> Iterator[Outcome]:
    """So many rules of one tenant, each over so many facts."""
    declared = random.random() < 0.5
    shapes = Shapes()
    stored: list[Rule] = []
    while len(stored) < rules:
        compiled = _rule(random, declared=declared)
        if compiled is not None:
            keys = access_keys(compiled.tree, compiled.environment)
            stored.append(Rule(compiled, keys, shapes.entries(keys)))
    # As in the database, where another session looks up.
    shapes = Shapes(shapes.added)
    for _ in range(facts):
        made = (generation.key_facts if declared else generation.facts)(random)
        given = parse_facts(facts_to_json(made))
        questions = shapes.questions(given)
        for rule in stored:
            found = any(map(questions.finds, rule.entries))
            yield Outcome(rule, given, _matches(rule.program, given), found)


def _rule(random: Random, *, declared: bool) -> Program | None:
    names = generation.KEY_NAMES if declared else generation.NAMES
    text = generation.rule(random, random.randint(0, 4), names)
    try:
        return compile_expression(text, _DECLARED if declared else _DYNAMIC)
    except CelError:
        return None


def _matches(program: Program, facts: Facts) -> bool:
    fields = _FIELDS if program.environment is _DECLARED else {}
    try:
        return program.interpret(activate(facts, fields, _LIMIT)) is True
    except EvaluationError:
        return False


def main() -> int:
    """Try as many pairs as the command line says."""
    pairs = int(sys.argv[1])
    random = Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)  # noqa: S311
    done = matching = found = missed = 0
    while done < pairs:
        for outcome in outcomes(random):
            done += 1
            matching += outcome.matches
            found += outcome.found
            if outcome.is_missed:
                missed += 1
                sys.stdout.write(f"{outcome}\n")
    sys.stdout.write(f"{matching} matched, {found} were candidates\n")
    sys.stdout.write(f"{done - missed} passed, {missed} failed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
