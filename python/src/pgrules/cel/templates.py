"""The shapes of expressions by their text with the constants taken out.

In a set of thousands of rules most differ from others in their constants alone. What
parsing and checking one of them found holds for all, so the others are taken apart by
one regular expression: a tenth of the work.

That is exact where it is done. A constant is taken out if it is a plain string or a
plain number other than 0 and 1, see ``codegen``, and stands beside an operator to which
all such constants are alike; an expression that calls anything else, loops, or has
comments, escapes or quotes of other kinds, is compiled by itself.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .checked import Constant, Invoke, Loop, MakeList, PairLoop
from .codegen import LEAST_LIMIT, walk
from .errors import InvalidExpression
from .shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from .checked import Checked
    from .program import Program
    from .values import Value

    Take = Callable[[list[Value]], Value]
    Places = dict[tuple[type, Value], tuple[int, bool]]
    """Which marker a constant is, and whether it is the negative of it."""

# Strings, names, and anything that begins as a number does (``lexer``).
_PART: Final = re.compile(
    r"""
    (?P<string> "[^"\\\r\n]*" | '[^'\\\r\n]*' )
  | [A-Za-z_][A-Za-z0-9_]*
  | (?P<number> [0-9][0-9A-Za-z_.]* )
    """,
    re.VERBOSE,
)
_INT: Final = re.compile(r"[1-9][0-9]{0,14}")
_DOUBLE: Final = re.compile(r"(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")
_PLACE: Final = re.compile("\0([sid])")

# What is not cut up rightly by the expressions above.
_UNUSUAL: Final = re.compile(r"""["'`\\]|//|[A-Za-z0-9_]\0s""")
_TOO_LONG: Final = 2_000

# Functions for which a constant is a constant, whatever its value.
_ALIKE: Final = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "-_", "@in"}
    | {"startsWith", "endsWith", "contains"}
)


class _Template(NamedTuple):
    """A shape whose row and keys are taken from the constants of a text."""

    source: str
    row: tuple[Take, ...]
    keys: tuple[Take, ...] | None
    nodes: int


class Templates:
    """The templates of one environment; ``compile_`` gives an expression's program.

    ``derived`` are the names of the environment's derived fields.
    """

    def __init__(
        self, compile_: Callable[[str], Program], derived: frozenset[str]
    ) -> None:
        self._compile = compile_
        self._derived = derived
        # How often a text was met, then its template, or None where it has none.
        self._found: dict[str, _Template | int | None] = {}

    def shape(self, text: str) -> tuple[Shape, int] | None:
        """The shape of an expression, and its nodes, if a template gives them."""
        cut = _cut(text)
        if cut is None:
            return None
        key, values = cut
        found = self._found.get(key, 0)
        if type(found) is int:
            # The first pays for itself, the second for the template.
            found = self._template(key) if found else 1
            self._found[key] = found
        if not isinstance(found, _Template):
            return None
        row = tuple([take(values) for take in found.row])
        keys = found.keys
        if keys is not None:
            keys = tuple(dict.fromkeys([take(values) for take in keys]))
        return Shape(found.source, row, keys), found.nodes

    def _template(self, key: str) -> _Template | None:
        """The template of a text, by compiling it with constants that tell places."""
        markers: list[Value] = []

        def marker(place: re.Match[str]) -> str:
            number = 1_000_003 + len(markers)
            kind = place.group(1)
            text = str(number) if kind == "i" else f"{number}.5"
            markers.append(f"{number}s" if kind == "s" else float(text))
            if kind == "i":
                markers[-1] = number
            return f"'{number}s'" if kind == "s" else text

        try:
            program = self._compile(_PLACE.sub(marker, key))
        except InvalidExpression:
            return None
        places: Places = {}
        for number, value in enumerate(markers):
            places[type(value), value] = number, False
            if type(value) is not str:
                places[type(value), -value] = number, True
        limit = program.environment.limits.cost
        # Longer strings cost more than the markers, but not so much more.
        if limit < LEAST_LIMIT or program.estimate > limit // 2:
            return None
        if not _is_regular(program.tree, len(markers), places):
            return None
        shape = program.shape(self._derived)
        if shape is None:
            return None
        try:
            row = tuple([_take(value, places) for value in shape.row])
            keys = shape.keys
            if keys is not None:
                keys = tuple([_take(value, places) for value in keys])
        except KeyError:
            return None
        return _Template(shape.source, row, keys, program.nodes)


def _cut(text: str) -> tuple[str, list[Value]] | None:
    """A text with places for its constants, and these; None for an unusual one."""
    if len(text) > _TOO_LONG or '"""' in text or "'''" in text or "\0" in text:
        return None
    values: list[Value] = []

    def place(part: re.Match[str]) -> str:
        lexeme: str = part.group()
        kind = part.lastgroup
        if kind == "string":
            values.append(lexeme[1:-1])
            return "\0s"
        if kind == "number" and lexeme != "1":
            if _INT.fullmatch(lexeme):
                values.append(int(lexeme))
                return "\0i"
            if _DOUBLE.fullmatch(lexeme):
                value = float(lexeme)
                if value not in (0.0, 1.0):
                    values.append(value)
                    return "\0d"
        return lexeme

    key = _PART.sub(place, text)
    if _UNUSUAL.search(key):
        return None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return None
    return key, values


def _is_regular(tree: Checked, markers: int, places: Places) -> bool:
    """Whether each marker is a constant once, beside an operator that is alike."""
    seen: list[int] = []
    for node in walk(tree):
        if isinstance(node, Loop | PairLoop):
            return False
        called = node.function.name if isinstance(node, Invoke) else ""
        for child in node.children():
            if isinstance(child, MakeList) and called != "@in":
                return False
            if isinstance(child, Constant):
                place = places.get((type(child.value), child.value))
                if place is not None:
                    if called not in _ALIKE and not isinstance(node, MakeList):
                        return False
                    seen.append(place[0])
    return sorted(seen) == list(range(markers))


def _take(value: Any, places: Places) -> Take:
    """How a parameter of the shape comes from the constants of a text.

    Raises ``KeyError`` for one that does not come from them.
    """
    if type(value) is frozenset:
        takes = [_take(member, places) for member in value]
        return lambda values: frozenset([take(values) for take in takes])
    place = places.get((type(value), value))
    if place is not None:
        number, negative = place
        if negative:
            return lambda values: -values[number]
        return itemgetter(number)
    if type(value) in (int, float, str):
        # A constant that was not taken out.
        return lambda _: value
    raise KeyError(value)
