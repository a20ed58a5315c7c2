"""One run: what is scored, how it ends, and that an interruption leaves no trace in its results."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import harness.evaluate.metrics.conditional
import harness.run.runner
from harness.config import parse
from harness.data import Batch, Facts
from harness.errors import HarnessError
from harness.evaluate import METRICS, EvaluateConfig, Evaluator
from harness.run.bench import Bench
from harness.run.checkpoint import save_checkpoint
from harness.run.execution import Execution
from harness.run.loop import Progress
from harness.run.pictures import class_grid
from harness.run.runner import Stop, run
from harness.systems import System, TrainConfig, draw_inputs, generate
from harness.systems.gan import GAN, GANConfig

BUDGET = 320
SMALL: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "mlp",
    "latent_dim": 4,
    "batch_size": 16,
    "g_width": 4,
    "d_width": 4,
    "g_depth": 1,
    "d_depth": 1,
    "budget": {"images": BUDGET},
    "seed": 3,
}
# Everything that a continued run could forget: masks, penalty points, moments, running statistics.
EVERYTHING: dict[str, Any] = {
    "d_steps": 2,
    "g_dropout": 0.2,
    "d_dropout": 0.2,
    "penalty": "gradient",
    "penalty_interval": 3,
    "batch_size": 8,
}
EXPLODING = {"loss": "wasserstein", "optimizer": "sgd", "d_lr": 30.0, "g_lr": 30.0}


def make(**changes: Any) -> GANConfig:
    return parse(GANConfig, SMALL | changes, "test")


class Memory:
    """A recorder that holds values back until they are flushed, as the real one does."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, int, float]] = []
        self.grids: list[tuple[str, int, Any]] = []
        self.generators: list[dict[str, Tensor]] = []
        self.modes: list[bool] = []
        self.others: list[str] = []
        self._pending: list[tuple[str, int, float]] = []
        self._pending_grids: list[tuple[str, int, Any]] = []

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        self._pending += [(key, step, value) for key, value in values.items()]

    def log_grid(self, key: str, picture: Any, step: int) -> None:
        self._pending_grids.append((key, step, picture))

    def log_generator(
        self,
        generator: nn.Module,
        config: TrainConfig,
        facts: Facts,
        others: Mapping[str, nn.Module],
    ) -> None:
        weights = {key: value.clone() for key, value in generator.state_dict().items()}
        self.generators.append(weights)
        self.modes.append(generator.training)
        self.others = list(others)

    def flush(self) -> None:
        self.scalars += self._pending
        self.grids += self._pending_grids
        self.drop()

    def drop(self) -> None:
        self._pending, self._pending_grids = [], []

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.generators[-1]

    def series(self, key: str) -> dict[int, float]:
        return {step: value for name, step, value in self.scalars if name == key}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.set_up(
        "digits",
        None,
        EvaluateConfig(samples=64, times=2, kid_subsets=2),
        execution=Execution(device="cpu", threads=1),
        data_dir=Path("unused"),
        cache_dir=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "run.pt"


@pytest.fixture
def _always_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.run.runner, "CHECKPOINT_SECONDS", -1.0)


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def times(bench: Bench, number: int) -> Bench:
    return dataclasses.replace(bench, times=number)


def interrupt_at(number: int) -> Callable[..., None]:
    calls = iter(range(1, 10_000))

    def on_progress(progress: Progress, values: Mapping[str, float]) -> None:
        if next(calls) == number:
            raise KeyboardInterrupt

    return on_progress


