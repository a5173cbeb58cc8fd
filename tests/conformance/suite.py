"""Cases of the CEL conformance suite as JSON lines: read, evaluate, compare.

A case is one line of a ``*.jsonl`` file: an expression, what is declared and bound, and
the value, error or type that cel-spec demands. Values are compared by their CEL type,
which Python's own ``==`` does not do: 1, 1u, 1.0 and true are four values.
"""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from pgrules.cel import (
    CelError,
    Environment,
    EvaluationError,
    InvalidExpression,
    Program,
    compile_expression,
)
from pgrules.cel import types as t
from pgrules.cel.facts import value_to_json
from pgrules.cel.library import Function
from pgrules.cel.standard import STANDARD
from pgrules.cel.temporal import NANOS_PER_SECOND, Duration, Timestamp
from pgrules.cel.types import Type, wrapper_of
from pgrules.cel.values import Uint, decode_key, encode_key, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a suite; ``fields`` is the line decoded."""

    file: str
    section: str
    name: str
    expression: str
    fields: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.file}/{self.section}/{self.name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a case passed, and what was expected and got, as text."""

    passed: bool
    expected: str
    got: str


def read_cases(folder: Path) -> Iterator[Case]:
    """All cases of the ``*.jsonl`` files of a folder, in the order of file and line."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                fields = json.loads(line)
                yield Case(
                    path.stem,
                    fields.get("section", ""),
                    fields.get("name", ""),
                    fields["expr"],
                    fields,
                )


# --- values --------------------------------------------------------------------------


def decode(tagged: dict[str, Any]) -> Any:
    """The CEL value of a tagged value, ``{"int64": "1"}``."""
    ((tag, content),) = tagged.items()
    match tag:
        case "null":
            return None
        case "bool" | "string":
            return content
        case "int64":
            return int(content)
        case "uint64":
            return Uint(content)
        case "double":
            # The words that JSON has no number for are those that float() reads.
            return float(content)
        case "bytes":
            return b64decode(content)
        case "list":
            return [decode(element) for element in content]
        case "map":
            return {encode_key(decode(key)): decode(value) for key, value in content}
        case "type":
            return Type(content)
        case "timestamp":
            return Timestamp(_nanos(content))
        case "duration":
            return Duration(_nanos(content))
    raise ValueError(f"unknown tag {tag!r}")


def _nanos(content: dict[str, Any]) -> int:
    return int(content["seconds"]) * NANOS_PER_SECOND + int(content["nanos"])


def same(expected: Any, got: Any) -> bool:
    """Equality by CEL type and value; NaN is itself, the order of maps is nothing."""
    if type(expected) is not type(got):
        return False
    if isinstance(expected, float):
        return bool(expected == got) or (isnan(expected) and isnan(got))
    if isinstance(expected, list):
        return len(expected) == len(got) and all(map(same, expected, got))
    if isinstance(expected, dict):
        return len(expected) == len(got) and all(
            any(
                same(decode_key(key), decode_key(other)) and same(value, got[other])
                for other in got
            )
            for key, value in expected.items()
        )
    return bool(expected == got)


def show(value: Any) -> str:
    """A value with its type, as a report prints it."""
    return f"{type_of(value)} {value_to_json(value, strict=False)}"


# --- declarations --------------------------------------------------------------------

_TYPES = {
    "int": t.INT,
    "uint": t.UINT,
    "double": t.DOUBLE,
    "bool": t.BOOL,
    "string": t.STRING,
    "bytes": t.BYTES,
    "null": t.NULL,
    "dyn": t.DYN,
    "timestamp": t.TIMESTAMP,
    "duration": t.DURATION,
}


def decode_type(tagged: str | dict[str, Any]) -> Type:
    """The CEL type of a tagged type, ``"int"`` or ``{"list": "int"}``."""
    if isinstance(tagged, str):
        return _TYPES[tagged]
    ((tag, content),) = tagged.items()
    match tag:
        case "list":
            return Type(t.LIST.name, (decode_type(content),))
        case "map":
            key, value = content
            return Type(t.MAP.name, (decode_type(key), decode_type(value)))
        case "type":
            return Type(t.TYPE.name, (decode_type(content),))
        case "abstract":
            return Type(content["name"], tuple(map(decode_type, content["params"])))
        case "wrapper":
            return wrapper_of(decode_type(content))
        case "type_param":
            return Type(content)
    raise ValueError(f"unknown type {tag!r}")


def _declared_function(name: str, overloads: list[dict[str, Any]]) -> Function:
    """A function that can be called in an expression but not evaluated."""

    def implementation(*_: object) -> Any:
        raise EvaluationError(f"{name} is declared and has no implementation")

    signatures = []
    for overload in overloads:
        parameters = [str(decode_type(each)) for each in overload["params"]]
        target = f"{parameters.pop(0)}." if overload["is_instance"] else ""
        result = decode_type(overload["result"])
        signatures.append(f"{target}({', '.join(parameters)}) -> {result}")
    return Function(name, tuple(signatures), implementation)


def environment_of(case: Case) -> Environment:
    """What the case declares, and nothing else."""
    variables: dict[str, Type] = {}
    functions = dict(STANDARD)
    for declaration in case.fields["type_env"]:
        name = declaration["name"]
        if "overloads" in declaration:
            functions[name] = _declared_function(name, declaration["overloads"])
        else:
            variables[name] = decode_type(declaration["type"])
    return Environment(
        variables=variables, container=case.fields["container"], functions=functions
    )


# --- verdict -------------------------------------------------------------------------


def compiled(case: Case) -> Program:
    """The program of the case's expression; raises :class:`InvalidExpression`."""
    return compile_expression(
        case.expression,
        environment_of(case),
        unchecked=case.fields["disable_check"],
        expand_macros=not case.fields["disable_macros"],
    )


def evaluate(case: Case, program: Program) -> Any:
    """The value of the case's expression; raises :class:`CelError`."""
    bindings = case.fields["bindings"]
    return program.evaluate({name: decode(value) for name, value in bindings.items()})


def judge(case: Case) -> Outcome:
    """Evaluate a case and compare. An error that is no CEL error is a failure."""
    expected = case.fields["expected"]
    typed = expected.get("typed_result")
    wants_error = "eval_error" in expected
    if wants_error:
        wanted = "an error"
    elif typed is None:
        wanted = show(decode(expected["value"]))
    else:
        wanted = f"type {decode_type(typed['deduced_type'])}"
        expected = {"value": typed["result"]}
    try:
        program = compiled(case)
        if typed is not None:
            deduced = program.tree.type
            if deduced != decode_type(typed["deduced_type"]):
                return Outcome(False, wanted, f"type {deduced}")
            if typed["result"] is None or case.fields["check_only"]:
                return Outcome(True, wanted, f"type {deduced}")
        got = evaluate(case, program)
    except InvalidExpression as problem:
        return Outcome(wants_error, wanted, f"does not compile: {problem}")
    except CelError as problem:
        return Outcome(wants_error, wanted, f"error: {problem}")
    except Exception as problem:  # noqa: BLE001 - a crash is what a suite looks for
        return Outcome(False, wanted, f"{type(problem).__name__}: {problem}")
    passed = not wants_error and same(decode(expected["value"]), got)
    return Outcome(passed, wanted, show(got))
