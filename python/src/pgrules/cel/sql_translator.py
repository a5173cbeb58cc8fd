"""The checked tree as SQL: which SQL each node becomes.

A condition, what has to be true or false, becomes a boolean expression; any other
node a :class:`~.sql_values.Term`. What SQL cannot say with the same meaning is refused.
SQL's AND, OR and NOT absorb NULL exactly as CEL's operators absorb errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import sql_compare, sql_functions, sql_macros, sql_operators, sql_times, types
from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    PairLoop,
    Variable,
)
from .errors import EvaluationError
from .evaluation import Evaluation
from .interpreter import interpret
from .sql_path import Paths, Predicate, whole_numbers
from .sql_reading import declared, kinds_of, read, read_json
from .sql_text import (
    NEGATED,
    Refused,
    conjunction,
    disjunction,
    negation,
    part,
)
from .sql_values import ERROR, Json, Term, constant, sql_of_json
from .types import DYN, nullable, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from .environment import Environment
    from .sql_columns import Rows
    from .sql_text import Arguments, Mode

# What folding a constant part may cost.
_FOLDING_COST = 10_000

_ORDER = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}


_T = TypeVar("_T")


class Translator:
    """Translates the nodes of one rule; ``refusals`` has what it could not.

    ``facts`` is the ``jsonb`` that variables are read from, or ``rows`` the columns.
    """

    def __init__(
        self,
        arguments: Arguments,
        environment: Environment,
        facts: str | None,
        rows: Rows | None,
    ) -> None:
        self.arguments = arguments
        self.environment = environment
        self.facts = facts
        self.rows = rows
        self.refusals: list[Refused] = []
        self.locals: dict[int, Term] = {}
        self.bound: dict[int, Checked] = {}

    # Conditions

    def condition(self, node: Checked, mode: Mode) -> str:
        """A boolean expression, of which ``mode`` says what matters."""
        if mode == "true" and self.facts is not None and self.folded(node) is None:
            sql = self.by_path(node)
        else:
            sql = self.plain(node, mode)
        # Of a NULL alone, PostgreSQL would not know the type.
        return "NULL::boolean" if sql == "NULL" else sql

    def by_path(self, node: Checked) -> str:
        """A condition by a predicate of jsonpath, where that says it faster."""
        if isinstance(node, Chain):
            return self.chain(node, "true")
        paths = Paths(self)
        predicate = paths.predicate(node, True)
        if predicate is None or predicate.texts:
            return self.plain(node, "true")
        found = self.match(paths.root, predicate.text)
        if predicate.exact:
            return found
        return conjunction([found, self.recheck(node, predicate)])

    def recheck(self, node: Checked, predicate: Predicate) -> str:
        """A condition where a predicate that is not exact is true."""
        return disjunction([whole_numbers(self, predicate), self.plain(node, "true")])

    def match(self, root: str | None, predicate: str) -> str:
        return f"{root} @@ {self.arguments.literal(f'strict {predicate}')}"

    def plain(self, node: Checked, mode: Mode) -> str:
        """A condition by types, casts and operators."""
        match node:
            case Chain():
                return self.chain(node, mode)
            case Invoke(function=function) if function.name in _CONDITIONS:
                folded = self.folded(node)
                if folded is None:
                    return _CONDITIONS[function.name](self, node, mode)
                return self.holds(folded, mode)
            case Field(test=True):
                return self.has(node, mode)
            case Choice():
                return self.choice(node, mode)
            case Bind():
                self.bound.update(node.bindings)
                return self.condition(node.body, mode)
            case Bound(slot=slot):
                return self.condition(self.bound[slot], mode)
            case Loop(kind=kind) if kind in _QUANTIFIERS:
                return sql_macros.quantified(self, node, mode)
            case Variable(name=name) if name in self.environment.derived:
                return self.derived_condition(node, mode)
        return self.holds(self.term(node), mode)

    def holds(self, term: Term, mode: Mode) -> str:
        """Whether a value is true; an error where it is no bool."""
        if term.json is None:
            return term.kinds.get("bool", "NULL")
        sql = part(sql_of_json(self.arguments, term.json))
        if mode == "true":
            return f"{sql} = 'true'"
        if mode == "false":
            return f"{sql} <> 'false'"
        return read(self.arguments, term, "bool")

    def chain(self, node: Chain, mode: Mode) -> str:
        """``&&`` or ``||``; of a refused operand the others are still looked at."""
        parts: list[str] = []
        refused = None
        operands = list(node.operands)
        if mode == "true" and self.facts is not None:
            parts, operands = self.joined(node.operator, operands)
        for operand in operands:
            try:
                parts.append(self.condition(operand, mode))
            except Refused as refusal:
                self.refusals.append(refusal)
                refused = refusal
        if refused is not None:
            raise refused
        return conjunction(parts) if node.operator == "&&" else disjunction(parts)

    def joined(
        self, operator: str, operands: list[Checked]
    ) -> tuple[list[str], list[Checked]]:
        """One predicate for the operands that have one, and the other operands.

        Those of ``&&`` whose predicate is not exact are in both: it keeps most rows
        from what takes longer.
        """
        paths = Paths(self)
        texts, others = [], []
        inexact: list[tuple[Checked, Predicate]] = []
        for operand in operands:
            if self.folded(operand) is not None:
                others.append(operand)
                continue
            predicate = paths.predicate(operand, True)
            if predicate is None or predicate.texts:
                others.append(operand)
                continue
            if not predicate.exact and operator == "||":
                others.append(operand)
                continue
            texts.append(predicate.text)
            if not predicate.exact:
                inexact.append((operand, predicate))
        if not texts:
            return [], others
        text = f" {operator} ".join(dict.fromkeys(texts))
        found = [self.match(paths.root, text)]
        for operand, predicate in inexact:
            try:
                found.append(self.recheck(operand, predicate))
            except Refused as refusal:
                self.refusals.append(refusal)
                others.append(operand)
        return found, others

    def choice(self, node: Choice, mode: Mode) -> str:
        return chosen(
            self.condition(node.condition, "exact"),
            self.condition(node.then, mode),
            self.condition(node.otherwise, mode),
        )

    def has(self, node: Field, mode: Mode) -> str:
        if self.rows is not None and self.rows.is_row(node.operand):
            # A column is there, null or not.
            return "TRUE"
        operand = self.term(node.operand, whole=False)
        if operand.json is None:
            maps = operand.kinds.get("map")
            if maps is None:
                return "NULL"
            return f"{part(maps)} -> {self.literal(node, node.name)} IS NOT NULL"
        container = operand.json
        member = Json(container.root, (*container.keys, self.name(node)))
        found = f"{part(sql_of_json(self.arguments, member))} IS NOT NULL"
        if mode == "true":
            return found
        sql = sql_of_json(self.arguments, container)
        return f"CASE WHEN jsonb_typeof({sql}) = 'object' THEN {found} END"

    # Values

    def term(self, node: Checked, *, whole: bool = True) -> Term:
        """The value of a node.

        An object of the schema is read ``whole`` unless only a field of it is wanted.
        """
        folded = self.folded(node)
        if folded is not None:
            return folded
        match node:
            case Variable():
                return self.variable(node, whole=whole)
            case Local(slot=slot):
                return self.locals[slot]
            case Bound(slot=slot):
                return self.term(self.bound[slot])
            case Bind():
                self.bound.update(node.bindings)
                return self.term(node.body)
            case Field(test=False):
                return self.field(node)
            case Invoke(function=function) if function.name in _TERMS:
                return _TERMS[function.name](self, node)
            case Choice():
                return self.chosen(node)
            case Loop(kind="filter" | "map"):
                return sql_macros.made(self, node)
            case MakeList(elements=elements):
                return sql_macros.make_list(self, elements)
            case _ if self.is_condition(node):
                return Term({"bool": self.condition(node, "exact")})
        raise Refused(node, self.unknown(node))

    @staticmethod
    def is_condition(node: Checked) -> bool:
        """Whether a node's value is what a condition says."""
        if isinstance(node, Invoke):
            return node.function.name in _CONDITIONS
        if isinstance(node, Loop):
            return node.kind in _QUANTIFIERS
        return isinstance(node, Chain) or (isinstance(node, Field) and node.test)

    @staticmethod
    def unknown(node: Checked) -> str:
        """Why a node is refused for which there is no translation."""
        if isinstance(node, Invoke):
            name = node.function.name.strip("_@")
            return f"{name} has no SQL of exactly the same meaning"
        if isinstance(node, Loop):
            return f"the macro {node.kind} has no SQL of exactly the same meaning"
        return "this form of expression has no SQL of exactly the same meaning"

    def folded(self, node: Checked) -> Term | None:
        """The value of a node without names, computed now; or None."""
        if isinstance(node, Constant):
            value = node.value
        else:
            if not _is_closed(node):
                return None
            try:
                value = interpret(node)(Evaluation({}, _FOLDING_COST))
            except EvaluationError:
                return ERROR
        if type(value) is str and "\0" in value:
            raise Refused(node, "no text of SQL can hold the character NUL")
        return constant(self.arguments, value)

    def literal(self, node: Checked, text: str) -> str:
        if "\0" in text:
            raise Refused(node, "no text of SQL can hold the character NUL")
        return self.arguments.literal(text)

    def name(self, node: Field) -> str:
        if "\0" in node.name:
            raise Refused(node, "no text of SQL can hold the character NUL")
        return node.name

    def variable(self, node: Variable, *, whole: bool) -> Term:
        if node.name in self.environment.derived:
            return self.derived(node)
        if self.rows is not None:
            return self.rows.variable(self.arguments, node)
        if node.fallback is not None:
            raise Refused(node, f"{node.name} may be a fact or the type")
        if node.conversion is not None and whole:
            raise Refused(node, f"{node.name} is read as a whole object")
        assert self.facts is not None
        return Term(json=Json(self.facts, (node.name,)))

    def field(self, node: Field) -> Term:
        if self.rows is not None and self.rows.is_row(node.operand):
            return self.rows.field(self.arguments, node)
        operand = self.term(node.operand, whole=False)
        if operand.json is None:
            maps = operand.kinds.get("map")
            if maps is None:
                return ERROR
            member = Json(part(maps), (self.name(node),))
        else:
            container = operand.json
            member = Json(container.root, (*container.keys, self.name(node)))
        if node.conversion is None:
            return Term(json=member)
        return self.declared(node, member, node.conversion)

    def declared(self, node: Checked, value: Json, of: str) -> Term:
        """A fact as a value of its declared type."""
        if of in ("timestamp", "duration"):
            text = read_json(self.arguments, value, "string")
            sql = sql_times.declared(self.arguments, of, text, node)
            return Term({"null": read_json(self.arguments, value, "null"), of: sql})
        found = declared(self.arguments, value, of)
        if found is None:
            raise Refused(node, f"{of} of the facts is text in JSON")
        return found

    # Derived fields: their trees stand in their place, where the facts supply none.

    def derived_condition(self, node: Variable, mode: Mode) -> str:
        field = self.environment.derived[node.name]
        found = self.inlined(node, lambda: self.condition(field.tree, mode))
        if self.rows is not None:
            return found
        supplied = sql_of_json(self.arguments, self.supplied(node))
        given = self.holds(Term(json=self.supplied(node)), mode)
        return f"CASE WHEN {part(supplied)} IS NULL THEN {found} ELSE {given} END"

    def derived(self, node: Variable) -> Term:
        field = self.environment.derived[node.name]
        term = self.inlined(node, lambda: self.term(field.tree))
        if self.rows is not None:
            return term
        value = self.supplied(node)
        supplied = sql_of_json(self.arguments, value)
        if field.type is DYN:
            if term.json is not None:
                found = sql_of_json(self.arguments, term.json)
                return Term(json=Json(f"coalesce({supplied}, {found})"))
            given = Term(json=value)
        else:
            name = _GIVEN.get(unwrapped(field.type))
            if name is None:
                raise Refused(node, "a derived field of this type, which facts supply")
            given = self.declared(node, value, name)
            if not nullable(field.type):
                kinds = {k: sql for k, sql in given.kinds.items() if k != "null"}
                given = Term(kinds, bounds=given.bounds)
        kinds = {}
        for kind in dict.fromkeys((*kinds_of(term), *kinds_of(given))):
            made = read(self.arguments, term, kind)
            own = read(self.arguments, given, kind)
            test = f"{part(supplied)} IS NULL"
            kinds[kind] = f"CASE WHEN {test} THEN {made} ELSE {own} END"
        return Term(kinds, nan=term.nan)

    def supplied(self, node: Variable) -> Json:
        assert self.facts is not None
        return Json(self.facts, (node.name,))

    def inlined(self, node: Variable, translate: Callable[[], _T]) -> _T:
        """What stands for a derived field; its variables are its own."""
        outer = self.locals, self.bound
        self.locals, self.bound = {}, {}
        known = len(self.refusals)
        try:
            return translate()
        except Refused as refusal:
            del self.refusals[known:]
            reason = f"the derived field {node.name}: {refusal.reason}"
            raise Refused(node, reason) from None
        finally:
            self.locals, self.bound = outer

    def chosen(self, node: Choice) -> Term:
        """``?:`` between values."""
        condition = self.condition(node.condition, "exact")
        then, otherwise = self.term(node.then), self.term(node.otherwise)
        if then.json is not None or otherwise.json is not None:
            raise Refused(node, "its values may be of any type")
        kinds = {}
        for kind in dict.fromkeys((*then.kinds, *otherwise.kinds)):
            a = then.kinds.get(kind, "NULL")
            b = otherwise.kinds.get(kind, "NULL")
            kinds[kind] = chosen(condition, a, b)
        return Term(kinds, nan=then.nan or otherwise.nan)

    # Operators

    def equal(self, node: Invoke, mode: Mode) -> str:
        left, right = map(self.term, node.arguments)
        negate = node.function.name == "_!=_"
        return sql_compare.equality(self.arguments, left, right, mode, negate=negate)

    def order(self, node: Invoke, mode: Mode) -> str:
        left, right = map(self.term, node.arguments)
        operator = _ORDER[node.function.name]
        return sql_compare.order(self.arguments, left, operator, right, mode)

    def invert(self, node: Invoke, mode: Mode) -> str:
        return negation(self.condition(node.arguments[0], NEGATED[mode]))


