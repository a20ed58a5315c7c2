"""Networks that are told the class of an image.

G always gets a learned vector of the class beside its latents (Mirza and Osindero 2014).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from harness.registry import Registry
from harness.systems.architectures.pair import SampleShape

LABEL_DIM = 50  # size of G's vector of a class
LABEL_STD = 0.1
"""Of its numbers at the start: vectors about as long as a one-hot code, and short beside latents.

Of classes that are further apart than latents are, batch norm leaves latents no say: G makes one
image of each class.
"""

CONDITIONINGS: Registry[str] = Registry("conditioning")
CONDITIONINGS.add("none", "none", "Classes are not used")
CONDITIONINGS.add(
    "concatenation",
    "concatenation",
    "D gets a learned map of the class as a further channel (Mirza and Osindero 2014)",
)
CONDITIONINGS.add(
    "projection",
    "projection",
    "D's features are projected on a vector of the class (Miyato and Koyama 2018)",
)


class OfClass(nn.Module):
    """A generator of images of a class: (latents (N, L), classes (N,)) -> images (N, C, H, W).

    Where an image has several latents, (N, num_styles, L), the class is joined to each.

    Args:
        images: Takes L + LABEL_DIM numbers per latent.
        num_classes: How many there are.
    """

    def __init__(self, images: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, LABEL_DIM)
        nn.init.normal_(self.embedding.weight, 0, LABEL_STD)
        self.images = images

    def forward(self, latents: Tensor, classes: Tensor) -> Tensor:
        """Return images."""
        told = self.embedding(classes).to(latents.dtype)
        if latents.dim() == 3:
            told = told[:, None].expand(-1, latents.shape[1], -1)
        images: Tensor = self.images(torch.cat([latents, told], dim=-1))
        return images


class Concatenating(nn.Module):
    """A discriminator (images, classes) -> logits (N, 1) with one more channel, the class's map.

    Args:
        logits: Takes images (N, C + 1, H, W), or points with one more coordinate, the class's.
        num_classes: How many there are.
        shape: (C, H, W) of an image, (d,) of a point.
    """

    def __init__(self, logits: nn.Module, num_classes: int, shape: SampleShape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, math.prod(shape[1:]))
        self.logits = logits

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """Return logits."""
        shape = (len(images), 1, *images.shape[2:])
        told = self.embedding(classes).to(images.dtype).view(shape)
        logits: Tensor = self.logits(torch.cat([images, told], dim=1))
        return logits


class Projecting(nn.Module):
    """A discriminator (images, classes) -> logits (N, 1): psi(x) + v_class · phi(x).

    With phi the features before the last layer, psi and every class's product are rows of that
    one layer (Miyato and Koyama 2018, eq. 3); each class has a bias of its own besides, and
    spectral norm divides all rows by one number.

    Args:
        outputs: images -> (N, 1 + num_classes).
    """

    def __init__(self, outputs: nn.Module) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        """Return logits."""
        outputs: Tensor = self.outputs(images)
        return outputs[:, :1] + outputs.gather(1, 1 + classes[:, None])
