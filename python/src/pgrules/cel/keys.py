"""Access keys: what the facts must have for a rule to be true.

From a rule's checked tree, :func:`access_keys` derives keys of which at least one holds
in all facts for which the rule is true. An index of keys then finds the rules that may
match some facts without evaluating the others. A key is a conjunction: values that
fields are equal to, and perhaps one range that a field lies in.

Keys are derived from what is so when a sub-expression *is true* (or is false, under a
negation), and when it *has a value*, for which the fields that it reads must be there.
``&&`` is true only if all its operands are, and so gives the keys of any of them: the
best are taken, and joined where they can be. ``||`` is true only if one operand is,
whatever errors the others end in: it gives the keys of all. What is not understood
gives no key, never a wrong one.

How values become keys, and what facts are asked for, is in ``key_values``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Failure,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .errors import EvaluationError
from .evaluation import Evaluation
from .key_values import (
    HIGHEST,
    LOWEST,
    Attribute,
    Element,
    Path,
    canonical,
    coordinate,
    reading_of,
    written,
    written_path,
)
from .standard import STANDARD
from .types import BYTES, DURATION, TIMESTAMP, ObjectType, unwrapped
from .values import NUMERIC, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .environment import DerivedField, Environment

MOST_KEYS = 100
"""Keys of one rule at the most; a rule that would have more is always looked at."""

# Values that one key joins, and the keys that joining operands of && may make.
_MOST_EQUALS = 3
_MOST_JOINED = 8

# Sub-expressions looked at, derived fields and bound values each time they are used.
_MOST_VISITS = 2_000

_LONGEST_PREFIX = 32
_LONGEST_PATH = 400


class Equal(NamedTuple):
    """A field that has a value, in its canonical form; ``constant`` is for people."""

    attribute: Attribute
    value: bytes
    constant: Value

    def __str__(self) -> str:
        path, reading, prefix = self.attribute
        if reading == "there":
            return f"has({written_path(path)})"
        if prefix:
            return f"{written_path(path)}.startsWith({written(self.constant)})"
        return f"{written_path(path)} == {written(self.constant)}"


class Range(NamedTuple):
    """A field whose coordinate lies between two, both included.

    ``comparisons`` are the operators and constants of which they are the ends, for
    people.
    """

    attribute: Attribute
    kind: str
    low: int
    high: int
    comparisons: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        path = written_path(self.attribute.path)
        return " and ".join(
            f"{path} {operator} {written(constant)}"
            for operator, constant in self.comparisons
        )


class Key(NamedTuple):
    """All of these hold."""

    equals: tuple[Equal, ...]
    within: Range | None = None

    def __str__(self) -> str:
        parts = self.equals if self.within is None else (*self.equals, self.within)
        return " and ".join(map(str, parts))


class Keys(NamedTuple):
    """The keys of which one holds where a rule is true.

    ``always`` is why there are none, so that the rule has to be evaluated for any
    facts; else it is empty. No keys and no reason: the rule is never true.
    """

    alternatives: tuple[Key, ...]
    always: str = ""

    def __str__(self) -> str:
        if self.always:
            return f"always: {self.always}"
        return " or ".join(map(str, self.alternatives)) or "never"


NEVER = Keys(())
_TRUE = Keys((), "it is true for any facts")
_NOTHING = Keys((), "nothing in it compares a field with a constant")
_TOO_LARGE = Keys((), "it is too large to look through")


def access_keys(tree: Checked, environment: Environment) -> Keys:
    """The keys of a rule, of which one holds in all facts that it is true for."""
    derivation = _Derivation(environment.derived)
    try:
        found = derivation.holds(tree, {}, True)
    except (_TooLarge, RecursionError):
        return _TOO_LARGE
    return Keys(tuple(dict.fromkeys(map(_closed, found.alternatives))), found.always)


class _TooLarge(Exception):
    """There were more sub-expressions than may be looked at."""


class _Place(NamedTuple):
    """Where in the facts a sub-expression reads.

    ``needed`` is the path that must be there for it to have a value; the value is an
    ``optional`` where ``path`` need not be. ``of`` is the schema's object that is read
    as a whole, field by field. A place that is ``opaque`` has a value that says nothing
    of the facts' own.
    """

    path: Path
    needed: Path
    reading: str = "value"
    optional: bool = False
    opaque: bool = False
    of: ObjectType | None = None


class _Part(NamedTuple):
    """A sub-expression with what the slots in it stand for."""

    node: Checked
    scope: _Scope


_Operand = _Place | _Part
_Scope = dict[int, _Operand]

# How facts of a declared type are read; of other types, such as lists, the parts may
# be converted.
_READINGS = {
    **dict.fromkeys(("int", "int64", "float64", "string", "bool", "dyn"), "value"),
    "timestamp": "timestamp",
    "duration": "duration",
    "bytes": "bytes",
}
_TYPED = {TIMESTAMP: "timestamp", DURATION: "duration", BYTES: "bytes"}

# The order that is so where another is false, and where the operands change sides.
_NEGATED = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_"}
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}
_SYMBOLS = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}

# Functions of constants that are computed here.
_FOLDED = frozenset(
    {"-_", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"}
)


class _Derivation:
    """The derivation of one rule's keys."""

    def __init__(self, derived: Mapping[str, DerivedField]) -> None:
        self.derived = derived
        self.left = _MOST_VISITS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _TooLarge

    # What must be where a sub-expression is true, or false

    def holds(self, node: Checked, scope: _Scope, wanted: bool) -> Keys:
        """The keys where the value of a sub-expression is ``wanted``."""
        self.spend()
        match node:
            case Constant(value=value):
                return _TRUE if value is wanted else NEVER
            case Chain(operator=operator, operands=operands):
                found = [self.holds(operand, scope, wanted) for operand in operands]
                return _any(found) if wanted is (operator == "||") else _all(found)
            case Choice():
                return self.chosen(node, scope, wanted)
            case Invoke():
                return self.call(node, scope, wanted)
            case Field(test=True):
                return self.presence(node, scope, wanted)
            case Loop(kind=kind) if kind in ("exists", "all", "exists_one"):
                return self.quantified(node, scope, wanted)
            case Bind():
                return self.holds(node.body, self.bind(node, scope), wanted)
        return self.value(node, scope, wanted)

    def value(self, node: Checked, scope: _Scope, wanted: bool) -> Keys:
        """As :meth:`holds`, of a field and what else is no operator."""
        found = []
        for operand in self.operands(node, scope):
            if isinstance(operand, _Place):
                found.append(_equal(operand, wanted))
            elif operand.node is node:
                found.append(self.exists(node, scope))
            else:
                found.append(self.holds(*operand, wanted))
        return _any(found)

    def chosen(self, node: Choice, scope: _Scope, wanted: bool) -> Keys:
        return _any(
            _all(
                [
                    self.holds(node.condition, scope, condition),
                    self.holds(branch, scope, wanted),
                ]
            )
            for condition, branch in ((True, node.then), (False, node.otherwise))
        )

    def call(self, node: Invoke, scope: _Scope, wanted: bool) -> Keys:
        name, arguments = node.function.name, node.arguments
        if name == "!_":
            return self.holds(arguments[0], scope, not wanted)
        if name in ("_==_", "_!=_"):
            if wanted is (name == "_==_"):
                return self.compared("_==_", node, scope)
            return self.exist(arguments, scope)
        if name in _NEGATED:
            return self.compared(name if wanted else _NEGATED[name], node, scope)
        if name == "@in" and wanted:
            return self.contained(node, scope)
        if name == "startsWith" and wanted:
            return self.prefixed(node, scope)
        if name == "hasValue":
            return self.has_value(arguments[0], scope, wanted)
        return self.value(node, scope, wanted)

    def presence(self, node: Field, scope: _Scope, wanted: bool) -> Keys:
        """``has(a.b)``."""
        if not wanted:
            return self.exists(node.operand, scope)
        found = []
        for operand in self.operands(node.operand, scope):
            if isinstance(operand, _Place):
                inner = _selected(operand, node.name, None)
                # Of an optional map it asks whether the field is there, too.
                found.append(_there(inner.path if not inner.opaque else inner.needed))
            else:
                found.append(self.exists(*operand))
        return _any(found)

    def has_value(self, node: Checked, scope: _Scope, wanted: bool) -> Keys:
        if not wanted:
            return self.exists(node, scope)
        return _any(
            _there(operand.path if operand.optional else operand.needed)
            if isinstance(operand, _Place)
            else self.exists(*operand)
            for operand in self.operands(node, scope)
        )

    def quantified(self, node: Loop, scope: _Scope, wanted: bool) -> Keys:
        """Where an ``exists`` is true, or an ``all`` false, it is so of an element."""
        assert node.condition is not None
        if wanted is (node.kind == "all"):
            return self.exists(node.range, scope)
        of_one = node.kind != "all"
        found = []
        for operand in self.operands(node.range, scope):
            if isinstance(operand, _Place):
                if operand.optional or operand.opaque or operand.of is not None:
                    found.append(_there(operand.needed))
                    continue
                path = (*operand.path, Element())
                inner = {**scope, node.slot: _Place(path, operand.needed)}
                # A loop over nothing needs the list all the same.
                found.append(
                    _all(
                        [
                            self.holds(node.condition, inner, of_one),
                            _there(operand.needed),
                        ]
                    )
                )
            elif type(operand.node) is MakeList:
                elements = operand.node.elements
                found += [
                    self.holds(
                        node.condition,
                        {**scope, node.slot: _Part(element, operand.scope)},
                        of_one,
                    )
                    for element in elements
                ]
            else:
                found.append(self.exists(*operand))
        return _any(found)

    def bind(self, node: Bind, scope: _Scope) -> _Scope:
        inner = dict(scope)
        for slot, value in node.bindings:
            inner[slot] = _Part(value, dict(inner))
        return inner

    # Comparisons

    def compared(self, operator: str, node: Invoke, scope: _Scope) -> Keys:
        left, right = node.arguments
        if type(right) is Constant:
            constant = _Part(right, scope)
            return _any(
                [self.pair(operator, o, constant) for o in self.operands(left, scope)]
            )
        found = []
        for one in self.operands(left, scope):
            for other in self.operands(right, scope):
                self.spend()
                found.append(self.pair(operator, one, other))
        return _any(found)

    def pair(self, operator: str, left: _Operand, right: _Operand) -> Keys:
        """A comparison of which the operands are known as far as they can be."""
        constant, value = self.constant(right)
        if not constant:
            constant, value = self.constant(left)
            left, right = right, left
            operator = _MIRRORED.get(operator, operator)
        if constant:
            known, other = self.constant(left)
            if known:
                return _decided(operator, other, value)
            if isinstance(left, _Place):
                if operator == "_==_":
                    return _equal(left, value)
                return _ordered(left, operator, value)
            if operator == "_==_" and type(value) is bool:
                return self.holds(*left, value)
        return _all([self.evaluated(left), self.evaluated(right)])

    def contained(self, node: Invoke, scope: _Scope) -> Keys:
        """``x in [a, b]``, ``x in {a: b}``, and ``a in xs`` for a field ``xs``."""
        element, container = node.arguments
        found = []
        for holder in self.operands(container, scope):
            members = _members(holder)
            if 0 < len(members) <= MOST_KEYS:
                for part in members:
                    for member in self.operands(part.node, part.scope):
                        for one in self.operands(element, scope):
                            self.spend()
                            found.append(self.pair("_==_", one, member))
                continue
            for one in self.operands(element, scope):
                self.spend()
                constant, value = self.constant(one)
                if (
                    constant
                    and isinstance(holder, _Place)
                    and not (holder.optional or holder.opaque or holder.of)
                ):
                    path = (*holder.path, Element())
                    inside = _equal(_Place(path, holder.needed), value)
                    found.append(_all([inside, _there(holder.needed)]))
                else:
                    found.append(_all([self.evaluated(one), self.evaluated(holder)]))
        return _any(found)

    def prefixed(self, node: Invoke, scope: _Scope) -> Keys:
        text, part = node.arguments
        found = []
        for one in self.operands(text, scope):
            for other in self.operands(part, scope):
                self.spend()
                constant, prefix = self.constant(other)
                if not constant or not isinstance(one, _Place):
                    found.append(_all([self.evaluated(one), self.evaluated(other)]))
                elif type(prefix) is str:
                    found.append(_prefix(one, prefix))
                else:
                    found.append(NEVER)
        return _any(found)

    def constant(self, operand: _Operand) -> tuple[bool, Value]:
        """Whether an operand is a constant, and its value."""
        if isinstance(operand, _Place):
            return False, None
        node = operand.node
        if type(node) is Constant:
            return True, node.value
        if type(node) is Invoke and node.function.name in _FOLDED:
            values = [self.constant(_Part(n, operand.scope)) for n in node.arguments]
            if all(known for known, _ in values):
                state = Evaluation({}, 1_000)
                try:
                    return True, node.function.implementation(
                        state, *[value for _, value in values]
                    )
                except EvaluationError:
                    return False, None
        return False, None

    # What must be for a sub-expression to have a value at all

    def evaluated(self, operand: _Operand) -> Keys:
        if isinstance(operand, _Place):
            return _there(operand.needed)
        return self.exists(*operand)

    def exist(self, nodes: Iterable[Checked], scope: _Scope) -> Keys:
        return _all([self.exists(node, scope) for node in nodes])

    def exists(self, node: Checked, scope: _Scope) -> Keys:
        """The keys where a sub-expression has a value and no error."""
        self.spend()
        found = []
        for operand in self.operands(node, scope):
            if isinstance(operand, _Place):
                found.append(_there(operand.needed))
            elif operand.node is node:
                found.append(self.strict(node, scope))
            else:
                found.append(self.exists(*operand))
        return _any(found)

    def strict(self, node: Checked, scope: _Scope) -> Keys:
        """As :meth:`exists`, by the parts that are evaluated in any case."""
        match node:
            case Invoke(function=function, arguments=arguments):
                if function.deferred is not None:
                    return self.exists(arguments[0], scope)
                return self.exist(arguments, scope)
            case Field(operand=operand) | OptionalField(operand=operand):
                return self.exists(operand, scope)
            case Choice(condition=condition):
                return self.exists(condition, scope)
            case Loop(range=looped) | PairLoop(range=looped):
                return self.exists(looped, scope)
            case MakeList() | MakeMap() | MakeOptionalList() | MakeOptionalMap():
                return self.exist(node.children(), scope)
            case Bind():
                return self.exists(node.body, self.bind(node, scope))
            case Failure():
                return NEVER
        return _NOTHING

    # What a sub-expression reads

    def operands(self, node: Checked, scope: _Scope) -> list[_Operand]:
        """What the value of a sub-expression can be, each a place or a constant.

        More than one where it depends on the facts: a derived field is what the facts
        have for it or else its expression. What is neither stays the node itself.
        """
        self.spend()
        plain = self.plain(node)
        if plain is not None:
            return [plain]
        match node:
            case Variable(name=name):
                field = self.derived.get(name)
                if field is not None:
                    return [_supplied(field), *self.operands(field.tree, {})]
                if node.fallback is None:
                    return [_variable(name, node.conversion)]
            case Local(slot=slot) | Bound(slot=slot):
                bound = scope.get(slot)
                if isinstance(bound, _Part):
                    return self.operands(*bound)
                if bound is not None:
                    return [bound]
            case Field(operand=inner, name=name, test=False):
                return self.selected(node, inner, name, scope, node.conversion)
            case OptionalField(operand=inner, name=name):
                found = self.selected(node, inner, name, scope, node.conversion)
                return [_optionally(operand) for operand in found]
            case Choice(then=then, otherwise=otherwise):
                return [*self.operands(then, scope), *self.operands(otherwise, scope)]
            case Bind():
                return self.operands(node.body, self.bind(node, scope))
            case Invoke():
                return self.computed(node, scope)
        return [_Part(node, scope)]

    def plain(self, node: Checked) -> _Place | None:
        """The place of a path such as ``a.b.c``, which most operands are."""
        names: list[str] = []
        conversion = None
        while type(node) is Field and not node.test:
            if node.conversion is not None:
                if names:
                    return None
                conversion = node.conversion
            names.append(node.name)
            node = node.operand
        if (
            type(node) is not Variable
            or node.fallback is not None
            or node.conversion is not None
            or node.name in self.derived
        ):
            return None
        names.append(node.name)
        if len(names) > 1 and sum(map(len, names)) > _LONGEST_PATH:
            return None
        reading = "value" if conversion is None else _READINGS.get(conversion)
        path = tuple(reversed(names))
        return _Place(path, path, reading or "value", opaque=reading is None)

    def selected(
        self,
        node: Checked,
        inner: Checked,
        name: str | int,
        scope: _Scope,
        conversion: str | None,
    ) -> list[_Operand]:
        return [
            _selected(operand, name, conversion)
            if isinstance(operand, _Place)
            else _Part(node, scope)
            for operand in self.operands(inner, scope)
        ]

    def computed(self, node: Invoke, scope: _Scope) -> list[_Operand]:
        name, arguments = node.function.name, node.arguments
        if name == "dyn":
            return self.operands(arguments[0], scope)
        if name in ("_[_]", "_[?_]"):
            known, key = self.constant(_Part(arguments[1], scope))
            part = _part(key) if known else None
            if part is not None:
                found = self.selected(node, arguments[0], part, scope, None)
                if name == "_[_]":
                    return found
                return [_optionally(operand) for operand in found]
        elif name in ("orValue", "value"):
            found = []
            for operand in self.operands(arguments[0], scope):
                if not isinstance(operand, _Place):
                    return [_Part(node, scope)]
                # What the facts have is what it gives, if they have it.
                found.append(operand._replace(needed=operand.path, optional=False))
            if name == "orValue":
                found += self.operands(arguments[1], scope)
            return found
        elif name in ("timestamp", "duration"):
            found = []
            for operand in self.operands(arguments[0], scope):
                if isinstance(operand, _Place) and operand.reading in ("value", name):
                    found.append(operand._replace(reading=name))
                elif isinstance(operand, _Place):
                    found.append(operand._replace(opaque=True))
                else:
                    return [_Part(node, scope)]
            return found
        return [_Part(node, scope)]


