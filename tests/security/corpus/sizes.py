"""Expressions that are too long, too deep, or can cost too much, before they run."""

from tests.security.corpus.case import Case, each

LONG = [
    "a" * 1_000_000,
    " " * 1_000_000 + "1",
    "// " + "x" * 1_000_000,
    "'" + "x" * 1_000_000 + "'",
    "9" * 1_000_000,
    "1+" * 500_000 + "1",
    "a || " * 200_000 + "a",
    "[" + "1," * 500_000 + "]",
    "{" + "'k': 1," * 200_000 + "}",
    "f(" + "1," * 500_000 + "1)",
    "(" * 500_000 + "1" + ")" * 500_000,
    "\u20ac" * 1_000_000,
    "\U0001f600" * 500_000,
    "'" + "\\u0041" * 100_000 + "'",
    "true" + " " * 32_765,
]

DEEP = [
    "(" * 101 + "1" + ")" * 101,
    "(" * 16_000 + "1" + ")" * 16_000,
    "(" * 32_000,
    "[" * 16_000 + "]" * 16_000,
    "[" * 32_000,
    "{1:" * 8_000 + "1" + "}" * 8_000,
    "f(" * 10_000 + ")" * 10_000,
    "f(" * 16_000,
    "a[" * 10_000 + "0" + "]" * 10_000,
    "a" + ".b" * 16_000,
    "a" + ".?b" * 10_000,
    "a" + "[0]" * 10_000,
    "a" + "[?0]" * 8_000,
    "a" + ".f()" * 8_000,
    "a" + " + a" * 8_000,
    "a" + " - a" * 8_000,
    "a" + " in a" * 5_000,
    "a ? b : " * 4_000 + "c",
    "a.all(x, " * 3_000 + "true" + ")" * 3_000,
    "[a].map(x, " * 2_500 + "x" + ")" * 2_500,
    "cel.bind(x, " * 2_000 + "1" + ", x)" * 2_000,
    "optional.of(" * 2_000 + "1" + ")" * 2_000,
    "M{f: " * 5_000 + "1" + "}" * 5_000,
    "-(" * 8_000 + "1" + ")" * 8_000,
    "!(" * 8_000 + "true" + ")" * 8_000,
    "has(a." + "b." * 12_000 + "c)",
    "string(" * 4_000 + "1" + ")" * 4_000,
    "type(" * 5_000 + "1" + ")" * 5_000,
    "[[" * 60 + "1" + "]]" * 60,
]

# Over the sizes that are assumed of facts, each could cost more than the limit.
COSTLY = [
    "l.all(a, l.all(b, l.all(c, l.all(d, true))))",
    "l.exists(a, l.exists(b, l.exists(c, l.exists(d, false))))",
    "l.map(a, l.map(b, l.map(c, l.map(d, 1)))).size() > 0",
    "l.filter(a, l.filter(b, l.filter(c, l.filter(d, true) == l) == l) == l) == l",
    "l.map(a, l.map(b, l.map(c, l)))",
    "l.all(a, l.all(b, l.all(c, l + l + l != l)))",
    "m.all(k, v, m.all(k2, v2, m.all(k3, v3, m.all(k4, v4, true))))",
    "m.transformMap(k, v, m.transformMap(k2, v2, m.transformMap(k3, v3, m)))",
    "lists.range(1000000).all(x, x >= 0)",
    "lists.range(1000).all(x, lists.range(1000).all(y, x + y >= 0))",
    "lists.range(2000).map(x, lists.range(2000))",
    "lists.range(9223372036854775807)",
    "lists.range(9223372036854775807).size()",
    "lists.range(999999).map(x, lists.range(999999)).flatten()",
    (
        "lists.range(10000).map(x, string(x)).map(x, x + x).join().size()"
        " + lists.range(100000).map(x, 'xxxxxxxxxx' + string(x)).join().size()"
    ),
    "cel.bind(l, lists.range(1000), l.map(a, l.map(b, l)))",
    (
        "cel.bind(a, s + s, cel.bind(b, a + a, cel.bind(c, b + b, cel.bind(d, c + c,"
        " cel.bind(e, d + d, cel.bind(f, e + e, cel.bind(g, f + f, cel.bind(h, g + g,"
        " cel.bind(i, h + h, cel.bind(j, i + i, cel.bind(k, j + j, cel.bind(m, k + k,"
        " cel.bind(n, m + m, cel.bind(o, n + n, size(o + o)))))))))))))))"
    ),
    (
        "cel.block([l, cel.index(0) + cel.index(0), cel.index(1) + cel.index(1),"
        " cel.index(2) + cel.index(2), cel.index(3) + cel.index(3),"
        " cel.index(4) + cel.index(4), cel.index(5) + cel.index(5),"
        " cel.index(6) + cel.index(6), cel.index(7) + cel.index(7),"
        " cel.index(8) + cel.index(8), cel.index(9) + cel.index(9),"
        " cel.index(10) + cel.index(10), cel.index(11) + cel.index(11)],"
        " cel.index(12).all(x, x == x))"
    ),
    "s.replace('', s).replace('', s).replace('', s).size()",
    "s.replace('', s).replace('', s) == s",
    "s.split('').map(c, s.split('').map(d, s)).size()",
    "s.split('').map(c, s).join().split('').map(c, s).join().size()",
    "l.map(x, s).join(s).replace('a', s).size()",
    (
        "'%1000f%1000f'.replace('%', s).size() > 0 && l.map(a, l.map(b, s + s))"
        ".map(x, x.join().split('').size()) == []"
    ),
    "sets.contains(l.map(a, l), l.map(a, l.map(b, l)))",
    "sets.equivalent(l.map(a, [l, l]), l.map(a, [l, l]))",
    "l.map(a, [a, l]).distinct().size() > 0 && l.all(a, l.map(b, [l]).distinct() == l)",
    "l.all(a, l.all(b, s.matches(s)))",
    "l.all(a, l.all(b, l.map(c, c).sort() == l))",
    "l.all(a, l.all(b, s.replace('a', 'bb') == s.reverse()))",
    "l.all(a, base64.encode(bytes(s)).size() > 0 && l.all(b, bytes(s) == bytes(s)))",
    "l.all(a, l.all(b, l == l))",
    "l.all(a, l.all(b, m == m))",
    "l.all(a, l.all(b, string(a) in l.map(c, string(c))))",
    "l.map(a, l.map(b, l.map(c, {'k': c})))",
]

CASES: list[Case] = [
    *each("RE021", LONG),
    *each("RE021", DEEP),
    *each("RE021", COSTLY),
]
