"""A connection is lost at any message of a call: the caller learns if it may repeat it.

Some messages of every call here; ``tests/soak`` and ``python -m tests.faults.cuts`` try
them all.
"""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from pgrules import Engine, PostgresRuleStore, Rule, StoreUnavailable
from tests.faults.cuts import Subject, cut_everywhere, points, subject_of
from tests.faults.proxy import Proxy
from tests.faults.store_calls import READS, WRITES
from tests.integration.deployed import Deployed

pytestmark = pytest.mark.integration

# What docs/operations.md advises against hosts that are gone without a word, shorter.
SOON = {
    "connect_timeout": 2,
    "tcp_user_timeout": 1500,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
}

# Some calls that are cut at one message in so many.
SOME_WRITES = [name for name in WRITES if name not in {"add", "transaction"}]


@pytest.fixture
def uri(deployed: Deployed) -> str:
    """The database that all tests here share; each has a tenant of its own."""
    return deployed.database.dsn


@pytest.fixture
def subject(uri: str) -> Iterator[Subject]:
    """A tenant with a way to the server that works."""
    with subject_of(uri) as subject:
        yield subject


@pytest.fixture
def proxy(subject: Subject) -> Proxy:
    """The other way."""
    return subject.proxy


@pytest.mark.parametrize(("name", "every"), [("add", 2), ("transaction", 4)])
def test_wherever_a_write_is_cut_it_is_stored_as_a_whole_or_safe_to_repeat(
    uri: str, name: str, every: int
) -> None:
    """STORE-6, ERR-4: at every other message of both sides, or at fewer."""
    counts = cut_everywhere(uri, WRITES[name], every=every)
    assert counts.safe
    assert counts.stored


@pytest.mark.parametrize(("first", "name"), list(enumerate(SOME_WRITES, 1)))
def test_every_kind_of_write_says_whether_it_may_be_repeated(
    uri: str, first: int, name: str
) -> None:
    """STORE-6, ERR-4."""
    assert cut_everywhere(uri, WRITES[name], every=9, first=first).cuts


@pytest.mark.parametrize(("first", "name"), list(enumerate(READS, 1)))
def test_every_kind_of_read_may_be_repeated(uri: str, first: int, name: str) -> None:
    """STORE-6, ERR-4."""
    counts = cut_everywhere(uri, READS[name], every=20, first=first)
    assert counts.safe
    assert counts.cuts == counts.safe + counts.answered


def test_a_message_that_arrives_in_part_is_none(uri: str) -> None:
    counts = cut_everywhere(uri, WRITES["delete"], every=3, part="half")
    assert counts.safe


def test_a_call_in_the_callers_transaction_is_lost_with_it(
    subject: Subject, proxy: Proxy
) -> None:
    """STORE-6: whatever the store's calls said before."""
    call = WRITES["add"](subject.sound)
    with psycopg.connect(proxy.through(subject.app)) as connection:
        store = PostgresRuleStore(connection, subject.tenant)
        with connection.transaction(), proxy.listening() as conversation:
            call(store)
    before = subject.written()
    for cut in points(conversation, every=3):
        first, second = WRITES["add"](subject.sound), WRITES["add"](subject.sound)
        with psycopg.connect(proxy.through(subject.app)) as connection:
            backend = connection.info.backend_pid
            store = PostgresRuleStore(connection, subject.tenant)
            # Where the call had its answer already, the caller's COMMIT fails.
            lost = pytest.raises((StoreUnavailable, psycopg.OperationalError))
            with lost as caught, connection.transaction():
                first(store)
                with proxy.listening(cut):
                    second(store)
        if isinstance(caught.value, StoreUnavailable):
            assert caught.value.retry_safe
        subject.wait_for_the_end_of(backend)
        assert subject.written() == before


def test_a_lost_connection_is_said_to_be_lost_though_its_error_was_suppressed(
    subject: Subject, proxy: Proxy
) -> None:
    """ERR-4: psycopg's own transactions end without COMMIT, and without a word."""
    before = subject.written()
    rule = Rule(uuid4(), "adults", "User.Age >= 18")
    with psycopg.connect(proxy.through(subject.app)) as connection:
        store = PostgresRuleStore(connection, subject.tenant)

        def lose() -> None:
            with store.transaction() as lent:
                PostgresRuleStore(lent, subject.tenant).add(rule)
                proxy.cut()
                with suppress(psycopg.OperationalError):
                    lent.execute("SELECT 1")

        with pytest.raises(StoreUnavailable) as caught:
            lose()
    assert caught.value.retry_safe
    assert subject.written() == before


