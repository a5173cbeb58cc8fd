"""Many facts in one call: each is prepared by itself, and errors name the element.

Elements count from 1, as in SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from .errors import InvalidFacts
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")


def prepared(
    prepare: Callable[[Mapping[str, object]], T],
    batch: Iterable[Mapping[str, object]],
    operation: str,
    subject: object = "",
) -> list[T]:
    """What `prepare` makes of each of these facts.

    Raises `InvalidFacts` with the number of the first element that cannot be facts,
    and for a batch that is no list of facts.
    """
    try:
        elements = list(batch)
    except TypeError as error:
        raise InvalidFacts(
            f"a list of facts is expected, not {type(batch).__name__}",
            operation=operation,
            subject=subject,
        ) from error
    found = []
    for number, facts in enumerate(elements, 1):
        try:
            with translated(operation, subject):
                found.append(prepare(facts))
        except InvalidFacts as error:
            error.reason = f"element {number}: {error.reason}"
            raise
    return found