def _variable(name: str, conversion: ObjectType | str | None) -> _Place:
    """A fact by its name."""
    path = (name,)
    if isinstance(conversion, ObjectType):
        return _Place(path, path, of=conversion)
    reading = "value" if conversion is None else _READINGS.get(conversion)
    return _Place(path, path, reading or "value", opaque=reading is None)


def _supplied(field: DerivedField) -> _Place:
    """What the facts have for a derived field, which then is not computed."""
    path = (field.name,)
    of = unwrapped(field.type)
    # Parts of lists, maps and objects may be converted each to a type of its own.
    parted = type(of) is ObjectType or bool(of.parameters)
    return _Place(path, path, _TYPED.get(of, "value"), opaque=parted)


def _selected(place: _Place, name: str | int, conversion: str | None) -> _Place:
    """A field or an element of what is at a place."""
    if place.opaque:
        return place
    declared = conversion
    if place.of is not None and declared is None:
        declared = place.of.declared.get(name) if type(name) is str else None
    if (
        place.reading != "value"
        or (place.of is not None and declared is None)
        or sum(len(str(part)) for part in place.path) + len(str(name)) > _LONGEST_PATH
    ):
        return place._replace(opaque=True)
    path = (*place.path, name)
    reading = "value" if declared is None else _READINGS.get(declared)
    return _Place(
        path,
        place.needed if place.optional else path,
        reading or "value",
        place.optional,
        opaque=reading is None,
    )


