"""Checked tree to closures: the evaluator that defines what an expression means.

Each node becomes a function of the evaluation's state. Errors are exceptions; the
logical operators and the macros ``all`` and ``exists`` absorb them where another
operand decides (cel-spec, "Logical Operators" and "Macros"). The cost limit and the
server's wish to stop are never absorbed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
    count,
)
from .errors import CostLimitExceeded, EvaluationError
from .evaluation import Evaluation
from .operators import shown
from .values import (
    ABSENT,
    Optional,
    Uint,
    Value,
    decode_key,
    encode_key,
    map_keys,
    type_of,
)

Closure = Callable[[Evaluation], Value]


def straight_cost(node: Checked) -> int:
    """The cost of a tree without the bodies of its loops: one for each node."""
    return 1 + sum(map(straight_cost, node.straight_children()))


def interpret(tree: Checked, *, trace: bool = False) -> Closure:
    """The closure that evaluates a checked tree.

    With ``trace``, the outcomes of the nodes in :func:`~.trace.straight_nodes` go to
    ``state.trace`` under the node's number.
    """
    if not trace:
        return _Interpreter({}).build(tree)
    from .trace import straight_nodes

    numbers = {id(node): number for number, node in enumerate(straight_nodes(tree))}
    return _Interpreter(numbers).build(tree)


class _Interpreter:
    """Builds closures; ``traced`` numbers the nodes whose outcome is recorded.

    ``bound`` has the closures of bound values that are in scope, by slot.
    """

    def __init__(self, traced: dict[int, int]) -> None:
        self.traced = traced
        self.bound: dict[int, Closure] = {}

    def build(self, node: Checked) -> Closure:
        closure = self.plain(node)
        number = self.traced.get(id(node))
        return closure if number is None else _recorded(closure, number)

    def plain(self, node: Checked) -> Closure:
        match node:
            case Constant(value=value):
                return lambda state: value
            case Variable():
                return _variable(node)
            case Local(slot=slot):
                return lambda state: state.locals[slot]
            case Bound(slot=slot):
                return _bound(slot, self.bound[slot])
            case Field():
                return _field(node, self.build(node.operand))
            case OptionalField():
                return _optional_field(node, self.build(node.operand))
            case Invoke():
                return _invoke(node, [self.build(a) for a in node.arguments])
            case Chain(operator=operator):
                operands = [self.build(operand) for operand in node.operands]
                return _chain(operator == "||", node, operands)
            case Choice():
                return _choice(
                    node,
                    self.build(node.condition),
                    self.build(node.then),
                    self.build(node.otherwise),
                )
            case MakeList():
                elements = [self.build(element) for element in node.elements]
                return lambda state: [element(state) for element in elements]
            case MakeOptionalList():
                parts = [(self.build(e), e.origin.start) for e in node.elements]
                return _make_optional_list(parts, node.optionals)
            case MakeMap():
                return _make_map(self.entries(node), frozenset())
            case MakeOptionalMap():
                return _make_map(self.entries(node), node.optionals)
            case Loop() | PairLoop():
                return self.loop(node)
            case Bind():
                return self.bind(node)
            case Failure(problem=problem):
                return _failure(problem.message, node.origin.start)
        raise AssertionError(f"no such node: {node!r}")

    def entries(self, node: MakeMap | MakeOptionalMap) -> list[_Entry]:
        return [
            (self.build(key), self.build(value), key.origin.start, value.origin.start)
            for key, value in node.entries
        ]

    def loop(self, node: Loop | PairLoop) -> Closure:
        parts = [p for p in (node.condition, node.transform) if p is not None]
        cost = 1 + sum(map(count, parts))
        looped = self.build(node.range)
        condition = None if node.condition is None else self.build(node.condition)
        transform = None if node.transform is None else self.build(node.transform)
        if node.kind in ("optMap", "optFlatMap"):
            assert isinstance(node, Loop)
            assert transform is not None
            return _map_optional(node, looped, transform, cost)
        turns = (
            _turns(node, looped, cost)
            if isinstance(node, Loop)
            else _pair_turns(node, looped, cost)
        )
        if condition is not None and node.kind in ("all", "exists"):
            return _quantifier(node.kind == "exists", node, turns, condition)
        if condition is not None and node.kind == "exists_one":
            return _exists_one(node, turns, condition)
        if condition is not None:
            turns = _selected(node, turns, condition)
        if node.kind == "filter":
            return lambda state: list(turns(state))
        assert transform is not None
        if node.kind == "sortBy":
            return _sort_by(node, turns, transform)
        if node.kind == "transformMap":
            return _transform_map(node, turns, transform)
        if node.kind == "transformMapEntry":
            return _transform_map_entry(node, turns, transform)
        return lambda state: [transform(state) for _ in turns(state)]

    def bind(self, node: Bind) -> Closure:
        for slot, value in node.bindings:
            self.bound[slot] = self.build(value)
        slots = [slot for slot, _ in node.bindings]
        body = self.build(node.body)

        def bind(state: Evaluation) -> Value:
            values = state.locals
            for slot in slots:
                values[slot] = _UNSET
            return body(state)

        return bind


_Entry = tuple[Closure, Closure, int, int]
_Turns = Callable[[Evaluation], Iterable[Value]]

_UNSET = object()


class _Failed:
    """What the slot of a bound value holds that ended in an error."""

    __slots__ = ("error",)

    def __init__(self, error: EvaluationError) -> None:
        self.error = error


def _recorded(closure: Closure, number: int) -> Closure:
    def recorded(state: Evaluation) -> Value:
        assert state.trace is not None
        try:
            value = closure(state)
        except EvaluationError as error:
            state.trace[number] = error
            raise
        state.trace[number] = value
        return value

    return recorded


def _at(error: EvaluationError, place: int) -> EvaluationError:
    """The error with its place, unless a part of the expression set it already."""
    if error.place is None:
        error.place = place
    return error


def _failure(message: str, place: int) -> Closure:
    def failure(state: Evaluation) -> Value:
        raise _at(EvaluationError(message), place)

    return failure


def _variable(node: Variable) -> Closure:
    name, fallback, place = node.name, node.fallback, node.origin.start

    def variable(state: Evaluation) -> Value:
        try:
            return state.variables[name]
        except KeyError:
            if fallback is not None:
                return fallback
            raise _at(EvaluationError(f"no such key: {name}"), place) from None

    return variable


def _bound(slot: int, value: Closure) -> Closure:
    """A bound value: computed when first used, then kept."""

    def bound(state: Evaluation) -> Value:
        kept = state.locals[slot]
        if kept is _UNSET:
            try:
                kept = value(state)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                state.locals[slot] = _Failed(error)
                raise
            state.locals[slot] = kept
        elif type(kept) is _Failed:
            # The traceback would grow each time.
            raise kept.error.with_traceback(None)
        return kept

    return bound


def _dotted(node: Checked) -> str | None:
    """The path of a field as the rule's author wrote it, for messages."""
    if isinstance(node, Variable | Local | Bound):
        return node.name
    if isinstance(node, Field):
        operand = _dotted(node.operand)
        return None if operand is None else f"{operand}.{node.name}"
    if isinstance(node, OptionalField):
        operand = _dotted(node.operand)
        return None if operand is None else f"{operand}.?{node.name}"
    return None


