"""The README holds what it promises: its commands exist, and its recipe for a loss works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness.cli import app

ROOT = Path(harness.__file__).parent.parent
README = (ROOT / "README.md").read_text()
RECIPE = re.search(r"```python\n(# (\w+)\.py\n.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"^(?:\.venv/bin/)?harness (\w+)(.*)$", README, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file that the README tells its reader to write."""
    assert RECIPE is not None
    file = tmp_path_factory.mktemp("recipe") / f"{RECIPE[2]}.py"
    file.write_text(RECIPE[1])
    return file


def call(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"HARNESS_HOME": str(folder / "mlruns")}
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_new_loss_is_listed(plugin: Path) -> None:
    said = call(plugin.parent, "list", "losses", "--plugin", plugin.name)
    assert plugin.stem in said
    assert plugin.stem not in call(plugin.parent, "list", "losses")


def test_the_new_loss_trains_in_a_study(plugin: Path) -> None:
    (plugin.parent / "new.toml").write_text(
        f"""
        question = "Is the new loss better?"
        dataset = "digits"
        fixed = {{ architecture = "mlp", g_width = 4, d_width = 4, batch_size = 16 }}
        compare = {{ variant = ["non_saturating", "{plugin.stem}"] }}
        confirm = {{ seeds = 1 }}
        budget = {{ images = 160 }}
        evaluate = {{ times = 1, samples = 64, kid_subsets = 2 }}
        """
    )
    options = ("--quiet", "--workers", "2", "--underpowered", "--plugin", plugin.name)
    said = call(plugin.parent, "run", "new.toml", *options)
    assert "The study is complete." in said
    assert plugin.stem in said


def test_the_new_loss_passes_the_suite_that_its_author_is_told_to_run(plugin: Path) -> None:
    command = re.search(r"^\.venv/bin/python (-m pytest .*)--plugin", README, flags=re.MULTILINE)
    assert command is not None
    options = [*shlex.split(command[1]), "--plugin", str(plugin), "-v"]
    done = subprocess.run(
        [sys.executable, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert plugin.stem in done.stdout


def test_every_command_of_the_readme_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert len(COMMANDS) > 5
    for command, options in COMMANDS:
        assert command in known
        shown = subprocess.run(
            [sys.executable, "-m", "harness.cli", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for option in re.findall(r" (--?[a-z][a-z-]*)", options.partition("#")[0]):
            assert option in shown, f"harness {command} {option}"


def check_example(root: Path) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "scripts" / "check_example.py"), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_number_of_the_example_is_that_of_its_runs() -> None:
    assert check_example(ROOT)[0] == 0


@pytest.mark.parametrize(
    ("file", "before", "after", "complaint"),
    [
        ("README.md", "2.55 ± 0.20 against 5.45", "5.45 ± 0.20 against 2.55", "does not say"),
        ("README.md", "| 2.55 ± 0.20 |", "| 2.56 ± 0.20 |", "dc mean"),
        ("README.md", "score 0.0749", "score 0.0849", "nothing explains"),
        ("docs/example-report/report.md", "| −2.86 [", "| +2.86 [", "dc against mlp difference"),
        ("docs/example-report/report.md", "= 1.00 [0.64", "= 0.00 [0.64", "does not say"),
        ("docs/example-report/report.md", "by 24 % (median)", "by 8 % (median)", "still falling"),
        ("docs/example-report/report.md", "| arm | diverged |", "| arm | diverges |", "no table"),
        (
            "docs/example-report/runs.csv",
            "mlp,confirm,0,1,finished",
            "mlp,confirm,0,1,diverged",
            "",
        ),
    ],
)
def test_a_wrong_number_is_found(
    tmp_path: Path, file: str, before: str, after: str, complaint: str
) -> None:
    for name in ("README.md", "studies", "docs/example-report"):
        copied = tmp_path / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copied)
        else:
            shutil.copy(ROOT / name, copied)
    text = (tmp_path / file).read_text()
    assert before in text
    (tmp_path / file).write_text(text.replace(before, after, 1))
    code, said = check_example(tmp_path)
    assert code == 1
    assert complaint in said
