"""Timestamps and durations as SQL, at nanoseconds (cel-spec, "Timestamps").

PostgreSQL's own types end at microseconds and read text by the session's settings. So
both are ``numeric`` numbers of nanoseconds, and the text of facts is taken apart here.
A column of timestamptz stays one, so that its indexes fit: constants are rounded to
its microseconds in the direction that makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .sql_numbers import INT_BOUNDS, within
from .sql_reading import kinds_of, let, read
from .sql_text import Refused, coalesced, part
from .sql_values import Term
from .temporal import (
    MAX_DURATION_NANOS,
    MAX_TIMESTAMP_NANOS,
    MIN_DURATION_NANOS,
    MIN_TIMESTAMP_NANOS,
    NANOS_PER_SECOND,
    Timestamp,
    format_timestamp,
)

if TYPE_CHECKING:
    from .checked import Checked, Invoke
    from .sql_text import Arguments, Mode
    from .sql_translator import Translator

_TIMESTAMPS: Final = (MIN_TIMESTAMP_NANOS, MAX_TIMESTAMP_NANOS)
_DURATIONS: Final = (MIN_DURATION_NANOS, MAX_DURATION_NANOS)
_FAR: Final = 1 << 200

_DAY: Final = 86_400 * NANOS_PER_SECOND


# Text to nanoseconds

_TIMESTAMP: Final = (
    "^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    "(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_DURATION: Final = (
    "^[-+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$"
)
_DURATION_PART: Final = "([0-9]*)[.]?([0-9]*)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_FRACTION: Final = "[.]([0-9]+)"


def parse_timestamp(arguments: Arguments, text: str) -> str:
    """Nanoseconds of an RFC 3339 text, as ``temporal.parse_timestamp`` reads it."""
    date = "make_date(substr(a, 1, 4)::int, substr(a, 6, 2)::int, 1)"
    date = f"{date} + substr(a, 9, 2)::int - 1"
    of_day = (
        "substr(a, 12, 2)::int * 3600 + substr(a, 15, 2)::int * 60 "
        "+ substr(a, 18, 2)::int"
    )
    offset = (
        "CASE WHEN right(a, 1) = 'Z' THEN 0 "
        "ELSE CASE left(right(a, 6), 1) WHEN '-' THEN -60 ELSE 60 END "
        "* (left(right(a, 5), 2)::int * 60 + right(a, 2)::int) END"
    )
    digits = f"coalesce(substring(a FROM {arguments.literal(_FRACTION)}), '')"
    nanos = f"((a - '1970-01-01'::date) * 86400::numeric + c) * {NANOS_PER_SECOND} + d"
    nanos = within(nanos, (-_FAR, _FAR), limits=_TIMESTAMPS)
    # A day that its month has not is one of the next month.
    found = let(
        arguments,
        [
            date,
            "substr(a, 6, 2)::int",
            f"{of_day} - {offset}",
            f"rpad({digits}, 9, '0')::numeric",
        ],
        f"CASE WHEN extract(month FROM a) = b THEN {nanos} END",
    )
    pattern = arguments.literal(_TIMESTAMP)
    return let(arguments, [text], f"CASE WHEN a ~ {pattern} THEN {found} END")


def parse_duration(arguments: Arguments, text: str) -> str:
    """Nanoseconds of a duration's text, as ``temporal.parse_duration`` reads it."""
    alias = arguments.alias()
    scale = (
        "CASE p[3] WHEN 'ns' THEN 1 WHEN 'ms' THEN 1000000 WHEN 's' THEN 1000000000 "
        "WHEN 'm' THEN 60000000000 WHEN 'h' THEN 3600000000000 ELSE 1000 END"
    )
    whole, fraction = (
        f"coalesce(nullif(p[{n}], ''), '0')::numeric * {scale}" for n in (1, 2)
    )
    size = (
        f"(SELECT sum({whole} + div({fraction}, 10::numeric ^ char_length(p[2]))) FROM "
        f"regexp_matches(a, {arguments.literal(_DURATION_PART)}, 'g') AS {alias} (p))"
    )
    signed = f"CASE left(a, 1) WHEN '-' THEN -1 ELSE 1 END * coalesce({size}, 0)"
    nanos = within(signed, (-_FAR, _FAR), limits=_DURATIONS)
    pattern = arguments.literal(_DURATION)
    return let(
        arguments,
        [text],
        f"CASE WHEN char_length(a) <= 256 AND a ~ {pattern} THEN {nanos} END",
    )


