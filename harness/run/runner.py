"""One run: train, evaluate at milestones, record, checkpoint, stop when told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn

from harness.data import Facts, Split
from harness.data.pictures import Picture
from harness.errors import HarnessError
from harness.run.bench import Bench
from harness.run.checkpoint import load_checkpoint, save_checkpoint
from harness.run.flops import flops_per_iteration
from harness.run.load import Load
from harness.run.loop import Measured, Milestone, Progress, train
from harness.run.scoring import score
from harness.signals import uninterrupted
from harness.systems import System, TrainConfig, draw_inputs, generate

Outcome = Literal["finished", "collapsed", "diverged", "pruned", "failed", "interrupted"]

GRID_KEY = "samples"
NEIGHBOURS_KEY = "neighbours"  # final samples, each above its nearest training image
CLASSES_KEY = "classes"  # final samples, a row per class: that asked for, else the ruler's
NEIGHBOURS = 32  # samples shown with theirs
SORTED = 1000  # samples among which ten of each class are looked for
GRID_SEED = 0  # the same inputs in every run of a study, so grids compare across arms
CHECKPOINT_SECONDS = 15.0
CHECKPOINT_FORMAT = 4  # raised whenever an older file could not be continued
COLLAPSED_BELOW = 0.05
"""A run is collapsed when its samples' features spread less than this share of the real ones'."""


class Recorder(Protocol):
    """Where a run's results go. Writes may be held back until `flush`."""

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record finite scalars at `step` images seen."""

    def log_floors(self, floors: Mapping[str, float]) -> None:
        """Record what real images score by the same figures."""

    def log_grid(self, key: str, picture: Picture, step: int) -> None:
        """Record a picture (H, W, 3) at `step` images seen."""

    def log_generator(
        self,
        generator: nn.Module,
        config: TrainConfig,
        facts: Facts,
        others: Mapping[str, nn.Module],
    ) -> None:
        """Record the final generator, in eval mode, and the system's other networks by name."""

    def flush(self) -> None:
        """Write all that was held back."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What became of a run.

    Attributes:
        outcome: `finished` or `collapsed` have final scores; the others have none.
        reason: Why it did not finish, one line.
        scores: The last evaluation's values at the full budget, by protocol key.
        last_scores: The last evaluation that took place, whatever the outcome.
        progress: How far training came.
    """

    outcome: Outcome
    progress: Progress
    reason: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    last_scores: Mapping[str, float] = field(default_factory=dict)


class Stop(Exception):  # noqa: N818 - not an error: the watcher's way to end a run
    """Raised by `on_progress` to abandon a run that is no longer ours."""