def _optionally(operand: _Operand) -> _Operand:
    """The same, where it need not be there."""
    if not isinstance(operand, _Place) or operand.opaque:
        return operand
    needed = operand.needed
    if needed == operand.path:
        needed = needed[:-1]
    return operand._replace(needed=needed, optional=True)


def _part(key: Value) -> str | int | None:
    """The part of a path that an index is: a name, or a position in a list."""
    if type(key) is str:
        return key
    if type(key) in NUMERIC and 0 <= key < 1 << 31 and key % 1 == 0:
        return int(key)
    return None


def _members(holder: _Operand) -> list[_Part]:
    """The elements of a list, or the keys of a map, that the expression makes."""
    if isinstance(holder, _Part):
        node = holder.node
        if type(node) is MakeList:
            return [_Part(element, holder.scope) for element in node.elements]
        if type(node) is MakeMap:
            return [_Part(key, holder.scope) for key, _ in node.entries]
    return []


# Keys of one comparison


def _one(equal: Equal) -> Keys:
    return Keys((Key((equal,)),))


def _there(path: Path) -> Keys:
    return _one(Equal(Attribute(path, "there"), b"", None))


def _says_nothing(place: _Place) -> bool:
    return place.opaque or place.optional or place.of is not None


def _equal(place: _Place, value: Value) -> Keys:
    """``place == value``."""
    found = canonical(value)
    # Null is what a declared timestamp is where the facts have null.
    reading = "value" if value is None else reading_of(value)
    if (
        _says_nothing(place)
        or found is None
        or (place.reading != reading and value is not None)
    ):
        return _there(place.needed)
    return _one(Equal(Attribute(place.path, reading), found, value))


