"""The state of one evaluation: variables, cost so far, when to look up from work.

Cost is charged where work can grow: once for the program's straight-line nodes
before it starts, once for a macro's body before each turn of its loop, and by
operations over strings, lists and maps before they build or compare anything.
Every few thousand units the surrounding server is asked whether to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import CostLimitExceeded, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .values import Value

# Cost units between two looks at the interrupt flag: about a millisecond.
_STRIDE = 4096

# Code points or bytes that cost as much as one step.
CHARACTERS_PER_UNIT = 10


class Evaluation:
    """What closures share while they compute one result."""

    __slots__ = ("_checkpoint", "cost", "interrupted", "limit", "locals", "trace",
                 "variables")  # fmt: skip

    def __init__(
        self,
        variables: Mapping[str, Value],
        limit: int,
        interrupted: Callable[[], bool] | None = None,
    ) -> None:
        self.variables = variables
        self.locals: list[Value] = []
        self.limit = limit
        self.cost = 0
        self.interrupted = interrupted
        self.trace: dict[int, Any] | None = None
        self._checkpoint = min(_STRIDE, limit)

    def charge(self, units: int) -> None:
        """Add to the cost.

        Raises :class:`CostLimitExceeded` beyond the limit and
        :class:`Interrupted` when the server asked to stop.
        """
        self.cost += units
        if self.cost > self._checkpoint:
            self._pause()

    def _pause(self) -> None:
        if self.interrupted is not None and self.interrupted():
            raise Interrupted
        if self.cost > self.limit:
            raise CostLimitExceeded(
                f"evaluation costs more than {self.limit:,} units",
                hint="loop over fewer elements, or compare shorter values",
            )
        self._checkpoint = min(self.cost + _STRIDE, self.limit)
