"""A rule of the benchmark, written as each engine wants it."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tests.benchmarks.rules import Clause, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

_ORDERINGS = frozenset(("<", "<=", ">", ">="))


def cel(rule: Rule) -> str:
    """In the Common Expression Language; pgrules' rules too."""
    return " && ".join(_cel_clause(clause) for clause in rule.clauses)


def _cel_clause(clause: Clause) -> str:
    name = f"{clause.group}.{clause.field}"
    if clause.operator == "has":
        return f"has({name})"
    return f"{name} {clause.operator} {_constant(clause)}"


def zen_expression(rule: Rule) -> str:
    """In the ZEN expression language. What is missing reads as null there."""
    return " and ".join(
        f"{clause.group}.{clause.field} != null"
        if clause.operator == "has"
        else f"{clause.group}.{clause.field} {clause.operator} {_constant(clause)}"
        for clause in rule.clauses
    )


def zen_table(rules: Sequence[Rule]) -> str:
    """A decision whose one table collects the rows that match: zen's many rules.

    A column for each field that any rule names, a row for each rule; an empty cell
    matches everything. zen indexes such a table when it loads it.
    """
    columns = list(
        dict.fromkeys(
            (clause.group, clause.field) for rule in rules for clause in rule.clauses
        )
    )
    names = {column: f"column{number}" for number, column in enumerate(columns)}
    rows = [
        {
            "_id": rule.id,
            "id": json.dumps(rule.id),
            **dict.fromkeys(names.values(), ""),
            **{names[column]: cell for column, cell in _zen_cells(rule).items()},
        }
        for rule in rules
    ]
    place = {"x": 0, "y": 0}
    nodes = [
        {"id": "in", "type": "inputNode", "name": "request", "position": place},
        {
            "id": "table",
            "type": "decisionTableNode",
            "name": "rules",
            "position": place,
            "content": {
                "hitPolicy": "collect",
                "inputs": [
                    {"id": name, "name": name, "field": ".".join(column)}
                    for column, name in names.items()
                ],
                "outputs": [{"id": "id", "name": "id", "field": "id"}],
                "rules": rows,
            },
        },
        {"id": "out", "type": "outputNode", "name": "response", "position": place},
    ]
    edges = [
        {"id": "1", "type": "edge", "sourceId": "in", "targetId": "table"},
        {"id": "2", "type": "edge", "sourceId": "table", "targetId": "out"},
    ]
    return json.dumps(
        {
            "contentType": "application/vnd.gorules.decision",
            "nodes": nodes,
            "edges": edges,
        }
    )


def _zen_cells(rule: Rule) -> dict[tuple[str, str], str]:
    cells = {}
    ordered = sorted(rule.clauses, key=lambda clause: (clause.group, clause.field))
    for column, group in groupby(ordered, lambda clause: (clause.group, clause.field)):
        clauses = list(group)
        match [(clause.operator, clause.value) for clause in clauses]:
            case [("==", _)]:
                cells[column] = _constant(clauses[0])
            case [("in", tuple(values))]:
                cells[column] = ", ".join(map(json.dumps, values))
            case [(sign, _)] if sign in _ORDERINGS:
                cells[column] = f"{sign} {_constant(clauses[0])}"
            case [(">=", low), ("<", high)]:
                cells[column] = f"[{low}..{high})"
            case other:
                raise ValueError(f"no cell of a decision table: {other}")
    return cells


def rule_engine(rule: Rule) -> str:
    """For rule-engine, which since version 5 wants fields in brackets."""
    return " and ".join(
        f"{_bracketed(clause)} != null"
        if clause.operator == "has"
        else f"{_bracketed(clause)} {clause.operator} {_constant(clause)}"
        for clause in rule.clauses
    )


def _bracketed(clause: Clause) -> str:
    # With the safe operator a field that is missing reads as null.
    return f'{clause.group}&["{clause.field}"]'


def json_logic(rule: Rule) -> str:
    """In JsonLogic, as JSON text. What is missing reads as null there."""
    return json.dumps({"and": [_json_logic_clause(clause) for clause in rule.clauses]})


def _json_logic_clause(clause: Clause) -> dict[str, Any]:
    variable = {"var": f"{clause.group}.{clause.field}"}
    if clause.operator == "has":
        return {"!=": [variable, None]}
    return {clause.operator: [variable, clause.value]}


_CONDITIONS = {
    "==": "equal",
    "!=": "notEqual",
    "<": "lessThan",
    "<=": "lessThanInclusive",
    ">": "greaterThan",
    ">=": "greaterThanInclusive",
    "in": "in",
}


def json_rules_engine(rule: Rule) -> str:
    """For json-rules-engine, as JSON text.

    Its orderings are false where a value is no number, so that ``has`` is said
    already by an ordering of the same field; by itself it has no condition.
    """
    compared = {
        (clause.group, clause.field)
        for clause in rule.clauses
        if clause.operator in _ORDERINGS
    }
    conditions = []
    for clause in rule.clauses:
        if clause.operator != "has":
            conditions.append(
                {
                    "fact": clause.group,
                    "path": clause.field,
                    "operator": _CONDITIONS[clause.operator],
                    "value": clause.value,
                }
            )
        elif (clause.group, clause.field) not in compared:
            raise ValueError(f"no condition of json-rules-engine: {clause}")
    return json.dumps({"conditions": {"all": conditions}, "event": {"type": rule.id}})


def _constant(clause: Clause) -> str:
    """As JSON, which all these languages read as a constant or a list of them."""
    return json.dumps(clause.value)
