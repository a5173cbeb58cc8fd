"""How a benchmark measures: cases of a workload, taken in turn, many rounds.

The cases of a workload are interleaved, a sample of each in every round. What else
happens on the machine then hits all of them alike, and the ratio of two cases is the
median of the ratios within each round, not the ratio of two distant medians. A case
that has used up its time sits the later rounds out; ratios are those of the rounds
that both cases took part in.
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
    before anything is timed. ``timer`` does it so often and gives the seconds that all
    of it took, by whatever clock is nearest; without it ``run`` is timed here.
    ``compared_to`` names the case that it is a multiple of, in the same ``group``; a
    workload of one kind needs no groups. ``units`` is how many things one run does,
    ``unit`` what they are called. ``aim`` says in words what is hoped for; nothing
    depends on it. ``memory`` gives bytes, asked for after the measuring, and
    ``prepared`` is how many seconds went before the first run.
    """

    name: str
    run: Callable[[], object]
    expected: object = None
    compared_to: str | None = None
    units: int = 1
    unit: str = ""
    aim: str = ""
    group: str = ""
    timer: Callable[[int], float] | None = None
    memory: Callable[[], int | None] | None = None
    prepared: float | None = None

    def time(self, repetitions: int) -> float:
        """Do it so often; gives the seconds that all of it took."""
        if self.timer is not None:
            return self.timer(repetitions)
        run = self.run
        started = perf_counter()
        for _ in range(repetitions):
            run()
        return perf_counter() - started


@dataclass(frozen=True, slots=True)
class Workload:
    """Cases that are measured side by side, under a title."""

    name: str
    """As the results call it."""
    title: str
    cases: tuple[Case, ...]
    note: str = ""
    sample_seconds: float = _SAMPLE_SECONDS
    """How long a sample lasts, where the case is not longer by itself."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much measuring a case gets."""

    rounds: int
    """Samples of each case, at most."""
    seconds: float
    """A case whose samples took so long gets no more of them, once it has three; one
    that takes three times as long gets no more at all."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a case took, in seconds a run."""

    case: Case
    samples: int
    median: float
    low: float
    """A tenth of the samples are faster than this."""
    high: float
    """A tenth of the samples are slower than this."""
    ratio: float | None
    """Multiple of the case that it is compared to."""
    memory: int | None
    """Bytes that are its process's alone."""


class WrongResultError(Exception):
    """A case did not give what it should; its time would mean nothing."""


@dataclass(slots=True)
class _Sampler:
    case: Case
    sample_seconds: float
    repetitions: int = 1
    spent: float = 0.0
    samples: list[float] = field(default_factory=list)

    def warm_up(self) -> None:
        started = perf_counter()
        result = self.case.run()
        took = perf_counter() - started
        if result != self.case.expected:
            raise WrongResultError(
                f"{self.case.name}: expected {_short(self.case.expected)},"
                f" got {_short(result)}"
            )
        if took > 4 * _WARM_UP_SECONDS:
            # It is warm by now, and one run is a sample.
            return
        runs, taken = 1, self.case.time(1)
        while taken < _WARM_UP_SECONDS:
            more = max(1, min(runs, round(_WARM_UP_SECONDS * runs / taken)))
            taken += self.case.time(more)
            runs += more
        self.repetitions = max(1, round(self.sample_seconds * runs / taken))

    def wants_more(self, seconds: float) -> bool:
        if not self.samples:
            return True
        return self.spent < (seconds if self.samples[2:] else 3 * seconds)

    def take(self) -> None:
        seconds = self.case.time(self.repetitions)
        self.spent += seconds
        self.samples.append(seconds / self.repetitions)


def measure(workload: Workload, effort: Effort) -> list[Measurement]:
    """Measure the cases of a workload; raises `WrongResultError` before any timing."""
    samplers = {
        (case.group, case.name): _Sampler(case, workload.sample_seconds)
        for case in workload.cases
    }
    for sampler in samplers.values():
        sampler.warm_up()
    gc.collect()
    gc.disable()
    try:
        for _ in range(effort.rounds):
            for sampler in samplers.values():
                if sampler.wants_more(effort.seconds):
                    sampler.take()
    finally:
        gc.enable()
    return [_measurement(sampler, samplers) for sampler in samplers.values()]


def _measurement(
    sampler: _Sampler, samplers: dict[tuple[str, str], _Sampler]
) -> Measurement:
    case, samples = sampler.case, sampler.samples
    tenths = quantiles(samples, n=10, method="inclusive") if samples[1:] else samples
    ratio = None
    if case.compared_to is not None:
        # A case that sat rounds out has the first ones.
        other = samplers[case.group, case.compared_to].samples
        ratio = median(
            mine / theirs for mine, theirs in zip(samples, other, strict=False)
        )
    return Measurement(
        case,
        len(samples),
        median(samples),
        tenths[0],
        tenths[-1],
        ratio,
        case.memory() if case.memory else None,
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}... ({len(text)} characters)"
