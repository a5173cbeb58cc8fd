"""The hostile corpus again and again, and random input, on one backend."""

import random
from collections.abc import Iterator
from time import monotonic

import psycopg
import pytest

from tests.fixtures.database import Provider, fresh_database
from tests.integration.tenants import create_tenant
from tests.security.backend import KEPT, Backend, assert_clear
from tests.security.corpus import CORPUS
from tests.unit.cel import fuzz

pytestmark = pytest.mark.soak

EVALUATE = "SELECT rules.evaluate_expression(%s, %s::jsonb)"
ROUNDS = 5
SECONDS = 120

# KiB that a round may add to what the first two left: arenas settle, leaks do not.
DRIFT = 32 * 1024


@pytest.fixture
def backend(provider: Provider) -> Iterator[Backend]:
    """The one backend that all of this is given to."""
    with fresh_database(provider) as database:
        backend = Backend(database, create_tenant(database))
        yield backend
        backend.close()


def test_the_corpus_leaks_no_memory_however_often_it_is_tried(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    """ENG-4."""
    kept = []
    for _ in range(ROUNDS):
        for cases in CORPUS.values():
            for case in cases:
                with backend.watched():
                    backend.refuses(
                        case.sqlstate, EVALUATE, case.expression, case.facts
                    )
        kept.append(backend.memory().get("RssAnon", 0))
    with capsys.disabled():
        print("\nMiB kept after each round:", *(amount // 1024 for amount in kept))
    assert max(kept) < KEPT
    assert kept[-1] - kept[1] < DRIFT * (ROUNDS - 2)


def test_costly_rules_are_traced_within_the_same_bounds(backend: Backend) -> None:
    """ENG-4: a trace keeps a value of each step, cut."""
    for case in CORPUS["evaluations too costly"]:
        if case.sqlstate != "RE041":
            continue
        with backend.watched():
            row = backend.session.execute(
                "INSERT INTO rules.rules (tenant_id, name, expression)"
                " VALUES (rules.current_tenant_id(), 'costly', %s) RETURNING id",
                [case.expression],
            ).fetchone()
            assert row is not None
            traced = backend.session.execute(
                "SELECT matched, error IS NOT NULL, length(trace::text) < 100000"
                " FROM rules.evaluate(%s, %s::jsonb, trace => true)",
                [row[0], case.facts],
            ).fetchone()
            assert traced == (False, True, True), case


def test_anything_ends_in_a_value_or_a_clear_error(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    """ENG-4, COMP-2: expressions that are nearly right, for two minutes."""
    seed = random.randrange(1_000_000)  # noqa: S311 - printed, to be repeated
    texts = random.Random(seed)  # noqa: S311
    tried, ends = 0, monotonic() + SECONDS
    while monotonic() < ends:
        text = fuzz.expression(texts)
        if not text.isprintable():
            continue
        tried += 1
        facts = '{"a": 1, "xs": [1, 2], "s": "text", "m": {"a": {"b": null}}}'
        error = _error(backend, text, facts)
        if error is not None:
            assert (error.sqlstate or "").startswith("RE0"), (seed, text, error)
            assert_clear(error)
        backend.session.rollback()
    with capsys.disabled():
        print(f"\n{tried} random expressions, seed {seed}")
    assert backend.session.info.backend_pid == backend.pid


def _error(backend: Backend, text: str, facts: str) -> psycopg.Error | None:
    try:
        backend.session.execute(EVALUATE, [text, facts])
    except psycopg.DatabaseError as error:
        return error
    return None
