"""Checked tree to closures: the evaluator that defines what an expression means.

Each node becomes a function of the evaluation's state. Errors are exceptions; the
logical operators and the macros ``all`` and ``exists`` absorb them where another
operand decides (cel-spec, "Logical Operators" and "Macros"). The cost limit and the
server's wish to stop are never absorbed. The nodes that only extensions make are
in ``ext_interpreter``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .checked import (
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
    PairLoop,
    Variable,
    count,
)
from .errors import CostLimitExceeded, EvaluationError
from .evaluation import Evaluation
from .operators import shown
from .reading import NATIVE, not_an_object, read_field, read_object
from .values import (
    ABSENT,
    Optional,
    Uint,
    Value,
    encode_key,
    map_keys,
    type_of,
)

Closure = Callable[[Evaluation], Value]

Turns = Callable[[Evaluation], Iterable[Value]]
"""A loop's turns: an iterator over the elements. Before each turn it sets the macro's
variables and charges for its body."""

_LOOPS = frozenset({"all", "exists", "exists_one", "filter", "map"})


def straight_cost(node: Checked) -> int:
    """The cost of a tree without the bodies of its loops: one for each node."""
    return 1 + sum(map(straight_cost, node.straight_children()))


def body_cost(node: Loop | PairLoop) -> int:
    """The cost of one turn of a loop: one, and one for each node of its body."""
    parts = [part for part in (node.condition, node.transform) if part is not None]
    return 1 + sum(map(count, parts))


def interpret(tree: Checked, *, trace: bool = False) -> Closure:
    """The closure that evaluates a checked tree.

    With ``trace``, the outcomes of the nodes in :func:`~.trace.straight_nodes` go to
    ``state.trace`` under the node's number.
    """
    if not trace:
        return Interpreter({}).build(tree)
    from .trace import straight_nodes

    numbers = {id(node): number for number, node in enumerate(straight_nodes(tree))}
    return Interpreter(numbers).build(tree)


class Interpreter:
    """Builds closures; ``traced`` numbers the nodes whose outcome is recorded.

    ``bound`` has the closures of the values of :class:`~.checked.Bind`, by slot.
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
            case Field():
                return _field(node, self.build(node.operand))
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
            case MakeMap():
                return _make_map(
                    [
                        (self.build(key), self.build(value), key.origin.start)
                        for key, value in node.entries
                    ]
                )
            case Loop(kind=kind) if kind in _LOOPS:
                return self.loop(node)
            case Failure(problem=problem):
                return _failure(problem.message, node.origin.start)
        from . import ext_interpreter

        return ext_interpreter.build(self, node)

    def loop(self, node: Loop) -> Closure:
        cost = body_cost(node)
        turns = _turns(node, self.build(node.range), cost)
        condition = None if node.condition is None else self.build(node.condition)
        if condition is not None:
            if node.kind in ("all", "exists"):
                return quantifier(node, turns, condition)
            if node.kind == "exists_one":
                return exists_one(node, turns, condition)
            turns = selected(node, turns, condition)
        if node.transform is None:
            return lambda state: list(turns(state))
        transform = self.build(node.transform)
        return lambda state: [transform(state) for _ in turns(state)]


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


def at(error: EvaluationError, place: int) -> EvaluationError:
    """The error with its place, unless a part of the expression set it already."""
    if error.place is None:
        error.place = place
    return error


def _failure(message: str, place: int) -> Closure:
    def failure(state: Evaluation) -> Value:
        raise at(EvaluationError(message), place)

    return failure


def _variable(node: Variable) -> Closure:
    name, fallback, place = node.name, node.fallback, node.origin.start

    def variable(state: Evaluation) -> Value:
        try:
            return state.variables[name]
        except KeyError:
            if fallback is not None:
                return fallback
            raise at(EvaluationError(f"no such key: {name}"), place) from None
        except EvaluationError as error:
            # Of a derived field, which is computed when it is read.
            raise at(error, place)  # noqa: B904 - it is the same error

    declared = node.conversion
    if declared is None:
        return variable
    if isinstance(declared, str):
        return _converted(variable, declared, name, place)
    of = declared

    def whole(state: Evaluation) -> Value:
        value = variable(state)
        try:
            return read_object(state, value, of)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return whole


def dotted(node: Checked) -> str | None:
    """The path of a field as the rule's author wrote it, for messages."""
    if isinstance(node, Variable | Local | Bound):
        return node.name
    if isinstance(node, Field):
        operand = dotted(node.operand)
        return None if operand is None else f"{operand}.{node.name}"
    return None


