"""Regular expressions that extract and replace, as cel-go's library ``regex``.

The patterns are RE2's, see module ``regex``; here they may capture one group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import regex
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload, shown
from .values import ABSENT, Optional, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters behind a match that cost a unit, for the search of the next match.
_SEARCHED_PER_UNIT = 100


def _pattern(state: Evaluation, text: str, pattern: str) -> Any:
    """The compiled pattern, once a search in the text is charged for."""
    state.charge(regex.search_cost(text, pattern))
    return regex.compile_pattern(pattern, capture=True)


def _of_one_group(compiled: Any, pattern: str) -> Any:
    if compiled.groups > 1:
        raise EvaluationError(
            f"regular expression {shown(pattern)} has more than one capturing group",
            hint="write the others as (?:...)",
        )
    return compiled


def _matches(state: Evaluation, compiled: Any, text: str) -> Iterator[Any]:
    """All matches from left to right that do not overlap.

    As in Go, an empty match right behind another match is none. Each search may look
    at all the rest of the text before it knows.
    """
    end, size = -1, len(text)
    for match in compiled.finditer(text):
        start, stop = match.span()
        state.charge(1 + (size - stop) // _SEARCHED_PER_UNIT)
        if start == stop == end:
            continue
        end = stop
        yield match


def _extract(state: Evaluation, text: Value, pattern: Value) -> Optional:
    """The first match, or its group, as an optional; absent also when it is empty."""
    if type(text) is not str or type(pattern) is not str:
        raise no_overload("regex.extract", text, pattern)
    compiled = _of_one_group(_pattern(state, text, pattern), pattern)
    match = compiled.search(text)
    if match is None:
        return ABSENT
    if not compiled.groups:
        return Optional(match.group())
    group = match.group(1)
    return Optional(group) if group else ABSENT


def _extract_all(state: Evaluation, text: Value, pattern: Value) -> list[Value]:
    """All matches, or their groups that are not empty."""
    if type(text) is not str or type(pattern) is not str:
        raise no_overload("regex.extractAll", text, pattern)
    compiled = _of_one_group(_pattern(state, text, pattern), pattern)
    matches = _matches(state, compiled, text)
    if not compiled.groups:
        return [match.group() for match in matches]
    return [group for match in matches if (group := match.group(1))]


def _replace(
    state: Evaluation, text: Value, pattern: Value, replacement: Value, *limits: Value
) -> str:
    r"""All matches replaced, or the first few; fewer than 0 means all.

    In the replacement ``\1`` is the first group, ``\0`` the match, ``\\`` a
    backslash.
    """
    limit = limits[0] if limits else -1
    if not (
        isinstance(text, str)
        and isinstance(pattern, str)
        and isinstance(replacement, str)
        and type(limit) is int
    ):
        raise no_overload("regex.replace", text, pattern, replacement, *limits)
    if limit == 0:
        return text
    compiled = _pattern(state, text, pattern)
    template: list[str | int] | None = None
    pieces: list[str] = []
    position = 0
    for match in _matches(state, compiled, text):
        if template is None:
            template = _template(replacement, compiled.groups)
        start, end = match.span()
        pieces.append(text[position:start])
        for part in template:
            piece = part if isinstance(part, str) else match.group(part) or ""
            state.charge(1 + len(piece) // CHARACTERS_PER_UNIT)
            pieces.append(piece)
        position = end
        limit -= 1
        if limit == 0:
            break
    pieces.append(text[position:])
    return "".join(pieces)


def _template(replacement: str, groups: int) -> list[str | int]:
    """The texts and the numbers of groups that a replacement consists of."""
    parts: list[str | int] = []
    first, *rest = replacement.split("\\")
    parts.append(first)
    pending = iter(rest)
    for escaped in pending:
        if escaped == "":
            # Two backslashes, or one at the end.
            following = next(pending, None)
            if following is None:
                raise _invalid(replacement, "it ends with a single backslash")
            parts.append("\\" + following)
            continue
        if escaped[0] not in "0123456789":
            raise _invalid(
                replacement, "a backslash stands before a digit or a backslash only"
            )
        number = int(escaped[0])
        if number > groups:
            raise _invalid(
                replacement,
                f"it names group {number}, and the regular expression has {groups}",
            )
        parts += [number, escaped[1:]]
    return [part for part in parts if part != ""]


def _invalid(replacement: str, reason: str) -> EvaluationError:
    return EvaluationError(
        f"invalid replacement {shown(replacement)}: {reason}",
        hint=r"groups are \1 to \9, the match is \0, a backslash is \\; in a raw "
        r"string: r'\1'",
    )


def _validate(arguments: Sequence[Value | None]) -> None:
    regex.validate(arguments[:2])


LIBRARY = library(
    (
        Function(
            "regex.extract",
            ("(string, string) -> optional_type(string)",),
            _extract,
            _validate,
        ),
        Function(
            "regex.extractAll",
            ("(string, string) -> list(string)",),
            _extract_all,
            _validate,
        ),
        Function(
            "regex.replace",
            (
                "(string, string, string) -> string",
                "(string, string, string, int) -> string",
            ),
            _replace,
            _validate,
        ),
    )
)