def _field(node: Field, operand: Closure) -> Closure:
    name, place = node.name, node.origin.start
    path = _dotted(node) or name

    def fail(value: Value) -> EvaluationError:
        if type(value) is dict:
            return _at(
                EvaluationError(f"no such key: {path}", hint=f"test has({path}) first"),
                place,
            )
        return _no_fields(path, value, place)

    def field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict and name in value:
            return value[name]
        if type(value) is Optional:
            return _field_of_optional(name, path, value, place)
        raise fail(value)

    def test(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            return name in value
        if type(value) is Optional:
            return _field_of_optional(name, path, value, place).present
        raise fail(value)

    return test if node.test else field


def _no_fields(path: str, value: Value, place: int) -> EvaluationError:
    message = f"no such key: {path}: {type_of(value)} has no fields"
    return _at(EvaluationError(message), place)


def _field_of_optional(
    name: str, path: str, optional: Optional, place: int
) -> Optional:
    if not optional.present:
        return optional
    value = optional.value
    if type(value) is not dict:
        raise _no_fields(path, value, place)
    return Optional(value[name]) if name in value else ABSENT


def _optional_field(node: OptionalField, operand: Closure) -> Closure:
    name, place = node.name, node.origin.start
    path = _dotted(node) or name

    def optional_field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            return Optional(value[name]) if name in value else ABSENT
        if type(value) is Optional:
            return _field_of_optional(name, path, value, place)
        raise _no_fields(path, value, place)

    return optional_field


def _invoke(node: Invoke, arguments: list[Closure]) -> Closure:
    implementation, place = node.function.implementation, node.place
    deferred = node.function.deferred
    if deferred is not None:

        def defer(state: Evaluation) -> Value:
            try:
                return deferred(state, *arguments)
            except EvaluationError as error:
                raise _at(error, place)  # noqa: B904 - it is the same error

        return defer
    if len(arguments) == 1:
        (only,) = arguments

        def unary(state: Evaluation) -> Value:
            try:
                return implementation(state, only(state))
            except EvaluationError as error:
                raise _at(error, place)  # noqa: B904 - it is the same error

        return unary
    if len(arguments) == 2:
        first, second = arguments

        def binary(state: Evaluation) -> Value:
            try:
                return implementation(state, first(state), second(state))
            except EvaluationError as error:
                raise _at(error, place)  # noqa: B904 - it is the same error

        return binary

    def call(state: Evaluation) -> Value:
        try:
            return implementation(state, *[argument(state) for argument in arguments])
        except EvaluationError as error:
            raise _at(error, place)  # noqa: B904 - it is the same error

    return call


def _not_bool(value: Value, place: int, where: str) -> EvaluationError:
    message = f"no such overload: {where} needs bool, not {type_of(value)}"
    return _at(EvaluationError(message), place)


def _chain(decisive: bool, node: Chain, operands: list[Closure]) -> Closure:
    """``||`` where true decides, ``&&`` where false does."""
    placed = [
        (operand, part.origin.start)
        for operand, part in zip(operands, node.operands, strict=True)
    ]
    operator = node.operator

    def chain(state: Evaluation) -> Value:
        failure: EvaluationError | None = None
        for operand, place in placed:
            try:
                value = operand(state)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or _not_bool(value, place, operator)
        if failure is not None:
            raise failure
        return not decisive

    return chain


def _choice(
    node: Choice, condition: Closure, then: Closure, otherwise: Closure
) -> Closure:
    place = node.condition.origin.start

    def choice(state: Evaluation) -> Value:
        value = condition(state)
        if value is True:
            return then(state)
        if value is False:
            return otherwise(state)
        raise _not_bool(value, place, "?:")

    return choice


def _not_optional(value: Value, place: int) -> EvaluationError:
    message = f"no such overload: ?{type_of(value)}"
    hint = "what stands behind a '?' must be optional, such as a.?b"
    return _at(EvaluationError(message, hint=hint), place)


def _make_optional_list(
    elements: list[tuple[Closure, int]], optionals: frozenset[int]
) -> Closure:
    def make_list(state: Evaluation) -> Value:
        made: list[Value] = []
        for number, (element, place) in enumerate(elements):
            value = element(state)
            if number in optionals:
                if type(value) is not Optional:
                    raise _not_optional(value, place)
                if not value.present:
                    continue
                value = value.value
            made.append(value)
        return made

    return make_list


def _make_map(entries: list[_Entry], optionals: frozenset[int]) -> Closure:
    def make_map(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for number, (key, value, place, value_place) in enumerate(entries):
            name = key(state)
            if number in optionals:
                optional = value(state)
                if type(optional) is not Optional:
                    raise _not_optional(optional, value_place)
                if optional.present:
                    _insert(made, name, optional.value, place)
                continue
            _insert(made, name, value(state), place)
        return made

    return make_map


def _insert(made: dict[Value, Value], key: Value, value: Value, place: int) -> None:
    if type(key) not in (str, int, Uint, bool):
        raise _at(EvaluationError(f"unsupported key type: {type_of(key)}"), place)
    stored = encode_key(key)
    if stored in made:
        raise _at(EvaluationError(f"repeated key in a map: {shown(key)}"), place)
    made[stored] = value


# Macros. A loop's turns are an iterator that sets the variables and charges for the
# body before each turn; it gives the element.


def _turns(node: Loop, looped: Closure, cost: int) -> _Turns:
    """One variable: a list's elements or a map's keys."""
    slot = node.slot

    def turns(state: Evaluation) -> Iterator[Value]:
        value = looped(state)
        if type(value) is dict:
            value = map_keys(value)
        elif type(value) is not list:
            raise _no_loop(node, value)
        slots, charge = state.locals, state.charge
        for element in value:
            charge(cost)
            slots[slot] = element
            yield element

    return turns


def _pair_turns(node: PairLoop, looped: Closure, cost: int) -> _Turns:
    """Two variables: a list's indexes and elements, or a map's keys and values."""
    slot, second = node.slot, node.second_slot

    def turns(state: Evaluation) -> Iterator[Value]:
        value = looped(state)
        pairs: Iterable[tuple[Value, Value]]
        if type(value) is list:
            pairs = enumerate(value)
        elif type(value) is dict:
            pairs = ((decode_key(key), part) for key, part in value.items())
        else:
            raise _no_loop(node, value)
        slots, charge = state.locals, state.charge
        for key, element in pairs:
            charge(cost)
            slots[slot] = key
            slots[second] = element
            yield element

    return turns


def _no_loop(node: Loop | PairLoop, value: Value) -> EvaluationError:
    message = f"no such overload: {type_of(value)}.{node.kind}()"
    return _at(EvaluationError(message), node.place)


def _selected(node: Loop | PairLoop, turns: _Turns, condition: Closure) -> _Turns:
    """The turns for which the condition is true."""
    assert node.condition is not None
    kind, place = node.kind, node.condition.origin.start

    def selected(state: Evaluation) -> Iterator[Value]:
        for element in turns(state):
            value = condition(state)
            if value is True:
                yield element
            elif value is not False:
                raise _not_bool(value, place, kind)

    return selected


def _quantifier(
    decisive: bool, node: Loop | PairLoop, turns: _Turns, condition: Closure
) -> Closure:
    """``exists`` where a true decides, ``all`` where a false does."""
    assert node.condition is not None
    kind, place = node.kind, node.condition.origin.start

    def quantifier(state: Evaluation) -> Value:
        failure: EvaluationError | None = None
        for _ in turns(state):
            try:
                value = condition(state)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or _not_bool(value, place, kind)
        if failure is not None:
            raise failure
        return not decisive

    return quantifier


def _exists_one(node: Loop | PairLoop, turns: _Turns, condition: Closure) -> Closure:
    assert node.condition is not None
    place = node.condition.origin.start

    def exists_one(state: Evaluation) -> Value:
        found = 0
        for _ in turns(state):
            value = condition(state)
            if value is True:
                found += 1
            elif value is not False:
                raise _not_bool(value, place, "exists_one")
        return found == 1

    return exists_one


def _transform_map(node: Loop | PairLoop, turns: _Turns, transform: Closure) -> Closure:
    slot = node.slot

    def transform_map(state: Evaluation) -> Value:
        slots = state.locals
        return {encode_key(slots[slot]): transform(state) for _ in turns(state)}

    return transform_map


def _transform_map_entry(
    node: Loop | PairLoop, turns: _Turns, transform: Closure
) -> Closure:
    assert node.transform is not None
    place = node.transform.origin.start

    def transform_map_entry(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for _ in turns(state):
            entries = transform(state)
            if type(entries) is not dict:
                message = f"transformMapEntry needs a map, not {type_of(entries)}"
                raise _at(EvaluationError(f"no such overload: {message}"), place)
            state.charge(len(entries))
            for key, value in entries.items():
                _insert(made, decode_key(key), value, place)
        return made

    return transform_map_entry


def _sort_by(node: Loop | PairLoop, turns: _Turns, transform: Closure) -> Closure:
    from .ext_lists import sorted_by

    place = node.place

    def sort_by(state: Evaluation) -> Value:
        elements, keys = [], []
        for element in turns(state):
            elements.append(element)
            keys.append(transform(state))
        try:
            return sorted_by(state, elements, keys)
        except EvaluationError as error:
            raise _at(error, place)  # noqa: B904 - it is the same error

    return sort_by


def _map_optional(
    node: Loop, looped: Closure, transform: Closure, cost: int
) -> Closure:
    """``optMap`` wraps what the transform gives; ``optFlatMap`` takes an optional."""
    assert node.transform is not None
    slot, flat, place = (
        node.slot,
        node.kind == "optFlatMap",
        node.transform.origin.start,
    )

    def map_optional(state: Evaluation) -> Value:
        optional = looped(state)
        if type(optional) is not Optional:
            raise _no_loop(node, optional)
        if not optional.present:
            return optional
        state.charge(cost)
        state.locals[slot] = optional.value
        value = transform(state)
        if not flat:
            return Optional(value)
        if type(value) is Optional:
            return value
        message = (
            f"no such overload: optFlatMap needs an optional, not {type_of(value)}"
        )
        raise _at(EvaluationError(f"no such overload: {message}"), place)

    return map_optional
