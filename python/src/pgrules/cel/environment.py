"""What an expression is compiled against: names, functions and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .checked import Checked
from .library import Library
from .limits import DEFAULT_LIMITS, Limits
from .standard import STANDARD
from .types import Type


@dataclass(frozen=True, slots=True)
class DerivedField:
    """A name for an expression over facts and other derived fields.

    ``tree`` and ``slots`` are the checked expression, ``dependencies`` the names that
    it reads: of facts and of derived fields, in the order of the text.
    """

    name: str
    expression: str
    tree: Checked
    slots: int
    dependencies: tuple[str, ...]

    @property
    def type(self) -> Type:
        """The type that inference found."""
        return self.tree.type


@dataclass(frozen=True, slots=True)
class Environment:
    """The names that an expression may use.

    Without ``variables`` every name may come from the facts and is looked up when
    the expression is evaluated; with them, any other name is a problem at compile
    time. ``container`` is the namespace that names are resolved in. ``derived`` has
    the derived fields, each behind those that it depends on.
    """

    variables: Mapping[str, Type] | None = None
    container: str = ""
    functions: Library = field(default_factory=lambda: STANDARD)
    limits: Limits = DEFAULT_LIMITS
    derived: Mapping[str, DerivedField] = field(default_factory=dict)

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
