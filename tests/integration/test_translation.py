"""A study of a system that translates images: run, resumed, reported, exported and reproduced."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from PIL import Image

from harness.config import parse
from harness.data import load_dataset, to_unit_range
from harness.errors import HarnessError
from harness.evaluate import EvaluateConfig
from harness.evaluate.metric import is_judged
from harness.launch import preview
from harness.records.recorder import FLOORS_FILE
from harness.records.tracking import Tracker, settings_of
from harness.records.workspace import Workspace
from harness.results.export import export_best
from harness.results.report import write_report
from harness.results.reproduce import reproduce_run
from harness.results.score import score_images
from harness.results.summary import StudySummary
from harness.run.bench import Bench
from harness.run.execution import Execution
from harness.run.runner import Stop, run
from harness.study.study import StudyConfig
from harness.systems import generate, load_generator, parse_config
from harness.work.board import open_study
from harness.work.plan import set_up_lone_bench

PAIR = "pairs:coloured:digits|digits"  # the target has a shipped ruler
SMALL: dict[str, Any] = {
    "system": "cyclegan",
    "g_width": 4,
    "d_width": 4,
    "residual_blocks": 1,
    "downsamplings": 1,
    "batch_size": 16,
    "pool_size": 20,
}
STUDY: dict[str, Any] = {
    "question": "Does the cycle matter?",
    "dataset": PAIR,
    "fixed": SMALL,
    "compare": {"cycle_weight": [10.0, 0.0]},
    "confirm": {"seeds": 2},
    "budget": {"images": 160},
    "evaluate": {"times": 2, "samples": 32},
}
MAIN, BACK = "digits_cnn_v2_32", "_32_to_a"


@pytest.fixture(scope="module")
def studied(
    empty_stores: Path,
    tmp_path_factory: pytest.TempPathFactory,
    launch: Callable[..., StudySummary],
    locate: Callable[[Path], Workspace],
) -> tuple[Workspace, StudySummary]:
    """Return a finished study of two weights; only to be read."""
    root = tmp_path_factory.mktemp("translation") / "mlruns"
    shutil.copytree(empty_stores, root)
    workspace = locate(root)
    with pytest.MonkeyPatch.context() as patch:  # a model in MLflow takes longer than such a run
        patch.setattr(mlflow.pytorch, "log_model", lambda *_, **__: None)
        return workspace, launch(workspace, parse(StudyConfig, STUDY, "test"))


@pytest.fixture(scope="module")
def exported(studied: tuple[Workspace, StudySummary], tmp_path_factory: Any) -> Path:
    """Return its best generator."""
    folder: Path = tmp_path_factory.mktemp("export") / "best"
    export_best("tiny", folder, studied[0])
    return folder


def test_it_is_ranked_by_the_way_there_and_scored_both_ways(
    studied: tuple[Workspace, StudySummary],
) -> None:
    workspace, summary = studied
    assert summary.complete
    assert summary.metric == f"test/fid_{MAIN}"
    assert all(arm.num_scored == 2 for arm in summary.arms)
    tracker = Tracker(workspace)
    runs = [
        each for each in tracker.runs(tracker.open_experiment("tiny")) if "arm" in each.data.tags
    ]
    assert len(runs) == 4
    for recorded in runs:
        read = tracker.attached(recorded.info.run_id, FLOORS_FILE, lambda file: file.read_text())
        metrics = recorded.data.metrics | json.loads(read or "")
        back = {key for key in metrics if key.endswith(BACK)}
        there = {key for key in metrics if MAIN in key}
        for figures, end in ((there, MAIN), (back, BACK)):
            for name in ("fid", "kid", "cycle_error", "fid_floor", "fid_floor_copy"):
                assert any(
                    key.startswith(f"val/{name}_") and key.endswith(end) for key in figures
                ), name
        judged = {key for key in metrics if is_judged(key)}
        confirmed = recorded.data.tags["phase"] == "confirm"
        assert not judged & back
        assert ("test/fid_digits_judge_v1_32" in judged) is confirmed
        assert "test/fid_floor_copy_digits_judge_v1_32" in judged
        assert {"coloured_digits"} == {key.split("_cnn")[0][-15:] for key in back}
        assert 0 < metrics[f"val/cycle_error_{MAIN}"] < 1
        settings = settings_of(recorded)
        assert settings["evaluate.extractor"] == "digits_cnn_v2"
        assert settings["evaluate.extractor_to_a"].startswith("coloured_digits_cnn_")
        pinned = open_study("tiny", workspace).definition
        pinned = pinned.pin(pinned.study).evaluate
        assert settings["evaluate.extractor_to_a"] == pinned.extractor_back
        sizes = {key for key in settings if key.startswith("parameters.")}
        assert sizes == {f"parameters.{name}" for name in ("ab", "ba", "d_a", "d_b")}
        keys = {"samples", "neighbours", "classes", "there_and_back", "back_and_there"}
        assert set(tracker.grid_keys(recorded.info.run_id)) == keys


def test_its_report_shows_both_ways(
    studied: tuple[Workspace, StudySummary], tmp_path: Path
) -> None:
    report = write_report(["tiny"], studied[0], tmp_path / "report")
    text = (report.folder / "report.md").read_text()
    for words in (
        "Translations back: test images of the target domain",
        "| images as they are |",
        "cycle error",
        "translators' loss",
        "The images that are translated score",
        "translated are images of another domain: 499 training",
        "Translations back are scored likewise against that domain, on coloured_digits_cnn_",
        "below each its translation",
    ):
        assert words in text, words
    for picture in ("there_and_back", "back_and_there"):
        assert (report.folder / "figures" / f"{picture}.png").exists()


def test_a_run_is_reproduced_bit_for_bit(studied: tuple[Workspace, StudySummary]) -> None:
    workspace, _ = studied
    tracker = Tracker(workspace)
    recorded = next(
        each
        for each in tracker.runs(tracker.open_experiment("tiny"))
        if each.data.tags["phase"] == "confirm"
    )
    reproduction = reproduce_run(recorded.info.run_id, workspace)
    assert reproduction.exact
    assert not reproduction.differing
    assert reproduction.grids == 8  # three kinds twice, neighbours and classes at the end


def test_both_translators_are_exported(exported: Path) -> None:
    assert {file.stem for file in exported.glob("*.safetensors")} == {
        "generator", "ba", "d_a", "d_b",
    }  # fmt: skip
    card = (exported / "README.md").read_text()
    for words in (
        "weights of the network `ab`, which is scored",
        "At the end of the run: held-out images of the first domain",
        "harness sample DIR --input IMAGES -o grid.png",
        "harness sample DIR --network ba --input IMAGES",
        "sources = torch.zeros(16, 3, 16, 16, dtype=torch.uint8)",
    ):
        assert words in card, words
    with Image.open(exported / "samples.png") as picture:
        assert picture.size[0] > 100
    there, spec = load_generator(exported)
    back, same = load_generator(exported, "ba")
    assert spec == same
    assert (spec.networks, spec.source_shape) == (("ab", "ba"), (3, 16, 16))
    sources = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    translated = generate(there, spec.draw_inputs(4, 0, sources=sources))
    assert translated.shape == (4, 1, 16, 16)
    assert generate(back, (to_unit_range(translated),)).shape == (4, 3, 16, 16)
    with pytest.raises(HarnessError, match="unknown network 'd_a'"):
        load_generator(exported, "d_a")


def test_images_are_translated_on_the_command_line(
    exported: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    images = load_dataset("coloured:digits", Path("nowhere")).test.images[:70]
    np.savez(tmp_path / "given.npz", images=images.numpy())
    output = tmp_path / "there.npz"
    said = call("sample", exported, "--input", tmp_path / "given.npz", "-o", output)
    assert (said.code, said.err) == (0, "")
    assert said.out == f"70 translations of images of {tmp_path / 'given.npz'}: {output}\n"
    translated = np.load(output)["images"]
    generator, spec = load_generator(exported)
    inputs = spec.draw_inputs(70, 0, sources=images)
    assert np.array_equal(translated, generate(generator, inputs).numpy())

    back = tmp_path / "back.npz"
    said = call("sample", exported, "--input", output, "--network", "ba", "-n", 5, "-o", back)
    assert said.code == 0, said.err
    assert np.load(back)["images"].shape == (5, 3, 16, 16)

    folder = tmp_path / "folder"
    folder.mkdir()
    Image.fromarray(images[0].permute(1, 2, 0).numpy()).save(folder / "one.png")
    said = call("sample", exported, "--input", folder, "-o", tmp_path / "one.npz")
    assert said.code == 0, said.err
    assert np.array_equal(np.load(tmp_path / "one.npz")["images"][0], translated[0])


def test_what_cannot_be_translated_is_one_line(
    exported: Path, call: Callable[..., Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "grey.npz", images=np.zeros((3, 1, 16, 16), np.uint8))
    (tmp_path / "empty").mkdir()
    for options, words in (
        ([], "translates images and none are given: name a folder or a .npz file with --input"),
        (["--input", tmp_path / "grey.npz"], "allowed is uint8 of shape (N, 3, 16, 16)"),
        (["--input", tmp_path / "none.npz"], "does not exist"),
        (["--input", tmp_path / "empty"], "there is no image"),
        (["--network", "d_b"], "unknown network 'd_b' (allowed: ab, ba)"),
        (
            ["--input", tmp_path / "grey.npz", "--network", "ba", "--class", 3],
            "makes no samples of a chosen class",
        ),
    ):
        said = call("sample", exported, *options, "-o", tmp_path / "x.npz")
        assert said.code == 2, words
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert words in said.err


def test_a_generator_that_starts_from_noise_takes_no_images(
    call: Callable[..., Any], small_config: Callable[..., Any], tmp_path: Path
) -> None:
    from harness.systems import SYSTEMS, save_generator

    config = small_config()
    facts = load_dataset("digits", Path("nowhere")).facts
    network = SYSTEMS["gan"](config, facts, torch.device("cpu")).networks["average"]
    save_generator(tmp_path / "gan", network, config, facts)
    np.savez(tmp_path / "grey.npz", images=np.zeros((3, 1, 16, 16), np.uint8))
    said = call("sample", tmp_path / "gan", "--input", tmp_path / "grey.npz", "-o", "x.npz")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "translates no images, its samples come from a seed" in said.err


@pytest.fixture(scope="module")
def two_domains(studied: tuple[Workspace, StudySummary]) -> Bench:
    """Return the study's data and metrics."""
    return Bench.set_up(
        load_dataset(PAIR, Path("unused")),
        EvaluateConfig(samples=32, times=2),
        execution=Execution(device="cpu", threads=1),
        cache_dir=studied[0].cache,
    )


