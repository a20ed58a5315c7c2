"""The report's first chart: every arm's test scores, and how far they are from the baseline's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harness.results.comparison import FEWEST_FOR_INTERVALS, Comparison
from harness.results.report.analysis import Analysis
from harness.results.report.captions import ties_aside
from harness.results.report.style import EDGE, PAGE_INCHES, ArmStyle, Drawing, log_x
from harness.results.spelling import number, with_interval
from harness.statistics import Interval

WIDE = 10  # the ratio of largest to smallest score from which an axis is logarithmic
DARK = "#333333"


def draw_scores(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    """Return one row per arm: its runs' scores and, beside them, its difference to the baseline."""
    arms = [arm.name for arm in analysis.arms if arm.confirm]
    if not arms:
        return None
    tests = [
        test
        for test in analysis.summary.comparisons
        if not test.contrast and test.arm in arms and test.difference is not None
    ]
    figure = Figure(figsize=(PAGE_INCHES, 0.9 + 0.55 * len(arms)))
    columns = 2 if tests else 1
    (axes, *beside) = figure.subplots(
        1, columns, squeeze=False, sharey=True, width_ratios=[1.9, 1][:columns]
    )[0]
    floor = _scores(axes, analysis, styles)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    for ax in (axes, *beside):
        ax.grid(axis="y", visible=False)
    label, real = analysis.figure.label, f"real {analysis.records.kind.noun}"
    caption = f"Test {label} of every confirm run, one mark per training seed."
    few = all(len(arm.confirm) < FEWEST_FOR_INTERVALS for arm in analysis.arms)
    if not few:
        caption += " Bars: interquartile mean with its 95 % bootstrap interval."
    caption += f" Dashed: what {real} score." * floor
    alt = f"Dot plot of test {label} by arm. {'; '.join(_described(analysis))}."
    if tests:
        _differences(beside[0], tests, arms, styles)
        beside[0].set_xlabel(f"difference to\n{tests[0].baseline}")
        caption += (
            " Right: Hodges–Lehmann difference to the baseline's runs, and all shifts that the "
            "test does not reject: they exclude 0 where the difference is resolved"
            f"{ties_aside(tests)}."
        )
        if analysis.has_more_runs:
            caption += (
                " A difference is of the seeds that both arms had reached; the left shows all runs."
            )
        alt += f" Differences to {tests[0].baseline}: " + "; ".join(map(_spell, tests)) + "."
    if any(math.isinf(end) for interval in _intervals(analysis, tests) for end in interval):
        caption += " An arrow: without end, for runs without a score."
    return Drawing(name="scores", caption=caption, alt=alt, figure=figure)


def _scores(axes: Any, analysis: Analysis, styles: Mapping[str, ArmStyle]) -> bool:
    """Draw every run and interquartile means; return whether the floor has a place too."""
    arms = [arm for arm in analysis.arms if arm.confirm]
    bars: list[tuple[Interval, float]] = []
    for place, arm in enumerate(arms):
        style, scores = styles[arm.name], arm.scores
        offsets = place - 0.12 - 0.16 * (np.arange(len(scores)) % 3 - 1) / 2
        axes.scatter(scores, offsets, s=28, c=style.colour, marker=style.marker, **EDGE)
        if arm.iqm is not None and arm.iqm_interval is not None:
            bars.append((arm.iqm_interval, place + 0.22))
            axes.plot(arm.iqm, place + 0.22, "|", color=DARK, ms=11, mew=2.2)
        lost = len(arm.confirm) - len(scores)
        if lost:
            axes.annotate(
                f"{lost} of {len(arm.confirm)} without a score",
                (1, place),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                color="#a00000",
            )
    scores = [score for arm in arms for score in arm.scores]
    if analysis.figure.log and scores and max(scores) / max(min(scores), 1e-9) > WIDE:
        log_x(axes)
    floor = analysis.summary.floor
    is_drawn = floor is not None and (floor > 0 or not analysis.figure.log)
    if is_drawn:
        axes.axvline(floor, color="#777777", lw=1, ls=(0, (4, 3)))
        axes.annotate(
            f" real {analysis.records.kind.noun}",
            (floor, 1),
            xycoords=("data", "axes fraction"),
            va="bottom",
            color="#555555",
            fontsize=7.5,
        )
    _draw_bars(axes, bars)
    axes.set_xlabel(
        f"test {analysis.figure.label} of confirm runs\n({_protocol(analysis)}), "
        f"{analysis.figure.direction()}"
    )
    return is_drawn


def _differences(
    ax: Any, tests: list[Comparison], arms: list[str], styles: Mapping[str, ArmStyle]
) -> None:
    """Draw every difference in its arm's row, in units of the score."""
    for test in tests:
        style = styles[test.arm]
        ax.plot(test.difference, arms.index(test.arm), style.marker, color=style.colour, ms=6)
    ax.axvline(0, color=DARK, lw=1)
    bars = [
        (test.difference_interval, arms.index(test.arm))
        for test in tests
        if test.difference_interval is not None
    ]
    _draw_bars(ax, bars)


def _draw_bars(ax: Any, bars: Sequence[tuple[Interval, float]]) -> None:
    """Draw intervals; those without an end run to the edge and end in an arrow."""
    ends = [end for interval, _ in bars for end in interval if math.isfinite(end)]
    if ends:
        ax.plot(ends, [0] * len(ends), alpha=0)  # so that the axis holds them
    left, right = ax.get_xlim()
    for (low, high), place in bars:
        shown = [max(low, left), min(high, right)]
        ax.plot(shown, [place] * 2, color=DARK, lw=2.2)
        for end, edge, arrow in ((low, left, "<"), (high, right, ">")):
            if math.isinf(end):
                ax.plot(edge, place, arrow, color=DARK, ms=7, clip_on=False)
    ax.set_xlim(left, right)


def _intervals(analysis: Analysis, tests: list[Comparison]) -> list[Interval]:
    found = [arm.iqm_interval for arm in analysis.arms]
    found += [test.difference_interval for test in tests]
    return [interval for interval in found if interval is not None]


def _described(analysis: Analysis) -> list[str]:
    found = []
    for arm in analysis.arms:
        if arm.confirm:
            scores = arm.scores
            shown = f"{number(min(scores))} to {number(max(scores))}" if scores else "no scores"
            found.append(f"{arm.name}: {shown} over {len(arm.confirm)} runs")
    return found


def _spell(test: Comparison) -> str:
    return f"{test.arm} {with_interval(test.difference, test.difference_interval, sign=True)}"


def _protocol(analysis: Analysis) -> str:
    """Return what a key says beside the figure: extractor and number of samples."""
    return analysis.metric.partition(f"{analysis.figure.name}_")[2]
