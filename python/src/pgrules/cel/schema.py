"""Tenant schemas: which objects the facts have, with which fields of which types.

A definition is JSON of two levels, ``{"User": {"Age": "int"}}``. Reading it gives the
type of each object, for :class:`Environment`; a definition that breaks rules is refused
with all of them at once. How facts become values of the declared types is in
``reading``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from . import types
from .errors import InvalidSchema, Violation
from .lexer import KEYWORDS, RESERVED
from .types import ObjectType, Type, wrapper_of

MAX_OBJECTS: Final = 100
MAX_FIELDS: Final = 200
MAX_NAME: Final = 100

# A field of the facts may be null, so that its type is a wrapper (cel-spec, "Values").
# Timestamps and durations are nullable by themselves.
TYPES: Final[dict[str, Type]] = {
    "int": wrapper_of(types.INT),
    "int64": wrapper_of(types.INT),
    "float64": wrapper_of(types.DOUBLE),
    "string": wrapper_of(types.STRING),
    "bool": wrapper_of(types.BOOL),
    "bytes": wrapper_of(types.BYTES),
    "timestamp": types.TIMESTAMP,
    "duration": types.DURATION,
}

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FORM: Final = 'write {"Object": {"Field": "type"}}, such as {"User": {"Age": "int"}}'
_NAME_FORM: Final = (
    "a name is letters, digits and underscores, begins with no digit, "
    "and is no word of CEL: User, total_amount"
)
_TYPE_FORM: Final = f"the types are {', '.join(TYPES)}"
# What other languages and JSON schemas call the types.
_OTHER_NAMES: Final = {
    "boolean": "bool",
    "date": "timestamp",
    "datetime": "timestamp",
    "decimal": "float64",
    "double": "float64",
    "float": "float64",
    "float32": "float64",
    "int32": "int",
    "integer": "int",
    "interval": "duration",
    "long": "int64",
    "number": "float64",
    "str": "string",
    "text": "string",
    "timestamptz": "timestamp",
}


def decoded(definition: str) -> object:
    """The value of a definition's JSON text.

    Raises :class:`InvalidSchema` for what Python cannot decode: ``jsonb`` holds more
    levels and longer numbers, and no definition has them.
    """
    try:
        return json.loads(definition)
    except (ValueError, RecursionError):
        message = "a schema definition is a JSON object of two levels"
        raise InvalidSchema([Violation(None, None, message, _FORM)]) from None


def read_schema(definition: object) -> dict[str, ObjectType]:
    """The types of the objects that a definition declares, by name.

    ``definition`` is any decoded JSON. Raises :class:`InvalidSchema` with every
    violation.
    """
    violations: list[Violation] = []
    if not isinstance(definition, Mapping):
        message = f"a schema definition is a JSON object, not {_kind(definition)}"
        raise InvalidSchema([Violation(None, None, message, _FORM)])
    _count(violations, None, "objects", len(definition), MAX_OBJECTS)
    objects: dict[str, ObjectType] = {}
    for name, fields in definition.items():
        _name(violations, "object", name, name, None)
        if isinstance(fields, Mapping):
            _count(violations, name, "fields", len(fields), MAX_FIELDS)
            objects[name] = _object(violations, name, fields)
        else:
            message = f"object {_shown(name)} has its fields in a JSON object, not in "
            violations.append(_violation(name, None, message + _kind(fields), _FORM))
    if violations:
        raise InvalidSchema(violations)
    return objects


def _object(
    violations: list[Violation], name: str, fields: Mapping[str, object]
) -> ObjectType:
    declared: dict[str, str] = {}
    for field, kind in fields.items():
        _name(violations, "field", field, name, field)
        if isinstance(kind, str) and kind in TYPES:
            declared[field] = kind
        else:
            violations.append(_bad_type(name, field, kind))
    return ObjectType(
        str(name), {field: TYPES[kind] for field, kind in declared.items()}, declared
    )


def _bad_type(name: str, field: str, kind: object) -> Violation:
    where = f"field {_path(name, field)}"
    if isinstance(kind, Mapping):
        message = f"{where} is an object; a schema has two levels, objects and fields"
        hint = f'make it an object of its own, or name one type: "int"; {_TYPE_FORM}'
    elif not isinstance(kind, str):
        message = f"{where} has its type as {_kind(kind)}, not as a string"
        hint = f'write "int"; {_TYPE_FORM}'
    else:
        import difflib

        message = f"{where} has an unknown type {_shown(kind)}"
        near = difflib.get_close_matches(kind.lower()[:MAX_NAME], TYPES, n=1)
        meant = _OTHER_NAMES.get(kind.lower(), near[0] if near else "")
        hint = f'did you mean "{meant}"? {_TYPE_FORM}' if meant else _TYPE_FORM
    return _violation(name, field, message, hint)


def _violation(
    name: object | None, field: object | None, message: str, hint: str
) -> Violation:
    cut = [None if part is None else str(part)[:MAX_NAME] for part in (name, field)]
    return Violation(cut[0], cut[1], message, hint)


def _count(
    violations: list[Violation], name: str | None, what: str, count: int, most: int
) -> None:
    if not 1 <= count <= most:
        where = "the schema" if name is None else f"object {_shown(name)}"
        message = f"{where} has {count or 'no'} {what}"
        hint = f"1 to {most} {what} are allowed"
        violations.append(_violation(name, None, message, hint))


def _name(
    violations: list[Violation],
    what: str,
    name: object,
    in_object: str,
    in_field: str | None,
) -> None:
    where = _path(in_object, in_field)
    if not isinstance(name, str):
        reasons = [f"the name of {what} {where} is {_kind(name)}, not a string"]
    else:
        reasons = []
        if not name:
            reasons.append(f"the name of {what} {where} is empty")
        elif not _NAME.fullmatch(name):
            reasons.append(f"the name of {what} {where} has characters not allowed")
        elif name in RESERVED or name in KEYWORDS:
            reasons.append(f"the name of {what} {where} is a reserved word of CEL")
        if len(name) > MAX_NAME:
            reasons.append(
                f"the name of {what} {where} has {len(name)} characters, "
                f"more than {MAX_NAME}"
            )
    violations += [
        _violation(
            in_object,
            in_field,
            reason,
            f"at most {MAX_NAME} characters"
            if reason.endswith(f"than {MAX_NAME}")
            else _NAME_FORM,
        )
        for reason in reasons
    ]


def _path(name: object, field: object | None) -> str:
    return _shown(name) if field is None else f"{_shown(name)}.{_shown(field)}"


def _shown(name: object) -> str:
    """A name as a message shows it: plain where it is one, quoted and cut else."""
    if isinstance(name, str):
        if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
            return name
        return json.dumps(name if len(name) <= MAX_NAME else name[:60] + "...")
    return _kind(name)


def _kind(value: object) -> str:
    """What a JSON value is, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, Mapping):
        return "an object"
    return f"a {type(value).__name__}"
