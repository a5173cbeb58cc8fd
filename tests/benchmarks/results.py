"""What a run measured, as JSON: everything that is printed or drawn comes from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .measuring import Measurement, Workload


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and what it took: seconds a run, bytes."""

    name: str
    group: str
    median: float
    low: float
    high: float
    samples: int
    ratio: float | None
    compared_to: str | None
    units: int
    unit: str
    aim: str
    prepared: float | None
    memory: int | None

    @property
    def of_a_unit(self) -> float:
        """Seconds for each of the things that a run does."""
        return self.median / self.units


@dataclass(frozen=True, slots=True)
class WorkloadResult:
    """The cases that were measured side by side."""

    name: str
    title: str
    note: str
    cases: tuple[CaseResult, ...]

    def case(self, name: str, group: str = "") -> CaseResult:
        """The case of that name; raises `KeyError`."""
        for case in self.cases:
            if (case.name, case.group) == (name, group):
                return case
        raise KeyError(f"{self.name} has no case {name!r} in {group!r}")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark."""

    date: str
    command: str
    machine: dict[str, str]
    load: tuple[float, ...]
    """Processes that wanted a processor before the run, over one minute and five."""
    workloads: tuple[WorkloadResult, ...]

    def workload(self, name: str) -> WorkloadResult | None:
        """The workload of that name, if the run had it."""
        return next((found for found in self.workloads if found.name == name), None)

    def named(self, prefix: str) -> list[WorkloadResult]:
        """The workloads whose names are the prefix and a number, smallest first."""
        found = [
            (int(workload.name.removeprefix(prefix)), workload)
            for workload in self.workloads
            if workload.name.removeprefix(prefix).strip().isdecimal()
        ]
        return [workload for _, workload in sorted(found, key=lambda pair: pair[0])]


def result_of(
    workload: Workload, measurements: Sequence[Measurement]
) -> WorkloadResult:
    """What was measured, without what measured it."""
    return WorkloadResult(
        workload.name,
        workload.title,
        workload.note,
        tuple(
            CaseResult(
                name=measured.case.name,
                group=measured.case.group,
                median=measured.median,
                low=measured.low,
                high=measured.high,
                samples=measured.samples,
                ratio=measured.ratio,
                compared_to=measured.case.compared_to,
                units=measured.case.units,
                unit=measured.case.unit,
                aim=measured.case.aim,
                prepared=measured.case.prepared,
                memory=measured.memory,
            )
            for measured in measurements
        ),
    )


def write(run: Run, path: Path) -> None:
    """Write a run; seconds and ratios to five digits, which is more than they hold."""
    path.write_text(json.dumps(_rounded(asdict(run)), indent=1) + "\n", "utf-8")


def read(path: Path) -> Run:
    """Read what `write` wrote."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    workloads = tuple(
        WorkloadResult(
            **workload | {"cases": tuple(CaseResult(**c) for c in workload["cases"])}
        )
        for workload in found["workloads"]
    )
    return Run(**found | {"load": tuple(found["load"]), "workloads": workloads})


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value
