"""Layers and choices that the architectures share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from harness.registry import Registry

ACTIVATIONS: Registry[type[nn.Module]] = Registry("activation")
ACTIVATIONS.add("relu", nn.ReLU, "max(0, x)")
ACTIVATIONS.add("leaky_relu", nn.LeakyReLU, "Leaky ReLU with slope 0.2")
ACTIVATIONS.add("elu", nn.ELU, "Exponential linear unit")
ACTIVATIONS.add("silu", nn.SiLU, "x sigmoid(x)")

NORMS: Registry[str] = Registry("normalisation")
NORMS.add("none", "none", "No normalisation")
NORMS.add("batch", "batch", "Batch norm; in D refused with a penalty, since it mixes samples")
NORMS.add("layer", "layer", "Layer norm over channels and positions of each sample")
NORMS.add("spectral", "spectral", "Spectral norm of every weight (Miyato et al. 2018)")


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
    if name == "batch":
        return [nn.BatchNorm2d(num_features) if spatial else nn.BatchNorm1d(num_features)]
    if name == "layer":
        return [nn.GroupNorm(1, num_features) if spatial else nn.LayerNorm(num_features)]
    return []


def weighted(layer: nn.Module, norm: str) -> nn.Module:
    """Return a linear or convolutional layer, under spectral norm where `norm` says so."""
    return spectral_norm(layer) if norm == "spectral" else layer


class Dropout(nn.Module):
    """Dropout that draws its mask from a given generator instead of the global random state.

    The owner sets `generator`; before that, and in eval mode, the layer is the identity.

    Args:
        probability: Share of activations set to 0; the rest is scaled by 1 / (1 - probability).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

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
