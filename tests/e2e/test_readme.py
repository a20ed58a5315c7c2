"""The README holds what it promises: its commands exist, and its recipe for a loss works."""

from __future__ import annotations

import os
import re
import shlex
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


@pytest.mark.slow
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
