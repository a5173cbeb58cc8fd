"""The text of an expression and the places in it.

Offsets count code points from 0; what people see counts lines and columns from 1.
"""

from __future__ import annotations

from .errors import InvalidExpression, Problem, printable

# A longer line is cut around the column, so that an error stays readable.
_EXCERPT_WIDTH = 76


def location(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both counted from 1."""
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1


def excerpt(text: str, offset: int) -> str:
    """The source line at an offset, with a caret under the place."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    line = text[start : end if end >= 0 else len(text)].replace("\t", " ")
    column = offset - start
    if len(line) > _EXCERPT_WIDTH:
        cut = max(0, min(column - _EXCERPT_WIDTH // 2, len(line) - _EXCERPT_WIDTH))
        head = "..." if cut else ""
        tail = "..." if cut + _EXCERPT_WIDTH < len(line) else ""
        line = head + line[cut : cut + _EXCERPT_WIDTH] + tail
        column = column - cut + len(head)
    return f"{line}\n{' ' * column}^"


def problem(text: str, offset: int, message: str, hint: str = "") -> Problem:
    """A problem at a place of the expression."""
    line, column = location(text, offset)
    return Problem(
        line, column, printable(message), printable(hint), excerpt(text, offset)
    )


def refuse_surrogates(text: str) -> None:
    """Raise :class:`InvalidExpression` for text that UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = problem(
            text.encode(errors="replace").decode(),
            error.start,
            f"U+{ord(text[error.start]):04X} is no Unicode scalar value",
        )
        raise InvalidExpression([found]) from None
