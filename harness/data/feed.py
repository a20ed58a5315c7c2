"""Fresh shuffled batches of real samples, made where the samples lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.data.dataset import Part
from harness.data.kinds import kind_of


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Fresh real samples.

    Attributes:
        images: (N, C, H, W) in [-1, 1], or points (N, d), float32.
        labels: (N,) where there are.
        counterpart: As many of the other domain, where the data have two, drawn independently.
    """

    images: Tensor
    labels: Tensor | None
    counterpart: Batch | None = None


class Batches:
    """An endless stream of shuffled real batches, shuffled and gathered on the images' device.

    Every epoch visits each image once in a fresh order; a batch may span two epochs. Where the data
    have two domains, each has epochs and an order of its own.

    Args:
        part: The samples, on the training device.
        batch_size: Images per batch.
        generator: Source of the order, on the same device.

    Attributes:
        images_seen: Images handed out so far; of two domains, those of the target alone.
    """

    def __init__(self, part: Part, batch_size: int, generator: torch.Generator) -> None:
        self._part = part
        self._kind = kind_of(part.images.shape[1:])
        self._batch_size = batch_size
        self._generator = generator
        self._order = torch.empty(0, dtype=torch.int64, device=part.images.device)
        self._counterpart = None
        if part.counterpart is not None:
            self._counterpart = Batches(part.counterpart, batch_size, generator)
        self.images_seen = 0

    def take(self) -> Batch:
        """Return a fresh batch."""
        missing = self._batch_size - len(self._order)
        if missing > 0:
            epochs = [self._epoch() for _ in range(math.ceil(missing / len(self._part)))]
            self._order = torch.cat([self._order, *epochs])
        picked, self._order = self._order[: self._batch_size], self._order[self._batch_size :]
        self.images_seen += self._batch_size
        images, labels = self._part.images, self._part.labels
        return Batch(
            images=self._kind.to_networks(images.index_select(0, picked)),
            labels=None if labels is None else labels.index_select(0, picked),
            counterpart=None if self._counterpart is None else self._counterpart.take(),
        )

    def _epoch(self) -> Tensor:
        """Return each sample's index once, shuffled."""
        return torch.randperm(len(self._part), generator=self._generator, device=self._order.device)

    def state_dict(self) -> dict[str, Any]:
        """Return what is left of the current epoch; the generator is saved by its owner."""
        state = {"order": self._order.clone(), "images_seen": self.images_seen}
        if self._counterpart is not None:
            state["counterpart"] = self._counterpart.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what was left of the epoch."""
        self._order = state["order"].to(self._part.images.device)
        self.images_seen = state["images_seen"]
        if self._counterpart is not None:
            self._counterpart.load_state_dict(state["counterpart"])