def _ordered(place: _Place, operator: str, value: Value) -> Keys:
    """``place < value`` and the like; the ends are included in any case."""
    found = coordinate(value)
    if _says_nothing(place) or found is None or place.reading != reading_of(value):
        return _there(place.needed)
    kind, position = found
    symbol = _SYMBOLS[operator]
    low, high = (LOWEST, position) if symbol[0] == "<" else (position, HIGHEST)
    attribute = Attribute(place.path, place.reading)
    return Keys((Key((), Range(attribute, kind, low, high, ((symbol, value),))),))


def _prefix(place: _Place, prefix: str) -> Keys:
    """``place.startsWith(prefix)``."""
    cut = prefix[:_LONGEST_PREFIX]
    found = canonical(cut)
    if _says_nothing(place) or not cut or place.reading != "value" or found is None:
        return _there(place.needed)
    return _one(Equal(Attribute(place.path, "value", len(cut)), found, cut))


def _decided(operator: str, left: Value, right: Value) -> Keys:
    """A comparison of two constants."""
    try:
        true = STANDARD[operator].implementation(Evaluation({}, 1_000_000), left, right)
    except EvaluationError:
        return NEVER
    return _TRUE if true else NEVER


# Keys of several


def _any(found: Iterable[Keys]) -> Keys:
    """The keys of a disjunction: all of them."""
    found = list(found)
    if len(found) == 1:
        return found[0]
    alternatives: dict[Key, None] = {}
    for keys in found:
        if keys.always:
            return keys
        alternatives.update(dict.fromkeys(keys.alternatives))
    if len(alternatives) > MOST_KEYS:
        alternatives = {
            Key((Equal(Attribute(path, "there"), b"", None),)): None
            for path in map(first_path, alternatives)
        }
    if len(alternatives) > MOST_KEYS:
        return Keys((), f"it has more than {MOST_KEYS} alternatives")
    return Keys(tuple(alternatives))


