"""The report's charts of the search: what was tuned, what it bought, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.rate_chart import draw_rates
from harness.results.report.records import budget_text
from harness.results.report.style import (
    EDGE,
    SCORES,
    ArmStyle,
    Drawing,
    legend,
    panels,
    score_axis,
    span_axis,
)
from harness.results.spelling import number
from harness.study.space import Choice, Range
from harness.work.queue import FEWEST_FOR_IMPORTANCE

MOST_PANELS = 12


def build_search_charts(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> list[Drawing | None]:
    """Return the charts of the search, None for each without data."""
    return [
        _tuned(analysis, styles),
        draw_rates(analysis),
        _search_budget(analysis, styles),
        _parallel(analysis),
        _importance(analysis, styles),
    ]


def _search_budget(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    arms = [arm for arm in analysis.arms if len(arm.best_so_far) > 1]
    if not arms:
        return None
    expected = analysis.records.random_search
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
    label = analysis.figure.label
    score_axis(axes, analysis.figure, f"best validation {label}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    share = analysis.records.search_share
    each = "" if share is None else f" A trial is {budget_text(analysis.records, share)}."
    axes.set_xlabel("search trials")
    legend(figure)
    how = (
        f"Expected best validation {label} of a search of n trials: trial 0 and n − 1 of the "
        "random ones, over all ways to draw them. It starts where no draw is without a score."
        if expected
        else f"Best validation {label} after n trials in the order in which they ran. Their order "
        "matters to this sampler or pruner, so no expectation over orders can be given."
    )
    return Drawing(
        name="search_budget",
        caption=how + each,
        alt=f"Best validation {label} against the number of search trials. "
        + "; ".join(described)
        + ".",
        figure=figure,
    )


def _tuned(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    arms = [arm for arm in analysis.arms if arm.search]
    label = analysis.figure.label
    tuned = list(dict.fromkeys(key for arm in arms for key in arm.state.arm.space))
    keys = tuned[:MOST_PANELS]
    if not keys:
        return None
    figure, axes = panels(len(keys), columns=min(3, len(keys)), height=2.6)
    for ax, key in zip(axes, keys, strict=True):
        owners = [arm for arm in arms if key in arm.state.arm.space]
        spaces = [arm.state.arm.space[key] for arm in owners]
        choices = [each for each in spaces if isinstance(each, Choice)]
        # Arms may choose among different values of one parameter.
        values = list(dict.fromkeys(value for each in choices for value in each.values))
        listed = len(choices) == len(spaces)
        for index, arm in enumerate(owners):
            shift = 0.5 * (index - (len(owners) - 1) / 2) / len(owners)
            _scatter_trials(ax, arm, key, values if listed else None, shift, styles[arm.name])
        log = any(isinstance(each, Range) and each.log for each in spaces)
        if listed:
            ax.set_xticks(range(len(values)), [str(value) for value in values])
        else:
            ends = [each for domain in spaces for each in _numbers(domain)]
            span_axis(ax, min(ends), max(ends), log=log)
        score_axis(ax, analysis.figure, f"validation {label}" if ax is axes[0] else None)
        ax.set_xlabel(f"{key} (log)" if log else key)
    legend(figure)
    ranged = any(isinstance(each, Range) for arm in arms for each in arm.state.arm.space.values())
    left_out = ""
    if len(tuned) > len(keys):
        left_out = f" Shown are the first {len(keys)} of {len(tuned)} parameters."
    return Drawing(
        name="tuned",
        caption=f"Validation {label} of the search trials against each tuned parameter. Ringed: "
        "the settings that were confirmed. Crosses at the edge: trials without a score."
        + " Axes show the whole searched range; dotted are its ends." * ranged
        + left_out
        + _withheld(analysis),
        alt=f"Scatter plots of validation {label} against "
        + ", ".join(keys)
        + ", one mark per trial.",
        figure=figure,
    )


def _numbers(parameter: Choice | Range) -> list[float]:
    """Return the ends of a range, or the numbers of a list beside it."""
    if isinstance(parameter, Range):
        return [parameter.low, parameter.high]
    return [float(value) for value in parameter.values]


def _withheld(analysis: Analysis) -> str:
    """Say of which arms there is no importance of parameters for want of trials."""
    scored = {
        arm.name: sum(record.value is not None for record in arm.state.search)
        for arm in analysis.arms
        if len(arm.state.arm.space) > 1
    }
    few = [
        f"{name} has {count}"
        for name, count in scored.items()
        if count < FEWEST_FOR_IMPORTANCE and not analysis.records.importances.get(name)
    ]
    if not few:
        return ""
    return (
        f" The importance of parameters takes {FEWEST_FOR_IMPORTANCE} scored trials of an arm and "
        f"is withheld: {', '.join(few)}."
    )


def _scatter_trials(
    ax: Any, arm: ArmAnalysis, key: str, values: list[Any] | None, shift: float, style: ArmStyle
) -> None:
    def place(value: Any) -> float:
        return float(value) if values is None else values.index(value) + shift

    for record in arm.state.search:
        if not record.is_done or not record.cell.point:
            continue
        x = place(record.cell.point[key])
        if record.value is None:
            edge = ax.get_xaxis_transform()
            ax.plot(
                x,
                0.02 if arm.figure.sign < 0 else 0.98,
                "x",
                color=style.colour,
                transform=edge,
                clip_on=False,
                ms=5,
            )
            continue
        ax.scatter(x, record.value, s=22, c=style.colour, marker=style.marker, **EDGE)
        if record.cell.point == arm.state.best:
            ax.scatter(x, record.value, s=90, facecolors="none", edgecolors=style.colour)
    ax.plot([], [], style.marker, color=style.colour, label=arm.name, ms=5)


def _parallel(analysis: Analysis) -> Drawing | None:
    arms = [
        arm
        for arm in analysis.arms
        if len(arm.state.arm.space) > 1 and sum(r.value is not None for r in arm.state.search) > 1
    ][:MOST_PANELS]
    if not arms:
        return None
    label, log = analysis.figure.label, analysis.figure.log
    values = [r.value for arm in arms for r in arm.state.search if r.value is not None]
    low, high = _height_of(min(values), log), _height_of(max(values), log)
    figure, axes = panels(len(arms), columns=min(2, len(arms)), height=2.5)
    for ax, arm in zip(axes, arms, strict=True):
        space = arm.state.arm.space
        for record in sorted(arm.state.search, key=lambda r: -analysis.figure.cost(r.value)):
            if record.value is None or not record.cell.point:
                continue
            share = (_height_of(record.value, log) - low) / max(high - low, 1e-9)
            worse = share if analysis.figure.sign > 0 else 1 - share
            heights = [_height(space[key], record.cell.point[key]) for key in space]
            ax.plot([*heights, share], color=SCORES(worse), lw=2 - 1.2 * worse)
        ax.set_xticks(range(len(space) + 1), [*space, label])
        ax.set_yticks([])
        ax.set_ylim(-0.08, 1.08)
        ax.set_title(arm.name)
        ends = [*map(_ends, space.values()), (number(min(values)), number(max(values)))]
        for place, (bottom, top) in enumerate(ends):
            for y, text, side in ((-0.02, bottom, "top"), (1.02, top, "bottom")):
                ax.text(place, y, text, ha="center", va=side, fontsize=7, color="#444444")
    return Drawing(
        name="parallel",
        caption="Search trials as lines through their settings to their validation "
        f"{label}{' (logarithmic)' * log}; dark and thick is good. Trials without a score are left "
        "out.",
        alt="Parallel coordinates of the search trials, one panel per arm.",
        figure=figure,
    )


def _height_of(score: float, log: bool) -> float:
    """Return where a score stands; that of two nearly equal sets may be computed as 0 or less."""
    return math.log(max(score, 1e-9)) if log else score


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


def _importance(analysis: Analysis, styles: Mapping[str, ArmStyle]) -> Drawing | None:
    importances = analysis.records.importances
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
            hatch=styles[arm].hatch,
            edgecolor="white",
            linewidth=0,
            label=arm,
        )
    axes.set_yticks([place + 0.4 - thickness / 2 for place in range(len(keys))], keys)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    log = "log " * analysis.figure.log
    axes.set_xlabel(f"share of the variance of {log}validation {analysis.figure.label}")
    axes.grid(axis="y", visible=False)
    legend(figure)
    best = [f"{arm}: {max(importances[arm], key=importances[arm].__getitem__)}" for arm in arms]
    return Drawing(
        name="importance",
        caption="Parameter importance by fANOVA over the scored search trials. With few trials "
        "it is a hint, no finding: a random forest is fitted to them, within the searched ranges, "
        "and knows nothing of trials without a score.",
        alt="Bars of parameter importance. Most important by arm: " + "; ".join(best) + ".",
        figure=figure,
    )
