"""How weights start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from harness.registry import Registry, first_line

Draw: TypeAlias = Callable[[Tensor], object]

INITIALISATIONS: Registry[Draw | None] = Registry("initialisation")
INITIALISATIONS.add("torch", None, "As torch's layers do it: uniform, by the number of inputs")

STD = 0.02  # Radford et al. 2016, section 4
WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
SCALED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)


def initialisation(draw: Draw) -> Draw:
    """Register what draws a weight in place under the function's name."""
    INITIALISATIONS.add(draw.__name__, draw, first_line(draw))
    return draw


@initialisation
def normal(weight: Tensor) -> None:
    """N(0, 0.02), scales of norms from N(1, 0.02) (Radford et al. 2016, DCGAN)."""
    nn.init.normal_(weight, 0, STD)


@initialisation
def orthogonal(weight: Tensor) -> None:
    """Orthogonal matrices (Saxe et al. 2014; as in BigGAN, Brock et al. 2019)."""
    nn.init.orthogonal_(weight)


@initialisation
def uniform(weight: Tensor) -> None:
    """U(-a, a) with a² = 6 / (inputs + outputs) (Glorot and Bengio 2010)."""
    nn.init.xavier_uniform_(weight)


@initialisation
def uniform_0_05(weight: Tensor) -> None:
    """U(-0.05, 0.05), as the generator of Goodfellow et al. 2014 starts."""
    nn.init.uniform_(weight, -0.05, 0.05)


@initialisation
def uniform_0_005(weight: Tensor) -> None:
    """U(-0.005, 0.005), as the discriminator of Goodfellow et al. 2014 starts."""
    nn.init.uniform_(weight, -0.005, 0.005)


def initialise(network: nn.Module, name: str) -> nn.Module:
    """Draw all of a network's weights anew; biases start at 0. `torch` leaves them as they are."""
    draw = INITIALISATIONS[name]
    if draw is None:
        return network
    for layer in network.modules():
        if isinstance(layer, WEIGHTED):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, SCALED) and name == "normal" and layer.weight is not None:
            nn.init.normal_(layer.weight, 1, STD)
            nn.init.zeros_(layer.bias)
    return network


def spectrally_normed(network: nn.Module) -> nn.Module:
    """Divide every weight by its largest singular value from now on (Miyato et al. 2018)."""
    for layer in list(network.modules()):
        if isinstance(layer, WEIGHTED):
            spectral_norm(layer)
    return network