def run(
    config: TrainConfig,
    bench: Bench,
    recorder: Recorder,
    *,
    checkpoint: Path,
    final_splits: tuple[Split, ...] = ("validation",),
    on_evaluation: Callable[[int, float], bool] = lambda index, score: False,
    on_progress: Callable[[Progress, Mapping[str, float]], None] = lambda progress, values: None,
) -> RunResult:
    """Train one generator to the end of its budget, or as far as it gets.

    Args:
        config: The run's settings.
        bench: Data, metric and device.
        recorder: Where results go.
        checkpoint: File to continue from and to keep up to date; the caller removes it once the
            result is noted.
        final_splits: What the last evaluation scores against; earlier ones see validation only.
        on_evaluation: Told (milestone's index, validation score); True prunes the run. After an
            interruption it is told again of the evaluations before it.
        on_progress: Told of every measurement; may raise `Stop`: the run's checkpoint stays.

    Returns:
        The result. Exceptions from training and scoring become the outcome `failed`;
        KeyboardInterrupt, and what the recorder, the checkpoint's disk and the watchers raise, pass
        through: they say nothing of the run, which goes on from its last checkpoint.
    """
    flops = flops_per_iteration(config, bench)
    system = _build(config, bench)
    if isinstance(system, RunResult):
        return system
    saved = _matching_checkpoint(checkpoint, config)
    # Index and scores of every milestone: those that fall together leave indices out.
    evaluations: list[tuple[int, dict[str, float]]] = saved["evaluations"] if saved else []
    for index, values in evaluations:
        on_evaluation(index, values[bench.objective])
    progress = Progress(**saved["train"]["progress"]) if saved else Progress()
    load = Load(saved["load"] if saved else None)
    saved_at = time.monotonic()
    resume = saved["train"] if saved else None

    events = train(system, bench.part, milestones=bench.times, evenly=bench.evenly, resume=resume)
    outcome: Outcome = "finished"
    reason: str | None = None
    try:
        for event in events:
            progress = event.progress
            if isinstance(event, Measured):
                with _not_the_run():
                    values = _metrics(event, bench, flops) | {"progress/load": load.measure()}
                    recorder.log_metrics(values, progress.images_seen)
                    on_progress(progress, event.values)
                _check_finite(event)
            elif scores := _evaluate(event, system, bench, recorder, final_splits):
                evaluations.append((event.index, scores))
                with _not_the_run():
                    on_progress(progress, scores)
                    prune = on_evaluation(event.index, scores[bench.objective])
                if prune and not event.is_last:
                    label = bench.evaluator.objective.label
                    raise _Pruned(f"validation {label} {scores[bench.objective]:.4g}")
            # The last one makes sure that a result that nobody could note is not trained again.
            ended = isinstance(event, Milestone) and event.is_last
            if ended or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                content = {
                    "train": event.snapshot(),
                    "evaluations": evaluations,
                    "load": load.state,
                    "config": config.model_dump_json(),
                    "format": CHECKPOINT_FORMAT,
                }
                with _not_the_run():
                    recorder.flush()  # first the curve, then the point from which it goes on
                    save_checkpoint(checkpoint, content)
                saved_at = time.monotonic()
        outcome, reason = _ending(evaluations[-1][1], bench)
    except FloatingPointError as error:
        outcome, reason = "diverged", f"{error} at images_seen = {progress.images_seen}"
    except _Pruned as error:
        outcome, reason = "pruned", f"{error} at images_seen = {progress.images_seen}"
    except _NotTheRunError as wrapped:
        raise wrapped.error from None
    except Exception as error:  # whatever it is, it is this run's result, not the study's end
        outcome, reason = "failed", _first_line(error)
    finally:
        events.close()
    recorder.flush()
    last = evaluations[-1][1] if evaluations else {}
    return RunResult(
        outcome=outcome,
        reason=reason,
        progress=progress,
        scores=last if outcome in ("finished", "collapsed") else {},
        last_scores=last,
    )


def _ending(scores: Mapping[str, float], bench: Bench) -> tuple[Outcome, str | None]:
    """Return how a run that came to its end has ended."""
    ways = filter(None, (bench.evaluator, bench.back))
    keys = [way.key("validation", "feature_spread") for way in ways]
    spread = min(scores[key] for key in keys if key in scores)
    if spread < COLLAPSED_BELOW:
        return "collapsed", f"samples' features spread {spread:.3g} of the real ones'"
    return "finished", None


def _build(config: TrainConfig, bench: Bench) -> System[Any] | RunResult:
    """Return the system, or the result of a run whose networks cannot be built."""
    try:
        return bench.start(config)
    except HarnessError:  # settings that do not fit the data
        raise
    except Exception as error:
        return RunResult(outcome="failed", reason=_first_line(error), progress=Progress())


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


