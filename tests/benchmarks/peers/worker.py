"""A contestant's process: does one task on command, and times it with its own clock.

Commands come as JSON, one a line, on standard input; an answer to each goes to
standard output. ``worker.cjs`` speaks the same with the engines that run in Node.

    {"do": "prepare", "task": ..., "given": {...}}  -> {"seconds": ...}
    {"do": "run"}                                   -> {"result": ...}
    {"do": "time", "repetitions": n}                -> {"seconds": ...} for all of them
    {"do": "memory"}                                -> {"bytes": ...}, or null

What fails is answered with {"failed": message}. End of input ends the process.
"""

from __future__ import annotations

import gc
import json
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.benchmarks.memory import private_bytes

from .tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Answer until there is nothing more to read."""
    run: Callable[[], object] | None = None
    for line in sys.stdin:
        try:
            command = json.loads(line)
            answer: dict[str, Any]
            match command:
                case {"do": "prepare", "task": task, "given": given}:
                    started = perf_counter()
                    run = TASKS[task](**given)
                    answer = {"seconds": perf_counter() - started}
                    # What is compiled stays; collections need not look at it again.
                    gc.collect()
                    gc.freeze()
                case {"do": "run"} if run is not None:
                    answer = {"result": run()}
                case {"do": "time", "repetitions": repetitions} if run is not None:
                    started = perf_counter()
                    for _ in range(repetitions):
                        run()
                    answer = {"seconds": perf_counter() - started}
                case {"do": "memory"}:
                    answer = {"bytes": private_bytes()}
                case _:
                    answer = {"failed": f"no such command: {line.strip()[:200]}"}
        # The process that gave the command says what failed, and where.
        except Exception as error:  # noqa: BLE001
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=_plain), flush=True)


def _plain(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"no JSON: {value!r}")


if __name__ == "__main__":
    main()