# Columns


class _Form(NamedTuple):
    """The nanoseconds that a column's type can tell apart, and its literals' ends."""

    unit: int
    type: str
    zone: str


_FORMS: Final = {
    "timestamp with time zone": _Form(1_000, "timestamptz", "Z"),
    "timestamp without time zone": _Form(1_000, "timestamp", ""),
    "date": _Form(_DAY, "date", ""),
}


def _literal(form: _Form, units: int) -> str:
    """A constant of a column's type; at most the first of the year 10000."""
    nanos = units * form.unit
    text = "10000-01-01T00:00:00Z"
    if nanos <= MAX_TIMESTAMP_NANOS:
        text = format_timestamp(Timestamp(nanos))
    text = text[: text.index("T")] if form.unit == _DAY else text[:-1] + form.zone
    return f"'{text}'::{form.type}"


def _years(form: _Form) -> tuple[str, str]:
    """The first time of CEL, and the first one beyond it."""
    ends = MIN_TIMESTAMP_NANOS, MAX_TIMESTAMP_NANOS + 1
    first, beyond = (_literal(form, end // form.unit) for end in ends)
    return first, beyond


def as_nanos(arguments: Arguments, term: Term) -> Term:
    """A term that has nanoseconds in place of a column's own type."""
    instant = term.kinds.get("instant")
    if instant is None:
        return term
    first, beyond = _years(_FORMS[term.instant])
    nanos = let(
        arguments,
        [instant],
        f"CASE WHEN a >= {first} AND a < {beyond} "
        f"THEN extract(epoch FROM a) * {NANOS_PER_SECOND} END",
    )
    kinds = {kind: sql for kind, sql in term.kinds.items() if kind != "instant"}
    return Term(kinds | {"timestamp": nanos})


def order_instant(term: Term, operator: str, value: Timestamp, mode: Mode) -> str:
    """A column against a constant."""
    form = _FORMS[term.instant]
    instant = part(term.kinds["instant"])
    down, up = value.nanos // form.unit, -(-value.nanos // form.unit)
    literal = _literal(form, down if operator in (">", "<=") else up)
    found = f"{instant} {operator} {literal}"
    first, beyond = _years(form)
    if mode != "true":
        return (
            f"CASE WHEN {instant} >= {first} AND {instant} < {beyond} THEN {found} END"
        )
    # What is beyond the years of CEL is an error, infinity too.
    if operator in (">", ">="):
        return f"{found} AND {instant} < {beyond}"
    return f"{found} AND {instant} >= {first}"


def is_instant(term: Term, value: Timestamp) -> str:
    """Whether a column is a constant; it is TRUE if and only if it is."""
    form = _FORMS[term.instant]
    if value.nanos % form.unit:
        return "FALSE"
    return f"{part(term.kinds['instant'])} = {_literal(form, value.nanos // form.unit)}"


def within_durations(nanos: str) -> str:
    """Nanoseconds, NULL where they are no duration."""
    return within(nanos, (-_FAR, _FAR), limits=_DURATIONS)


# Operators and functions


def arithmetic(
    arguments: Arguments, left: Term, operator: str, right: Term
) -> dict[str, str]:
    """``+`` and ``-`` with times."""
    left, right = as_nanos(arguments, left), as_nanos(arguments, right)
    results = {
        ("timestamp", "+", "duration"): ("timestamp", _TIMESTAMPS),
        ("duration", "+", "timestamp"): ("timestamp", _TIMESTAMPS),
        ("timestamp", "-", "duration"): ("timestamp", _TIMESTAMPS),
        ("timestamp", "-", "timestamp"): ("duration", _DURATIONS),
        ("duration", "+", "duration"): ("duration", _DURATIONS),
        ("duration", "-", "duration"): ("duration", _DURATIONS),
    }
    found: dict[str, str] = {}
    for a_kind in kinds_of(left):
        for b_kind in kinds_of(right):
            result = results.get((a_kind, operator, b_kind))
            if result is None:
                continue
            a, b = read(arguments, left, a_kind), read(arguments, right, b_kind)
            kind, limits = result
            sql = f"{part(a)}::numeric {operator} {part(b)}"
            found[kind] = within(sql, (-_FAR, _FAR), limits=limits)
    return found


def timestamp(translator: Translator, node: Invoke) -> Term:
    """``timestamp(x)`` of text, of Unix seconds, or of a timestamp."""
    operand = as_nanos(translator.arguments, translator.term(node.arguments[0]))
    arguments = translator.arguments
    found = [
        read(arguments, operand, kind)
        for kind in ("timestamp",)
        if kind in kinds_of(operand)
    ]
    if "string" in kinds_of(operand):
        found.append(parse_timestamp(arguments, read(arguments, operand, "string")))
    if "int" in kinds_of(operand):
        seconds = part(read(arguments, operand, "int"))
        nanos = f"{seconds}::numeric * {NANOS_PER_SECOND}"
        found.append(within(nanos, (-_FAR, _FAR), limits=_TIMESTAMPS))
    return _one("timestamp", found)


def duration(translator: Translator, node: Invoke) -> Term:
    """``duration(x)`` of text or of a duration."""
    operand = translator.term(node.arguments[0])
    arguments = translator.arguments
    found = []
    if "duration" in kinds_of(operand):
        found.append(read(arguments, operand, "duration"))
    if "string" in kinds_of(operand):
        found.append(parse_duration(arguments, read(arguments, operand, "string")))
    return _one("duration", found)


def _one(kind: str, found: list[str]) -> Term:
    return Term({kind: coalesced(found)}) if found else Term()


def seconds(arguments: Arguments, nanos: str) -> str:
    """Whole Unix seconds, rounded down, as ``int(timestamp)`` gives."""
    return let(arguments, [nanos], _floored("a", NANOS_PER_SECOND))


def _floored(value: str, unit: int) -> str:
    return f"div({value} - {_modulo(value, unit)}, {unit})"


def _modulo(value: str, unit: int) -> str:
    """The remainder that is never negative."""
    return f"mod(mod({value}, {unit}) + {unit}, {unit})"


def _of_date(field: str, less: int) -> str:
    day = _floored("a", _DAY)
    found = f"extract({field} FROM '1970-01-01'::date + {day}::int)"
    return f"{found} - {less}" if less else found


def _of_day(unit: int, count: int) -> str:
    return f"div({_modulo('a', unit * count)}, {unit})"


_HOUR: Final = 3_600 * NANOS_PER_SECOND
_MINUTE: Final = 60 * NANOS_PER_SECOND
_MILLISECOND: Final = 1_000_000

_OF_TIMESTAMP: Final = {
    "getFullYear": _of_date("year", 0),
    "getMonth": _of_date("month", 1),
    "getDate": _of_date("day", 0),
    "getDayOfMonth": _of_date("day", 1),
    "getDayOfWeek": _of_date("dow", 0),
    "getDayOfYear": _of_date("doy", 1),
    "getHours": _of_day(_HOUR, 24),
    "getMinutes": _of_day(_MINUTE, 60),
    "getSeconds": _of_day(NANOS_PER_SECOND, 60),
    "getMilliseconds": _of_day(_MILLISECOND, 1_000),
}
_OF_DURATION: Final = {
    "getHours": f"div(a, {_HOUR})",
    "getMinutes": f"div(a, {_MINUTE})",
    "getSeconds": f"div(a, {NANOS_PER_SECOND})",
    "getMilliseconds": f"mod(div(a, {_MILLISECOND}), 1000)",
}
ACCESSORS: Final = tuple(_OF_TIMESTAMP)


def accessor(translator: Translator, node: Invoke) -> Term:
    """A part of a timestamp in UTC, or of a duration."""
    name = node.function.name
    zone = translator.term(node.arguments[1]) if len(node.arguments) > 1 else None
    if zone is not None and zone.constant != "UTC":
        raise Refused(
            node.arguments[1],
            "time zones other than UTC may have other rules on the server",
        )
    arguments = translator.arguments
    operand = as_nanos(arguments, translator.term(node.arguments[0]))
    found = []
    for kind, sql in (
        ("timestamp", _OF_TIMESTAMP[name]),
        ("duration", None if zone else _OF_DURATION.get(name)),
    ):
        if kind in kinds_of(operand) and sql is not None:
            found.append(let(arguments, [read(arguments, operand, kind)], sql))
    made = _one("int", found)
    return Term(made.kinds, bounds=INT_BOUNDS)


def declared(arguments: Arguments, of: str, text: str, node: Checked) -> str:
    """The nanoseconds of a fact that is declared a timestamp or a duration."""
    if of == "timestamp":
        return parse_timestamp(arguments, text)
    if of == "duration":
        return parse_duration(arguments, text)
    raise Refused(node, f"a fact declared {of} is converted")
