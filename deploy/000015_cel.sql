-- Deploy pgrules:000015_cel to pg
-- requires: 000002_namespaces
-- requires: 000003_plpython
--
-- The language inside the database: the modules of python/src/pgrules/cel, written
-- here by `make bundle`, and the PL/Python functions that call them. They belong to
-- the superuser who deploys, since the owner of a PL/Python function could turn it
-- into SECURITY DEFINER. They read no table and never call SPI, and so may run in
-- parallel plans.
--
-- rules_internal.cel_runtime() holds the sources as a constant, and beside them what
-- this server's Python compiled them to, which loads fifty times faster; another
-- version of Python takes the sources. Its first call in a session loads them under a
-- name made of their hash; later calls find them in GD and cost a microsecond. The
-- other functions take that name as their first argument: a new deploy, which is
-- another hash, takes effect at the next call.

BEGIN;

DO $deploy$
DECLARE
    v_sources jsonb := '{}';
    v_loader text;
    v_hash text;
    v_code text;
    v_guard text;
    v_function record;
BEGIN
    -- bundle: begin
    v_sources := v_sources || jsonb_build_object('__init__', $cel___init__$"""CEL, the Common Expression Language, in pure Python.

The language as cel-spec defines it, without protobuf messages. Source text goes
through ``lexer``, ``parser`` and ``checker`` to the closures of ``interpreter``; the
data between the stages is in ``syntax`` and ``checked``. Nothing here knows
PostgreSQL, and nothing but the standard library is imported (RE2 is, when an
expression first needs it): the same files run in the database, in ``pgrules.Engine``
over an in-memory store, and in tests.
"""

from __future__ import annotations

from .environment import Environment
from .errors import (
    CelError,
    CostLimitExceeded,
    EvaluationError,
    ExpressionTooLarge,
    Interrupted,
    InvalidExpression,
    InvalidFacts,
    Problem,
    RegexLibraryMissing,
)
from .limits import Limits
from .program import Program, compile_expression

__all__ = [
    "CelError",
    "CostLimitExceeded",
    "Environment",
    "EvaluationError",
    "ExpressionTooLarge",
    "Interrupted",
    "InvalidExpression",
    "InvalidFacts",
    "Limits",
    "Problem",
    "Program",
    "RegexLibraryMissing",
    "compile_expression",
]
$cel___init__$);

    v_sources := v_sources || jsonb_build_object('activation', $cel_activation$"""What names mean in one evaluation: the facts, and the derived fields over them.

A derived field is computed when it is first read, at most once, however many rules
are evaluated over the facts. One that the facts supply is taken as given. All derived
fields of an activation share one cost limit, beside that of each rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import CostLimitExceeded, EvaluationError
from .evaluation import Evaluation
from .program import Program
from .reading import read_derived

if TYPE_CHECKING:
    from collections.abc import Callable

    from .environment import DerivedField, Environment
    from .facts import Facts
    from .values import Value


class Derived(NamedTuple):
    """A derived field with its program."""

    field: DerivedField
    program: Program


Fields = dict[str, Derived]

# How the message of an evaluation begins that failed in a derived field.
_DERIVED = "derived field "


def compile_derived(environment: Environment) -> Fields:
    """The programs of an environment's derived fields, by name."""
    return {
        name: Derived(
            field, Program(field.expression, environment, field.tree, field.slots)
        )
        for name, field in environment.derived.items()
    }


def activate(
    facts: Facts,
    fields: Fields,
    limit: int,
    interrupted: Callable[[], bool] | None = None,
) -> Facts:
    """The variables of an evaluation: the facts, and derived fields where there are.

    ``limit`` is the cost that all derived fields together may have.
    """
    return Activation(facts, fields, limit, interrupted) if fields else facts


class Activation(dict[str, Any]):
    """Facts in which a derived field appears when it is first asked for."""

    __slots__ = (
        "_facts", "_failures", "_fields", "_interrupted", "_left", "_limit", "_supplied"
    )  # fmt: skip

    def __init__(
        self,
        facts: Facts,
        fields: Fields,
        limit: int,
        interrupted: Callable[[], bool] | None,
    ) -> None:
        super().__init__(facts)
        self._facts = facts
        self._fields = fields
        self._limit = self._left = limit
        self._interrupted = interrupted
        self._failures: dict[str, EvaluationError] = {}
        # A supplied value still has to become one of the field's type.
        self._supplied = {name: self.pop(name) for name in fields.keys() & facts.keys()}

    @property
    def exhausted(self) -> bool:
        """Whether derived fields have cost more than the limit that they share."""
        return self._left < 0

    def renewed(self) -> Activation:
        """The same facts, with no derived field computed."""
        return Activation(self._facts, self._fields, self._limit, self._interrupted)

    def __missing__(self, name: str) -> Value:
        known = self._fields.get(name)
        if known is None:
            raise KeyError(name)
        failure = self._failures.get(name)
        if failure is None:
            try:
                value = self[name] = self._derive(name, *known)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                failure = self._failures[name] = error
            else:
                return value
        # Each reader places the error in its own expression. Of a chain of fields the
        # ends are named, the one that is read and the one that failed: a chain can be
        # hundreds of fields long.
        reason = failure.message
        inner = reason.partition(": ")[2]
        if reason.startswith(_DERIVED) and inner.startswith(_DERIVED):
            reason = inner
        raise EvaluationError(
            f"{_DERIVED}{name}: {reason}", hint=failure.hint
        ) from failure

    def _derive(self, name: str, field: DerivedField, program: Program) -> Value:
        state = Evaluation(self, self._left, self._interrupted)
        try:
            if name in self._supplied:
                return read_derived(state, self._supplied[name], field.type, name)
            return program.run(state)
        finally:
            self._left -= state.cost
$cel_activation$);

    v_sources := v_sources || jsonb_build_object('backend', $cel_backend$"""The language at the database's door: what the PL/Python functions call.

Every function takes and gives what SQL has, text and arrays, and raises nothing: a
call that cannot be answered gives a *failure*, JSON text with SQLSTATE, message,
detail and hint, which PL/pgSQL raises. An evaluation that ends in an error of CEL is
no failure but a result.

A call that the server wants to end gives up by returning, see :mod:`.interruption`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .activation import activate
from .cache import EnvironmentCache, ProgramCache, RuleSetCache
from .change import broken, refuse_removed
from .columns import columns_read
from .derived import dependencies
from .errors import (
    CelError,
    EvaluationError,
    Interrupted,
    InvalidExpression,
    InvalidFacts,
)
from .facts import parse_facts, parse_many, value_to_json
from .interruption import give_way as _give_way
from .interruption import interrupted as _interrupted
from .program import compile_expression
from .schema import decoded, read_schema
from .trace import to_json

if TYPE_CHECKING:
    from .facts import Facts
    from .key_index import Shapes
    from .program import Program
    from .rule_set import RuleSet

# Characters of facts whose decoding takes milliseconds.
_LONG = 65_536

_programs = ProgramCache(give_way=_give_way)
_environments = EnvironmentCache()
_rule_sets = RuleSetCache()

SetOutcome = tuple[
    bool | None,
    "list[str] | None",
    "list[str] | None",
    list[bool] | None,
    "list[str | None] | None",
    str | None,
]
"""Whether the rule set is known, ids, names, matched and error of each, failure."""


def evaluate(
    expression: str, environment: str, facts: str, trace: bool
) -> tuple[bool | None, str | None, str | None, str | None]:
    """Evaluate one rule: matched, error, trace as JSON text, failure."""
    try:
        variables = _variables(facts, environment)
        program = _program(expression, environment)
        if trace:
            value, failed, steps = program.trace(variables, interrupted=_interrupted)
            error = None if failed is None else str(failed)
            return value is True, error, to_json(steps), None
        value = program.evaluate(variables, interrupted=_interrupted)
    except (EvaluationError, InvalidExpression) as failed:
        return False, str(failed), None, None
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, None, _failure(failure)
    return value is True, None, None, None


def match_batch(
    ids: list[str] | None,
    expressions: list[str],
    environment: str,
    batch: list[str],
    elements: list[int | None] | None,
    candidates: list[str] | None,
) -> tuple[list[int] | None, list[int] | None, str | None]:
    """Which rules are true of each of many facts: elements, rules, failure.

    ``expressions`` are those of the rules, oldest first; rules and elements are
    numbered from 1. The rule whose id is ``candidates[n]`` is a candidate for
    ``elements[n]``, for every element where that is None; what is not among ``ids`` is
    no rule any more. Without ``elements`` every rule is a candidate for every element.
    Matches come in the order of the elements, then of the rules. Facts that are refused
    are a failure whose ``element`` is the number of the first such one.
    """
    programs: dict[int, Program | None] = {}
    matching: list[int] = []
    matched: list[int] = []
    element = 0
    try:
        always, own = _candidates(ids, expressions, elements, candidates)
        for element, facts in enumerate(batch, 1):
            _give_way()
            variables = _activated(_taken(facts), environment)
            found = []
            for rule in (*always, *own.get(element, ())):
                if rule not in programs:
                    programs[rule] = _sound(expressions[rule - 1], environment)
                program = programs[rule]
                if program is not None and _holds(program, variables):
                    found.append(rule)
            found.sort()
            matching += [element] * len(found)
            matched += found
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, _failure(failure, element=element)
    finally:
        _kept_facts.clear()
    return matching, matched, None


def _candidates(
    ids: list[str] | None,
    expressions: list[str],
    elements: list[int | None] | None,
    candidates: list[str] | None,
) -> tuple[list[int], dict[int, list[int]]]:
    """The numbers of the rules to try over every element, and over each."""
    lacking = bool(candidates) if elements is None else candidates is None
    if lacking or (elements is not None and ids is None and expressions):
        # PL/Python had no memory to convert one of them.
        raise MemoryError
    if elements is None:
        return list(range(1, len(expressions) + 1)), {}
    numbers = {rule_id: number for number, rule_id in enumerate(ids or (), 1)}
    always: list[int] = []
    own: dict[int, list[int]] = {}
    for element, candidate in zip(elements, candidates or (), strict=True):
        number = numbers.get(candidate)
        if number is None:
            continue
        if element is None:
            always.append(number)
        else:
            own.setdefault(element, []).append(number)
    return always, own


def access_keys(
    expressions: list[str], environment: str, shapes: list[str]
) -> tuple[
    list[int] | None,
    list[int] | None,
    list[int | None] | None,
    list[int | None] | None,
    list[str] | None,
    str | None,
]:
    """The entries of rules in the index of access keys; failure.

    Of each entry the rule's number from 1, term, low and high; then the shapes that
    are not among the known ``shapes``. A rule that does not compile has no entries.
    """
    from .keys import access_keys as derive

    rules: list[int] = []
    terms: list[int] = []
    lows: list[int | None] = []
    highs: list[int | None] = []
    try:
        known = _known_shapes(shapes)
        for number, expression in enumerate(expressions, 1):
            program = _sound(expression, environment)
            if program is None:
                continue
            keys = derive(program.tree, program.environment)
            for term, low, high in known.entries(keys):
                rules.append(number)
                terms.append(term)
                lows.append(low)
                highs.append(high)
            _give_way()
        added = _keep_shapes(shapes, known)
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, None, None, None, _failure(failure)
    return rules, terms, lows, highs, added, None


def described_keys(expression: str, environment: str) -> tuple[str | None, str | None]:
    """The access keys of a rule as people read them; failure."""
    from .keys import access_keys as derive

    try:
        program = _sound(expression, environment)
        if program is None:
            return "never: it does not compile", None
        return str(derive(program.tree, program.environment)), None
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, _failure(failure)


_Asked = tuple[list[int], list[int], list[int]]
"""Of each question the element's number, the term, and the value."""


def questions(
    shapes: list[str], batch: list[str]
) -> tuple[list[int], list[int], *_Asked, *_Asked, str | None]:
    """What many facts ask the index of access keys; failure.

    Elements and terms of entries without a range, but for the term of rules without
    keys, which all elements have; then elements, terms and values of entries that must
    end at the value or behind it, and of entries that must begin there or before. Facts
    that are refused are a failure with ``element``, the number of the first such ones.
    """
    from .key_index import ALWAYS

    plain: tuple[list[int], list[int]] = ([], [])
    above: _Asked = ([], [], [])
    below: _Asked = ([], [], [])
    element = size = 0
    _kept_facts.clear()
    try:
        known = _known_shapes(shapes)
        for element, text in enumerate(batch, 1):
            _give_way()
            asked = known.questions(_kept(text, size))
            size += len(text)
            asked.terms.discard(ALWAYS)
            plain[0].extend([element] * len(asked.terms))
            plain[1].extend(asked.terms)
            for found, lists in ((asked.above, above), (asked.below, below)):
                for term, value in found:
                    lists[0].append(element)
                    lists[1].append(term)
                    lists[2].append(value)
        _keep_shapes(shapes, known)
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        nothing: _Asked = ([], [], [])
        return [], [], *nothing, *nothing, _failure(failure, element=element)
    return *plain, *above, *below, None


# Those of the last call, in most sessions of one tenant, by their texts.
_shapes: tuple[list[str], Shapes] | None = None


def _known_shapes(texts: list[str]) -> Shapes:
    """The shapes of these texts, for which :func:`_keep_shapes` has to be called."""
    global _shapes
    last, _shapes = _shapes, None
    if last is not None and last[0] == texts:
        return last[1]
    from .key_index import Shapes

    return Shapes(texts)


def _keep_shapes(texts: list[str], shapes: Shapes) -> list[str]:
    """Keep shapes for the next call; gives the texts of those that were added."""
    global _shapes  # noqa: PLW0603 - one value, replaced as a whole
    added, shapes.added = shapes.added, []
    _shapes = [*texts, *added], shapes
    return added


# Facts between the question which rules may match and the evaluation of those: the
# first ones, and more while they are not too much. Decoded they take up to fifty times
# the characters of their text.
_kept_facts: dict[str, Facts] = {}
_MOST_KEPT = 1024 * 1024


def _kept(text: str, before: int) -> Facts:
    """Decoded facts, which :func:`_taken` gives out once more.

    ``before`` is how many characters those of the same call had until here.
    """
    facts = _decoded(text)
    if before + len(text) <= _MOST_KEPT or not before:
        _kept_facts[text] = facts
    return facts


def _taken(text: str) -> Facts:
    """Decoded facts, those that were kept where they are the same."""
    facts = _kept_facts.pop(text, None)
    return _decoded(text) if facts is None else facts


def _sound(expression: str, environment: str) -> Program | None:
    """The program of a rule; None for one that does not compile any more."""
    try:
        return _program(expression, environment)
    except InvalidExpression:
        return None


def _holds(program: Program, variables: Facts) -> bool:
    """Whether a rule matches; an evaluation that fails is no match."""
    try:
        return program.evaluate(variables, interrupted=_interrupted) is True
    except EvaluationError:
        return False


def evaluate_set(
    key: str | None,
    ids: list[str] | None,
    names: list[str],
    expressions: list[str],
    environment: str,
    facts: str,
    matched_only: bool,
) -> SetOutcome:
    """Evaluate a rule set that may be kept under a key, with the environment.

    Without ``ids`` the set has to be known. ``matched_only`` leaves the rules that do
    not match out of the outcome, and gives no matched and errors: all is true.
    """
    try:
        rules = _rule_set(key, ids, names, expressions, environment)
        variables = _variables(facts, environment)
        if rules is None:
            return False, None, None, None, None, None
        matches, failed = rules.evaluate(
            variables, _interrupted, matched_only=matched_only
        )
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, None, None, None, _failure(failure)
    if matched_only:
        found = [rules.ids[position] for position in matches]
        called = [rules.names[position] for position in matches]
        return True, found, called, None, None, None
    matched = [False] * len(rules)
    for position in matches:
        matched[position] = True
    errors: list[str | None] = [None] * len(rules)
    for position, error in failed.items():
        errors[position] = error
    return True, rules.ids, rules.names, matched, errors, None


def evaluate_batch(
    expression: str, environment: str, facts: list[str]
) -> tuple[list[bool | None] | None, list[str | None] | None, str | None]:
    """Evaluate one rule over many facts: matched and error of each, failure.

    Facts that are refused have matched None, and the refusal as their error.
    """
    matched: list[bool | None] = []
    errors: list[str | None] = []
    try:
        program, invalid = _compiled(expression, environment)
        for given in parse_many(facts):
            _give_way()
            value, error = None, invalid
            if isinstance(given, InvalidFacts):
                matched.append(None)
                errors.append(str(given))
                continue
            if program is not None:
                try:
                    variables = _activated(given, environment)
                    value = program.evaluate(variables, interrupted=_interrupted)
                except EvaluationError as failed:
                    error = str(failed)
            matched.append(value is True)
            errors.append(error)
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, _failure(failure)
    return matched, errors, None


def _compiled(expression: str, environment: str) -> tuple[Program | None, str | None]:
    """The program of an expression, or why it has none."""
    try:
        return _program(expression, environment), None
    except InvalidExpression as invalid:
        return None, str(invalid)


def evaluate_expression(
    expression: str, environment: str, facts: str
) -> tuple[str | None, str | None]:
    """Evaluate an expression that is no rule: its value as JSON text, failure."""
    try:
        variables = _variables(facts, environment)
        program = _program(expression, environment)
        value = program.evaluate(variables, interrupted=_interrupted)
        return value_to_json(value), None
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, _failure(failure)


def check(
    expression: str, environment: str
) -> tuple[str | None, int | None, str | None]:
    """Compile an expression: its problems, its estimate, and the failure to raise.

    The problems are a JSON array of objects with ``line``, ``column``, ``message``
    and ``hint``; a hint begins with the source line and a caret under the place.
    Empty, with no failure, when the expression compiles; then the estimate is what an
    evaluation can cost at most, see ``Program.estimate``.
    """
    try:
        estimate = _program(expression, environment).estimate
    except InvalidExpression as invalid:
        return json.dumps(_problems(invalid)), None, _failure(invalid)
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, _failure(failure)
    return "[]", estimate, None


def check_schema(definition: str) -> str | None:
    """The failure of a schema definition, JSON text, that breaks rules."""
    try:
        read_schema(decoded(definition))
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return _failure(failure)
    return None


def derived_dependencies(expression: str) -> tuple[str | None, str | None]:
    """The names that a derived field reads, a JSON array; or the failure to parse it.

    Whether it fits the facts and the other derived fields, :func:`check_environment`
    says.
    """
    try:
        program = compile_expression(expression)
        return json.dumps(dependencies(program.tree)), None
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, _failure(failure)


def check_environment(
    document: str, removed: list[str], expressions: list[str]
) -> tuple[str | None, str | None]:
    """Whether derived fields and rules compile in an environment: failures, failure.

    The failures are a JSON array with ``position``, the expression's from 1,
    ``message``, and ``problems`` as :func:`check` gives them. Using a ``removed``
    derived field is one, even where without a schema the name could be a fact. The
    failure is of the environment itself, its schema or its derived fields.
    """
    gone = frozenset(removed)
    try:
        environment = _environments.compiled(document).environment
        refuse_removed(environment, gone)
        failures = [
            {
                "position": position + 1,
                "message": str(invalid),
                "problems": _problems(invalid),
            }
            for position, invalid in broken(
                expressions,
                lambda expression: _programs.program(expression, document, environment),
                gone,
            )
        ]
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, _failure(failure)
    return json.dumps(failures), None


def _problems(invalid: InvalidExpression) -> list[dict[str, Any]]:
    """Why an expression does not compile, as SQL has it."""
    return [
        {
            "line": found.line,
            "column": found.column,
            "message": found.message,
            "hint": "\n".join(filter(None, (found.excerpt, found.hint))),
        }
        for found in invalid.problems
    ]


def evaluation_cost(
    expression: str, environment: str, facts: str
) -> tuple[int | None, str | None]:
    """The cost units of one evaluation, whether it fails or not; failure."""
    try:
        variables = _variables(facts, environment)
        program = _program(expression, environment)
        return program.cost(variables, interrupted=_interrupted), None
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, _failure(failure)


def sql(
    expression: str, environment: str, document: str
) -> tuple[str | None, list[str] | None, str | None, str | None]:
    """A rule as SQL: template, arguments, reasons, failure; see module ``sql``.

    The template is for ``format()``. The reasons are a JSON array of objects with
    ``line``, ``column``, ``expression`` and ``reason``, empty where the template says
    all of the rule.
    """
    from .sql import Source, translate

    try:
        program = _program(expression, environment)
        source = Source.from_json(json.loads(document))
        made = translate(program.tree, expression, program.environment, source)
        reasons = json.dumps([reason._asdict() for reason in made.reasons])
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, None, None, _failure(failure)
    return made.template, made.arguments, reasons, None


def reads(expression: str, environment: str) -> tuple[list[str] | None, str | None]:
    """The columns that a rule reads in an environment of a table; failure."""
    try:
        compiled = _environments.compiled(environment).environment
        program = _program(expression, environment)
        return columns_read(program.tree, compiled), None
    except BaseException as failure:  # noqa: BLE001 - reported by _failure
        return None, _failure(failure)


def _variables(facts: str, document: str) -> Facts:
    return _activated(_decoded(facts), document)


def _decoded(text: str) -> Facts:
    facts = parse_facts(text)
    if len(text) > _LONG:
        # Decoding cannot be interrupted, and took a while.
        _give_way()
    return facts


def _activated(facts: Facts, document: str) -> Facts:
    environment, fields = _environments.compiled(document)
    return activate(facts, fields, environment.limits.cost, _interrupted)


def _program(expression: str, document: str) -> Program:
    environment = _environments.compiled(document).environment
    return _programs.program(expression, document, environment)


def _rule_set(
    key: str | None,
    ids: list[str] | None,
    names: list[str],
    expressions: list[str],
    document: str,
) -> RuleSet | None:
    """The rule set of a key, or a new one of these rules, which is kept."""
    if ids is None:
        return None if key is None else _rule_sets.get(key, document)
    # It brings the modules that generate code, which a short session does without.
    from .rule_set import RuleSet

    environment, fields = _environments.compiled(document)
    rules = RuleSet(
        expressions,
        lambda expression: _programs.program(expression, document, environment),
        fields,
        _interrupted,
        ids=ids,
        names=names,
    )
    if key is not None:
        _rule_sets.put(key, document, rules)
        _programs.resize(_rule_sets.programs_left)
    return rules


OUT_OF_MEMORY = json.dumps(
    {"sqlstate": "53200", "message": "out of memory", "detail": "", "hint": ""}
)
"""A failure that is ready, as there may be no memory to make it.

A rule is never said not to match for lack of memory: the whole call fails.
"""


def _failure(error: BaseException, **about: int) -> str:
    """Why a call could not be answered, and ``about`` what, for PL/pgSQL to raise."""
    detail = hint = ""
    if isinstance(error, Interrupted):
        sqlstate, message = "57014", "the evaluation was cancelled"
    elif isinstance(error, CelError):
        sqlstate, message, hint = error.sqlstate, str(error), error.hint
        # Where there are several problems, the detail has each with its own hint.
        detail = getattr(error, "detail", "")
    elif isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    else:
        import traceback

        sqlstate = "RE099"
        message = f"internal error: {type(error).__name__}: {error}"
        detail = "".join(traceback.format_exception(error))
        hint = "this is a defect of pgrules; please report it with this detail"
    return json.dumps(
        {
            "sqlstate": sqlstate,
            "message": message,
            "detail": detail,
            "hint": hint,
            **about,
        }
    )
$cel_backend$);

    v_sources := v_sources || jsonb_build_object('cache', $cel_cache$"""Compiled programs by their content, so that nothing is compiled twice.

The key is the expression's text and its environment, never a rule's id: after a
rollback an id or a counter would name another program. The cache is bounded by the
nodes of the programs it holds, which their memory follows (about 1 KB a node), and
forgets the one that was unused for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from .activation import Fields, compile_derived
from .environment import Environment
from .errors import InvalidExpression
from .program import Program, compile_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .rule_set import RuleSet

# Some 80 MB at the most; ten thousand rules of ten nodes.
CAPACITY = 100_000

# A refusal is kept too: a rule that stopped compiling must not cost a compilation
# each time it is met.
_REFUSAL_NODES = 10


class Compiled(NamedTuple):
    """An environment with the programs of its derived fields."""

    environment: Environment
    fields: Fields


class EnvironmentCache:
    """Environments by the text of their documents, the latest few."""

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self._empty = Compiled(Environment(), {})
        self._entries: OrderedDict[str, Compiled] = OrderedDict()

    def compiled(self, document: str) -> Compiled:
        """The environment that a document describes, see ``Environment.from_json``.

        Raises what that raises.
        """
        if document == "{}":
            return self._empty
        entry = self._entries.get(document)
        if entry is None:
            environment = Environment.from_json(document)
            entry = Compiled(environment, compile_derived(environment))
            self._entries[document] = entry
            if len(self._entries) > self.capacity:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(document)
        return entry


class ProgramCache:
    """The programs of one environment after the other, least recently used out.

    ``give_way`` is called before each compilation; it may raise :class:`Interrupted`.
    """

    def __init__(
        self, capacity: int = CAPACITY, give_way: Callable[[], None] | None = None
    ) -> None:
        self.capacity = capacity
        self.nodes = 0
        self._give_way = give_way
        self._entries: OrderedDict[
            tuple[str, str], tuple[Program | InvalidExpression, int]
        ] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def program(self, text: str, digest: str, environment: Environment) -> Program:
        """The program of an expression, compiled when it is not there.

        ``digest`` stands for the environment: equal digests, equal environments.
        Raises what :func:`compile_expression` raises.
        """
        key = (text, digest)
        entry = self._entries.get(key)
        if entry is None:
            # Many are compiled in one call: all of a tenant's, for a new schema.
            if self._give_way is not None:
                self._give_way()
            entry = self._compile(text, environment)
            self._entries[key] = entry
            self.nodes += entry[1]
            self._forget()
        else:
            self._entries.move_to_end(key)
        outcome = entry[0]
        if isinstance(outcome, InvalidExpression):
            raise outcome.with_traceback(None)
        return outcome

    def resize(self, capacity: int) -> None:
        """Keep so many nodes from now on."""
        self.capacity = capacity
        self._forget()

    def _forget(self) -> None:
        while self.nodes > self.capacity and len(self._entries) > 1:
            _, (_, freed) = self._entries.popitem(last=False)
            self.nodes -= freed

    @staticmethod
    def _compile(
        text: str, environment: Environment
    ) -> tuple[Program | InvalidExpression, int]:
        try:
            program = compile_expression(text, environment)
        except InvalidExpression as refusal:
            return refusal, _REFUSAL_NODES
        return program, program.nodes


class RuleSetCache:
    """Rule sets by a key that stands for their rules, least recently used out.

    The environment's document is part of the key. A set beyond the capacity is not
    kept. What the sets weigh, the programs of a session may not: see ``programs_left``.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.nodes = 0
        self._entries: OrderedDict[tuple[Hashable, str], RuleSet] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def programs_left(self) -> int:
        """Nodes of programs that the sets leave room for; theirs take half as much."""
        return CAPACITY - self.nodes // 2

    def get(self, key: Hashable, document: str) -> RuleSet | None:
        """The rule set of this key and environment, if it is kept."""
        rules = self._entries.get((key, document))
        if rules is not None:
            self._entries.move_to_end((key, document))
        return rules

    def put(self, key: Hashable, document: str, rules: RuleSet) -> None:
        """Keep a rule set, in place of those that were unused for longest."""
        if rules.nodes > self.capacity:
            return
        former = self._entries.pop((key, document), None)
        if former is not None:
            self.nodes -= former.nodes
        # First what may lack memory: nothing is counted that is not there.
        self._entries[key, document] = rules
        self.nodes += rules.nodes
        while self.nodes > self.capacity:
            _, oldest = self._entries.popitem(last=False)
            self.nodes -= oldest.nodes
$cel_cache$);

    v_sources := v_sources || jsonb_build_object('change', $cel_change$"""What a change of the environment breaks: derived fields and rules that then fail.

A new schema, or derived fields that came, changed or went, make a new environment.
Whether the derived fields themselves can be, ``derived`` says; here it is asked who
still uses one that went, and which expressions no longer compile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checked import Checked, Variable
from .errors import FieldProblem, InvalidDerivedFields, InvalidExpression, Problem
from .source import problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .environment import Environment
    from .program import Program


def refuse_removed(environment: Environment, removed: frozenset[str]) -> None:
    """Refuse derived fields that use one of the removed names.

    Without a schema the name could be a fact's; yet whoever wrote it meant the
    derived field. Raises :class:`InvalidDerivedFields` with every such field.
    """
    users = []
    for name, field in environment.derived.items():
        found = _uses(field.expression, field.tree, removed)
        if found:
            message = f"the derived field {name} cannot be: {found[0].message}"
            users.append(FieldProblem(name, message, found[0].hint, tuple(found)))
    if users:
        raise InvalidDerivedFields(users)


def broken(
    expressions: Iterable[str],
    program: Callable[[str], Program],
    removed: frozenset[str],
) -> Iterator[tuple[int, InvalidExpression]]:
    """The expressions that do not compile, by position from 0, each with the reason.

    ``program`` compiles in the new environment. Using a removed name is a reason.
    """
    for position, expression in enumerate(expressions):
        try:
            compiled = program(expression)
        except InvalidExpression as invalid:
            yield position, invalid
            continue
        problems = _uses(expression, compiled.tree, removed)
        if problems:
            yield position, InvalidExpression(problems)


def _uses(text: str, tree: Checked, removed: frozenset[str]) -> list[Problem]:
    """Where an expression uses names that were removed; of each name the first."""
    if not removed:
        return []
    places: dict[str, int] = {}
    pending = [tree]
    while pending:
        node = pending.pop()
        if type(node) is Variable and node.fallback is None and node.name in removed:
            places.setdefault(node.name, node.origin.start)
        pending.extend(reversed(list(node.children())))
    return [
        problem(
            text,
            place,
            f"it uses the derived field {name}",
            f"keep {name}, or change what uses it first",
        )
        for name, place in places.items()
    ]
$cel_change$);

    v_sources := v_sources || jsonb_build_object('checked', $cel_checked$"""The checked tree: what the checker makes and the evaluators run.

Every name is resolved: to a variable of the facts, to the slot of a macro's
variable, to a constant, to a function. ``origin`` is the syntax node that a
checked node stands for; places and texts in messages come from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import Problem
from .library import Function
from .syntax import Node
from .types import DYN, ObjectType, Type
from .values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Checked:
    """A checked sub-expression.

    ``type`` is what inference found: ``dyn`` where nothing is known. See module
    ``inference`` for how far it may be relied on.
    """

    origin: Node
    type: Type = field(default=DYN, init=False, compare=False)

    def children(self) -> Iterator[Checked]:
        """The direct sub-expressions, in source order."""
        return iter(())

    def straight_children(self) -> Iterator[Checked]:
        """Those that one evaluation of this node evaluates at most once."""
        return self.children()


@dataclass(slots=True)
class Constant(Checked):
    """A value known at compile time."""

    value: Value


@dataclass(slots=True)
class Variable(Checked):
    """A name looked up in the facts; ``fallback`` is the type it else denotes.

    ``conversion`` is set where a schema's object is read as a whole: its fields are
    converted then, see module ``reading``. It is the name of a type for a column of a
    table, which is converted as a :class:`Field` is.
    """

    name: str
    fallback: Type | None = None
    conversion: ObjectType | str | None = None


@dataclass(slots=True)
class Local(Checked):
    """A macro's variable, in its slot."""

    name: str
    slot: int


@dataclass(slots=True)
class Bound(Checked):
    """The name of a :class:`Bind`, in its slot."""

    name: str
    slot: int


@dataclass(slots=True)
class Field(Checked):
    """A map's value under a field name; whether it is there when ``test`` is set.

    Of an optional map it is optional, as an :class:`OptionalField`.

    ``conversion`` names the declared type of a fact that a schema declares; the
    fact is converted to it when it is read, see module ``reading``.
    """

    operand: Checked
    name: str
    test: bool
    conversion: str | None = None

    def children(self) -> Iterator[Checked]:
        yield self.operand


@dataclass(slots=True)
class OptionalField(Checked):
    """``operand.?name``: an optional, absent where the map has no such field.

    ``conversion`` is that of a :class:`Field`.
    """

    operand: Checked
    name: str
    conversion: str | None = None

    def children(self) -> Iterator[Checked]:
        yield self.operand


@dataclass(slots=True)
class Invoke(Checked):
    """A call of a function with its arguments, a method's target first."""

    function: Function
    arguments: list[Checked]
    place: int

    def children(self) -> Iterator[Checked]:
        yield from self.arguments


@dataclass(slots=True)
class Chain(Checked):
    """``&&`` or ``||`` over two or more operands."""

    operator: str
    operands: list[Checked]

    def children(self) -> Iterator[Checked]:
        yield from self.operands


@dataclass(slots=True)
class Choice(Checked):
    """The conditional operator."""

    condition: Checked
    then: Checked
    otherwise: Checked

    def children(self) -> Iterator[Checked]:
        yield self.condition
        yield self.then
        yield self.otherwise


@dataclass(slots=True)
class MakeList(Checked):
    """A list from its elements."""

    elements: list[Checked]

    def children(self) -> Iterator[Checked]:
        yield from self.elements


@dataclass(slots=True)
class MakeOptionalList(Checked):
    """``[a, ?b]``: an absent optional at one of the ``optionals`` adds no element."""

    elements: list[Checked]
    optionals: frozenset[int]

    def children(self) -> Iterator[Checked]:
        yield from self.elements


@dataclass(slots=True)
class MakeMap(Checked):
    """A map from its entries."""

    entries: list[tuple[Checked, Checked]]

    def children(self) -> Iterator[Checked]:
        for key, value in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class MakeOptionalMap(Checked):
    """``{a: b, ?c: d}``: an absent optional at one of the ``optionals`` adds none."""

    entries: list[tuple[Checked, Checked]]
    optionals: frozenset[int]

    def children(self) -> Iterator[Checked]:
        for key, value in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class Loop(Checked):
    """A macro with one variable; see ``syntax.Comprehension`` for the kinds.

    The variable is a list's element, a map's key, or for ``optMap`` and
    ``optFlatMap`` the value of an optional.
    """

    kind: str
    slot: int
    range: Checked
    condition: Checked | None
    transform: Checked | None
    place: int

    def children(self) -> Iterator[Checked]:
        yield self.range
        if self.condition is not None:
            yield self.condition
        if self.transform is not None:
            yield self.transform

    def straight_children(self) -> Iterator[Checked]:
        yield self.range


@dataclass(slots=True)
class PairLoop(Checked):
    """A macro with two variables: index and element, or key and value.

    The kinds are ``all``, ``exists``, ``exists_one``, ``transformList``,
    ``transformMap`` and ``transformMapEntry``.
    """

    kind: str
    slot: int
    second_slot: int
    range: Checked
    condition: Checked | None
    transform: Checked | None
    place: int

    def children(self) -> Iterator[Checked]:
        yield self.range
        if self.condition is not None:
            yield self.condition
        if self.transform is not None:
            yield self.transform

    def straight_children(self) -> Iterator[Checked]:
        yield self.range


@dataclass(slots=True)
class Bind(Checked):
    """``cel.bind`` and ``cel.block``: slots and the values that they stand for.

    A value is computed when the first :class:`Bound` of its slot is, and kept, or
    its error is: one that is never used is never computed. It may use the slots
    before it.
    """

    bindings: list[tuple[int, Checked]]
    body: Checked

    def children(self) -> Iterator[Checked]:
        for _, value in self.bindings:
            yield value
        yield self.body


@dataclass(slots=True)
class Failure(Checked):
    """A part that does not compile, in an expression taken unchecked.

    It is an error when it is evaluated (cel-spec, "Gradual Type Checking").
    """

    problem: Problem


def count(node: Checked) -> int:
    """The nodes of a tree."""
    total, pending = 0, [node]
    while pending:
        total += 1
        pending.extend(pending.pop().children())
    return total
$cel_checked$);

    v_sources := v_sources || jsonb_build_object('checker', $cel_checker$"""Syntax tree to checked tree: what every name and call refers to.

All problems of an expression are found in one pass, each with its place and the
nearest known name. An expression taken ``unchecked`` keeps its problems for the
evaluation, where ``||`` may absorb them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import regex, source
from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Failure,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .errors import EvaluationError, InvalidExpression, Problem, RegexLibraryMissing
from .inference import infer
from .syntax import (
    Binding,
    Call,
    Comprehension,
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
from .types import DENOTATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .environment import Environment
    from .library import Function


class Resolved(NamedTuple):
    """An expression whose names are resolved, with what is wrong so far."""

    tree: Checked
    slots: int
    problems: list[Problem]
    regex_missing: bool


def resolve(tree: Node, text: str, environment: Environment) -> Resolved:
    """The checked tree, not yet typed, and the slots that its macros need."""
    checker = _Checker(text, environment)
    checked = checker.check(tree)
    return Resolved(checked, checker.slots, checker.problems, checker.regex_missing)


def check(
    tree: Node, text: str, environment: Environment, *, unchecked: bool = False
) -> tuple[Checked, int]:
    """The checked tree and the number of slots that its macros need.

    Raises :class:`InvalidExpression` with all problems found, unless
    ``unchecked``, and :class:`RegexLibraryMissing`.
    """
    checked, slots, problems, regex_missing = resolve(tree, text, environment)
    if unchecked:
        return checked, slots
    problems += infer(checked, text, environment)
    if problems:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        failure = RegexLibraryMissing if regex_missing else InvalidExpression
        raise failure(problems)
    return checked, slots


# Looking for the nearest name takes a millisecond where there are many names.
_MOST_HINTS = 20


def _nearest(name: str, known: Iterable[str], problems: int) -> str:
    """A hint with the nearest known name; none behind so many problems."""
    if problems >= _MOST_HINTS:
        return ""
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""


def _path(node: Node) -> list[str] | None:
    """The names of a selection a.b.c, with a dot before an absolute one."""
    names: list[str] = []
    while isinstance(node, Select) and not node.test and not node.optional:
        names.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    names.append("." + node.name if node.absolute else node.name)
    names.reverse()
    return names


class _Checker:
    """The macro variables in scope and the problems so far.

    A name in scope has a slot: of a loop's variable, or of a bound value.
    """

    def __init__(self, text: str, environment: Environment) -> None:
        self.text = text
        self.environment = environment
        self.scope: dict[str, tuple[type[Local | Bound], int]] = {}
        self.slots = 0
        self.problems: list[Problem] = []
        self.regex_missing = False

    def fail(self, node: Node, place: int, message: str, hint: str = "") -> Failure:
        problem = source.problem(self.text, place, message, hint)
        self.problems.append(problem)
        return Failure(node, problem)

    def check(self, node: Node) -> Checked:
        match node:
            case Literal():
                return Constant(node, node.value)
            case Ident():
                return self.name(node)
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case Logical():
                operands = [self.check(operand) for operand in node.operands]
                return Chain(node, node.operator, operands)
            case Conditional():
                return Choice(
                    node,
                    self.check(node.condition),
                    self.check(node.then),
                    self.check(node.otherwise),
                )
            case Comprehension():
                return self.comprehension(node)
            case Binding():
                return self.binding(node)
            case ListLiteral():
                elements = [self.check(element) for element in node.elements]
                if node.optionals:
                    return MakeOptionalList(node, elements, node.optionals)
                return MakeList(node, elements)
            case MapLiteral():
                entries = [(self.check(k), self.check(v)) for k, v in node.entries]
                if node.optionals:
                    return MakeOptionalMap(node, entries, node.optionals)
                return MakeMap(node, entries)
            case StructLiteral():
                return self.fail(
                    node,
                    node.start,
                    f"unknown message type {node.name}",
                    "there are no protobuf messages; write a map, {'key': value}",
                )
        raise AssertionError(f"no such node: {node!r}")

    # Names

    def name(self, node: Ident) -> Checked:
        if not node.absolute and node.name in self.scope:
            kind, slot = self.scope[node.name]
            return kind(node, node.name, slot)
        name = "." + node.name if node.absolute else node.name
        return self.resolve(node, name) or self.free(node)

    def resolve(self, node: Node, name: str) -> Checked | None:
        """A declared variable or a type's name, by the rules of containers."""
        variables = self.environment.variables or {}
        derived = self.environment.derived
        for candidate in self.environment.candidates(name):
            if candidate in variables or candidate in derived:
                return Variable(node, candidate)
        denoted = DENOTATIONS.get(name.removeprefix("."))
        if denoted is None or (self.environment.variables is None and "." not in name):
            return None
        return Constant(node, denoted)

    def free(self, node: Ident) -> Checked:
        """A name that nothing declares: the facts may have it."""
        if node.name.startswith("@"):
            # Names that no source text can have: a macro made them.
            return self.fail(
                node,
                node.start,
                f"{self.text[node.start : node.end]} refers to nothing",
                "a slot of cel.block may use the slots before it; cel.iterVar and "
                "cel.accuVar the variables of the macros around them",
            )
        variables = self.environment.variables
        if variables is None:
            return Variable(node, node.name, DENOTATIONS.get(node.name))
        columns = self.environment.columns
        if node.name in self.environment.unfit:
            return self.fail(
                node,
                node.start,
                f"the derived field {node.name} does not fit the table: "
                + self.environment.unfit[node.name],
            )
        if columns is not None and columns.object is None:
            message, hint = columns.lacking(node.name)
            near = _nearest(node.name, columns.declared, len(self.problems))
            return self.fail(node, node.start, message, hint or near)
        declared = [*variables, *self.environment.derived]
        known = [*declared, *(name for name in self.scope if name[0] != "@")]
        hint = _nearest(node.name, known, len(self.problems))
        if columns is not None and not hint:
            hint = f"the columns of the table are the fields of {columns.object}"
        return self.fail(node, node.start, f"unknown name {node.name}", hint)

    def select(self, node: Select) -> Checked:
        if node.optional:
            return OptionalField(node, self.check(node.operand), node.field)
        names = _path(node)
        if names is not None and names[0] not in self.scope and not node.test:
            resolved = self.resolve(node, ".".join(names))
            if resolved is not None:
                return resolved
        return Field(node, self.check(node.operand), node.field, node.test)

    # Calls

    def call(self, node: Call) -> Checked:
        arguments = [self.check(argument) for argument in node.arguments]
        if node.target is None:
            function = self.lookup(node.function)
            return self.invoke(node, function, node.function, arguments, method=False)
        names = _path(node.target)
        if names is not None and names[0] not in self.scope:
            qualified = ".".join([*names, node.function])
            function = self.lookup(qualified)
            if function is not None or self.is_namespace(names, node.function):
                return self.invoke(node, function, qualified, arguments, method=False)
        target = self.check(node.target)
        function = self.lookup(node.function)
        return self.invoke(
            node, function, node.function, [target, *arguments], method=True
        )

    def is_namespace(self, names: list[str], function: str) -> bool:
        """Whether a target names a library, whose function is misspelled here."""
        functions = self.environment.functions
        if self.resolve_names(names) or function in functions:
            return False
        prefix = ".".join(names) + "."
        return any(name.startswith(prefix) for name in functions)

    def resolve_names(self, names: list[str]) -> bool:
        """Whether a path, or a part of it from its start, is a declared name."""
        variables = self.environment.variables or {}
        derived = self.environment.derived
        return any(
            candidate in variables or candidate in derived
            for end in range(1, len(names) + 1)
            for candidate in self.environment.candidates(".".join(names[:end]))
        )

    def lookup(self, name: str) -> Function | None:
        functions = self.environment.functions
        for candidate in self.environment.candidates(name):
            if candidate in functions:
                return functions[candidate]
        return None

    def invoke(
        self,
        node: Call,
        function: Function | None,
        name: str,
        arguments: list[Checked],
        *,
        method: bool,
    ) -> Checked:
        if function is None:
            known = (
                known
                for known in self.environment.functions
                if known.replace(".", "").isidentifier()
            )
            return self.fail(
                node,
                node.place,
                f"unknown function {name}",
                _nearest(name, known, len(self.problems)),
            )
        if not function.accepts(method=method, arguments=len(arguments) - method):
            return self.fail(
                node,
                node.place,
                f"{name} is not called with these arguments",
                function.usage(),
            )
        if function.validate is not None:
            try:
                function.validate(
                    [a.value if isinstance(a, Constant) else None for a in arguments]
                )
            except EvaluationError as error:
                self.regex_missing |= isinstance(error, regex.EngineMissing)
                return self.fail(node, node.place, error.message, error.hint)
        return Invoke(node, function, arguments, node.place)

    def comprehension(self, node: Comprehension) -> Checked:
        looped = self.check(node.range)
        outer, slot = self.scope, self.slots
        self.slots += 1 if node.second is None else 2
        self.scope = {**outer, node.variable: (Local, slot)}
        if node.second is not None:
            self.scope[node.second] = (Local, slot + 1)
        condition = None if node.condition is None else self.check(node.condition)
        transform = None if node.transform is None else self.check(node.transform)
        self.scope = outer
        parts = looped, condition, transform, node.place
        if node.second is None:
            return Loop(node, node.kind, slot, *parts)
        return PairLoop(node, node.kind, slot, slot + 1, *parts)

    def binding(self, node: Binding) -> Checked:
        outer, bindings = self.scope, []
        self.scope = dict(outer)
        for name, value in node.bindings:
            checked = self.check(value)
            bindings.append((self.slots, checked))
            self.scope[name] = Bound, self.slots
            self.slots += 1
        body = self.check(node.body)
        self.scope = outer
        return Bind(node, bindings, body)
$cel_checker$);

    v_sources := v_sources || jsonb_build_object('codegen', $cel_codegen$"""Checked tree to a Python function: the fast evaluator.

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
$cel_codegen$);

    v_sources := v_sources || jsonb_build_object('columns', $cel_columns$"""Columns of a table as facts: which types they have, and which a rule cannot read.

An environment's document may have, in place of a schema, the columns of one table::

    {"columns": {"delay": "int", "gust": "double", "spot": {"unreadable": "point"}},
     "object": "Flight"}

Without ``object`` the columns are names of their own, ``delay > 10``; with it they are
the fields of that object, ``Flight.delay > 10``. How the types of PostgreSQL become
these is in the SQL function ``rules_internal.columns``; how values travel, and what a
conversion makes of them, in module ``reading``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from . import types
from .checked import Checked, Field, OptionalField, Variable
from .errors import InvalidEnvironment
from .types import DYN, ObjectType, Type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .environment import Environment

# As in a schema: any column may be null.
_SCALARS: Final[dict[str, Type]] = {
    "bool": types.wrapper_of(types.BOOL),
    "bytes": types.wrapper_of(types.BYTES),
    "double": types.wrapper_of(types.DOUBLE),
    "duration": types.DURATION,
    "int": types.wrapper_of(types.INT),
    "string": types.wrapper_of(types.STRING),
    "timestamp": types.TIMESTAMP,
}

# An array may be null as a whole, which no list may be: the checker knows it as dyn.
TYPES: Final[dict[str, Type]] = {
    **_SCALARS,
    "dyn": DYN,
    **{f"list({name})": DYN for name in (*_SCALARS, "dyn")},
}


class Columns(NamedTuple):
    """The columns of a table by name.

    ``declared`` has the types of those that a rule can read, names in :data:`TYPES`;
    ``unreadable`` the types of PostgreSQL of the others. ``object`` is the object whose
    fields they are, or nothing where they are names of their own.
    """

    declared: Mapping[str, str]
    unreadable: Mapping[str, str]
    object: str | None

    def variables(self) -> dict[str, Type]:
        """What an environment declares for them."""
        fields = {name: TYPES[declared] for name, declared in self.declared.items()}
        if self.object is None:
            return fields
        return {self.object: ObjectType(self.object, fields, self.declared)}

    def lacking(self, name: str) -> tuple[str, str]:
        """Message and hint for a column that the table lacks, or has to no avail."""
        found = self.unreadable.get(name)
        if found is None:
            return f"the rule needs a column {name}, which the table lacks", ""
        return (
            f"the column {name} has the type {found}, which rules cannot read",
            "a view or a generated column can have it as text, a number or jsonb",
        )


def read_columns(columns: object, of: object) -> Columns:
    """The columns of an environment's document.

    Raises :class:`InvalidEnvironment` for what is none.
    """
    declared: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    if not isinstance(columns, dict) or not (of is None or isinstance(of, str)):
        raise InvalidEnvironment("columns are a JSON object of names and types")
    for name, kind in columns.items():
        if isinstance(kind, str) and kind in TYPES:
            declared[name] = kind
        elif isinstance(kind, dict) and isinstance(kind.get("unreadable"), str):
            unreadable[name] = kind["unreadable"]
        else:
            raise InvalidEnvironment(
                f"the column {name} has the type {kind!r}, which is none",
                hint=f"the types are {', '.join(TYPES)}",
            )
    return Columns(declared, unreadable, of)


def columns_read(tree: Checked, environment: Environment) -> list[str]:
    """The columns that an evaluation can read, in the order of the table.

    Those that derived fields read are among them.
    """
    columns = environment.columns
    if columns is None:
        return []
    read: set[str] = set()
    seen: set[str] = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, Field | OptionalField) and isinstance(
            node.operand, Variable
        ):
            if node.operand.name == columns.object:
                read.add(node.name)
                continue
        elif isinstance(node, Variable):
            derived = environment.derived.get(node.name)
            if derived is not None and node.name not in seen:
                seen.add(node.name)
                pending.append(derived.tree)
            elif node.name == columns.object:
                # Read as a whole, it has them all.
                read.update(columns.declared)
            elif columns.object is None:
                read.add(node.name)
        pending.extend(node.children())
    return [name for name in columns.declared if name in read]
$cel_columns$);

    v_sources := v_sources || jsonb_build_object('conversions', $cel_conversions$"""Conversions between types: ``int(x)``, ``string(x)`` and the like.

cel-spec, "Type Conversions". What a number or a time looks like as text is owned
by ``numbers`` and ``temporal``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import numbers, temporal
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function
from .operators import no_overload, shown
from .temporal import Duration, Timestamp
from .values import Opaque, Uint, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def _bool(text: str) -> bool:
    try:
        return _BOOLS[text]
    except KeyError:
        raise EvaluationError(f"cannot convert {shown(text)} to bool") from None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8: bytes cannot become a string") from None


def _same(value: Value) -> Value:
    return value


def _conversion(
    name: str, result: str, conversions: Mapping[type, Callable[[Value], Value]]
) -> Function:
    """A conversion function from the conversion of each argument type."""

    def implementation(state: Evaluation, value: Value) -> Value:
        convert = conversions.get(type(value))
        if convert is None:
            if name == "string" and isinstance(value, Opaque):
                return str(value)
            raise no_overload(name, value)
        if type(value) is str or type(value) is bytes:
            state.charge(len(value) // CHARACTERS_PER_UNIT)
        return convert(value)

    signatures = tuple(f"({_NAMES[kind]}) -> {result}" for kind in conversions)
    if name == "string":
        signatures += ("(net.IP) -> string", "(net.CIDR) -> string")
    return Function(name, signatures, implementation)


_NAMES = {
    bool: "bool",
    bytes: "bytes",
    Duration: "duration",
    float: "double",
    int: "int",
    str: "string",
    Timestamp: "timestamp",
    Uint: "uint",
}

FUNCTIONS = (
    _conversion(
        "int",
        "int",
        {
            int: _same,
            Uint: numbers.uint_to_int,
            float: numbers.double_to_int,
            str: numbers.parse_int,
            Timestamp: temporal.timestamp_to_seconds,
        },
    ),
    _conversion(
        "uint",
        "uint",
        {
            Uint: _same,
            int: numbers.int_to_uint,
            float: numbers.double_to_uint,
            str: numbers.parse_uint,
        },
    ),
    _conversion(
        "double",
        "double",
        {float: _same, int: float, Uint: float, str: numbers.parse_double},
    ),
    _conversion(
        "string",
        "string",
        {
            str: _same,
            bool: lambda value: "true" if value else "false",
            int: str,
            Uint: lambda value: str(int(value)),
            float: numbers.format_double,
            bytes: _text,
            Timestamp: temporal.format_timestamp,
            Duration: temporal.format_duration,
        },
    ),
    _conversion("bytes", "bytes", {bytes: _same, str: str.encode}),
    _conversion("bool", "bool", {bool: _same, str: _bool}),
    _conversion(
        "timestamp",
        "timestamp",
        {
            Timestamp: _same,
            str: temporal.parse_timestamp,
            int: temporal.timestamp_from_seconds,
        },
    ),
    _conversion(
        "duration", "duration", {Duration: _same, str: temporal.parse_duration}
    ),
)
$cel_conversions$);

    v_sources := v_sources || jsonb_build_object('derived', $cel_derived$"""Derived fields: what they depend on, in which order, and of which types.

A derived field is a name for an expression over facts and other derived fields. This
module finds the dependencies, refuses cycles and infers types; evaluation is the
program's.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from . import source
from .checked import Checked, Constant, Variable
from .checker import Resolved, resolve
from .environment import DerivedField, Environment
from .errors import FieldProblem, InvalidDerivedFields, InvalidExpression
from .inference import infer
from .lexer import KEYWORDS, RESERVED
from .parser import parse
from .syntax import Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .errors import Problem

MAX_NAME = 100


def order(derived: Mapping[str, str], environment: Environment) -> list[DerivedField]:
    """The derived fields, each behind those that it depends on.

    ``environment`` declares the facts; its own derived fields do not count. Raises
    :class:`InvalidDerivedFields` with every field that cannot be: its name, its
    expression, or a cycle that it is part of.
    """
    ordered, problems = _ordered(derived, environment)
    if problems:
        raise InvalidDerivedFields(problems)
    return ordered


def fitting(
    derived: Mapping[str, str], environment: Environment
) -> tuple[list[DerivedField], dict[str, str]]:
    """Those derived fields that compile over the columns of a table, in order.

    The others are named with the reason; among them are those that depend on one. A
    field with the name of a column is neither: the column supplies it.
    """
    columns = environment.variables or {}
    derived = {name: text for name, text in derived.items() if name not in columns}
    ordered, problems = _ordered(derived, environment)
    unfit = {
        problem.name: problem.problems[0].message
        if problem.problems
        else problem.message
        for problem in problems
    }
    fields = []
    for field in ordered:
        missing = [name for name in field.dependencies if name in unfit]
        if missing:
            reason = f"the derived field {missing[0]} does not: {unfit[missing[0]]}"
            unfit[field.name] = reason
        else:
            fields.append(field)
    return fields, unfit


def _ordered(
    derived: Mapping[str, str], environment: Environment
) -> tuple[list[DerivedField], list[FieldProblem]]:
    """The fields that can be, in order, and what is wrong with the others."""
    problems = [wrong for name in derived if (wrong := _name(name, environment))]
    placeholders = {name: _placeholder(name) for name in derived}
    outline = environment.with_derived(placeholders)
    resolved: dict[str, Resolved] = {}
    for name, expression in derived.items():
        try:
            resolved[name] = _resolve(expression, outline)
        except InvalidExpression as invalid:
            problems.append(_does_not_compile(name, invalid.problems))
    uses = {
        name: [used for used in dependencies(found.tree) if used in derived]
        for name, found in resolved.items()
    }
    sequence, problems_of_cycles = _sequence(uses)
    problems += problems_of_cycles
    known = dict(placeholders)
    ordered = []
    # Of the types of fields that cannot be, nothing is known.
    for name in sequence:
        found = resolved[name]
        mistakes = found.problems + infer(
            found.tree, derived[name], environment.with_derived(known)
        )
        if mistakes:
            mistakes.sort(key=lambda problem: (problem.line, problem.column))
            problems.append(_does_not_compile(name, mistakes))
            continue
        known[name] = DerivedField(
            name, derived[name], found.tree, found.slots, dependencies(found.tree)
        )
        ordered.append(known[name])
    return ordered, problems


def dependencies(tree: Checked) -> tuple[str, ...]:
    """The names that an expression reads, of facts and of derived fields.

    In the order of the text, each once. The names of macro variables are not among
    them, nor those of types.
    """
    names: dict[str, None] = {}
    pending = [tree]
    while pending:
        node = pending.pop()
        if type(node) is Variable and node.fallback is None:
            names[node.name] = None
        pending.extend(reversed(list(node.children())))
    return tuple(names)


def _placeholder(name: str) -> DerivedField:
    """A derived field of which only the name is known; its type is dyn."""
    return DerivedField(name, "", Constant(Literal(0, 0, None), None), 0, ())


def check_name(name: object) -> None:
    """Raise :class:`InvalidDerivedFields` for what no derived field can be named."""
    problem = _name(name, Environment())
    if problem is not None:
        raise InvalidDerivedFields([problem])


def _name(name: object, environment: Environment) -> FieldProblem | None:
    form = "a name is letters, digits and underscores, and no word of CEL: IsAdult"
    if not isinstance(name, str) or not (name.isascii() and name.isidentifier()):
        message = "has a name with characters not allowed"
    elif len(name) > MAX_NAME:
        message = f"has a name longer than {MAX_NAME} characters"
    elif name in RESERVED or name in KEYWORDS:
        message = "has a reserved word of CEL as its name"
    elif name in (environment.variables or {}):
        message, form = "has the name of an object in the schema", "choose another name"
    else:
        return None
    cut = str(name)[:MAX_NAME]
    shown = cut if cut.isidentifier() else json.dumps(cut)
    return FieldProblem(cut, f"the derived field {shown} {message}", form)


def _resolve(expression: object, environment: Environment) -> Resolved:
    if not isinstance(expression, str):
        message = "the expression is no text"
        raise InvalidExpression([source.problem("", 0, message)])
    source.refuse_surrogates(expression)
    try:
        tree = parse(expression, limits=environment.limits)
        return resolve(tree, expression, environment)
    except RecursionError:
        message = "the caller's stack leaves no room for an expression so deep"
        raise InvalidExpression([source.problem(expression, 0, message)]) from None


def _does_not_compile(name: str, problems: list[Problem]) -> FieldProblem:
    first = problems[0]
    return FieldProblem(
        name,
        f"the derived field {name} does not compile: {first.message}",
        first.hint,
        tuple(problems),
    )


def _sequence(
    uses: Mapping[str, list[str]],
) -> tuple[list[str], list[FieldProblem]]:
    """Names behind those that they use, and the cycles that keep some out."""
    users: dict[str, list[str]] = {name: [] for name in uses}
    waiting: dict[str, int] = {}
    for name, used in uses.items():
        # A field that does not compile keeps nothing waiting.
        present = [other for other in used if other in uses]
        waiting[name] = len(present)
        for other in present:
            users[other].append(name)
    ready = deque(name for name, count in waiting.items() if not count)
    sequence = []
    while ready:
        name = ready.popleft()
        sequence.append(name)
        for user in users[name]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    left = {name: uses[name] for name, count in waiting.items() if count}
    return sequence, [_in_cycle(path) for path in _cycles(left)]


def _cycles(uses: Mapping[str, list[str]]) -> Iterable[list[str]]:
    """Cycles among names that all use another of them; no name is in two."""
    seen: set[str] = set()
    for start in uses:
        path: dict[str, None] = {}
        name = start
        while name not in seen:
            seen.add(name)
            path[name] = None
            name = next(used for used in uses[name] if used in uses)
        if name in path:
            names = list(path)
            yield names[names.index(name) :]


def _in_cycle(path: list[str]) -> FieldProblem:
    cycle = (*path, path[0])
    return FieldProblem(
        path[0],
        f"the derived field {path[0]} depends on itself: {' -> '.join(cycle)}",
        "let one of them use facts only",
        cycle=cycle,
    )
$cel_derived$);

    v_sources := v_sources || jsonb_build_object('environment', $cel_environment$"""What an expression is compiled against: names, functions and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .columns import Columns, read_columns
from .errors import InvalidEnvironment
from .library import Library
from .limits import DEFAULT_LIMITS, Limits
from .standard import STANDARD
from .types import Type

if TYPE_CHECKING:
    from .checked import Checked


class DerivedField(NamedTuple):
    """A name for an expression over facts and other derived fields.

    ``tree`` and ``slots`` are the checked expression, ``dependencies`` the names that
    it reads: of facts and of derived fields, in the order of the text.
    """

    name: str
    expression: str
    tree: Checked
    slots: int
    dependencies: tuple[str, ...]

    @property
    def type(self) -> Type:
        """The type that inference found."""
        return self.tree.type


@dataclass(frozen=True, slots=True)
class Environment:
    """The names that an expression may use.

    Without ``variables`` every name may come from the facts and is looked up when
    the expression is evaluated; with them, any other name is a problem at compile
    time. ``container`` is the namespace that names are resolved in. ``derived`` has
    the derived fields, each behind those that it depends on. ``columns`` is set where
    the facts are the rows of a table; ``unfit`` then says why a derived field is not
    among the others.
    """

    variables: Mapping[str, Type] | None = None
    container: str = ""
    functions: Library = field(default_factory=lambda: STANDARD)
    limits: Limits = DEFAULT_LIMITS
    derived: Mapping[str, DerivedField] = field(default_factory=dict)
    columns: Columns | None = None
    unfit: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Environment:
        """The environment of a tenant: a schema and derived fields, both optional.

        ``{"schema": {"User": {"Age": "int"}}, "derived": {"IsAdult": "User.Age >=
        18"}}``. Without a schema, or with null for one, every name may come from the
        facts. Raises :class:`InvalidSchema`, :class:`InvalidDerivedFields` and, for
        JSON of another form, :class:`InvalidEnvironment`.

        ``columns`` and ``object`` stand in place of a schema, see module ``columns``.
        A derived field that does not fit them is no error of the environment but of
        the expressions that use it, and a column of its name supplies it.
        """
        parts = _parts(text)
        if "columns" in parts:
            return _of_table(cls(), parts)
        schema, derived = parts.get("schema"), parts.get("derived")
        environment = cls()
        if schema is not None:
            from .schema import read_schema

            environment = replace(environment, variables=read_schema(schema))
        if derived is not None:
            from .derived import order

            if not isinstance(derived, dict):
                raise InvalidEnvironment(
                    "derived fields are a JSON object of names and expressions"
                )
            fields = order(derived, environment)
            environment = environment.with_derived({f.name: f for f in fields})
        return environment

    def with_derived(self, derived: Mapping[str, DerivedField]) -> Environment:
        """This environment with these derived fields and no others."""
        return replace(self, derived=derived)

    def candidates(self, name: str) -> Iterator[str]:
        """What a name can stand for, innermost namespace first.

        As cel-spec's "Name Resolution": a leading dot means the root namespace.
        """
        if name.startswith("."):
            yield name[1:]
            return
        container = self.container
        while container:
            yield f"{container}.{name}"
            container = container.rpartition(".")[0]
        yield name


def _of_table(empty: Environment, parts: Mapping[str, Any]) -> Environment:
    """An environment of the columns of a table, and what fits of derived fields."""
    from .derived import fitting

    columns = read_columns(parts["columns"], parts.get("object"))
    environment = replace(empty, variables=columns.variables(), columns=columns)
    fields, unfit = fitting(parts.get("derived") or {}, environment)
    return replace(environment, derived={f.name: f for f in fields}, unfit=unfit)


def _parts(text: str) -> dict[str, Any]:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise InvalidEnvironment(f"the environment is no JSON: {problem}") from None
    known = {"schema", "derived"}
    if isinstance(parts, dict) and "columns" in parts:
        known = {"columns", "object", "derived"}
    if not isinstance(parts, dict) or not parts.keys() <= known:
        raise InvalidEnvironment(
            "an environment is a JSON object with the keys schema and derived, "
            "or columns, object and derived",
            hint='for example {"schema": {"User": {"Age": "int"}}}',
        )
    return parts
$cel_environment$);

    v_sources := v_sources || jsonb_build_object('errors', $cel_errors$"""What can go wrong with an expression, its facts or its evaluation.

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
$cel_errors$);

    v_sources := v_sources || jsonb_build_object('estimate', $cel_estimate$"""What an evaluation can cost at most, from the checked tree alone.

The bound holds for facts within the assumed sizes of :class:`~.limits.Limits`; facts
may be larger, then the limit of the evaluation itself ends what costs too much. Sizes
of literals are exact, sizes of what is computed follow from what it is computed from,
and what a loop's body costs is multiplied by the turns. The charges are those of
``interpreter`` and of the libraries: where a function charges otherwise, it must here.

Nested loops over the same list would be refused if each element were assumed as large
as a whole list can be. So a size has two measures of what comparing a value costs: the
*whole*, which no single value exceeds, and the *share*, which is the average over the
turns of the loops around it. Wherever work grows in proportion to a value, the shares
add up to what all turns cost together; wherever it grows faster, the whole counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import source
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
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .evaluation import CHARACTERS_PER_UNIT
from .interpreter import body_cost, straight_cost
from .limits import DEFAULT_LIMITS, Limits
from .types import DYN, ObjectType, Type, unwrapped

if TYPE_CHECKING:
    from .environment import Environment
    from .errors import Problem

MAX_ESTIMATE: Final = (1 << 63) - 1
"""Estimates beyond all limits end here; it is what ``bigint`` can hold."""

# Sizes are bounded, as replacing in what was replaced squares them each time. What is
# so large costs more to make than any limit allows.
_LARGEST: Final = 1 << 62


class Size:
    """What a value can be at most; a number is 0 in all but ``digits``.

    ``text``: characters of a string or bytes. ``count``: elements of a list or map.
    ``whole`` and ``share``: units that comparing all of it costs, at most and on
    average. ``digits``: characters of the longest number that is somewhere in it, and
    of a map's key. ``part``: of its elements; ``key``: of a map's keys where they are
    not facts. An optional is as its value.
    """

    __slots__ = ("count", "digits", "key", "part", "share", "text", "whole")

    def __init__(
        self,
        text: int = 0,
        count: int = 0,
        whole: int = 0,
        share: int = 0,
        digits: int = 0,
        part: Size | None = None,
        key: Size | None = None,
    ) -> None:
        self.text = min(text, _LARGEST)
        self.count = min(count, _LARGEST)
        self.whole = min(whole, _LARGEST)
        self.share = min(share, whole, _LARGEST)
        self.digits = min(digits, _LARGEST)
        self.part = part
        self.key = key

    def sharing(self, share: int) -> Size:
        """The same with another share."""
        size = Size(
            self.text, self.count, self.whole, share, self.digits, self.part, self.key
        )
        if self.part is self:
            size.part = size
        return size

    def within(self, share: int) -> Size:
        """The same with a share that is no larger."""
        return self if share >= self.share else self.sharing(share)

    @property
    def units(self) -> int:
        """What one pass over the characters of a string costs, on average."""
        return min(self.text // CHARACTERS_PER_UNIT, self.share)

    @property
    def characters(self) -> int:
        """The characters of a string, on average."""
        return min(self.text, (self.share + 1) * CHARACTERS_PER_UNIT)

    def written(self, units: int) -> int:
        """Characters of it in a text, where comparing it costs so many units.

        With each unit come ten characters at most, a number, a separator and quotes.
        """
        if not self.count:
            return min(self.text, (units + 1) * CHARACTERS_PER_UNIT) + self.digits
        return (units + 1) * (max(self.digits, CHARACTERS_PER_UNIT) + 14)

    @property
    def elements(self) -> int:
        """The elements of a list or map, on average."""
        return min(self.count, self.share)


# What %s writes of the smallest and the greatest double, which string() does not.
_DIGITS: Final = 340
# Numbers of the facts: those of 64 bits, and doubles that people write.
_FACT_DIGITS: Final = 25
_NUMBER: Final = Size(digits=_DIGITS)
# The longest text of any other value that has no size: an address, a type's name.
_NAMED: Final = Size(digits=64)
_FIXED: Final = frozenset({_NUMBER, _NAMED})

_SCALARS: Final = {
    "bool": _NAMED,
    "double": _NUMBER,
    "google.protobuf.Duration": _NAMED,
    "google.protobuf.Timestamp": _NAMED,
    "int": _NAMED,
    "net.CIDR": _NAMED,
    "net.IP": _NAMED,
    "null_type": _NAMED,
    "type": _NAMED,
    "uint": _NAMED,
}


def _text(characters: int, share: int | None = None) -> Size:
    units = characters // CHARACTERS_PER_UNIT
    return Size(characters, 0, units, units if share is None else share)


def _list(part: Size, count: int) -> Size:
    """A list of elements of a size."""
    return Size(
        0,
        count,
        count * (1 + part.whole),
        count * (1 + part.share),
        part.digits,
        _kept(part),
    )


def _keyed(made: Size, key: Size | None) -> Size:
    """A map of these values, with keys that are no facts' and not in its weight."""
    if key is not None:
        made.key = key
        made.digits += key.text + key.digits
    return made


def _kept(part: Size) -> Size:
    """An element that outlives its loop: read later, it may be the largest of all."""
    return part if part.share == part.whole else part.sharing(part.whole)


def _either(one: Size, other: Size, *, kept: bool = False) -> Size:
    """A value that is one or the other; an element that is ``kept``."""
    if one is other:
        return _kept(one) if kept else one
    whole = max(one.whole, other.whole)
    joined = Size(
        max(one.text, other.text),
        max(one.count, other.count),
        whole,
        # Each may be the one that is large in the turns in which it is taken.
        whole if kept else one.share + other.share,
        max(one.digits, other.digits),
    )
    if one.part is None or other.part is None:
        joined.part = one.part or other.part
    elif one.part is one and other.part is other:
        joined.part = joined
    else:
        joined.part = _either(one.part, other.part, kept=True)
    if one.key is None or other.key is None:
        joined.key = one.key or other.key
    else:
        joined.key = _either(one.key, other.key, kept=True)
    return joined


class _Assumed(NamedTuple):
    """What facts are taken for."""

    fact: Size
    text: Size
    elements: int


@cache
def _assumed(limits: Limits) -> _Assumed:
    whole = limits.assumed_weight
    fact = Size(
        limits.assumed_characters,
        limits.assumed_elements,
        whole,
        whole,
        _FACT_DIGITS,
    )
    fact.part = fact
    return _Assumed(fact, _text(limits.assumed_characters), limits.assumed_elements)


# Hashing limits takes as long as estimating a small rule.
_DEFAULT: Final = _assumed(DEFAULT_LIMITS)


class Estimate(NamedTuple):
    """The cost of an evaluation at most, and the part that most of it comes from."""

    cost: int
    part: Checked
    turns: int


def estimate(tree: Checked, environment: Environment) -> Estimate:
    """What an evaluation can cost at most, over facts of the assumed sizes.

    The tree is one that inference has seen.
    """
    estimator = _Estimator(environment)
    estimator.visit(tree)
    cost = straight_cost(tree) + estimator.cost
    part, turns = estimator.grown or estimator.largest or (tree, 1)
    return Estimate(min(cost, MAX_ESTIMATE), part, turns)


def too_costly(found: Estimate, text: str, limits: Limits) -> Problem | None:
    """The problem of an expression that can cost more than the limit allows."""
    if found.cost <= limits.cost:
        return None
    part = found.part
    if isinstance(part, Loop | PairLoop):
        place, what = part.place, f"{part.kind} makes it grow"
    elif isinstance(part, Invoke):
        place, what = part.place, "this makes it grow"
    else:
        place, what = part.origin.start, "this makes it grow"
    if found.turns > 1:
        what += f", as it runs up to {found.turns:,} times"
    cost = f"{found.cost:,}" if found.cost < MAX_ESTIMATE else "far more"
    return source.problem(
        text,
        place,
        f"an evaluation can cost {cost} units, of {limits.cost:,} allowed: {what}",
        "nest fewer loops, or take the inner one over less; lists and maps of the "
        f"facts are taken for {limits.assumed_elements:,} elements, strings for "
        f"{limits.assumed_characters:,} characters",
    )


class _Estimator:
    """The cost so far beyond that of the nodes, and what it comes from.

    ``times`` is how often the part that is looked at is evaluated. ``grown`` is the
    innermost part that costs more than the limit by itself, ``largest`` the part that
    costs most; each with how often it is evaluated.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.limit = environment.limits.cost
        limits = environment.limits
        self.assumed = _DEFAULT if limits is DEFAULT_LIMITS else _assumed(limits)
        self.locals: dict[int, Size] = {}
        self.derived: dict[str, Size] = {}
        # What size() gives at most, by the identity of the call.
        self.measured: dict[int, int] = {}
        self.cost = 0
        self.times = 1
        self.grown: tuple[Checked, int] | None = None
        self.largest: tuple[Checked, int] | None = None
        self.most = 0

    def visit(self, node: Checked) -> Size:
        size = _VISITORS[type(node)](self, node)
        return _SCALARS.get(node.type.name) or size

    def charge(self, node: Checked, units: int) -> None:
        self.cost += units
        total = units * self.times
        if total > self.most:
            self.most = total
            self.largest = node, self.times
            # Else it is the loops around that make it grow.
            if total > self.limit and self.grown is None and units >= self.times:
                self.grown = node, self.times

    # Names

    def constant(self, node: Constant) -> Size:
        value = node.value
        if type(value) is str or type(value) is bytes:
            return _text(len(value))
        return _NAMED

    def variable(self, node: Variable) -> Size:
        of = node.conversion
        if isinstance(of, str):
            self.convert(node, of)
        elif of is not None:
            texts = sum(declared in _READ for declared in of.declared.values())
            self.charge(node, len(of.declared) + texts * self.assumed.text.whole)
        if node.name in self.environment.derived:
            return self.derived_field(node.name)
        return self.of_type(node.type)

    def of_type(self, of: Type) -> Size:
        """A fact of a type, which may be declared."""
        if of is DYN:
            return self.assumed.fact
        of = unwrapped(of)
        if of.name in ("string", "bytes"):
            return self.assumed.text
        return _SCALARS.get(of.name) or self.assumed.fact

    def convert(self, node: Checked, declared: str) -> None:
        """Reading a declared fact: text is read through, and a list's elements."""
        if declared in _READ:
            self.charge(node, self.assumed.text.whole)
        elif declared.startswith("list("):
            self.charge(node, self.assumed.fact.whole)

    def derived_field(self, name: str) -> Size:
        """A derived field, which the facts may supply. Its cost is not the rule's."""
        # Without recursion: a chain of derived fields may be long.
        derived, known = self.environment.derived, self.derived
        pending = [name]
        while pending:
            if pending[-1] in known:
                pending.pop()
                continue
            field = derived[pending[-1]]
            first = [n for n in field.dependencies if n in derived and n not in known]
            if first:
                pending += first
                continue
            inner = _Estimator(self.environment)
            inner.derived = known
            computed = inner.visit(field.tree)
            known[pending.pop()] = _either(computed, self.of_type(field.type))
        return known[name]

    def local(self, node: Local | Bound) -> Size:
        return self.locals[node.slot]

    def bind(self, node: Bind) -> Size:
        for slot, value in node.bindings:
            self.locals[slot] = self.visit(value)
        return self.visit(node.body)

    # Parts

    def inside(self, container: Size) -> Size:
        """An element, or a map's value."""
        part = container.part
        return _NAMED if part is None else part.within(container.share)

    def field(self, node: Field | OptionalField) -> Size:
        operand = node.operand
        if (
            type(operand) is Variable
            and operand.type is DYN
            and operand.name not in self.environment.derived
        ):
            # By far the most fields.
            return self.assumed.fact
        container = self.visit(operand)
        if node.conversion is not None:
            self.convert(node, node.conversion)
        if type(node.operand.type) is ObjectType:
            return self.of_type(node.type)
        return self.inside(container)

    # Operators with a node of their own

    def chain(self, node: Chain) -> Size:
        for operand in node.operands:
            self.visit(operand)
        return _NAMED

    def choice(self, node: Choice) -> Size:
        self.visit(node.condition)
        start = self.cost
        then = self.visit(node.then)
        middle = self.cost
        otherwise = self.visit(node.otherwise)
        if self.times == 1:
            # In a loop the turns may take either.
            self.cost = max(middle, start + self.cost - middle)
        return _either(then, otherwise)

    def make_list(self, node: MakeList | MakeOptionalList) -> Size:
        return _collected([self.visit(element) for element in node.elements])

    def make_map(self, node: MakeMap | MakeOptionalMap) -> Size:
        keys, values = [], []
        for key, value in node.entries:
            keys.append(self.visit(key))
            values.append(self.visit(value))
        made = _collected(values)
        return _keyed(made, _collected(keys).part)

    # Loops

    def loop(self, node: Loop) -> Size:
        container = self.visit(node.range)
        if node.kind in ("optMap", "optFlatMap"):
            self.locals[node.slot] = container
            return self.turns(node, 1)
        element = self.element(container)
        if container.key is not None:
            element = _either(element, container.key)
        self.locals[node.slot] = element
        made = self.turns(node, container.count)
        if node.kind == "filter":
            if container.key is not None:
                return _list(element, container.count)
            return container
        if node.kind == "sortBy":
            # Their characters are added up before they are counted by tens.
            keys = container.count * (made.units + 1)
            self.charge(node, _sorting(container.count, keys))
            return container
        return self.collected(made, container.count)

    def collected(self, made: Size, count: int) -> Size:
        """The list of what the turns of a loop make."""
        result = _list(made, count)
        if self.times == 1:
            # There is one such list: what all turns make together is all of it.
            result.whole = result.share
        return result

    def pair_loop(self, node: PairLoop) -> Size:
        container = self.visit(node.range)
        element = self.element(container)
        key = container.key
        if key is None:
            key = self.assumed.text.within(element.share)
        self.locals[node.slot] = key
        self.locals[node.second_slot] = element
        made = self.turns(node, container.count)
        count = container.count
        if node.kind == "transformMapEntry":
            self.charge(node, count * made.elements)
            count *= made.count
            key, made = made.key or self.assumed.text, self.inside(made)
        result = self.collected(made, count)
        if node.kind != "transformList":
            return _keyed(result, _kept(key))
        return result

    def element(self, container: Size) -> Size:
        """A loop's variable; over all turns, elements are no more than the whole."""
        part = container.part
        if part is None:
            return _NAMED
        turns = max(container.count, 1)
        return part.within(-(-container.share // turns))

    def turns(self, node: Loop | PairLoop, count: int) -> Size:
        """The size of what a loop makes in a turn, and the cost of all turns."""
        before, times = self.cost, self.times
        self.cost, self.times = 0, min(times * max(count, 1), MAX_ESTIMATE)
        made = _NAMED
        if node.condition is not None:
            self.visit(node.condition)
        if node.transform is not None:
            made = self.visit(node.transform)
        inner = self.cost
        self.cost, self.times = before, times
        units = min(count * (body_cost(node) + inner), MAX_ESTIMATE)
        if units * times > self.limit and self.grown is None:
            self.grown = node, min(times * count, MAX_ESTIMATE)
        self.charge(node, units)
        return made

    # Calls

    def invoke(self, node: Invoke) -> Size:
        sizes = [self.visit(argument) for argument in node.arguments]
        rule = _FUNCTIONS.get(node.function.name)
        if rule is None:
            # A function of a library that is not ours may look at everything.
            self.charge(node, sum(size.whole + size.text for size in sizes))
            return self.assumed.fact
        return rule(self, node, sizes)


_READ: Final = frozenset({"bytes", "double", "timestamp", "duration"})
"""Declared types whose facts are text that is read, which is charged."""


def _collected(sizes: list[Size]) -> Size:
    """A list of elements that are known one by one."""
    if not sizes:
        return Size()
    part = sizes[0]
    for size in sizes:
        part = _either(part, size, kept=True)
    return Size(
        0,
        len(sizes),
        len(sizes) + sum(size.whole for size in sizes),
        len(sizes) + sum(size.share for size in sizes),
        part.digits,
        _kept(part),
    )


# Functions: what they charge, and the size of what they give.

_Rule = Callable[[_Estimator, Invoke, list[Size]], Size]


def _nothing(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that charges nothing and gives a number, a bool or a time."""
    return _NUMBER


def _reading(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that reads its first argument once."""
    found.charge(node, sizes[0].units)
    return _NUMBER


def _second(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that reads its second argument once, which may be text."""
    found.charge(node, sizes[1].units)
    return _NAMED


def _same(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    return sizes[0]


def _same_text(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that gives a string no longer than the one that it reads."""
    found.charge(node, sizes[0].units)
    return _text(sizes[0].text, sizes[0].units)


def _equality(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, min(sizes[0].share, sizes[1].share))
    return _NAMED


def _order(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, min(sizes[0].units, sizes[1].units))
    return _NAMED


def _addition(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    one, other = sizes
    if one in _FIXED or other in _FIXED:
        # Numbers and times: they are added to nothing that has a size.
        return _NUMBER
    units = one.share + other.share + 1
    text = one.text + other.text
    count = one.count + other.count
    found.charge(node, min(units, max(text // CHARACTERS_PER_UNIT, count)))
    joined = _either(one, other)
    return Size(
        text,
        count,
        one.whole + other.whole + 1,
        units,
        joined.digits,
        None if joined.part is None else _kept(joined.part),
    )


def _element(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """An index, or the first or the last."""
    return found.inside(sizes[0])


def _membership(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    element, container = sizes
    compared = min(container.count * element.share, container.share)
    if node.arguments[0].type.name == "string":
        compared = 0
    found.charge(node, container.count + compared)
    return _NAMED


def _matches(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, _search(sizes))
    return _NAMED


def _search(sizes: list[Size]) -> int:
    text, pattern = sizes[:2]
    return (1 + text.units) * (1 + pattern.text // 4)


def _to_string(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (value,) = sizes
    found.charge(node, value.units)
    return _text(max(value.text, _NAMED.digits), value.units + 7)


def _to_bytes(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].units)
    return _text(4 * sizes[0].text, 4 * sizes[0].units + 4)


# Strings


def _char(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    return _text(1)


def _quoted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].units)
    return _text(2 * sizes[0].text + 4, 2 * sizes[0].units + 3)


def _replaced(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    text, _, new = sizes[:3]
    # The empty string is found at each character and at the end.
    added = (text.characters + 1) * new.text // CHARACTERS_PER_UNIT
    found.charge(node, text.units + added)
    return _text(text.text + (text.text + 1) * new.text, text.units + added + 1)


def _split(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    text = sizes[0]
    found.charge(node, text.units + text.characters + 1)
    parts = text.text + 1
    part = _text(text.text)
    return Size(
        0,
        parts,
        parts + part.whole,
        text.characters + 1 + text.units,
        0,
        part,
    )


def _joined(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    parts = sizes[0]
    between = sizes[1].text if len(sizes) > 1 else 0
    each = _NAMED if parts.part is None else parts.part
    # What is left of each element when its characters are counted by tens.
    tens = CHARACTERS_PER_UNIT
    text = min(parts.count * each.text, tens * (parts.whole + parts.count))
    count = parts.elements
    share = min(count * each.units, parts.share) + count + count * between // tens + 1
    found.charge(node, count + share)
    return _text(text + parts.count * between, share)


def _formatted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    template, arguments = sizes
    constant = node.arguments[0]
    letters = "%s%.x"
    if isinstance(constant, Constant) and type(constant.value) is str:
        letters = constant.value
    if not arguments.count:
        found.charge(node, template.units)
        return _text(template.text, template.units)
    # Each clause takes an argument.
    count = min(arguments.count, template.text // 2)
    part = found.inside(arguments)
    share = part.share
    if isinstance(node.arguments[1], MakeList):
        # All arguments together, which are known one by one.
        share = -(-arguments.share // arguments.count)
    longest = _clause(letters, part, part.whole)
    average = min(longest, _clause(letters, part, share)) // CHARACTERS_PER_UNIT + 1
    # Elements and characters of an argument, and the text that it becomes.
    found.charge(node, template.units + count * (10 * share + 2 * average))
    return _text(template.text + count * longest, template.units + count * average + 1)


def _clause(letters: str, value: Size, units: int) -> int:
    """The characters that a value becomes in a template."""
    text = min(value.text, (units + 1) * CHARACTERS_PER_UNIT)
    # In hexadecimal a code point has eight digits at most.
    text *= 8 if "x" in letters or "X" in letters else 1
    if "%s" in letters:
        text += value.written(units)
    # 64 bits have 64 digits.
    digits = 66
    if "%." in letters:
        digits = 1_400
    elif "%f" in letters:
        digits = _DIGITS
    return text + max(digits, value.digits)


# Lists


def _slice(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].elements)
    return sizes[0]


def _reversed(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (value,) = sizes
    found.charge(node, max(value.units, value.elements))
    return value


def _flattened(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    elements = sizes[0]
    passes = 1
    if len(sizes) > 1:
        depth = node.arguments[1]
        value = depth.value if isinstance(depth, Constant) else _DEEPEST
        passes = min(value, _DEEPEST) if type(value) is int else 1
    # A pass charges for the list before and after; both have no more elements than
    # there are in all levels.
    found.charge(node, passes * 2 * elements.share)
    part, result = elements.part, elements.part
    for _ in range(max(passes, 0)):
        if part is None or part.part is None or part.part is part or result is None:
            break
        part = part.part
        result = _either(result, part, kept=True)
    return Size(
        0,
        elements.whole,
        elements.whole,
        elements.share,
        elements.digits,
        result,
    )


_DEEPEST: Final = 100


def _range(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (number,) = node.arguments
    count = found.assumed.elements
    if isinstance(number, Constant):
        count = max(number.value, 0) if type(number.value) is int else 0
    elif isinstance(number, Invoke) and number.function.name == "size":
        count = max(found.measured.get(id(number), 0), 0)
    found.charge(node, count)
    return _list(_NAMED, count)


def _size(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.measured[id(node)] = max(sizes[0].text, sizes[0].count)
    return _NAMED


def _sorted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (elements,) = sizes
    found.charge(node, _sorting(elements.count, elements.share))
    return elements


def _sorting(count: int, characters: int) -> int:
    """The cost of sorting so many by keys that cost so much to compare once each."""
    return count * count.bit_length() + characters


def _distinct(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (elements,) = sizes
    units = elements.count
    if not _is_hashed(node.arguments[0]):
        units += elements.count * (elements.count + elements.share)
    found.charge(node, units)
    return elements


def _is_hashed(node: Checked) -> bool:
    """Whether the elements of a list surely are in Python's sets as in CEL's."""
    of = node.type
    return (
        of.name == "list" and bool(of.parameters) and (of.parameters[0].name in _HASHED)
    )


_HASHED: Final = frozenset(
    (
        *("bytes", "google.protobuf.Duration", "google.protobuf.Timestamp"),
        *("int", "string", "uint"),
    )
)


def _sets(times: int) -> _Rule:
    def rule(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
        one, other = sizes
        units = one.count + other.count
        if not all(map(_is_hashed, node.arguments)):
            units += one.count * other.count
            units += min(other.count * one.share, one.count * other.share)
        found.charge(node, times * units)
        return _NAMED

    return rule


def _extreme(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    if len(sizes) == 1:
        found.charge(node, sizes[0].elements)
    return _NUMBER


# Optionals


def _alternative(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    return _either(*sizes)


def _unwrapped(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].elements)
    return sizes[0]


# Regular expressions


def _extracted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, _search(sizes))
    return _text(sizes[0].text)


def _all_extracted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, _search(sizes) + _every_match(sizes))
    text = sizes[0].text
    return _list(_text(text), text + 1)


def _every_match(sizes: list[Size]) -> int:
    """Matches are one more than characters, each looks at what is behind it."""
    text = sizes[0].text
    return (text + 1) * (1 + text // 100)


def _replaced_matches(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    text, _, new = sizes[:3]
    matches = text.text + 1
    # Groups of two characters each, each as long as its match, which do not overlap.
    made = matches * new.text + (new.text // 2) * text.text
    # Two parts take three characters at least: a text of one, and a group.
    parts = matches * (2 * new.text // 3 + 1)
    found.charge(
        node,
        _search(sizes) + _every_match(sizes) + parts + made // CHARACTERS_PER_UNIT,
    )
    return _text(text.text + made)


def _rules() -> dict[str, _Rule]:
    groups: tuple[tuple[_Rule, str], ...] = (
        (_equality, "_==_ _!=_"),
        (_order, "_<_ _<=_ _>_ _>=_"),
        (_addition, "_+_"),
        (_nothing, "_-_ _*_ _/_ _%_ -_ !_ type hasValue optional.none"),
        (_nothing, "getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear"),
        (_nothing, "getHours getMilliseconds getMinutes getMonth getSeconds"),
        (_nothing, "math.abs math.bitAnd math.bitNot math.bitOr math.bitShiftLeft"),
        (_nothing, "math.bitShiftRight math.bitXor math.ceil math.floor math.round"),
        (_nothing, "math.isFinite math.isInf math.isNaN math.sign math.sqrt"),
        (_nothing, "math.trunc family isGlobalUnicast isLinkLocalMulticast"),
        (_nothing, "isLinkLocalUnicast isLoopback isUnspecified masked prefixLength"),
        (_element, "_[_] _[?_] first last"),
        (_membership, "@in"),
        (_size, "size"),
        (_same, "dyn optional.of optional.ofNonZeroValue value"),
        (_reading, "contains indexOf lastIndexOf"),
        (_second, "startsWith endsWith"),
        (_reading, "int uint double bool timestamp duration"),
        (_second, "containsIP containsCIDR"),
        (_reading, "ip cidr isIP isCIDR ip.isCanonical"),
        (_matches, "matches"),
        (_to_string, "string"),
        (_to_bytes, "bytes"),
        (_char, "charAt"),
        (_same_text, "substring lowerAscii upperAscii trim base64.decode"),
        (_quoted, "strings.quote base64.encode"),
        (_replaced, "replace"),
        (_split, "split"),
        (_joined, "join"),
        (_formatted, "format"),
        (_slice, "slice"),
        (_reversed, "reverse"),
        (_flattened, "flatten"),
        (_range, "lists.range"),
        (_sorted, "sort"),
        (_distinct, "distinct"),
        (_sets(1), "sets.contains sets.intersects"),
        (_sets(2), "sets.equivalent"),
        (_extreme, "math.greatest math.least"),
        (_alternative, "or orValue"),
        (_unwrapped, "optional.unwrap unwrapOpt"),
        (_extracted, "regex.extract"),
        (_all_extracted, "regex.extractAll"),
        (_replaced_matches, "regex.replace"),
    )
    return {name: rule for rule, names in groups for name in names.split()}


_FUNCTIONS: Final = _rules()

_VISITORS: Final[dict[type, Callable[[_Estimator, Any], Size]]] = {
    Bind: _Estimator.bind,
    Bound: _Estimator.local,
    Chain: _Estimator.chain,
    Choice: _Estimator.choice,
    Constant: _Estimator.constant,
    Field: _Estimator.field,
    Invoke: _Estimator.invoke,
    Local: _Estimator.local,
    Loop: _Estimator.loop,
    MakeList: _Estimator.make_list,
    MakeMap: _Estimator.make_map,
    MakeOptionalList: _Estimator.make_list,
    MakeOptionalMap: _Estimator.make_map,
    OptionalField: _Estimator.field,
    PairLoop: _Estimator.pair_loop,
    Variable: _Estimator.variable,
}
$cel_estimate$);

    v_sources := v_sources || jsonb_build_object('evaluation', $cel_evaluation$"""The state of one evaluation: variables, cost so far, when to look up from work.

Cost is charged where work can grow: once for the program's straight-line nodes
before it starts, once for a macro's body before each turn of its loop, and by
operations over strings, lists and maps before they build or compare anything.
Every few thousand units the surrounding server is asked whether to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import CostLimitExceeded, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .values import Value

# Cost units between two looks at the interrupt flag: about a millisecond.
_STRIDE = 4096

# Code points or bytes that cost as much as one step.
CHARACTERS_PER_UNIT = 10


class Evaluation:
    """What closures share while they compute one result."""

    __slots__ = ("_checkpoint", "cost", "interrupted", "limit", "locals", "trace",
                 "variables")  # fmt: skip

    def __init__(
        self,
        variables: Mapping[str, Value],
        limit: int,
        interrupted: Callable[[], bool] | None = None,
    ) -> None:
        self.variables = variables
        self.locals: list[Value] = []
        self.limit = limit
        self.cost = 0
        self.interrupted = interrupted
        self.trace: dict[int, Any] | None = None
        self._checkpoint = min(_STRIDE, limit)

    def charge(self, units: int) -> None:
        """Add to the cost.

        Raises :class:`CostLimitExceeded` beyond the limit and
        :class:`Interrupted` when the server asked to stop.
        """
        self.cost += units
        if self.cost > self._checkpoint:
            self._pause()

    def _pause(self) -> None:
        if self.interrupted is not None and self.interrupted():
            raise Interrupted
        if self.cost > self.limit:
            raise CostLimitExceeded(
                f"evaluation costs more than {self.limit:,} units",
                hint="loop over fewer elements, or compare shorter values",
            )
        self._checkpoint = min(self.cost + _STRIDE, self.limit)
$cel_evaluation$);

    v_sources := v_sources || jsonb_build_object('ext_encoders', $cel_ext_encoders$"""Base64, as cel-go's library ``encoders``, version 1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .errors import EvaluationError
from .library import Function, library
from .operators import no_overload, shown

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .values import Value

from .evaluation import CHARACTERS_PER_UNIT

# Padding may be left out, line ends are passed over; as Go's decoder.
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}|[A-Za-z0-9+/]{2}==|"
                     r"[A-Za-z0-9+/]{3}=)?")  # fmt: skip


def _decode(state: Evaluation, text: Value) -> bytes:
    from base64 import b64decode

    if type(text) is not str:
        raise no_overload("base64.decode", text)
    state.charge(len(text) // CHARACTERS_PER_UNIT)
    if "\n" in text or "\r" in text:
        text = text.replace("\r", "").replace("\n", "")
    if _BASE64.fullmatch(text) is None:
        raise EvaluationError(f"not base64: {shown(text)}")
    return b64decode(text + "=" * (-len(text) % 4))


def _encode(state: Evaluation, value: Value) -> str:
    from base64 import b64encode

    if type(value) is not bytes:
        raise no_overload("base64.encode", value)
    state.charge(len(value) // CHARACTERS_PER_UNIT)
    return b64encode(value).decode("ascii")


LIBRARY = library(
    (
        Function("base64.decode", ("(string) -> bytes",), _decode),
        Function("base64.encode", ("(bytes) -> string",), _encode),
    )
)
$cel_ext_encoders$);

    v_sources := v_sources || jsonb_build_object('ext_format', $cel_ext_format$"""``string.format``: printf for CEL values, as cel-go's ``strings`` from version 4.

The clauses are ``%s``, ``%d``, ``%f``, ``%e``, ``%b``, ``%o``, ``%x`` and ``%X``; a
precision may stand in them, ``%.3f``, and matters for ``%f`` and ``%e``. ``%%`` is a
percent sign.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite, isnan
from typing import TYPE_CHECKING, Final

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload
from .temporal import Duration, Timestamp, format_duration, format_timestamp
from .types import Type
from .values import NUMERIC, Uint, Value, decode_key, type_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PRECISION: Final = 1000
_DEFAULT_PRECISION = 6

_CLAUSE = re.compile(r"%(?:(%)|(?:\.([0-9]*))?(.?))", re.DOTALL)


def _format(state: Evaluation, template: Value, arguments: Value) -> str:
    """The template with its clauses replaced by the arguments, in order."""
    if type(template) is not str or type(arguments) is not list:
        raise no_overload("format", template, arguments)
    state.charge(len(template) // CHARACTERS_PER_UNIT)
    pieces: list[str] = []
    position = used = 0
    for found in _CLAUSE.finditer(template):
        pieces.append(template[position : found.start()])
        position = found.end()
        if found[1]:
            pieces.append("%")
            continue
        if used >= len(arguments):
            raise EvaluationError(f"format: index {used} out of range")
        precision, clause = _clause(found)
        text = clause(state, arguments[used], precision)
        state.charge(len(text) // CHARACTERS_PER_UNIT)
        pieces.append(text)
        used += 1
    pieces.append(template[position:])
    return "".join(pieces)


def _validate(arguments: Sequence[Value | None]) -> None:
    """Refuse a constant template with a clause that there is not."""
    template = arguments[0]
    if type(template) is str:
        for found in _CLAUSE.finditer(template):
            if not found[1]:
                _clause(found)


# Takes the argument and the precision.
_Clause = Callable[[Evaluation, Value, int], str]


def _clause(found: re.Match[str]) -> tuple[int, _Clause]:
    digits, letter = found[2], found[3]
    if not letter:
        raise EvaluationError(
            "could not parse formatting clause: unexpected end of string",
            hint="a percent sign is written %%",
        )
    precision = _DEFAULT_PRECISION
    if digits is not None:
        # No precision of more digits is valid; int() need not look at them.
        if not digits or len(digits) > 9 or int(digits) > MAX_PRECISION:
            raise EvaluationError(
                f"could not parse formatting clause: invalid precision {digits[:20]!r}",
                hint=f"a precision is a number from 0 to {MAX_PRECISION}, as in %.2f",
            )
        precision = int(digits)
    clause = _CLAUSES.get(letter)
    if clause is None:
        raise EvaluationError(
            "could not parse formatting clause: unrecognized formatting clause "
            f'"{letter}"',
            hint="the clauses are %s %d %f %e %b %o %x %X; a percent sign is %%",
        )
    return precision, clause


def _cannot(clause: str, kinds: str, value: Value) -> EvaluationError:
    return EvaluationError(
        f"error during formatting: {clause} clause can only be used on {kinds}, "
        f"was given {type_of(value)}"
    )


# %s


def _string(state: Evaluation, value: Value, precision: int) -> str:
    pieces: list[str] = []
    _write(state, value, pieces)
    return "".join(pieces)


def _write(state: Evaluation, value: Value, pieces: list[str]) -> None:
    kind = type(value)
    if kind is list:
        # Two for the separator, one for the element.
        state.charge(len(value))
        separator = "["
        for element in value:
            pieces.append(separator)
            _write(state, element, pieces)
            separator = ", "
        pieces.append("]" if value else "[]")
    elif kind is dict:
        state.charge(2 * len(value))
        entries = [(_scalar(decode_key(key)), part) for key, part in value.items()]
        entries.sort(key=lambda entry: entry[0])
        separator = "{"
        for key, part in entries:
            pieces.append(f"{separator}{key}: ")
            _write(state, part, pieces)
            separator = ", "
        pieces.append("}" if value else "{}")
    else:
        text = _scalar(value)
        state.charge(len(text) // CHARACTERS_PER_UNIT)
        pieces.append(text)


def _scalar(value: Value) -> str:
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return _shortest(value)
    if kind is Timestamp:
        return format_timestamp(value)
    if kind is Duration:
        return format_duration(value)
    if kind is Type:
        return str(value)
    if kind is bytes:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise EvaluationError(
                "error during formatting: bytes are no UTF-8",
                hint="format them with %x",
            ) from None
    raise _cannot(
        "string",
        "strings, bools, bytes, numbers, maps, lists, types, durations and timestamps",
        value,
    )


def _special(value: float) -> str:
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _shortest(value: float) -> str:
    """The shortest digits that read back, never with an exponent: ``1``, ``0.1``."""
    if not isfinite(value):
        return _special(value)
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, shift = whole + fraction, int(exponent)
    if shift < 0:
        return f"{sign}0.{'0' * (-shift - 1)}{digits}"
    return sign + digits.ljust(shift + 1, "0")


# %d %f %e


def _decimal(state: Evaluation, value: Value, precision: int) -> str:
    kind = type(value)
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return _shortest(value)
    raise _cannot("decimal", "ints, uints and doubles", value)


def _floating(name: str, letter: str) -> _Clause:
    def clause(state: Evaluation, value: Value, precision: int) -> str:
        if type(value) not in NUMERIC:
            raise _cannot(name, "ints, uints and doubles", value)
        number = float(value)
        if not isfinite(number):
            return _special(number)
        return f"{number:.{precision}{letter}}"

    return clause


# %b %o %x %X


def _binary(state: Evaluation, value: Value, precision: int) -> str:
    if type(value) in (int, Uint, bool):
        return f"{int(value):b}"
    raise _cannot("binary", "ints, uints and bools", value)


def _octal(state: Evaluation, value: Value, precision: int) -> str:
    if type(value) in (int, Uint):
        return f"{int(value):o}"
    raise _cannot("octal", "ints and uints", value)


def _hexadecimal(state: Evaluation, value: Value, precision: int) -> str:
    kind = type(value)
    if kind is int or kind is Uint:
        return f"{int(value):x}"
    if kind is str or kind is bytes:
        state.charge(len(value) // CHARACTERS_PER_UNIT)
        octets: bytes = value.encode() if kind is str else value
        return octets.hex()
    raise _cannot("hexadecimal", "ints, uints, strings and bytes", value)


def _upper_hexadecimal(state: Evaluation, value: Value, precision: int) -> str:
    return _hexadecimal(state, value, precision).upper()


_CLAUSES: dict[str, _Clause] = {
    "s": _string,
    "d": _decimal,
    "f": _floating("fixed-point", "f"),
    "e": _floating("scientific", "e"),
    "b": _binary,
    "o": _octal,
    "x": _hexadecimal,
    "X": _upper_hexadecimal,
}

LIBRARY = library(
    (Function("format", ("string.(list(dyn)) -> string",), _format, _validate),)
)
$cel_ext_format$);

    v_sources := v_sources || jsonb_build_object('ext_interpreter', $cel_ext_interpreter$"""Closures of the nodes that extensions bring: optionals, two variables, bound values.

A part of ``interpreter`` that is loaded when an expression has such a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .checked import (
    Bind,
    Bound,
    Checked,
    Loop,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
)
from .errors import CostLimitExceeded, EvaluationError
from .interpreter import (
    Closure,
    Interpreter,
    Turns,
    at,
    body_cost,
    dotted,
    exists_one,
    field_of_optional,
    insert,
    no_fields,
    no_loop,
    quantifier,
    selected,
)
from .values import ABSENT, Optional, Value, decode_key, encode_key, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .evaluation import Evaluation


def build(interpreter: Interpreter, node: Checked) -> Closure:
    """The closure of one of the nodes above."""
    match node:
        case OptionalField():
            return _optional_field(node, interpreter.build(node.operand))
        case MakeOptionalList():
            elements = [
                (interpreter.build(element), element.origin.start)
                for element in node.elements
            ]
            return _make_optional_list(elements, node.optionals)
        case MakeOptionalMap():
            entries = [
                (
                    interpreter.build(key),
                    interpreter.build(value),
                    key.origin.start,
                    value.origin.start,
                )
                for key, value in node.entries
            ]
            return _make_optional_map(entries, node.optionals)
        case Loop():
            return _loop(interpreter, node)
        case PairLoop():
            return _pair_loop(interpreter, node)
        case Bind():
            return _bind(interpreter, node)
        case Bound(slot=slot):
            return _bound(slot, interpreter.bound[slot])
    raise AssertionError(f"no such node: {node!r}")


# Optionals


def _optional_field(node: OptionalField, operand: Closure) -> Closure:
    name, place = node.name, node.origin.start
    path = dotted(node.operand)
    path = f"{path}.?{name}" if path else name
    convert = None if node.conversion is None else _conversion(node, node.conversion)

    def optional_field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            if name not in value:
                return ABSENT
            found = value[name]
            return Optional(found if convert is None else convert(state, found))
        if type(value) is Optional:
            return field_of_optional(name, path, value, place)
        raise no_fields(path, value, place)

    return optional_field


def _conversion(
    node: OptionalField, declared: str
) -> Callable[[Evaluation, Value], Value]:
    """What reads a fact that a schema declares."""
    from .reading import read_field

    place = node.origin.start
    path = f"{dotted(node.operand)}.{node.name}"

    def convert(state: Evaluation, value: Value) -> Value:
        try:
            return read_field(state, value, declared, path)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return convert


def _not_optional(value: Value, place: int) -> EvaluationError:
    message = f"no such overload: ?{type_of(value)}"
    hint = "what stands behind a '?' must be optional, such as a.?b"
    return at(EvaluationError(message, hint=hint), place)


def _make_optional_list(
    elements: list[tuple[Closure, int]], optionals: frozenset[int]
) -> Closure:
    def make_list(state: Evaluation) -> Value:
        made: list[Value] = []
        for number, (element, place) in enumerate(elements):
            value = element(state)
            if number in optionals:
                if type(value) is not Optional:
                    raise _not_optional(value, place)
                if not value.present:
                    continue
                value = value.value
            made.append(value)
        return made

    return make_list


def _make_optional_map(
    entries: list[tuple[Closure, Closure, int, int]], optionals: frozenset[int]
) -> Closure:
    def make_map(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for number, (key, value, place, value_place) in enumerate(entries):
            name, part = key(state), value(state)
            if number in optionals:
                if type(part) is not Optional:
                    raise _not_optional(part, value_place)
                if not part.present:
                    continue
                part = part.value
            insert(made, name, part, place)
        return made

    return make_map


def _map_optional(node: Loop, looped: Closure, transform: Closure) -> Closure:
    """``optMap`` wraps what the transform gives; ``optFlatMap`` takes an optional."""
    assert node.transform is not None
    slot, place, cost = node.slot, node.transform.origin.start, body_cost(node)
    flat = node.kind == "optFlatMap"

    def map_optional(state: Evaluation) -> Value:
        optional = looped(state)
        if type(optional) is not Optional:
            raise no_loop(node, optional)
        if not optional.present:
            return optional
        state.charge(cost)
        state.locals[slot] = optional.value
        value = transform(state)
        if not flat:
            return Optional(value)
        if type(value) is Optional:
            return value
        message = (
            f"no such overload: optFlatMap needs an optional, not {type_of(value)}"
        )
        raise at(EvaluationError(message), place)

    return map_optional


# Loops


def _loop(interpreter: Interpreter, node: Loop) -> Closure:
    looped = interpreter.build(node.range)
    assert node.transform is not None
    transform = interpreter.build(node.transform)
    if node.kind == "sortBy":
        return _sort_by(node, looped, transform)
    return _map_optional(node, looped, transform)


def _sort_by(node: Loop, looped: Closure, transform: Closure) -> Closure:
    from .ext_lists import sorted_by

    slot, place, cost = node.slot, node.place, body_cost(node)

    def sort_by(state: Evaluation) -> Value:
        elements = looped(state)
        if type(elements) is not list:
            raise no_loop(node, elements)
        slots, charge = state.locals, state.charge
        keys = []
        for element in elements:
            charge(cost)
            slots[slot] = element
            keys.append(transform(state))
        try:
            return sorted_by(state, elements, keys)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return sort_by


def _pair_loop(interpreter: Interpreter, node: PairLoop) -> Closure:
    turns = _pair_turns(node, interpreter.build(node.range))
    if node.condition is not None:
        condition = interpreter.build(node.condition)
        if node.kind in ("all", "exists"):
            return quantifier(node, turns, condition)
        if node.kind == "exists_one":
            return exists_one(node, turns, condition)
        turns = selected(node, turns, condition)
    assert node.transform is not None
    transform = interpreter.build(node.transform)
    if node.kind == "transformMap":
        return _transform_map(node, turns, transform)
    if node.kind == "transformMapEntry":
        return _transform_map_entry(node, turns, transform)
    return lambda state: [transform(state) for _ in turns(state)]


def _pair_turns(node: PairLoop, looped: Closure) -> Turns:
    """Two variables: a list's indexes and elements, or a map's keys and values."""
    slot, second, cost = node.slot, node.second_slot, body_cost(node)

    def turns(state: Evaluation) -> Iterator[Value]:
        value = looped(state)
        pairs: Iterable[tuple[Value, Value]]
        if type(value) is list:
            pairs = enumerate(value)
        elif type(value) is dict:
            pairs = ((decode_key(key), part) for key, part in value.items())
        else:
            raise no_loop(node, value)
        slots, charge = state.locals, state.charge
        for key, element in pairs:
            charge(cost)
            slots[slot] = key
            slots[second] = element
            yield element

    return turns


def _transform_map(node: PairLoop, turns: Turns, transform: Closure) -> Closure:
    slot = node.slot

    def transform_map(state: Evaluation) -> Value:
        slots = state.locals
        return {encode_key(slots[slot]): transform(state) for _ in turns(state)}

    return transform_map


def _transform_map_entry(node: PairLoop, turns: Turns, transform: Closure) -> Closure:
    assert node.transform is not None
    place = node.transform.origin.start

    def transform_map_entry(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for _ in turns(state):
            entries = transform(state)
            if type(entries) is not dict:
                message = f"transformMapEntry needs a map, not {type_of(entries)}"
                raise at(EvaluationError(f"no such overload: {message}"), place)
            state.charge(len(entries))
            for key, value in entries.items():
                insert(made, decode_key(key), value, place)
        return made

    return transform_map_entry


# Bound values


_UNSET = object()


class _Failed:
    """What the slot of a bound value holds that ended in an error."""

    __slots__ = ("error",)

    def __init__(self, error: EvaluationError) -> None:
        self.error = error


def _bind(interpreter: Interpreter, node: Bind) -> Closure:
    for slot, value in node.bindings:
        interpreter.bound[slot] = interpreter.build(value)
    slots = [slot for slot, _ in node.bindings]
    body = interpreter.build(node.body)

    def bind(state: Evaluation) -> Value:
        values = state.locals
        for slot in slots:
            values[slot] = _UNSET
        return body(state)

    return bind


def _bound(slot: int, value: Closure) -> Closure:
    """A bound value: computed when first used, then kept."""

    def bound(state: Evaluation) -> Value:
        kept = state.locals[slot]
        if kept is _UNSET:
            try:
                kept = value(state)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                state.locals[slot] = _Failed(error)
                raise
            state.locals[slot] = kept
        elif type(kept) is _Failed:
            # The traceback would grow each time.
            raise kept.error.with_traceback(None)
        return kept

    return bound
$cel_ext_interpreter$);

    v_sources := v_sources || jsonb_build_object('ext_lists', $cel_ext_lists$"""Functions of lists, as cel-go's library ``lists``, version 3.

``reverse`` is here for strings too (``strings``, version 3). ``first`` and ``last``
are in ``ext_optional``; the macro ``sortBy`` is the interpreter's.
"""

from __future__ import annotations

from itertools import repeat
from math import isnan
from typing import TYPE_CHECKING, Any

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import equal, no_overload
from .temporal import Duration, Timestamp
from .values import Uint, Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string",
               "bytes")  # fmt: skip
_COMPARABLE_KINDS = frozenset({int, Uint, float, bool, Duration, Timestamp, str, bytes})


def _slice(state: Evaluation, elements: Value, start: Value, end: Value) -> list[Value]:
    if type(elements) is not list or type(start) is not int or type(end) is not int:
        raise no_overload("slice", elements, start, end)
    if not 0 <= start <= end <= len(elements):
        raise EvaluationError(
            f"cannot slice({start}, {end}): the list has {len(elements)} elements",
            hint="0 <= start <= end <= size",
        )
    state.charge(end - start)
    return elements[start:end]


def _flatten(state: Evaluation, elements: Value, *depth: Value) -> list[Value]:
    levels = depth[0] if depth else 1
    if type(elements) is not list or type(levels) is not int:
        raise no_overload("flatten", elements, *depth)
    if levels < 0:
        raise EvaluationError(f"flatten: the depth {levels} is negative")
    flat: list[Value] = elements
    # Each pass opens one level; the last finds nothing to open.
    while levels > 0 and list in map(type, flat):
        levels -= 1
        state.charge(sum(len(e) + 1 if type(e) is list else 1 for e in flat))
        parts, flat = flat, []
        for part in parts:
            if type(part) is list:
                flat += part
            else:
                flat.append(part)
    return flat


def _range(state: Evaluation, size: Value) -> list[Value]:
    if type(size) is not int:
        raise no_overload("lists.range", size)
    if size < 0:
        raise EvaluationError(f"lists.range: the size {size} is negative")
    state.charge(size)
    return list(range(size))


def _reverse(state: Evaluation, sequence: Value) -> Value:
    if type(sequence) is list:
        state.charge(len(sequence))
        return sequence[::-1]
    if type(sequence) is str:
        state.charge(len(sequence) // CHARACTERS_PER_UNIT)
        return sequence[::-1]
    raise no_overload("reverse", sequence)


# Sorting


def _sort(state: Evaluation, elements: Value) -> list[Value]:
    if type(elements) is not list:
        raise no_overload("sort", elements)
    return sorted_by(state, elements, elements)


def sorted_by(
    state: Evaluation, elements: list[Value], keys: list[Value]
) -> list[Value]:
    """The elements in the order of their keys; equal keys keep their order.

    Keys are of one type that has an order; NaN comes before all numbers.
    """
    if not elements:
        return elements
    kind = type(keys[0])
    if kind not in _COMPARABLE_KINDS:
        raise EvaluationError(
            f"list elements must be comparable: {type_of(keys[0])} has no order"
        )
    for key in keys:
        if type(key) is not kind:
            raise EvaluationError(
                "list elements must have the same type to be sorted: "
                f"{type_of(keys[0])} and {type_of(key)}"
            )
    state.charge(len(keys) * len(keys).bit_length())
    if kind is str or kind is bytes:
        state.charge(sum(map(len, keys)) // CHARACTERS_PER_UNIT)
    order: Callable[[int], Any] = keys.__getitem__
    if kind is float and any(map(isnan, keys)):

        def order(index: int) -> Any:
            key = keys[index]
            return (False, 0.0) if isnan(key) else (True, key)

    return [elements[index] for index in sorted(range(len(keys)), key=order)]


# Elements by CEL's equality


_HASHABLE = frozenset({int, Uint, float, str, bytes, type(None), Duration, Timestamp})

# From here on, Python's equality of an int and a float is not CEL's.
_EXACT = 1 << 53


def hashed(*lists: list[Value]) -> list[set[Value]] | None:
    """The lists as sets in which membership is CEL's equality, or none.

    There are none with values that Python hashes differently: lists and maps, which
    it does not hash, bool, which it takes for 0 or 1, NaN, which it finds by
    identity, and doubles together with integers that no double is.
    """
    kinds: set[type] = set()
    for values in lists:
        kinds.update(map(type, values))
    if not kinds <= _HASHABLE:
        return None
    if float in kinds:
        for values in lists:
            for value in values:
                if type(value) is float:
                    if isnan(value):
                        return None
                elif isinstance(value, int) and abs(value) > _EXACT:
                    return None
    return [set(values) for values in lists]


def is_in(state: Evaluation, value: Value, values: list[Value]) -> bool:
    """Whether some of the values is equal to the one."""
    state.charge(len(values))
    return any(map(equal, repeat(state), repeat(value), values))


def _distinct(state: Evaluation, elements: Value) -> list[Value]:
    """The elements without those that are equal to an earlier one."""
    if type(elements) is not list:
        raise no_overload("distinct", elements)
    state.charge(len(elements))
    if hashed(elements) is not None:
        return list(dict.fromkeys(elements))
    distinct: list[Value] = []
    for element in elements:
        if not is_in(state, element, distinct):
            distinct.append(element)
    return distinct


LIBRARY = library(
    (
        Function("slice", ("list(A).(int, int) -> list(A)",), _slice),
        Function(
            "flatten",
            ("list(list(A)).() -> list(A)", "list(dyn).(int) -> list(dyn)"),
            _flatten,
        ),
        Function("lists.range", ("(int) -> list(int)",), _range),
        Function("reverse", ("list(A).() -> list(A)", "string.() -> string"), _reverse),
        Function(
            "sort", tuple(f"list({t}).() -> list({t})" for t in _COMPARABLE), _sort
        ),
        Function("distinct", ("list(A).() -> list(A)",), _distinct),
    )
)
$cel_ext_lists$);

    v_sources := v_sources || jsonb_build_object('ext_math', $cel_ext_math$"""Functions of numbers, as cel-go's library ``math``, version 2.

``math.greatest`` and ``math.least`` come here with one number, two numbers or a list;
a macro makes a list of more arguments.
"""

from __future__ import annotations

import math
from math import copysign, isfinite, isinf, isnan
from typing import TYPE_CHECKING

from . import operators
from .errors import EvaluationError
from .library import Function, library
from .numbers import INT_MAX, UINT_MAX
from .operators import no_overload
from .values import NUMERIC, Uint, Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evaluation import Evaluation
    from .library import Implementation

_NUMBERS = ("int", "uint", "double")


# The greatest and the least


def _extreme(
    name: str, is_better: Callable[[Evaluation, Value, Value], bool]
) -> Function:
    def implementation(state: Evaluation, *arguments: Value) -> Value:
        numbers: list[Value] | tuple[Value, ...] = arguments
        if len(arguments) == 1 and type(arguments[0]) is list:
            (numbers,) = arguments
            if not numbers:
                raise EvaluationError(f"{name}: the list is empty")
            state.charge(len(numbers))
        for number in numbers:
            if type(number) not in NUMERIC:
                raise no_overload(name, number)
        best = numbers[0]
        if len(numbers) > 1 and any(number != number for number in numbers):  # noqa: PLR0124
            raise EvaluationError(f"{name}: NaN has no order")
        # Of equal numbers of two types, the first is kept.
        for number in numbers:
            if is_better(state, number, best):
                best = number
        return best

    signatures = (
        *(f"({kind}) -> {kind}" for kind in _NUMBERS),
        *(f"({kind}, {kind}) -> {kind}" for kind in _NUMBERS),
        *(f"({a}, {b}) -> dyn" for a in _NUMBERS for b in _NUMBERS if a != b),
        *(f"(list({kind})) -> {kind}" for kind in _NUMBERS),
    )
    return Function(name, signatures, implementation)


# Rounding and the parts of a number


def _ceil(value: float) -> float:
    return copysign(math.ceil(value), value) if isfinite(value) else value


def _floor(value: float) -> float:
    return copysign(math.floor(value), value) if isfinite(value) else value


def _trunc(value: float) -> float:
    return copysign(math.trunc(value), value) if isfinite(value) else value


def _round(value: float) -> float:
    """To the nearest whole number, halves away from zero."""
    if not isfinite(value):
        return value
    whole = _trunc(value)
    # Exact, where adding one half is not: 0.49999999999999994 is less.
    return whole + copysign(1.0, value) if abs(value - whole) >= 0.5 else whole


def _of_double(name: str, result: str, compute: Callable[[float], Value]) -> Function:
    def implementation(state: Evaluation, value: Value) -> Value:
        if type(value) is float:
            return compute(value)
        raise no_overload(name, value)

    return Function(name, (f"(double) -> {result}",), implementation)


def _abs(state: Evaluation, value: Value) -> Value:
    kind = type(value)
    if kind is Uint:
        return value
    if kind is int:
        if -value > INT_MAX:
            raise EvaluationError("integer overflow: math.abs of the least int")
        return abs(value)
    if kind is float:
        return abs(value)
    raise no_overload("math.abs", value)


def _sign(state: Evaluation, value: Value) -> Value:
    kind = type(value)
    if kind is Uint:
        return Uint(value > 0)
    if kind is int:
        return (value > 0) - (value < 0)
    if kind is float:
        return value if isnan(value) else float((value > 0) - (value < 0))
    raise no_overload("math.sign", value)


def _sqrt(state: Evaluation, value: Value) -> float:
    if type(value) not in NUMERIC:
        raise no_overload("math.sqrt", value)
    return math.nan if value < 0 else math.sqrt(value)


# Bits: 64 of them, in two's complement


def _signed(bits: int) -> int:
    bits &= UINT_MAX
    return bits - (1 << 64) if bits > INT_MAX else bits


def _on_bits(name: str, compute: Callable[[int, int], int]) -> Function:
    def implementation(state: Evaluation, left: Value, right: Value) -> Value:
        if type(left) is type(right):
            if type(left) is int:
                return compute(left, right)
            if type(left) is Uint:
                return Uint(compute(int(left), int(right)))
        raise no_overload(name, left, right)

    signatures = ("(int, int) -> int", "(uint, uint) -> uint")
    return Function(name, signatures, implementation)


def _bit_not(state: Evaluation, value: Value) -> Value:
    if type(value) is int:
        return ~value
    if type(value) is Uint:
        return Uint(UINT_MAX - value)
    raise no_overload("math.bitNot", value)


def _shift(name: str, compute: Callable[[int, int], int]) -> Function:
    def implementation(state: Evaluation, value: Value, bits: Value) -> Value:
        if type(value) not in (int, Uint) or type(bits) is not int:
            raise no_overload(name, value, bits)
        if bits < 0:
            raise EvaluationError(f"{name}: negative offset: {bits}")
        shifted = 0 if bits >= 64 else compute(int(value) & UINT_MAX, bits)
        return Uint(shifted & UINT_MAX) if type(value) is Uint else _signed(shifted)

    signatures = ("(int, int) -> int", "(uint, int) -> uint")
    return Function(name, signatures, implementation)


def _on_numbers(name: str, result: str, implementation: Implementation) -> Function:
    """A function of one number; the result has its type where none is given."""
    signatures = tuple(f"({kind}) -> {result or kind}" for kind in _NUMBERS)
    return Function(name, signatures, implementation)


LIBRARY = library(
    (
        _extreme("math.greatest", operators.greater),
        _extreme("math.least", operators.less),
        _of_double("math.ceil", "double", _ceil),
        _of_double("math.floor", "double", _floor),
        _of_double("math.round", "double", _round),
        _of_double("math.trunc", "double", _trunc),
        _of_double("math.isInf", "bool", isinf),
        _of_double("math.isNaN", "bool", isnan),
        _of_double("math.isFinite", "bool", isfinite),
        _on_numbers("math.abs", "", _abs),
        _on_numbers("math.sign", "", _sign),
        _on_numbers("math.sqrt", "double", _sqrt),
        _on_bits("math.bitAnd", lambda left, right: left & right),
        _on_bits("math.bitOr", lambda left, right: left | right),
        _on_bits("math.bitXor", lambda left, right: left ^ right),
        Function("math.bitNot", ("(int) -> int", "(uint) -> uint"), _bit_not),
        _shift("math.bitShiftLeft", lambda value, bits: value << bits),
        # Zeros come in from the left, for a negative int too.
        _shift("math.bitShiftRight", lambda value, bits: value >> bits),
    )
)
$cel_ext_math$);

    v_sources := v_sources || jsonb_build_object('ext_network', $cel_ext_network$"""IP addresses and ranges of them, as cel-go's library ``network``.

Addresses are parsed as Go's ``net/netip`` does: no leading zeros, no zones. An IPv4
address mapped into IPv6 is refused in its dotted form; written in hexadecimal,
``::ffff:c0a8:1``, it is that IPv4 address (cel-spec's conformance suite asks for both).
The text of a value is the canonical one of RFC 5952.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from . import types
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload, shown
from .values import Opaque, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

    from .types import Type

# No address and no range is longer; the parser need not look at longer texts.
_MAX_LENGTH: Final = 64
_NO_ADDRESS = "parse error during conversion from string"
_BITS = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


class Ip(Opaque):
    """An IPv4 or IPv6 address."""

    __slots__ = ("address",)
    cel_type: ClassVar[Type] = types.IP

    def __init__(self, address: IPv4Address | IPv6Address) -> None:
        self.address = address

    def __eq__(self, other: object) -> bool:
        return type(other) is Ip and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __str__(self) -> str:
        return str(self.address)

    def __repr__(self) -> str:
        return f"ip({str(self)!r})"


class Cidr(Opaque):
    """An address and the length of its network's prefix.

    The address keeps the bits behind the prefix: 10.0.0.1/8 is not 10.0.0.0/8.
    """

    __slots__ = ("address", "length")
    cel_type: ClassVar[Type] = types.CIDR

    def __init__(self, address: IPv4Address | IPv6Address, length: int) -> None:
        self.address = address
        self.length = length

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is Cidr
            and self.address == other.address
            and self.length == other.length
        )

    def __hash__(self) -> int:
        return hash((self.address, self.length))

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    def __repr__(self) -> str:
        return f"cidr({str(self)!r})"

    def network(self) -> int:
        """The bits of the prefix."""
        return int(self.address) >> self.address.max_prefixlen - self.length

    def contains(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether an address is of the same family and begins with the prefix."""
        return (
            address.version == self.address.version
            and int(address) >> address.max_prefixlen - self.length == self.network()
        )


# Parsing


def _address(text: str) -> IPv4Address | IPv6Address | str:
    """The address, or what is wrong with the text."""
    from ipaddress import IPv6Address, ip_address

    if "%" in text:
        return "a zone is not allowed"
    if len(text) > _MAX_LENGTH or not text.isascii():
        return _NO_ADDRESS
    try:
        address = ip_address(text)
    except ValueError:
        return _NO_ADDRESS
    if isinstance(address, IPv6Address):
        mapped: IPv4Address | None = address.ipv4_mapped
        if mapped is not None:
            return mapped if "." not in text else "IPv4-mapped IPv6 is not allowed"
    return address


def _range(text: str) -> Cidr | str:
    """The range, or what is wrong with the text."""
    before, slash, bits = text.rpartition("/")
    if not slash:
        return f"{_NO_ADDRESS}: no '/'"
    address = _address(before)
    if isinstance(address, str):
        return address
    if ":" in before and address.version == 4:
        # The length would count bits of IPv6.
        return "IPv4-mapped IPv6 is not allowed"
    if _BITS.fullmatch(bits) is None or int(bits) > address.max_prefixlen:
        return (
            f"{_NO_ADDRESS}: the prefix length is a number from 0 to "
            f"{address.max_prefixlen}"
        )
    return Cidr(address, int(bits))


def _ip(state: Evaluation, value: Value) -> Ip:
    """``ip('1.2.3.4')``, or the address of a range."""
    if type(value) is Cidr:
        return Ip(value.address)
    if type(value) is not str:
        raise no_overload("ip", value)
    state.charge(len(value) // CHARACTERS_PER_UNIT)
    address = _address(value)
    if isinstance(address, str):
        raise EvaluationError(f"IP address {shown(value)}: {address}")
    return Ip(address)


def _cidr(state: Evaluation, value: Value) -> Cidr:
    if type(value) is not str:
        raise no_overload("cidr", value)
    state.charge(len(value) // CHARACTERS_PER_UNIT)
    parsed = _range(value)
    if isinstance(parsed, str):
        raise EvaluationError(f"CIDR {shown(value)}: {parsed}")
    return parsed


def _is_ip(state: Evaluation, value: Value) -> bool:
    if type(value) is not str:
        raise no_overload("isIP", value)
    return not isinstance(_address(value), str)


def _is_cidr(state: Evaluation, value: Value) -> bool:
    if type(value) is not str:
        raise no_overload("isCIDR", value)
    return not isinstance(_range(value), str)


def _is_canonical(state: Evaluation, value: Value) -> bool:
    if type(value) is not str:
        raise no_overload("ip.isCanonical", value)
    return str(_ip(state, value)) == value


# Questions about an address, as Go's netip.Addr answers them


def _of_ip(
    name: str, result: str, answer: Callable[[IPv4Address | IPv6Address], Value]
) -> Function:
    def implementation(state: Evaluation, value: Value) -> Value:
        if type(value) is Ip:
            return answer(value.address)
        raise no_overload(name, value)

    return Function(name, (f"net.IP.() -> {result}",), implementation)


def _is_link_local_multicast(address: IPv4Address | IPv6Address) -> bool:
    """224.0.0.0/24, or ff02::/16 whatever the flags of ff02 are."""
    if address.version == 4:
        return address.packed[:3] == b"\xe0\x00\x00"
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 0x02


def _is_link_local_unicast(address: IPv4Address | IPv6Address) -> bool:
    """169.254.0.0/16, or fe80::/10."""
    if address.version == 4:
        return address.packed[:2] == b"\xa9\xfe"
    return address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0x80


def _is_global_unicast(address: IPv4Address | IPv6Address) -> bool:
    """Every other unicast address, private ones too, but the broadcast address."""
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_multicast
        or _is_link_local_unicast(address)
        or address.packed == b"\xff\xff\xff\xff"
    )


# Questions about a range


def _contains_ip(state: Evaluation, outer: Value, inner: Value) -> bool:
    if type(outer) is Cidr:
        if type(inner) is str:
            inner = _ip(state, inner)
        if type(inner) is Ip:
            return outer.contains(inner.address)
    raise no_overload("containsIP", outer, inner)


def _contains_cidr(state: Evaluation, outer: Value, inner: Value) -> bool:
    if type(outer) is Cidr:
        if type(inner) is str:
            inner = _cidr(state, inner)
        if type(inner) is Cidr:
            return outer.length <= inner.length and outer.contains(inner.address)
    raise no_overload("containsCIDR", outer, inner)


def _masked(state: Evaluation, value: Value) -> Cidr:
    """The range with the bits behind the prefix cleared."""
    if type(value) is not Cidr:
        raise no_overload("masked", value)
    free = value.address.max_prefixlen - value.length
    return Cidr(type(value.address)(value.network() << free), value.length)


def _prefix_length(state: Evaluation, value: Value) -> int:
    if type(value) is Cidr:
        return value.length
    raise no_overload("prefixLength", value)


LIBRARY = library(
    (
        Function("ip", ("(string) -> net.IP", "net.CIDR.() -> net.IP"), _ip),
        Function("cidr", ("(string) -> net.CIDR",), _cidr),
        Function("isIP", ("(string) -> bool",), _is_ip),
        Function("isCIDR", ("(string) -> bool",), _is_cidr),
        Function("ip.isCanonical", ("(string) -> bool",), _is_canonical),
        _of_ip("family", "int", lambda address: address.version),
        _of_ip("isUnspecified", "bool", lambda address: address.is_unspecified),
        _of_ip("isLoopback", "bool", lambda address: address.is_loopback),
        _of_ip("isGlobalUnicast", "bool", _is_global_unicast),
        _of_ip("isLinkLocalMulticast", "bool", _is_link_local_multicast),
        _of_ip("isLinkLocalUnicast", "bool", _is_link_local_unicast),
        Function(
            "containsIP",
            ("net.CIDR.(net.IP) -> bool", "net.CIDR.(string) -> bool"),
            _contains_ip,
        ),
        Function(
            "containsCIDR",
            ("net.CIDR.(net.CIDR) -> bool", "net.CIDR.(string) -> bool"),
            _contains_cidr,
        ),
        Function("masked", ("net.CIDR.() -> net.CIDR",), _masked),
        Function("prefixLength", ("net.CIDR.() -> int",), _prefix_length),
    )
)
$cel_ext_network$);

    v_sources := v_sources || jsonb_build_object('ext_optional', $cel_ext_optional$"""Functions of optional values, as cel-go's library ``optional``, version 2.

The syntax, ``a.?b``, ``a[?k]``, ``[?x]`` and ``{?k: v}``, and the macros ``optMap``
and ``optFlatMap`` are the checker's and the interpreter's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EvaluationError
from .library import Function, library
from .operators import index_optionally, no_overload
from .temporal import Duration, Timestamp
from .values import ABSENT, Optional, Value, type_of

if TYPE_CHECKING:
    from .evaluation import Evaluation
    from .interpreter import Closure


def _of(state: Evaluation, value: Value) -> Optional:
    return Optional(value)


def _none(state: Evaluation) -> Optional:
    return ABSENT


_ZERO_TIMES = (Timestamp(0), Duration(0))


def _of_non_zero_value(state: Evaluation, value: Value) -> Optional:
    """Absent for null, false, zero and what is empty; the zero time is 1970's."""
    if isinstance(value, Timestamp | Duration):
        return ABSENT if value in _ZERO_TIMES else Optional(value)
    zero = value is None or (
        isinstance(value, bool | int | float | str | bytes | list | dict) and not value
    )
    return ABSENT if zero else Optional(value)


def _has_value(state: Evaluation, optional: Value) -> bool:
    if type(optional) is Optional:
        return optional.present
    raise no_overload("hasValue", optional)


def _value(state: Evaluation, optional: Value) -> Value:
    if type(optional) is not Optional:
        raise no_overload("value", optional)
    if optional.present:
        return optional.value
    raise EvaluationError(
        "optional.none() has no value", hint="use orValue(default), or test hasValue()"
    )


def _or(state: Evaluation, optional: Value, alternative: Value) -> Optional:
    if type(optional) is Optional and type(alternative) is Optional:
        return optional if optional.present else alternative
    raise no_overload("or", optional, alternative)


def _or_deferred(state: Evaluation, optional: Closure, alternative: Closure) -> Value:
    value = optional(state)
    if type(value) is Optional and value.present:
        return value
    return _or(state, value, alternative(state))


def _or_value(state: Evaluation, optional: Value, alternative: Value) -> Value:
    if type(optional) is Optional:
        return optional.value if optional.present else alternative
    raise no_overload("orValue", optional, alternative)


def _or_value_deferred(
    state: Evaluation, optional: Closure, alternative: Closure
) -> Value:
    value = optional(state)
    if type(value) is Optional and value.present:
        return value.value
    return _or_value(state, value, alternative(state))


def _unwrap(state: Evaluation, optionals: Value) -> list[Value]:
    """The values of those that have one."""
    if type(optionals) is not list:
        raise no_overload("optional.unwrap", optionals)
    state.charge(len(optionals))
    for optional in optionals:
        if type(optional) is not Optional:
            raise EvaluationError(
                f"optional.unwrap needs optional elements, not {type_of(optional)}"
            )
    return [optional.value for optional in optionals if optional.present]


def _first(state: Evaluation, elements: Value) -> Optional:
    if type(elements) is list:
        return Optional(elements[0]) if elements else ABSENT
    raise no_overload("first", elements)


def _last(state: Evaluation, elements: Value) -> Optional:
    if type(elements) is list:
        return Optional(elements[-1]) if elements else ABSENT
    raise no_overload("last", elements)


LIBRARY = library(
    (
        Function("optional.of", ("(A) -> optional_type(A)",), _of),
        Function(
            "optional.ofNonZeroValue",
            ("(A) -> optional_type(A)",),
            _of_non_zero_value,
        ),
        Function("optional.none", ("() -> optional_type(A)",), _none),
        Function("hasValue", ("optional_type(A).() -> bool",), _has_value),
        Function("value", ("optional_type(A).() -> A",), _value),
        Function(
            "or",
            ("optional_type(A).(optional_type(A)) -> optional_type(A)",),
            _or,
            deferred=_or_deferred,
        ),
        Function(
            "orValue",
            ("optional_type(A).(A) -> A",),
            _or_value,
            deferred=_or_value_deferred,
        ),
        Function("optional.unwrap", ("(list(optional_type(A))) -> list(A)",), _unwrap),
        Function("unwrapOpt", ("list(optional_type(A)).() -> list(A)",), _unwrap),
        Function("first", ("list(A).() -> optional_type(A)",), _first),
        Function("last", ("list(A).() -> optional_type(A)",), _last),
        Function(
            "_[?_]",
            (
                "(list(A), int) -> optional_type(A)",
                "(optional_type(list(A)), int) -> optional_type(A)",
                "(map(A, B), A) -> optional_type(B)",
                "(optional_type(map(A, B)), A) -> optional_type(B)",
            ),
            index_optionally,
        ),
    )
)
$cel_ext_optional$);

    v_sources := v_sources || jsonb_build_object('ext_regex', $cel_ext_regex$"""Regular expressions that extract and replace, as cel-go's library ``regex``.

The patterns are RE2's, see module ``regex``; here they may capture one group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import regex
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload, shown
from .values import ABSENT, Optional, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters behind a match that cost a unit, for the search of the next match.
_SEARCHED_PER_UNIT = 100


def _pattern(state: Evaluation, text: str, pattern: str) -> Any:
    """The compiled pattern, once a search in the text is charged for."""
    state.charge(regex.search_cost(text, pattern))
    return regex.compile_pattern(pattern, capture=True)


def _of_one_group(compiled: Any, pattern: str) -> Any:
    if compiled.groups > 1:
        raise EvaluationError(
            f"regular expression {shown(pattern)} has more than one capturing group",
            hint="write the others as (?:...)",
        )
    return compiled


def _matches(state: Evaluation, compiled: Any, text: str) -> Iterator[Any]:
    """All matches from left to right that do not overlap.

    As in Go, an empty match right behind another match is none. Each search may look
    at all the rest of the text before it knows.
    """
    end, size = -1, len(text)
    for match in compiled.finditer(text):
        start, stop = match.span()
        state.charge(1 + (size - stop) // _SEARCHED_PER_UNIT)
        if start == stop == end:
            continue
        end = stop
        yield match


def _extract(state: Evaluation, text: Value, pattern: Value) -> Optional:
    """The first match, or its group, as an optional; absent also when it is empty."""
    if type(text) is not str or type(pattern) is not str:
        raise no_overload("regex.extract", text, pattern)
    compiled = _of_one_group(_pattern(state, text, pattern), pattern)
    match = compiled.search(text)
    if match is None:
        return ABSENT
    if not compiled.groups:
        return Optional(match.group())
    group = match.group(1)
    return Optional(group) if group else ABSENT


def _extract_all(state: Evaluation, text: Value, pattern: Value) -> list[Value]:
    """All matches, or their groups that are not empty."""
    if type(text) is not str or type(pattern) is not str:
        raise no_overload("regex.extractAll", text, pattern)
    compiled = _of_one_group(_pattern(state, text, pattern), pattern)
    matches = _matches(state, compiled, text)
    if not compiled.groups:
        return [match.group() for match in matches]
    return [group for match in matches if (group := match.group(1))]


def _replace(
    state: Evaluation, text: Value, pattern: Value, replacement: Value, *limits: Value
) -> str:
    r"""All matches replaced, or the first few; fewer than 0 means all.

    In the replacement ``\1`` is the first group, ``\0`` the match, ``\\`` a
    backslash.
    """
    limit = limits[0] if limits else -1
    if not (
        isinstance(text, str)
        and isinstance(pattern, str)
        and isinstance(replacement, str)
        and type(limit) is int
    ):
        raise no_overload("regex.replace", text, pattern, replacement, *limits)
    if limit == 0:
        return text
    compiled = _pattern(state, text, pattern)
    template: list[str | int] | None = None
    pieces: list[str] = []
    position = 0
    for match in _matches(state, compiled, text):
        if template is None:
            template = _template(replacement, compiled.groups)
        start, end = match.span()
        pieces.append(text[position:start])
        for part in template:
            piece = part if isinstance(part, str) else match.group(part) or ""
            state.charge(1 + len(piece) // CHARACTERS_PER_UNIT)
            pieces.append(piece)
        position = end
        limit -= 1
        if limit == 0:
            break
    pieces.append(text[position:])
    return "".join(pieces)


def _template(replacement: str, groups: int) -> list[str | int]:
    """The texts and the numbers of groups that a replacement consists of."""
    parts: list[str | int] = []
    first, *rest = replacement.split("\\")
    parts.append(first)
    pending = iter(rest)
    for escaped in pending:
        if escaped == "":
            # Two backslashes, or one at the end.
            following = next(pending, None)
            if following is None:
                raise _invalid(replacement, "it ends with a single backslash")
            parts.append("\\" + following)
            continue
        if escaped[0] not in "0123456789":
            raise _invalid(
                replacement, "a backslash stands before a digit or a backslash only"
            )
        number = int(escaped[0])
        if number > groups:
            raise _invalid(
                replacement,
                f"it names group {number}, and the regular expression has {groups}",
            )
        parts += [number, escaped[1:]]
    return [part for part in parts if part != ""]


def _invalid(replacement: str, reason: str) -> EvaluationError:
    return EvaluationError(
        f"invalid replacement {shown(replacement)}: {reason}",
        hint=r"groups are \1 to \9, the match is \0, a backslash is \\; in a raw "
        r"string: r'\1'",
    )


def _validate(arguments: Sequence[Value | None]) -> None:
    regex.validate(arguments[:2])


LIBRARY = library(
    (
        Function(
            "regex.extract",
            ("(string, string) -> optional_type(string)",),
            _extract,
            _validate,
        ),
        Function(
            "regex.extractAll",
            ("(string, string) -> list(string)",),
            _extract_all,
            _validate,
        ),
        Function(
            "regex.replace",
            (
                "(string, string, string) -> string",
                "(string, string, string, int) -> string",
            ),
            _replace,
            _validate,
        ),
    )
)
$cel_ext_regex$);

    v_sources := v_sources || jsonb_build_object('ext_sets', $cel_ext_sets$"""Lists taken as sets, as cel-go's library ``sets``.

Elements are compared by CEL's ``==``. Where Python's hashing agrees with it, sets of
strings and numbers that is, the work is linear; for others, each element of one list
is compared with each of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ext_lists import hashed, is_in
from .library import Function, library
from .operators import no_overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evaluation import Evaluation
    from .values import Value


def _contains(state: Evaluation, values: list[Value], parts: list[Value]) -> bool:
    """Whether each of the parts is among the values."""
    state.charge(len(values) + len(parts))
    sets = hashed(values, parts)
    if sets is not None:
        return sets[1] <= sets[0]
    return all(is_in(state, part, values) for part in parts)


def _equivalent(state: Evaluation, left: list[Value], right: list[Value]) -> bool:
    return _contains(state, left, right) and _contains(state, right, left)


def _intersects(state: Evaluation, left: list[Value], right: list[Value]) -> bool:
    state.charge(len(left) + len(right))
    sets = hashed(left, right)
    if sets is not None:
        return not sets[0].isdisjoint(sets[1])
    return any(is_in(state, value, right) for value in left)


def _function(
    name: str, compare: Callable[[Evaluation, list[Value], list[Value]], bool]
) -> Function:
    def implementation(state: Evaluation, left: Value, right: Value) -> bool:
        if type(left) is list and type(right) is list:
            return compare(state, left, right)
        raise no_overload(name, left, right)

    return Function(name, ("(list(A), list(A)) -> bool",), implementation)


LIBRARY = library(
    (
        _function("sets.contains", _contains),
        _function("sets.equivalent", _equivalent),
        _function("sets.intersects", _intersects),
    )
)
$cel_ext_sets$);

    v_sources := v_sources || jsonb_build_object('ext_strings', $cel_ext_strings$"""Functions of strings, as cel-go's library ``strings``, version 4.

Positions count code points from 0. ``format`` is in ``ext_format``; ``reverse``, which
lists have too, is in ``ext_lists``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .library import Function, library
from .operators import no_overload
from .values import Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

# Unicode's white space. Python's own strip() takes U+001C to U+001F too.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_UPPER = {lower: lower - 32 for lower in range(ord("a"), ord("z") + 1)}
_QUOTED = str.maketrans(
    {
        "\a": r"\a",
        "\b": r"\b",
        "\f": r"\f",
        "\n": r"\n",
        "\r": r"\r",
        "\t": r"\t",
        "\v": r"\v",
        "\\": r"\\",
        '"': r"\"",
    }
)


def _charge(state: Evaluation, characters: int) -> None:
    state.charge(characters // CHARACTERS_PER_UNIT)


def _out_of_range(position: int) -> EvaluationError:
    return EvaluationError(f"index out of range: {position}")


# Parts


def _char_at(state: Evaluation, text: Value, position: Value) -> str:
    """The character at a position; the empty string at the end."""
    if type(text) is not str or type(position) is not int:
        raise no_overload("charAt", text, position)
    if not 0 <= position <= len(text):
        raise _out_of_range(position)
    return text[position : position + 1]


def _substring(state: Evaluation, text: Value, start: Value, *ends: Value) -> str:
    if type(text) is not str or type(start) is not int:
        raise no_overload("substring", text, start, *ends)
    end = ends[0] if ends else len(text)
    if type(end) is not int:
        raise no_overload("substring", text, start, *ends)
    if ends and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for position in (start, end):
        if not 0 <= position <= len(text):
            raise _out_of_range(position)
    _charge(state, end - start)
    return text[start:end]


def _index_of(state: Evaluation, text: Value, part: Value, *offsets: Value) -> int:
    """The first position of a part, from an offset on, or -1."""
    if type(text) is not str or type(part) is not str:
        raise no_overload("indexOf", text, part, *offsets)
    if not offsets:
        _charge(state, len(text))
        return text.find(part)
    (offset,) = offsets
    if type(offset) is not int:
        raise no_overload("indexOf", text, part, *offsets)
    # The end of the text is a place for the empty part only.
    if not 0 <= offset < len(text) + (not part):
        raise _out_of_range(offset)
    _charge(state, len(text) - offset)
    return text.find(part, offset)


def _last_index_of(state: Evaluation, text: Value, part: Value, *offsets: Value) -> int:
    """The last position of a part, up to an offset, or -1."""
    if type(text) is not str or type(part) is not str:
        raise no_overload("lastIndexOf", text, part, *offsets)
    _charge(state, len(text))
    if not offsets:
        return text.rfind(part)
    (offset,) = offsets
    if type(offset) is not int:
        raise no_overload("lastIndexOf", text, part, *offsets)
    if not 0 <= offset < len(text) + (not part):
        raise _out_of_range(offset)
    return text.rfind(part, 0, offset + len(part))


# Changes


def _mapped(name: str, change: Callable[[str], str]) -> Function:
    """A method that changes a string to one of about its length."""

    def implementation(state: Evaluation, text: Value) -> str:
        if type(text) is not str:
            raise no_overload(name, text)
        _charge(state, len(text))
        return change(text)

    form = "(string) -> string" if "." in name else "string.() -> string"
    return Function(name, (form,), implementation)


def _lower_ascii(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_LOWER)


def _upper_ascii(text: str) -> str:
    return text.upper() if text.isascii() else text.translate(_UPPER)


def _quote(text: str) -> str:
    """A string literal of CEL that gives this text."""
    return f'"{text.translate(_QUOTED)}"'


def _replace(
    state: Evaluation, text: Value, old: Value, new: Value, *limits: Value
) -> str:
    """All occurrences replaced, or the first few; fewer than 0 means all."""
    limit = limits[0] if limits else -1
    if not (type(text) is type(old) is type(new) is str and type(limit) is int):
        raise no_overload("replace", text, old, new, *limits)
    _charge(state, len(text))
    count = text.count(old)
    if limit >= 0:
        count = min(count, limit)
    _charge(state, max(0, count * (len(new) - len(old))))
    return text.replace(old, new, count)


def _split(
    state: Evaluation, text: Value, separator: Value, *limits: Value
) -> list[Value]:
    """The parts between separators, or so many at most; none means all.

    The empty separator splits into characters.
    """
    limit = limits[0] if limits else -1
    if type(text) is not str or type(separator) is not str or type(limit) is not int:
        raise no_overload("split", text, separator, *limits)
    if limit == 0:
        return []
    _charge(state, len(text))
    if separator:
        cuts = text.count(separator)
        if limit > 0:
            cuts = min(cuts, limit - 1)
        state.charge(cuts + 1)
        return list(text.split(separator, cuts))
    cuts = len(text) if limit < 0 else min(len(text), limit)
    state.charge(cuts)
    if cuts == len(text):
        return list(text)
    return [*text[: cuts - 1], text[cuts - 1 :]]


def _join(state: Evaluation, parts: Value, *separators: Value) -> str:
    separator = separators[0] if separators else ""
    if type(parts) is not list or type(separator) is not str:
        raise no_overload("join", parts, *separators)
    state.charge(len(parts))
    for part in parts:
        if type(part) is not str:
            raise EvaluationError(
                f"no such overload: join needs strings, not {type_of(part)}"
            )
    _charge(state, sum(map(len, parts)) + len(parts) * len(separator))
    return separator.join(parts)


LIBRARY = library(
    (
        Function("charAt", ("string.(int) -> string",), _char_at),
        Function(
            "substring",
            ("string.(int) -> string", "string.(int, int) -> string"),
            _substring,
        ),
        Function(
            "indexOf",
            ("string.(string) -> int", "string.(string, int) -> int"),
            _index_of,
        ),
        Function(
            "lastIndexOf",
            ("string.(string) -> int", "string.(string, int) -> int"),
            _last_index_of,
        ),
        _mapped("lowerAscii", _lower_ascii),
        _mapped("upperAscii", _upper_ascii),
        _mapped("trim", lambda text: text.strip(_SPACE)),
        _mapped("strings.quote", _quote),
        Function(
            "replace",
            (
                "string.(string, string) -> string",
                "string.(string, string, int) -> string",
            ),
            _replace,
        ),
        Function(
            "split",
            (
                "string.(string) -> list(string)",
                "string.(string, int) -> list(string)",
            ),
            _split,
        ),
        Function(
            "join",
            (
                "list(string).() -> string",
                "list(string).(string) -> string",
            ),
            _join,
        ),
    )
)
$cel_ext_strings$);

    v_sources := v_sources || jsonb_build_object('extensions', $cel_extensions$"""The names of the extension libraries' functions, and where each is.

The libraries are those of cel-go's package ``ext``, and its optional values. A
library is imported when an expression first uses one of its functions, so that the
others cost a session nothing; a test holds this table to what the modules define.
"""

from __future__ import annotations

from typing import Final

_MODULES = {
    "ext_encoders": "base64.decode base64.encode",
    "ext_format": "format",
    "ext_lists": "distinct flatten lists.range reverse slice sort",
    "ext_math": (
        "math.abs math.bitAnd math.bitNot math.bitOr math.bitShiftLeft "
        "math.bitShiftRight math.bitXor math.ceil math.floor math.greatest "
        "math.isFinite math.isInf math.isNaN math.least math.round math.sign "
        "math.sqrt math.trunc"
    ),
    "ext_network": (
        "cidr containsCIDR containsIP family ip ip.isCanonical isCIDR isGlobalUnicast "
        "isIP isLinkLocalMulticast isLinkLocalUnicast isLoopback isUnspecified masked "
        "prefixLength"
    ),
    "ext_optional": (
        "_[?_] first hasValue last optional.none optional.of optional.ofNonZeroValue "
        "optional.unwrap or orValue unwrapOpt value"
    ),
    "ext_regex": "regex.extract regex.extractAll regex.replace",
    "ext_sets": "sets.contains sets.equivalent sets.intersects",
    "ext_strings": (
        "charAt indexOf join lastIndexOf lowerAscii replace split "
        "strings.quote substring trim upperAscii"
    ),
}

EXTENSIONS: Final = {
    name: module for module, names in _MODULES.items() for name in names.split()
}
"""The module of each function."""
$cel_extensions$);

    v_sources := v_sources || jsonb_build_object('facts', $cel_facts$"""Facts and results: between JSON, Python mappings and CEL values.

Facts are a JSON object as PostgreSQL's ``jsonb`` holds it. A number without fraction
and exponent is an ``int``, any other a ``double``. This module makes that so on every
way in, and alike: from the text of a ``jsonb`` (:func:`parse_facts`), from a mapping in
memory (:func:`facts_from_mapping`), and from a mapping that travels through the
database (:func:`facts_to_json`). It also writes results (:func:`value_to_json`).

Conversions that a schema declares, such as text to timestamps, are the evaluator's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isinf, isnan
from typing import TYPE_CHECKING, Any, Final

from .errors import EvaluationError, InvalidFacts
from .numbers import INT_MAX, INT_MIN
from .temporal import (
    MAX_DURATION_NANOS,
    MIN_DURATION_NANOS,
    Duration,
    Timestamp,
    format_duration,
    format_timestamp,
)
from .types import Type
from .values import BoolKey, Opaque, Optional, Uint, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Facts = dict[str, Any]
"""Decoded facts: dict, list, str, int, float, bool and None, nothing else."""


@dataclass(frozen=True, slots=True)
class FactLimits:
    """The bounds of one evaluation's facts; beyond them they are refused."""

    size: int = 4 * 1024 * 1024
    """Characters of the JSON text. At the limit, facts take at most some 200 MB."""

    depth: int = 100
    """Levels of objects and lists. ``jsonb`` itself holds 6,000 and more, which no
    recursive function of Python can follow."""


DEFAULT_FACT_LIMITS: Final = FactLimits()

MAX_RESULT: Final = 1024 * 1024
"""Characters of the JSON text of a result."""


class _Refusal(Exception):
    """Why a part of the facts cannot be; collects its path on the way out."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.path: list[str | int] = []

    def as_invalid_facts(self) -> InvalidFacts:
        return _refused(self.path[::-1], self.reason, self.hint)


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_PATH = 12


def _format_path(path: list[str | int]) -> str:
    """Write a path as CEL would select it: ``User.Addresses[3].Zip``."""
    text = ""
    for part in path[:_MAX_PATH]:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _IDENTIFIER.fullmatch(part):
            text += f".{part}" if text else part
        else:
            shown = part if len(part) <= 64 else part[:61] + "..."
            text += f"[{json.dumps(shown)}]"
    return text + ("..." if len(path) > _MAX_PATH else "")


def _refused(path: list[str | int], reason: str, hint: str = "") -> InvalidFacts:
    where = f"{_format_path(path)}: " if path else ""
    return InvalidFacts(f"invalid facts: {where}{reason}", hint=hint)


def _too_deep(limits: FactLimits) -> str:
    return f"nested more than {limits.depth} levels deep"


def _too_large(limits: FactLimits) -> str:
    return f"larger than {limits.size:,} characters of JSON"


# --- from JSON text ------------------------------------------------------------------

# What decoding must look at closely is found in a copy of the text that has 0 for every
# digit and no plus signs: a run of 19 digits may be a number outside 64 bits, and an
# exponent of three digits one beyond all doubles. Byte searches make this cost far less
# than decoding.
_OUTLINE = bytes.maketrans(b"123456789E[", b"000000000e{")
_LONG_NUMBER = b"0" * 19
_LARGE_EXPONENT = b"0e000"


class _OutOfRange(Exception):
    """A number cannot be represented; also stands for it in facts once decoded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _checked_int(text: str) -> int:
    # 20 characters hold every 64-bit number; Python is slow on thousands of digits.
    if len(text) <= 20:
        number = int(text)
        if INT_MIN <= number <= INT_MAX:
            return number
    raise _OutOfRange(text)


def _checked_float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise _OutOfRange(text)
    return number


def _marking(parse: Callable[[str], object]) -> Callable[[str], object]:
    def parse_or_mark(text: str) -> object:
        try:
            return parse(text)
        except _OutOfRange as mark:
            return mark

    return parse_or_mark


def _refuse_constant(name: str) -> object:
    raise _Refusal(f"{name} is no JSON number")


def _decoder(**numbers: Any) -> Callable[[str], Any]:
    return json.JSONDecoder(parse_constant=_refuse_constant, **numbers).decode


# Every hook costs a call of Python for each number, so most facts go without.
_decode = _decoder()
_decode_exponents = _decoder(parse_float=_checked_float)
_decode_numbers = _decoder(parse_int=_checked_int, parse_float=_checked_float)
_decode_marking = _decoder(
    parse_int=_marking(_checked_int), parse_float=_marking(_checked_float)
)


def parse_facts(text: str, limits: FactLimits = DEFAULT_FACT_LIMITS) -> Facts:
    """Decode the JSON text of a ``jsonb`` object.

    Raises :class:`InvalidFacts` for what is no JSON object, for a number that fits
    neither 64 bits nor a double, and beyond the limits, naming the path where it can.
    """
    if len(text) > limits.size:
        raise _refused([], _too_large(limits))
    try:
        outline = text.encode().translate(_OUTLINE, b"+")
        if _LONG_NUMBER in outline:
            facts: Facts = _decode_numbers(text)
        elif _LARGE_EXPONENT in outline:
            facts = _decode_exponents(text)
        else:
            facts = _decode(text)
        _require_object(facts)
        # The search for one character is the faster, and most facts have no escapes.
        if "\\" in text and "\\u" in text:
            # Escapes can spell what jsonb refuses: NUL and halves of surrogate pairs.
            _Copy(limits).mapping(facts)
        elif len(text) > limits.depth and outline.count(b"{") > limits.depth:
            _refuse_depth(facts, limits)
    except _Refusal as refusal:
        raise refusal.as_invalid_facts() from None
    except _OutOfRange as mark:
        raise _out_of_range(text, mark) from None
    except json.JSONDecodeError as problem:
        raise _refused(
            [],
            f"no valid JSON at line {problem.lineno}, column {problem.colno}: "
            f"{problem.msg}",
        ) from None
    except UnicodeEncodeError:
        raise _refused([], _SURROGATE) from None
    except RecursionError:
        raise _refused([], _too_deep(limits)) from None
    return facts


# Decoding that many at once takes half as long as one by one; more is no faster. Of
# larger facts decoding is most of the work, and cannot be cancelled.
_TOGETHER = 64
_TOGETHER_SIZE = 64 * 1024


def parse_many(
    texts: list[str], limits: FactLimits = DEFAULT_FACT_LIMITS
) -> Iterator[Facts | InvalidFacts]:
    """Decode the JSON text of each ``jsonb`` as :func:`parse_facts` does.

    Gives the refusal in the place of facts that are refused.
    """
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        decoded = _decoded_together(some, limits)
        if decoded is not None:
            yield from decoded
            continue
        for text in some:
            try:
                yield parse_facts(text, limits)
            except InvalidFacts as refused:
                yield refused


def _decoded_together(texts: list[str], limits: FactLimits) -> list[Facts] | None:
    """The facts of some texts, or None where any needs a closer look."""
    joined = f"[{','.join(texts)}]"
    if len(joined) > min(limits.size, _TOGETHER_SIZE) or "\\u" in joined:
        return None
    if any(text.count("{") + text.count("[") > limits.depth for text in texts):
        return None
    try:
        outline = joined.encode().translate(_OUTLINE, b"+")
        if _LONG_NUMBER in outline or _LARGE_EXPONENT in outline:
            return None
        decoded: list[Facts] = _decode(joined)
    except (ValueError, RecursionError, _Refusal):
        return None
    if any(type(facts) is not dict for facts in decoded):
        return None
    return decoded


def _require_object(value: object) -> None:
    if type(value) is not dict:
        kinds = {bool: "a boolean", str: "a string", list: "an array"}
        kind = "null" if value is None else kinds.get(type(value), "a number")
        raise _Refusal(f"a JSON object is expected, not {kind}")


# Finding the path takes several times as long as decoding.
_MAX_TEXT_TO_SEARCH = 256 * 1024
_PARTS = frozenset({dict, list, _OutOfRange})


def _out_of_range(text: str, mark: _OutOfRange) -> InvalidFacts:
    """Decode again to find where the number stands, without recursion."""
    refused = _refused([], _number_out_of_range(mark.text))
    if len(text) > _MAX_TEXT_TO_SEARCH:
        return refused
    try:
        pending: list[tuple[list[str | int], Any]] = [([], _decode_marking(text))]
    except (ValueError, RecursionError, _Refusal):
        # There is more that is wrong, further on in the text.
        return refused
    while pending:
        path, value = pending.pop()
        if type(value) is _OutOfRange:
            return _refused(path, _number_out_of_range(value.text))
        if type(value) is dict:
            parts: Any = value.items()
        else:
            parts = enumerate(value)
        pending += [([*path, key], part) for key, part in parts if type(part) in _PARTS]
    # Of two values for one key only the later is kept; this one was the earlier.
    return refused


def _number_out_of_range(text: str) -> str:
    shown = text if len(text) <= 40 else f"{text[:20]}... ({len(text):,} characters)"
    fits = "double" if any(mark in text for mark in ".eE") else "64-bit integer"
    return f"the number {shown} does not fit a {fits}"


def _refuse_depth(facts: Facts, limits: FactLimits) -> None:
    """Count levels breadth first: brackets in strings make counting text inexact."""
    level: list[Any] = [facts]
    for _ in range(limits.depth):
        below: list[Any] = []
        for container in level:
            parts = container.values() if type(container) is dict else container
            below += [part for part in parts if type(part) in (dict, list)]
        if not below:
            return
        level = below
    raise _Refusal(_too_deep(limits))


# --- from Python ---------------------------------------------------------------------

_NUL = "the character NUL cannot be stored in jsonb"
_SURROGATE = "half of a surrogate pair is no character"


class _Copy:
    """A deep copy of a mapping in the form that ``jsonb`` would give back."""

    __slots__ = ("ancestors", "left", "limits")

    def __init__(self, limits: FactLimits) -> None:
        self.limits = limits
        # Bounds the work where one list is contained many times over.
        self.left = limits.size
        self.ancestors: list[object] = []

    def value(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int:
            if INT_MIN <= value <= INT_MAX:
                return value
            raise _Refusal(_int_out_of_range(value))
        if kind is bool or value is None:
            return value
        if kind is float:
            return _finite(value)
        # The test for the abstract type is the slow one.
        if kind is dict:
            return self.mapping(value)
        if isinstance(value, list | tuple):
            return self.array(value)
        if isinstance(value, Mapping):
            return self.mapping(value)
        return self.unusual(value)

    def text(self, text: str) -> str:
        self.spend(len(text))
        if "\0" in text:
            raise _Refusal(_NUL)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise _Refusal(_SURROGATE) from None
        return text

    def mapping(self, mapping: Mapping[Any, Any]) -> Facts:
        self.enter(mapping)
        # Quotes, colon, a character of the value, comma.
        self.spend(5 * len(mapping))
        copy: Facts = {}
        for key, part in mapping.items():
            if type(key) is str:
                name = key
            elif isinstance(key, str):
                name = str.__str__(key)
            else:
                raise _Refusal(
                    f"a key of type {type(key).__name__} is no string",
                    "JSON objects have string keys only.",
                )
            try:
                copy[self.text(name)] = self.value(part)
            except _Refusal as refusal:
                refusal.path.append(name)
                raise
        self.ancestors.pop()
        return _in_order(copy)

    def array(self, items: list[Any] | tuple[Any, ...]) -> list[Any]:
        self.enter(items)
        # A character of the value, comma.
        self.spend(2 * len(items))
        copy: list[Any] = []
        try:
            for part in items:
                copy.append(self.value(part))  # noqa: PERF401 - its length is the path
        except _Refusal as refusal:
            refusal.path.append(len(copy))
            raise
        self.ancestors.pop()
        return copy

    def spend(self, characters: int) -> None:
        self.left -= characters
        if self.left < 0:
            raise _Refusal(_too_large(self.limits))

    def enter(self, container: object) -> None:
        if len(self.ancestors) >= self.limits.depth:
            if any(ancestor is container for ancestor in self.ancestors):
                raise _Refusal("it contains itself")
            raise _Refusal(_too_deep(self.limits))
        self.ancestors.append(container)

    def unusual(self, value: object) -> object:
        """Reduce subclasses to their base, and values with a JSON text to that."""
        if isinstance(value, str):
            # Not str(): an Enum with a str base would answer with its own name.
            return self.text(str.__str__(value))
        if isinstance(value, int):
            return self.value(int.__int__(value))
        if isinstance(value, float):
            return _finite(float.__float__(value))
        if isinstance(value, Timestamp):
            return format_timestamp(value)
        if isinstance(value, Duration):
            return format_duration(value)
        return _from_standard_library(value)


def _in_order(facts: Facts) -> Facts:
    """The same facts, keys as jsonb orders them: the shorter first, then by bytes."""
    keys = list(facts)
    if "".join(keys).isascii():
        ordered = sorted(sorted(keys), key=len)
    else:
        ordered = sorted(keys, key=_length_and_bytes)
    return facts if ordered == keys else {key: facts[key] for key in ordered}


def _length_and_bytes(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded


def _int_out_of_range(value: int) -> str:
    # repr() of a huge int is an error of its own.
    shown = str(value) if value.bit_length() <= 128 else f"{value.bit_length()} bits"
    return f"the number {shown} does not fit a 64-bit integer"


def _finite(value: float) -> float:
    if not isfinite(value):
        raise _Refusal(f"{value} is no JSON number")
    # jsonb has no negative zero.
    return value + 0.0


def _from_standard_library(value: object) -> object:
    """Values of types whose modules are loaded only for facts that use them."""
    from datetime import date, datetime, timedelta
    from decimal import Decimal
    from uuid import UUID

    if isinstance(value, datetime):
        return _datetime_text(value)
    if isinstance(value, timedelta):
        nanos = (
            (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        ) * 1_000
        if not MIN_DURATION_NANOS <= nanos <= MAX_DURATION_NANOS:
            raise _Refusal(f"{value} is longer than CEL's durations, about 292 years")
        return format_duration(Duration(nanos))
    if isinstance(value, Decimal):
        return _decimal_number(value)
    if isinstance(value, UUID):
        return str(value)
    hint = (
        "Convert it to None, bool, int, float, str, list, tuple or a mapping. Also "
        "accepted: an aware datetime, timedelta, Decimal, UUID."
    )
    if isinstance(value, date):
        hint = "Give a datetime with a time zone, or text."
    raise _Refusal(f"a value of type {type(value).__name__} has no place in JSON", hint)


def _datetime_text(value: Any) -> str:
    from datetime import UTC

    if value.utcoffset() is None:
        raise _Refusal(
            "a datetime without a time zone is no point in time",
            "Give it a tzinfo, for example datetime.now(UTC).",
        )
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        raise _Refusal(f"{value} is outside the years 1 to 9999 in UTC") from None
    text = utc.strftime("%m-%dT%H:%M:%S")
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return f"{utc.year:04d}-{text}{fraction}Z"


def _decimal_number(value: Any) -> int | float:
    """An int where the text has neither fraction nor exponent, as in JSON."""
    if not value.is_finite():
        raise _Refusal(f"{value} is no JSON number")
    if value.as_tuple().exponent == 0 and value.adjusted() < 20:
        number = int(value)
        if INT_MIN <= number <= INT_MAX:
            return number
    elif value.as_tuple().exponent != 0:
        double = float(value)
        if isfinite(double):
            return double + 0.0
    raise _Refusal(_number_out_of_range(str(value)))


def facts_from_mapping(
    mapping: Mapping[str, Any], limits: FactLimits = DEFAULT_FACT_LIMITS
) -> Facts:
    """Validate and copy a mapping into exactly what ``jsonb`` would give back.

    Keys are ordered as ``jsonb`` orders them, tuples become lists, subclasses of
    str, int and float their base. An aware datetime becomes an RFC 3339 text in UTC, a
    timedelta a CEL duration text (``90s``), a UUID its text, a Decimal without fraction
    and exponent an int, any other Decimal a float.

    Raises :class:`InvalidFacts`, naming the path, for everything else: NaN, infinities,
    integers outside 64 bits, NUL, halves of surrogate pairs, keys that are no strings,
    cycles, other types, and beyond the limits.
    """
    # A caller without type checks may pass anything.
    given: object = mapping
    if not isinstance(given, Mapping):
        raise _refused([], f"a mapping is expected, not {type(given).__name__}")
    try:
        return _Copy(limits).mapping(mapping)
    except _Refusal as refusal:
        raise refusal.as_invalid_facts() from None
    except RecursionError:
        raise _refused([], _too_deep(limits)) from None


# --- to JSON text --------------------------------------------------------------------

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_quote: Callable[[str], str] = json.encoder.encode_basestring


def facts_to_json(
    mapping: Mapping[str, Any], limits: FactLimits = DEFAULT_FACT_LIMITS
) -> str:
    """JSON text for the database from which :func:`parse_facts` gets the same facts.

    ``jsonb`` writes 1e16 as 10000000000000000, an int; so doubles are written with a
    fraction, 10000000000000000.0. Raises what :func:`facts_from_mapping` raises.
    """
    facts = facts_from_mapping(mapping, limits)
    text = _encode(facts)
    if "e+" in text:
        # A double with an exponent, or text that looks like one.
        pieces: list[str] = []
        try:
            _write(facts, pieces, strict=True, left=limits.size)
        except EvaluationError:
            raise _refused([], _too_large(limits)) from None
        text = "".join(pieces)
    if len(text) > limits.size:
        raise _refused([], _too_large(limits))
    return text


def value_to_json(value: Value, *, strict: bool = True, limit: int = MAX_RESULT) -> str:
    """JSON text of a CEL value, for results and traces.

    int and uint are numbers, double a number with its fraction kept (``1.0``), or the
    strings ``NaN``, ``Infinity``, ``-Infinity``; bytes are base64, timestamps RFC 3339,
    durations seconds (``1.5s``), types their names, IP addresses and ranges their text;
    an optional is its value or null. Map keys become strings; of two keys that become
    the same string ``jsonb`` keeps the later.

    A string with NUL, which ``jsonb`` cannot hold, raises :class:`EvaluationError`, or
    has U+FFFD in its place when not ``strict``. So does a text of more characters than
    the ``limit``: a value is small where it contains one list many times, its text is
    not.
    """
    pieces: list[str] = []
    try:
        _write(value, pieces, strict=strict, left=limit)
    except RecursionError:
        raise EvaluationError("the result is nested too deep for JSON") from None
    return "".join(pieces)


def _json_string(text: str, *, strict: bool) -> str:
    if "\0" in text:
        if strict:
            raise EvaluationError(f"the result cannot be given as JSON: {_NUL}")
        text = text.replace("\0", "\ufffd")
    return _quote(text)


def _json_double(value: float) -> str:
    if not isfinite(value):
        return '"NaN"' if isnan(value) else f'"{"-" * (value < 0)}Infinity"'
    text = repr(value)
    if "e+" not in text:
        return text
    # The shortest digits, moved to the left of a point by zeros.
    mantissa, _, exponent = text.partition("e+")
    whole, _, fraction = mantissa.partition(".")
    return f"{whole}{fraction.ljust(int(exponent), '0')}.0"


def _write(value: Value, pieces: list[str], *, strict: bool, left: int) -> int:
    """Write a value; gives how many characters are left then."""
    kind = type(value)
    if kind is dict:
        separator = "{"
        for key, part in value.items():
            name = _json_string(_key_text(key), strict=strict)
            pieces += (separator, name, ":")
            left = _write(part, pieces, strict=strict, left=left - len(name) - 2)
            separator = ","
        text = "}" if value else "{}"
    elif kind is list:
        separator = "["
        for part in value:
            pieces.append(separator)
            left = _write(part, pieces, strict=strict, left=left - 1)
            separator = ","
        text = "]" if value else "[]"
    elif kind is Optional:
        return _write(value.value, pieces, strict=strict, left=left)
    elif kind is str:
        text = _json_string(value, strict=strict)
    elif value is None:
        text = "null"
    elif kind is bool:
        text = "true" if value else "false"
    elif kind is int:
        text = repr(value)
    elif kind is float:
        text = _json_double(value)
    else:
        text = _write_other(value)
    pieces.append(text)
    left -= len(text)
    if left < 0:
        raise EvaluationError(
            "the result is too large to be given as JSON",
            hint="select what is needed of it, or give its size()",
        )
    return left


def _key_text(key: Value) -> str:
    kind = type(key)
    if kind is str:
        return str(key)
    if kind is BoolKey:
        key = key.value
    if type(key) is bool:
        return "true" if key else "false"
    return str(int(key))


def _write_other(value: Value) -> str:
    kind = type(value)
    if kind is Uint:
        return repr(int(value))
    if kind is Timestamp:
        return f'"{format_timestamp(value)}"'
    if kind is Duration:
        return f'"{format_duration(value)}"'
    if kind is bytes:
        from base64 import b64encode

        return f'"{b64encode(value).decode("ascii")}"'
    if kind is Type or isinstance(value, Opaque):
        return _quote(str(value))
    raise EvaluationError(f"a value of type {kind.__name__} cannot be given as JSON")
$cel_facts$);

    v_sources := v_sources || jsonb_build_object('inference', $cel_inference$"""The gradual type checker: the type of every node, and what cannot be right.

A pass over the resolved tree (cel-spec, "Gradual Typing"). What nothing declares is
``dyn`` and fits everywhere; where types are known, a call that no overload fits is a
problem, and all problems of an expression are found together.

How far a node's type may be relied on: an evaluation of a node of type bool, int, uint,
double, string, bytes, list or map gives a value of that type or an error, provided that
variables hold what is declared. Of any other type but ``type`` the value may be null:
wrappers, timestamps, durations and abstract types are nullable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import source, types
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
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .reading import conversion
from .signatures import MOST_RESOLVED, Candidates, candidates
from .syntax import Call
from .temporal import Duration, Timestamp
from .types import (
    BOOL,
    DYN,
    INT,
    STRING,
    ObjectType,
    Type,
    TypeVariable,
    list_of,
    map_of,
    optional_of,
    spoken,
    type_of_type,
    unwrapped,
)
from .unification import (
    OBJECT_AS_MAP,
    Bindings,
    assign,
    grounded,
    instantiated,
    join,
    resolved,
    substituted,
)
from .values import Uint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .environment import Environment
    from .errors import Problem


def infer(tree: Checked, text: str, environment: Environment) -> list[Problem]:
    """Set the type of every node, and the conversions of declared facts.

    Gives the problems found, in source order.
    """
    inference = _Inference(text, environment)
    inference.visit(tree)
    for node in inference.unsettled:
        node.type = grounded(node.type, inference.bindings)
    return inference.problems


_CONSTANTS: dict[type, Type] = {
    bool: BOOL,
    bytes: types.BYTES,
    Duration: types.DURATION,
    float: types.DOUBLE,
    int: INT,
    type(None): types.NULL,
    str: STRING,
    Timestamp: types.TIMESTAMP,
    Uint: types.UINT,
}

OPTIONAL = types.OPTIONAL.name

# Looking for the nearest name takes a millisecond where there are many names.
_MOST_HINTS = 20

# What the value of a type's name denotes, where the type has parameters.
_DENOTED = {
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "optional_type": optional_of(DYN),
    "type": type_of_type(DYN),
}


class _Inference:
    """The types of macro variables, the bindings and the problems so far."""

    def __init__(self, text: str, environment: Environment) -> None:
        self.text = text
        self.variables = environment.variables or {}
        self.derived = environment.derived
        self.columns = environment.columns
        self.locals: dict[int, Type] = {}
        self.bindings = Bindings()
        self.unsettled: list[Checked] = []
        self.problems: list[Problem] = []

    def visit(self, node: Checked) -> Type:
        """The type of a node, which is also noted on it."""
        method = _VISITORS.get(type(node))
        if method is None:
            for child in node.children():
                self.visit(child)
            return DYN
        found = method(self, node)
        node.type = found
        if found.open:
            self.unsettled.append(node)
        return found

    # Problems

    def fail(self, place: int, message: str, hint: str = "") -> Type:
        self.problems.append(source.problem(self.text, place, message, hint))
        return DYN

    def written(self, node: Checked) -> str:
        """The node as its author wrote it, cut where it is long."""
        text = self.text[node.origin.start : node.origin.end]
        return text if len(text) <= 40 else text[:37] + "..."

    def declarations(self, nodes: Iterable[Checked]) -> list[str]:
        """What is declared of the facts among some nodes, as parts of a hint."""
        found = []
        for node in nodes:
            if isinstance(node, Field | OptionalField) and node.conversion is not None:
                found.append(f"{self.written(node)} is declared {node.conversion}")
            elif isinstance(node, Variable) and type(node.conversion) is str:
                found.append(f"the column {node.name} is {node.conversion}")
            elif isinstance(node, Variable) and node.name in self.derived:
                found.append(f"the derived field {node.name} is {spoken(node.type)}")
        return found

    def demand(self, node: Checked, wanted: Type, where: str) -> bool:
        """Report a node that cannot be of the wanted type."""
        fits = self.fits(node.type, wanted)
        if not fits:
            self.fail(
                node.origin.start,
                f"{where} needs {self.spoken(wanted)}, not {self.spoken(node.type)}",
                "; ".join(self.declarations([node])),
            )
        return fits

    def fits(self, actual: Type, wanted: Type) -> bool:
        if actual is wanted:
            return True
        mark = self.bindings.mark()
        if assign(actual, wanted, self.bindings):
            return True
        self.bindings.undo(mark)
        return False

    def spoken(self, of: Type) -> str:
        return spoken(grounded(of, self.bindings))

    # Names and values

    def constant(self, node: Constant) -> Type:
        value = node.value
        if type(value) is Type:
            return type_of_type(_DENOTED.get(value.name, value))
        return _CONSTANTS.get(type(value), DYN)

    def variable(self, node: Variable) -> Type:
        found = self.declared(node)
        if type(found) is ObjectType:
            node.conversion = found
        elif self.columns is not None and node.name not in self.derived:
            node.conversion = conversion(self.columns.declared, node.name)
        return found

    def declared(self, node: Variable) -> Type:
        name = node.name
        if name in self.derived:
            return self.derived[name].type
        return self.variables.get(name, DYN)

    def local(self, node: Local | Bound) -> Type:
        return self.locals.get(node.slot, DYN)

    def bind(self, node: Bind) -> Type:
        for slot, value in node.bindings:
            self.locals[slot] = self.visit(value)
        return self.visit(node.body)

    # Fields

    def field(self, node: Field) -> Type:
        found = self.selected(self.operand(node), node)
        if node.test:
            node.conversion = None
            return BOOL
        return found

    def optional_field(self, node: OptionalField) -> Type:
        found = self.selected(self.operand(node), node)
        return found if found.name == OPTIONAL else optional_of(found)

    def operand(self, node: Field | OptionalField) -> Type:
        """The type of what a field is selected from."""
        operand = node.operand
        if type(operand) is not Variable:
            return self.visit(operand)
        of = operand.type = self.declared(operand)
        if type(of) is ObjectType:
            # The fields of an object in the facts are converted one by one: it is
            # not read as a whole here.
            node.conversion = conversion(of.declared, node.name)
        return of

    def selected(self, of: Type, node: Field | OptionalField) -> Type:
        """The type of a field of a value; of an optional's, an optional."""
        of = resolved(of, self.bindings)
        if of is DYN:
            return DYN
        if of.name == OPTIONAL and type(of) is Type:
            found = self.selected(of.parameters[0], node)
            return found if found.name == OPTIONAL else optional_of(found)
        if type(of) is ObjectType:
            return self.member(of, node.name, node)
        if type(of) is TypeVariable:
            self.bindings.bind(of, DYN)
            return DYN
        if of.name == "map":
            return of.parameters[1]
        return self.fail(
            self.behind(node.operand, node),
            f"{self.spoken(of)} has no fields",
            "; ".join(self.declarations([node.operand]))
            or "only maps and objects have; test a key of a map with in",
        )

    def behind(self, operand: Checked, node: Checked) -> int:
        """The place of a selection's name, or of the whole where it has none."""
        end = operand.origin.end
        dot = self.text[end : end + 2]
        if dot[:1] != ".":
            return node.origin.start
        return end + 2 if dot == ".?" else end + 1

    def member(self, of: ObjectType, name: str, node: Checked) -> Type:
        """The type of a field that a schema declares."""
        found = of.fields.get(name)
        if found is not None:
            return found
        place = node.origin.start
        if isinstance(node, Field | OptionalField):
            place = self.behind(node.operand, node)
        near = "" if len(self.problems) >= _MOST_HINTS else _nearest(name, of.fields)
        if self.columns is not None:
            message, hint = self.columns.lacking(name)
            return self.fail(
                place, message, hint or (f"did you mean {near}?" if near else "")
            )
        hint = f"did you mean {near}?" if near else _listed(of)
        return self.fail(place, f"{of.name} has no field {name}", hint)

    # Calls

    def invoke(self, node: Invoke) -> Type:
        arguments = [self.visit(argument) for argument in node.arguments]
        function = node.function
        method = _is_method(node)
        found = candidates(
            function.signatures, method=method, arguments=len(arguments) - method
        )
        if found is None:
            return DYN
        result = self.result(found, arguments)
        if result is None:
            return self.fail(node.place, *self.mismatch(node, method))
        if function.name == "_[_]" and type(arguments[0]) is ObjectType:
            return self.indexed(arguments[0], node)
        return result

    def indexed(self, of: ObjectType, node: Invoke) -> Type:
        """``User["Age"]``: a schema's object under a key that may be known."""
        key = node.arguments[1]
        if isinstance(key, Constant) and type(key.value) is str:
            return self.member(of, key.value, key)
        return DYN

    def result(self, found: Candidates, arguments: list[Type]) -> Type | None:
        """The type of a call, or None where no overload takes the arguments."""
        for argument in arguments:
            if not argument.common or argument.depth > 1:
                return self.overloaded(found, arguments)
        key = tuple(arguments)
        kept = found.resolved
        if key in kept:
            return kept[key]
        result = self.overloaded(found, arguments)
        if (result is None or not result.open) and len(kept) < MOST_RESOLVED:
            kept[key] = result
        return result

    def overloaded(self, found: Candidates, arguments: list[Type]) -> Type | None:
        """As cel-spec's overload resolution: the common result of those that fit."""
        result: Type | None = None
        bindings = self.bindings
        for overload in found.overloads:
            parameters, returned = overload.parameters, overload.result
            if overload.variables:
                fresh = {v: TypeVariable(v.name) for v in overload.variables}
                parameters = tuple(instantiated(p, fresh) for p in parameters)
                returned = instantiated(returned, fresh)
            mark = bindings.mark()
            if not all(
                assign(argument, parameter, bindings)
                for argument, parameter in zip(arguments, parameters, strict=True)
            ):
                bindings.undo(mark)
                continue
            returned = substituted(returned, bindings)
            if result is None:
                result = returned
            elif result != returned:
                result = DYN
        return result

    def mismatch(self, node: Invoke, method: bool) -> tuple[str, str]:
        """Message and hint of a call that no overload fits."""
        arguments = node.arguments
        kinds = [self.spoken(argument.type) for argument in arguments]
        name = node.function.name
        hints = self.declarations(arguments)
        if name in _SYMBOLS:
            symbol, phrase = _SYMBOLS[name]
            message = phrase.format(*kinds, symbol=symbol)
            hint = self.way_out(arguments)
            return message, "; ".join([*hints, hint] if hint else hints)
        if method:
            call = f"{kinds[0]}.{name}({', '.join(kinds[1:])})"
        else:
            call = f"{name}({', '.join(kinds)})"
        hints.append(f"there is {node.function.usage()}")
        return f"no matching overload for {call}", "; ".join(hints)

    def way_out(self, arguments: list[Checked]) -> str:
        """How to make the types of two operands agree, where that is plain."""
        if len(arguments) != 2:
            return ""
        for one, other in (arguments, arguments[::-1]):
            have = unwrapped(resolved(one.type, self.bindings))
            want = unwrapped(resolved(other.type, self.bindings))
            value = one.value if isinstance(one, Constant) else None
            if type(value) is int and want is types.DOUBLE:
                return f"write {value}.0"
            if type(value) is int and value >= 0 and want is types.UINT:
                return f"write {value}u"
            if type(value) is str and want in (INT, types.DOUBLE):
                return f"write {value} without quotes" if _is_number(value) else ""
            if type(value) is str and want in (types.TIMESTAMP, types.DURATION):
                return f"write {spoken(want)}({self.written(one)})"
            if have is INT and want in (types.DOUBLE, types.UINT):
                return f"convert one of them, as in {want}({self.written(one)})"
        return ""

    # Operators with a node of their own

    def chain(self, node: Chain) -> Type:
        for operand in node.operands:
            self.visit(operand)
            self.demand(operand, BOOL, node.operator)
        return BOOL

    def choice(self, node: Choice) -> Type:
        self.visit(node.condition)
        self.demand(node.condition, BOOL, "the condition of ?:")
        then, otherwise = self.visit(node.then), self.visit(node.otherwise)
        found = join(then, otherwise, self.bindings)
        if found is None:
            kinds = f"{self.spoken(then)} and {self.spoken(otherwise)}"
            return self.fail(
                node.then.origin.start,
                f"the branches of ?: have different types, {kinds}",
                "convert one of them, or wrap one in dyn()",
            )
        return found

    def joined(self, kinds: Iterable[Type]) -> Type:
        """The common type of elements: dyn where they have none."""
        found: Type | None = None
        for kind in kinds:
            found = kind if found is None else join(found, kind, self.bindings) or DYN
        return TypeVariable("element") if found is None else found

    def make_list(self, node: MakeList) -> Type:
        return list_of(self.joined(map(self.visit, node.elements)))

    def make_map(self, node: MakeMap) -> Type:
        # Key by key and value by value, as problems are reported in source order.
        kinds = [(self.visit(key), self.visit(value)) for key, value in node.entries]
        return map_of(
            self.joined(key for key, _ in kinds),
            self.joined(value for _, value in kinds),
        )

    def make_optional_list(self, node: MakeOptionalList) -> Type:
        return list_of(
            self.joined(
                self.given(element, number in node.optionals)
                for number, element in enumerate(node.elements)
            )
        )

    def make_optional_map(self, node: MakeOptionalMap) -> Type:
        kinds = [
            (self.visit(key), self.given(value, number in node.optionals))
            for number, (key, value) in enumerate(node.entries)
        ]
        return map_of(
            self.joined(key for key, _ in kinds),
            self.joined(value for _, value in kinds),
        )

    def given(self, node: Checked, optional: bool) -> Type:
        """The type of an element, behind a '?' of what the optional has."""
        kind = self.visit(node)
        if not optional:
            return kind
        inner = TypeVariable("value")
        return inner if self.demand(node, optional_of(inner), "?") else DYN

    # Macros

    def loop(self, node: Loop) -> Type:
        if node.kind in ("optMap", "optFlatMap"):
            return self.map_optional(node)
        key, element = self.ranged(node.range)
        self.locals[node.slot] = variable = key if element is None else element
        result = self.body(node)
        if node.kind in ("filter", "sortBy"):
            return list_of(variable)
        return BOOL if node.transform is None else list_of(result)

    def pair_loop(self, node: PairLoop) -> Type:
        key, element = self.ranged(node.range, pairs=True)
        self.locals[node.slot] = key
        self.locals[node.second_slot] = DYN if element is None else element
        result = self.body(node)
        if node.kind == "transformList":
            return list_of(result)
        if node.kind == "transformMap":
            return map_of(key, result)
        if node.kind == "transformMapEntry":
            assert node.transform is not None
            entries = map_of(TypeVariable("key"), TypeVariable("value"))
            return entries if self.demand(node.transform, entries, node.kind) else DYN
        return BOOL

    def body(self, node: Loop | PairLoop) -> Type:
        """The type of what a loop makes in a turn; bool where it decides only."""
        if node.condition is not None:
            self.visit(node.condition)
            self.demand(node.condition, BOOL, f"the condition of {node.kind}")
        return BOOL if node.transform is None else self.visit(node.transform)

    def map_optional(self, node: Loop) -> Type:
        self.visit(node.range)
        value = TypeVariable("value")
        known = self.demand(node.range, optional_of(value), node.kind)
        self.locals[node.slot] = value if known else DYN
        assert node.transform is not None
        result = self.visit(node.transform)
        if node.kind == "optMap":
            return optional_of(result)
        inner = optional_of(TypeVariable("value"))
        return inner if self.demand(node.transform, inner, node.kind) else DYN

    def ranged(self, node: Checked, *, pairs: bool = False) -> tuple[Type, Type | None]:
        """Keys and elements of what a macro loops over.

        A map has elements for macros with two variables only.
        """
        of = resolved(self.visit(node), self.bindings)
        if type(of) is ObjectType:
            of = OBJECT_AS_MAP
        if of.name == "list":
            return INT, of.parameters[0]
        if of.name == "map":
            return of.parameters[0], of.parameters[1] if pairs else None
        if type(of) is TypeVariable:
            self.bindings.bind(of, DYN)
        elif of is not DYN:
            self.fail(
                node.origin.start,
                f"a macro loops over a list or a map, not {self.spoken(of)}",
                "; ".join(self.declarations([node])),
            )
        return DYN, None


_VISITORS: dict[type, Callable[[_Inference, Any], Type]] = {
    Bind: _Inference.bind,
    Bound: _Inference.local,
    Chain: _Inference.chain,
    Choice: _Inference.choice,
    Constant: _Inference.constant,
    Field: _Inference.field,
    Invoke: _Inference.invoke,
    Local: _Inference.local,
    Loop: _Inference.loop,
    MakeList: _Inference.make_list,
    MakeMap: _Inference.make_map,
    MakeOptionalList: _Inference.make_optional_list,
    MakeOptionalMap: _Inference.make_optional_map,
    OptionalField: _Inference.optional_field,
    PairLoop: _Inference.pair_loop,
    Variable: _Inference.variable,
}

# Operators as they are written, and what is said where their operands do not fit.
_COMPARED = "cannot compare {0} with {1}"
_UNDEFINED = "{symbol} is not defined for {0} and {1}"
_SYMBOLS = {
    "_==_": ("==", _COMPARED),
    "_!=_": ("!=", _COMPARED),
    "_<_": ("<", _COMPARED),
    "_<=_": ("<=", _COMPARED),
    "_>_": (">", _COMPARED),
    "_>=_": (">=", _COMPARED),
    "_+_": ("+", _UNDEFINED),
    "_-_": ("-", _UNDEFINED),
    "_*_": ("*", _UNDEFINED),
    "_/_": ("/", _UNDEFINED),
    "_%_": ("%", _UNDEFINED),
    "@in": ("in", "in needs a list or a map of such values: cannot find {0} in {1}"),
    "_[_]": ("[]", "{0} has no element under a key of type {1}"),
    "-_": ("-", "- is not defined for {0}"),
    "!_": ("!", "! needs bool, not {0}"),
}


def _is_method(node: Invoke) -> bool:
    """Whether a call is written target.name(arguments)."""
    call = node.origin
    return isinstance(call, Call) and len(node.arguments) > len(call.arguments)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def _listed(of: ObjectType) -> str:
    names = sorted(of.fields)
    more = ", ..." if len(names) > 10 else ""
    return f"its fields are {', '.join(names[:10])}{more}"
$cel_inference$);

    v_sources := v_sources || jsonb_build_object('interpreter', $cel_interpreter$"""Checked tree to closures: the evaluator that defines what an expression means.

Each node becomes a function of the evaluation's state. Errors are exceptions; the
logical operators and the macros ``all`` and ``exists`` absorb them where another
operand decides (cel-spec, "Logical Operators" and "Macros"). The cost limit and the
server's wish to stop are never absorbed. The nodes that only extensions make are
in ``ext_interpreter``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .checked import (
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Failure,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    MakeMap,
    PairLoop,
    Variable,
    count,
)
from .errors import CostLimitExceeded, EvaluationError
from .evaluation import Evaluation
from .operators import shown
from .reading import NATIVE, not_an_object, read_field, read_object
from .values import (
    ABSENT,
    Optional,
    Uint,
    Value,
    encode_key,
    map_keys,
    type_of,
)

Closure = Callable[[Evaluation], Value]

Turns = Callable[[Evaluation], Iterable[Value]]
"""A loop's turns: an iterator over the elements. Before each turn it sets the macro's
variables and charges for its body."""

_LOOPS = frozenset({"all", "exists", "exists_one", "filter", "map"})


def straight_cost(node: Checked) -> int:
    """The cost of a tree without the bodies of its loops: one for each node."""
    return 1 + sum(map(straight_cost, node.straight_children()))


def body_cost(node: Loop | PairLoop) -> int:
    """The cost of one turn of a loop: one, and one for each node of its body."""
    parts = [part for part in (node.condition, node.transform) if part is not None]
    return 1 + sum(map(count, parts))


def interpret(tree: Checked, *, trace: bool = False) -> Closure:
    """The closure that evaluates a checked tree.

    With ``trace``, the outcomes of the nodes in :func:`~.trace.straight_nodes` go to
    ``state.trace`` under the node's number.
    """
    if not trace:
        return Interpreter({}).build(tree)
    from .trace import straight_nodes

    numbers = {id(node): number for number, node in enumerate(straight_nodes(tree))}
    return Interpreter(numbers).build(tree)


class Interpreter:
    """Builds closures; ``traced`` numbers the nodes whose outcome is recorded.

    ``bound`` has the closures of the values of :class:`~.checked.Bind`, by slot.
    """

    def __init__(self, traced: dict[int, int]) -> None:
        self.traced = traced
        self.bound: dict[int, Closure] = {}

    def build(self, node: Checked) -> Closure:
        closure = self.plain(node)
        number = self.traced.get(id(node))
        return closure if number is None else _recorded(closure, number)

    def plain(self, node: Checked) -> Closure:
        match node:
            case Constant(value=value):
                return lambda state: value
            case Variable():
                return _variable(node)
            case Local(slot=slot):
                return lambda state: state.locals[slot]
            case Field():
                return _field(node, self.build(node.operand))
            case Invoke():
                return _invoke(node, [self.build(a) for a in node.arguments])
            case Chain(operator=operator):
                operands = [self.build(operand) for operand in node.operands]
                return _chain(operator == "||", node, operands)
            case Choice():
                return _choice(
                    node,
                    self.build(node.condition),
                    self.build(node.then),
                    self.build(node.otherwise),
                )
            case MakeList():
                elements = [self.build(element) for element in node.elements]
                return lambda state: [element(state) for element in elements]
            case MakeMap():
                return _make_map(
                    [
                        (self.build(key), self.build(value), key.origin.start)
                        for key, value in node.entries
                    ]
                )
            case Loop(kind=kind) if kind in _LOOPS:
                return self.loop(node)
            case Failure(problem=problem):
                return _failure(problem.message, node.origin.start)
        from . import ext_interpreter

        return ext_interpreter.build(self, node)

    def loop(self, node: Loop) -> Closure:
        cost = body_cost(node)
        turns = _turns(node, self.build(node.range), cost)
        condition = None if node.condition is None else self.build(node.condition)
        if condition is not None:
            if node.kind in ("all", "exists"):
                return quantifier(node, turns, condition)
            if node.kind == "exists_one":
                return exists_one(node, turns, condition)
            turns = selected(node, turns, condition)
        if node.transform is None:
            return lambda state: list(turns(state))
        transform = self.build(node.transform)
        return lambda state: [transform(state) for _ in turns(state)]


def _recorded(closure: Closure, number: int) -> Closure:
    def recorded(state: Evaluation) -> Value:
        assert state.trace is not None
        try:
            value = closure(state)
        except EvaluationError as error:
            state.trace[number] = error
            raise
        state.trace[number] = value
        return value

    return recorded


def at(error: EvaluationError, place: int) -> EvaluationError:
    """The error with its place, unless a part of the expression set it already."""
    if error.place is None:
        error.place = place
    return error


def _failure(message: str, place: int) -> Closure:
    def failure(state: Evaluation) -> Value:
        raise at(EvaluationError(message), place)

    return failure


def _variable(node: Variable) -> Closure:
    name, fallback, place = node.name, node.fallback, node.origin.start

    def variable(state: Evaluation) -> Value:
        try:
            return state.variables[name]
        except KeyError:
            if fallback is not None:
                return fallback
            raise at(EvaluationError(f"no such key: {name}"), place) from None
        except EvaluationError as error:
            # Of a derived field, which is computed when it is read.
            raise at(error, place)  # noqa: B904 - it is the same error

    declared = node.conversion
    if declared is None:
        return variable
    if isinstance(declared, str):
        return _converted(variable, declared, name, place)
    of = declared

    def whole(state: Evaluation) -> Value:
        value = variable(state)
        try:
            return read_object(state, value, of)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return whole


def dotted(node: Checked) -> str | None:
    """The path of a field as the rule's author wrote it, for messages."""
    if isinstance(node, Variable | Local | Bound):
        return node.name
    if isinstance(node, Field):
        operand = dotted(node.operand)
        return None if operand is None else f"{operand}.{node.name}"
    return None


def _field(node: Field, operand: Closure) -> Closure:
    name, place = node.name, node.origin.start
    path = dotted(node) or name

    def fail(value: Value) -> EvaluationError:
        if type(value) is dict:
            return at(
                EvaluationError(f"no such key: {path}", hint=f"test has({path}) first"),
                place,
            )
        if node.conversion is not None:
            return at(not_an_object(dotted(node.operand) or path, value), place)
        return no_fields(path, value, place)

    def field(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict and name in value:
            return value[name]
        if type(value) is Optional:
            return field_of_optional(name, path, value, place)
        raise fail(value)

    def test(state: Evaluation) -> Value:
        value = operand(state)
        if type(value) is dict:
            return name in value
        if type(value) is Optional:
            return field_of_optional(name, path, value, place).present
        raise fail(value)

    if node.test:
        return test
    if node.conversion is None:
        return field
    return _converted(field, node.conversion, path, place)


def _converted(read: Closure, declared: str, path: str, place: int) -> Closure:
    """The closure of a declared fact, as a value of its type."""
    native = NATIVE.get(declared)

    def converted(state: Evaluation) -> Value:
        value = read(state)
        if type(value) is native:
            return value
        try:
            return read_field(state, value, declared, path)
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return converted


def no_fields(path: str, value: Value, place: int) -> EvaluationError:
    """The error of a selection from a value that is no map."""
    message = f"no such key: {path}: {type_of(value)} has no fields"
    return at(EvaluationError(message), place)


def field_of_optional(name: str, path: str, optional: Optional, place: int) -> Optional:
    """A field of an optional map, which is optional."""
    if not optional.present:
        return optional
    value = optional.value
    if type(value) is not dict:
        raise no_fields(path, value, place)
    return Optional(value[name]) if name in value else ABSENT


def _invoke(node: Invoke, arguments: list[Closure]) -> Closure:
    implementation, place = node.function.implementation, node.place
    deferred = node.function.deferred
    if deferred is not None:

        def defer(state: Evaluation) -> Value:
            try:
                return deferred(state, *arguments)
            except EvaluationError as error:
                raise at(error, place)  # noqa: B904 - it is the same error

        return defer
    if len(arguments) == 1:
        (only,) = arguments

        def unary(state: Evaluation) -> Value:
            try:
                return implementation(state, only(state))
            except EvaluationError as error:
                raise at(error, place)  # noqa: B904 - it is the same error

        return unary
    if len(arguments) == 2:
        first, second = arguments

        def binary(state: Evaluation) -> Value:
            try:
                return implementation(state, first(state), second(state))
            except EvaluationError as error:
                raise at(error, place)  # noqa: B904 - it is the same error

        return binary

    def call(state: Evaluation) -> Value:
        try:
            return implementation(state, *[argument(state) for argument in arguments])
        except EvaluationError as error:
            raise at(error, place)  # noqa: B904 - it is the same error

    return call


def not_bool(value: Value, place: int, where: str) -> EvaluationError:
    """The error of a condition that is no bool."""
    message = f"no such overload: {where} needs bool, not {type_of(value)}"
    return at(EvaluationError(message), place)


def _chain(decisive: bool, node: Chain, operands: list[Closure]) -> Closure:
    """``||`` where true decides, ``&&`` where false does."""
    placed = [
        (operand, part.origin.start)
        for operand, part in zip(operands, node.operands, strict=True)
    ]
    operator = node.operator

    def chain(state: Evaluation) -> Value:
        failure: EvaluationError | None = None
        for operand, place in placed:
            try:
                value = operand(state)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or not_bool(value, place, operator)
        if failure is not None:
            raise failure
        return not decisive

    return chain


def _choice(
    node: Choice, condition: Closure, then: Closure, otherwise: Closure
) -> Closure:
    place = node.condition.origin.start

    def choice(state: Evaluation) -> Value:
        value = condition(state)
        if value is True:
            return then(state)
        if value is False:
            return otherwise(state)
        raise not_bool(value, place, "?:")

    return choice


def _make_map(entries: list[tuple[Closure, Closure, int]]) -> Closure:
    def make_map(state: Evaluation) -> Value:
        made: dict[Value, Value] = {}
        for key, value, place in entries:
            insert(made, key(state), value(state), place)
        return made

    return make_map


def insert(made: dict[Value, Value], key: Value, value: Value, place: int) -> None:
    """Add an entry to a map; its key must be new and of a type that a key can have."""
    if type(key) not in (str, int, Uint, bool):
        raise at(EvaluationError(f"unsupported key type: {type_of(key)}"), place)
    stored = encode_key(key)
    if stored in made:
        raise at(EvaluationError(f"repeated key in a map: {shown(key)}"), place)
    made[stored] = value


# Macros


def _turns(node: Loop, looped: Closure, cost: int) -> Turns:
    """One variable: a list's elements or a map's keys."""
    slot = node.slot

    def turns(state: Evaluation) -> Iterator[Value]:
        value = looped(state)
        if type(value) is dict:
            value = map_keys(value)
        elif type(value) is not list:
            raise no_loop(node, value)
        slots, charge = state.locals, state.charge
        for element in value:
            charge(cost)
            slots[slot] = element
            yield element

    return turns


def no_loop(node: Loop | PairLoop, value: Value) -> EvaluationError:
    """The error of a macro over a value that it has no meaning for."""
    message = f"no such overload: {type_of(value)}.{node.kind}()"
    return at(EvaluationError(message), node.place)


def selected(node: Loop | PairLoop, turns: Turns, condition: Closure) -> Turns:
    """The turns for which the condition is true."""
    assert node.condition is not None
    kind, place = node.kind, node.condition.origin.start

    def select(state: Evaluation) -> Iterator[Value]:
        for element in turns(state):
            value = condition(state)
            if value is True:
                yield element
            elif value is not False:
                raise not_bool(value, place, kind)

    return select


def quantifier(node: Loop | PairLoop, turns: Turns, condition: Closure) -> Closure:
    """``exists``, where a true decides, or ``all``, where a false does."""
    assert node.condition is not None
    kind, place = node.kind, node.condition.origin.start
    decisive = kind == "exists"

    def quantified(state: Evaluation) -> Value:
        failure: EvaluationError | None = None
        for _ in turns(state):
            try:
                value = condition(state)
            except CostLimitExceeded:
                raise
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = failure or not_bool(value, place, kind)
        if failure is not None:
            raise failure
        return not decisive

    return quantified


def exists_one(node: Loop | PairLoop, turns: Turns, condition: Closure) -> Closure:
    """Whether the condition is true for one element and no more; errors are errors."""
    assert node.condition is not None
    place = node.condition.origin.start

    def is_one(state: Evaluation) -> Value:
        found = 0
        for _ in turns(state):
            value = condition(state)
            if value is True:
                found += 1
            elif value is not False:
                raise not_bool(value, place, "exists_one")
        return found == 1

    return is_one
$cel_interpreter$);

    v_sources := v_sources || jsonb_build_object('interruption', $cel_interruption$"""Whether the server wants this statement to end.

While Python runs, the server cannot end a statement: ``statement_timeout``,
``lock_timeout``, cancel requests and ``pg_terminate_backend`` only set flags, which
the server looks at between steps of its own. So the language looks at them too, and
gives up by returning, after which the server raises its error. (PostgreSQL sources,
src/backend/tcop/postgres.c, ProcessInterrupts.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable


def _cancel_flags() -> Callable[[], bool] | None:
    """A test of the server's wish to end this statement; None outside a server."""
    import ctypes

    try:
        server = ctypes.CDLL(None)
        # sig_atomic_t is int on every platform that PostgreSQL runs on.
        query = ctypes.c_int.in_dll(server, "QueryCancelPending")
        process = ctypes.c_int.in_dll(server, "ProcDiePending")  # pragma: no cover
    except (OSError, ValueError):
        return None
    # Reached in PostgreSQL's own processes alone.
    return lambda: bool(query.value or process.value)  # pragma: no cover


interrupted = _cancel_flags()


def give_way() -> None:
    """Raise :class:`Interrupted` where the server asked to stop.

    For what takes long without being an evaluation: decoding, compiling, many rules.
    """
    if interrupted is not None and interrupted():
        raise Interrupted
$cel_interruption$);

    v_sources := v_sources || jsonb_build_object('key_index', $cel_key_index$"""Access keys as rows of an index, and facts as questions to it.

A key becomes an :class:`Entry`: a *term*, 64 bits of a hash over what the key looks at
and the values that it wants there, and for a range its two ends. What keys of one form
look at is their *shape*; the shapes of all keys say which terms some facts have. So an
index needs to find integers, and intervals around an integer, and nothing else.

Intervals are found as in a relational interval tree (Kriegel, Pötke, Seidl: "Managing
Intervals Efficiently in Object-Relational Databases", VLDB 2000). Each belongs to one
node of a binary tree over all coordinates, the topmost that lies in it, which is part
of the term. The facts' value has one node at each level that could be it; of those at
or below the value the interval must end at the value or behind, of those above it must
begin at the value or before. A shape with a range has a row for each level in use.

Hashes may collide, and shapes may be made coarser where a tenant's rules would have too
many: more rules are then looked at than need be, never fewer.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from .key_values import (
    HIGHEST,
    LOWEST,
    Attribute,
    Path,
    canonical,
    coordinate,
    read,
)
from .keys import Equal, Key, Keys, first_path, rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .facts import Facts

ALWAYS: Final = 0
"""The term of rules that have no keys; all facts have it."""

# Shapes that keys may have: of several parts, of one, and of a part of a path. Each
# costs the look-up of facts that have its fields some microseconds.
_MOST_JOINED: Final = 64
_MOST_SINGLE: Final = 512
_MOST_ROOTS: Final = 640


class Entry(NamedTuple):
    """A key in the index; ``low`` and ``high`` are the ends of its range."""

    term: int
    low: int | None = None
    high: int | None = None


class Questions(NamedTuple):
    """Which entries of an index hold in some facts.

    Those of one of the ``terms``, without a range; of a term ``above`` if they end at
    its value or behind it, and of a term ``below`` if they begin there or before.
    """

    terms: set[int]
    above: list[tuple[int, int]]
    below: list[tuple[int, int]]

    def finds(self, entry: Entry) -> bool:
        """Whether an entry is among those that hold."""
        term, low, high = entry
        if low is None or high is None:
            return term in self.terms
        return any(t == term and high >= end for t, end in self.above) or any(
            t == term and low <= end for t, end in self.below
        )


class Shape(NamedTuple):
    """The attributes that a key's values are of, and its range's with its kind."""

    equals: tuple[Attribute, ...]
    within: Attribute | None = None
    kind: str = ""


class Shapes:
    """The shapes of the keys in an index, with the levels of those with a range.

    As text each is a JSON array: the level or null, the values' attributes, and the
    range's; an attribute is its reading, its prefix's length and its path.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.levels: dict[Shape, set[int]] = {}
        self.added: list[str] = []
        self._seeds: dict[Shape, bytes] = {}
        for text in texts:
            level, equals, within, kind = json.loads(text)
            shape = Shape(
                tuple(map(_attribute, equals)), within and _attribute(within), kind
            )
            levels = self.levels.setdefault(shape, set())
            if level is not None:
                levels.add(level)

    def _add(self, shape: Shape, level: int | None) -> None:
        levels = self.levels.get(shape)
        if levels is None:
            levels = self.levels[shape] = set()
        elif level is None or level in levels:
            return
        if level is not None:
            levels.add(level)
        self.added.append(_text(shape, level))

    def _seed(self, shape: Shape) -> bytes:
        seed = self._seeds.get(shape)
        if seed is None:
            text = _text(shape, None).encode("utf-8", "surrogatepass")
            seed = self._seeds[shape] = blake2b(text, digest_size=16).digest()
        return seed

    # Storing

    def entries(self, keys: Keys) -> set[Entry]:
        """The entries of a rule's keys, whose shapes are added where they are new.

        ``added`` has the texts of those that were.
        """
        if keys.always:
            return {Entry(ALWAYS)}
        if len(keys.alternatives) == 1:
            return {self._entry(keys.alternatives[0])}
        return {self._entry(key) for key in keys.alternatives}

    def _entry(self, key: Key) -> Entry:
        found, shape = self._suitable(key)
        values = [equal.value for equal in found.equals]
        if found.within is None:
            self._add(shape, None)
            return Entry(_term(self._seed(shape), values))
        low, high = found.within.low, found.within.high
        level, node = _fork(low, high)
        self._add(shape, level)
        return Entry(_term(self._seed(shape), values, node), low, high)

    def _suitable(self, key: Key) -> tuple[Key, Shape]:
        """The key, or a wider one where there are too many shapes already."""
        shape = _shape(key)
        if shape in self.levels:
            return key, shape
        for found, most in _coarser(key):
            shape = _shape(found)
            if shape in self.levels or len(self.levels) < most:
                return found, shape
        raise AssertionError("the widest shape is always taken")

    # Looking up

    def questions(self, facts: Facts) -> Questions:
        """What to ask the index for these facts."""
        asked = Questions({ALWAYS}, [], [])
        values: dict[Attribute, list[bytes]] = {}
        for shape, levels in self.levels.items():
            parts = []
            for attribute in shape.equals:
                found = values.get(attribute)
                if found is None:
                    found = values[attribute] = _values(facts, attribute)
                if not found:
                    break
                parts.append(found)
            else:
                seed = self._seed(shape)
                if shape.within is None:
                    asked.terms.update(_term(seed, each) for each in product(*parts))
                else:
                    self._ask(asked, facts, shape, levels, list(product(*parts)))
        return asked

    def _ask(
        self,
        asked: Questions,
        facts: Facts,
        shape: Shape,
        levels: set[int],
        values: list[tuple[bytes, ...]],
    ) -> None:
        """What to ask for a shape with a range."""
        assert shape.within is not None
        seed = self._seed(shape)
        positions = set()
        for value in read(facts, shape.within):
            found = coordinate(value)
            if found is not None and found[0] == shape.kind:
                positions.add(found[1])
        for position in positions:
            for level in levels:
                node = _node(position, level)
                asking = asked.above if position >= node else asked.below
                asking.extend((_term(seed, each, node), position) for each in values)


def _shape(key: Key) -> Shape:
    within = key.within
    equals = tuple([equal.attribute for equal in key.equals])
    if within is None:
        return Shape(equals)
    return Shape(equals, within.attribute, within.kind)


def _attribute(parts: list[str | int | None]) -> Attribute:
    reading, prefix, *path = parts
    assert type(reading) is str
    assert type(prefix) is int
    return Attribute(tuple(path), reading, prefix)


def _listed(attribute: Attribute) -> list[object]:
    return [attribute.reading, attribute.prefix, *attribute.path]


def _text(shape: Shape, level: int | None) -> str:
    within = None if shape.within is None else _listed(shape.within)
    return json.dumps([level, list(map(_listed, shape.equals)), within, shape.kind])


def _values(facts: Facts, attribute: Attribute) -> list[bytes]:
    found = (canonical(value) for value in read(facts, attribute))
    if attribute.reading == "there":
        return [b"" for _ in found][:1]
    return list(dict.fromkeys(value for value in found if value is not None))


def _term(seed: bytes, values: Iterable[bytes], node: int | None = None) -> int:
    """The hash of a shape with its values, which is never that of ``ALWAYS``."""
    parts = [seed]
    for value in values:
        parts += (len(value).to_bytes(8, "big"), value)
    if node is not None:
        parts.append(node.to_bytes(8, "big", signed=True))
    digest = blake2b(b"".join(parts), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def _fork(low: int, high: int) -> tuple[int, int]:
    """The level and the node of an interval: the topmost node that lies in it."""
    level = (low - LOWEST ^ high - LOWEST).bit_length()
    return level, _cleared(high, level - 1) if level else high


def _node(position: int, level: int) -> int:
    """The node of a level that an interval around the position can belong to."""
    return _cleared(position, level) + (1 << level >> 1) if level else position


def _cleared(position: int, bits: int) -> int:
    """A coordinate whose last bits are those of the lowest coordinate."""
    return ((position - LOWEST) >> bits << bits) + LOWEST


def _coarser(key: Key) -> Iterator[tuple[Key, int]]:
    """A key and wider ones in its place, each with the shapes that may be before."""
    parts = [Key((equal,)) for equal in key.equals]
    if key.within is not None:
        parts.append(Key((), key.within))
    if len(parts) > 1:
        yield key, _MOST_JOINED
        if key.within is not None and len(key.equals) > 1:
            yield Key(key.equals), _MOST_JOINED
    single = min(parts, key=rank)
    yield single, _MOST_SINGLE
    path = first_path(single)
    if len(path) > 1 and type(path[1]) is str:
        yield _has_key(path[:1], path[1]), _MOST_ROOTS
    assert type(path[0]) is str
    yield _has_key((), path[0]), HIGHEST


def _has_key(path: Path, name: str) -> Key:
    """A map that has a key, as a value among the map's keys."""
    value = canonical(name)
    assert value is not None
    return Key((Equal(Attribute((*path, None), "value"), value, name),))
$cel_key_index$);

    v_sources := v_sources || jsonb_build_object('key_values', $cel_key_values$"""Values of rules and facts in the form in which access keys compare them.

What CEL takes for equal has one canonical form, and what it orders has coordinates in
that order, 64-bit integers. They may say equal where CEL does not, never the other way:
an integer stands for the double nearest to it, as it does where CEL compares it with a
double, and strings are ordered by their first bytes.
"""

from __future__ import annotations

import json
import struct
from math import isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import temporal
from .errors import EvaluationError
from .reading import read_bytes
from .temporal import Duration, Timestamp, format_duration, format_timestamp
from .values import NUMERIC, Uint, Value

if TYPE_CHECKING:
    from .facts import Facts

LOWEST: Final = -(1 << 63)
HIGHEST: Final = (1 << 63) - 1


class Element:
    """In a path: one element of a list, or key of a map, the same wherever it is.

    A loop over the list or map makes one for its variable. In the keys of a rule None
    stands in its place: any element.
    """

    __slots__ = ()


Part = str | int | Element | None
Path = tuple[Part, ...]
"""From the facts: names of fields, positions in lists, and for any element None."""


class Attribute(NamedTuple):
    """What a key looks at: a path, and what is made of the value there.

    ``reading`` is ``value``, or the type that its text is converted to: ``timestamp``,
    ``duration`` or ``bytes``; ``there`` asks only whether the facts have the path. With
    ``prefix`` it is so many first characters of a string.
    """

    path: Path
    reading: str
    prefix: int = 0

    def closed(self) -> Attribute:
        """The same, of any element."""
        path = (None if type(part) is Element else part for part in self.path)
        return self._replace(path=tuple(path))


def canonical(value: Value) -> bytes | None:
    """A form that equal values share; None for values that no key has."""
    kind = type(value)
    if kind is str:
        return b"s" + str.encode(value, "utf-8", "surrogatepass")
    if kind is bool:
        return b"b1" if value else b"b0"
    if kind in NUMERIC:
        number = float(value)
        # Zero has two signs, and NaN is equal to nothing.
        return None if isnan(number) else b"n" + struct.pack(">d", number + 0.0)
    if value is None:
        return b"0"
    if kind is Timestamp:
        return b"t%d" % value.nanos
    if kind is Duration:
        return b"d%d" % value.nanos
    return b"y" + bytes(value) if kind is bytes else None


def reading_of(value: Value) -> str:
    """The reading of facts that gives values of this kind."""
    return _READINGS.get(type(value), "value")


_READINGS: Final[dict[type, str]] = {
    Timestamp: "timestamp",
    Duration: "duration",
    bytes: "bytes",
}


def coordinate(value: Value) -> tuple[str, int] | None:
    """The kind of a value that CEL orders, and its place in the order of this kind.

    None for values that no range has.
    """
    kind = type(value)
    if kind in NUMERIC:
        number = float(value)
        if isnan(number):
            return None
        (bits,) = struct.unpack(">q", struct.pack(">d", number + 0.0))
        # The bits of negative numbers run the other way.
        return "number", bits if bits >= 0 else LOWEST - 1 - bits
    if kind is str:
        first = value[:8].encode("utf-8", "surrogatepass")[:8].ljust(8, b"\0")
        return "string", int.from_bytes(first, "big") + LOWEST
    if kind is Timestamp:
        # Microseconds: the years 1 to 9999 have more nanoseconds than 64 bits hold.
        return "timestamp", value.nanos // 1_000
    if kind is Duration:
        return "duration", value.nanos
    return None


def read(facts: Facts, attribute: Attribute) -> list[Value]:
    """What an attribute is in these facts: no value, one, or one of each element."""
    found: list[Any] = [facts]
    for part in attribute.path:
        if part is None:
            # The keys of a map are what its loops and ``in`` go through.
            found = [
                element
                for value in found
                if type(value) is list or type(value) is dict
                for element in value
            ]
        elif type(part) is str:
            found = [v[part] for v in found if type(v) is dict and part in v]
        else:
            assert type(part) is int
            found = [v[part] for v in found if type(v) is list and part < len(v)]
        if not found:
            return found
    if attribute.reading == "there":
        return [True]
    if attribute.prefix:
        size = attribute.prefix
        return [v[:size] for v in found if type(v) is str and len(v) >= size]
    if attribute.reading == "value":
        return found
    return [value for each in found for value in _converted(attribute.reading, each)]


def _converted(reading: str, value: Any) -> list[Value]:
    """A fact as a value of another type; nothing where it cannot be one."""
    try:
        if type(value) is str:
            if reading == "timestamp":
                return [temporal.parse_timestamp(value)]
            if reading == "duration":
                return [temporal.parse_duration(value)]
            return [read_bytes(value)]
        if reading == "timestamp" and type(value) is int:
            return [temporal.timestamp_from_seconds(value)]
        if reading == "timestamp" and type(value) is float and value.is_integer():
            # Of a field that is declared an int.
            return [temporal.timestamp_from_seconds(int(value))]
    except EvaluationError:
        pass
    return []


def written_path(path: Path) -> str:
    """A path as CEL selects it; ``[*]`` is any element."""
    text = ""
    for part in path:
        if type(part) is str:
            if part.isascii() and part.isidentifier():
                text += f".{part}" if text else part
            else:
                text += f"[{written(part)}]" if text else written(part)
        else:
            text += f"[{part}]" if type(part) is int else "[*]"
    return text


def written(value: Value) -> str:
    """A constant as CEL writes it, cut where it is long."""
    kind = type(value)
    if kind is str:
        return json.dumps(value if len(value) <= 60 else value[:57] + "...")
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "null"
    if kind is Uint:
        return f"{int(value)}u"
    if kind is Timestamp:
        return f'timestamp("{format_timestamp(value)}")'
    if kind is Duration:
        return f'duration("{format_duration(value)}")'
    return repr(value)
$cel_key_values$);

    v_sources := v_sources || jsonb_build_object('keys', $cel_keys$"""Access keys: what the facts must have for a rule to be true.

From a rule's checked tree, :func:`access_keys` derives keys of which at least one holds
in all facts for which the rule is true. An index of keys then finds the rules that may
match some facts without evaluating the others. A key is a conjunction: values that
fields are equal to, and perhaps one range that a field lies in.

Keys are derived from what is so when a sub-expression *is true* (or is false, under a
negation), and when it *has a value*, for which the fields that it reads must be there.
``&&`` is true only if all its operands are, and so gives the keys of any of them: the
best are taken, and joined where they can be. ``||`` is true only if one operand is,
whatever errors the others end in: it gives the keys of all. What is not understood
gives no key, never a wrong one.

How values become keys, and what facts are asked for, is in ``key_values``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Failure,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .errors import EvaluationError
from .evaluation import Evaluation
from .key_values import (
    HIGHEST,
    LOWEST,
    Attribute,
    Element,
    Path,
    canonical,
    coordinate,
    reading_of,
    written,
    written_path,
)
from .standard import STANDARD
from .types import BYTES, DURATION, TIMESTAMP, ObjectType, unwrapped
from .values import NUMERIC, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .environment import DerivedField, Environment

MOST_KEYS = 100
"""Keys of one rule at the most; a rule that would have more is always looked at."""

# Values that one key joins, and the keys that joining operands of && may make.
_MOST_EQUALS = 3
_MOST_JOINED = 8

# Sub-expressions looked at, derived fields and bound values each time they are used.
_MOST_VISITS = 2_000

_LONGEST_PREFIX = 32
_LONGEST_PATH = 400


class Equal(NamedTuple):
    """A field that has a value, in its canonical form; ``constant`` is for people."""

    attribute: Attribute
    value: bytes
    constant: Value

    def __str__(self) -> str:
        path, reading, prefix = self.attribute
        if reading == "there":
            return f"has({written_path(path)})"
        if prefix:
            return f"{written_path(path)}.startsWith({written(self.constant)})"
        return f"{written_path(path)} == {written(self.constant)}"


class Range(NamedTuple):
    """A field whose coordinate lies between two, both included.

    ``comparisons`` are the operators and constants of which they are the ends, for
    people.
    """

    attribute: Attribute
    kind: str
    low: int
    high: int
    comparisons: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        path = written_path(self.attribute.path)
        return " and ".join(
            f"{path} {operator} {written(constant)}"
            for operator, constant in self.comparisons
        )


class Key(NamedTuple):
    """All of these hold."""

    equals: tuple[Equal, ...]
    within: Range | None = None

    def __str__(self) -> str:
        parts = self.equals if self.within is None else (*self.equals, self.within)
        return " and ".join(map(str, parts))


class Keys(NamedTuple):
    """The keys of which one holds where a rule is true.

    ``always`` is why there are none, so that the rule has to be evaluated for any
    facts; else it is empty. No keys and no reason: the rule is never true.
    """

    alternatives: tuple[Key, ...]
    always: str = ""

    def __str__(self) -> str:
        if self.always:
            return f"always: {self.always}"
        return " or ".join(map(str, self.alternatives)) or "never"


NEVER = Keys(())
_TRUE = Keys((), "it is true for any facts")
_NOTHING = Keys((), "nothing in it compares a field with a constant")
_TOO_LARGE = Keys((), "it is too large to look through")


def access_keys(tree: Checked, environment: Environment) -> Keys:
    """The keys of a rule, of which one holds in all facts that it is true for."""
    derivation = _Derivation(environment.derived)
    try:
        found = derivation.holds(tree, {}, True)
    except (_TooLarge, RecursionError):
        return _TOO_LARGE
    return Keys(tuple(dict.fromkeys(map(_closed, found.alternatives))), found.always)


class _TooLarge(Exception):
    """There were more sub-expressions than may be looked at."""


class _Place(NamedTuple):
    """Where in the facts a sub-expression reads.

    ``needed`` is the path that must be there for it to have a value; the value is an
    ``optional`` where ``path`` need not be. ``of`` is the schema's object that is read
    as a whole, field by field. A place that is ``opaque`` has a value that says nothing
    of the facts' own.
    """

    path: Path
    needed: Path
    reading: str = "value"
    optional: bool = False
    opaque: bool = False
    of: ObjectType | None = None


class _Part(NamedTuple):
    """A sub-expression with what the slots in it stand for."""

    node: Checked
    scope: _Scope


_Operand = _Place | _Part
_Scope = dict[int, _Operand]

# How facts of a declared type are read; of other types, such as lists, the parts may
# be converted.
_READINGS = {
    **dict.fromkeys(("int", "int64", "float64", "string", "bool", "dyn"), "value"),
    "timestamp": "timestamp",
    "duration": "duration",
    "bytes": "bytes",
}
_TYPED = {TIMESTAMP: "timestamp", DURATION: "duration", BYTES: "bytes"}

# The order that is so where another is false, and where the operands change sides.
_NEGATED = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_"}
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}
_SYMBOLS = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}

# Functions of constants that are computed here.
_FOLDED = frozenset(
    {"-_", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"}
)


class _Derivation:
    """The derivation of one rule's keys."""

    def __init__(self, derived: Mapping[str, DerivedField]) -> None:
        self.derived = derived
        self.left = _MOST_VISITS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _TooLarge

    # What must be where a sub-expression is true, or false

    def holds(self, node: Checked, scope: _Scope, wanted: bool) -> Keys:
        """The keys where the value of a sub-expression is ``wanted``."""
        self.spend()
        match node:
            case Constant(value=value):
                return _TRUE if value is wanted else NEVER
            case Chain(operator=operator, operands=operands):
                found = [self.holds(operand, scope, wanted) for operand in operands]
                return _any(found) if wanted is (operator == "||") else _all(found)
            case Choice():
                return self.chosen(node, scope, wanted)
            case Invoke():
                return self.call(node, scope, wanted)
            case Field(test=True):
                return self.presence(node, scope, wanted)
            case Loop(kind=kind) if kind in ("exists", "all", "exists_one"):
                return self.quantified(node, scope, wanted)
            case Bind():
                return self.holds(node.body, self.bind(node, scope), wanted)
        return self.value(node, scope, wanted)

    def value(self, node: Checked, scope: _Scope, wanted: bool) -> Keys:
        """As :meth:`holds`, of a field and what else is no operator."""
        found = []
        for operand in self.operands(node, scope):
            if isinstance(operand, _Place):
                found.append(_equal(operand, wanted))
            elif operand.node is node:
                found.append(self.exists(node, scope))
            else:
                found.append(self.holds(*operand, wanted))
        return _any(found)

    def chosen(self, node: Choice, scope: _Scope, wanted: bool) -> Keys:
        return _any(
            _all(
                [
                    self.holds(node.condition, scope, condition),
                    self.holds(branch, scope, wanted),
                ]
            )
            for condition, branch in ((True, node.then), (False, node.otherwise))
        )

    def call(self, node: Invoke, scope: _Scope, wanted: bool) -> Keys:
        name, arguments = node.function.name, node.arguments
        if name == "!_":
            return self.holds(arguments[0], scope, not wanted)
        if name in ("_==_", "_!=_"):
            if wanted is (name == "_==_"):
                return self.compared("_==_", node, scope)
            return self.exist(arguments, scope)
        if name in _NEGATED:
            return self.compared(name if wanted else _NEGATED[name], node, scope)
        if name == "@in" and wanted:
            return self.contained(node, scope)
        if name == "startsWith" and wanted:
            return self.prefixed(node, scope)
        if name == "hasValue":
            return self.has_value(arguments[0], scope, wanted)
        return self.value(node, scope, wanted)

    def presence(self, node: Field, scope: _Scope, wanted: bool) -> Keys:
        """``has(a.b)``."""
        if not wanted:
            return self.exists(node.operand, scope)
        found = []
        for operand in self.operands(node.operand, scope):
            if isinstance(operand, _Place):
                inner = _selected(operand, node.name, None)
                # Of an optional map it asks whether the field is there, too.
                found.append(_there(inner.path if not inner.opaque else inner.needed))
            else:
                found.append(self.exists(*operand))
        return _any(found)

    def has_value(self, node: Checked, scope: _Scope, wanted: bool) -> Keys:
        if not wanted:
            return self.exists(node, scope)
        return _any(
            _there(operand.path if operand.optional else operand.needed)
            if isinstance(operand, _Place)
            else self.exists(*operand)
            for operand in self.operands(node, scope)
        )

    def quantified(self, node: Loop, scope: _Scope, wanted: bool) -> Keys:
        """Where an ``exists`` is true, or an ``all`` false, it is so of an element."""
        assert node.condition is not None
        if wanted is (node.kind == "all"):
            return self.exists(node.range, scope)
        of_one = node.kind != "all"
        found = []
        for operand in self.operands(node.range, scope):
            if isinstance(operand, _Place):
                if operand.optional or operand.opaque or operand.of is not None:
                    found.append(_there(operand.needed))
                    continue
                path = (*operand.path, Element())
                inner = {**scope, node.slot: _Place(path, operand.needed)}
                # A loop over nothing needs the list all the same.
                found.append(
                    _all(
                        [
                            self.holds(node.condition, inner, of_one),
                            _there(operand.needed),
                        ]
                    )
                )
            elif type(operand.node) is MakeList:
                elements = operand.node.elements
                found += [
                    self.holds(
                        node.condition,
                        {**scope, node.slot: _Part(element, operand.scope)},
                        of_one,
                    )
                    for element in elements
                ]
            else:
                found.append(self.exists(*operand))
        return _any(found)

    def bind(self, node: Bind, scope: _Scope) -> _Scope:
        inner = dict(scope)
        for slot, value in node.bindings:
            inner[slot] = _Part(value, dict(inner))
        return inner

    # Comparisons

    def compared(self, operator: str, node: Invoke, scope: _Scope) -> Keys:
        left, right = node.arguments
        if type(right) is Constant:
            constant = _Part(right, scope)
            return _any(
                [self.pair(operator, o, constant) for o in self.operands(left, scope)]
            )
        found = []
        for one in self.operands(left, scope):
            for other in self.operands(right, scope):
                self.spend()
                found.append(self.pair(operator, one, other))
        return _any(found)

    def pair(self, operator: str, left: _Operand, right: _Operand) -> Keys:
        """A comparison of which the operands are known as far as they can be."""
        constant, value = self.constant(right)
        if not constant:
            constant, value = self.constant(left)
            left, right = right, left
            operator = _MIRRORED.get(operator, operator)
        if constant:
            known, other = self.constant(left)
            if known:
                return _decided(operator, other, value)
            if isinstance(left, _Place):
                if operator == "_==_":
                    return _equal(left, value)
                return _ordered(left, operator, value)
            if operator == "_==_" and type(value) is bool:
                return self.holds(*left, value)
        return _all([self.evaluated(left), self.evaluated(right)])

    def contained(self, node: Invoke, scope: _Scope) -> Keys:
        """``x in [a, b]``, ``x in {a: b}``, and ``a in xs`` for a field ``xs``."""
        element, container = node.arguments
        found = []
        for holder in self.operands(container, scope):
            members = _members(holder)
            if 0 < len(members) <= MOST_KEYS:
                for part in members:
                    for member in self.operands(part.node, part.scope):
                        for one in self.operands(element, scope):
                            self.spend()
                            found.append(self.pair("_==_", one, member))
                continue
            for one in self.operands(element, scope):
                self.spend()
                constant, value = self.constant(one)
                if (
                    constant
                    and isinstance(holder, _Place)
                    and not (holder.optional or holder.opaque or holder.of)
                ):
                    path = (*holder.path, Element())
                    inside = _equal(_Place(path, holder.needed), value)
                    found.append(_all([inside, _there(holder.needed)]))
                else:
                    found.append(_all([self.evaluated(one), self.evaluated(holder)]))
        return _any(found)

    def prefixed(self, node: Invoke, scope: _Scope) -> Keys:
        text, part = node.arguments
        found = []
        for one in self.operands(text, scope):
            for other in self.operands(part, scope):
                self.spend()
                constant, prefix = self.constant(other)
                if not constant or not isinstance(one, _Place):
                    found.append(_all([self.evaluated(one), self.evaluated(other)]))
                elif type(prefix) is str:
                    found.append(_prefix(one, prefix))
                else:
                    found.append(NEVER)
        return _any(found)

    def constant(self, operand: _Operand) -> tuple[bool, Value]:
        """Whether an operand is a constant, and its value."""
        if isinstance(operand, _Place):
            return False, None
        node = operand.node
        if type(node) is Constant:
            return True, node.value
        if type(node) is Invoke and node.function.name in _FOLDED:
            values = [self.constant(_Part(n, operand.scope)) for n in node.arguments]
            if all(known for known, _ in values):
                state = Evaluation({}, 1_000)
                try:
                    return True, node.function.implementation(
                        state, *[value for _, value in values]
                    )
                except EvaluationError:
                    return False, None
        return False, None

    # What must be for a sub-expression to have a value at all

    def evaluated(self, operand: _Operand) -> Keys:
        if isinstance(operand, _Place):
            return _there(operand.needed)
        return self.exists(*operand)

    def exist(self, nodes: Iterable[Checked], scope: _Scope) -> Keys:
        return _all([self.exists(node, scope) for node in nodes])

    def exists(self, node: Checked, scope: _Scope) -> Keys:
        """The keys where a sub-expression has a value and no error."""
        self.spend()
        found = []
        for operand in self.operands(node, scope):
            if isinstance(operand, _Place):
                found.append(_there(operand.needed))
            elif operand.node is node:
                found.append(self.strict(node, scope))
            else:
                found.append(self.exists(*operand))
        return _any(found)

    def strict(self, node: Checked, scope: _Scope) -> Keys:
        """As :meth:`exists`, by the parts that are evaluated in any case."""
        match node:
            case Invoke(function=function, arguments=arguments):
                if function.deferred is not None:
                    return self.exists(arguments[0], scope)
                return self.exist(arguments, scope)
            case Field(operand=operand) | OptionalField(operand=operand):
                return self.exists(operand, scope)
            case Choice(condition=condition):
                return self.exists(condition, scope)
            case Loop(range=looped) | PairLoop(range=looped):
                return self.exists(looped, scope)
            case MakeList() | MakeMap() | MakeOptionalList() | MakeOptionalMap():
                return self.exist(node.children(), scope)
            case Bind():
                return self.exists(node.body, self.bind(node, scope))
            case Failure():
                return NEVER
        return _NOTHING

    # What a sub-expression reads

    def operands(self, node: Checked, scope: _Scope) -> list[_Operand]:
        """What the value of a sub-expression can be, each a place or a constant.

        More than one where it depends on the facts: a derived field is what the facts
        have for it or else its expression. What is neither stays the node itself.
        """
        self.spend()
        plain = self.plain(node)
        if plain is not None:
            return [plain]
        match node:
            case Variable(name=name):
                field = self.derived.get(name)
                if field is not None:
                    return [_supplied(field), *self.operands(field.tree, {})]
                if node.fallback is None:
                    return [_variable(name, node.conversion)]
            case Local(slot=slot) | Bound(slot=slot):
                bound = scope.get(slot)
                if isinstance(bound, _Part):
                    return self.operands(*bound)
                if bound is not None:
                    return [bound]
            case Field(operand=inner, name=name, test=False):
                return self.selected(node, inner, name, scope, node.conversion)
            case OptionalField(operand=inner, name=name):
                found = self.selected(node, inner, name, scope, node.conversion)
                return [_optionally(operand) for operand in found]
            case Choice(then=then, otherwise=otherwise):
                return [*self.operands(then, scope), *self.operands(otherwise, scope)]
            case Bind():
                return self.operands(node.body, self.bind(node, scope))
            case Invoke():
                return self.computed(node, scope)
        return [_Part(node, scope)]

    def plain(self, node: Checked) -> _Place | None:
        """The place of a path such as ``a.b.c``, which most operands are."""
        names: list[str] = []
        conversion = None
        while type(node) is Field and not node.test:
            if node.conversion is not None:
                if names:
                    return None
                conversion = node.conversion
            names.append(node.name)
            node = node.operand
        if (
            type(node) is not Variable
            or node.fallback is not None
            or node.conversion is not None
            or node.name in self.derived
        ):
            return None
        names.append(node.name)
        if len(names) > 1 and sum(map(len, names)) > _LONGEST_PATH:
            return None
        reading = "value" if conversion is None else _READINGS.get(conversion)
        path = tuple(reversed(names))
        return _Place(path, path, reading or "value", opaque=reading is None)

    def selected(
        self,
        node: Checked,
        inner: Checked,
        name: str | int,
        scope: _Scope,
        conversion: str | None,
    ) -> list[_Operand]:
        return [
            _selected(operand, name, conversion)
            if isinstance(operand, _Place)
            else _Part(node, scope)
            for operand in self.operands(inner, scope)
        ]

    def computed(self, node: Invoke, scope: _Scope) -> list[_Operand]:
        name, arguments = node.function.name, node.arguments
        if name == "dyn":
            return self.operands(arguments[0], scope)
        if name in ("_[_]", "_[?_]"):
            known, key = self.constant(_Part(arguments[1], scope))
            part = _part(key) if known else None
            if part is not None:
                found = self.selected(node, arguments[0], part, scope, None)
                if name == "_[_]":
                    return found
                return [_optionally(operand) for operand in found]
        elif name in ("orValue", "value"):
            found = []
            for operand in self.operands(arguments[0], scope):
                if not isinstance(operand, _Place):
                    return [_Part(node, scope)]
                # What the facts have is what it gives, if they have it.
                found.append(operand._replace(needed=operand.path, optional=False))
            if name == "orValue":
                found += self.operands(arguments[1], scope)
            return found
        elif name in ("timestamp", "duration"):
            found = []
            for operand in self.operands(arguments[0], scope):
                if isinstance(operand, _Place) and operand.reading in ("value", name):
                    found.append(operand._replace(reading=name))
                elif isinstance(operand, _Place):
                    found.append(operand._replace(opaque=True))
                else:
                    return [_Part(node, scope)]
            return found
        return [_Part(node, scope)]


def _variable(name: str, conversion: ObjectType | str | None) -> _Place:
    """A fact by its name."""
    path = (name,)
    if isinstance(conversion, ObjectType):
        return _Place(path, path, of=conversion)
    reading = "value" if conversion is None else _READINGS.get(conversion)
    return _Place(path, path, reading or "value", opaque=reading is None)


def _supplied(field: DerivedField) -> _Place:
    """What the facts have for a derived field, which then is not computed."""
    path = (field.name,)
    of = unwrapped(field.type)
    # Parts of lists, maps and objects may be converted each to a type of its own.
    parted = type(of) is ObjectType or bool(of.parameters)
    return _Place(path, path, _TYPED.get(of, "value"), opaque=parted)


def _selected(place: _Place, name: str | int, conversion: str | None) -> _Place:
    """A field or an element of what is at a place."""
    if place.opaque:
        return place
    declared = conversion
    if place.of is not None and declared is None:
        declared = place.of.declared.get(name) if type(name) is str else None
    if (
        place.reading != "value"
        or (place.of is not None and declared is None)
        or sum(len(str(part)) for part in place.path) + len(str(name)) > _LONGEST_PATH
    ):
        return place._replace(opaque=True)
    path = (*place.path, name)
    reading = "value" if declared is None else _READINGS.get(declared)
    return _Place(
        path,
        place.needed if place.optional else path,
        reading or "value",
        place.optional,
        opaque=reading is None,
    )


def _optionally(operand: _Operand) -> _Operand:
    """The same, where it need not be there."""
    if not isinstance(operand, _Place) or operand.opaque:
        return operand
    needed = operand.needed
    if needed == operand.path:
        needed = needed[:-1]
    return operand._replace(needed=needed, optional=True)


def _part(key: Value) -> str | int | None:
    """The part of a path that an index is: a name, or a position in a list."""
    if type(key) is str:
        return key
    if type(key) in NUMERIC and 0 <= key < 1 << 31 and key % 1 == 0:
        return int(key)
    return None


def _members(holder: _Operand) -> list[_Part]:
    """The elements of a list, or the keys of a map, that the expression makes."""
    if isinstance(holder, _Part):
        node = holder.node
        if type(node) is MakeList:
            return [_Part(element, holder.scope) for element in node.elements]
        if type(node) is MakeMap:
            return [_Part(key, holder.scope) for key, _ in node.entries]
    return []


# Keys of one comparison


def _one(equal: Equal) -> Keys:
    return Keys((Key((equal,)),))


def _there(path: Path) -> Keys:
    return _one(Equal(Attribute(path, "there"), b"", None))


def _says_nothing(place: _Place) -> bool:
    return place.opaque or place.optional or place.of is not None


def _equal(place: _Place, value: Value) -> Keys:
    """``place == value``."""
    found = canonical(value)
    # Null is what a declared timestamp is where the facts have null.
    reading = "value" if value is None else reading_of(value)
    if (
        _says_nothing(place)
        or found is None
        or (place.reading != reading and value is not None)
    ):
        return _there(place.needed)
    return _one(Equal(Attribute(place.path, reading), found, value))


def _ordered(place: _Place, operator: str, value: Value) -> Keys:
    """``place < value`` and the like; the ends are included in any case."""
    found = coordinate(value)
    if _says_nothing(place) or found is None or place.reading != reading_of(value):
        return _there(place.needed)
    kind, position = found
    symbol = _SYMBOLS[operator]
    low, high = (LOWEST, position) if symbol[0] == "<" else (position, HIGHEST)
    attribute = Attribute(place.path, place.reading)
    return Keys((Key((), Range(attribute, kind, low, high, ((symbol, value),))),))


def _prefix(place: _Place, prefix: str) -> Keys:
    """``place.startsWith(prefix)``."""
    cut = prefix[:_LONGEST_PREFIX]
    found = canonical(cut)
    if _says_nothing(place) or not cut or place.reading != "value" or found is None:
        return _there(place.needed)
    return _one(Equal(Attribute(place.path, "value", len(cut)), found, cut))


def _decided(operator: str, left: Value, right: Value) -> Keys:
    """A comparison of two constants."""
    try:
        true = STANDARD[operator].implementation(Evaluation({}, 1_000_000), left, right)
    except EvaluationError:
        return NEVER
    return _TRUE if true else NEVER


# Keys of several


def _any(found: Iterable[Keys]) -> Keys:
    """The keys of a disjunction: all of them."""
    found = list(found)
    if len(found) == 1:
        return found[0]
    alternatives: dict[Key, None] = {}
    for keys in found:
        if keys.always:
            return keys
        alternatives.update(dict.fromkeys(keys.alternatives))
    if len(alternatives) > MOST_KEYS:
        alternatives = {
            Key((Equal(Attribute(path, "there"), b"", None),)): None
            for path in map(first_path, alternatives)
        }
    if len(alternatives) > MOST_KEYS:
        return Keys((), f"it has more than {MOST_KEYS} alternatives")
    return Keys(tuple(alternatives))


def first_path(key: Key) -> Path:
    """A path of the facts that a key is about."""
    attribute = key.equals[0].attribute if key.equals else None
    if attribute is None:
        assert key.within is not None
        attribute = key.within.attribute
    return attribute.path


def _all(found: list[Keys]) -> Keys:
    """The keys of a conjunction: the best, joined with others where that is cheap."""
    if NEVER in found:
        return NEVER
    useful = [keys for keys in found if not keys.always]
    if not useful:
        return found[0] if found else _TRUE
    if len(useful) == 1:
        return useful[0]
    useful.sort(key=_rank)
    best, *others = useful
    for keys in others:
        if len(best.alternatives) * len(keys.alternatives) > _MOST_JOINED:
            continue
        if len(best.alternatives) == len(keys.alternatives) == 1:
            both = _joined(best.alternatives[0], keys.alternatives[0])
            best = NEVER if both is None else Keys((both,))
            continue
        joined = [
            both
            for one in best.alternatives
            for other in keys.alternatives
            if (both := _joined(one, other)) is not None
        ]
        best = Keys(tuple(dict.fromkeys(joined)))
    return best


def _rank(keys: Keys) -> tuple[int, int]:
    if len(keys.alternatives) == 1:
        return rank(keys.alternatives[0]), 1
    worst = max(map(rank, keys.alternatives), default=0)
    return worst, len(keys.alternatives)


_WEAK = 50


def rank(key: Key) -> int:
    """How many facts a key is taken to hold in: the lower, the fewer."""
    found, within = 100, key.within
    for equal in key.equals:
        found = min(found, _rank_of_equal(equal))
    if within is not None:
        two_sided = within.low > LOWEST and within.high < HIGHEST
        found = min(found, 30 if two_sided else 55)
    return found + is_repeated(key)


def _rank_of_equal(equal: Equal) -> int:
    if equal.attribute.reading == "there":
        return 60
    if equal.attribute.prefix:
        return 40 - min(8, equal.attribute.prefix)
    # There are two booleans and one null.
    return _WEAK if equal.value[:1] in (b"b", b"0") else 10


def is_repeated(key: Key) -> bool:
    """Whether it is of the elements of a list, any of which may be meant."""
    for equal in key.equals:
        for part in equal.attribute.path:
            if part is None or type(part) is Element:
                return True
    if key.within is not None:
        for part in key.within.attribute.path:
            if part is None or type(part) is Element:
                return True
    return False


def _joined(one: Key, other: Key) -> Key | None:
    """A key for both; None where they contradict each other."""
    within = _narrowed(one.within, other.within)
    if is_repeated(one) or is_repeated(other):
        # Only of one and the same element anything can be said together.
        if within is not None and not one.equals and not other.equals:
            if within.low > within.high:
                return None
            if _same_field(one.within, other.within):
                return Key((), within)
        return min(one, other, key=rank)
    equals: dict[Attribute, Equal] = {}
    for equal in (*one.equals, *other.equals):
        known = equals.setdefault(equal.attribute, equal)
        if known.value != equal.value:
            return None
    if within is not None and within.low > within.high:
        return None
    telling = [e for e in equals.values() if e.attribute.reading != "there"]
    if telling or within is not None:
        if any(_says_all(e, within) for e in telling):
            within = None
        telling.sort(key=_rank_of_equal)
        return Key(tuple(telling[:_MOST_EQUALS]), within)
    # Of the fields that must be there, the one further down says more.
    return Key((max(equals.values(), key=lambda e: len(e.attribute.path)),))


def _says_all(equal: Equal, within: Range | None) -> bool:
    """Whether a value makes a range of the same field superfluous."""
    return (
        within is not None
        and equal.attribute == within.attribute
        and not equal.attribute.prefix
    )


def _same_field(one: Range | None, other: Range | None) -> bool:
    if one is None or other is None:
        return False
    return one.attribute == other.attribute and one.kind == other.kind


def _narrowed(one: Range | None, other: Range | None) -> Range | None:
    """The intersection of two ranges of a field, or the better of two others."""
    if one is None or other is None:
        return one or other
    if not _same_field(one, other):
        return min(one, other, key=lambda within: rank(Key((), within)))
    low, high = max(one.low, other.low), min(one.high, other.high)
    ends = dict.fromkeys(
        comparison
        for within in (one, other)
        if within.low == low > LOWEST or within.high == high < HIGHEST
        for comparison in within.comparisons
    )
    return Range(one.attribute, one.kind, low, high, tuple(ends))


def _closed(key: Key) -> Key:
    """A key without the elements' identities, its values in one order."""
    equals, within = key
    if is_repeated(key):
        equals = tuple(e._replace(attribute=e.attribute.closed()) for e in equals)
        if within is not None:
            within = within._replace(attribute=within.attribute.closed())
    if len(equals) > 1:
        equals = tuple(sorted(equals, key=_by_attribute))
    return Key(equals, within)


def _by_attribute(equal: Equal) -> str:
    return repr(equal.attribute)
$cel_keys$);

    v_sources := v_sources || jsonb_build_object('lexer', $cel_lexer$"""Source text to tokens (cel-spec, "Syntax", lexical part).

String and number literals leave the lexer as values; what a name means is left to
the parser.
"""

from __future__ import annotations

import re
from math import inf
from typing import Any, NamedTuple

from . import source
from .errors import InvalidExpression
from .values import Uint

KEYWORDS = frozenset({"false", "in", "null", "true"})
RESERVED = frozenset(
    {
        "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "namespace", "package", "return", "var", "void", "while",
    }
)  # fmt: skip


class Token(NamedTuple):
    """``kind`` is ``literal``, ``ident``, ``quoted``, ``end`` or an operator."""

    kind: str
    value: Any
    start: int
    end: int


_TOKEN = re.compile(
    r"""
    (?P<space>   (?: [\t\n\f\r\ ]+ | //[^\n]* )+ )
  | (?P<string>  [bB]?[rR]? (?: \"{3} | '{3} | \" | ' ) )
  | (?P<double>  [0-9]*\.[0-9]+ (?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ )
  | (?P<integer> (?: 0[xX][0-9a-fA-F]+ | [0-9]+ ) [uU]? )
  | (?P<ident>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<quoted>  `[A-Za-z0-9_.\-/\ ]+` )
  | (?P<op>      && | \|\| | == | != | <= | >= | [-+*/%!<>?:.,()\[\]{}] )
    """,
    re.VERBOSE,
)

# The rest of a literal up to its closing quote, by the opening one and rawness.
_REST = {
    ('"', False): re.compile(r'((?:[^"\\\r\n]|\\[^\r\n])*)"'),
    ("'", False): re.compile(r"((?:[^'\\\r\n]|\\[^\r\n])*)'"),
    ('"""', False): re.compile(r'((?:[^"\\]|\\.|"(?!""))*)"""', re.DOTALL),
    ("'''", False): re.compile(r"((?:[^'\\]|\\.|'(?!''))*)'''", re.DOTALL),
    ('"', True): re.compile(r'([^"\r\n]*)"'),
    ("'", True): re.compile(r"([^'\r\n]*)'"),
    ('"""', True): re.compile(r'((?:[^"]|"(?!""))*)"""'),
    ("'''", True): re.compile(r"((?:[^']|'(?!''))*)'''"),
}
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})"
    r"|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.|\Z))",
    re.DOTALL,
)
_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "?": "?",
    '"': '"',
    "'": "'",
    "`": "`",
}
_NEWLINE = re.compile(r"\r\n?")

# More digits than any 64-bit literal has; int() need not look at them.
_LONGEST_INTEGER = 40


def tokenize(text: str) -> list[Token]:
    """The tokens of an expression, closed by one of kind ``end``.

    Raises :class:`InvalidExpression` at the first character that starts no token.
    """
    tokens: list[Token] = []
    append = tokens.append
    match = _TOKEN.match
    position, length = 0, len(text)
    while position < length:
        found = match(text, position)
        if found is None:
            raise _unexpected(text, position)
        kind, end = found.lastgroup, found.end()
        if kind == "op":
            lexeme = found.group()
            append(Token(lexeme, lexeme, position, end))
        elif kind == "ident":
            append(Token("ident", found.group(), position, end))
        elif kind == "integer":
            value = _integer(text, position, found.group())
            append(Token("literal", value, position, end))
        elif kind == "double":
            number = _double(text, position, found.group())
            append(Token("literal", number, position, end))
        elif kind == "string":
            text_value, end = _string(text, position, found.group())
            append(Token("literal", text_value, position, end))
        elif kind == "quoted":
            append(Token("quoted", found.group()[1:-1], position, end))
        position = end
    append(Token("end", None, length, length))
    return tokens


def _fail(text: str, offset: int, message: str, hint: str = "") -> InvalidExpression:
    return InvalidExpression([source.problem(text, offset, message, hint)])


def _unexpected(text: str, offset: int) -> InvalidExpression:
    character = text[offset]
    hints = {
        "&": "write && for 'and'",
        "|": "write || for 'or'",
        "=": "write == to compare",
        "`": "a quoted field name has letters, digits, spaces and _ . - / only",
    }
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    return _fail(
        text, offset, f"unexpected character {shown}", hints.get(character, "")
    )


def _integer(text: str, offset: int, lexeme: str) -> int:
    unsigned = lexeme[-1] in "uU"
    digits = lexeme[:-1] if unsigned else lexeme
    hexadecimal = digits[:2] in ("0x", "0X")
    if len(digits) > _LONGEST_INTEGER:
        value = 1 << 64
    else:
        value = int(digits, 16 if hexadecimal else 10)
    # One more than the largest int is left to the parser, for the sign before it.
    if value > (0xFFFFFFFFFFFFFFFF if unsigned else 1 << 63):
        kind = "uint" if unsigned else "int"
        raise _fail(text, offset, f"{kind} literal {_short(lexeme)} is out of range")
    return Uint(value) if unsigned else value


def _double(text: str, offset: int, lexeme: str) -> float:
    value = float(lexeme)
    if value == inf:
        raise _fail(text, offset, f"double literal {_short(lexeme)} is out of range")
    return value


def _short(lexeme: str) -> str:
    return lexeme if len(lexeme) <= _LONGEST_INTEGER else lexeme[:20] + "..."


def _string(text: str, start: int, opening: str) -> tuple[str | bytes, int]:
    quote = opening.lstrip("bBrR")
    prefix = opening[: len(opening) - len(quote)].lower()
    raw, is_bytes = "r" in prefix, "b" in prefix
    found = _REST[quote, raw].match(text, start + len(opening))
    if found is None:
        raise _fail(
            text,
            start,
            "string literal is not closed",
            f"end it with {quote} on the same line, or use triple quotes"
            if len(quote) == 1
            else f"end it with {quote}",
        )
    body = found.group(1)
    if "\r" in body:
        body = _NEWLINE.sub("\n", body)
    value: str | bytes
    if is_bytes:
        value = _bytes(text, start, found.start(1), body, raw)
    else:
        value = body if raw else _unescape(text, found.start(1), body)
    return value, found.end()


def _unescape(text: str, offset: int, body: str) -> str:
    if "\\" not in body:
        return body

    def replace(found: re.Match[str]) -> str:
        simple, code_x, code_u, code_big, octal, _ = found.groups()
        if simple is not None:
            return _SIMPLE[simple]
        if octal is not None:
            return chr(int(octal, 8))
        digits = code_x or code_u or code_big
        if digits is None:
            raise _bad_escape(text, offset, found)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise _fail(
                text,
                offset + found.start(),
                f"{found.group()} is no Unicode scalar value",
            )
        return chr(code)

    return _ESCAPE.sub(replace, body)


def _bytes(text: str, start: int, offset: int, body: str, raw: bool) -> bytes:
    try:
        if raw or "\\" not in body:
            return body.encode()
        parts: list[bytes] = []
        position = 0
        for found in _ESCAPE.finditer(body):
            parts.append(body[position : found.start()].encode())
            simple, code_x, _, _, octal, _ = found.groups()
            if simple is not None:
                parts.append(_SIMPLE[simple].encode())
            elif code_x is not None:
                parts.append(bytes.fromhex(code_x))
            elif octal is not None:
                parts.append(bytes((int(octal, 8),)))
            else:
                raise _bad_escape(text, offset, found)
            position = found.end()
        parts.append(body[position:].encode())
    except UnicodeEncodeError:
        raise _fail(text, start, "bytes literal has a lone surrogate") from None
    return b"".join(parts)


def _bad_escape(text: str, offset: int, found: re.Match[str]) -> InvalidExpression:
    return _fail(
        text,
        offset + found.start(),
        f"invalid escape sequence {found.group()}",
        r"valid are \a \b \f \n \r \t \v \\ \? \" \' \` \xHH \uHHHH \UHHHHHHHH "
        r"(\u and \U in strings only) and octal \000 to \377",
    )
$cel_lexer$);

    v_sources := v_sources || jsonb_build_object('library', $cel_library$"""What a function is: its name, its signatures, and the Python that computes it.

A library is a mapping from names to functions; ``standard`` has cel-spec's own,
extension libraries add theirs, each in a module that is imported when one of its
functions is first looked up. Signatures are CEL declarations as cel-spec writes
them, ``string.(int) -> string`` for a method; the checker reads their types, the
interpreter only whether a call's form is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

from .values import Value

Implementation = Callable[..., Value]
"""Takes the evaluation's state, then the arguments; a method's target is first."""

Validation = Callable[[Sequence[Value | None]], None]
"""Looks at the arguments that are constants, None for the others, when a call is
compiled, and raises :class:`EvaluationError` for one that can never work."""


class Function(NamedTuple):
    """A function of the language with all its overloads.

    ``deferred`` is an implementation that takes closures in place of values, so that
    an argument that is not needed is not evaluated; ``implementation`` then gives the
    same result from values.
    """

    name: str
    signatures: tuple[str, ...]
    implementation: Implementation
    validate: Validation | None = None
    deferred: Implementation | None = None

    def accepts(self, *, method: bool, arguments: int) -> bool:
        """Whether some overload is called in this form with so many arguments."""
        return (method, arguments) in _forms(self.signatures)

    def usage(self) -> str:
        """The signatures as a hint shows them, operators between their operands."""
        return "; ".join(_written(self.name, each) for each in self.signatures)


def _written(name: str, signature: str) -> str:
    if name.replace(".", "").isidentifier():
        if ".(" in signature:
            return signature.replace(".(", f".{name}(")
        return name + signature
    # An operator: its operands stand where its name has underscores.
    texts = ("_ in _" if name == "@in" else name).split("_")
    operands = [*_parameters(signature), ""]
    written = "".join(map(str.__add__, texts, operands))
    return written + signature[signature.rindex(" -> ") :]


_known_forms: dict[tuple[str, ...], frozenset[tuple[bool, int]]] = {}


def _forms(signatures: tuple[str, ...]) -> frozenset[tuple[bool, int]]:
    forms = _known_forms.get(signatures)
    if forms is None:
        forms = frozenset(
            (".(" in signature, len(_parameters(signature))) for signature in signatures
        )
        _known_forms[signatures] = forms
    return forms


def _parameters(signature: str) -> list[str]:
    """The types of the arguments, without a method's target."""
    head = signature[: signature.rindex(" -> ")]
    inside = head[head.index(".(") + 2 if ".(" in head else 1 : -1]
    found: list[str] = []
    depth = start = 0
    for position, character in enumerate(inside):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and depth == 0:
            found.append(inside[start:position].strip())
            start = position + 1
    if inside.strip():
        found.append(inside[start:].strip())
    return found


Library = Mapping[str, Function]


def library(functions: Iterable[Function]) -> Library:
    """Functions by name."""
    return {function.name: function for function in functions}


class Libraries(Library):
    """A library and, behind it, extensions that are imported when they are needed.

    ``extensions`` maps each function's name to the module of this package that has
    it, in its ``LIBRARY``. The names are known without importing anything.
    """

    def __init__(self, core: Library, extensions: Mapping[str, str]) -> None:
        self._loaded = dict(core)
        self._extensions = extensions

    def __getitem__(self, name: str) -> Function:
        function = self._loaded.get(name)
        if function is None:
            module = import_module(f".{self._extensions[name]}", __package__)
            # Another thread may do the same; the outcome is equal.
            self._loaded.update(module.LIBRARY)
            function = self._loaded[name]
        return function

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self._extensions

    def __iter__(self) -> Iterator[str]:
        return iter({**self._loaded, **self._extensions})

    def __len__(self) -> int:
        return sum(1 for _ in self)
$cel_library$);

    v_sources := v_sources || jsonb_build_object('limits', $cel_limits$"""The bounds that keep one tenant's expression from hurting the others.

Each has a documented default; exceeding one is an error with its own SQLSTATE.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one expression and one evaluation may use."""

    expression_length: int = 32_768
    """Code points of an expression."""

    nesting: int = 100
    """Levels of an expression: brackets, calls, operators, member selections."""

    cost: int = 1_000_000
    """Cost units of one evaluation: about one for each step; a step over a string
    of n code points costs n / 10 more, over a list or map of n elements n more."""

    assumed_elements: int = 100
    """Elements of a list or map of the facts, for the estimate at compile time. An
    expression that can cost more than the limit over such facts is refused."""

    assumed_characters: int = 1_000
    """Code points of a string of the facts, for the estimate."""

    assumed_weight: int = 1_000
    """Cost units of comparing a value of the facts with all that is in it, for the
    estimate: one for each element at any depth, one for ten code points of a string
    or a key. Numbers are taken for 25 characters where they become text."""


DEFAULT_LIMITS = Limits()
$cel_limits$);

    v_sources := v_sources || jsonb_build_object('macros', $cel_macros$"""Macro expansion: calls that bind variables become nodes of their own.

cel-spec's ``has``, ``all``, ``exists``, ``exists_one``, ``map`` and ``filter``
("Macros"), and those of the extension libraries: comprehensions with two variables,
``cel.bind`` and ``cel.block``, ``optMap`` and ``optFlatMap``, ``sortBy``, and
``math.greatest`` and ``math.least`` for their many arguments. A call whose name and
number of arguments fit no macro stays a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import source
from .errors import InvalidExpression
from .syntax import (
    Binding,
    Call,
    Comprehension,
    Ident,
    ListLiteral,
    Literal,
    MapLiteral,
    Node,
    Select,
    StructLiteral,
)
from .values import NUMERIC

if TYPE_CHECKING:
    from collections.abc import Callable


def expand(call: Call, text: str) -> Node:
    """The expansion of a call, or the call itself where it is no macro.

    Raises :class:`InvalidExpression` for a macro whose arguments do not fit.
    """
    macro = _MACROS.get((call.function, call.target is not None, len(call.arguments)))
    if macro is None:
        target = call.target
        if type(target) is not Ident or target.absolute:
            return call
        macro = _NAMESPACED.get((target.name, call.function))
    return call if macro is None else macro(call, text)


def _fail(text: str, offset: int, message: str, hint: str) -> InvalidExpression:
    return InvalidExpression([source.problem(text, offset, message, hint)])


def _has(call: Call, text: str) -> Node:
    (argument,) = call.arguments
    if not isinstance(argument, Select) or argument.test:
        raise _fail(
            text,
            argument.start,
            "has() takes a field selection",
            'write has(a.b); for a key, write "b" in a',
        )
    if argument.optional:
        raise _fail(
            text,
            argument.start,
            "has() takes a field selection without '?'",
            f"write has(a.{argument.field}), or a.?{argument.field}.hasValue()",
        )
    return Select(call.start, call.end, argument.operand, argument.field, test=True)


def _variable(argument: Node, text: str, example: str) -> str:
    if not isinstance(argument, Ident) or argument.absolute:
        raise _fail(
            text,
            argument.start,
            "a macro's variable must be a simple name",
            f"for example {example}",
        )
    return argument.name


def _comprehension(kind: str) -> Callable[[Call, str], Node]:
    """A macro with one variable."""

    def build(call: Call, text: str) -> Node:
        assert call.target is not None
        example = f"items.{call.function}(item, item > 0)"
        variable = _variable(call.arguments[0], text, example)
        condition: Node | None = call.arguments[1]
        transform: Node | None = None
        if kind not in ("all", "exists", "exists_one", "filter"):
            transform = call.arguments[-1]
            if len(call.arguments) == 2:
                condition = None
        return Comprehension(
            call.start,
            call.end,
            kind,
            variable,
            call.target,
            condition,
            transform,
            call.place,
        )

    return build


def _pair_comprehension(kind: str) -> Callable[[Call, str], Node]:
    """A macro with two variables."""

    def build(call: Call, text: str) -> Node:
        assert call.target is not None
        example = f"items.{call.function}(key, value, key != value)"
        first = _variable(call.arguments[0], text, example)
        second = _variable(call.arguments[1], text, example)
        if first == second:
            raise _fail(
                text,
                call.arguments[1].start,
                f"both variables of the macro are named {first}",
                f"for example {example}",
            )
        condition: Node | None = call.arguments[2]
        transform: Node | None = None
        if kind.startswith("transform"):
            transform = call.arguments[-1]
            if len(call.arguments) == 3:
                condition = None
        return Comprehension(
            call.start,
            call.end,
            kind,
            first,
            call.target,
            condition,
            transform,
            call.place,
            second,
        )

    return build


# cel.bind and cel.block


def _arguments(call: Call, text: str, count: int, usage: str) -> list[Node]:
    if len(call.arguments) != count:
        assert isinstance(call.target, Ident)
        raise _fail(
            text,
            call.place,
            f"{call.target.name}.{call.function} takes {count} arguments",
            usage,
        )
    return call.arguments


def _bind(call: Call, text: str) -> Node:
    example = "cel.bind(total, price * count, total > 10 && total < 20)"
    name, value, body = _arguments(call, text, 3, example)
    variable = _variable(name, text, example)
    return Binding(call.start, call.end, [(variable, value)], body)


def _block(call: Call, text: str) -> Node:
    example = "cel.block([a + b, cel.index(0) * 2], cel.index(1) > 10)"
    slots, body = _arguments(call, text, 2, example)
    if not isinstance(slots, ListLiteral) or slots.optionals:
        raise _fail(
            text, slots.start, "the first argument of cel.block must be a list", example
        )
    bindings = [(_slot(index), value) for index, value in enumerate(slots.elements)]
    return Binding(call.start, call.end, bindings, body)


def _slot(index: int) -> str:
    """The name of a block's slot, which no name in a source text can be."""
    return f"@index{index}"


def _index(call: Call, text: str) -> Node:
    (number,) = _numbers(call, text, "cel.index(0)", 1)
    return Ident(call.start, call.end, _slot(number))


def _numbered_variable(kind: str) -> Callable[[Call, str], Node]:
    """``cel.iterVar(depth, number)``: a macro's variable that has no name."""

    def build(call: Call, text: str) -> Node:
        depth, number = _numbers(call, text, f"cel.{call.function}(0, 0)", 2)
        return Ident(call.start, call.end, f"@{kind}:{depth}:{number}")

    return build


def _numbers(call: Call, text: str, example: str, count: int) -> list[int]:
    numbers = []
    for argument in _arguments(call, text, count, f"for example {example}"):
        value = argument.value if isinstance(argument, Literal) else None
        if type(value) is not int or value < 0:
            raise _fail(
                text,
                argument.start,
                f"cel.{call.function} takes integer literals",
                f"for example {example}",
            )
        numbers.append(value)
    return numbers


# math.greatest and math.least


def _extreme(call: Call, text: str) -> Node:
    """Many arguments become one list; what can be no number is refused."""
    name = f"math.{call.function}"
    arguments = call.arguments
    if not arguments:
        raise _fail(
            text, call.place, f"{name} takes numbers", f"for example {name}(a, b, 10)"
        )
    checked = arguments
    if len(arguments) == 1 and isinstance(arguments[0], ListLiteral):
        checked = arguments[0].elements
        if not checked:
            raise _fail(
                text,
                arguments[0].start,
                f"{name} of an empty list",
                "there must be a number at least",
            )
    for argument in checked:
        if _is_no_number(argument):
            raise _fail(
                text,
                argument.start,
                f"{name} takes numbers",
                f"for example {name}(a, b, 10), or {name}(list)",
            )
    if len(arguments) > 2:
        span = arguments[0].start, arguments[-1].end
        arguments = [ListLiteral(*span, arguments)]
    return Call(call.start, call.end, name, None, arguments, call.place)


def _is_no_number(node: Node) -> bool:
    if isinstance(node, Literal):
        return type(node.value) not in NUMERIC
    return isinstance(node, ListLiteral | MapLiteral | StructLiteral)


# By name, whether called as a method, and the number of arguments.
_MACROS: dict[tuple[str, bool, int], Callable[[Call, str], Node]] = {
    ("has", False, 1): _has,
    ("all", True, 2): _comprehension("all"),
    ("exists", True, 2): _comprehension("exists"),
    ("exists_one", True, 2): _comprehension("exists_one"),
    ("existsOne", True, 2): _comprehension("exists_one"),
    ("filter", True, 2): _comprehension("filter"),
    ("map", True, 2): _comprehension("map"),
    ("map", True, 3): _comprehension("map"),
    ("optMap", True, 2): _comprehension("optMap"),
    ("optFlatMap", True, 2): _comprehension("optFlatMap"),
    ("sortBy", True, 2): _comprehension("sortBy"),
    ("all", True, 3): _pair_comprehension("all"),
    ("exists", True, 3): _pair_comprehension("exists"),
    ("exists_one", True, 3): _pair_comprehension("exists_one"),
    ("existsOne", True, 3): _pair_comprehension("exists_one"),
    **{
        (kind, True, count): _pair_comprehension(kind)
        for kind in ("transformList", "transformMap", "transformMapEntry")
        for count in (3, 4)
    },
}

# By namespace and name: a name with a dot, whatever the arguments.
_NAMESPACED: dict[tuple[str, str], Callable[[Call, str], Node]] = {
    ("cel", "bind"): _bind,
    ("cel", "block"): _block,
    ("cel", "index"): _index,
    ("cel", "iterVar"): _numbered_variable("it"),
    ("cel", "accuVar"): _numbered_variable("ac"),
    ("math", "greatest"): _extreme,
    ("math", "least"): _extreme,
}
$cel_macros$);

    v_sources := v_sources || jsonb_build_object('numbers', $cel_numbers$"""Numbers as CEL counts, on Python's ``int`` and ``float`` (cel-spec, "Values").

Python's integers have no end, its ``//`` and ``%`` round down, its ``/`` raises and its
parsers take ``1_000`` and blanks. Here int and uint end at 64 bits, division rounds
toward zero, a double divides to infinity or NaN, and text is read as cel-go reads it.

The functions take operands of the right type; which types an operator accepts is the
evaluator's to decide. ``+``, ``-``, ``*`` and comparisons of two floats are Python's
own.
"""

from __future__ import annotations

import re
from math import copysign, isfinite, isinf, isnan
from typing import Final

from .errors import EvaluationError
from .values import Uint

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
UINT_MAX: Final = (1 << 64) - 1


def _overflow() -> EvaluationError:
    return EvaluationError("integer overflow: the result does not fit 64 bits")


def _unsigned_overflow() -> EvaluationError:
    return EvaluationError(
        "unsigned integer overflow: the result is negative or does not fit 64 bits"
    )


# --- int -----------------------------------------------------------------------------


def add_int(left: int, right: int) -> int:
    """``int + int``, or an overflow error."""
    result = left + right
    if INT_MIN <= result <= INT_MAX:
        return result
    raise _overflow()


def subtract_int(left: int, right: int) -> int:
    """``int - int``, or an overflow error."""
    result = left - right
    if INT_MIN <= result <= INT_MAX:
        return result
    raise _overflow()


def multiply_int(left: int, right: int) -> int:
    """``int * int``, or an overflow error."""
    result = left * right
    if INT_MIN <= result <= INT_MAX:
        return result
    raise _overflow()


def divide_int(left: int, right: int) -> int:
    """``int / int`` rounded toward zero; ``-2**63 / -1`` overflows."""
    if right == 0:
        raise EvaluationError("divide by zero")
    if (left < 0) == (right < 0):
        result = left // right
        if result > INT_MAX:
            raise _overflow()
        return result
    return -(-left // right)


def modulo_int(left: int, right: int) -> int:
    """``int % int`` with the sign of the dividend; ``-2**63 % -1`` overflows."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    if right == -1 and left == INT_MIN:
        raise _overflow()
    result = abs(left) % abs(right)
    return result if left >= 0 else -result


def negate_int(value: int) -> int:
    """``-int``; the smallest int has no positive counterpart."""
    if value == INT_MIN:
        raise _overflow()
    return -value


# --- uint ----------------------------------------------------------------------------


def add_uint(left: int, right: int) -> Uint:
    """``uint + uint``, or an overflow error."""
    result = int(left) + int(right)
    if result <= UINT_MAX:
        return Uint(result)
    raise _unsigned_overflow()


def subtract_uint(left: int, right: int) -> Uint:
    """``uint - uint``, an overflow error below zero."""
    if right <= left:
        return Uint(int(left) - int(right))
    raise _unsigned_overflow()


def multiply_uint(left: int, right: int) -> Uint:
    """``uint * uint``, or an overflow error."""
    result = int(left) * int(right)
    if result <= UINT_MAX:
        return Uint(result)
    raise _unsigned_overflow()


def divide_uint(left: int, right: int) -> Uint:
    """``uint / uint`` rounded down."""
    if right == 0:
        raise EvaluationError("divide by zero")
    return Uint(int(left) // int(right))


def modulo_uint(left: int, right: int) -> Uint:
    """``uint % uint``."""
    if right == 0:
        raise EvaluationError("modulus by zero")
    return Uint(int(left) % int(right))


# --- double --------------------------------------------------------------------------


def divide_double(left: float, right: float) -> float:
    """``double / double`` of IEEE 754: by zero it is an infinity, or NaN for 0 / 0."""
    if right != 0.0:
        return left / right
    if left == 0.0 or isnan(left):
        return float("nan")
    return copysign(float("inf"), left) * copysign(1.0, right)


# --- conversions ---------------------------------------------------------------------


def double_to_int(value: float) -> int:
    """``int(double)``: toward zero, both ends of the range excluded, as in cel-go."""
    if -9223372036854775808.0 < value < 9223372036854775808.0:
        return int(value)
    raise EvaluationError(f"range error: {format_double(value)} does not fit int")


def uint_to_int(value: int) -> int:
    """``int(uint)``."""
    if value <= INT_MAX:
        return int(value)
    raise EvaluationError(f"range error: {int(value)}u does not fit int")


def double_to_uint(value: float) -> Uint:
    """``uint(double)``: toward zero; negative numbers are refused, -0.5 too."""
    if 0.0 <= value < 18446744073709551616.0:
        return Uint(int(value))
    raise EvaluationError(f"range error: {format_double(value)} does not fit uint")


def int_to_uint(value: int) -> Uint:
    """``uint(int)``."""
    if value >= 0:
        return Uint(value)
    raise EvaluationError(f"range error: {value} does not fit uint")


# [0-9], not \d, which takes the digits of every script.
_INT = re.compile(r"[+-]?[0-9]+")
_UINT = re.compile(r"[0-9]+")
_DOUBLE = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(inf|infinity))|nan",
    re.ASCII | re.IGNORECASE,
)
# No number of 64 bits has more digits; reading thousands of them would be slow.
_MAX_DIGITS = 20


def _shown(text: str) -> str:
    """Quote what a user wrote, shortened so that a message stays readable."""
    return repr(text if len(text) <= 64 else text[:61] + "...")


def parse_int(text: str) -> int:
    """``int(string)``: decimal digits with an optional sign, nothing else."""
    if _INT.fullmatch(text) is None:
        raise EvaluationError(f"cannot convert {_shown(text)} to int")
    if len(text) > _MAX_DIGITS:
        digits = text.lstrip("+-").lstrip("0")
        if len(digits) > _MAX_DIGITS:
            raise EvaluationError(f"range error: {_shown(text)} does not fit int")
        text = text[0] + digits if text[0] == "-" else digits or "0"
        text = "0" if text == "-" else text
    value = int(text)
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError(f"range error: {_shown(text)} does not fit int")


def parse_uint(text: str) -> Uint:
    """``uint(string)``: decimal digits without a sign, nothing else."""
    if _UINT.fullmatch(text) is None:
        raise EvaluationError(f"cannot convert {_shown(text)} to uint")
    if len(text) > _MAX_DIGITS:
        digits = text.lstrip("0")
        if len(digits) > _MAX_DIGITS:
            raise EvaluationError(f"range error: {_shown(text)} does not fit uint")
        text = digits or "0"
    value = int(text)
    if value <= UINT_MAX:
        return Uint(value)
    raise EvaluationError(f"range error: {_shown(text)} does not fit uint")


def parse_double(text: str) -> float:
    """``double(string)``: a decimal number, ``inf``, ``infinity`` or ``nan``.

    As in cel-go, letter case of the words does not matter and a number too large for a
    double is an error, not an infinity. Hexadecimal and underscores are refused.
    """
    match = _DOUBLE.fullmatch(text)
    if match is None:
        raise EvaluationError(f"cannot convert {_shown(text)} to double")
    value = float(text)
    if isinf(value) and match[1] is None:
        raise EvaluationError(f"range error: {_shown(text)} does not fit double")
    return value


def format_double(value: float) -> str:
    """``string(double)``: the shortest digits that read back, laid out as cel-go does.

    That is Go's ``%g``: no fraction where there is none (``1``), an exponent below
    1e-4 and from 1e6 on (``1e+06``), ``NaN``, ``+Inf``, ``-Inf``.
    """
    if not isfinite(value):
        return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    size = abs(value)
    if size < 1e6 or size >= 1e16:
        # Python's own exponents start at the same 1e-4 below, and at 1e16 above.
        return text.removesuffix(".0")
    sign = "-" if value < 0 else ""
    whole, _, fraction = text.lstrip("-").partition(".")
    exponent = len(whole) - 1
    digits = (whole + fraction).rstrip("0")
    mantissa = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{sign}{mantissa}e+{exponent:02d}"
$cel_numbers$);

    v_sources := v_sources || jsonb_build_object('operators', $cel_operators$"""The operators of CEL on values (cel-spec, "Operators" and "Equality").

Each takes the evaluation's state first, to charge for work that grows, and raises
:class:`EvaluationError` for operands that it is not defined for.
"""

from __future__ import annotations

from itertools import repeat

from . import numbers, temporal
from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .temporal import Duration, Timestamp
from .values import ABSENT, NUMERIC, Optional, Uint, Value, encode_key, type_of

_ORDERED = frozenset({bool, str, bytes, Timestamp, Duration})


def no_overload(name: str, *arguments: Value) -> EvaluationError:
    """The error of a function that is not defined for these arguments."""
    kinds = ", ".join(str(type_of(argument)) for argument in arguments)
    return EvaluationError(f"no such overload: {name}({kinds})")


def _no_operator(symbol: str, left: Value, right: Value) -> EvaluationError:
    return EvaluationError(
        f"no such overload: {type_of(left)} {symbol} {type_of(right)}"
    )


# Equality and order


def equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``==``: true for equal values of one type, and for equal numbers of any."""
    kind = type(left)
    if kind is not type(right):
        if kind not in NUMERIC or type(right) not in NUMERIC:
            return False
        left, right = _aligned(left, right)
        return bool(left == right)
    if kind is list:
        if len(left) != len(right):
            return False
        state.charge(len(left))
        return all(map(equal, repeat(state), left, right))
    if kind is dict:
        if len(left) != len(right):
            return False
        state.charge(len(left))
        return all(
            key in right and equal(state, value, right[key])
            for key, value in left.items()
        )
    if kind is str or kind is bytes:
        # Only text of equal length is looked into.
        if len(left) == len(right):
            state.charge(len(left) // CHARACTERS_PER_UNIT)
    elif kind is Optional:
        if left.present and right.present:
            return equal(state, left.value, right.value)
        return bool(left.present is right.present)
    return bool(left == right)


def not_equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``!=``: the negation of ``==``."""
    return not equal(state, left, right)


def _aligned(left: Value, right: Value) -> tuple[Value, Value]:
    """Numbers of two types as they compare.

    An integer meets a double as the double nearest to it, as in cel-go, cel-cpp and
    the conformance suite; Python would compare their exact values, which differ from
    2**53 on. Integers among each other are exact.
    """
    if type(left) is float:
        return left, float(right)
    return (float(left), right) if type(right) is float else (left, right)


def _comparable(
    state: Evaluation, symbol: str, left: Value, right: Value
) -> tuple[Value, Value]:
    kind = type(left)
    if kind is type(right) and (kind in _ORDERED or kind in NUMERIC):
        if kind is str or kind is bytes:
            state.charge(min(len(left), len(right)) // CHARACTERS_PER_UNIT)
        return left, right
    if kind in NUMERIC and type(right) in NUMERIC:
        return _aligned(left, right)
    raise _no_operator(symbol, left, right)


def less(state: Evaluation, left: Value, right: Value) -> bool:
    """``<``, on bool, numbers, string, bytes, timestamp and duration."""
    left, right = _comparable(state, "<", left, right)
    return bool(left < right)


def less_equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``<=``."""
    left, right = _comparable(state, "<=", left, right)
    return bool(left <= right)


def greater(state: Evaluation, left: Value, right: Value) -> bool:
    """``>``."""
    left, right = _comparable(state, ">", left, right)
    return bool(left > right)


def greater_equal(state: Evaluation, left: Value, right: Value) -> bool:
    """``>=``."""
    left, right = _comparable(state, ">=", left, right)
    return bool(left >= right)


# Arithmetic


def add(state: Evaluation, left: Value, right: Value) -> Value:
    """``+``: numbers of one type, strings, bytes, lists, times."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.add_int(left, right)
        if kind is float:
            return left + right
        if kind is str or kind is bytes:
            state.charge((len(left) + len(right)) // CHARACTERS_PER_UNIT)
            return left + right
        if kind is list:
            state.charge(len(left) + len(right))
            return left + right
        if kind is Uint:
            return numbers.add_uint(left, right)
        if kind is Duration:
            return temporal.add_durations(left, right)
    elif kind is Timestamp and type(right) is Duration:
        return temporal.add_to_timestamp(left, right)
    elif kind is Duration and type(right) is Timestamp:
        return temporal.add_to_timestamp(right, left)
    raise _no_operator("+", left, right)


def subtract(state: Evaluation, left: Value, right: Value) -> Value:
    """``-``: numbers of one type, and times."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.subtract_int(left, right)
        if kind is float:
            return left - right
        if kind is Uint:
            return numbers.subtract_uint(left, right)
        if kind is Duration:
            return temporal.subtract_durations(left, right)
        if kind is Timestamp:
            return temporal.subtract_timestamps(left, right)
    elif kind is Timestamp and type(right) is Duration:
        return temporal.subtract_from_timestamp(left, right)
    raise _no_operator("-", left, right)


def multiply(state: Evaluation, left: Value, right: Value) -> Value:
    """``*``: numbers of one type."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.multiply_int(left, right)
        if kind is float:
            return left * right
        if kind is Uint:
            return numbers.multiply_uint(left, right)
    raise _no_operator("*", left, right)


def divide(state: Evaluation, left: Value, right: Value) -> Value:
    """``/``: integers truncate toward zero; doubles follow IEEE 754."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.divide_int(left, right)
        if kind is float:
            return numbers.divide_double(left, right)
        if kind is Uint:
            return numbers.divide_uint(left, right)
    raise _no_operator("/", left, right)


def modulo(state: Evaluation, left: Value, right: Value) -> Value:
    """``%``: integers only; the result has the sign of the dividend."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return numbers.modulo_int(left, right)
        if kind is Uint:
            return numbers.modulo_uint(left, right)
    raise _no_operator("%", left, right)


def negate(state: Evaluation, operand: Value) -> Value:
    """Unary ``-``: int and double."""
    kind = type(operand)
    if kind is int:
        return numbers.negate_int(operand)
    if kind is float:
        return -operand
    raise EvaluationError(f"no such overload: -{type_of(operand)}")


def invert(state: Evaluation, operand: Value) -> bool:
    """``!``: bool only."""
    if operand is True:
        return False
    if operand is False:
        return True
    raise EvaluationError(f"no such overload: !{type_of(operand)}")


# Lists and maps


def _find(container: Value, key: Value) -> tuple[bool, Value]:
    """Whether a list or map has something under a key, and what."""
    kind = type(container)
    if kind is dict:
        try:
            stored = encode_key(key)
        except KeyError:
            raise EvaluationError(f"unsupported key type: {type_of(key)}") from None
        return stored in container, container.get(stored)
    if kind is list:
        position = key
        if type(key) is float and key.is_integer():
            position = int(key)
        elif type(key) is not int and type(key) is not Uint:
            raise EvaluationError(f"unsupported index type: {type_of(key)}")
        if 0 <= position < len(container):
            return True, container[position]
        return False, None
    raise EvaluationError(f"no such overload: {type_of(container)}[{type_of(key)}]")


def index(state: Evaluation, container: Value, key: Value) -> Value:
    """``container[key]``: a list's element from 0, or a map's value.

    Of an optional list or map it is optional, as ``container[?key]``.
    """
    if type(container) is Optional:
        return index_optionally(state, container, key)
    found, value = _find(container, key)
    if found:
        return value
    if type(container) is dict:
        raise EvaluationError(f"no such key: {shown(key)}")
    raise EvaluationError(
        f"index out of bounds: {shown(key)} in a list of {len(container)}"
    )


def index_optionally(state: Evaluation, container: Value, key: Value) -> Optional:
    """``container[?key]``: an optional, which is absent where the key is.

    A map has nothing under a value that can be no key, as ``in`` says.
    """
    if type(container) is Optional:
        if not container.present:
            return container
        container = container.value
    if type(container) is dict and not contains(state, key, container):
        return ABSENT
    found, value = _find(container, key)
    return Optional(value) if found else ABSENT


def contains(state: Evaluation, element: Value, container: Value) -> bool:
    """``element in container``: a list's elements or a map's keys."""
    kind = type(container)
    if kind is list:
        state.charge(len(container))
        if type(element) is str:
            # A str equals nothing but a str, in Python as in CEL.
            return element in container
        return any(map(equal, repeat(state), repeat(element), container))
    if kind is dict:
        try:
            return encode_key(element) in container
        except KeyError:
            return False
    raise _no_operator("in", element, container)


def shown(value: Value) -> str:
    """A scalar as an error message shows it, cut where it is long."""
    if type(value) is bool:
        return "true" if value else "false"
    text = f'"{value}"' if type(value) is str else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
$cel_operators$);

    v_sources := v_sources || jsonb_build_object('parser', $cel_parser$"""Tokens to a syntax tree (cel-spec, "Syntax"), by precedence climbing.

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
$cel_parser$);

    v_sources := v_sources || jsonb_build_object('program', $cel_program$"""Compiled expressions: source text in, a program that evaluates facts out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from . import source
from .checked import Checked, count
from .checker import check
from .environment import Environment
from .errors import (
    EvaluationError,
    ExpressionTooLarge,
)
from .estimate import estimate, too_costly
from .evaluation import Evaluation
from .interpreter import Closure, interpret, straight_cost
from .parser import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .shapes import Shape
    from .trace import Step
    from .types import Type
    from .values import Value

_DEFAULT = Environment()


# Evaluations by closures before Python code is generated, which costs as much as
# a few hundred of them; most rules of a short session are evaluated once or twice.
_WARM = 32


class Program:
    """A compiled expression. It may be used by many threads at once.

    ``evaluate(variables, *, interrupted=None)`` gives the value of the expression.
    ``variables`` maps names to CEL values, as ``facts.parse_facts`` gives them;
    ``interrupted`` is asked every millisecond or so whether to stop. It raises
    :class:`EvaluationError`, :class:`CostLimitExceeded` and, when told to stop,
    :class:`Interrupted`. It is an attribute: once the program is warm, generated
    code takes the place of the closures.
    """

    __slots__ = (
        "_closure", "_cost", "_estimate", "_slots", "_uses", "environment", "evaluate",
        "nodes", "text", "tree",
    )  # fmt: skip

    def __init__(
        self, text: str, environment: Environment, tree: Checked, slots: int
    ) -> None:
        self.text = text
        self.environment = environment
        self.tree = tree
        self.nodes = count(tree)
        self._slots = slots
        # Made when the program first runs, which those that a statement only stores
        # never do. Threads that make them at once make equal ones.
        self._closure: Closure | None = None
        self._cost: int | None = None
        self._estimate: int | None = None
        self._uses = 0
        self.evaluate: Callable[..., Value] = self._warming

    def _warming(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> Value:
        self._uses += 1
        if self._uses == _WARM:
            self.generate()
        return self.interpret(variables, interrupted=interrupted)

    @property
    def type(self) -> Type:
        """The type of the value, as far as inference knows it; else dyn."""
        return self.tree.type

    @property
    def estimate(self) -> int:
        """The cost units of an evaluation at most, over facts of assumed sizes.

        See :mod:`.estimate`; larger facts may cost more.
        """
        if self._estimate is None:
            self._estimate = estimate(self.tree, self.environment).cost
        return self._estimate

    def refuse_too_costly(self) -> None:
        """Raise :class:`ExpressionTooLarge` where the estimate exceeds the limit."""
        found = estimate(self.tree, self.environment)
        self._estimate = found.cost
        problem = too_costly(found, self.text, self.environment.limits)
        if problem is not None:
            raise ExpressionTooLarge([problem])

    def generate(self) -> None:
        """Let generated code evaluate from now on, where the expression suits it."""
        from .codegen import LEAST_LIMIT, generate

        function = None
        if self.environment.limits.cost >= LEAST_LIMIT:
            function = generate(self.tree, self._slots, interpret, self.interpret)
        self.evaluate = function or self.interpret

    def shape(self, derived: frozenset[str]) -> Shape | None:
        """What the expression has in common with others, see ``shapes``."""
        from .shapes import shape

        return shape(self.tree, self.nodes, self._slots, derived, interpret)

    def interpret(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> Value:
        """The value by the closures, which define it."""
        return self.run(
            Evaluation(variables, self.environment.limits.cost, interrupted)
        )

    def run(self, state: Evaluation) -> Value:
        """The value by the closures, in an evaluation whose cost the caller reads."""
        return self._run(self._closure, state)

    def cost(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> int:
        """The cost units of an evaluation, which may fail."""
        state = Evaluation(variables, self.environment.limits.cost, interrupted)
        with suppress(EvaluationError):
            self.run(state)
        return state.cost

    def trace(
        self,
        variables: Mapping[str, Value],
        *,
        interrupted: Callable[[], bool] | None = None,
    ) -> tuple[Value, EvaluationError | None, list[Step]]:
        """The value or the error, and the steps that led to it."""
        from . import trace

        state = Evaluation(variables, self.environment.limits.cost, interrupted)
        state.trace = {}
        value, failure = None, None
        try:
            value = self._run(interpret(self.tree, trace=True), state)
        except EvaluationError as error:
            failure = error
        return (
            value,
            failure,
            trace.steps(
                self.text,
                self.tree,
                state.trace,
                state.locals,
                self.environment.derived,
            ),
        )

    def _run(self, closure: Closure | None, state: Evaluation) -> Value:
        """The value by some closures, or by the program's own."""
        if self._slots:
            state.locals = [None] * self._slots
        try:
            if closure is None:
                closure = self._closure = interpret(self.tree)
            if self._cost is None:
                self._cost = straight_cost(self.tree)
            state.charge(self._cost)
            return closure(state)
        except EvaluationError as error:
            if error.place is not None:
                error.location = source.location(self.text, error.place)
            raise
        except RecursionError:
            raise EvaluationError(
                "the caller's stack leaves no room for this expression"
            ) from None


def compile_expression(
    text: str,
    environment: Environment = _DEFAULT,
    *,
    unchecked: bool = False,
    expand_macros: bool = True,
) -> Program:
    """Compile an expression.

    ``unchecked`` turns unknown names and functions into errors of the evaluation, and
    leaves what it may cost to the limit of the evaluation.

    Raises :class:`InvalidExpression` with every problem found, or one of its
    subclasses :class:`ExpressionTooLarge` and :class:`RegexLibraryMissing`.
    """
    source.refuse_surrogates(text)
    try:
        tree = parse(text, limits=environment.limits, expand_macros=expand_macros)
        checked, slots = check(tree, text, environment, unchecked=unchecked)
        program = Program(text, environment, checked, slots)
        if not unchecked:
            program.refuse_too_costly()
    except RecursionError:
        problem = source.problem(
            text, 0, "the caller's stack leaves no room for an expression so deep"
        )
        raise ExpressionTooLarge([problem]) from None
    return program
$cel_program$);

    v_sources := v_sources || jsonb_build_object('reading', $cel_reading$"""How facts become values of their declared types, when they are read.

====================  ===========================================================
declared              what the facts may have
====================  ===========================================================
``int``, ``int64``    an int; a double that has no fraction and is at most 2**53,
                      up to which doubles are exact: 1.0 is 1
``float64``           a number; an int becomes the nearest double
``string``, ``bool``  the same
``bytes``             text in base64, of either alphabet, with or without padding
``timestamp``         text as ``timestamp(string)`` reads it, RFC 3339
``duration``          text as ``duration(string)`` reads it, ``1h30m``
``double``            of columns: a number, or text as ``double(string)`` reads it,
                      with ``NaN`` and ``Infinity``, which JSON has no numbers for
``list(type)``        of columns: a list, at any depth, of values that become the type
``dyn``               of columns: anything, as it is
====================  ===========================================================

Anything else is an error that names the path, the declared type and what came. Null
stays null, as cel-spec has it for wrappers: it equals null, differs from any other
value, and is an error for every other operation. ``has()`` asks only whether the field
is there, null or not. A field that the facts lack is an error, as without a schema.

An object read as a whole, ``User`` rather than ``User.Age``, is a map of the declared
fields that the facts have, each converted; fields not declared are not in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import numbers, temporal, types
from .errors import CostLimitExceeded, EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .operators import shown
from .types import ObjectType, Type, spoken, unwrapped
from .values import Uint, Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The Python type that needs no conversion, by declared type.
NATIVE: Final[dict[str, type | None]] = {
    "int": int,
    "int64": int,
    "float64": float,
    "string": str,
    "bool": bool,
    "bytes": None,
    "timestamp": None,
    "duration": None,
    "double": float,
    "dyn": None,
}

_LIST: Final = "list("

# Beyond this, neighbouring integers are one double.
_EXACT: Final = 1 << 53


def read_field(state: Evaluation, value: Value, declared: str, path: str) -> Value:
    """A fact as a value of its declared type, a type's name in a schema.

    Raises :class:`EvaluationError` where it cannot be one.
    """
    if value is None or type(value) is NATIVE.get(declared) or declared == "dyn":
        return value
    if declared.startswith(_LIST) and type(value) is list:
        element = declared[len(_LIST) : -1]
        state.charge(len(value))
        return [
            read_field(state, part, declared if type(part) is list else element, path)
            for part in value
        ]
    convert = _CONVERSIONS.get((declared, type(value)))
    if convert is None:
        raise _mismatch(path, f"declared {declared}", value)
    if type(value) is str:
        state.charge(len(value) // CHARACTERS_PER_UNIT)
    try:
        return convert(value)
    except _Mismatch:
        raise _mismatch(path, f"declared {declared}", value) from None
    except EvaluationError as error:
        raise EvaluationError(
            f"{path} is declared {declared}: {error.message}", hint=error.hint
        ) from None


def conversion(declared: Mapping[str, str], name: str) -> str | None:
    """The declared type of a fact that is to be converted when it is read."""
    found = declared.get(name)
    return None if found == "dyn" else found


def read_object(state: Evaluation, value: Value, of: ObjectType) -> Value:
    """An object of the facts as the map of its declared fields."""
    if type(value) is not dict:
        raise not_an_object(of.name, value)
    state.charge(len(of.declared))
    return {
        name: read_field(state, value[name], declared, f"{of.name}.{name}")
        for name, declared in of.declared.items()
        if name in value
    }


def not_an_object(name: str, value: Value) -> EvaluationError:
    """The error of facts that have another value where an object is declared."""
    return _mismatch(name, "declared an object", value)


def read_derived(state: Evaluation, value: Value, of: Type, name: str) -> Value:
    """A derived field that the facts supply, as a value of the type inferred for it.

    Doubles, bytes, timestamps and durations convert as for declared fields; lists and
    maps are read through. Raises :class:`EvaluationError` for another type: what relies
    on the inferred type must not meet it.
    """
    try:
        return _derived(state, value, of)
    except CostLimitExceeded:
        raise
    except EvaluationError as error:
        raise EvaluationError(
            f"the derived field {name}: {error.message}", hint=error.hint
        ) from None
    except _Mismatch:
        kind = f"by its expression {spoken(of)}"
        raise _mismatch(f"the derived field {name}", kind, value) from None


class _Mismatch(Exception):
    """A part of a value has not the type that is asked for."""


def _derived(state: Evaluation, value: Value, of: Type) -> Value:
    if of is types.DYN or (value is None and types.nullable(of)):
        return value
    of = unwrapped(of)
    if type(of) is ObjectType:
        return read_object(state, value, of)
    if of.name == "list" and type(value) is list:
        (element,) = of.parameters
        state.charge(len(value))
        return [_derived(state, part, element) for part in value]
    if of.name == "map" and type(value) is dict:
        state.charge(len(value))
        return dict(_entries(state, value, *of.parameters))
    if of is types.UINT and type(value) is int and value >= 0:
        return Uint(value)
    declared = _DECLARED.get(of)
    if declared is None:
        raise _Mismatch
    if type(value) is NATIVE[declared]:
        return value
    convert = _CONVERSIONS.get((declared, type(value)))
    if convert is None:
        raise _Mismatch
    if type(value) is str:
        state.charge(len(value) // CHARACTERS_PER_UNIT)
    return convert(value)


def _entries(
    state: Evaluation, value: Value, key: Type, element: Type
) -> Iterator[tuple[str, Value]]:
    # The keys of JSON are strings.
    if unwrapped(key) not in (types.STRING, types.DYN) and value:
        raise _Mismatch
    for name, part in value.items():
        yield name, _derived(state, part, element)


def _mismatch(path: str, declaration: str, value: Value) -> EvaluationError:
    kind = spoken(type_of(value))
    if type(value) in (int, float, bool):
        kind = f"{kind} {shown(value)}"
    return EvaluationError(f"{path} is {declaration}, the facts have {kind}")


def _whole(value: float) -> int:
    if value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    raise _Mismatch


def read_bytes(text: str) -> bytes:
    """Base64 text as bytes; raises :class:`EvaluationError` for other text."""
    import binascii

    # Standard and URL-safe alphabet, with or without padding, as protobuf's JSON.
    standard = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return binascii.a2b_base64(
            standard + "=" * (-len(standard) % 4), strict_mode=True
        )
    except ValueError:
        raise EvaluationError(f"{shown(text)} is no base64 text") from None


_CONVERSIONS: Final[dict[tuple[str, type], Callable[..., Value]]] = {
    ("int", float): _whole,
    ("int64", float): _whole,
    ("float64", int): float,
    ("bytes", str): read_bytes,
    ("double", int): float,
    ("double", str): numbers.parse_double,
    ("timestamp", str): temporal.parse_timestamp,
    ("duration", str): temporal.parse_duration,
}

_DECLARED: Final = {
    types.INT: "int",
    types.DOUBLE: "float64",
    types.STRING: "string",
    types.BOOL: "bool",
    types.BYTES: "bytes",
    types.TIMESTAMP: "timestamp",
    types.DURATION: "duration",
}
$cel_reading$);

    v_sources := v_sources || jsonb_build_object('regex', $cel_regex$"""Regular expressions: RE2's syntax and RE2's linear time, or none at all.

Python's ``re`` can run for years on a short pattern and cannot be cancelled, so it
is never used for a pattern that comes from a rule. The library (PyPI: google-re2)
is loaded when a rule first needs it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from .errors import EvaluationError
from .evaluation import CHARACTERS_PER_UNIT, Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .values import Value

# RE2 compiles a pattern in time and memory linear in its length and repetitions;
# both are bounded by these.
MAX_PATTERN_LENGTH = 1000
_MAX_MEMORY = 1 << 20
_CACHE_SIZE = 256

MISSING = "regular expressions need the RE2 library, which this Python lacks"
MISSING_HINT = (
    "install google-re2 for the Python that evaluates (the server's own, for rules "
    "in the database), or use contains, startsWith or endsWith"
)

# By pattern, and whether its groups are kept.
_compiled: dict[tuple[str, bool], Any] = {}


class PatternError(EvaluationError):
    """The pattern is no valid RE2 regular expression."""


class EngineMissing(EvaluationError):
    """The RE2 library cannot be imported."""


@cache
def _load(*, capture: bool = False) -> Any:
    """The library and the options that every pattern is compiled with."""
    try:
        import re2
    except ImportError:
        raise EngineMissing(MISSING, hint=MISSING_HINT) from None
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    options.never_capture = not capture
    return re2, options


def compile_pattern(pattern: str, *, capture: bool = False) -> Any:
    """The compiled form of a pattern, from a bounded cache.

    Its groups are kept when ``capture`` is set, which makes matching slower.
    Raises :class:`PatternError` and :class:`EngineMissing`.
    """
    compiled = _compiled.get((pattern, capture))
    if compiled is None:
        if len(pattern) > MAX_PATTERN_LENGTH:
            raise PatternError(
                f"regular expression has {len(pattern):,} characters; "
                f"the limit is {MAX_PATTERN_LENGTH:,}"
            )
        re2, options = _load(capture=capture)
        try:
            compiled = re2.compile(pattern, options)
        except (re2.error, UnicodeEncodeError) as error:
            reason = error.args[0] if error.args else error
            if isinstance(reason, bytes):
                reason = reason.decode(errors="replace")
            raise PatternError(
                f"invalid regular expression: {reason}",
                hint="the syntax is RE2's: no look-around, no back-references",
            ) from None
        if len(_compiled) >= _CACHE_SIZE:
            _compiled.pop(next(iter(_compiled)), None)
        _compiled[pattern, capture] = compiled
    return compiled


def search_cost(text: str, pattern: str) -> int:
    """The cost units of one search.

    A unit for ten characters of text, times one for four of the pattern.
    """
    return (1 + len(text) // CHARACTERS_PER_UNIT) * (1 + len(pattern) // 4)


def search(state: Evaluation, text: str, pattern: str) -> bool:
    """Whether the pattern matches anywhere in the text (cel-spec, "matches")."""
    state.charge(search_cost(text, pattern))
    return compile_pattern(pattern).search(text) is not None


def validate(arguments: Sequence[Value | None]) -> None:
    """Refuse a call that can never work: RE2 is missing, or the pattern is wrong."""
    _load()
    pattern = arguments[-1]
    if type(pattern) is str:
        compile_pattern(pattern)
$cel_regex$);

    v_sources := v_sources || jsonb_build_object('rule_set', $cel_rule_set$"""Many rules that are evaluated over the same facts.

Rules of one shape, see ``shapes``, are evaluated by one function, and the others by
their programs. What decides is always the same: the closures of ``interpreter``, which
evaluate every rule that generated code cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .activation import Activation
from .codegen import LEAST_LIMIT, compiled
from .errors import EvaluationError, Interrupted, InvalidExpression
from .shapes import ABSENT, UNDECIDED, Row, Shape
from .templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .facts import Facts
    from .program import Program

    Compile = Callable[[str], Program]

# Python takes about as long to compile a function as closures take for this many
# evaluations; so a shape of many rules is compiled at once, and another one when it has
# been used so often.
_WORTHWHILE: Final = 64

# Functions that one evaluation may compile of those that became worthwhile: some ten
# milliseconds.
_PATIENCE: Final = 20

# Rules between two looks at whether to stop, where a rule takes microseconds.
_STRIDE: Final = 64


class Outcomes(NamedTuple):
    """What the rules of a set said: positions of those that matched, and errors.

    ``matched`` is in order; ``errors`` has the message of each rule that failed.
    """

    matched: list[int]
    errors: dict[int, str]


class _Group:
    """The rules of one shape."""

    __slots__ = ("function", "nodes", "positions", "rows", "source", "uses")

    def __init__(self, source: str, *, keyed: bool) -> None:
        self.source = source
        self.function: Callable[..., int] | None = None
        self.rows: Any = {} if keyed else []
        self.positions: list[int] = []
        self.nodes = 0
        self.uses = 0

    def add(self, position: int, row: Row, keys: tuple[Any, ...] | None) -> None:
        whole = (position, *row)
        self.positions.append(position)
        if keys is None:
            self.rows.append(whole)
        else:
            for key in keys:
                self.rows.setdefault(key, []).append(whole)

    def compile(self) -> None:
        try:
            self.function = compiled(self.source)
        except (SyntaxError, RecursionError, MemoryError):
            # Too much for Python's compiler; it is not tried again.
            self.function = _undecided


def _undecided(*_: Any) -> int:
    return UNDECIDED


def _ignore(_: int) -> None:
    """Take a position of which nothing more is to be said."""


class RuleSet:
    """Rules in the order of evaluation; ``nodes`` is what they weigh in a cache.

    ``ids`` and ``names`` are the caller's, where it keeps them with the rules. Many
    threads may evaluate at once.
    ``compile`` gives the program of an expression, or raises
    :class:`InvalidExpression`, which then is the rule's error; it is asked again
    whenever the closures are needed. ``derived`` are the names of the environment's
    derived fields. Raises :class:`Interrupted` when told to stop.
    """

    def __init__(
        self,
        expressions: list[str],
        compile_: Compile,
        derived: Iterable[str] = (),
        interrupted: Callable[[], bool] | None = None,
        *,
        ids: list[str] | None = None,
        names: list[str] | None = None,
    ) -> None:
        self.expressions = expressions
        self.ids = ids or []
        self.names = names or []
        self.nodes = len(expressions)
        self._program = compile_
        self._broken: dict[int, str] = {}
        self._others: list[int] = []
        groups: dict[str, _Group] = {}
        known = frozenset(derived)
        templates = Templates(compile_, known)
        for position, expression in enumerate(expressions):
            if position % _STRIDE == 0:
                _give_way(interrupted)
            shaped = templates.shape(expression)
            if shaped is not None:
                self._place(groups, position, *shaped)
                continue
            try:
                program = compile_(expression)
            except InvalidExpression as invalid:
                self._broken[position] = str(invalid)
                continue
            found = None
            if program.environment.limits.cost >= LEAST_LIMIT:
                found = program.shape(known)
            if found is None:
                self._others.append(position)
                self.nodes += program.nodes
                continue
            self._place(groups, position, found, program.nodes)
        self._groups = list(groups.values())
        for group in self._groups:
            if len(group.positions) >= _WORTHWHILE:
                _give_way(interrupted)
                group.compile()
            else:
                # They keep a function of their own, but neither tree nor closures.
                self.nodes += group.nodes // 2

    @staticmethod
    def _place(
        groups: dict[str, _Group], position: int, found: Shape, nodes: int
    ) -> None:
        group = groups.get(found.source)
        if group is None:
            group = groups[found.source] = _Group(
                found.source, keyed=found.keys is not None
            )
        group.add(position, found.row, found.keys)
        group.nodes += nodes

    def __len__(self) -> int:
        return len(self.expressions)

    def generate(self) -> None:
        """Let generated code evaluate from now on, where the rules suit it."""
        for group in self._groups:
            group.compile()

    def evaluate(
        self,
        variables: Facts,
        interrupted: Callable[[], bool] | None = None,
        *,
        matched_only: bool = False,
    ) -> Outcomes:
        """Evaluate every rule; with ``matched_only`` errors may be left out.

        Raises :class:`Interrupted`.
        """
        outcomes = self._by_shape(variables, interrupted, matched_only=matched_only)
        if isinstance(variables, Activation) and variables.exhausted:
            # Which rules find a derived field beyond the limit they share depends on
            # the order, which is that of the rules.
            positions = range(len(self.expressions))
            return self._in_order(variables.renewed(), interrupted, positions, [])
        return outcomes

    def _by_shape(
        self,
        variables: Facts,
        interrupted: Callable[[], bool] | None,
        *,
        matched_only: bool,
    ) -> Outcomes:
        matched: list[int] = []
        doubts = list(self._others)
        doubt = doubts.append
        absent = _ignore if matched_only else doubt
        patience = _PATIENCE
        for group in self._groups:
            _give_way(interrupted)
            if group.function is None:
                group.uses += len(group.positions)
                if group.uses < _WORTHWHILE or not patience:
                    doubts += group.positions
                    continue
                patience -= 1
                group.compile()
            assert group.function is not None
            status = group.function(
                variables, group.rows, matched.append, doubt, absent, interrupted
            )
            if status == UNDECIDED or (status == ABSENT and not matched_only):
                doubts += group.positions
        doubts += self._broken
        doubts.sort()
        return self._in_order(variables, interrupted, doubts, matched)

    def _in_order(
        self,
        variables: Facts,
        interrupted: Callable[[], bool] | None,
        positions: Iterable[int],
        matched: list[int],
    ) -> Outcomes:
        """Evaluate some of the rules by closures, beside those found to match."""
        errors: dict[int, str] = {}
        for number, position in enumerate(positions):
            if number % _STRIDE == 0:
                _give_way(interrupted)
            broken = self._broken.get(position)
            if broken is not None:
                errors[position] = broken
                continue
            try:
                program = self._program(self.expressions[position])
                if program.interpret(variables, interrupted=interrupted) is True:
                    matched.append(position)
            except (EvaluationError, InvalidExpression) as failed:
                errors[position] = str(failed)
        matched.sort()
        return Outcomes(matched, errors)


def _give_way(interrupted: Callable[[], bool] | None) -> None:
    """Stop where the surrounding server asked to."""
    if interrupted is not None and interrupted():
        raise Interrupted
$cel_rule_set$);

    v_sources := v_sources || jsonb_build_object('schema', $cel_schema$"""Tenant schemas: which objects the facts have, with which fields of which types.

A definition is JSON of two levels, ``{"User": {"Age": "int"}}``. Reading it gives the
type of each object, for :class:`Environment`; a definition that breaks rules is refused
with all of them at once. How facts become values of the declared types is in
``reading``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from . import types
from .errors import InvalidSchema, Violation
from .lexer import KEYWORDS, RESERVED
from .types import ObjectType, Type, wrapper_of

MAX_OBJECTS: Final = 100
MAX_FIELDS: Final = 200
MAX_NAME: Final = 100

# A field of the facts may be null, so that its type is a wrapper (cel-spec, "Values").
# Timestamps and durations are nullable by themselves.
TYPES: Final[dict[str, Type]] = {
    "int": wrapper_of(types.INT),
    "int64": wrapper_of(types.INT),
    "float64": wrapper_of(types.DOUBLE),
    "string": wrapper_of(types.STRING),
    "bool": wrapper_of(types.BOOL),
    "bytes": wrapper_of(types.BYTES),
    "timestamp": types.TIMESTAMP,
    "duration": types.DURATION,
}

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FORM: Final = 'write {"Object": {"Field": "type"}}, such as {"User": {"Age": "int"}}'
_NAME_FORM: Final = (
    "a name is letters, digits and underscores, begins with no digit, "
    "and is no word of CEL: User, total_amount"
)
_TYPE_FORM: Final = f"the types are {', '.join(TYPES)}"
# What other languages and JSON schemas call the types.
_OTHER_NAMES: Final = {
    "boolean": "bool",
    "date": "timestamp",
    "datetime": "timestamp",
    "decimal": "float64",
    "double": "float64",
    "float": "float64",
    "float32": "float64",
    "int32": "int",
    "integer": "int",
    "interval": "duration",
    "long": "int64",
    "number": "float64",
    "str": "string",
    "text": "string",
    "timestamptz": "timestamp",
}


def decoded(definition: str) -> object:
    """The value of a definition's JSON text.

    Raises :class:`InvalidSchema` for what Python cannot decode: ``jsonb`` holds more
    levels and longer numbers, and no definition has them.
    """
    try:
        return json.loads(definition)
    except (ValueError, RecursionError):
        message = "a schema definition is a JSON object of two levels"
        raise InvalidSchema([Violation(None, None, message, _FORM)]) from None


def read_schema(definition: object) -> dict[str, ObjectType]:
    """The types of the objects that a definition declares, by name.

    ``definition`` is any decoded JSON. Raises :class:`InvalidSchema` with every
    violation.
    """
    violations: list[Violation] = []
    if not isinstance(definition, Mapping):
        message = f"a schema definition is a JSON object, not {_kind(definition)}"
        raise InvalidSchema([Violation(None, None, message, _FORM)])
    _count(violations, None, "objects", len(definition), MAX_OBJECTS)
    objects: dict[str, ObjectType] = {}
    for name, fields in definition.items():
        _name(violations, "object", name, name, None)
        if isinstance(fields, Mapping):
            _count(violations, name, "fields", len(fields), MAX_FIELDS)
            objects[name] = _object(violations, name, fields)
        else:
            message = f"object {_shown(name)} has its fields in a JSON object, not in "
            violations.append(_violation(name, None, message + _kind(fields), _FORM))
    if violations:
        raise InvalidSchema(violations)
    return objects


def _object(
    violations: list[Violation], name: str, fields: Mapping[str, object]
) -> ObjectType:
    declared: dict[str, str] = {}
    for field, kind in fields.items():
        _name(violations, "field", field, name, field)
        if isinstance(kind, str) and kind in TYPES:
            declared[field] = kind
        else:
            violations.append(_bad_type(name, field, kind))
    return ObjectType(
        str(name), {field: TYPES[kind] for field, kind in declared.items()}, declared
    )


def _bad_type(name: str, field: str, kind: object) -> Violation:
    where = f"field {_path(name, field)}"
    if isinstance(kind, Mapping):
        message = f"{where} is an object; a schema has two levels, objects and fields"
        hint = f'make it an object of its own, or name one type: "int"; {_TYPE_FORM}'
    elif not isinstance(kind, str):
        message = f"{where} has its type as {_kind(kind)}, not as a string"
        hint = f'write "int"; {_TYPE_FORM}'
    else:
        import difflib

        message = f"{where} has an unknown type {_shown(kind)}"
        near = difflib.get_close_matches(kind.lower()[:MAX_NAME], TYPES, n=1)
        meant = _OTHER_NAMES.get(kind.lower(), near[0] if near else "")
        hint = f'did you mean "{meant}"? {_TYPE_FORM}' if meant else _TYPE_FORM
    return _violation(name, field, message, hint)


def _violation(
    name: object | None, field: object | None, message: str, hint: str
) -> Violation:
    cut = [None if part is None else str(part)[:MAX_NAME] for part in (name, field)]
    return Violation(cut[0], cut[1], message, hint)


def _count(
    violations: list[Violation], name: str | None, what: str, count: int, most: int
) -> None:
    if not 1 <= count <= most:
        where = "the schema" if name is None else f"object {_shown(name)}"
        message = f"{where} has {count or 'no'} {what}"
        hint = f"1 to {most} {what} are allowed"
        violations.append(_violation(name, None, message, hint))


def _name(
    violations: list[Violation],
    what: str,
    name: object,
    in_object: str,
    in_field: str | None,
) -> None:
    where = _path(in_object, in_field)
    if not isinstance(name, str):
        reasons = [f"the name of {what} {where} is {_kind(name)}, not a string"]
    else:
        reasons = []
        if not name:
            reasons.append(f"the name of {what} {where} is empty")
        elif not _NAME.fullmatch(name):
            reasons.append(f"the name of {what} {where} has characters not allowed")
        elif name in RESERVED or name in KEYWORDS:
            reasons.append(f"the name of {what} {where} is a reserved word of CEL")
        if len(name) > MAX_NAME:
            reasons.append(
                f"the name of {what} {where} has {len(name)} characters, "
                f"more than {MAX_NAME}"
            )
    violations += [
        _violation(
            in_object,
            in_field,
            reason,
            f"at most {MAX_NAME} characters"
            if reason.endswith(f"than {MAX_NAME}")
            else _NAME_FORM,
        )
        for reason in reasons
    ]


def _path(name: object, field: object | None) -> str:
    return _shown(name) if field is None else f"{_shown(name)}.{_shown(field)}"


def _shown(name: object) -> str:
    """A name as a message shows it: plain where it is one, quoted and cut else."""
    if isinstance(name, str):
        if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
            return name
        return json.dumps(name if len(name) <= MAX_NAME else name[:60] + "...")
    return _kind(name)


def _kind(value: object) -> str:
    """What a JSON value is, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, Mapping):
        return "an object"
    return f"a {type(value).__name__}"
$cel_schema$);

    v_sources := v_sources || jsonb_build_object('shapes', $cel_shapes$"""Checked trees to functions that evaluate many expressions of one shape at once.

Expressions that differ in their constants alone have one *shape*: the text of a
function that loops over *rows*, which are a position and the expression's constants.
What all of them read is read once, in front of the loop. Of ``User.Age >= 18 &&
Order.Country == "DE"``, and others like it, the shape is, in short::

    def generated(variables, rows, add, doubt, absent, interrupted):
        t1 = variables["User"]["Age"]
        t2 = variables["Order"]["Country"]
        for position, k0 in rows_under(rows, t2):
            if t1 >= k0:
                add(position)

``add`` takes the position of an expression whose value is true. ``doubt`` takes that of
one which only the closures can evaluate, see ``codegen``; so does the caller with all
of them when the function returns `UNDECIDED`. ``absent`` takes that of one which is not
true, as something that it needs to be true is not in the facts; whether it fails, the
closures know. For all of them the function returns `ABSENT`. Expressions of which
nothing is said are not true, and do not fail.

Where a clause compares a path with a constant, rows come in a dict under that constant,
and the others are never looked at. That is exact, errors included: a conjunction with a
clause that is false is false, whatever its other clauses are (cel-spec, "Logical
Operators"). Only the cost limit and the derived fields, which share one, make it matter
whether another clause was evaluated first; so such clauses keep their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .checked import (
    Chain,
    Checked,
    Choice,
    Constant,
    Field,
    Invoke,
    Loop,
    MakeList,
    PairLoop,
    Variable,
)
from .codegen import (
    MAX_NODES,
    Generator,
    Unsupported,
    constant_elements,
    is_plain_number,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .interpreter import Closure
    from .values import Value

ABSENT: Final = 1
UNDECIDED: Final = 2

_COMPARISONS: Final = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})

Row = tuple[Any, ...]


class Shape(NamedTuple):
    """The text of a function, and the row of an expression of this shape in it.

    ``keys`` are the constants under which the row stands in a dict, or None for a
    function that takes a list. ``row`` lacks the position, which comes first.
    """

    source: str
    row: Row
    keys: tuple[Value, ...] | None


def shape(
    tree: Checked, nodes: int, slots: int, derived: frozenset[str],
    build: Callable[[Checked], Closure],
) -> Shape | None:  # fmt: skip
    """The shape of a tree of so many nodes; None where it does not suit generated code.

    ``derived`` are the names of the derived fields, ``build`` gives the closure of a
    part, which may use so many ``slots``.
    """
    if nodes > MAX_NODES:
        return None
    try:
        return _Shaper(build, derived).shape(tree, slots)
    except (Unsupported, RecursionError):
        return None


class _Shaper(Generator):
    """Writes the function of a shape: what is in front of the loop, then its body."""

    def __init__(
        self, build: Callable[[Checked], Closure], derived: frozenset[str]
    ) -> None:
        super().__init__(build)
        self.derived = derived
        self.indent = 1

    def shape(self, tree: Checked, slots: int) -> Shape:
        clauses = list(_clauses(tree))
        keys: tuple[Value, ...] | None = None
        rows = "rows"
        left: list[Checked] = []
        cheap = True
        for number, clause in enumerate(clauses):
            # A derived field is computed only where a rule by itself would compute it.
            for node in _needed(clause):
                self.hoist(node, first=number == 0)
            cheap = cheap and self.is_cheap(clause)
            if cheap and not any(map(_is_parameter, walk(clause))):
                self.common(clause)
                continue
            found = self.keys(clause) if cheap and keys is None else None
            if found is None:
                left.append(clause)
            else:
                keys, rows = found
        head, self.lines = self.lines, []
        self.indent = 3
        self.body(left, alone=len(clauses) == 1)
        names = ", ".join(["position", *self.constants()])
        source = "\n".join(
            [
                "def generated(variables, rows, add, doubt, absent, interrupted):",
                *head,
                f"    for ({names},) in {rows}:",
                "        try:",
                *self.interruptions(),
                *self.preparations(slots),
                *self.lines,
                *(
                    ["        except KeyError:", "            absent(position)"]
                    if all(map(_is_strict, left))
                    else []
                ),
                "        except Exception:",
                "            doubt(position)",
                "    return 0",
            ]
        )
        return Shape(source, tuple(self.parameters), keys)

    # In front of the loop

    def hoist(self, node: Checked, *, first: bool) -> None:
        """Read a path that every expression needs to be true."""
        path = self.path(node)
        if path is None or path in self.known:
            return
        if self.is_read_plainly(node, first=first):
            self.guarded(self.expression(node).text, on_key_error=ABSENT)

    def is_read_plainly(self, node: Checked, *, first: bool = False) -> bool:
        """Whether a path is read without closures, and may be read at any time."""
        while isinstance(node, Field):
            if node.test or self.converts(node):
                return False
            node = node.operand
        return (
            isinstance(node, Variable)
            and not self.converts(node)
            and node.fallback is None
            and (first or node.name not in self.derived)
        )

    def guarded(self, statement: str, *, on_key_error: int) -> None:
        self.write("try:")
        self.write(f"    {statement}")
        # Only a map in which the key is missing raises it.
        self.write("except KeyError:")
        self.write(f"    return {on_key_error}")
        self.write("except Exception:")
        self.write(f"    return {UNDECIDED}")

    def is_cheap(self, node: Checked) -> bool:
        """Whether a node costs its nodes, and needs no derived field to be computed."""
        if isinstance(node, Constant):
            return True
        if isinstance(node, Field) and node.test:
            return self.is_cheap(node.operand)
        if isinstance(node, Variable | Field):
            if self.path(node) in self.known:
                return True
            return node.conversion is None and self.is_read_plainly(node)
        if isinstance(node, Invoke):
            name, arguments = node.function.name, node.arguments
            if name == "@in":
                return bool(constant_elements(arguments[1])) and self.is_cheap(
                    arguments[0]
                )
            if name != "!_" and not (
                name in _COMPARISONS
                and any(isinstance(argument, Constant) for argument in arguments)
            ):
                return False
        elif not isinstance(node, Chain | Choice):
            return False
        return all(map(self.is_cheap, node.children()))

    def common(self, clause: Checked) -> None:
        """End here where a clause without constants is not true: it is so for all."""
        known = dict(self.known)
        text = self.truth(clause)
        # What it binds is bound only where it comes so far.
        self.known = known
        self.guarded(f"if not {text}: return 0", on_key_error=UNDECIDED)

    def keys(self, clause: Checked) -> tuple[tuple[Value, ...], str] | None:
        """The constants, one of which a path must equal, and the rows under its value.

        None where the clause is no such comparison.
        """
        if not isinstance(clause, Invoke) or len(clause.arguments) != 2:
            return None
        subject, other = clause.arguments
        values: list[Value] | None = None
        if clause.function.name == "_==_":
            if isinstance(subject, Constant):
                subject, other = other, subject
            values = [other.value] if isinstance(other, Constant) else None
        elif clause.function.name == "@in":
            values = constant_elements(other)
        path = self.path(subject)
        known = None if path is None else self.known.get(path)
        if known is None or not values or not all(map(_is_key, values)):
            return None
        return tuple(dict.fromkeys(values)), f"rows_under(rows, {known.name})"

    # The loop's body

    def interruptions(self) -> list[str]:
        """What cannot be long needs no look at whether to stop."""
        if not (self.uses_state or self.uses_budget):
            return []
        return [
            f"{self.margin}if interrupted is not None and interrupted():",
            f"{self.margin}    raise Interrupted",
        ]

    def body(self, clauses: list[Checked], *, alone: bool) -> None:
        """Write the statements that add the position where all clauses are true."""
        if alone and clauses:
            (clause,) = clauses
            if isinstance(clause, Chain):
                self.alternatives(clause)
                return
            code = self.expression(clause)
            test = "" if code.kind == "bool" else " is True"
            self.write(f"if {code.text}{test}:")
            self.write("    add(position)")
            return
        for clause in clauses:
            self.write(f"if not {self.truth(clause)}:")
            self.write("    continue")
        self.write("add(position)")

    def alternatives(self, clause: Chain) -> None:
        """Write the statements for clauses of which one has to be true."""
        self.write("lacking = False")
        for operand in clause.operands:
            strict = _is_strict(operand)
            known = dict(self.known)
            if strict:
                self.write("try:")
                self.indent += 1
            self.write(f"if {self.truth(operand)}:")
            self.write("    add(position)")
            self.write("    continue")
            if strict:
                # It may have ended anywhere, before a name was bound.
                self.known = known
                self.indent -= 1
                self.write("except KeyError:")
                self.write("    lacking = True")
        self.write("if lacking:")
        self.write("    absent(position)")


def _clauses(tree: Checked) -> Iterator[Checked]:
    """What has to be true, all of it, for the tree to be true."""
    if isinstance(tree, Chain) and tree.operator == "&&":
        for operand in tree.operands:
            yield from _clauses(operand)
    else:
        yield tree


def _needed(node: Checked) -> Iterator[Checked]:
    """The field paths without whose values this node has no value."""
    if isinstance(node, Variable):
        yield node
    elif isinstance(node, Field):
        if not node.test:
            yield node
        else:
            yield from _needed(node.operand)
    elif isinstance(node, Invoke):
        if node.function.deferred is None:
            for argument in node.arguments:
                yield from _needed(argument)
    elif isinstance(node, MakeList):
        for element in node.elements:
            yield from _needed(element)
    elif isinstance(node, Choice):
        yield from _needed(node.condition)
    elif type(node) is Loop:
        yield from _needed(node.range)


def _is_strict(node: Checked) -> bool:
    """Whether a node has no value where any part of it that is evaluated has none."""
    return not any(
        isinstance(part, Chain | Loop | PairLoop)
        or (isinstance(part, Invoke) and part.function.deferred is not None)
        for part in walk(node)
    )


def _is_parameter(node: Checked) -> bool:
    """Whether the constant of a node is a parameter of the text."""
    return isinstance(node, Constant) and not (
        node.value is None or type(node.value) is bool
    )


def _is_key(value: Value) -> bool:
    return type(value) is str or is_plain_number(value)
$cel_shapes$);

    v_sources := v_sources || jsonb_build_object('signatures', $cel_signatures$"""Declarations of functions, read from text to types.

``list(A).join(string) -> string`` is a method of lists of any element type. A name of
one capital letter, perhaps with a digit, is a type parameter; every other name is a
type: ``timestamp``, ``null`` and ``optional`` are short for their full names, a bare
``list`` or ``map`` is one of ``dyn``. Signatures are written by the library's authors,
so that a malformed one raises ``ValueError``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import types
from .types import DYN, Type, TypeVariable, parameterised


class Overload(NamedTuple):
    """One signature; a method's target is the first parameter."""

    parameters: tuple[Type, ...]
    result: Type
    variables: tuple[TypeVariable, ...]


MOST_RESOLVED = 512


class Candidates(NamedTuple):
    """The overloads of a function for one form of call.

    ``resolved`` keeps results by argument types, where these mean the same in every
    expression: at most ``MOST_RESOLVED``.
    """

    overloads: tuple[Overload, ...]
    resolved: dict[tuple[Type, ...], Type | None]


_Forms = dict[tuple[bool, int], Candidates]
_read: dict[tuple[str, ...], _Forms] = {}


def candidates(
    signatures: tuple[str, ...], *, method: bool, arguments: int
) -> Candidates | None:
    """The overloads that are called in this form, a method's target not counted."""
    forms = _read.get(signatures)
    if forms is None:
        forms = _read[signatures] = _by_form(signatures)
    return forms.get((method, arguments))


def _by_form(signatures: tuple[str, ...]) -> _Forms:
    found: dict[tuple[bool, int], list[Overload]] = {}
    for signature in signatures:
        method, overload = parse_signature(signature)
        form = method, len(overload.parameters) - method
        found.setdefault(form, []).append(overload)
    return {form: Candidates(tuple(overloads), {}) for form, overloads in found.items()}


def parse_signature(signature: str) -> tuple[bool, Overload]:
    """Whether a signature is a method's, and its types."""
    reader = _Reader(signature)
    parameters: list[Type] = []
    method = not signature.startswith("(")
    if method:
        parameters.append(reader.type())
        reader.expect(".")
    parameters += reader.list()
    reader.expect("->")
    result = reader.type()
    reader.expect("")
    return method, Overload(tuple(parameters), result, tuple(reader.variables.values()))


_TOKEN = re.compile(r"\s*(->|[(),.]|\w[\w.]*\w|\w|)")
_PARAMETER = re.compile(r"[A-Z][0-9]?")
_ARITIES = {"list": 1, "map": 2, "optional_type": 1, "type": 1, "wrapper": 1}
_NAMES = {
    "any": DYN,
    "bool": types.BOOL,
    "bytes": types.BYTES,
    "double": types.DOUBLE,
    "duration": types.DURATION,
    "dyn": DYN,
    "int": types.INT,
    "null": types.NULL,
    "null_type": types.NULL,
    "string": types.STRING,
    "timestamp": types.TIMESTAMP,
    "uint": types.UINT,
    types.DURATION.name: types.DURATION,
    types.TIMESTAMP.name: types.TIMESTAMP,
}


class _Reader:
    """A signature's text and how far it is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables: dict[str, TypeVariable] = {}
        self.position = 0
        self.lexeme = ""
        self.advance()

    def advance(self) -> str:
        read = self.lexeme
        match = _TOKEN.match(self.text, self.position)
        assert match is not None  # the pattern matches nothing at all, too
        self.lexeme = match[1]
        self.position = match.end()
        return read

    def expect(self, lexeme: str) -> None:
        if self.lexeme != lexeme or (not lexeme and self.text[self.position :].strip()):
            raise ValueError(f"malformed signature: {self.text!r}")
        self.advance()

    def type(self) -> Type:
        name = self.advance()
        if not name.replace(".", "").isidentifier():
            raise ValueError(f"malformed signature: {self.text!r}")
        if _PARAMETER.fullmatch(name):
            return self.variables.setdefault(name, TypeVariable(name))
        if name == "optional":
            name = types.OPTIONAL.name
        arity = _ARITIES.get(name)
        if self.lexeme != "(":
            if arity is not None:
                return parameterised(name, *[DYN] * arity)
            return _NAMES.get(name) or Type(name)
        parameters = self.list()
        if name in _NAMES or arity not in (None, len(parameters)):
            raise ValueError(f"malformed signature: {self.text!r}")
        return parameterised(name, *parameters)

    def list(self) -> list[Type]:
        self.expect("(")
        found: list[Type] = []
        while self.lexeme != ")":
            if found:
                self.expect(",")
            found.append(self.type())
        self.expect(")")
        return found
$cel_signatures$);

    v_sources := v_sources || jsonb_build_object('source', $cel_source$"""The text of an expression and the places in it.

Offsets count code points from 0; what people see counts lines and columns from 1.
"""

from __future__ import annotations

from .errors import InvalidExpression, Problem, printable

# A longer line is cut around the column, so that an error stays readable.
_EXCERPT_WIDTH = 76


def location(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both counted from 1."""
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1


def excerpt(text: str, offset: int) -> str:
    """The source line at an offset, with a caret under the place."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    line = text[start : end if end >= 0 else len(text)].replace("\t", " ")
    column = offset - start
    if len(line) > _EXCERPT_WIDTH:
        cut = max(0, min(column - _EXCERPT_WIDTH // 2, len(line) - _EXCERPT_WIDTH))
        head = "..." if cut else ""
        tail = "..." if cut + _EXCERPT_WIDTH < len(line) else ""
        line = head + line[cut : cut + _EXCERPT_WIDTH] + tail
        column = column - cut + len(head)
    return f"{line}\n{' ' * column}^"


def problem(text: str, offset: int, message: str, hint: str = "") -> Problem:
    """A problem at a place of the expression."""
    line, column = location(text, offset)
    return Problem(
        line, column, printable(message), printable(hint), excerpt(text, offset)
    )


def refuse_surrogates(text: str) -> None:
    """Raise :class:`InvalidExpression` for text that UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = problem(
            text.encode(errors="replace").decode(),
            error.start,
            f"U+{ord(text[error.start]):04X} is no Unicode scalar value",
        )
        raise InvalidExpression([found]) from None
$cel_source$);

    v_sources := v_sources || jsonb_build_object('sql', $cel_sql$"""A checked rule as SQL: a boolean expression with the meaning of the rule.

The expression is TRUE if and only if the rule is true of the facts; where it is false
or ends in an error, the expression is FALSE or NULL. It never raises an error, reads no
setting of the session, and is safe in parallel plans. What has no SQL of the same
meaning is refused with a reason, for the caller to evaluate by the language itself,
over the rows that pass what has SQL.

SQL knows no limits of cost or of the facts' size, and it looks at what the rule reads
only: facts that the language refuses because of a number elsewhere are not refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .checked import Chain, Checked
from .errors import InvalidEnvironment
from .source import location
from .sql_columns import Column, Rows
from .sql_text import Arguments, Refused, conjunction
from .sql_translator import Translator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .environment import Environment
    from .sql_text import Mode


class Source(NamedTuple):
    """Where a rule's variables are read from: a column of facts, or columns.

    ``row`` is the alias of the table in the query that the SQL is for. With ``facts``,
    the column of that name is ``jsonb`` with the facts; without a ``row``, the name
    stands alone. With ``columns``, the variables are those columns, or the fields of
    the object ``object`` are.
    """

    row: str | None = None
    facts: str | None = None
    columns: dict[str, Column] | None = None
    object: str | None = None

    @classmethod
    def from_json(cls, document: Any) -> Source:
        """The source that a decoded JSON document describes.

        Either ``{"row": "t", "facts": "facts"}``, where ``row`` may be missing, or
        ``{"row": "t", "columns": {"delay": {"name": "delay", "type": "bigint",
        "nullable": false}}, "object": null}``. The keys of ``columns`` are CEL's names;
        ``type`` is what PostgreSQL's ``format_type`` writes of the base type;
        ``nullable`` is true and ``object`` null where they are missing, and so is
        ``deterministic`` true, which is that of the column's collation. Raises
        :class:`InvalidEnvironment`.
        """
        try:
            columns = document.get("columns")
            if columns is not None:
                columns = {
                    name: Column(
                        column["name"],
                        column["type"],
                        column.get("nullable", True),
                        column.get("deterministic", True),
                    )
                    for name, column in columns.items()
                }
            facts = None if columns is not None else "" + document["facts"]
            return cls(document.get("row"), facts, columns, document.get("object"))
        except (AttributeError, KeyError, TypeError):
            raise InvalidEnvironment(
                "the source of a translation is no such JSON",
                hint='for example {"row": "t", "facts": "facts"}',
            ) from None


class Reason(NamedTuple):
    """A sub-expression without SQL; line and column count from 1."""

    line: int
    column: int
    expression: str
    reason: str


class Translation(NamedTuple):
    """A template for ``format()`` with its arguments, and what has no SQL.

    Without ``reasons``, the template says what the rule says. With some, it is what has
    SQL of a conjunction, ``a && b``: true wherever the rule is true; None where nothing
    has.
    """

    template: str | None
    arguments: list[str]
    reasons: list[Reason]


# Characters of a template: beyond, planning takes longer than evaluating row by row.
_LONGEST = 200_000
_LONGEST_SHOWN = 200


def translate(
    tree: Checked,
    text: str,
    environment: Environment,
    source: Source,
    *,
    mode: Mode = "true",
) -> Translation:
    """The SQL of a rule; ``text`` is what ``tree`` was made from.

    In mode ``exact`` the SQL is FALSE where the rule is false and NULL where it ends in
    an error, in mode ``false`` it is FALSE if and only if the rule is false.
    """
    arguments = Arguments(frozenset(name for name in (source.row,) if name))
    facts = rows = None
    if source.columns is None:
        assert source.facts is not None
        names = [name for name in (source.row, source.facts) if name is not None]
        facts = ".".join(map(arguments.name, names))
    else:
        rows = Rows(source.row or "", source.columns, source.object)

    def condition(node: Checked, mode: Mode) -> str | list[Refused]:
        translator = Translator(arguments, environment, facts, rows)
        try:
            sql = translator.condition(node, mode)
        except RecursionError:
            return [Refused(node, "its SQL is nested too deeply")]
        except Refused as refusal:
            return [*translator.refusals, refusal]
        if len(sql) > _LONGEST:
            return [Refused(node, "its SQL is too long")]
        return sql

    whole = condition(tree, mode)
    if isinstance(whole, str):
        return Translation(*arguments.finish(whole), [])
    reasons = sorted(dict.fromkeys(_reason(refusal, text) for refusal in whole))
    found = [condition(part, "true") for part in _conjuncts(tree)]
    filters = [sql for sql in found if isinstance(sql, str)]
    if mode != "true" or not filters or sum(map(len, filters)) > _LONGEST:
        return Translation(None, [], reasons)
    return Translation(*arguments.finish(conjunction(filters)), reasons)


def _conjuncts(tree: Checked) -> Iterator[Checked]:
    """The operands of a conjunction, also of those within it; none of another node."""
    if isinstance(tree, Chain) and tree.operator == "&&":
        for operand in tree.operands:
            if isinstance(operand, Chain) and operand.operator == "&&":
                yield from _conjuncts(operand)
            else:
                yield operand


def _reason(refusal: Refused, text: str) -> Reason:
    origin = refusal.node.origin
    written = text[origin.start : origin.end]
    if len(written) > _LONGEST_SHOWN:
        written = written[: _LONGEST_SHOWN - 3] + "..."
    return Reason(*location(text, origin.start), written, refusal.reason)
$cel_sql$);

    v_sources := v_sources || jsonb_build_object('sql_columns', $cel_sql_columns$"""Columns of a table as values of CEL.

Columns keep their own types in SQL, without casts, so that the indexes of the table
fit. A column is never an error, and is null where it is NULL.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from . import sql_times
from .checked import Field, Variable
from .sql_numbers import rounded
from .sql_reading import let
from .sql_text import Arguments, Refused
from .sql_values import Json, Term

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .checked import Checked


class Column(NamedTuple):
    """A column: its name, and its type as PostgreSQL's ``format_type`` writes it.

    The type is the base of a domain's. ``deterministic`` is whether equal texts of the
    column's collation are the same.
    """

    name: str
    type: str
    nullable: bool = True
    deterministic: bool = True


class Rows(NamedTuple):
    """The rows that a rule is asked of: alias, columns by CEL's names.

    ``object`` is the object whose fields the columns are, or None where they are names
    of their own.
    """

    alias: str
    columns: Mapping[str, Column]
    object: str | None = None

    def is_row(self, node: Checked) -> bool:
        """Whether a node is the object whose fields the columns are."""
        return isinstance(node, Variable) and node.name == self.object is not None

    def variable(self, arguments: Arguments, node: Variable) -> Term:
        """A column that is a name of its own."""
        if self.object is not None:
            raise Refused(node, f"{node.name} is read as a whole")
        return self.read(arguments, node, node.name)

    def field(self, arguments: Arguments, node: Field) -> Term:
        """A column that is a field of the object."""
        return self.read(arguments, node, node.name)

    def read(self, arguments: Arguments, node: Variable | Field, name: str) -> Term:
        column = self.columns.get(name)
        if column is None:
            raise Refused(node, f"the table has no column {name}")
        sql = f"{arguments.name(self.alias)}.{arguments.name(column.name)}"
        term = _value(arguments, column, sql, node.conversion)
        if term is None:
            raise Refused(node, f"the column {name} has the type {column.type}")
        if term.json is not None or not column.nullable:
            return term
        return replace(term, kinds={"null": f"{sql} IS NULL", **term.kinds})


_INTEGERS: Final = {"smallint": 15, "integer": 31, "bigint": 63}
_INSTANTS: Final = (
    "timestamp with time zone", "timestamp without time zone", "date",
)  # fmt: skip

# Arrays whose elements JSON has as CEL reads them.
_ELEMENTS: Final = (
    *_INTEGERS, "text", "character varying", "boolean", "jsonb", "name", "uuid",
)  # fmt: skip
_ARRAYS: Final = frozenset({"anyarray", *(f"{name}[]" for name in _ELEMENTS)})

# Doubles as CEL reads the digits of a numeric; NaN and infinities are the same.
_FROM_NUMERIC: Final = (
    f"CASE WHEN a = 'NaN' OR abs(a) = 'Infinity' THEN a::float8 ELSE {rounded('a')} END"
)
# An interval of months has no length in CEL.
_FROM_INTERVAL: Final = (
    "CASE WHEN extract(year FROM a) = 0 AND extract(month FROM a) = 0 THEN "
    + sql_times.within_durations("extract(epoch FROM a) * 1000000000")
    + " END"
)


def _value(
    arguments: Arguments, column: Column, sql: str, declared: object
) -> Term | None:
    """What a column is where it is not NULL."""
    of = column.type
    if of in _INTEGERS:
        size = _INTEGERS[of]
        bounds = -(1 << size), (1 << size) - 1
        return Term({"int": sql}, total=True, bounds=bounds, integer=True)
    if of == "boolean":
        return Term({"bool": sql}, total=True)
    if of in ("double precision", "real"):
        found = sql if of == "double precision" else f"{sql}::float8"
        return Term({"double": found}, total=True, nan=True)
    if of == "numeric":
        found = let(arguments, [sql], _FROM_NUMERIC)
        return Term({"double": found}, nan=True, decimal=sql)
    if declared == "string":
        found = sql if of in ("text", "character varying") else f"{sql}::text"
        if not column.deterministic:
            found += ' COLLATE "C"'
        return Term({"string": found}, total=True)
    if of in _INSTANTS:
        return Term({"instant": sql}, total=True, instant=of)
    if of == "interval":
        return Term({"duration": let(arguments, [sql], _FROM_INTERVAL)})
    if of == "jsonb":
        return Term(json=Json(f"coalesce({sql}, 'null')" if column.nullable else sql))
    if of in _ARRAYS:
        array = f"to_jsonb({sql})"
        null = f"coalesce({array}, 'null')" if column.nullable else array
        return Term(json=Json(null))
    return None
$cel_sql_columns$);

    v_sources := v_sources || jsonb_build_object('sql_compare', $cel_sql_compare$"""``==``, ``!=``, ``<`` and their like as SQL (cel-spec, "Equality" and "Ordering").

Values of different types are not equal, and have no order; all numbers compare with one
another, an int with a double as doubles. PostgreSQL's ``NaN`` equals itself and is
greater than all other numbers, and its text is ordered by a collation; CEL's are not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from . import sql_times
from .sql_numbers import EXACT, GREATEST, SWAPPED, compare_digits, is_number, rounded
from .sql_reading import kinds_of, let, read, read_json
from .sql_text import coalesced, conjunction, disjunction, negation, part
from .sql_values import (
    has_numbers,
    is_only_text,
    json_text,
    sql_of_json,
    text_of_json,
    valid,
)
from .temporal import Timestamp
from .values import Uint

if TYPE_CHECKING:
    from .sql_text import Arguments, Mode
    from .sql_values import Term

NUMBERS: Final = ("int", "uint", "double")
_ORDERED: Final = ("bool", "string", "timestamp", "duration")


# Order


def order(
    arguments: Arguments, left: Term, operator: str, right: Term, mode: Mode
) -> str:
    """A comparison."""
    if left.is_constant:
        left, operator, right = right, SWAPPED[operator], left
    if "instant" in left.kinds and type(right.constant) is Timestamp:
        return sql_times.order_instant(left, operator, right.constant, mode)
    left, right = (sql_times.as_nanos(arguments, term) for term in (left, right))
    if right.is_constant and is_number(right.constant):
        found = _order_number(arguments, left, operator, right, mode)
        if found is not None:
            return found
    alternatives = [
        _ordered(arguments, left, operator, right, kind)
        for kind in _ORDERED
        if kind in kinds_of(left) and kind in kinds_of(right)
    ]
    alternatives += _numbers(arguments, left, operator, right, mode)
    return coalesced(alternatives)


def _order_number(
    arguments: Arguments, left: Term, operator: str, right: Term, mode: Mode
) -> str | None:
    """Against a constant number; None where that is no simpler."""
    value = right.constant
    if left.json is not None:
        digits = read(arguments, left, "digits")
        if type(value) is not float and abs(value) >= EXACT:
            return let(arguments, [digits], compare_digits("a", operator, value))
        return compare_digits(digits, operator, value)
    if left.decimal and mode == "true" and math.isfinite(value):
        # The column itself, so that its indexes fit. Beyond all doubles is an error,
        # and NaN, here the greatest, is not greater.
        found = compare_digits(left.decimal, operator, float(value))
        sign, end = ("-", ">") if operator in ("<", "<=") else ("", "<")
        inside = f"{left.decimal} {end} {sign}{GREATEST}"
        infinite = f"{left.decimal} = '{sign}Infinity'"
        return f"{found} AND ({inside} OR {infinite})"
    return None


def _ordered(
    arguments: Arguments, left: Term, operator: str, right: Term, kind: str
) -> str:
    a, b = read(arguments, left, kind), read(arguments, right, kind)
    collation = ' COLLATE "C"' if kind == "string" else ""
    return f"{part(a)} {operator} {part(b)}{collation}"


def _numbers(
    arguments: Arguments, left: Term, operator: str, right: Term, mode: Mode
) -> list[str]:
    """A comparison of the numbers that two values may be; = among the operators."""
    if left.json is not None and right.json is not None:
        digits = [read(arguments, term, "digits") for term in (left, right)]
        return [let(arguments, digits, _both_digits(operator))]
    alternatives = []
    a_kinds = [kind for kind in kinds_of(left) if kind in NUMBERS]
    b_kinds = [kind for kind in kinds_of(right) if kind in NUMBERS]
    for term, kinds in ((left, a_kinds), (right, b_kinds)):
        other = b_kinds if term is left else a_kinds
        if term.json is not None and other == ["double"]:
            kinds[:] = ["number"]
    for a_kind in a_kinds:
        for b_kind in b_kinds:
            a, b = read(arguments, left, a_kind), read(arguments, right, b_kind)
            if "number" not in (a_kind, b_kind) and (a_kind == "double") != (
                b_kind == "double"
            ):
                a = a if a_kind == "double" else f"{part(a)}::float8"
                b = b if b_kind == "double" else f"{part(b)}::float8"
            nan = "a" if left.nan and a_kind in ("double", "number") else ""
            nan += "b" if right.nan and b_kind in ("double", "number") else ""
            certain = left.is_constant or right.is_constant
            alternatives.append(
                _compared(a, operator, b, mode, nan=nan, certain=certain)
            )
    return alternatives


def _compared(
    left: str, operator: str, right: str, mode: Mode, *, nan: str, certain: bool
) -> str:
    """A comparison in which no NaN is greater than, or equal to, anything.

    ``nan`` has which of the two may be NaN: a letter for each, a or b. If ``certain``
    is set, one of them is known, so that the other is if it is not NULL.
    """
    a, b = part(left), part(right)
    sql = f"{a} {operator} {b}"
    if operator in (">", ">=", "=") and "a" in nan:
        doubtful, other = a, b
    elif operator in ("<", "<=", "=") and "b" in nan:
        doubtful, other = b, a
    else:
        return sql
    if mode == "true" and doubtful.endswith(")"):
        # What is long is not written twice.
        a, b = (f"nullif({x}, 'NaN')" if x is doubtful else x for x in (a, b))
        return f"{a} {operator} {b}"
    if certain:
        return f"{sql} AND {doubtful} < 'NaN'"
    # Against an error, NaN is one, too.
    return f"{sql} AND ({doubtful} < 'NaN' OR {other} IS NULL)"


def _both_digits(operator: str) -> str:
    return (
        f"CASE WHEN scale(a) = 0 AND scale(b) = 0 THEN a {operator} b "
        f"ELSE {part(rounded('a'))} {operator} {part(rounded('b'))} END"
    )


# Equality


def equality(
    arguments: Arguments, left: Term, right: Term, mode: Mode, *, negate: bool
) -> str:
    """``==``, or ``!=`` where ``negate`` is set."""
    if left.is_constant:
        left, right = right, left
    wanted = _wanted(mode, negate=negate)
    instant = left.kinds.get("instant")
    if instant and type(right.constant) is Timestamp and wanted == "true":
        return _negated(sql_times.is_instant(left, right.constant), negate=negate)
    if left.decimal and _is_finite(right.constant) and wanted == "true":
        found = compare_digits(left.decimal, "=", float(right.constant))
        return _negated(found, negate=negate)
    left, right = (sql_times.as_nanos(arguments, term) for term in (left, right))
    if left.origin and type(right.constant) is str and wanted == "true":
        text = right.constant
        if is_only_text(text):
            found = text_of_json(arguments, left.origin)
            return f"{part(found)} {'<>' if negate else '='} {arguments.literal(text)}"
    if left.json is not None and right.is_constant:
        return _json_constant(arguments, left, right, mode, negate=negate)
    if left.json is not None and right.json is not None:
        return _negated(_deep(arguments, left, right), negate=negate)
    plain = _plain(arguments, left, right, mode, negate=negate)
    if plain is not None:
        return plain
    parts = _equal_parts(arguments, left, right, wanted)
    if wanted == "true":
        return _negated(disjunction(parts), negate=negate)
    ok = conjunction([valid(arguments, left), valid(arguments, right)])
    found = f"coalesce({disjunction(parts)}, FALSE)" if parts else "FALSE"
    if ok != "TRUE":
        found = f"CASE WHEN {ok} THEN {found} END"
    return _negated(found, negate=negate)


def _is_finite(value: object) -> bool:
    return is_number(value) and math.isfinite(float(value))  # type: ignore[arg-type]


def _negated(sql: str, *, negate: bool) -> str:
    return negation(sql) if negate else sql


def _wanted(mode: Mode, *, negate: bool) -> Mode:
    """What matters of the equality where it may be negated."""
    if mode == "exact" or not negate:
        return mode
    return "false" if mode == "true" else "true"


def _plain(
    arguments: Arguments, left: Term, right: Term, mode: Mode, *, negate: bool
) -> str | None:
    """PostgreSQL's own operators, where two values are of one kind and not NaN."""
    a_kinds, b_kinds = list(left.kinds), list(right.kinds)
    if left.json is not None or right.json is not None:
        return None
    values = [kind for kind in (*a_kinds, *b_kinds) if kind != "null"]
    if right.is_constant and right.constant is None and left.total:
        sql = left.kinds.get("null", "FALSE")
        return _negated(sql, negate=negate)
    if (
        len(values) != 2
        or values[0] != values[1]
        or values[0] in ("list", "map")
        or left.nan
        or right.nan
    ):
        return None
    a, b = part(left.kinds[values[0]]), part(right.kinds[values[1]])
    if "null" not in a_kinds and "null" not in b_kinds:
        return f"{a} {'<>' if negate else '='} {b}"
    if not (left.total and right.total):
        return None
    wanted = _wanted(mode, negate=negate)
    both = "null" in a_kinds and "null" in b_kinds
    if wanted == "true" and not both:
        return f"{a} = {b}" if not negate else f"{a} <> {b}"
    return f"{a} IS {'' if negate else 'NOT '}DISTINCT FROM {b}"


def _equal_parts(
    arguments: Arguments, left: Term, right: Term, mode: Mode
) -> list[str]:
    """Conditions of which one is TRUE where two values are equal, and then only."""
    parts = []
    a_kinds, b_kinds = kinds_of(left), kinds_of(right)
    for kind in ("null", *_ORDERED):
        if kind in a_kinds and kind in b_kinds:
            a, b = read(arguments, left, kind), read(arguments, right, kind)
            operator = "AND" if kind == "null" else "="
            parts.append(
                conjunction([a, b]) if operator == "AND" else f"{part(a)} = {part(b)}"
            )
    parts += _numbers(arguments, left, "=", right, mode)
    for kind in ("list", "map"):
        if kind in a_kinds and kind in b_kinds:
            a, b = read(arguments, left, kind), read(arguments, right, kind)
            parts.append(_deep_sql(arguments, a, b))
    return parts


def _json_constant(
    arguments: Arguments, left: Term, right: Term, mode: Mode, *, negate: bool
) -> str:
    """A value of the facts against a constant."""
    assert left.json is not None
    sql = sql_of_json(arguments, left.json)
    value = right.constant
    if is_number(value):
        wanted = _wanted(mode, negate=negate)
        if math.isnan(value):
            return _negated(_never(sql), negate=negate)
        digits = read_json(arguments, left.json, "digits")
        if type(value) is not float and abs(value) >= EXACT:
            found = let(arguments, [digits], compare_digits("a", "=", value))
        else:
            found = compare_digits(digits, "=", value)
        if wanted != "true":
            is_digits = f"jsonb_typeof({sql}) = 'number'"
            found = f"{is_digits} AND {part(found)}"
        return _negated(found, negate=negate)
    text = None if isinstance(value, Uint) else json_text(value)
    if text is None:
        return _negated(_never(sql), negate=negate)
    is_text = type(value) is str and is_only_text(value)
    if is_text and _wanted(mode, negate=negate) == "true":
        text = text_of_json(arguments, left.json)
        return f"{part(text)} {'<>' if negate else '='} {arguments.literal(value)}"
    if has_numbers(value):
        literal = f"{arguments.literal(text)}::jsonb"
        return _negated(_deep_sql(arguments, sql, literal), negate=negate)
    # Only numbers look different as JSON though they are equal.
    fixed = f"'{text}'" if value is None or type(value) is bool else None
    operator = "<>" if negate else "="
    return f"{part(sql)} {operator} {fixed or arguments.literal(text)}"


def _never(sql: str) -> str:
    return f"CASE WHEN {part(sql)} IS NOT NULL THEN FALSE END"


def _deep(arguments: Arguments, left: Term, right: Term) -> str:
    assert left.json is not None
    assert right.json is not None
    a, b = sql_of_json(arguments, left.json), sql_of_json(arguments, right.json)
    return _deep_sql(arguments, a, b)


# Strings, and numbers outside of them. With a mark in place of each number, the texts
# of two values are the same if the values differ in numbers only.
_NUMBERS_AND_STRINGS: Final = r'("(?:[^"\\]|\\.)*")|-?[0-9]+(?:\.[0-9]+)?'
_ALL_NUMBERS: Final = 'strict $.** ? (@.type() == "number")'


def _deep_sql(arguments: Arguments, left: str, right: str) -> str:
    """Equality of ``jsonb`` where numbers compare as CEL's, at any depth."""
    pattern = arguments.literal(_NUMBERS_AND_STRINGS)
    numbers = arguments.literal(_ALL_NUMBERS)
    kept = arguments.literal(r"\1#")
    shapes = [f"regexp_replace({x}::text, {pattern}, {kept}, 'g')" for x in "ab"]
    alias = arguments.alias()
    # The two sequences of numbers, side by side.
    found = (
        f"SELECT 1 FROM ROWS FROM (jsonb_path_query(a, {numbers}), "
        f"jsonb_path_query(b, {numbers})) AS {alias} (c, d) WHERE NOT "
        f"{_pair(arguments)}"
    )
    return let(
        arguments,
        [left, right],
        "CASE WHEN a = b THEN TRUE "
        "WHEN jsonb_typeof(a) = jsonb_typeof(b) AND jsonb_typeof(a) <> 'string' "
        f"AND {shapes[0]} = {shapes[1]} THEN NOT EXISTS ({found}) "
        "WHEN a IS NOT NULL AND b IS NOT NULL THEN FALSE END",
    )


def _pair(arguments: Arguments) -> str:
    return let(arguments, ["c::numeric", "d::numeric"], _both_digits("="))


def one_of(arguments: Arguments, left: Term, members: list[Term], mode: Mode) -> str:
    """Whether a value equals one of some constants."""
    strings = [m.constant for m in members if type(m.constant) is str]
    if strings and len(strings) == len(members):
        origin = left.json or left.origin
        if origin is not None and mode == "true" and all(map(is_only_text, strings)):
            texts = [arguments.literal(text) for text in strings]
            sql = part(text_of_json(arguments, origin))
            return f"{sql} IN ({', '.join(texts)})"
        if left.json is not None:
            texts = [arguments.literal(json_text(text) or "") for text in strings]
            sql = part(sql_of_json(arguments, left.json))
            return f"{sql} IN ({', '.join(texts)})"
        if list(left.kinds) == ["string"] or (mode == "true" and left.total):
            texts = [arguments.literal(text) for text in strings]
            sql = part(left.kinds.get("string", "NULL"))
            return f"{sql} IN ({', '.join(texts)})"
    if not members:
        ok = valid(arguments, left)
        return "FALSE" if ok == "TRUE" else f"CASE WHEN {ok} THEN FALSE END"
    return disjunction(
        equality(arguments, left, member, mode, negate=False) for member in members
    )
$cel_sql_compare$);

    v_sources := v_sources || jsonb_build_object('sql_functions', $cel_sql_functions$"""Functions of strings, sizes, conversions and access to lists and maps, as SQL.

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
$cel_sql_functions$);

    v_sources := v_sources || jsonb_build_object('sql_macros', $cel_sql_macros$"""Macros over lists and the keys of maps as sub-selects (cel-spec, "Macros").

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
$cel_sql_macros$);

    v_sources := v_sources || jsonb_build_object('sql_numbers', $cel_sql_numbers$"""Numbers in SQL that count as CEL's do.

A number of the facts is a ``numeric`` with the digits of its JSON text; CEL reads it as
an int where it has neither fraction nor exponent, else as the nearest double. Rounding
to a double never reorders numbers, so that comparing with a constant needs no rounding:
a double is greater than a constant where its digits are beyond the middle between the
constant and the next double. Between two values, both are rounded.

Integers are computed as ``numeric``, which has no end, and become NULL outside 64 bits.
Doubles are computed by PostgreSQL's own operators, which raise where IEEE 754 has
infinities and zeros: those cases are found before (PostgreSQL sources,
src/include/utils/float.h).
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Final

from .numbers import INT_MAX, INT_MIN, UINT_MAX
from .sql_text import part
from .values import Uint

EXACT: Final = 1 << 53
"""Up to here, every int is a double."""

INT_BOUNDS: Final = (INT_MIN, INT_MAX)
UINT_BOUNDS: Final = (0, UINT_MAX)

# Half of the least positive double, which is the middle between it and zero.
LEAST: Final = "2.4703282292062327e-324"
# Beyond all numbers that round to the greatest double, but for the last digits.
GREATEST: Final = "1.7976931348623158e308"

SWAPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def middles(value: float) -> tuple[str, str, bool]:
    """The middles between a double and its neighbours; whether they round to it."""
    below, above = math.nextafter(value, -math.inf), math.nextafter(value, math.inf)
    even = struct.unpack("<q", struct.pack("<d", value))[0] & 1 == 0
    return _middle(value, below), _middle(value, above), even


def _middle(value: float, other: float) -> str:
    if value == 0.0:
        return LEAST if other > 0 else f"-{LEAST}"
    if math.isinf(other):
        last = math.ldexp(math.copysign(1.0, other), 1023)
        return decimal((Fraction(value) + 2 * Fraction(last)) / 2)
    return decimal((Fraction(value) + Fraction(other)) / 2)


def decimal(value: Fraction) -> str:
    """All digits of a number whose denominator is a power of two."""
    places = value.denominator.bit_length() - 1
    digits = str(abs(value.numerator) * 5**places).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    if not places:
        return f"{sign}{digits}"
    text = f"{sign}{digits[:-places]}.{digits[-places:]}"
    return text.rstrip("0").rstrip(".")


def threshold(operator: str, value: float) -> tuple[str, str]:
    """Operator and number for digits that compare so with a finite double."""
    below, above, even = middles(value)
    if operator == ">":
        return (">" if even else ">="), above
    if operator == "<=":
        return ("<=" if even else "<"), above
    if operator == "<":
        return ("<" if even else "<="), below
    return (">=" if even else ">"), below


def compare_digits(digits: str, operator: str, value: float) -> str:
    """A number of the facts, ``numeric`` and not rounded, against a constant.

    ``value`` is an int, which is compared exactly with ints, or a double. NULL where
    ``digits`` is.
    """
    exact = type(value) is not float
    if exact and abs(value) >= EXACT:
        rounded = _compare_rounded(digits, operator, float(value))
        whole = f"{part(digits)} {operator} {int(value)}"
        return f"CASE WHEN scale({digits}) = 0 THEN {whole} ELSE {rounded} END"
    return _compare_rounded(digits, operator, float(value))


def _compare_rounded(digits: str, operator: str, value: float) -> str:
    if math.isnan(value):
        return f"CASE WHEN {part(digits)} IS NOT NULL THEN FALSE END"
    if math.isinf(value):
        infinity = "Infinity" if value > 0 else "-Infinity"
        return f"{part(digits)} {operator} '{infinity}'::numeric"
    if operator == "=":
        below, above, even = middles(value)
        if even:
            return f"{part(digits)} BETWEEN {below} AND {above}"
        return f"{part(digits)} > {below} AND {part(digits)} < {above}"
    operator, number = threshold(operator, value)
    return f"{part(digits)} {operator} {number}"


def rounded(digits: str) -> str:
    """The double that is nearest to a ``numeric``.

    NULL for a number beyond all doubles, which valid facts do not have.
    """
    size = f"abs({digits})"
    return (
        f"CASE WHEN {size} <= {LEAST} THEN 0::float8 "
        f"WHEN {size} < {GREATEST} THEN {part(digits)}::float8 END"
    )


def within(sql: str, bounds: tuple[int, int], *, limits: tuple[int, int]) -> str:
    """A ``numeric`` that is NULL outside the limits, given where it can be."""
    low, high = limits
    if bounds[0] < low:
        sql = f"nullif(greatest({sql}, {low - 1}), {low - 1})"
    if bounds[1] > high:
        sql = f"nullif(least({sql}, {high + 1}), {high + 1})"
    return sql


def clamped(bounds: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """The bounds of a value that is within the limits."""
    return max(bounds[0], limits[0]), min(bounds[1], limits[1])


Bounds = tuple[int, int]


def result_bounds(operator: str, left: Bounds, right: Bounds) -> Bounds:
    """Between which numbers the result of an integer operator lies."""
    if operator == "+":
        return left[0] + right[0], left[1] + right[1]
    if operator == "-":
        return left[0] - right[1], left[1] - right[0]
    if operator == "*":
        corners = [a * b for a in left for b in right]
        return min(corners), max(corners)
    size = max(abs(left[0]), abs(left[1])) - (operator == "%")
    return -size, size


def whole(operator: str, left: str, right: str) -> str:
    """An integer operator on two ``numeric``; a division by zero is NULL."""
    if operator in "+-*":
        return f"{part(left)} {operator} {part(right)}"
    # Both truncate toward zero, as CEL's operators do.
    function = "div" if operator == "/" else "mod"
    return f"{function}({left}, nullif({right}, 0))"


# Doubles. In these, a and b are columns of a sub-select. Where the size of the result
# is in question, it is computed at another scale by powers of two, which is exact.

_INFINITY = "sign(a) * sign(b) * 'Infinity'::float8"
_ZERO = "sign(a) * sign(b) * 0::float8"
# With these, PostgreSQL's operators never raise.
_SPECIAL = "a = 'NaN' OR b = 'NaN' OR abs(a) = 'Infinity' OR abs(b) = 'Infinity'"


def _size(test: str, scaled: str, otherwise: int) -> str:
    """The size of a scaled result where it can be computed."""
    return f"abs(CASE WHEN {test} THEN {scaled} ELSE {otherwise} END)"


_UP, _DOWN = repr(2.0**540), repr(2.0**-512)

DOUBLE_OPERATORS: Final = {
    "+": (
        "CASE WHEN abs(a) < 8e307 AND abs(b) < 8e307 THEN a + b "
        f"WHEN {_SPECIAL} THEN a + b WHEN "
        + _size("sign(a) = sign(b) AND abs(a) >= 1 AND abs(b) >= 1", "a / 2 + b / 2", 0)
        + f" >= {2.0**1023!r} THEN sign(a) * 'Infinity'::float8 ELSE a + b END"
    ),
    "*": (
        f"CASE WHEN {_SPECIAL} THEN a * b WHEN "
        + _size(
            "abs(a) >= 1 AND abs(b) >= 1", f"a * {_DOWN}::float8 * (b * {_DOWN})", 0
        )
        + f" >= 1 THEN {_INFINITY} WHEN "
        + _size(
            "abs(a) < 1 AND abs(b) < 1 AND a <> 0 AND b <> 0 "
            f"AND least(abs(a), abs(b)) < {2.0**-537!r}",
            f"a * {_UP}::float8 * (b * {_UP})",
            33,
        )
        + f" <= 32 THEN {_ZERO} ELSE a * b END"
    ),
    # Of a zero, only its text tells the sign.
    "/": (
        "CASE WHEN b = 0 THEN CASE WHEN a = 0 OR a = 'NaN' THEN 'NaN'::float8 "
        "ELSE sign(a) * CASE b::text WHEN '-0' THEN -1 ELSE 1 END "
        "* 'Infinity'::float8 END "
        f"WHEN {_SPECIAL} THEN a / b WHEN "
        + _size(
            "abs(a) >= 1 AND abs(b) < 1",
            f"a * {2.0**-500!r}::float8 / (b * {2.0**574!r})",
            0,
        )
        + f" >= {2.0**-50!r} THEN {_INFINITY} WHEN "
        + _size("abs(a) < 1 AND abs(b) < 1e-290", f"a / (b * {2.0**74!r})", 0)
        + f" >= {2.0**950!r} THEN {_INFINITY} WHEN "
        + _size(
            f"abs(a) < {2.0**-50!r} AND a <> 0 AND abs(b) >= 1",
            f"a * {2.0**574!r}::float8 / (b * {2.0**-500!r})",
            1,
        )
        + f" <= 0.5 THEN {_ZERO} ELSE a / b END"
    ),
}


def is_number(value: object) -> bool:
    """Whether a constant is a number of CEL."""
    return type(value) in (int, float, Uint)
$cel_sql_numbers$);

    v_sources := v_sources || jsonb_build_object('sql_operators', $cel_sql_operators$"""Arithmetic as SQL: ``+ - * / %`` and the sign (cel-spec, "Operators").

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
$cel_sql_operators$);

    v_sources := v_sources || jsonb_build_object('sql_path', $cel_sql_path$"""Conditions over the facts as predicates of jsonpath.

One predicate looks at a whole chain of clauses in one pass over the ``jsonb``, in half
the time of a type test and a cast for each. Its logic has three values as CEL's has,
and only true counts here: a predicate is TRUE if and only if a condition has the wanted
value, or, where it is not ``exact``, at least if it has. (PostgreSQL manual, "The
SQL/JSON Path Language"; paths are strict: the lax ones look into arrays unasked.)

Types that differ are no error of jsonpath but unknown, which is not true either; only
``!=`` has to ask for the type. Null compares with anything. Numbers are compared by
their digits, as in module ``sql_numbers``.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from .checked import (
    Bound,
    Chain,
    Checked,
    Constant,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    Variable,
)
from .sql_numbers import EXACT, SWAPPED, is_number, middles, threshold
from .sql_text import conjunction
from .sql_values import (
    MISSING,
    Json,
    is_only_text,
    is_storable,
    member,
    path_string,
    text_of_json,
)
from .types import BOOL

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sql_translator import Translator
    from .values import Value


class Predicate(NamedTuple):
    """A predicate's text, and whether it is true only for the wanted value.

    ``texts`` says that it compares strings for equality, which ``#>>`` does faster.
    What is not exact is so where none of the numbers at ``whole`` has a fraction; with
    none, it is but necessary.
    """

    text: str
    exact: bool = True
    texts: bool = False
    whole: tuple[Json, ...] = ()


class _Place(NamedTuple):
    """A path, and the declared type of what is there."""

    path: str
    declared: str | None = None
    value: Json | None = None

    def member(self, key: str, name: str, declared: str | None = None) -> _Place:
        """What a member of it has."""
        value = self.value
        if value is not None:
            value = Json(value.root, (*value.keys, name))
        return _Place(self.path + key, declared, value)


_COMPLEMENTS: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_ORDER: Final = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_WHOLE: Final = ("int", "int64")
# Declared types whose facts are compared as what they are in JSON.
_AS_JSON: Final = (None, "string", "bool", "float64", *_WHOLE)


class Paths:
    """Makes the predicate of one condition; ``root`` is what its paths begin at."""

    def __init__(self, translator: Translator) -> None:
        self.translator = translator
        self.root: str | None = None
        self.innermost: int | None = None
        self.outer: set[int] = set()

    def predicate(self, node: Checked, wanted: bool) -> Predicate | None:
        """The predicate of a condition, or None where it has none."""
        root = self.root
        found = self.made(node, wanted)
        if found is None:
            self.root = root
        return found

    def made(self, node: Checked, wanted: bool) -> Predicate | None:
        match node:
            case Chain():
                return self.chain(node, wanted)
            case Invoke(function=function) if function.name in _PREDICATES:
                return _PREDICATES[function.name](self, node, wanted)
            case Field(test=True):
                return self.has(node, wanted)
            case Loop(kind="exists" | "all") if wanted:
                return self.loop(node)
            case Bound(slot=slot) if slot in self.translator.bound:
                return self.predicate(self.translator.bound[slot], wanted)
            case Variable(name=name) if name in self.translator.environment.derived:
                return self.derived(node, wanted)
        place = self.place(node)
        if place is None or place.declared not in (None, "bool"):
            return None
        return Predicate(f"{place.path} == {'true' if wanted else 'false'}")

    def chain(self, node: Chain, wanted: bool) -> Predicate | None:
        parts = [self.predicate(operand, wanted) for operand in node.operands]
        found = [part for part in parts if part is not None]
        conjunctive = (node.operator == "&&") == wanted
        if not found or (not conjunctive and len(found) < len(parts)):
            return None
        exact = len(found) == len(parts) and all(part.exact for part in found)
        symbol = " && " if conjunctive else " || "
        text = symbol.join(dict.fromkeys(part.text for part in found))
        texts = any(part.texts for part in found)
        whole: tuple[Json, ...] = ()
        if len(found) == len(parts) and all(part.exact or part.whole for part in found):
            whole = tuple(dict.fromkeys(json for part in found for json in part.whole))
        text = f"({text})" if len(found) > 1 else text
        return Predicate(text, exact, texts, whole)

    # Places

    def place(self, node: Checked) -> _Place | None:
        """Where the value of a node stands in the facts."""
        match node:
            case Variable(fallback=None):
                if self.translator.facts is None or (
                    node.name in self.translator.environment.derived
                ):
                    return None
                return self.rooted(self.translator.facts, member(node.name), node.name)
            case Local(slot=slot):
                return self.local(slot)
            case Bound(slot=slot) if slot in self.translator.bound:
                return self.place(self.translator.bound[slot])
            case Field(test=False):
                place = self.container(node.operand)
                key = member(node.name)
                if place is None or key is None or node.conversion not in _AS_JSON:
                    return None
                return place.member(key, node.name, node.conversion)
            case Invoke(function=function, arguments=[operand, Constant(value=value)]):
                if function.name == "_[_]":
                    return self.element(operand, value)
        return None

    def container(self, node: Checked) -> _Place | None:
        place = self.place(node)
        return None if place is None or place.declared is not None else place

    def rooted(self, root: str, key: str | None, *names: str) -> _Place | None:
        if key is None or self.root not in (None, root):
            return None
        self.root = root
        return _Place(f"${key}", value=Json(root, names))

    def local(self, slot: int) -> _Place | None:
        if slot == self.innermost:
            return _Place("@")
        if slot in self.outer:
            return None
        term = self.translator.locals.get(slot)
        if term is None or term.json is None:
            return None
        found: _Place | None = self.rooted(term.json.root, "")
        for name in term.json.keys:
            key = member(name)
            if found is None or key is None:
                return None
            found = found.member(key, name)
        return found

    def element(self, operand: Checked, value: Value) -> _Place | None:
        place = self.container(operand)
        if place is None:
            return None
        if type(value) is str:
            key = member(value)
            return None if key is None else place.member(key, value)
        if type(value) is int and 0 <= value < 1 << 31:
            return _Place(f"{place.path}[{value}]")
        return None

    # Conditions

    def sides(self, node: Invoke) -> tuple[_Place, Value, bool] | None:
        """A place and a constant, and whether the constant is on the left."""
        for swapped in (False, True):
            one, other = node.arguments[::-1] if swapped else node.arguments
            term = self.translator.folded(other)
            if term is None or term.constant is MISSING:
                continue
            place = self.place(one)
            if place is not None:
                return place, term.constant, swapped
        return None

    def equal(self, node: Invoke, wanted: bool) -> Predicate | None:
        sides = self.sides(node)
        if sides is None:
            return None
        place, value, _ = sides
        if node.function.name == "_!=_":
            wanted = not wanted
        return _equal(place, value) if wanted else _unequal(place, value)

    def order(self, node: Invoke, wanted: bool) -> Predicate | None:
        sides = self.sides(node)
        if sides is None:
            return None
        place, value, swapped = sides
        operator = _ORDER[node.function.name]
        operator = SWAPPED[operator] if swapped else operator
        if type(value) is str and place.declared in (None, "string"):
            if not is_storable(value) or any(c >= "\ue000" for c in value):
                # jsonpath orders by UTF-16, which differs beyond the surrogates.
                return None
            operator = operator if wanted else _COMPLEMENTS[operator]
            return Predicate(f"{place.path} {operator} {path_string(value)}")
        if not _is_comparable(place, value):
            return None
        operator, number = threshold(operator, float(value))
        operator = operator if wanted else _COMPLEMENTS[operator]
        # A declared int is no number with a fraction, which takes another look.
        text = f"{place.path} {operator} {number}"
        if place.declared not in _WHOLE:
            return Predicate(text)
        return Predicate(text, False, whole=(place.value,) if place.value else ())

    def invert(self, node: Invoke, wanted: bool) -> Predicate | None:
        return self.predicate(node.arguments[0], not wanted)

    def contains(self, node: Invoke, wanted: bool) -> Predicate | None:
        element, container = node.arguments
        if not isinstance(container, MakeList) or not container.elements:
            return None
        place = self.place(element)
        if place is None:
            return None
        parts, texts = [], wanted
        for each in container.elements:
            term = self.translator.folded(each)
            if term is None or not term.is_constant:
                return None
            make = _equal if wanted else _unequal
            part = make(place, term.constant)
            if part is None or not part.exact:
                return None
            parts.append(part.text)
            texts = texts and part.texts
        symbol = " || " if wanted else " && "
        text = symbol.join(dict.fromkeys(parts))
        return Predicate(f"({text})" if len(parts) > 1 else text, texts=texts)

    def starts_with(self, node: Invoke, wanted: bool) -> Predicate | None:
        term = self.translator.folded(node.arguments[1])
        place = self.place(node.arguments[0])
        if term is None or place is None or place.declared not in (None, "string"):
            return None
        if type(term.constant) is not str or not is_storable(term.constant):
            return None
        text = f"{place.path} starts with {path_string(term.constant)}"
        return Predicate(text if wanted else f"!({text})")

    def has(self, node: Field, wanted: bool) -> Predicate | None:
        place, key = self.container(node.operand), member(node.name)
        if place is None or key is None:
            return None
        if wanted:
            return Predicate(f"exists({place.path}{key})")
        lacks = f"!exists({place.path} ? (exists(@{key})))"
        return Predicate(f'({place.path}.type() == "object" && {lacks})')

    def loop(self, node: Loop) -> Predicate | None:
        """``exists`` or ``all`` over the elements of a list or the keys of a map."""
        assert node.condition is not None
        place = self.container(node.range)
        if place is None:
            return None
        outer = self.innermost, self.outer
        if self.innermost is not None:
            self.outer = {*self.outer, self.innermost}
        self.innermost = node.slot
        body = self.predicate(node.condition, True)
        self.innermost, self.outer = outer
        if body is None:
            return None
        elements, keys = f"{place.path}[*]", f"{place.path}.keyvalue().key"
        if node.kind == "exists":
            found = (f"exists({rows} ? ({body.text}))" for rows in (elements, keys))
            return Predicate(f"({' || '.join(found)})", body.exact)
        if not body.exact:
            return None
        other = f"!({body.text}) || ({body.text}) is unknown"
        found = (
            f'{place.path}.type() == "{of}" && !exists({rows} ? ({other}))'
            for of, rows in (("array", elements), ("object", keys))
        )
        return Predicate(f"({' || '.join(found)})")

    def derived(self, node: Variable, wanted: bool) -> Predicate | None:
        """A derived field, unless the facts supply it."""
        translator = self.translator
        field = translator.environment.derived[node.name]
        key = member(node.name)
        if field.type is not BOOL or translator.facts is None or key is None:
            return None
        if self.rooted(translator.facts, key) is None:
            return None
        outer = self.innermost, self.outer
        self.innermost, self.outer = None, set()
        found = translator.inlined(node, lambda: self.predicate(field.tree, wanted))
        self.innermost, self.outer = outer
        if found is None:
            return None
        value = "true" if wanted else "false"
        lacks = f"!exists($ ? (exists(@{key})))"
        text = f"({lacks} && {found.text} || ${key} == {value})"
        return Predicate(text, found.exact, found.texts, found.whole)


def whole_numbers(translator: Translator, predicate: Predicate) -> str:
    """Where a predicate is true, whether it is exact: FALSE where that is unknown."""
    if not predicate.whole:
        return "FALSE"
    texts = (text_of_json(translator.arguments, value) for value in predicate.whole)
    return conjunction(f"strpos({text}, '.') = 0" for text in texts)


def _equal(place: _Place, value: Value) -> Predicate | None:
    path, declared = place.path, place.declared
    if value is None or (type(value) is bool and declared in (None, "bool")):
        return Predicate(f"{path} == {json.dumps(value)}")
    if type(value) is str and is_storable(value) and declared in (None, "string"):
        return Predicate(f"{path} == {path_string(value)}", texts=is_only_text(value))
    if _is_comparable(place, value):
        return Predicate(_among(path, float(value)))
    return None


def _unequal(place: _Place, value: Value) -> Predicate | None:
    path = place.path
    if value is None and place.declared is None:
        return Predicate(f"{path} != null")
    if type(value) is bool:
        text, of, declared = f"{path} != {json.dumps(value)}", "boolean", "bool"
    elif type(value) is str and is_storable(value):
        text, of, declared = f"{path} != {path_string(value)}", "string", "string"
    elif _is_comparable(place, value) and place.declared not in _WHOLE:
        text = _outside(path, float(value))
        if place.declared is not None:
            return Predicate(f"({text} || {path} == null)")
        return Predicate(f'({text} || {path}.type() != "number")')
    else:
        return None
    if place.declared == declared:
        return Predicate(text)
    if place.declared is not None:
        return None
    return Predicate(f'({text} || {path}.type() != "{of}")')


def _is_comparable(place: _Place, value: Value) -> bool:
    """Whether comparing digits with a constant's neighbours is exact here."""
    if not is_number(value) or place.declared not in (None, "float64", *_WHOLE):
        return False
    if type(value) is float:
        if not math.isfinite(value):
            return False
        # Against doubles, too, ints are compared as doubles, whatever their size.
        return bool(place.declared not in _WHOLE or abs(value) < EXACT)
    return bool(abs(value) < EXACT)


def _among(path: str, value: float) -> str:
    below, above, even = middles(value)
    equal = "=" if even else ""
    return f"({path} >{equal} {below} && {path} <{equal} {above})"


def _outside(path: str, value: float) -> str:
    below, above, even = middles(value)
    equal = "" if even else "="
    return f"{path} <{equal} {below} || {path} >{equal} {above}"


_PREDICATES: Final[dict[str, Callable[[Paths, Invoke, bool], Predicate | None]]] = {
    "_==_": Paths.equal,
    "_!=_": Paths.equal,
    **dict.fromkeys(_ORDER, Paths.order),
    "!_": Paths.invert,
    "@in": Paths.contains,
    "startsWith": Paths.starts_with,
}
$cel_sql_path$);

    v_sources := v_sources || jsonb_build_object('sql_reading', $cel_sql_reading$"""Values of the facts as SQL of one kind, where they are of that kind.

What the facts have is ``jsonb``, and CEL's operators ask for its type first: a value of
another kind is NULL here. CASE does the asking, since only CASE keeps PostgreSQL from
computing a cast before its test (PostgreSQL manual, "Expression Evaluation Rules").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .sql_numbers import GREATEST, INT_BOUNDS, LEAST, rounded
from .sql_text import part
from .sql_values import JSON_KINDS, Term, found_in_json, sql_of_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sql_text import Arguments
    from .sql_values import Json

_TYPES: Final = {"list": "array", "map": "object"}


def read(arguments: Arguments, term: Term, kind: str) -> str:
    """SQL of a kind: NULL where the value is of another, or an error.

    Besides the kinds of module ``sql_values`` there are ``digits``, a number of the
    facts as ``numeric``, and ``number``, an int or a double as the nearest double.
    """
    if term.json is None:
        if kind == "number":
            return _number(term)
        return term.kinds.get(kind, "NULL")
    return read_json(arguments, term.json, kind)


def _number(term: Term) -> str:
    parts = [
        sql if kind == "double" else f"{part(sql)}::float8"
        for kind, sql in term.kinds.items()
        if kind in ("int", "uint", "double")
    ]
    if not parts:
        return "NULL"
    return parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})"


def read_json(arguments: Arguments, value: Json, kind: str) -> str:
    """:func:`read` for ``jsonb``."""
    sql = sql_of_json(arguments, value)
    operand = part(sql)
    if kind == "null":
        return f"{operand} = 'null'"
    if kind == "bool":
        return f"CASE {operand} WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END"
    if kind == "int":
        # Numbers with a fraction are doubles.
        digits = f"{operand}::numeric"
        whole = f"CASE scale({digits}) WHEN 0 THEN {digits} END"
        return f"CASE WHEN jsonb_typeof({sql}) = 'number' THEN {whole} END"
    if kind in ("digits", "string"):
        of = "number" if kind == "digits" else "string"
        found = found_in_json(arguments, value, f'@.type() == "{of}"')
        return f"{found}::numeric" if kind == "digits" else f"{found} #>> '{{}}'"
    if kind == "number":
        plain = f"{found_in_json(arguments, value, _PLAIN)}::float8"
        digits = read_json(arguments, value, "digits")
        return f"coalesce({plain}, {let(arguments, [digits], rounded('a'))})"
    if kind == "double":
        digits = read_json(arguments, value, "digits")
        test = f"CASE WHEN scale(a) > 0 THEN {part(rounded('a'))} END"
        return let(arguments, [digits], test)
    if kind not in _TYPES:
        return "NULL"
    return f"CASE WHEN jsonb_typeof({sql}) = '{_TYPES[kind]}' THEN {sql} END"


# Numbers that PostgreSQL rounds to a double without an error.
_PLAIN: Final = (
    f"@ >= 1e-300 && @ < {GREATEST} || @ <= -1e-300 && @ > -{GREATEST} || @ == 0"
)

# A declared int takes a double without fraction up to 2**53, see module ``reading``.
_FROM_FRACTION: Final = (
    f"CASE WHEN abs(a) <= {LEAST} THEN 0 "
    "WHEN abs(a) > 1e-300 AND abs(a) <= 9007199254740993 "
    "AND a::float8 = trunc(a::float8) THEN a::float8::bigint::numeric END"
)


def let(arguments: Arguments, values: Sequence[str], sql: str) -> str:
    """SQL over columns a, b, ... that hold some values, each computed once."""
    alias = arguments.alias()
    columns = ", ".join(
        f"{value} AS {name}" for value, name in zip(values, "abcd", strict=False)
    )
    # Without OFFSET the planner would put the values in again for each use.
    return f"(SELECT {sql} FROM (SELECT {columns} OFFSET 0) AS {alias})"


def kinds_of(term: Term) -> tuple[str, ...]:
    """The kinds that a value may have."""
    return JSON_KINDS if term.json is not None else tuple(term.kinds)


def declared(arguments: Arguments, value: Json, of: str) -> Term | None:
    """A declared fact as its type has it, or None where SQL has no such kind."""
    null = {"null": read_json(arguments, value, "null")}
    if of in ("int", "int64"):
        sql = sql_of_json(arguments, value)
        digits = f"{part(sql)}::numeric"
        fraction = let(arguments, [digits], _FROM_FRACTION)
        whole = f"CASE scale({digits}) WHEN 0 THEN {digits} ELSE {fraction} END"
        found = f"CASE WHEN jsonb_typeof({sql}) = 'number' THEN {whole} END"
        return Term(null | {"int": found}, bounds=INT_BOUNDS)
    if of == "float64":
        return Term(null | {"double": read_json(arguments, value, "number")})
    if of in ("string", "bool"):
        return Term(null | {of: read_json(arguments, value, of)}, origin=value)
    return None
$cel_sql_reading$);

    v_sources := v_sources || jsonb_build_object('sql_text', $cel_sql_text$"""SQL text in parts: what the server has to quote, and where parentheses are needed.

A translation is a template for PostgreSQL's ``format()``: every literal and name of an
author stands in it as a numbered placeholder, ``%1$L`` or ``%2$I``, and is quoted by
the server. What this package writes itself, keywords, numbers and fixed literals,
stands there as it is; fixed literals have neither blanks nor parentheses in them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .checked import Checked

Mode = Literal["exact", "true", "false"]
"""What of a condition matters.

In mode ``exact``, SQL is TRUE, FALSE or NULL where CEL is true, false or an error. In
mode ``true`` it is TRUE if and only if CEL is true, and in mode ``false`` FALSE if and
only if CEL is false: then SQL need not tell the other two outcomes apart.
"""

NEGATED: dict[Mode, Mode] = {"exact": "exact", "true": "false", "false": "true"}


class Refused(Exception):
    """A sub-expression that has no SQL of the same meaning, and why."""

    def __init__(self, node: Checked, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


class Arguments:
    """The literals and names of a template, each once, and its sub-selects' names."""

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._taken = taken
        self._aliases = 0

    def alias(self) -> str:
        """A name for the rows of a sub-select, new to the template."""
        self._aliases += 1
        name = f"v{self._aliases}"
        return self.alias() if name in self._taken else name

    def literal(self, text: str) -> str:
        """A placeholder for a quoted literal."""
        return self._placeholder("L", text)

    def name(self, text: str) -> str:
        """A placeholder for a quoted identifier."""
        return self._placeholder("I", text)

    def _placeholder(self, form: str, text: str) -> str:
        number = self._numbers.setdefault((form, text), len(self._numbers) + 1)
        return f"%{number}${form}"

    def finish(self, sql: str) -> tuple[str, list[str]]:
        """The template with its placeholders numbered in order, and their texts."""
        texts = [text for _, text in self._numbers]
        order: dict[str, int] = {}

        def renumbered(match: re.Match[str]) -> str:
            number = order.setdefault(match[1], len(order) + 1)
            return f"%{number}${match[2]}"

        template = _PLACEHOLDER.sub(renumbered, sql)
        return template, [texts[int(number) - 1] for number in order]


_PLACEHOLDER = re.compile(r"%([0-9]+)\$([LI])")
_WORD = re.compile(r"CASE\b|END\b|[()\s]")


def part(sql: str) -> str:
    """SQL as an operand: in parentheses where it needs them."""
    return sql if _is_atom(sql) else f"({sql})"


def _is_atom(sql: str) -> bool:
    if sql.startswith("-"):
        # Two of them would begin a comment.
        return False
    depth = 0
    for match in _WORD.finditer(sql):
        word = match[0]
        if word in ("(", "CASE"):
            depth += 1
        elif word in (")", "END"):
            depth -= 1
        elif depth == 0:
            return False
    return True


def conjunction(conditions: Iterable[str]) -> str:
    """All of some conditions; of none, TRUE."""
    return _joined("AND", "TRUE", "FALSE", conditions)


def disjunction(conditions: Iterable[str]) -> str:
    """One of some conditions; of none, FALSE."""
    return _joined("OR", "FALSE", "TRUE", conditions)


def _joined(
    operator: str, neutral: str, decisive: str, conditions: Iterable[str]
) -> str:
    parts = list(dict.fromkeys(c for c in conditions if c != neutral))
    if decisive in parts:
        return decisive
    if len(parts) < 2:
        return parts[0] if parts else neutral
    return f" {operator} ".join(map(part, parts))


def negation(condition: str) -> str:
    """NOT, simplified where it stands before another."""
    if condition in _NEGATIONS:
        return _NEGATIONS[condition]
    return f"NOT {part(condition)}"


_NEGATIONS = {"TRUE": "FALSE", "FALSE": "TRUE", "NULL": "NULL"}


def coalesced(alternatives: list[str]) -> str:
    """The first of some values that is not NULL."""
    kept = [sql for sql in alternatives if sql != "NULL"]
    if len(kept) < 2:
        return kept[0] if kept else "NULL"
    return f"coalesce({', '.join(kept)})"
$cel_sql_text$);

    v_sources := v_sources || jsonb_build_object('sql_times', $cel_sql_times$"""Timestamps and durations as SQL, at nanoseconds (cel-spec, "Timestamps").

PostgreSQL's own types end at microseconds and read text by the session's settings. So
both are ``numeric`` numbers of nanoseconds, and the text of facts is taken apart here.
A column of timestamptz stays one, so that its indexes fit: constants are rounded to
its microseconds in the direction that makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .sql_numbers import INT_BOUNDS, within
from .sql_reading import kinds_of, let, read
from .sql_text import Refused, coalesced, part
from .sql_values import Term
from .temporal import (
    MAX_DURATION_NANOS,
    MAX_TIMESTAMP_NANOS,
    MIN_DURATION_NANOS,
    MIN_TIMESTAMP_NANOS,
    NANOS_PER_SECOND,
    Timestamp,
    format_timestamp,
)

if TYPE_CHECKING:
    from .checked import Checked, Invoke
    from .sql_text import Arguments, Mode
    from .sql_translator import Translator

_TIMESTAMPS: Final = (MIN_TIMESTAMP_NANOS, MAX_TIMESTAMP_NANOS)
_DURATIONS: Final = (MIN_DURATION_NANOS, MAX_DURATION_NANOS)
_FAR: Final = 1 << 200

_DAY: Final = 86_400 * NANOS_PER_SECOND


# Text to nanoseconds

_TIMESTAMP: Final = (
    "^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?"
    "(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
_DURATION: Final = (
    "^[-+]?(0|(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$"
)
_DURATION_PART: Final = "([0-9]*)[.]?([0-9]*)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_FRACTION: Final = "[.]([0-9]+)"


def parse_timestamp(arguments: Arguments, text: str) -> str:
    """Nanoseconds of an RFC 3339 text, as ``temporal.parse_timestamp`` reads it."""
    date = "make_date(substr(a, 1, 4)::int, substr(a, 6, 2)::int, 1)"
    date = f"{date} + substr(a, 9, 2)::int - 1"
    of_day = (
        "substr(a, 12, 2)::int * 3600 + substr(a, 15, 2)::int * 60 "
        "+ substr(a, 18, 2)::int"
    )
    offset = (
        "CASE WHEN right(a, 1) = 'Z' THEN 0 "
        "ELSE CASE left(right(a, 6), 1) WHEN '-' THEN -60 ELSE 60 END "
        "* (left(right(a, 5), 2)::int * 60 + right(a, 2)::int) END"
    )
    digits = f"coalesce(substring(a FROM {arguments.literal(_FRACTION)}), '')"
    nanos = f"((a - '1970-01-01'::date) * 86400::numeric + c) * {NANOS_PER_SECOND} + d"
    nanos = within(nanos, (-_FAR, _FAR), limits=_TIMESTAMPS)
    # A day that its month has not is one of the next month.
    found = let(
        arguments,
        [
            date,
            "substr(a, 6, 2)::int",
            f"{of_day} - {offset}",
            f"rpad({digits}, 9, '0')::numeric",
        ],
        f"CASE WHEN extract(month FROM a) = b THEN {nanos} END",
    )
    pattern = arguments.literal(_TIMESTAMP)
    return let(arguments, [text], f"CASE WHEN a ~ {pattern} THEN {found} END")


def parse_duration(arguments: Arguments, text: str) -> str:
    """Nanoseconds of a duration's text, as ``temporal.parse_duration`` reads it."""
    alias = arguments.alias()
    scale = (
        "CASE p[3] WHEN 'ns' THEN 1 WHEN 'ms' THEN 1000000 WHEN 's' THEN 1000000000 "
        "WHEN 'm' THEN 60000000000 WHEN 'h' THEN 3600000000000 ELSE 1000 END"
    )
    whole, fraction = (
        f"coalesce(nullif(p[{n}], ''), '0')::numeric * {scale}" for n in (1, 2)
    )
    size = (
        f"(SELECT sum({whole} + div({fraction}, 10::numeric ^ char_length(p[2]))) FROM "
        f"regexp_matches(a, {arguments.literal(_DURATION_PART)}, 'g') AS {alias} (p))"
    )
    signed = f"CASE left(a, 1) WHEN '-' THEN -1 ELSE 1 END * coalesce({size}, 0)"
    nanos = within(signed, (-_FAR, _FAR), limits=_DURATIONS)
    pattern = arguments.literal(_DURATION)
    return let(
        arguments,
        [text],
        f"CASE WHEN char_length(a) <= 256 AND a ~ {pattern} THEN {nanos} END",
    )


# Columns


class _Form(NamedTuple):
    """The nanoseconds that a column's type can tell apart, and its literals' ends."""

    unit: int
    type: str
    zone: str


_FORMS: Final = {
    "timestamp with time zone": _Form(1_000, "timestamptz", "Z"),
    "timestamp without time zone": _Form(1_000, "timestamp", ""),
    "date": _Form(_DAY, "date", ""),
}


def _literal(form: _Form, units: int) -> str:
    """A constant of a column's type; at most the first of the year 10000."""
    nanos = units * form.unit
    text = "10000-01-01T00:00:00Z"
    if nanos <= MAX_TIMESTAMP_NANOS:
        text = format_timestamp(Timestamp(nanos))
    text = text[: text.index("T")] if form.unit == _DAY else text[:-1] + form.zone
    return f"'{text}'::{form.type}"


def _years(form: _Form) -> tuple[str, str]:
    """The first time of CEL, and the first one beyond it."""
    ends = MIN_TIMESTAMP_NANOS, MAX_TIMESTAMP_NANOS + 1
    first, beyond = (_literal(form, end // form.unit) for end in ends)
    return first, beyond


def as_nanos(arguments: Arguments, term: Term) -> Term:
    """A term that has nanoseconds in place of a column's own type."""
    instant = term.kinds.get("instant")
    if instant is None:
        return term
    first, beyond = _years(_FORMS[term.instant])
    nanos = let(
        arguments,
        [instant],
        f"CASE WHEN a >= {first} AND a < {beyond} "
        f"THEN extract(epoch FROM a) * {NANOS_PER_SECOND} END",
    )
    kinds = {kind: sql for kind, sql in term.kinds.items() if kind != "instant"}
    return Term(kinds | {"timestamp": nanos})


def order_instant(term: Term, operator: str, value: Timestamp, mode: Mode) -> str:
    """A column against a constant."""
    form = _FORMS[term.instant]
    instant = part(term.kinds["instant"])
    down, up = value.nanos // form.unit, -(-value.nanos // form.unit)
    literal = _literal(form, down if operator in (">", "<=") else up)
    found = f"{instant} {operator} {literal}"
    first, beyond = _years(form)
    if mode != "true":
        return (
            f"CASE WHEN {instant} >= {first} AND {instant} < {beyond} THEN {found} END"
        )
    # What is beyond the years of CEL is an error, infinity too.
    if operator in (">", ">="):
        return f"{found} AND {instant} < {beyond}"
    return f"{found} AND {instant} >= {first}"


def is_instant(term: Term, value: Timestamp) -> str:
    """Whether a column is a constant; it is TRUE if and only if it is."""
    form = _FORMS[term.instant]
    if value.nanos % form.unit:
        return "FALSE"
    return f"{part(term.kinds['instant'])} = {_literal(form, value.nanos // form.unit)}"


def within_durations(nanos: str) -> str:
    """Nanoseconds, NULL where they are no duration."""
    return within(nanos, (-_FAR, _FAR), limits=_DURATIONS)


# Operators and functions


def arithmetic(
    arguments: Arguments, left: Term, operator: str, right: Term
) -> dict[str, str]:
    """``+`` and ``-`` with times."""
    left, right = as_nanos(arguments, left), as_nanos(arguments, right)
    results = {
        ("timestamp", "+", "duration"): ("timestamp", _TIMESTAMPS),
        ("duration", "+", "timestamp"): ("timestamp", _TIMESTAMPS),
        ("timestamp", "-", "duration"): ("timestamp", _TIMESTAMPS),
        ("timestamp", "-", "timestamp"): ("duration", _DURATIONS),
        ("duration", "+", "duration"): ("duration", _DURATIONS),
        ("duration", "-", "duration"): ("duration", _DURATIONS),
    }
    found: dict[str, str] = {}
    for a_kind in kinds_of(left):
        for b_kind in kinds_of(right):
            result = results.get((a_kind, operator, b_kind))
            if result is None:
                continue
            a, b = read(arguments, left, a_kind), read(arguments, right, b_kind)
            kind, limits = result
            sql = f"{part(a)}::numeric {operator} {part(b)}"
            found[kind] = within(sql, (-_FAR, _FAR), limits=limits)
    return found


def timestamp(translator: Translator, node: Invoke) -> Term:
    """``timestamp(x)`` of text, of Unix seconds, or of a timestamp."""
    operand = as_nanos(translator.arguments, translator.term(node.arguments[0]))
    arguments = translator.arguments
    found = [
        read(arguments, operand, kind)
        for kind in ("timestamp",)
        if kind in kinds_of(operand)
    ]
    if "string" in kinds_of(operand):
        found.append(parse_timestamp(arguments, read(arguments, operand, "string")))
    if "int" in kinds_of(operand):
        seconds = part(read(arguments, operand, "int"))
        nanos = f"{seconds}::numeric * {NANOS_PER_SECOND}"
        found.append(within(nanos, (-_FAR, _FAR), limits=_TIMESTAMPS))
    return _one("timestamp", found)


def duration(translator: Translator, node: Invoke) -> Term:
    """``duration(x)`` of text or of a duration."""
    operand = translator.term(node.arguments[0])
    arguments = translator.arguments
    found = []
    if "duration" in kinds_of(operand):
        found.append(read(arguments, operand, "duration"))
    if "string" in kinds_of(operand):
        found.append(parse_duration(arguments, read(arguments, operand, "string")))
    return _one("duration", found)


def _one(kind: str, found: list[str]) -> Term:
    return Term({kind: coalesced(found)}) if found else Term()


def seconds(arguments: Arguments, nanos: str) -> str:
    """Whole Unix seconds, rounded down, as ``int(timestamp)`` gives."""
    return let(arguments, [nanos], _floored("a", NANOS_PER_SECOND))


def _floored(value: str, unit: int) -> str:
    return f"div({value} - {_modulo(value, unit)}, {unit})"


def _modulo(value: str, unit: int) -> str:
    """The remainder that is never negative."""
    return f"mod(mod({value}, {unit}) + {unit}, {unit})"


def _of_date(field: str, less: int) -> str:
    day = _floored("a", _DAY)
    found = f"extract({field} FROM '1970-01-01'::date + {day}::int)"
    return f"{found} - {less}" if less else found


def _of_day(unit: int, count: int) -> str:
    return f"div({_modulo('a', unit * count)}, {unit})"


_HOUR: Final = 3_600 * NANOS_PER_SECOND
_MINUTE: Final = 60 * NANOS_PER_SECOND
_MILLISECOND: Final = 1_000_000

_OF_TIMESTAMP: Final = {
    "getFullYear": _of_date("year", 0),
    "getMonth": _of_date("month", 1),
    "getDate": _of_date("day", 0),
    "getDayOfMonth": _of_date("day", 1),
    "getDayOfWeek": _of_date("dow", 0),
    "getDayOfYear": _of_date("doy", 1),
    "getHours": _of_day(_HOUR, 24),
    "getMinutes": _of_day(_MINUTE, 60),
    "getSeconds": _of_day(NANOS_PER_SECOND, 60),
    "getMilliseconds": _of_day(_MILLISECOND, 1_000),
}
_OF_DURATION: Final = {
    "getHours": f"div(a, {_HOUR})",
    "getMinutes": f"div(a, {_MINUTE})",
    "getSeconds": f"div(a, {NANOS_PER_SECOND})",
    "getMilliseconds": f"mod(div(a, {_MILLISECOND}), 1000)",
}
ACCESSORS: Final = tuple(_OF_TIMESTAMP)


def accessor(translator: Translator, node: Invoke) -> Term:
    """A part of a timestamp in UTC, or of a duration."""
    name = node.function.name
    zone = translator.term(node.arguments[1]) if len(node.arguments) > 1 else None
    if zone is not None and zone.constant != "UTC":
        raise Refused(
            node.arguments[1],
            "time zones other than UTC may have other rules on the server",
        )
    arguments = translator.arguments
    operand = as_nanos(arguments, translator.term(node.arguments[0]))
    found = []
    for kind, sql in (
        ("timestamp", _OF_TIMESTAMP[name]),
        ("duration", None if zone else _OF_DURATION.get(name)),
    ):
        if kind in kinds_of(operand) and sql is not None:
            found.append(let(arguments, [read(arguments, operand, kind)], sql))
    made = _one("int", found)
    return Term(made.kinds, bounds=INT_BOUNDS)


def declared(arguments: Arguments, of: str, text: str, node: Checked) -> str:
    """The nanoseconds of a fact that is declared a timestamp or a duration."""
    if of == "timestamp":
        return parse_timestamp(arguments, text)
    if of == "duration":
        return parse_duration(arguments, text)
    raise Refused(node, f"a fact declared {of} is converted")
$cel_sql_times$);

    v_sources := v_sources || jsonb_build_object('sql_translator', $cel_sql_translator$"""The checked tree as SQL: which SQL each node becomes.

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
$cel_sql_translator$);

    v_sources := v_sources || jsonb_build_object('sql_values', $cel_sql_values$"""CEL values as SQL: kinds, and how each kind is represented.

A value that only the facts know is ``jsonb``; one whose kind is known has SQL of that
kind. Where a value may be of several kinds, there is an expression for each, of which
at most one is not NULL. An error of CEL is SQL NULL in all of them.

=============  ======================================================================
kind           SQL
=============  ======================================================================
``null``       boolean, TRUE where the value is null; otherwise FALSE or NULL
``bool``       boolean
``int``        a number without fraction within 64 bits: an integer type or numeric
``uint``       the same, from 0 to 2**64 - 1
``double``     double precision
``string``     text
``timestamp``  numeric, nanoseconds since 1970-01-01T00:00:00Z
``instant``    a column's timestamptz, timestamp or date, which one its term says
``duration``   numeric, nanoseconds
``list``       jsonb
``map``        jsonb
=============  ======================================================================
"""

from __future__ import annotations

import json as jsontext
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .numbers import INT_MAX, INT_MIN
from .sql_text import Arguments, disjunction, part
from .temporal import Duration, Timestamp
from .values import Uint

if TYPE_CHECKING:
    from .values import Value

MISSING: Final = object()

JSON_KINDS: Final = ("null", "bool", "int", "double", "string", "list", "map")
"""The kinds that a value of the facts can have."""


@dataclass(frozen=True, slots=True)
class Json:
    """A ``jsonb`` expression: what stands under some keys of another."""

    root: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """A translated value.

    ``json`` is set where the value is ``jsonb``; else ``kinds`` has SQL by kind.
    ``constant`` is a value known now. A ``total`` value is never an error. Of a
    ``double`` that may be NaN, ``nan`` is set; ``bounds`` are those of an int, and
    ``integer`` says that its SQL is of an integer type, not numeric; ``instant`` of
    which type a column with a time is, ``decimal`` the numeric column that a double is
    read from; ``origin`` the fact that a declared string or bool is.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    json: Json | None = None
    constant: Any = MISSING
    total: bool = False
    nan: bool = False
    bounds: tuple[int, int] | None = None
    integer: bool = False
    instant: str = ""
    decimal: str = ""
    origin: Json | None = None

    @property
    def is_constant(self) -> bool:
        return self.constant is not MISSING


ERROR: Final = Term()


def sql_of_json(arguments: Arguments, value: Json) -> str:
    """The ``jsonb`` expression."""
    root, keys = value.root, value.keys
    if len(keys) > 1 and not any(map(_is_index, keys)):
        return f"{root} #> {arguments.literal(text_array(keys))}"
    return "".join([root, *(f" -> {arguments.literal(key)}" for key in keys)])


def text_of_json(arguments: Arguments, value: Json) -> str:
    """The text of a ``jsonb`` string; of other values their JSON text, of null NULL."""
    root, keys = value.root, value.keys
    if not keys:
        return f"{root} #>> '{{}}'"
    if len(keys) > 1 and not any(map(_is_index, keys)):
        return f"{root} #>> {arguments.literal(text_array(keys))}"
    last = arguments.literal(keys[-1])
    return f"{sql_of_json(arguments, Json(root, keys[:-1]))} ->> {last}"


def is_storable(text: str) -> bool:
    """Whether SQL and ``jsonb`` can hold a text."""
    return "\0" not in text


def path_string(text: str) -> str:
    """A string of jsonpath."""
    return jsontext.dumps(text, ensure_ascii=False)


def member(name: str) -> str | None:
    """A member accessor of jsonpath; None for a name that ``jsonb`` cannot have."""
    if not is_storable(name):
        return None
    plain = name.isascii() and name.isidentifier() and name.lower() not in _KEYWORDS
    return f".{name}" if plain else f".{path_string(name)}"


# Words of jsonpath, PostgreSQL sources, src/backend/utils/adt/jsonpath_scan.l.
_KEYWORDS: Final = frozenset(
    [
        "is",
        "to",
        "abs",
        "lax",
        "date",
        "flag",
        "last",
        "null",
        "size",
        "true",
        "type",
        "with",
        "false",
        "floor",
        "double",
        "exists",
        "starts",
        "strict",
        "ceiling",
        "integer",
        "time_tz",
        "unknown",
        "datetime",
        "keyvalue",
        "timestamp",
        "like_regex",
        "timestamp_tz",
    ]
)


def found_in_json(arguments: Arguments, value: Json, test: str) -> str:
    """A ``jsonb`` value where a test of jsonpath is true of it; else NULL.

    One pass over the ``jsonb``, where CASE takes one for the test and another for the
    value.
    """
    path = "".join(member(key) or "" for key in value.keys)
    text = arguments.literal(f"strict ${path} ? ({test})")
    return f"jsonb_path_query_first({value.root}, {text}, '{{}}', TRUE)"


def is_only_text(text: str) -> bool:
    """Whether no JSON value but the string has this text."""
    return _OTHER_VALUES.match(text) is None and "\0" not in text


_OTHER_VALUES: Final = re.compile(r"-?[0-9]|[{\[]|(true|false)\Z")


def _is_index(key: str) -> bool:
    # In a path, PostgreSQL takes for an index what strtol does.
    return key.strip(" \t\n\v\f\r").lstrip("+-")[:1].isdigit()


def text_array(keys: tuple[str, ...]) -> str:
    """The text of a ``text[]``."""
    return "{" + ",".join(map(_element, keys)) + "}"


def _element(key: str) -> str:
    if key.isascii() and key.isidentifier() and key.lower() != "null":
        return key
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def json_text(value: Value) -> str | None:
    """A constant as JSON, or None where JSON has no such value."""
    if not _is_json(value):
        return None
    return jsontext.dumps(value, ensure_ascii=False)


def _is_json(value: Value) -> bool:
    kind = type(value)
    if kind is float:
        return math.isfinite(value) and repr(value) != "-0.0"
    if kind is str:
        return "\0" not in value
    if kind is list:
        return all(map(_is_json, value))
    if kind is dict:
        return all(type(k) is str and "\0" not in k for k in value) and all(
            map(_is_json, value.values())
        )
    return kind in (int, bool, type(None))


def has_numbers(value: Value) -> bool:
    """Whether a constant is a number, or has one in it."""
    if type(value) is list:
        return any(map(has_numbers, value))
    if type(value) is dict:
        return any(map(has_numbers, value.values()))
    return type(value) in (int, float, Uint)


def constant(arguments: Arguments, value: Value) -> Term:
    """A term for a value that is known now."""
    kind = type(value)
    if value is None:
        return Term({"null": "TRUE"}, constant=value, total=True)
    if kind is bool:
        sql = "TRUE" if value else "FALSE"
        return Term({"bool": sql}, constant=value, total=True)
    if kind is int or kind is Uint:
        return Term(
            {"int" if kind is int else "uint": str(int(value))},
            constant=value,
            total=True,
            bounds=(int(value), int(value)),
            integer=INT_MIN <= value <= INT_MAX,
        )
    if kind is float:
        return Term(
            {"double": double_text(value)},
            constant=value,
            total=True,
            nan=math.isnan(value),
        )
    if kind is str and "\0" not in value:
        return Term({"string": arguments.literal(value)}, constant=value, total=True)
    if kind is Timestamp:
        return Term({"timestamp": str(value.nanos)}, constant=value, total=True)
    if kind is Duration:
        return Term({"duration": str(value.nanos)}, constant=value, total=True)
    text = json_text(value)
    if text is not None:
        kinds = {"list" if kind is list else "map": f"{arguments.literal(text)}::jsonb"}
        return Term(kinds, constant=value, total=True)
    return Term({}, constant=value, total=True)


def double_text(value: float) -> str:
    """A double as an SQL constant."""
    if math.isnan(value):
        return "'NaN'::float8"
    if value in (float("inf"), float("-inf")):
        return "'Infinity'::float8" if value > 0 else "'-Infinity'::float8"
    text = repr(value)
    return f"'{text}'::float8"


def valid(arguments: Arguments, term: Term) -> str:
    """SQL that is TRUE where a value is no error."""
    if term.total:
        return "TRUE"
    if term.json is not None:
        return f"{part(sql_of_json(arguments, term.json))} IS NOT NULL"
    return disjunction(
        sql if kind == "null" else f"{part(sql)} IS NOT NULL"
        for kind, sql in term.kinds.items()
    )
$cel_sql_values$);

    v_sources := v_sources || jsonb_build_object('standard', $cel_standard$"""The functions of cel-spec's standard definitions, and those of the extensions.

Operators are functions too; their names are those of cel-spec, as in ``_+_``. The
extension libraries stand behind the standard one and load when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import conversions, operators, regex, temporal
from .evaluation import CHARACTERS_PER_UNIT, Evaluation
from .extensions import EXTENSIONS
from .library import Function, Libraries, Library, library
from .operators import no_overload
from .temporal import Duration, Timestamp
from .values import Value, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .types import Type


def _size(state: Evaluation, value: Value) -> int:
    if type(value) in (str, bytes, list, dict):
        return len(value)
    raise no_overload("size", value)


def _type(state: Evaluation, value: Value) -> Type:
    return type_of(value)


def _dyn(state: Evaluation, value: Value) -> Value:
    return value


def _on_strings(
    name: str, test: Callable[[str, str], bool], *, whole: bool = False
) -> Callable[[Evaluation, Value, Value], bool]:
    """A test of two strings, which reads the ``whole`` text or as much as the part."""

    def implementation(state: Evaluation, text: Value, part: Value) -> bool:
        if type(text) is str and type(part) is str:
            state.charge(len(text if whole else part) // CHARACTERS_PER_UNIT)
            return test(text, part)
        raise no_overload(name, text, part)

    return implementation


def _matches(state: Evaluation, text: Value, pattern: Value) -> bool:
    if type(text) is str and type(pattern) is str:
        return regex.search(state, text, pattern)
    raise no_overload("matches", text, pattern)


def _accessor(
    name: str,
    of_timestamp: Callable[[Timestamp, str], int],
    of_duration: Callable[[Duration], int] | None = None,
) -> Function:
    """A method that reads a part of a timestamp, and perhaps of a duration."""

    def implementation(state: Evaluation, value: Value, *zone: Value) -> int:
        if type(value) is Timestamp:
            if not zone:
                return of_timestamp(value, "UTC")
            if type(zone[0]) is str:
                return of_timestamp(value, zone[0])
        elif type(value) is Duration and of_duration is not None and not zone:
            return of_duration(value)
        raise no_overload(name, value, *zone)

    signatures = ["timestamp.() -> int", "timestamp.(string) -> int"]
    if of_duration is not None:
        signatures.append("duration.() -> int")
    return Function(name, tuple(signatures), implementation)


def _arithmetic(kinds: str, *more: str) -> tuple[str, ...]:
    return (*(f"({kind}, {kind}) -> {kind}" for kind in kinds.split()), *more)


_ORDERED = "bool int uint double string bytes timestamp duration"
_NUMBERS = ("int", "uint", "double")
_ORDER = (
    *(f"({kind}, {kind}) -> bool" for kind in _ORDERED.split()),
    *(f"({a}, {b}) -> bool" for a in _NUMBERS for b in _NUMBERS if a != b),
)
_EQUALITY = ("(A, A) -> bool",)

_CORE = library(
    (
        # Operators
        Function("_==_", _EQUALITY, operators.equal),
        Function("_!=_", _EQUALITY, operators.not_equal),
        Function("_<_", _ORDER, operators.less),
        Function("_<=_", _ORDER, operators.less_equal),
        Function("_>_", _ORDER, operators.greater),
        Function("_>=_", _ORDER, operators.greater_equal),
        Function(
            "_+_",
            _arithmetic(
                "int uint double string bytes list(A) duration",
                "(timestamp, duration) -> timestamp",
                "(duration, timestamp) -> timestamp",
            ),
            operators.add,
        ),
        Function(
            "_-_",
            _arithmetic(
                "int uint double duration",
                "(timestamp, timestamp) -> duration",
                "(timestamp, duration) -> timestamp",
            ),
            operators.subtract,
        ),
        Function("_*_", _arithmetic("int uint double"), operators.multiply),
        Function("_/_", _arithmetic("int uint double"), operators.divide),
        Function("_%_", _arithmetic("int uint"), operators.modulo),
        Function("-_", ("(int) -> int", "(double) -> double"), operators.negate),
        Function("!_", ("(bool) -> bool",), operators.invert),
        Function(
            "_[_]",
            (
                "(list(A), int) -> A",
                "(map(A, B), A) -> B",
                "(optional_type(list(A)), int) -> optional_type(A)",
                "(optional_type(map(A, B)), A) -> optional_type(B)",
            ),
            operators.index,
        ),
        Function(
            "@in",
            ("(A, list(A)) -> bool", "(A, map(A, B)) -> bool"),
            operators.contains,
        ),
        # Sizes and types
        Function(
            "size",
            tuple(
                form.format(kind)
                for kind in ("string", "bytes", "list(A)", "map(A, B)")
                for form in ("({}) -> int", "{}.() -> int")
            ),
            _size,
        ),
        Function("type", ("(A) -> type(A)",), _type),
        Function("dyn", ("(A) -> dyn",), _dyn),
        # Strings
        Function(
            "contains",
            ("string.(string) -> bool",),
            _on_strings("contains", lambda text, part: part in text, whole=True),
        ),
        Function(
            "startsWith",
            ("string.(string) -> bool",),
            _on_strings("startsWith", str.startswith),
        ),
        Function(
            "endsWith",
            ("string.(string) -> bool",),
            _on_strings("endsWith", str.endswith),
        ),
        Function(
            "matches",
            ("string.(string) -> bool", "(string, string) -> bool"),
            _matches,
            regex.validate,
        ),
        # Conversions
        *conversions.FUNCTIONS,
        # Times
        _accessor("getFullYear", temporal.full_year),
        _accessor("getMonth", temporal.month),
        _accessor("getDate", temporal.day_of_month_from_1),
        _accessor("getDayOfMonth", temporal.day_of_month),
        _accessor("getDayOfWeek", temporal.day_of_week),
        _accessor("getDayOfYear", temporal.day_of_year),
        _accessor("getHours", temporal.hours, temporal.duration_hours),
        _accessor("getMinutes", temporal.minutes, temporal.duration_minutes),
        _accessor("getSeconds", temporal.seconds, temporal.duration_seconds),
        _accessor(
            "getMilliseconds", temporal.milliseconds, temporal.duration_milliseconds
        ),
    )
)

STANDARD: Library = Libraries(_CORE, EXTENSIONS)
"""All functions of the language, by name."""
$cel_standard$);

    v_sources := v_sources || jsonb_build_object('syntax', $cel_syntax$"""The syntax tree: what the parser makes and every later stage reads.

Nodes carry ``start`` and ``end``, code point offsets into the source. Macros are
expanded while parsing, so a tree has comprehensions where the text has
``all(...)``. Trees are never changed once they are built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Node:
    """A sub-expression and its place in the source."""

    start: int
    end: int

    def children(self) -> Iterator[Node]:
        """The direct sub-expressions, in source order."""
        return iter(())


@dataclass(slots=True)
class Literal(Node):
    """A constant: null, bool, int, uint, double, string or bytes."""

    value: Value


@dataclass(slots=True)
class Ident(Node):
    """A name. With a leading dot it is never looked up in the container."""

    name: str
    absolute: bool = False


@dataclass(slots=True)
class Select(Node):
    """``operand.field``; ``has(operand.field)`` when ``test`` is set."""

    operand: Node
    field: str
    test: bool = False
    optional: bool = False

    def children(self) -> Iterator[Node]:
        yield self.operand


@dataclass(slots=True)
class Call(Node):
    """A function, a method (``target`` is set) or an operator.

    Operators have the names of cel-spec's standard definitions: ``_+_``, ``!_``,
    ``_[_]``, ``@in``. ``place`` is the offset of the name or operator itself.
    """

    function: str
    target: Node | None
    arguments: list[Node]
    place: int

    def children(self) -> Iterator[Node]:
        if self.target is not None:
            yield self.target
        yield from self.arguments


@dataclass(slots=True)
class Logical(Node):
    """``a && b && c`` or ``a || b || c``: one node for the whole chain.

    A chain may be evaluated in any order (cel-spec, "Logical Operators"), so it
    is kept flat: long disjunctions are common in rules and must not nest.
    """

    operator: str
    operands: list[Node]

    def children(self) -> Iterator[Node]:
        yield from self.operands


@dataclass(slots=True)
class Conditional(Node):
    """``condition ? then : otherwise``."""

    condition: Node
    then: Node
    otherwise: Node

    def children(self) -> Iterator[Node]:
        yield self.condition
        yield self.then
        yield self.otherwise


@dataclass(slots=True)
class ListLiteral(Node):
    """``[a, ?b]``; ``optionals`` holds the indexes of elements behind a ``?``."""

    elements: list[Node]
    optionals: frozenset[int] = frozenset()

    def children(self) -> Iterator[Node]:
        yield from self.elements


@dataclass(slots=True)
class MapLiteral(Node):
    """``{a: b, ?c: d}``; ``optionals`` holds the indexes of entries behind ``?``."""

    entries: list[tuple[Node, Node]]
    optionals: frozenset[int] = frozenset()

    def children(self) -> Iterator[Node]:
        for key, value in self.entries:
            yield key
            yield value


@dataclass(slots=True)
class StructLiteral(Node):
    """``Name{field: value}``: a protobuf message, which this CEL has none of."""

    name: str
    fields: list[tuple[str, Node]]

    def children(self) -> Iterator[Node]:
        for _, value in self.fields:
            yield value


@dataclass(slots=True)
class Comprehension(Node):
    """A macro that loops over a list or a map.

    ``kind`` is the macro: ``all``, ``exists``, ``exists_one``, ``map``, ``filter``,
    ``sortBy``; ``transformList``, ``transformMap``, ``transformMapEntry``; and
    ``optMap``, ``optFlatMap``, which loop over the value of an optional.
    ``variable`` stands for an element or a map's key; when ``second`` is set, for the
    element's index or the key, and ``second`` for the element or the key's value.
    ``condition`` selects or decides; ``transform`` makes what the result consists of.
    ``place`` is the offset of the macro.
    """

    kind: str
    variable: str
    range: Node
    condition: Node | None
    transform: Node | None
    place: int = field(default=0)
    second: str | None = None

    def children(self) -> Iterator[Node]:
        yield self.range
        if self.condition is not None:
            yield self.condition
        if self.transform is not None:
            yield self.transform


@dataclass(slots=True)
class Binding(Node):
    """Names for values in an expression: ``cel.bind`` and ``cel.block``.

    A value may use the names before it.
    """

    bindings: list[tuple[str, Node]]
    body: Node

    def children(self) -> Iterator[Node]:
        for _, value in self.bindings:
            yield value
        yield self.body
$cel_syntax$);

    v_sources := v_sources || jsonb_build_object('templates', $cel_templates$"""The shapes of expressions by their text with the constants taken out.

In a set of thousands of rules most differ from others in their constants alone. What
parsing and checking one of them found holds for all, so the others are taken apart by
one regular expression: a tenth of the work.

That is exact where it is done. A constant is taken out if it is a plain string or a
plain number other than 0 and 1, see ``codegen``, and stands beside an operator to which
all such constants are alike; an expression that calls anything else, loops, or has
comments, escapes or quotes of other kinds, is compiled by itself.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .checked import Constant, Invoke, Loop, MakeList, PairLoop
from .codegen import LEAST_LIMIT, walk
from .errors import InvalidExpression
from .shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from .checked import Checked
    from .program import Program
    from .values import Value

    Take = Callable[[list[Value]], Value]
    Places = dict[tuple[type, Value], tuple[int, bool]]
    """Which marker a constant is, and whether it is the negative of it."""

# Strings, names, and anything that begins as a number does (``lexer``).
_PART: Final = re.compile(
    r"""
    (?P<string> "[^"\\\r\n]*" | '[^'\\\r\n]*' )
  | [A-Za-z_][A-Za-z0-9_]*
  | (?P<number> [0-9][0-9A-Za-z_.]* )
    """,
    re.VERBOSE,
)
_INT: Final = re.compile(r"[1-9][0-9]{0,14}")
_DOUBLE: Final = re.compile(r"(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")
_PLACE: Final = re.compile("\0([sid])")

# What is not cut up rightly by the expressions above.
_UNUSUAL: Final = re.compile(r"""["'`\\]|//|[A-Za-z0-9_]\0s""")
_TOO_LONG: Final = 2_000

# Functions for which a constant is a constant, whatever its value.
_ALIKE: Final = frozenset(
    {"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "-_", "@in"}
    | {"startsWith", "endsWith", "contains"}
)


class _Template(NamedTuple):
    """A shape whose row and keys are taken from the constants of a text."""

    source: str
    row: tuple[Take, ...]
    keys: tuple[Take, ...] | None
    nodes: int


class Templates:
    """The templates of one environment; ``compile_`` gives an expression's program.

    ``derived`` are the names of the environment's derived fields.
    """

    def __init__(
        self, compile_: Callable[[str], Program], derived: frozenset[str]
    ) -> None:
        self._compile = compile_
        self._derived = derived
        # How often a text was met, then its template, or None where it has none.
        self._found: dict[str, _Template | int | None] = {}

    def shape(self, text: str) -> tuple[Shape, int] | None:
        """The shape of an expression, and its nodes, if a template gives them."""
        cut = _cut(text)
        if cut is None:
            return None
        key, values = cut
        found = self._found.get(key, 0)
        if type(found) is int:
            # The first pays for itself, the second for the template.
            found = self._template(key) if found else 1
            self._found[key] = found
        if not isinstance(found, _Template):
            return None
        row = tuple([take(values) for take in found.row])
        keys = found.keys
        if keys is not None:
            keys = tuple(dict.fromkeys([take(values) for take in keys]))
        return Shape(found.source, row, keys), found.nodes

    def _template(self, key: str) -> _Template | None:
        """The template of a text, by compiling it with constants that tell places."""
        markers: list[Value] = []

        def marker(place: re.Match[str]) -> str:
            number = 1_000_003 + len(markers)
            kind = place.group(1)
            text = str(number) if kind == "i" else f"{number}.5"
            markers.append(f"{number}s" if kind == "s" else float(text))
            if kind == "i":
                markers[-1] = number
            return f"'{number}s'" if kind == "s" else text

        try:
            program = self._compile(_PLACE.sub(marker, key))
        except InvalidExpression:
            return None
        places: Places = {}
        for number, value in enumerate(markers):
            places[type(value), value] = number, False
            if type(value) is not str:
                places[type(value), -value] = number, True
        limit = program.environment.limits.cost
        # Longer strings cost more than the markers, but not so much more.
        if limit < LEAST_LIMIT or program.estimate > limit // 2:
            return None
        if not _is_regular(program.tree, len(markers), places):
            return None
        shape = program.shape(self._derived)
        if shape is None:
            return None
        try:
            row = tuple([_take(value, places) for value in shape.row])
            keys = shape.keys
            if keys is not None:
                keys = tuple([_take(value, places) for value in keys])
        except KeyError:
            return None
        return _Template(shape.source, row, keys, program.nodes)


def _cut(text: str) -> tuple[str, list[Value]] | None:
    """A text with places for its constants, and these; None for an unusual one."""
    if len(text) > _TOO_LONG or '"""' in text or "'''" in text or "\0" in text:
        return None
    values: list[Value] = []

    def place(part: re.Match[str]) -> str:
        lexeme: str = part.group()
        kind = part.lastgroup
        if kind == "string":
            values.append(lexeme[1:-1])
            return "\0s"
        if kind == "number" and lexeme != "1":
            if _INT.fullmatch(lexeme):
                values.append(int(lexeme))
                return "\0i"
            if _DOUBLE.fullmatch(lexeme):
                value = float(lexeme)
                if value not in (0.0, 1.0):
                    values.append(value)
                    return "\0d"
        return lexeme

    key = _PART.sub(place, text)
    if _UNUSUAL.search(key):
        return None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return None
    return key, values


def _is_regular(tree: Checked, markers: int, places: Places) -> bool:
    """Whether each marker is a constant once, beside an operator that is alike."""
    seen: list[int] = []
    for node in walk(tree):
        if isinstance(node, Loop | PairLoop):
            return False
        called = node.function.name if isinstance(node, Invoke) else ""
        for child in node.children():
            if isinstance(child, MakeList) and called != "@in":
                return False
            if isinstance(child, Constant):
                place = places.get((type(child.value), child.value))
                if place is not None:
                    if called not in _ALIKE and not isinstance(node, MakeList):
                        return False
                    seen.append(place[0])
    return sorted(seen) == list(range(markers))


def _take(value: Any, places: Places) -> Take:
    """How a parameter of the shape comes from the constants of a text.

    Raises ``KeyError`` for one that does not come from them.
    """
    if type(value) is frozenset:
        takes = [_take(member, places) for member in value]
        return lambda values: frozenset([take(values) for take in takes])
    place = places.get((type(value), value))
    if place is not None:
        number, negative = place
        if negative:
            return lambda values: -values[number]
        return itemgetter(number)
    if type(value) in (int, float, str):
        # A constant that was not taken out.
        return lambda _: value
    raise KeyError(value)
$cel_templates$);

    v_sources := v_sources || jsonb_build_object('temporal', $cel_temporal$"""Timestamps and durations with nanoseconds (cel-spec, "Timestamps" and "Durations").

Python's ``datetime`` ends at microseconds and has no year 0, which a time zone west
of Greenwich makes of the first hours of year 1. So both types hold one integer of
nanoseconds, and the calendar is computed here. Time zone names are resolved by
``zoneinfo``, which is loaded when a rule first names a zone.

Which operand types an operator takes is decided by the evaluator; the functions here
take the right types and raise :class:`EvaluationError` for values out of range.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from .errors import EvaluationError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NANOS_PER_SECOND = 1_000_000_000
NANOS_PER_MILLISECOND = 1_000_000
SECONDS_PER_DAY = 86_400

# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z.
MIN_TIMESTAMP_NANOS = -62_135_596_800 * NANOS_PER_SECOND
MAX_TIMESTAMP_NANOS = 253_402_300_800 * NANOS_PER_SECOND - 1
# As cel-go: a 64-bit number of nanoseconds, about 292 years either way.
MIN_DURATION_NANOS = -(1 << 63)
MAX_DURATION_NANOS = (1 << 63) - 1


class Timestamp:
    """A point in time: nanoseconds since 1970-01-01T00:00:00Z, leap seconds ignored.

    The constructor trusts its caller; :func:`timestamp_from_nanos` checks the range.
    """

    __slots__ = ("nanos",)
    nanos: int

    def __init__(self, nanos: int) -> None:
        object.__setattr__(self, "nanos", nanos)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is Timestamp:
            return self.nanos == other.nanos
        return NotImplemented

    def __hash__(self) -> int:
        return hash(("timestamp", self.nanos))

    def __lt__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos < other.nanos
        return NotImplemented

    def __le__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos <= other.nanos
        return NotImplemented

    def __gt__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos > other.nanos
        return NotImplemented

    def __ge__(self, other: Timestamp) -> bool:
        if type(other) is Timestamp:
            return self.nanos >= other.nanos
        return NotImplemented

    def __reduce__(self) -> tuple[type[Timestamp], tuple[int]]:
        return Timestamp, (self.nanos,)

    def __repr__(self) -> str:
        return f"timestamp({format_timestamp(self)!r})"


class Duration:
    """A length of time in nanoseconds, negative or not.

    The constructor trusts its caller; :func:`duration_from_nanos` checks the range.
    """

    __slots__ = ("nanos",)
    nanos: int

    def __init__(self, nanos: int) -> None:
        object.__setattr__(self, "nanos", nanos)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is Duration:
            return self.nanos == other.nanos
        return NotImplemented

    def __hash__(self) -> int:
        return hash(("duration", self.nanos))

    def __lt__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos < other.nanos
        return NotImplemented

    def __le__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos <= other.nanos
        return NotImplemented

    def __gt__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos > other.nanos
        return NotImplemented

    def __ge__(self, other: Duration) -> bool:
        if type(other) is Duration:
            return self.nanos >= other.nanos
        return NotImplemented

    def __reduce__(self) -> tuple[type[Duration], tuple[int]]:
        return Duration, (self.nanos,)

    def __repr__(self) -> str:
        return f"duration({format_duration(self)!r})"


def _shown(text: str) -> str:
    """Quote what a user wrote, shortened so that a message stays readable."""
    return repr(text if len(text) <= 64 else text[:61] + "...")


# --- timestamps ----------------------------------------------------------------------


def timestamp_from_nanos(nanos: int) -> Timestamp:
    """Make a timestamp, refusing what lies outside the years 1 to 9999."""
    if MIN_TIMESTAMP_NANOS <= nanos <= MAX_TIMESTAMP_NANOS:
        return Timestamp(nanos)
    raise EvaluationError(
        "timestamp out of range: not between 0001-01-01T00:00:00Z and "
        "9999-12-31T23:59:59.999999999Z"
    )


def timestamp_from_seconds(seconds: int) -> Timestamp:
    """Make a timestamp of Unix seconds, as ``timestamp(int)`` does."""
    return timestamp_from_nanos(seconds * NANOS_PER_SECOND)


def timestamp_to_seconds(timestamp: Timestamp) -> int:
    """Whole Unix seconds, rounded down, as ``int(timestamp)`` gives."""
    return timestamp.nanos // NANOS_PER_SECOND


# [0-9], not \d, which takes the digits of every script.
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_LONG_YEAR = re.compile(r"[0-9]{5,}-[0-9]{2}-[0-9]{2}T")
_DAYS_IN_MONTH = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _days_in_month(year: int, month: int) -> int:
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return 29
    return _DAYS_IN_MONTH[month]


def _days_from_date(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar.

    Years are counted from March, so that the leap day is the last of its year.
    """
    if month <= 2:
        year -= 1
        month += 12
    day_of_year = (153 * (month - 3) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + day_of_year - 719_468


def _date_from_days(days: int) -> tuple[int, int, int]:
    """Year, month (from 1) and day (from 1); the inverse of `_days_from_date`."""
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (
        365 * year_of_era + year_of_era // 4 - year_of_era // 100
    )
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    year = year_of_era + era * 400
    return (year + 1, month - 9, day) if month >= 10 else (year, month + 3, day)


def parse_timestamp(text: str) -> Timestamp:
    """Read an RFC 3339 timestamp, as ``timestamp(string)`` does.

    Up to nine digits of a second; upper-case ``T`` and ``Z``; an offset of hours and
    minutes. Leap seconds and the hour 24 are refused: CEL's time line has neither.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        if _LONG_YEAR.match(text):
            raise EvaluationError(
                f"timestamp out of range: {_shown(text)} is after the year 9999"
            )
        raise EvaluationError(
            f"invalid timestamp {_shown(text)}",
            hint="Write it as RFC 3339 does: 2009-02-13T23:31:30Z, "
            "2009-02-13T23:31:30.123456789+01:00.",
        )
    fields = match.groups()
    year, month, day = int(fields[0]), int(fields[1]), int(fields[2])
    hour, minute, second = int(fields[3]), int(fields[4]), int(fields[5])
    if year == 0:
        raise EvaluationError(
            f"timestamp out of range: {_shown(text)} is before the year 1"
        )
    if not (1 <= month <= 12 and 1 <= day <= _days_in_month(year, month)):
        raise EvaluationError(f"invalid timestamp {_shown(text)}: no such date")
    if hour > 23 or minute > 59 or second > 59:
        raise EvaluationError(f"invalid timestamp {_shown(text)}: no such time of day")
    seconds = (
        _days_from_date(year, month, day) * SECONDS_PER_DAY
        + hour * 3_600
        + minute * 60
        + second
    )
    if fields[7] is not None:
        offset_hour, offset_minute = int(fields[8]), int(fields[9])
        if offset_hour > 23 or offset_minute > 59:
            raise EvaluationError(f"invalid timestamp {_shown(text)}: no such offset")
        offset = offset_hour * 3_600 + offset_minute * 60
        seconds += offset if fields[7] == "-" else -offset
    nanos = seconds * NANOS_PER_SECOND
    if fields[6] is not None:
        nanos += int(fields[6].ljust(9, "0"))
    if not MIN_TIMESTAMP_NANOS <= nanos <= MAX_TIMESTAMP_NANOS:
        raise EvaluationError(
            f"timestamp out of range: {_shown(text)} is not within the years "
            "1 to 9999 of UTC"
        )
    return Timestamp(nanos)


def format_timestamp(timestamp: Timestamp) -> str:
    """RFC 3339 in UTC with as many digits of a second as are needed."""
    seconds, nanos = divmod(timestamp.nanos, NANOS_PER_SECOND)
    days, second_of_day = divmod(seconds, SECONDS_PER_DAY)
    year, month, day = _date_from_days(days)
    minute_of_day, second = divmod(second_of_day, 60)
    hour, minute = divmod(minute_of_day, 60)
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return (
        f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
        f"{fraction}Z"
    )


# --- durations -----------------------------------------------------------------------


def duration_from_nanos(nanos: int) -> Duration:
    """Make a duration, refusing what a 64-bit number of nanoseconds cannot hold."""
    if MIN_DURATION_NANOS <= nanos <= MAX_DURATION_NANOS:
        return Duration(nanos)
    raise EvaluationError(
        "duration out of range: more than about 292 years (a 64-bit number of "
        "nanoseconds)"
    )


_UNITS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek letter mu
    "ms": NANOS_PER_MILLISECOND,
    "s": NANOS_PER_SECOND,
    "m": 60 * NANOS_PER_SECOND,
    "h": 3_600 * NANOS_PER_SECOND,
}
_DURATION_PART = re.compile("([0-9]*)(?:\\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
# The longest exact text of a duration needs far less; what is longer is a mistake,
# and Python's int() of thousands of digits is slow.
_MAX_DURATION_TEXT = 256


def parse_duration(text: str) -> Duration:
    """Read a duration in the grammar of Go's ``time.ParseDuration``.

    A sign, then decimal numbers each with a unit: ``1h30m``, ``-1.5s``, ``100us``.
    ``0`` needs no unit. Digits beyond nanoseconds are cut off, as in Go.
    """
    position = 1 if text[:1] in {"-", "+"} else 0
    if len(text) > _MAX_DURATION_TEXT or position == len(text):
        raise _invalid_duration(text)
    if text[position:] == "0":
        return Duration(0)
    nanos = 0
    end = len(text)
    while position < end:
        match = _DURATION_PART.match(text, position)
        if match is None:
            raise _invalid_duration(text)
        whole, fraction, unit = match.groups()
        if not whole and not fraction:
            raise _invalid_duration(text)
        scale = _UNITS[unit]
        if whole:
            nanos += int(whole) * scale
        if fraction:
            nanos += int(fraction) * scale // 10 ** len(fraction)
        position = match.end()
    if text[0] == "-":
        nanos = -nanos
    if not MIN_DURATION_NANOS <= nanos <= MAX_DURATION_NANOS:
        raise EvaluationError(
            f"duration out of range: {_shown(text)} is more than about 292 years "
            "(a 64-bit number of nanoseconds)"
        )
    return Duration(nanos)


def _invalid_duration(text: str) -> EvaluationError:
    return EvaluationError(
        f"invalid duration {_shown(text)}",
        hint="Write numbers with the units h, m, s, ms, us or ns: 1h30m, -1.5s, 250ms.",
    )


def format_duration(duration: Duration) -> str:
    """Seconds with as many decimals as are needed: ``3730s``, ``-1.5s``."""
    seconds, nanos = divmod(abs(duration.nanos), NANOS_PER_SECOND)
    sign = "-" if duration.nanos < 0 else ""
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{sign}{seconds}{fraction}s"


# --- arithmetic ----------------------------------------------------------------------


def add_to_timestamp(timestamp: Timestamp, duration: Duration) -> Timestamp:
    """``timestamp + duration``, or a range error."""
    return timestamp_from_nanos(timestamp.nanos + duration.nanos)


def subtract_from_timestamp(timestamp: Timestamp, duration: Duration) -> Timestamp:
    """``timestamp - duration``, or a range error."""
    return timestamp_from_nanos(timestamp.nanos - duration.nanos)


def subtract_timestamps(left: Timestamp, right: Timestamp) -> Duration:
    """``timestamp - timestamp``, or a range error beyond 292 years."""
    return duration_from_nanos(left.nanos - right.nanos)


def add_durations(left: Duration, right: Duration) -> Duration:
    """``duration + duration``, or a range error."""
    return duration_from_nanos(left.nanos + right.nanos)


def subtract_durations(left: Duration, right: Duration) -> Duration:
    """``duration - duration``, or a range error."""
    return duration_from_nanos(left.nanos - right.nanos)


# --- time zones ----------------------------------------------------------------------

_FIXED_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-9]{2})")
# Files beside the IANA zones that are none, or mean another thing on each server.
_NO_ZONES = ("right/", "posix/", "localtime", "posixrules")
_MAX_ZONES = 256
_zones: dict[str, ZoneInfo] = {}
# zoneinfo computes within the years 1 to 9999 of local time; no zone changes its
# offset in the days that this leaves out.
_MIN_ZONE_SECONDS = MIN_TIMESTAMP_NANOS // NANOS_PER_SECOND + 2 * SECONDS_PER_DAY
_MAX_ZONE_SECONDS = MAX_TIMESTAMP_NANOS // NANOS_PER_SECOND - 2 * SECONDS_PER_DAY


def _zone(name: str) -> ZoneInfo:
    zone = _zones.get(name)
    if zone is not None:
        return zone
    if not name or len(name) > 255 or name.startswith(_NO_ZONES):
        raise _unknown_zone(name)
    from zoneinfo import ZoneInfo

    try:
        zone = ZoneInfo(name)
    # Besides KeyError and ValueError, odd names make the file system complain.
    except (LookupError, ValueError, OSError) as problem:
        raise _unknown_zone(name) from problem
    if len(_zones) >= _MAX_ZONES:
        _zones.clear()
    _zones[name] = zone
    return zone


def _unknown_zone(name: str) -> EvaluationError:
    return EvaluationError(
        f"unknown time zone {_shown(name)}",
        hint="Name an IANA zone such as 'Europe/Berlin', or an offset such as "
        "'+05:30'.",
    )


def utc_offset(seconds: int, zone: str) -> int:
    """Seconds east of UTC at a Unix time in a zone.

    The zone is an IANA name or a fixed offset (``+05:30``, ``-08:00``, ``02:00``).
    """
    if zone == "UTC":
        return 0
    match = _FIXED_OFFSET.fullmatch(zone)
    if match is not None:
        hours, minutes = int(match[2]), int(match[3])
        if hours > 23 or minutes > 59:
            raise EvaluationError(
                f"time zone offset out of range: {_shown(zone)} is not within "
                "-23:59 and +23:59"
            )
        offset = hours * 3_600 + minutes * 60
        return -offset if match[1] == "-" else offset
    info = _zone(zone)
    from datetime import datetime

    moment = min(max(seconds, _MIN_ZONE_SECONDS), _MAX_ZONE_SECONDS)
    local = datetime.fromtimestamp(moment, info).utcoffset()
    # A ZoneInfo always knows its offset; the type of `tzinfo` in general does not.
    return 0 if local is None else local.days * SECONDS_PER_DAY + local.seconds


def _local_seconds(timestamp: Timestamp, zone: str) -> int:
    seconds = timestamp.nanos // NANOS_PER_SECOND
    return seconds + utc_offset(seconds, zone)


def _local_date(timestamp: Timestamp, zone: str) -> tuple[int, int, int]:
    return _date_from_days(_local_seconds(timestamp, zone) // SECONDS_PER_DAY)


# --- accessors -----------------------------------------------------------------------
#
# Each reads a part of the local time in a zone; the methods of CEL without a zone read
# that of "UTC".


def full_year(timestamp: Timestamp, zone: str) -> int:
    """Year; the hours before year 1 in a zone west of UTC are year 0."""
    return _local_date(timestamp, zone)[0]


def month(timestamp: Timestamp, zone: str) -> int:
    """Month, January is 0."""
    return _local_date(timestamp, zone)[1] - 1


def day_of_month_from_1(timestamp: Timestamp, zone: str) -> int:
    """Day of the month, the first is 1."""
    return _local_date(timestamp, zone)[2]


def day_of_month(timestamp: Timestamp, zone: str) -> int:
    """Day of the month, the first is 0."""
    return _local_date(timestamp, zone)[2] - 1


def day_of_week(timestamp: Timestamp, zone: str) -> int:
    """Day of the week, Sunday is 0."""
    # 1970-01-01 was a Thursday.
    return (_local_seconds(timestamp, zone) // SECONDS_PER_DAY + 4) % 7


def day_of_year(timestamp: Timestamp, zone: str) -> int:
    """Day of the year, the first of January is 0."""
    days = _local_seconds(timestamp, zone) // SECONDS_PER_DAY
    return days - _days_from_date(_date_from_days(days)[0], 1, 1)


def hours(timestamp: Timestamp, zone: str) -> int:
    """Hour of the day, 0 to 23."""
    return _local_seconds(timestamp, zone) // 3_600 % 24


def minutes(timestamp: Timestamp, zone: str) -> int:
    """Minute of the hour, 0 to 59."""
    return _local_seconds(timestamp, zone) // 60 % 60


def seconds(timestamp: Timestamp, zone: str) -> int:
    """Second of the minute, 0 to 59."""
    return _local_seconds(timestamp, zone) % 60


def milliseconds(timestamp: Timestamp, zone: str) -> int:
    """Millisecond of the second, 0 to 999."""
    # No offset has a fraction of a second, but an unknown zone is an error.
    utc_offset(timestamp.nanos // NANOS_PER_SECOND, zone)
    return timestamp.nanos // NANOS_PER_MILLISECOND % 1_000


def _toward_zero(nanos: int, unit: int) -> int:
    return nanos // unit if nanos >= 0 else -(-nanos // unit)


def duration_hours(duration: Duration) -> int:
    """The whole duration in hours, cut off toward zero."""
    return _toward_zero(duration.nanos, 3_600 * NANOS_PER_SECOND)


def duration_minutes(duration: Duration) -> int:
    """The whole duration in minutes, cut off toward zero."""
    return _toward_zero(duration.nanos, 60 * NANOS_PER_SECOND)


def duration_seconds(duration: Duration) -> int:
    """The whole duration in seconds, cut off toward zero."""
    return _toward_zero(duration.nanos, NANOS_PER_SECOND)


def duration_milliseconds(duration: Duration) -> int:
    """The milliseconds beside the whole seconds, -999 to 999, not the total."""
    millis = abs(duration.nanos) // NANOS_PER_MILLISECOND % 1_000
    return millis if duration.nanos >= 0 else -millis
$cel_temporal$);

    v_sources := v_sources || jsonb_build_object('trace', $cel_trace$"""What the parts of an expression gave: the steps of a traced evaluation.

The steps are those sub-expressions that a reader wants to see, in source order:
operators, calls, macros and whole field paths; not constants, whose text says it
all, and not the bodies of macros, which run many times. A part that a short circuit
skipped is listed as skipped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import source
from .checked import Checked, Constant, Field, Loop, PairLoop, Variable
from .errors import EvaluationError
from .facts import value_to_json
from .values import Optional, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .environment import DerivedField


# What a step shows of long values.
_TEXT_LENGTH: Final = 200
_ELEMENTS: Final = 20
_DEPTH: Final = 4
# All elements at all depths of one value: lists may contain one list many times.
_MOST_ELEMENTS: Final = 200


@dataclass(frozen=True, slots=True)
class Step:
    """One sub-expression of a traced evaluation.

    ``text`` is the sub-expression as written; ``line`` and ``column`` say where,
    counted from 1 in code points; ``depth`` counts the steps around it. A step
    has a ``value``, unless ``error`` is set or it was ``skipped``. ``derived`` is the
    expression of the derived field that the step reads; ``decided_by`` holds the
    element, or the key and the value, for which ``exists`` found true or ``all`` false.
    """

    text: str
    line: int
    column: int
    depth: int
    value: Value = None
    error: str | None = None
    skipped: bool = False
    derived: str | None = None
    decided_by: tuple[Value, ...] = ()


def straight_nodes(node: Checked) -> Iterator[Checked]:
    """The nodes that one evaluation reaches at most once, in source order."""
    yield node
    for child in node.straight_children():
        yield from straight_nodes(child)


def steps(
    text: str,
    tree: Checked,
    outcomes: Mapping[int, Any],
    slots: Sequence[Value],
    derived: Mapping[str, DerivedField],
) -> list[Step]:
    """The steps of an evaluation, from the outcomes by number of straight node.

    ``slots`` are the macros' variables as the evaluation left them.
    """
    numbers = {id(node): number for number, node in enumerate(straight_nodes(tree))}
    found: list[Step] = []
    for node, depth in _visible(tree, 0):
        start, end = node.origin.start, node.origin.end
        line, column = source.location(text, start)
        number = numbers[id(node)]
        outcome = outcomes.get(number)
        failed = isinstance(outcome, EvaluationError)
        found.append(
            Step(
                text[start:end],
                line,
                column,
                depth,
                value=None if failed else outcome,
                error=outcome.message if isinstance(outcome, EvaluationError) else None,
                skipped=number not in outcomes,
                derived=_derived(node, derived),
                decided_by=_deciding(node, outcome, slots),
            )
        )
    return found


def _deciding(
    node: Checked, outcome: Value, slots: Sequence[Value]
) -> tuple[Value, ...]:
    """The element at which a loop stopped because it decided."""
    if not isinstance(node, Loop | PairLoop):
        return ()
    if (node.kind, outcome) not in (("exists", True), ("all", False)):
        return ()
    if isinstance(node, PairLoop):
        return slots[node.slot], slots[node.second_slot]
    return (slots[node.slot],)


def _derived(node: Checked, fields: Mapping[str, DerivedField]) -> str | None:
    """The expression of the derived field that a node reads, or reads a part of."""
    while isinstance(node, Field):
        node = node.operand
    if isinstance(node, Variable) and node.name in fields:
        return fields[node.name].expression
    return None


def _visible(node: Checked, depth: int) -> Iterator[tuple[Checked, int]]:
    if isinstance(node, Constant):
        return
    yield node, depth
    if isinstance(node, Field):
        # Of a path a.b.c the whole is shown, not a and a.b.
        while isinstance(node, Field):
            node = node.operand
        if isinstance(node, Variable):
            return
        yield from _visible(node, depth + 1)
        return
    for child in node.straight_children():
        yield from _visible(child, depth + 1)


def to_json(found: list[Step]) -> str:
    """The steps as a JSON array of objects, long values shortened.

    Keys: ``expression``, ``line``, ``column``, ``depth``, one of ``value``, ``error``
    and ``skipped``; ``derived`` where a derived field is read; ``decided_by``, an
    array, where an element decided a macro.
    """
    return f"[{','.join(map(_object, found))}]"


def _object(step: Step) -> str:
    if step.skipped:
        outcome = '"skipped":true'
    elif step.error is not None:
        outcome = f'"error":{json.dumps(step.error, ensure_ascii=False)}'
    else:
        outcome = f'"value":{value_to_json(_shortened(step.value), strict=False)}'
    if step.derived is not None:
        outcome += f',"derived":{json.dumps(step.derived, ensure_ascii=False)}'
    if step.decided_by:
        elements = _shortened(list(step.decided_by))
        outcome += f',"decided_by":{value_to_json(elements, strict=False)}'
    text = json.dumps(step.text, ensure_ascii=False)
    return (
        f'{{"expression":{text},"line":{step.line},"column":{step.column},'
        f'"depth":{step.depth},{outcome}}}'
    )


def _shortened(value: Value) -> Value:
    """The value, with long texts cut and long or deep collections as their size."""
    return _short(value, 0, [_MOST_ELEMENTS])


def _short(value: Value, depth: int, left: list[int]) -> Value:
    kind = type(value)
    if kind is str and len(value) > _TEXT_LENGTH:
        return value[: _TEXT_LENGTH - 3] + "..."
    if kind is bytes and len(value) > _TEXT_LENGTH:
        return f"bytes of {len(value):,}"
    if kind is Optional:
        return _short(value.value, depth, left)
    if kind is list or kind is dict:
        if value and (len(value) > _ELEMENTS or depth >= _DEPTH or left[0] <= 0):
            return f"{'list' if kind is list else 'map'} of {len(value):,}"
        left[0] -= len(value)
    if kind is list:
        return [_short(element, depth + 1, left) for element in value]
    if kind is dict:
        return {
            _short(key, depth, left): _short(element, depth + 1, left)
            for key, element in value.items()
        }
    return value
$cel_trace$);

    v_sources := v_sources || jsonb_build_object('types', $cel_types$"""The types of CEL, as declarations name them and as ``type(x)`` returns them.

A :class:`Type` without parameters is also a CEL value: the result of ``type()``
and the meaning of names such as ``int`` (cel-spec, "Values"). Parameterised
types, ``list(int)``, stand in declarations and in checked expressions only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Type:
    """A type: its name in CEL and the types that parameterise it.

    ``open`` says that a :class:`TypeVariable` is in it, so that it is not yet known;
    ``common`` that neither this nor a schema's object is, so that it means the same in
    every expression. ``depth`` counts the levels of parameters.
    """

    __slots__ = ("_hash", "common", "depth", "name", "open", "parameters")

    def __init__(self, name: str, parameters: tuple[Type, ...] = ()) -> None:
        self.name = name
        self.parameters = parameters
        self.open = False
        self.common = True
        self.depth = 0
        for parameter in parameters:
            self.open |= parameter.open
            self.common &= parameter.common
            self.depth = max(self.depth, parameter.depth + 1)
        self._hash = hash((name, parameters))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            type(other) is Type
            and self.name == other.name
            and self.parameters == other.parameters
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Type({self})"

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(map(str, self.parameters))})"


class TypeVariable(Type):
    """A type that is still to be found; equal to itself only."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.open = True
        self.common = False

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class ObjectType(Type):
    """An object that a schema declares: a map with exactly these fields.

    ``fields`` maps names to CEL types, ``declared`` to the names of the types as
    the schema has them. Two objects are never the same type.
    """

    __slots__ = ("declared", "fields")

    def __init__(
        self, name: str, fields: Mapping[str, Type], declared: Mapping[str, str]
    ) -> None:
        super().__init__(name)
        self.common = False
        self.fields = fields
        self.declared = declared

    __eq__ = object.__eq__
    __hash__ = object.__hash__


BOOL = Type("bool")
BYTES = Type("bytes")
CIDR = Type("net.CIDR")
DOUBLE = Type("double")
DURATION = Type("google.protobuf.Duration")
DYN = Type("dyn")
INT = Type("int")
IP = Type("net.IP")
LIST = Type("list")
MAP = Type("map")
NULL = Type("null_type")
OPTIONAL = Type("optional_type")
STRING = Type("string")
TIMESTAMP = Type("google.protobuf.Timestamp")
TYPE = Type("type")
UINT = Type("uint")

# Names that denote a type when they stand in an expression. ``dyn`` does not: it
# is a declaration's word and a function, never a value.
DENOTATIONS = {
    t.name: t
    for t in (
        BOOL,
        BYTES,
        CIDR,
        DOUBLE,
        DURATION,
        INT,
        IP,
        LIST,
        MAP,
        NULL,
        OPTIONAL,
        STRING,
        TIMESTAMP,
        TYPE,
        UINT,
    )
}


# A type beyond this depth has dyn at its leaves. Through variables of macros a short
# expression can describe a type of exponential size, {a: a} of {b: b} and so on.
_MAX_DEPTH = 8


def parameterised(name: str, *parameters: Type) -> Type:
    """A type with parameters, with dyn where it would grow too deep."""
    if any(parameter.depth >= _MAX_DEPTH for parameter in parameters):
        parameters = tuple(p if p.depth < _MAX_DEPTH else DYN for p in parameters)
    return Type(name, parameters)


def list_of(element: Type) -> Type:
    """``list(element)``."""
    return parameterised("list", element)


def map_of(key: Type, value: Type) -> Type:
    """``map(key, value)``."""
    return parameterised("map", key, value)


def optional_of(value: Type) -> Type:
    """``optional_type(value)``."""
    return parameterised("optional_type", value)


def wrapper_of(value: Type) -> Type:
    """``wrapper(value)``: a value of this type, or null."""
    return parameterised("wrapper", value)


def type_of_type(denoted: Type) -> Type:
    """``type(denoted)``: the type of an expression that denotes a type."""
    return parameterised("type", denoted)


def nullable(of: Type) -> bool:
    """Whether null is among the values of a type.

    As in cel-spec, null is assignable to wrappers, messages, timestamps, durations
    and abstract types such as optionals, and to none of the others.
    """
    return of.name not in _NOT_NULLABLE or type(of) is not Type


_NOT_NULLABLE = frozenset(
    ("bool", "bytes", "double", "int", "list", "map", "string", "type", "uint")
)


def unwrapped(of: Type) -> Type:
    """The type without null, where it is a wrapper."""
    return of.parameters[0] if of.name == "wrapper" and of.parameters else of


# What people write and read for the well-known types.
_SPOKEN = {
    "google.protobuf.Duration": "duration",
    "google.protobuf.Timestamp": "timestamp",
    "null_type": "null",
    "optional_type": "optional",
}


def spoken(of: Type) -> str:
    """A type as messages show it: wrappers as their values, short names."""
    of = unwrapped(of)
    if type(of) is TypeVariable:
        return "dyn"
    name = _SPOKEN.get(of.name, of.name) if type(of) is Type else of.name
    if not of.parameters:
        return name
    return f"{name}({', '.join(map(spoken, of.parameters))})"
$cel_types$);

    v_sources := v_sources || jsonb_build_object('unification', $cel_unification$"""When one type can stand where another is asked for (cel-spec, "Gradual Typing").

Bindings map type variables to what is known of them. Null is assignable as
:func:`types.nullable` says, a wrapper and the type it wraps to each other, a schema's
object where a map from strings is asked for.

In one thing this is stricter than the checkers of Google's runtimes: ``dyn`` given
where ``list(A)`` is asked for makes A ``dyn``, not a free choice. So a type that
inference finds is one that generated code may rely on.
"""

from __future__ import annotations

from . import types
from .types import DYN, ObjectType, Type, TypeVariable, nullable, parameterised


class Bindings:
    """What is known of type variables, with the way back from a failed attempt."""

    __slots__ = ("_trail", "known")

    def __init__(self) -> None:
        self.known: dict[Type, Type] = {}
        self._trail: list[tuple[Type, Type | None]] = []

    def bind(self, variable: Type, to: Type) -> None:
        """Note or replace what a variable stands for."""
        self._trail.append((variable, self.known.get(variable)))
        self.known[variable] = to

    def mark(self) -> int:
        """A point to which :meth:`undo` can go back."""
        return len(self._trail)

    def undo(self, mark: int) -> None:
        """Forget what was bound since the mark."""
        while len(self._trail) > mark:
            variable, before = self._trail.pop()
            if before is None:
                del self.known[variable]
            else:
                self.known[variable] = before


# What an object of a schema is to everything but the selection of its fields.
OBJECT_AS_MAP = types.map_of(types.STRING, DYN)


def resolved(of: Type, bindings: Bindings) -> Type:
    """A variable's type, or the last variable it stands for; other types as is."""
    while type(of) is TypeVariable:
        bound = bindings.known.get(of)
        if bound is None:
            break
        of = bound
    return of


def substituted(of: Type, bindings: Bindings) -> Type:
    """The type with what is known of its variables put in."""
    if not of.open:
        return of
    of = resolved(of, bindings)
    if not of.open or type(of) is TypeVariable:
        return of
    return parameterised(of.name, *[substituted(p, bindings) for p in of.parameters])


def grounded(of: Type, bindings: Bindings) -> Type:
    """The type with ``dyn`` for every variable that nothing is known of."""
    if not of.open:
        return of
    of = resolved(of, bindings)
    if type(of) is TypeVariable:
        return DYN
    if not of.open:
        return of
    return parameterised(of.name, *[grounded(p, bindings) for p in of.parameters])


def instantiated(of: Type, fresh: dict[TypeVariable, TypeVariable]) -> Type:
    """A signature's type with new variables in place of its own."""
    if not of.open:
        return of
    if type(of) is TypeVariable:
        return fresh[of]
    return parameterised(of.name, *[instantiated(p, fresh) for p in of.parameters])


def assign(actual: Type, formal: Type, bindings: Bindings) -> bool:
    """Whether ``actual`` can stand for ``formal``; extends the bindings.

    A failure may leave some bindings behind, for the caller to undo.
    """
    if actual is formal:
        return True
    if type(formal) is TypeVariable:
        return _assign_variable(actual, formal, bindings)
    if type(actual) is TypeVariable:
        return _assign_variable(formal, actual, bindings)
    if actual is DYN or formal is DYN:
        _release(formal, bindings)
        _release(actual, bindings)
        return True
    if type(actual) is ObjectType or type(formal) is ObjectType:
        return _assign_object(actual, formal, bindings)
    if actual.name != formal.name:
        return _assign_null_or_wrapper(actual, formal, bindings)
    if actual.name == "type":
        # A type is a type, whatever it denotes.
        return True
    return len(actual.parameters) == len(formal.parameters) and all(
        assign(part, asked, bindings)
        for part, asked in zip(actual.parameters, formal.parameters, strict=True)
    )


def _assign_variable(of: Type, variable: Type, bindings: Bindings) -> bool:
    of = resolved(of, bindings)
    # Of a chain of variables the last one has the type.
    bound = bindings.known.get(variable)
    while bound is not None and type(bound) is TypeVariable:
        variable, bound = bound, bindings.known.get(bound)
    if of is variable:
        return True
    if bound is None:
        if type(of) is TypeVariable:
            # The newer stands for the older, which keeps chains short.
            bindings.bind(of, variable)
            return True
        if of.open and _occurs(variable, of, bindings):
            return False
        bindings.bind(variable, of)
        return True
    if not assign(of, bound, bindings):
        return False
    bindings.bind(variable, general(of, bound, bindings))
    return True


def _occurs(variable: Type, within: Type, bindings: Bindings) -> bool:
    within = resolved(within, bindings)
    return within is variable or any(
        _occurs(variable, part, bindings) for part in within.parameters if part.open
    )


def _release(of: Type, bindings: Bindings) -> None:
    """Make the variables of a type dyn, whose values come from a dyn.

    Also those of which something is known: ``['a'] + d`` has any elements.
    """
    if type(of) is TypeVariable:
        bound = bindings.known.get(of)
        while type(bound) is TypeVariable:
            of, bound = bound, bindings.known.get(bound)
        if bound is not DYN:
            bindings.bind(of, DYN)
    elif of.open:
        for part in of.parameters:
            _release(part, bindings)


def _assign_object(actual: Type, formal: Type, bindings: Bindings) -> bool:
    if types.NULL in (actual, formal):
        return True
    if type(actual) is type(formal):
        return False
    if type(actual) is ObjectType:
        return assign(OBJECT_AS_MAP, formal, bindings)
    return assign(actual, OBJECT_AS_MAP, bindings)


def _assign_null_or_wrapper(actual: Type, formal: Type, bindings: Bindings) -> bool:
    if actual is types.NULL:
        return nullable(formal)
    if formal is types.NULL:
        return nullable(actual)
    if actual.name == "wrapper":
        return assign(actual.parameters[0], formal, bindings)
    if formal.name == "wrapper":
        return assign(actual, formal.parameters[0], bindings)
    return False


def general(first: Type, second: Type, bindings: Bindings) -> Type:
    """The type of a value that has one of two types that can stand for each other."""
    first, second = resolved(first, bindings), resolved(second, bindings)
    if first == second:
        return first
    if first is DYN or second is DYN:
        return DYN
    if type(first) is TypeVariable or first is types.NULL:
        return second
    if type(second) is TypeVariable or second is types.NULL:
        return first
    if type(first) is ObjectType:
        return general(OBJECT_AS_MAP, second, bindings)
    if type(second) is ObjectType:
        return general(first, OBJECT_AS_MAP, bindings)
    if "wrapper" in (first.name, second.name):
        inner = general(types.unwrapped(first), types.unwrapped(second), bindings)
        return DYN if inner is DYN else types.wrapper_of(inner)
    if first.name != second.name or len(first.parameters) != len(second.parameters):
        return DYN
    return parameterised(
        first.name,
        *[
            general(a, b, bindings)
            for a, b in zip(first.parameters, second.parameters, strict=True)
        ],
    )


def join(first: Type, second: Type, bindings: Bindings) -> Type | None:
    """The type of a list of both, or None where they cannot stand for each other."""
    if first is second:
        return first
    mark = bindings.mark()
    if not assign(second, first, bindings):
        bindings.undo(mark)
        return None
    return general(first, second, bindings)
$cel_unification$);

    v_sources := v_sources || jsonb_build_object('values', $cel_values$"""How CEL values look in Python, and what separates the two languages.

=================  ==========================================================
CEL                Python
=================  ==========================================================
int                ``int``, kept within 64 bits by every operation
uint               :class:`Uint`, an ``int`` of its own type
double             ``float``
bool, null_type    ``bool``, ``None``
string, bytes      ``str`` (code points, as CEL counts), ``bytes``
list               ``list``
map                ``dict``; bool keys are wrapped, see :class:`BoolKey`
timestamp          :class:`~.temporal.Timestamp`
duration           :class:`~.temporal.Duration`
type               :class:`~.types.Type`
optional_type      :class:`Optional`
net.IP, net.CIDR   subclasses of :class:`Opaque`
=================  ==========================================================

Decoded JSON is already in this form, so facts are never converted. The price is
care with Python's own equalities: ``True == 1`` holds there and must not here,
so types are compared with ``type(x) is``, never with ``isinstance``.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from . import types
from .temporal import Duration, Timestamp
from .types import Type

Value = Any
"""A CEL value in the representation above."""


class Uint(int):
    """An unsigned 64-bit integer, equal and hashed as the number it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{int(self)}u"


class Optional:
    """A value that may be absent: ``optional.of(x)`` or ``optional.none()``.

    ``==`` of Python compares identities; ``operators.equal`` compares as CEL does.
    """

    __slots__ = ("present", "value")

    def __init__(self, value: Value, *, present: bool = True) -> None:
        self.value = value
        self.present = present

    def __repr__(self) -> str:
        return f"optional.of({self.value!r})" if self.present else "optional.none()"


ABSENT: Final = Optional(None, present=False)


class Opaque:
    """A value of a type that a library brings, such as an IP address.

    Subclasses are immutable, compare with ``==`` and have the value's text as
    ``str``; ``cel_type`` is what ``type(x)`` gives.
    """

    __slots__ = ()
    cel_type: ClassVar[Type]


class BoolKey:
    """A bool as the key of a map, where Python would take it for 0 or 1."""

    __slots__ = ("value",)

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


TRUE_KEY: Final = BoolKey(True)
FALSE_KEY: Final = BoolKey(False)

NUMERIC: Final = frozenset({int, Uint, float})

_TYPES: Final[dict[type, Type]] = {
    bool: types.BOOL,
    bytes: types.BYTES,
    dict: types.MAP,
    Duration: types.DURATION,
    float: types.DOUBLE,
    int: types.INT,
    list: types.LIST,
    Optional: types.OPTIONAL,
    type(None): types.NULL,
    str: types.STRING,
    Timestamp: types.TIMESTAMP,
    Type: types.TYPE,
    Uint: types.UINT,
}


def type_of(value: Value) -> Type:
    """The CEL type of a value (cel-spec, "type")."""
    known = _TYPES.get(type(value))
    if known is not None:
        return known
    assert isinstance(value, Opaque)
    return value.cel_type


def encode_key(key: Value) -> Value:
    """The form in which a map stores this key.

    Raises ``KeyError`` for a value that can be no key (cel-spec, "Maps": int,
    uint, bool and string can). A double finds the integer that it equals.
    """
    kind = type(key)
    if kind is str or kind is int or kind is Uint or kind is float:
        return key
    if kind is bool:
        return TRUE_KEY if key else FALSE_KEY
    raise KeyError(key)


def decode_key(key: Value) -> Value:
    """The key as CEL sees it, from the form in which a map stores it."""
    return key.value if type(key) is BoolKey else key


def map_keys(value: dict[Any, Value]) -> list[Value]:
    """The keys of a map, in the map's order."""
    return [key.value if type(key) is BoolKey else key for key in value]
$cel_values$);

    -- bundle: end

    v_loader := $python$
package = "pgrules_cel_@hash@"
if package not in GD:
    import binascii
    import importlib.machinery
    import importlib.util
    import marshal
    import sys
    import zlib

    sources = @sources@
    compiled = {}
    if importlib.util.MAGIC_NUMBER.hex() == "@magic@":
        compiled = marshal.loads(zlib.decompress(binascii.a2b_base64("@code@")))

    class Modules:
        """Finds and loads the modules of the package, see importlib.abc."""

        def module(self, name):
            root, _, module = name.partition(".")
            return (module or "__init__") if root == package else None

        def find_spec(self, name, path=None, target=None):
            module = self.module(name)
            if module not in sources:
                return None
            return importlib.machinery.ModuleSpec(
                name, self, origin=package, is_package=module == "__init__"
            )

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            name = self.module(module.__name__)
            code = compiled.get(name)
            if code is None:
                file = f"{package}/{name}.py"
                code = compile(sources[name], file, "exec", dont_inherit=True)
            exec(code, module.__dict__)

        def get_source(self, name):
            return sources[self.module(name)]

    if package not in sys.modules:
        sys.meta_path.insert(0, Modules())
    GD[package] = importlib.import_module(package + ".backend")
return package
$python$;
    v_hash := left(
        encode(sha256(convert_to(v_loader || v_sources::text, 'UTF8')), 'hex'), 16
    );

    -- What this server's Python makes of the sources: its magic number, and the code.
    -- Version 2 of the format knows no references, and so gives the same every time.
    CREATE FUNCTION rules_internal.cel_compile(p_package text, p_sources jsonb)
    RETURNS text
    LANGUAGE plpython3u
    AS $python$
import base64
import importlib.util
import json
import marshal
import zlib

code = {
    module: compile(source, f"{p_package}/{module}.py", "exec", dont_inherit=True)
    for module, source in sorted(json.loads(p_sources).items())
}
magic = importlib.util.MAGIC_NUMBER.hex()
packed = zlib.compress(marshal.dumps(code, 2), 9)
return f"{magic} {base64.b64encode(packed).decode()}"
$python$;
    v_code := rules_internal.cel_compile('pgrules_cel_' || v_hash, v_sources);
    DROP FUNCTION rules_internal.cel_compile(text, jsonb);

    v_loader := replace(v_loader, '@hash@', v_hash);
    v_loader := replace(v_loader, '@magic@', split_part(v_code, ' ', 1));
    v_loader := replace(v_loader, '@code@', split_part(v_code, ' ', 2));
    -- A JSON object of strings is a dict literal of Python too.
    v_loader := replace(v_loader, '@sources@', v_sources::text);
    EXECUTE format(
        'CREATE FUNCTION rules_internal.cel_runtime() RETURNS text '
        'LANGUAGE plpython3u STABLE PARALLEL SAFE COST 100 AS %L',
        v_loader
    );
    COMMENT ON FUNCTION rules_internal.cel_runtime() IS
    'The name of the language in GD, after loading it where the session lacks it.';
    REVOKE ALL ON FUNCTION rules_internal.cel_runtime() FROM public;
    GRANT EXECUTE ON FUNCTION rules_internal.cel_runtime()
    TO rules_owner, rules_app, rules_tenant;

    FOR v_function IN
        SELECT * FROM (
            VALUES
            (
                'cel_evaluate',
                'p_expression text, p_environment text, p_facts jsonb, p_trace boolean, '
                'OUT matched boolean, OUT error text, OUT trace jsonb, OUT failure jsonb',
                'evaluate(p_expression, p_environment, p_facts, p_trace)',
                'Evaluates one rule over facts.'
            ),
            (
                'cel_keys',
                'p_expressions text[], p_environment text, p_shapes text[], '
                'OUT rules integer[], OUT terms bigint[], OUT lows bigint[], '
                'OUT highs bigint[], OUT shapes text[], OUT failure jsonb',
                'access_keys(p_expressions, p_environment, p_shapes)',
                'The entries of rules in the index of access keys.'
            ),
            (
                'cel_described_keys',
                'p_expression text, p_environment text, OUT keys text, '
                'OUT failure jsonb',
                'described_keys(p_expression, p_environment)',
                'The access keys of a rule, for people.'
            ),
            (
                'cel_questions',
                'p_shapes text[], p_facts jsonb[], '
                'OUT elements integer[], OUT terms bigint[], '
                'OUT elements_above integer[], OUT terms_above bigint[], '
                'OUT values_above bigint[], '
                'OUT elements_below integer[], OUT terms_below bigint[], '
                'OUT values_below bigint[], OUT failure jsonb',
                'questions(p_shapes, p_facts)',
                'What many facts ask the index of access keys.'
            ),
            (
                'cel_match_batch',
                'p_ids uuid[], p_expressions text[], p_environment text, '
                'p_facts jsonb[], p_elements integer[], p_candidates uuid[], '
                'OUT elements integer[], OUT rules integer[], OUT failure jsonb',
                'match_batch(p_ids, p_expressions, p_environment, p_facts, p_elements, '
                'p_candidates)',
                'Which rules, of the candidates for each of many facts, are true of it.'
            ),
            (
                'cel_evaluate_set',
                'p_key text, p_ids uuid[], p_names text[], p_expressions text[], '
                'p_environment text, p_facts jsonb, p_matched_only boolean, '
                'OUT known boolean, OUT ids uuid[], OUT names text[], '
                'OUT matched boolean[], OUT errors text[], OUT failure jsonb',
                'evaluate_set(p_key, p_ids, p_names, p_expressions, p_environment, '
                'p_facts, p_matched_only)',
                'Evaluates a rule set, given or kept under the key from an earlier call.'
            ),
            (
                'cel_evaluate_batch',
                'p_expression text, p_environment text, p_facts jsonb[], '
                'OUT matched boolean[], OUT errors text[], OUT failure jsonb',
                'evaluate_batch(p_expression, p_environment, p_facts)',
                'Evaluates one rule over many facts; matched is NULL for facts that are '
                'refused.'
            ),
            (
                'cel_evaluate_expression',
                'p_expression text, p_environment text, p_facts jsonb, '
                'OUT value jsonb, OUT failure jsonb',
                'evaluate_expression(p_expression, p_environment, p_facts)',
                'The value of an expression over facts.'
            ),
            (
                'cel_check',
                'p_expression text, p_environment text, '
                'OUT problems jsonb, OUT estimate bigint, OUT failure jsonb',
                'check(p_expression, p_environment)',
                'Compiles an expression: its problems, what it can cost at most, and the '
                'failure to raise for the problems.'
            ),
            (
                'cel_check_schema',
                'p_definition jsonb, OUT failure jsonb',
                'check_schema(p_definition)',
                'Whether a schema definition keeps the rules for definitions.'
            ),
            (
                'cel_dependencies',
                'p_expression text, OUT dependencies jsonb, OUT failure jsonb',
                'derived_dependencies(p_expression)',
                'The names that the expression of a derived field reads.'
            ),
            (
                'cel_check_environment',
                'p_environment text, p_removed text[], p_expressions text[], '
                'OUT failures jsonb, OUT failure jsonb',
                'check_environment(p_environment, p_removed, p_expressions)',
                'Whether derived fields and expressions compile in an environment.'
            ),
            (
                'cel_reads',
                'p_expression text, p_environment text, '
                'OUT columns text[], OUT failure jsonb',
                'reads(p_expression, p_environment)',
                'The columns of a table that an expression reads.'
            ),
            (
                'cel_cost',
                'p_expression text, p_environment text, p_facts jsonb, '
                'OUT cost bigint, OUT failure jsonb',
                'evaluation_cost(p_expression, p_environment, p_facts)',
                'The cost of evaluating an expression over facts.'
            ),
            (
                'cel_sql',
                'p_expression text, p_environment text, p_source jsonb, '
                'OUT template text, OUT arguments text[], OUT reasons jsonb, '
                'OUT failure jsonb',
                'sql(p_expression, p_environment, p_source)',
                'A rule as SQL: a template for format() and its arguments, or the '
                'reasons why it has none.'
            )
        ) AS core (name, parameters, call, summary)
    LOOP
        -- What PL/Python has no memory to convert, it gives as None. No caller gives
        -- NULL for these. The failure is always the last of what a function gives.
        SELECT
            format(
                E'\nif %s:\n    return (None,) * %s + (GD[p_runtime].OUT_OF_MEMORY,)',
                string_agg(needed.name || ' is None', ' or '),
                regexp_count(v_function.parameters, 'OUT ') - 1
            )
        INTO v_guard
        FROM unnest(ARRAY['p_environment', 'p_facts', 'p_shapes']) AS needed (name)
        WHERE v_function.parameters ~ ('\m' || needed.name || '\M')
        HAVING count(*) > 0;
        EXECUTE format(
            'CREATE FUNCTION rules_internal.%I(p_runtime text, %s) '
            'LANGUAGE plpython3u STABLE PARALLEL SAFE COST 500 AS %L',
            v_function.name,
            v_function.parameters,
            coalesce(v_guard, '')
            || E'\nreturn GD[p_runtime].' || v_function.call || E'\n'
        );
        EXECUTE format(
            'COMMENT ON FUNCTION rules_internal.%I IS %L',
            v_function.name,
            v_function.summary
            || ' p_runtime is what cel_runtime() gives. Raises nothing: a call that'
            || ' cannot be answered gives a failure.'
        );
        EXECUTE format(
            'REVOKE ALL ON FUNCTION rules_internal.%I FROM public', v_function.name
        );
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION rules_internal.%I TO %s',
            v_function.name,
            -- It keeps what it is given for later calls.
            CASE v_function.name
                WHEN 'cel_evaluate_set' THEN 'rules_owner'
                ELSE 'rules_owner, rules_app, rules_tenant'
            END
        );
    END LOOP;
END;
$deploy$;

COMMIT;
