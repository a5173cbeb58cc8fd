"""Columns of a table as values of CEL.

Columns keep their own types in SQL, without casts, so that the indexes of the table
fit. A column is never an error, and is null where it is NULL.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from . import sql_times
from .checked import Field, Variable
from .sql_numbers import rounded
from .sql_reading import let
from .sql_text import Arguments, Refused
from .sql_values import Json, Term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .checked import Checked


class Column(NamedTuple):
    """A column: its name, and its type as PostgreSQL's ``format_type`` writes it.

    The type is the base of a domain's. ``deterministic`` is whether equal texts of the
    column's collation are the same.
    """

    name: str
    type: str
    nullable: bool = True
    deterministic: bool = True


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

    def read(self, arguments: Arguments, node: Variable | Field, name: str) -> Term:
        column = self.columns.get(name)
        if column is None:
            raise Refused(node, f"the table has no column {name}")
        sql = f"{arguments.name(self.alias)}.{arguments.name(column.name)}"
        term = _value(arguments, column, sql, node.conversion)
        if term is None:
            raise Refused(node, f"the column {name} has the type {column.type}")
        if term.json is not None or not column.nullable:
            return term
        return replace(term, kinds={"null": f"{sql} IS NULL", **term.kinds})


_INTEGERS: Final = {"smallint": 15, "integer": 31, "bigint": 63}
_INSTANTS: Final = (
    "timestamp with time zone", "timestamp without time zone", "date",
)  # fmt: skip

# Arrays whose elements JSON has as CEL reads them.
_ELEMENTS: Final = (
    *_INTEGERS, "text", "character varying", "boolean", "jsonb", "name", "uuid",
)  # fmt: skip
_ARRAYS: Final = frozenset({"anyarray", *(f"{name}[]" for name in _ELEMENTS)})

# Doubles as CEL reads the digits of a numeric; NaN and infinities are the same.
_FROM_NUMERIC: Final = (
    f"CASE WHEN a = 'NaN' OR abs(a) = 'Infinity' THEN a::float8 ELSE {rounded('a')} END"
)
# An interval of months has no length in CEL.
_FROM_INTERVAL: Final = (
    "CASE WHEN extract(year FROM a) = 0 AND extract(month FROM a) = 0 THEN "
    + sql_times.within_durations("extract(epoch FROM a) * 1000000000")
    + " END"
)


def _value(
    arguments: Arguments, column: Column, sql: str, declared: object
) -> Term | None:
    """What a column is where it is not NULL."""
    of = column.type
    if of in _INTEGERS:
        size = _INTEGERS[of]
        bounds = -(1 << size), (1 << size) - 1
        return Term({"int": sql}, total=True, bounds=bounds, integer=True)
    if of == "boolean":
        return Term({"bool": sql}, total=True)
    if of in ("double precision", "real"):
        found = sql if of == "double precision" else f"{sql}::float8"
        return Term({"double": found}, total=True, nan=True)
    if of == "numeric":
        found = let(arguments, [sql], _FROM_NUMERIC)
        return Term({"double": found}, nan=True, decimal=sql)
    if declared == "string":
        found = sql if of in ("text", "character varying") else f"{sql}::text"
        if not column.deterministic:
            found += ' COLLATE "C"'
        return Term({"string": found}, total=True)
    if of in _INSTANTS:
        return Term({"instant": sql}, total=True, instant=of)
    if of == "interval":
        return Term({"duration": let(arguments, [sql], _FROM_INTERVAL)})
    if of == "jsonb":
        return Term(json=Json(f"coalesce({sql}, 'null')" if column.nullable else sql))
    if of in _ARRAYS:
        array = f"to_jsonb({sql})"
        null = f"coalesce({array}, 'null')" if column.nullable else array
        return Term(json=Json(null))
    return None
