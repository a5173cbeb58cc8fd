"""The gradual type checker: the type of every node, and what cannot be right.

A pass over the resolved tree (cel-spec, "Gradual Typing"). What nothing declares is
``dyn`` and fits everywhere; where types are known, a call that no overload fits is a
problem, and all problems of an expression are found together.

How far a node's type may be relied on: an evaluation of a node of type bool, int, uint,
double, string, bytes, list or map gives a value of that type or an error, provided that
variables hold what is declared. Of any other type but ``type`` the value may be null:
wrappers, timestamps, durations and abstract types are nullable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import source, types
from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
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
from .reading import conversion
from .signatures import MOST_RESOLVED, Candidates, candidates
from .syntax import Call
from .temporal import Duration, Timestamp
from .types import (
    BOOL,
    DYN,
    INT,
    STRING,
    ObjectType,
    Type,
    TypeVariable,
    list_of,
    map_of,
    optional_of,
    spoken,
    type_of_type,
    unwrapped,
)
from .unification import (
    OBJECT_AS_MAP,
    Bindings,
    assign,
    grounded,
    instantiated,
    join,
    resolved,
    substituted,
)
from .values import Uint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .environment import Environment
    from .errors import Problem


def infer(tree: Checked, text: str, environment: Environment) -> list[Problem]:
    """Set the type of every node, and the conversions of declared facts.

    Gives the problems found, in source order.
    """
    inference = _Inference(text, environment)
    inference.visit(tree)
    for node in inference.unsettled:
        node.type = grounded(node.type, inference.bindings)
    return inference.problems


_CONSTANTS: dict[type, Type] = {
    bool: BOOL,
    bytes: types.BYTES,
    Duration: types.DURATION,
    float: types.DOUBLE,
    int: INT,
    type(None): types.NULL,
    str: STRING,
    Timestamp: types.TIMESTAMP,
    Uint: types.UINT,
}

OPTIONAL = types.OPTIONAL.name

# Looking for the nearest name takes a millisecond where there are many names.
_MOST_HINTS = 20

# What the value of a type's name denotes, where the type has parameters.
_DENOTED = {
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "optional_type": optional_of(DYN),
    "type": type_of_type(DYN),
}


class _Inference:
    """The types of macro variables, the bindings and the problems so far."""

    def __init__(self, text: str, environment: Environment) -> None:
        self.text = text
        self.variables = environment.variables or {}
        self.derived = environment.derived
        self.columns = environment.columns
        self.locals: dict[int, Type] = {}
        self.bindings = Bindings()
        self.unsettled: list[Checked] = []
        self.problems: list[Problem] = []

    def visit(self, node: Checked) -> Type:
        """The type of a node, which is also noted on it."""
        method = _VISITORS.get(type(node))
        if method is None:
            for child in node.children():
                self.visit(child)
            return DYN
        found = method(self, node)
        node.type = found
        if found.open:
            self.unsettled.append(node)
        return found

    # Problems

    def fail(self, place: int, message: str, hint: str = "") -> Type:
        self.problems.append(source.problem(self.text, place, message, hint))
        return DYN

    def written(self, node: Checked) -> str:
        """The node as its author wrote it, cut where it is long."""
        text = self.text[node.origin.start : node.origin.end]
        return text if len(text) <= 40 else text[:37] + "..."

    def declarations(self, nodes: Iterable[Checked]) -> list[str]:
        """What is declared of the facts among some nodes, as parts of a hint."""
        found = []
        for node in nodes:
            if isinstance(node, Field | OptionalField) and node.conversion is not None:
                found.append(f"{self.written(node)} is declared {node.conversion}")
            elif isinstance(node, Variable) and type(node.conversion) is str:
                found.append(f"the column {node.name} is {node.conversion}")
            elif isinstance(node, Variable) and node.name in self.derived:
                found.append(f"the derived field {node.name} is {spoken(node.type)}")
        return found

    def demand(self, node: Checked, wanted: Type, where: str) -> bool:
        """Report a node that cannot be of the wanted type."""
        fits = self.fits(node.type, wanted)
        if not fits:
            self.fail(
                node.origin.start,
                f"{where} needs {self.spoken(wanted)}, not {self.spoken(node.type)}",
                "; ".join(self.declarations([node])),
            )
        return fits

    def fits(self, actual: Type, wanted: Type) -> bool:
        if actual is wanted:
            return True
        mark = self.bindings.mark()
        if assign(actual, wanted, self.bindings):
            return True
        self.bindings.undo(mark)
        return False

    def spoken(self, of: Type) -> str:
        return spoken(grounded(of, self.bindings))

    # Names and values

    def constant(self, node: Constant) -> Type:
        value = node.value
        if type(value) is Type:
            return type_of_type(_DENOTED.get(value.name, value))
        return _CONSTANTS.get(type(value), DYN)

    def variable(self, node: Variable) -> Type:
        found = self.declared(node)
        if type(found) is ObjectType:
            node.conversion = found
        elif self.columns is not None and node.name not in self.derived:
            node.conversion = conversion(self.columns.declared, node.name)
        return found

    def declared(self, node: Variable) -> Type:
        name = node.name
        if name in self.derived:
            return self.derived[name].type
        return self.variables.get(name, DYN)

    def local(self, node: Local | Bound) -> Type:
        return self.locals.get(node.slot, DYN)

    def bind(self, node: Bind) -> Type:
        for slot, value in node.bindings:
            self.locals[slot] = self.visit(value)
        return self.visit(node.body)

    # Fields

    def field(self, node: Field) -> Type:
        found = self.selected(self.operand(node), node)
        if node.test:
            node.conversion = None
            return BOOL
        return found

    def optional_field(self, node: OptionalField) -> Type:
        found = self.selected(self.operand(node), node)
        return found if found.name == OPTIONAL else optional_of(found)

    def operand(self, node: Field | OptionalField) -> Type:
        """The type of what a field is selected from."""
        operand = node.operand
        if type(operand) is not Variable:
            return self.visit(operand)
        of = operand.type = self.declared(operand)
        if type(of) is ObjectType:
            # The fields of an object in the facts are converted one by one: it is
            # not read as a whole here.
            node.conversion = conversion(of.declared, node.name)
        return of

    def selected(self, of: Type, node: Field | OptionalField) -> Type:
        """The type of a field of a value; of an optional's, an optional."""
        of = resolved(of, self.bindings)
        if of is DYN:
            return DYN
        if of.name == OPTIONAL and type(of) is Type:
            found = self.selected(of.parameters[0], node)
            return found if found.name == OPTIONAL else optional_of(found)
        if type(of) is ObjectType:
            return self.member(of, node.name, node)
        if type(of) is TypeVariable:
            self.bindings.bind(of, DYN)
            return DYN
        if of.name == "map":
            return of.parameters[1]
        return self.fail(
            self.behind(node.operand, node),
            f"{self.spoken(of)} has no fields",
            "; ".join(self.declarations([node.operand]))
            or "only maps and objects have; test a key of a map with in",
        )

    def behind(self, operand: Checked, node: Checked) -> int:
        """The place of a selection's name, or of the whole where it has none."""
        end = operand.origin.end
        dot = self.text[end : end + 2]
        if dot[:1] != ".":
            return node.origin.start
        return end + 2 if dot == ".?" else end + 1

    def member(self, of: ObjectType, name: str, node: Checked) -> Type:
        """The type of a field that a schema declares."""
        found = of.fields.get(name)
        if found is not None:
            return found
        place = node.origin.start
        if isinstance(node, Field | OptionalField):
            place = self.behind(node.operand, node)
        near = "" if len(self.problems) >= _MOST_HINTS else _nearest(name, of.fields)
        if self.columns is not None:
            message, hint = self.columns.lacking(name)
            return self.fail(
                place, message, hint or (f"did you mean {near}?" if near else "")
            )
        hint = f"did you mean {near}?" if near else _listed(of)
        return self.fail(place, f"{of.name} has no field {name}", hint)

    # Calls

    def invoke(self, node: Invoke) -> Type:
        arguments = [self.visit(argument) for argument in node.arguments]
        function = node.function
        method = _is_method(node)
        found = candidates(
            function.signatures, method=method, arguments=len(arguments) - method
        )
        if found is None:
            return DYN
        result = self.result(found, arguments)
        if result is None:
            return self.fail(node.place, *self.mismatch(node, method))
        if function.name == "_[_]" and type(arguments[0]) is ObjectType:
            return self.indexed(arguments[0], node)
        return result

    def indexed(self, of: ObjectType, node: Invoke) -> Type:
        """``User["Age"]``: a schema's object under a key that may be known."""
        key = node.arguments[1]
        if isinstance(key, Constant) and type(key.value) is str:
            return self.member(of, key.value, key)
        return DYN

    def result(self, found: Candidates, arguments: list[Type]) -> Type | None:
        """The type of a call, or None where no overload takes the arguments."""
        for argument in arguments:
            if not argument.common or argument.depth > 1:
                return self.overloaded(found, arguments)
        key = tuple(arguments)
        kept = found.resolved
        if key in kept:
            return kept[key]
        result = self.overloaded(found, arguments)
        if (result is None or not result.open) and len(kept) < MOST_RESOLVED:
            kept[key] = result
        return result

    def overloaded(self, found: Candidates, arguments: list[Type]) -> Type | None:
        """As cel-spec's overload resolution: the common result of those that fit."""
        result: Type | None = None
        bindings = self.bindings
        for overload in found.overloads:
            parameters, returned = overload.parameters, overload.result
            if overload.variables:
                fresh = {v: TypeVariable(v.name) for v in overload.variables}
                parameters = tuple(instantiated(p, fresh) for p in parameters)
                returned = instantiated(returned, fresh)
            mark = bindings.mark()
            if not all(
                assign(argument, parameter, bindings)
                for argument, parameter in zip(arguments, parameters, strict=True)
            ):
                bindings.undo(mark)
                continue
            returned = substituted(returned, bindings)
            if result is None:
                result = returned
            elif result != returned:
                result = DYN
        return result

    def mismatch(self, node: Invoke, method: bool) -> tuple[str, str]:
        """Message and hint of a call that no overload fits."""
        arguments = node.arguments
        kinds = [self.spoken(argument.type) for argument in arguments]
        name = node.function.name
        hints = self.declarations(arguments)
        if name in _SYMBOLS:
            symbol, phrase = _SYMBOLS[name]
            message = phrase.format(*kinds, symbol=symbol)
            hint = self.way_out(arguments)
            return message, "; ".join([*hints, hint] if hint else hints)
        if method:
            call = f"{kinds[0]}.{name}({', '.join(kinds[1:])})"
        else:
            call = f"{name}({', '.join(kinds)})"
        hints.append(f"there is {node.function.usage()}")
        return f"no matching overload for {call}", "; ".join(hints)

    def way_out(self, arguments: list[Checked]) -> str:
        """How to make the types of two operands agree, where that is plain."""
        if len(arguments) != 2:
            return ""
        for one, other in (arguments, arguments[::-1]):
            have = unwrapped(resolved(one.type, self.bindings))
            want = unwrapped(resolved(other.type, self.bindings))
            value = one.value if isinstance(one, Constant) else None
            if type(value) is int and want is types.DOUBLE:
                return f"write {value}.0"
            if type(value) is int and value >= 0 and want is types.UINT:
                return f"write {value}u"
            if type(value) is str and want in (INT, types.DOUBLE):
                return f"write {value} without quotes" if _is_number(value) else ""
            if type(value) is str and want in (types.TIMESTAMP, types.DURATION):
                return f"write {spoken(want)}({self.written(one)})"
            if have is INT and want in (types.DOUBLE, types.UINT):
                return f"convert one of them, as in {want}({self.written(one)})"
        return ""

    # Operators with a node of their own

    def chain(self, node: Chain) -> Type:
        for operand in node.operands:
            self.visit(operand)
            self.demand(operand, BOOL, node.operator)
        return BOOL

    def choice(self, node: Choice) -> Type:
        self.visit(node.condition)
        self.demand(node.condition, BOOL, "the condition of ?:")
        then, otherwise = self.visit(node.then), self.visit(node.otherwise)
        found = join(then, otherwise, self.bindings)
        if found is None:
            kinds = f"{self.spoken(then)} and {self.spoken(otherwise)}"
            return self.fail(
                node.then.origin.start,
                f"the branches of ?: have different types, {kinds}",
                "convert one of them, or wrap one in dyn()",
            )
        return found

    def joined(self, kinds: Iterable[Type]) -> Type:
        """The common type of elements: dyn where they have none."""
        found: Type | None = None
        for kind in kinds:
            found = kind if found is None else join(found, kind, self.bindings) or DYN
        return TypeVariable("element") if found is None else found

    def make_list(self, node: MakeList) -> Type:
        return list_of(self.joined(map(self.visit, node.elements)))

    def make_map(self, node: MakeMap) -> Type:
        # Key by key and value by value, as problems are reported in source order.
        kinds = [(self.visit(key), self.visit(value)) for key, value in node.entries]
        return map_of(
            self.joined(key for key, _ in kinds),
            self.joined(value for _, value in kinds),
        )

    def make_optional_list(self, node: MakeOptionalList) -> Type:
        return list_of(
            self.joined(
                self.given(element, number in node.optionals)
                for number, element in enumerate(node.elements)
            )
        )

    def make_optional_map(self, node: MakeOptionalMap) -> Type:
        kinds = [
            (self.visit(key), self.given(value, number in node.optionals))
            for number, (key, value) in enumerate(node.entries)
        ]
        return map_of(
            self.joined(key for key, _ in kinds),
            self.joined(value for _, value in kinds),
        )

    def given(self, node: Checked, optional: bool) -> Type:
        """The type of an element, behind a '?' of what the optional has."""
        kind = self.visit(node)
        if not optional:
            return kind
        inner = TypeVariable("value")
        return inner if self.demand(node, optional_of(inner), "?") else DYN

    # Macros

    def loop(self, node: Loop) -> Type:
        if node.kind in ("optMap", "optFlatMap"):
            return self.map_optional(node)
        key, element = self.ranged(node.range)
        self.locals[node.slot] = variable = key if element is None else element
        result = self.body(node)
        if node.kind in ("filter", "sortBy"):
            return list_of(variable)
        return BOOL if node.transform is None else list_of(result)

    def pair_loop(self, node: PairLoop) -> Type:
        key, element = self.ranged(node.range, pairs=True)
        self.locals[node.slot] = key
        self.locals[node.second_slot] = DYN if element is None else element
        result = self.body(node)
        if node.kind == "transformList":
            return list_of(result)
        if node.kind == "transformMap":
            return map_of(key, result)
        if node.kind == "transformMapEntry":
            assert node.transform is not None
            entries = map_of(TypeVariable("key"), TypeVariable("value"))
            return entries if self.demand(node.transform, entries, node.kind) else DYN
        return BOOL

    def body(self, node: Loop | PairLoop) -> Type:
        """The type of what a loop makes in a turn; bool where it decides only."""
        if node.condition is not None:
            self.visit(node.condition)
            self.demand(node.condition, BOOL, f"the condition of {node.kind}")
        return BOOL if node.transform is None else self.visit(node.transform)

    def map_optional(self, node: Loop) -> Type:
        self.visit(node.range)
        value = TypeVariable("value")
        known = self.demand(node.range, optional_of(value), node.kind)
        self.locals[node.slot] = value if known else DYN
        assert node.transform is not None
        result = self.visit(node.transform)
        if node.kind == "optMap":
            return optional_of(result)
        inner = optional_of(TypeVariable("value"))
        return inner if self.demand(node.transform, inner, node.kind) else DYN

    def ranged(self, node: Checked, *, pairs: bool = False) -> tuple[Type, Type | None]:
        """Keys and elements of what a macro loops over.

        A map has elements for macros with two variables only.
        """
        of = resolved(self.visit(node), self.bindings)
        if type(of) is ObjectType:
            of = OBJECT_AS_MAP
        if of.name == "list":
            return INT, of.parameters[0]
        if of.name == "map":
            return of.parameters[0], of.parameters[1] if pairs else None
        if type(of) is TypeVariable:
            self.bindings.bind(of, DYN)
        elif of is not DYN:
            self.fail(
                node.origin.start,
                f"a macro loops over a list or a map, not {self.spoken(of)}",
                "; ".join(self.declarations([node])),
            )
        return DYN, None


