"""Facts and results: between JSON, Python mappings and CEL values.

Facts are a JSON object as PostgreSQL's ``jsonb`` holds it. A number without fraction
and exponent is an ``int``, any other a ``double``. This module makes that so on every
way in, and alike: from the text of a ``jsonb`` (:func:`parse_facts`), from a mapping in
memory (:func:`facts_from_mapping`), and from a mapping that travels through the
database (:func:`facts_to_json`). It also writes results (:func:`value_to_json`).

Conversions that a schema declares, such as text to timestamps, are the evaluator's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isinf, isnan
from typing import TYPE_CHECKING, Any, Final

from .errors import EvaluationError, InvalidFacts
from .numbers import INT_MAX, INT_MIN
from .temporal import (
    MAX_DURATION_NANOS,
    MIN_DURATION_NANOS,
    Duration,
    Timestamp,
    format_duration,
    format_timestamp,
)
from .types import Type
from .values import BoolKey, Opaque, Optional, Uint, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Facts = dict[str, Any]
"""Decoded facts: dict, list, str, int, float, bool and None, nothing else."""


@dataclass(frozen=True, slots=True)
class FactLimits:
    """The bounds of one evaluation's facts; beyond them they are refused."""

    size: int = 4 * 1024 * 1024
    """Characters of the JSON text. At the limit, facts take at most some 200 MB."""

    depth: int = 100
    """Levels of objects and lists. ``jsonb`` itself holds 6,000 and more, which no
    recursive function of Python can follow."""


DEFAULT_FACT_LIMITS: Final = FactLimits()

MAX_RESULT: Final = 1024 * 1024
"""Characters of the JSON text of a result."""


class _Refusal(Exception):
    """Why a part of the facts cannot be; collects its path on the way out."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.path: list[str | int] = []

    def as_invalid_facts(self) -> InvalidFacts:
        return _refused(self.path[::-1], self.reason, self.hint)


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_PATH = 12


def _format_path(path: list[str | int]) -> str:
    """Write a path as CEL would select it: ``User.Addresses[3].Zip``."""
    text = ""
    for part in path[:_MAX_PATH]:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _IDENTIFIER.fullmatch(part):
            text += f".{part}" if text else part
        else:
            shown = part if len(part) <= 64 else part[:61] + "..."
            text += f"[{json.dumps(shown)}]"
    return text + ("..." if len(path) > _MAX_PATH else "")


def _refused(path: list[str | int], reason: str, hint: str = "") -> InvalidFacts:
    where = f"{_format_path(path)}: " if path else ""
    return InvalidFacts(f"invalid facts: {where}{reason}", hint=hint)


def _too_deep(limits: FactLimits) -> str:
    return f"nested more than {limits.depth} levels deep"


def _too_large(limits: FactLimits) -> str:
    return f"larger than {limits.size:,} characters of JSON"


# --- from JSON text ------------------------------------------------------------------

# What decoding must look at closely is found in a copy of the text that has 0 for every
# digit and no plus signs: a run of 19 digits may be a number outside 64 bits, and an
# exponent of three digits one beyond all doubles. Byte searches make this cost far less
# than decoding.
_OUTLINE = bytes.maketrans(b"123456789E[", b"000000000e{")
_LONG_NUMBER = b"0" * 19
_LARGE_EXPONENT = b"0e000"


class _OutOfRange(Exception):
    """A number cannot be represented; also stands for it in facts once decoded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _checked_int(text: str) -> int:
    # 20 characters hold every 64-bit number; Python is slow on thousands of digits.
    if len(text) <= 20:
        number = int(text)
        if INT_MIN <= number <= INT_MAX:
            return number
    raise _OutOfRange(text)


def _checked_float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise _OutOfRange(text)
    return number


def _marking(parse: Callable[[str], object]) -> Callable[[str], object]:
    def parse_or_mark(text: str) -> object:
        try:
            return parse(text)
        except _OutOfRange as mark:
            return mark

    return parse_or_mark


def _refuse_constant(name: str) -> object:
    raise _Refusal(f"{name} is no JSON number")


def _decoder(**numbers: Any) -> Callable[[str], Any]:
    return json.JSONDecoder(parse_constant=_refuse_constant, **numbers).decode


