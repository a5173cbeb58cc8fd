"""The checked tree as SQL: which SQL each node becomes.

A condition, what has to be true or false, becomes a boolean expression; any other
node a :class:`~.sql_values.Term`. What SQL cannot say with the same meaning is refused.
SQL's AND, OR and NOT absorb NULL exactly as CEL's operators absorb errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import sql_compare
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
    Variable,
)
from .errors import EvaluationError
from .evaluation import Evaluation
from .interpreter import interpret
from .sql_reading import declared, read
from .sql_text import (
    NEGATED,
    Refused,
    conjunction,
    disjunction,
    negation,
    part,
)
from .sql_values import ERROR, Json, Term, constant, sql_of_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from .environment import Environment
    from .sql_columns import Rows
    from .sql_text import Arguments, Mode

# What folding a constant part may cost.
_FOLDING_COST = 10_000

_ORDER = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}


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
        parts, refused = [], None
        for operand in node.operands:
            try:
                parts.append(self.condition(operand, mode))
            except Refused as refusal:
                self.refusals.append(refusal)
                refused = refusal
        if refused is not None:
            raise refused
        return conjunction(parts) if node.operator == "&&" else disjunction(parts)

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
        if mode == "true" or not container.keys:
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
            case Chain() | Field() | Invoke() if self.is_condition(node):
                return Term({"bool": self.condition(node, "exact")})
        raise Refused(node, self.unknown(node))

    @staticmethod
    def is_condition(node: Checked) -> bool:
        return not isinstance(node, Invoke) or node.function.name in _CONDITIONS

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
            raise Refused(node, "derived fields")
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
        found = declared(self.arguments, member, node.conversion)
        if found is None:
            raise Refused(node, f"a fact declared {node.conversion} is converted")
        return found

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
        return sql_compare.order(self.arguments, left, operator, right)

    def invert(self, node: Invoke, mode: Mode) -> str:
        return negation(self.condition(node.arguments[0], NEGATED[mode]))

    def contains(self, node: Invoke, mode: Mode) -> str:
        """``x in [a, b]``, in a list or the keys of a map."""
        element, container = node.arguments
        if isinstance(container, MakeList):
            return self.one_of(element, container, mode)
        raise Refused(node, "in, over a container that is no literal")

    def one_of(self, element: Checked, container: MakeList, mode: Mode) -> str:
        left = self.term(element)
        members = [self.term(member) for member in container.elements]
        if not all(member.is_constant for member in members):
            raise Refused(container, "in, over values that are not constant")
        return sql_compare.one_of(self.arguments, left, members, mode)


def chosen(condition: str, then: str, otherwise: str) -> str:
    """``?:`` in SQL: NULL where the condition is."""
    return (
        f"CASE {part(condition)} WHEN TRUE THEN {then} WHEN FALSE THEN {otherwise} END"
    )


def _is_closed(node: Checked) -> bool:
    """Whether a node reads no facts and no variables."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Variable | Local | Bound):
            return False
        pending.extend(current.children())
    return True


_CONDITIONS: dict[str, Callable[[Translator, Any, Mode], str]] = {
    "_==_": Translator.equal,
    "_!=_": Translator.equal,
    **dict.fromkeys(_ORDER, Translator.order),
    "!_": Translator.invert,
    "@in": Translator.contains,
}
_TERMS: dict[str, Callable[[Translator, Any], Term]] = {}
