"""Check every evaluation of concurrent sessions against what its snapshot allows.

    python -m tests.security.history SECONDS [SEED]

Sessions change rules, schemas and derived fields of a few tenants at random, in
transactions of every isolation level, while the same sessions evaluate; some are
cancelled or terminated, a tenant is deleted and made again, tables are vacuumed. The
database is a fresh one on the private server, or on that of DATABASE_URL. A difference
is printed with the seed, the snapshot, and what the sessions did around it; the
program then exits with 1. The seed decides what each session chooses, not how the
server interleaves them.
"""

import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tests.fixtures.database import Database, fresh_database
from tests.fixtures.server import Server
from tests.integration.tenants import create_tenant
from tests.security.history_check import (
    judged_as_of,
    wrong_answers,
    wrong_as_of,
    wrong_rows,
    wrong_versions,
)
from tests.security.history_log import History, Reading, Snapshot
from tests.security.history_sessions import (
    SLOTS,
    Administrator,
    Disturber,
    Run,
    Session,
    rule_id,
)
from tests.security.history_statements import SETUP

SESSIONS = 8
# Of the past, as many readings are judged again.
SAMPLE = 60
AROUND = 40

JUDGED_AS_OF = """
SELECT public.history_ask(
    'SELECT jsonb_build_array(rule_name, matched, error IS NULL)'
    ' FROM rules.evaluate_as_of($1, $2 -> ''facts'', ($2 ->> ''at'')::timestamptz)',
    %s, jsonb_build_object('facts', %s::jsonb, 'at', %s::timestamptz)
)
"""
KEYS = """
SELECT key.rule_id, key.term, key.low, key.high
FROM rules_internal.rule_keys AS key WHERE key.tenant_id = %s
"""
SHAPES = """
SELECT DISTINCT known.shape
FROM rules_internal.rule_key_shapes AS known WHERE known.tenant_id = %s
"""
ORPHANS = """
SELECT relation, count(*)
FROM (
    SELECT 'rules' AS relation, tenant_id FROM rules.rules
    UNION ALL SELECT 'schemas', tenant_id FROM rules.schemas
    UNION ALL SELECT 'derived fields', tenant_id FROM rules.derived_fields
    UNION ALL SELECT 'keys', tenant_id FROM rules_internal.rule_keys
    UNION ALL SELECT 'shapes', tenant_id FROM rules_internal.rule_key_shapes
    UNION ALL SELECT 'tokens', tenant_id FROM rules_internal.rule_set_tokens
    UNION ALL SELECT 'environments', tenant_id FROM rules_internal.environments
) AS stored
WHERE tenant_id NOT IN (SELECT id FROM rules.tenants)
GROUP BY relation
"""


@dataclass
class Report:
    """What a run did, and what was wrong."""

    seed: int
    seconds: float = 0
    transactions: int = 0
    refused: int = 0
    writes: int = 0
    readings: int = 0
    evaluations: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.transactions} transactions,"
            f" {self.refused} statements refused, {self.writes} rows written;"
            f" {self.readings} snapshots read, {self.evaluations} evaluations checked,"
            f" {len(self.differences)} differences"
        )


def run(database: Database, seconds: float, seed: int, least: int = 0) -> Report:
    """Let sessions loose on a database for a time, and check what they saw.

    On a busy machine they go on until they have evaluated so often at the least.
    """
    operator = database.connect(autocommit=True)
    operator.execute(SETUP.encode())
    tenants = [create_tenant(database) for _ in range(3)]
    run = Run(tenants)
    app = database.login("rules_app")
    bound = database.login("rules_tenant", tenant=tenants[0])
    workers: list[Session | Administrator | Disturber] = [
        Session(run, f"session {n}", app, f"{seed} {n}", tenants)
        for n in range(SESSIONS - 1)
    ]
    workers += [
        Session(run, "tenant", bound, f"{seed} tenant", tenants[:1]),
        Administrator(run, database.login("rules_admin"), f"{seed} admin", tenants[2]),
        Disturber(run, database.dsn, f"{seed} disturber"),
    ]
    began = time.monotonic()
    threads = [threading.Thread(target=worker.work) for worker in workers]
    for thread in threads:
        thread.start()
    while not run.stop.wait(0.2):
        if time.monotonic() - began >= seconds and evaluated(run) >= least:
            run.stop.set()
    for thread in threads:
        thread.join(60)
    report = Report(
        seed,
        time.monotonic() - began,
        run.transactions,
        run.refused,
        len(run.writes),
        len(run.readings),
        evaluated(run),
    )
    for at, session, error in run.unexpected:
        report.differences.append(f"{session}: {error!r}\n{around(run, at)}")
    report.differences += checked(run, operator)
    return report


def evaluated(run: Run) -> int:
    """How often rules were evaluated by all sessions together."""
    return sum(evaluations(reading) for reading in list(run.readings))


def evaluations(reading: Reading) -> int:
    """How often a rule was evaluated by a reading, whose outcome is checked."""
    every = len(reading.rows["rules"])
    one = {"count_matches", "matching_rows", "evaluate_expression", "evaluate_as_of"}
    facts = len(reading.facts)
    counts = {"evaluate_batch": facts, "match_rules_batch": facts * every}
    return sum(
        1 if question in one else counts.get(question, every)
        for question in reading.answers
    )


