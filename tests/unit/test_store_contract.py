"""What every store promises. STORE-3: this suite runs over both of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from pgrules import (
    CompilationError,
    DuplicateRule,
    DuplicateRuleId,
    DuplicateRuleName,
    InvalidRule,
    PgRulesError,
    Rule,
    RuleNotFound,
    RuleStore,
)


def large_claim(name: str = "large claim", **changes: object) -> Rule:
    rule = Rule(
        uuid4(), name, "Claim.Amount > 10000.0 && Claim.Channel in ['web', 'phone']"
    )
    return replace(rule, **changes)  # type: ignore[arg-type]


def test_a_rule_that_was_added_can_be_read(store: RuleStore) -> None:
    """STORE-1, REQ-PERSIST-001: create and read."""
    rule = large_claim()
    added = store.add(rule)
    assert store.get(rule.id) == added
    assert (added.id, added.name, added.expression, added.active) == (
        rule.id,
        rule.name,
        rule.expression,
        True,
    )


def test_a_rule_is_found_by_the_text_of_its_id(store: RuleStore) -> None:
    """REQ-PERSIST-005: UUID strings add, get and delete a rule."""
    text = str(uuid4())
    store.add(Rule(text, "adults", "User.Age >= 18"))
    assert store.get(text).id == UUID(text)
    store.delete(text)
    with pytest.raises(RuleNotFound):
        store.get(text)


def test_adding_sets_the_times(store: RuleStore) -> None:
    """STORE-5."""
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    before = datetime.now(UTC) - timedelta(minutes=1)
    added = store.add(large_claim(created_at=long_ago, updated_at=long_ago))
    assert added.created_at is not None
    assert added.updated_at is not None
    assert before < added.created_at < datetime.now(UTC) + timedelta(minutes=1)
    assert added.updated_at >= added.created_at


def test_a_rule_that_was_updated_reads_as_it_is_now(store: RuleStore) -> None:
    """STORE-1, REQ-PERSIST-001: update."""
    rule = store.add(large_claim())
    changed = replace(
        rule, name="huge claim", expression="Claim.Amount > 90000.0", active=False
    )
    updated = store.update(changed)
    assert store.get(rule.id) == updated
    assert (updated.name, updated.expression, updated.active) == (
        "huge claim",
        "Claim.Amount > 90000.0",
        False,
    )


def test_updating_sets_updated_at_and_keeps_created_at(store: RuleStore) -> None:
    """STORE-5, REQ-SCHEMA-010."""
    rule = store.add(large_claim())
    updated = store.update(replace(rule, created_at=None, updated_at=None))
    assert updated.created_at == rule.created_at
    assert updated.updated_at is not None
    assert rule.updated_at is not None
    assert updated.updated_at > rule.updated_at


def test_a_rule_that_was_deleted_is_gone(store: RuleStore) -> None:
    """STORE-1, REQ-PERSIST-001: delete."""
    rule = store.add(large_claim())
    store.delete(rule.id)
    with pytest.raises(RuleNotFound):
        store.get(rule.id)
    assert store.list_active() == []


def test_the_id_and_name_of_a_deleted_rule_are_free_again(store: RuleStore) -> None:
    rule = store.add(large_claim())
    store.delete(rule.id)
    assert store.add(rule).id == rule.id


def test_active_rules_are_listed_oldest_first(store: RuleStore) -> None:
    """STORE-5, REQ-PERSIST-006."""
    names = [f"rule {number}" for number in range(12)]
    for name in names:
        store.add(large_claim(name))
    assert [rule.name for rule in store.list_active()] == names
    times = [rule.created_at for rule in store.list_active()]
    assert times == sorted(time for time in times if time is not None)


def test_an_update_does_not_change_the_order(store: RuleStore) -> None:
    """STORE-5, REQ-PERSIST-006."""
    first, second = store.add(large_claim("a")), store.add(large_claim("b"))
    store.update(first)
    assert [rule.id for rule in store.list_active()] == [first.id, second.id]


def test_inactive_rules_are_not_listed_but_can_be_read(store: RuleStore) -> None:
    """STORE-5."""
    rule = store.add(large_claim(active=False))
    assert store.list_active() == []
    assert store.get(rule.id) == rule
    active = store.update(replace(rule, active=True))
    assert store.list_active() == [active]


def test_a_new_store_is_empty(store: RuleStore) -> None:
    assert store.list_active() == []


def refused(kind: type[PgRulesError], call: Callable[[], object]) -> PgRulesError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def test_a_duplicate_id_is_refused(store: RuleStore) -> None:
    """STORE-4, REQ-PERSIST-007, REQ-PERSIST-008, REQ-INTEG-007."""
    rule = store.add(large_claim())
    twin = large_claim("another name", id=rule.id)
    error = refused(DuplicateRuleId, lambda: store.add(twin))
    assert str(error) == (
        f"failed to add rule {rule.id}: a rule of this id exists already"
    )
    assert isinstance(error, DuplicateRule)
    assert error.sqlstate == "23505"
    assert store.list_active() == [rule]


def test_a_duplicate_name_is_refused_on_add(store: RuleStore) -> None:
    """REQ-SCHEMA-009, REQ-INTEG-007."""
    rule = store.add(large_claim())
    twin = large_claim()
    error = refused(DuplicateRuleName, lambda: store.add(twin))
    assert str(error) == (
        f"failed to add rule {twin.id}: another rule has this name already"
    )
    assert store.list_active() == [rule]


def test_a_duplicate_name_is_refused_on_update(store: RuleStore) -> None:
    """REQ-PERSIST-003: a failed update changes nothing."""
    first, second = store.add(large_claim("a")), store.add(large_claim("b"))
    changed = replace(second, name="a", expression="false")
    error = refused(DuplicateRuleName, lambda: store.update(changed))
    assert f"failed to update rule {second.id}" in str(error)
    assert store.list_active() == [first, second]


def test_names_that_differ_in_case_are_different(store: RuleStore) -> None:
    store.add(large_claim("a"))
    store.add(large_claim("A"))
    assert [rule.name for rule in store.list_active()] == ["a", "A"]


@pytest.mark.parametrize("operation", ["get", "update", "delete"])
def test_an_unknown_id_is_not_found(store: RuleStore, operation: str) -> None:
    """STORE-4, REQ-PERSIST-003, REQ-PERSIST-008, REQ-INTEG-007."""
    rule = large_claim()
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(rule.id),
        "update": lambda: store.update(rule),
        "delete": lambda: store.delete(rule.id),
    }
    error = refused(RuleNotFound, calls[operation])
    assert str(error) == (
        f"failed to {operation} rule {rule.id}: there is no such rule"
    )
    assert error.sqlstate == "RE010"
    assert store.list_active() == []


@pytest.mark.parametrize("operation", ["get", "delete"])
def test_an_id_that_is_no_uuid_is_refused(store: RuleStore, operation: str) -> None:
    """STORE-4, REQ-INTEG-007."""
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("1 OR 1=1"),
        "delete": lambda: store.delete("1 OR 1=1"),
    }
    error = refused(InvalidRule, calls[operation])
    assert str(error) == f"failed to {operation} rule: '1 OR 1=1' is no UUID"


BROKEN = "Claim.Amount >\n  > 3"


def test_a_rule_that_does_not_compile_is_refused_on_add(store: RuleStore) -> None:
    """COMP-2, ENG-4: where and why; nothing is stored."""
    rule = large_claim(expression=BROKEN)
    error = refused(CompilationError, lambda: store.add(rule))
    assert isinstance(error, CompilationError)
    (problem,) = error.problems
    assert (problem.line, problem.column) == (2, 3)
    assert "unexpected >" in problem.message
    assert problem.excerpt == "  > 3\n  ^"
    assert f"failed to add rule {rule.id}" in str(error)
    assert "2:3: unexpected >" in str(error)
    assert "  > 3\n  ^" in str(error)
    assert error.sqlstate == "RE020"
    assert error.__cause__ is not None
    refused(RuleNotFound, lambda: store.get(rule.id))


def test_a_rule_that_does_not_compile_is_refused_on_update(store: RuleStore) -> None:
    """COMP-2, REQ-PERSIST-003: the old rule stays in force."""
    rule = store.add(large_claim())
    changed = replace(rule, name="changed", expression=BROKEN)
    error = refused(CompilationError, lambda: store.update(changed))
    assert isinstance(error, CompilationError)
    assert [problem.line for problem in error.problems] == [2]
    assert f"failed to update rule {rule.id}" in str(error)
    assert store.get(rule.id) == rule


def test_all_problems_of_an_expression_are_reported(store: RuleStore) -> None:
    """COMP-2."""
    rule = large_claim(expression="nosuch(1) || other(2)")
    error = refused(CompilationError, lambda: store.add(rule))
    assert isinstance(error, CompilationError)
    assert [(p.line, p.column) for p in error.problems] == [(1, 1), (1, 14)]


def test_an_inactive_rule_has_to_compile_as_well(store: RuleStore) -> None:
    """COMP-2."""
    rule = large_claim(expression=BROKEN, active=False)
    refused(CompilationError, lambda: store.add(rule))


def test_an_unknown_id_is_reported_before_what_its_expression_lacks(
    store: RuleStore,
) -> None:
    rule = large_claim(expression=BROKEN)
    refused(RuleNotFound, lambda: store.update(rule))


@pytest.mark.parametrize(
    "name",
    [
        "'; DROP TABLE rules.rules; --",
        "%s %(name)s %%",
        "Überschreitung 金額 🚢",
        "x" * 255,
        "  spaced  ",
        '$1 \\ " \n\t',
    ],
)
def test_any_name_is_kept_as_it_is(store: RuleStore, name: str) -> None:
    """REQ-PERSIST-004, REQ-SECURITY-001: values never become SQL."""
    rule = store.add(large_claim(name))
    assert store.get(rule.id).name == name
    assert [found.name for found in store.list_active()] == [name]


def test_concurrent_adds_are_all_kept(store: RuleStore) -> None:
    """STORE-6."""
    rules = [large_claim(f"rule {number}") for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.add, rules))
    assert {rule.id for rule in store.list_active()} == {rule.id for rule in rules}


def test_of_concurrent_adds_of_one_name_one_succeeds(store: RuleStore) -> None:
    """STORE-6, REQ-PERSIST-007."""

    def add(rule: Rule) -> bool:
        try:
            store.add(rule)
        except DuplicateRuleName:
            return False
        return True

    rules = [large_claim("the same") for _ in range(16)]
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(add, rules))
    assert outcomes.count(True) == 1
    assert len(store.list_active()) == 1


def test_concurrent_changes_of_one_rule_leave_one_of_them(store: RuleStore) -> None:
    """STORE-6."""
    rule = store.add(large_claim())
    versions = [
        replace(rule, name=f"version {number}", expression=f"Claim.Amount > {number}.0")
        for number in range(24)
    ]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.update, versions))
    left = store.get(rule.id)
    assert (left.name, left.expression) in {(v.name, v.expression) for v in versions}
