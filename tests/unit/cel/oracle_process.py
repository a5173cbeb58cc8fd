"""Google's CEL runtime, cel-cpp through ``cel-expr-python``, behind a pipe.

Run as a process of its own by ``oracle``: the binding can crash or hang on some input,
and would take the tests with it. Reads requests and writes answers, a JSON text a line.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import (
    ext_bindings,
    ext_encoders,
    ext_math,
    ext_optional,
    ext_strings,
)

_MEMORY = 4 << 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def environment(names: list[str]) -> Any:
    """An environment in which facts of these names may hold anything."""
    return cel.NewEnv(
        variables=dict.fromkeys(names, cel.Type.DYN),
        extensions=[
            ext_bindings.ExtBindings(),
            ext_encoders.ExtEncoders(),
            ext_math.ExtMath(),
            ext_optional.ExtOptional(),
            ext_strings.ExtStrings(),
        ],
    )


def encoded(value: Any) -> list[Any]:
    """A value with its type at every level, as ``oracle.encoded`` writes ours."""
    kind = value.type().name().partition("<")[0]
    if kind == "LIST":
        return ["list", [encoded(part) for part in value.value()]]
    if kind == "MAP":
        return ["map", [[_key(k), encoded(v)] for k, v in value.value().items()]]
    plain = value.plain_value()
    if kind == "DOUBLE":
        return ["double", repr(plain)]
    if kind == "BYTES":
        return ["bytes", bytes(plain).hex()]
    if kind == "TIMESTAMP":
        return ["timestamp", (plain - _EPOCH) // _MICROSECOND]
    if kind == "DURATION":
        return ["duration", plain // _MICROSECOND]
    if kind == "TYPE":
        return ["type", _TYPES.get(name := str(plain).partition("<")[0], name)]
    if kind in ("BOOL", "INT", "NULL", "STRING", "UINT"):
        return [kind.lower(), plain]
    raise TypeError(kind)


_TYPES = {
    "BOOL": "bool",
    "BYTES": "bytes",
    "DOUBLE": "double",
    "DURATION": "google.protobuf.Duration",
    "INT": "int",
    "LIST": "list",
    "MAP": "map",
    "NULL": "null_type",
    "STRING": "string",
    "TIMESTAMP": "google.protobuf.Timestamp",
    "TYPE": "type",
    "UINT": "uint",
}


def _key(key: Any) -> list[Any]:
    # The binding gives plain Python keys, in which int and uint are one.
    names = {bool: "bool", str: "string"}
    return [names.get(type(key), "number"), key]


def answer(env: Any, text: str, facts: dict[str, Any], *, checked: bool) -> list[Any]:
    """What became of an expression: refused, error, value, or unreadable."""
    try:
        expression = env.compile(text, disable_check=not checked)
    except Exception as refused:  # noqa: BLE001 - the binding raises many types
        return ["refused", str(refused)]
    try:
        value = expression.eval(data=facts)
        kind = value.type().name()
        if kind == "ERROR":
            return ["error", str(value.value())]
        if kind.startswith("optional_type"):
            # The binding cannot read an optional; a list of its value it can.
            _, (_, parts) = answer(env, f"[?({text})]", facts, checked=False)
            return ["value", ["optional", parts]]
        return ["value", encoded(value)]
    except Exception as failed:  # noqa: BLE001
        return ["unreadable", f"{type(failed).__name__}: {failed}"]


def main() -> None:
    """Answer until there are no more requests."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    env = environment(sys.argv[1:])
    for line in sys.stdin:
        text, facts, checked = json.loads(line)
        found = answer(env, text, facts, checked=checked)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
