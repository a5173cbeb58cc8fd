"""Whether the server wants this statement to end.

While Python runs, the server cannot end a statement: ``statement_timeout``,
``lock_timeout``, cancel requests and ``pg_terminate_backend`` only set flags, which
the server looks at between steps of its own. So the language looks at them too, and
gives up by returning, after which the server raises its error. (PostgreSQL sources,
src/backend/tcop/postgres.c, ProcessInterrupts.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


def _cancel_flags() -> Callable[[], bool] | None:
    """A test of the server's wish to end this statement; None outside a server."""
    import ctypes

    try:
        server = ctypes.CDLL(None)
        # sig_atomic_t is int on every platform that PostgreSQL runs on.
        query = ctypes.c_int.in_dll(server, "QueryCancelPending")
        process = ctypes.c_int.in_dll(server, "ProcDiePending")  # pragma: no cover
    except (OSError, ValueError):
        return None
    # Reached in PostgreSQL's own processes alone.
    return lambda: bool(query.value or process.value)  # pragma: no cover


interrupted = _cancel_flags()


def give_way() -> None:
    """Raise :class:`Interrupted` where the server asked to stop.

    For what takes long without being an evaluation: decoding, compiling, many rules.
    """
    if interrupted is not None and interrupted():
        raise Interrupted
