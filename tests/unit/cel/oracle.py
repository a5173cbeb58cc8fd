"""Google's runtime as an outside oracle: our results held against cel-cpp's.

``python -m tests.unit.cel.oracle 20000 [SEED]`` holds so many programs against it,
prints every difference that ``oracle_differences`` does not list, and how many of each
that it lists.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from pgrules.cel import (
    CostLimitExceeded,
    Environment,
    EvaluationError,
    ExpressionTooLarge,
    InvalidExpression,
    compile_expression,
)
from pgrules.cel.parser import parse
from pgrules.cel.temporal import Duration, Timestamp
from pgrules.cel.types import DYN, Type
from pgrules.cel.values import Optional, Uint, decode_key
from tests.unit.cel import generation
from tests.unit.cel.oracle_differences import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgrules.cel.syntax import Node

_PROCESS = Path(__file__).with_name("oracle_process.py")
_SECONDS = 5.0

# Declared, as the oracle has no other names; then `int` is a type, not a fact.
_ENVIRONMENT = Environment(variables=dict.fromkeys(generation.NAMES, DYN))


class Outcome(NamedTuple):
    """What became of an expression.

    ``kind`` is ``value``, ``error``, ``refused`` when it is compiled, or ``lost``: the
    oracle crashed, hung or gave what its binding cannot read. ``content`` is the
    message, or the value with the types of all its parts.
    """

    kind: str
    content: Any = None


class Oracle:
    """The other runtime, in a process that is started again when it crashed."""

    def __init__(self, names: tuple[str, ...] = generation.NAMES) -> None:
        self.names = names
        self.losses = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ask(self, text: str, facts: generation.Facts, *, checked: bool) -> Outcome:
        """The outcome there; ``lost`` where it crashes or takes too long."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps([text, facts, checked]) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
            line = process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            self._stop()
            self.losses += 1
            return Outcome("lost", "crashed or hung")
        kind, content = json.loads(line)
        return Outcome("lost" if kind == "unreadable" else kind, content)

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROCESS), *self.names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


# Our side


