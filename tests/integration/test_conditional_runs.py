"""Runs whose samples are asked of a class: what is scored, shown and ranked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import harness.data.kinds
import harness.evaluate.metrics.conditional
from harness.config import parse
from harness.data.pictures import class_grid
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig, Evaluator
from harness.run.bench import Bench
from harness.run.runner import run
from harness.systems import System, TrainConfig, draw_inputs


def times(bench: Bench, number: int) -> Bench:
    return dataclasses.replace(bench, times=number)


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def ask(stamp: type[System[Any]], **changes: Any) -> TrainConfig:
    settings = {"system": "stamp", "dataset": "digits", "batch_size": 80}
    budget = {"budget": {"images": 4000}}
    return parse(stamp.Config, settings | budget | changes, "test")


def ranked_by(bench: Bench, objective: str) -> Bench:
    evaluate = EvaluateConfig(samples=64, times=2, kid_subsets=2, objective=objective)
    cache = bench.evaluator._cache_dir
    evaluator = Evaluator(bench.dataset, evaluate, cache_dir=cache, device=bench.device)
    return dataclasses.replace(bench, evaluator=evaluator)


CONDITIONAL = ("intra_fid", "class_accuracy")


def test_a_conditional_run_is_scored_by_class(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], memory: Any
) -> None:
    recorder, config = memory(), ask(stamp)
    both = ("validation", "test")
    result = run(config, bench, recorder, checkpoint=checkpoint, final_splits=both)
    assert result.reason is None
    for split in both:
        for figure in CONDITIONAL:
            key = bench.evaluator.key(split, figure)
            assert recorder.series(key) == {4000: result.scores[key]}
            floor = bench.evaluator.key(split, f"{figure}_floor")
            assert floor not in bench.floors
            assert recorder.floors[floor] is not None
        accuracy = bench.evaluator.key(split, "class_accuracy")
        assert result.scores[accuracy] > 0.9  # it stamps each class's mean picture
    assert recorder.others == ["generator", "critic"]
    assert recorder.floors.items() >= bench.floors.items()


def test_an_unconditional_run_records_nothing_of_classes_asked_for(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], memory: Any, small_config: Any
) -> None:
    recorder = memory()
    result = run(ask(stamp, conditional=False), bench, recorder, checkpoint=checkpoint)
    assert result.scores
    run(small_config(), bench, recorder, checkpoint=checkpoint)
    assert not any(figure in key for key, *_ in recorder.scalars for figure in CONDITIONAL)


def test_the_rows_of_the_picture_are_the_classes_asked_for(
    bench: Bench,
    checkpoint: Path,
    stamp: type[System[Any]],
    monkeypatch: pytest.MonkeyPatch,
    memory: Any,
) -> None:
    shown: list[list[int]] = []

    def spy(images: Tensor, classes: Tensor, num_classes: int) -> Any:
        shown.append(classes.tolist())
        return class_grid(images, classes, num_classes)

    monkeypatch.setattr(harness.data.kinds, "class_grid", spy)
    config = ask(stamp, budget={"images": 80})  # after one step the ruler would not know them
    run(config, bench, memory(), checkpoint=checkpoint)
    _, asked = draw_inputs(config, bench.dataset.facts, 64, config.seed)
    assert shown == [asked.tolist()]


def test_conditional_runs_are_ranked_by_a_figure_of_theirs(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], memory: Any
) -> None:
    ranked, recorder = ranked_by(bench, "intra_fid"), memory()
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
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], memory: Any, small_config: Any
) -> None:
    ranked = ranked_by(bench, "class_accuracy")
    for config in (small_config(), ask(stamp, conditional=False)):
        words = rf"objective = 'class_accuracy' ranks .* system = '{config.system}' with these set"
        with pytest.raises(HarnessError, match=words):
            run(config, ranked, memory(), checkpoint=checkpoint)
    ranked.check(ask(stamp))


def test_samples_that_lack_what_they_are_ranked_by_are_a_failed_result(
    bench: Bench,
    checkpoint: Path,
    stamp: type[System[Any]],
    monkeypatch: pytest.MonkeyPatch,
    memory: Any,
) -> None:
    ranked = ranked_by(bench, "intra_fid")
    monkeypatch.setattr(harness.evaluate.metrics.conditional, "FEWEST", 1000)
    result = run(ask(stamp), ranked, memory(), checkpoint=checkpoint)
    assert result.outcome == "failed"
    assert result.reason == f"ValueError: {ranked.objective}: these samples have no such figure"


def test_scores_by_class_change_nothing_in_training(
    bench: Bench, checkpoint: Path, stamp: type[System[Any]], memory: Any
) -> None:
    once, often = memory(), memory()
    run(ask(stamp), times(bench, 1), once, checkpoint=checkpoint)
    other = checkpoint.with_name("other.pt")
    run(ask(stamp), times(ranked_by(bench, "intra_fid"), 5), often, checkpoint=other)
    assert equal(once.weights, often.weights)
