"""Both evaluators over random expressions and facts, held against each other.

``python -m tests.unit.cel.differential 200000 [SEED]`` holds so many pairs of an
expression and facts against each other, then about as many rules of sets, and prints
what differs.
"""

from __future__ import annotations

import math
import sys
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Any

from pgrules.cel import CelError, Environment, EvaluationError, compile_expression
from pgrules.cel.activation import activate, compile_derived
from pgrules.cel.rule_set import RuleSet
from tests.unit.cel import generation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgrules.cel import Program

_DYNAMIC = Environment()
_DECLARED = Environment.from_json(generation.DOCUMENT)
_FIELDS = compile_derived(_DECLARED)
_LIMIT = _DECLARED.limits.cost
_FACTS_EACH = 5


def program(random: Random, *, declared: bool) -> Program | None:
    """A warm program of a random expression, or None where it does not compile."""
    names = generation.DECLARED if declared else generation.NAMES
    text = generation.expression(random, random.randint(1, 5), names)
    try:
        compiled = compile_expression(text, _DECLARED if declared else _DYNAMIC)
    except CelError:
        return None
    compiled.generate()
    return compiled


def outcomes(
    compiled: Program, random: Random, *, declared: bool
) -> tuple[generation.Facts, Any, Any]:
    """Random facts, and what the closures and the generated code make of them."""
    facts = (generation.declared_facts if declared else generation.facts)(random)
    fields = _FIELDS if declared else {}
    return (
        facts,
        _outcome(compiled.interpret, activate(facts, fields, _LIMIT)),
        _outcome(compiled.evaluate, activate(facts, fields, _LIMIT)),
    )


def rule_set(random: Random, *, declared: bool) -> RuleSet:
    """A set of random rules, all of whose functions are compiled."""
    names = generation.DECLARED if declared else generation.NAMES
    environment = _DECLARED if declared else _DYNAMIC
    texts = generation.rules(random, 20, names)
    programs: dict[str, Program] = {}

    def compiled(text: str) -> Program:
        if text not in programs:
            programs[text] = compile_expression(text, environment)
        return programs[text]

    rules = RuleSet(texts, compiled, _FIELDS if declared else ())
    rules.generate()
    return rules


def set_outcomes(
    rules: RuleSet, random: Random, *, declared: bool
) -> tuple[generation.Facts, Any, Any, Any]:
    """Random facts; what each rule's closures, the set, and its matches are of them."""
    facts = (generation.declared_facts if declared else generation.facts)(random)
    fields = _FIELDS if declared else {}
    environment = _DECLARED if declared else _DYNAMIC
    shared = activate(facts, fields, _LIMIT)
    expected: list[tuple[bool, str | None]] = []
    for text in rules.expressions:
        try:
            value = compile_expression(text, environment).interpret(shared)
        except CelError as error:
            expected.append((False, str(error)))
        else:
            expected.append((value is True, None))
    matched, errors = rules.evaluate(activate(facts, fields, _LIMIT))
    found = [(n in matched, errors.get(n)) for n in range(len(expected))]
    matches = rules.evaluate(activate(facts, fields, _LIMIT), matched_only=True).matched
    return facts, expected, found, [(n in matches) for n in range(len(expected))]


def set_differences(sets: int, seed: int) -> Iterator[str]:
    """Every rule of so many sets in which set and closures differ."""
    random = Random(seed)  # noqa: S311 - wanted to be repeatable
    for _ in range(sets):
        declared = random.random() < 0.3
        rules = rule_set(random, declared=declared)
        for _ in range(_FACTS_EACH):
            facts, expected, found, matches = set_outcomes(
                rules, random, declared=declared
            )
            for text, one, other, match in zip(
                rules.expressions, expected, found, matches, strict=True
            ):
                if one != other or one[0] is not match:
                    yield f"{text}\n  {facts}\n  {one!r}\n  {other!r} {match}"


def _outcome(evaluate: Callable[..., Any], variables: generation.Facts) -> Any:
    try:
        return evaluate(variables)
    except EvaluationError as error:
        return error


def alike(left: Any, right: Any) -> bool:
    """Whether two outcomes are the same value of the same type, or the same error."""
    if type(left) is not type(right):
        return False
    if isinstance(left, EvaluationError):
        return str(left) == str(right)
    if isinstance(left, float):
        if math.isnan(left):
            return math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            alike(value, right[key]) for key, value in left.items()
        )
    return bool(left == right)


def differences(pairs: int, seed: int) -> Iterator[str]:
    """Every pair, of so many, in which the evaluators differ."""
    random = Random(seed)  # noqa: S311 - wanted to be repeatable
    done = 0
    while done < pairs:
        declared = random.random() < 0.3
        compiled = program(random, declared=declared)
        if compiled is None:
            continue
        for _ in range(_FACTS_EACH):
            facts, expected, found = outcomes(compiled, random, declared=declared)
            done += 1
            if not alike(expected, found):
                yield f"{compiled.text}\n  {facts}\n  {expected!r}\n  {found!r}"


def main() -> int:
    """Run as many pairs as the command line says."""
    pairs = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed = 0
    for difference in chain(
        differences(pairs, seed), set_differences(pairs // 100, seed)
    ):
        failed += 1
        sys.stdout.write(f"{difference}\n")
    sys.stdout.write(f"{pairs - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