def encoded(value: Any) -> list[Any]:
    """A value with its type at every level; times in whole microseconds."""
    kind = type(value)
    if kind is list:
        return ["list", [encoded(part) for part in value]]
    if kind is dict:
        return [
            "map",
            [[_key(decode_key(k)), encoded(part)] for k, part in value.items()],
        ]
    if kind is float:
        return ["double", repr(value)]
    if kind is bytes:
        return ["bytes", value.hex()]
    if kind is Timestamp:
        return ["timestamp", value.nanos // 1000]
    if kind is Duration:
        return ["duration", value.nanos // 1000]
    if kind is Type:
        return ["type", str(value)]
    if kind is Optional:
        return ["optional", [encoded(value.value)] if value.present else []]
    if kind is Uint:
        return ["uint", int(value)]
    return [_NAMES[kind], value]


_NAMES = {bool: "bool", int: "int", str: "string", type(None): "null"}


def _key(key: Any) -> list[Any]:
    if type(key) is Uint:
        return ["number", int(key)]
    return ["number" if type(key) is int else _NAMES[type(key)], key]


def ours(text: str, facts: generation.Facts, *, checked: bool) -> Outcome:
    """The outcome here, by the closures, which generated code is held to elsewhere."""
    try:
        program = compile_expression(text, _ENVIRONMENT, unchecked=not checked)
    except ExpressionTooLarge as refused:
        # What it could cost is no question there.
        return Outcome("lost", str(refused))
    except InvalidExpression as refused:
        return Outcome("refused", str(refused))
    try:
        return Outcome("value", encoded(program.interpret(facts)))
    except CostLimitExceeded as exceeded:
        return Outcome("lost", str(exceeded))
    except EvaluationError as failed:
        return Outcome("error", str(failed))


# Against each other


@dataclass(frozen=True, slots=True)
class Difference:
    """An expression that has two outcomes, each of whose parts has one."""

    text: str
    facts: generation.Facts
    checked: bool
    ours: Outcome
    theirs: Outcome

    def __str__(self) -> str:
        return (
            f"{self.text}\n  facts {self.facts}\n  ours {self.ours}\n"
            f"  theirs {self.theirs}"
        )


def alike(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same; errors need not have the same words."""
    if "lost" in (one.kind, other.kind):
        return True
    if one.kind != other.kind:
        return False
    return one.kind != "value" or _canonical(one.content) == _canonical(other.content)


def _canonical(value: Any) -> str:
    """A value as text, a map's entries in the order of their texts."""
    kind, content = value
    if kind == "map":
        entries = sorted(f"{key}: {_canonical(part)}" for key, part in content)
        return f"map {entries}"
    if kind in ("list", "optional"):
        return f"{kind} {[_canonical(part) for part in content]}"
    return f"{kind} {content!r}"


def difference(
    oracle: Oracle, text: str, facts: generation.Facts, *, checked: bool
) -> Difference | None:
    """The difference in the outcomes of an expression, in its smallest part."""
    found = _compared(oracle, text, facts, checked=checked)
    if found is None:
        return None
    # The texts of parts, the shortest first: what they differ in, explains the whole.
    # A part with a macro's variable is an error on both sides when it stands alone.
    try:
        parts = {text[node.start : node.end] for node in _nodes(parse(text))}
    except InvalidExpression:
        return found
    for part in sorted(parts, key=len):
        smaller = _compared(oracle, part, facts, checked=checked)
        if smaller is not None:
            return smaller
    return found


def _compared(
    oracle: Oracle, text: str, facts: generation.Facts, *, checked: bool
) -> Difference | None:
    mine = ours(text, facts, checked=checked)
    theirs = oracle.ask(text, facts, checked=checked)
    if alike(mine, theirs):
        return None
    return Difference(text, facts, checked, mine, theirs)


def _nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for child in tree.children():
        yield from _nodes(child)


# Many of them


class Report(NamedTuple):
    """What came of holding many programs: how many were held, and what differed."""

    programs: int
    lost: int
    known: Counter[str]
    new: list[Difference]


def report(programs: Iterable[tuple[str, generation.Facts]]) -> Report:
    """Hold programs against the oracle, each checked and unchecked."""
    found: Counter[str] = Counter()
    new: list[Difference] = []
    held = 0
    with Oracle() as oracle:
        for text, facts in programs:
            held += 1
            for checked in (True, False):
                differs = difference(oracle, text, facts, checked=checked)
                if differs is None:
                    continue
                title = known(differs)
                if title is None:
                    new.append(differs)
                else:
                    found[title] += 1
        return Report(held, oracle.losses, found, new)


def generated(count: int, seed: int) -> Iterator[tuple[str, generation.Facts]]:
    """Random programs with random facts."""
    random = Random(seed)  # noqa: S311 - wanted to be repeatable
    for _ in range(count):
        yield program(random), generation.facts(random)


def main() -> int:
    """Hold as many programs as the command line says."""
    count = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    outcome = report(generated(count, seed))
    for differs in outcome.new:
        sys.stdout.write(f"checked {differs.checked}: {differs}\n")
    for title, times in outcome.known.most_common():
        sys.stdout.write(f"{times:7} known: {title}\n")
    sys.stdout.write(
        f"{outcome.programs} programs, checked and unchecked; {outcome.known.total()} "
        f"known differences, {len(outcome.new)} new; the oracle was lost "
        f"{outcome.lost} times\n"
    )
    return 1 if outcome.new else 0


# Programs


def program(random: Random) -> str:
    """A random expression: half of them call functions of extension libraries."""
    if random.random() < 0.5:
        return generation.expression(random, random.randint(1, 4))
    return _of_kind(random, random.choice(tuple(_CALLS)), random.randint(1, 3))


_LEAVES: Final[dict[str, tuple[str, ...]]] = {
    "bool": ("true", "false"),
    "bytes": ("b''", "b'abc'", "b'\\xff\\xfe'", "bytes('h\u00e9')"),
    "double": (
        *("0.0", "-0.0", "1.5", "2.5", "-2.5", "0.49999999999999994", "1e300", "-3.0"),
        *("0.0 / 0.0", "1.0 / 0.0", "-1.0 / 0.0", "9007199254740993.0", "0.1"),
    ),
    "int": (
        *("0", "1", "2", "3", "-1", "5", "62", "63", "64", "100", "a", "xs[0]"),
        *("9223372036854775807", "-9223372036854775808"),
    ),
    "list": ("[]", "[1, 2]", "['a', 'b']", "['', 'ab', 'a']", "xs", "[1, 1.0, 'a']"),
    "map": ("{}", "{'a': 1}", "{'a': {'b': 2}}", "m", "{5: 'x', 2u: 'y', true: 'z'}"),
    "number": ("1", "2u", "1.5", "-1", "0u", "a", "-7", "2.0"),
    "optional": ("optional.none()", "optional.of(1)", "m.?a", "m.?a.?b", "xs[?0]"),
    "string": (
        *(
            "''",
            "'a'",
            "'abc'",
            "'a,b,,c'",
            "'h\u00e9llo w\u00f6rld'",
            "' \\t x \u00a0'",
        ),
        *("'\U0001f600a\U0001f600'", "'AbC'", "c", "m.a", "'\\n\\\"\\\\'", "'YWJj'"),
        *("'%d'", "'aaaa'", "'a\\u0301'", "'%'", "'YWI'", "'\\u001c x\\u2003'"),
    ),
    "time": (
        *(
            "duration('1h30m')",
            "duration('-1.5s')",
            "timestamp('2020-02-29T23:59:59Z')",
        ),
        *("timestamp(0)", "timestamp('1969-12-31T23:59:59.5Z')", "duration('0s')"),
    ),
    "uint": ("0u", "1u", "5u", "18446744073709551615u"),
}

# What gives a value of a kind, over parts of kinds.
_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "bool": (
        *("{optional}.hasValue()", "{any} == {any}", "{optional} == {optional}"),
        *("math.isNaN({double})", "math.isInf({double})", "math.isFinite({double})"),
        *("{string}.matches({string})", "{string} < {string}", "{bytes} < {bytes}"),
        *("{number} <= {number}", "dyn({number}) == dyn({number})", "{any} in {list}"),
        *("{any} in {map}", "{list}.exists(x, x == {any})", "has({map}.a)"),
    ),
    "bytes": ("base64.decode({string})", "bytes({string})", "{bytes} + {bytes}"),
    "double": (
        *("math.ceil({double})", "math.floor({double})", "math.round({double})"),
        *("math.trunc({double})", "math.sqrt({number})", "double({string})"),
        *("double({number})", "{double} * {double}", "{double} / {double}"),
    ),
    "int": (
        *("{string}.indexOf({string})", "{string}.indexOf({string}, {int})"),
        *("{string}.lastIndexOf({string})", "{string}.lastIndexOf({string}, {int})"),
        *(
            "math.bitAnd({int}, {int})",
            "math.bitOr({int}, {int})",
            "math.bitNot({int})",
        ),
        *("math.bitXor({int}, {int})", "math.bitShiftLeft({int}, {int})"),
        *("math.bitShiftRight({int}, {int})", "size({string})", "size({bytes})"),
        *("int({string})", "int({double})", "{int} % {int}", "{int} / {int}"),
        *("{time}.getHours()", "{time}.getMilliseconds()", "{time}.getDayOfYear()"),
        *("{time}.getMinutes('Europe/Berlin')", "{time}.getHours('-03:30')"),
    ),
    "list": (
        *("{string}.split({string})", "{string}.split({string}, {int})"),
        *("{list}.map(x, {any})", "{list}.filter(x, {bool})", "[?{optional}, {any}]"),
        *("{list} + {list}", "[{any}, {any}]"),
    ),
    "map": ("{{'a': {any}}}", "{{?'a': {optional}}}", "{{{any}: {any}}}"),
    "number": (
        *("math.greatest({number}, {number})", "math.least({number}, {number})"),
        *("math.greatest({number}, {double}, {int})", "math.least({list})"),
        *("math.abs({number})", "math.sign({number})", "math.greatest({list})"),
        *("math.greatest([{number}, {number}])", "-({number})", "{number} + {number}"),
    ),
    "optional": (
        *("optional.of({any})", "optional.ofNonZeroValue({any})", "{map}.?a"),
        *("{optional}.or({optional})", "{optional}.optMap(v, {any})", "{map}[?{any}]"),
        *("{optional}.optFlatMap(v, {optional})", "{list}.first()", "{list}.last()"),
        *("{list}[?{int}]", "{optional}.?a", "{optional}[?{any}]"),
    ),
    "string": (
        *("{string}.charAt({int})", "{string}.substring({int})", "{string}.trim()"),
        *("{string}.substring({int}, {int})", "{string}.replace({string}, {string})"),
        *("{string}.replace({string}, {string}, {int})", "{list}.join()"),
        *("{list}.join({string})", "{string}.lowerAscii()", "{string}.upperAscii()"),
        *("{string}.reverse()", "strings.quote({string})", "base64.encode({bytes})"),
        *("{string}.split({string}).join({string})", "string({any})", "string({time})"),
        *("'%s %d'.format([{any}, {number}])", "'%.3f'.format([{double}])"),
        *("'%e'.format([{number}])", "'%x %X'.format([{string}, {number}])"),
        *("'%b %o'.format([{int}, {uint}])", "{string}.format([{any}])"),
        *("'%s'.format([{list}])", "'%s'.format([{map}])", "'%s'.format([{time}])"),
        *(
            "'%.10f %.0e'.format([{double}, {double}])",
            "string({bytes})",
            "string({double})",
        ),
    ),
    "time": ("duration({string})", "timestamp({int})", "{time} + {time}"),
    "uint": (
        *("uint({number})", "uint({string})", "math.bitOr({uint}, {uint})"),
        *("math.bitShiftLeft({uint}, {int})", "math.bitNot({uint})", "{uint} * {uint}"),
    ),
    "any": (
        *("{optional}.value()", "{optional}.orValue({any})", "type({any})"),
        *("cel.bind(v, {any}, [v, {any}])", "{bool} ? {any} : {any}", "{map}[{any}]"),
        *("{list}[{int}]", "{map}.a", "{any} + {any}"),
    ),
}
_PART: Final = re.compile(r"\{([a-z]+)\}")


def _of_kind(random: Random, kind: str, depth: int) -> str:
    """An expression that is meant to be of a kind, and now and then is not."""
    if kind == "any" or random.random() < 0.04:
        kind = random.choice(tuple(_LEAVES))
    if depth <= 0:
        return random.choice(_LEAVES[kind])
    form = random.choice(_CALLS["any" if random.random() < 0.08 else kind])
    text = _PART.sub(
        lambda part: _of_kind(random, part[1], depth - random.randint(1, 2)), form
    )
    return "(" + text.replace("{{", "{").replace("}}", "}") + ")"


if __name__ == "__main__":
    raise SystemExit(main())
