"""``==``, ``!=``, ``<`` and their like as SQL (cel-spec, "Equality" and "Ordering").

Values of different types are not equal, and have no order; all numbers compare with one
another, an int with a double as doubles. PostgreSQL's ``NaN`` equals itself and is
greater than all other numbers, and its text is ordered by a collation; CEL's are not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from . import sql_times
from .sql_numbers import EXACT, GREATEST, SWAPPED, compare_digits, is_number, rounded
from .sql_reading import kinds_of, let, read, read_json
from .sql_text import coalesced, conjunction, disjunction, negation, part
from .sql_values import (
    has_numbers,
    is_only_text,
    json_text,
    sql_of_json,
    text_of_json,
    valid,
)
from .temporal import Timestamp
from .values import Uint

if TYPE_CHECKING:
    from .sql_text import Arguments, Mode
    from .sql_values import Term

NUMBERS: Final = ("int", "uint", "double")
_ORDERED: Final = ("bool", "string", "timestamp", "duration")


# Order


def order(
    arguments: Arguments, left: Term, operator: str, right: Term, mode: Mode
) -> str:
    """A comparison."""
    if left.is_constant:
        left, operator, right = right, SWAPPED[operator], left
    if "instant" in left.kinds and type(right.constant) is Timestamp:
        return sql_times.order_instant(left, operator, right.constant, mode)
    left, right = (sql_times.as_nanos(arguments, term) for term in (left, right))
    if right.is_constant and is_number(right.constant):
        found = _order_number(arguments, left, operator, right, mode)
        if found is not None:
            return found
    alternatives = [
        _ordered(arguments, left, operator, right, kind)
        for kind in _ORDERED
        if kind in kinds_of(left) and kind in kinds_of(right)
    ]
    alternatives += _numbers(arguments, left, operator, right, mode)
    return coalesced(alternatives)


def _order_number(
    arguments: Arguments, left: Term, operator: str, right: Term, mode: Mode
) -> str | None:
    """Against a constant number; None where that is no simpler."""
    value = right.constant
    if left.json is not None:
        digits = read(arguments, left, "digits")
        if type(value) is not float and abs(value) >= EXACT:
            return let(arguments, [digits], compare_digits("a", operator, value))
        return compare_digits(digits, operator, value)
    if left.decimal and mode == "true" and math.isfinite(value):
        # The column itself, so that its indexes fit. Beyond all doubles is an error,
        # and NaN, here the greatest, is not greater.
        found = compare_digits(left.decimal, operator, float(value))
        sign, end = ("-", ">") if operator in ("<", "<=") else ("", "<")
        inside = f"{left.decimal} {end} {sign}{GREATEST}"
        infinite = f"{left.decimal} = '{sign}Infinity'"
        return f"{found} AND ({inside} OR {infinite})"
    return None


def _ordered(
    arguments: Arguments, left: Term, operator: str, right: Term, kind: str
) -> str:
    a, b = read(arguments, left, kind), read(arguments, right, kind)
    collation = ' COLLATE "C"' if kind == "string" else ""
    return f"{part(a)} {operator} {part(b)}{collation}"


def _numbers(
    arguments: Arguments, left: Term, operator: str, right: Term, mode: Mode
) -> list[str]:
    """A comparison of the numbers that two values may be; = among the operators."""
    if left.json is not None and right.json is not None:
        digits = [read(arguments, term, "digits") for term in (left, right)]
        return [let(arguments, digits, _both_digits(operator))]
    alternatives = []
    a_kinds = [kind for kind in kinds_of(left) if kind in NUMBERS]
    b_kinds = [kind for kind in kinds_of(right) if kind in NUMBERS]
    for term, kinds in ((left, a_kinds), (right, b_kinds)):
        other = b_kinds if term is left else a_kinds
        if term.json is not None and other == ["double"]:
            kinds[:] = ["number"]
    for a_kind in a_kinds:
        for b_kind in b_kinds:
            a, b = read(arguments, left, a_kind), read(arguments, right, b_kind)
            if "number" not in (a_kind, b_kind) and (a_kind == "double") != (
                b_kind == "double"
            ):
                a = a if a_kind == "double" else f"{part(a)}::float8"
                b = b if b_kind == "double" else f"{part(b)}::float8"
            nan = "a" if left.nan and a_kind in ("double", "number") else ""
            nan += "b" if right.nan and b_kind in ("double", "number") else ""
            certain = left.is_constant or right.is_constant
            alternatives.append(
                _compared(a, operator, b, mode, nan=nan, certain=certain)
            )
    return alternatives


def _compared(
    left: str, operator: str, right: str, mode: Mode, *, nan: str, certain: bool
) -> str:
    """A comparison in which no NaN is greater than, or equal to, anything.

    ``nan`` has which of the two may be NaN: a letter for each, a or b. If ``certain``
    is set, one of them is known, so that the other is if it is not NULL.
    """
    a, b = part(left), part(right)
    sql = f"{a} {operator} {b}"
    if operator in (">", ">=", "=") and "a" in nan:
        doubtful, other = a, b
    elif operator in ("<", "<=", "=") and "b" in nan:
        doubtful, other = b, a
    else:
        return sql
    if mode == "true" and doubtful.endswith(")"):
        # What is long is not written twice.
        a, b = (f"nullif({x}, 'NaN')" if x is doubtful else x for x in (a, b))
        return f"{a} {operator} {b}"
    if certain:
        return f"{sql} AND {doubtful} < 'NaN'"
    # Against an error, NaN is one, too.
    return f"{sql} AND ({doubtful} < 'NaN' OR {other} IS NULL)"


def _both_digits(operator: str) -> str:
    return (
        f"CASE WHEN scale(a) = 0 AND scale(b) = 0 THEN a {operator} b "
        f"ELSE {part(rounded('a'))} {operator} {part(rounded('b'))} END"
    )


# Equality


def equality(
    arguments: Arguments, left: Term, right: Term, mode: Mode, *, negate: bool
) -> str:
    """``==``, or ``!=`` where ``negate`` is set."""
    if left.is_constant:
        left, right = right, left
    wanted = _wanted(mode, negate=negate)
    instant = left.kinds.get("instant")
    if instant and type(right.constant) is Timestamp and wanted == "true":
        return _negated(sql_times.is_instant(left, right.constant), negate=negate)
    if left.decimal and _is_finite(right.constant) and wanted == "true":
        found = compare_digits(left.decimal, "=", float(right.constant))
        return _negated(found, negate=negate)
    left, right = (sql_times.as_nanos(arguments, term) for term in (left, right))
    if left.origin and type(right.constant) is str and wanted == "true":
        text = right.constant
        if is_only_text(text):
            found = text_of_json(arguments, left.origin)
            return f"{part(found)} {'<>' if negate else '='} {arguments.literal(text)}"
    if left.json is not None and right.is_constant:
        return _json_constant(arguments, left, right, mode, negate=negate)
    if left.json is not None and right.json is not None:
        return _negated(_deep(arguments, left, right), negate=negate)
    plain = _plain(arguments, left, right, mode, negate=negate)
    if plain is not None:
        return plain
    parts = _equal_parts(arguments, left, right, wanted)
    if wanted == "true":
        return _negated(disjunction(parts), negate=negate)
    ok = conjunction([valid(arguments, left), valid(arguments, right)])
    found = f"coalesce({disjunction(parts)}, FALSE)" if parts else "FALSE"
    if ok != "TRUE":
        found = f"CASE WHEN {ok} THEN {found} END"
    return _negated(found, negate=negate)


def _is_finite(value: object) -> bool:
    return is_number(value) and math.isfinite(float(value))  # type: ignore[arg-type]


def _negated(sql: str, *, negate: bool) -> str:
    return negation(sql) if negate else sql


def _wanted(mode: Mode, *, negate: bool) -> Mode:
    """What matters of the equality where it may be negated."""
    if mode == "exact" or not negate:
        return mode
    return "false" if mode == "true" else "true"


def _plain(
    arguments: Arguments, left: Term, right: Term, mode: Mode, *, negate: bool
) -> str | None:
    """PostgreSQL's own operators, where two values are of one kind and not NaN."""
    a_kinds, b_kinds = list(left.kinds), list(right.kinds)
    if left.json is not None or right.json is not None:
        return None
    values = [kind for kind in (*a_kinds, *b_kinds) if kind != "null"]
    if right.is_constant and right.constant is None and left.total:
        sql = left.kinds.get("null", "FALSE")
        return _negated(sql, negate=negate)
    if (
        len(values) != 2
        or values[0] != values[1]
        or values[0] in ("list", "map")
        or left.nan
        or right.nan
    ):
        return None
    a, b = part(left.kinds[values[0]]), part(right.kinds[values[1]])
    if "null" not in a_kinds and "null" not in b_kinds:
        return f"{a} {'<>' if negate else '='} {b}"
    if not (left.total and right.total):
        return None
    wanted = _wanted(mode, negate=negate)
    both = "null" in a_kinds and "null" in b_kinds
    if wanted == "true" and not both:
        return f"{a} = {b}" if not negate else f"{a} <> {b}"
    return f"{a} IS {'' if negate else 'NOT '}DISTINCT FROM {b}"


