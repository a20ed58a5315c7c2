"""What all figures share: size, type, and one colour, marker and line per arm."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.evaluate.metric import Figure as ScoreFigure
from harness.records.view import COLOURS, arm_colour

PAGE_INCHES = 6.9  # a page's width of text
PNG_DPI = 160
LEGEND_CHARACTERS = 110  # that fit beside each other on a page's width

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "---", "+++")
EDGE: Mapping[str, Any] = {"edgecolors": "white", "linewidths": 0.5}
"""Of marks that may overlap: opaque, for a colour that shines through shows too little on white."""
SCORES = LinearSegmentedColormap.from_list("scores", colormaps["viridis"](np.linspace(0, 0.6, 64)))
"""Colours from the best score, dark, to the worst, all of which show on white."""


@dataclass(frozen=True, kw_only=True)
class ArmStyle:
    """How an arm looks in every figure; marker, line and hatch tell arms apart without colour."""

    colour: str
    marker: str
    line: str
    hatch: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: Its file's name.
        caption: What is seen and how it was made.
        alt: What it shows, in words, with the main numbers.
        figure: The picture.
    """

    name: str
    caption: str
    alt: str
    figure: Figure

    def save(self, kind: str) -> bytes:
        """Return it as `png` or `pdf`; without dates, so that equal figures are equal files."""
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"CreationDate": None} if kind == "pdf" else {"Software": None}
        with drawing():
            self.figure.savefig(buffer, format=kind, dpi=PNG_DPI, metadata=metadata)
        self.figure.set_layout_engine("none")  # found once, kept: it is the slowest part
        return buffer.getvalue()


def arm_styles(names: Sequence[str]) -> dict[str, ArmStyle]:
    """Return every arm's style; where colours run out, all else still differs."""
    return {
        name: ArmStyle(
            colour=arm_colour(index),
            marker=MARKERS[index % len(MARKERS)],
            line=LINES[(index % len(COLOURS) + index // len(COLOURS)) % len(LINES)],
            hatch=HATCHES[index % len(HATCHES)],
        )
        for index, name in enumerate(names)
    }


@contextmanager
def drawing() -> Iterator[None]:
    """Set matplotlib's defaults for the time of drawing: legible in print, type embedded."""
    with matplotlib.rc_context(
        {
            "figure.constrained_layout.use": True,
            "font.size": 8.5,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "legend.fontsize": 8,
            "lines.linewidth": 1.4,
            "pdf.fonttype": 42,
            "savefig.facecolor": "white",
        }
    ):
        yield


def legend(figure: Figure) -> None:
    """Name the arms of all panels above them, where they cover nothing."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    longest = max(map(len, named), default=0)
    columns = max(1, min(4, len(named), LEGEND_CHARACTERS // (longest + 8)))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=columns)


def log_x(ax: Any, ends: tuple[float, float] | None = None) -> None:
    """Make the x axis logarithmic, with plain labels; `ends` are those of the data if left out."""
    low, high = ends or ax.dataLim.intervalx
    if 0 < high < math.inf:
        ax.set_xscale("log")
        plain_log(ax.xaxis, low, high)


def log_y(ax: Any, ends: tuple[float, float] | None = None) -> None:
    """Make the y axis logarithmic likewise."""
    low, high = ends or ax.dataLim.intervaly
    if 0 < high < math.inf:
        ax.set_yscale("log")
        plain_log(ax.yaxis, low, high)


def span_axis(ax: Any, low: float, high: float, *, log: bool, of: str = "x") -> None:
    """Let an axis show the whole of a range, a little beyond it, and where it ends."""
    if log:
        (log_x if of == "x" else log_y)(ax, (low, high))
        margin = (high / low) ** 0.04
        limits = low / margin, high * margin
    else:
        margin = 0.04 * (high - low)
        limits = low - margin, high + margin
    line = ax.axvline if of == "x" else ax.axhline
    for end in (low, high):
        line(end, color="#777777", lw=0.8, ls=":")
    (ax.set_xlim if of == "x" else ax.set_ylim)(limits)


def score_axis(ax: Any, figure: ScoreFigure, label: str | None = None) -> None:
    """Make the y axis logarithmic where scores go by orders of magnitude, and name it."""
    if figure.log:
        log_y(ax)
    if label is not None:
        ax.set_ylabel(label + " (log)" * figure.log)


def plain_log(axis: Any, low: float, high: float) -> None:
    """Label a logarithmic axis with plain numbers, as many as its range (low, high) needs."""
    decades = math.log10(high / low) if 0 < low < high else 0
    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 2 else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=5 if decades > 3 else 12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def panels(count: int, *, columns: int, height: float) -> tuple[Figure, list[Any]]:
    """Return a figure with `count` axes in rows of `columns`, each row `height` inches."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PAGE_INCHES, rows * height))
    return figure, [figure.add_subplot(rows, columns, 1 + index) for index in range(count)]
