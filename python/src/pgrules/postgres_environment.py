"""Schemas and derived fields of one tenant in PostgreSQL.

The database checks each change, in the transaction that makes it. When it refuses one
it says so in text; the refusal is worked out once more here, from the state that the
database had, so that the error carries its reasons as data and in the words of
:mod:`pgrules.programs`. If that fails, the database's text has to do.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from .cel import Problem
from .errors import (
    CompilationError,
    DerivedFieldNotFound,
    InvalidDerivedFields,
    PgRulesError,
    RulesBroken,
    SchemaNotFound,
)
from .model import BrokenRule, DerivedField, Rule, Schema, SchemaChange
from .programs import (
    ALLOW_BROKEN_HINT,
    IN_USE_HINT,
    TenantState,
    compiled,
    definition_from,
    recompiled,
    refuse_broken,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .programs import Definition
    from .tenant_session import Rows, TenantSession

SET_SCHEMA: Final = """
SELECT
    old_version, new_version, changed_by::text, changed_at, compiled, failed,
    failures::text
FROM rules.set_schema(%s::jsonb, %s)
"""

ACTIVATE_SCHEMA: Final = """
SELECT
    old_version, new_version, changed_by::text, changed_at, compiled, failed,
    failures::text
FROM rules.activate_schema(%s::integer, %s)
"""

SCHEMA: Final = """
SELECT version, definition::text, active, created_at
FROM rules.schemas
WHERE tenant_id = %s AND active
"""

SCHEMAS: Final = """
SELECT version, definition::text, active, created_at
FROM rules.schemas
WHERE tenant_id = %s
ORDER BY version
"""

SCHEMA_CHANGES: Final = """
SELECT
    old_version, new_version, changed_by::text, changed_at, compiled, failed,
    failures::text
