"""A thousand rules or a million, of which ten match; and what storing them costs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from threading import Thread
from time import perf_counter
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from psycopg import sql

from tests.benchmarks.measuring import Case, Workload
from tests.benchmarks.peers import MEMORY, PEERS
from tests.benchmarks.peers.contestant import Team
from tests.benchmarks.peers.formats import cel
from tests.benchmarks.rules import ORDER, subscriptions
from tests.benchmarks.surroundings import store_rules

from .cases import of_contestant, of_statement
from .many_rules import EVALUATE_ALL, MATCH_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from tests.benchmarks.peers import Peer
    from tests.benchmarks.rules import Rule
    from tests.benchmarks.surroundings import Surroundings

COUNTS: Final = (1_000, 100_000, 1_000_000)

# Where a contestant stops: what it would need at the next size, were that to grow as
# it did up to the last one.
_PREPARE_SECONDS: Final = 30.0
_RUN_SECONDS: Final = 1.0
_BYTES: Final = 4 << 30

# So many rules tell what a contestant needs anyhow.
_FEW: Final = 10

# Connections that store at once.
_LOADERS: Final = 2

# Rules that are stored by one statement.
STORED: Final = (1, 200)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a contestant needed for so many rules."""

    rules: int
    prepared: float
    run: float
    memory: float

    def at(self, rules: int, before: Needs) -> Needs:
        """What it would need for more, on the line through this and a size before."""
        times = (rules - self.rules) / (self.rules - before.rules)

        def further(here: float, there: float) -> float:
            return here + max(0.0, here - there) * times

        return Needs(
            rules,
            further(self.prepared, before.prepared),
            further(self.run, before.run),
            further(self.memory, before.memory),
        )

    def obstacle(self) -> str | None:
        """Why it is not asked to take on so many rules; None if it is."""
        if self.prepared > _PREPARE_SECONDS:
            return f"would compile for {self.prepared:,.0f} s"
        if self.run > _RUN_SECONDS:
            return f"would evaluate for {self.run:,.1f} s"
        if self.memory > _BYTES:
            return f"would take {self.memory / 2**30:,.1f} GiB"
        return None


_NOTHING: Final = Needs(0, 0.0, 0.0, 0.0)


