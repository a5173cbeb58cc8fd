"""The workloads of the benchmark, by the name that the command line takes.

A workload is a module with a function ``workloads(surroundings)`` that stores what it
needs and yields one `Workload` after the other. The next is asked for, and what it
holds is given back, when the last has been measured. Name a new one here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    compiling,
    connections,
    expressions,
    flights,
    many_rules,
    one_rule,
    rule_index,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.benchmarks.measuring import Workload
    from tests.benchmarks.surroundings import Surroundings

# The last one leaves a million rules behind; what it is measured with goes before.
WORKLOADS: dict[str, Callable[[Surroundings], Generator[Workload, None, None]]] = {
    "one_rule": one_rule.workloads,
    "many_rules": many_rules.workloads,
    "connections": connections.workloads,
    "flights": flights.workloads,
    "compiling": compiling.workloads,
    "expressions": expressions.workloads,
    "rule_index": rule_index.workloads,
}
