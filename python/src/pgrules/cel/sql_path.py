"""Conditions over the facts as predicates of jsonpath.

One predicate looks at a whole chain of clauses in one pass over the ``jsonb``, in half
the time of a type test and a cast for each. Its logic has three values as CEL's has,
and only true counts here: a predicate is TRUE if and only if a condition has the wanted
value, or, where it is not ``exact``, at least if it has. (PostgreSQL manual, "The
SQL/JSON Path Language"; paths are strict: the lax ones look into arrays unasked.)

Types that differ are no error of jsonpath but unknown, which is not true either; only
``!=`` has to ask for the type. Null compares with anything. Numbers are compared by
their digits, as in module ``sql_numbers``.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from .checked import (
    Bound,
    Chain,
    Checked,
    Constant,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    Variable,
)
from .sql_numbers import EXACT, SWAPPED, is_number, middles, threshold
from .sql_text import conjunction
from .sql_values import (
    MISSING,
    Json,
    is_only_text,
    is_storable,
    member,
    path_string,
    text_of_json,
)
from .types import BOOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sql_translator import Translator
    from .values import Value


class Predicate(NamedTuple):
    """A predicate's text, and whether it is true only for the wanted value.

    ``texts`` says that it compares strings for equality, which ``#>>`` does faster.
    What is not exact is so where none of the numbers at ``whole`` has a fraction; with
    none, it is but necessary.
    """

    text: str
    exact: bool = True
    texts: bool = False
    whole: tuple[Json, ...] = ()


class _Place(NamedTuple):
    """A path, and the declared type of what is there."""

    path: str
    declared: str | None = None
    value: Json | None = None

    def member(self, key: str, name: str, declared: str | None = None) -> _Place:
        """What a member of it has."""
        value = self.value
        if value is not None:
            value = Json(value.root, (*value.keys, name))
        return _Place(self.path + key, declared, value)


_COMPLEMENTS: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_ORDER: Final = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_WHOLE: Final = ("int", "int64")
# Declared types whose facts are compared as what they are in JSON.
_AS_JSON: Final = (None, "string", "bool", "float64", *_WHOLE)


class Paths:
    """Makes the predicate of one condition; ``root`` is what its paths begin at."""

    def __init__(self, translator: Translator) -> None:
        self.translator = translator
        self.root: str | None = None
        self.innermost: int | None = None
        self.outer: set[int] = set()

    def predicate(self, node: Checked, wanted: bool) -> Predicate | None:
        """The predicate of a condition, or None where it has none."""
        root = self.root
        found = self.made(node, wanted)
        if found is None:
            self.root = root
        return found

    def made(self, node: Checked, wanted: bool) -> Predicate | None:
        match node:
            case Chain():
                return self.chain(node, wanted)
            case Invoke(function=function) if function.name in _PREDICATES:
                return _PREDICATES[function.name](self, node, wanted)
            case Field(test=True):
                return self.has(node, wanted)
            case Loop(kind="exists" | "all") if wanted:
                return self.loop(node)
            case Bound(slot=slot) if slot in self.translator.bound:
                return self.predicate(self.translator.bound[slot], wanted)
            case Variable(name=name) if name in self.translator.environment.derived:
                return self.derived(node, wanted)
        place = self.place(node)
        if place is None or place.declared not in (None, "bool"):
            return None
        return Predicate(f"{place.path} == {'true' if wanted else 'false'}")

    def chain(self, node: Chain, wanted: bool) -> Predicate | None:
        parts = [self.predicate(operand, wanted) for operand in node.operands]
        found = [part for part in parts if part is not None]
        conjunctive = (node.operator == "&&") == wanted
        if not found or (not conjunctive and len(found) < len(parts)):
            return None
        exact = len(found) == len(parts) and all(part.exact for part in found)
        symbol = " && " if conjunctive else " || "
        text = symbol.join(dict.fromkeys(part.text for part in found))
        texts = any(part.texts for part in found)
        whole: tuple[Json, ...] = ()
        if len(found) == len(parts) and all(part.exact or part.whole for part in found):
            whole = tuple(dict.fromkeys(json for part in found for json in part.whole))
        text = f"({text})" if len(found) > 1 else text
        return Predicate(text, exact, texts, whole)

    # Places

    def place(self, node: Checked) -> _Place | None:
        """Where the value of a node stands in the facts."""
        match node:
            case Variable(fallback=None):
                if self.translator.facts is None or (
                    node.name in self.translator.environment.derived
                ):
                    return None
                return self.rooted(self.translator.facts, member(node.name), node.name)
            case Local(slot=slot):
                return self.local(slot)
            case Bound(slot=slot) if slot in self.translator.bound:
                return self.place(self.translator.bound[slot])
            case Field(test=False):
                place = self.container(node.operand)
                key = member(node.name)
                if place is None or key is None or node.conversion not in _AS_JSON:
                    return None
                return place.member(key, node.name, node.conversion)
            case Invoke(function=function, arguments=[operand, Constant(value=value)]):
                if function.name == "_[_]":
                    return self.element(operand, value)
        return None

    def container(self, node: Checked) -> _Place | None:
        place = self.place(node)
        return None if place is None or place.declared is not None else place

    def rooted(self, root: str, key: str | None, *names: str) -> _Place | None:
        if key is None or self.root not in (None, root):
            return None
        self.root = root
        return _Place(f"${key}", value=Json(root, names))

    def local(self, slot: int) -> _Place | None:
        if slot == self.innermost:
            return _Place("@")
        if slot in self.outer:
            return None
        term = self.translator.locals.get(slot)
        if term is None or term.json is None:
            return None
        found: _Place | None = self.rooted(term.json.root, "")
        for name in term.json.keys:
            key = member(name)
            if found is None or key is None:
                return None
            found = found.member(key, name)
        return found

    def element(self, operand: Checked, value: Value) -> _Place | None:
        place = self.container(operand)
        if place is None:
            return None
        if type(value) is str:
            key = member(value)
            return None if key is None else place.member(key, value)
        if type(value) is int and 0 <= value < 1 << 31:
            return _Place(f"{place.path}[{value}]")
        return None

    # Conditions

    def sides(self, node: Invoke) -> tuple[_Place, Value, bool] | None:
        """A place and a constant, and whether the constant is on the left."""
        for swapped in (False, True):
            one, other = node.arguments[::-1] if swapped else node.arguments
            term = self.translator.folded(other)
            if term is None or term.constant is MISSING:
                continue
            place = self.place(one)
            if place is not None:
                return place, term.constant, swapped
        return None

    def equal(self, node: Invoke, wanted: bool) -> Predicate | None:
        sides = self.sides(node)
        if sides is None:
            return None
        place, value, _ = sides
        if node.function.name == "_!=_":
            wanted = not wanted
        return _equal(place, value) if wanted else _unequal(place, value)

    def order(self, node: Invoke, wanted: bool) -> Predicate | None:
        sides = self.sides(node)
        if sides is None:
            return None
        place, value, swapped = sides
        operator = _ORDER[node.function.name]
        operator = SWAPPED[operator] if swapped else operator
        if type(value) is str and place.declared in (None, "string"):
            if not is_storable(value) or any(c >= "\ue000" for c in value):
                # jsonpath orders by UTF-16, which differs beyond the surrogates.
                return None
            operator = operator if wanted else _COMPLEMENTS[operator]
            return Predicate(f"{place.path} {operator} {path_string(value)}")
        if not _is_comparable(place, value):
            return None
        operator, number = threshold(operator, float(value))
        operator = operator if wanted else _COMPLEMENTS[operator]
        # A declared int is no number with a fraction, which takes another look.
        text = f"{place.path} {operator} {number}"
        if place.declared not in _WHOLE:
            return Predicate(text)
        return Predicate(text, False, whole=(place.value,) if place.value else ())

    def invert(self, node: Invoke, wanted: bool) -> Predicate | None:
        return self.predicate(node.arguments[0], not wanted)

    def contains(self, node: Invoke, wanted: bool) -> Predicate | None:
        element, container = node.arguments
        if not isinstance(container, MakeList) or not container.elements:
            return None
        place = self.place(element)
        if place is None:
            return None
        parts, texts = [], wanted
        for each in container.elements:
            term = self.translator.folded(each)
            if term is None or not term.is_constant:
                return None
            make = _equal if wanted else _unequal
            part = make(place, term.constant)
            if part is None or not part.exact:
                return None
            parts.append(part.text)
            texts = texts and part.texts
        symbol = " || " if wanted else " && "
        text = symbol.join(dict.fromkeys(parts))
        return Predicate(f"({text})" if len(parts) > 1 else text, texts=texts)

    def starts_with(self, node: Invoke, wanted: bool) -> Predicate | None:
        term = self.translator.folded(node.arguments[1])
        place = self.place(node.arguments[0])
        if term is None or place is None or place.declared not in (None, "string"):
            return None
        if type(term.constant) is not str or not is_storable(term.constant):
            return None
        text = f"{place.path} starts with {path_string(term.constant)}"
        return Predicate(text if wanted else f"!({text})")

    def has(self, node: Field, wanted: bool) -> Predicate | None:
        place, key = self.container(node.operand), member(node.name)
        if place is None or key is None:
            return None
        if wanted:
            return Predicate(f"exists({place.path}{key})")
        lacks = f"!exists({place.path} ? (exists(@{key})))"
        return Predicate(f'({place.path}.type() == "object" && {lacks})')

    def loop(self, node: Loop) -> Predicate | None:
        """``exists`` or ``all`` over the elements of a list or the keys of a map."""
        assert node.condition is not None
        place = self.container(node.range)
        if place is None:
            return None
        outer = self.innermost, self.outer
        if self.innermost is not None:
            self.outer = {*self.outer, self.innermost}
        self.innermost = node.slot
        body = self.predicate(node.condition, True)
        self.innermost, self.outer = outer
        if body is None:
            return None
        elements, keys = f"{place.path}[*]", f"{place.path}.keyvalue().key"
        if node.kind == "exists":
            found = (f"exists({rows} ? ({body.text}))" for rows in (elements, keys))
            return Predicate(f"({' || '.join(found)})", body.exact)
        if not body.exact:
            return None
        other = f"!({body.text}) || ({body.text}) is unknown"
        found = (
            f'{place.path}.type() == "{of}" && !exists({rows} ? ({other}))'
            for of, rows in (("array", elements), ("object", keys))
        )
        return Predicate(f"({' || '.join(found)})")

    def derived(self, node: Variable, wanted: bool) -> Predicate | None:
        """A derived field, unless the facts supply it."""
        translator = self.translator
        field = translator.environment.derived[node.name]
        key = member(node.name)
        if field.type is not BOOL or translator.facts is None or key is None:
            return None
        if self.rooted(translator.facts, key) is None:
            return None
        outer = self.innermost, self.outer
        self.innermost, self.outer = None, set()
        found = translator.inlined(node, lambda: self.predicate(field.tree, wanted))
        self.innermost, self.outer = outer
        if found is None:
            return None
        value = "true" if wanted else "false"
        lacks = f"!exists($ ? (exists(@{key})))"
        text = f"({lacks} && {found.text} || ${key} == {value})"
        return Predicate(text, found.exact, found.texts, found.whole)


def whole_numbers(translator: Translator, predicate: Predicate) -> str:
    """Where a predicate is true, whether it is exact: FALSE where that is unknown."""
    if not predicate.whole:
        return "FALSE"
    texts = (text_of_json(translator.arguments, value) for value in predicate.whole)
    return conjunction(f"strpos({text}, '.') = 0" for text in texts)


def _equal(place: _Place, value: Value) -> Predicate | None:
    path, declared = place.path, place.declared
    if value is None or (type(value) is bool and declared in (None, "bool")):
        return Predicate(f"{path} == {json.dumps(value)}")
    if type(value) is str and is_storable(value) and declared in (None, "string"):
        return Predicate(f"{path} == {path_string(value)}", texts=is_only_text(value))
    if _is_comparable(place, value):
        return Predicate(_among(path, float(value)))
    return None


def _unequal(place: _Place, value: Value) -> Predicate | None:
    path = place.path
    if value is None and place.declared is None:
        return Predicate(f"{path} != null")
    if type(value) is bool:
        text, of, declared = f"{path} != {json.dumps(value)}", "boolean", "bool"
    elif type(value) is str and is_storable(value):
        text, of, declared = f"{path} != {path_string(value)}", "string", "string"
    elif _is_comparable(place, value) and place.declared not in _WHOLE:
        text = _outside(path, float(value))
        if place.declared is not None:
            return Predicate(f"({text} || {path} == null)")
        return Predicate(f'({text} || {path}.type() != "number")')
    else:
        return None
    if place.declared == declared:
        return Predicate(text)
    if place.declared is not None:
        return None
    return Predicate(f'({text} || {path}.type() != "{of}")')


def _is_comparable(place: _Place, value: Value) -> bool:
    """Whether comparing digits with a constant's neighbours is exact here."""
    if not is_number(value) or place.declared not in (None, "float64", *_WHOLE):
        return False
    if type(value) is float:
        if not math.isfinite(value):
            return False
        # Against doubles, too, ints are compared as doubles, whatever their size.
        return bool(place.declared not in _WHOLE or abs(value) < EXACT)
    return bool(abs(value) < EXACT)


def _among(path: str, value: float) -> str:
    below, above, even = middles(value)
    equal = "=" if even else ""
    return f"({path} >{equal} {below} && {path} <{equal} {above})"


def _outside(path: str, value: float) -> str:
    below, above, even = middles(value)
    equal = "" if even else "="
    return f"{path} <{equal} {below} || {path} >{equal} {above}"


_PREDICATES: Final[dict[str, Callable[[Paths, Invoke, bool], Predicate | None]]] = {
    "_==_": Paths.equal,
    "_!=_": Paths.equal,
    **dict.fromkeys(_ORDER, Paths.order),
    "!_": Paths.invert,
    "@in": Paths.contains,
    "startsWith": Paths.starts_with,
}
