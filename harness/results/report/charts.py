"""The report's charts, each from the analysis and the runs' curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.records import Curves
from harness.results.report.score_chart import draw_scores
from harness.results.report.search_charts import build_search_charts
from harness.results.report.style import (
    MARKERS,
    ArmStyle,
    Drawing,
    arm_styles,
    drawing,
    legend,
    log_x,
    panels,
    score_axis,
)
from harness.results.report.view_charts import draw_floor, validation_floor
from harness.results.spelling import capital, number
from harness.systems import SYSTEMS, Panel

MARKS = 8  # on a curve of many points, so that arms differ without colour


def curve_keys(analysis: Analysis) -> list[str]:
    """Return the metrics whose whole curves the charts draw."""
    keys = [
        f"train/{key}" for arm in analysis.arms for panel in _panels(arm) for key in panel.curves
    ]
    return [analysis.objective, *dict.fromkeys(keys)]


def _panels(arm: ArmAnalysis) -> tuple[Panel, ...]:
    return SYSTEMS[arm.config.system].panels(arm.config)


def build_charts(analysis: Analysis, curves: Curves) -> list[Drawing]:
    """Return all charts for which there are data.

    Args:
        analysis: The study's figures of merit.
        curves: Of the confirm runs.
    """
    styles = arm_styles([arm.name for arm in analysis.arms])
    with drawing():
        charts = [
            draw_scores(analysis, styles),
            _score_curves(analysis, curves, styles),
            _training(analysis, curves, styles),
            *build_search_charts(analysis, styles),
        ]
    return [chart for chart in charts if chart is not None]


def _score_curves(
    analysis: Analysis, curves: Curves, styles: Mapping[str, ArmStyle]
) -> Drawing | None:
    arms = [arm for arm in analysis.arms if _has_curve(arm, curves, analysis.objective)]
    if not arms:
        return None
    figure, (axes,) = panels(1, columns=1, height=3.0)
    described = []
    for arm in arms:
        steps, values = _stack(arm, curves, analysis.objective, whole=False)
        _band(axes, steps, values, styles[arm.name], arm.name)
        middle = np.nanmedian(values, axis=0)
        described.append(f"{arm.name}: {number(middle[0])} to {number(middle[-1])}")
    label = analysis.figure.label
    floor = validation_floor(analysis)
    draw_floor(axes, floor, log=analysis.figure.log)
    score_axis(axes, analysis.figure, f"validation {label}")
    _seen_axis(axes, analysis, log=True)
    legend(figure)
    return Drawing(
        name="score_curves",
        caption=f"Validation {label} of the confirm runs against real "
        f"{analysis.records.kind.noun} seen."
        " Lines: median over the runs that got so far; bands: all of them, from best to worst."
        + f" Dashed: what real {analysis.records.kind.noun} score."
        * (floor is not None),
        alt=f"Curves of validation {label} over training. Medians from first to last evaluation: "
        + "; ".join(described)
        + ".",
        figure=figure,
    )


LINES = {"-": "solid", ":": "dotted", "--": "dashed"}  # of the curves within one panel


def _training(analysis: Analysis, curves: Curves, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    """Draw the panels that the arms' systems declare; arms share those of one title."""
    drawn: dict[str, list[tuple[ArmAnalysis, Panel]]] = {}
    for arm in analysis.arms:
        for panel in _panels(arm):
            if any(_has_curve(arm, curves, f"train/{key}") for key in panel.curves):
                drawn.setdefault(panel.title, []).append((arm, panel))
    if not drawn:
        return None
    figure, axes = panels(len(drawn), columns=min(3, len(drawn)), height=2.5)
    several = []
    for ax, (title, owners) in zip(axes, drawn.items(), strict=True):
        ax.set_title(title)
        ax.set_ylabel(" / ".join(dict.fromkeys(panel.unit for _, panel in owners)))
        for arm, panel in owners:
            style = styles[arm.name]
            lines = LINES if len(panel.curves) > 1 else [style.line]
            for index, (key, line) in enumerate(zip(panel.curves, lines, strict=False)):
                label = None if index else arm.name
                _band(ax, *_stack(arm, curves, f"train/{key}"), style, label, line=line)
        _tame(ax)
        _seen_axis(ax, analysis)
        names = owners[0][1].curves.values()
        if len(names) > 1:
            spelt = [f"{name} {LINES[line]}" for name, line in zip(names, LINES, strict=False)]
            several.append(f" {capital(title)}: {', '.join(spelt)}.")
    legend(figure)
    return Drawing(
        name="training",
        caption="What training measures, each a mean over about a hundredth of the budget. Lines: "
        "median of the confirm runs that got so far; bands: all of them. Losses of different kinds "
        f"are not comparable in height.{''.join(several)}",
        alt=f"Panels over training by arm: {', '.join(drawn)}.",
        figure=figure,
    )


def _has_curve(arm: ArmAnalysis, curves: Curves, key: str) -> bool:
    return any(curves.get(run.run_id, {}).get(key) for run in arm.confirm)


def _stack(arm: ArmAnalysis, curves: Curves, key: str, *, whole: bool = True) -> tuple[Any, Any]:
    """Return steps (T,) and values (runs, T), NaN beyond where a run has got.

    Runs measured at other steps, as with a budget in seconds, are interpolated. Of means over
    training only `whole` ones are kept.
    """
    recorded = [[*curves.get(run.run_id, {}).get(key, ())] for run in arm.confirm]
    if whole:
        recorded = [_whole(curve) for curve in recorded]
    recorded = [curve for curve in recorded if curve]
    steps = np.array(sorted({step for curve in recorded for step, _ in curve}))
    values = []
    for curve in recorded:
        measured = np.array(curve, np.float64)
        values.append(np.interp(steps, measured[:, 0], measured[:, 1], np.nan, np.nan))
    return steps, np.array(values)


def _whole(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Leave out means over much fewer steps than the others: those cut short by an evaluation."""
    steps = np.array([0, *(step for step, _ in curve)])
    gaps = np.diff(steps)
    return [point for point, gap in zip(curve, gaps, strict=True) if gap >= np.median(gaps) / 2]


def _band(
    ax: Any,
    steps: Any,
    values: Any,
    style: ArmStyle,
    label: str | None,
    *,
    line: str | None = None,
) -> None:
    if not len(steps):
        return
    every = max(1, len(steps) // MARKS)
    first = MARKERS.index(style.marker) * every // 3 % every  # arms' marks beside each other
    ax.plot(
        steps,
        np.nanmedian(values, axis=0),
        color=style.colour,
        ls=line or style.line,
        label=label,
        marker=style.marker,
        markevery=(first, every),
        ms=4,
    )
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    ax.fill_between(steps, low, high, color=style.colour, alpha=0.18, lw=0)


def _tame(ax: Any) -> None:
    """Show heights over orders of magnitude on an axis that is linear around 0."""
    low, high = ax.dataLim.y0, ax.dataLim.y1
    if max(abs(low), abs(high)) > 100:
        ax.set_yscale("symlog", linthresh=1)


def _seen_axis(ax: Any, analysis: Analysis, *, log: bool = False) -> None:
    ax.set_xlabel(f"real {analysis.records.kind.noun} seen" + " (log)" * log)
    if log:
        log_x(ax)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(_thousands))


def _thousands(value: float, _position: int | None = None) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"
