"""Tokens to a syntax tree (cel-spec, "Syntax"), by precedence climbing.

The grammar is complete, with the quoted field names and optional selections of
later revisions of the specification. Whether a name means anything is left to
the checker; macros are expanded here (module ``macros``).
"""

from __future__ import annotations

from . import macros, source
from .errors import ExpressionTooLarge, InvalidExpression
from .lexer import KEYWORDS, RESERVED, Token, tokenize
from .limits import DEFAULT_LIMITS, Limits
from .syntax import (
    Call,
    Conditional,
    Ident,
    ListLiteral,
    Literal,
    Logical,
    MapLiteral,
    Node,
    Select,
    StructLiteral,
)

# Binary operators: precedence, and the name of the function or of the chain.
_BINARY = {
    "||": (1, "||"),
    "&&": (2, "&&"),
    "<": (3, "_<_"),
    "<=": (3, "_<=_"),
    ">": (3, "_>_"),
    ">=": (3, "_>=_"),
    "==": (3, "_==_"),
    "!=": (3, "_!=_"),
    "in": (3, "@in"),
    "+": (4, "_+_"),
    "-": (4, "_-_"),
    "*": (5, "_*_"),
    "/": (5, "_/_"),
    "%": (5, "_%_"),
}
_CONSTANTS = {"true": True, "false": False, "null": None}
_MAX_INT = (1 << 63) - 1


def parse(
    text: str, *, limits: Limits = DEFAULT_LIMITS, expand_macros: bool = True
) -> Node:
    """The syntax tree of an expression.

    Raises :class:`InvalidExpression` with the place of the first syntax error and
    :class:`ExpressionTooLarge` beyond ``limits``.
    """
    if len(text) > limits.expression_length:
        raise ExpressionTooLarge(
            [
                source.problem(
                    text,
                    0,
                    f"expression has {len(text):,} characters",
                    f"the limit is {limits.expression_length:,}; split the rule, "
                    "or move lists of values into the facts",
                )
            ]
        )
    parser = _Parser(text, tokenize(text), limits, expand_macros)
    tree = parser.expression()
    if parser.token.kind != "end":
        raise parser.unexpected("an operator or the end of the expression")
    parser.check_depth(tree)
    return tree


