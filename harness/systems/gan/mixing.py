"""Styles of two latents in one image (Karras et al. 2019, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.systems.styles import crossed


def mixed(
    first: Tensor,
    second: Tensor,
    num_styles: int,
    probability: float,
    generator: torch.Generator,
) -> Tensor:
    """Return latents per layer of which some samples' change from one layer on.

    Args:
        first: Latents (N, latent_dim).
        second: What they change to, (N, latent_dim).
        num_styles: Layers that take a style.
        probability: Of a sample to be mixed; each crosses at a layer of its own, never the first.
        generator: Source of both, on the latents' device.

    Returns:
        (N, num_styles, latent_dim).
    """
    shape, device = (len(first),), first.device
    places = torch.randint(1, num_styles, shape, generator=generator, device=device)
    is_mixed = torch.rand(shape, generator=generator, device=device) < probability
    return crossed(first, second, places.where(is_mixed, num_styles), num_styles)
