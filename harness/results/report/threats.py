"""Threats to validity that a study's own records show, each stated only where its facts hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np

from harness.results.report.analysis import Analysis
from harness.results.report.arm import ArmAnalysis
from harness.results.report.records import Curves, RunRecord, budget_text
from harness.results.spelling import (
    assignments,
    commit_text,
    counted,
    number,
    p_phrase,
    p_text,
    span,
)
from harness.statistics import SIGNIFICANCE, sign_test
from harness.study.space import Range

LATE = 0.8  # of a run's training: what the end is compared with
STILL_IMPROVING = 0.05  # of the score, from there to the end, evenly over the logarithm of images
FEWEST_CHOICES = 3  # listed numbers that have an edge to speak of
EDGE_SHARE = 0.05  # of a range, on its own scale, that counts as its edge
UNEQUAL = 1.5  # ratio of costs from which arms differ in compute
FEW_SEEDS = 10


def threats(analysis: Analysis, curves: Curves) -> list[str]:
    """Return the threats to validity that this study's own records show."""
    return [
        *_few_seeds(analysis),
        *_still_improving(analysis, curves),
        *_edges(analysis),
        *_failure_rates(analysis),
        *_compute(analysis),
        *_search_noise(analysis),
        *_conditions(analysis),
        *_joint(analysis),
        *_copying(analysis),
        *_ruler(analysis),
    ]


def _few_seeds(analysis: Analysis) -> Iterator[str]:
    sizes = [len(arm.confirm) for arm in analysis.arms if arm.confirm]
    if sizes and min(sizes) < FEW_SEEDS:
        if analysis.summary.unranked:
            yield (
                f"Few seeds: {counted(min(sizes), 'run')} in an arm; how much its "
                "scores vary over seeds is hardly known."
            )
            return
        summary = analysis.summary
        attainable = [effect.smallest_p for effect in summary.effects if effect.num_strata]
        if not summary.primary:
            attainable = [test.smallest_p for test in summary.comparisons]
        least = max(attainable, default=1.0)
        yield (
            f"Few seeds: {min(sizes)} runs in an arm. The smallest p that a comparison could have "
            f"here is {p_text(least)} after Holm's adjustment, and the bootstrap intervals of "
            "interquartile means are too narrow: in simulations, nominal 95 % ones of five runs "
            "cover 90 %."
        )


def _still_improving(analysis: Analysis, curves: Curves) -> Iterator[str]:
    """Say so only of arms whose runs improved more often than noise of evaluation explains."""
    may = "may change the order of the arms"
    if analysis.summary.unranked:
        may = "may better it"
    for arm in analysis.arms:
        changes: list[float] = []
        paces: list[float] = []  # the same, brought to the training's last part
        share = LATE
        for run in arm.scored:
            curve = curves.get(run.run_id, {}).get(analysis.objective, ())
            if len(curve) < 2:
                continue
            last, value = curve[-1]
            late, earlier = min(curve[:-1], key=lambda point: abs(point[0] - LATE * last))
            if earlier != 0 and late > 0:
                changes.append(analysis.figure.sign * (value - earlier) / abs(earlier))
                share = late / last
                paces.append(changes[-1] * math.log(LATE) / math.log(share))
        if not changes or float(np.median(paces)) >= -STILL_IMPROVING:
            continue
        change, runs = float(np.median(changes)), len(changes)
        better, moved = sum(each < 0 for each in changes), sum(each != 0 for each in changes)
        p_value = sign_test(better, moved)
        what = f"the validation {arm.figure.label} of {arm.name}"
        by = f"{-100 * change:.0f} % (median) after {100 * share:.0f} % of the training"
        if p_value <= SIGNIFICANCE:
            yield (
                f"Budget: {what} was still improving, by {by} (better in {better} of {runs} runs, "
                f"one-sided sign test {p_phrase(p_value)}); a longer budget {may}."
            )
        else:
            yield (
                f"Budget: whether {what} was still improving cannot be told: it became better by "
                f"{by}, in {better} of {runs} runs (one-sided sign test {p_phrase(p_value)})."
            )


