"""Plays a history: does its steps, and holds what comes back against the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pgrules import PgRulesError, PostgresRuleStore
from tests.security.two_tenants.calls import CALLS, Call
from tests.security.two_tenants.model import Refused, Rows, State
from tests.security.two_tenants.statements import ATTACKS, READS, WRITES, Statement
from tests.security.two_tenants.steps import SESSIONS, Side, Step, Values
from tests.security.two_tenants.world import Observation, Session, World

CONTROL: Final = {
    "begin": 48,
    "begin, repeatable read": 12,
    "commit": 22,
    "roll back": 6,
    "savepoint": 10,
    "roll back to savepoint": 8,
    "release savepoint": 4,
}
"""What begins and ends transactions, with how often; all else is an operation."""

SPECIAL: Final = {
    "declare a cursor": 8,
    "fetch from the cursor": 40,
    "ask without a tenant": 4,
    "claim to be the other": 4,
    "discard plans": 1,
}
"""What only some sessions can do."""

STATEMENTS: Final = {**READS, **WRITES, **ATTACKS}

WEIGHTS: Final = {
    **CONTROL,
    **SPECIAL,
    **{kind: statement.weight for kind, statement in STATEMENTS.items()},
    **{kind: call.weight for kind, call in CALLS.items()},
}

History: TypeAlias = Sequence[Step]

# How many statements a transaction refuses after one failed, until it is rolled back.
_REFUSALS = 2


def _unforeseen(state: State, values: Values) -> Rows:
    raise AssertionError("what it gives is foreseen where it is done")


_DECLARE = Statement(
    "DECLARE listed CURSOR FOR"
    " SELECT id, name, expression, active FROM rules.rules ORDER BY created_at, id",
    _unforeseen,
    0,
)
_FETCH = Statement("FETCH ALL FROM listed", _unforeseen, 0)
_COUNT = Statement("SELECT count(*) FROM rules.rules", _unforeseen, 0)
_CLAIM = Statement("SELECT rules.set_tenant(%(other)s)", _unforeseen, 0)
_DISCARD = Statement("DISCARD PLANS", _unforeseen, 0)


class Difference(Exception):
    """A tenant received something else than what it must."""

    def __init__(
        self, number: int, what: str, expected: object, received: object
    ) -> None:
        super().__init__(
            f"step {number}, {what}\n  expected {expected!r}\n  received {received!r}"
        )
        self.foreign_rows = 0
        """How many rows of the other tenant are in it."""


@dataclass
class Listing:
    """A cursor's rows: those that there were when it was declared."""

    rows: Rows


@dataclass
class Actor:
    """A tenant: what it has committed, and its transaction if one is open."""

    side: Side
    committed: State
    working: State | None = None
    session: Session | None = None
    number: int | None = None
    """The session that the transaction was to begin in."""
    saved: list[tuple[State, Listing | None]] = field(default_factory=list)
    listing: Listing | None = None
    is_aborted: bool = False
    refusals: int = 0

    def end(self) -> None:
        """No transaction is open any more."""
        self.working = self.session = self.number = self.listing = None
        self.saved.clear()
        self.is_aborted, self.refusals = False, 0


