"""Where latents come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from harness.registry import Registry, first_line

Prior: TypeAlias = Callable[[tuple[int, int], torch.Generator], Tensor]
"""(shape, generator) -> latents (N, latent_dim) on the generator's device."""

PRIORS: Registry[Prior] = Registry("prior")


def prior(draw: Prior) -> Prior:
    """Register a distribution under the function's name."""
    PRIORS.add(draw.__name__, draw, first_line(draw))
    return draw


@prior
def normal(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """N(0, I)."""
    return torch.randn(shape, generator=generator, device=generator.device)


@prior
def uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """U(-1, 1) in every part (Radford et al. 2016)."""
    return torch.rand(shape, generator=generator, device=generator.device) * 2 - 1


def truncated_normal(shape: tuple[int, int], limit: float, generator: torch.Generator) -> Tensor:
    """Return N(0, I) given that every part lies in [-limit, limit] (Brock et al. 2019, BigGAN)."""
    below = math.erf(limit / math.sqrt(2))
    even = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    parts = math.sqrt(2) * torch.erfinv((2 * even - 1) * below)
    return parts.clamp(-limit, limit).float()
