"""CEL values as SQL: kinds, and how each kind is represented.

A value that only the facts know is ``jsonb``; one whose kind is known has SQL of that
kind. Where a value may be of several kinds, there is an expression for each, of which
at most one is not NULL. An error of CEL is SQL NULL in all of them.

=============  ======================================================================
kind           SQL
=============  ======================================================================
``null``       boolean, TRUE where the value is null; otherwise FALSE or NULL
``bool``       boolean
``int``        a number without fraction within 64 bits: an integer type or numeric
``uint``       the same, from 0 to 2**64 - 1
``double``     double precision
``string``     text
``timestamp``  numeric, nanoseconds since 1970-01-01T00:00:00Z
``instant``    a column's timestamptz, timestamp or date, which one its term says
``duration``   numeric, nanoseconds
``list``       jsonb
``map``        jsonb
=============  ======================================================================
"""

from __future__ import annotations

import json as jsontext
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .numbers import INT_MAX, INT_MIN
from .sql_text import Arguments, disjunction, part
from .temporal import Duration, Timestamp
from .values import Uint

if TYPE_CHECKING:
    from .values import Value

MISSING: Final = object()

JSON_KINDS: Final = ("null", "bool", "int", "double", "string", "list", "map")
"""The kinds that a value of the facts can have."""


@dataclass(frozen=True, slots=True)
class Json:
    """A ``jsonb`` expression: what stands under some keys of another."""

    root: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A translated value.

    ``json`` is set where the value is ``jsonb``; else ``kinds`` has SQL by kind.
    ``constant`` is a value known now. A ``total`` value is never an error. Of a
    ``double`` that may be NaN, ``nan`` is set; ``bounds`` are those of an int, and
    ``integer`` says that its SQL is of an integer type, not numeric; ``instant`` of
    which type a column with a time is, ``decimal`` the numeric column that a double is
    read from; ``origin`` the fact that a declared string or bool is.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    json: Json | None = None
    constant: Any = MISSING
    total: bool = False
    nan: bool = False
    bounds: tuple[int, int] | None = None
    integer: bool = False
    instant: str = ""
    decimal: str = ""
    origin: Json | None = None

    @property
    def is_constant(self) -> bool:
        return self.constant is not MISSING


ERROR: Final = Term()


def sql_of_json(arguments: Arguments, value: Json) -> str:
    """The ``jsonb`` expression."""
    root, keys = value.root, value.keys
    if len(keys) > 1 and not any(map(_is_index, keys)):
        return f"{root} #> {arguments.literal(text_array(keys))}"
    return "".join([root, *(f" -> {arguments.literal(key)}" for key in keys)])


def text_of_json(arguments: Arguments, value: Json) -> str:
    """The text of a ``jsonb`` string; of other values their JSON text, of null NULL."""
    root, keys = value.root, value.keys
    if not keys:
        return f"{root} #>> '{{}}'"
    if len(keys) > 1 and not any(map(_is_index, keys)):
        return f"{root} #>> {arguments.literal(text_array(keys))}"
    last = arguments.literal(keys[-1])
    return f"{sql_of_json(arguments, Json(root, keys[:-1]))} ->> {last}"


def is_storable(text: str) -> bool:
    """Whether SQL and ``jsonb`` can hold a text."""
    return "\0" not in text


def path_string(text: str) -> str:
    """A string of jsonpath."""
    return jsontext.dumps(text, ensure_ascii=False)


def member(name: str) -> str | None:
    """A member accessor of jsonpath; None for a name that ``jsonb`` cannot have."""
    if not is_storable(name):
        return None
    plain = name.isascii() and name.isidentifier() and name.lower() not in _KEYWORDS
    return f".{name}" if plain else f".{path_string(name)}"


# Words of jsonpath, PostgreSQL sources, src/backend/utils/adt/jsonpath_scan.l.
_KEYWORDS: Final = frozenset(
    [
        "is",
        "to",
        "abs",
        "lax",
        "date",
        "flag",
        "last",
        "null",
        "size",
        "true",
        "type",
        "with",
        "false",
        "floor",
        "double",
        "exists",
        "starts",
        "strict",
        "ceiling",
        "integer",
        "time_tz",
        "unknown",
        "datetime",
        "keyvalue",
        "timestamp",
        "like_regex",
        "timestamp_tz",
    ]
)


