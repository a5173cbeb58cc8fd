"""Columns of a table as values of CEL.

Columns keep their own types in SQL, without casts, so that the indexes of the table
fit. A column is never an error, and is null where it is NULL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .checked import Field, Variable
from .sql_text import Arguments, Refused
from .sql_values import Json, Term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .checked import Checked


class Column(NamedTuple):
    """A column: its name, and its type as PostgreSQL's ``format_type`` writes it."""

    name: str
    type: str
    nullable: bool = True


class Rows(NamedTuple):
    """The rows that a rule is asked of: alias, columns by CEL's names.

    ``object`` is the object whose fields the columns are, or None where they are names
    of their own.
    """

    alias: str
    columns: Mapping[str, Column]
    object: str | None = None

    def is_row(self, node: Checked) -> bool:
        """Whether a node is the object whose fields the columns are."""
        return isinstance(node, Variable) and node.name == self.object is not None

    def variable(self, arguments: Arguments, node: Variable) -> Term:
        """A column that is a name of its own."""
        if self.object is not None:
            raise Refused(node, f"{node.name} is read as a whole")
        return self.read(arguments, node, node.name)

    def field(self, arguments: Arguments, node: Field) -> Term:
        """A column that is a field of the object."""
        return self.read(arguments, node, node.name)

    def read(self, arguments: Arguments, node: Checked, name: str) -> Term:
        column = self.columns.get(name)
        if column is None:
            raise Refused(node, f"the table has no column {name}")
        sql = f"{arguments.name(self.alias)}.{arguments.name(column.name)}"
        base = column.type.partition("(")[0].strip()
        null = {"null": f"{sql} IS NULL"} if column.nullable else {}
        if base in _INTEGERS:
            size = _INTEGERS[base]
            bounds = -(1 << size), (1 << size) - 1
            return Term(null | {"int": sql}, total=True, bounds=bounds, integer=True)
        if base in ("text", "character varying"):
            return Term(null | {"string": sql}, total=True)
        if base == "boolean":
            return Term(null | {"bool": sql}, total=True)
        if base == "double precision":
            return Term(null | {"double": sql}, total=True, nan=True)
        if column.type == "timestamp with time zone":
            return Term(null | {"instant": sql}, total=True)
        if base == "jsonb":
            root = f"coalesce({sql}, 'null')" if column.nullable else sql
            return Term(json=Json(root))
        raise Refused(node, f"the column {name} has the type {column.type}")


_INTEGERS: Final = {"smallint": 15, "integer": 31, "bigint": 63}