def first_path(key: Key) -> Path:
    """A path of the facts that a key is about."""
    attribute = key.equals[0].attribute if key.equals else None
    if attribute is None:
        assert key.within is not None
        attribute = key.within.attribute
    return attribute.path


def _all(found: list[Keys]) -> Keys:
    """The keys of a conjunction: the best, joined with others where that is cheap."""
    if NEVER in found:
        return NEVER
    useful = [keys for keys in found if not keys.always]
    if not useful:
        return found[0] if found else _TRUE
    if len(useful) == 1:
        return useful[0]
    useful.sort(key=_rank)
    best, *others = useful
    for keys in others:
        if len(best.alternatives) * len(keys.alternatives) > _MOST_JOINED:
            continue
        if len(best.alternatives) == len(keys.alternatives) == 1:
            both = _joined(best.alternatives[0], keys.alternatives[0])
            best = NEVER if both is None else Keys((both,))
            continue
        joined = [
            both
            for one in best.alternatives
            for other in keys.alternatives
            if (both := _joined(one, other)) is not None
        ]
        best = Keys(tuple(dict.fromkeys(joined)))
    return best


def _rank(keys: Keys) -> tuple[int, int]:
    if len(keys.alternatives) == 1:
        return rank(keys.alternatives[0]), 1
    worst = max(map(rank, keys.alternatives), default=0)
    return worst, len(keys.alternatives)


