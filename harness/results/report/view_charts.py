"""Validation scores against what training cost: seconds and operations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from harness.evaluate.metric import FLOOR
from harness.results.report.analysis import Analysis
from harness.results.report.records import Curves
from harness.results.report.style import (
    ArmStyle,
    Drawing,
    arm_styles,
    drawing,
    legend,
    log_x,
    panels,
    score_axis,
)
from harness.results.report.views import Track, arm_tracks
from harness.results.spelling import number

NAMES = {"seconds": "seconds of training", "FLOPs": "operations of training"}


def build_view_charts(analysis: Analysis, curves: Curves) -> list[Drawing]:
    """Return a panel for each cost that was recorded; nothing where none was.

    Args:
        analysis: The study.
        curves: Of the confirm runs, with what they spent.
    """
    found: dict[str, dict[str, list[Track]]] = {}
    for resource in NAMES:
        for arm in analysis.arms:
            tracks = arm_tracks(arm, curves, analysis.objective, resource)
            if present := [track for track in tracks if track is not None]:
                found.setdefault(resource, {})[arm.name] = present
    if not found:
        return []
    with drawing():
        return [_against_costs(analysis, found)]


def _against_costs(analysis: Analysis, found: Mapping[str, Mapping[str, list[Track]]]) -> Drawing:
    styles = arm_styles([arm.name for arm in analysis.arms])
    figure, axes = panels(len(found), columns=2, height=2.6)
    label, floor = analysis.figure.label, validation_floor(analysis)
    for ax, (resource, arms) in zip(axes, found.items(), strict=True):
        for name, tracks in arms.items():
            _draw(ax, name, tracks, styles[name])
        draw_floor(ax, floor, log=analysis.figure.log)
        score_axis(ax, analysis.figure, f"validation {label}" if ax is axes[0] else None)
        log_x(ax)
        ax.set_xlabel(f"{NAMES[resource]} (log)")
        ax.xaxis.set_major_formatter(FuncFormatter(_prefixed))
    legend(figure)
    last = {
        name: f"{number(float(np.median([track.scores[-1] for track in tracks])))} after a median "
        f"of {_prefixed(float(np.median([track.spent[-1] for track in tracks])))}"
        for name, tracks in next(iter(found.values())).items()
    }
    first = NAMES[next(iter(found))]
    dashed = f" Dashed: what real {analysis.records.kind.noun} score."
    return Drawing(
        name="costs",
        caption=f"Validation {label} of the confirm runs against "
        + " and ".join(NAMES[resource] for resource in found)
        + " (evaluation excluded; operations are matrix products and convolutions). Lines: median "
        "over runs; bands: all of them, from best to worst." + dashed * (floor is not None),
        alt=f"Curves of validation {label} against {first}: "
        + "; ".join(f"{name} {text}" for name, text in last.items())
        + ".",
        figure=figure,
    )


def _draw(ax: Any, name: str, tracks: list[Track], style: ArmStyle) -> None:
    """Draw an arm's median and range, over runs that were scored after equally much."""
    same = len({tuple(track.spent) for track in tracks}) == 1
    look = {"color": style.colour, "ls": style.line, "marker": style.marker, "ms": 3}
    if not same:  # as with a budget in seconds: every run has places of its own
        for index, track in enumerate(tracks):
            ax.plot(track.spent, track.scores, label=None if index else name, lw=0.9, **look)
        return
    scores = np.array([track.scores for track in tracks])
    ax.plot(tracks[0].spent, np.median(scores, axis=0), label=name, **look)
    ax.fill_between(
        tracks[0].spent, scores.min(0), scores.max(0), color=style.colour, alpha=0.18, lw=0
    )


def validation_floor(analysis: Analysis) -> float | None:
    """Return what real samples score against the validation split; None where it has no value."""
    name = analysis.figure.name
    key = analysis.objective.replace(f"/{name}_", f"/{name}{FLOOR}_", 1)
    values = (run.metrics.get(key) for arm in analysis.arms for run in arm.scored)
    return next((value for value in values if value is not None), None)


def draw_floor(ax: Any, floor: float | None, *, log: bool) -> None:
    """Draw what real samples score across a panel; 0 has no place on a logarithmic axis."""
    if floor is not None and (floor > 0 or not log):
        ax.axhline(floor, color="#777777", lw=1, ls=(0, (4, 3)))


def _prefixed(value: float, _position: int | None = None) -> str:
    """Spell a large number: 2e+12 as 2T."""
    if value <= 0:
        return "0"
    step = min(5, max(0, int(math.log10(value) // 3)))
    return f"{value / 1000**step:.3g}{['', 'k', 'M', 'G', 'T', 'P'][step]}"