def test_data_of_the_wrong_kind_are_refused(two_domains: Bench, bench: Bench) -> None:
    for settings, data, words in (
        (SMALL | {"dataset": "digits"}, bench, "e.g. 'pairs:digits|inverted:digits'"),
        ({"system": "gan", "dataset": PAIR}, two_domains, "name one dataset, e.g. 'digits'"),
    ):
        with pytest.raises(HarnessError) as caught:
            parse_config(settings, "test").check(data.dataset.facts)
        assert words in str(caught.value)


def test_settings_that_do_not_fit_are_refused_before_a_ruler_is_trained(
    locate: Callable[[Path], Workspace], tmp_path: Path
) -> None:
    config = parse_config({"system": "gan", "dataset": "pairs:digits|inverted:digits"}, "test")
    execution, workspace = Execution(device="cpu", threads=1), locate(tmp_path)
    with pytest.raises(HarnessError, match="name one dataset"):
        set_up_lone_bench(config, EvaluateConfig(), execution, workspace)
    assert not workspace.cache.exists()


def test_one_domain_has_no_extractor_of_a_way_back(bench: Bench) -> None:
    with pytest.raises(HarnessError, match="extractor_back = 'x': digits has one domain"):
        Bench.set_up(
            bench.dataset,
            EvaluateConfig(samples=64, extractor_back="x"),
            execution=Execution(device="cpu", threads=1),
            cache_dir=Path("unused"),
        )


