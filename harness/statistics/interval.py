"""What every interval here is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""Confidence of intervals whose level is not an argument."""
SIGNIFICANCE = 0.05
"""Familywise level of a study's tests."""


class Interval(NamedTuple):
    """A confidence interval; an end may be infinite."""

    low: float
    high: float