_VISITORS: dict[type, Callable[[_Inference, Any], Type]] = {
    Bind: _Inference.bind,
    Bound: _Inference.local,
    Chain: _Inference.chain,
    Choice: _Inference.choice,
    Constant: _Inference.constant,
    Field: _Inference.field,
    Invoke: _Inference.invoke,
    Local: _Inference.local,
    Loop: _Inference.loop,
    MakeList: _Inference.make_list,
    MakeMap: _Inference.make_map,
    MakeOptionalList: _Inference.make_optional_list,
    MakeOptionalMap: _Inference.make_optional_map,
    OptionalField: _Inference.optional_field,
    PairLoop: _Inference.pair_loop,
    Variable: _Inference.variable,
}

# Operators as they are written, and what is said where their operands do not fit.
_COMPARED = "cannot compare {0} with {1}"
_UNDEFINED = "{symbol} is not defined for {0} and {1}"
_SYMBOLS = {
    "_==_": ("==", _COMPARED),
    "_!=_": ("!=", _COMPARED),
    "_<_": ("<", _COMPARED),
    "_<=_": ("<=", _COMPARED),
    "_>_": (">", _COMPARED),
    "_>=_": (">=", _COMPARED),
    "_+_": ("+", _UNDEFINED),
    "_-_": ("-", _UNDEFINED),
    "_*_": ("*", _UNDEFINED),
    "_/_": ("/", _UNDEFINED),
    "_%_": ("%", _UNDEFINED),
    "@in": ("in", "in needs a list or a map of such values: cannot find {0} in {1}"),
    "_[_]": ("[]", "{0} has no element under a key of type {1}"),
    "-_": ("-", "- is not defined for {0}"),
    "!_": ("!", "! needs bool, not {0}"),
}


def _is_method(node: Invoke) -> bool:
    """Whether a call is written target.name(arguments)."""
    call = node.origin
    return isinstance(call, Call) and len(node.arguments) > len(call.arguments)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def _listed(of: ObjectType) -> str:
    names = sorted(of.fields)
    more = ", ..." if len(names) > 10 else ""
    return f"its fields are {', '.join(names[:10])}{more}"
