"""One root seed, many independent named streams; the global random state is never used."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch


def derive_seed(root: int, *path: str | int) -> int:
    """Return a 63-bit seed for the stream named by `path` under `root`.

    Distinct paths give unrelated seeds (SHA-256), so adding a stream never shifts another one.
    """
    text = "/".join(str(part) for part in (root, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Streams:
    """Named random generators of one run on one device.

    Args:
        seed: The run's root seed.
        names: The streams to make.
        device: Where the generators live.
    """

    def __init__(self, seed: int, names: Iterable[str], device: torch.device) -> None:
        self._generators = {
            name: torch.Generator(device).manual_seed(derive_seed(seed, name)) for name in names
        }

    def __getitem__(self, name: str) -> torch.Generator:
        return self._generators[name]

    def state_dict(self) -> dict[str, Any]:
        """Return every generator's state."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore every generator's state."""
        for name, generator in self._generators.items():
            generator.set_state(state[name].cpu())


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block under a seeded global CPU state and put the old state back afterwards.

    For code that offers no generator argument: parameter initialisation and torchmetrics' KID.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
