"""Anything at the language's door: expressions, facts and environments that are wrong.

``python -m tests.unit.cel.fuzz 100000 [SEED]`` tries so many and prints what breaks the
promise: an answer in the documented form, no exception, no internal error, in time.
Expressions are those of the conformance suite, where it is there, and generated ones,
with characters and words changed.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from pgrules.cel import CelError, InvalidExpression, backend, compile_expression
from tests.unit.cel import generation, oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUITE = Path(__file__).resolve().parents[4] / "shared" / "cel-conformance"

# No single call takes so long; what hangs takes longer.
SECONDS = 5.0

_WORDS = (
    *("&&", "||", "==", "<=", "in", "?", ":", "!", "-", "+", "%", "(", ")", "[", "]"),
    *(
        "{",
        "}",
        ",",
        ".",
        ".?",
        "[?",
        "'",
        '"',
        "b'",
        "r'",
        "'''",
        "\\",
        "//",
        "\n",
        "@",
    ),
    *(
        "true",
        "null",
        "int",
        "1u",
        "1.5e308",
        "9223372036854775808",
        "0x",
        "\0",
        "\ud800",
    ),
    *(".map(x,", ".all(x,y,", "has(", "cel.bind(", "cel.block([", ".format([", "size("),
    *("matches('(')", "timestamp('", "optional.of(", "\u00e9", "\U0001f600", "`a-b`"),
    *(
        "lists.range(99999999)",
        "'\\u0000'",
        ".flatten()",
        ".replace('',",
        "D",
        "User.",
        "m.a",
        "xs",
    ),
)
_JSON: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        2**63 - 1,
        1.5,
        1e308,
        "",
        "a",
        "int",
        "string",
        "x" * 99,
    ),
    *(
        "timestamp",
        "2020-01-01T00:00:00Z",
        "1 +",
        "D",
        "E + 1",
        "User.Age >= 18",
        [],
        {},
    ),
)
_NAMES = (
    *(
        "schema",
        "derived",
        "User",
        "Age",
        "a",
        "m",
        "xs",
        "D",
        "E",
        "in",
        "",
        "a b",
        "int",
    ),
    *("\u00e9", "x" * 101, "__class__", "size", "m.a", "@index0"),
)
_NUMBERS = ("1" * 5_000, "-0", "1e400", "-1e-400", "1.0e+5", "9223372036854775808")


@cache
def corpus() -> list[str]:
    """The expressions that are changed."""
    random = Random(1)  # noqa: S311 - wanted to be repeatable
    found = [oracle.program(random) for _ in range(500)]
    for path in sorted(_SUITE.glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [json.loads(line)["expr"] for line in lines]
    return found


def expression(random: Random) -> str:
    """An expression with some changes: mostly wrong, and nearly right."""
    text = random.choice(corpus())
    for _ in range(random.choice((0, 1, 1, 2, 3, 8))):
        start = random.randint(0, len(text))
        end = min(len(text), start + random.choice((0, 0, 1, 2, 10)))
        kind = random.random()
        if kind < 0.4:
            change = random.choice(_WORDS)
        elif kind < 0.6:
            other = random.choice(corpus())
            first = random.randint(0, len(other))
            change = other[first : first + random.randint(1, 20)]
        elif kind < 0.7:
            change = chr(random.choice((*range(128), 0xE9, 0xD800, 0x10FFFF)))
        elif kind < 0.8:
            change = text[start:end] * random.choice((2, 3, 120))
        else:
            change = ""
        text = text[:start] + change + text[end:]
    return text


def document(random: Random, depth: int = 3) -> Any:
    """JSON with names and values that mean something somewhere."""
    kind = random.random()
    if depth == 0 or kind < 0.3:
        return random.choice(_JSON)
    if kind < 0.5:
        return [document(random, depth - 1) for _ in range(random.randint(0, 3))]
    return {
        random.choice(_NAMES): document(random, depth - 1)
        for _ in range(random.randint(0, 4))
    }


def _json_text(random: Random, meant: Any) -> str:
    """JSON text: what is meant, anything, or what is hardly JSON."""
    kind = random.random()
    if kind < 0.6:
        return json.dumps(meant)
    if kind < 0.85:
        return json.dumps(document(random))
    if kind < 0.9:
        return random.choice(("[", '{"a":')) * random.choice((1, 90, 6_000))
    if kind < 0.95:
        depth = random.choice((1, 90, 6_000))
        return '{"a":' * depth + "1" + "}" * depth
    return f'{{"a": {random.choice(_NUMBERS)}, "xs": [{random.choice(_NUMBERS)}]}}'


_ENVIRONMENTS: tuple[Any, ...] = (
    {},
    json.loads(generation.DOCUMENT),
    {"schema": {"m": {"a": "timestamp"}}, "derived": {"D": "m.a", "E": "D"}},
    {"derived": {"D": "xs.map(x, [x, x])", "E": "D + D"}},
)


def broken(random: Random) -> Iterator[str]:
    """What one random expression, environment and facts break; mostly nothing."""
    text = expression(random)
    environment = "{}"
    if random.random() < 0.5:
        environment = _json_text(random, random.choice(_ENVIRONMENTS))
    facts = _json_text(random, generation.facts(random))
    yield from broken_by(text, environment, facts)


def broken_by(text: str, environment: str, facts: str) -> Iterator[str]:
    """What these break."""
    # SQL has no text with these; then there must be none in an answer.
    possible = not _impossible((text, environment, facts))

    def called(name: str, *arguments: Any) -> Any:
        function: Callable[..., Any] = getattr(backend, name)
        return name, arguments, function

    for name, arguments, function in (
        called("evaluate", text, environment, facts, False),
        called("evaluate", text, environment, facts, True),
        called("evaluate_set", *_set(text), environment, facts, False),
        called("evaluate_set", *_set(text), environment, facts, True),
        called("evaluate_expression", text, environment, facts),
        called("evaluation_cost", text, environment, facts),
        called("check", text, environment),
        called("check_schema", environment),
        called("derived_dependencies", text),
        called("check_environment", environment, ["D"], [text, "true"]),
    ):
        start = perf_counter()
        try:
            answer = function(*arguments)
            wrong = _FORMS[name](answer)
            if not wrong and possible and _impossible(answer):
                wrong = f"no text of SQL: {answer!r}"
        except BaseException as escaped:  # noqa: BLE001 - it is what is looked for
            wrong = f"{type(escaped).__name__}: {escaped}"
        took = perf_counter() - start
        if took > SECONDS:
            wrong = f"it took {took:.1f} s"
        if wrong:
            yield f"{name}{arguments!r}\n  {wrong}"
    try:
        compile_expression(text)
    except CelError as error:
        if not isinstance(error, InvalidExpression):
            yield f"compile_expression({text!r})\n  {type(error).__name__}"
    except BaseException as escaped:  # noqa: BLE001
        yield f"compile_expression({text!r})\n  {type(escaped).__name__}: {escaped}"


# The documented forms of answers: what is wrong with one, or nothing.


def _failure(text: str | None) -> str:
    if text is None:
        return ""
    failure = json.loads(text)
    if failure.keys() != {"sqlstate", "message", "detail", "hint"}:
        return f"a failure has {list(failure)}"
    if failure["message"].startswith("internal error"):
        return f"an internal error: {failure['message']}\n{failure['detail']}"
    if not failure["message"] or len(failure["sqlstate"]) != 5:
        return f"a failure without message or code: {text}"
    return ""


def _impossible(value: Any) -> bool:
    """Whether NUL or half of a surrogate pair is in a text, or in the JSON it is."""
    if isinstance(value, list | tuple | dict):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return any(map(_impossible, parts))
    if not isinstance(value, str):
        return False
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        return True
    if value[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            return _impossible(json.loads(value))
    return False


def _text(text: str | None) -> str:
    """JSON text, which may be missing."""
    if text is not None:
        json.loads(text)
    return ""


def _evaluated(answer: Any) -> str:
    matched, error, trace, failure = answer
    if failure is not None:
        return _failure(failure) or (
            "" if matched is error is trace is None else "form"
        )
    if type(matched) is not bool or (error is not None and (matched or not error)):
        return f"matched {matched!r}, error {error!r}"
    return _text(trace)


def _set(text: str) -> tuple[object, ...]:
    """A rule set, under no key, of which two rules are the same."""
    return None, ["1", "2", "3"], ["a", "b", "c"], [text, "true", text]


def _evaluated_set(answer: Any) -> str:
    known, ids, names, matched, errors, failure = answer
    if failure is not None:
        rest = (known, ids, names, matched, errors)
        return _failure(failure) or ("" if rest == (None,) * 5 else "form")
    if matched is errors is None:
        right = (["2"], ["b"]), (["1", "2", "3"], ["a", "b", "c"])
        return "" if known and (ids, names) in right else f"{answer!r}"
    if len(matched) != 3 or len(errors) != 3 or matched[1] is not True:
        return f"matched {matched!r}, errors {errors!r}"
    return "" if matched[0] is matched[2] and errors[0] == errors[2] else "not the same"


def _either(answer: Any) -> str:
    value, failure = answer
    if (value is None) is (failure is None):
        return f"value {value!r}, failure {failure!r}"
    return _failure(failure) or _text(value)


def _cost(answer: Any) -> str:
    cost, failure = answer
    if failure is not None:
        return _failure(failure)
    return "" if type(cost) is int and cost >= 0 else f"cost {cost!r}"


def _checked(answer: Any) -> str:
    problems, estimate, failure = answer
    if failure is None:
        return "" if problems == "[]" and type(estimate) is int else f"{answer!r}"
    return _failure(failure) or _text(problems)


_FORMS: dict[str, Callable[[Any], str]] = {
    "evaluate": _evaluated,
    "evaluate_set": _evaluated_set,
    "evaluate_expression": _either,
    "evaluation_cost": _cost,
    "check": _checked,
    "check_schema": _failure,
    "derived_dependencies": _either,
    "check_environment": _either,
}


def main() -> int:
    """Try as many as the command line says."""
    count = int(sys.argv[1])
    random = Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)  # noqa: S311
    failed = 0
    for _ in range(count):
        for wrong in broken(random):
            failed += 1
            sys.stdout.write(f"{wrong!a}\n")
    sys.stdout.write(f"{count} tried, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