# Every hook costs a call of Python for each number, so most facts go without.
_decode = _decoder()
_decode_exponents = _decoder(parse_float=_checked_float)
_decode_numbers = _decoder(parse_int=_checked_int, parse_float=_checked_float)
_decode_marking = _decoder(
    parse_int=_marking(_checked_int), parse_float=_marking(_checked_float)
)


def parse_facts(text: str, limits: FactLimits = DEFAULT_FACT_LIMITS) -> Facts:
    """Decode the JSON text of a ``jsonb`` object.

    Raises :class:`InvalidFacts` for what is no JSON object, for a number that fits
    neither 64 bits nor a double, and beyond the limits, naming the path where it can.
    """
    if len(text) > limits.size:
        raise _refused([], _too_large(limits))
    try:
        outline = text.encode().translate(_OUTLINE, b"+")
        if _LONG_NUMBER in outline:
            facts: Facts = _decode_numbers(text)
        elif _LARGE_EXPONENT in outline:
            facts = _decode_exponents(text)
        else:
            facts = _decode(text)
        _require_object(facts)
        # The search for one character is the faster, and most facts have no escapes.
        if "\\" in text and "\\u" in text:
            # Escapes can spell what jsonb refuses: NUL and halves of surrogate pairs.
            _Copy(limits).mapping(facts)
        elif len(text) > limits.depth and outline.count(b"{") > limits.depth:
            _refuse_depth(facts, limits)
    except _Refusal as refusal:
        raise refusal.as_invalid_facts() from None
    except _OutOfRange as mark:
        raise _out_of_range(text, mark) from None
    except json.JSONDecodeError as problem:
        raise _refused(
            [],
            f"no valid JSON at line {problem.lineno}, column {problem.colno}: "
            f"{problem.msg}",
        ) from None
    except UnicodeEncodeError:
        raise _refused([], _SURROGATE) from None
    except RecursionError:
        raise _refused([], _too_deep(limits)) from None
    return facts


# Decoding that many at once takes half as long as one by one; more is no faster. Of
# larger facts decoding is most of the work, and cannot be cancelled.
_TOGETHER = 64
_TOGETHER_SIZE = 64 * 1024


def parse_many(
    texts: list[str], limits: FactLimits = DEFAULT_FACT_LIMITS
) -> Iterator[Facts | InvalidFacts]:
    """Decode the JSON text of each ``jsonb`` as :func:`parse_facts` does.

    Gives the refusal in the place of facts that are refused.
    """
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        decoded = _decoded_together(some, limits)
        if decoded is not None:
            yield from decoded
            continue
        for text in some:
            try:
                yield parse_facts(text, limits)
            except InvalidFacts as refused:
                yield refused


def _decoded_together(texts: list[str], limits: FactLimits) -> list[Facts] | None:
    """The facts of some texts, or None where any needs a closer look."""
    joined = f"[{','.join(texts)}]"
    if len(joined) > min(limits.size, _TOGETHER_SIZE) or "\\u" in joined:
        return None
    if any(text.count("{") + text.count("[") > limits.depth for text in texts):
        return None
    try:
        outline = joined.encode().translate(_OUTLINE, b"+")
        if _LONG_NUMBER in outline or _LARGE_EXPONENT in outline:
            return None
        decoded: list[Facts] = _decode(joined)
    except (ValueError, RecursionError, _Refusal):
        return None
    if any(type(facts) is not dict for facts in decoded):
        return None
    return decoded


def _require_object(value: object) -> None:
    if type(value) is not dict:
        kinds = {bool: "a boolean", str: "a string", list: "an array"}
        kind = "null" if value is None else kinds.get(type(value), "a number")
        raise _Refusal(f"a JSON object is expected, not {kind}")


# Finding the path takes several times as long as decoding.
_MAX_TEXT_TO_SEARCH = 256 * 1024
_PARTS = frozenset({dict, list, _OutOfRange})


def _out_of_range(text: str, mark: _OutOfRange) -> InvalidFacts:
    """Decode again to find where the number stands, without recursion."""
    refused = _refused([], _number_out_of_range(mark.text))
    if len(text) > _MAX_TEXT_TO_SEARCH:
        return refused
    try:
        pending: list[tuple[list[str | int], Any]] = [([], _decode_marking(text))]
    except (ValueError, RecursionError, _Refusal):
        # There is more that is wrong, further on in the text.
        return refused
    while pending:
        path, value = pending.pop()
        if type(value) is _OutOfRange:
            return _refused(path, _number_out_of_range(value.text))
        if type(value) is dict:
            parts: Any = value.items()
        else:
            parts = enumerate(value)
        pending += [([*path, key], part) for key, part in parts if type(part) in _PARTS]
    # Of two values for one key only the later is kept; this one was the earlier.
    return refused


