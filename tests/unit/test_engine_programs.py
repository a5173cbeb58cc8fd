"""Compiled programs of the engine in this process: kept, and quick enough.

The bounds of COMP-5 are the requirements' own, a hundred times what is measured; the
best of several runs is compared, so that a busy machine does not fail them.
"""

from time import perf_counter
from uuid import uuid4

import pytest

from pgrules import Engine, InMemoryRuleStore, Rule, RuleStore
from pgrules.cel import cache, compile_expression


def test_an_expression_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """COMP-4: evaluation never compiles what this process has compiled before."""
    compiled = []

    def counting(text: str, *arguments: object) -> object:
        compiled.append(text)
        return compile_expression(text, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "compile_expression", counting)
    engine = Engine(InMemoryRuleStore())
    expression = f"v == '{uuid4()}'"
    rule = engine.add_rule(Rule(uuid4(), "one", expression))
    engine.add_rule(Rule(uuid4(), "two", expression))
    for number in range(5):
        engine.evaluate(rule.id, {"v": number})
        engine.evaluate_all({"v": number})
    Engine(InMemoryRuleStore()).add_rule(Rule(uuid4(), "three", expression))
    assert compiled.count(expression) == 1


def test_rules_of_a_store_of_ones_own_are_evaluated_here() -> None:
    """ENG-1: a store without an evaluator needs the five methods only."""

    class Fixed:
        """A store that has one rule which compiles and one that does not."""

        rules = (Rule(uuid4(), "sound", "v > 1"), Rule(uuid4(), "broken", "v >"))

        def add(self, rule: Rule) -> Rule:
            raise NotImplementedError

        update = add

        def get(self, rule_id: object) -> Rule:
            return next(rule for rule in self.rules if rule.id == rule_id)

        def list_active(self) -> list[Rule]:
            return list(self.rules)

        def delete(self, rule_id: object) -> None:
            raise NotImplementedError

    store: RuleStore = Fixed()
    engine = Engine(store)
    assert [broken.rule_name for broken in engine.broken_rules] == ["broken"]
    sound, broken = engine.evaluate_all({"v": 2})
    assert sound.matched
    assert not broken.matched
    assert broken.error is not None
    assert "line 1, column 4" in broken.error


def test_compiling_a_kilobyte_takes_less_than_a_tenth_of_a_second() -> None:
    """COMP-5."""
    durations = []
    for number in range(5):
        clauses = [f"(User.F{n} == {number} || has(User.G{n}))" for n in range(31)]
        expression = " && ".join(clauses)
        assert 900 < len(expression) < 1100
        start = perf_counter()
        compile_expression(expression)
        durations.append(perf_counter() - start)
    assert min(durations) < 0.1


def test_evaluating_ten_operations_takes_less_than_a_millisecond() -> None:
    """COMP-5."""
    engine = Engine(InMemoryRuleStore())
    rule = engine.add_rule(
        Rule(uuid4(), "ten", "v > 1 && v < 9 && w == 'x' && v + 2 * 3 - 1 != 0")
    )
    durations = []
    for _ in range(20):
        start = perf_counter()
        assert engine.evaluate(rule.id, {"v": 5, "w": "x"}).matched
        durations.append(perf_counter() - start)
    assert min(durations) < 0.001
