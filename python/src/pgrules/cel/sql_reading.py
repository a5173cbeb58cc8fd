"""Values of the facts as SQL of one kind, where they are of that kind.

What the facts have is ``jsonb``, and CEL's operators ask for its type first: a value of
another kind is NULL here. CASE does the asking, since only CASE keeps PostgreSQL from
computing a cast before its test (PostgreSQL manual, "Expression Evaluation Rules").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .sql_numbers import GREATEST, INT_BOUNDS, LEAST, rounded
from .sql_text import part
from .sql_values import JSON_KINDS, Term, found_in_json, sql_of_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sql_text import Arguments
    from .sql_values import Json

_TYPES: Final = {"list": "array", "map": "object"}


def read(arguments: Arguments, term: Term, kind: str) -> str:
    """SQL of a kind: NULL where the value is of another, or an error.

    Besides the kinds of module ``sql_values`` there are ``digits``, a number of the
    facts as ``numeric``, and ``number``, an int or a double as the nearest double.
    """
    if term.json is None:
        if kind == "number":
            return _number(term)
        return term.kinds.get(kind, "NULL")
    return read_json(arguments, term.json, kind)


def _number(term: Term) -> str:
    parts = [
        sql if kind == "double" else f"{part(sql)}::float8"
        for kind, sql in term.kinds.items()
        if kind in ("int", "uint", "double")
    ]
    if not parts:
        return "NULL"
    return parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})"


def read_json(arguments: Arguments, value: Json, kind: str) -> str:
    """:func:`read` for ``jsonb``."""
    sql = sql_of_json(arguments, value)
    operand = part(sql)
    if kind == "null":
        return f"{operand} = 'null'"
    if kind == "bool":
        return f"CASE {operand} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
    if kind == "int":
        # Numbers with a fraction are doubles.
        digits = f"{operand}::numeric"
        whole = f"CASE scale({digits}) WHEN 0 THEN {digits} END"
        return f"CASE WHEN jsonb_typeof({sql}) = 'number' THEN {whole} END"
    if kind in ("digits", "string"):
        of = "number" if kind == "digits" else "string"
        found = found_in_json(arguments, value, f'@.type() == "{of}"')
        return f"{found}::numeric" if kind == "digits" else f"{found} #>> '{{}}'"
    if kind == "number":
        plain = f"{found_in_json(arguments, value, _PLAIN)}::float8"
        digits = read_json(arguments, value, "digits")
        return f"coalesce({plain}, {let(arguments, [digits], rounded('a'))})"
    if kind == "double":
        digits = read_json(arguments, value, "digits")
        test = f"CASE WHEN scale(a) > 0 THEN {part(rounded('a'))} END"
        return let(arguments, [digits], test)
    if kind not in _TYPES:
        return "NULL"
    return f"CASE WHEN jsonb_typeof({sql}) = '{_TYPES[kind]}' THEN {sql} END"


# Numbers that PostgreSQL rounds to a double without an error.
_PLAIN: Final = (
    f"@ >= 1e-300 && @ < {GREATEST} || @ <= -1e-300 && @ > -{GREATEST} || @ == 0"
)

# A declared int takes a double without fraction up to 2**53, see module ``reading``.
_FROM_FRACTION: Final = (
    f"CASE WHEN abs(a) <= {LEAST} THEN 0 "
    "WHEN abs(a) > 1e-300 AND abs(a) <= 9007199254740993 "
    "AND a::float8 = trunc(a::float8) THEN a::float8::bigint::numeric END"
)


def let(arguments: Arguments, values: Sequence[str], sql: str) -> str:
    """SQL over columns a, b, ... that hold some values, each computed once."""
    alias = arguments.alias()
    columns = ", ".join(
        f"{value} AS {name}" for value, name in zip(values, "abcd", strict=False)
    )
    # Without OFFSET the planner would put the values in again for each use.
    return f"(SELECT {sql} FROM (SELECT {columns} OFFSET 0) AS {alias})"


def kinds_of(term: Term) -> tuple[str, ...]:
    """The kinds that a value may have."""
    return JSON_KINDS if term.json is not None else tuple(term.kinds)


def declared(arguments: Arguments, value: Json, of: str) -> Term | None:
    """A declared fact as its type has it, or None where SQL has no such kind."""
    null = {"null": read_json(arguments, value, "null")}
    if of in ("int", "int64"):
        sql = sql_of_json(arguments, value)
        digits = f"{part(sql)}::numeric"
        fraction = let(arguments, [digits], _FROM_FRACTION)
        whole = f"CASE scale({digits}) WHEN 0 THEN {digits} ELSE {fraction} END"
        found = f"CASE WHEN jsonb_typeof({sql}) = 'number' THEN {whole} END"
        return Term(null | {"int": found}, bounds=INT_BOUNDS)
    if of == "float64":
        return Term(null | {"double": read_json(arguments, value, "number")})
    if of in ("string", "bool"):
        return Term(null | {of: read_json(arguments, value, of)}, origin=value)
    return None
