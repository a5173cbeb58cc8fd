"""How a benchmark measures: cases of a workload, taken in turn, many rounds.

The cases of a workload are interleaved, a sample of each in every round. What else
happens on the machine then hits all of them alike, and the ratio of two cases is the
median of the ratios within each round, not the ratio of two distant medians.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A sample repeats the case until it takes so long; then the clock's grain is nothing.
_SAMPLE_SECONDS = 0.005
_WARM_UP_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    ``run`` does it once. What it returns must equal ``expected``, which is looked at
    before anything is timed. ``compared_to`` names the case that it is a multiple of,
    in the same ``group``; a workload of one kind needs no groups.
    ``units`` is how many things one run does, ``unit`` what they are called.
    ``aim`` says in words what is hoped for; nothing depends on it.
    """

    name: str
    run: Callable[[], object]
    expected: object = None
    compared_to: str | None = None
    units: int = 1
    unit: str = ""
    aim: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """Cases that are measured side by side, under a title."""

    title: str
    cases: tuple[Case, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a case took, in seconds a run."""

    case: Case
    median: float
    low: float
    """A tenth of the samples are faster than this."""
    high: float
    """A tenth of the samples are slower than this."""
    ratio: float | None
    """Multiple of the case that it is compared to."""


class WrongResultError(Exception):
    """A case did not give what it should; its time would mean nothing."""


@dataclass(slots=True)
class _Sampler:
    case: Case
    repetitions: int = 1
    samples: list[float] = field(default_factory=list)

    def warm_up(self) -> None:
        result = self.case.run()
        if result != self.case.expected:
            raise WrongResultError(
                f"{self.case.name}: expected {self.case.expected!r}, got {result!r}"
            )
        runs = 0
        started = perf_counter()
        while (taken := perf_counter() - started) < _WARM_UP_SECONDS or runs < 2:
            self.case.run()
            runs += 1
        self.repetitions = max(1, round(_SAMPLE_SECONDS / (taken / runs)))

    def take(self) -> None:
        run = self.case.run
        started = perf_counter()
        for _ in range(self.repetitions):
            run()
        self.samples.append((perf_counter() - started) / self.repetitions)


def measure(workload: Workload, *, rounds: int) -> list[Measurement]:
    """Measure the cases of a workload; raises `WrongResultError` before any timing."""
    samplers = {(case.group, case.name): _Sampler(case) for case in workload.cases}
    for sampler in samplers.values():
        sampler.warm_up()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for sampler in samplers.values():
                sampler.take()
    finally:
        gc.enable()
    return [_measurement(sampler, samplers) for sampler in samplers.values()]


def _measurement(
    sampler: _Sampler, samplers: dict[tuple[str, str], _Sampler]
) -> Measurement:
    case = sampler.case
    tenths = quantiles(sampler.samples, n=10, method="inclusive")
    ratio = None
    if case.compared_to is not None:
        other = samplers[case.group, case.compared_to].samples
        ratio = median(
            mine / theirs for mine, theirs in zip(sampler.samples, other, strict=True)
        )
    return Measurement(case, median(sampler.samples), tenths[0], tenths[-1], ratio)
