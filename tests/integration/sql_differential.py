"""Rules as SQL against the language: random rules, each over a table of random facts.

``python -m tests.integration.sql_differential 100000 [SEED]`` holds so many pairs of a
rule and facts against each other, on the server that ``DATABASE_URL`` names, and prints
what differs. One statement asks one rule of all facts.
"""

from __future__ import annotations

import json
import os
import sys
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from pgrules.cel import (
    CelError,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    InvalidFacts,
    compile_expression,
)
from pgrules.cel.activation import activate, compile_derived
from pgrules.cel.facts import parse_facts
from pgrules.cel.sql import Source, translate
from pgrules.cel.sql_columns import Column
from tests.integration import sql_generation as generation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgrules.cel import Program
    from pgrules.cel.sql_text import Mode

Connection = psycopg.Connection[Any]

_FACTS = 100
_RULES_EACH = 50


class Pool(NamedTuple):
    """Facts in a table t, and what rules about them are translated with."""

    texts: list[str]
    environment: Environment
    source: Source


class Setting(NamedTuple):
    """A kind of rules, and how facts for them are stored in a table t."""

    rule: Callable[[Random], str]
    store: Callable[[Connection, Random], Pool]


def _dynamic_rule(random: Random) -> str:
    return generation.Rules(random).condition(random.randint(0, 3))


_DECLARED = Environment.from_json(generation.DOCUMENT)


def _store_dynamic(session: Connection, random: Random) -> Pool:
    texts = [generation.facts(random) for _ in range(_FACTS)]
    return store(session, texts, Environment())


def _store_declared(session: Connection, random: Random) -> Pool:
    texts = [generation.declared_facts(random) for _ in range(_FACTS)]
    return store(session, texts, _DECLARED)


def store(session: Connection, facts: list[str], environment: Environment) -> Pool:
    """Keep facts in a column, and give their texts as the server has them."""
    session.execute("DROP TABLE IF EXISTS pg_temp.t")
    session.execute("CREATE TEMPORARY TABLE t (number integer, facts jsonb)")
    session.execute(
        "INSERT INTO t SELECT n - 1, facts::jsonb"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS f (facts, n)",
        [facts],
    )
    rows = session.execute("SELECT facts::text FROM t ORDER BY number")
    return Pool([row[0] for row in rows], environment, Source("t", "facts"))


def _store_columns(session: Connection, random: Random) -> Pool:
    """Keep facts in columns; the server says what they are to the language."""
    session.execute("DROP TABLE IF EXISTS pg_temp.t")
    columns = ", ".join(f'"{n}" {of}' for n, (of, _) in generation.COLUMNS.items())
    session.execute(f"CREATE TEMPORARY TABLE t (number integer, {columns})".encode())
    places = ", ".join(f"%s::text::{of}" for of, _ in generation.COLUMNS.values())
    with session.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO t VALUES (%s, {places})".encode(),  # noqa: S608
            [[number, *generation.row(random)] for number in range(_FACTS)],
        )
    known = session.execute(
        "SELECT name, base, not_null, declared"
        " FROM rules_internal.relation_columns('pg_temp.t'::regclass)"
    ).fetchall()
    document = {"columns": {name: declared for name, _, _, declared in known}}
    of = {name: Column(name, base, not fixed) for name, base, fixed, _ in known}
    facts = session.execute(
        "SELECT rules_internal.row_facts('pg_temp.t'::regclass, 't', %s, NULL)",
        [list(generation.COLUMNS)],
    ).fetchone()
    assert facts is not None
    rows = session.execute(
        f"SELECT ({facts[0]})::text FROM t ORDER BY number".encode()  # noqa: S608
    )
    environment = Environment.from_json(json.dumps(document))
    return Pool([row[0] for row in rows], environment, Source("t", None, of))


SETTINGS = (
    Setting(_dynamic_rule, _store_dynamic),
    Setting(generation.declared_rule, _store_declared),
    Setting(generation.columns_rule, _store_columns),
)


