"""Macros over lists and the keys of maps as sub-selects (cel-spec, "Macros").

A list's elements, or a map's keys, are the rows of a sub-select; the macro's variable
is its column. ``all`` and ``exists`` absorb errors as ``&&`` and ``||`` do; for the
others an error in one turn is one of the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sql_text import Refused, part
from .sql_values import Json, Term, sql_of_json

if TYPE_CHECKING:
    from .checked import Checked, Loop
    from .sql_text import Arguments, Mode
    from .sql_translator import Translator

_KEYS = "strict $.keyvalue().key"


def quantified(translator: Translator, node: Loop, mode: Mode) -> str:
    """``all``, ``exists`` or ``exists_one``."""
    assert node.condition is not None
    arguments = translator.arguments
    rows, looped = _rows(translator, node)
    if mode == "true" and node.kind != "exists_one":
        condition = _body(translator, node, looped.alias, node.condition, "true")
        if node.kind == "exists":
            return f"EXISTS (SELECT 1 FROM {rows} WHERE {condition})"
        return (
            f"{part(looped.test)} AND NOT EXISTS "
            f"(SELECT 1 FROM {rows} WHERE {part(condition)} IS NOT TRUE)"
        )
    condition = _body(translator, node, looped.alias, node.condition, "exact")
    if node.kind == "exists":
        found = "WHEN bool_or(c) THEN TRUE WHEN count(*) = count(c) THEN FALSE"
    elif node.kind == "all":
        found = "WHEN NOT bool_and(c) THEN FALSE WHEN count(*) = count(c) THEN TRUE"
    else:
        found = "WHEN count(*) = count(c) THEN count(*) FILTER (WHERE c) = 1"
    return (
        f"CASE WHEN {looped.test} THEN (SELECT CASE {found} END FROM "
        f"(SELECT {condition} AS c FROM {rows} OFFSET 0) AS {arguments.alias()}) END"
    )


def made(translator: Translator, node: Loop) -> Term:
    """``filter`` or ``map``: a list."""
    arguments = translator.arguments
    rows, looped = _rows(translator, node, numbered=True)
    columns = [f"{looped.alias}.n AS n"]
    tests = []
    chosen = condition = ""
    if node.condition is not None:
        condition = _body(translator, node, looped.alias, node.condition, "exact")
        columns.append(f"{condition} AS c")
        tests.append("count(*) = count(c)")
        chosen = " FILTER (WHERE c)"
    if node.transform is None:
        columns.append(f"{looped.alias}.e AS e")
    else:
        transform = _transform(translator, node, looped.alias, node.transform)
        if chosen:
            # Only what is chosen is transformed, and can be an error.
            transform = f"CASE WHEN {condition} THEN {transform} END"
        columns.append(f"{transform} AS e")
        tests.append(f"count(*){chosen} = count(e){chosen}")
    found = f"coalesce(jsonb_agg(e ORDER BY n){chosen}, '[]')"
    sql = (
        f"CASE WHEN {looped.test} THEN "
        f"(SELECT CASE WHEN {' AND '.join(tests)} THEN {found} END FROM "
        f"(SELECT {', '.join(columns)} FROM {rows} OFFSET 0) AS {arguments.alias()}) "
        "END"
    )
    return Term({"list": sql})


class _Looped:
    """What a macro loops over: the alias of its rows, and SQL that it can."""

    def __init__(self, alias: str, test: str) -> None:
        self.alias = alias
        self.test = test


def _rows(
    translator: Translator, node: Loop, *, numbered: bool = False
) -> tuple[str, _Looped]:
    arguments = translator.arguments
    term = translator.term(node.range)
    alias = arguments.alias()
    if term.json is not None:
        sql = sql_of_json(arguments, term.json)
        elements = (
            f"CASE jsonb_typeof({sql}) WHEN 'array' THEN {sql} WHEN 'object' THEN "
            f"jsonb_path_query_array({sql}, {arguments.literal(_KEYS)}) "
            "ELSE '[]' END"
        )
        test = f"jsonb_typeof({sql}) IN ('array', 'object')"
    elif "list" in term.kinds and len(term.kinds) == 1:
        elements = term.kinds["list"]
        test = f"{part(elements)} IS NOT NULL"
    elif "map" in term.kinds and len(term.kinds) == 1:
        sql = term.kinds["map"]
        elements = f"jsonb_path_query_array({sql}, {arguments.literal(_KEYS)})"
        test = f"{part(sql)} IS NOT NULL"
    else:
        raise Refused(node.range, "a macro over what may be a list or anything else")
    columns = "e, n" if numbered else "e"
    ordinality = " WITH ORDINALITY" if numbered else ""
    rows = f"jsonb_array_elements({elements}){ordinality} AS {alias} ({columns})"
    return rows, _Looped(alias, test)


def _body(
    translator: Translator, node: Loop, alias: str, body: Checked, mode: Mode
) -> str:
    translator.locals[node.slot] = Term(json=Json(f"{alias}.e"), total=True)
    return translator.condition(body, mode)


def _transform(translator: Translator, node: Loop, alias: str, body: Checked) -> str:
    translator.locals[node.slot] = Term(json=Json(f"{alias}.e"), total=True)
    return to_json(translator.arguments, translator.term(body), body)


def to_json(arguments: Arguments, term: Term, node: Checked) -> str:
    """A value as ``jsonb``."""
    if term.json is not None:
        return sql_of_json(arguments, term.json)
    found = []
    for kind, sql in term.kinds.items():
        if kind == "null":
            found.append(f"CASE WHEN {sql} THEN 'null'::jsonb END")
        elif kind in ("list", "map"):
            found.append(sql)
        elif kind == "string":
            found.append(f"to_jsonb({part(sql)}::text)")
        elif kind in ("bool", "int"):
            found.append(f"to_jsonb({sql})")
        else:
            raise Refused(node, f"a {kind} that is computed has no JSON of its own")
    return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def make_list(translator: Translator, parts: list[Checked]) -> Term:
    """``[a, b]``: an error where one of its elements is."""
    arguments = translator.arguments
    elements = [
        to_json(arguments, translator.term(element), element) for element in parts
    ]
    tests = " AND ".join(f"{part(element)} IS NOT NULL" for element in elements)
    sql = f"CASE WHEN {tests} THEN jsonb_build_array({', '.join(elements)}) END"
    return Term({"list": sql})
