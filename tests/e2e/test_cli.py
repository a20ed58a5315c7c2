"""The command line as a user drives it: runs, what they print, and their interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import harness.work.worker
from harness.errors import HarnessError
from harness.systems import Budget

LOSSES = ("non_saturating", "hinge")


def test_a_run_prints_lines_and_an_answer(study: Path) -> None:
    out, err = (study / "stdout").read_text(), (study / "stderr").read_text()
    lines = err.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("[1/8] ")
    assert lines[-1].startswith("[8/8] ")
    assert all("finished FID" in line for line in lines)
    assert out.startswith("tiny: Is the hinge loss better?")
    assert "hinge against non_saturating is not resolved with 2 and 2 runs" in out
    assert "Metric: test/fid_digits_cnn_v2_64, lower is better" in out
    assert "\x1b" not in out + err
    assert "Warning" not in err


def test_status_shows_what_run_showed(there: Path, call: Any) -> None:
    said = call("status", "tiny")
    assert (said.code, said.err) == (0, "")
    assert said.out == (there / "stdout").read_text()
    assert call("status").out == "tiny\n"


def test_status_in_json_parses(there: Path, call: Any) -> None:
    status = json.loads(call("status", "tiny", "--json").out)
    assert status["complete"] is True
    assert [arm["name"] for arm in status["arms"]] == list(LOSSES)
    assert status["running"] == []
    assert json.loads(call("status", "--json").out) == ["tiny"]


def test_a_complete_study_is_answered_at_once(
    there: Path, call: Any, monkeypatch: pytest.MonkeyPatch, files: Any
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


def test_a_dry_run_trains_and_writes_nothing(
    fresh: Path, call: Any, monkeypatch: pytest.MonkeyPatch, files: Any
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


def test_a_dry_run_names_impossible_combinations(fresh: Path, call: Any) -> None:
    changed = ["--set", 'compare.d_norm=["none","batch"]', "--set", 'compare.penalty=["none","r1"]']
    said = call("run", "tiny.toml", "--dry-run", *changed)
    assert said.code == 2
    assert said.out.count("refused: ") == 2
    assert "d_norm = 'batch' with penalty = 'r1'" in said.out
    assert "5 tests at" in said.out
    (line,) = said.err.splitlines()
    assert line.startswith("error: arm ")
    assert line.endswith("(and 1 more arms)")
    assert line == call("run", "tiny.toml", *changed).err.strip()


@pytest.mark.parametrize(
    "mistake",
    [
        'compare.loss=["hinge","lsgan"]',
        "compare.d_steps=[-1,2]",
        "compare.g_lr=[inf,2]",
        "compare.batch_size=[0,2]",
    ],
)
def test_a_dry_run_refuses_what_would_not_be_run(fresh: Path, call: Any, mistake: str) -> None:
    changed = ["--set", mistake, "--device", "cpu", "--workers", 1]
    text = (fresh / "tiny.toml").read_text().replace("batch_size = 16\n", "")
    text = text.replace('loss = ["non_saturating", "hinge"]\n', "").replace("g_lr = {", "d_lr = {")
    (fresh / "tiny.toml").write_text(text)
    said = call("run", "tiny.toml", "--dry-run", *changed)
    assert said.code == 2
    assert said.out.count("refused: ") == 1
    assert said.out.splitlines()[-1].startswith("metric test/")
    assert "test at" not in said.out
    assert "tests at" not in said.out
    assert "nothing is ranked" not in said.out
    (line,) = said.err.splitlines()
    assert line.startswith("error: arm ")
    assert line == call("run", "tiny.toml", *changed).err.strip()
    plan = call("run", "tiny.toml", "--dry-run", "--json", *changed)
    assert plan.code == 2
    assert len(json.loads(plan.out)["refused"]) == 1


def test_one_run_by_hand(there: Path, call: Any) -> None:
    settings = ["architecture=mlp", "dataset=digits", "g_width=4", "d_width=4", "batch_size=16"]
    settings += ["budget.images=320", "evaluate.samples=64", "evaluate.times=1"]
    options = [word for setting in settings for word in ("--set", setting)]
    said = call("train", *options, "--device", "cpu", "--threads", 1, "--json", "--quiet")
    assert said.code == 0
    result = json.loads(said.out)
    assert result["outcome"] == "finished"
    assert {"val/fid_digits_cnn_v2_64", "test/fid_digits_cnn_v2_64"} <= set(result["scores"])
    assert call("status").out == "tiny\n"


@pytest.mark.parametrize(
    ("setting", "budget"),
    [
        ("dataset=digits", Budget(images=480)),
        ("budget.images=320", Budget(images=320)),
        ("budget.g_steps=3", Budget(g_steps=3)),
        ("budget={g_steps=3}", Budget(g_steps=3)),
    ],
)
def test_a_preset_brings_its_budget(
    setting: str, budget: Budget, call: Any, add_preset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_preset("short", budget={"images": 480}, settings={"d_depth": 1})
    started: list[Any] = []

    def train_once(config: Any, *_: Any, **__: Any) -> None:
        started.append(config)
        raise HarnessError("no more is needed")

    monkeypatch.setattr("harness.launch.train_once", train_once)
    call("train", "--preset", "short", "--set", setting)
    assert [(config.budget, config.d_depth) for config in started] == [(budget, 1)]


def test_presets_are_listed_with_their_deviations(call: Any, add_preset: Any) -> None:
    add_preset("short", deviations=["The batch is smaller."])
    assert "System short" in call("list", "presets").out
    assert json.loads(call("list", "deviations", "--json").out) == {
        "short": "The batch is smaller."
    }


def test_list_names_what_a_study_file_may_say(call: Any) -> None:
    assert "hinge" in call("list", "losses").out
    assert "digits" in json.loads(call("list", "datasets", "--json").out)
    kinds = json.loads(call("list", "--json").out)
    assert {"losses", "presets", "gan-settings", "vae-settings"} <= set(kinds)


def test_help_is_quick_to_load(tmp_path: Path, files: Any) -> None:
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


@pytest.fixture
def start(
    study: Path, environment: Any, tiny_study: str
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a longer study as a process; none outlives the test."""
    # In the store of the finished study: creating one takes longer than this study.
    (study / "long.toml").write_text(tiny_study.replace("images = 320", "images = 6_000"))
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "run",
        "long.toml",
        "--device",
        "cpu",
        "--underpowered",
    ]
    with ExitStack() as stack:

        def start(*options: str) -> subprocess.Popen[str]:
            # The children of a job in the background would inherit that it ignores Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, "--threads", "1", *options],
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
    study: Path, start: Callable[..., subprocess.Popen[str]]
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
    outcomes = [arm.search_outcomes for arm in status.summary.arms]  # it came no farther
    ended = sum(arm.get("finished", 0) + arm.get("collapsed", 0) for arm in outcomes)
    assert 1 <= ended <= states()["FINISHED"]  # one may have been recorded and not yet noted

    # Enough of it: what was noted as ended is not trained again, and the next run ends.
    again = start("--workers", "1")
    assert again.stderr is not None
    assert again.stderr.readline().startswith(f"[{ended + 1}/8]")
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=60)
    assert again.returncode == 130
    assert "RUNNING" not in states()