class Counts:
    """Pairs that agreed, pairs that did not, rules that were refused."""

    def __init__(self) -> None:
        self.pairs = self.failed = self.rules = self.refused = 0
        self.reasons: dict[str, int] = {}


def template_of(
    compiled: Program, source: Source, mode: Mode
) -> tuple[str, list[str], bool] | None:
    """Template, arguments, and whether that is all of the rule."""
    made = translate(
        compiled.tree, compiled.text, compiled.environment, source, mode=mode
    )
    if made.template is None:
        return None
    return made.template, made.arguments, not made.reasons


def outcome(compiled: Program, variables: Any) -> bool | None:
    """True, false or, for an error or a value that is no bool, None."""
    try:
        value = compiled.interpret(variables)
    except CostLimitExceeded:
        raise
    except EvaluationError:
        return None
    return value if type(value) is bool else None


def differences(
    session: Connection, pairs: int, seed: int, counts: Counts
) -> Iterator[str]:
    """What differs, in so many pairs and a few more."""
    random = Random(seed)  # noqa: S311 - wanted to be repeatable
    while counts.pairs < pairs:
        setting = random.choice(SETTINGS)
        pool = setting.store(session, random)
        rules = (setting.rule(random) for _ in range(_RULES_EACH))
        yield from compared(session, pool, rules, counts)


def compared(
    session: Connection, pool: Pool, rules: Iterable[str], counts: Counts
) -> Iterator[str]:
    """What differs of these rules over stored facts; they need not compile."""
    environment = pool.environment
    fields = compile_derived(environment)
    limit = environment.limits.cost
    known = []
    for number, text in enumerate(pool.texts):
        try:
            known.append((number, text, parse_facts(text)))
        except InvalidFacts:
            continue
    for text in rules:
        try:
            compiled = compile_expression(text, environment)
        except CelError:
            continue
        counts.rules += 1
        made = {
            mode: template_of(compiled, pool.source, mode)
            for mode in ("true", "exact", "false")
        }
        if made["true"] is None or not made["true"][2]:
            counts.refused += 1
        if made["true"] is None:
            continue
        try:
            rows = ask(session, made)
        except psycopg.Error as error:
            counts.failed += 1
            yield f"{text}\n  {error}"
            continue
        for number, facts_text, facts in known:
            variables = activate(facts, fields, limit)
            try:
                expected = outcome(compiled, variables)
            except CostLimitExceeded:
                continue
            counts.pairs += 1
            is_true, exact, is_false = rows[number]
            # What is but a filter is true of more facts.
            whole = made["true"][2] or expected is True
            if (
                (whole and (is_true is True) != (expected is True))
                or (made["exact"] is not None and exact is not expected)
                or (
                    made["false"] is not None
                    and (is_false is False) != (expected is False)
                )
            ):
                counts.failed += 1
                yield (
                    f"{text}\n  {facts_text}\n  {expected} but"
                    f" {is_true}, {exact}, {is_false}"
                )
                break


def ask(session: Connection, made: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The outcomes of one rule, in the three modes, for all facts."""
    texts = []
    for found in made.values():
        if found is None:
            texts.append("NULL")
            continue
        template, arguments, _ = found
        row = session.execute(
            "SELECT format(%s, VARIADIC %s::text[])", [template, arguments]
        ).fetchone()
        assert row is not None
        texts.append(row[0])
    query = f"SELECT ({'), ('.join(texts)}) FROM t ORDER BY number"  # noqa: S608
    with session.transaction():
        return list(session.execute(query.encode()))  # no parameters: text as it is


def main() -> int:
    """Run as many pairs as the command line says."""
    pairs = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    counts = Counts()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as session:
        for difference in differences(session, pairs, seed, counts):
            sys.stdout.write(f"{difference}\n")
            if counts.failed > 20:
                break
    sys.stdout.write(
        f"{counts.rules} rules, {counts.refused} refused\n"
        f"{counts.pairs} passed, {counts.failed} failed\n"
    )
    return 1 if counts.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
