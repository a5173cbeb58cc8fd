"""Evaluate an expression in every way there is, and hold the ways to one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgrules.cel import (
    CelError,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    Limits,
    compile_expression,
)
from pgrules.cel.signatures import parse_signature
from tests.conformance.suite import same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pgrules.cel.types import Type


def named_type(name: str) -> Type:
    """The type of this name, as signatures have it."""
    _, overload = parse_signature(f"() -> {name}")
    return overload.result


@dataclass(frozen=True, slots=True)
class Answer:
    """A value, or the error in its place."""

    value: Any = None
    error: EvaluationError | None = None

    def agrees(self, other: Answer) -> bool:
        if self.error is not None or other.error is not None:
            return type(self.error) is type(other.error)
        return same(self.value, other.value)


def _answer(call: Callable[..., Any], facts: Mapping[str, Any]) -> Answer:
    try:
        return Answer(call(facts))
    except EvaluationError as error:
        return Answer(error=error)


def answer(
    text: str,
    facts: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    *,
    unchecked: bool = False,
) -> Answer:
    """What the expression gives over these facts, by closures and generated code.

    Taken ``unchecked`` it may cost what it likes until it is evaluated.
    Raises :class:`InvalidExpression` where it does not compile.
    """
    facts = {} if facts is None else facts
    environment = Environment() if limits is None else Environment(limits=limits)
    program = compile_expression(text, environment, unchecked=unchecked)
    defined = _answer(program.interpret, facts)
    value, error, _ = program.trace(facts)
    traced = Answer(value, error)
    assert defined.agrees(traced), f"{text}: {defined} but traced {traced}"
    program.generate()
    generated = _answer(program.evaluate, facts)
    assert defined.agrees(generated), f"{text}: {defined} but generated {generated}"
    return defined


def evaluate(text: str, **facts: Any) -> Any:
    """The value of an expression over facts given by name; raises its error."""
    found = answer(text, facts)
    if found.error is not None:
        raise found.error
    return found.value


def fails(text: str, **facts: Any) -> str:
    """The message of the error, at compile time or later, of an expression."""
    try:
        value = evaluate(text, **facts)
    except CostLimitExceeded as error:
        raise AssertionError(f"{text}: {error}") from error
    except CelError as error:
        return str(error)
    raise AssertionError(f"{text} gave {value!r}")