def test_a_pool_recovers_from_every_cut(subject: Subject, proxy: Proxy) -> None:
    """STORE-6: the next call gets a connection that works."""
    conversation, _ = subject.uncut(WRITES["add"](subject.sound))
    lost = 0
    with ConnectionPool(
        proxy.through(subject.app), min_size=1, max_size=1, timeout=30
    ) as pool:
        store = PostgresRuleStore(pool, subject.tenant)
        for cut in points(conversation, every=4):
            call = WRITES["add"](subject.sound)
            with proxy.listening(cut):
                try:
                    call(store)
                except StoreUnavailable:
                    lost += 1
            store.list_active()
        assert lost
        assert pool.get_stats()["pool_size"] == 1


def test_a_server_that_cannot_be_reached_is_a_safe_retry_and_found_again(
    subject: Subject, proxy: Proxy
) -> None:
    """STORE-6, ERR-4: nothing is rebuilt, the pool connects by itself."""
    rule = subject.sound.add(Rule(uuid4(), "adults", "User.Age >= 18"))
    with ConnectionPool(
        proxy.through(subject.app), min_size=1, max_size=2, timeout=0.2
    ) as pool:
        engine = Engine(PostgresRuleStore(pool, subject.tenant))
        assert engine.evaluate(rule.id, {"User": {"Age": 30}}).matched
        with proxy.refusing():
            for _ in range(3):
                with pytest.raises(StoreUnavailable) as caught:
                    engine.delete_rule(rule.id)
                assert caught.value.retry_safe
        deadline = time.monotonic() + 60
        while True:
            try:
                assert engine.evaluate(rule.id, {"User": {"Age": 30}}).matched
                break
            except StoreUnavailable:
                assert time.monotonic() < deadline


def test_a_host_that_is_gone_without_a_word_ends_a_call_that_sends(
    subject: Subject, proxy: Proxy
) -> None:
    """ERR-4: nothing is acknowledged, and tcp_user_timeout ends the connection."""
    call = WRITES["add"](subject.sound)
    with psycopg.connect(proxy.through(subject.app, **SOON)) as connection:
        store = PostgresRuleStore(connection, subject.tenant)
        store.list_active()
        before = subject.written()
        proxy.go_silent()
        with pytest.raises(StoreUnavailable) as caught:
            call(store)
    assert caught.value.retry_safe
    assert subject.written() == before


def test_a_host_that_is_gone_without_a_word_ends_a_call_that_waits(
    subject: Subject, proxy: Proxy
) -> None:
    """ERR-4: the answer is outstanding, and keepalives are not acknowledged."""
    rule = subject.sound.add(Rule(uuid4(), "adults", "User.Age >= 18"))
    with (
        psycopg.connect(subject.app) as holder,
        psycopg.connect(proxy.through(subject.app, **SOON)) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        holder.execute("SELECT rules.set_tenant(%s)", [subject.tenant])
        holder.execute("UPDATE rules.rules SET active = false WHERE id = %s", [rule.id])
        store = PostgresRuleStore(connection, subject.tenant)
        waiting = threads.submit(store.delete, rule.id)
        subject.wait_until_blocked(connection.info.backend_pid)
        proxy.go_silent()
        with pytest.raises(StoreUnavailable) as caught:
            waiting.result(timeout=60)
        assert caught.value.retry_safe
        holder.rollback()
    assert subject.sound.get(rule.id) == rule


def test_a_server_that_does_not_answer_is_left_by_shutting_the_socket_down(
    subject: Subject,
) -> None:
    """ERR-4: a limit of the caller's own, where the other host is alive."""
    rule = subject.sound.add(Rule(uuid4(), "adults", "User.Age >= 18"))
    with (
        psycopg.connect(subject.app) as holder,
        psycopg.connect(subject.app) as connection,
    ):
        holder.execute("SELECT rules.set_tenant(%s)", [subject.tenant])
        holder.execute("UPDATE rules.rules SET active = false WHERE id = %s", [rule.id])
        store = PostgresRuleStore(connection, subject.tenant)
        with (
            ThreadPoolExecutor(1) as threads,
            socket.socket(fileno=os.dup(connection.fileno())) as own_end,
        ):
            waiting = threads.submit(store.delete, rule.id)
            subject.wait_until_blocked(connection.info.backend_pid)
            own_end.shutdown(socket.SHUT_RDWR)
            with pytest.raises(StoreUnavailable) as caught:
                waiting.result(timeout=60)
        assert caught.value.retry_safe
        holder.rollback()
