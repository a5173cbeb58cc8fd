"""Declarations of functions, read from text to types.

``list(A).join(string) -> string`` is a method of lists of any element type. A name of
one capital letter, perhaps with a digit, is a type parameter; every other name is a
type: ``timestamp``, ``null`` and ``optional`` are short for their full names, a bare
``list`` or ``map`` is one of ``dyn``. Signatures are written by the library's authors,
so that a malformed one raises ``ValueError``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import types
from .types import DYN, Type, TypeVariable, parameterised


class Overload(NamedTuple):
    """One signature; a method's target is the first parameter."""

    parameters: tuple[Type, ...]
    result: Type
    variables: tuple[TypeVariable, ...]


MOST_RESOLVED = 512


class Candidates(NamedTuple):
    """The overloads of a function for one form of call.

    ``resolved`` keeps results by argument types, where these mean the same in every
    expression: at most ``MOST_RESOLVED``.
    """

    overloads: tuple[Overload, ...]
    resolved: dict[tuple[Type, ...], Type | None]


_Forms = dict[tuple[bool, int], Candidates]
_read: dict[tuple[str, ...], _Forms] = {}


def candidates(
    signatures: tuple[str, ...], *, method: bool, arguments: int
) -> Candidates | None:
    """The overloads that are called in this form, a method's target not counted."""
    forms = _read.get(signatures)
    if forms is None:
        forms = _read[signatures] = _by_form(signatures)
    return forms.get((method, arguments))


def _by_form(signatures: tuple[str, ...]) -> _Forms:
    found: dict[tuple[bool, int], list[Overload]] = {}
    for signature in signatures:
        method, overload = parse_signature(signature)
        form = method, len(overload.parameters) - method
        found.setdefault(form, []).append(overload)
    return {form: Candidates(tuple(overloads), {}) for form, overloads in found.items()}


def parse_signature(signature: str) -> tuple[bool, Overload]:
    """Whether a signature is a method's, and its types."""
    reader = _Reader(signature)
    parameters: list[Type] = []
    method = not signature.startswith("(")
    if method:
        parameters.append(reader.type())
        reader.expect(".")
    parameters += reader.list()
    reader.expect("->")
    result = reader.type()
    reader.expect("")
    return method, Overload(tuple(parameters), result, tuple(reader.variables.values()))


_TOKEN = re.compile(r"\s*(->|[(),.]|\w[\w.]*\w|\w|)")
_PARAMETER = re.compile(r"[A-Z][0-9]?")
_ARITIES = {"list": 1, "map": 2, "optional_type": 1, "type": 1, "wrapper": 1}
_NAMES = {
    "any": DYN,
    "bool": types.BOOL,
    "bytes": types.BYTES,
    "double": types.DOUBLE,
    "duration": types.DURATION,
    "dyn": DYN,
    "int": types.INT,
    "null": types.NULL,
    "null_type": types.NULL,
    "string": types.STRING,
    "timestamp": types.TIMESTAMP,
    "uint": types.UINT,
    types.DURATION.name: types.DURATION,
    types.TIMESTAMP.name: types.TIMESTAMP,
}


class _Reader:
    """A signature's text and how far it is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables: dict[str, TypeVariable] = {}
        self.position = 0
        self.lexeme = ""
        self.advance()

    def advance(self) -> str:
        read = self.lexeme
        match = _TOKEN.match(self.text, self.position)
        assert match is not None  # the pattern matches nothing at all, too
        self.lexeme = match[1]
        self.position = match.end()
        return read

    def expect(self, lexeme: str) -> None:
        if self.lexeme != lexeme or (not lexeme and self.text[self.position :].strip()):
            raise ValueError(f"malformed signature: {self.text!r}")
        self.advance()

    def type(self) -> Type:
        name = self.advance()
        if not name.replace(".", "").isidentifier():
            raise ValueError(f"malformed signature: {self.text!r}")
        if _PARAMETER.fullmatch(name):
            return self.variables.setdefault(name, TypeVariable(name))
        if name == "optional":
            name = types.OPTIONAL.name
        arity = _ARITIES.get(name)
        if self.lexeme != "(":
            if arity is not None:
                return parameterised(name, *[DYN] * arity)
            return _NAMES.get(name) or Type(name)
        parameters = self.list()
        if name in _NAMES or arity not in (None, len(parameters)):
            raise ValueError(f"malformed signature: {self.text!r}")
        return parameterised(name, *parameters)

    def list(self) -> list[Type]:
        self.expect("(")
        found: list[Type] = []
        while self.lexeme != ")":
            if found:
                self.expect(",")
            found.append(self.type())
        self.expect(")")
        return found
