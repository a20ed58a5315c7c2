"""Generator and discriminator pairs.

To add one, write a file such as `mlp.py` and add its `Architecture` below.
"""

from __future__ import annotations

from harness.systems.gan.architectures import dc, mlp
from harness.systems.gan.architectures.pair import ARCHITECTURES, Architecture, NetworkSettings

ARCHITECTURES.add("mlp", mlp.MLP, mlp.MLP.description)
ARCHITECTURES.add("dc", dc.DC, dc.DC.description)

__all__ = ["ARCHITECTURES", "Architecture", "NetworkSettings"]
