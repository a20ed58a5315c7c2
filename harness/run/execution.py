"""How runs are executed: device, threads and precision, resolved once per study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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
        tf32 = self.device == "cuda" and self.precision == "float32"
        precision = f"{self.precision}, convolutions tf32" if tf32 else self.precision
        return self.model_dump() | {"precision": precision}

    @classmethod
    def recorded(cls, facts: Mapping[str, str]) -> Execution:
        """Return it from what was recorded of a run."""
        precision: Precision = (
            "bfloat16" if facts["precision"].startswith("bfloat16") else "float32"
        )
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


@contextmanager
def cpu_threads(number: int) -> Iterator[None]:
    """Run a block with a number of CPU threads and put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
