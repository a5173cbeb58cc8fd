"""Regular expressions: RE2's syntax and RE2's linear time, or none at all.

Python's ``re`` can run for years on a short pattern and cannot be cancelled, so it
is never used for a pattern that comes from a rule. The library (PyPI: google-re2)
is loaded when a rule first needs it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .values import Value

# RE2 compiles a pattern in time and memory linear in its length and repetitions;
# both are bounded by these.
MAX_PATTERN_LENGTH = 1000
_MAX_MEMORY = 1 << 20
_CACHE_SIZE = 256

MISSING = "regular expressions need the RE2 library, which this Python lacks"
MISSING_HINT = (
    "install google-re2 for the Python that evaluates (the server's own, for rules "
    "in the database), or use contains, startsWith or endsWith"
)

# By pattern, and whether its groups are kept.
_compiled: dict[tuple[str, bool], Any] = {}


class PatternError(EvaluationError):
    """The pattern is no valid RE2 regular expression."""


class EngineMissing(EvaluationError):
    """The RE2 library cannot be imported."""


@cache
def _load(*, capture: bool = False) -> Any:
    """The library and the options that every pattern is compiled with."""
    try:
        import re2
    except ImportError:
        raise EngineMissing(MISSING, hint=MISSING_HINT) from None
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    options.never_capture = not capture
    return re2, options


def compile_pattern(pattern: str, *, capture: bool = False) -> Any:
    """The compiled form of a pattern, from a bounded cache.

    Its groups are kept when ``capture`` is set, which makes matching slower.
    Raises :class:`PatternError` and :class:`EngineMissing`.
    """
    compiled = _compiled.get((pattern, capture))
    if compiled is None:
        if len(pattern) > MAX_PATTERN_LENGTH:
            raise PatternError(
                f"regular expression has {len(pattern):,} characters; "
                f"the limit is {MAX_PATTERN_LENGTH:,}"
            )
        re2, options = _load(capture=capture)
        try:
            compiled = re2.compile(pattern, options)
        except (re2.error, UnicodeEncodeError) as error:
            reason = error.args[0] if error.args else error
            if isinstance(reason, bytes):
                reason = reason.decode(errors="replace")
            raise PatternError(
                f"invalid regular expression: {reason}",
                hint="the syntax is RE2's: no look-around, no back-references",
            ) from None
        if len(_compiled) >= _CACHE_SIZE:
            _compiled.pop(next(iter(_compiled)), None)
        _compiled[pattern, capture] = compiled
    return compiled


def search_cost(text: str, pattern: str) -> int:
    """The cost units of one search.

    A unit for ten characters of text, times one for four of the pattern.
    """
    return (1 + len(text) // CHARACTERS_PER_UNIT) * (1 + len(pattern) // 4)


def search(state: Evaluation, text: str, pattern: str) -> bool:
    """Whether the pattern matches anywhere in the text (cel-spec, "matches")."""
    state.charge(search_cost(text, pattern))
    return compile_pattern(pattern).search(text) is not None


def validate(arguments: Sequence[Value | None]) -> None:
    """Refuse a call that can never work: RE2 is missing, or the pattern is wrong."""
    _load()
    pattern = arguments[-1]
    if type(pattern) is str:
        compile_pattern(pattern)
