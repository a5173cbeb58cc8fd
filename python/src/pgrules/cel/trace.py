"""What the parts of an expression gave: the steps of a traced evaluation.

The steps are those sub-expressions that a reader wants to see, in source order:
operators, calls, macros and whole field paths; not constants, whose text says it
all, and not the bodies of macros, which run many times. A part that a short circuit
skipped is listed as skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import source
from .checked import Checked, Constant, Field, Loop, PairLoop, Variable
from .errors import EvaluationError
from .facts import value_to_json
from .values import Optional, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .environment import DerivedField


# What a step shows of long values.
_TEXT_LENGTH: Final = 200
_ELEMENTS: Final = 20
_DEPTH: Final = 4
# All elements at all depths of one value: lists may contain one list many times.
_MOST_ELEMENTS: Final = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One sub-expression of a traced evaluation.

    ``text`` is the sub-expression as written; ``line`` and ``column`` say where,
    counted from 1 in code points; ``depth`` counts the steps around it. A step
    has a ``value``, unless ``error`` is set or it was ``skipped``. ``derived`` is the
    expression of the derived field that the step reads; ``decided_by`` holds the
    element, or the key and the value, for which ``exists`` found true or ``all`` false.
    """

    text: str
    line: int
    column: int
    depth: int
    value: Value = None
    error: str | None = None
    skipped: bool = False
    derived: str | None = None
    decided_by: tuple[Value, ...] = ()


def straight_nodes(node: Checked) -> Iterator[Checked]:
    """The nodes that one evaluation reaches at most once, in source order."""
    yield node
    for child in node.straight_children():
        yield from straight_nodes(child)


def steps(
    text: str,
    tree: Checked,
    outcomes: Mapping[int, Any],
    slots: Sequence[Value],
    derived: Mapping[str, DerivedField],
) -> list[Step]:
    """The steps of an evaluation, from the outcomes by number of straight node.

    ``slots`` are the macros' variables as the evaluation left them.
    """
    numbers = {id(node): number for number, node in enumerate(straight_nodes(tree))}
    found: list[Step] = []
    for node, depth in _visible(tree, 0):
        start, end = node.origin.start, node.origin.end
        line, column = source.location(text, start)
        number = numbers[id(node)]
        outcome = outcomes.get(number)
        failed = isinstance(outcome, EvaluationError)
        found.append(
            Step(
                text[start:end],
                line,
                column,
                depth,
                value=None if failed else outcome,
                error=outcome.message if isinstance(outcome, EvaluationError) else None,
                skipped=number not in outcomes,
                derived=_derived(node, derived),
                decided_by=_deciding(node, outcome, slots),
            )
        )
    return found


def _deciding(
    node: Checked, outcome: Value, slots: Sequence[Value]
) -> tuple[Value, ...]:
    """The element at which a loop stopped because it decided."""
    if not isinstance(node, Loop | PairLoop):
        return ()
    if (node.kind, outcome) not in (("exists", True), ("all", False)):
        return ()
    if isinstance(node, PairLoop):
        return slots[node.slot], slots[node.second_slot]
    return (slots[node.slot],)


def _derived(node: Checked, fields: Mapping[str, DerivedField]) -> str | None:
    """The expression of the derived field that a node reads, or reads a part of."""
    while isinstance(node, Field):
        node = node.operand
    if isinstance(node, Variable) and node.name in fields:
        return fields[node.name].expression
    return None


def _visible(node: Checked, depth: int) -> Iterator[tuple[Checked, int]]:
    if isinstance(node, Constant):
        return
    yield node, depth
    if isinstance(node, Field):
        # Of a path a.b.c the whole is shown, not a and a.b.
        while isinstance(node, Field):
            node = node.operand
        if isinstance(node, Variable):
            return
        yield from _visible(node, depth + 1)
        return
    for child in node.straight_children():
        yield from _visible(child, depth + 1)


def to_json(found: list[Step]) -> str:
    """The steps as a JSON array of objects, long values shortened.

    Keys: ``expression``, ``line``, ``column``, ``depth``, one of ``value``, ``error``
    and ``skipped``; ``derived`` where a derived field is read; ``decided_by``, an
    array, where an element decided a macro.
    """
    return f"[{','.join(map(_object, found))}]"


def _object(step: Step) -> str:
    if step.skipped:
        outcome = '"skipped":true'
    elif step.error is not None:
        outcome = f'"error":{json.dumps(step.error, ensure_ascii=False)}'
    else:
        outcome = f'"value":{value_to_json(_shortened(step.value), strict=False)}'
    if step.derived is not None:
        outcome += f',"derived":{json.dumps(step.derived, ensure_ascii=False)}'
    if step.decided_by:
        elements = _shortened(list(step.decided_by))
        outcome += f',"decided_by":{value_to_json(elements, strict=False)}'
    text = json.dumps(step.text, ensure_ascii=False)
    return (
        f'{{"expression":{text},"line":{step.line},"column":{step.column},'
        f'"depth":{step.depth},{outcome}}}'
    )


def _shortened(value: Value) -> Value:
    """The value, with long texts cut and long or deep collections as their size."""
    return _short(value, 0, [_MOST_ELEMENTS])


def _short(value: Value, depth: int, left: list[int]) -> Value:
    kind = type(value)
    if kind is str and len(value) > _TEXT_LENGTH:
        return value[: _TEXT_LENGTH - 3] + "..."
    if kind is bytes and len(value) > _TEXT_LENGTH:
        return f"bytes of {len(value):,}"
    if kind is Optional:
        return _short(value.value, depth, left)
    if kind is list or kind is dict:
        if value and (len(value) > _ELEMENTS or depth >= _DEPTH or left[0] <= 0):
            return f"{'list' if kind is list else 'map'} of {len(value):,}"
        left[0] -= len(value)
    if kind is list:
        return [_short(element, depth + 1, left) for element in value]
    if kind is dict:
        return {
            _short(key, depth, left): _short(element, depth + 1, left)
            for key, element in value.items()
        }
    return value
