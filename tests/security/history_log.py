"""What committed, and what a snapshot may show of it.

Every write is noted with its transaction and with a number from one sequence, which it
draws while it holds the row's lock: of the writes of one key that a snapshot sees, the
one with the highest number is what the snapshot shows.
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.security.history_rules import Environment


@dataclass(frozen=True)
class Snapshot:
    """``pg_current_snapshot()``."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str, own: int | None) -> "Snapshot":
        """From its text ``xmin:xmax:xip,xip``, which leaves the own transaction out."""
        xmin, xmax, listed = text.split(":")
        running = {int(xid) for xid in listed.split(",") if xid}
        if own is not None:
            running.add(own)
        return cls(int(xmin), int(xmax), frozenset(running))

    def sees(self, xid: int) -> bool:
        """Whether it shows another transaction, if that committed."""
        return xid < self.xmax and xid not in self.running


@dataclass(frozen=True)
class Write:
    """One key of a tenant got a value; None is that it was deleted."""

    order: int
    xid: int
    tenant: UUID
    key: str
    value: Any


@dataclass(frozen=True)
class Reading:
    """What one statement answered: rows, and evaluations, of one snapshot."""

    session: str
    transaction: str
    """Isolation level, how it was asked, and where in the session's run."""
    tenant: UUID
    own: tuple[Write, ...]
    """What its transaction had written itself by then."""
    until: int
    """No write that it can see has a higher number."""
    snapshot: Snapshot
    clock: datetime
    facts: tuple[dict[str, Any], ...]
    rule: UUID
    """The one rule that some questions are about."""
    rows: dict[str, Any]
    """``rules`` in the order of evaluation, ``schema``, ``derived``, ``document``."""
    answers: dict[str, Any]

    @property
    def environment(self) -> Environment:
        """Of the rows."""
        return Environment(self.rows["schema"][1], self.rows["derived"])

    def state(self) -> dict[str, Any]:
        """The rows by key, as writes have them."""
        found: dict[str, Any] = {
            f"rule {row['id']}": [row["name"], row["expression"], row["active"]]
            for row in self.rows["rules"]
        }
        found |= {
            f"derived {name}": text for name, text in self.rows["derived"].items()
        }
        if self.rows["schema"][0] is not None:
            found["schema"] = self.rows["schema"]
        return found


@dataclass
class History:
    """All writes of transactions that committed."""

    by_key: dict[tuple[UUID, str], list[Write]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @classmethod
    def of(cls, writes: Iterable[Write], committed: Container[int]) -> "History":
        """Those writes whose transactions are among the committed ones."""
        history = cls()
        for write in sorted(writes, key=lambda write: write.order):
            if write.xid in committed:
                history.by_key[write.tenant, write.key].append(write)
        return history

    def state(
        self, tenant: UUID, snapshot: Snapshot, until: int, own: Iterable[Write] = ()
    ) -> dict[str, Any]:
        """What a snapshot shows of a tenant, with what its transaction wrote itself."""
        found = {}
        for (of, key), writes in self.by_key.items():
            if of != tenant:
                continue
            newest = bisect_right(writes, until, key=lambda write: write.order)
            for write in reversed(writes[:newest]):
                if snapshot.sees(write.xid):
                    found[key] = write.value
                    break
        for write in own:
            found[write.key] = write.value
        return {key: value for key, value in found.items() if value is not None}

    def values(self, tenant: UUID, key: str) -> list[Any]:
        """All that a key ever was to others, in order."""
        last: dict[int, Any] = {}
        for write in self.by_key[tenant, key]:
            last[write.order] = write.value
        return list(last.values())


def environment_of(state: dict[str, Any]) -> Environment:
    """The environment within a state."""
    return Environment(
        state.get("schema", (None, None))[1],
        {
            key.removeprefix("derived "): text
            for key, text in state.items()
            if key.startswith("derived ")
        },
    )