class Play:
    """One history in one world, by both tenants or by one of them alone."""

    def __init__(self, world: World, *, like_before: bool = False) -> None:
        self._world = world
        sides = world.fresh(like_before=like_before)
        self._actors = [Actor(side, State(side.mark)) for side in sides]
        self._number = 0
        self.counts: Counter[str] = Counter()
        """Operations, by their kind."""
        self.observations: dict[int, str] = {}
        """What was received, by the number of the step, without ids and times."""

    def run(self, history: History, only: int | None = None) -> None:
        """Play it to its end; raises `Difference`."""
        for self._number, step in enumerate(history):
            if only is None or step.side == only:
                self._do(step, self._actors[step.side])
        for actor in self._actors:
            if actor.session is not None:
                self._commit(actor)
        for actor in self._actors:
            self._compare_stored(actor)

    def _do(self, step: Step, actor: Actor) -> None:
        if actor.refusals == _REFUSALS:
            self._roll_back(actor)
        if step.kind in CONTROL:
            self._control(step, actor)
        elif step.kind in SPECIAL:
            self._special(step, actor)
        else:
            self._operate(step, actor)

    # Transactions

    def _control(self, step: Step, actor: Actor) -> None:
        match step.kind:
            case "begin" | "begin, repeatable read" if actor.session is None:
                self._begin(step, actor)
            case "commit" if actor.session:
                self._commit(actor)
            case "roll back" if actor.session:
                self._roll_back(actor)
            case "savepoint" if actor.working and not actor.is_aborted:
                actor.saved.append((actor.working.branch(), actor.listing))
                self._execute(actor, f"SAVEPOINT s{len(actor.saved)}")
            case "roll back to savepoint" if actor.saved:
                self._execute(actor, f"ROLLBACK TO SAVEPOINT s{len(actor.saved)}")
                state, actor.listing = actor.saved[-1]
                actor.working = state.branch()
                actor.is_aborted, actor.refusals = False, 0
            case "release savepoint" if actor.saved and not actor.is_aborted:
                self._execute(actor, f"RELEASE SAVEPOINT s{len(actor.saved)}")
                actor.saved.pop()

    def _begin(self, step: Step, actor: Actor) -> None:
        actor.number = step.session
        actor.session = self._session(step.session, actor)
        actor.session.owner = actor.side.number
        actor.working = actor.committed.branch()
        level = " ISOLATION LEVEL REPEATABLE READ" if "," in step.kind else ""
        actor.session.begin(actor.side, level)

    def _commit(self, actor: Actor) -> None:
        self._execute(actor, "COMMIT")
        if actor.working and not actor.is_aborted:
            actor.committed = actor.working.committed()
        self._end(actor)

    def _roll_back(self, actor: Actor) -> None:
        self._execute(actor, "ROLLBACK")
        self._end(actor)

    def _end(self, actor: Actor) -> None:
        if actor.session is not None:
            actor.session.owner = None
        actor.end()

    def _execute(self, actor: Actor, text: str) -> None:
        assert actor.session is not None
        actor.session.control(text)

    def _session(self, number: int, actor: Actor) -> Session:
        """The session of this number, or another one where a transaction is open."""
        own = self._world.bound[actor.side.number]
        wanted = self._world.pool[number] if number < SESSIONS else own
        choice = (wanted, own, *self._world.pool)
        return next(session for session in choice if session.owner is None)

    # Operations

    def _operate(self, step: Step, actor: Actor) -> None:
        doing = STATEMENTS.get(step.kind) or CALLS[step.kind]
        values = Values(step, actor.side)
        writes = doing.writes if isinstance(doing, Call) else step.kind not in READS
        if actor.session is None:
            session = self._session(step.session, actor)
            state = actor.committed.branch() if writes else actor.committed
            if self._alone(step.kind, doing, values, session, state) and writes:
                actor.committed = state.committed()
        elif step.session == actor.number or writes or actor.is_aborted:
            self._within(step, doing, values, actor)
        else:
            # Another session of the tenant sees what is committed.
            session = self._session(step.session, actor)
            self._alone(step.kind, doing, values, session, actor.committed)

    def _alone(
        self,
        kind: str,
        doing: Statement | Call,
        values: Values,
        session: Session,
        state: State,
    ) -> bool:
        """Do it in a transaction of its own; says whether that was committed."""
        expected = _expected(doing, state, values)
        if isinstance(doing, Call):
            received = _called(doing, session, values)
        elif session.is_bound:
            received = session.observe(doing, values.parameters())
        else:
            session.begin(values.side, "")
            received = session.observe(doing, values.parameters())
            session.control("COMMIT" if received.sqlstate is None else "ROLLBACK")
        self._compare(kind, doing, values.side, expected, received)
        return received.sqlstate is None

    def _within(
        self, step: Step, doing: Statement | Call, values: Values, actor: Actor
    ) -> None:
        """Do it in the transaction that is open."""
        session, state = actor.session, actor.working
        assert session is not None
        assert state is not None
        if isinstance(doing, Call):
            if not actor.is_aborted:
                expected = _expected(doing, state, values)
                received = _called(doing, session, values)
                self._compare(step.kind, doing, values.side, expected, received)
            return
        if actor.is_aborted:
            actor.refusals += 1
            received = session.observe(doing, values.parameters())
            self._compare("in vain", doing, values.side, Refused("25P02"), received)
            return
        expected = _expected(doing, state, values)
        fails = isinstance(expected, Refused)
        if fails and step.guarded:
            session.control("SAVEPOINT guard")
        received = session.observe(doing, values.parameters())
        self._compare(step.kind, doing, values.side, expected, received)
        if fails and step.guarded:
            session.control("ROLLBACK TO SAVEPOINT guard; RELEASE SAVEPOINT guard")
        actor.is_aborted = fails and not step.guarded

    def _special(self, step: Step, actor: Actor) -> None:
        side, parameters = actor.side, {"other": actor.side.other}
        own = self._world.bound[side.number]
        idle = [session for session in self._world.pool if session.owner is None]
        expected: Rows | Refused = []
        match step.kind:
            case "declare a cursor":
                if not actor.working or actor.is_aborted or actor.listing:
                    return
                rows = actor.working.list_rules(lambda key, rule: True)
                actor.listing = Listing(rows)
                doing, session = _DECLARE, actor.session
            case "fetch from the cursor":
                if not actor.listing or actor.is_aborted:
                    return
                expected, actor.listing.rows = actor.listing.rows, []
                doing, session = _FETCH, actor.session
            case "ask without a tenant":
                doing, session, expected = _COUNT, idle[0], Refused("RE001")
            case "claim to be the other":
                if actor.is_aborted:
                    return
                doing, session, expected = _CLAIM, own, Refused("42501")
            case _:
                doing, session = _DISCARD, idle[-1]
        assert session is not None
        guarded = step.kind == "claim to be the other" and session is actor.session
        if guarded:
            session.control("SAVEPOINT guard")
        received = session.observe(doing, parameters)
        if guarded:
            session.control("ROLLBACK TO SAVEPOINT guard; RELEASE SAVEPOINT guard")
        self._compare(step.kind, doing, side, expected, received)

    # What comes back

    def _compare(
        self,
        kind: str,
        doing: Statement | Call,
        side: Side,
        expected: Rows | Refused,
        received: Observation,
    ) -> None:
        self.counts[kind] += 1
        self.observations[self._number] = received.normalised(side)
        foreign = received.foreign_rows(
            side, names_other=isinstance(doing, Statement) and doing.names_other
        )
        if isinstance(expected, Refused):
            agrees = received.sqlstate == expected.sqlstate
        else:
            agrees = received.rows is not None and _same(
                expected,
                received.rows,
                ordered=not isinstance(doing, Statement) or doing.ordered,
            )
        if foreign or not agrees:
            difference = Difference(self._number, kind, expected, received)
            difference.foreign_rows = foreign
            raise difference

    def _compare_stored(self, actor: Actor) -> None:
        state = actor.committed
        expected: dict[str, Rows] = {
            "rules": state.list_rules(lambda key, rule: True),
            "derived fields": state.list_fields(),
            "schemas": state.list_schemas(),
            "changelog": state.changelog,
            "audit": [(len(state.audit),)],
            "claims": state.list_claims(),
            "matches": state.list_matches(),
        }
        stored = self._world.stored(actor.side)
        for what, rows in expected.items():
            if stored[what] != rows:
                raise Difference(self._number, f"stored {what}", rows, stored[what])


def _expected(doing: Statement | Call, state: State, values: Values) -> Rows | Refused:
    try:
        return doing.model(state, values)
    except Refused as refused:
        return refused


def _called(call: Call, session: Session, values: Values) -> Observation:
    session.notices.clear()
    store = PostgresRuleStore(session.connection, values.side.tenant)
    try:
        return session.answered(call.perform(store, values))
    except PgRulesError as error:
        return session.refused(error)


def _same(expected: Rows, received: Rows, *, ordered: bool) -> bool:
    if ordered:
        return expected == received
    return sorted(map(_canonical, expected)) == sorted(map(_canonical, received))


def _canonical(row: object) -> str:
    """A text that equal rows share, in whatever order their objects' keys are."""
    if isinstance(row, dict):
        return str(sorted((key, _canonical(value)) for key, value in row.items()))
    if isinstance(row, list | tuple):
        return str([_canonical(value) for value in row])
    return repr(row)