def _edges(analysis: Analysis) -> Iterator[str]:
    """Name confirmed settings at an end of what could be tried, or of what was."""
    for arm in analysis.arms:
        for key, parameter in arm.state.arm.space.items():
            value = (arm.state.best or {}).get(key)
            if not _is_number(value):
                continue
            if isinstance(parameter, Range):
                low, high = parameter.low, parameter.high
            else:
                listed = [float(each) for each in parameter.values if _is_number(each)]
                if len(listed) < FEWEST_CHOICES or len(listed) < len(parameter.values):
                    continue
                low, high = min(listed), max(listed)
            place = (
                math.log(value / low) / math.log(high / low)
                if isinstance(parameter, Range) and parameter.log
                else (value - low) / (high - low)
            )
            found = []
            if place < EDGE_SHARE or place > 1 - EDGE_SHARE:
                side = "lower" if place < EDGE_SHARE else "upper"
                found.append(f"lies at the {side} edge of [{low:g}, {high:g}]")
            found += _end_of_tried(value, _tried(arm, key))
            if found:
                yield (
                    f"Range: {arm.name}'s confirmed {key} = {value:.3g} {' and '.join(found)}; "
                    "better settings may lie beyond."
                )


def _tried(arm: ArmAnalysis, key: str) -> list[float]:
    """Return a parameter's value in every ended trial, those without a score too."""
    points = [record.cell.point for record in arm.state.search if record.is_done]
    return [float(point[key]) for point in points if point and _is_number(point.get(key))]


