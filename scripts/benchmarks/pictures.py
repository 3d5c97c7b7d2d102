"""The pictures of the two figures that matter most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.results import Result

_INCHES = (7.0, 4.0)
_DOTS_PER_INCH = 120


def draw(results: Sequence[Result], folder: Path) -> list[Path]:
    """A picture of each case that has points; answers where they are."""
    made = []
    for result in results:
        if result.points:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{result.case}.png"
            _picture(result).savefig(path, dpi=_DOTS_PER_INCH)
            made.append(path)
    return made


def _picture(result: Result) -> Figure:
    mpl.use("agg")  # no window, no display
    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    for name, points in result.points.items():
        marker = "o" if len(points) < 10 else ""
        axes.plot([x for x, _ in points], [y for _, y in points], marker=marker, label=name)
    _DRAWN[result.case](axes)
    axes.margins(y=0.1)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _fired(axes: Axes) -> None:
    axes.set_title("Schedules fired, all due at once", loc="left")
    axes.set_xlabel("seconds since they were due")
    axes.set_ylabel("arrived at a read_committed reader")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_thousands))


def _restarts(axes: Axes) -> None:
    axes.set_title("A start with a cache, until an overdue schedule arrives", loc="left")
    axes.set_xlabel("pending schedules")
    axes.set_ylabel("seconds")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))


def _thousands(value: float, _position: int | None = None) -> str:
    return f"{value:,.0f}"


_DRAWN = {"fire": _fired, "recurring": _fired, "restart": _restarts}