class _NotTheRunError(Exception):
    """Carries an error that says nothing of the run past the handling of those that do."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@contextmanager
def _not_the_run() -> Iterator[None]:
    """Let errors of records, disks and watchers leave `run` as they are: they are no results.

    An interruption waits: a store whose transaction it cut off would keep others waiting.
    """
    try:
        with uninterrupted():
            yield
    except Exception as error:
        raise _NotTheRunError(error) from error


class _Pruned(Exception):  # noqa: N818 - a decision, not an error
    """The watcher has seen enough."""


def _check_finite(event: Measured) -> None:
    bad = [key for key, value in event.values.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(f"{bad[0]} is not finite")


def _matching_checkpoint(path: Path, config: TrainConfig) -> dict[str, Any] | None:
    saved = load_checkpoint(path)
    if saved and saved.get("format") != CHECKPOINT_FORMAT:
        raise HarnessError(
            f"{path} was written by another version of the harness: go on with that one, or delete "
            "the file to train its run from the start"
        )
    return saved if saved and saved["config"] == config.model_dump_json() else None


def _metrics(event: Measured, bench: Bench, flops: float | None) -> dict[str, float]:
    progress = event.progress
    spent = {} if flops is None else {"progress/flops": flops * progress.iterations}
    return {f"train/{key}": value for key, value in event.values.items()} | {
        **{f"progress/{unit}": count for unit, count in progress.counts.items()},
        "progress/epochs": progress.images_seen / len(bench.part),
        "progress/train_seconds": progress.train_seconds,
        **spent,
    }


def _evaluate(
    milestone: Milestone,
    system: System[Any],
    bench: Bench,
    recorder: Recorder,
    final_splits: tuple[Split, ...],
) -> dict[str, float]:
    """Draw the grid, score the samples and record both; before training there is nothing to see.

    Everything random comes from seeds of its own, and the generator's mode is put back: training
    does not notice.
    """
    if not system.is_finite():
        raise FloatingPointError("weights are not finite")
    if milestone.index == 0:
        return {}
    config, others, facts = system.config, dict(system.networks), system.facts
    generator = others.pop(system.sampled(config))
    step = milestone.progress.images_seen
    with _evaluating(system):
        shown = bench.evaluator.sources("validation")
        inputs = draw_inputs(config, facts, facts.kind.num_shown, GRID_SEED, sources=shown)
        pictures = {GRID_KEY: facts.kind.picture(generate(generator, inputs), facts.density)}
        pictures |= system.draw(bench.dataset.validation, final=milestone.is_last)
        with _not_the_run():
            for key, picture in pictures.items():
                recorder.log_grid(key, picture, step)
        splits = final_splits if milestone.is_last else ("validation",)
        scored = score(system, bench, splits, final=milestone.is_last)
        scores, fakes, asked = scored.figures, scored.samples, scored.asked
        if bench.objective not in scores:
            raise ValueError(f"{bench.objective}: these samples have no such figure")
        if bad := [key for key, value in scores.items() if not math.isfinite(value)]:
            raise ValueError(f"{bad[0]} is {scores[bad[0]]}: a metric must be finite")
        with _not_the_run():
            recorder.log_metrics(scores, step)
        if milestone.is_last:
            few, more = fakes[:NEIGHBOURS], fakes[:SORTED]
            nearest = bench.evaluator.nearest_training_images(few)
            neighbours = facts.kind.picture_with_neighbours(few, nearest)
            classes = bench.evaluator.classes_of(more) if asked is None else asked[:SORTED]
            floors = bench.floors_of(conditional=asked is not None)
            with _not_the_run():
                if neighbours is not None:
                    recorder.log_grid(NEIGHBOURS_KEY, neighbours, step)
                if classes is not None:
                    sorted_ones = facts.kind.picture_by_class(
                        more, classes, facts.num_classes, facts.density
                    )
                    recorder.log_grid(CLASSES_KEY, sorted_ones, step)
                recorder.log_floors(floors)
                recorder.log_generator(generator, config, facts, others)
    return scores


@contextmanager
def _evaluating(system: System[Any]) -> Iterator[None]:
    """Put all networks in eval mode, and back."""
    networks = system.networks.values()
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network in networks:
            network.train()
