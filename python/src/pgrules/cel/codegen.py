"""Checked tree to a Python function: the fast evaluator.

The function computes what it can decide with Python's own operations and inline type
tests. Everything else, a missing key, a type that does not fit, an overflow, a long
loop, raises, and the closures of ``interpreter`` evaluate the expression anew: they
define the meaning, this module never makes an error message. That is safe because
expressions have no effects, and it is the rule for every line below: *an operation is
generated only where Python raises, or gives exactly what CEL gives.*

Where Python is not CEL, a test stands: ``True > 0``, ``True == 1``, ``"a" in "abc"``,
negative indexes, ``//`` and ``%`` of negatives, integers beyond 64 bits.

Loops and functions over long values are charged to a small budget, so that the fast
path ends within milliseconds; what needs more is left to the closures, which count
exactly and can be cancelled.

Python compiles a text slowly, so texts have no constants in them: these are parameters,
and expressions that differ in their constants alone share one compiled text.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from itertools import count as count_up
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import operators
from .checked import (
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
    count,
)
from .errors import Interrupted
from .evaluation import Evaluation
from .reading import NATIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .interpreter import Closure
    from .values import Value

# Cost units that the fast path may use: some milliseconds.
BUDGET: Final = 20_000

# A generated function is compiled by Python, which takes longer than evaluating the
# closures a few times; and a tree beyond this size is better left to them.
MAX_NODES: Final = 2_000

# Below this cost limit only the closures, which count exactly, may evaluate: the
# fast path counts loops and long values apart, and a program's own nodes not at all.
LEAST_LIMIT: Final = 2 * BUDGET + MAX_NODES

# Elements of a list that a string is looked for in.
_MAX_SEARCHED: Final = 1_000

# Python limits how deep blocks nest: 20 of them.
_MAX_INDENT: Final = 18

# Text of an int that is range-tested inline.
_LOW, _HIGH = "-0x8000000000000000", "0x7fffffffffffffff"

_NUMBERS: Final = frozenset({"int", "float"})
_COMPARISONS: Final = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC: Final = {"_+_": "+", "_-_": "-", "_*_": "*"}
_STRING_TESTS: Final = {"startsWith": "startswith", "endsWith": "endswith"}
_LOOPS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})


class Undecided(Exception):
    """The fast path cannot decide; the closures must."""


def _undecided() -> Value:
    raise Undecided


def _rows_under(rows: dict[Any, Any], value: Value) -> Any:
    """The rows whose constant a value equals; constants are strings and numbers."""
    # Python takes True for 1. What cannot be hashed equals no constant.
    if type(value) is bool:
        return ()
    try:
        return rows.get(value, ())
    except TypeError:
        return ()


class Unsupported(Exception):
    """This tree is not worth a generated function."""


class Code(NamedTuple):
    """A Python expression.

    ``kind`` is the type that its value surely has: bool, int, float, str, list or
    nothing. ``name`` is the variable that holds the value once the text has run.
    """

    text: str
    kind: str = ""
    name: str = ""


def generate(
    tree: Checked,
    slots: int,
    build: Callable[[Checked], Closure],
    fallback: Callable[..., Value],
) -> Callable[..., Value] | None:
    """A function with the signature of ``fallback`` that is faster where it can be.

    ``build`` gives the closure of a sub-expression that has no Python form here;
    ``fallback(variables, interrupted=...)`` evaluates by closures, which use so many
    ``slots``. None where the tree does not suit generated code.
    """
    if count(tree) > MAX_NODES:
        return None
    generator = Generator(build)
    try:
        generator.returned(tree)
        make = compiled(generator.function(slots))
    except (Unsupported, RecursionError, SyntaxError, MemoryError):
        return None
    function: Callable[..., Value] = make(fallback, *generator.parameters)
    return function


# What the texts may name beside their parameters; functions of the libraries are added
# when an expression first calls them.
_globals: Final[dict[str, Any]] = {
    "Evaluation": Evaluation,
    "Interrupted": Interrupted,
    "Undecided": Undecided,
    "rows_under": _rows_under,
    "undecided": _undecided,
}
_function_names: Final[dict[Callable[..., Value], str]] = {}
_numbers: Final = count_up()


@lru_cache(maxsize=1_000)
def compiled(source: str) -> Callable[..., Any]:
    """The function that a text defines, as ``generated``."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<rule>", "exec"), _globals, namespace)  # noqa: S102 - our own
    generated: Callable[..., Any] = namespace["generated"]
    return generated


