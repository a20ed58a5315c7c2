"""The report's charts, each from the analysis and the runs' curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.analysis import Analysis, ArmAnalysis
from harness.report.records import Curves
from harness.report.search_charts import build_search_charts
from harness.report.style import (
    ArmStyle,
    Drawing,
    arm_styles,
    drawing,
    legend,
    log_x,
    log_y,
    panels,
)
from harness.spelling import number
from harness.summary import FEWEST_FOR_INTERVALS

WIDE = 10  # the ratio of largest to smallest score from which an axis is logarithmic


def curve_keys(objective: str) -> list[str]:
    """Return the metrics whose whole curves the charts draw."""
    train = ("d_loss", "g_loss", "d_real", "d_fake", "d_real_logit", "d_fake_logit")
    return [objective, *(f"train/{key}" for key in train)]


def build_charts(analysis: Analysis, curves: Curves) -> list[Drawing]:
    """Return all charts for which there are data.

    Args:
        analysis: The study's figures of merit.
        curves: Of the confirm runs.
    """
    styles = arm_styles([arm.name for arm in analysis.arms])
    with drawing():
        charts = [
            _scores(analysis, styles),
            _fid_curves(analysis, curves, styles),
            _training(analysis, curves, styles),
            *build_search_charts(analysis, styles),
        ]
    return [chart for chart in charts if chart is not None]


def _scores(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    arms = [arm for arm in analysis.arms if arm.confirm]
    if not arms:
        return None
    figure, (axes,) = panels(1, columns=1, height=0.9 + 0.55 * len(arms))
    described, endless = [], []
    for place, arm in enumerate(arms):
        style, scores = styles[arm.name], [rank for rank in arm.ranks if math.isfinite(rank)]
        offsets = place - 0.12 - 0.16 * (np.arange(len(scores)) % 3 - 1) / 2
        axes.scatter(
            scores, offsets, s=28, c=style.colour, marker=style.marker, alpha=0.8, linewidths=0
        )
        if arm.iqm is not None and arm.iqm_interval is not None:
            low, high = arm.iqm_interval
            if math.isinf(high):
                endless.append((low, place + 0.22))
            else:
                axes.plot([low, high], [place + 0.22] * 2, color="#333333", lw=2.2)
            axes.plot(arm.iqm, place + 0.22, "|", color="#333333", ms=11, mew=2.2)
        lost = len(arm.ranks) - len(scores)
        if lost:
            axes.annotate(
                f"{lost} of {len(arm.ranks)} without a score",
                (1, place),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                color="#a00000",
            )
        shown = f"{number(min(scores))} to {number(max(scores))}" if scores else "no scores"
        described.append(f"{arm.name}: {shown} over {len(arm.ranks)} runs")
    floor = analysis.summary.floor
    scores = [run.score(analysis.metric) or 0.0 for arm in arms for run in arm.scored]
    if scores and max(scores) / max(min(scores), 1e-9) > WIDE:
        log_x(axes)
    drawn_floor = floor is not None and floor > 0
    if drawn_floor:
        axes.axvline(floor, color="#777777", lw=1, ls=(0, (4, 3)))
        axes.annotate(
            " real images",
            (floor, 1),
            xycoords=("data", "axes fraction"),
            va="bottom",
            color="#555555",
            fontsize=7.5,
        )
    edge = axes.get_xlim()[1]
    for low, y in endless:
        axes.plot([low, edge], [y, y], color="#333333", lw=2.2)
        axes.plot(edge, y, ">", color="#333333", ms=7, clip_on=False)
    axes.set_xlim(right=edge)
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"test FID of confirm runs ({_protocol(analysis.metric)}), lower is better")
    few = all(len(arm.ranks) < FEWEST_FOR_INTERVALS for arm in arms)
    bars = "" if few else " Bars: interquartile mean with its 95 % bootstrap interval."
    bars += " An arrow: up to infinity, for runs without a score." * bool(endless)
    return Drawing(
        name="scores",
        caption=f"Test FID of every confirm run, one mark per training seed.{bars}"
        + " Dashed: what real images score." * drawn_floor,
        alt="Dot plot of test FID by arm. " + "; ".join(described) + ".",
        figure=figure,
    )


def _fid_curves(
    analysis: Analysis, curves: Curves, styles: Mapping[str, ArmStyle]
) -> Drawing | None:
    arms = [arm for arm in analysis.arms if _has_curve(arm, curves, analysis.objective)]
    if not arms:
        return None
    figure, (axes,) = panels(1, columns=1, height=3.0)
    described = []
    for arm in arms:
        steps, values = _stack(arm, curves, analysis.objective)
        _band(axes, steps, values, styles[arm.name], arm.name, marks=True)
        middle = np.nanmedian(values, axis=0)
        described.append(f"{arm.name}: {number(middle[0])} to {number(middle[-1])}")
    log_y(axes)
    _images_axis(axes)
    axes.set_ylabel("validation FID (log)")
    legend(figure)
    return Drawing(
        name="fid_curves",
        caption="Validation FID of the confirm runs against real images shown to the discriminator."
        " Lines: median over the runs that got so far; bands: all of them, from best to worst.",
        alt="Curves of validation FID over training. Medians from first to last evaluation: "
        + "; ".join(described)
        + ".",
        figure=figure,
    )


def _training(analysis: Analysis, curves: Curves, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    arms = [arm for arm in analysis.arms if _has_curve(arm, curves, "train/d_loss")]
    if not arms:
        return None
    probable = all(_has_curve(arm, curves, "train/d_real") for arm in arms)
    real, fake = (
        ("train/d_real", "train/d_fake")
        if probable
        else ("train/d_real_logit", "train/d_fake_logit")
    )
    figure, axes = panels(3, columns=3, height=2.5)
    for arm in arms:
        style = styles[arm.name]
        for ax, key in zip(axes[:2], ("train/d_loss", "train/g_loss"), strict=True):
            _band(ax, *_stack(arm, curves, key), style, arm.name)
        for key, line in ((real, "-"), (fake, ":")):
            _band(axes[2], *_stack(arm, curves, key), style, None, line=line)
    titles = ("discriminator's loss", "generator's loss")
    for ax, title in zip(axes, (*titles, "D(x) —, D(G(z)) ···"), strict=True):
        ax.set_title(title)
        _images_axis(ax)
    for ax in axes[:2]:
        _tame(ax)
        ax.set_ylabel("nats" if probable else "loss")
    axes[2].set_ylabel("mean probability" if probable else "mean logit")
    if probable:
        axes[2].set_ylim(0, 1)
    legend(figure)
    what = "probability that D gives" if probable else "logit of D for"
    return Drawing(
        name="training",
        caption="Losses of both players, and the mean "
        f"{what} real (solid) and generated (dotted) images, each a mean over about a hundredth of "
        "the budget. Lines: median of the confirm runs that got so far; bands: all of them. Losses "
        "of different kinds are not comparable in height.",
        alt="Three panels over training by arm: discriminator's loss, generator's loss, and D on "
        "real and on generated images.",
        figure=figure,
    )


def _has_curve(arm: ArmAnalysis, curves: Curves, key: str) -> bool:
    return any(curves.get(run.run_id, {}).get(key) for run in arm.confirm)


def _stack(arm: ArmAnalysis, curves: Curves, key: str) -> tuple[Any, Any]:
    """Return steps (T,) and values (runs, T), NaN beyond where a run has got.

    Runs measured at other steps, as with a budget in seconds, are interpolated.
    """
    recorded = [_whole(curves.get(run.run_id, {}).get(key, ())) for run in arm.confirm]
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
    marks: bool = False,
) -> None:
    if not len(steps):
        return
    ax.plot(
        steps,
        np.nanmedian(values, axis=0),
        color=style.colour,
        ls=line or style.line,
        label=label,
        marker=style.marker if marks else None,
        ms=4,
    )
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    ax.fill_between(steps, low, high, color=style.colour, alpha=0.18, lw=0)


def _tame(ax: Any) -> None:
    """Show heights over orders of magnitude on an axis that is linear around 0."""
    low, high = ax.dataLim.y0, ax.dataLim.y1
    if max(abs(low), abs(high)) > 100:
        ax.set_yscale("symlog", linthresh=1)


def _images_axis(ax: Any) -> None:
    ax.set_xlabel("real images seen")
    ax.xaxis.set_major_formatter(FuncFormatter(_thousands))
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _thousands(value: float, _position: int | None = None) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _protocol(metric: str) -> str:
    return metric.partition("fid_")[2]
