"""Every kind of call of a store or an engine, each as it can be made again and again.

A call is prepared over a connection that works, by which what it needs is stored; what
comes out is made over the connection that will not.
"""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

from pgrules import DerivedField, Engine, PostgresRuleStore, Rule

FACTS = {"a": 1, "Loan": {"Amount": 5}}

Made = Callable[[PostgresRuleStore], object]
"""Makes the call, with the store that is given."""
Prepared = Callable[[PostgresRuleStore], Made]


def _rule(store: PostgresRuleStore) -> Rule:
    return store.add(Rule(uuid4(), f"rule {uuid4()}", "1 < 2"))


def _field(store: PostgresRuleStore) -> DerivedField:
    return store.add_derived_field(DerivedField(uuid4(), f"D{uuid4().hex}", "1 + 1"))


def _two_versions(store: PostgresRuleStore) -> int:
    first = store.set_schema({"Loan": {"Amount": "int"}}).new_version
    store.set_schema({"Loan": {"Amount": "float64"}})
    return first


def _add(_: PostgresRuleStore) -> Made:
    rule = Rule(uuid4(), f"rule {uuid4()}", "1 < 2")
    return lambda store: store.add(rule)


def _update(store: PostgresRuleStore) -> Made:
    changed = replace(_rule(store), expression="2 < 3")
    return lambda store: store.update(changed)


def _delete(store: PostgresRuleStore) -> Made:
    rule = _rule(store)
    return lambda store: store.delete(rule.id)


def _set_schema(_: PostgresRuleStore) -> Made:
    return lambda store: store.set_schema({"Loan": {"Amount": "int"}})


def _activate_schema(store: PostgresRuleStore) -> Made:
    version = _two_versions(store)
    return lambda store: store.activate_schema(version)


def _add_derived_field(_: PostgresRuleStore) -> Made:
    field = DerivedField(uuid4(), f"D{uuid4().hex}", "1 + 1")
    return lambda store: store.add_derived_field(field)


def _update_derived_field(store: PostgresRuleStore) -> Made:
    changed = replace(_field(store), expression="2 + 2")
    return lambda store: store.update_derived_field(changed)


def _delete_derived_field(store: PostgresRuleStore) -> Made:
    field = _field(store)
    return lambda store: store.delete_derived_field(field.name)


def two_in_a_transaction(_: PostgresRuleStore) -> Made:
    """Both rules or neither, in a transaction that the store begins and commits."""
    rules = [Rule(uuid4(), f"rule {uuid4()}", "1 < 2") for _ in range(2)]

    def made(store: PostgresRuleStore) -> None:
        with store.transaction("add two rules") as connection:
            for rule in rules:
                PostgresRuleStore(connection, store.tenant_id).add(rule)

    return made


def _reads(read: Callable[[PostgresRuleStore, UUID, str], object]) -> Prepared:
    """A call that reads, of a rule and a derived field that are there."""

    def prepare(store: PostgresRuleStore) -> Made:
        rule, field = _rule(store), _field(store)
        return lambda store: read(store, rule.id, field.name)

    return prepare


WRITES: dict[str, Prepared] = {
    "add": _add,
    "update": _update,
    "delete": _delete,
    "set_schema": _set_schema,
    "activate_schema": _activate_schema,
    "add_derived_field": _add_derived_field,
    "update_derived_field": _update_derived_field,
    "delete_derived_field": _delete_derived_field,
    "transaction": two_in_a_transaction,
}

READS: dict[str, Prepared] = {
    "get": _reads(lambda store, rule, _: store.get(rule)),
    "list_active": _reads(lambda store, *_: store.list_active()),
    "schema": _reads(lambda store, *_: store.schema()),
    "schemas": _reads(lambda store, *_: store.schemas()),
    "schema_changes": _reads(lambda store, *_: store.schema_changes()),
    "get_derived_field": _reads(lambda store, _, name: store.get_derived_field(name)),
    "derived_fields": _reads(lambda store, *_: store.derived_fields()),
    "build engine": _reads(lambda store, *_: Engine(store)),
    "evaluate": _reads(
        lambda store, rule, _: store.evaluator().evaluate(rule, FACTS, trace=True)
    ),
    "evaluate_all": _reads(
        lambda store, *_: store.evaluator().evaluate_all(FACTS, matched_only=False)
    ),
    "evaluate_batch": _reads(
        lambda store, rule, _: store.evaluator().evaluate_batch(rule, [FACTS, {}])
    ),
    "match_rules": _reads(lambda store, *_: store.evaluator().match_rules(FACTS)),
    "match_rules_batch": _reads(
        lambda store, *_: store.evaluator().match_rules_batch([FACTS, {}])
    ),
    "check": _reads(lambda store, *_: store.evaluator().check("a ==")),
    "cost": _reads(lambda store, rule, _: store.evaluator().cost(rule, FACTS)),
}
