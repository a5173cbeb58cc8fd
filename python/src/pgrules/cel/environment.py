"""What an expression is compiled against: names, functions and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .columns import Columns, read_columns
from .errors import InvalidEnvironment
from .library import Library
from .limits import DEFAULT_LIMITS, Limits
from .standard import STANDARD
from .types import Type

if TYPE_CHECKING:
    from .checked import Checked


class DerivedField(NamedTuple):
    """A name for an expression over facts and other derived fields.

    ``tree`` and ``slots`` are the checked expression, ``dependencies`` the names that
    it reads: of facts and of derived fields, in the order of the text.
    """

    name: str
    expression: str
    tree: Checked
    slots: int
    dependencies: tuple[str, ...]

    @property
    def type(self) -> Type:
        """The type that inference found."""
        return self.tree.type


@dataclass(frozen=True, slots=True)
class Environment:
    """The names that an expression may use.

    Without ``variables`` every name may come from the facts and is looked up when
    the expression is evaluated; with them, any other name is a problem at compile
    time. ``container`` is the namespace that names are resolved in. ``derived`` has
    the derived fields, each behind those that it depends on. ``columns`` is set where
    the facts are the rows of a table; ``unfit`` then says why a derived field is not
    among the others.
    """

    variables: Mapping[str, Type] | None = None
    container: str = ""
    functions: Library = field(default_factory=lambda: STANDARD)
    limits: Limits = DEFAULT_LIMITS
    derived: Mapping[str, DerivedField] = field(default_factory=dict)
    columns: Columns | None = None
    unfit: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Environment:
        """The environment of a tenant: a schema and derived fields, both optional.

        ``{"schema": {"User": {"Age": "int"}}, "derived": {"IsAdult": "User.Age >=
        18"}}``. Without a schema, or with null for one, every name may come from the
        facts. Raises :class:`InvalidSchema`, :class:`InvalidDerivedFields` and, for
        JSON of another form, :class:`InvalidEnvironment`.

        ``columns`` and ``object`` stand in place of a schema, see module ``columns``.
        A derived field that does not fit them is no error of the environment but of
        the expressions that use it, and a column of its name supplies it.
        """
        parts = _parts(text)
        if "columns" in parts:
            return _of_table(cls(), parts)
        schema, derived = parts.get("schema"), parts.get("derived")
        environment = cls()
        if schema is not None:
            from .schema import read_schema

            environment = replace(environment, variables=read_schema(schema))
        if derived is not None:
            from .derived import order

            if not isinstance(derived, dict):
                raise InvalidEnvironment(
                    "derived fields are a JSON object of names and expressions"
                )
            fields = order(derived, environment)
            environment = environment.with_derived({f.name: f for f in fields})
        return environment

    def with_derived(self, derived: Mapping[str, DerivedField]) -> Environment:
        """This environment with these derived fields and no others."""
        return replace(self, derived=derived)

    def candidates(self, name: str) -> Iterator[str]:
        """What a name can stand for, innermost namespace first.

        As cel-spec's "Name Resolution": a leading dot means the root namespace.
        """
        if name.startswith("."):
            yield name[1:]
            return
        container = self.container
        while container:
            yield f"{container}.{name}"
            container = container.rpartition(".")[0]
        yield name


def _of_table(empty: Environment, parts: Mapping[str, Any]) -> Environment:
    """An environment of the columns of a table, and what fits of derived fields."""
    from .derived import fitting

    columns = read_columns(parts["columns"], parts.get("object"))
    environment = replace(empty, variables=columns.variables(), columns=columns)
    fields, unfit = fitting(parts.get("derived") or {}, environment)
    return replace(environment, derived={f.name: f for f in fields}, unfit=unfit)


def _parts(text: str) -> dict[str, Any]:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InvalidEnvironment(f"the environment is no JSON: {problem}") from None
    known = {"schema", "derived"}
    if isinstance(parts, dict) and "columns" in parts:
        known = {"columns", "object", "derived"}
    if not isinstance(parts, dict) or not parts.keys() <= known:
        raise InvalidEnvironment(
            "an environment is a JSON object with the keys schema and derived, "
            "or columns, object and derived",
            hint='for example {"schema": {"User": {"Age": "int"}}}',
        )
    return parts