def checked(run: Run, operator: psycopg.Connection[Any]) -> Iterator[str]:
    """All differences between what was seen and what may have been."""
    xids = sorted({write.xid for write in run.writes})
    committed = {
        xid
        for xid, status in operator.execute(
            "SELECT xid, pg_xact_status(xid::text::xid8) FROM unnest(%s::bigint[]) xid",
            [xids],
        )
        if status == "committed"
    }
    history = History.of(run.writes, committed)
    for number, reading in enumerate(run.readings):
        wrong = [
            *wrong_answers(reading),
            *wrong_rows(reading, history),
            *wrong_as_of(reading, history),
        ]
        if wrong:
            yield (
                f"reading {number} of {reading.session} ({reading.transaction})"
                f" for {reading.tenant}, snapshot {reading.snapshot},"
                f" facts {reading.facts}:\n{chr(10).join(wrong)}\n"
                f"rows: {reading.rows}\nits own writes: {reading.own}\n"
                f"{around(run, when(run, number))}"
            )
    for tenant in run.tenants:
        operator.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        yield from wrong_in_the_end(run, history, tenant, operator)
        yield from wrong_in_the_past(run, history, tenant, operator)
    for relation, count in operator.execute(ORPHANS):
        yield f"{count} {relation} of no tenant are left"


def wrong_in_the_end(
    run: Run, history: History, tenant: UUID, operator: psycopg.Connection[Any]
) -> Iterator[str]:
    """What is stored when all is quiet: rows, access keys, versions."""
    everything = Snapshot(2**62, 2**62, frozenset())
    state = history.state(tenant, everything, 2**62)
    stored = {
        f"rule {rule}": [name, expression, active]
        for rule, name, expression, active in operator.execute(
            "SELECT id, name, expression, active FROM rules.rules WHERE tenant_id = %s",
            [tenant],
        )
    }
    expected = {key: value for key, value in state.items() if key.startswith("rule ")}
    if stored != expected:
        yield f"{tenant} has in the end {stored}, not {expected}"
    with operator.transaction(force_rollback=True):
        for what, query in (("keys", KEYS), ("shapes", SHAPES)):
            kept = set(operator.execute(query.encode(), [tenant]))
            with operator.transaction(force_rollback=True):
                operator.execute("SELECT rules_internal.renew_rule_keys(%s)", [tenant])
                needed = set(operator.execute(query.encode(), [tenant]))
            # A shape stays when its last rule goes.
            surplus = kept - needed if what == "keys" else set()
            if needed - kept or surplus:
                yield (
                    f"{tenant} lacks {what} {needed - kept}, and has {surplus} too many"
                )
    for slot in range(SLOTS):
        rule = rule_id(tenant, slot)
        versions = [
            None if name is None else [name, expression, active]
            for name, expression, active in operator.execute(
                "SELECT after ->> 'name', after ->> 'expression',"
                " (after ->> 'active')::boolean FROM rules.audit_log"
                " WHERE tenant_id = %s AND subject_id = %s ORDER BY changed_at, id",
                [tenant, rule],
            )
        ]
        yield from wrong_versions(history, tenant, rule, versions)


def wrong_in_the_past(
    run: Run, history: History, tenant: UUID, operator: psycopg.Connection[Any]
) -> Iterator[str]:
    """Whether evaluating as of a reading's time is what its snapshot showed.

    Not where some transaction had noted the time of its commit, and was not seen yet.
    """
    noted = operator.execute(
        "SELECT xid::text::bigint, committed_at FROM rules_internal.audit_commits"
        " WHERE tenant_id = %s AND committed_at <> 'infinity'",
        [tenant],
    ).fetchall()
    of_tenant = [reading for reading in run.readings if reading.tenant == tenant]
    choose = random.Random(len(of_tenant))  # noqa: S311 (nothing is secret here)
    for reading in choose.sample(of_tenant, min(SAMPLE, len(of_tenant))):
        if any(
            at <= reading.clock and not reading.snapshot.sees(xid) for xid, at in noted
        ):
            continue
        state = history.state(tenant, reading.snapshot, reading.until)
        for slot in range(SLOTS):
            rule = rule_id(tenant, slot)
            row = operator.execute(
                JUDGED_AS_OF, [rule, Jsonb(reading.facts[0]), reading.clock]
            ).fetchone()
            assert row is not None
            expected = judged_as_of(state, rule, reading.facts[0])
            if row[0] not in expected:
                yield (
                    f"as of {reading.clock} {rule} of {tenant} says {row[0]}, not"
                    f" {expected}, though {reading.snapshot} saw {state}"
                )


def when(run: Run, number: int) -> float:
    """When a reading was answered."""
    ending = f" as reading {number}"
    return next((at for at, _, text in run.log if text.endswith(ending)), 0)


def around(run: Run, at: float) -> str:
    """What the sessions did until then, and a little longer."""
    log = sorted(run.log)
    past = [entry for entry in log if entry[0] <= at][-AROUND:]
    past += [entry for entry in log if entry[0] > at][: AROUND // 8]
    return "\n".join(f"  {then - at:+.3f} {who}: {text}" for then, who, text in past)


def main(seconds: str, seed: str | None = None) -> int:
    """Run the program; its exit code."""
    chosen = random.randrange(1_000_000) if seed is None else int(seed)  # noqa: S311
    server = Server()
    try:
        with fresh_database(server) as database:
            report = run(database, float(seconds), chosen)
    finally:
        server.close()
    for difference in report.differences:
        print(difference, end="\n\n")
    print(report)
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
