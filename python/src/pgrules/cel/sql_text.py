"""SQL text in parts: what the server has to quote, and where parentheses are needed.

A translation is a template for PostgreSQL's ``format()``: every literal and name of an
author stands in it as a numbered placeholder, ``%1$L`` or ``%2$I``, and is quoted by
the server. What this package writes itself, keywords, numbers and fixed literals,
stands there as it is; fixed literals have neither blanks nor parentheses in them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .checked import Checked

Mode = Literal["exact", "true", "false"]
"""What of a condition matters.

In mode ``exact``, SQL is TRUE, FALSE or NULL where CEL is true, false or an error. In
mode ``true`` it is TRUE if and only if CEL is true, and in mode ``false`` FALSE if and
only if CEL is false: then SQL need not tell the other two outcomes apart.
"""

NEGATED: dict[Mode, Mode] = {"exact": "exact", "true": "false", "false": "true"}


class Refused(Exception):
    """A sub-expression that has no SQL of the same meaning, and why."""

    def __init__(self, node: Checked, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


class Arguments:
    """The literals and names of a template, each once, and its sub-selects' names."""

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._taken = taken
        self._aliases = 0

    def alias(self) -> str:
        """A name for the rows of a sub-select, new to the template."""
        self._aliases += 1
        name = f"v{self._aliases}"
        return self.alias() if name in self._taken else name

    def literal(self, text: str) -> str:
        """A placeholder for a quoted literal."""
        return self._placeholder("L", text)

    def name(self, text: str) -> str:
        """A placeholder for a quoted identifier."""
        return self._placeholder("I", text)

    def _placeholder(self, form: str, text: str) -> str:
        number = self._numbers.setdefault((form, text), len(self._numbers) + 1)
        return f"%{number}${form}"

    def finish(self, sql: str) -> tuple[str, list[str]]:
        """The template with its placeholders numbered in order, and their texts."""
        texts = [text for _, text in self._numbers]
        order: dict[str, int] = {}

        def renumbered(match: re.Match[str]) -> str:
            number = order.setdefault(match[1], len(order) + 1)
            return f"%{number}${match[2]}"

        template = _PLACEHOLDER.sub(renumbered, sql)
        return template, [texts[int(number) - 1] for number in order]


_PLACEHOLDER = re.compile(r"%([0-9]+)\$([LI])")
_WORD = re.compile(r"CASE\b|END\b|[()\s]")


def part(sql: str) -> str:
    """SQL as an operand: in parentheses where it needs them."""
    return sql if _is_atom(sql) else f"({sql})"


def _is_atom(sql: str) -> bool:
    if sql.startswith("-"):
        # Two of them would begin a comment.
        return False
    depth = 0
    for match in _WORD.finditer(sql):
        word = match[0]
        if word in ("(", "CASE"):
            depth += 1
        elif word in (")", "END"):
            depth -= 1
        elif depth == 0:
            return False
    return True


def conjunction(conditions: Iterable[str]) -> str:
    """All of some conditions; of none, TRUE."""
    return _joined("AND", "TRUE", "FALSE", conditions)


def disjunction(conditions: Iterable[str]) -> str:
    """One of some conditions; of none, FALSE."""
    return _joined("OR", "FALSE", "TRUE", conditions)


def _joined(
    operator: str, neutral: str, decisive: str, conditions: Iterable[str]
) -> str:
    parts = list(dict.fromkeys(c for c in conditions if c != neutral))
    if decisive in parts:
        return decisive
    if len(parts) < 2:
        return parts[0] if parts else neutral
    return f" {operator} ".join(map(part, parts))


def negation(condition: str) -> str:
    """NOT, simplified where it stands before another."""
    if condition in _NEGATIONS:
        return _NEGATIONS[condition]
    return f"NOT {part(condition)}"


_NEGATIONS = {"TRUE": "FALSE", "FALSE": "TRUE", "NULL": "NULL"}


def coalesced(alternatives: list[str]) -> str:
    """The first of some values that is not NULL."""
    kept = [sql for sql in alternatives if sql != "NULL"]
    if len(kept) < 2:
        return kept[0] if kept else "NULL"
    return f"coalesce({', '.join(kept)})"
