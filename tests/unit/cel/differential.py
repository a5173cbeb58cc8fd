"""Both evaluators over random expressions and facts, held against each other.

``python -m tests.unit.cel.differential 200000 [SEED]`` holds so many pairs of an
expression and facts against each other and prints what differs.
"""

from __future__ import annotations

import math
import sys
from random import Random
from typing import TYPE_CHECKING, Any

from pgrules.cel import CelError, Environment, EvaluationError, compile_expression
from pgrules.cel.activation import activate, compile_derived
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
    for difference in differences(pairs, seed):
        failed += 1
        sys.stdout.write(f"{difference}\n")
    sys.stdout.write(f"{pairs - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