def chosen(condition: str, then: str, otherwise: str) -> str:
    """``?:`` in SQL: NULL where the condition is."""
    return (
        f"CASE {part(condition)} WHEN TRUE THEN {then} WHEN FALSE THEN {otherwise} END"
    )


def _is_closed(node: Checked) -> bool:
    """Whether a node reads no facts and has no variables of its own."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Variable | Local | Bound | Loop | PairLoop | Bind):
            return False
        pending.extend(current.children())
    return True


_QUANTIFIERS = ("all", "exists", "exists_one")

# The types of derived fields that facts can supply, as a schema declares them.
_GIVEN = {
    types.BOOL: "bool",
    types.DOUBLE: "float64",
    types.DURATION: "duration",
    types.INT: "int",
    types.STRING: "string",
    types.TIMESTAMP: "timestamp",
}

_CONDITIONS: dict[str, Callable[[Translator, Any, Mode], str]] = {
    "_==_": Translator.equal,
    "_!=_": Translator.equal,
    **dict.fromkeys(_ORDER, Translator.order),
    "!_": Translator.invert,
    "@in": sql_functions.contains,
    "contains": sql_functions.test_of_strings,
    "endsWith": sql_functions.test_of_strings,
    "startsWith": sql_functions.test_of_strings,
}
_TERMS: dict[str, Callable[[Translator, Any], Term]] = {
    **dict.fromkeys(("_+_", "_-_", "_*_", "_/_", "_%_"), sql_operators.arithmetic),
    **dict.fromkeys(sql_times.ACCESSORS, sql_times.accessor),
    "-_": sql_operators.negate,
    "_[_]": sql_functions.index,
    "double": sql_functions.to_double,
    "duration": sql_times.duration,
    "dyn": sql_functions.same,
    "int": sql_functions.to_int,
    "lowerAscii": sql_functions.change_case,
    "size": sql_functions.size,
    "string": sql_functions.to_string,
    "timestamp": sql_times.timestamp,
    "upperAscii": sql_functions.change_case,
}
