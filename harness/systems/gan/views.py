"""What D sees of images: augmented, with noise, several at once."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.randomness import Streams
from harness.systems.gan.augment import AUGMENTATIONS, named
from harness.systems.gan.config import GANConfig


class Views:
    """Changes images, real and generated alike, before D judges them.

    Args:
        config: The run's settings.
        random: Its streams `augment` and `noise`.
        share: Probability that a transformation is applied to an image; None: always.

    Attributes:
        noise: Standard deviation of the noise now.
    """

    def __init__(self, config: GANConfig, random: Streams, share: Tensor | None) -> None:
        self._augmentations = [AUGMENTATIONS[name] for name in named(config.augment)]
        self._random = random
        self._share = share
        self._start, self._until = config.instance_noise, config.instance_noise_until
        self._pack = config.pack
        self.noise = self._start

    def set_time(self, done: float) -> None:
        """Set the noise for a spent share of the budget in [0, 1)."""
        self.noise = self._start * max(0.0, 1 - done / self._until)

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) as D sees them, (N / pack, pack C, H, W); or points (N, d)."""
        for change in self._augmentations:
            changed = change(images, self._random["augment"])
            images = changed if self._share is None else self._some(changed, images, self._share)
        if self.noise > 0:
            images = images + self.noise * torch.empty_like(images).normal_(
                generator=self._random["noise"]
            )
        if self._pack > 1:
            images = images.reshape(-1, self._pack * images.shape[1], *images.shape[2:])
        return images

    def _some(self, changed: Tensor, images: Tensor, share: Tensor) -> Tensor:
        shape = (len(images), 1, 1, 1)
        draw = torch.rand(shape, generator=self._random["augment"], device=images.device)
        return torch.where(draw < share, changed, images)
