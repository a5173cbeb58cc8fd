"""Schemas, derived fields, rules and arguments that must be refused by SQL."""

from typing import NamedTuple


class Statement(NamedTuple):
    """A statement of an application, with what its parameters are hostile about."""

    sqlstate: str
    query: str
    value: object


SET_SCHEMA = "SELECT rules.set_schema(%s::jsonb)"
ADD_FIELDS = """
INSERT INTO rules.derived_fields (tenant_id, name, expression)
SELECT rules.current_tenant_id(), key, value FROM jsonb_each_text(%s::jsonb)
"""
ADD_RULE = """
INSERT INTO rules.rules (tenant_id, name, expression)
VALUES (rules.current_tenant_id(), %s, 'true')
"""


def objects(count: int, fields: int = 1) -> str:
    """A schema of so many objects of so many fields."""
    names = ",".join(f'"f{field}": "int"' for field in range(fields))
    return "{" + ",".join(f'"O{n}": {{{names}}}' for n in range(count)) + "}"


def chain(length: int, operator: str) -> str:
    """Derived fields, each of which reads the one before it twice."""
    fields = {"d0": "one"}
    for number in range(1, length):
        before = f"d{number - 1}"
        fields[f"d{number}"] = operator.format(before)
    return "{" + ",".join(f'"{name}": "{text}"' for name, text in fields.items()) + "}"


SCHEMAS: dict[str, list[object]] = {
    "RE060": [
        "[]",
        "{}",
        "null",
        "1",
        '"User"',
        "true",
        '{"User": {}}',
        '{"User": []}',
        '{"User": null}',
        '{"User": "int"}',
        '{"User": {"Age": null}}',
        '{"User": {"Age": 1}}',
        '{"User": {"Age": []}}',
        '{"User": {"Age": {"type": "int"}}}',
        '{"User": {"Age": ""}}',
        '{"User": {"Age": "integer"}}',
        '{"User": {"Age": "INT"}}',
        '{"User": {"Age": "int; DROP TABLE rules.rules"}}',
        '{"User": {"Age": "__import__"}}',
        '{"User": {"": "int"}}',
        '{"": {"Age": "int"}}',
        '{"User": {"a b": "int"}}',
        '{"User": {"1st": "int"}}',
        '{"User": {"a.b": "int"}}',
        '{"User": {"a-b": "int"}}',
        '{"User": {"in": "int"}}',
        '{"User": {"true": "int"}}',
        '{"in": {"Age": "int"}}',
        '{"null": {"Age": "int"}}',
        '{"User": {"\u00e9": "int"}}',
        '{"User": {"\U0001f600": "int"}}',
        '{"\u0410dmin": {"Age": "int"}}',
        '{"a\\nb": {"Age": "int"}}',
        '{"User": {"' + "x" * 101 + '": "int"}}',
        '{"' + "x" * 101 + '": {"Age": "int"}}',
        '{"' + "x" * 1_000_000 + '": {"Age": "int"}}',
        '{"User": {"Age": "' + "x" * 1_000_000 + '"}}',
        objects(101),
        objects(1, 201),
        objects(2_000, 50),
        '{"User": {"Age": ' + "[" * 1_000 + "]" * 1_000 + "}}",
        '{"a": ' * 2_000 + '"int"' + "}" * 2_000,
        '{"User": {"Age": ' + "9" * 100_000 + "}}",
    ],
    "22P02": ["", "{", '{"User": {"Age": int}}', '{"a": NaN}'],
    "22P05": ['{"User": {"\\u0000": "int"}}'],
}

FIELDS: dict[str, list[object]] = {
    "RE061": [
        '{"a": "a"}',
        '{"a": "a + 1"}',
        '{"a": "b", "b": "a"}',
        '{"a": "b", "b": "c", "c": "d", "d": "a"}',
        '{"a": "l.map(x, b)", "b": "l.all(a, a)", "c": "has(c.d)"}',
        '{"a": "true ? 1 : b", "b": "false && a"}',
        '{"in": "1"}',
        '{"true": "1"}',
    ],
    "RE020": [
        '{"a": ""}',
        '{"a": "1 +"}',
        '{"a": "SELECT 1"}',
        '{"a": "nosuch(1)"}',
        '{"a": "1 + \'a\'"}',
        '{"a": "1", "b": "2 +", "c": "3"}',
    ],
    "RE021": [
        '{"a": "' + "(" * 10_000 + '"}',
        '{"a": "' + "x" * 100_000 + '"}',
    ],
    "22001": ['{"' + "x" * 101 + '": "1"}'],
    "23502": ['{"a": null}'],
    "23514": [
        '{"": "1"}',
        '{"a b": "1"}',
        '{"1": "1"}',
        '{"a.b": "1"}',
        '{"\u00e9": "1"}',
        '{"size": "1", "a-b": "2"}',
    ],
}

