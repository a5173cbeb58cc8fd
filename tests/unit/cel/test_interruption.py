"""What takes long without being one evaluation gives way to the server too."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from pgrules.cel import Environment, Interrupted, backend, interruption
from pgrules.cel.cache import ProgramCache

LARGE = '{"l": [' + "1, " * 30_000 + "1]}"


def test_many_compilations_are_interrupted_between_them() -> None:
    calls = 0

    def give_way() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise Interrupted

    programs, of = ProgramCache(give_way=give_way), Environment()
    for text in ("a > 1", "a > 1", "a > 2"):
        programs.program(text, "{}", of)
    with pytest.raises(Interrupted):
        programs.program("a > 3", "{}", of)
    # What is known is not compiled, and what was interrupted is not kept.
    assert programs.program("a > 2", "{}", of).text == "a > 2"
    assert len(programs) == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: backend.evaluate("true", "{}", LARGE, False),
        lambda: backend.evaluate_expression("true", "{}", LARGE),
        lambda: backend.evaluation_cost("true", "{}", LARGE),
    ],
    ids=["evaluate", "evaluate_expression", "evaluation_cost"],
)
def test_large_facts_are_decoded_for_nothing_when_the_server_stops(
    call: Callable[[], tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgrules.cel.interruption.interrupted", lambda: True)
    failure = call()[-1]
    assert failure is not None
    assert '"57014"' in failure


@pytest.mark.parametrize("flag", ["QueryCancelPending", "ProcDiePending"])
def test_either_flag_of_the_server_is_a_wish_to_stop(
    flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is set by timeouts and cancel requests, the other by a termination.

    With the server, what is not seen here would be seen as well, but later: between
    two calls of Python.
    """
    flags = {name: ctypes.c_int(0) for name in ("QueryCancelPending", "ProcDiePending")}

    class Symbols:
        @staticmethod
        def in_dll(_library: object, name: str) -> ctypes.c_int:
            return flags[name]

    monkeypatch.setattr(ctypes, "c_int", Symbols)
    interrupted = interruption._cancel_flags()
    assert interrupted is not None
    assert not interrupted()
    flags[flag].value = 1
    assert interrupted()
