"""Columns of a table as facts: which types they have, and which a rule cannot read.

An environment's document may have, in place of a schema, the columns of one table::

    {"columns": {"delay": "int", "gust": "double", "spot": {"unreadable": "point"}},
     "object": "Flight"}

Without ``object`` the columns are names of their own, ``delay > 10``; with it they are
the fields of that object, ``Flight.delay > 10``. How the types of PostgreSQL become
these is in the SQL function ``rules_internal.columns``; how values travel, and what a
conversion makes of them, in module ``reading``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from . import types
from .checked import Checked, Field, OptionalField, Variable
from .errors import InvalidEnvironment
from .types import DYN, ObjectType, Type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .environment import Environment

# As in a schema: any column may be null.
_SCALARS: Final[dict[str, Type]] = {
    "bool": types.wrapper_of(types.BOOL),
    "bytes": types.wrapper_of(types.BYTES),
    "double": types.wrapper_of(types.DOUBLE),
    "duration": types.DURATION,
    "int": types.wrapper_of(types.INT),
    "string": types.wrapper_of(types.STRING),
    "timestamp": types.TIMESTAMP,
}

# An array may be null as a whole, which no list may be: the checker knows it as dyn.
TYPES: Final[dict[str, Type]] = {
    **_SCALARS,
    "dyn": DYN,
    **{f"list({name})": DYN for name in (*_SCALARS, "dyn")},
}


class Columns(NamedTuple):
    """The columns of a table by name.

    ``declared`` has the types of those that a rule can read, names in :data:`TYPES`;
    ``unreadable`` the types of PostgreSQL of the others. ``object`` is the object whose
    fields they are, or nothing where they are names of their own.
    """

    declared: Mapping[str, str]
    unreadable: Mapping[str, str]
    object: str | None

    def variables(self) -> dict[str, Type]:
        """What an environment declares for them."""
        fields = {name: TYPES[declared] for name, declared in self.declared.items()}
        if self.object is None:
            return fields
        return {self.object: ObjectType(self.object, fields, self.declared)}

    def lacking(self, name: str) -> tuple[str, str]:
        """Message and hint for a column that the table lacks, or has to no avail."""
        found = self.unreadable.get(name)
        if found is None:
            return f"the rule needs a column {name}, which the table lacks", ""
        return (
            f"the column {name} has the type {found}, which rules cannot read",
            "a view or a generated column can have it as text, a number or jsonb",
        )


def read_columns(columns: object, of: object) -> Columns:
    """The columns of an environment's document.

    Raises :class:`InvalidEnvironment` for what is none.
    """
    declared: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    if not isinstance(columns, dict) or not (of is None or isinstance(of, str)):
        raise InvalidEnvironment("columns are a JSON object of names and types")
    for name, kind in columns.items():
        if isinstance(kind, str) and kind in TYPES:
            declared[name] = kind
        elif isinstance(kind, dict) and isinstance(kind.get("unreadable"), str):
            unreadable[name] = kind["unreadable"]
        else:
            raise InvalidEnvironment(
                f"the column {name} has the type {kind!r}, which is none",
                hint=f"the types are {', '.join(TYPES)}",
            )
    return Columns(declared, unreadable, of)


def columns_read(tree: Checked, environment: Environment) -> list[str]:
    """The columns that an evaluation can read, in the order of the table.

    Those that derived fields read are among them.
    """
    columns = environment.columns
    if columns is None:
        return []
    read: set[str] = set()
    seen: set[str] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Field | OptionalField) and isinstance(
            node.operand, Variable
        ):
            if node.operand.name == columns.object:
                read.add(node.name)
                continue
        elif isinstance(node, Variable):
            derived = environment.derived.get(node.name)
            if derived is not None and node.name not in seen:
                seen.add(node.name)
                pending.append(derived.tree)
            elif node.name == columns.object:
                # Read as a whole, it has them all.
                read.update(columns.declared)
            elif columns.object is None:
                read.add(node.name)
        pending.extend(node.children())
    return [name for name in columns.declared if name in read]
