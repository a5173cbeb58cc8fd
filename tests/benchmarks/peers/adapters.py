"""The engines that run in Python, each used as its own documentation advises.

An adapter compiles once, and evaluates from JSON text: what decodes the text is part
of the task, and each engine decodes with what it brings or recommends for that.
Engines are imported when asked for, so that a process holds one of them only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from pgrules import Engine, InMemoryRuleStore, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOTS: Final = ("Customer", "Order", "Flight", "User", "Transaction")
"""The names at the top of the facts, for engines that want them declared."""


class Adapter(Protocol):
    """One engine."""

    def rule(self, text: str) -> Callable[[str], bool]:
        """Compile one rule; gives what evaluates it from JSON text."""
        ...

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        """Compile rules, given as id and text; gives what lists those that match."""
        ...


class Memory:
    """pgrules in this process: `Engine` over an in-memory store."""

    def rule(self, text: str) -> Callable[[str], bool]:
        identity = UUID(int=1)
        engine = Engine(InMemoryRuleStore())
        engine.add_rule(Rule(identity, "rule", text))
        return lambda facts: engine.evaluate(identity, json.loads(facts)).matched

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        engine = Engine(InMemoryRuleStore())
        for identity, text in texts:
            engine.add_rule(Rule(UUID(identity), identity, text))
        return lambda facts: [
            str(result.rule_id)
            for result in engine.evaluate_all(json.loads(facts), matched_only=True)
        ]


class CelExprPython:
    """Google's runtime in C++; one activation serves all rules, as its page says."""

    def __init__(self) -> None:
        from cel_expr_python import cel

        variables = dict.fromkeys(ROOTS, cel.Type.DYN)
        self._environment = cel.NewEnv(variables=variables)

    def rule(self, text: str) -> Callable[[str], bool]:
        evaluate = self._environment.compile(text).eval
        return lambda facts: evaluate(data=json.loads(facts)).value() is True

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        environment = self._environment
        rules = [(name, environment.compile(text).eval) for name, text in texts]

        def matching(facts: str) -> list[str]:
            activation = environment.Activation(json.loads(facts))
            return [name for name, run in rules if run(activation).value() is True]

        return matching


class CommonExpressionLanguage:
    """Python bindings of the CEL crate in Rust; one context serves all rules."""

    def __init__(self) -> None:
        import cel

        self._cel = cel

    def rule(self, text: str) -> Callable[[str], bool]:
        execute = self._cel.compile(text).execute
        return lambda facts: execute(json.loads(facts)) is True

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        context = self._cel.Context
        rules = [(name, self._cel.compile(text).execute) for name, text in texts]

        def matching(facts: str) -> list[str]:
            shared = context(json.loads(facts))
            return [name for name, run in rules if run(shared) is True]

        return matching


class CelPython:
    """CEL in pure Python; its own JSON decoder makes the values that it wants."""

    def __init__(self) -> None:
        import celpy
        from celpy.adapter import CELJSONDecoder

        self._environment: Any = celpy.Environment()
        self._decoder = CELJSONDecoder

    def _compile(self, text: str) -> Callable[[Any], object]:
        environment = self._environment
        evaluate: Callable[[Any], object] = environment.program(
            environment.compile(text)
        ).evaluate
        return evaluate

    def rule(self, text: str) -> Callable[[str], bool]:
        evaluate, decoder = self._compile(text), self._decoder
        return lambda facts: bool(evaluate(json.loads(facts, cls=decoder)))

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        decoder = self._decoder
        rules = [(name, self._compile(text)) for name, text in texts]

        def matching(facts: str) -> list[str]:
            decoded = json.loads(facts, cls=decoder)
            return [name for name, run in rules if run(decoded)]

        return matching


class RuleEngine:
    """rule-engine: its own language over Python objects."""

    def __init__(self) -> None:
        import rule_engine

        self._rule = rule_engine.Rule
        self._context = rule_engine.Context(default_value=None)

    def rule(self, text: str) -> Callable[[str], bool]:
        matches = self._rule(text, context=self._context).matches
        return lambda facts: bool(matches(json.loads(facts)))

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        rules = [
            (name, self._rule(text, context=self._context).matches)
            for name, text in texts
        ]

        def matching(facts: str) -> list[str]:
            decoded = json.loads(facts)
            return [name for name, matches in rules if matches(decoded)]

        return matching


class JsonLogic:
    """JsonLogic; it interprets the rule's own JSON, so decoding that is compiling."""

    def __init__(self) -> None:
        from json_logic import jsonLogic

        self._apply = jsonLogic

    def rule(self, text: str) -> Callable[[str], bool]:
        rule, apply = json.loads(text), self._apply
        return lambda facts: bool(apply(rule, json.loads(facts)))

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        apply = self._apply
        rules = [(name, json.loads(text)) for name, text in texts]

        def matching(facts: str) -> list[str]:
            decoded = json.loads(facts)
            return [name for name, rule in rules if apply(rule, decoded)]

        return matching


class ZenExpressions:
    """zen-engine's expressions, compiled one by one; it takes JSON text as it is."""

    def __init__(self) -> None:
        import zen

        self._zen = zen

    def rule(self, text: str) -> Callable[[str], bool]:
        evaluate = self._zen.compile_expression(text).evaluate
        return lambda facts: evaluate(facts) is True

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        rules = [
            (name, self._zen.compile_expression(text).evaluate) for name, text in texts
        ]
        return lambda facts: [name for name, run in rules if run(facts) is True]


class ZenTable(ZenExpressions):
    """zen-engine's decision table: one document has all rules.

    Loaded by a static loader, zen compiles it once and indexes its columns; given to
    ``create_decision`` it answers the same forty times slower.
    """

    def rule_set(self, texts: Sequence[tuple[str, str]]) -> Callable[[str], list[str]]:
        ((name, document),) = texts
        content = {name: json.loads(document)}
        evaluate = self._zen.ZenEngine(
            {"loader": {"type": "static", "content": content}}
        ).evaluate
        # What is not evaluated yet is not compiled yet.
        evaluate(name, "{}")
        return lambda facts: [row["id"] for row in evaluate(name, facts)["result"]]


ADAPTERS: Final[dict[str, Callable[[], Adapter]]] = {
    "pgrules": Memory,
    "cel-expr-python": CelExprPython,
    "common-expression-language": CommonExpressionLanguage,
    "cel-python": CelPython,
    "rule-engine": RuleEngine,
    "json-logic": JsonLogic,
    "zen-engine": ZenExpressions,
    "zen-engine table": ZenTable,
}
"""By the name that the peer has in `tests.benchmarks.peers`."""