# Fields that may be stored, since nobody need read them; then somebody does.
CHAINS = {
    chain(40, "{0} + {0}"): {
        "RE041": ["d39 > 'a'", "size(d39)", "d39"],
        "RE021": ["d39 == d38", "d39 == d39"],
    },
    chain(60, "[{0}, {0}]"): {
        "RE040": ["d59", "d20", "d59.map(x, x)", "d59[2]"],
        "RE020": ["string(d59)", "[d59].sort()"],
        "RE021": [
            "d59 == d59",
            "d59 in [d59]",
            "sets.contains(d59, d59)",
            "d59.distinct()",
            "'%s'.format([d59])",
            "d59.flatten(60)",
            "{'a': d59} == {'a': d59}",
            "d59.map(x, x == d59)",
            "d17 != d18",
        ],
    },
    chain(300, "{0}.map(x, [x, x, x])"): {"RE040": ["d299", "size(d299)"]},
    '{"a": "l + l", "b": "a + a", "c": "b + b", "d": "c + c", "e": "d + d",'
    ' "f": "e + e", "g": "f + f", "h": "g + g", "i": "h + h", "j": "i + i"}': {
        "RE041": ["j + j", "j.all(x, x > 0)"],
    },
    '{"a": "l.map(x, l)", "b": "a.map(x, a)", "c": "b.map(x, b)"}': {
        "RE040": ["c", "[b, c]"],
        "RE021": ["c == c", "c.flatten(9)", "c.map(x, x == c)"],
    },
}
CHAIN_FACTS = '{"one": "xxxxxxxxxx", "l": [' + "1, " * 2_000 + "1]}"


NAMES: dict[str, list[object]] = {
    "23514": ["", " ", "   "],
    "22001": ["x" * 256, "x" * 1_000_000, "\U0001f600" * 256],
    "23502": [None],
}

CALLS = {
    "22004": [
        "SELECT rules.evaluate_expression(NULL, %s::jsonb)",
        "SELECT * FROM rules.evaluate_all(NULLIF(%s::jsonb, '{}'))",
        "SELECT * FROM rules.check_expression(NULLIF(%s, '{}'))",
        "SELECT rules.set_schema(NULLIF(%s::jsonb, '{}'))",
        "SELECT rules.set_tenant(NULLIF(%s, '{}')::uuid)",
        "SELECT * FROM rules.match_rules_batch(ARRAY[%s::jsonb, NULL])",
    ],
    "RE010": [
        "SELECT * FROM rules.evaluate(NULL, %s::jsonb)",
        "SELECT rules.matches(NULL, %s::jsonb)",
        "SELECT * FROM rules.explain_rule(NULL, %s::jsonb)",
        "SELECT rules.evaluation_cost(gen_random_uuid(), %s::jsonb)",
    ],
    "RE011": [
        "SELECT rules.activate_schema(length(%s))",
        "SELECT rules.activate_schema(-length(%s))",
        "SELECT rules.activate_schema(length(%s) * 1073741823)",
    ],
    "22P02": [
        "SELECT * FROM rules.evaluate(%s, '{}')",
        "SELECT rules.matches(%s, '{}')",
        "SELECT rules.set_tenant(%s)",
    ],
    "RE030": ["SELECT * FROM rules.match_rules_batch(ARRAY[%s::jsonb, '[]', '1'])"],
    "2202E": ["SELECT * FROM rules.match_rules_batch(ARRAY[ARRAY[%s::jsonb]])"],
}

STATEMENTS: list[Statement] = [
    *(
        Statement(sqlstate, query, value)
        for query, refused in (
            (SET_SCHEMA, SCHEMAS),
            (ADD_FIELDS, FIELDS),
            (ADD_RULE, NAMES),
        )
        for sqlstate, values in refused.items()
        for value in values
    ),
    *(
        Statement(sqlstate, query, "{}")
        for sqlstate, queries in CALLS.items()
        for query in queries
    ),
]
