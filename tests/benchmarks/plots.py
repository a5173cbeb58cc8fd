"""The plots of `docs/performance.md`, from the results of one run.

What is ours has a colour, from the palette of Okabe and Ito; peers are grey. Every
line and bar is labelled where it is, with no legend to look up. Times are on
logarithmic axes: equal distances are equal ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from .findings import growth
from .report import ratio_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from .results import CaseResult, Run

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
GREY: Final = "#8A8A8A"
DARK: Final = "#333333"

OURS: Final = {
    "evaluate": BLUE,
    "evaluate_all": BLUE,
    "matching_rows": BLUE,
    "match_rules": ORANGE,
    "count_matches": ORANGE,
    "Engine in memory": GREEN,
    "matches": ORANGE,
}

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#BBBBBB",
    "xtick.color": DARK,
    "ytick.color": DARK,
    "text.color": DARK,
    "axes.labelcolor": DARK,
    "svg.fonttype": "none",
    "svg.hashsalt": "pgrules",
}


_OUTLINE: Final = withStroke(linewidth=3, foreground="white")


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    points: tuple[tuple[float, float], ...]
    colour: str


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw what the run has workloads for, as PNG and SVG; gives the files."""
    written = []
    with mpl.rc_context(_STYLE):
        for name, drawn in PLOTS.items():
            figure = drawn(run)
            if figure is None:
                continue
            for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, dpi=144, metadata=metadata)
                written.append(path)
    return written


# ---------------------------------------------------------------- each picture


def _one_rule(run: Run) -> Figure | None:
    workload = run.workload("one_rule")
    if workload is None:
        return None
    shown = [case for case in workload.cases if "trace" not in case.name]
    return _bars(
        shown,
        "One rule, stored in PostgreSQL and fresh on every call",
        "microseconds a decision",
        1e6,
        logarithmic=False,
    )


def _many_rules(run: Run) -> Figure | None:
    workloads = run.named("many_rules ")
    return _lines(
        _by_size((workload.cases[0].units, workload.cases) for workload in workloads),
        "Many rules, one fact: from JSON text to the ids of the rules that match",
        "rules, of which one in a hundred matches",
    )


def _rule_index(run: Run) -> Figure | None:
    sizes = [
        (int(workload.name.split()[-1]), workload.cases)
        for workload in run.named("rule_index ")
    ]
    return _lines(
        _by_size(sizes),
        "Up to a million rules, of which ten match: from JSON text to their ids",
        "rules",
    )


def _memory(run: Run) -> Figure | None:
    workloads = run.named("many_rules ")
    if not workloads:
        return None
    cases = [case for case in workloads[-1].cases if case.memory]
    return _bars(
        cases,
        f"Memory of the process that holds {cases[0].units:,} rules",
        "MiB",
        2**-20,
        value=lambda case: float(case.memory or 0),
        logarithmic=False,
    )


def _flights(run: Run) -> Figure | None:
    workload = run.workload("flights")
    if workload is None:
        return None
    rows = workload.cases[0].units
    return _bars(
        workload.cases,
        f"One rule over {rows:,} flights stored in PostgreSQL",
        "milliseconds for all rows",
        1e3,
        logarithmic=True,
    )


def _connections(run: Run) -> Figure | None:
    workload = run.workload("connections")
    if workload is None:
        return None
    counts = sorted({case.units for case in workload.cases})
    figure, axes = _figure(4.2)
    lines = [
        _Line(
            name,
            tuple((count, growth(workload, name, count)) for count in counts),
            colour,
        )
        for name, colour in (("SELECT 1", GREY), ("evaluate", BLUE))
    ]
    for line in lines:
        _plot(axes, line)
    axes.set_ylim(0, 1.15 * max(y for line in lines for _, y in line.points))
    axes.set_xlim(counts[0] - 0.2, counts[-1] + 0.2)
    axes.set_xticks(counts)
    axes.set_xlabel("connections, each a client process that does nothing else")
    _title(figure, "Calls a second, as a multiple of one connection's")
    _label_ends(axes, lines, lambda y: f"{y:.2f}")
    return figure


PLOTS: Final[dict[str, Callable[[Run], Figure | None]]] = {
    "one_rule": _one_rule,
    "many_rules": _many_rules,
    "memory": _memory,
    "flights": _flights,
    "rule_index": _rule_index,
    "connections": _connections,
}


# ---------------------------------------------------------------- bars


