"""The statements that tenants give, each with what the model says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.security.two_tenants.judgement import Wrong
from tests.security.two_tenants.model import SOME_TEXT, Refused, Rows, State
from tests.security.two_tenants.steps import Values


@dataclass(frozen=True)
class Statement:
    """SQL, and what it does to what a tenant has."""

    text: str
    model: Callable[[State, Values], Rows]
    weight: int
    ordered: bool = True

    @property
    def names_other(self) -> bool:
        """Whether it says the other tenant's id itself, so that an error may too."""
        return "%(other)s" in self.text


def _refuse(sqlstate: str) -> Callable[[State, Values], Rows]:
    def model(state: State, values: Values) -> Rows:
        raise Refused(sqlstate)

    return model


def _nothing(state: State, values: Values) -> Rows:
    return []


def _own_tenant_if(has: Callable[[State], object]) -> Callable[[State, Values], Rows]:
    return lambda state, v: [(v.side.tenant,)] if has(state) else []


def _sql_of_rule(state: State, values: Values) -> Rows:
    state.claims_matching(values.rule)
    return [(SOME_TEXT,)]


def _plant_rule(state: State, values: Values) -> Rows:
    # It is compiled before it is refused, but not against anything of the other's.
    raise Refused("RE020" if isinstance(values.expression, Wrong) else "42501")


def _plant_all_claims(state: State, values: Values) -> Rows:
    if state.claims:
        raise Refused("42501")
    return []


_RULE = "id, name, expression, active"
_OF_RULES = "FROM rules.rules ORDER BY created_at, id"
_RESULT = "SELECT rule_id, rule_name, matched, error"

