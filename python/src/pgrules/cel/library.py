"""What a function is: its name, its signatures, and the Python that computes it.

A library is a mapping from names to functions; ``standard`` has cel-spec's own,
extension libraries add theirs, each in a module that is imported when one of its
functions is first looked up. Signatures are CEL declarations as cel-spec writes
them, ``string.(int) -> string`` for a method; the checker reads their types, the
interpreter only whether a call's form is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from .values import Value

Implementation = Callable[..., Value]
"""Takes the evaluation's state, then the arguments; a method's target is first."""

Validation = Callable[[Sequence[Value | None]], None]
"""Looks at the arguments that are constants, None for the others, when a call is
compiled, and raises :class:`EvaluationError` for one that can never work."""


class Function(NamedTuple):
    """A function of the language with all its overloads.

    ``deferred`` is an implementation that takes closures in place of values, so that
    an argument that is not needed is not evaluated; ``implementation`` then gives the
    same result from values.
    """

    name: str
    signatures: tuple[str, ...]
    implementation: Implementation
    validate: Validation | None = None
    deferred: Implementation | None = None

    def accepts(self, *, method: bool, arguments: int) -> bool:
        """Whether some overload is called in this form with so many arguments."""
        return (method, arguments) in _forms(self.signatures)

    def usage(self) -> str:
        """The signatures as a hint shows them, operators between their operands."""
        return "; ".join(_written(self.name, each) for each in self.signatures)


def _written(name: str, signature: str) -> str:
    if name.replace(".", "").isidentifier():
        if ".(" in signature:
            return signature.replace(".(", f".{name}(")
        return name + signature
    # An operator: its operands stand where its name has underscores.
    texts = ("_ in _" if name == "@in" else name).split("_")
    operands = [*_parameters(signature), ""]
    written = "".join(map(str.__add__, texts, operands))
    return written + signature[signature.rindex(" -> ") :]


_known_forms: dict[tuple[str, ...], frozenset[tuple[bool, int]]] = {}


def _forms(signatures: tuple[str, ...]) -> frozenset[tuple[bool, int]]:
    forms = _known_forms.get(signatures)
    if forms is None:
        forms = frozenset(
            (".(" in signature, len(_parameters(signature))) for signature in signatures
        )
        _known_forms[signatures] = forms
    return forms


def _parameters(signature: str) -> list[str]:
    """The types of the arguments, without a method's target."""
    head = signature[: signature.rindex(" -> ")]
    inside = head[head.index(".(") + 2 if ".(" in head else 1 : -1]
    found: list[str] = []
    depth = start = 0
    for position, character in enumerate(inside):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            found.append(inside[start:position].strip())
            start = position + 1
    if inside.strip():
        found.append(inside[start:].strip())
    return found


Library = Mapping[str, Function]


def library(functions: Iterable[Function]) -> Library:
    """Functions by name."""
    return {function.name: function for function in functions}


class Libraries(Library):
    """A library and, behind it, extensions that are imported when they are needed.

    ``extensions`` maps each function's name to the module of this package that has
    it, in its ``LIBRARY``. The names are known without importing anything.
    """

    def __init__(self, core: Library, extensions: Mapping[str, str]) -> None:
        self._loaded = dict(core)
        self._extensions = extensions

    def __getitem__(self, name: str) -> Function:
        function = self._loaded.get(name)
        if function is None:
            module = import_module(f".{self._extensions[name]}", __package__)
            # Another thread may do the same; the outcome is equal.
            self._loaded.update(module.LIBRARY)
            function = self._loaded[name]
        return function

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._extensions

    def __iter__(self) -> Iterator[str]:
        return iter({**self._loaded, **self._extensions})

    def __len__(self) -> int:
        return sum(1 for _ in self)
