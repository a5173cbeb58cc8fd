"""What an expression is compiled against: names, functions and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .library import Library
from .limits import DEFAULT_LIMITS, Limits
from .standard import STANDARD
from .types import Type


@dataclass(frozen=True, slots=True)
class Environment:
    """The names that an expression may use.

    Without ``variables`` every name may come from the facts and is looked up when
    the expression is evaluated; with them, any other name is a problem at compile
    time. ``container`` is the namespace that names are resolved in.
    """

    variables: Mapping[str, Type] | None = None
    container: str = ""
    functions: Library = field(default_factory=lambda: STANDARD)
    limits: Limits = DEFAULT_LIMITS

    def candidates(self, name: str) -> Iterator[str]:
        """What a name can stand for, innermost namespace first.

        As cel-spec's "Name Resolution": a leading dot means the root namespace.
        """
        if name.startswith("."):
            yield name[1:]
            return
        container = self.container
        while container:
            yield f"{container}.{name}"
            container = container.rpartition(".")[0]
        yield name
