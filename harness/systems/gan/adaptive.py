"""How often images are augmented, by how much D overfits (Karras et al. 2020, ADA)."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGES_TO_FULL = 500_000
"""Real images after which the share can have risen from 0 to 1, as in the paper."""


def adapt(share: Tensor, real_logits: Tensor, target: float, num_images: int) -> None:
    """Raise a share, in place, while D is surer of real images than the target; else lower it.

    Args:
        share: Probability that a transformation is applied to an image; a scalar on the device.
        real_logits: D's logits (N, 1) of augmented real images; r_t is their mean sign, eq. 1.
        target: What r_t is to be.
        num_images: Real images since the last call.
    """
    with torch.no_grad():
        excess = real_logits.sign().mean() - target
        share.add_(excess.sign() * (num_images / IMAGES_TO_FULL)).clamp_(0, 1)
