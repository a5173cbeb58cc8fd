"""Histories: drawn, compared with what one tenant sees alone, and shortened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic

from tests.security.two_tenants.play import (
    STATEMENTS,
    WEIGHTS,
    Difference,
    History,
    Play,
)
from tests.security.two_tenants.steps import Step, Values, random_step
from tests.security.two_tenants.world import World


def random_history(random: Random, length: int) -> list[Step]:
    """So many steps of both tenants."""
    return [random_step(random, WEIGHTS) for _ in range(length)]


def play(world: World, history: History) -> Counter[str]:
    """Hold a history against the model; counts the operations.

    Raises `Difference`.
    """
    both = Play(world)
    both.run(history)
    return both.counts


def play_thrice(world: World, history: History) -> Counter[str]:
    """The same, and then each tenant's steps alone: it must receive just the same.

    What a tenant receives tells then nothing of what the other one did, or whether it
    is there at all. Raises `Difference`.
    """
    both = Play(world)
    both.run(history)
    counts = both.counts
    for side in range(2):
        alone = Play(world, like_before=True)
        alone.run(history, only=side)
        counts += alone.counts
        for number, received in alone.observations.items():
            if both.observations[number] != received:
                kind = history[number].kind
                what = f"{kind}: the other tenant's steps make a difference"
                raise Difference(number, what, received, both.observations[number])
    return counts


def shortened(
    world: World,
    history: History,
    playing: Callable[[World, History], object],
    seconds: float = 60,
) -> tuple[History, Difference]:
    """As few of its steps as still make a difference, as found in so many seconds.

    After Zeller, Hildebrandt: Simplifying and Isolating Failure-Inducing Input (2002).
    """
    ends = monotonic() + seconds

    def difference(steps: History) -> Difference | None:
        try:
            playing(world, steps)
        except Difference as found:
            return found
        return None

    found = difference(history)
    if found is None:
        raise ValueError("there is no difference when the history is repeated")
    size = len(history) // 2
    while size and monotonic() < ends:
        start, shorter = 0, False
        while start < len(history) and monotonic() < ends:
            steps = [*history[:start], *history[start + size :]]
            if (without := difference(steps)) is not None:
                history, found, shorter = steps, without, True
            else:
                start += size
        if not shorter or size > len(history):
            size //= 2
    return history, found


def described(world: World, history: History) -> str:
    """A history for people: who does what, in which session."""
    lines = []
    for number, step in enumerate(history):
        side = world.sides[step.side]
        line = f"{number:4} {side.mark.split('_')[0]}, session {step.session}: "
        line += step.kind
        values = Values(step, side)
        if statement := STATEMENTS.get(step.kind):
            parameters = values.parameters()
            line += f"\n       {statement.text}"
            given = {k: v for k, v in parameters.items() if f"%({k})s" in line}
            line += f"\n       {given}" if given else ""
        lines.append(line)
    return "\n".join(lines)
