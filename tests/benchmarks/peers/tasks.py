"""What a contestant is asked to do, again and again, in a Python process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg

from .adapters import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg import Connection

# Rows of a server-side cursor that come at once.
_FETCHED: Final = 5_000


def rule_set(peer: str, texts: Sequence[tuple[str, str]], facts: str) -> Any:
    """From JSON text of the facts to the ids of the rules that match."""
    matching = ADAPTERS[peer]().rule_set(texts)
    return lambda: matching(facts)


def stored_rule(
    peer: str, dsn: str, tenant: str, statement: str, rule_id: str, facts: str
) -> Callable[[], bool]:
    """Read a rule's row, and evaluate what it says now.

    Compiled rules are kept by their text, so that a rule that is changed is compiled
    anew, and no other.
    """
    adapter = ADAPTERS[peer]()
    cursor = _connect(dsn, tenant).cursor()
    key = (UUID(tenant), UUID(rule_id), peer)
    compiled: dict[str, Callable[[str], bool]] = {}

    def run() -> bool:
        row = cursor.execute(statement, key).fetchone()
        assert row is not None
        (text,) = row
        evaluate = compiled.get(text)
        if evaluate is None:
            evaluate = compiled[text] = adapter.rule(text)
        return evaluate(facts)

    return run


def rows(
    peer: str, dsn: str, tenant: str, statement: str, text: str
) -> Callable[[], list[int]]:
    """Fetch rows, id and facts as JSON text, and list the ids of those that match."""
    matches = ADAPTERS[peer]().rule(text)
    connection = _connect(dsn, tenant)

    def run() -> list[int]:
        with connection.transaction(), connection.cursor("facts") as cursor:
            cursor.itersize = _FETCHED
            cursor.execute(statement)
            return [number for number, facts in cursor if matches(facts)]

    return run


def statement(
    dsn: str, tenant: str, statement: str, parameters: Sequence[str]
) -> Callable[[], list[Any]]:
    """Execute one prepared statement and fetch the first column of its rows."""
    cursor = _connect(dsn, tenant).cursor()
    given = tuple(parameters)

    def run() -> list[Any]:
        return [row[0] for row in cursor.execute(statement, given)]

    return run


def _connect(dsn: str, tenant: str) -> Connection[Any]:
    """Autocommit, statements prepared at once, the tenant set for the session."""
    connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=0)
    connection.execute("SELECT set_config('app.tenant_id', %s, false)", (tenant,))
    return connection


TASKS: Final[dict[str, Callable[..., Callable[[], object]]]] = {
    "rule_set": rule_set,
    "stored_rule": stored_rule,
    "rows": rows,
    "statement": statement,
}
