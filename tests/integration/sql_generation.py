"""Random rules and facts for holding rules as SQL against the language.

Rules are of the forms that SQL can have, so that most translate; facts fit them half
of the time. Numbers are JSON text, since what matters are digits that Python would not
write: beyond a double's, with zeros at the end, next to 2**53 and to the limits.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

NAMES: Final = ("a", "b", "c", "m", "n", "xs", "ys")
FIELDS: Final = ("a", "b", "k", "v")

NUMBERS: Final = (
    "0", "1", "2", "3", "5", "-1", "-7", "60", "1.0", "0.0", "2.5", "0.1", "-0.5",
    "1.00000000000000000000000001", "4.99999999999999999999999",
    "60.000000000000000001",
    "59.99999999999999999999", "9223372036854775807", "-9223372036854775808",
    "9223372036854775806", "9007199254740993", "9007199254740992", "-9007199254740993",
    "9007199254740993.0", "9007199254740992.5", "4503599627370496.5", "4294967296",
    "9223372036854775807.0", "1e300", "1.7976931348623157e308", "1e-320", "1e-400",
    "2e-324", "1e16", "3037000500", "0.30000000000000004", "0.3", "1e-5",
)  # fmt: skip
STRINGS: Final = (
    "", "a", "ab", "abc", "b", "A", "UA", "it's", 'q"q', "back\\slash", "100%",
    "%1$L", "{}", "é", "e\u0301", "z", "Z", "\U0001f600", "\uffee", "ab%", "a_b", "\n",
    "true", "null", "1", "12", "-3", "2.5", "2024-02-29T12:00:00Z",
    "2024-02-29T12:00:00.123456789+05:30", "2023-02-29T12:00:00Z", "1h30m", "-1.5s",
    "ßẞ",
    "$.a", "ŉ", "İ", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z",
)  # fmt: skip
_LITERAL_NUMBERS: Final = (
    "0", "1", "2", "3", "5", "-1", "60", "1.0", "0.0", "2.5", "0.1", "-0.5", "1u", "5u",
    "9223372036854775807", "-9223372036854775808", "9007199254740993",
    "9007199254740992.0", "9007199254740992", "9223372036854775808.0", "1e300", "0.3",
    "-0.0", "1e308", "18446744073709551615u", "1e-320",
)  # fmt: skip
_ORDER: Final = ("<", "<=", ">", ">=")
_COMPARISONS: Final = ("==", "!=", *_ORDER)


def scalar(random: Random) -> str:
    """JSON text of a number, a string, a bool or null."""
    kind = random.random()
    if kind < 0.5:
        return random.choice(NUMBERS)
    if kind < 0.8:
        return json.dumps(random.choice(STRINGS))
    return random.choice(("true", "false", "null"))


def value(random: Random, depth: int) -> str:
    """JSON text of any value."""
    kind = random.random()
    if depth == 0 or kind < 0.6:
        return scalar(random)
    if kind < 0.8:
        return listed(random, depth - 1)
    return mapped(random, depth - 1)


def listed(random: Random, depth: int) -> str:
    """JSON text of a list, often of values of one kind."""
    kind = random.random()
    count = random.randint(0, 4)
    if kind < 0.35:
        parts = [random.choice(NUMBERS[:12]) for _ in range(count)]
    elif kind < 0.6:
        parts = [json.dumps(random.choice(STRINGS)) for _ in range(count)]
    elif kind < 0.8:
        parts = [mapped(random, max(depth - 1, 0)) for _ in range(count)]
    else:
        parts = [value(random, depth) for _ in range(count)]
    return f"[{', '.join(parts)}]"


def mapped(random: Random, depth: int) -> str:
    """JSON text of an object."""
    names = [name for name in (*FIELDS, "it's") if random.random() < 0.6]
    return (
        "{" + ", ".join(f"{json.dumps(n)}: {value(random, depth)}" for n in names) + "}"
    )


def facts(random: Random) -> str:
    """JSON text of facts."""
    found = {}
    for name in NAMES:
        if random.random() < 0.12:
            continue
        if name in ("xs", "ys") and random.random() < 0.85:
            found[name] = listed(random, 2)
        elif name in ("m", "n") and random.random() < 0.85:
            found[name] = mapped(random, 2)
        else:
            found[name] = value(random, 2)
    return (
        "{"
        + ", ".join(f"{json.dumps(name)}: {text}" for name, text in found.items())
        + "}"
    )


class Rules:
    """Texts of rules over some paths and macro variables."""

    def __init__(self, random: Random, paths: tuple[str, ...] | None = None) -> None:
        self.random = random
        self.paths = paths
        self.bound: tuple[str, ...] = ()

    def path(self) -> str:
        random = self.random
        if self.bound and random.random() < 0.6:
            root = random.choice(self.bound)
            return root if random.random() < 0.6 else f"{root}.{self.field()}"
        if self.paths is not None:
            return random.choice(self.paths)
        root = random.choice(NAMES)
        kind = random.random()
        if kind < 0.45:
            return root
        if kind < 0.85:
            return f"{root}.{self.field()}"
        if kind < 0.9:
            return f"{root}[{random.choice(('0', '1', chr(34) + 'k' + chr(34)))}]"
        return f"{root}.{self.field()}.{self.field()}"

    def field(self) -> str:
        return self.random.choice(FIELDS)

    def string(self) -> str:
        return json.dumps(self.random.choice(STRINGS), ensure_ascii=False)

    def literal(self) -> str:
        random = self.random
        kind = random.random()
        if kind < 0.5:
            return random.choice(_LITERAL_NUMBERS)
        if kind < 0.85:
            return self.string()
        return random.choice(
            ("true", "false", "null", "[]", "[1, 2]", '["a", "b"]', "{}", '{"a": 1}')
        )

    def number(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.4:
            return (
                self.path()
                if random.random() < 0.7
                else random.choice(_LITERAL_NUMBERS)
            )
        if kind < 0.75:
            operator = random.choice("+-*/%")
            return f"({self.number(depth - 1)} {operator} {self.number(depth - 1)})"
        if kind < 0.8:
            return f"-({self.number(depth - 1)})"
        if kind < 0.9:
            return f"size({self.container(depth - 1)})"
        if kind < 0.95:
            numbers = [self.number(depth - 1) for _ in range(2)]
            return f"({self.condition(depth - 1)} ? {' : '.join(numbers)})"
        return f"{random.choice(('int', 'double'))}({self.number(depth - 1)})"

    def text(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.7:
            return self.path() if random.random() < 0.6 else self.string()
        if kind < 0.8:
            return f"({self.text(depth - 1)} + {self.text(depth - 1)})"
        if kind < 0.9:
            method = random.choice(("lowerAscii", "upperAscii"))
            return f"{self.text(depth - 1)}.{method}()"
        return f"string({self.path()})"

    def container(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.6:
            return random.choice(("xs", "ys", "m", self.path()))
        variable = f"f{depth}"
        if kind < 0.8:
            return (
                f"{self.container(0)}.filter({variable}, {self.body(variable, depth)})"
            )
        if kind < 0.9:
            looped = self.container(0)
            outer, self.bound = self.bound, (*self.bound, variable)
            made = random.choice((self.path(), self.number(1)))
            self.bound = outer
            return f"{looped}.map({variable}, {made})"
        return random.choice(("[1, 2, 3]", '["a", "ab"]', f"[{self.path()}, 1]"))

    def body(self, variable: str, depth: int) -> str:
        outer, self.bound = self.bound, (*self.bound, variable)
        found = self.condition(depth - 1)
        self.bound = outer
        return found

    def condition(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth > 0 and kind < 0.3:
            operator = random.choice(("&&", "||"))
            parts = [self.condition(depth - 1) for _ in range(random.randint(2, 4))]
            return f"({f' {operator} '.join(parts)})"
        if depth > 0 and kind < 0.38:
            return f"!({self.condition(depth - 1)})"
        if depth > 0 and kind < 0.42:
            parts = [self.condition(depth - 1) for _ in range(3)]
            return f"({parts[0]} ? {parts[1]} : {parts[2]})"
        if depth > 0 and kind < 0.54:
            macro = random.choice(("all", "exists", "exists", "exists_one"))
            variable = f"x{depth}"
            looped = self.container(depth - 1)
            return f"{looped}.{macro}({variable}, {self.body(variable, depth)})"
        if depth > 0 and kind < 0.57:
            operator = random.choice(("==", "!="))
            conditions = [self.condition(depth - 1) for _ in range(2)]
            return f"({f' {operator} '.join(conditions)})"
        return self.leaf(depth)

    def leaf(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if kind < 0.3:
            return f"{self.path()} {random.choice(_COMPARISONS)} {self.literal()}"
        if kind < 0.36:
            return f"{self.literal()} {random.choice(_COMPARISONS)} {self.path()}"
        if kind < 0.46:
            return (
                f"{self.number(2)} {random.choice(_COMPARISONS)} {self.number(depth)}"
            )
        if kind < 0.54:
            return f"{self.text(1)} {random.choice(_COMPARISONS)} {self.text(depth)}"
        if kind < 0.64:
            part = self.text(1)
            method = random.choice(("startsWith", "endsWith", "contains"))
            return f"{self.text(depth)}.{method}({part})"
        if kind < 0.74:
            members = ", ".join(self.literal() for _ in range(random.randint(0, 4)))
            return f"{self.path()} in [{members}]"
        if kind < 0.8:
            return (
                f"{random.choice((self.literal(), self.path()))} in {self.container(1)}"
            )
        if kind < 0.9:
            selected = self.path()
            return (
                f"has({selected if '.' in selected and '[' not in selected else 'm.k'})"
            )
        if kind < 0.94:
            return f"{self.path()} {random.choice(_COMPARISONS)} {self.path()}"
        return self.path()


# A tenant's schema with derived fields, and facts that mostly fit it.

DOCUMENT: Final = """{
    "schema": {
        "F": {"i": "int", "l": "int64", "f": "float64", "s": "string", "b": "bool",
              "t": "timestamp", "d": "duration"},
        "G": {"i": "int", "f": "float64", "s": "string", "t": "timestamp"}
    },
    "derived": {
        "Sum": "F.i + G.i", "Ratio": "F.f / G.f", "Late": "F.i > 2 && F.s == 'ab'",
        "End": "F.t + F.d", "Tag": "F.s + '!'", "Odd": "Late ? Sum % 2 == 1 : F.b"
    }
}"""
_FITTING: Final[dict[str, tuple[str, ...]]] = {
    "i": NUMBERS[:14],
    "l": NUMBERS,
    "f": NUMBERS,
    "s": tuple(map(json.dumps, STRINGS)),
    "b": ("true", "false"),
    "t": (
        '"2024-02-29T12:00:00Z"', '"2024-02-29T12:00:00.123456789+05:30"',
        '"2023-02-29T12:00:00Z"', '"2024-02-29T06:30:00.123456789Z"',
        '"0001-01-01T00:00:00Z"', '"0001-01-01T00:00:00+00:01"',
        '"2024-13-01T00:00:00Z"',
        '"9999-12-31T23:59:59.999999999Z"', '"1969-12-31T23:59:59.999999999-23:59"',
        '"2024-02-29t12:00:00z"', '"1970-01-01T00:00:00Z"', '"2024-02-29T12:00:00"',
    ),
    "d": ('"1h30m"', '"-1.5s"', '"0"', '"1ms"', '"1.0000000019s"', '"2562047h47m16s"',
          '"2562048h"', '".5s"', '"s"', '"+1m1ms1us1ns"', '"1"', '"90s"'),
}  # fmt: skip
_TYPED: Final = {
    "i": ("F.i", "F.l", "G.i", "Sum"),
    "f": ("F.f", "G.f", "Ratio"),
    "s": ("F.s", "G.s", "Tag"),
    "b": ("F.b", "Late", "Odd"),
    "t": ("F.t", "G.t", "End"),
    "d": ("F.d", "duration('1h')", "duration('1ns')"),
}


def declared_facts(random: Random) -> str:
    """JSON text of facts for ``DOCUMENT``."""
    found = {}
    for name, fields in (("F", "ilfsbtd"), ("G", "ifst")):
        if random.random() < 0.04:
            continue
        parts = (
            f'"{field}": '
            + (
                value(random, 1)
                if random.random() < 0.1
                else random.choice((*_FITTING[field], "null"))
            )
            for field in fields
            if random.random() < 0.92
        )
        found[name] = f"{{{', '.join(parts)}}}"
    for name in ("Sum", "Ratio", "Late", "End", "Tag"):
        if random.random() < 0.08:
            found[name] = value(random, 1)
    parts = (f'"{name}": {text}' for name, text in found.items())
    return f"{{{', '.join(parts)}}}"


class TypedRules:
    """Texts of rules over names of known types."""

    def __init__(self, random: Random, names: dict[str, tuple[str, ...]]) -> None:
        self.random = random
        self.names = names

    def name(self, kind: str) -> str:
        return self.random.choice(self.names[kind])

    def whole(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.5:
            literal = random.choice((*_LITERAL_NUMBERS[:7], "9223372036854775807"))
            return (
                self.name("i") if random.random() < 0.7 or "." in literal else literal
            )
        if kind < 0.8:
            operator = random.choice("+-*/%")
            return f"({self.whole(depth - 1)} {operator} {self.whole(depth - 1)})"
        if kind < 0.85:
            return f"size({self.text(depth - 1)})"
        if kind < 0.95:
            accessor = random.choice(
                (
                    "getFullYear", "getMonth", "getDate", "getDayOfMonth",
                    "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes",
                    "getSeconds", "getMilliseconds",
                )
            )  # fmt: skip
            return f"{self.time(depth - 1)}.{accessor}()"
        return f"int({random.choice((self.double(1), self.text(1), self.time(1)))})"

    def double(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.5:
            if random.random() < 0.7:
                return self.name("f")
            return random.choice(
                ("1.0", "0.0", "2.5", "0.1", "-0.5", "1e308", "1e-308", "60.0", "-0.0")
            )
        if kind < 0.85:
            operator = random.choice("+-*/")
            return f"({self.double(depth - 1)} {operator} {self.double(depth - 1)})"
        if kind < 0.9:
            return f"-({self.double(depth - 1)})"
        return f"double({self.whole(depth - 1)})"

    def text(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.8:
            if random.random() < 0.6:
                return self.name("s")
            return json.dumps(random.choice(STRINGS), ensure_ascii=False)
        if kind < 0.9:
            return f"({self.text(depth - 1)} + {self.text(depth - 1)})"
        return f"{self.text(depth - 1)}.lowerAscii()"

    def time(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth <= 0 or kind < 0.6:
            if random.random() < 0.7:
                return self.name("t")
            text = random.choice(
                (
                    "2024-02-29T12:00:00Z", "2024-02-29T06:30:00.123456789Z",
                    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z",
                    "2024-02-29T00:00:00Z", "1970-01-01T00:00:00.000001Z",
                )
            )  # fmt: skip
            return f"timestamp('{text}')"
        return f"({self.time(depth - 1)} {random.choice('+-')} {self.span(depth - 1)})"

    def span(self, depth: int) -> str:
        random = self.random
        if depth <= 0 or random.random() < 0.7:
            return self.name("d")
        if random.random() < 0.5:
            return f"({self.time(depth - 1)} - {self.time(depth - 1)})"
        return f"({self.span(depth - 1)} {random.choice('+-')} {self.span(depth - 1)})"

    def condition(self, depth: int) -> str:
        random = self.random
        kind = random.random()
        if depth > 0 and kind < 0.35:
            operator = random.choice(("&&", "||"))
            parts = [self.condition(depth - 1) for _ in range(random.randint(2, 4))]
            return f"({f' {operator} '.join(parts)})"
        if depth > 0 and kind < 0.43:
            return f"!({self.condition(depth - 1)})"
        if depth > 0 and kind < 0.48:
            parts = [self.condition(depth - 1) for _ in range(3)]
            return f"({parts[0]} ? {parts[1]} : {parts[2]})"
        kind = random.random()
        if kind < 0.08:
            name = random.choice([n for part in self.names.values() for n in part])
            return f"{name} {random.choice(('==', '!='))} null"
        if kind < 0.16:
            member = random.choice(("F.i", "F.t", "G.s", "F.b"))
            return f"has({member})" if "F.i" in self.names["i"] else "true"
        if kind < 0.26:
            return self.name("b")
        if kind < 0.34:
            members = ", ".join(
                json.dumps(random.choice(STRINGS), ensure_ascii=False)
                for _ in range(random.randint(1, 3))
            )
            return f"{self.text(1)} in [{members}]"
        if kind < 0.44:
            method = random.choice(("startsWith", "endsWith", "contains"))
            return f"{self.text(1)}.{method}({self.text(1)})"
        make = random.choice((self.whole, self.double, self.text, self.time, self.span))
        left, right = make(depth), make(depth)
        if make in (self.whole, self.double) and random.random() < 0.2:
            right = random.choice((self.whole, self.double))(depth)
            left = f"dyn({left})"
        return f"{left} {random.choice(_COMPARISONS)} {right}"


def declared_rule(random: Random) -> str:
    """A rule for ``DOCUMENT``."""
    return TypedRules(random, _TYPED).condition(random.randint(0, 3))


# A table's columns: their types, and texts that they are read from.

COLUMNS: Final[dict[str, tuple[str, tuple[str | None, ...]]]] = {
    "i": ("integer", ("0", "1", "2", "5", "-7", "60", "2147483647", "-2147483648")),
    "l": ("bigint", ("0", "3", "-1", "9223372036854775807", "-9223372036854775808",
                     "9007199254740993", "3037000500")),
    "f": ("double precision", ("0", "-0", "1", "2.5", "60", "0.1", "NaN", "Infinity",
                               "-Infinity", "1e308", "1e-320", "9007199254740992")),
    "r": ("real", ("0", "0.1", "60", "NaN", "-2.5")),
    "n": ("numeric", ("0", "60.000000000000000001", "60", "0.1", "1e400", "-1e400",
                      "NaN", "Infinity", "2e-324", "1e-400", "9007199254740993",
                      "2.50")),
    "p": ("numeric(10, 2)", ("0", "60.01", "60", "0.10", "NaN", "-2.5")),
    "s": ("text", STRINGS),
    "c": ("character(4)", ("a", "ab", "abc", "UA", "")),
    "w": ("character varying(40)", STRINGS),
    "b": ("boolean", ("true", "false")),
    "t": ("timestamptz", ("2024-02-29 12:00:00Z", "2024-02-29 06:30:00.123456Z",
                          "infinity", "-infinity", "0001-01-01 00:00:00Z",
                          "10000-01-01 00:00:00Z", "1970-01-01 00:00:00.000001Z",
                          "0044-03-15 00:00:00Z BC")),
    "u": ("timestamp", ("2024-02-29 12:00:00", "infinity", "9999-12-31 23:59:59.999999",
                        "2024-02-29 06:30:00.123456")),
    "y": ("date", ("2024-02-29", "infinity", "-infinity", "1970-01-01", "0001-01-01",
                   "9999-12-31", "10000-01-01")),
    "d": ("interval", ("1 hour", "-1.5 s", "1 day", "1 month", "0", "1 us", "300 years",
                       "106751 days 23:47:16.854775", "106752 days")),
    "j": ("jsonb", ('{"a": 1, "k": "x"}', "[1, 2]", "5", "null", '"a"', "60.0")),
    "g": ("text[]", ("{}", "{a,ab}", "{NULL,UA}", '{"it\'s"}')),
    "k": ("integer[]", ("{}", "{1,2}", "{60,NULL}")),
    "q": ("character(4)[]", ("{}", "{a,ab}")),
}  # fmt: skip
_COLUMN_NAMES: Final = {
    "i": ("i", "l"),
    "f": ("f", "r", "n", "p"),
    "s": ("s", "w", "c"),
    "b": ("b",),
    "t": ("t", "u", "y"),
    "d": ("d", "duration('1h')", "duration('1ns')"),
}


def row(random: Random) -> list[str | None]:
    """The texts of one row of ``COLUMNS``."""
    return [
        None if random.random() < 0.12 else random.choice(texts)
        for _, texts in COLUMNS.values()
    ]


def columns_rule(random: Random) -> str:
    """A rule for ``COLUMNS``."""
    if random.random() < 0.15:
        rules = Rules(random, ("j", "j.a", "j.k", "g", "k", "i", "s"))
        return rules.condition(random.randint(0, 2))
    if random.random() < 0.1:
        name = random.choice(("g", "k", "j", "q"))
        return f"{random.choice((*_MEMBERS, 'i', 's'))} in {name}"
    return TypedRules(random, _COLUMN_NAMES).condition(random.randint(0, 3))


_MEMBERS: Final = ("1", "2", "60", '"a"', '"UA"', "null", "60.0")
