"""The benchmark compares what gives equal answers, and shows what it measured."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks import plots, results
from tests.benchmarks.findings import findings
from tests.benchmarks.measuring import (
    Case,
    Effort,
    Workload,
    WrongResultError,
    measure,
)
from tests.benchmarks.peers import MEMORY, NODE, PEERS, Peer, formats
from tests.benchmarks.peers.contestant import (
    NODE_MODULES,
    Contestant,
    ContestantError,
)
from tests.benchmarks.report import findings_table, workload_table
from tests.benchmarks.results import CaseResult, Run, WorkloadResult
from tests.benchmarks.rules import (
    ORDER,
    Clause,
    Operator,
    Rule,
    rule_set,
    subscriptions,
)
from tests.benchmarks.workloads.rule_index import Needs

ONCE = Effort(rounds=1, seconds=0)
FACTS = json.dumps(ORDER)


def _installed(peer: Peer) -> bool:
    # Those of node come with `make bench`, which compares their answers itself.
    return peer.runs_in != NODE or (NODE_MODULES / "node_modules").is_dir()


@pytest.fixture(
    params=[peer for peer in (MEMORY, *PEERS) if _installed(peer)],
    ids=lambda peer: peer.name,
)
def peer(request: pytest.FixtureRequest) -> Peer:
    found: Peer = request.param
    return found


def test_every_engine_finds_the_rules_that_match(peer: Peer) -> None:
    rules = [*rule_set(60, forms=60), *subscriptions(60)]
    if not peer.is_table:
        rules += _rules_on_a_missing_field()
    with Contestant(
        peer, "rule_set", texts=peer.texts(rules), facts=FACTS
    ) as contestant:
        assert contestant.run() == sorted(
            rule.id for rule in rules if rule.matches(ORDER)
        )
        assert contestant.time(2) > 0


def _rules_on_a_missing_field() -> Iterator[Rule]:
    """None of them matches; has() has no cell in a decision table."""
    signs: tuple[Operator, ...] = (">=", "<", "<=")
    for rule, sign in zip(rule_set(3, seed=2), signs, strict=True):
        has = Clause("Order", "Discount", "has")
        yield Rule(rule.id, (has, Clause("Order", "Discount", sign, 0)))


def test_a_contestant_that_fails_says_what_failed() -> None:
    with pytest.raises(ContestantError, match=r"pgrules: CompilationError: .*\n1:8: "):
        Contestant(MEMORY, "rule_set", texts=[(rule_set(1)[0].id, "Order. ")], facts="")


def test_a_decision_table_refuses_what_it_has_no_cell_for() -> None:
    rule = Rule(rule_set(1)[0].id, (Clause("Order", "Total", "!=", 3),))
    with pytest.raises(ValueError, match="no cell of a decision table"):
        formats.zen_table([rule])


@pytest.mark.parametrize("count", [10, 100, 1_000])
def test_one_rule_in_a_hundred_matches_and_one_at_least(count: int) -> None:
    matching = [rule for rule in rule_set(count) if rule.matches(ORDER)]
    assert len(matching) == max(1, count // 100)


@pytest.mark.parametrize("count", [1_000, 20_000])
def test_ten_subscriptions_match_however_many_there_are(count: int) -> None:
    rules = list(subscriptions(count))
    assert len({rule.id for rule in rules}) == count
    assert sum(rule.matches(ORDER) for rule in rules) == 10


def test_a_contestant_stops_where_what_it_needs_would_grow_out_of_bounds() -> None:
    few = Needs(rules=10, prepared=0.5, run=0.0, memory=2**25)
    many = Needs(rules=1_010, prepared=0.7, run=0.1, memory=2**25)
    more = many.at(100_010, few)
    assert more.prepared == pytest.approx(20.5)
    assert more.memory == 2**25
    assert more.obstacle() == "would evaluate for 10.0 s"
    assert many.at(2_010, few).obstacle() is None


def test_a_wrong_result_ends_the_run_before_anything_is_timed() -> None:
    def timer(_: int) -> float:
        raise AssertionError("it was timed")

    case = Case("wrong", lambda: 2, expected=1, timer=timer)
    with pytest.raises(WrongResultError, match="wrong: expected 1, got 2"):
        measure(Workload("one", "One", (case,)), ONCE)


def test_ratios_are_those_within_rounds_that_both_cases_took_part_in() -> None:
    def clock(*seconds: float) -> Callable[[int], float]:
        # What warms up is told to be slow enough to be over at once.
        left = iter((1.0, *seconds))
        return lambda _: next(left)

    workload = Workload(
        "one",
        "One",
        (
            Case("first", lambda: None, timer=clock(1, 10, 100)),
            Case("second", lambda: None, timer=clock(3, 30), compared_to="first"),
        ),
    )
    first, second = measure(workload, Effort(rounds=3, seconds=10))
    assert (first.samples, second.samples) == (3, 2)
    assert first.median == 10
    assert second.ratio == 3


@pytest.fixture
def run() -> Run:
    """A run as `make bench` records it, its figures made up."""
    return Run(
        date="2026-01-02",
        command="make bench",
        machine={"processor": "abacus"},
        load=(0.5, 0.25),
        workloads=(
            _workload(
                "one_rule",
                ("read the rule's row", 40e-6),
                ("evaluate", 80e-6),
                ("zen-engine", 50e-6),
            ),
            *(
                replace(
                    _workload(
                        f"many_rules {count}",
                        ("evaluate_all", 1e-4 + 4e-7 * count),
                        ("match_rules", 2e-4),
                        ("zen-engine", 2e-6 * count),
                    ),
                    cases=tuple(
                        replace(
                            _case(name, seconds), units=count, unit="rule", memory=2**25
                        )
                        for name, seconds in (
                            ("evaluate_all", 1e-4 + 4e-7 * count),
                            ("match_rules", 2e-4),
                            ("zen-engine", 2e-6 * count),
                        )
                    ),
                )
                for count in (100, 1_000)
            ),
        ),
    )


def _workload(name: str, *cases: tuple[str, float]) -> WorkloadResult:
    return WorkloadResult(name, name, "", tuple(_case(*case) for case in cases))


def _case(name: str, seconds: float) -> CaseResult:
    return CaseResult(
        name=name,
        group="",
        median=seconds,
        low=seconds * 0.9,
        high=seconds * 1.1,
        samples=9,
        ratio=seconds / 40e-6,
        compared_to=None,
        units=1,
        unit="",
        aim="",
        prepared=None,
        memory=None,
    )


def test_results_are_read_back_as_they_were_written(run: Run, tmp_path: Path) -> None:
    results.write(run, tmp_path / "results.json")
    first = results.read(tmp_path / "results.json")
    results.write(first, tmp_path / "again.json")
    assert first.workloads[0].case("evaluate").median == 80e-6
    assert results.read(tmp_path / "again.json") == first


def test_findings_say_of_each_aim_whether_it_is_met(run: Run) -> None:
    assert {finding.what: finding.met for finding in findings(run)} == {
        "evaluate, times reading the rule's row": True,
        "evaluate_all, a rule of 1,000": True,
        "evaluate_all ahead of zen-engine, 100 rules": True,
        "evaluate_all ahead of zen-engine, 1,000 rules": True,
    }


def test_every_plot_names_what_it_shows(run: Run, tmp_path: Path) -> None:
    written = plots.draw(run, tmp_path)
    assert {path.name for path in written} == {
        f"{name}.{suffix}"
        for name in ("one_rule", "many_rules", "memory")
        for suffix in ("png", "svg")
    }
    # S314: the file was written by the line above.
    svg = ET.parse(tmp_path / "many_rules.svg")  # noqa: S314
    text = " ".join(" ".join(svg.getroot().itertext()).split())
    for label in ("evaluate_all", "match_rules", "zen-engine", "1,000", "rules"):
        assert label in text


def test_tables_show_every_case(run: Run) -> None:
    for workload in run.workloads:
        assert workload_table(workload).row_count == len(workload.cases)
    assert findings_table(findings(run)).row_count == 4
