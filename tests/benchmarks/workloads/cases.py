"""Cases that a contestant's process runs, and statements that the server does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.benchmarks.measuring import Case

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.benchmarks.peers.contestant import Contestant, Team
    from tests.benchmarks.surroundings import Surroundings


def of_contestant(contestant: Contestant, expected: object, **options: Any) -> Case:
    """A case under the contestant's name, timed by its own clock."""
    return Case(
        run=contestant.run,
        expected=expected,
        **{
            "name": contestant.name,
            "timer": contestant.time,
            "memory": contestant.memory,
            "prepared": contestant.prepared,
            **options,
        },
    )


def of_statement(
    around: Surroundings,
    team: Team,
    statement: str,
    parameters: Sequence[str],
    *,
    tenant_id: UUID | None = None,
    expected: object,
    **options: Any,
) -> Case:
    """A case of one prepared statement through a connection of its own.

    Its result is the first column; its memory that of the server's process.
    """
    application = f"benchmark {uuid4().hex[:12]}"
    contestant = team.add(
        None,
        "statement",
        dsn=around.named_login(application),
        tenant=str(tenant_id or around.tenant_id),
        statement=statement,
        parameters=parameters,
    )
    return of_contestant(
        contestant,
        expected,
        memory=partial(around.backend_memory, application),
        prepared=None,
        **options,
    )
