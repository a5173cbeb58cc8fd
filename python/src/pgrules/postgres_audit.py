"""What was done to one tenant's rules, schemas and derived fields in PostgreSQL.

The database records it, see ``deploy/000037_record_changes.sql``; here it is read. To
go back to a version is a write like any other, and in :mod:`pgrules.postgres`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from .model import (
    AuditEntry,
    RuleVersion,
    VersionDifference,
    instant,
    rule_version,
    subjects,
)
from .model import rule_id as as_rule_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from .model import Subject
    from .tenant_session import TenantSession

VERSIONS: Final = """
SELECT
    version, operation, name, expression, active, valid_from, valid_to, changed_at,
    changed_by, role, application
FROM rules.rule_versions(%s)
"""

COMPARE: Final = """
SELECT field, old_value, new_value
FROM rules.compare_rule_versions(%s, %s::integer, %s::integer)
"""

ENTRIES: Final = """
SELECT
    id, subject, subject_id, operation, changed_at, changed_by, role, application,
    before::text, after::text, xid::text, started_at
FROM rules.audit_log
WHERE tenant_id = %s AND subject = ANY(%s::text[])
    AND changed_at >= %s::timestamptz AND (changed_at, id) < (%s::timestamptz, %s)
ORDER BY changed_at DESC, id DESC
LIMIT %s
"""

ENTRIES_OF_SUBJECT: Final = """
SELECT
    id, subject, subject_id, operation, changed_at, changed_by, role, application,
    before::text, after::text, xid::text, started_at
FROM rules.audit_log
WHERE tenant_id = %s AND subject = ANY(%s::text[])
    AND changed_at >= %s::timestamptz AND (changed_at, id) < (%s::timestamptz, %s)
    AND subject_id = %s
ORDER BY changed_at DESC, id DESC
LIMIT %s
"""

PAGE: Final = 200
"""How many entries one query fetches."""

_BOOLEANS: Final = {"true": True, "false": False}


class PostgresAudit:
    """Versions of rules and the audit; see `AuditedStore`. A part of the store."""

    _session: TenantSession

    def rule_versions(self, rule_id: UUID | str) -> list[RuleVersion]:
        """The versions of a rule; see `AuditedStore.rule_versions`."""
        operation = "list versions of rule"
        wanted = as_rule_id(rule_id, operation=operation)
        with self._session.transaction(operation, wanted) as cursor:
            cursor.execute(VERSIONS, (wanted,))
            return [RuleVersion(wanted, *row) for row in cursor.fetchall()]

    def compare_rule_versions(
        self, rule_id: UUID | str, old_version: int, new_version: int
    ) -> list[VersionDifference]:
        """What differs; see `AuditedStore.compare_rule_versions`."""
        operation = "compare versions of rule"
        wanted = as_rule_id(rule_id, operation=operation)
        old = rule_version(old_version, wanted, operation=operation)
        new = rule_version(new_version, wanted, operation=operation)
        with self._session.transaction(operation, wanted) as cursor:
            cursor.execute(COMPARE, (wanted, old, new))
            return [_difference(*row) for row in cursor.fetchall()]

    def audit_log(
        self,
        *,
        subject: Subject | None = None,
        subject_id: UUID | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """What was changed, newest first; see `AuditedStore.audit_log`.

        A query fetches 200 entries, each query in a transaction of its own: between
        them the connection is free, and what is committed meanwhile may be seen.
        """
        operation = "read audit log"
        about = subjects(subject, operation=operation)
        wanted = (
            None if subject_id is None else as_rule_id(subject_id, operation=operation)
        )
        # Not before, and not from then on.
        begin = "-infinity" if since is None else instant(since, operation=operation)
        end = "infinity" if until is None else instant(until, operation=operation)
        return self._entries(operation, about, wanted, begin, end)

    def _entries(
        self,
        operation: str,
        about: list[Subject],
        wanted: UUID | None,
        begin: datetime | str,
        end: datetime | str,
    ) -> Iterator[AuditEntry]:
        # The last entry of a page is where the next one goes on.
        last = UUID(int=0)
        tenant_id = self._session.tenant_id
        while True:
            with self._session.transaction(operation, wanted or "") as cursor:
                if wanted is None:
                    cursor.execute(ENTRIES, (tenant_id, about, begin, end, last, PAGE))
                else:
                    cursor.execute(
                        ENTRIES_OF_SUBJECT,
                        (tenant_id, about, begin, end, last, wanted, PAGE),
                    )
                page = [_entry(row) for row in cursor.fetchall()]
            yield from page
            if len(page) < PAGE:
                return
            end, last = page[-1].changed_at, page[-1].id


def _difference(field: Any, old: str | None, new: str | None) -> VersionDifference:
    if field == "active":
        return VersionDifference(
            field, _BOOLEANS.get(old or ""), _BOOLEANS.get(new or "")
        )
    return VersionDifference(field, old, new)


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    *_, before, after, xid, started_at = row
    documents = [None if text is None else json.loads(text) for text in (before, after)]
    return AuditEntry(*(*row[:8], *documents, int(xid), started_at))
