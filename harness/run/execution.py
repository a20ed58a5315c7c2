"""How runs are executed: device, threads and precision, resolved once per study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.config import Config
from harness.errors import HarnessError


class Execution(Config):
    """How a study's runs are executed: resolved once, stored, and used by every worker."""

    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads per run; another number changes the last digits of every result."""

    @property
    def precision(self) -> str:
        """Of the arithmetic in training; on CUDA torch rounds convolutions' inputs to TF32."""
        return "float32" if self.device == "cpu" else "float32, convolutions tf32"


def resolve_device(device: str) -> str:
    """Return `cpu` or `cuda` for `auto`, and check that what is asked for exists."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise HarnessError(f"--device {device!r}: allowed are auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise HarnessError("--device 'cuda': torch finds no CUDA device here; use cpu or auto")
    return device


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Run a block with a number of CPU threads and put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
