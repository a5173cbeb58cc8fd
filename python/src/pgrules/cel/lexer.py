"""Source text to tokens (cel-spec, "Syntax", lexical part).

String and number literals leave the lexer as values; what a name means is left to
the parser.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any, NamedTuple

from . import source
from .errors import InvalidExpression
from .values import Uint

KEYWORDS = frozenset({"false", "in", "null", "true"})
RESERVED = frozenset(
    {
        "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "namespace", "package", "return", "var", "void", "while",
    }
)  # fmt: skip


class Token(NamedTuple):
    """``kind`` is ``literal``, ``ident``, ``quoted``, ``end`` or an operator."""

    kind: str
    value: Any
    start: int
    end: int


_TOKEN = re.compile(
    r"""
    (?P<space>   (?: [\t\n\f\r\ ]+ | //[^\n]* )+ )
  | (?P<string>  [bB]?[rR]? (?: \"{3} | '{3} | \" | ' ) )
  | (?P<double>  [0-9]*\.[0-9]+ (?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ )
  | (?P<integer> (?: 0[xX][0-9a-fA-F]+ | [0-9]+ ) [uU]? )
  | (?P<ident>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<quoted>  `[A-Za-z0-9_.\-/\ ]+` )
  | (?P<op>      && | \|\| | == | != | <= | >= | [-+*/%!<>?:.,()\[\]{}] )
    """,
    re.VERBOSE,
)

# The rest of a literal up to its closing quote, by the opening one and rawness.
_REST = {
    ('"', False): re.compile(r'((?:[^"\\\r\n]|\\[^\r\n])*)"'),
    ("'", False): re.compile(r"((?:[^'\\\r\n]|\\[^\r\n])*)'"),
    ('"""', False): re.compile(r'((?:[^"\\]|\\.|"(?!""))*)"""', re.DOTALL),
    ("'''", False): re.compile(r"((?:[^'\\]|\\.|'(?!''))*)'''", re.DOTALL),
    ('"', True): re.compile(r'([^"\r\n]*)"'),
    ("'", True): re.compile(r"([^'\r\n]*)'"),
    ('"""', True): re.compile(r'((?:[^"]|"(?!""))*)"""'),
    ("'''", True): re.compile(r"((?:[^']|'(?!''))*)'''"),
}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})"
    r"|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.|\Z))",
    re.DOTALL,
)
_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "?": "?",
    '"': '"',
    "'": "'",
    "`": "`",
}
_NEWLINE = re.compile(r"\r\n?")

# More digits than any 64-bit literal has; int() need not look at them.
_LONGEST_INTEGER = 40


def tokenize(text: str) -> list[Token]:
    """The tokens of an expression, closed by one of kind ``end``.

    Raises :class:`InvalidExpression` at the first character that starts no token.
    """
    tokens: list[Token] = []
    append = tokens.append
    match = _TOKEN.match
    position, length = 0, len(text)
    while position < length:
        found = match(text, position)
        if found is None:
            raise _unexpected(text, position)
        kind, end = found.lastgroup, found.end()
        if kind == "op":
            lexeme = found.group()
            append(Token(lexeme, lexeme, position, end))
        elif kind == "ident":
            append(Token("ident", found.group(), position, end))
        elif kind == "integer":
            value = _integer(text, position, found.group())
            append(Token("literal", value, position, end))
        elif kind == "double":
            number = _double(text, position, found.group())
            append(Token("literal", number, position, end))
        elif kind == "string":
            text_value, end = _string(text, position, found.group())
            append(Token("literal", text_value, position, end))
        elif kind == "quoted":
            append(Token("quoted", found.group()[1:-1], position, end))
        position = end
    append(Token("end", None, length, length))
    return tokens


def _fail(text: str, offset: int, message: str, hint: str = "") -> InvalidExpression:
    return InvalidExpression([source.problem(text, offset, message, hint)])


def _unexpected(text: str, offset: int) -> InvalidExpression:
    character = text[offset]
    hints = {
        "&": "write && for 'and'",
        "|": "write || for 'or'",
        "=": "write == to compare",
        "`": "a quoted field name has letters, digits, spaces and _ . - / only",
    }
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    return _fail(
        text, offset, f"unexpected character {shown}", hints.get(character, "")
    )


def _integer(text: str, offset: int, lexeme: str) -> int:
    unsigned = lexeme[-1] in "uU"
    digits = lexeme[:-1] if unsigned else lexeme
    hexadecimal = digits[:2] in ("0x", "0X")
    if len(digits) > _LONGEST_INTEGER:
        value = 1 << 64
    else:
        value = int(digits, 16 if hexadecimal else 10)
    # One more than the largest int is left to the parser, for the sign before it.
    if value > (0xFFFFFFFFFFFFFFFF if unsigned else 1 << 63):
        kind = "uint" if unsigned else "int"
        raise _fail(text, offset, f"{kind} literal {_short(lexeme)} is out of range")
    return Uint(value) if unsigned else value


def _double(text: str, offset: int, lexeme: str) -> float:
    value = float(lexeme)
    if value == inf:
        raise _fail(text, offset, f"double literal {_short(lexeme)} is out of range")
    return value


def _short(lexeme: str) -> str:
    return lexeme if len(lexeme) <= _LONGEST_INTEGER else lexeme[:20] + "..."


def _string(text: str, start: int, opening: str) -> tuple[str | bytes, int]:
    quote = opening.lstrip("bBrR")
    prefix = opening[: len(opening) - len(quote)].lower()
    raw, is_bytes = "r" in prefix, "b" in prefix
    found = _REST[quote, raw].match(text, start + len(opening))
    if found is None:
        raise _fail(
            text,
            start,
            "string literal is not closed",
            f"end it with {quote} on the same line, or use triple quotes"
            if len(quote) == 1
            else f"end it with {quote}",
        )
    body = found.group(1)
    if "\r" in body:
        body = _NEWLINE.sub("\n", body)
    value: str | bytes
    if is_bytes:
        value = _bytes(text, start, found.start(1), body, raw)
    else:
        value = body if raw else _unescape(text, found.start(1), body)
    return value, found.end()


def _unescape(text: str, offset: int, body: str) -> str:
    if "\\" not in body:
        return body

    def replace(found: re.Match[str]) -> str:
        simple, code_x, code_u, code_big, octal, _ = found.groups()
        if simple is not None:
            return _SIMPLE[simple]
        if octal is not None:
            return chr(int(octal, 8))
        digits = code_x or code_u or code_big
        if digits is None:
            raise _bad_escape(text, offset, found)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise _fail(
                text,
                offset + found.start(),
                f"{found.group()} is no Unicode scalar value",
            )
        return chr(code)

    return _ESCAPE.sub(replace, body)


def _bytes(text: str, start: int, offset: int, body: str, raw: bool) -> bytes:
    try:
        if raw or "\\" not in body:
            return body.encode()
        parts: list[bytes] = []
        position = 0
        for found in _ESCAPE.finditer(body):
            parts.append(body[position : found.start()].encode())
            simple, code_x, _, _, octal, _ = found.groups()
            if simple is not None:
                parts.append(_SIMPLE[simple].encode())
            elif code_x is not None:
                parts.append(bytes.fromhex(code_x))
            elif octal is not None:
                parts.append(bytes((int(octal, 8),)))
            else:
                raise _bad_escape(text, offset, found)
            position = found.end()
        parts.append(body[position:].encode())
    except UnicodeEncodeError:
        raise _fail(text, start, "bytes literal has a lone surrogate") from None
    return b"".join(parts)


def _bad_escape(text: str, offset: int, found: re.Match[str]) -> InvalidExpression:
    return _fail(
        text,
        offset + found.start(),
        f"invalid escape sequence {found.group()}",
        r"valid are \a \b \f \n \r \t \v \\ \? \" \' \` \xHH \uHHHH \UHHHHHHHH "
        r"(\u and \U in strings only) and octal \000 to \377",
    )
