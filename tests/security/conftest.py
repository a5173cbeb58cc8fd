"""What the isolation suite shares: one world, and what must not change in it."""

from collections.abc import Iterator

import pytest

from tests.fixtures.database import Provider, fresh_database
from tests.security.world import Connection, World, build


@pytest.fixture(scope="session")
def world(provider: Provider) -> Iterator[World]:
    """Harbour ("mine") and Xanadu ("theirs"), for all tests of a run."""
    with fresh_database(provider) as database:
        world = build(database)
        try:
            yield world
        finally:
            world.close()


@pytest.fixture(scope="session")
def before(world: World) -> dict[str, list[object]]:
    """What the other tenant has."""
    digests = world.theirs_as_it_is()
    assert all(count for count, _ in digests.values()), digests
    return digests


@pytest.fixture
def untouched(world: World, before: dict[str, list[object]]) -> Iterator[None]:
    """Whatever a test tries, the other tenant has afterwards what it had before."""
    yield
    assert world.theirs_as_it_is() == before


@pytest.fixture(params=["rules_app", "rules_tenant"])
def me(request: pytest.FixtureRequest) -> str:
    """The kind of a login that works for my tenant."""
    kind: str = request.param
    return kind


@pytest.fixture
def session(me: str, world: World) -> Iterator[Connection]:
    """A transaction of my tenant, by an application's login and by a bound one."""
    with world.session(me, world.mine) as connection:
        yield connection
