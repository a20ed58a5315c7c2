"""Generator and discriminator pairs.

To add one, write a file such as `mlp.py` and add its `Architecture` below.
"""

from __future__ import annotations

from harness.architectures import dc, mlp
from harness.architectures.layers import ACTIVATIONS, NORMS, Dropout
from harness.architectures.pair import ARCHITECTURES, Architecture, NetworkSettings

ARCHITECTURES.add("mlp", mlp.MLP, mlp.MLP.description)
ARCHITECTURES.add("dc", dc.DC, dc.DC.description)

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "NORMS",
    "Architecture",
    "Dropout",
    "NetworkSettings",
]