def found_in_json(arguments: Arguments, value: Json, test: str) -> str:
    """A ``jsonb`` value where a test of jsonpath is true of it; else NULL.

    One pass over the ``jsonb``, where CASE takes one for the test and another for the
    value.
    """
    path = "".join(member(key) or "" for key in value.keys)
    text = arguments.literal(f"strict ${path} ? ({test})")
    return f"jsonb_path_query_first({value.root}, {text}, '{{}}', TRUE)"


def is_only_text(text: str) -> bool:
    """Whether no JSON value but the string has this text."""
    return _OTHER_VALUES.match(text) is None and "\0" not in text


_OTHER_VALUES: Final = re.compile(r"-?[0-9]|[{\[]|(true|false)\Z")


def _is_index(key: str) -> bool:
    # In a path, PostgreSQL takes for an index what strtol does.
    return key.strip(" \t\n\v\f\r").lstrip("+-")[:1].isdigit()


def text_array(keys: tuple[str, ...]) -> str:
    """The text of a ``text[]``."""
    return "{" + ",".join(map(_element, keys)) + "}"


def _element(key: str) -> str:
    if key.isascii() and key.isidentifier() and key.lower() != "null":
        return key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def json_text(value: Value) -> str | None:
    """A constant as JSON, or None where JSON has no such value."""
    if not _is_json(value):
        return None
    return jsontext.dumps(value, ensure_ascii=False)


def _is_json(value: Value) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value) and repr(value) != "-0.0"
    if kind is str:
        return "\0" not in value
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(k) is str and "\0" not in k for k in value) and all(
            map(_is_json, value.values())
        )
    return kind in (int, bool, type(None))


def has_numbers(value: Value) -> bool:
    """Whether a constant is a number, or has one in it."""
    if type(value) is list:
        return any(map(has_numbers, value))
    if type(value) is dict:
        return any(map(has_numbers, value.values()))
    return type(value) in (int, float, Uint)


def constant(arguments: Arguments, value: Value) -> Term:
    """A term for a value that is known now."""
    kind = type(value)
    if value is None:
        return Term({"null": "TRUE"}, constant=value, total=True)
    if kind is bool:
        sql = "TRUE" if value else "FALSE"
        return Term({"bool": sql}, constant=value, total=True)
    if kind is int or kind is Uint:
        return Term(
            {"int" if kind is int else "uint": str(int(value))},
            constant=value,
            total=True,
            bounds=(int(value), int(value)),
            integer=INT_MIN <= value <= INT_MAX,
        )
    if kind is float:
        return Term(
            {"double": double_text(value)},
            constant=value,
            total=True,
            nan=math.isnan(value),
        )
    if kind is str and "\0" not in value:
        return Term({"string": arguments.literal(value)}, constant=value, total=True)
    if kind is Timestamp:
        return Term({"timestamp": str(value.nanos)}, constant=value, total=True)
    if kind is Duration:
        return Term({"duration": str(value.nanos)}, constant=value, total=True)
    text = json_text(value)
    if text is not None:
        kinds = {"list" if kind is list else "map": f"{arguments.literal(text)}::jsonb"}
        return Term(kinds, constant=value, total=True)
    return Term({}, constant=value, total=True)


def double_text(value: float) -> str:
    """A double as an SQL constant."""
    if math.isnan(value):
        return "'NaN'::float8"
    if value in (float("inf"), float("-inf")):
        return "'Infinity'::float8" if value > 0 else "'-Infinity'::float8"
    text = repr(value)
    return f"'{text}'::float8"


def valid(arguments: Arguments, term: Term) -> str:
    """SQL that is TRUE where a value is no error."""
    if term.total:
        return "TRUE"
    if term.json is not None:
        return f"{part(sql_of_json(arguments, term.json))} IS NOT NULL"
    return disjunction(
        sql if kind == "null" else f"{part(sql)} IS NOT NULL"
        for kind, sql in term.kinds.items()
    )
