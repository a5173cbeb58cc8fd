"""Tries each mutation: with it, the tests that it names must fail.

    python -m tests.mutations.run [NAME ...]

Before that, the same tests pass without any. A test that cannot begin, is not found
or gives no result has not failed. `make test-mutations` calls it.
"""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import (
    Mutation,
    MutationError,
    file_of,
    is_pgtap,
    is_verify,
    needs_server,
)
from tests.mutations.workplace import (
    ProgramError,
    Programs,
    Workplace,
    remove_abandoned,
    workplace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

# As many as there are cores on the smallest machine that this is run on.
WORKPLACES = 2


def trouble_without(place: Workplace, tests: Sequence[str]) -> list[str]:
    """The tests that do not pass as the sources are."""
    if any(needs_server(test) for test in tests):
        place.deploy()
    results = place.results([test for test in tests if not is_verify(test)])
    trouble = [test for test, cases in results.items() if not cases or not all(cases)]
    if any(is_verify(test) for test in tests):
        message = place.failing_verification()
        trouble += [message] if message else []
    return trouble


def trouble_with(place: Workplace, mutation: Mutation) -> list[str]:
    """The tests that do not notice the mutation."""
    path = place.root / mutation.path
    original = path.read_bytes()
    bundle = place.root / "deploy/000015_cel.sql"
    bundled = bundle.read_bytes()
    if mutation.is_of_roles:
        place.remove_server()
    mutation.apply(place.root)
    try:
        return _unnoticed(place, mutation)
    finally:
        if mutation.is_of_roles:
            place.remove_server()
        else:
            place.drop_deployed()
        bundle.write_bytes(bundled)
        path.write_bytes(original)


def _unnoticed(place: Workplace, mutation: Mutation) -> list[str]:
    tests = [test for test in mutation.caught_by if not is_verify(test)]
    trouble = [
        test
        for test in mutation.caught_by
        if is_verify(test) and f"psql:{test}:" not in place.failing_verification()
    ]
    if any(needs_server(test) for test in tests):
        if mutation.is_of_the_core:
            place.bundle()
        place.deploy()
    results = place.results(tests)
    return trouble + [
        test for test, cases in results.items() if not cases or all(cases)
    ]


class Report:
    """What was found, and when."""

    def __init__(self) -> None:
        self.tried = 0
        self.caught = 0

    def add(self, mutation: Mutation, trouble: Sequence[str], seconds: float) -> None:
        """Print the line of a mutation."""
        self.tried += 1
        self.caught += not trouble
        word = "NOT caught" if trouble else "caught"
        by = ", ".join(trouble or mutation.caught_by)
        _say(f"{word}: {mutation.name}, by {by} ({seconds:.1f} s)")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _in_all(
    programs: Programs,
    places: Sequence[Workplace],
    work: Callable[[Workplace], None],
) -> None:
    """Work in each of them at once; raises what any raises, and stops the others."""
    with ThreadPoolExecutor(len(places)) as pool:
        try:
            for future in [pool.submit(work, place) for place in places]:
                future.result()
        except BaseException:
            programs.stop()
            raise


def chosen(names: Sequence[str]) -> list[Mutation]:
    """The mutations of these names, or all of them."""
    unknown = set(names) - {mutation.name for mutation in MUTATIONS}
    if unknown:
        raise SystemExit(f"no such mutation: {', '.join(sorted(unknown))}")
    return [mutation for mutation in MUTATIONS if not names or mutation.name in names]


def run(
    programs: Programs, mutations: Sequence[Mutation], places: Sequence[Workplace]
) -> bool:
    """Try the mutations; whether all are caught."""
    tests = list(dict.fromkeys(test for m in mutations for test in m.caught_by))
    # By file, so that a file of pgTAP is run in one place.
    files = list(dict.fromkeys(file_of(test) for test in tests))
    shares = SimpleQueue[list[str]]()
    in_python = [test for test in tests if not is_pgtap(test)]
    in_sql = [test for test in tests if is_pgtap(test)]
    for share in (in_python, in_sql):
        shares.put(share)
    before: list[str] = []

    def pass_without(place: Workplace) -> None:
        while not shares.empty():
            try:
                before.extend(trouble_without(place, shares.get_nowait()))
            except Empty:
                return

    started = monotonic()
    _in_all(programs, places, pass_without)
    if before:
        _say("without any mutation, these do not pass:")
        for test in before:
            _say(f"  {test}")
        return False
    _say(
        f"without any mutation, {len(tests)} tests of {len(files)} files pass"
        f" ({monotonic() - started:.1f} s)"
    )

    waiting = SimpleQueue[Mutation]()
    for mutation in mutations:
        waiting.put(mutation)
    report = Report()

    def try_mutations(place: Workplace) -> None:
        while not programs.stopped:
            try:
                mutation = waiting.get_nowait()
            except Empty:
                return
            begun = monotonic()
            try:
                trouble = trouble_with(place, mutation)
            except (ProgramError, RuntimeError, MutationError, psycopg.Error) as error:
                trouble = [str(error)]
            report.add(mutation, trouble, monotonic() - begun)

    _in_all(programs, places, try_mutations)
    _say(f"{report.tried} mutations, {report.caught} caught")
    return report.tried == report.caught == len(mutations)


def main(names: Sequence[str]) -> int:
    """Run from the command line; the exit code is 1 when one is not caught."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    mutations = chosen(names)
    remove_abandoned()
    programs = Programs()
    with ExitStack() as stack:
        places = [
            stack.enter_context(workplace(programs))
            for _ in range(min(WORKPLACES, len(mutations)))
        ]
        return 0 if run(programs, mutations, places) else 1


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