def _end_of_tried(value: float, tried: list[float]) -> Iterator[str]:
    """Say that no trial had a larger value, or none a smaller, and how often chance does that."""
    if len(set(tried)) < FEWEST_CHOICES or value not in (min(tried), max(tried)):
        return
    side = "largest" if value == max(tried) else "smallest"
    chance = sum(each in (min(tried), max(tried)) for each in tried) / len(tried)
    yield (
        f"is the {side} of {len(set(tried))} tried (where a parameter has no effect, the best "
        f"trial is at either end in {100 * chance:.0f} % of searches)"
    )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _failure_rates(analysis: Analysis) -> Iterator[str]:
    lost = {
        arm.name: sum(record.value is None for record in arm.state.search if record.is_done)
        for arm in analysis.arms
    }
    if len(set(lost.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in lost.items())
        yield (
            f"Unequal losses in the search (trials without a score: {listed}): arms chose among "
            "unequal numbers of scored settings."
        )
    tests = "" if analysis.summary.unranked else " and tests"
    rates = {
        arm.name: 1 - len(arm.scored) / len(arm.confirm) for arm in analysis.arms if arm.confirm
    }
    if len(set(rates.values())) > 1:
        listed = ", ".join(f"{name} {100 * rate:.0f} %" for name, rate in rates.items())
        yield (
            f"Unequal failure rates of confirm runs ({listed}): means are over the surviving runs "
            f"and flatter the arms that fail; read medians{tests}."
        )


def _compute(analysis: Analysis) -> Iterator[str]:
    seconds = {arm.name: arm.seconds_per_run for arm in analysis.arms if arm.seconds_per_run}
    sizes = {
        arm.name: sum(arm.num_parameters.values()) for arm in analysis.arms if arm.num_parameters
    }
    for what, costs in (("seconds of training per run", seconds), ("trainable parameters", sizes)):
        if costs and max(costs.values()) > UNEQUAL * min(costs.values()):
            most, least = max(costs, key=costs.__getitem__), min(costs, key=costs.__getitem__)
            yield (
                f"Unequal compute: {most} takes {costs[most] / costs[least]:.1f} times the {what} "
                f"of {least}; the budget was {budget_text(analysis.records)}."
            )


def _search_noise(analysis: Analysis) -> Iterator[str]:
    if not any(arm.search for arm in analysis.arms):
        done = "shown" if analysis.summary.unranked else "compared"
        yield f"Nothing was tuned: the arms are {done} at their given settings only."
        return
    counts = [len(arm.state.search) for arm in analysis.arms]
    if len(set(counts)) > 1:
        yield (
            f"Unequal search: arms were tuned with {span(counts)} trials; those with more had "
            "better chances."
        )
    seeds = [len(record.cell.seeds) for arm in analysis.arms for record in arm.state.search]
    share = analysis.records.search_share
    length = "parts" if share is None else f"{100 * share:.0f} %"
    yield (
        f"One search: settings were chosen among {span(counts)} trials per arm, each of "
        f"{span(seeds)} training seed{'s' * (max(seeds) > 1)}"
        f"{f' at {length} of the full budget' * (share != 1)}. Another search could have chosen "
        "others; the intervals do not include this."
    )
    for arm in analysis.arms:
        values = sorted(arm.figure.cost(r.value) for r in arm.state.search if r.value is not None)
        sd = arm.metric_mean(analysis.objective)[1]
        if len(values) > 1 and math.isfinite(sd) and values[1] - values[0] < sd:
            yield (
                f"Close call in {arm.name}'s search: the two best trials differ by "
                f"{number(values[1] - values[0])} in validation {arm.figure.label}, less than "
                f"the spread of its confirm runs over seeds ({number(sd)})."
            )


def _conditions(analysis: Analysis) -> Iterator[str]:
    runs = [run for run in analysis.records.runs if run.used]
    watched: dict[str, Any] = {
        "device": [run.params.get("device") for run in runs],
        "precision": [run.params.get("precision") for run in runs],
        "thread count": [run.params.get("threads") for run in runs],
        "torch version": [run.tags.get("version.torch") for run in runs],
        "commit": [run.tags.get("mlflow.source.git.commit") for run in runs],
        "plugins": [run.plugins for run in runs],
        "budget": [_budget(run) for run in runs if run.phase == "confirm"],
    }
    for what, values in watched.items():
        found = sorted({commit_text(str(value)) for value in values if value is not None})
        if len(found) > 1:
            yield f"Mixed conditions: the runs differ in {what} ({', '.join(found)})."
    if any("-dirty" in run.tags.get("mlflow.source.git.commit", "") for run in runs):
        yield "Some runs were trained from a checkout with uncommitted changes."


def _joint(analysis: Analysis) -> Iterator[str]:
    parts = analysis.records.parts
    if not analysis.records.is_joint:
        return
    yield (
        "Put together after the fact: comparisons across studies were not planned when the studies "
        "were started."
    )
    described = {
        "fixed settings": {name: assignments(study.fixed) for name, study in parts.items()},
        "search": {
            name: f"{study.search.sampler}, pruner {study.search.pruner}, {study.search.seeds} "
            f"seed(s) per trial, share {study.search.budget_share:g}"
            for name, study in parts.items()
        },
        "preset": {name: str(study.preset) for name, study in parts.items()},
    }
    for what, values in described.items():
        if len(set(values.values())) > 1:
            listed = "; ".join(f"{name}: {value or 'none'}" for name, value in values.items())
            yield f"Different {what} across studies ({listed})."


def _copying(analysis: Analysis) -> Iterator[str]:
    copies = analysis.copies(analysis.figure)
    for arm in analysis.arms:
        mean = arm.summary.mean
        if copies is None or mean is None:
            continue
        if analysis.figure.cost(mean) >= analysis.figure.cost(copies):
            yield (
                f"Translations by {arm.name} score {number(mean)}, no better than the images that "
                f"they are made from ({number(copies)})."
            )


def _ruler(analysis: Analysis) -> Iterator[str]:
    samples = next(
        (int(run.params["evaluate.samples"]) for run in analysis.records.runs if run.used), 0
    )
    if "inception" not in analysis.metric:
        yield (
            "Scores here are on features of a classifier of the data's own domain: they compare "
            "arms of this protocol and not with published ones on Inception's features."
        )
    if analysis.figure.caveat:
        yield f"{analysis.figure.label} (n = {samples:,}) {analysis.figure.caveat}."


def _budget(run: RunRecord) -> str:
    given = {key: run.params[key] for key in run.params if key.startswith("budget.")}
    return ", ".join(f"{value} {key.removeprefix('budget.')}" for key, value in given.items())