def _number_out_of_range(text: str) -> str:
    shown = text if len(text) <= 40 else f"{text[:20]}... ({len(text):,} characters)"
    fits = "double" if any(mark in text for mark in ".eE") else "64-bit integer"
    return f"the number {shown} does not fit a {fits}"


def _refuse_depth(facts: Facts, limits: FactLimits) -> None:
    """Count levels breadth first: brackets in strings make counting text inexact."""
    level: list[Any] = [facts]
    for _ in range(limits.depth):
        below: list[Any] = []
        for container in level:
            parts = container.values() if type(container) is dict else container
            below += [part for part in parts if type(part) in (dict, list)]
        if not below:
            return
        level = below
    raise _Refusal(_too_deep(limits))


# --- from Python ---------------------------------------------------------------------

_NUL = "the character NUL cannot be stored in jsonb"
_SURROGATE = "half of a surrogate pair is no character"


class _Copy:
    """A deep copy of a mapping in the form that ``jsonb`` would give back."""

    __slots__ = ("ancestors", "left", "limits")

    def __init__(self, limits: FactLimits) -> None:
        self.limits = limits
        # Bounds the work where one list is contained many times over.
        self.left = limits.size
        self.ancestors: list[object] = []

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int:
            if INT_MIN <= value <= INT_MAX:
                return value
            raise _Refusal(_int_out_of_range(value))
        if kind is bool or value is None:
            return value
        if kind is float:
            return _finite(value)
        # The test for the abstract type is the slow one.
        if kind is dict:
            return self.mapping(value)
        if isinstance(value, list | tuple):
            return self.array(value)
        if isinstance(value, Mapping):
            return self.mapping(value)
        return self.unusual(value)

    def text(self, text: str) -> str:
        self.spend(len(text))
        if "\0" in text:
            raise _Refusal(_NUL)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _Refusal(_SURROGATE) from None
        return text

    def mapping(self, mapping: Mapping[Any, Any]) -> Facts:
        self.enter(mapping)
        # Quotes, colon, a character of the value, comma.
        self.spend(5 * len(mapping))
        copy: Facts = {}
        for key, part in mapping.items():
            if type(key) is str:
                name = key
            elif isinstance(key, str):
                name = str.__str__(key)
            else:
                raise _Refusal(
                    f"a key of type {type(key).__name__} is no string",
                    "JSON objects have string keys only.",
                )
            try:
                copy[self.text(name)] = self.value(part)
            except _Refusal as refusal:
                refusal.path.append(name)
                raise
        self.ancestors.pop()
        return _in_order(copy)

    def array(self, items: list[Any] | tuple[Any, ...]) -> list[Any]:
        self.enter(items)
        # A character of the value, comma.
        self.spend(2 * len(items))
        copy: list[Any] = []
        try:
            for part in items:
                copy.append(self.value(part))  # noqa: PERF401 - its length is the path
        except _Refusal as refusal:
            refusal.path.append(len(copy))
            raise
        self.ancestors.pop()
        return copy

    def spend(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise _Refusal(_too_large(self.limits))

    def enter(self, container: object) -> None:
        if len(self.ancestors) >= self.limits.depth:
            if any(ancestor is container for ancestor in self.ancestors):
                raise _Refusal("it contains itself")
            raise _Refusal(_too_deep(self.limits))
        self.ancestors.append(container)

    def unusual(self, value: object) -> object:
        """Reduce subclasses to their base, and values with a JSON text to that."""
        if isinstance(value, str):
            # Not str(): an Enum with a str base would answer with its own name.
            return self.text(str.__str__(value))
        if isinstance(value, int):
            return self.value(int.__int__(value))
        if isinstance(value, float):
            return _finite(float.__float__(value))
        if isinstance(value, Timestamp):
            return format_timestamp(value)
        if isinstance(value, Duration):
            return format_duration(value)
        return _from_standard_library(value)


def _in_order(facts: Facts) -> Facts:
    """The same facts, keys as jsonb orders them: the shorter first, then by bytes."""
    keys = list(facts)
    if "".join(keys).isascii():
        ordered = sorted(sorted(keys), key=len)
    else:
        ordered = sorted(keys, key=_length_and_bytes)
    return facts if ordered == keys else {key: facts[key] for key in ordered}


def _length_and_bytes(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded


def _int_out_of_range(value: int) -> str:
    # repr() of a huge int is an error of its own.
    shown = str(value) if value.bit_length() <= 128 else f"{value.bit_length()} bits"
    return f"the number {shown} does not fit a 64-bit integer"


def _finite(value: float) -> float:
    if not isfinite(value):
        raise _Refusal(f"{value} is no JSON number")
    # jsonb has no negative zero.
    return value + 0.0


def _from_standard_library(value: object) -> object:
    """Values of types whose modules are loaded only for facts that use them."""
    from datetime import date, datetime, timedelta
    from decimal import Decimal
    from uuid import UUID

    if isinstance(value, datetime):
        return _datetime_text(value)
    if isinstance(value, timedelta):
        nanos = (
            (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        ) * 1_000
        if not MIN_DURATION_NANOS <= nanos <= MAX_DURATION_NANOS:
            raise _Refusal(f"{value} is longer than CEL's durations, about 292 years")
        return format_duration(Duration(nanos))
    if isinstance(value, Decimal):
        return _decimal_number(value)
    if isinstance(value, UUID):
        return str(value)
    hint = (
        "Convert it to None, bool, int, float, str, list, tuple or a mapping. Also "
        "accepted: an aware datetime, timedelta, Decimal, UUID."
    )
    if isinstance(value, date):
        hint = "Give a datetime with a time zone, or text."
    raise _Refusal(f"a value of type {type(value).__name__} has no place in JSON", hint)


def _datetime_text(value: Any) -> str:
    from datetime import UTC

    if value.utcoffset() is None:
        raise _Refusal(
            "a datetime without a time zone is no point in time",
            "Give it a tzinfo, for example datetime.now(UTC).",
        )
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        raise _Refusal(f"{value} is outside the years 1 to 9999 in UTC") from None
    text = utc.strftime("%m-%dT%H:%M:%S")
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return f"{utc.year:04d}-{text}{fraction}Z"


def _decimal_number(value: Any) -> int | float:
    """An int where the text has neither fraction nor exponent, as in JSON."""
    if not value.is_finite():
        raise _Refusal(f"{value} is no JSON number")
    if value.as_tuple().exponent == 0 and value.adjusted() < 20:
        number = int(value)
        if INT_MIN <= number <= INT_MAX:
            return number
    elif value.as_tuple().exponent != 0:
        double = float(value)
        if isfinite(double):
            return double + 0.0
    raise _Refusal(_number_out_of_range(str(value)))


def facts_from_mapping(
    mapping: Mapping[str, Any], limits: FactLimits = DEFAULT_FACT_LIMITS
) -> Facts:
    """Validate and copy a mapping into exactly what ``jsonb`` would give back.

    Keys are ordered as ``jsonb`` orders them, tuples become lists, subclasses of
    str, int and float their base. An aware datetime becomes an RFC 3339 text in UTC, a
    timedelta a CEL duration text (``90s``), a UUID its text, a Decimal without fraction
    and exponent an int, any other Decimal a float.

    Raises :class:`InvalidFacts`, naming the path, for everything else: NaN, infinities,
    integers outside 64 bits, NUL, halves of surrogate pairs, keys that are no strings,
    cycles, other types, and beyond the limits.
    """
    # A caller without type checks may pass anything.
    given: object = mapping
    if not isinstance(given, Mapping):
        raise _refused([], f"a mapping is expected, not {type(given).__name__}")
    try:
        return _Copy(limits).mapping(mapping)
    except _Refusal as refusal:
        raise refusal.as_invalid_facts() from None
    except RecursionError:
        raise _refused([], _too_deep(limits)) from None


# --- to JSON text --------------------------------------------------------------------

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_quote: Callable[[str], str] = json.encoder.encode_basestring


def facts_to_json(
    mapping: Mapping[str, Any], limits: FactLimits = DEFAULT_FACT_LIMITS
) -> str:
    """JSON text for the database from which :func:`parse_facts` gets the same facts.

    ``jsonb`` writes 1e16 as 10000000000000000, an int; so doubles are written with a
    fraction, 10000000000000000.0. Raises what :func:`facts_from_mapping` raises.
    """
    facts = facts_from_mapping(mapping, limits)
    text = _encode(facts)
    if "e+" in text:
        # A double with an exponent, or text that looks like one.
        pieces: list[str] = []
        try:
            _write(facts, pieces, strict=True, left=limits.size)
        except EvaluationError:
            raise _refused([], _too_large(limits)) from None
        text = "".join(pieces)
    if len(text) > limits.size:
        raise _refused([], _too_large(limits))
    return text


def value_to_json(value: Value, *, strict: bool = True, limit: int = MAX_RESULT) -> str:
    """JSON text of a CEL value, for results and traces.

    int and uint are numbers, double a number with its fraction kept (``1.0``), or the
    strings ``NaN``, ``Infinity``, ``-Infinity``; bytes are base64, timestamps RFC 3339,
    durations seconds (``1.5s``), types their names, IP addresses and ranges their text;
    an optional is its value or null. Map keys become strings; of two keys that become
    the same string ``jsonb`` keeps the later.

    A string with NUL, which ``jsonb`` cannot hold, raises :class:`EvaluationError`, or
    has U+FFFD in its place when not ``strict``. So does a text of more characters than
    the ``limit``: a value is small where it contains one list many times, its text is
    not.
    """
    pieces: list[str] = []
    try:
        _write(value, pieces, strict=strict, left=limit)
    except RecursionError:
        raise EvaluationError("the result is nested too deep for JSON") from None
    return "".join(pieces)


def _json_string(text: str, *, strict: bool) -> str:
    if "\0" in text:
        if strict:
            raise EvaluationError(f"the result cannot be given as JSON: {_NUL}")
        text = text.replace("\0", "\ufffd")
    return _quote(text)


def _json_double(value: float) -> str:
    if not isfinite(value):
        return '"NaN"' if isnan(value) else f'"{"-" * (value < 0)}Infinity"'
    text = repr(value)
    if "e+" not in text:
        return text
    # The shortest digits, moved to the left of a point by zeros.
    mantissa, _, exponent = text.partition("e+")
    whole, _, fraction = mantissa.partition(".")
    return f"{whole}{fraction.ljust(int(exponent), '0')}.0"


def _write(value: Value, pieces: list[str], *, strict: bool, left: int) -> int:
    """Write a value; gives how many characters are left then."""
    kind = type(value)
    if kind is dict:
        separator = "{"
        for key, part in value.items():
            name = _json_string(_key_text(key), strict=strict)
            pieces += (separator, name, ":")
            left = _write(part, pieces, strict=strict, left=left - len(name) - 2)
            separator = ","
        text = "}" if value else "{}"
    elif kind is list:
        separator = "["
        for part in value:
            pieces.append(separator)
            left = _write(part, pieces, strict=strict, left=left - 1)
            separator = ","
        text = "]" if value else "[]"
    elif kind is Optional:
        return _write(value.value, pieces, strict=strict, left=left)
    elif kind is str:
        text = _json_string(value, strict=strict)
    elif value is None:
        text = "null"
    elif kind is bool:
        text = "true" if value else "false"
    elif kind is int:
        text = repr(value)
    elif kind is float:
        text = _json_double(value)
    else:
        text = _write_other(value)
    pieces.append(text)
    left -= len(text)
    if left < 0:
        raise EvaluationError(
            "the result is too large to be given as JSON",
            hint="select what is needed of it, or give its size()",
        )
    return left


def _key_text(key: Value) -> str:
    kind = type(key)
    if kind is str:
        return str(key)
    if kind is BoolKey:
        key = key.value
    if type(key) is bool:
        return "true" if key else "false"
    return str(int(key))


def _write_other(value: Value) -> str:
    kind = type(value)
    if kind is Uint:
        return repr(int(value))
    if kind is Timestamp:
        return f'"{format_timestamp(value)}"'
    if kind is Duration:
        return f'"{format_duration(value)}"'
    if kind is bytes:
        from base64 import b64encode

        return f'"{b64encode(value).decode("ascii")}"'
    if kind is Type or isinstance(value, Opaque):
        return _quote(str(value))
    raise EvaluationError(f"a value of type {kind.__name__} cannot be given as JSON")