def _bars(
    cases: Sequence[CaseResult],
    title: str,
    unit: str,
    factor: float,
    *,
    logarithmic: bool,
    value: Callable[[CaseResult], float] = lambda case: case.median,
) -> Figure:
    """Horizontal bars, or dots, by group and then from small to large, with values."""
    groups = list(dict.fromkeys(case.group for case in cases))
    rows: list[CaseResult | str] = []
    for group in groups:
        if group:
            rows.append(group)
        of_group = [case for case in cases if case.group == group]
        in_order = sorted(of_group, key=value)
        rows += in_order
    figure, axes = _figure(1.3 + 0.27 * len(rows))
    longest = max(map(value, cases)) * factor
    shortest = min(map(value, cases)) * factor
    left = shortest / 3 if logarithmic else 0.0
    for position, row in enumerate(rows):
        if isinstance(row, str):
            axes.text(
                -0.01,
                position,
                row,
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontweight="bold",
            )
            continue
        length = value(row) * factor
        colour = OURS.get(row.name, "#B8B8B8")
        if logarithmic:
            # A bar's length says nothing where there is no zero: a dot, and a guide.
            axes.plot([left, length], [position] * 2, color="#EEEEEE", zorder=1)
            axes.plot(length, position, "o", color=colour, markersize=8)
        else:
            axes.barh(position, length, height=0.68, color=colour)
        axes.annotate(
            _number(length),
            (length, position),
            xytext=(7 if logarithmic else 4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks(
        [position for position, row in enumerate(rows) if not isinstance(row, str)],
        [row.name for row in rows if not isinstance(row, str)],
    )
    for label in axes.get_yticklabels():
        label.set_color(OURS.get(label.get_text(), DARK))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(left, longest * 3)
        _plain_ticks(axes.xaxis)
        unit += ", logarithmic"
    else:
        axes.set_xlim(0, longest * 1.12)
    axes.set_xlabel(unit)
    _title(figure, title)
    return figure


# ---------------------------------------------------------------- lines


def _by_size(
    sizes: Iterable[tuple[int, Sequence[CaseResult]]],
) -> list[_Line]:
    points: dict[str, list[tuple[float, float]]] = {}
    for size, cases in sizes:
        for case in cases:
            points.setdefault(case.name, []).append((size, case.median))
    return [_Line(name, tuple(of), OURS.get(name, GREY)) for name, of in points.items()]


def _lines(lines: Sequence[_Line], title: str, across: str) -> Figure | None:
    """Time by number of rules, both logarithmic, each line labelled at its end."""
    if not lines:
        return None
    figure, axes = _figure(6.2)
    for line in sorted(lines, key=lambda line: line.colour != GREY):
        _plot(axes, line)
    axes.set_xscale("log")
    axes.set_yscale("log")
    values = [y for line in lines for _, y in line.points]
    axes.set_ylim(min(values) / 1.6, max(values) * 1.6)
    sizes = sorted({x for line in lines for x, _ in line.points})
    axes.set_xticks(sizes, [f"{int(size):,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
    axes.yaxis.set_major_locator(LogLocator(base=10))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _seconds(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{across} (both axes logarithmic)")
    _title(figure, title)
    _label_ends(axes, lines, _seconds)
    return figure


def _plot(axes: Axes, line: _Line) -> None:
    is_ours = line.colour != GREY
    axes.plot(
        *zip(*line.points, strict=True),
        color=line.colour,
        linewidth=2.4 if is_ours else 1.2,
        marker="o",
        markersize=5 if is_ours else 3.5,
        clip_on=False,
    )


def _label_ends(
    axes: Axes, lines: Sequence[_Line], text: Callable[[float], str]
) -> None:
    """Name each line, right of the axes or where it stops before.

    Labels are pushed apart where ends lie close.
    """
    axes.figure.canvas.draw()
    last = max(x for line in lines for x, _ in line.points)
    gap = 0.21 / axes.get_window_extent().height * axes.figure.dpi
    for end in sorted({line.points[-1][0] for line in lines}):
        there = [line for line in lines if line.points[-1][0] == end]
        there.sort(key=lambda line: line.points[-1][1])
        at = [_in_axes(axes, line.points[-1]) for line in there]
        places = _spread([height for _, height in at], gap)
        for line, place, (across, _) in zip(there, places, at, strict=True):
            axes.annotate(
                f"{line.name}  {text(line.points[-1][1])}",
                line.points[-1],
                xytext=(1.045 if end == last else across + 0.03, place),
                textcoords=axes.transAxes,
                va="center",
                color=DARK if line.colour == GREY else line.colour,
                fontweight="normal" if line.colour == GREY else "bold",
                arrowprops={
                    "arrowstyle": "-",
                    "color": "#CCCCCC",
                    "linewidth": 0.7,
                    "shrinkA": 1,
                    "shrinkB": 4,
                },
                # Only those within the axes have lines behind them.
                path_effects=None if end == last else [_OUTLINE],
                annotation_clip=False,
            )


def _in_axes(axes: Axes, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point is, as parts of the axes' width and height."""
    across, up = axes.transAxes.inverted().transform(axes.transData.transform(point))
    return float(across), float(up)


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in ascending order, moved as little as keeps them a gap apart."""
    clusters: list[list[float]] = []
    for height in heights:
        clusters.append([height])
        while (
            len(clusters) > 1
            and _bottom(clusters[-1], gap) < _top(clusters[-2], gap) + gap
        ):
            last = clusters.pop()
            clusters[-1] += last
    return [
        _bottom(cluster, gap) + gap * number
        for cluster in clusters
        for number in range(len(cluster))
    ]


def _bottom(cluster: Sequence[float], gap: float) -> float:
    return sum(cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _top(cluster: Sequence[float], gap: float) -> float:
    return _bottom(cluster, gap) + gap * (len(cluster) - 1)


# ---------------------------------------------------------------- what all share


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.2, height), layout="constrained")
    return figure, figure.add_subplot()


def _title(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.012, ha="left", fontsize=11.5, fontweight="bold")


def _plain_ticks(axis: Any) -> None:
    axis.set_major_locator(LogLocator(base=10))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _number(value: float) -> str:
    return ratio_text(value) if value < 1_000 else f"{value:,.0f}"


def _seconds(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