def test_the_scores_are_those_of_the_generator_at_the_full_budget(
    bench: Bench, checkpoint: Path
) -> None:
    recorder, config = Memory(), make(g_lr=1e-2, d_lr=1e-2)
    result = run(config, bench, recorder, checkpoint=checkpoint)

    assert result.outcome == "finished"
    assert result.reason is None
    assert result.progress.images_seen == BUDGET
    assert result.scores == result.last_scores
    plain = [METRICS[name] for name in METRICS if not METRICS[name].needs_labels]
    figures = [figure.name for metric in plain for figure in metric.figures]
    assert set(result.scores) == {bench.evaluator.key("validation", each) for each in figures}
    at_end = bench.evaluator.key("validation", "coverage")
    assert list(recorder.series(at_end)) == [BUDGET]
    curve = recorder.series(bench.objective)
    assert list(curve) == [BUDGET // 2, BUDGET]
    assert result.scores[bench.objective] == curve[BUDGET] != curve[BUDGET // 2]

    facts = bench.dataset.facts
    gan = GAN(config, facts, bench.device)
    gan.generator.load_state_dict(recorder.weights)
    fakes = generate(gan.generator.eval(), draw_inputs(config, facts, 64, config.seed))
    assert bench.evaluator.score(fakes, "validation") == dict(result.scores)
    assert recorder.modes == [False]
    assert recorder.others == ["discriminator"]


def test_a_run_records_curves_grids_and_floors(bench: Bench, checkpoint: Path) -> None:
    recorder = Memory()
    run(make(), bench, recorder, checkpoint=checkpoint)
    assert [(key, step) for key, step, _ in recorder.grids] == [
        ("samples", 0),
        ("samples", BUDGET // 2),
        ("samples", BUDGET),
        ("neighbours", BUDGET),
        ("classes", BUDGET),
    ]
    picture = recorder.grids[0][2]
    assert picture.dtype == np.uint8
    assert picture.shape[-1] == 3
    for key, floor in bench.floors.items():
        assert recorder.series(key) == {BUDGET: floor}
    assert list(recorder.series("train/d_loss")) == list(range(16, BUDGET + 1, 16))
    assert recorder.series("progress/epochs")[BUDGET] == BUDGET / 997
    assert recorder.series("progress/g_steps")[BUDGET] == BUDGET / 16


def test_pictures_of_a_study_show_the_same_latents_in_every_run(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, int]] = []

    def spy(config: GANConfig, facts: Facts, number: int, seed: int) -> tuple[Tensor, ...]:
        drawn.append((number, seed))
        return draw_inputs(config, facts, number, seed)

    monkeypatch.setattr(harness.run.runner, "draw_inputs", spy)
    run(make(seed=5), times(bench, 1), Memory(), checkpoint=checkpoint)
    assert drawn == [(64, 0), (64, 0), (64, 5)]


def test_a_diverged_run_has_a_reason_and_no_score(bench: Bench, checkpoint: Path) -> None:
    recorder = Memory()
    result = run(make(**EXPLODING), times(bench, 20), recorder, checkpoint=checkpoint)

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
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = GAN.step

    def poisoned(self: GAN, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        values = step(self, take, done)
        if self.counts["g_steps"] == 15:
            next(self.discriminator.parameters()).data.fill_(math.inf)
            return values
        return values if self.counts["g_steps"] < 15 else {key: torch.zeros(()) for key in values}

    monkeypatch.setattr(GAN, "step", poisoned)
    result = run(make(), bench, Memory(), checkpoint=checkpoint)
    assert result.outcome == "diverged"
    assert result.reason == f"weights are not finite at images_seen = {BUDGET}"
    assert result.scores == {}
    assert result.last_scores


def test_a_collapsed_run_is_flagged_and_keeps_its_scores(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def constant(generator: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (latents,) = inputs
        return generate(generator, (latents[:1],)).expand(len(latents), -1, -1, -1)

    monkeypatch.setattr(harness.run.runner, "generate", constant)
    recorder = Memory()
    result = run(make(), bench, recorder, checkpoint=checkpoint)
    assert result.outcome == "collapsed"
    assert "spread" in (result.reason or "")
    assert result.scores[bench.objective] == recorder.series(bench.objective)[BUDGET]
    assert len(recorder.generators) == 1


def test_a_run_that_raises_is_a_failed_result(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = GAN.step

    def broken(self: GAN, take: Callable[[], Batch], done: float) -> dict[str, Tensor]:
        if self.counts["g_steps"] == 12:
            raise RuntimeError("out of memory\nand a long story")
        return step(self, take, done)

    monkeypatch.setattr(GAN, "step", broken)
    recorder = Memory()
    result = run(make(), bench, recorder, checkpoint=checkpoint)
    assert result.outcome == "failed"
    assert result.reason == "RuntimeError: out of memory"
    assert result.scores == {}
    assert result.last_scores[bench.objective] == recorder.series(bench.objective)[BUDGET // 2]
    assert result.progress.images_seen == 12 * 16


def test_pruning_ends_a_run_early(bench: Bench, checkpoint: Path) -> None:
    told: list[tuple[int, float]] = []

    def on_evaluation(index: int, fid: float) -> bool:
        told.append((index, fid))
        return index == 2

    recorder = Memory()
    four = times(bench, 4)
    result = run(make(), four, recorder, checkpoint=checkpoint, on_evaluation=on_evaluation)
    assert result.outcome == "pruned"
    assert result.progress.images_seen == BUDGET // 2
    assert "validation FID" in (result.reason or "")
    assert result.scores == {}
    assert told == list(enumerate(recorder.series(bench.objective).values(), start=1))
    assert result.last_scores[bench.objective] == told[-1][1]
    assert max(step for _, step, _ in recorder.scalars) == BUDGET // 2
    assert recorder.generators == []
    assert not checkpoint.exists()


def test_nothing_is_pruned_at_the_full_budget(bench: Bench, checkpoint: Path) -> None:
    last = times(bench, 1)
    result = run(make(), last, Memory(), checkpoint=checkpoint, on_evaluation=lambda *_: True)
    assert result.outcome == "finished"
    assert result.scores


@pytest.mark.parametrize("asked", [False, True])
def test_the_test_split_is_scored_once_at_the_end_and_only_if_asked(
    bench: Bench, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    scored: list[str] = []
    score = type(bench.evaluator).score

    def spy(self: Any, fakes: Tensor, *splits: Any, **options: Any) -> dict[str, float]:
        scored.extend(splits)
        return score(self, fakes, *splits, **options)

    monkeypatch.setattr(type(bench.evaluator), "score", spy)
    options: dict[str, Any] = {"final_splits": ("validation", "test")} if asked else {}
    recorder = Memory()
    result = run(make(), times(bench, 3), recorder, checkpoint=checkpoint, **options)

    assert scored == ["validation"] * 3 + ["test"] * asked
    key = bench.evaluator.key("test", "fid")
    assert (key in result.scores) is asked
    assert list(recorder.series(key)) == [BUDGET] * asked


def test_evaluating_more_often_changes_nothing_in_training(bench: Bench, checkpoint: Path) -> None:
    once, often = Memory(), Memory()
    config = make(**EVERYTHING)
    first = run(config, times(bench, 1), once, checkpoint=checkpoint)
    other = checkpoint.with_name("other.pt")
    second = run(config, times(bench, 5), often, checkpoint=other)
    assert equal(once.weights, often.weights)
    assert first.scores == second.scores
    assert once.series("train/d_loss") == often.series("train/d_loss")


@pytest.mark.usefixtures("_always_checkpoint")
@pytest.mark.parametrize("call", [1, 2, 11, 12, 21, 22])  # of 20 measurements and 2 scores
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    bench: Bench, checkpoint: Path, tmp_path: Path, call: int
) -> None:
    config, straight = make(**EVERYTHING), Memory()
    told_straight: list[Any] = []
    expected = run(
        config,
        bench,
        straight,
        checkpoint=tmp_path / "other.pt",
        on_evaluation=lambda *news: bool(told_straight.append(news)),
    )

    recorder = Memory()
    with pytest.raises(KeyboardInterrupt):
        run(config, bench, recorder, checkpoint=checkpoint, on_progress=interrupt_at(call))
    assert checkpoint.exists()
    recorder.drop()
    told: list[Any] = []
    result = run(
        config,
        bench,
        recorder,
        checkpoint=checkpoint,
        on_evaluation=lambda *news: bool(told.append(news)),
    )

    assert equal(recorder.weights, straight.weights)
    assert result.scores == expected.scores
    assert told == told_straight  # the earlier ones again, for a pruner
    again = Memory()  # until the caller has noted the result, it can be had without training
    assert run(config, bench, again, checkpoint=checkpoint).scores == expected.scores
    assert not again.scalars
    seen = Counter((key, step) for key, step, _ in recorder.scalars)
    assert seen == Counter((key, step) for key, step, _ in straight.scalars)
    assert set(seen.values()) == {1}
    assert [(key, step) for key, step, _ in recorder.grids] == [
        (key, step) for key, step, _ in straight.grids
    ]
    timeless = [key for key, _ in seen if "seconds" not in key and "per_second" not in key]
    for key in timeless:
        assert recorder.series(key) == straight.series(key)


@pytest.mark.usefixtures("_always_checkpoint")
def test_a_run_interrupted_after_its_last_evaluation_is_at_its_end(
    bench: Bench, checkpoint: Path
) -> None:
    config, recorder = make(), Memory()
    flush, flushes = recorder.flush, iter(range(1, 1000))

    def interrupted_at_the_end() -> None:
        # 1 before training, 20 measurements, 2 milestones; the next one is the last.
        if next(flushes) == 24:
            raise KeyboardInterrupt
        flush()

    recorder.flush = interrupted_at_the_end  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(config, bench, recorder, checkpoint=checkpoint)
    scores = {key: recorder.series(key)[BUDGET] for key in (bench.objective,)}
    recorder.drop()

    def trains(progress: Progress, values: Mapping[str, float]) -> None:
        raise Stop("there was nothing left to train")

    result = run(config, bench, recorder, checkpoint=checkpoint, on_progress=trains)
    assert result.outcome == "finished"
    assert result.progress.images_seen == BUDGET
    assert result.scores[bench.objective] == scores[bench.objective]


@pytest.mark.usefixtures("_always_checkpoint")
def test_a_stopped_run_leaves_its_checkpoint_to_whoever_took_it_over(
    bench: Bench, checkpoint: Path
) -> None:
    def stop(progress: Progress, values: Mapping[str, float]) -> None:
        if progress.images_seen == 5 * 16:
            raise Stop("taken over")

    recorder = Memory()
    with pytest.raises(Stop):
        run(make(), bench, recorder, checkpoint=checkpoint, on_progress=stop)
    assert checkpoint.exists()
    assert max(step for _, step, _ in recorder.scalars) == 4 * 16


def test_what_the_watcher_raises_is_not_the_runs_failure(bench: Bench, checkpoint: Path) -> None:
    def broken(progress: Progress, values: Mapping[str, float]) -> None:
        raise ValueError("a bug of the caller")

    with pytest.raises(ValueError, match="a bug of the caller"):
        run(make(), bench, Memory(), checkpoint=checkpoint, on_progress=broken)


@pytest.mark.usefixtures("_always_checkpoint")
def test_a_checkpoint_of_another_config_is_ignored(
    bench: Bench, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(make(seed=4), bench, Memory(), checkpoint=checkpoint, on_progress=interrupt_at(9))
    assert checkpoint.exists()
    recorder, fresh = Memory(), Memory()
    run(make(seed=3), bench, recorder, checkpoint=checkpoint)
    run(make(seed=3), bench, fresh, checkpoint=tmp_path / "none.pt")
    assert equal(recorder.weights, fresh.weights)
    assert recorder.series("train/d_loss") == fresh.series("train/d_loss")


def test_a_checkpoint_of_another_version_is_named(bench: Bench, checkpoint: Path) -> None:
    save_checkpoint(checkpoint, {"train": {}, "evaluations": [], "config": "{}"})
    with pytest.raises(HarnessError, match="written by another version of the harness"):
        run(make(), bench, Memory(), checkpoint=checkpoint)


# Samples that are asked of a class.


def ask(stamp: type[System[Any]], **changes: Any) -> TrainConfig:
    settings = {"system": "stamp", "dataset": "digits", "batch_size": 80}
    budget = {"budget": {"images": 4000}}
    return parse(stamp.Config, settings | budget | changes, "test")


def ranked_by(bench: Bench, objective: str) -> Bench:
    evaluate = EvaluateConfig(samples=64, times=2, kid_subsets=2, objective=objective)
    cache = bench.evaluator._cache_dir
    evaluator = Evaluator(bench.dataset, evaluate, cache_dir=cache, device=bench.device)
    floors = {
        key: value
        for split in ("validation", "test")
        for key, value in evaluator.floor(split, conditional=True).items()
    }
    return dataclasses.replace(bench, evaluator=evaluator, floors=floors)


CONDITIONAL = ("intra_fid", "class_accuracy")


def test_a_conditional_run_is_scored_by_class(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]]
) -> None:
    recorder, config = Memory(), ask(stamp)
    both = ("validation", "test")
    result = run(config, bench, recorder, checkpoint=checkpoint, final_splits=both)
    assert result.reason is None
    for split in both:
        for figure in CONDITIONAL:
            key = bench.evaluator.key(split, figure)
            assert recorder.series(key) == {4000: result.scores[key]}
            floor = bench.evaluator.key(split, f"{figure}_floor")
            assert floor not in bench.floors
            assert list(recorder.series(floor)) == [4000]
        accuracy = bench.evaluator.key(split, "class_accuracy")
        assert result.scores[accuracy] > 0.9  # it stamps each class's mean picture
    assert recorder.others == ["generator", "critic"]
    for key, floor in bench.floors.items():
        assert recorder.series(key) == {4000: floor}


def test_an_unconditional_run_records_nothing_of_classes_asked_for(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]]
) -> None:
    recorder = Memory()
    result = run(ask(stamp, conditional=False), bench, recorder, checkpoint=checkpoint)
    assert result.scores
    run(make(), bench, recorder, checkpoint=checkpoint)
    assert not any(figure in key for key, *_ in recorder.scalars for figure in CONDITIONAL)


def test_the_rows_of_the_picture_are_the_classes_asked_for(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[int]] = []

    def spy(images: Tensor, classes: Tensor) -> Any:
        shown.append(classes.tolist())
        return class_grid(images, classes)

    monkeypatch.setattr(harness.run.runner, "class_grid", spy)
    config = ask(stamp, budget={"images": 80})  # after one step the ruler would not know them
    run(config, bench, Memory(), checkpoint=checkpoint)
    _, asked = draw_inputs(config, bench.dataset.facts, 64, config.seed)
    assert shown == [asked.tolist()]


def test_conditional_runs_are_ranked_by_a_figure_of_theirs(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]]
) -> None:
    ranked, recorder = ranked_by(bench, "intra_fid"), Memory()
    told: list[float] = []
    result = run(
        ask(stamp),
        ranked,
        recorder,
        checkpoint=checkpoint,
        on_evaluation=lambda index, score: bool(told.append(score)),
    )
    assert list(recorder.series(ranked.objective).values()) == told
    assert len(told) == 2
    assert result.scores[ranked.objective] == told[-1]
    assert ranked.floor == ranked.floors[ranked.evaluator.key("test", "intra_fid_floor")]


def test_runs_without_classes_cannot_be_ranked_by_them(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]]
) -> None:
    ranked = ranked_by(bench, "class_accuracy")
    for config in (make(), ask(stamp, conditional=False)):
        words = rf"objective = 'class_accuracy' ranks .* system = '{config.system}' with these set"
        with pytest.raises(HarnessError, match=words):
            run(config, ranked, Memory(), checkpoint=checkpoint)
    ranked.check(ask(stamp))


def test_samples_that_lack_what_they_are_ranked_by_are_a_failed_result(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = ranked_by(bench, "intra_fid")
    monkeypatch.setattr(harness.evaluate.metrics.conditional, "FEWEST", 1000)
    result = run(ask(stamp), ranked, Memory(), checkpoint=checkpoint)
    assert result.outcome == "failed"
    assert result.reason == f"ValueError: {ranked.objective}: these samples have no such figure"


def test_scores_by_class_change_nothing_in_training(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]]
) -> None:
    once, often = Memory(), Memory()
    run(ask(stamp), times(bench, 1), once, checkpoint=checkpoint)
    other = checkpoint.with_name("other.pt")
    run(ask(stamp), times(ranked_by(bench, "intra_fid"), 5), often, checkpoint=other)
    assert equal(once.weights, often.weights)
