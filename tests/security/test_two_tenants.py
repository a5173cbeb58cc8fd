"""Two tenants who do anything at random: neither sees, changes or infers the other's.

What is done, and the model that answers are held to, is tests/security/two_tenants;
that the histories would notice is shown by breaking what keeps tenants apart.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.database import Database, Provider, fresh_database
from tests.security.two_tenants.histories import (
    described,
    play,
    play_thrice,
    random_history,
    shortened,
)
from tests.security.two_tenants.play import WEIGHTS, Difference
from tests.security.two_tenants.steps import Step, random_step
from tests.security.two_tenants.world import World, world

pytestmark = pytest.mark.integration

STEPS = st.randoms(use_true_random=False).map(
    lambda random: random_step(random, WEIGHTS)
)

HISTORIES = 4
LENGTH = 250


@pytest.fixture(scope="module")
def migrated(provider: Provider) -> Iterator[Database]:
    """One database for all of these: each history has tenants of its own."""
    with fresh_database(provider) as database:
        yield database


@pytest.fixture(scope="module")
def tenants(migrated: Database) -> Iterator[World]:
    """The sessions of two tenants."""
    with world(migrated) as tenants:
        yield tenants


def drawn(seed: int, length: int) -> list[Step]:
    """A history that is the same on every machine."""
    return random_history(Random(seed), length)  # noqa: S311


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=st.lists(STEPS, max_size=80))
def test_each_of_two_tenants_sees_what_it_has_and_nothing_else(
    tenants: World, history: list[Step]
) -> None:
    """REQ-TENANT-001, REQ-TENANT-003, REQ-SECURITY-002: hypothesis shortens it."""
    play(tenants, history)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_tenant_receives_the_same_whatever_the_other_does(
    tenants: World, seed: int
) -> None:
    """REQ-TENANT-001, REQ-TENANT-004: rows, counts and error texts tell nothing."""
    counts = play_thrice(tenants, drawn(seed, LENGTH))
    assert counts.total() > LENGTH


def test_each_kind_of_step_is_among_the_random_ones() -> None:
    kinds = {step.kind for step in drawn(1, 20_000)}
    assert kinds == set(WEIGHTS)


POLICIES = {
    "rules": "rules.rules",
    "audit_log": "rules.audit_log",
    "derived_fields": "rules.derived_fields",
    "rule_keys": "rules_internal.rule_keys",
}
OPEN = "ALTER POLICY {0}_rules_app ON {1} USING (true)"
CLOSE = (
    "ALTER POLICY {0}_rules_app ON {1} USING (tenant_id = rules.current_tenant_id())"
)

BROKEN = {
    **{
        f"the policy of {table}": (OPEN.format(name, table), CLOSE.format(name, table))
        for name, table in POLICIES.items()
    },
    "a name that is unique among all tenants": (
        "DELETE FROM rules.rules; CREATE UNIQUE INDEX names ON rules.rules (name)",
        "DROP INDEX rules.names",
    ),
}

REPLACED = {
    "rule sets that are kept by the rules' ids": (
        "rules_internal.rule_set_key(uuid)",
        """
        CREATE OR REPLACE FUNCTION rules_internal.rule_set_key(p_tenant_id uuid)
        RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT string_agg(rule.id::text, ' ' ORDER BY rule.created_at, rule.id)
            FROM rules.rules AS rule
            WHERE rule.tenant_id = p_tenant_id AND rule.active
        $$
        """,
    ),
    "a tenant that is set for the session": (
        "rules.set_tenant(uuid)",
        """
        CREATE OR REPLACE FUNCTION rules.set_tenant(tenant_id uuid)
        RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM set_config('app.tenant_id', tenant_id::text, false);
        END;
        $$
        """,
    ),
}


# Plans that were made meanwhile stay in the sessions, so this one comes last.
BROKEN_LAST = {
    "a resolver that is planned once": (
        "ALTER FUNCTION rules.current_tenant_id() IMMUTABLE",
        "ALTER FUNCTION rules.current_tenant_id() STABLE",
    ),
}


@contextmanager
def broken(database: Database, tenants: World, what: str) -> Iterator[None]:
    """Break what keeps tenants apart, for as long as the block runs."""
    session = database.connect(autocommit=True)
    if what in REPLACED:
        function, breaking = REPLACED[what]
        row = session.execute(
            "SELECT pg_get_functiondef(%s::regprocedure)", [function]
        ).fetchone()
        assert row is not None
        mending = row[0]
    else:
        breaking, mending = {**BROKEN, **BROKEN_LAST}[what]
    session.execute(breaking.encode())
    try:
        yield
    finally:
        tenants.roll_back()
        session.execute(mending.encode())


def test_a_leak_is_shown_by_a_few_steps(migrated: Database, tenants: World) -> None:
    history = drawn(1, LENGTH)
    with broken(migrated, tenants, "the policy of rules.rules"):
        steps, _ = shortened(tenants, history, play, seconds=20)
    assert len(steps) <= 3, described(tenants, steps)


@pytest.mark.parametrize("what", [*BROKEN, *REPLACED, *BROKEN_LAST])
def test_what_does_not_keep_tenants_apart_is_noticed(
    migrated: Database, tenants: World, what: str
) -> None:
    """In one of a few histories."""
    with broken(migrated, tenants, what):
        for seed in range(20):
            try:
                play_thrice(tenants, drawn(seed, LENGTH))
            except Difference:
                return
    pytest.fail("nothing was noticed")
