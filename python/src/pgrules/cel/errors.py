"""What can go wrong with an expression, its facts or its evaluation.

Every error of the language is a :class:`CelError` and carries the SQLSTATE under
which the database reports it, so that one table of codes serves SQL and Python.
:class:`Interrupted` is no ``CelError`` on purpose: nothing in CEL may absorb it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why an expression does not compile.

    ``line`` and ``column`` count from 1, in code points. ``hint`` says what would
    be valid, and is empty where the message says it already. ``excerpt`` is the
    source line with a caret under the column.
    """

    line: int
    column: int
    message: str
    hint: str = ""
    excerpt: str = ""

    def __str__(self) -> str:
        text = f"{self.line}:{self.column}: {self.message}"
        return "\n".join(part for part in (text, self.excerpt, self.hint) if part)


def printable(message: str) -> str:
    """A message without NUL, which a text of SQL cannot hold.

    Messages quote values, which may have it.
    """
    return message.replace("\0", "\ufffd")


class CelError(Exception):
    """Base of all errors of the language."""

    sqlstate: ClassVar[str] = "RE099"

    def __init__(self, message: str, *, hint: str = "") -> None:
        message = printable(message)
        super().__init__(message)
        self.message = message
        self.hint = hint


# Problems that a text shows. Those of a long expression can be thousands.
_SHOWN = 20


class InvalidExpression(CelError):
    """The expression does not compile; ``problems`` has every reason found."""

    sqlstate = "RE020"

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(
            f"line {first.line}, column {first.column}: {first.message}{more}",
            hint=first.hint,
        )
        self.problems = problems

    @property
    def detail(self) -> str:
        """The problems with their source lines, as one text; the first 20 of many."""
        shown = [str(problem) for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            shown.append(f"and {len(self.problems) - _SHOWN} more")
        return "\n".join(shown)


class ExpressionTooLarge(InvalidExpression):
    """The expression is longer, deeper or costlier than the limits allow."""

    sqlstate = "RE021"


class RegexLibraryMissing(InvalidExpression):
    """The expression uses regular expressions and the RE2 library is not there."""

    sqlstate = "RE050"


class Violation(NamedTuple):
    """One rule that a schema definition breaks.

    ``object`` and ``field`` say where, names cut to 100 characters; each is None
    where the rule is about more than it. ``hint`` shows a valid form.
    """

    object: str | None
    field: str | None
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}"


class InvalidSchema(CelError):
    """A schema definition breaks rules; ``violations`` has every one of them."""

    sqlstate = "RE060"

    def __init__(self, violations: list[Violation]) -> None:
        count = len(violations)
        rules = "one rule" if count == 1 else f"{count} rules"
        super().__init__(
            f"the schema definition breaks {rules}: {violations[0].message}"
            + (f" (and {count - 1} more)" if count > 1 else ""),
            hint=violations[0].hint,
        )
        self.violations = violations

    @property
    def detail(self) -> str:
        """All violations, each with a valid form, as one text."""
        return "\n".join(map(str, self.violations))


class FieldProblem(NamedTuple):
    """Why a derived field cannot be.

    ``problems`` has what is wrong with its expression, ``cycle`` the names from the
    field back to itself; both are empty where neither is the reason.
    """

    name: str
    message: str
    hint: str = ""
    problems: tuple[Problem, ...] = ()
    cycle: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.problems:
            found = "\n".join(map(str, self.problems))
            return f"in the derived field {self.name}:\n{found}"
        return f"{self.message}\n{self.hint}"


class InvalidDerivedFields(CelError):
    """Derived fields that do not compile, or depend on themselves."""

    sqlstate = "RE061"

    def __init__(self, fields: list[FieldProblem]) -> None:
        more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
        super().__init__(fields[0].message + more, hint=fields[0].hint)
        self.fields = fields

    @property
    def detail(self) -> str:
        """All derived fields that cannot be, and why, as one text."""
        return "\n".join(map(str, self.fields))


class InvalidEnvironment(CelError):
    """The JSON of an environment is not what :class:`Environment` reads."""

    sqlstate = "RE099"


class InvalidFacts(CelError):
    """The facts are no JSON object, or exceed what can be represented."""

    sqlstate = "RE030"


class EvaluationError(CelError):
    """The evaluation ended in a CEL error (cel-spec, "Runtime Errors").

    ``place`` is the offset of the failing sub-expression; ``location`` its line and
    column, set where the expression's text is known.
    """

    sqlstate = "RE040"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.place: int | None = None
        self.location: tuple[int, int] | None = None

    def __str__(self) -> str:
        if self.location is None:
            return self.message
        line, column = self.location
        return f"line {line}, column {column}: {self.message}"


class CostLimitExceeded(EvaluationError):
    """The evaluation used up its cost limit; logic operators never absorb it."""

    sqlstate = "RE041"


class Interrupted(BaseException):
    """The surrounding server asked the evaluation to stop."""