def _field(node: Field, operand: Closure) -> Closure:
    name, place = node.name, node.origin.start
    path = dotted(node) or name

    def fail(value: Value) -> EvaluationError:
        if type(value) is dict:
            return at(
                EvaluationError(f"no such key: {path}", hint=f"test has({path}) first"),
                place,
            )
        if node.conversion is not None:
            return at(not_an_object(dotted(node.operand) or path, value), place)
        return no_fields(path, value, place)

    def field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict and name in value:
            return value[name]
        if type(value) is Optional:
            return field_of_optional(name, path, value, place)
        raise fail(value)

    def test(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            return name in value
        if type(value) is Optional:
            return field_of_optional(name, path, value, place).present
        raise fail(value)

    if node.test:
        return test
    if node.conversion is None:
        return field
    return _converted(field, node.conversion, path, place)


def _converted(read: Closure, declared: str, path: str, place: int) -> Closure:
    """The closure of a declared fact, as a value of its type."""
    native = NATIVE.get(declared)

    def converted(state: Evaluation) -> Value:
        value = read(state)
        if type(value) is native:
            return value
        try:
            return read_field(state, value, declared, path)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return converted


def no_fields(path: str, value: Value, place: int) -> EvaluationError:
    """The error of a selection from a value that is no map."""
    message = f"no such key: {path}: {type_of(value)} has no fields"
    return at(EvaluationError(message), place)


def field_of_optional(name: str, path: str, optional: Optional, place: int) -> Optional:
    """A field of an optional map, which is optional."""
    if not optional.present:
        return optional
    value = optional.value
    if type(value) is not dict:
        raise no_fields(path, value, place)
    return Optional(value[name]) if name in value else ABSENT


def _invoke(node: Invoke, arguments: list[Closure]) -> Closure:
    implementation, place = node.function.implementation, node.place
    deferred = node.function.deferred
    if deferred is not None:

        def defer(state: Evaluation) -> Value:
            try:
                return deferred(state, *arguments)
            except EvaluationError as error:
                raise at(error, place)  # noqa: B904 - it is the same error

        return defer
    if len(arguments) == 1:
        (only,) = arguments

        def unary(state: Evaluation) -> Value:
            try:
                return implementation(state, only(state))
            except EvaluationError as error:
                raise at(error, place)  # noqa: B904 - it is the same error

        return unary
    if len(arguments) == 2:
        first, second = arguments

        def binary(state: Evaluation) -> Value:
            try:
                return implementation(state, first(state), second(state))
            except EvaluationError as error:
                raise at(error, place)  # noqa: B904 - it is the same error

        return binary

    def call(state: Evaluation) -> Value:
        try:
            return implementation(state, *[argument(state) for argument in arguments])
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return call


def not_bool(value: Value, place: int, where: str) -> EvaluationError:
    """The error of a condition that is no bool."""
    message = f"no such overload: {where} needs bool, not {type_of(value)}"
    return at(EvaluationError(message), place)


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
                failure = failure or not_bool(value, place, operator)
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
        raise not_bool(value, place, "?:")

    return choice


def _make_map(entries: list[tuple[Closure, Closure, int]]) -> Closure:
    def make_map(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for key, value, place in entries:
            insert(made, key(state), value(state), place)
        return made

    return make_map


def insert(made: dict[Value, Value], key: Value, value: Value, place: int) -> None:
    """Add an entry to a map; its key must be new and of a type that a key can have."""
    if type(key) not in (str, int, Uint, bool):
        raise at(EvaluationError(f"unsupported key type: {type_of(key)}"), place)
    stored = encode_key(key)
    if stored in made:
        raise at(EvaluationError(f"repeated key in a map: {shown(key)}"), place)
    made[stored] = value


# Macros


def _turns(node: Loop, looped: Closure, cost: int) -> Turns:
    """One variable: a list's elements or a map's keys."""
    slot = node.slot

    def turns(state: Evaluation) -> Iterator[Value]:
        value = looped(state)
        if type(value) is dict:
            value = map_keys(value)
        elif type(value) is not list:
            raise no_loop(node, value)
        slots, charge = state.locals, state.charge
        for element in value:
            charge(cost)
            slots[slot] = element
            yield element

    return turns


def no_loop(node: Loop | PairLoop, value: Value) -> EvaluationError:
    """The error of a macro over a value that it has no meaning for."""
    message = f"no such overload: {type_of(value)}.{node.kind}()"
    return at(EvaluationError(message), node.place)


def selected(node: Loop | PairLoop, turns: Turns, condition: Closure) -> Turns:
    """The turns for which the condition is true."""
    assert node.condition is not None
    kind, place = node.kind, node.condition.origin.start

    def select(state: Evaluation) -> Iterator[Value]:
        for element in turns(state):
            value = condition(state)
            if value is True:
                yield element
            elif value is not False:
                raise not_bool(value, place, kind)

    return select


def quantifier(node: Loop | PairLoop, turns: Turns, condition: Closure) -> Closure:
    """``exists``, where a true decides, or ``all``, where a false does."""
    assert node.condition is not None
    kind, place = node.kind, node.condition.origin.start
    decisive = kind == "exists"

    def quantified(state: Evaluation) -> Value:
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
                failure = failure or not_bool(value, place, kind)
        if failure is not None:
            raise failure
        return not decisive

    return quantified


def exists_one(node: Loop | PairLoop, turns: Turns, condition: Closure) -> Closure:
    """Whether the condition is true for one element and no more; errors are errors."""
    assert node.condition is not None
    place = node.condition.origin.start

    def is_one(state: Evaluation) -> Value:
        found = 0
        for _ in turns(state):
            value = condition(state)
            if value is True:
                found += 1
            elif value is not False:
                raise not_bool(value, place, "exists_one")
        return found == 1

    return is_one