def _equal_parts(
    arguments: Arguments, left: Term, right: Term, mode: Mode
) -> list[str]:
    """Conditions of which one is TRUE where two values are equal, and then only."""
    parts = []
    a_kinds, b_kinds = kinds_of(left), kinds_of(right)
    for kind in ("null", *_ORDERED):
        if kind in a_kinds and kind in b_kinds:
            a, b = read(arguments, left, kind), read(arguments, right, kind)
            operator = "AND" if kind == "null" else "="
            parts.append(
                conjunction([a, b]) if operator == "AND" else f"{part(a)} = {part(b)}"
            )
    parts += _numbers(arguments, left, "=", right, mode)
    for kind in ("list", "map"):
        if kind in a_kinds and kind in b_kinds:
            a, b = read(arguments, left, kind), read(arguments, right, kind)
            parts.append(_deep_sql(arguments, a, b))
    return parts


def _json_constant(
    arguments: Arguments, left: Term, right: Term, mode: Mode, *, negate: bool
) -> str:
    """A value of the facts against a constant."""
    assert left.json is not None
    sql = sql_of_json(arguments, left.json)
    value = right.constant
    if is_number(value):
        wanted = _wanted(mode, negate=negate)
        if math.isnan(value):
            return _negated(_never(sql), negate=negate)
        digits = read_json(arguments, left.json, "digits")
        if type(value) is not float and abs(value) >= EXACT:
            found = let(arguments, [digits], compare_digits("a", "=", value))
        else:
            found = compare_digits(digits, "=", value)
        if wanted != "true":
            is_digits = f"jsonb_typeof({sql}) = 'number'"
            found = f"{is_digits} AND {part(found)}"
        return _negated(found, negate=negate)
    text = None if isinstance(value, Uint) else json_text(value)
    if text is None:
        return _negated(_never(sql), negate=negate)
    is_text = type(value) is str and is_only_text(value)
    if is_text and _wanted(mode, negate=negate) == "true":
        text = text_of_json(arguments, left.json)
        return f"{part(text)} {'<>' if negate else '='} {arguments.literal(value)}"
    if has_numbers(value):
        literal = f"{arguments.literal(text)}::jsonb"
        return _negated(_deep_sql(arguments, sql, literal), negate=negate)
    # Only numbers look different as JSON though they are equal.
    fixed = f"'{text}'" if value is None or type(value) is bool else None
    operator = "<>" if negate else "="
    return f"{part(sql)} {operator} {fixed or arguments.literal(text)}"