# A statement's parameters are those of `Values.parameters`. What a tenant writes it
# writes for %(mine)s; most leave it to row-level security what they read and change.
READS = {
    "select rules": Statement(
        f"SELECT {_RULE} {_OF_RULES}",
        lambda state, v: state.list_rules(lambda key, rule: True),
        10,
    ),
    "select rules of mine": Statement(
        f"SELECT tenant_id, {_RULE} FROM rules.rules"
        " WHERE tenant_id = %(mine)s AND active ORDER BY created_at, id",
        lambda state, v: [
            (v.side.tenant, *row)
            for row in state.list_rules(lambda key, rule: rule.active)
        ],
        6,
    ),
    "select rules of the other": Statement(
        f"SELECT {_RULE} FROM rules.rules WHERE tenant_id = %(other)s",
        _nothing,
        8,
    ),
    "select rules of either": Statement(
        f"SELECT {_RULE} FROM rules.rules"
        " WHERE tenant_id IN (%(mine)s, %(other)s) OR tenant_id <> %(mine)s"
        " ORDER BY created_at, id",
        lambda state, v: state.list_rules(lambda key, rule: True),
        6,
    ),
    "select a rule by its id": Statement(
        f"SELECT {_RULE} FROM rules.rules WHERE id = %(rule)s",
        lambda state, v: state.list_rules(lambda key, rule: key == v.rule),
        12,
    ),
    "select rules by expression": Statement(
        f"SELECT {_RULE} FROM rules.rules"
        " WHERE expression LIKE '%%' || %(word)s || '%%' ORDER BY created_at, id",
        lambda state, v: state.list_rules(lambda key, rule: v.word in rule.text),
        5,
    ),
    "count rules": Statement(
        "SELECT count(*), count(DISTINCT tenant_id) FROM rules.rules",
        lambda state, v: [(len(state.rules), min(1, len(state.rules)))],
        5,
    ),
    "execute a prepared select": Statement(
        "EXECUTE listed_rules",
        lambda state, v: state.list_rules(lambda key, rule: True),
        10,
    ),
    "execute a prepared match": Statement(
        "EXECUTE matched_rules (%(facts)s)",
        lambda state, v: state.matching(v.facts),
        10,
    ),
    "select derived fields": Statement(
        'SELECT name, expression FROM rules.derived_fields ORDER BY name COLLATE "C"',
        lambda state, v: state.list_fields(),
        6,
    ),
    "select schemas": Statement(
        "SELECT version, definition, active FROM rules.schemas ORDER BY version",
        lambda state, v: state.list_schemas(),
        5,
    ),
    "select the changelog": Statement(
        "SELECT old_version, new_version, compiled, failed"
        " FROM rules.schema_changelog ORDER BY changed_at, id",
        lambda state, v: state.changelog,
        5,
    ),
    "select the audit": Statement(
        "SELECT subject, operation, before, after FROM rules.audit_log",
        lambda state, v: list(state.audit),
        2,
        ordered=False,
    ),
    "count the audit": Statement(
        "SELECT count(*) FROM rules.audit_log WHERE subject = 'rule'",
        lambda state, v: [(sum(entry[0] == "rule" for entry in state.audit),)],
        4,
    ),
    "select tenants": Statement(
        "SELECT id, rules.current_tenant_id() FROM rules.tenants",
        lambda state, v: [(v.side.tenant, v.side.tenant)],
        4,
    ),
    "select logins": Statement(
        "SELECT login, tenant_id FROM rules.tenant_logins", _refuse("42501"), 2
    ),
    "select administrators' audit": Statement(
        "SELECT * FROM rules.tenant_audit_log", _refuse("42501"), 1
    ),
    "select environments": Statement(
        "SELECT tenant_id FROM rules_internal.environments",
        _own_tenant_if(lambda state: state.active or state.fields),
        2,
    ),
    "select access keys": Statement(
        "SELECT DISTINCT tenant_id FROM rules_internal.rule_keys"
        " WHERE tenant_id <> %(mine)s",
        _nothing,
        3,
    ),
    "select shapes of keys": Statement(
        "SELECT DISTINCT tenant_id FROM rules_internal.rule_key_shapes"
        " WHERE tenant_id = %(other)s",
        _nothing,
        2,
    ),
    "select rule set tokens": Statement(
        "SELECT tenant_id, token FROM rules_internal.rule_set_tokens"
        " WHERE tenant_id <> %(mine)s",
        _nothing,
        2,
    ),
    "select commits": Statement(
        "SELECT tenant_id, xid FROM rules_internal.audit_commits"
        " WHERE tenant_id <> rules.current_tenant_id()",
        _nothing,
        2,
    ),
    "copy rules out": Statement(
        "COPY (SELECT name, expression FROM rules.rules) TO STDOUT",
        lambda state, v: [(rule.name, rule.text) for rule in state.rules.values()],
        4,
        ordered=False,
    ),
    "copy the audit out": Statement(
        "COPY rules.audit_log (subject, operation) TO STDOUT",
        lambda state, v: [entry[:2] for entry in state.audit],
        1,
        ordered=False,
    ),
    "evaluate": Statement(
        f"{_RESULT} FROM rules.evaluate(%(rule)s, %(facts)s::jsonb)",
        lambda state, v: state.evaluate(v.rule, v.facts),
        30,
    ),
    "evaluate with a trace": Statement(
        f"{_RESULT} FROM rules.evaluate(%(rule)s, %(facts)s::jsonb, trace => true)",
        lambda state, v: state.evaluate(v.rule, v.facts),
        4,
    ),
    "evaluate all": Statement(
        f"{_RESULT} FROM rules.evaluate_all(%(facts)s::jsonb)",
        lambda state, v: state.evaluate_all(v.facts),
        30,
    ),
    "evaluate all, matched only": Statement(
        "SELECT rule_id, rule_name"
        " FROM rules.evaluate_all(%(facts)s::jsonb, matched_only => true)",
        lambda state, v: state.matching(v.facts),
        20,
    ),
    "evaluate a batch": Statement(
        f"{_RESULT} FROM rules.evaluate_batch(%(rule)s, %(batch)s::text[]::jsonb[])",
        lambda state, v: state.evaluate_batch(v.rule, v.batch),
        10,
    ),
    "match rules": Statement(
        "SELECT rule_id, rule_name FROM rules.match_rules(%(facts)s::jsonb)",
        lambda state, v: state.matching(v.facts),
        25,
    ),
    "match a batch": Statement(
        "SELECT element, rule_id, rule_name"
        " FROM rules.match_rules_batch(%(batch)s::text[]::jsonb[])",
        lambda state, v: state.matching_batch(v.batch),
        10,
    ),
    "explain a rule": Statement(
        "SELECT outcome, value FROM rules.explain_rule(%(rule)s, %(facts)s::jsonb)"
        " WHERE step = 1",
        lambda state, v: state.explain(v.rule, v.facts),
        5,
    ),
    "cost of a rule": Statement(
        "SELECT rules.evaluation_cost(%(rule)s, %(facts)s::jsonb) >= 0",
        lambda state, v: state.cost(v.rule),
        3,
    ),
    "evaluate an expression": Statement(
        "SELECT rules.evaluate_expression(%(expression)s, %(facts)s::jsonb)",
        lambda state, v: state.evaluate_expression(v.expression, v.facts),
        6,
    ),
    "check an expression": Statement(
        "SELECT count(*) > 0 FROM rules.check_expression(%(expression)s)",
        lambda state, v: [(not state.compiles(v.expression),)],
        6,
    ),
    "rows where a rule matches": Statement(
        "SELECT claim.id FROM desk.claims AS claim"
        " WHERE rules.matches(%(rule)s, jsonb_build_object('Claim', to_jsonb(claim)))"
        " ORDER BY claim.id",
        lambda state, v: state.claims_where(v.rule),
        8,
    ),
    "matching rows": Statement(
        "SELECT id FROM rules.matching_rows("
        "%(rule)s, NULL::desk.claims, object => 'Claim') ORDER BY id",
        lambda state, v: state.claims_matching(v.rule),
        5,
    ),
    "count matches": Statement(
        "SELECT rules.count_matches(%(rule)s, 'desk.claims', object => 'Claim')",
        lambda state, v: [(len(state.claims_matching(v.rule)),)],
        4,
    ),
    "show the SQL of a rule": Statement(
        "SELECT DISTINCT sql"
        " FROM rules.rule_sql(%(rule)s, 'desk.claims', object => 'Claim')",
        _sql_of_rule,
        3,
    ),
    "select claims": Statement(
        'SELECT id, "Amount", "Kind" FROM desk.claims ORDER BY id',
        lambda state, v: state.list_claims(),
        6,
    ),
    "select matches": Statement(
        "SELECT id, rule_id, rule_name FROM desk.matches ORDER BY id, rule_id",
        lambda state, v: state.list_matches(),
        8,
    ),
    "list versions": Statement(
        "SELECT version, operation, name, expression, active, valid_from IS NOT NULL"
        " FROM rules.rule_versions(%(rule)s)",
        lambda state, v: state.list_versions(v.rule),
        6,
    ),
    "compare versions": Statement(
        "SELECT * FROM rules.compare_rule_versions("
        "%(rule)s, %(version)s, %(other_version)s)",
        lambda state, v: state.compare_versions(v.rule, v.version, v.other_version),
        4,
    ),
    "evaluate as of": Statement(
        "SELECT result.rule_id, result.rule_name, result.matched, result.error"
        " FROM rules.rule_versions(%(rule)s) AS version"
        " CROSS JOIN LATERAL rules.evaluate_as_of("
        "%(rule)s, %(facts)s::jsonb, version.valid_from) AS result"
        " WHERE version.version = %(version)s AND version.valid_from IS NOT NULL",
        lambda state, v: state.evaluate_as_of(v.rule, v.facts, v.version),
        10,
    ),
}

