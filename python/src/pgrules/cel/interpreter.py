"""Checked tree to closures: the evaluator that defines what an expression means.

Each node becomes a function of the evaluation's state. Errors are exceptions; the
logical operators and the macros ``all`` and ``exists`` absorb them where another
operand decides (cel-spec, "Logical Operators" and "Macros"). The cost limit and the
server's wish to stop are never absorbed.
"""

from __future__ import annotations

from collections.abc import Callable

from .checked import (
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
    Variable,
    count,
)
from .errors import CostLimitExceeded, EvaluationError
from .evaluation import Evaluation
from .operators import shown
from .values import Uint, Value, encode_key, map_keys, type_of

Closure = Callable[[Evaluation], Value]


def straight_cost(node: Checked) -> int:
    """The cost of a tree without the bodies of its loops: one for each node."""
    if isinstance(node, Loop):
        return 1 + straight_cost(node.range)
    return 1 + sum(map(straight_cost, node.children()))


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
    """Builds closures; ``traced`` numbers the nodes whose outcome is recorded."""

    def __init__(self, traced: dict[int, int]) -> None:
        self.traced = traced

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
                entries = [
                    (self.build(k), self.build(v), k.origin.start)
                    for k, v in node.entries
                ]
                return _make_map(entries)
            case Loop():
                return self.loop(node)
            case Failure(problem=problem):
                return _failure(problem.message, node.origin.start)
        raise AssertionError(f"no such node: {node!r}")

    def loop(self, node: Loop) -> Closure:
        parts = [p for p in (node.condition, node.transform) if p is not None]
        cost = 1 + sum(map(count, parts))
        looped = self.build(node.range)
        condition = None if node.condition is None else self.build(node.condition)
        transform = None if node.transform is None else self.build(node.transform)
        if condition is not None and node.kind in ("all", "exists"):
            return _quantifier(node.kind == "exists", node, looped, condition, cost)
        if condition is not None and node.kind == "exists_one":
            return _exists_one(node, looped, condition, cost)
        return _collect(node, looped, condition, transform, cost)


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


def _dotted(node: Checked) -> str | None:
    """The path of a field as the rule's author wrote it, for messages."""
    if isinstance(node, Variable | Local):
        return node.name
    if isinstance(node, Field):
        operand = _dotted(node.operand)
        return None if operand is None else f"{operand}.{node.name}"
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
        message = f"no such key: {path}: {type_of(value)} has no fields"
        return _at(EvaluationError(message), place)

    def field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict and name in value:
            return value[name]
        raise fail(value)

    def test(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            return name in value
        raise fail(value)

    return test if node.test else field


def _invoke(node: Invoke, arguments: list[Closure]) -> Closure:
    implementation, place = node.function.implementation, node.place
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


def _make_map(entries: list[tuple[Closure, Closure, int]]) -> Closure:
    def make_map(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for key, value, place in entries:
            name = key(state)
            if type(name) not in (str, int, Uint, bool):
                message = f"unsupported key type: {type_of(name)}"
                raise _at(EvaluationError(message), place)
            stored = encode_key(name)
            if stored in made:
                message = f"repeated key in a map: {shown(name)}"
                raise _at(EvaluationError(message), place)
            made[stored] = value(state)
        return made

    return make_map


def _elements(value: Value, node: Loop) -> list[Value]:
    """What a macro loops over: a list's elements or a map's keys."""
    if type(value) is list:
        return value
    if type(value) is dict:
        return map_keys(value)
    message = f"no such overload: {type_of(value)}.{node.kind}()"
    raise _at(EvaluationError(message), node.place)


def _quantifier(
    decisive: bool, node: Loop, looped: Closure, condition: Closure, cost: int
) -> Closure:
    """``exists`` where a true decides, ``all`` where a false does."""
    assert node.condition is not None
    slot, kind, place = node.slot, node.kind, node.condition.origin.start

    def quantifier(state: Evaluation) -> Value:
        failure: EvaluationError | None = None
        slots, charge = state.locals, state.charge
        for element in _elements(looped(state), node):
            charge(cost)
            slots[slot] = element
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


def _exists_one(node: Loop, looped: Closure, condition: Closure, cost: int) -> Closure:
    assert node.condition is not None
    slot, place = node.slot, node.condition.origin.start

    def exists_one(state: Evaluation) -> Value:
        found = 0
        slots, charge = state.locals, state.charge
        for element in _elements(looped(state), node):
            charge(cost)
            slots[slot] = element
            value = condition(state)
            if value is True:
                found += 1
            elif value is not False:
                raise _not_bool(value, place, "exists_one")
        return found == 1

    return exists_one


def _collect(
    node: Loop,
    looped: Closure,
    condition: Closure | None,
    transform: Closure | None,
    cost: int,
) -> Closure:
    """``filter`` without a transform, ``map`` with one."""
    slot, kind = node.slot, node.kind
    place = node.origin.start if node.condition is None else node.condition.origin.start

    def collect(state: Evaluation) -> Value:
        collected: list[Value] = []
        slots, charge = state.locals, state.charge
        for element in _elements(looped(state), node):
            charge(cost)
            slots[slot] = element
            if condition is not None:
                value = condition(state)
                if value is False:
                    continue
                if value is not True:
                    raise _not_bool(value, place, kind)
            collected.append(element if transform is None else transform(state))
        return collected

    return collect
