"""The report's charts, each from the analysis and the runs' curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.report.analysis import Analysis, ArmAnalysis
from harness.report.records import Curves, budget_text
from harness.report.style import (
    ArmStyle,
    Drawing,
    arm_styles,
    drawing,
    legend,
    panels,
    plain_log,
)
from harness.report.tables import number
from harness.space import Choice, Range
from harness.summary import FEWEST_FOR_INTERVALS

WIDE = 10  # the ratio of largest to smallest score from which an axis is logarithmic
MOST_PANELS = 12


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
    makers: list[Callable[[], Drawing | None]] = [
        lambda: _scores(analysis, styles),
        lambda: _fid_curves(analysis, curves, styles),
        lambda: _search_budget(analysis, styles),
        lambda: _training(analysis, curves, styles),
        lambda: _tuned(analysis, styles),
        lambda: _parallel(analysis),
        lambda: _importance(analysis.records.importances, styles),
    ]
    with drawing():
        return [chart for make in makers if (chart := make()) is not None]


def _scores(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    arms = [arm for arm in analysis.arms if arm.confirm]
    if not arms:
        return None
    figure, (axes,) = panels(1, columns=1, height=0.9 + 0.55 * len(arms))
    described = []
    for place, arm in enumerate(arms):
        style, scores = styles[arm.name], [rank for rank in arm.ranks if math.isfinite(rank)]
        offsets = place - 0.12 - 0.16 * (np.arange(len(scores)) % 3 - 1) / 2
        axes.scatter(
            scores, offsets, s=28, c=style.colour, marker=style.marker, alpha=0.8, linewidths=0
        )
        if arm.iqm is not None and arm.iqm_interval is not None:
            high = min(arm.iqm_interval.high, max(scores))
            axes.plot([arm.iqm_interval.low, high], [place + 0.22] * 2, color="#333333", lw=2.2)
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
        _log_x(axes)
    if floor is not None and floor > 0:
        axes.axvline(floor, color="#777777", lw=1, ls=(0, (4, 3)))
        axes.annotate(
            " real images",
            (floor, 1),
            xycoords=("data", "axes fraction"),
            va="bottom",
            color="#555555",
            fontsize=7.5,
        )
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"test FID of confirm runs ({_protocol(analysis.metric)}), lower is better")
    few = all(len(arm.ranks) < FEWEST_FOR_INTERVALS for arm in arms)
    bars = "" if few else " Bars: interquartile mean with its 95 % bootstrap interval."
    return Drawing(
        name="scores",
        caption=f"Test FID of every confirm run, one mark per training seed.{bars} "
        "Dashed: what real images score.",
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
    _log_y(axes)
    _images_axis(axes)
    axes.set_ylabel("validation FID (log)")
    legend(figure, axes)
    return Drawing(
        name="fid_curves",
        caption="Validation FID of the confirm runs against real images shown to the discriminator."
        " Lines: median over training seeds; bands: all runs, from best to worst.",
        alt="Curves of validation FID over training. Medians from first to last evaluation: "
        + "; ".join(described)
        + ".",
        figure=figure,
    )


def _search_budget(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    arms = [arm for arm in analysis.arms if len(arm.best_so_far) > 1]
    if not arms:
        return None
    study = analysis.records.study
    expected = study.search.sampler == "random" and study.search.pruner == "none"
    figure, (axes,) = panels(1, columns=1, height=2.6)
    described = []
    for arm in arms:
        best = np.array(arm.best_of_n if expected else arm.best_so_far)
        trials = np.arange(1, len(best) + 1)
        shown = np.isfinite(best)
        style = styles[arm.name]
        axes.plot(
            trials[shown],
            best[shown],
            color=style.colour,
            ls=style.line,
            marker=style.marker,
            ms=4,
            label=arm.name,
        )
        if shown.any():
            described.append(
                f"{arm.name}: {number(best[shown][0])} after {trials[shown][0]}, "
                f"{number(best[-1])} after {len(best)}"
            )
    _log_y(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    budget = budget_text(analysis.records, study.search.budget_share)
    axes.set_xlabel("search trials")
    axes.set_ylabel("best validation FID (log)")
    legend(figure, axes)
    how = (
        "Expected best validation FID of a search of n trials: trial 0 and n − 1 of the random "
        "ones, over all ways to draw them. It starts where no draw is without a score."
        if expected
        else "Best validation FID after n trials in the order in which they ran. Their order "
        "matters to this sampler or pruner, so no expectation over orders can be given."
    )
    return Drawing(
        name="search_budget",
        caption=f"{how} A trial is {budget}.",
        alt="Best validation FID against the number of search trials. " + "; ".join(described),
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
    legend(figure, axes[0])
    what = "probability that D gives" if probable else "logit of D for"
    return Drawing(
        name="training",
        caption="Losses of both players, and the mean "
        f"{what} real (solid) and generated (dotted) images, each a mean over about a "
        "hundredth of the budget. Lines: median of the confirm runs; bands: all of them. Losses of "
        "different kinds are not comparable in height.",
        alt="Three panels over training by arm: discriminator's loss, generator's loss, and D on "
        "real and on generated images.",
        figure=figure,
    )


def _tuned(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    spaces: dict[str, Choice | Range] = {}
    for arm in analysis.arms:
        spaces |= {key: each for key, each in arm.state.arm.space.items() if arm.search}
    if not spaces:
        return None
    shown = list(spaces)[:MOST_PANELS]
    figure, axes = panels(len(shown), columns=min(3, len(shown)), height=2.6)
    for ax, key in zip(axes, shown, strict=True):
        parameter = spaces[key]
        for index, arm in enumerate(analysis.arms):
            if key in arm.state.arm.space:
                shift = 0.12 * (index - (len(analysis.arms) - 1) / 2)
                _scatter_trials(ax, arm, key, parameter, shift, styles[arm.name])
        if isinstance(parameter, Choice):
            ax.set_xticks(range(len(parameter.values)), [str(v) for v in parameter.values])
        elif parameter.log:
            _log_x(ax)
        _log_y(ax)
        ax.set_xlabel(key + (" (log)" if isinstance(parameter, Range) and parameter.log else ""))
    axes[0].set_ylabel("validation FID (log)")
    legend(figure, axes[0])
    return Drawing(
        name="tuned",
        caption="Validation FID of the search trials against each tuned parameter. Ringed: the "
        "settings that were confirmed. Crosses at the upper edge: trials without a score.",
        alt="Scatter plots of validation FID against " + ", ".join(shown) + ", one mark per trial.",
        figure=figure,
    )


def _scatter_trials(
    ax: Any, arm: ArmAnalysis, key: str, parameter: Choice | Range, shift: float, style: ArmStyle
) -> None:
    def place(value: Any) -> float:
        if isinstance(parameter, Choice):
            return parameter.values.index(value) + shift
        return float(value)

    done = [record for record in arm.state.search if record.is_done and record.cell.point]
    scored = [
        (record.cell.point or {}, record.value) for record in done if record.value is not None
    ]
    ax.scatter(
        [place(point[key]) for point, _ in scored],
        [value for _, value in scored],
        s=22,
        c=style.colour,
        marker=style.marker,
        alpha=0.85,
        linewidths=0,
        label=arm.name,
    )
    for point, value in scored:
        if point == arm.state.best:
            ax.scatter(place(point[key]), value, s=90, facecolors="none", edgecolors=style.colour)
    for record in done:
        if record.value is None and record.cell.point:
            ax.plot(
                place(record.cell.point[key]),
                0.98,
                "x",
                color=style.colour,
                transform=ax.get_xaxis_transform(),
                clip_on=False,
                ms=5,
            )


def _parallel(analysis: Analysis) -> Drawing | None:
    arms = [
        arm
        for arm in analysis.arms
        if len(arm.state.arm.space) > 1 and sum(r.value is not None for r in arm.state.search) > 1
    ][:MOST_PANELS]
    if not arms:
        return None
    values = [r.value for arm in arms for r in arm.state.search if r.value is not None]
    low, high = math.log(min(values)), math.log(max(values))
    figure, axes = panels(len(arms), columns=min(2, len(arms)), height=2.5)
    colours = colormaps["viridis"]
    for ax, arm in zip(axes, arms, strict=True):
        space = arm.state.arm.space
        for record in sorted(arm.state.search, key=lambda r: -(r.value or math.inf)):
            if record.value is None or not record.cell.point:
                continue
            share = (math.log(record.value) - low) / max(high - low, 1e-9)
            heights = [_height(space[key], record.cell.point[key]) for key in space]
            ax.plot([*heights, share], color=colours(0.93 * share), lw=1.3, alpha=0.9)
        ax.set_xticks(range(len(space) + 1), [*space, "FID"])
        ax.set_yticks([])
        ax.set_ylim(-0.08, 1.08)
        ax.set_title(arm.name)
        ends = [*map(_ends, space.values()), (number(math.exp(low)), number(math.exp(high)))]
        for place, (bottom, top) in enumerate(ends):
            for y, text, side in ((-0.02, bottom, "top"), (1.02, top, "bottom")):
                ax.text(place, y, text, ha="center", va=side, fontsize=7, color="#444444")
    return Drawing(
        name="parallel",
        caption="Search trials as lines through their settings to their validation FID "
        "(logarithmic, low is good and dark). Trials without a score are left out.",
        alt="Parallel coordinates of the search trials, one panel per arm.",
        figure=figure,
    )


def _height(parameter: Choice | Range, value: Any) -> float:
    if isinstance(parameter, Choice):
        return parameter.values.index(value) / max(len(parameter.values) - 1, 1)
    low, high = parameter.low, parameter.high
    if parameter.log:
        return math.log(value / low) / math.log(high / low)
    return float((value - low) / (high - low))


def _ends(parameter: Choice | Range) -> tuple[str, str]:
    if isinstance(parameter, Choice):
        return str(parameter.values[0]), str(parameter.values[-1])
    return f"{parameter.low:g}", f"{parameter.high:g}"


def _importance(
    importances: Mapping[str, Mapping[str, float]], styles: Mapping[str, ArmStyle]
) -> Drawing | None:
    arms = [arm for arm in importances if importances[arm]]
    if not arms:
        return None
    keys = list(dict.fromkeys(key for arm in arms for key in importances[arm]))
    figure, (axes,) = panels(1, columns=1, height=0.9 + 0.22 * len(keys) * len(arms))
    thickness = 0.8 / len(arms)
    for index, arm in enumerate(arms):
        places = [keys.index(key) + index * thickness for key in importances[arm]]
        axes.barh(
            places,
            list(importances[arm].values()),
            height=0.9 * thickness,
            color=styles[arm].colour,
            label=arm,
        )
    axes.set_yticks([place + 0.4 - thickness / 2 for place in range(len(keys))], keys)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance of log validation FID")
    axes.grid(axis="y", visible=False)
    legend(figure, axes)
    best = [f"{arm}: {max(importances[arm], key=importances[arm].__getitem__)}" for arm in arms]
    return Drawing(
        name="importance",
        caption="Parameter importance by fANOVA over the scored search trials. With few trials "
        "it is a hint, no finding: a random forest is fitted to them, within the searched ranges, "
        "and knows nothing of trials without a score.",
        alt="Bars of parameter importance. Most important by arm: " + "; ".join(best) + ".",
        figure=figure,
    )


def _has_curve(arm: ArmAnalysis, curves: Curves, key: str) -> bool:
    return any(curves.get(run.run_id, {}).get(key) for run in arm.confirm)


def _stack(arm: ArmAnalysis, curves: Curves, key: str) -> tuple[Any, Any]:
    """Return the steps (T,) and the values (runs, T), NaN where a run did not get so far."""
    recorded = [dict(_whole(curves.get(run.run_id, {}).get(key, ()))) for run in arm.confirm]
    recorded = [curve for curve in recorded if curve]
    steps = sorted({step for curve in recorded for step in curve})
    return np.array(steps), np.array([[c.get(step, np.nan) for step in steps] for c in recorded])


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


def _log_x(ax: Any) -> None:
    ax.set_xscale("log")
    plain_log(ax.xaxis, *ax.dataLim.intervalx)


def _log_y(ax: Any) -> None:
    ax.set_yscale("log")
    plain_log(ax.yaxis, *ax.dataLim.intervaly)


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
