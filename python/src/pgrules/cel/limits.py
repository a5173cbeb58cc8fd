"""The bounds that keep one tenant's expression from hurting the others.

Each has a documented default; exceeding one is an error with its own SQLSTATE.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one expression and one evaluation may use."""

    expression_length: int = 32_768
    """Code points of an expression."""

    nesting: int = 100
    """Levels of an expression: brackets, calls, operators, member selections."""

    cost: int = 1_000_000
    """Cost units of one evaluation: about one for each step; a step over a string
    of n code points costs n / 10 more, over a list or map of n elements n more."""

    assumed_elements: int = 100
    """Elements of a list or map of the facts, for the estimate at compile time. An
    expression that can cost more than the limit over such facts is refused."""

    assumed_characters: int = 1_000
    """Code points of a string of the facts, for the estimate."""

    assumed_weight: int = 1_000
    """Cost units of comparing a value of the facts with all that is in it, for the
    estimate: one for each element at any depth, one for ten code points of a string
    or a key. Numbers are taken for 25 characters where they become text."""


DEFAULT_LIMITS = Limits()
