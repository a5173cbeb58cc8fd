"""The workloads of the benchmark, by the name that the command line takes.

A workload is a module with a function ``workload(surroundings)`` that stores what it
needs and returns a `Workload`. Name a new one here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import compiling, expressions, one_rule, rule_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.measuring import Workload
    from tests.benchmarks.surroundings import Surroundings

WORKLOADS: dict[str, Callable[[Surroundings], Workload]] = {
    "one_rule": one_rule.workload,
    "rule_set": rule_set.workload,
    "compiling": compiling.workload,
    "expressions": expressions.workload,
}
