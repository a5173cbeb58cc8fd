"""The language at the database's door: what the PL/Python functions call.

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