def _never(sql: str) -> str:
    return f"CASE WHEN {part(sql)} IS NOT NULL THEN FALSE END"


def _deep(arguments: Arguments, left: Term, right: Term) -> str:
    assert left.json is not None
    assert right.json is not None
    a, b = sql_of_json(arguments, left.json), sql_of_json(arguments, right.json)
    return _deep_sql(arguments, a, b)


# Strings, and numbers outside of them. With a mark in place of each number, the texts
# of two values are the same if the values differ in numbers only.
_NUMBERS_AND_STRINGS: Final = r'("(?:[^"\\]|\\.)*")|-?[0-9]+(?:\.[0-9]+)?'
_ALL_NUMBERS: Final = 'strict $.** ? (@.type() == "number")'


def _deep_sql(arguments: Arguments, left: str, right: str) -> str:
    """Equality of ``jsonb`` where numbers compare as CEL's, at any depth."""
    pattern = arguments.literal(_NUMBERS_AND_STRINGS)
    numbers = arguments.literal(_ALL_NUMBERS)
    kept = arguments.literal(r"\1#")
    shapes = [f"regexp_replace({x}::text, {pattern}, {kept}, 'g')" for x in "ab"]
    alias = arguments.alias()
    # The two sequences of numbers, side by side.
    found = (
        f"SELECT 1 FROM ROWS FROM (jsonb_path_query(a, {numbers}), "
        f"jsonb_path_query(b, {numbers})) AS {alias} (c, d) WHERE NOT "
        f"{_pair(arguments)}"
    )
    return let(
        arguments,
        [left, right],
        "CASE WHEN a = b THEN TRUE "
        "WHEN jsonb_typeof(a) = jsonb_typeof(b) AND jsonb_typeof(a) <> 'string' "
        f"AND {shapes[0]} = {shapes[1]} THEN NOT EXISTS ({found}) "
        "WHEN a IS NOT NULL AND b IS NOT NULL THEN FALSE END",
    )


def _pair(arguments: Arguments) -> str:
    return let(arguments, ["c::numeric", "d::numeric"], _both_digits("="))


def one_of(arguments: Arguments, left: Term, members: list[Term], mode: Mode) -> str:
    """Whether a value equals one of some constants."""
    strings = [m.constant for m in members if type(m.constant) is str]
    if strings and len(strings) == len(members):
        origin = left.json or left.origin
        if origin is not None and mode == "true" and all(map(is_only_text, strings)):
            texts = [arguments.literal(text) for text in strings]
            sql = part(text_of_json(arguments, origin))
            return f"{sql} IN ({', '.join(texts)})"
        if left.json is not None:
            texts = [arguments.literal(json_text(text) or "") for text in strings]
            sql = part(sql_of_json(arguments, left.json))
            return f"{sql} IN ({', '.join(texts)})"
        if list(left.kinds) == ["string"] or (mode == "true" and left.total):
            texts = [arguments.literal(text) for text in strings]
            sql = part(left.kinds.get("string", "NULL"))
            return f"{sql} IN ({', '.join(texts)})"
    if not members:
        ok = valid(arguments, left)
        return "FALSE" if ok == "TRUE" else f"CASE WHEN {ok} THEN FALSE END"
    return disjunction(
        equality(arguments, left, member, mode, negate=False) for member in members
    )