_WEAK = 50


def rank(key: Key) -> int:
    """How many facts a key is taken to hold in: the lower, the fewer."""
    found, within = 100, key.within
    for equal in key.equals:
        found = min(found, _rank_of_equal(equal))
    if within is not None:
        two_sided = within.low > LOWEST and within.high < HIGHEST
        found = min(found, 30 if two_sided else 55)
    return found + is_repeated(key)


def _rank_of_equal(equal: Equal) -> int:
    if equal.attribute.reading == "there":
        return 60
    if equal.attribute.prefix:
        return 40 - min(8, equal.attribute.prefix)
    # There are two booleans and one null.
    return _WEAK if equal.value[:1] in (b"b", b"0") else 10


def is_repeated(key: Key) -> bool:
    """Whether it is of the elements of a list, any of which may be meant."""
    for equal in key.equals:
        for part in equal.attribute.path:
            if part is None or type(part) is Element:
                return True
    if key.within is not None:
        for part in key.within.attribute.path:
            if part is None or type(part) is Element:
                return True
    return False


def _joined(one: Key, other: Key) -> Key | None:
    """A key for both; None where they contradict each other."""
    within = _narrowed(one.within, other.within)
    if is_repeated(one) or is_repeated(other):
        # Only of one and the same element anything can be said together.
        if within is not None and not one.equals and not other.equals:
            if within.low > within.high:
                return None
            if _same_field(one.within, other.within):
                return Key((), within)
        return min(one, other, key=rank)
    equals: dict[Attribute, Equal] = {}
    for equal in (*one.equals, *other.equals):
        known = equals.setdefault(equal.attribute, equal)
        if known.value != equal.value:
            return None
    if within is not None and within.low > within.high:
        return None
    telling = [e for e in equals.values() if e.attribute.reading != "there"]
    if telling or within is not None:
        if any(_says_all(e, within) for e in telling):
            within = None
        telling.sort(key=_rank_of_equal)
        return Key(tuple(telling[:_MOST_EQUALS]), within)
    # Of the fields that must be there, the one further down says more.
    return Key((max(equals.values(), key=lambda e: len(e.attribute.path)),))