def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    two_domains: Bench,
    memory: Callable[[], Any],
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = SMALL | {"dataset": PAIR, "budget": {"images": 160}, "seed": 4}
    config = parse_config(settings, "test")
    whole = memory()
    expected = run(config, two_domains, whole, checkpoint=checkpoint)
    checkpoint.unlink()

    monkeypatch.setattr("harness.run.runner.CHECKPOINT_SECONDS", 0.0)
    parts = memory()
    calls = itertools.count()

    def stop(progress: Any, values: Any) -> None:
        if next(calls) == 7:
            raise Stop

    with pytest.raises(Stop):
        run(config, two_domains, parts, checkpoint=checkpoint, on_progress=stop)
    parts.drop()
    resumed = run(config, two_domains, parts, checkpoint=checkpoint)
    assert resumed.scores == expected.scores
    assert parts.weights.keys() == whole.weights.keys()
    assert all(torch.equal(parts.weights[key], whole.weights[key]) for key in whole.weights)
    assert parts.others == ["ba", "d_a", "d_b"]


def test_a_preview_times_both_ways(studied: tuple[Workspace, StudySummary]) -> None:
    workspace, _ = studied
    study = parse(StudyConfig, STUDY, "test")
    plan = preview("other", study, workspace, Execution(device="cpu", threads=1), 1)
    assert plan["runs"] == 4
    assert all(row["hours"] > 0 for row in plan["arms"])


def test_images_are_scored_against_the_target(
    studied: tuple[Workspace, StudySummary], exported: Path, tmp_path: Path
) -> None:
    pair = load_dataset(PAIR, Path("nowhere"))
    np.savez(tmp_path / "real.npz", images=pair.validation.images[:32].numpy())
    scored = score_images(tmp_path / "real.npz", PAIR, studied[0])
    record = json.loads((exported / "record.json").read_text())
    keys = {line.key for line in scored.lines}
    assert f"test/fid_{MAIN}" in keys
    assert keys <= set(record["scores"])
