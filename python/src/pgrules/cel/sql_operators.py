"""Arithmetic as SQL: ``+ - * / %`` and the sign (cel-spec, "Operators").

Operands are of one type, and the result is of that type. Where types are known only
with the facts, there is a result for each type, of which at most one is not NULL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import sql_times
from .sql_numbers import (
    DOUBLE_OPERATORS,
    INT_BOUNDS,
    UINT_BOUNDS,
    clamped,
    result_bounds,
    whole,
    within,
)
from .sql_reading import kinds_of, let, read
from .sql_text import conjunction, part
from .sql_values import Term

if TYPE_CHECKING:
    from .checked import Invoke
    from .sql_numbers import Bounds
    from .sql_text import Arguments
    from .sql_translator import Translator

_SYMBOLS: Final = {"_+_": "+", "_-_": "-", "_*_": "*", "_/_": "/", "_%_": "%"}
_LIMITS: Final = {"int": INT_BOUNDS, "uint": UINT_BOUNDS}
_JOINED: Final = ("string", "list")


def arithmetic(translator: Translator, node: Invoke) -> Term:
    """A binary operator on two values."""
    left, right = map(translator.term, node.arguments)
    operator = _SYMBOLS[node.function.name]
    arguments = translator.arguments
    kinds: dict[str, str] = {}
    bounds, integer, nan = None, False, False
    a_kinds, b_kinds = kinds_of(left), kinds_of(right)
    for kind in ("int", "uint"):
        if kind in a_kinds and kind in b_kinds:
            made = _whole(arguments, left, operator, right, kind)
            kinds |= made.kinds
            bounds, integer = made.bounds, made.integer
    if "double" in a_kinds and "double" in b_kinds and operator != "%":
        values = [read(arguments, term, "double") for term in (left, right)]
        kinds["double"] = double(arguments, operator, *values)
        nan = True
    for kind in _JOINED:
        if operator == "+" and kind in a_kinds and kind in b_kinds:
            values = [part(read(arguments, term, kind)) for term in (left, right)]
            kinds[kind] = " || ".join(values)
    kinds |= sql_times.arithmetic(arguments, left, operator, right)
    if len(kinds) > 1:
        bounds, integer = None, False
    return Term(kinds, nan=nan, bounds=bounds, integer=integer)


def double(arguments: Arguments, operator: str, left: str, right: str) -> str:
    """An operator on two doubles, as IEEE 754 has it."""
    if operator == "-":
        operator, right = "+", f"-{part(right)}"
    return let(arguments, [left, right], DOUBLE_OPERATORS[operator])


def _whole(
    arguments: Arguments, left: Term, operator: str, right: Term, kind: str
) -> Term:
    """An operator on two integers, NULL where the result does not fit."""
    limits = _LIMITS[kind]
    bounds = result_bounds(operator, left.bounds or limits, right.bounds or limits)
    if left.json is not None or right.json is not None:
        return _of_facts(arguments, left, operator, right, bounds)
    a, b = read(arguments, left, kind), read(arguments, right, kind)
    fits = limits[0] <= bounds[0] and bounds[1] <= limits[1]
    if operator in "+-*" and left.integer and right.integer and fits and kind == "int":
        sql = f"{part(a)}::bigint {operator} {part(b)}"
        return Term({kind: sql}, bounds=bounds, integer=True)
    half = _in_halves(left, a, right, b) if operator in "+-" and kind == "int" else ""
    plain = f"{part(a)}::bigint {operator} {part(b)}"
    a = f"{part(a)}::numeric" if left.integer else a
    b = f"{part(b)}::numeric" if right.integer and operator in "/%" else b
    if operator == "%" and kind == "int" and _may_be_minus_one(right):
        # -2**63 % -1 is an overflow like -2**63 / -1, though 0 would fit.
        remainder = whole(operator, "a", "b")
        test = f"CASE WHEN a > {INT_BOUNDS[0]} OR b <> -1 THEN {remainder} END"
        return Term({kind: let(arguments, [a, b], test)}, bounds=bounds)
    sql = within(whole(operator, a, b), bounds, limits=limits)
    if half:
        sql = f"CASE WHEN {half} THEN {plain} ELSE {part(sql)}::bigint END"
    bounds = clamped(bounds, limits)
    return Term({kind: sql}, bounds=bounds, integer=bool(half))


_HALF: Final = (INT_BOUNDS[0] // 2, INT_BOUNDS[1] // 2)


def _in_halves(left: Term, a: str, right: Term, b: str) -> str:
    """SQL that two columns are so small that bigint has their sum and difference.

    Nothing where an operand is more than a column or a constant.
    """
    tests = []
    for term, sql in ((left, a), (right, b)):
        if not term.integer or "(" in sql or " " in sql:
            return ""
        low, high = term.bounds or INT_BOUNDS
        if low < _HALF[0] or high > _HALF[1]:
            tests.append(f"{sql} BETWEEN {_HALF[0]} AND {_HALF[1]}")
    return conjunction(tests)


def _of_facts(
    arguments: Arguments, left: Term, operator: str, right: Term, bounds: Bounds
) -> Term:
    """An operator on two ints of which one at least is whatever the facts have."""
    values, tests = [], []
    for column, term in (("a", left), ("b", right)):
        if term.json is not None:
            values.append(read(arguments, term, "digits"))
            tests.append(f"scale({column}) = 0")
        else:
            values.append(f"{part(read(arguments, term, 'int'))}::numeric")
    if operator == "%" and _may_be_minus_one(right):
        tests.append(f"(a > {INT_BOUNDS[0]} OR b <> -1)")
    sql = within(whole(operator, "a", "b"), bounds, limits=INT_BOUNDS)
    found = f"CASE WHEN {' AND '.join(tests)} THEN {sql} END"
    kinds = {"int": let(arguments, values, found)}
    return Term(kinds, bounds=clamped(bounds, INT_BOUNDS))


def _may_be_minus_one(term: Term) -> bool:
    low, high = term.bounds or INT_BOUNDS
    return low <= -1 <= high


def negate(translator: Translator, node: Invoke) -> Term:
    """Unary ``-``: of an int or a double."""
    operand = translator.term(node.arguments[0])
    arguments = translator.arguments
    kinds: dict[str, str] = {}
    of = kinds_of(operand)
    bounds, integer = None, False
    if "int" in of:
        zero = Term({"int": "0"}, bounds=(0, 0), integer=True)
        made = _whole(arguments, zero, "-", operand, "int")
        kinds |= made.kinds
        bounds, integer = made.bounds, made.integer
    if "double" in of:
        kinds["double"] = f"-{part(read(arguments, operand, 'double'))}"
    if len(kinds) > 1:
        bounds, integer = None, False
    return Term(kinds, nan=operand.nan, bounds=bounds, integer=integer)