WRITES = {
    "insert a rule": Statement(
        "INSERT INTO rules.rules (tenant_id, id, name, expression, active)"
        " VALUES (%(mine)s, %(rule)s, %(name)s, %(expression)s, %(active)s)"
        f" RETURNING {_RULE}",
        lambda state, v: state.add(v.rule, v.name, v.expression, v.active),
        20,
    ),
    "update a rule": Statement(
        "UPDATE rules.rules SET name = %(name)s, expression = %(expression)s,"
        f" active = %(active)s WHERE id = %(rule)s RETURNING {_RULE}",
        lambda state, v: state.change(
            v.rule, name=v.name, expression=v.expression, active=v.active
        ),
        8,
    ),
    "rewrite a rule": Statement(
        "UPDATE rules.rules SET expression = %(expression)s"
        f" WHERE tenant_id = %(mine)s AND id = %(rule)s RETURNING {_RULE}",
        lambda state, v: state.change(v.rule, expression=v.expression),
        8,
    ),
    "rename a rule": Statement(
        f"UPDATE rules.rules SET name = %(name)s WHERE id = %(rule)s RETURNING {_RULE}",
        lambda state, v: state.change(v.rule, name=v.name),
        6,
    ),
    "switch a rule": Statement(
        "UPDATE rules.rules SET active = %(active)s WHERE id = %(rule)s"
        f" RETURNING {_RULE}",
        lambda state, v: state.change(v.rule, active=v.active),
        8,
    ),
    "switch all rules": Statement(
        "UPDATE rules.rules SET active = %(active)s RETURNING id",
        lambda state, v: state.switch_all(v.active),
        4,
        ordered=False,
    ),
    "upsert by id": Statement(
        "INSERT INTO rules.rules (tenant_id, id, name, expression, active)"
        " VALUES (%(mine)s, %(rule)s, %(name)s, %(expression)s, %(active)s)"
        " ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name,"
        " expression = excluded.expression, active = excluded.active"
        f" RETURNING {_RULE}",
        lambda state, v: state.upsert_by_id(v.rule, v.name, v.expression, v.active),
        12,
    ),
    "upsert by name": Statement(
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES (%(mine)s, %(rule)s, %(name)s, %(expression)s)"
        " ON CONFLICT (tenant_id, name) DO UPDATE SET expression = excluded.expression"
        f" RETURNING {_RULE}",
        lambda state, v: state.upsert_by_name(v.rule, v.name, v.expression),
        8,
    ),
    "merge a rule": Statement(
        "MERGE INTO rules.rules AS rule USING (VALUES (%(rule)s::uuid)) AS given (id)"
        " ON rule.id = given.id"
        " WHEN MATCHED THEN UPDATE SET expression = %(expression)s"
        " WHEN NOT MATCHED THEN INSERT (tenant_id, id, name, expression)"
        " VALUES (%(mine)s, given.id, %(name)s, %(expression)s)",
        lambda state, v: state.merge(v.rule, v.name, v.expression),
        6,
    ),
    "delete a rule": Statement(
        "DELETE FROM rules.rules WHERE id = %(rule)s RETURNING id",
        lambda state, v: state.delete(lambda key, rule: key == v.rule),
        8,
    ),
    "delete by name": Statement(
        "DELETE FROM rules.rules WHERE name = %(name)s RETURNING id",
        lambda state, v: state.delete(lambda key, rule: rule.name == v.name),
        4,
    ),
    "delete all rules": Statement(
        "DELETE FROM rules.rules RETURNING id",
        lambda state, v: state.delete(lambda key, rule: True),
        1,
        ordered=False,
    ),
    "restore a rule": Statement(
        "SELECT id, name, expression, active"
        " FROM rules.restore_rule(%(rule)s, %(version)s)",
        lambda state, v: state.restore(v.rule, v.version),
        10,
    ),
    "lock a rule": Statement(
        "SELECT id FROM rules.rules WHERE id = %(rule)s FOR UPDATE",
        lambda state, v: [(v.rule,)] if v.rule in state.rules else [],
        3,
    ),
    "set the schema": Statement(
        "SELECT old_version, new_version, compiled, failed"
        " FROM rules.set_schema(%(definition)s::jsonb, %(allow_broken)s)",
        lambda state, v: state.set_schema(v.definition, v.allow_broken),
        6,
    ),
    "activate a schema": Statement(
        "SELECT old_version, new_version, compiled, failed"
        " FROM rules.activate_schema(%(version)s, %(allow_broken)s)",
        lambda state, v: state.activate_schema(v.version, v.allow_broken),
        7,
    ),
    "insert a derived field": Statement(
        "INSERT INTO rules.derived_fields (tenant_id, name, expression)"
        " VALUES (%(mine)s, %(field)s, %(expression)s) RETURNING name",
        lambda state, v: state.add_field(v.field, v.expression),
        8,
    ),
    "update a derived field": Statement(
        "UPDATE rules.derived_fields SET expression = %(expression)s"
        " WHERE name = %(field)s RETURNING name",
        lambda state, v: state.change_field(v.field, v.expression),
        4,
    ),
    "rename a derived field": Statement(
        "UPDATE rules.derived_fields SET name = %(other_field)s"
        " WHERE name = %(field)s RETURNING name",
        lambda state, v: state.rename_field(v.field, v.other_field),
        3,
    ),
    "delete a derived field": Statement(
        "DELETE FROM rules.derived_fields WHERE name = %(field)s RETURNING name",
        lambda state, v: state.delete_field(v.field),
        4,
    ),
    "insert a claim": Statement(
        'INSERT INTO desk.claims (id, "Amount", "Kind")'
        " VALUES (%(claim)s, %(amount)s, %(word)s) RETURNING id",
        lambda state, v: state.add_claim(v.claim, v.amount, v.word),
        8,
    ),
    "upsert a claim": Statement(
        'INSERT INTO desk.claims (id, "Amount", "Kind")'
        " VALUES (%(claim)s, %(amount)s, %(word)s) ON CONFLICT (tenant_id, id)"
        ' DO UPDATE SET "Amount" = excluded."Amount", "Kind" = excluded."Kind"'
        " RETURNING id",
        lambda state, v: state.put_claims({v.claim: (v.amount, v.word)}),
        6,
    ),
    "raise all claims": Statement(
        'UPDATE desk.claims SET "Amount" = %(amount)s RETURNING id',
        lambda state, v: state.raise_claims(v.amount),
        4,
        ordered=False,
    ),
    "delete a claim": Statement(
        "DELETE FROM desk.claims WHERE id = %(claim)s RETURNING id",
        lambda state, v: state.delete_claims([v.claim]),
        3,
    ),
    "delete all claims": Statement(
        "DELETE FROM desk.claims RETURNING id",
        lambda state, v: state.delete_claims(list(state.claims)),
        1,
        ordered=False,
    ),
}

