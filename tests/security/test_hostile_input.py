"""Hostile expressions, facts and definitions: a clear error, and the backend lives.

The corpus is data, under ``corpus/``: each case with the SQLSTATE that it must end
with. All of it is given to one backend of a real server, which has a budget of time for
each statement, is watched for the memory that it takes, and has to be the same one at
the end.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.fixtures.database import Provider, fresh_database
from tests.integration.tenants import create_tenant
from tests.security.backend import KEPT, LONGEST, Backend
from tests.security.corpus import CORPUS
from tests.security.corpus.case import Case
from tests.security.corpus.statements import (
    ADD_FIELDS,
    CHAIN_FACTS,
    CHAINS,
    STATEMENTS,
    Statement,
)

pytestmark = pytest.mark.integration

EVALUATE = "SELECT rules.evaluate_expression(%s, %s::jsonb)"
STORE = """
INSERT INTO rules.rules (tenant_id, id, name, expression)
VALUES (rules.current_tenant_id(), %s, 'hostile', %s)
"""


@pytest.fixture(scope="module")
def backend(provider: Provider) -> Iterator[Backend]:
    """The one backend that all of this is given to."""
    with fresh_database(provider) as database:
        backend = Backend(database, create_tenant(database))
        yield backend
        backend.close()


def parameters(cases: list[Case]) -> list[Any]:
    """The cases with names that a report can show."""
    return [pytest.param(case, id=f"{n} {case.name}") for n, case in enumerate(cases)]


@pytest.mark.parametrize("case", parameters([c for g in CORPUS.values() for c in g]))
def test_hostile_input_ends_in_its_error(backend: Backend, case: Case) -> None:
    """ENG-4, COMP-2, REQ-INTEG-007."""
    with backend.watched():
        backend.refuses(case.sqlstate, EVALUATE, case.expression, case.facts)


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(case, id=f"{n} {ascii(str(case.value)[:40])[1:-1]}")
        for n, case in enumerate(STATEMENTS)
    ],
)
def test_a_hostile_definition_ends_in_its_error(
    backend: Backend, statement: Statement
) -> None:
    """SCHEMA-1, DER-2, REQ-PERSIST-003."""
    with backend.watched():
        backend.refuses(statement.sqlstate, statement.query, statement.value)


@pytest.mark.parametrize("fields", CHAINS, ids=range(len(CHAINS)))
def test_derived_fields_that_grow_end_whoever_reads_them(
    backend: Backend, fields: str
) -> None:
    """DER-1, ENG-4: each is small; what reads them all is not."""
    with backend.watched():
        session = backend.session
        session.execute(ADD_FIELDS.encode(), [fields])
        for sqlstate, expressions in CHAINS[fields].items():
            for expression in expressions:
                session.execute("SAVEPOINT before")
                backend.refuses(sqlstate, EVALUATE, expression, CHAIN_FACTS)
                session.execute("ROLLBACK TO before")


@pytest.mark.parametrize(
    "group", ["no expressions", "expressions too large"], ids=lambda group: group
)
def test_what_does_not_compile_is_not_stored(backend: Backend, group: str) -> None:
    """COMP-2, REQ-PERSIST-003: the same error as when it is tried."""
    with backend.watched():
        session = backend.session
        for case in CORPUS[group]:
            session.execute("SAVEPOINT before")
            backend.refuses(case.sqlstate, STORE, uuid4(), case.expression)
            session.execute("ROLLBACK TO before")
        stored = session.execute("SELECT count(*) FROM rules.rules").fetchone()
        assert stored == (0,)


# What the calls say of one stored rule, with the length of the trace.
CALLS = {
    "evaluate": "rules.evaluate(%(rule)s, %(facts)s::jsonb)",
    "trace": "rules.evaluate(%(rule)s, %(facts)s::jsonb, trace => true)",
    "evaluate_all": "rules.evaluate_all(%(facts)s::jsonb)",
}
SAYS = "SELECT matched, error, coalesce(length(trace::text), 0) FROM {}"

# Steps are bounded by the text of a rule, and so is what each says.
LONGEST_TRACE = 100_000


@pytest.mark.parametrize("call", CALLS)
def test_a_rule_that_fails_says_so_and_does_not_match(
    backend: Backend, call: str
) -> None:
    """EVAL-3: a failed evaluation is a result, and its error is bounded and clear."""
    with backend.watched():
        session = backend.session
        for case in CORPUS["evaluations that fail"]:
            session.execute("SAVEPOINT before")
            rule = uuid4()
            session.execute(STORE.encode(), [rule, case.expression])
            values = {"rule": rule, "facts": case.facts}
            says = SAYS.format(CALLS[call]).encode()
            row = session.execute(says, values).fetchone()
            assert row is not None
            matched, error, traced = row
            assert matched is False, case
            assert 0 < len(error or "") < LONGEST, case
            assert traced < LONGEST_TRACE, case
            null = session.execute(
                "SELECT rules.matches(%(rule)s, %(facts)s::jsonb)", values
            ).fetchone()
            assert null == (None,), case
            session.execute("ROLLBACK TO before")


def test_the_backend_kept_no_more_than_its_caches(backend: Backend) -> None:
    """ENG-4: after all of the above; programs and Python's own arenas are kept."""
    assert backend.memory().get("RssAnon", 0) < KEPT
