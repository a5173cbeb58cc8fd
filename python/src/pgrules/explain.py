"""Why a rule said what it said: the trace of an evaluation as a tree of text.

One line for each sub-expression, its value beside it in a column of its own. Laying it
out for a terminal is all that happens here; which steps a trace has, and how much of a
long value, is decided by :mod:`pgrules.cel.trace`.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from .cel import InvalidExpression
from .cel.lexer import tokenize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .model import EvaluationResult

_LEAST_WIDTH: Final = 40
_GAP: Final = "  "
_CUT: Final = "…"


@dataclass(slots=True)
class _Node:
    """A step of the trace with the steps inside it."""

    step: dict[str, Any]
    children: list[_Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the tree: its branch, the text on it, and the outcome beside it.

    A note has no outcome, and all the width.
    """

    branch: str
    text: str
    outcome: str | None = None


def explained(result: EvaluationResult, width: int) -> str:
    """The result as text of this width: the outcome, and a tree of its trace."""
    width = max(width, _LEAST_WIDTH)
    heading = textwrap.wrap(
        _heading(result), width, subsequent_indent="    ", break_on_hyphens=False
    )
    lines = [
        line for root in _roots(result.trace or []) for line in _lines(root, "", "")
    ]
    return "\n".join([*heading, *_aligned(lines, width)])


def _heading(result: EvaluationResult) -> str:
    if result.error is not None:
        outcome = f"failed, {result.error}"
    else:
        outcome = "matched" if result.matched else "not matched"
    return _printable(f"{result.rule_name}: {outcome}")


def _roots(trace: Iterable[dict[str, Any]]) -> list[_Node]:
    """The steps as trees.

    What is inside a step that was skipped is left out, and so are lists and maps of
    constants, whose text says it all.
    """
    roots: list[_Node] = []
    path: list[_Node] = []
    for step in trace:
        del path[step["depth"] :]
        node = _Node(step)
        if not path:
            roots.append(node)
        elif "skipped" not in path[-1].step and not _is_constant(step["expression"]):
            path[-1].children.append(node)
        path.append(node)
    return roots


def _lines(node: _Node, branch: str, below: str) -> Iterator[_Line]:
    """The lines of a step and of those inside it, whose branches begin with `below`."""
    step = node.step
    yield _Line(branch, _one_line(step["expression"]), _outcome(node))
    stem = below + ("│  " if node.children else "   ")
    if "derived" in step:
        yield _Line(stem, f"derived: {_one_line(step['derived'])}")
    if "decided_by" in step:
        yield _Line(stem, f"decided by {', '.join(map(_value, step['decided_by']))}")
    for child in node.children[:-1]:
        yield from _lines(child, below + "├─ ", below + "│  ")
    for child in node.children[-1:]:
        yield from _lines(child, below + "└─ ", below + "   ")


def _outcome(node: _Node) -> str:
    step = node.step
    if "skipped" in step:
        return "not evaluated"
    if "error" not in step:
        return _value(step.get("value"))
    # An error passes through the steps around the one where it arose.
    if any(child.step.get("error") == step["error"] for child in node.children):
        return "✗"
    return f"✗ {_printable(step['error'])}"


def _aligned(lines: list[_Line], width: int) -> Iterator[str]:
    rows = [line for line in lines if line.outcome is not None]
    texts = max((_columns(row.branch + row.text) for row in rows), default=0)
    outcomes = max((_columns(row.outcome or "") for row in rows), default=0)
    # Outcomes have what the texts leave, and a third of the width in any case.
    room = width - len(_GAP)
    outcomes = min(outcomes, max(room // 3, room - texts))
    texts = min(texts, room - outcomes)
    for line in lines:
        if line.outcome is None:
            yield _cut(line.branch + line.text, width)
            continue
        text = _cut(line.branch + line.text, texts)
        padding = " " * (texts - _columns(text))
        yield f"{text}{padding}{_GAP}{_cut(line.outcome, outcomes)}"


def _value(value: object) -> str:
    return _printable(json.dumps(value, ensure_ascii=False))


def _is_constant(expression: str) -> bool:
    """Whether this is a list or a map in which nothing has a name."""
    if not expression.startswith(("[", "{")):
        return False
    try:
        tokens = tokenize(expression)
    except InvalidExpression:
        return False
    return not any(token.kind in {"ident", "quoted"} for token in tokens)


def _one_line(expression: str) -> str:
    """The expression without its line breaks and comments."""
    try:
        tokens = tokenize(expression)
    except InvalidExpression:
        return _printable(" ".join(expression.split()))
    parts, end = [], 0
    for token in tokens:
        between = expression[end : token.start]
        parts.append(" " if between and token.start > 0 and end > 0 else "")
        parts.append(expression[token.start : token.end])
        end = token.end
    return _printable("".join(parts).strip())


def _printable(text: str) -> str:
    """The text without what moves a terminal's cursor or turns its direction."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    room = columns - len(_CUT)
    widths = accumulate(map(_width, text))
    kept = [
        character for character, used in zip(text, widths, strict=True) if used <= room
    ]
    return "".join(kept).rstrip() + _CUT
