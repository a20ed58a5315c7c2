"""How runs are executed: device, threads and precision, resolved once per study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import joblib
import torch

from harness.config import Config
from harness.errors import HarnessError
from harness.systems import Precision


class Execution(Config):
    """How a study's runs are executed: resolved once, stored, and used by every worker."""

    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads per run; another number changes the last digits of every result."""

    precision: Precision = "float32"
    """Of training's matrix products."""

    def facts(self) -> dict[str, Any]:
        """Return what is recorded of a run; on CUDA torch rounds convolutions' inputs to TF32."""
        facts = self.model_dump()
        if self.device == "cuda":
            facts["precision"] += ", convolutions tf32"
        return facts

    @classmethod
    def recorded(cls, facts: Mapping[str, str]) -> Execution:
        """Return it from what was recorded of a run; early records name no precision."""
        recorded = facts.get("precision", "float32")
        precision: Precision = "bfloat16" if recorded.startswith("bfloat16") else "float32"
        return cls(device=facts["device"], threads=int(facts["threads"]), precision=precision)


def resolve_device(device: str) -> str:
    """Return `cpu` or `cuda` for `auto`, and check that what is asked for exists."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise HarnessError(f"--device {device!r}: allowed are auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise HarnessError("--device 'cuda': torch finds no CUDA device here; use cpu or auto")
    return device


def count_cores() -> int:
    """Return how many cores this process may use, in a container too."""
    cores: int = joblib.cpu_count()
    return cores


def resolve_threads(threads: int | None, device: str, workers: int | None = 1) -> int:
    """Return CPU threads per run; where none are asked for, the cores divided by the workers.

    Args:
        threads: What is asked for.
        device: Where runs train.
        workers: None: one for each core, or one alone on a GPU.

    Raises:
        HarnessError: There are fewer cores.
    """
    cores = count_cores()
    if threads is not None and device == "cpu" and threads > cores:
        raise HarnessError(f"--threads {threads}: here are {cores} cores; allowed are 1 to {cores}")
    if workers is None:
        workers = cores if device == "cpu" else 1
    return threads or max(1, cores // workers)


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Run a block with a number of CPU threads and put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
