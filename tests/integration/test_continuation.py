"""Neither interruptions nor evaluations leave a trace in a run's results."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import harness.run.runner
from harness.errors import HarnessError
from harness.run.bench import Bench
from harness.run.checkpoint import save_checkpoint
from harness.run.loop import Progress
from harness.run.runner import Stop, run

BUDGET = 320
# Everything that a continued run could forget: masks, penalty points, moments, running statistics.
EVERYTHING: dict[str, Any] = {
    "d_steps": 2,
    "g_dropout": 0.2,
    "d_dropout": 0.2,
    "penalty": "gradient",
    "penalty_interval": 3,
    "batch_size": 8,
}


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


def test_evaluating_more_often_changes_nothing_in_training(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    once, often = memory(), memory()
    config = small_config(**EVERYTHING)
    first = run(config, times(bench, 1), once, checkpoint=checkpoint)
    other = checkpoint.with_name("other.pt")
    second = run(config, times(bench, 5), often, checkpoint=other)
    assert equal(once.weights, often.weights)
    assert first.scores == second.scores
    assert once.series("train/d_loss") == often.series("train/d_loss")


@pytest.mark.usefixtures("_always_checkpoint")
@pytest.mark.parametrize("call", [1, 2, 12, 13, 21, 22])  # of 20 measurements and 2 scores
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    bench: Bench, checkpoint: Path, tmp_path: Path, call: int, small_config: Any, memory: Any
) -> None:
    config, straight = small_config(**EVERYTHING), memory()
    told_straight: list[Any] = []
    expected = run(
        config,
        bench,
        straight,
        checkpoint=tmp_path / "other.pt",
        on_evaluation=lambda *news: bool(told_straight.append(news)),
    )

    recorder = memory()
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
    again = memory()  # until the caller has noted the result, it can be had without training
    assert run(config, bench, again, checkpoint=checkpoint).scores == expected.scores
    assert not again.scalars
    seen = Counter((key, step) for key, step, _ in recorder.scalars)
    assert seen == Counter((key, step) for key, step, _ in straight.scalars)
    assert set(seen.values()) == {1}
    assert [(key, step) for key, step, _ in recorder.grids] == [
        (key, step) for key, step, _ in straight.grids
    ]
    timed = ("seconds", "per_second", "load")
    timeless = [key for key, _ in seen if not any(word in key for word in timed)]
    for key in timeless:
        assert recorder.series(key) == straight.series(key)


@pytest.mark.usefixtures("_always_checkpoint")
def test_a_run_interrupted_after_its_last_evaluation_is_at_its_end(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    config, recorder = small_config(), memory()
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
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    def stop(progress: Progress, values: Mapping[str, float]) -> None:
        if progress.images_seen == 5 * 16:
            raise Stop("taken over")

    recorder = memory()
    with pytest.raises(Stop):
        run(small_config(), bench, recorder, checkpoint=checkpoint, on_progress=stop)
    assert checkpoint.exists()
    assert max(step for _, step, _ in recorder.scalars) == 4 * 16


@pytest.mark.usefixtures("_always_checkpoint")
def test_a_checkpoint_of_another_config_is_ignored(
    bench: Bench, checkpoint: Path, tmp_path: Path, small_config: Any, memory: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(
            small_config(seed=4),
            bench,
            memory(),
            checkpoint=checkpoint,
            on_progress=interrupt_at(9),
        )
    assert checkpoint.exists()
    recorder, fresh = memory(), memory()
    run(small_config(seed=3), bench, recorder, checkpoint=checkpoint)
    run(small_config(seed=3), bench, fresh, checkpoint=tmp_path / "none.pt")
    assert equal(recorder.weights, fresh.weights)
    assert recorder.series("train/d_loss") == fresh.series("train/d_loss")


def test_a_checkpoint_of_another_version_is_named(
    bench: Bench, checkpoint: Path, small_config: Any, memory: Any
) -> None:
    save_checkpoint(checkpoint, {"train": {}, "evaluations": [], "config": "{}"})
    with pytest.raises(HarnessError, match="written by another version of the harness"):
        run(small_config(), bench, memory(), checkpoint=checkpoint)
