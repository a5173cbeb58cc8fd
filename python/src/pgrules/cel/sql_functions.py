"""Functions of strings, sizes, conversions and access to lists and maps, as SQL.

Text is compared by code points and never by a collation; patterns of LIKE and regular
expressions have no part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import sql_compare, sql_times
from .checked import MakeList
from .numbers import INT_MAX
from .sql_numbers import INT_BOUNDS, UINT_BOUNDS, within
from .sql_reading import kinds_of, let, read
from .sql_text import Refused, coalesced, conjunction, disjunction, part
from .sql_values import ERROR, Json, Term, json_text, sql_of_json, valid
from .values import Uint

if TYPE_CHECKING:
    from .checked import Checked, Invoke
    from .sql_text import Arguments, Mode
    from .sql_translator import Translator

_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SIZES: Final = (0, (1 << 31) - 1)


# Strings


def test_of_strings(translator: Translator, node: Invoke, mode: Mode) -> str:
    """``startsWith``, ``endsWith`` and ``contains``."""
    terms = [translator.term(argument) for argument in node.arguments]
    text, found = (read(translator.arguments, term, "string") for term in terms)
    if "NULL" in (text, found):
        return "NULL"
    if node.function.name == "startsWith":
        return f"starts_with({text}, {found})"
    if node.function.name == "contains":
        return f'strpos({part(text)} COLLATE "C", {found}) > 0'
    if terms[1].is_constant:
        size = str(len(terms[1].constant))
        return f'right({text}, {size}) = {found} COLLATE "C"'
    return let(
        translator.arguments,
        [text, found],
        'right(a, char_length(b)) = b COLLATE "C"',
    )


def change_case(translator: Translator, node: Invoke) -> Term:
    """``lowerAscii`` and ``upperAscii``."""
    text = read(translator.arguments, translator.term(node.arguments[0]), "string")
    letters = [f"'{_UPPER}'", f"'{_UPPER.lower()}'"]
    if node.function.name == "upperAscii":
        letters.reverse()
    return Term({"string": f"translate({text}, {', '.join(letters)})"})


def size(translator: Translator, node: Invoke) -> Term:
    """The code points of a string, the elements of a list or map."""
    operand = translator.term(node.arguments[0])
    arguments = translator.arguments
    if operand.json is not None:
        sql = sql_of_json(arguments, operand.json)
        found = (
            f"CASE jsonb_typeof({sql}) "
            f"WHEN 'string' THEN char_length({part(sql)} #>> '{{}}') "
            f"WHEN 'array' THEN jsonb_array_length({sql}) "
            f"WHEN 'object' THEN (SELECT count(*) FROM jsonb_object_keys({sql})) END"
        )
        return Term({"int": found}, bounds=_SIZES, integer=True)
    counts = [
        _SIZE_OF[kind].format(sql, part(sql))
        for kind, sql in operand.kinds.items()
        if kind in _SIZE_OF
    ]
    return Term({"int": coalesced(counts)}, bounds=_SIZES, integer=True)


_SIZE_OF: Final = {
    "string": "char_length({0})",
    "list": "jsonb_array_length({0})",
    "map": (
        "CASE WHEN {1} IS NOT NULL "
        "THEN (SELECT count(*) FROM jsonb_object_keys({0})) END"
    ),
}


# Conversions


def to_string(translator: Translator, node: Invoke) -> Term:
    """``string(x)`` of a string, a bool or an int."""
    operand = translator.term(node.arguments[0])
    arguments = translator.arguments
    kinds = kinds_of(operand)
    for kind, spoken in (
        ("double", "double"),
        ("timestamp", "timestamp"),
        ("instant", "timestamp"),
        ("duration", "duration"),
    ):
        if kind in kinds:
            raise Refused(node, f"a {spoken} has another text in SQL")
    found = []
    if "string" in kinds:
        found.append(read(arguments, operand, "string"))
    if "bool" in kinds:
        sql = part(read(arguments, operand, "bool"))
        found.append(f"CASE {sql} WHEN TRUE THEN 'true' WHEN FALSE THEN 'false' END")
    found += [
        f"{part(read(arguments, operand, kind))}::text"
        for kind in ("int", "uint")
        if kind in kinds
    ]
    return Term({"string": coalesced(found)})


def to_int(translator: Translator, node: Invoke) -> Term:
    """``int(x)`` of a number, of digits, or of a timestamp."""
    arguments = translator.arguments
    operand = sql_times.as_nanos(arguments, translator.term(node.arguments[0]))
    kinds = kinds_of(operand)
    if kinds == ("int",):
        return operand
    found = []
    if "int" in kinds:
        found.append(read(arguments, operand, "int"))
    if "uint" in kinds:
        sql = f"{part(read(arguments, operand, 'uint'))}::numeric"
        found.append(within(sql, UINT_BOUNDS, limits=(0, INT_MAX)))
    if "double" in kinds:
        # NaN is greater than any number here.
        inside = "a > -9223372036854775808 AND a < 9223372036854775808"
        found.append(
            let(
                arguments,
                [read(arguments, operand, "double")],
                f"CASE WHEN {inside} THEN trunc(a)::bigint::numeric END",
            )
        )
    if "string" in kinds:
        pattern = arguments.literal("^[+-]?0*[0-9]{1,19}$")
        digits = f"CASE WHEN a ~ {pattern} THEN a::numeric END"
        digits = within(digits, (-(10**20), 10**20), limits=INT_BOUNDS)
        found.append(let(arguments, [read(arguments, operand, "string")], digits))
    if "timestamp" in kinds:
        found.append(
            sql_times.seconds(arguments, read(arguments, operand, "timestamp"))
        )
    return Term({"int": coalesced(found)}, bounds=INT_BOUNDS)


def to_double(translator: Translator, node: Invoke) -> Term:
    """``double(x)`` of a number."""
    operand = translator.term(node.arguments[0])
    if "string" in kinds_of(operand):
        raise Refused(node, "text that may be a number is read in another way by SQL")
    sql = read(translator.arguments, operand, "number")
    return Term({"double": sql}, nan=operand.nan)


def same(translator: Translator, node: Invoke) -> Term:
    """``dyn(x)``."""
    return translator.term(node.arguments[0])


# Lists and maps


def index(translator: Translator, node: Invoke) -> Term:
    """``container[key]`` with a constant key."""
    container = translator.term(node.arguments[0])
    key = translator.term(node.arguments[1])
    if not key.is_constant:
        raise Refused(node.arguments[1], "a key that is not constant")
    value = key.constant
    arguments = translator.arguments
    if type(value) is str:
        if container.json is not None:
            root, keys = container.json.root, container.json.keys
            return Term(json=Json(root, (*keys, value)))
        if "map" not in container.kinds:
            return ERROR
        return Term(json=Json(part(container.kinds["map"]), (value,)))
    if type(value) is float and value.is_integer():
        value = int(value)
    # The keys of JSON are strings, and CEL does not count from the end.
    if type(value) not in (int, Uint) or not 0 <= value <= _SIZES[1]:
        return ERROR
    found = f"{part(read(arguments, container, 'list'))} -> {int(value)}"
    return Term(json=Json(part(found)))


def contains(translator: Translator, node: Invoke, mode: Mode) -> str:
    """``x in list``, or in the keys of a map."""
    element, container = node.arguments
    if isinstance(container, MakeList):
        return _in_literal(translator, element, container, mode)
    left, right = translator.term(element), translator.term(container)
    arguments = translator.arguments
    alternatives = []
    if right.json is not None or "list" in right.kinds:
        alternatives.append(
            ("array", _in_list(arguments, left, read_list(arguments, right)))
        )
    if right.json is not None or "map" in right.kinds:
        alternatives.append(("object", _in_map(arguments, left, right)))
    if not alternatives:
        return "NULL"
    if right.json is None:
        ((_, sql),) = alternatives
        test = f"{part(next(iter(right.kinds.values())))} IS NOT NULL"
    else:
        container_sql = sql_of_json(arguments, right.json)
        whens = " ".join(f"WHEN '{of}' THEN {sql}" for of, sql in alternatives)
        sql = f"CASE jsonb_typeof({container_sql}) {whens} END"
        test = "TRUE"
    ok = conjunction([test, valid(arguments, left)])
    return sql if ok == "TRUE" else f"CASE WHEN {ok} THEN {sql} END"


def read_list(arguments: Arguments, term: Term) -> str:
    """The ``jsonb`` of a value that is known to be a list where this is computed."""
    if term.json is not None:
        return sql_of_json(arguments, term.json)
    return term.kinds["list"]


def _in_list(arguments: Arguments, left: Term, elements: str) -> str:
    if left.is_constant and type(left.constant) in (str, bool, type(None)):
        literal = arguments.literal(json_text(left.constant) or "null")
        return f"{part(elements)} @> {literal}"
    alias = arguments.alias()
    element = Term(json=Json(f"{alias}.e"))
    equal = sql_compare.equality(arguments, left, element, "true", negate=False)
    return (
        f"EXISTS (SELECT 1 FROM jsonb_array_elements({elements}) AS {alias} (e) "
        f"WHERE {equal})"
    )


def _in_map(arguments: Arguments, left: Term, right: Term) -> str:
    key = read(arguments, left, "string")
    if key == "NULL":
        return "FALSE"
    container = (
        sql_of_json(arguments, right.json)
        if right.json is not None
        else right.kinds["map"]
    )
    return f"{part(container)} -> {part(key)} IS NOT NULL"


def _in_literal(
    translator: Translator, element: Checked, container: MakeList, mode: Mode
) -> str:
    left = translator.term(element)
    members = [translator.term(member) for member in container.elements]
    arguments = translator.arguments
    if all(member.is_constant for member in members):
        return sql_compare.one_of(arguments, left, members, mode)
    ok = conjunction(valid(arguments, term) for term in (left, *members))
    found = disjunction(
        sql_compare.equality(arguments, left, member, "true", negate=False)
        for member in members
    )
    if mode == "true":
        return conjunction([ok, found])
    found = f"coalesce({found}, FALSE)"
    return found if ok == "TRUE" else f"CASE WHEN {ok} THEN {found} END"
