"""From text to a program, and the first evaluation of a new session (COMP-5)."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import psycopg

from pgrules.cel import compile_expression
from tests.benchmarks.measuring import Case, Workload

from .one_rule import EXPRESSION, FACTS

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.benchmarks.surroundings import Surroundings

TYPICAL = """
has(Flight.DepartureDelay) && Flight.DepartureDelay >= 60 &&
(
  (has(Weather.Visibility) && Weather.Visibility < 0.5) ||
  (has(Weather.WindGust) && Weather.WindGust >= 45.0) ||
  Aircraft.EarlierLegs.exists(leg, has(leg.ArrivalDelay) && leg.ArrivalDelay >= 60)
) &&
timestamp(Flight.ScheduledDeparture).getHours("America/New_York") < 22
"""
LARGE = " || ".join(f"(A.B{number} > {number} && has(A.C))" for number in range(30))
assert len(LARGE) < 1024


def workloads(surroundings: Surroundings) -> Generator[Workload, None, None]:
    """Compiling in this process and in the database, never from a cache."""
    surroundings.remove_rules()
    (rule_id,) = surroundings.add_rules([("adult in region", EXPRESSION)])
    cursor = surroundings.connection.cursor()
    uri = surroundings.database.login("rules_app")
    facts = json.dumps(FACTS)
    fresh = count()

    def check() -> object:
        # A constant makes it a text that no cache has seen.
        cursor.execute(
            "SELECT count(*) FROM rules.check_expression(%s)",
            (f"{TYPICAL} && {next(fresh)} >= 0",),
        )
        return cursor.fetchone()

    def connect(statement: str, parameters: tuple[object, ...]) -> object:
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute(
                "SELECT set_config('app.tenant_id', %s, false)",
                (str(surroundings.tenant_id),),
            )
            return connection.execute(statement, parameters).fetchone()

    yield Workload(
        "compiling",
        "Compiling",
        (
            Case(
                "compile a small rule",
                lambda: compile_expression(EXPRESSION).text,
                expected=EXPRESSION,
            ),
            Case(
                "compile a typical rule",
                lambda: compile_expression(TYPICAL).text,
                expected=TYPICAL,
                compared_to="compile a small rule",
            ),
            Case(
                "compile a large rule",
                lambda: compile_expression(LARGE).text,
                expected=LARGE,
                compared_to="compile a small rule",
                aim="under 100 ms",
            ),
            Case(
                "check_expression of the typical rule",
                check,
                expected=(0,),
                compared_to="compile a small rule",
            ),
            Case(
                "connect, SELECT 1",
                lambda: connect("SELECT 1", ()),
                expected=(1,),
            ),
            Case(
                "connect, evaluate",
                lambda: connect(
                    "SELECT matched FROM rules.evaluate(%s, %s::jsonb)",
                    (rule_id, facts),
                ),
                expected=(True,),
                compared_to="connect, SELECT 1",
                aim="under 100 ms",
            ),
        ),
        note=(
            f"The rules have {len(EXPRESSION)}, {len(TYPICAL)} and {len(LARGE)}"
            " characters. The aims are those of COMP-5."
        ),
    )
