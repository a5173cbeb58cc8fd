"""Functions of strings, as cel-go's library ``strings``, version 4.

Positions count code points from 0. ``format`` is in ``ext_format``; ``reverse``, which
lists have too, is in ``ext_lists``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload
from .values import Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Unicode's white space. Python's own strip() takes U+001C to U+001F too.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}
_QUOTED = str.maketrans(
    {
        "\a": r"\a",
        "\b": r"\b",
        "\f": r"\f",
        "\n": r"\n",
        "\r": r"\r",
        "\t": r"\t",
        "\v": r"\v",
        "\\": r"\\",
        '"': r"\"",
    }
)


def _charge(state: Evaluation, characters: int) -> None:
    state.charge(characters // CHARACTERS_PER_UNIT)


def _out_of_range(position: int) -> EvaluationError:
    return EvaluationError(f"index out of range: {position}")


# Parts


def _char_at(state: Evaluation, text: Value, position: Value) -> str:
    """The character at a position; the empty string at the end."""
    if type(text) is not str or type(position) is not int:
        raise no_overload("charAt", text, position)
    if not 0 <= position <= len(text):
        raise _out_of_range(position)
    return text[position : position + 1]


def _substring(state: Evaluation, text: Value, start: Value, *ends: Value) -> str:
    if type(text) is not str or type(start) is not int:
        raise no_overload("substring", text, start, *ends)
    end = ends[0] if ends else len(text)
    if type(end) is not int:
        raise no_overload("substring", text, start, *ends)
    if ends and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for position in (start, end):
        if not 0 <= position <= len(text):
            raise _out_of_range(position)
    _charge(state, end - start)
    return text[start:end]


def _index_of(state: Evaluation, text: Value, part: Value, *offsets: Value) -> int:
    """The first position of a part, from an offset on, or -1."""
    if type(text) is not str or type(part) is not str:
        raise no_overload("indexOf", text, part, *offsets)
    if not offsets:
        _charge(state, len(text))
        return text.find(part)
    (offset,) = offsets
    if type(offset) is not int:
        raise no_overload("indexOf", text, part, *offsets)
    # The end of the text is a place for the empty part only.
    if not 0 <= offset < len(text) + (not part):
        raise _out_of_range(offset)
    _charge(state, len(text) - offset)
    return text.find(part, offset)


def _last_index_of(state: Evaluation, text: Value, part: Value, *offsets: Value) -> int:
    """The last position of a part, up to an offset, or -1."""
    if type(text) is not str or type(part) is not str:
        raise no_overload("lastIndexOf", text, part, *offsets)
    _charge(state, len(text))
    if not offsets:
        return text.rfind(part)
    (offset,) = offsets
    if type(offset) is not int:
        raise no_overload("lastIndexOf", text, part, *offsets)
    if not 0 <= offset < len(text) + (not part):
        raise _out_of_range(offset)
    return text.rfind(part, 0, offset + len(part))


# Changes


def _mapped(name: str, change: Callable[[str], str]) -> Function:
    """A method that changes a string to one of about its length."""

    def implementation(state: Evaluation, text: Value) -> str:
        if type(text) is not str:
            raise no_overload(name, text)
        _charge(state, len(text))
        return change(text)

    form = "(string) -> string" if "." in name else "string.() -> string"
    return Function(name, (form,), implementation)


def _lower_ascii(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _upper_ascii(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_UPPER)


def _quote(text: str) -> str:
    """A string literal of CEL that gives this text."""
    return f'"{text.translate(_QUOTED)}"'


def _replace(
    state: Evaluation, text: Value, old: Value, new: Value, *limits: Value
) -> str:
    """All occurrences replaced, or the first few; fewer than 0 means all."""
    limit = limits[0] if limits else -1
    if not (type(text) is type(old) is type(new) is str and type(limit) is int):
        raise no_overload("replace", text, old, new, *limits)
    _charge(state, len(text))
    count = text.count(old)
    if limit >= 0:
        count = min(count, limit)
    _charge(state, max(0, count * (len(new) - len(old))))
    return text.replace(old, new, count)


def _split(
    state: Evaluation, text: Value, separator: Value, *limits: Value
) -> list[Value]:
    """The parts between separators, or so many at most; none means all.

    The empty separator splits into characters.
    """
    limit = limits[0] if limits else -1
    if type(text) is not str or type(separator) is not str or type(limit) is not int:
        raise no_overload("split", text, separator, *limits)
    if limit == 0:
        return []
    _charge(state, len(text))
    if separator:
        cuts = text.count(separator)
        if limit > 0:
            cuts = min(cuts, limit - 1)
        state.charge(cuts + 1)
        return list(text.split(separator, cuts))
    cuts = len(text) if limit < 0 else min(len(text), limit)
    state.charge(cuts)
    if cuts == len(text):
        return list(text)
    return [*text[: cuts - 1], text[cuts - 1 :]]


def _join(state: Evaluation, parts: Value, *separators: Value) -> str:
    separator = separators[0] if separators else ""
    if type(parts) is not list or type(separator) is not str:
        raise no_overload("join", parts, *separators)
    state.charge(len(parts))
    for part in parts:
        if type(part) is not str:
            raise EvaluationError(
                f"no such overload: join needs strings, not {type_of(part)}"
            )
    _charge(state, sum(map(len, parts)) + len(parts) * len(separator))
    return separator.join(parts)


LIBRARY = library(
    (
        Function("charAt", ("string.(int) -> string",), _char_at),
        Function(
            "substring",
            ("string.(int) -> string", "string.(int, int) -> string"),
            _substring,
        ),
        Function(
            "indexOf",
            ("string.(string) -> int", "string.(string, int) -> int"),
            _index_of,
        ),
        Function(
            "lastIndexOf",
            ("string.(string) -> int", "string.(string, int) -> int"),
            _last_index_of,
        ),
        _mapped("lowerAscii", _lower_ascii),
        _mapped("upperAscii", _upper_ascii),
        _mapped("trim", lambda text: text.strip(_SPACE)),
        _mapped("strings.quote", _quote),
        Function(
            "replace",
            (
                "string.(string, string) -> string",
                "string.(string, string, int) -> string",
            ),
            _replace,
        ),
        Function(
            "split",
            (
                "string.(string) -> list(string)",
                "string.(string, int) -> list(string)",
            ),
            _split,
        ),
        Function(
            "join",
            (
                "list(string).() -> string",
                "list(string).(string) -> string",
            ),
            _join,
        ),
    )
)
