"""Hostile expressions and facts, each with the error that it must end with."""

from tests.security.corpus import facts, memory, sizes, syntax, values
from tests.security.corpus.case import Case

CORPUS: dict[str, list[Case]] = {
    "no expressions": syntax.CASES,
    "expressions too large": sizes.CASES,
    "evaluations that fail": values.CASES,
    "evaluations too costly": memory.CASES,
    "no facts": facts.CASES,
}
