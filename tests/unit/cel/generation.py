"""Random expressions and facts, for holding evaluators against each other.

Both come from a ``random.Random``; hypothesis has one whose choices it can shrink.
Expressions are mostly wrong on purpose: errors, and what absorbs them, are where two
evaluators part. Constants lie where Python and CEL differ, see ``pgrules.cel.values``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from random import Random

    Facts = dict[str, Any]

NAMES: Final = ("a", "b", "c", "xs", "m")
_FIELDS: Final = ("a", "b", "c", "k")

_SCALARS: Final = (
    0, 1, 2, 3, 5, -1, 1.0, 0.0, 2.5, -0.0, True, False, None, "", "a", "ab", "abc",
    2**63 - 1, -(2**63), 2**53 + 1, 2.0**53, 2.0**63,
)  # fmt: skip
_LITERALS: Final = (
    "0", "1", "2", "-1", "5u", "1u", "1.0", "0.0", "2.5", "true", "false", "null", "''",
    "'a'", "'ab'", "9223372036854775807", "-9223372036854775808", "9007199254740993",
    "9007199254740992.0", "9223372036854775808.0", "b'a'", "[1, 2]", "{'a': 1}", "[]",
    "duration('1s')", "timestamp('2020-01-01T00:00:00Z')", "int",
)  # fmt: skip
_BINARY: Final = ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%")
_MEMBERS: Final = ("[1, 2, 3]", "[0, 1]", "['a', 1.0]", "['a', 'ab']")
_METHODS: Final = ("startsWith", "endsWith", "contains")
_CONVERSIONS: Final = ("string", "int", "double", "uint", "type", "dyn", "bool")
_MACROS: Final = ("all", "exists", "exists_one", "map", "filter")


def facts(random: Random) -> Facts:
    """An object with most of ``NAMES``: lists, maps and scalars, mixed."""
    found: Facts = {}
    for name in NAMES:
        if random.random() < 0.15:
            continue
        if name == "xs" and random.random() < 0.9:
            found[name] = [_value(random, 2) for _ in range(random.randint(0, 4))]
        elif name == "m" and random.random() < 0.9:
            found[name] = {
                key: _value(random, 2) for key in _FIELDS if random.random() < 0.8
            }
        else:
            found[name] = _value(random, 2)
    return found


def _value(random: Random, depth: int) -> Any:
    kind = random.random()
    if depth == 0 or kind < 0.6:
        return random.choice(_SCALARS)
    if kind < 0.8:
        return [_value(random, depth - 1) for _ in range(random.randint(0, 3))]
    return {
        random.choice(_FIELDS): _value(random, depth - 1)
        for _ in range(random.randint(0, 6))
    }


def expression(
    random: Random, depth: int, names: tuple[str, ...] = NAMES, bound: str = ""
) -> str:
    """The text of an expression over ``names`` and the macro variables ``bound``."""

    def part() -> str:
        return expression(random, depth - 1, names, bound)

    roots = (*names, *bound, *bound)
    kind = random.random()
    if depth <= 0 or kind < 0.12:
        if random.random() < 0.35:
            return random.choice(_LITERALS)
        root = random.choice(roots)
        return root if random.random() < 0.5 else f"{root}.{random.choice(_FIELDS)}"
    kind = random.random()
    if kind < 0.14:
        operator = random.choice(("&&", "||"))
        more = random.choice(("", f" && {part()}", f" || {part()}"))
        return f"({part()} {operator} {part()}{more})"
    if kind < 0.5:
        return f"({part()} {random.choice(_BINARY)} {part()})"
    if kind < 0.56:
        return f"({part()} ? {part()} : {part()})"
    if kind < 0.63:
        return f"{random.choice('!-')}({part()})"
    if kind < 0.68:
        return f"({part()} in {random.choice((part(), *_MEMBERS))})"
    if kind < 0.72:
        return f"has({random.choice(roots)}.{random.choice(_FIELDS)})"
    if kind < 0.75:
        return f"size({part()})"
    if kind < 0.80:
        return f"{part()}.{random.choice(_METHODS)}({part()})"
    if kind < 0.83:
        return f"{part()}[{part()}]"
    if kind < 0.86:
        return f"[{part()}, {part()}]"
    if kind < 0.88:
        return f"{{'a': {part()}, 'b': {part()}}}"
    if kind < 0.91:
        return f"{random.choice(_CONVERSIONS)}({part()})"
    variable = random.choice("xyz")
    looped = random.choice((*(n for n in names if n == "xs"), part(), "m.a"))
    body = expression(random, depth - 1, names, bound + variable)
    return f"{looped}.{random.choice(_MACROS)}({variable}, {body})"


def rules(random: Random, number: int, names: tuple[str, ...] = NAMES) -> list[str]:
    """Texts of rules, some of which differ in their constants alone.

    Most are conjunctions of simple clauses, as rules are.
    """
    found: list[str] = []
    while len(found) < number:
        if random.random() < 0.3:
            text = expression(random, random.randint(1, 4), names)
        else:
            text = " && ".join(
                _clause(random, names) for _ in range(random.randint(1, 4))
            )
        found.append(text)
        found += [
            _LITERAL.sub(lambda _: random.choice(_SIMPLE), text)
            for _ in range(random.randint(0, 6))
        ]
    return found[:number]


_SIMPLE: Final = ("0", "1", "2", "1.0", "2.5", "'a'", "'ab'", "9007199254740993", "5u")
_LITERAL: Final = re.compile(r"(?<![\w.'\"])\d+(?:\.\d+)?(?![\w.])|'[ab]*'")


def _clause(random: Random, names: tuple[str, ...]) -> str:
    root = random.choice(names)
    path = root if random.random() < 0.2 else f"{root}.{random.choice(_FIELDS)}"
    constant = random.choice(_SIMPLE)
    kind = random.random()
    if kind < 0.35:
        sides = (path, constant) if random.random() < 0.8 else (constant, path)
        return f"{sides[0]} == {sides[1]}"
    if kind < 0.55:
        return f"{path} {random.choice(_BINARY[1:6])} {constant}"
    if kind < 0.65:
        return f"has({root}.{random.choice(_FIELDS)})"
    if kind < 0.72:
        return f"{path} in {random.choice(_MEMBERS)}"
    if kind < 0.78:
        return random.choice((path, f"!{path}", f"{path} == true", f"{path} != null"))
    if kind < 0.88:
        return f"({_clause(random, names)} || {_clause(random, names)})"
    if kind < 0.92:
        return f"xs.exists(x, x == {constant})"
    return expression(random, 2, names)


# A tenant's schema over the same names, with derived fields, and facts that fit it
# mostly.

DOCUMENT: Final = """{
    "schema": {
        "m": {"a": "int", "b": "float64", "c": "string", "k": "bool"},
        "a": {"a": "timestamp", "b": "duration", "c": "bytes", "k": "int64"}
    },
    "derived": {"D": "m.a + 1", "E": "m.b > 1.0"}
}"""
DECLARED: Final = ("m", "a", "D", "E")
_FITTING: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "m": {
        "a": (0, 1, 2, 5, 2**63 - 1, 1.0),
        "b": (0.0, 1, 1.5, 2, -0.0),
        "c": ("", "a", "ab"),
        "k": (True, False),
    },
    "a": {
        "a": ("2020-01-01T00:00:00Z",),
        "b": ("90s",),
        "c": ("YQ==",),
        "k": (0, 1, 2),
    },
}


def declared_facts(random: Random) -> Facts:
    """Facts for ``DOCUMENT``; now and then a field is missing or of another type."""
    found: Facts = {}
    for name, fields in _FITTING.items():
        if random.random() < 0.05:
            continue
        found[name] = {
            field: random.choice(_SCALARS if random.random() < 0.15 else values)
            for field, values in fields.items()
            if random.random() < 0.9
        }
    if random.random() < 0.1:
        found["D"] = random.choice(_SCALARS)
    return found


# Rules as people write them: fields compared with constants, which have access keys.

_CONSTANTS: Final = (
    *_LITERALS, "-0.0", "2", "3", "'abc'", "9007199254740992", "1e300", "double('NaN')",
    "optional.of(1)", "optional.none()", "b'a'", "timestamp(0)", "-duration('-90s')",
)  # fmt: skip
_ORDERS: Final = ("<", "<=", ">", ">=")
_LISTS: Final = (
    *_MEMBERS, "[]", "[null, true]", "['a', b'a', 2u]", "{'a': 1, 'k': 2}", "{1: 2}",
    "[a, 1]", "[timestamp(0)]", "['', 'abc', 2.0]",
)  # fmt: skip


def _field(random: Random, roots: tuple[str, ...]) -> str:
    """A field of the facts, read in one of the ways there are."""
    root, name = random.choice(roots), random.choice(_FIELDS)
    kind = random.random()
    if kind < 0.3:
        return root
    if kind < 0.7:
        return f"{root}.{name}"
    if kind < 0.75:
        return f"{root}[{random.choice((repr(name), '0', '1', '1.0', '-1', '2u'))}]"
    if kind < 0.8:
        return f"{root}.{name}.{random.choice(_FIELDS)}"
    if kind < 0.83:
        return f"dyn({root}.{name})"
    if kind < 0.87:
        return f"{random.choice(('timestamp', 'duration', 'int'))}({root}.{name})"
    if kind < 0.9:
        return f"{root}.?{name}"
    optional = random.choice((f"{root}.?{name}", f"{root}[?'{name}']"))
    more = random.choice(("", f".?{random.choice(_FIELDS)}", f".{name}"))
    if kind < 0.98:
        return f"{optional}{more}.orValue({random.choice(_CONSTANTS)})"
    return f"{optional}{more}.value()"


def rule(
    random: Random, depth: int, names: tuple[str, ...] = NAMES, bound: str = ""
) -> str:
    """The text of a rule over ``names`` and the macro variables ``bound``."""

    def part() -> str:
        return rule(random, depth - 1, names, bound)

    roots = (*names, *bound, *bound)
    field = _field(random, roots)
    if random.random() < 0.06:
        return expression(random, 2, names, bound)
    kind = random.random()
    if depth > 0 and kind < 0.6:
        if kind < 0.24:
            return f"({part()} && {part()})"
        if kind < 0.4:
            return f"({part()} || {part()})"
        if kind < 0.46:
            return f"!({part()})"
        if kind < 0.5:
            return f"({part()} ? {part()} : {part()})"
        variable = random.choice("xyz")
        body = rule(random, depth - 1, names, bound + variable)
        if kind < 0.53:
            return f"cel.bind({variable}, {random.choice((field, part()))}, {body})"
        looped = random.choice(
            ("xs", "m.a", "m", "[1, 'a']", field, random.choice(roots))
        )
        macro = random.choice(("all", "exists", "exists_one"))
        return f"{looped}.{macro}({variable}, {body})"
    kind = random.random()
    constant = random.choice(_CONSTANTS)
    if kind < 0.35:
        sides = (field, constant) if random.random() < 0.8 else (constant, field)
        return random.choice(("{} == {}", "{} == {}", "{} != {}")).format(*sides)
    if kind < 0.65:
        sides = (field, constant) if random.random() < 0.8 else (constant, field)
        return f"{sides[0]} {random.choice(_ORDERS)} {sides[1]}"
    if kind < 0.75:
        return f"({field} in {random.choice(_LISTS)})"
    if kind < 0.8:
        return f"({constant} in {field})"
    if kind < 0.86:
        return f"{field}.startsWith({random.choice(_LITERALS)})"
    if kind < 0.9:
        root = random.choice(roots)
        return f"has({root}{random.choice(('', '.?a'))}.{random.choice(_FIELDS)})"
    if kind < 0.93:
        return f"{random.choice(roots)}.?{random.choice(_FIELDS)}.hasValue()"
    return field


KEY_DOCUMENT: Final = """{
    "schema": {
        "m": {"a": "int", "b": "float64", "c": "string", "k": "bool"},
        "a": {"a": "timestamp", "b": "duration", "c": "bytes", "k": "int64"}
    },
    "derived": {
        "D": "m.a + 1", "E": "m.b > 1.0", "F": "m.c", "G": "E && F == 'a' || m.k",
        "H": "a.a", "I": "timestamp(a.k)", "J": "[m.a, 1]", "K": "a", "L": "a.?c"
    }
}"""
KEY_NAMES: Final = ("m", "m", "a", *"DEFGHIJKL")


def key_facts(random: Random) -> Facts:
    """Facts for ``KEY_DOCUMENT``, which now and then supply derived fields."""
    found = declared_facts(random)
    for name in "DEFGHIJKL":
        if random.random() < 0.06:
            found[name] = random.choice(
                (*_SCALARS, "2020-01-01T01:00:00+01:00", ["a", 1], {"a": 1, "c": "YQ"})
            )
    return found
