"""The best generator: exported, sampled from, and as good as it was recorded to be."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

LOSSES = ("non_saturating", "hinge")


def test_export_takes_the_lowest_validation_fid(
    there: Path, call: Any, tmp_path: Path, files: Any
) -> None:
    from harness.records.workspace import Workspace
    from harness.study.file import load_study
    from harness.work.board import Board
    from harness.work.queue import Storage

    workspace = Workspace.locate()
    study = load_study(Path("tiny.toml"))
    board = Board(Storage(workspace), "tiny", study, "test/fid_digits_cnn_v2_64")
    records = {
        (state.arm.name, *record.run_ids.values()): record
        for state in board.states()
        for record in state.confirm
    }
    folder = tmp_path / "some" / "best"
    said = call("export", "tiny", "-o", folder, "--json")
    assert said.code == 0
    result = json.loads(said.out)
    chosen = records[result["arm"], result["run_id"]]
    assert chosen.value == min(record.value or math.inf for record in records.values())
    assert result["scores"] == dict(chosen.scores)
    assert "test/fid_digits_cnn_v2_64" in result["scores"]
    assert files(folder) == {
        "README.md",
        "record.json",
        "samples.png",
        "generator.json",
        "generator.safetensors",
        "discriminator.safetensors",
        "raw_generator.safetensors",
    }
    record = json.loads((folder / "record.json").read_text())
    assert record["run_id"] == result["run_id"]
    assert record["settings"]["budget.images"] == "320"
    card = (folder / "README.md").read_text()
    assert "Is the hinge loss better?" in card
    assert result["run_id"] in card
    assert files(folder.parent) == {"best"} | {f"best/{name}" for name in files(folder)}

    arm = next(name for name in LOSSES if name != result["arm"])
    other = json.loads(call("export", "tiny", "-o", folder, "--arm", arm, "--json").out)
    assert other["arm"] == arm
    assert json.loads((folder / "record.json").read_text())["arm"] == arm


def test_samples_come_as_arrays_and_as_a_grid(call: Any, best: Path, tmp_path: Path) -> None:
    def draw(name: str, *options: object) -> Any:
        said = call("sample", best, "-n", 5, "-o", tmp_path / name, *options)
        assert (said.code, said.err) == (0, "")
        return np.load(tmp_path / name)["images"] if name.endswith("npz") else None

    first = draw("a.npz", "--seed", 1)
    assert first.shape == (5, 1, 16, 16)
    assert first.dtype == np.uint8
    draw("b.npz", "--seed", 1)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert not np.array_equal(first, draw("c.npz", "--seed", 2))
    draw("grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) >= 16


def test_samples_nearer_to_a_mean_style(
    call: Any, best: Path, tmp_path: Path, refused: Any
) -> None:
    refused(
        call("sample", best, "--psi", 0.7, "-o", tmp_path / "a.npz"),
        "psi 0.7",
        "no styles",
    )
    assert not (tmp_path / "a.npz").exists()


def test_samples_of_one_class(
    call: Any, best: Path, tmp_path: Path, refused: Any, stamp: Any
) -> None:
    from harness.config import parse
    from harness.data import Facts
    from harness.systems import save_generator

    config = parse(stamp.Config, {"system": "stamp", "dataset": "digits"}, "test")
    facts = Facts(sample_shape=(1, 4, 4), num_classes=3)
    network = stamp(config, facts, torch.device("cpu")).networks["average"]
    network.pictures.data += torch.tensor([-0.5, 0.0, 0.5]).view(3, 1, 1, 1)
    save_generator(tmp_path / "export", network, config, facts)
    file = tmp_path / "a.npz"
    said = call("sample", tmp_path / "export", "-n", 5, "--class", 2, "-o", file)
    assert (said.code, said.err) == (0, "")
    assert said.out == f"5 samples of class 2 of seed 0: {file}\n"
    assert np.load(file)["images"].mean() == pytest.approx(191, abs=20)  # 127.5 (0.5 + 1)
    refused(call("sample", tmp_path / "export", "--class", 3, "-o", file), "class 3", "0 to 2")
    refused(call("sample", best, "--class", 3, "-o", file), "no samples of a chosen class")


def test_export_overwrites_no_folder_of_somebody_else(
    there: Path, call: Any, tmp_path: Path, files: Any, refused: Any
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(call("export", "tiny", "-o", tmp_path), str(tmp_path), "other files")
    refused(call("export", "tiny", "-o", tmp_path / "thesis.tex"), "in the way")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert files(tmp_path) == {"thesis.tex"}


def test_a_damaged_export_is_one_line(call: Any, best: Path, tmp_path: Path, refused: Any) -> None:
    import shutil

    def damaged(name: str, content: bytes) -> Any:
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(best, folder)
        (folder / name).write_bytes(content)
        return call("sample", folder, "-o", tmp_path / "a.npz")

    weights = (best / "generator.safetensors").read_bytes()
    spec = (best / "generator.json").read_bytes()
    refused(damaged("generator.safetensors", weights[:-1]), "generator.safetensors", "damaged")
    refused(damaged("generator.safetensors", b""), "damaged")
    refused(damaged("generator.json", spec[:-9]), "generator.json", "JSON")
    refused(damaged("generator.json", b"[]"), "generator.json")
    refused(damaged("generator.json", spec.replace(b'"mlp"', b'"mpl"')), "'mpl'", "'mlp'")
    refused(damaged("generator.json", spec.replace(b'"g_width": 4', b'"g_width": 5')), "fit")
    assert not (tmp_path / "a.npz").exists()


def test_an_export_loads_without_the_tools_that_made_it(best: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import safetensors, torch\n"
        "from harness.systems import load_generator\n"
        f"generator, spec = load_generator(Path({str(best)!r}))\n"
        "images = generator(*spec.draw_inputs(3, seed=0))\n"
        "assert images.shape == (3, *spec.sample_shape)\n"
        "assert images.abs().max() <= 1\n"
        "tools = {'mlflow', 'optuna', 'torchmetrics', 'sklearn'} & set(sys.modules)\n"
        "assert not tools, tools\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_samples_of_an_export_score_what_was_logged(best: Path) -> None:
    from harness.data import load_dataset
    from harness.evaluate import EvaluateConfig, Evaluator
    from harness.results.export import sample
    from harness.statistics import mean_and_sd

    evaluator = Evaluator(
        load_dataset("digits", Path("unused")),
        EvaluateConfig(samples=64, kid_subsets=1),
        cache_dir=best.parent / "mlruns" / "cache",
        device=torch.device("cpu"),
    )
    key = evaluator.key("test", "fid")
    logged = json.loads((best / "record.json").read_text())["scores"][key]
    scores = [
        evaluator.score(sample(best, evaluator.num_samples, seed), "test")[key]
        for seed in range(100, 115)
    ]
    _, sd = mean_and_sd(scores[5:])
    for score in scores[:5]:
        assert abs(score - logged) < 3 * sd