FROM rules.schema_changelog
WHERE tenant_id = %s
ORDER BY changed_at, id
"""

ADD_FIELD: Final = """
INSERT INTO rules.derived_fields (tenant_id, id, name, expression)
VALUES (%s, %s, %s, %s)
RETURNING id, name, expression, dependencies::text, created_at, updated_at
"""

GET_FIELD: Final = """
SELECT id, name, expression, dependencies::text, created_at, updated_at
FROM rules.derived_fields
WHERE tenant_id = %s AND name = %s
"""

FIELDS: Final = """
SELECT id, name, expression, dependencies::text, created_at, updated_at
FROM rules.derived_fields
WHERE tenant_id = %s
ORDER BY created_at, id
"""

UPDATE_FIELD: Final = """
UPDATE rules.derived_fields
SET name = %s, expression = %s
WHERE tenant_id = %s AND id = %s
RETURNING id, name, expression, dependencies::text, created_at, updated_at
"""

DELETE_FIELD: Final = """
DELETE FROM rules.derived_fields
WHERE tenant_id = %s AND name = %s
RETURNING id
"""

ACTIVE_RULES: Final = """
SELECT id, name, expression
FROM rules.rules
WHERE tenant_id = %s AND active
ORDER BY created_at, id
"""

_LAST_VERSION: Final = 2**31 - 1


class PostgresEnvironment:
    """What the rules of a tenant are compiled against; see `TenantStore`."""

    def __init__(self, session: TenantSession) -> None:
        self._session = session

    @property
    def tenant_id(self) -> UUID:
        """The tenant whose rules these are."""
        return self._session.tenant_id

    def set_schema(
        self, definition: Mapping[str, object], *, allow_broken: bool = False
    ) -> SchemaChange:
        """Store and activate a definition; see `TenantStore.set_schema`."""
        operation = "set schema"
        copied = definition_from(definition, operation=operation)

        def change(state: TenantState) -> TenantState:
            return state._replace(schema=copied)

        with self._changing(operation, "", change, ALLOW_BROKEN_HINT) as cursor:
            cursor.execute(SET_SCHEMA, (json.dumps(copied), bool(allow_broken)))
            return _change(cursor.fetchall()[0])

    def activate_schema(
        self, version: int, *, allow_broken: bool = False
    ) -> SchemaChange:
        """Go back to a version; see `TenantStore.activate_schema`."""
        operation = "activate schema"
        if type(version) is not int or not 0 < version <= _LAST_VERSION:
            raise SchemaNotFound(operation=operation, subject=version)

        def change(state: TenantState) -> TenantState:
            definitions = {each.version: each.definition for each in self.schemas()}
            found = definitions.get(version, {})
            return state._replace(schema={name: dict(found[name]) for name in found})

        with self._changing(operation, version, change, ALLOW_BROKEN_HINT) as cursor:
            cursor.execute(ACTIVATE_SCHEMA, (version, bool(allow_broken)))
            return _change(cursor.fetchall()[0])

    def schema(self) -> Schema | None:
        """The active version; see `TenantStore.schema`."""
        with self._session.transaction("get schema") as cursor:
            cursor.execute(SCHEMA, (self.tenant_id,))
            rows = cursor.fetchall()
        return _schema(rows[0]) if rows else None

    def schemas(self) -> list[Schema]:
        """All versions, oldest first; see `TenantStore.schemas`."""
        with self._session.transaction("list schemas") as cursor:
            cursor.execute(SCHEMAS, (self.tenant_id,))
            return [_schema(row) for row in cursor.fetchall()]

    def schema_changes(self) -> list[SchemaChange]:
        """All changes, oldest first; see `TenantStore.schema_changes`."""
        with self._session.transaction("list schema changes") as cursor:
            cursor.execute(SCHEMA_CHANGES, (self.tenant_id,))
            return [_change(row) for row in cursor.fetchall()]

    def add_derived_field(self, field: DerivedField) -> DerivedField:
        """Store a new derived field; see `TenantStore.add_derived_field`."""
        with self._writing("add derived field", field) as cursor:
            cursor.execute(
                ADD_FIELD, (self.tenant_id, field.id, field.name, field.expression)
            )
            return _field(cursor.fetchall()[0])

    def get_derived_field(self, name: str) -> DerivedField:
        """The derived field of this name; see `TenantStore.get_derived_field`."""
        operation = "get derived field"
        _refuse_impossible(name, operation)
        with self._session.transaction(operation, name) as cursor:
            cursor.execute(GET_FIELD, (self.tenant_id, name))
            return _field(_only_row(cursor, operation, name))

    def derived_fields(self) -> list[DerivedField]:
        """All derived fields, oldest first; see `TenantStore.derived_fields`."""
        with self._session.transaction("list derived fields") as cursor:
            cursor.execute(FIELDS, (self.tenant_id,))
            return [_field(row) for row in cursor.fetchall()]

    def update_derived_field(self, field: DerivedField) -> DerivedField:
        """Replace the one of this id; see `TenantStore.update_derived_field`."""
        operation = "update derived field"
        with self._writing(operation, field) as cursor:
            cursor.execute(
                UPDATE_FIELD, (field.name, field.expression, self.tenant_id, field.id)
            )
            return _field(_only_row(cursor, operation, field.name))

    def delete_derived_field(self, name: str) -> None:
        """Remove the one of this name; see `TenantStore.delete_derived_field`."""
        operation = "delete derived field"
        _refuse_impossible(name, operation)

        def change(state: TenantState) -> TenantState:
            left = {key: f for key, f in state.fields.items() if f.name != name}
            return state._replace(fields=left)

        with self._changing(operation, name, change, IN_USE_HINT) as cursor:
            cursor.execute(DELETE_FIELD, (self.tenant_id, name))
            _only_row(cursor, operation, name)

    @contextmanager
    def _writing(self, operation: str, field: DerivedField) -> Iterator[Rows]:
        """A transaction that stores this derived field."""

        def change(state: TenantState) -> TenantState:
            compiled(field.expression, operation=operation, subject=field.name)
            return state._replace(fields={**state.fields, field.id: field})

        with self._changing(operation, field.name, change, IN_USE_HINT) as cursor:
            yield cursor

    @contextmanager
    def _changing(
        self,
        operation: str,
        subject: object,
        change: Callable[[TenantState], TenantState],
        hint: str,
    ) -> Iterator[Rows]:
        """A transaction that changes the environment, and says why it cannot be."""
        try:
            with self._session.transaction(operation, subject, writes=True) as cursor:
                yield cursor
        except (CompilationError, InvalidDerivedFields, RulesBroken) as error:
            raise self._explained(error, change, hint) from error.__cause__

    def _explained(
        self,
        error: PgRulesError,
        change: Callable[[TenantState], TenantState],
        hint: str,
    ) -> PgRulesError:
        """The same refusal with its reasons, if it can be worked out here."""
        operation, subject = error.operation, error.subject
        try:
            before = self._state(operation, subject)
            _, broken = recompiled(
                before, change(before), operation=operation, subject=subject
            )
            refuse_broken(broken, operation=operation, subject=subject, hint=hint)
        except PgRulesError as refusal:
            if type(refusal) is type(error):
                return refusal
        return error

    def _state(self, operation: str, subject: object) -> TenantState:
        with self._session.transaction(operation, subject) as cursor:
            cursor.execute(SCHEMA, (self.tenant_id,))
            schemas = [_schema(row) for row in cursor.fetchall()]
            cursor.execute(FIELDS, (self.tenant_id,))
            fields = [_field(row) for row in cursor.fetchall()]
            cursor.execute(ACTIVE_RULES, (self.tenant_id,))
            rules = [Rule(*row) for row in cursor.fetchall()]
        definition = schemas[0].definition if schemas else None
        return TenantState(
            None if definition is None else {n: dict(f) for n, f in definition.items()},
            {field.id: field for field in fields},
            rules,
        )


def problem_from(line: int, column: int, message: str, hint: str | None) -> Problem:
    """A problem as the database tells it.

    It gives source line and caret as the first two lines of the hint.
    """
    lines = hint.split("\n") if hint else []
    if len(lines) > 1 and lines[1].strip() == "^":
        excerpt, lines = "\n".join(lines[:2]), lines[2:]
    else:
        excerpt = ""
    return Problem(line, column, message, "\n".join(lines), excerpt)


def _schema(row: tuple[Any, ...]) -> Schema:
    version, text, active, created_at = row
    definition: Definition = json.loads(text)
    return Schema(version, definition, active, created_at)


def _change(row: tuple[Any, ...]) -> SchemaChange:
    old, new, changed_by, changed_at, total, failed, failures = row
    return SchemaChange(
        old,
        new,
        changed_by,
        changed_at,
        total,
        failed,
        tuple(map(_broken, json.loads(failures))),
    )


def _broken(failure: dict[str, Any]) -> BrokenRule:
    problems = tuple(problem_from(**found) for found in failure["problems"])
    return BrokenRule(UUID(failure["id"]), failure["name"], problems)


def _field(row: tuple[Any, ...]) -> DerivedField:
    identity, name, expression, dependencies, created_at, updated_at = row
    return DerivedField(
        identity,
        name,
        expression,
        dependencies=json.loads(dependencies),
        created_at=created_at,
        updated_at=updated_at,
    )


def _refuse_impossible(name: object, operation: str) -> None:
    """No derived field has a name that is no text of ASCII letters and digits."""
    if not isinstance(name, str) or not name.isidentifier():
        raise DerivedFieldNotFound(operation=operation, subject=name)


def _only_row(cursor: Rows, operation: str, name: str) -> tuple[Any, ...]:
    row = cursor.fetchone()
    if row is None:
        raise DerivedFieldNotFound(operation=operation, subject=name)
    return row
