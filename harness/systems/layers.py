"""Layers and choices that the architectures share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from harness.registry import Registry

ACTIVATIONS: Registry[type[nn.Module]] = Registry("activation")
ACTIVATIONS.add("relu", nn.ReLU, "max(0, x)")
ACTIVATIONS.add("leaky_relu", nn.LeakyReLU, "Leaky ReLU with slope 0.2")
ACTIVATIONS.add("elu", nn.ELU, "Exponential linear unit")
ACTIVATIONS.add("silu", nn.SiLU, "x sigmoid(x)")
ACTIVATIONS.add("none", nn.Identity, "x itself; layers that do nothing else stay linear")

NORMS: Registry[str] = Registry("normalisation")
NORMS.add("none", "none", "No normalisation")
NORMS.add("batch", "batch", "Batch norm; in D refused with a penalty, since it mixes samples")
NORMS.add("layer", "layer", "Layer norm over channels and positions of each sample")
NORMS.add("instance", "instance", "Instance norm of each map; layer norm where there are none")
NORMS.add("group", "group", "Group norm, 16 channels to a group (Wu and He 2018)")
NORMS.add("spectral", "spectral", "Spectral norm of every weight (Miyato et al. 2018)")

CHANNELS_PER_GROUP = 16  # Wu and He 2018, table 3


def activation(name: str) -> nn.Module:
    """Return the activation; leaky ReLU has slope 0.2."""
    return nn.LeakyReLU(0.2) if name == "leaky_relu" else ACTIVATIONS[name]()


def normalisation(name: str, num_features: int, *, spatial: bool) -> list[nn.Module]:
    """Return the layer that normalises `num_features` channels: none, or one module.

    Args:
        name: One of `NORMS`.
        num_features: Channels (spatial) or features (flat).
        spatial: Whether the input is (N, C, H, W) rather than (N, C).
    """
    match name:
        case "batch":
            return [nn.BatchNorm2d(num_features) if spatial else nn.BatchNorm1d(num_features)]
        case "layer":
            return [nn.GroupNorm(1, num_features) if spatial else nn.LayerNorm(num_features)]
        case "instance":
            # A flat feature is one number: by itself it says nothing, so features go together.
            both = nn.InstanceNorm2d(num_features, affine=True), nn.LayerNorm(num_features)
            return [both[0] if spatial else both[1]]
        case "group":
            return [nn.GroupNorm(_num_groups(num_features), num_features)]
    return []


def _num_groups(num_features: int) -> int:
    """Return the most groups of equal size with at least 16 channels each; 1 for fewer."""
    most = max(1, num_features // CHANNELS_PER_GROUP)
    return next(groups for groups in range(most, 0, -1) if num_features % groups == 0)


class Maxout(nn.Module):
    """Each unit is the largest of its pieces (Goodfellow et al. 2013).

    Args:
        num_pieces: Pieces of a unit; piece p of unit u is input p U + u, with U units.
    """

    def __init__(self, num_pieces: int) -> None:
        super().__init__()
        self.num_pieces = num_pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Return units (N, U) of pieces (N, num_pieces U); equal largest ones share a gradient."""
        pieces: Tensor = inputs.unflatten(1, (self.num_pieces, -1))
        return pieces.amax(dim=1)


class RandomLayer(nn.Module):
    """A layer that draws from a given generator instead of the global random state.

    The owner sets `generator`; before that, and in eval mode, such a layer draws nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator: torch.Generator | None = None


class Dropout(RandomLayer):
    """Dropout; before it has a generator, and in eval mode, the layer is the identity.

    Args:
        probability: Share of activations set to 0; the rest is scaled by 1 / (1 - probability).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the inputs with a fresh random part set to 0 (training only)."""
        if not self.training or self.generator is None:
            return inputs
        keep = 1 - self.probability
        mask = torch.empty_like(inputs).bernoulli_(keep, generator=self.generator)
        return inputs * mask / keep


def dropout(probability: float) -> list[nn.Module]:
    """Return the dropout layer, or nothing where the probability is 0."""
    return [Dropout(probability)] if probability > 0 else []


class Points(nn.Identity):
    """The last layer of every generator of points: any numbers (N, d), which have no frame."""

    def crop(self, points: Tensor) -> Tensor:
        """Return points."""
        return points


class Images(nn.Module):
    """The last layer of every generator: any numbers -> images in [-1, 1].

    In eval mode images lose the frame that they are trained with (`pad_to`).

    Args:
        squash: `tanh`, or `sigmoid` for 2 sigmoid(x) - 1, which is tanh(x / 2).
        height: Rows of an image without its frame.
        width: Its columns.
    """

    def __init__(self, squash: Literal["tanh", "sigmoid"], height: int, width: int) -> None:
        super().__init__()
        self.squash = nn.Tanh() if squash == "tanh" else nn.Sigmoid()
        self.height, self.width = height, width

    def forward(self, inputs: Tensor) -> Tensor:
        """Return images (N, C, H, W)."""
        images: Tensor = self.squash(inputs)
        if isinstance(self.squash, nn.Sigmoid):
            images = 2 * images - 1
        return images if self.training else self.crop(images)

    def crop(self, images: Tensor) -> Tensor:
        """Return images without their frame."""
        top = (images.shape[2] - self.height) // 2
        left = (images.shape[3] - self.width) // 2
        return images[:, :, top : top + self.height, left : left + self.width]

    def log_odds(self, inputs: Tensor) -> Tensor:
        """Return the log-odds of Bernoulli pixels whose means are the images of these inputs.

        tanh(l) = 2 sigmoid(2 l) - 1.
        """
        return 2 * inputs if isinstance(self.squash, nn.Tanh) else inputs
