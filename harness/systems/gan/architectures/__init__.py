"""Generator and discriminator pairs.

To add one, write a file such as `mlp.py` beside it; all that lie here are registered.
"""

from __future__ import annotations

from harness.registry import import_all
from harness.systems.gan.architectures.pair import ARCHITECTURES, Architecture, NetworkSettings

import_all(__name__)

__all__ = ["ARCHITECTURES", "Architecture", "NetworkSettings"]