class Generator:
    """Writes the body of one function.

    Expressions are built as text and nest as the tree does; loops are statements,
    written to ``lines`` before the text that uses their result. A name may be used
    only where the text that binds it has surely run: that is what the handling of
    ``known`` is about.
    """

    def __init__(self, build: Callable[[Checked], Closure]) -> None:
        self.build = build
        self.lines: list[str] = []
        self.indent = 2
        self.names = 0
        # The values of the text's constants, which it calls k0, k1 and so on.
        self.parameters: list[Any] = []
        self.uses_state = False
        self.uses_budget = False
        # The names that hold field paths read already, where they surely are bound.
        self.known: dict[tuple[str, ...], Code] = {}
        # The names of the variables of loops that are being written, by slot.
        self.variables: dict[int, str] = {}

    # Text

    def function(self, slots: int) -> str:
        return "\n".join(
            [
                f"def generated({', '.join(['fallback', *self.constants()])}):",
                "  def evaluate(variables, *, interrupted=None):",
                "    try:",
                *self.preparations(slots),
                *self.lines,
                "    except Exception:",
                "        pass",
                "    return fallback(variables, interrupted=interrupted)",
                "  return evaluate",
            ]
        )

    def constants(self) -> list[str]:
        """The names of the parameters."""
        return [f"k{number}" for number in range(len(self.parameters))]

    def preparations(self, slots: int) -> list[str]:
        """The lines that begin an evaluation which uses so many slots."""
        lines = []
        if self.uses_state:
            lines.append(f"state = Evaluation(variables, {BUDGET})")
            if slots:
                lines.append(f"state.locals = [None] * {slots}")
        if self.uses_budget:
            lines.append(f"budget = {BUDGET}")
        return [f"{self.margin}{line}" for line in lines]

    @property
    def margin(self) -> str:
        return "    " * self.indent

    def write(self, line: str) -> None:
        self.lines.append(self.margin + line)

    @contextmanager
    def block(self) -> Iterator[None]:
        """An indented block; names bound in it are not known behind it."""
        known = dict(self.known)
        self.indent += 1
        if self.indent > _MAX_INDENT:
            raise Unsupported
        yield
        self.indent -= 1
        self.known = known

    def fresh(self) -> str:
        self.names += 1
        return f"t{self.names}"

    def constant(self, value: Any) -> str:
        """The name of a parameter that has this value."""
        self.parameters.append(value)
        return f"k{len(self.parameters) - 1}"

    def called(self, function: Callable[..., Value], *arguments: Code) -> str:
        """A call of a Python function that takes the evaluation's state first."""
        self.uses_state = True
        texts = ", ".join(["state", *(argument.text for argument in arguments)])
        name = _function_names.get(function)
        if name is None:
            name = f"f{next(_numbers)}"
            _globals[name] = function
            _function_names[function] = name
        return f"{name}({texts})"

    def named(self, code: Code) -> Code:
        """The same value, under a name once the text has run."""
        if code.name:
            return code
        name = self.fresh()
        return Code(f"({name} := {code.text})", code.kind, name)

    def stored(self, code: Code) -> Code:
        """The same value, computed by a statement of its own."""
        if code.text.isidentifier():
            return code
        name = code.name or self.fresh()
        self.write(f"{name} = {code.text}" if name != code.name else code.text)
        return Code(name, code.kind, name)

    # Statements

    def returned(self, node: Checked) -> None:
        """Write the statements that return a node's value."""
        if isinstance(node, Chain):
            decisive = node.operator == "||"
            for operand in node.operands:
                self.write(f"if {'' if decisive else 'not '}{self.truth(operand)}:")
                self.write(f"    return {decisive}")
            self.write(f"return {not decisive}")
        elif isinstance(node, Choice):
            self.write(f"if {self.truth(node.condition)}:")
            with self.block():
                self.returned(node.then)
            self.returned(node.otherwise)
        else:
            self.write(f"return {self.expression(node).text}")

    def chain_by_statements(self, node: Chain) -> Code:
        decisive = node.operator == "||"
        negation = "" if decisive else "not "
        result = self.fresh()
        first = self.truth(node.operands[0])
        self.write(f"{result} = {first}")
        self.write(f"while {'not ' if decisive else ''}{result}:")
        with self.block():
            for operand in node.operands[1:]:
                self.write(f"if {negation}{self.truth(operand)}:")
                self.write(f"    {result} = {decisive}")
                self.write("    break")
            self.write("break")
        return Code(result, "bool", result)

    def choice_by_statements(self, node: Choice) -> Code:
        result = self.fresh()
        self.write(f"if {self.truth(node.condition)}:")
        with self.block():
            self.write(f"{result} = {self.expression(node.then).text}")
        self.write("else:")
        with self.block():
            self.write(f"{result} = {self.expression(node.otherwise).text}")
        return Code(result, "", result)

    # Expressions

    def expression(self, node: Checked) -> Code:
        """The text of a node's value, after any statements that it needs."""
        match node:
            case Constant(value=value):
                return self.literal(value)
            case Variable():
                return self.variable(node)
            case Local(slot=slot) if slot in self.variables:
                name = self.variables[slot]
                return Code(name, "", name)
            case Field():
                return self.field(node)
            case Chain():
                if has_loop(node):
                    return self.chain_by_statements(node)
                return self.chain(node)
            case Choice():
                if has_loop(node):
                    return self.choice_by_statements(node)
                return self.choice(node)
            case Invoke():
                return self.invoke(node)
            case MakeList():
                elements = self.operands(node, node.elements)
                return Code(f"[{', '.join(e.text for e in elements)}]", "list")
            case Loop(kind=kind) if kind in _LOOPS and type(node) is Loop:
                return self.loop(node)
        return self.embedded(node)

    def operands(self, node: Checked, parts: list[Checked]) -> list[Code]:
        """The operands of one operation, to be used in this order.

        A loop among them is a statement and would run before the text of the
        operands in front of it; so then each is computed by a statement.
        """
        if not has_loop(node):
            return [self.expression(part) for part in parts]
        return [self.stored(self.expression(part)) for part in parts]

    def embedded(self, node: Checked) -> Code:
        """A sub-expression by its closure, where no loop's variable is in it."""
        own = {getattr(part, "slot", None) for part in walk(node)
               if not isinstance(part, Local)}  # fmt: skip
        for part in walk(node):
            if isinstance(part, Local) and part.slot not in own:
                raise Unsupported
        self.uses_state = True
        return Code(f"{self.constant(self.build(node))}(state)")

    def literal(self, value: Value) -> Code:
        kind = type(value)
        if value is None or kind is bool:
            return Code(repr(value), "bool" if kind is bool else "")
        known = kind.__name__ if kind in (int, float, str, list) else ""
        return Code(self.constant(value), known)

    def variable(self, node: Variable) -> Code:
        if self.converts(node):
            return self.embedded(node)
        if type(node.conversion) is str:
            code = self.typed(f"variables[{node.name!r}]", NATIVE[node.conversion])
            return self.read((node.name,), code.text, code.kind)
        if node.fallback is not None:
            fallback = self.constant(node.fallback)
            return Code(f"variables.get({node.name!r}, {fallback})")
        return self.read((node.name,), f"variables[{node.name!r}]")

    def read(self, path: tuple[str, ...], text: str, kind: str = "") -> Code:
        """A field path, bound to a name where it is read first."""
        known = self.known.get(path)
        if known is not None:
            return known
        name = self.fresh()
        self.known[path] = Code(name, kind, name)
        return Code(f"({name} := {text})", kind, name)

    def path(self, node: Checked) -> tuple[str, ...] | None:
        """The path of a plain selection from a variable or a loop's variable."""
        if isinstance(node, Variable):
            converted = node.conversion is not None or node.fallback is not None
            return None if converted else (node.name,)
        if isinstance(node, Local):
            name = self.variables.get(node.slot)
            return None if name is None else ("", name)
        if isinstance(node, Field) and not node.test:
            operand = self.path(node.operand)
            return None if operand is None else (*operand, node.name)
        return None

    def field(self, node: Field) -> Code:
        if node.test:
            operand = self.named(self.expression(node.operand))
            return Code(
                f"({node.name!r} in {operand.name}"
                f" if type({operand.text}) is dict else undecided())",
                "bool",
            )
        path = self.path(node)
        if path is not None and path in self.known:
            return self.read(path, "")
        code = self.embedded(node) if self.converts(node) else self.subscript(node)
        return code if path is None else self.read(path, code.text, code.kind)

    @staticmethod
    def converts(node: Field | Variable) -> bool:
        """Whether a declared fact becomes a value that JSON has not."""
        declared = node.conversion
        if type(declared) is str:
            return NATIVE.get(declared) is None
        return declared is not None

    def subscript(self, node: Field) -> Code:
        """A map's value under a field name, of the declared type if it has one."""
        # Only a dict takes a str as subscript; anything else raises TypeError.
        text = f"{self.subject(node.operand)}[{node.name!r}]"
        native = None if node.conversion is None else NATIVE[node.conversion]
        return self.typed(text, native)

    def typed(self, text: str, native: type | None) -> Code:
        """A fact, once it is seen to be of the type that is declared for it."""
        if native is None:
            return Code(text)
        value, kind = self.fresh(), native.__name__
        tested = f"{value} if type({value} := {text}) is {kind} else"
        if native is float:
            tested += f" float({value}) if type({value}) is int else"
        return Code(f"({tested} undecided())", kind, "")

    def subject(self, node: Checked) -> str:
        """The text of a value that something is selected from."""
        if isinstance(node, Constant):
            return self.constant(node.value)
        return self.expression(node).text

    def truth(self, node: Checked) -> str:
        """A node's value as a condition, once it is seen to be a bool."""
        code = self.expression(node)
        if code.kind == "bool":
            return code.text
        code = self.named(code)
        return f"({code.text} is True or {code.name} is not False and undecided())"

    def chain(self, node: Chain) -> Code:
        texts = [self.truth(node.operands[0])]
        # What later operands bind is bound for those behind them only.
        known = dict(self.known)
        texts += [self.truth(operand) for operand in node.operands[1:]]
        self.known = known
        joint = " or " if node.operator == "||" else " and "
        return Code(f"({joint.join(texts)})", "bool")

    def choice(self, node: Choice) -> Code:
        condition = self.truth(node.condition)
        known = dict(self.known)
        then = self.expression(node.then)
        self.known = dict(known)
        otherwise = self.expression(node.otherwise)
        self.known = known
        kind = then.kind if then.kind == otherwise.kind else ""
        return Code(f"({then.text} if {condition} else {otherwise.text})", kind)

    # Functions

    def invoke(self, node: Invoke) -> Code:
        name = node.function.name
        if name in ("_==_", "_!=_"):
            return Code(self.equality(node, negated=name == "_!=_"), "bool")
        if name in _COMPARISONS:
            return Code(self.comparison(node, _COMPARISONS[name]), "bool")
        if name in _ARITHMETIC:
            return self.arithmetic(node, _ARITHMETIC[name])
        if name == "!_":
            return Code(f"(not {self.truth(node.arguments[0])})", "bool")
        if name == "@in":
            text = self.membership(node)
            if text:
                return Code(text, "bool")
        operands = self.operands(node, node.arguments)
        if name == "size" and len(operands) == 1:
            # Strings, bytes, lists and maps have a length, and nothing else has.
            return Code(f"len({operands[0].text})", "int")
        if name in _STRING_TESTS and operands[-1].kind == "str":
            # Only str has the method and takes a str; a constant bounds the work.
            subject, part = operands
            if isinstance(node.arguments[1], Constant):
                method = _STRING_TESTS[name]
                return Code(f"{subject.text}.{method}({part.text})", "bool")
        if (
            name == "_[_]"
            and operands[1].kind == "str"
            and operands[0].kind == ""
            # Python warns of a subscript of None.
            and not isinstance(node.arguments[0], Constant)
        ):
            return Code(f"{operands[0].text}[{operands[1].text}]")
        # The implementation raises wherever CEL has an error.
        return Code(self.called(node.function.implementation, *operands))

    def equality(self, node: Invoke, *, negated: bool) -> str:
        left, right = node.arguments
        if isinstance(left, Constant):
            left, right = right, left
        operator = "!=" if negated else "=="
        if isinstance(right, Constant) and not isinstance(left, Constant):
            value = right.value
            if value is None or type(value) is bool:
                test = "is not" if negated else "is"
                return f"({self.expression(left).text} {test} {value!r})"
            if type(value) is str:
                subject = self.expression(left).text
                return f"({subject} {operator} {self.constant(value)})"
            if is_plain_number(value):
                return self.number_equality(left, value, negated=negated)
        text = self.called(operators.equal, *self.operands(node, node.arguments))
        return f"(not {text})" if negated else text

    def number_equality(self, left: Checked, value: float, *, negated: bool) -> str:
        code, constant = self.expression(left), self.literal(value).text
        operator = "!=" if negated else "=="
        if value not in (0, 1) or code.kind in _NUMBERS:
            return f"({code.text} {operator} {constant})"
        # 0 and 1 equal False and True in Python only.
        code = self.named(code)
        if negated:
            return f"({code.text} != {constant} or type({code.name}) is bool)"
        return f"({code.text} == {constant} and type({code.name}) is not bool)"

    def comparison(self, node: Invoke, operator: str) -> str:
        left, right = self.operands(node, node.arguments)
        if left.kind == right.kind and left.kind in _NUMBERS:
            return f"({left.text} {operator} {right.text})"
        first, second = node.arguments
        if isinstance(first, Constant):
            # A constant has no name to bind, so the order of the texts may change.
            left, right, operator, second = right, left, _MIRRORED[operator], first
        if not isinstance(second, Constant):
            return self.called(_ORDER[operator], left, right)
        if right.kind == "str":
            # Python raises when a str is compared with anything but a str.
            return f"({left.text} {operator} {right.text})"
        if is_plain_number(second.value) and left.kind in _NUMBERS:
            return f"({left.text} {operator} {right.text})"
        if is_plain_number(second.value):
            # Python raises for anything but a number, and a bool.
            left = self.named(left)
            return (
                f"({left.name} {operator} {right.text}"
                f" if type({left.text}) is not bool else undecided())"
            )
        return self.called(_ORDER[operator], left, right)

    def arithmetic(self, node: Invoke, operator: str) -> Code:
        """Sums and products of two ints or two doubles; else by the function."""
        operands = self.operands(node, node.arguments)
        kinds = {
            operand.kind
            for operand, argument in zip(operands, node.arguments, strict=True)
            if operand.kind or isinstance(argument, Constant)
        }
        if not kinds <= _NUMBERS or len(kinds) > 1:
            return Code(self.called(node.function.implementation, *operands))
        names, tests = [], []
        for operand, argument in zip(operands, node.arguments, strict=True):
            if isinstance(argument, Constant):
                names.append(operand.text)
            else:
                named = self.named(operand)
                names.append(named.name)
                tests.append((named.text, named.name))
        inline = f"{names[0]} {operator} {names[1]}"
        # The first test binds the names, so it must look at every operand: & does
        # not short-circuit.
        first = "int" if "float" not in kinds else "float"
        test = " & ".join(f"(type({text}) is {first})" for text, _ in tests) or "True"
        if first == "float":
            return Code(f"({inline} if {test} else undecided())", "float")
        result = self.fresh()
        ranged = f"{_LOW} <= ({result} := {inline}) <= {_HIGH}"
        if "int" in kinds:
            return Code(f"({result} if {test} and {ranged} else undecided())", "int")
        floats = " and ".join(f"type({name}) is float" for _, name in tests)
        return Code(
            f"({result} if {test} and {ranged}"
            f" else {inline} if {floats} else undecided())"
        )

    def membership(self, node: Invoke) -> str:
        """``x in [constants]`` by a set, ``"constant" in x`` by Python's own ``in``.

        Nothing where it is not so simple.
        """
        element, container = node.arguments
        if isinstance(element, Constant) and type(element.value) is str:
            # A str equals nothing but a str, in a list as among the keys of a map.
            code = self.named(self.expression(container))
            constant = self.constant(element.value)
            return (
                f"({constant} in {code.name} if type({code.text}) is dict"
                f" or type({code.name}) is list and len({code.name}) < {_MAX_SEARCHED}"
                " else undecided())"
            )
        values = constant_elements(container)
        if not values or not all(type(v) is str or is_plain_number(v) for v in values):
            return ""
        code = self.expression(element)
        members = frozenset(values)
        constant = self.constant(members)
        # An element that cannot be hashed raises; a bool could pass for 0 or 1.
        if members.isdisjoint((0, 1)) or code.kind in ("str", *_NUMBERS):
            return f"({code.text} in {constant})"
        code = self.named(code)
        return f"({code.text} in {constant} and type({code.name}) is not bool)"

    # Loops

    def loop(self, node: Loop) -> Code:
        parts = [p for p in (node.condition, node.transform) if p is not None]
        cost = 1 + sum(map(count, parts))
        self.uses_budget = True
        looped = self.stored(self.named(self.expression(node.range))).name
        self.write(f"budget -= len({looped}) * {cost}")
        self.write(f"if type({looped}) is not list or budget < 0:")
        self.write("    raise Undecided")
        result, variable = self.fresh(), self.fresh()
        start = {"all": "True", "exists": "False", "exists_one": "0"}
        self.write(f"{result} = {start.get(node.kind, '[]')}")
        self.write(f"for {variable} in {looped}:")
        with self.block():
            self.variables[node.slot] = variable
            self.turn(node, result, variable)
            del self.variables[node.slot]
        if node.kind == "exists_one":
            return Code(f"({result} == 1)", "bool")
        kind = "bool" if node.kind in ("all", "exists") else "list"
        return Code(result, kind, result)

    def turn(self, node: Loop, result: str, variable: str) -> None:
        """One turn of a loop."""
        if node.condition is not None and node.kind in ("all", "exists"):
            negation = "not " if node.kind == "all" else ""
            self.write(f"if {negation}{self.truth(node.condition)}:")
            self.write(f"    {result} = {node.kind == 'exists'}")
            self.write("    break")
            return
        if node.condition is not None:
            self.write(f"if not {self.truth(node.condition)}:")
            self.write("    continue")
        if node.kind == "exists_one":
            self.write(f"{result} += 1")
        elif node.transform is None:
            self.write(f"{result}.append({variable})")
        else:
            self.write(f"{result}.append({self.expression(node.transform).text})")


_ORDER = {
    "<": operators.less,
    "<=": operators.less_equal,
    ">": operators.greater,
    ">=": operators.greater_equal,
}


def is_plain_number(value: Value) -> bool:
    """Whether Python compares a number of any type with this one as CEL does.

    From 2**53 on, CEL compares an int and a double as doubles, Python exactly.
    """
    return type(value) in (int, float) and abs(value) < 1 << 53


def walk(node: Checked) -> Iterator[Checked]:
    """A node and all below it."""
    yield node
    for child in node.children():
        yield from walk(child)


def has_loop(node: Checked) -> bool:
    """Whether a node or one below it is a loop, which is written as statements."""
    return any(isinstance(part, Loop) for part in walk(node))


def constant_elements(node: Checked) -> list[Value] | None:
    """The values of a list of constants."""
    if not isinstance(node, MakeList):
        return None
    values = []
    for element in node.elements:
        if not isinstance(element, Constant):
            return None
        values.append(element.value)
    return values
