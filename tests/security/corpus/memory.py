"""Expressions that would fill memory or time over facts that are larger than assumed.

Each passes the estimate that is made when it is compiled, and has to be ended by the
cost of the evaluation, or by the bound of its result.
"""

from tests.security.corpus.case import Case, each


def numbers(count: int) -> str:
    """Facts with a list of so many numbers."""
    return '{"l": [' + ",".join(map(str, range(count))) + "]}"


def text(count: int) -> str:
    """Facts with a string of so many characters."""
    return '{"s": "' + "x" * count + '", "p": "x", "l": [1, 2, 3]}'


def keys(count: int) -> str:
    """Facts with a map of so many keys."""
    return '{"m": {' + ",".join(f'"k{key}": {key}' for key in range(count)) + "}}"


def nested(count: int) -> str:
    """Facts with a list of lists of lists, equal all through."""
    inner = "[" + ",".join(["1"] * count) + "]"
    middle = "[" + ",".join([inner] * count) + "]"
    return '{"a": ' + middle + ', "b": ' + middle + "}"


LOOPS = [
    "l.all(a, l.all(b, a + b >= 0))",
    "l.exists(a, l.exists(b, a + b < 0))",
    "l.map(a, l.map(b, a * b)).size() > 0",
    "l.filter(a, l.filter(b, a < b).size() > -1).size() > 0",
    "l.all(a, l.all(b, a + b >= 0)) || true",
    (
        "true || l.all(a, l.all(b, a + b >= 0)) || l.all(a, l.all(b, a + b >= 0))"
        " ? l.all(a, l.all(b, a + b >= 0)) : false"
    ),
    "l.map(a, l + l).size()",
    "l.map(a, l + [a]).size()",
    "l.all(a, a in l)",
    "l.all(a, l == l)",
    "l.all(a, (l + l).size() > 0)",
    "l.all(a, sets.contains(l, [a]))",
    "l.all(a, l.sort() == l)",
    "l.map(a, [a]).distinct() == l",
    "l.all(a, l.reverse() != l)",
    "l.all(a, l.slice(0, a).size() == a)",
    "l.map(a, [a]).all(a, l.map(b, b) != a)",
    "l.map(a, string(a)).all(a, l.map(b, string(b)).join().contains(a))",
    "l.sortBy(a, l.filter(b, b > a).size()) == l",
    "l.exists_one(a, l.exists_one(b, a == -b))",
    "l.transformList(i, a, l.transformList(j, b, i * j)).size()",
    "l.map(a, l.map(b, b)).flatten().size()",
    "l.map(a, [a, [a]]).distinct().size()",
    "cel.bind(f, l.map(a, a + 1), l.all(a, f.all(b, b > 0)))",
    "l.all(a, has({'k': l.map(b, b)}.k))",
    "l.all(a, l.map(b, optional.of(b)).unwrapOpt() == l)",
    "l.all(a, math.greatest(l) >= a)",
]

STRINGS = [
    "(s + s + s + s + s + s + s + s + s + s + s + s + s + s + s + s).size() > 0",
    "l.all(a, (s + s).size() > 0)",
    "s.replace(p, p + p + p + p + p + p) != s",
    "s.replace('', s).size() > 0",
    "s.replace(p, s).size() > 0",
    "s.split('').size() > 0",
    "s.split(p).size() > 0",
    "s.split('').map(c, s).size() > 0",
    "l.all(a, s.reverse() == s.reverse())",
    "l.all(a, s.lowerAscii().upperAscii().contains('y') || true)",
    "l.all(a, bytes(s).size() > 0 && string(bytes(s)) == s)",
    "l.all(a, base64.encode(bytes(s)).size() > 0)",
    "l.all(a, strings.quote(s) + strings.quote(s) != s)",
    "'%s%s%s%s%s%s'.format([s, s, s, s, s, s]).size() > 0",
    "l.all(a, [s, s, s, s].join(s).size() > 0)",
    "l.all(a, s.indexOf('y') == -1 && s.lastIndexOf('y') == -1)",
    "l.all(a, !s.matches('(x*)(x*)(x*)(x*)y'))",
    "s.matches('(x+x+)+y') || s.matches('(x|xx)*y') || s.matches('(.*)*y{1,500}')",
    "s.matches('(x{1,100}){1,9}y')",
    "regex.replace(s, 'x', s).size() > 0",
    "regex.replace(s, '', 'xxxxxxxxxx').size() > 0",
    "regex.extractAll(s, 'x').size() > 0",
    "l.all(a, s == s + '' && s < s + 'x')",
    "l.all(a, s.trim() == s.substring(0, s.size()))",
]

