"""What this process has compiled, by content: expressions, and their environments.

An environment is what a tenant's expressions are compiled against: the active schema
and the derived fields. A change of it is checked here, for the in-memory store as its
own check, for the database to say a refusal in the same words.
"""

from __future__ import annotations

import json
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from .cel import Environment, Program
from .cel.cache import EnvironmentCache, ProgramCache, RuleSetCache
from .cel.change import broken, refuse_removed
from .cel.rule_set import RuleSet
from .cel.schema import read_schema
from .errors import RulesBroken
from .model import BrokenRule
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from .cel.activation import Fields
    from .model import DerivedField, Rule

Definition = dict[str, dict[str, str]]


class TenantEnvironment(NamedTuple):
    """An environment, compiled; `document` describes it, and stands for it in keys."""

    document: str
    environment: Environment
    fields: Fields


class TenantState(NamedTuple):
    """All that a change of the environment concerns, before or after it.

    `rules` are the active ones, oldest first.
    """

    schema: Definition | None
    fields: Mapping[UUID, DerivedField]
    rules: Sequence[Rule]

    def expressions(self) -> dict[str, str]:
        """The derived fields by name, in the order in which jsonb keeps keys."""
        found = {field.name: field.expression for field in self.fields.values()}
        return {name: found[name] for name in sorted(found, key=_as_jsonb)}


EMPTY: Final = TenantEnvironment("{}", Environment(), {})
"""Neither schema nor derived fields: every name may come from the facts."""

ALLOW_BROKEN_HINT: Final = "change these rules first, or pass allow_broken=True"
"""The way out of a refused change of schema."""

IN_USE_HINT: Final = "change or deactivate these rules first"
"""The way out of a refused change of derived fields."""

# One of each for all engines of the process. The language's own are for one thread.
_programs: Final = ProgramCache()
_environments: Final = EnvironmentCache()
_rule_sets: Final = RuleSetCache()
_lock: Final = Lock()


def definition_from(given: object, *, operation: str) -> Definition:
    """A copy of a schema's definition; raises `InvalidSchema` with all violations."""
    with translated(operation):
        declared = read_schema(given)
    return {name: dict(objects.declared) for name, objects in declared.items()}


def program(expression: str, environment: TenantEnvironment) -> Program:
    """The program of an expression; raises what compiling it raises."""
    with _lock:
        return _programs.program(
            expression, environment.document, environment.environment
        )


def rule_set(expressions: Sequence[str], environment: TenantEnvironment) -> RuleSet:
    """Rules to evaluate together, in this order; one that does not compile says so."""
    key = tuple(expressions)
    with _lock:
        found = _rule_sets.get(key, environment.document)
    if found is None:
        # Without the lock: it takes long, and compiles by `program`.
        found = RuleSet(
            list(key),
            lambda expression: program(expression, environment),
            environment.fields,
        )
        with _lock:
            _rule_sets.put(key, environment.document, found)
            _programs.resize(_rule_sets.programs_left)
    return found


def compiled(
    expression: str,
    environment: TenantEnvironment = EMPTY,
    *,
    operation: str,
    subject: object = "",
) -> Program:
    """The program of this expression; raises `CompilationError`."""
    with translated(operation, subject):
        return program(expression, environment)


def recompiled(
    before: TenantState, after: TenantState, *, operation: str, subject: object = ""
) -> tuple[TenantEnvironment, tuple[BrokenRule, ...]]:
    """The environment after a change, and the active rules that it would break.

    Raises `InvalidDerivedFields`: those that do not compile, are in a cycle, or use
    one that went.
    """
    removed = before.expressions().keys() - after.expressions().keys()
    with translated(operation, subject):
        compiled_after = environment(after)
        refuse_removed(compiled_after.environment, frozenset(removed))
    found = broken(
        (rule.expression for rule in after.rules),
        lambda expression: program(expression, compiled_after),
        frozenset(removed),
    )
    failures = []
    for position, invalid in found:
        rule = after.rules[position]
        failures.append(BrokenRule(rule.id, rule.name, tuple(invalid.problems)))
    return compiled_after, tuple(failures)


def refuse_broken(
    failures: Sequence[BrokenRule], *, operation: str, subject: object = "", hint: str
) -> None:
    """Raise `RulesBroken` where there are any."""
    if not failures:
        return
    count = len(failures)
    raise RulesBroken(
        "1 active rule would no longer compile"
        if count == 1
        else f"{count} active rules would no longer compile",
        broken_rules=failures,
        operation=operation,
        subject=subject,
        detail="\n".join(map(str, failures)),
        hint=hint,
    )


def environment(state: TenantState) -> TenantEnvironment:
    """What expressions are compiled against; raises what compiling it raises."""
    parts = {"schema": state.schema, "derived": state.expressions() or None}
    document = json.dumps({key: part for key, part in parts.items() if part})
    with _lock:
        return TenantEnvironment(document, *_environments.compiled(document))


def _as_jsonb(name: str) -> tuple[int, str]:
    return len(name), name
