"""Spread of fake features relative to real ones: the collapse indicator.

tr(Σ_f) / tr(Σ_r): near 1 for samples as varied as the data, near 0 for a generator that makes one
image. Unlike FID it does not move when samples are merely displaced.
"""

from __future__ import annotations

from torch import Tensor

from harness.evaluate.features import as_exact
from harness.evaluate.metric import Compared, Figure, metric


def feature_spread(real_features: Tensor, fake_features: Tensor) -> float:
    """Return the ratio of the traces of the two feature covariances.

    Args:
        real_features: (N, d) floats.
        fake_features: (M, d) floats.

    Raises:
        ValueError: A feature is not finite, or all real features are equal.
    """
    real_variance = float(as_exact(real_features).var(dim=0).sum())
    if real_variance == 0:
        raise ValueError("all real features are equal: there is no spread to compare with")
    return float(as_exact(fake_features).var(dim=0).sum()) / real_variance


@metric(
    Figure(
        name="feature_spread",
        label="spread",
        description="Variance of the samples' features over that of real images",
        best=1.0,
        caveat="finds samples of one kind and nothing finer",
    )
)
def spread(compared: Compared) -> dict[str, float]:
    """Relative spread of features."""
    return {"feature_spread": feature_spread(compared.real, compared.fake)}
