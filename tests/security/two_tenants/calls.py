"""What tenants do through the Python package, each with what the model says about it.

A store is given a connection that may be in a transaction, which it then joins: what
fails is undone by a savepoint, and the transaction goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pgrules import Engine, EvaluationResult, PostgresRuleStore, Rule
from pgrules.model import DerivedField, SchemaChange
from tests.security.two_tenants.model import Refused, Rows, State, as_text
from tests.security.two_tenants.steps import Values


@dataclass(frozen=True)
class Call:
    """A call of the package, and what it does to what a tenant has."""

    perform: Callable[[PostgresRuleStore, Values], Rows]
    model: Callable[[State, Values], Rows]
    weight: int
    writes: bool = False


def _rule(values: Values) -> Rule:
    text = values.expression.text(values.side.mark)
    return Rule(values.rule, values.name, text, active=values.active)


def _shown(*rules: Rule) -> Rows:
    return [(rule.id, rule.name, rule.expression, rule.active) for rule in rules]


def _results(results: Iterable[EvaluationResult]) -> Rows:
    return [(r.rule_id, r.rule_name, r.matched, r.error) for r in results]


def _matches(results: Iterable[EvaluationResult]) -> Rows:
    return [(result.rule_id, result.rule_name) for result in results]


def _change(change: SchemaChange) -> Rows:
    return [(change.old_version, change.new_version, change.compiled, change.failed)]


def _found(rows: Rows) -> Rows:
    """What a call gives that raises where a statement would give no row."""
    if not rows:
        raise Refused("RE010")
    return rows


def _broken(state: State) -> Rows:
    return [
        (key,)
        for key, rule in state.rules.items()
        if rule.active and not state.compiles(rule.expression)
    ]


def _delete(store: PostgresRuleStore, values: Values) -> Rows:
    store.delete(values.rule)
    return [(values.rule,)]


def _fields(*fields: DerivedField) -> Rows:
    return sorted((field.name, field.expression) for field in fields)


CALLS = {
    "store.add": Call(
        lambda store, v: _shown(store.add(_rule(v))),
        lambda state, v: state.add(v.rule, v.name, v.expression, v.active),
        6,
        writes=True,
    ),
    "store.get": Call(
        lambda store, v: _shown(store.get(v.rule)),
        lambda state, v: _found(state.list_rules(lambda key, rule: key == v.rule)),
        6,
    ),
    "store.list_active": Call(
        lambda store, v: _shown(*store.list_active()),
        lambda state, v: state.list_rules(lambda key, rule: rule.active),
        6,
    ),
    "store.update": Call(
        lambda store, v: _shown(store.update(_rule(v))),
        lambda state, v: _found(
            state.change(v.rule, name=v.name, expression=v.expression, active=v.active)
        ),
        4,
        writes=True,
    ),
    "store.delete": Call(
        _delete,
        lambda state, v: _found(state.delete(lambda key, rule: key == v.rule)),
        3,
        writes=True,
    ),
    "store.set_schema": Call(
        lambda store, v: _change(
            store.set_schema(v.document(), allow_broken=v.allow_broken)
        ),
        lambda state, v: state.set_schema(v.definition, v.allow_broken),
        2,
        writes=True,
    ),
    "store.schemas": Call(
        lambda store, v: [
            (schema.version, schema.definition, schema.active)
            for schema in store.schemas()
        ],
        lambda state, v: state.list_schemas(),
        2,
    ),
    "store.schema_changes": Call(
        lambda store, v: [
            row for change in store.schema_changes() for row in _change(change)
        ],
        lambda state, v: state.changelog,
        2,
    ),
    "store.derived_fields": Call(
        lambda store, v: _fields(*store.derived_fields()),
        lambda state, v: state.list_fields(),
        2,
    ),
    "store.restore_rule": Call(
        lambda store, v: _shown(store.restore_rule(v.rule, v.version)),
        lambda state, v: state.restore(v.rule, v.version),
        4,
        writes=True,
    ),
    "store.rule_versions": Call(
        lambda store, v: [
            (each.version, each.operation, each.name, each.expression, each.active)
            for each in store.rule_versions(v.rule)
        ],
        lambda state, v: [row[:-1] for row in state.list_versions(v.rule)],
        2,
    ),
    "store.compare_rule_versions": Call(
        lambda store, v: [
            (each.field, as_text(each.old_value), as_text(each.new_value))
            for each in store.compare_rule_versions(v.rule, v.version, v.other_version)
        ],
        lambda state, v: state.compare_versions(v.rule, v.version, v.other_version),
        2,
    ),
    "store.audit_log": Call(
        lambda store, v: sorted((e.subject, e.operation) for e in store.audit_log()),
        lambda state, v: sorted(entry[:2] for entry in state.audit),
        2,
    ),
    "engine": Call(
        lambda store, v: [(broken.rule_id,) for broken in Engine(store).broken_rules],
        lambda state, v: _broken(state),
        2,
    ),
    "engine.evaluate": Call(
        lambda store, v: _results(
            [store.evaluator().evaluate(v.rule, v.documents()[0], trace=v.active)]
        ),
        lambda state, v: state.evaluate(v.rule, v.facts),
        4,
    ),
    "engine.evaluate_all": Call(
        lambda store, v: _results(
            store.evaluator().evaluate_all(v.documents()[0], matched_only=False)
        ),
        lambda state, v: state.evaluate_all(v.facts),
        4,
    ),
    "engine.match_rules": Call(
        lambda store, v: _matches(store.evaluator().match_rules(v.documents()[0])),
        lambda state, v: state.matching(v.facts),
        4,
    ),
    "engine.evaluate_batch": Call(
        lambda store, v: _results(
            store.evaluator().evaluate_batch(v.rule, v.documents())
        ),
        lambda state, v: state.evaluate_batch(v.rule, v.batch),
        2,
    ),
    "engine.match_rules_batch": Call(
        lambda store, v: [
            (number, *row)
            for number, found in enumerate(
                store.evaluator().match_rules_batch(v.documents()), 1
            )
            for row in _matches(found)
        ],
        lambda state, v: state.matching_batch(v.batch),
        2,
    ),
    "engine.check": Call(
        lambda store, v: [
            (bool(store.evaluator().check(v.expression.text(v.side.mark))),)
        ],
        lambda state, v: [(not state.compiles(v.expression),)],
        2,
    ),
}
