"""Penalties on the discriminator's input gradients, with *per-sample* norms.

Each is added to D's loss. To add one, decorate a function with `@penalty`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from harness.registry import Registry, first_line

Judge: TypeAlias = Callable[[Tensor], Tensor]
"""A discriminator: images (N, C, H, W) -> logits (N, 1), twice differentiable."""
Penalty: TypeAlias = Callable[[Judge, Tensor, Tensor, torch.Generator], Tensor]
"""(discriminator, real_images, fake_images, generator) -> scalar, before `penalty_weight`."""

PENALTIES: Registry[Penalty | None] = Registry("penalty")
PENALTIES.add("none", None, "No penalty")


def penalty(function: Penalty) -> Penalty:
    """Register a penalty under the function's name."""
    PENALTIES.add(function.__name__, function, first_line(function))
    return function


def squared_gradient_norms(discriminator: Judge, images: Tensor) -> Tensor:
    """Return ‖∇ₓ D(x)‖² for every sample: (N, ...) -> (N,).

    Summing the logits before differentiating gives each sample its own gradient only where no layer
    of D mixes the batch; that is why batch norm in D is refused with a penalty. Where D is told how
    much a group differs, the gradient is that of the group's summed logits, as in StyleGAN2.
    """
    images = images.detach().requires_grad_(True)
    (gradients,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradients.flatten(1).square().sum(1)


def _norms(squared: Tensor) -> Tensor:
    # The square root's slope is infinite at 0: a vanishing gradient would turn into NaN.
    return (squared + 1e-12).sqrt()


def _interpolate(real_images: Tensor, fake_images: Tensor, generator: torch.Generator) -> Tensor:
    shape = (len(real_images),) + (1,) * (real_images.dim() - 1)
    mix = torch.rand(shape, device=real_images.device, generator=generator)
    return real_images + mix * (fake_images - real_images)


@penalty
def gradient(
    discriminator: Judge, real_images: Tensor, fake_images: Tensor, generator: torch.Generator
) -> Tensor:
    """(‖∇D(x̂)‖ - 1)² at points between real and fake (WGAN-GP, Gulrajani et al. 2017, eq. 3)."""
    points = _interpolate(real_images, fake_images, generator)
    return (_norms(squared_gradient_norms(discriminator, points)) - 1).square().mean()


@penalty
def gradient_one_sided(
    discriminator: Judge, real_images: Tensor, fake_images: Tensor, generator: torch.Generator
) -> Tensor:
    """max(0, ‖∇D(x̂)‖ - 1)² at points between real and fake (WGAN-LP, Petzka et al. 2018)."""
    points = _interpolate(real_images, fake_images, generator)
    norms = _norms(squared_gradient_norms(discriminator, points))
    return (norms - 1).relu().square().mean()


@penalty
def dragan(
    discriminator: Judge, real_images: Tensor, fake_images: Tensor, generator: torch.Generator
) -> Tensor:
    """(‖∇D(x')‖ - 1)² at real images + 0.5 sd(x) U(0, 1) (DRAGAN, Kodali et al. 2017)."""
    noise = torch.rand(real_images.shape, device=real_images.device, generator=generator)
    points = real_images + 0.5 * real_images.std() * noise
    return (_norms(squared_gradient_norms(discriminator, points)) - 1).square().mean()


@penalty
def r1(
    discriminator: Judge, real_images: Tensor, fake_images: Tensor, generator: torch.Generator
) -> Tensor:
    """½‖∇D(x)‖² at real images (Mescheder et al. 2018, eq. 9)."""
    return squared_gradient_norms(discriminator, real_images).mean() / 2


@penalty
def r2(
    discriminator: Judge, real_images: Tensor, fake_images: Tensor, generator: torch.Generator
) -> Tensor:
    """½‖∇D(G(z))‖² at generated images (Mescheder et al. 2018, eq. 10)."""
    return squared_gradient_norms(discriminator, fake_images).mean() / 2


@penalty
def r1_r2(
    discriminator: Judge, real_images: Tensor, fake_images: Tensor, generator: torch.Generator
) -> Tensor:
    """R1 + R2: ½‖∇D‖² at real and at generated images (Huang et al. 2024, R3GAN)."""
    return r1(discriminator, real_images, fake_images, generator) + r2(
        discriminator, real_images, fake_images, generator
    )
