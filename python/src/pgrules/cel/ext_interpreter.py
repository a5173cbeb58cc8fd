"""Closures of the nodes that extensions bring: optionals, two variables, bound values.

A part of ``interpreter`` that is loaded when an expression has such a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checked import (
    Bind,
    Bound,
    Checked,
    Loop,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
)
from .errors import CostLimitExceeded, EvaluationError
from .interpreter import (
    Closure,
    Interpreter,
    Turns,
    at,
    body_cost,
    dotted,
    exists_one,
    field_of_optional,
    insert,
    no_fields,
    no_loop,
    quantifier,
    selected,
)
from .values import ABSENT, Optional, Value, decode_key, encode_key, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .evaluation import Evaluation


def build(interpreter: Interpreter, node: Checked) -> Closure:
    """The closure of one of the nodes above."""
    match node:
        case OptionalField():
            return _optional_field(node, interpreter.build(node.operand))
        case MakeOptionalList():
            elements = [
                (interpreter.build(element), element.origin.start)
                for element in node.elements
            ]
            return _make_optional_list(elements, node.optionals)
        case MakeOptionalMap():
            entries = [
                (
                    interpreter.build(key),
                    interpreter.build(value),
                    key.origin.start,
                    value.origin.start,
                )
                for key, value in node.entries
            ]
            return _make_optional_map(entries, node.optionals)
        case Loop():
            return _loop(interpreter, node)
        case PairLoop():
            return _pair_loop(interpreter, node)
        case Bind():
            return _bind(interpreter, node)
        case Bound(slot=slot):
            return _bound(slot, interpreter.bound[slot])
    raise AssertionError(f"no such node: {node!r}")


# Optionals


def _optional_field(node: OptionalField, operand: Closure) -> Closure:
    name, place = node.name, node.origin.start
    path = dotted(node.operand)
    path = f"{path}.?{name}" if path else name
    convert = None if node.conversion is None else _conversion(node, node.conversion)

    def optional_field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            if name not in value:
                return ABSENT
            found = value[name]
            return Optional(found if convert is None else convert(state, found))
        if type(value) is Optional:
            return field_of_optional(name, path, value, place)
        raise no_fields(path, value, place)

    return optional_field


def _conversion(
    node: OptionalField, declared: str
) -> Callable[[Evaluation, Value], Value]:
    """What reads a fact that a schema declares."""
    from .reading import read_field

    place = node.origin.start
    path = f"{dotted(node.operand)}.{node.name}"

    def convert(state: Evaluation, value: Value) -> Value:
        try:
            return read_field(state, value, declared, path)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return convert


def _not_optional(value: Value, place: int) -> EvaluationError:
    message = f"no such overload: ?{type_of(value)}"
    hint = "what stands behind a '?' must be optional, such as a.?b"
    return at(EvaluationError(message, hint=hint), place)


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


def _make_optional_map(
    entries: list[tuple[Closure, Closure, int, int]], optionals: frozenset[int]
) -> Closure:
    def make_map(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for number, (key, value, place, value_place) in enumerate(entries):
            name, part = key(state), value(state)
            if number in optionals:
                if type(part) is not Optional:
                    raise _not_optional(part, value_place)
                if not part.present:
                    continue
                part = part.value
            insert(made, name, part, place)
        return made

    return make_map


def _map_optional(node: Loop, looped: Closure, transform: Closure) -> Closure:
    """``optMap`` wraps what the transform gives; ``optFlatMap`` takes an optional."""
    assert node.transform is not None
    slot, place, cost = node.slot, node.transform.origin.start, body_cost(node)
    flat = node.kind == "optFlatMap"

    def map_optional(state: Evaluation) -> Value:
        optional = looped(state)
        if type(optional) is not Optional:
            raise no_loop(node, optional)
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
        raise at(EvaluationError(message), place)

    return map_optional


# Loops


def _loop(interpreter: Interpreter, node: Loop) -> Closure:
    looped = interpreter.build(node.range)
    assert node.transform is not None
    transform = interpreter.build(node.transform)
    if node.kind == "sortBy":
        return _sort_by(node, looped, transform)
    return _map_optional(node, looped, transform)


def _sort_by(node: Loop, looped: Closure, transform: Closure) -> Closure:
    from .ext_lists import sorted_by

    slot, place, cost = node.slot, node.place, body_cost(node)

    def sort_by(state: Evaluation) -> Value:
        elements = looped(state)
        if type(elements) is not list:
            raise no_loop(node, elements)
        slots, charge = state.locals, state.charge
        keys = []
        for element in elements:
            charge(cost)
            slots[slot] = element
            keys.append(transform(state))
        try:
            return sorted_by(state, elements, keys)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return sort_by


def _pair_loop(interpreter: Interpreter, node: PairLoop) -> Closure:
    turns = _pair_turns(node, interpreter.build(node.range))
    if node.condition is not None:
        condition = interpreter.build(node.condition)
        if node.kind in ("all", "exists"):
            return quantifier(node, turns, condition)
        if node.kind == "exists_one":
            return exists_one(node, turns, condition)
        turns = selected(node, turns, condition)
    assert node.transform is not None
    transform = interpreter.build(node.transform)
    if node.kind == "transformMap":
        return _transform_map(node, turns, transform)
    if node.kind == "transformMapEntry":
        return _transform_map_entry(node, turns, transform)
    return lambda state: [transform(state) for _ in turns(state)]


def _pair_turns(node: PairLoop, looped: Closure) -> Turns:
    """Two variables: a list's indexes and elements, or a map's keys and values."""
    slot, second, cost = node.slot, node.second_slot, body_cost(node)

    def turns(state: Evaluation) -> Iterator[Value]:
        value = looped(state)
        pairs: Iterable[tuple[Value, Value]]
        if type(value) is list:
            pairs = enumerate(value)
        elif type(value) is dict:
            pairs = ((decode_key(key), part) for key, part in value.items())
        else:
            raise no_loop(node, value)
        slots, charge = state.locals, state.charge
        for key, element in pairs:
            charge(cost)
            slots[slot] = key
            slots[second] = element
            yield element

    return turns


def _transform_map(node: PairLoop, turns: Turns, transform: Closure) -> Closure:
    slot = node.slot

    def transform_map(state: Evaluation) -> Value:
        slots = state.locals
        return {encode_key(slots[slot]): transform(state) for _ in turns(state)}

    return transform_map


def _transform_map_entry(node: PairLoop, turns: Turns, transform: Closure) -> Closure:
    assert node.transform is not None
    place = node.transform.origin.start

    def transform_map_entry(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for _ in turns(state):
            entries = transform(state)
            if type(entries) is not dict:
                message = f"transformMapEntry needs a map, not {type_of(entries)}"
                raise at(EvaluationError(f"no such overload: {message}"), place)
            state.charge(len(entries))
            for key, value in entries.items():
                insert(made, decode_key(key), value, place)
        return made

    return transform_map_entry


# Bound values


_UNSET = object()


class _Failed:
    """What the slot of a bound value holds that ended in an error."""

    __slots__ = ("error",)

    def __init__(self, error: EvaluationError) -> None:
        self.error = error


def _bind(interpreter: Interpreter, node: Bind) -> Closure:
    for slot, value in node.bindings:
        interpreter.bound[slot] = interpreter.build(value)
    slots = [slot for slot, _ in node.bindings]
    body = interpreter.build(node.body)

    def bind(state: Evaluation) -> Value:
        values = state.locals
        for slot in slots:
            values[slot] = _UNSET
        return body(state)

    return bind


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
