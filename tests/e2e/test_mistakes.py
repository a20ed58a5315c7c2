"""Mistakes on the command line: each is one helpful line, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


REFUSALS: dict[str, tuple[list[str], list[str]]] = {
    "unknown key": (["run", "tiny.toml", "--set", "g_lrr=1e-3"], ["g_lrr", "'g_lr'"]),
    "unknown table": (["run", "tiny.toml", "--set", "serch.sampler=tpe"], ["serch", "'search'"]),
    "unknown loss": (["run", "tiny.toml", "--set", 'compare.loss=["hing"]'], ["'hinge'"]),
    "wrong type": (["run", "tiny.toml", "--set", "batch_size=many"], ["batch_size", "many"]),
    "a float for an int": (["run", "tiny.toml", "--set", "batch_size=16.5"], ["batch_size"]),
    "impossible": (
        ["run", "tiny.toml", "--set", "d_norm=batch", "--set", "penalty=r1"],
        ["d_norm", "penalty", "'r1'"],
    ),
    "set twice": (["run", "tiny.toml", "--set", "g_lr=1e-3"], ["g_lr", "fixed", "space"]),
    "set nothing": (["run", "tiny.toml", "--set", "g_lr"], ["--set", "key=value"]),
    "set no key": (["run", "tiny.toml", "--set", "=3"], ["--set", "key=value"]),
    "set into a value": (["run", "tiny.toml", "--set", "question.x=3"], ["--set", "question"]),
    "too many samples": (
        ["run", "tiny.toml", "--underpowered", "--set", "evaluate.samples=401"],
        ["401", "400"],
    ),
    "more than the budget in a batch": (
        ["run", "tiny.toml", "--underpowered", "--set", "batch_size=1_000_000_000"],
        ["batch_size = 1000000000", "budget.images = 320", "1 to 320"],
    ),
    "planned with such a batch": (
        ["run", "tiny.toml", "--dry-run", "--set", "batch_size=321"],
        ["batch_size = 321", "budget.images = 320", "1 to 320"],
    ),
    "trained with such a batch": (
        ["train", "--set", "dataset=digits", "--set", "budget.images=100", "--set",
         "batch_size=1_000_000_000"],
        ["batch_size = 1000000000", "budget.images = 100"],
    ),
    "such a batch in a new file": (
        ["new", "mine.toml", "--compare", "loss=hinge,minimax", "--set", "batch_size=641",
         "--images", "640"],
        ["batch_size = 641", "budget.images = 640"],
    ),
    "no such file": (["run", "tinny.toml"], ["tinny.toml"]),
    "a folder": (["run", "."], ["study file"]),
    "scale of nothing": (["run", "tiny.toml", "--scale", "0"], ["--scale", "above 0"]),
    "bad name": (["run", "tiny.toml", "--name", "a/b"], ["'a/b'"]),
    "bad device": (["run", "tiny.toml", "--device", "gpu"], ["--device", "cuda"]),
    "what workers": (["run", "tiny.toml", "--workers", "many"], ["--workers", "many", "auto"]),
    "no worker": (["run", "tiny.toml", "--workers", "0"], ["--workers", "from 1"]),
    "more workers than cores": (
        ["run", "tiny.toml", "--device", "cpu", "--workers", "9999"],
        ["--workers 9999", "cores", "auto"],
    ),
    "what precision": (
        ["run", "tiny.toml", "--set", "precision=half"],
        ["precision = 'half'", "'float32'", "'bfloat16'"],
    ),
    "train in what": (["train", "--precision", "half"], ["--precision", "'half'", "bfloat16"]),
    "unknown preset": (
        ["run", "tiny.toml", "--set", 'compare.preset=["mlp_rely"]'],
        ["tiny.toml", "preset in compare 'mlp_rely'", "'mlp_relu'"],
    ),
    "unknown preset of a variant": (
        ["run", "tiny.toml", "--set", "variants.v.preset=mlp_rely"],
        ["preset in variants.v 'mlp_rely'", "'mlp_relu'"],
    ),
    "budget of no preset": (
        ["run", "tiny.toml", "--set", "budget.preset=1"],
        ["arm 'non_saturating'", "budget.preset", "there is no preset"],
    ),
    "missing data": (
        ["run", "tiny.toml", "--underpowered", "--set", "dataset=folder:nowhere"],
        ["nowhere"],
    ),
    "one database": (
        ["run", "tiny.toml", "--storage", "sqlite:///a.db", "--tracking-uri", "sqlite:///a.db"],
        ["--storage"],
    ),
    "train unknown key": (["train", "--set", "dsteps=2"], ["dsteps", "'d_steps'"]),
    "train unknown preset": (["train", "--preset", "mlp_rely"], ["mlp_rely", "'mlp_relu'"]),
    "train impossible": (["train", "--set", "dataset=digits", "--set", "penalty_weight=1"], []),
    "status of nothing": (["status", "tiny"], ["harness run"]),
    "export of nothing": (["export", "tiny", "-o", "best"], ["harness run"]),
    "ui of nothing": (["ui"], ["run a study first"]),
    "sample of nothing": (["sample", "best", "-o", "a.png"], ["best", "generator.json"]),
    "sample as what": (["sample", "best", "-o", "a.gif"], ["a.gif", ".png", ".npz"]),
    "list what": (["list", "loses"], ["'loses'", "'losses'"]),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), REFUSALS.values(), ids=REFUSALS)
def test_mistakes_are_one_line_and_leave_nothing(
    fresh: Path, call: Any, arguments: list[str], words: list[str], files: Any, refused: Any
) -> None:
    refused(call(*arguments), *words)
    assert files(fresh) == {"tiny.toml"}


def test_what_a_folder_was_taken_for_is_said_before_what_is_wrong(fresh: Path, call: Any) -> None:
    (fresh / "own").mkdir()
    for index in range(14):
        Image.new("L", (16, 16), index).save(fresh / "own" / f"{index}.png")
    command = ["run", "tiny.toml", "--underpowered", "--set", "dataset=folder:own"]
    for options, num in (([], 3), (["--dry-run"], 2), (["--quiet"], 0)):
        said = call(*command, *options)
        assert said.code == 2
        *found, error = said.err.splitlines()
        assert "its smallest part has 2 images" in error
        assert len(found) == num
        if found:
            assert "10 training, 2 validation and 2 test images, no classes" in found[0]
            assert found[-1].endswith("32x32 (image_size), all grey: one channel")


@NO_CUDA
def test_a_missing_gpu_is_one_line(fresh: Path, call: Any, files: Any, refused: Any) -> None:
    refused(call("run", "tiny.toml", "--device", "cuda"), "--device", "cuda")
    assert files(fresh) == {"tiny.toml"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "tiny.toml", "--scale", "2"],
        ["run", "tiny.toml", "--scale", "half"],
        ["run", "tiny.toml", "--trials", "0"],
        ["run", "tiny.toml", "--workerz", "2"],
        ["ui", "--port", "0"],
        ["run"],
        ["rum"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_one_line_too(
    fresh: Path, call: Any, arguments: list[str], refused: Any
) -> None:
    refused(call(*arguments))


def test_a_file_that_is_no_toml_is_one_line(fresh: Path, call: Any, refused: Any) -> None:
    (fresh / "broken.toml").write_text("question = 'open\n")
    refused(call("run", "broken.toml"), "broken.toml", "TOML")


def test_an_unknown_study_is_one_line(
    there: Path, call: Any, tmp_path: Path, files: Any, refused: Any
) -> None:
    refused(call("status", "tinny"), "'tinny'", "'tiny'")
    refused(call("export", "tinny", "-o", tmp_path / "best"), "'tinny'", "'tiny'")
    refused(call("export", "tiny", "-o", tmp_path / "best", "--arm", "hing"), "'hinge'")
    assert files(tmp_path) == set()


def test_an_edited_study_is_refused_with_a_way_out(there: Path, call: Any, refused: Any) -> None:
    refused(call("run", "tiny.toml", "--set", "g_width=5"), "tiny", "--name")
    refused(call("run", "tiny.toml", "--trials", 1), "search.trials_per_arm", "--name")


def test_a_taken_port_is_one_line(there: Path, call: Any, refused: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(call("ui", "--port", port), f"--port {port}")
