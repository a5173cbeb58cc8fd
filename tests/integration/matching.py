"""Tables full of what is hard to match, and rules about them.

Every value that a column's type can have and CEL or JSON has not: NaN, infinity, years
before Christ, intervals of months, numbers beyond doubles; names that are keywords,
have quotes, dots or percent signs in them; texts that look like SQL.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

HOSTILE_TABLE = """
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'Ok');
CREATE DOMAIN port AS integer CHECK (VALUE > 0);
CREATE DOMAIN busy_port AS port;
CREATE DOMAIN ports AS integer[];
CREATE COLLATION folded (
    provider = icu, locale = 'und-u-ks-level2', deterministic = false
);
CREATE TABLE hostile (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    small smallint,
    big bigint,
    single real,
    wide double precision,
    amount numeric,
    gone text,
    word text,
    short varchar(60),
    padded char(6),
    folded text COLLATE folded,
    folded_short char(6) COLLATE folded,
    called name,
    yes boolean,
    key uuid,
    feeling mood,
    moment timestamptz,
    local timestamp,
    day date,
    span interval,
    raw bytea,
    doc jsonb,
    plain json,
    door busy_port,
    doors ports,
    counts bigint[],
    sizes double precision[],
    words text[],
    feelings mood[],
    twice bigint GENERATED ALWAYS AS (small * 2) STORED,
    place point,
    r text,
    "order" integer,
    "select" text,
    "Ä" text,
    "a""b" text,
    "a.b" text,
    "50%s" integer,
    "it's" integer
);
ALTER TABLE hostile DROP COLUMN gone;
"""

_WORDS = (
    "",
    "UA",
    "ua",
    "Ua ",
    "ÜA",
    "it's",
    'a"b',
    "a\\b",
    "%s %1$L",
    "'; DROP TABLE hostile; --",
    "$$",
    "zebra",
    "\U0001f600",
    None,
)
_COLUMNS: dict[str, tuple[Any, ...]] = {
    "small": (0, 1, -1, 32767, -32768, None),
    "big": (0, 7, 2**53 + 1, 2**63 - 1, -(2**63), None),
    "single": ("0.1", "0.5", "NaN", "Infinity", "-0", "1e38", None),
    "wide": ("0.1", "1", "-0", "NaN", "Infinity", "-Infinity", "1e300", "5e-324", None),
    "amount": (
        "0",
        "0.1",
        "1",
        "1.00000000000000000001",
        "123456789012345678901234567890",
        "1e400",
        "1e-400",
        "NaN",
        "Infinity",
        None,
    ),
    "word": _WORDS,
    "short": _WORDS,
    "padded": ("UA", "ua", "", "zebra", None),
    "folded": _WORDS,
    "folded_short": ("UA", "ua", "", None),
    "called": ("UA", "pg_class", None),
    "yes": (True, False, None),
    "key": ("AAAAAAAA-0000-4000-8000-000000000001", None),
    "feeling": ("sad", "it's ok", "Ok", None),
    "moment": (
        "2013-01-01 05:17:00.000001+00",
        "2013-01-01 00:00:00+00",
        "infinity",
        "-infinity",
        "0044-03-15 00:00:00+00 BC",
        "10000-01-01 00:00:00+00",
        None,
    ),
    "local": ("2013-01-01 00:00:00", "infinity", "0044-03-15 00:00:00 BC", None),
    "day": ("2013-01-01", "2013-01-02", "infinity", "5874897-12-31", None),
    "span": (
        "1 day 02:03:04.5",
        "-1 hour",
        "0",
        "1 mon",
        "300 years",
        "200000 d",
        None,
    ),
    "raw": (b"", b"\x00\xff", b"x" * 100, None),
    "doc": (
        '{"a": 1, "b": [1, 2.0, "x"], "n": null}',
        '{"a": 1.0}',
        '{"a": "1"}',
        "[1]",
        '"text"',
        "1e100",
        "null",
        None,
    ),
    "plain": ('{"a": 1.50}', "[]", None),
    "door": (80, 443, None),
    "doors": ("{80,443}", "{}", None),
    "counts": ("{1,2,NULL}", "{{1,2},{3,4}}", "{}", None),
    "sizes": ("{0.1,NaN}", "{1e300,-Infinity,NULL}", None),
    "words": ('{a,"b c",NULL}', "{}", None),
    "feelings": ("{sad}", None),
    "place": ("(1,2)",),
    "r": ("r", None),
    "order": (1, 2, None),
    "select": ("x", None),
    "Ä": ("ä", None),
    'a"b': ("q", None),
    "a.b": ("dot", None),
    "50%s": (50, None),
    "it's": (3, None),
}


def fill(session: Connection, rows: int = 400) -> None:
    """Make the table, with every value of every column beside various others."""
    session.execute(HOSTILE_TABLE.encode())
    # A percent sign in a name is doubled beside placeholders.
    names = [sql.Identifier(name.replace("%", "%%")) for name in _COLUMNS]
    statement = sql.SQL("INSERT INTO hostile ({}) VALUES ({})").format(
        sql.SQL(", ").join(names),
        sql.SQL(", ").join([sql.Placeholder()] * len(names)),
    )
    for row in range(rows):
        # Steps without common factors let each pair of columns meet in many ways.
        session.execute(
            statement,
            [
                values[(row * step + row // 7) % len(values)]
                for step, values in enumerate(_COLUMNS.values(), start=1)
            ],
        )


RULES_ABOUT_COLUMNS = (
    "true",
    "small > 0",
    "small > 0.5",
    "small == null",
    "small != 1",
    "small != null && small * 30000 > 30000",
    "big + 1 > 0",
    "big == 9007199254740993 || big < -1.0",
    "big > 9007199254740992.0",
    "big / small > 3",
    "big % small == 0",
    "-big < 0",
    "single == 0.1",
    "single > 0.1",
    "single < 1.0",
    "!(single < 1.0)",
    "wide == wide",
    "wide != wide",
    "wide > 0.0",
    "!(wide > 0.0)",
    "wide >= 1.0 || wide < 0.0",
    "wide / wide > 0.5",
    "wide * 1e300 > 1e308",
    "wide in [0.1, 1.0]",
    "wide > double(small)",
    "amount == 0.1",
    "amount == 1.0",
    "amount > 1.0",
    "amount >= 1.0",
    "amount < 1e300 || small == 1",
    "amount == amount",
    "amount != 0.0",
    "word == 'UA'",
    "word != 'UA'",
    "word < 'a'",
    "word >= short",
    "word == \"it's\" || word == 'a\\\\b' || word == 'a\"b'",
    'word == "\'; DROP TABLE hostile; --"',
    "word == '%s %1$L' || short == '$$'",
    "word in ['UA', 'ua', '']",
    "word.startsWith('U') || word.endsWith(' ')",
    "word.contains(\"'\") || word.contains('%s')",
    "size(word) == 2",
    "size(word) == 1",
    "word + short == 'UAUA'",
    "padded == 'UA'",
    "padded == 'UA    '",
    "size(padded) == 2",
    "folded == 'UA'",
    "folded != 'UA'",
    "folded in ['UA']",
    "folded == word",
    "folded < short",
    "folded_short == 'UA'",
    "folded_short != word",
    "called == 'pg_class'",
    "yes",
    "!yes",
    "yes == true || small > 0",
    "yes ? small > 0 : big > 0",
    "key == 'aaaaaaaa-0000-4000-8000-000000000001'",
    "key == 'AAAAAAAA-0000-4000-8000-000000000001'",
    'feeling == "it\'s ok"',
    "feeling == 'ok'",
    "feeling < 'm'",
    "moment == timestamp('2013-01-01T05:17:00.000001Z')",
    "moment > timestamp('2013-01-01T00:00:00Z')",
    "moment < timestamp('2013-01-01T00:00:00.0000005Z')",
    "moment == moment",
    "moment != timestamp('2013-01-01T00:00:00Z')",
    "moment > timestamp('2000-01-01T00:00:00Z') || yes",
    "moment == null",
    "moment + duration('1h') > timestamp('2013-01-01T06:00:00Z')",
    "moment.getHours() == 5",
    "moment - local > duration('0')",
    "local == moment",
    "day < timestamp('2013-01-02T00:00:00Z')",
    "day == local",
    "span > duration('1h')",
    "span == duration('26h3m4.5s')",
    "span < duration('0s') || span == span",
    "moment + span > moment",
    "size(raw) == 2",
    "raw == b'\\x00\\xff'",
    "doc.a == 1",
    "doc.a == '1'",
    "has(doc.a) && doc.a > 0",
    "!has(doc.n)",
    "doc.n == null",
    "doc == 'text'",
    "doc == null",
    "doc.b[0] == 1 && 2.0 in doc.b",
    "doc.b.exists(x, x == 'x')",
    "size(doc) == 3",
    "plain.a == 1.5",
    "door == 443",
    "443 in doors",
    "counts[0] == 1",
    "2 in counts",
    "size(counts) == 2",
    "counts == null",
    "counts.exists(n, n == 2)",
    "sizes.all(s, s > -1e301)",
    "'b c' in words",
    "words.exists(w, w == null)",
    "'sad' in feelings",
    "twice == 2",
    "r == 'r' && order == 1",
    "string(small) == '1' && wide > 0.0",
    "wide > 0.0 && string(small) != '1' && small > -10",
)

RULES_ABOUT_AN_OBJECT = (
    "H.small > 0 && has(H.big)",
    "has(H.doc) && has(H.doc.a)",
    "!has(H.small)",
    "H.`a.b` == 'dot'",
    'H[\'a"b\'] == "q"',
    "H['Ä'] == 'ä'",
    "H['50%s'] == 50",
    'H["it\'s"] == 3',
    "H.order + 1 == 2",
    "H.?small.orValue(0) > 0",
    "H.word == H.short",
    "'word' in H",
    "H.exists(k, k == 'small')",
    "H.wide > 0.0 || H.yes",
)


def add_rule(session: Connection, tenant: UUID, expression: str) -> UUID:
    """Store a rule under a name of its own, and give its id."""
    row = session.execute(
        "INSERT INTO rules.rules (tenant_id, name, expression)"
        " VALUES (%s, gen_random_uuid()::text, %s) RETURNING id",
        [tenant, expression],
    ).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found
