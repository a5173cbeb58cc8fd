"""A contestant's process as the benchmark sees it: commands out, answers in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from . import NODE, Peer

if TYPE_CHECKING:
    from types import TracebackType

_ROOT: Final = Path(__file__).resolve().parents[3]
NODE_MODULES: Final = _ROOT / "build/peers"
"""Where `make bench` installs what runs in Node."""


class ContestantError(Exception):
    """A contestant failed at what it was asked to do, or is not installed."""


class Contestant:
    """One process that does one task. Use it as a context manager, or in `Team`."""

    def __init__(self, peer: Peer | None, task: str, **given: Any) -> None:
        """Start it and have it prepare; ``peer`` is None where the server does it all.

        Raises `ContestantError` where what it needs is not installed.
        """
        self.name = peer.name if peer else task
        on_node = peer is not None and peer.runs_in == NODE
        self._process = subprocess.Popen(
            _node_command() if on_node else _python_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env=os.environ | {"PYTHONHASHSEED": "0", "NODE_ENV": "production"},
        )
        if peer is not None:
            given = {"peer": peer.name, **given}
        try:
            answer = self._ask(do="prepare", task=task, given=given)
        except ContestantError:
            self.close()
            raise
        self.prepared: float = answer["seconds"]
        """Seconds to compile its rules, and to connect where it connects."""

    def run(self) -> Any:
        """Do the task once; gives its result, lists sorted as nobody promised order."""
        result = self._ask(do="run")["result"]
        return sorted(result) if isinstance(result, list) else result

    def time(self, repetitions: int) -> float:
        """Do the task so often; gives the seconds that all of it took, there."""
        self.start(repetitions)
        return self.finish()

    def start(self, repetitions: int) -> None:
        """Begin what `time` does, and do not wait; `finish` does."""
        self._tell(do="time", repetitions=repetitions)

    def finish(self) -> float:
        """Wait for what `start` began; gives its seconds."""
        seconds: float = self._answer()["seconds"]
        return seconds

    def memory(self) -> int | None:
        """Bytes that are this process's alone; None where that cannot be told."""
        found: int | None = self._ask(do="memory")["bytes"]
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process."""
        self.close()

    def _ask(self, **command: Any) -> dict[str, Any]:
        self._tell(**command)
        return self._answer()

    def _tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise ContestantError(f"{self.name}: {answer['failed']}")
        return answer

    def _ended(self) -> ContestantError:
        return ContestantError(
            f"{self.name}: its process ended ({self._process.wait()})"
        )


class Team(ExitStack):
    """Contestants that end together."""

    def add(self, peer: Peer | None, task: str, **given: Any) -> Contestant:
        """Start one, which ends with the team."""
        return self.enter_context(Contestant(peer, task, **given))


def _python_command() -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.peers.worker"]


def _node_command() -> list[str]:
    if not (NODE_MODULES / "node_modules").is_dir():
        raise ContestantError(
            f"{NODE_MODULES.relative_to(_ROOT)} has no node_modules: `make bench`"
            " installs it, as does `python/tools/setup.sh node build/peers`"
        )
    script = Path(__file__).with_name("worker.cjs")
    return ["node", str(script), str(NODE_MODULES)]
