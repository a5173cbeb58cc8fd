"""Transactions of one tenant, over a pool or a connection that the caller owns.

Each is one transaction whose first statement sets the tenant, transaction-local, so
that a pooler's next client never inherits it. A transaction that the caller has open
is joined by a savepoint and never ended, and the tenant which it had is put back.
Statements travel in a pipeline: setting the tenant and the first query share one
round trip, the commit takes the second.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg import Connection, Cursor, OperationalError
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool

from .errors import InvalidTenant
from .translate import own_statements, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

AnyConnection: TypeAlias = Connection[Any]
AnyPool: TypeAlias = ConnectionPool[Any]
Rows: TypeAlias = Cursor[tuple[Any, ...]]

SET_TENANT: Final = """
SELECT current_setting('app.tenant_id', true), rules.set_tenant(%s)
"""

RESTORE_TENANT: Final = "SELECT set_config('app.tenant_id', %s, true)"

_locks: Final[WeakKeyDictionary[AnyConnection, RLock]] = WeakKeyDictionary()
_locks_guard: Final = Lock()


class TenantSession:
    """Opens transactions for one tenant. Safe to use from several threads."""

    def __init__(
        self, pool_or_connection: AnyPool | AnyConnection, tenant_id: UUID | str
    ) -> None:
        self._lend = _lender(pool_or_connection)
        self.tenant_id = _tenant(tenant_id)

    @contextmanager
    def transaction(
        self, operation: str, subject: object = "", *, writes: bool = False
    ) -> Iterator[Rows]:
        """A cursor in a transaction of the tenant, which ends with the block.

        Results must be fetched inside the block: until then the pipeline may not
        have run the query, and its error would not undo the transaction. Errors of
        the database are raised as `PgRulesError` that name operation and subject.
        """
        with translated(operation, subject) as scope, self._lend() as connection:
            joined = connection.info.transaction_status != TransactionStatus.IDLE
            outer: AbstractContextManager[Any] = connection.pipeline()
            inner: AbstractContextManager[Any] = connection.transaction()
            if joined:
                # A pipeline ends with a Flush, after which the server counts no idle
                # time (PostgreSQL sources, src/backend/tcop/postgres.c). The caller's
                # transaction goes on, and its idle_in_transaction_session_timeout
                # with it: the release of the savepoint comes last, outside.
                outer, inner = inner, outer
            with outer, inner:
                # The caller may have chosen other rows or client-side binding.
                tenant = Cursor(connection, row_factory=tuple_row)
                tenant.execute(SET_TENANT, (self.tenant_id,))
                yield Cursor(connection, row_factory=tuple_row)
                if joined:
                    self._restore(tenant)
                scope.commit_sent = writes and not joined

    @contextmanager
    def connection(self, operation: str) -> Iterator[AnyConnection]:
        """The connection, in a transaction of the tenant, which ends with the block.

        For statements of the caller's own: not in a pipeline, and their errors are
        raised as :func:`pgrules.translate.own_statements` says.
        """
        with own_statements(operation) as scope, self._lend() as connection:
            joined = connection.info.transaction_status != TransactionStatus.IDLE
            with connection.transaction():
                tenant = Cursor(connection, row_factory=tuple_row)
                with translated(operation):
                    tenant.execute(SET_TENANT, (self.tenant_id,))
                yield connection
                _refuse_lost(connection)
                if joined:
                    self._restore(tenant)
                scope.commit_sent = not joined

    def _restore(self, tenant: Rows) -> None:
        """Put back the tenant that the caller's transaction had."""
        row = tenant.fetchone()
        previous = row[0] if row else None
        if previous != str(self.tenant_id):
            tenant.execute(RESTORE_TENANT, (previous or "",))


def _lender(
    given: AnyPool | AnyConnection,
) -> Callable[[], AbstractContextManager[AnyConnection]]:
    if isinstance(given, ConnectionPool):
        return given.connection
    if isinstance(given, Connection):
        return partial(_exclusive, given)
    raise TypeError(
        "expected psycopg.Connection or psycopg_pool.ConnectionPool,"
        f" got {type(given).__name__}"
    )


@contextmanager
def _exclusive(connection: AnyConnection) -> Iterator[AnyConnection]:
    """The connection, for one thread at a time.

    psycopg orders single statements of several threads, but not transactions. The
    lock belongs to the connection: stores of several tenants may share it.
    """
    with _locks_guard:
        lock = _locks.setdefault(connection, RLock())
    with lock:
        yield connection


def _refuse_lost(connection: AnyConnection) -> None:
    """Raise where the connection was lost and nobody has said so.

    psycopg would end a transaction of it without COMMIT and without an error, where
    the caller suppressed the one that there was.
    """
    if connection.closed:
        raise OperationalError("the connection was lost in the transaction")


def _tenant(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidTenant(
            f"{value!r} is no UUID", operation="open store of tenant"
        ) from error