ATTACKS = {
    "update rules of the other": Statement(
        "UPDATE rules.rules SET active = false WHERE tenant_id = %(other)s"
        " RETURNING id",
        _nothing,
        5,
    ),
    "delete rules of the other": Statement(
        "DELETE FROM rules.rules WHERE tenant_id = %(other)s RETURNING id",
        _nothing,
        5,
    ),
    "delete derived fields of the other": Statement(
        "DELETE FROM rules.derived_fields WHERE tenant_id = %(other)s RETURNING name",
        _nothing,
        3,
    ),
    "delete claims of the other": Statement(
        "DELETE FROM desk.claims WHERE tenant_id = %(other)s RETURNING id",
        _nothing,
        3,
    ),
    "insert a rule for the other": Statement(
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES (%(other)s, %(rule)s, %(name)s, %(expression)s)",
        _plant_rule,
        5,
    ),
    "upsert a rule of the other": Statement(
        "INSERT INTO rules.rules (tenant_id, id, name, expression)"
        " VALUES (%(other)s, %(rule)s, %(name)s, 'true')"
        " ON CONFLICT (tenant_id, id) DO UPDATE SET expression = 'true'",
        _refuse("42501"),
        3,
    ),
    "give all rules away": Statement(
        "UPDATE rules.rules SET tenant_id = %(other)s", _refuse("42501"), 2
    ),
    "insert a claim for the other": Statement(
        'INSERT INTO desk.claims (tenant_id, id, "Amount", "Kind")'
        " VALUES (%(other)s, %(claim)s, %(amount)s, %(word)s)",
        _refuse("42501"),
        3,
    ),
    "give all claims away": Statement(
        "UPDATE desk.claims SET tenant_id = %(other)s",
        _plant_all_claims,
        2,
    ),
    "copy rules in": Statement(
        "COPY rules.rules (tenant_id, name, expression) FROM STDIN",
        _refuse("0A000"),
        1,
    ),
    "insert a schema": Statement(
        "INSERT INTO rules.schemas (tenant_id, version, definition)"
        " VALUES (%(other)s, 1, '{}')",
        _refuse("42501"),
        1,
    ),
    "delete the audit": Statement(
        "DELETE FROM rules.audit_log WHERE tenant_id = %(other)s",
        _refuse("42501"),
        1,
    ),
    "truncate rules": Statement("TRUNCATE rules.rules", _refuse("42501"), 1),
}
