"""What a hostile case is: an expression, facts, and the error that it ends with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Case(NamedTuple):
    """Input that `rules.evaluate_expression` must refuse, and how."""

    sqlstate: str
    expression: str
    facts: str = "{}"

    @property
    def name(self) -> str:
        """For the report: the beginning of what is hostile about it."""
        text = self.facts if self.expression == "true" else self.expression
        return ascii(text[:48])[1:-1]


def each(
    sqlstate: str, expressions: Iterable[str], facts: str = "{}"
) -> Iterator[Case]:
    """A case for each of the expressions, which all end the same."""
    for expression in expressions:
        yield Case(sqlstate, expression, facts)