def workloads(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """Storing, looking up at all sizes side by side, and the peers at each size."""
    yield from _storing(surroundings)
    counts = [count for count in COUNTS if count <= surroundings.sizes.rules]
    tenants = {count: surroundings.add_tenant(f"{count} rules") for count in counts}
    loaded = {
        count: _load(surroundings, tenant_id, count)
        for count, tenant_id in tenants.items()
    }
    surroundings.admin.execute("VACUUM ANALYZE")
    facts = json.dumps(ORDER)
    with Team() as team:
        yield Workload(
            "rule_index",
            "Rules of which ten match",
            tuple(
                of_statement(
                    surroundings,
                    team,
                    MATCH_RULES,
                    (facts,),
                    tenant_id=tenant_id,
                    name=_look_up(count),
                    expected=_matching(subscriptions(count)),
                    compared_to=None if count == counts[0] else _look_up(counts[0]),
                    aim="at most 2; below 1 ms" if count == counts[-1] else "",
                )
                for count, tenant_id in tenants.items()
            ),
            note="\n".join(
                f"Storing {count:,} rules took {seconds:,.1f} s"
                f" ({_LOADERS} connections, {count / seconds:,.0f} rules a second)."
                for count, seconds in loaded.items()
            ),
        )
    needs = {"evaluate_all": [_NOTHING], **_anyhow()}
    for count, tenant_id in tenants.items():
        yield from _beside_peers(surroundings, tenant_id, count, needs)


def _look_up(count: int) -> str:
    return f"match_rules, {count:,} rules"


def _matching(rules: Iterable[Rule]) -> list[str]:
    return sorted(rule.id for rule in rules if rule.matches(ORDER))


def _load(surroundings: Surroundings, tenant_id: UUID, count: int) -> float:
    """Store the rules through several connections; gives the seconds it took."""
    failures: list[Exception] = []

    def store(part: int) -> None:
        with surroundings.connect(tenant_id) as connection:
            try:
                store_rules(
                    connection,
                    tenant_id,
                    (
                        (UUID(rule.id), rule.id, cel(rule))
                        for number, rule in enumerate(subscriptions(count))
                        if number // 1_000 % _LOADERS == part
                    ),
                )
            # Whatever it is, the workload cannot go on: it is raised there.
            except Exception as error:  # noqa: BLE001
                failures.append(error)

    threads = [Thread(target=store, args=(part,)) for part in range(_LOADERS)]
    started = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return perf_counter() - started


def _beside_peers(
    surroundings: Surroundings,
    tenant_id: UUID,
    count: int,
    needs: dict[str, list[Needs]],
) -> Generator[Workload, None, None]:
    """match_rules and all contestants that can be asked to hold so many rules."""
    rules = list(subscriptions(count))
    expected = _matching(rules)
    stopped: list[str] = []
    with Team() as team:
        cases = [_statement(surroundings, team, "match_rules", tenant_id, expected)]
        if not _stops("evaluate_all", count, needs, stopped):
            cases.append(
                _statement(surroundings, team, "evaluate_all", tenant_id, expected)
            )
            needs["evaluate_all"].append(_needs(cases[-1], count))
        for peer in (MEMORY, *PEERS):
            name = _name(peer)
            if not _stops(name, count, needs, stopped):
                cases.append(_of_peer(team, peer, name, rules, expected))
                needs[name].append(_needs(cases[-1], count))
        del rules
        yield Workload(
            f"rule_index {count}",
            f"{count:,} rules, ten match",
            tuple(cases),
            note="\n".join(stopped),
        )


def _name(peer: Peer) -> str:
    return "Engine in memory" if peer is MEMORY else peer.name


def _anyhow() -> dict[str, list[Needs]]:
    """What each peer needs for a few rules: to be loaded, above all."""
    rules = list(subscriptions(20))[:_FEW]
    needs = {}
    for peer in (MEMORY, *PEERS):
        with Team() as team:
            case = _of_peer(team, peer, _name(peer), rules, _matching(rules))
            needs[_name(peer)] = [_needs(case, _FEW)]
    return needs


def _stops(
    name: str, count: int, needs: dict[str, list[Needs]], stopped: list[str]
) -> bool:
    """Whether a contestant is not asked to hold so many rules; says why, once."""
    if count == COUNTS[0]:
        return False
    if name not in needs:
        return True
    *_, before, last = needs[name]
    obstacle = last.at(count, before).obstacle()
    if obstacle:
        stopped.append(f"{name} {obstacle}.")
        del needs[name]
    return obstacle is not None


def _statement(
    surroundings: Surroundings,
    team: Team,
    name: str,
    tenant_id: UUID,
    expected: list[str],
) -> Case:
    return of_statement(
        surroundings,
        team,
        MATCH_RULES if name == "match_rules" else EVALUATE_ALL,
        (json.dumps(ORDER),),
        tenant_id=tenant_id,
        name=name,
        expected=expected,
        compared_to=None if name == "match_rules" else "match_rules",
    )


def _of_peer(
    team: Team, peer: Peer, name: str, rules: Sequence[Rule], expected: list[str]
) -> Case:
    contestant = team.add(
        peer, "rule_set", texts=peer.texts(rules), facts=json.dumps(ORDER)
    )
    return of_contestant(contestant, expected, name=name, compared_to="match_rules")


def _needs(case: Case, count: int) -> Needs:
    """What it needed to prepare, the first time included, and then to run."""
    first, run = case.time(1), case.time(1)
    assert case.memory is not None
    return Needs(count, (case.prepared or 0.0) + first, run, case.memory() or 0)


# ---------------------------------------------------------------- storing


def _storing(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """Statements that store rules never seen before, in transactions rolled back."""
    tenant_id = surroundings.add_tenant("stores")
    with surroundings.connect(tenant_id) as connection:

        def store(rules: int, repetitions: int = 1) -> float:
            seconds = 0.0
            with connection.transaction(force_rollback=True):
                for _ in range(repetitions):
                    new = list(_new_rules(rules))
                    started = perf_counter()
                    store_rules(connection, tenant_id, new)
                    seconds += perf_counter() - started
            return seconds

        def timed(rules: int, indexed: bool, repetitions: int) -> float:
            _keep_keys(surroundings, keep=indexed)
            try:
                return store(rules, repetitions)
            finally:
                _keep_keys(surroundings, keep=True)

        yield Workload(
            "storing",
            "Storing rules",
            tuple(
                Case(
                    name,
                    partial(_stores, store, rules),
                    expected=True,
                    compared_to="without keys" if indexed else None,
                    units=rules,
                    unit="rule",
                    aim="at most 2" if indexed else "",
                    timer=partial(timed, rules, indexed),
                    group=f"{rules} a statement",
                )
                for rules in STORED
                for name, indexed in (("without keys", False), ("with keys", True))
            ),
            note="Without keys: the trigger that keeps them is disabled.",
            sample_seconds=0.1,
        )


def _stores(store: Callable[[int], float], rules: int) -> bool:
    return store(rules) > 0


def _new_rules(rules: int) -> Iterator[tuple[UUID, str, str]]:
    """Rules with expressions that no cache has seen."""
    fresh = uuid4().int >> 100
    for number in range(rules):
        customer = f'Customer.Id == "c{fresh + number}"'
        yield (
            uuid4(),
            f"rule {fresh + number}",
            f"{customer} && Order.Total >= {number}",
        )


def _keep_keys(surroundings: Surroundings, *, keep: bool) -> None:
    """Have rules that are inserted get their access keys, or not."""
    verb = sql.SQL("ENABLE" if keep else "DISABLE")
    surroundings.admin.execute(
        sql.SQL("ALTER TABLE rules.rules {} TRIGGER rules_keys_insert").format(verb)
    )
