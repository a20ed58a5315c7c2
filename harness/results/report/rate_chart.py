"""The report's chart of both players' learning rates, where both were tuned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.style import SCORES, Drawing, panels, plain_log, span_axis
from harness.results.spelling import number
from harness.study.space import Range

KEYS = ("g_lr", "d_lr")
MOST_PANELS = 12
LEAST = 1e-9  # of a score on a logarithmic scale: two nearly equal sets may score 0 or less


def draw_rates(analysis: Analysis) -> Drawing | None:
    """Return a panel per arm: every trial at its two rates, coloured by its validation score."""
    arms = [
        arm
        for arm in analysis.arms
        if all(isinstance(arm.state.arm.space.get(key), Range) for key in KEYS)
        and any(record.value is not None for record in arm.state.search)
    ][:MOST_PANELS]
    if not arms:
        return None
    log, label = analysis.figure.log, analysis.figure.label
    scores = [r.value for arm in arms for r in arm.state.search if r.value is not None]
    figure, axes = panels(len(arms), columns=min(3, len(arms)), height=2.7)
    colours = SCORES if analysis.figure.sign > 0 else SCORES.reversed()
    norm = _scale(scores, log=log)
    for ax, arm in zip(axes, arms, strict=True):
        _draw_trials(ax, arm, colours, norm)
        for key, of in zip(KEYS, "xy", strict=True):
            domain = arm.state.arm.space[key]
            assert isinstance(domain, Range)
            span_axis(ax, domain.low, domain.high, log=domain.log, of=of)
        ax.set_title(arm.name)
        ax.set_xlabel("g_lr")
        ax.tick_params(axis="x", rotation=45)
    axes[0].set_ylabel("d_lr")
    named = f"validation {label}{' (log)' * log}"
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, label=named)
    if log:
        plain_log(bar.ax.yaxis, norm.vmin or LEAST, norm.vmax or LEAST)
    return Drawing(
        name="rates",
        caption="Every search trial at its two learning rates; its colour is its validation "
        f"{label}, dark is good, and good ones are larger. Square: trial 0. Ringed: the settings "
        "that were confirmed. Crosses: trials without a score. Dotted: the ends of what was "
        "searched.",
        alt="Maps of the search trials over g_lr and d_lr, one panel per arm. Confirmed: "
        + "; ".join(map(_confirmed, arms))
        + ".",
        figure=figure,
    )


def _scale(scores: Sequence[float], *, log: bool) -> Normalize:
    """Return what turns scores into shares of the colours; equal scores are given some width."""
    low, high = min(scores), max(scores)
    if log:
        low, high = max(low, LEAST), max(high, LEAST)
        return LogNorm(low, high if high > low else 1.01 * low)
    return Normalize(low, high if high > low else low + 0.01 * (abs(low) or 1))


def _draw_trials(ax: Any, arm: ArmAnalysis, colours: Any, norm: Normalize) -> None:
    for record in arm.state.search:
        point, score = record.cell.point, record.value
        if not record.is_done or not point:
            continue
        x, y = (point[key] for key in KEYS)
        if score is None:
            ax.scatter(x, y, marker="x", c="#777777", s=26)
            continue
        score = max(score, LEAST) if isinstance(norm, LogNorm) else score
        worse = float(norm(score)) if arm.figure.sign > 0 else 1 - float(norm(score))
        look = {"marker": "s" if record.cell.trial == 0 else "o", "s": 90 - 60 * worse}
        ax.scatter(x, y, c=[score], cmap=colours, norm=norm, linewidths=0, **look)
        if point == arm.state.best:
            ax.scatter(x, y, s=220, facecolors="none", edgecolors="black", linewidths=1.2)


def _confirmed(arm: ArmAnalysis) -> str:
    best = arm.state.best
    if best is None:
        return f"{arm.name}: none"
    values = [r.value for r in arm.state.search if r.value is not None and r.cell.point == best]
    at = ", ".join(f"{key} = {float(best[key]):.3g}" for key in KEYS)
    return f"{arm.name}: {at}, {number(values[0])}" if values else f"{arm.name}: {at}"
