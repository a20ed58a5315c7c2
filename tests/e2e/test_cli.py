"""The command line as a user drives it."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import harness.cli
import harness.systems.gan
import harness.work.worker

STUDY = """
question = "Is the hinge loss better?"
dataset = "digits"
[fixed]
architecture = "mlp"
latent_dim = 4
batch_size = 16
g_width = 4
d_width = 4
g_depth = 1
d_depth = 1
[compare]
loss = ["non_saturating", "hinge"]
[space]
g_lr = { low = 1e-4, high = 1e-1, log = true }
[search]
trials_per_arm = 2
[confirm]
seeds = 2
[budget]
images = 320
[evaluate]
times = 2
samples = 64
kid_subsets = 2
"""
LOSSES = ("non_saturating", "hinge")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point to no store of the caller's, and put back the signal handler that `run` replaces."""
    for key in ("HARNESS_HOME", "HARNESS_STORAGE", "HARNESS_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(key, raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs `harness …` in this process."""

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            harness.cli.main()
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study file in which the tests of a whole study work in turn."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def study(place: Path) -> Path:
    """Return that folder after `harness run`, the one time that it is a real process."""
    command = [sys.executable, "-m", "harness.cli", "run", "tiny.toml"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--threads", "1"],
        cwd=place,
        env=environment(place),
        capture_output=True,
        text=True,
        check=False,
    )
    (place / "stdout").write_text(done.stdout)
    (place / "stderr").write_text(done.stderr)
    assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def there(study: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the folder of the finished study."""
    monkeypatch.chdir(study)
    return study


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with the study file only."""
    (tmp_path / "tiny.toml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def best(study: Path) -> Path:
    """Return an exported generator."""
    from harness.records.workspace import Workspace
    from harness.results.export import export_best

    folder = study / "best"
    export_best("tiny", folder, Workspace.locate(root=study / "mlruns"))
    return folder


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"HARNESS_HOME": str(folder / "mlruns")}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(said: Said, *words: str) -> None:
    """Check that a command ended with exit code 2 and one helpful line."""
    assert said.code == 2, said
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_a_run_prints_lines_and_an_answer(study: Path) -> None:
    out, err = (study / "stdout").read_text(), (study / "stderr").read_text()
    lines = err.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("[1/8] ")
    assert lines[-1].startswith("[8/8] ")
    assert all("finished FID" in line for line in lines)
    assert out.startswith("tiny: Is the hinge loss better?")
    assert "hinge against non_saturating is not resolved with 2 and 2 runs" in out
    assert "Metric: test/fid_digits_cnn_v1_64, lower is better" in out
    assert "\x1b" not in out + err
    assert "Warning" not in err


def test_status_shows_what_run_showed(there: Path, call: Call) -> None:
    said = call("status", "tiny")
    assert (said.code, said.err) == (0, "")
    assert said.out == (there / "stdout").read_text()
    assert call("status").out == "tiny\n"


def test_status_in_json_parses(there: Path, call: Call) -> None:
    status = json.loads(call("status", "tiny", "--json").out)
    assert status["complete"] is True
    assert [arm["name"] for arm in status["arms"]] == list(LOSSES)
    assert status["running"] == []
    assert json.loads(call("status", "--json").out) == ["tiny"]


def test_a_complete_study_is_answered_at_once(
    there: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.work.worker, "run", lambda *_, **__: pytest.fail("it trained"))
    before = files(there)
    started = time.monotonic()
    said = call("run", "tiny.toml")
    assert time.monotonic() - started < 10
    assert (said.code, said.err) == (0, "")
    assert said.out == (there / "stdout").read_text()
    assert files(there) == before
    assert json.loads(call("run", "tiny.toml", "--json").out)["complete"] is True


def test_export_takes_the_lowest_validation_fid(there: Path, call: Call, tmp_path: Path) -> None:
    from harness.records.workspace import Workspace
    from harness.study.file import load_study
    from harness.work.board import Board
    from harness.work.queue import Storage

    workspace = Workspace.locate()
    board = Board(Storage(workspace), "tiny", load_study(Path("tiny.toml")))
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
    assert "test/fid_digits_cnn_v1_64" in result["scores"]
    assert files(folder) == {
        "README.md",
        "record.json",
        "samples.png",
        "generator.json",
        "generator.safetensors",
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


def test_samples_come_as_arrays_and_as_a_grid(call: Call, best: Path, tmp_path: Path) -> None:
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


def test_a_dry_run_trains_and_writes_nothing(
    fresh: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.work.worker, "run", lambda *_, **__: pytest.fail("it trained"))
    said = call("run", "tiny.toml", "--dry-run")
    assert said.code == 0
    assert "8 runs, about" in said.out
    assert "non_saturating: 2 search + 2 confirm runs, tuned: g_lr" in said.out
    plan = json.loads(call("run", "tiny.toml", "--dry-run", "--json").out)
    assert plan["runs"] == 8
    # Features of real images are kept: they are no record of anything that was done.
    written = {name for name in files(fresh) if not name.startswith("mlruns/cache/")}
    assert written <= {"tiny.toml", "mlruns", "mlruns/cache"}


def test_a_dry_run_names_impossible_combinations(fresh: Path, call: Call) -> None:
    said = call(
        "run",
        "tiny.toml",
        "--dry-run",
        "--set",
        'compare.d_norm=["none","batch"]',
        "--set",
        'compare.penalty=["none","r1"]',
    )
    assert said.code == 0
    assert said.out.count("refused: ") == 2
    assert "d_norm = 'batch' with penalty = 'r1'" in said.out


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
    "too many samples": (["run", "tiny.toml", "--set", "evaluate.samples=401"], ["401", "400"]),
    "no such file": (["run", "tinny.toml"], ["tinny.toml"]),
    "a folder": (["run", "."], ["study file"]),
    "scale of nothing": (["run", "tiny.toml", "--scale", "0"], ["--scale", "above 0"]),
    "bad name": (["run", "tiny.toml", "--name", "a/b"], ["'a/b'"]),
    "bad device": (["run", "tiny.toml", "--device", "gpu"], ["--device", "cuda"]),
    "missing data": (["run", "tiny.toml", "--set", "dataset=folder:nowhere"], ["nowhere"]),
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
}


@pytest.mark.parametrize(("arguments", "words"), REFUSALS.values(), ids=REFUSALS)
def test_mistakes_are_one_line_and_leave_nothing(
    fresh: Path, call: Call, arguments: list[str], words: list[str]
) -> None:
    refused(call(*arguments), *words)
    assert files(fresh) == {"tiny.toml"}


@NO_CUDA
def test_a_missing_gpu_is_one_line(fresh: Path, call: Call) -> None:
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
def test_wrong_options_are_one_line_too(fresh: Path, call: Call, arguments: list[str]) -> None:
    refused(call(*arguments))


def test_a_file_that_is_no_toml_is_one_line(fresh: Path, call: Call) -> None:
    (fresh / "broken.toml").write_text("question = 'open\n")
    refused(call("run", "broken.toml"), "broken.toml", "TOML")


def test_an_unknown_study_is_one_line(there: Path, call: Call, tmp_path: Path) -> None:
    refused(call("status", "tinny"), "'tinny'", "'tiny'")
    refused(call("export", "tinny", "-o", tmp_path / "best"), "'tinny'", "'tiny'")
    refused(call("export", "tiny", "-o", tmp_path / "best", "--arm", "hing"), "'hinge'")
    assert files(tmp_path) == set()


def test_an_edited_study_is_refused_with_a_way_out(there: Path, call: Call) -> None:
    refused(call("run", "tiny.toml", "--set", "g_width=5"), "tiny", "--name")
    refused(call("run", "tiny.toml", "--trials", 1), "search.trials_per_arm", "--name")


def test_export_overwrites_no_folder_of_somebody_else(
    there: Path, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(call("export", "tiny", "-o", tmp_path), str(tmp_path), "other files")
    refused(call("export", "tiny", "-o", tmp_path / "thesis.tex"), "in the way")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert files(tmp_path) == {"thesis.tex"}


def test_a_damaged_export_is_one_line(call: Call, best: Path, tmp_path: Path) -> None:
    import shutil

    def damaged(name: str, content: bytes) -> Said:
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


def test_a_taken_port_is_one_line(there: Path, call: Call) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(call("ui", "--port", port), f"--port {port}")


def test_one_run_by_hand(there: Path, call: Call) -> None:
    settings = ["architecture=mlp", "dataset=digits", "g_width=4", "d_width=4", "batch_size=16"]
    settings += ["budget.images=320", "evaluate.samples=64", "evaluate.times=1"]
    options = [word for setting in settings for word in ("--set", setting)]
    said = call("train", *options, "--device", "cpu", "--threads", 1, "--json", "--quiet")
    assert said.code == 0
    result = json.loads(said.out)
    assert result["outcome"] == "finished"
    assert {"val/fid_digits_cnn_v1_64", "test/fid_digits_cnn_v1_64"} <= set(result["scores"])
    assert call("status").out == "tiny\n"


def test_list_names_what_a_study_file_may_say(call: Call) -> None:
    assert "hinge" in call("list", "losses").out
    assert "digits" in json.loads(call("list", "datasets", "--json").out)
    kinds = json.loads(call("list", "--json").out)
    assert {"losses", "presets", "settings"} <= set(kinds)


def test_help_is_quick_to_load(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['harness', '--help']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'mlflow', 'optuna', 'torchmetrics', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("run", "train", "status", "ui", "export", "sample", "list"):
        assert f"  {command} " in done.stdout
    assert "\x1b" not in done.stdout
    assert files(tmp_path) == set()


def test_an_export_loads_without_the_tools_that_made_it(best: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import safetensors, torch\n"
        "from harness.systems import load_generator\n"
        f"generator, spec = load_generator(Path({str(best)!r}))\n"
        "images = generator(torch.randn(3, spec.latent_dim))\n"
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
    from harness.results.statistics import mean_and_sd

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


@pytest.fixture
def start(study: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return a function that starts a longer study as a process; none outlives the test."""
    # In the store of the finished study: creating one takes longer than this study.
    (study / "long.toml").write_text(STUDY.replace("images = 320", "images = 16_000"))
    command = [sys.executable, "-m", "harness.cli", "run", "long.toml", "--device", "cpu"]
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            # The children of a job in the background would inherit that it ignores Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, "--threads", "1"],
                    cwd=study,
                    env=environment(study),
                    stderr=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


def test_ctrl_c_records_all_states_and_the_same_command_goes_on(
    study: Path, start: Callable[[], subprocess.Popen[str]]
) -> None:
    from harness.records.tracking import Tracker
    from harness.records.workspace import Workspace
    from harness.results.status import read_status

    workspace = Workspace.locate(root=study / "mlruns")

    def states() -> dict[str, int]:
        tracker = Tracker(workspace)
        found = tracker.runs(tracker.open_experiment("long"))
        statuses = [run.info.status for run in found if run.data.tags["phase"] != "study"]
        return {status: statuses.count(status) for status in set(statuses)}

    process = start()
    assert process.stderr is not None
    assert process.stderr.readline().startswith("[1/8]")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted: all states are recorded"
    assert "Traceback" not in err
    status = read_status("long", workspace)
    assert not status.summary.complete
    assert status.running == ()
    assert "RUNNING" not in states()
    ended = states()["FINISHED"]

    # Enough of it: what was announced as ended is not trained again, and the next run ends.
    again = start()
    assert again.stderr is not None
    assert again.stderr.readline().startswith(f"[{ended + 1}/8]")
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 130
    assert "RUNNING" not in states()
