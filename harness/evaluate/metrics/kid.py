"""Kernel distance between two sets of features (KID).

Bińkowski et al. 2018, "Demystifying MMD GANs", section 4: the squared maximum mean discrepancy
under the kernel (xᵀy / d + 1)³, averaged over random subsets. It is unbiased, so it may be slightly
negative; the spread over the overlapping subsets is not an error bar and is not returned.
"""

from __future__ import annotations

import warnings

from torch import Tensor

from harness.evaluate.config import EvaluateConfig
from harness.evaluate.features import Precomputed, as_exact
from harness.evaluate.metric import Compared, Figure, metric
from harness.randomness import seeded

DEFAULT_SUBSETS: int = EvaluateConfig.model_fields["kid_subsets"].default
MAX_SUBSET_SIZE = 1000
SUBSET_SEED = 0  # the same subsets in every evaluation of every run


def kid(real_features: Tensor, fake_features: Tensor, *, subsets: int, subset_size: int) -> float:
    """Return the mean over subsets, computed by torchmetrics; the same input gives the same bits.

    Args:
        real_features: (N, d) floats.
        fake_features: (M, d) floats.
        subsets: How many subsets to average over.
        subset_size: Samples per subset, from 2 to min(N, M).

    Raises:
        ValueError: A feature is not finite, or there are fewer samples than `subset_size`.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception", UserWarning)
        metric = KernelInceptionDistance(
            feature=Precomputed(real_features.shape[1]), subsets=subsets, subset_size=subset_size
        )
    metric.update(as_exact(real_features), real=True)
    metric.update(as_exact(fake_features), real=False)
    # torchmetrics draws the subsets from the global random state.
    with seeded(SUBSET_SEED):
        mean, _ = metric.compute()
    return float(mean)


def kid_subset_size(num_samples: int) -> int:
    """Return the samples per subset."""
    return min(MAX_SUBSET_SIZE, num_samples // 2)


def _protocol(config: EvaluateConfig) -> str:
    subsets = config.kid_subsets
    return "" if subsets == DEFAULT_SUBSETS else f"{subsets}_subsets"


def _facts(config: EvaluateConfig, num_samples: int) -> dict[str, str]:
    return {
        "kid_subsets": str(config.kid_subsets),
        "kid_subset_size": str(kid_subset_size(num_samples)),
    }


@metric(
    Figure(
        name="kid",
        label="KID",
        description="Kernel distance of features (Binkowski et al. 2018), unbiased",
        best="lower",
        caveat="is unbiased, so that it may be slightly negative",
    ),
    floor="train",
    protocol=_protocol,
    facts=_facts,
)
def kernel_distance(compared: Compared) -> dict[str, float]:
    """Kernel distance of features."""
    size = kid_subset_size(len(compared.fake))
    subsets = compared.config.kid_subsets
    return {"kid": kid(compared.real, compared.fake, subsets=subsets, subset_size=size)}
