"""What code ran where: the tags that a run carries for whoever wants to repeat it."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from harness.plugins import plugin_hashes

VERSIONED = ("torch", "torchvision", "torchmetrics", "mlflow", "optuna", "numpy", "scipy")


def environment() -> dict[str, str]:
    """Return tags that say what code ran where."""
    tags = {f"version.{name}": version(name) for name in VERSIONED}
    tags["version.python"] = platform.python_version()
    command = [Path(sys.argv[0]).name, *map(without_password, sys.argv[1:])]
    tags["command"] = shlex.join(command)
    tags["host"] = platform.node()
    tags["processor"] = processor()
    tags |= {f"plugin.{name}": digest for name, digest in plugin_hashes().items()}
    if commit := _commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def processor(described: Path = Path("/proc/cpuinfo")) -> str:
    """Return what decides how sums are rounded: the processor's model and vector units.

    Args:
        described: Where Linux describes processors, one paragraph each.
    """
    try:
        lines = described.read_text().split("\n\n")[0].splitlines()
        facts = dict(re.split(r"\s*:\s*", line, maxsplit=1) for line in lines)
        model = "{model name}, family {cpu family} model {model} stepping {stepping}"
        named = model.format_map(facts)
    except (OSError, KeyError, ValueError):  # another system, or another kind of processor
        named = platform.processor() or platform.machine()
    return f"{named}, {torch.backends.cpu.get_cpu_capability()}"


def without_password(text: str) -> str:
    """Return an address without the user and password that it may hold."""
    return re.sub(r"(://)\S*@", r"\1", text)


def _commit() -> str | None:
    """Return the checkout's commit, `-dirty` where it was edited; None without a checkout."""
    checkout = Path(__file__).parent.parent.parent
    if not (checkout / ".git").exists():  # installed elsewhere, perhaps inside another repository
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@contextlib.contextmanager
def environment_kept(name: str) -> Iterator[None]:
    """Undo what happens to a variable of the environment meanwhile."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
