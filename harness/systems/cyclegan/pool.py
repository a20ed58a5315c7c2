"""Images made earlier, for a discriminator to see again (Shrivastava et al. 2017, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor


def from_pool(images: Tensor, pool: Tensor, num_before: int, generator: torch.Generator) -> Tensor:
    """Return images of now and of earlier, and keep those of now; nothing is read back.

    The first images fill the pool and are returned as they are. Every later one, one after another,
    is returned itself with probability 1/2; else it takes the place of one of the pool's images,
    drawn uniformly, which is returned in its stead.

    Args:
        images: (N, C, H, W), without gradients.
        pool: (P, C, H, W), changed in place; with P = 0 the images are returned.
        num_before: How many images were handed in before these.
        generator: Where chances and places are drawn from, on the images' device.
    """
    size = len(pool)
    num_kept = min(max(size - num_before, 0), len(images))
    pool[num_before : num_before + num_kept] = images[:num_kept]
    if size == 0 or num_kept == len(images):
        return images
    shape, device = (len(images), 1), images.device
    places = torch.randint(size, shape, generator=generator, device=device)
    exchanged = torch.rand(shape, generator=generator, device=device) < 0.5
    returned = [images[:num_kept]]
    for number in range(num_kept, len(images)):
        new, place = images[number : number + 1], places[number]
        old = pool.index_select(0, place)
        returned.append(torch.where(exchanged[number], old, new))
        pool.index_copy_(0, place, torch.where(exchanged[number], new, old))
    return torch.cat(returned)