MAPS = [
    "m.all(k, m.all(j, k + j != k))",
    "m.map(k, m.map(j, k)).size()",
    "m.transformMap(k, v, m.transformMap(j, w, v)).size()",
    "m.transformMapEntry(k, v, {k: m.map(j, j)}).size()",
    "m.all(k, m == m)",
    "m.map(k, k).map(k, m.filter(j, j == k)).size()",
    "m.all(k, [m, m] == [m, m])",
    "m.exists(k, v, m.exists(j, w, v + w < 0))",
]

NESTED = [
    "a == b && b == a && a == b && b == a && a == b && b == a && a == b && b == a",
    "a.all(x, x in b && b.all(y, y == x))",
    "sets.equivalent(a, b)",
    "a.flatten() == b.flatten() && a in [b, b, b, b, b, b] && a.all(x, a == b)",
    "(a + b).distinct().size() > 0",
]

# Four bytes a character in memory, as in the text of the facts.
WIDE_TEXT = "\U0001f600" * 300_000

# Many small values are larger than the text that they come from.
WIDE = [
    "lists.range(n).map(x, {'k': x}).map(x, [x]).size()",
    "lists.range(n).map(x, [x, [x, [x]]]).size()",
    "lists.range(n).map(x, string(x) + '\U0001f600').size()",
    "lists.range(n).map(x, timestamp(x)).map(t, t.getHours('Europe/Berlin')).size()",
    "lists.range(n).map(x, duration(string(x) + 's')).size()",
    "lists.range(n).map(x, optional.of([x])).map(x, [x]).size()",
    "lists.range(n).map(x, uint(x)).map(x, double(x)).map(x, [x]).size()",
    "lists.range(n).map(x, ip('10.0.0.1')).map(x, [x, x]).size()",
    "lists.range(n).map(x, bytes(string(x))).map(x, base64.encode(x)).size()",
    "lists.range(n).transformMap(k, v, {string(k): v}).size()",
    "lists.range(n).transformMapEntry(k, v, {string(k): [v]}).size()",
    "cel.bind(a, lists.range(n), cel.bind(b, a + a, b + b + b + a)).size()",
    "(wide + wide + wide + wide + wide + wide + wide + wide + wide + wide).size()",
    "wide.split('').map(c, c + 'a').map(c, c + c).size()",
    "wide.reverse().split('').join('\U0001f600').split('').size()",
    "lists.range(n).map(x, '%.300f'.format([1.5])).size()",
]

# No more than the limit to compute; what is too large is what comes out of it.
RESULTS = [
    "lists.range(400000)",
    "lists.range(90000).map(x, [x, x])",
    "lists.range(30000).map(x, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')",
    "[lists.range(100000), lists.range(100000)]",
    "{'a': lists.range(200000)}",
    "optional.of(lists.range(200000))",
]

SAME_TEXT = [
    "[s, s]",
    "s + s",
    "{'a': s, 'b': s}",
    "[[[s]], [s, [s]]]",
    "bytes(s)",
    "l.map(x, s)",
]

CASES: list[Case] = [
    *each("RE041", LOOPS, numbers(3_000)),
    *each("RE041", STRINGS, text(2_000_000)),
    *each("RE041", MAPS, keys(2_000)),
    *each("RE041", NESTED, nested(800)),
    *each("RE041", WIDE, f'{{"n": 300000, "wide": "{WIDE_TEXT}"}}'),
    *each("RE040", RESULTS),
    *each("RE040", SAME_TEXT, text(800_000)),
]