class _Parser:
    """The parser's state: the current token and how deep it stands."""

    def __init__(
        self, text: str, tokens: list[Token], limits: Limits, expand_macros: bool
    ) -> None:
        self.text = text
        self.tokens = tokens
        self.index = 0
        self.token = tokens[0]
        self.depth = 0
        self.limits = limits
        self.expand_macros = expand_macros

    # Errors

    def fail(self, offset: int, message: str, hint: str = "") -> InvalidExpression:
        return InvalidExpression([source.problem(self.text, offset, message, hint)])

    def unexpected(self, expected: str) -> InvalidExpression:
        token = self.token
        if token.kind == "end":
            return self.fail(
                token.start, f"expression ends where {expected} must stand"
            )
        lexeme = self.text[token.start : token.end]
        if len(lexeme) > 40:
            lexeme = lexeme[:37] + "..."
        hint = ""
        if token.kind == "ident" and lexeme in RESERVED:
            hint = f"{lexeme} is a reserved word"
        return self.fail(token.start, f"unexpected {lexeme}, expected {expected}", hint)

    def too_deep(self, offset: int) -> ExpressionTooLarge:
        return ExpressionTooLarge(
            [
                source.problem(
                    self.text,
                    offset,
                    f"expression nests deeper than {self.limits.nesting} levels",
                    "split it into derived fields, or use a list with a macro",
                )
            ]
        )

    def check_depth(self, tree: Node) -> None:
        """Refuse trees that grew deep without nested brackets, as a+a+a+... does."""
        level, depth = [tree], 0
        while level:
            depth += 1
            if depth > self.limits.nesting:
                raise self.too_deep(level[0].start)
            level = [child for node in level for child in node.children()]

    # Tokens

    def advance(self) -> Token:
        token = self.token
        self.index += 1
        self.token = self.tokens[self.index]
        return token

    def accept(self, kind: str) -> bool:
        if self.token.kind != kind:
            return False
        self.advance()
        return True

    def expect(self, kind: str, expected: str) -> Token:
        if self.token.kind != kind:
            raise self.unexpected(expected)
        return self.advance()

    # Grammar

    def expression(self) -> Node:
        """``a ? b : c``, or anything that binds tighter."""
        self.depth += 1
        if self.depth > self.limits.nesting:
            raise self.too_deep(self.token.start)
        condition = self.binary(1)
        mark = self.token.start
        if self.accept("?"):
            dotted = self.token.kind == "."
            then = self.binary(1)
            if dotted and self.token.kind != ":":
                raise self.fail(
                    mark,
                    "unexpected ?. in a selection",
                    "a field that may be absent is selected with .?, as in a.?b",
                )
            self.expect(":", "the ':' of a conditional")
            otherwise = self.expression()
            condition = Conditional(
                condition.start, otherwise.end, condition, then, otherwise
            )
        self.depth -= 1
        return condition

    def binary(self, least: int) -> Node:
        """Operators of at least this precedence, the tighter ones first."""
        left = self.unary()
        while True:
            token = self.token
            name = token.value if token.kind == "ident" else token.kind
            precedence, function = _BINARY.get(name, (0, ""))
            if precedence < least:
                return left
            if function == name:
                operands = [left]
                while self.accept(name):
                    operands.append(self.binary(precedence + 1))
                left = Logical(left.start, operands[-1].end, name, operands)
                continue
            self.advance()
            right = self.binary(precedence + 1)
            left = Call(
                left.start, right.end, function, None, [left, right], token.start
            )

    def unary(self) -> Node:
        kind = self.token.kind
        if kind not in ("!", "-"):
            return self.member(self.primary())
        operators = [self.advance()]
        while self.token.kind == kind:
            operators.append(self.advance())
        operand: Node | None = None
        if kind == "-" and self.token.kind == "literal":
            # The sign belongs to the number: -9223372036854775808 is an int, and
            # -1.abs() a method of -1.
            operand = self.negative_literal(operators[-1])
        if operand is None:
            operand = self.member(self.primary())
        else:
            operators.pop()
            operand = self.member(operand)
        # Pairs of signs cancel, as in cel-go, but for the last pair: the operand's
        # type is still tested.
        for sign in reversed(operators[: 2 - len(operators) % 2]):
            function = "!_" if kind == "!" else "-_"
            operand = Call(
                sign.start, operand.end, function, None, [operand], sign.start
            )
        return operand

    def negative_literal(self, sign: Token) -> Node | None:
        value = self.token.value
        if type(value) is not int and type(value) is not float:
            return None
        token = self.advance()
        return Literal(sign.start, token.end, -value)

    def member(self, operand: Node) -> Node:
        """Selections, method calls and indexes behind a primary."""
        while True:
            token = self.token
            kind = token.kind
            if kind == ".":
                self.advance()
                operand = self.selection(operand)
            elif kind == "[":
                self.advance()
                optional = self.accept("?")
                index = self.expression()
                end = self.expect("]", "the ']' of an index").end
                function = "_[?_]" if optional else "_[_]"
                operand = Call(
                    operand.start, end, function, None, [operand, index], token.start
                )
            else:
                return operand

    def selection(self, operand: Node) -> Node:
        optional = self.accept("?")
        token = self.token
        if token.kind == "quoted" or (
            token.kind == "ident" and token.value not in KEYWORDS
        ):
            self.advance()
        else:
            raise self.unexpected("a field name")
        if token.kind == "quoted" or optional or self.token.kind != "(":
            return Select(
                operand.start, token.end, operand, token.value, optional=optional
            )
        self.advance()
        arguments = self.elements(")", "the ')' of the arguments")
        return self.call(token, operand, arguments, operand.start)

    def call(
        self, name: Token, target: Node | None, arguments: list[Node], start: int
    ) -> Node:
        end = self.tokens[self.index - 1].end
        call = Call(start, end, name.value, target, arguments, name.start)
        if self.expand_macros:
            return macros.expand(call, self.text)
        return call

    def primary(self) -> Node:
        token = self.token
        kind = token.kind
        if kind == "literal":
            self.advance()
            value = token.value
            if type(value) is int and value > _MAX_INT:
                raise self.fail(token.start, f"int literal {value} is out of range")
            return Literal(token.start, token.end, value)
        if kind in ("ident", "."):
            return self.name()
        if kind == "(":
            self.advance()
            inner = self.expression()
            # The brackets belong to the text of what they enclose.
            inner.end = self.expect(")", "the ')' that closes the bracket").end
            inner.start = token.start
            return inner
        if kind == "[":
            return self.list_literal()
        if kind == "{":
            return self.map_literal()
        raise self.unexpected("an expression")

    def name(self) -> Node:
        start = self.token.start
        absolute = self.accept(".")
        token = self.token
        if token.kind != "ident":
            raise self.unexpected("a name")
        name = token.value
        if name in KEYWORDS:
            if absolute or name == "in":
                raise self.unexpected("an expression")
            self.advance()
            return Literal(token.start, token.end, _CONSTANTS[name])
        if name in RESERVED:
            raise self.unexpected("an expression")
        self.advance()
        if self.accept("("):
            arguments = self.elements(")", "the ')' of the arguments")
            if absolute:
                name = "." + name
            return self.call(token._replace(value=name), None, arguments, start)
        ident = Ident(start, token.end, name, absolute)
        return self.struct_literal(ident) if self.starts_struct() else ident

    def starts_struct(self) -> bool:
        """Whether a '{' follows here, after any '.name' parts."""
        index = self.index
        while self.tokens[index].kind == "." and self.tokens[index + 1].kind == "ident":
            index += 2
        return self.tokens[index].kind == "{"

    def struct_literal(self, ident: Ident) -> Node:
        name = "." + ident.name if ident.absolute else ident.name
        while self.accept("."):
            name += "." + self.advance().value
        self.advance()
        fields: list[tuple[str, Node]] = []
        while self.token.kind != "}":
            self.accept("?")
            if self.token.kind not in ("ident", "quoted"):
                raise self.unexpected("a field name")
            field_name = self.advance().value
            self.expect(":", "the ':' behind a field name")
            fields.append((field_name, self.expression()))
            if not self.accept(","):
                break
        end = self.expect("}", "the '}' of the message").end
        return StructLiteral(ident.start, end, name, fields)

    def elements(self, closing: str, expected: str) -> list[Node]:
        """Expressions between commas, up to a closing bracket."""
        found: list[Node] = []
        if self.accept(closing):
            return found
        found.append(self.expression())
        while self.accept(","):
            found.append(self.expression())
        self.expect(closing, expected)
        return found

    def list_literal(self) -> Node:
        start = self.advance().start
        elements: list[Node] = []
        optionals: list[int] = []
        while self.token.kind != "]":
            if self.accept("?"):
                optionals.append(len(elements))
            elements.append(self.expression())
            if not self.accept(","):
                break
        end = self.expect("]", "',' or the ']' of the list").end
        return ListLiteral(start, end, elements, frozenset(optionals))

    def map_literal(self) -> Node:
        start = self.advance().start
        entries: list[tuple[Node, Node]] = []
        optionals: list[int] = []
        while self.token.kind != "}":
            if self.accept("?"):
                optionals.append(len(entries))
            key = self.expression()
            self.expect(":", "the ':' between key and value")
            entries.append((key, self.expression()))
            if not self.accept(","):
                break
        end = self.expect("}", "',' or the '}' of the map").end
        return MapLiteral(start, end, entries, frozenset(optionals))
