"""What a rule is and what its evaluation gives: plain, immutable data.

Limits on names are those of the table's columns, so that a rule which can be built
here can be stored in either store. Whether an expression compiles is asked of the
language when the rule is stored, not here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from .cel import Problem
from .errors import InvalidRule

NAME_LENGTH = 255
"""Code points of a rule's name, as the column has it."""

# What PostgreSQL's text cannot hold: NUL, and surrogates, which UTF-8 lacks.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, init=False)
class Rule:
    """A named CEL expression with an identity.

    `id` may be given as text. The times are set by the store that keeps the rule:
    `created_at` on add, `updated_at` on every change; what a caller gives there is
    not stored. Raises `InvalidRule` for fields that no store could keep.
    """

    id: UUID
    name: str
    expression: str
    active: bool
    created_at: datetime | None
    updated_at: datetime | None

    def __init__(
        self,
        id: UUID | str,  # noqa: A002 - the field's name
        name: str,
        expression: str,
        *,
        active: bool = True,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        assign = object.__setattr__
        assign(self, "id", rule_id(id))
        assign(self, "name", _text("name", name))
        assign(self, "expression", _text("expression", expression))
        if not isinstance(active, bool):
            raise _invalid(f"active is {type(active).__name__}, not bool")
        if not name.strip():
            raise _invalid("the name is empty")
        if len(name) > NAME_LENGTH:
            raise _invalid(
                f"the name has {len(name)} characters, {NAME_LENGTH} are the limit"
            )
        assign(self, "active", active)
        assign(self, "created_at", created_at)
        assign(self, "updated_at", updated_at)


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What one rule said about one set of facts.

    `error` is the text of a failed evaluation, and then `matched` is false. `trace`
    holds the values of sub-expressions if they were asked for, as JSON decodes.
    """

    rule_id: UUID
    rule_name: str
    matched: bool
    error: str | None = None
    trace: Any = None


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """A stored rule that does not compile any more, and why."""

    rule_id: UUID
    rule_name: str
    problems: tuple[Problem, ...]


def rule_id(value: UUID | str, *, operation: str = "") -> UUID:
    """The rule id in this argument; raises `InvalidRule` if it is no UUID."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError as error:
            raise _invalid(f"{value!r} is no UUID", operation=operation) from error
    raise _invalid(
        f"the id is {type(value).__name__}, not UUID or str", operation=operation
    )


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise _invalid(f"{name} is {type(value).__name__}, not str")
    found = _UNSTORABLE.search(value)
    if found is not None:
        raise _invalid(
            f"{name} has U+{ord(found.group()):04X} at position {found.start()},"
            " which PostgreSQL cannot store"
        )
    return value


def _invalid(reason: str, *, operation: str = "build rule") -> InvalidRule:
    return InvalidRule(reason, operation=operation or "build rule")
