"""Pairs of networks: latents -> images, and images -> numbers.

A GAN plays them against each other, a VAE makes an encoder and a decoder of them. To add a pair,
write a file such as `mlp.py` beside it; all that lie here are registered.
"""

from __future__ import annotations

from harness.registry import import_all
from harness.systems.architectures.pair import (
    ARCHITECTURES,
    STYLE_SETTINGS,
    Architecture,
    Complaint,
    DiscriminatorSettings,
    GeneratorSettings,
    NetworkSettings,
)

import_all(__name__)

__all__ = [
    "ARCHITECTURES",
    "STYLE_SETTINGS",
    "Architecture",
    "Complaint",
    "DiscriminatorSettings",
    "GeneratorSettings",
    "NetworkSettings",
]
