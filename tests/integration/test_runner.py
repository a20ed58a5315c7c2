"""One run: what is scored, what is recorded, and how it ends."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import harness.run.runner
import harness.run.scoring
from harness.data import Batch, Facts
from harness.errors import HarnessError
from harness.evaluate import METRICS, EvaluateConfig
from harness.evaluate.metric import is_floor, is_judged
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.run.loop import Progress
from harness.run.runner import _ending, run
from harness.systems import draw_inputs, generate
from harness.systems.gan import GAN, GANConfig

BUDGET = 320
MIDDLE = 192  # of two milestones the first: 12 of 20 iterations of 16 images
EXPLODING = {"loss": "wasserstein", "optimizer": "sgd", "d_lr": 30.0, "g_lr": 30.0}


def times(bench: Bench, number: int) -> Bench:
    return dataclasses.replace(bench, times=number)


def test_the_scores_are_those_of_the_generator_at_the_full_budget(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    recorder, config = memory(), small_config(g_lr=1e-2, d_lr=1e-2)
    result = run(config, bench, recorder, checkpoint=checkpoint)

    assert result.outcome == "finished"
    assert result.reason is None
    assert result.progress.images_seen == BUDGET
    assert result.scores == result.last_scores
    plain = [
        METRICS[name]
        for name in METRICS
        if not METRICS[name].needs_labels
        and not METRICS[name].needs_density
        and not METRICS[name].needs_returned
    ]
    figures = [figure.name for metric in plain for figure in metric.figures]
    assert set(result.scores) == {bench.evaluator.key("validation", each) for each in figures}
    at_end = bench.evaluator.key("validation", "coverage")
    assert list(recorder.series(at_end)) == [BUDGET]
    curve = recorder.series(bench.objective)
    assert list(curve) == [MIDDLE, BUDGET]
    assert result.scores[bench.objective] == curve[BUDGET] != curve[MIDDLE]

    facts = bench.dataset.facts
    gan = GAN(config, facts, bench.device)
    gan.generator.load_state_dict(recorder.weights)
    fakes = generate(gan.generator.eval(), draw_inputs(config, facts, 64, config.seed))
    assert bench.evaluator.score(fakes, "validation") == dict(result.scores)
    assert recorder.modes == [False]
    assert recorder.others == ["generator", "discriminator"]


def test_a_run_records_curves_grids_and_floors(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    recorder = memory()
    run(small_config(), bench, recorder, checkpoint=checkpoint)
    assert [(key, step) for key, step, _ in recorder.grids] == [
        ("samples", MIDDLE),
        ("samples", BUDGET),
        ("neighbours", BUDGET),
        ("classes", BUDGET),
    ]
    picture = recorder.grids[0][2]
    assert picture.dtype == np.uint8
    assert picture.shape[-1] == 3
    assert recorder.floors == bench.floors
    assert not any(is_floor(key) for key, *_ in recorder.scalars)
    assert list(recorder.series("train/d_loss")) == list(range(16, BUDGET + 1, 16))
    assert recorder.series("progress/epochs")[BUDGET] == BUDGET / 997
    assert recorder.series("progress/g_steps")[BUDGET] == BUDGET / 16


def test_pictures_of_a_study_show_the_same_latents_in_every_run(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, small_config: Any, memory: Any
) -> None:
    drawn: list[tuple[int, int]] = []

    def spy(
        config: GANConfig, facts: Facts, number: int, seed: int, **options: Any
    ) -> tuple[Tensor, ...]:
        drawn.append((number, seed))
        return draw_inputs(config, facts, number, seed, **options)

    for module in (harness.run.runner, harness.run.scoring):
        monkeypatch.setattr(module, "draw_inputs", spy)
    run(small_config(seed=5), times(bench, 1), memory(), checkpoint=checkpoint)
    assert drawn == [(64, 0), (64, 5)]


def test_a_diverged_run_has_a_reason_and_no_score(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    recorder = memory()
    result = run(small_config(**EXPLODING), times(bench, 20), recorder, checkpoint=checkpoint)

    assert result.outcome == "diverged"
    assert "not finite at images_seen = " in (result.reason or "")
    assert result.scores == {}
    assert 0 < result.progress.images_seen < BUDGET
    curve = recorder.series(bench.objective)
    assert curve  # it was scored at least once before
    assert result.last_scores[bench.objective] == curve[max(curve)]
    assert all(math.isfinite(value) for value in result.last_scores.values())
    assert recorder.generators == []


def test_weights_that_are_not_finite_are_never_scored(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, small_config: Any, memory: Any
) -> None:
    step = GAN.step

    def poisoned(self: GAN, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        values = step(self, take, done)
        if self.counts["g_steps"] == 15:
            next(self.discriminator.parameters()).data.fill_(math.inf)
            return values
        return values if self.counts["g_steps"] < 15 else {key: torch.zeros(()) for key in values}

    monkeypatch.setattr(GAN, "step", poisoned)
    result = run(small_config(), bench, memory(), checkpoint=checkpoint)
    assert result.outcome == "diverged"
    assert result.reason == f"weights are not finite at images_seen = {BUDGET}"
    assert result.scores == {}
    assert result.last_scores


def test_a_collapsed_run_is_flagged_and_keeps_its_scores(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, small_config: Any, memory: Any
) -> None:
    def constant(generator: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (latents,) = inputs
        return generate(generator, (latents[:1],)).expand(len(latents), -1, -1, -1)

    for module in (harness.run.runner, harness.run.scoring):
        monkeypatch.setattr(module, "generate", constant)
    recorder = memory()
    result = run(small_config(), bench, recorder, checkpoint=checkpoint)
    assert result.outcome == "collapsed"
    assert "spread" in (result.reason or "")
    assert result.scores[bench.objective] == recorder.series(bench.objective)[BUDGET]
    assert len(recorder.generators) == 1


def test_a_way_back_that_collapsed_is_a_collapse(bench: Bench) -> None:
    key = bench.evaluator.key("validation", "feature_spread")
    back = SimpleNamespace(key=lambda split, name: f"{key}_to_a")
    both: Any = SimpleNamespace(evaluator=bench.evaluator, back=back)
    assert _ending({key: 0.9, f"{key}_to_a": 0.01}, both)[0] == "collapsed"
    assert _ending({key: 0.01, f"{key}_to_a": 0.9}, both)[0] == "collapsed"
    assert _ending({key: 0.9, f"{key}_to_a": 0.9}, both)[0] == "finished"
    assert _ending({key: 0.9}, both)[0] == "finished"  # nothing leads back


def test_a_run_that_raises_is_a_failed_result(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, small_config: Any, memory: Any
) -> None:
    step = GAN.step

    def broken(self: GAN, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        if self.counts["g_steps"] == 13:
            raise RuntimeError("out of memory\nand a long story")
        return step(self, take, done)

    monkeypatch.setattr(GAN, "step", broken)
    recorder = memory()
    result = run(small_config(), bench, recorder, checkpoint=checkpoint)
    assert result.outcome == "failed"
    assert result.reason == "RuntimeError: out of memory"
    assert result.scores == {}
    assert result.last_scores[bench.objective] == recorder.series(bench.objective)[MIDDLE]
    assert result.progress.images_seen == 13 * 16


def test_pruning_ends_a_run_early(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    told: list[tuple[int, float]] = []

    def on_evaluation(index: int, fid: float) -> bool:
        told.append((index, fid))
        return index == 2

    recorder = memory()
    four = times(bench, 4)
    result = run(small_config(), four, recorder, checkpoint=checkpoint, on_evaluation=on_evaluation)
    assert result.outcome == "pruned"
    assert result.progress.images_seen == 7 * 16
    assert "validation FID" in (result.reason or "")
    assert result.scores == {}
    assert told == list(enumerate(recorder.series(bench.objective).values(), start=1))
    assert result.last_scores[bench.objective] == told[-1][1]
    assert max(step for _, step, _ in recorder.scalars) == 7 * 16
    assert recorder.generators == []
    assert not checkpoint.exists()


def test_nothing_is_pruned_at_the_full_budget(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    last = times(bench, 1)
    result = run(
        small_config(), last, memory(), checkpoint=checkpoint, on_evaluation=lambda *_: True
    )
    assert result.outcome == "finished"
    assert result.scores


@pytest.mark.parametrize("asked", [False, True])
def test_the_test_split_is_scored_once_at_the_end_and_only_if_asked(
    bench: Bench,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool,
    small_config: Any,
    memory: Any,
) -> None:
    scored: list[str] = []
    judged: list[str] = []
    score = type(bench.evaluator).score

    def spy(self: Any, fakes: Tensor, *splits: Any, **options: Any) -> dict[str, float]:
        (judged if self is bench.judge else scored).extend(splits)
        return score(self, fakes, *splits, **options)

    monkeypatch.setattr(type(bench.evaluator), "score", spy)
    options: dict[str, Any] = {"final_splits": ("validation", "test")} if asked else {}
    recorder = memory()
    result = run(small_config(), times(bench, 3), recorder, checkpoint=checkpoint, **options)

    assert scored == ["validation"] * 3 + ["test"] * asked
    assert judged == ["validation", "test"] * asked
    key = bench.evaluator.key("test", "fid")
    assert (key in result.scores) is asked
    assert list(recorder.series(key)) == [BUDGET] * asked


def test_what_ends_on_test_images_is_judged_by_a_second_ruler(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    recorder, both = memory(), ("validation", "test")
    result = run(small_config(), bench, recorder, checkpoint=checkpoint, final_splits=both)
    judged = {key for key in result.scores if is_judged(key)}
    names = ("fid", "precision", "recall", "density", "coverage")
    assert bench.judge is not None
    assert judged == {bench.judge.key(split, name) for split in both for name in names}
    assert all(list(recorder.series(key)) == [BUDGET] for key in judged)
    assert bench.metric not in judged
    for split in both:
        own, other = (
            result.scores[each.key(split, "fid")] for each in (bench.evaluator, bench.judge)
        )
        assert own != other
        floor = recorder.floors[bench.judge.key(split, "fid_floor")]
        assert 0 < floor < other
    assert bench.protocol["judge"] == "digits_judge_v1"
    assert bench.protocol["extractor"] == "digits_cnn_v2"

    checkpoint.unlink()
    unjudged = dataclasses.replace(bench, judge=None)
    without = run(small_config(), unjudged, memory(), checkpoint=checkpoint, final_splits=both)
    assert without.scores == {key: result.scores[key] for key in result.scores.keys() - judged}
    assert "judge" not in unjudged.protocol


def test_no_run_is_ranked_by_a_second_ruler(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="a second ruler chooses nothing"):
        Bench.set_up(
            bench.dataset,
            EvaluateConfig(extractor="digits_judge_v1"),
            execution=Execution(device="cpu", threads=1),
            cache_dir=tmp_path,
        )


def test_what_the_watcher_raises_is_not_the_runs_failure(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    def broken(progress: Progress, values: Mapping[str, float]) -> None:
        raise ValueError("a bug of the caller")

    with pytest.raises(ValueError, match="a bug of the caller"):
        run(small_config(), bench, memory(), checkpoint=checkpoint, on_progress=broken)
