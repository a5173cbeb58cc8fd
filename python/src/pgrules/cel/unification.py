"""When one type can stand where another is asked for (cel-spec, "Gradual Typing").

Bindings map type variables to what is known of them. Null is assignable as
:func:`types.nullable` says, a wrapper and the type it wraps to each other, a schema's
object where a map from strings is asked for.

In one thing this is stricter than the checkers of Google's runtimes: ``dyn`` given
where ``list(A)`` is asked for makes A ``dyn``, not a free choice. So a type that
inference finds is one that generated code may rely on.
"""

from __future__ import annotations

from . import types
from .types import DYN, ObjectType, Type, TypeVariable, nullable, parameterised


class Bindings:
    """What is known of type variables, with the way back from a failed attempt."""

    __slots__ = ("_trail", "known")

    def __init__(self) -> None:
        self.known: dict[Type, Type] = {}
        self._trail: list[tuple[Type, Type | None]] = []

    def bind(self, variable: Type, to: Type) -> None:
        """Note or replace what a variable stands for."""
        self._trail.append((variable, self.known.get(variable)))
        self.known[variable] = to

    def mark(self) -> int:
        """A point to which :meth:`undo` can go back."""
        return len(self._trail)

    def undo(self, mark: int) -> None:
        """Forget what was bound since the mark."""
        while len(self._trail) > mark:
            variable, before = self._trail.pop()
            if before is None:
                del self.known[variable]
            else:
                self.known[variable] = before


# What an object of a schema is to everything but the selection of its fields.
OBJECT_AS_MAP = types.map_of(types.STRING, DYN)


def resolved(of: Type, bindings: Bindings) -> Type:
    """A variable's type, or the last variable it stands for; other types as is."""
    while type(of) is TypeVariable:
        bound = bindings.known.get(of)
        if bound is None:
            break
        of = bound
    return of


def substituted(of: Type, bindings: Bindings) -> Type:
    """The type with what is known of its variables put in."""
    if not of.open:
        return of
    of = resolved(of, bindings)
    if not of.open or type(of) is TypeVariable:
        return of
    return parameterised(of.name, *[substituted(p, bindings) for p in of.parameters])


def grounded(of: Type, bindings: Bindings) -> Type:
    """The type with ``dyn`` for every variable that nothing is known of."""
    if not of.open:
        return of
    of = resolved(of, bindings)
    if type(of) is TypeVariable:
        return DYN
    if not of.open:
        return of
    return parameterised(of.name, *[grounded(p, bindings) for p in of.parameters])


def instantiated(of: Type, fresh: dict[TypeVariable, TypeVariable]) -> Type:
    """A signature's type with new variables in place of its own."""
    if not of.open:
        return of
    if type(of) is TypeVariable:
        return fresh[of]
    return parameterised(of.name, *[instantiated(p, fresh) for p in of.parameters])


def assign(actual: Type, formal: Type, bindings: Bindings) -> bool:
    """Whether ``actual`` can stand for ``formal``; extends the bindings.

    A failure may leave some bindings behind, for the caller to undo.
    """
    if actual is formal:
        return True
    if type(formal) is TypeVariable:
        return _assign_variable(actual, formal, bindings)
    if type(actual) is TypeVariable:
        return _assign_variable(formal, actual, bindings)
    if actual is DYN or formal is DYN:
        _release(formal, bindings)
        _release(actual, bindings)
        return True
    if type(actual) is ObjectType or type(formal) is ObjectType:
        return _assign_object(actual, formal, bindings)
    if actual.name != formal.name:
        return _assign_null_or_wrapper(actual, formal, bindings)
    if actual.name == "type":
        # A type is a type, whatever it denotes.
        return True
    return len(actual.parameters) == len(formal.parameters) and all(
        assign(part, asked, bindings)
        for part, asked in zip(actual.parameters, formal.parameters, strict=True)
    )


def _assign_variable(of: Type, variable: Type, bindings: Bindings) -> bool:
    of = resolved(of, bindings)
    # Of a chain of variables the last one has the type.
    bound = bindings.known.get(variable)
    while bound is not None and type(bound) is TypeVariable:
        variable, bound = bound, bindings.known.get(bound)
    if of is variable:
        return True
    if bound is None:
        if type(of) is TypeVariable:
            # The newer stands for the older, which keeps chains short.
            bindings.bind(of, variable)
            return True
        if of.open and _occurs(variable, of, bindings):
            return False
        bindings.bind(variable, of)
        return True
    if not assign(of, bound, bindings):
        return False
    bindings.bind(variable, general(of, bound, bindings))
    return True


def _occurs(variable: Type, within: Type, bindings: Bindings) -> bool:
    within = resolved(within, bindings)
    return within is variable or any(
        _occurs(variable, part, bindings) for part in within.parameters if part.open
    )


def _release(of: Type, bindings: Bindings) -> None:
    """Make the variables of a type dyn, whose values come from a dyn.

    Also those of which something is known: ``['a'] + d`` has any elements.
    """
    if type(of) is TypeVariable:
        bound = bindings.known.get(of)
        while type(bound) is TypeVariable:
            of, bound = bound, bindings.known.get(bound)
        if bound is not DYN:
            bindings.bind(of, DYN)
    elif of.open:
        for part in of.parameters:
            _release(part, bindings)


def _assign_object(actual: Type, formal: Type, bindings: Bindings) -> bool:
    if types.NULL in (actual, formal):
        return True
    if type(actual) is type(formal):
        return False
    if type(actual) is ObjectType:
        return assign(OBJECT_AS_MAP, formal, bindings)
    return assign(actual, OBJECT_AS_MAP, bindings)


def _assign_null_or_wrapper(actual: Type, formal: Type, bindings: Bindings) -> bool:
    if actual is types.NULL:
        return nullable(formal)
    if formal is types.NULL:
        return nullable(actual)
    if actual.name == "wrapper":
        return assign(actual.parameters[0], formal, bindings)
    if formal.name == "wrapper":
        return assign(actual, formal.parameters[0], bindings)
    return False


def general(first: Type, second: Type, bindings: Bindings) -> Type:
    """The type of a value that has one of two types that can stand for each other."""
    first, second = resolved(first, bindings), resolved(second, bindings)
    if first == second:
        return first
    if first is DYN or second is DYN:
        return DYN
    if type(first) is TypeVariable or first is types.NULL:
        return second
    if type(second) is TypeVariable or second is types.NULL:
        return first
    if type(first) is ObjectType:
        return general(OBJECT_AS_MAP, second, bindings)
    if type(second) is ObjectType:
        return general(first, OBJECT_AS_MAP, bindings)
    if "wrapper" in (first.name, second.name):
        inner = general(types.unwrapped(first), types.unwrapped(second), bindings)
        return DYN if inner is DYN else types.wrapper_of(inner)
    if first.name != second.name or len(first.parameters) != len(second.parameters):
        return DYN
    return parameterised(
        first.name,
        *[
            general(a, b, bindings)
            for a, b in zip(first.parameters, second.parameters, strict=True)
        ],
    )


def join(first: Type, second: Type, bindings: Bindings) -> Type | None:
    """The type of a list of both, or None where they cannot stand for each other."""
    if first is second:
        return first
    mark = bindings.mark()
    if not assign(second, first, bindings):
        bindings.undo(mark)
        return None
    return general(first, second, bindings)