def _says_all(equal: Equal, within: Range | None) -> bool:
    """Whether a value makes a range of the same field superfluous."""
    return (
        within is not None
        and equal.attribute == within.attribute
        and not equal.attribute.prefix
    )


def _same_field(one: Range | None, other: Range | None) -> bool:
    if one is None or other is None:
        return False
    return one.attribute == other.attribute and one.kind == other.kind


def _narrowed(one: Range | None, other: Range | None) -> Range | None:
    """The intersection of two ranges of a field, or the better of two others."""
    if one is None or other is None:
        return one or other
    if not _same_field(one, other):
        return min(one, other, key=lambda within: rank(Key((), within)))
    low, high = max(one.low, other.low), min(one.high, other.high)
    ends = dict.fromkeys(
        comparison
        for within in (one, other)
        if within.low == low > LOWEST or within.high == high < HIGHEST
        for comparison in within.comparisons
    )
    return Range(one.attribute, one.kind, low, high, tuple(ends))


def _closed(key: Key) -> Key:
    """A key without the elements' identities, its values in one order."""
    equals, within = key
    if is_repeated(key):
        equals = tuple(e._replace(attribute=e.attribute.closed()) for e in equals)
        if within is not None:
            within = within._replace(attribute=within.attribute.closed())
    if len(equals) > 1:
        equals = tuple(sorted(equals, key=_by_attribute))
    return Key(equals, within)


def _by_attribute(equal: Equal) -> str:
    return repr(equal.attribute)
