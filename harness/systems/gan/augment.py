"""Random transformations of batches of images, each differentiable by its images.

To add one, decorate a function with `@augmentation`. Several are joined by "+" in study files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from harness.registry import Registry, first_line

Augment: TypeAlias = Callable[[Tensor, torch.Generator], Tensor]
"""(images (N, C, H, W) in [-1, 1], generator) -> images of that shape, each changed by itself."""

AUGMENTATIONS: Registry[Augment] = Registry("augmentation")

BLACK = -1.0
MAX_SHIFT = 1 / 8  # of a side; Zhao et al. 2020
CUT = 1 / 2  # side of the square, as a share; Zhao et al. 2020
MAX_DEGREES = 15.0
SMALLEST_CROP = 0.8  # of a side


def augmentation(change: Augment) -> Augment:
    """Register a transformation under the function's name."""
    AUGMENTATIONS.add(change.__name__, change, first_line(change))
    return change


def named(text: str) -> list[str]:
    """Return the names that a setting lists; none for `none`."""
    return [] if text == "none" else text.split("+")


def check_augmentation(text: str) -> str:
    """Return a setting if it names transformations; as a pydantic validator."""
    names = named(text)
    for name in names:
        AUGMENTATIONS.check(name)
    if len(set(names)) != len(names):
        raise ValueError(f"{text!r}: a transformation is listed twice")
    return text


def needs_colour(text: str) -> bool:
    """Return whether a setting names a change of colours."""
    return "color" in named(text)


def _uniform(images: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Return one number per image, (N, 1, 1, 1)."""
    shape = (len(images), 1, 1, 1)
    return low + (high - low) * torch.rand(shape, generator=generator, device=images.device)


@augmentation
def translation(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts by up to an eighth of a side, black beyond the border (Zhao et al. 2020)."""
    num, _, height, width = images.shape
    most = [max(1, round(side * MAX_SHIFT)) for side in (height, width)]
    framed = pad(images, (most[1], most[1], most[0], most[0]), value=BLACK)
    places = []
    for side, limit in zip((height, width), most, strict=True):
        shape = (num, 1)
        start = torch.randint(2 * limit + 1, shape, generator=generator, device=images.device)
        places.append(start + torch.arange(side, device=images.device))
    rows, columns = places
    which = torch.arange(num, device=images.device)[:, None, None]
    # Maps go last while rows and columns are picked.
    moved = framed.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


@augmentation
def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """Greys a square of half the side, which may hang over the border (Zhao et al. 2020)."""
    num, _, height, width = images.shape
    inside = []
    for side in (height, width):
        size = max(1, round(side * CUT))
        shape = (num, 1)
        # The square's centre lies on any pixel, that of an even one between any two: as often at
        # one border as at the other.
        num_centres = side + 1 - size % 2
        centre = torch.randint(num_centres, shape, generator=generator, device=images.device)
        places = torch.arange(side, device=images.device)
        inside.append((places >= centre - size // 2) & (places < centre - size // 2 + size))
    hidden = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hidden, 0.0)


@augmentation
def color(images: Tensor, generator: torch.Generator) -> Tensor:
    """Changes brightness, saturation and contrast (Zhao et al. 2020)."""
    images = images + _uniform(images, -0.5, 0.5, generator)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * _uniform(images, 0, 2, generator)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (images - mean) * _uniform(images, 0.5, 1.5, generator)


@augmentation
def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors left and right, every second image."""
    mirrored = _uniform(images, 0, 1, generator) < 0.5
    return torch.where(mirrored, images.flip(3), images)


@augmentation
def rotation(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns by up to 15 degrees around the centre, black beyond the border."""
    limit = math.radians(MAX_DEGREES)
    angles = _uniform(images, -limit, limit, generator).flatten()
    cos, sin = angles.cos(), angles.sin()
    zero = torch.zeros_like(angles)
    # affine_grid's unit is half a side: sines carry the ratio of the sides.
    ratio = images.shape[2] / images.shape[3]
    rows = (cos, -sin * ratio, zero, sin / ratio, cos, zero)
    return _resampled(images, torch.stack(rows, dim=1).view(-1, 2, 3), "zeros")


@augmentation
def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Enlarges a random part of at least 80 % of the sides to the whole."""
    scale = _uniform(images, SMALLEST_CROP, 1, generator).flatten()
    shifts = [_uniform(images, -1, 1, generator).flatten() * (1 - scale) for _ in ("right", "down")]
    zero = torch.zeros_like(scale)
    rows = (scale, zero, shifts[0], zero, scale, shifts[1])
    # Enlarged pixels at the border reach half a pixel beyond it, where there is no black to see.
    return _resampled(images, torch.stack(rows, dim=1).view(-1, 2, 3), "border")


def _resampled(images: Tensor, transforms: Tensor, outside: str) -> Tensor:
    """Return images at the places that affine maps (N, 2, 3) give.

    Args:
        images: (N, C, H, W).
        transforms: From places in the result to places in the image, both in [-1, 1].
        outside: `zeros` for black beyond the border, `border` for its nearest pixel.
    """
    grid = affine_grid(transforms.to(images.dtype), list(images.shape), align_corners=False)
    above_black = grid_sample(images - BLACK, grid, "bilinear", outside, align_corners=False)
    return above_black + BLACK
