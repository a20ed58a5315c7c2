"""What D is told of images: smoothed and flipped labels (Salimans et al. 2016, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.systems.gan.config import GANConfig
from harness.systems.gan.losses import LOSSES


class Labels:
    """D's loss on labels that are not all true.

    An image that D is to call real with probability t costs t times the term of a real image and
    1 - t times that of a generated one: for cross-entropy the loss of a soft label, for any loss
    its expectation over labels drawn with probability t.

    Args:
        config: The run's settings.
        random: Source of the flips, on the run's device.
    """

    def __init__(self, config: GANConfig, random: torch.Generator) -> None:
        self._loss = LOSSES[config.loss]
        self._random = random
        self._real, self._fake = 1 - config.smooth_real, config.smooth_fake
        self._flip = config.flip_labels
        self._true = self._real == 1 and self._fake == 0 and self._flip == 0

    def loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Return D's loss of logits (N, 1)."""
        if self._true:
            return self._loss.discriminator(real_logits, fake_logits)
        real, fake = self._real, self._fake
        return self._mixed(real_logits, real, fake) + self._mixed(fake_logits, fake, real)

    def _mixed(self, logits: Tensor, target: float, flipped: float) -> Tensor:
        assert self._loss.terms is not None
        real_term, fake_term = self._loss.terms
        draws = torch.empty_like(logits).uniform_(generator=self._random) if self._flip else None
        if draws is None:
            return target * real_term(logits).mean() + (1 - target) * fake_term(logits).mean()
        targets = torch.where(draws < self._flip, flipped, target)
        return (targets * real_term(logits) + (1 - targets) * fake_term(logits)).mean()
